//! Ends by bytes, blocks and transactions: exact at both ends, and bounded in time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use cables::Lab;
use engine::{check_side, measure, options, text};
use netbench::{
    experiment::{Options, amounts::Amounts},
    measured::{ReceiveMode, SendMode, Side, Test},
    record::RunRecord,
    units::{ByteSize, Span},
};

const STREAMS: [Test; 6] =
    [Test::TcpStream, Test::TcpMaerts, Test::TcpBidir, Test::TcpSendfile, Test::UdpStream, Test::FrameStream];
const REQUESTS: [Test; 4] = [Test::TcpRr, Test::UdpRr, Test::TcpCrr, Test::TcpCc];

fn ended(tests: &[Test], amounts: Amounts) -> Options {
    // Long: a test that ended by its time would be seen.
    Options { amounts, longest: "20s".parse().unwrap(), ..options(tests, 20_000) }
}

/// What each stream of a side, and of its other direction, has of the amount's unit.
fn each(test: Test, side: &Side) -> Vec<u64> {
    side.both_ways().map(|stream| if test.is_byte_stream() { stream.bytes } else { stream.units }).collect()
}

fn check_exact(record: &RunRecord, streams: usize, expected: impl Fn(Test, u64) -> u64) {
    for test in &record.flows[0].tests {
        let name = test.test;
        assert!(test.verdict.valid, "{name}: {:?}", test.verdict.reasons);
        let round = &test.rounds[0];
        check_side(&round.client, &format!("{name} client"));
        check_side(&round.server, &format!("{name} server"));
        let wanted = expected(name, test.settings.length.0);
        let count = if name.is_bidirectional() { 2 * streams } else { streams };
        let (sender, receiver) = match name.is_reverse() {
            true => (&round.server, &round.client),
            false => (&round.client, &round.server),
        };
        assert_eq!(each(name, sender), vec![wanted; count], "{name}: sent");
        match round.server.streams[0].datagrams.as_ref() {
            Some(_) => {
                for seen in round.server.streams.iter().map(|stream| stream.datagrams.as_ref().unwrap()) {
                    assert_eq!((seen.sent, seen.received + seen.lost), (wanted, wanted), "{name}");
                }
            }
            None => assert_eq!(each(name, receiver), vec![wanted; count], "{name}: received"),
        }
    }
    assert!(!record.warnings.iter().any(|warning| warning.contains("in a stream")), "{:?}", record.warnings);
}

#[test]
fn bytes_end_every_stream_exactly() {
    let Some(lab) = Lab::new(1) else { return };
    for (bytes, streams) in [(1, 1), (3_000_001, 2), (50_000_000, 1)] {
        let mut options = ended(&STREAMS, Amounts { bytes: Some(ByteSize(bytes)), ..Amounts::default() });
        options.streams = streams;
        let record = measure(&lab, lab.flow(0, false), &options);
        check_exact(
            &record,
            streams as usize,
            |test, length| {
                if test.is_byte_stream() { bytes } else { bytes.div_ceil(length) }
            },
        );
    }
}

#[test]
fn bytes_end_a_stream_exactly_however_it_goes() {
    let Some(lab) = Lab::new(1) else { return };
    let bytes = 5_000_003;
    for send in SendMode::ALL {
        let test = if send.fits(Test::TcpStream) { Test::TcpStream } else { Test::UdpStream };
        let test = if send.fits(test) { test } else { Test::FrameStream };
        let mut options = ended(&[test], Amounts { bytes: Some(ByteSize(bytes)), ..Amounts::default() });
        (options.send, options.receive) = (Some(send), Some(ReceiveMode::usual(test)));
        let record = measure(&lab, lab.flow(0, false), &options);
        check_exact(&record, 1, |test, length| if test.is_byte_stream() { bytes } else { bytes.div_ceil(length) });
    }
    let checked = Options {
        verify: Some(7),
        ..ended(&[Test::TcpStream], Amounts { bytes: Some(ByteSize(bytes)), ..Amounts::default() })
    };
    let record = measure(&lab, lab.flow(0, false), &checked);
    check_exact(&record, 1, |_, _| bytes);
    let verified = record.flows[0].tests[0].rounds[0].server.streams[0].verified.clone().unwrap();
    assert_eq!((verified.bytes, verified.corrupt), (bytes, 0));
}

#[test]
fn blocks_and_transactions_end_exactly() {
    let Some(lab) = Lab::new(1) else { return };
    let amounts = Amounts { blocks: Some(130), transactions: Some(77), ..Amounts::default() };
    let tests: Vec<Test> = STREAMS.into_iter().chain(REQUESTS).collect();
    let options = Options { streams: 2, ..ended(&tests, amounts) };
    let record = measure(&lab, lab.flow(0, false), &options);
    check_exact(&record, 2, |test, length| match test {
        test if test.is_rr() => 77,
        test if test.is_byte_stream() => 130 * length,
        _ => 130,
    });
    assert!(text(&record).contains("1 round × 77 transactions a stream"), "{}", text(&record));
    // In bursts, and on a schedule; a warm-up is apart.
    for (burst, rate) in [(10, None), (100, None), (0, Some(5000))] {
        let mut options = ended(&[Test::TcpRr, Test::UdpRr], amounts);
        options.omit = Span(std::time::Duration::from_millis(30));
        (options.burst, options.transactions) = (burst, rate);
        let record = measure(&lab, lab.flow(0, false), &options);
        for test in &record.flows[0].tests {
            assert!(test.verdict.valid, "{}: {:?}", test.test, test.verdict.reasons);
            let client = &test.rounds[0].client;
            check_side(client, "client");
            assert_eq!(client.latency.unwrap().count, 77, "{} burst {burst} rate {rate:?}", test.test);
            assert!(client.streams[0].omitted_units > 0);
        }
    }
}

#[test]
fn the_time_ends_what_its_amount_does_not_and_says_so() {
    let Some(lab) = Lab::new(1) else { return };
    for test in [Test::TcpStream, Test::UdpStream, Test::TcpRr] {
        let amounts = Amounts { bytes: Some(ByteSize(1 << 45)), transactions: Some(1 << 40), ..Amounts::default() };
        let options = Options { longest: "200ms".parse().unwrap(), ..ended(&[test], amounts) };
        let record = measure(&lab, lab.flow(0, false), &options);
        assert!(record.flows[0].tests[0].verdict.valid, "{:?}", record.flows[0].tests[0].verdict);
        let said = record.warnings.iter().find(|warning| warning.contains("the time was over first")).unwrap();
        assert!(said.contains("round 1 ended after 200ms with") && said.contains("a longer --duration"), "{said}");
    }
}
