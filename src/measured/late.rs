//! Windows of receivers that opened late.
//!
//! A receiver of a byte stream opens its window when its thread takes the first byte. A thread that gets its CPU late finds payload
//! of before its window in the socket, and that counts as if it had come in it: bytes of a second in half of one.

use super::{Side, Stream};

impl Side {
    /// Makes up for windows of this receiver that opened late, by what the sender saw.
    pub fn make_up(&mut self, sender: &Self) {
        for (stream, sender) in self.streams.iter_mut().zip(&sender.streams) {
            stream.make_up(sender);
        }
    }
}

impl Stream {
    fn make_up(&mut self, sender: &Self) {
        let drained_ns = sender.io.as_ref().and_then(|io| io.drained_ns);
        let Some((io, drained_ns)) = self.io.as_mut().zip(drained_ns) else { return };
        // The first byte came half a round trip after it was sent; that all was read was seen half of one later.
        let rtt_ns = u64::from(sender.tcp.as_ref().and_then(|tcp| tcp.min_rtt_us).unwrap_or(0)) * 1000;
        let missing = drained_ns.saturating_sub(rtt_ns).saturating_sub(self.elapsed_ns);
        let queued = io.queued.unwrap_or(0).min(self.bytes);
        if missing == 0 || queued == 0 {
            return;
        }
        // After a warm-up what lay there came at the rate of the rest. Without one it has the first byte in it: it came all the while.
        let took = self.elapsed_ns as f64 * queued as f64 / (self.bytes - queued) as f64;
        let has_warm_up = self.omitted_bytes > 0;
        // Where all of it lay there, the quotient is no number of nanoseconds.
        io.late_ns = Some(if has_warm_up && took < missing as f64 { took as u64 } else { missing });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{SocketFacts, StreamIo, TcpInfo, ThreadCpu};

    const MS: u64 = 1_000_000;

    fn stream(bytes: u64, elapsed_ns: u64, io: StreamIo) -> Stream {
        Stream {
            stream: 0,
            local: "198.18.0.1:1".to_owned(),
            peer: "198.18.0.2:1".to_owned(),
            bytes,
            omitted_bytes: 0,
            units: 0,
            omitted_units: 0,
            elapsed_ns,
            calls: 0,
            io: Some(io),
            cpu: ThreadCpu::default(),
            socket: SocketFacts::default(),
            tcp: None,
            datagrams: None,
            verified: None,
            schedule: None,
            retries: None,
        }
    }

    /// A second of a megabyte, seen to be read 1,010 ms after the window opened, over a round trip of 10 ms.
    fn sender() -> Stream {
        let io = StreamIo { drained_ns: Some(1010 * MS), ..StreamIo::default() };
        let tcp = Some(TcpInfo { min_rtt_us: Some(10_000), ..TcpInfo::default() });
        Stream { tcp, ..stream(1_000_000, 1000 * MS, io) }
    }

    fn late(elapsed_ns: u64, queued: Option<u64>, omitted_bytes: u64) -> Option<u64> {
        let io = StreamIo { queued, ..StreamIo::default() };
        let mut receiver = Stream { omitted_bytes, ..stream(1_000_000, elapsed_ns, io) };
        receiver.make_up(&sender());
        receiver.io.unwrap().late_ns
    }

    #[test]
    fn what_is_missing_is_made_up_for_when_payload_lay_there() {
        // Without a warm-up the first byte says when the window should have opened.
        assert_eq!(late(600 * MS, Some(100_000), 0), Some(400 * MS));
        // Half of the bytes lay there: they took as long as the other half.
        assert_eq!(late(480 * MS, Some(500_000), 1), Some(480 * MS));
        // No more than is missing.
        assert_eq!(late(700 * MS, Some(500_000), 1), Some(300 * MS));
        assert_eq!(late(10, Some(2_000_000), 1), Some(1000 * MS - 10), "all of it lay there");
    }

    #[test]
    fn a_window_that_is_whole_or_found_nothing_is_left_as_it_is() {
        for (elapsed_ms, queued) in [(1000, Some(100_000)), (1200, Some(100_000)), (600, Some(0)), (600, None)] {
            assert_eq!(late(elapsed_ms * MS, queued, 0), None, "{elapsed_ms} {queued:?}");
        }
        let mut receiver = stream(10, MS, StreamIo { queued: Some(5), ..StreamIo::default() });
        receiver.make_up(&Stream { io: None, ..sender() });
        assert_eq!(receiver.judged_ns(), MS, "nobody saw the end");
    }
}
