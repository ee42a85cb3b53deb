//! Ends by an amount instead of a time: `--bytes`, `--blocks`, `--transactions`.

use crate::{
    measured::{Side, Test},
    record::{RoundRecord, TestRecord, amount::text},
    traffic,
    units::ByteSize,
};

/// What ends each stream, of the tests that have it; `None` was not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Payload of a stream, in each direction; of datagrams and frames as many whole ones as hold it.
    pub bytes: Option<ByteSize>,
    /// Blocks of `--length`, datagrams or frames of a stream.
    pub blocks: Option<u64>,
    /// Transactions of a stream.
    pub transactions: Option<u64>,
}

impl Amounts {
    /// Was anything said?
    pub fn is_any(&self) -> bool {
        self.bytes.is_some() || self.blocks.is_some() || self.transactions.is_some()
    }

    /// As [`Spec::amount`](crate::traffic::Spec::amount) has it, for a test with blocks, datagrams or frames of so many bytes.
    pub fn of(&self, test: Test, length: ByteSize) -> Option<u64> {
        if test.is_rr() {
            return self.transactions;
        }
        let length = length.0.max(1);
        match (test.is_numbered(), self.bytes, self.blocks) {
            (false, Some(bytes), _) => Some(bytes.0),
            (false, None, Some(blocks)) => Some(blocks.saturating_mul(length)),
            (true, Some(bytes), _) => Some(bytes.0.div_ceil(length)),
            (true, None, blocks) => blocks,
            (false, None, None) => None,
        }
    }

    /// Refuses an amount that none of the tests has.
    ///
    /// # Errors
    /// The option, and the tests that it is for.
    pub fn check(&self, tests: &[Test]) -> Result<(), traffic::Error> {
        let refused = |what: &str| Err(traffic::Error::Spec(what.to_owned()));
        if (self.bytes.is_some() || self.blocks.is_some()) && tests.iter().all(|test| test.is_rr()) {
            return refused(
                "none of the tests is a stream: --bytes and --blocks end streams; of requests --transactions",
            );
        }
        if self.transactions.is_some() && !tests.iter().any(|test| test.is_rr()) {
            return refused(
                "none of the tests has transactions: --transactions ends tcp_rr, udp_rr, tcp_crr and tcp_cc",
            );
        }
        Ok(())
    }
}

/// What a stream of each direction really did, in the unit of the amount: the least of the streams, and the most.
fn done(test: Test, round: &RoundRecord) -> Option<(u64, u64)> {
    let one = |side: &Side| -> Vec<u64> {
        let each = side.streams.iter().map(|stream| match (&stream.schedule, test) {
            (Some(schedule), _) => schedule.requests,
            (None, test) if test.is_byte_stream() => stream.bytes,
            (None, _) => stream.units,
        });
        each.collect()
    };
    // Of a byte stream what arrived; of numbers what was sent, for some may be lost.
    let judge = if test.is_numbered() || test.is_judged_by_client() { &round.client } else { &round.server };
    let mut all = one(judge);
    all.extend(round.client.back.as_deref().map(one).unwrap_or_default());
    Some((all.iter().copied().min()?, all.iter().copied().max()?))
}

/// Says of the first round of a test that ended otherwise than by its amount what ended it.
pub fn warning((from, to): (&str, &str), test: &TestRecord) -> Option<String> {
    let amount = test.settings.amount?;
    let name = format!("{} {from} → {to}", test.test);
    test.rounds.iter().find_map(|round| {
        let (least, most) = done(test.test, round)?;
        let number = round.round;
        if least < amount {
            let (least, amount) = (text(test.test, least), text(test.test, amount));
            let duration = test.settings.duration;
            return Some(format!(
                "{name}: the time was over first: round {number} ended after {duration} with {least} of {amount} in a stream; a longer --duration lets it end"
            ));
        }
        (most > amount).then(|| {
            let (most, amount) = (text(test.test, most), text(test.test, amount));
            format!("{name}: round {number} carried {most} in a stream instead of {amount}: the other end's netbench does not know ends by an amount")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_in_the_unit_of_the_test() {
        let bytes = Amounts { bytes: Some(ByteSize(1000)), ..Amounts::default() };
        assert_eq!(bytes.of(Test::TcpStream, ByteSize(300)), Some(1000));
        assert_eq!(bytes.of(Test::UdpStream, ByteSize(300)), Some(4));
        assert_eq!(bytes.of(Test::TcpRr, ByteSize(300)), None);
        let blocks = Amounts { blocks: Some(7), transactions: Some(9), ..Amounts::default() };
        assert_eq!(blocks.of(Test::TcpMaerts, ByteSize(300)), Some(2100));
        assert_eq!(blocks.of(Test::FrameStream, ByteSize(300)), Some(7));
        assert_eq!(blocks.of(Test::TcpCrr, ByteSize(300)), Some(9));
        assert!(bytes.check(&[Test::TcpRr]).is_err() && bytes.check(&[Test::TcpRr, Test::TcpStream]).is_ok());
        assert!(blocks.check(&[Test::TcpStream]).is_err());
    }
}
