//! Every way of sending and receiving a byte stream: its books, what it says of itself, and what it does where it cannot.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use cables::Lab;
use engine::{check_side, measure, options, text};
use netbench::{
    experiment::Options,
    measured::{ReceiveMode, SendMode, Side, Test},
    record::{RoundRecord, RunRecord, TestRecord},
    units::ByteSize,
};

/// Sender and receiver of each direction.
fn ways(test: Test, round: &RoundRecord) -> Vec<(&Side, &Side)> {
    let (client, server) = (&round.client, &round.server);
    let first = if test.is_reverse() { (server, client) } else { (client, server) };
    let back = client.back.as_deref().zip(server.back.as_deref()).map(|(receiver, sender)| (sender, receiver));
    [Some(first), back].into_iter().flatten().collect()
}

fn check(record: &RunRecord, send: SendMode, receive: ReceiveMode) {
    for test in &record.flows[0].tests {
        let what = format!("{} {send} {receive}", test.test);
        assert!(test.verdict.valid, "{what}: {:?}", test.verdict.reasons);
        let round = &test.rounds[0];
        for (sender, receiver) in ways(test.test, round) {
            check_side(sender, &what);
            check_side(receiver, &what);
            for (a, b) in sender.streams.iter().zip(&receiver.streams) {
                assert_eq!(a.bytes + a.omitted_bytes, b.bytes + b.omitted_bytes, "{what}");
                let (sent, received) = (a.io.as_ref().unwrap(), b.io.as_ref().unwrap());
                assert_eq!((sent.send, &sent.fallback), (Some(send), &None), "{what}");
                if receive == ReceiveMode::Zerocopy {
                    continue;
                }
                assert_eq!((received.receive, &received.fallback), (Some(receive), &None), "{what}");
                let copies = !matches!(receive, ReceiveMode::Trunc | ReceiveMode::Splice);
                assert_eq!(received.payload_copied, Some(copies), "{what}");
                // A block or a turn takes no more than its calls, and some that wait.
                assert!(a.calls < 3 * (a.bytes >> 12) + 100, "{what}: {} calls for {} bytes", a.calls, a.bytes);
            }
        }
    }
}

#[test]
fn every_way_keeps_its_books_in_every_direction() {
    let Some(lab) = Lab::new(1) else { return };
    let sends =
        SendMode::ALL.into_iter().filter(|mode| mode.fits(Test::TcpStream)).map(|mode| (mode, ReceiveMode::Recv));
    let receives = ReceiveMode::ALL.into_iter().filter(|mode| mode.fits(Test::TcpStream));
    for (send, receive) in sends.chain(receives.map(|mode| (SendMode::Write, mode))) {
        let mut options = options(&[Test::TcpStream, Test::TcpMaerts, Test::TcpBidir], 150);
        (options.send, options.receive) = (Some(send), Some(receive));
        options.streams = 2;
        options.omit = "30ms".parse().unwrap();
        check(&measure(&lab, lab.flow(0, false), &options), send, receive);
    }
}

/// Bytes of the blocks, and the segment size, of every stream that sent.
fn blocks(test: &TestRecord) -> Vec<(u64, u64)> {
    let senders = ways(test.test, &test.rounds[0]).into_iter().flat_map(|(sender, _)| &sender.streams);
    senders.map(|s| (s.io.as_ref().unwrap().block.unwrap(), u64::from(s.socket.mss.unwrap()))).collect()
}

#[test]
fn a_block_whose_length_nobody_said_is_whole_segments() {
    // 64 KiB less room for headers: one super-packet.
    const MOST: u64 = (64 << 10) - 321;
    let Some(lab) = Lab::new(1) else { return };
    let tests = [Test::TcpStream, Test::TcpMaerts, Test::TcpBidir];
    for mtu in [1500_u32, 9000] {
        for end in ["client", "server"] {
            lab.ip(end, &format!("link set eth0 mtu {mtu}"));
        }
        for send in [SendMode::Write, SendMode::Splice, SendMode::Uring] {
            let mut options = Options { streams: 2, send: Some(send), ..options(&tests, 100) };
            options.amounts.bytes = Some(ByteSize(3_000_001));
            let record = measure(&lab, lab.flow(0, false), &options);
            check(&record, send, ReceiveMode::Recv);
            for test in &record.flows[0].tests {
                let (what, all) = (format!("{} {send} at {mtu}", test.test), blocks(test));
                assert_eq!(all.len(), if test.test == Test::TcpBidir { 4 } else { 2 }, "{what}");
                for (block, mss) in all {
                    assert!(mss > u64::from(mtu) * 9 / 10, "{what}: MSS {mss}");
                    assert_eq!((block % mss, (MOST - block) / mss), (0, 0), "{what}: {block} of segments of {mss}");
                }
                let ways = ways(test.test, &test.rounds[0]);
                assert!(ways.iter().all(|way| way.1.streams.iter().all(|s| s.bytes == 3_000_001)), "{what}");
            }
            let (block, mss) = blocks(&record.flows[0].tests[0])[0];
            let said = format!("blocks of {block} bytes ({} segments)", block / mss);
            assert!(text(&record).contains(&said), "{said}: {}", text(&record));
        }
    }
}

#[test]
fn a_block_stays_as_long_as_it_was_said_to_be_or_must_be_known() {
    let Some(lab) = Lab::new(1) else { return };
    let plain = || options(&[Test::TcpStream, Test::TcpMaerts], 100);
    let mut counted = plain();
    counted.amounts.blocks = Some(20);
    for (options, wanted) in [
        (Options { length: Some(ByteSize(128 << 10)), ..plain() }, 128 << 10),
        (Options { length: Some(ByteSize(7777)), ..plain() }, 7777),
        (Options { verify: Some(1), ..plain() }, 128 << 10),
        (counted, 128 << 10),
    ] {
        let record = measure(&lab, lab.flow(0, false), &options);
        for test in &record.flows[0].tests {
            assert!(test.verdict.valid && !test.settings.whole_segments, "{test:?}");
            assert_eq!(blocks(test)[0].0, wanted, "{}", test.test);
            let counted = options.amounts.blocks.is_some();
            let receiver = ways(test.test, &test.rounds[0])[0].1;
            assert!(!counted || receiver.streams[0].bytes == 20 * wanted, "{receiver:?}");
        }
        assert!(text(&record).contains(&format!("blocks of {}", ByteSize(wanted))), "{}", text(&record));
    }
}

#[test]
fn pages_that_are_sent_by_reference_are_mapped_at_the_receiver() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpStream], 300);
    (options.send, options.receive) = (Some(SendMode::Splice), Some(ReceiveMode::Zerocopy));
    // Two pages, and twelve bytes of time stamps.
    options.tuning.mss = Some(8192 + 12);
    let record = measure(&lab, lab.flow(0, false), &options);
    check(&record, SendMode::Splice, ReceiveMode::Zerocopy);
    let stream = &record.flows[0].tests[0].rounds[0].server.streams[0];
    let io = stream.io.as_ref().unwrap();
    let pages = io.mapped.unwrap();
    assert_eq!((io.receive, &io.fallback), (Some(ReceiveMode::Zerocopy), &None));
    assert_eq!(pages.mapped + pages.copied, stream.bytes + stream.omitted_bytes);
    assert!(pages.mapped > pages.copied && io.payload_copied == Some(pages.copied > 0), "{io:?}");
    assert!(text(&record).contains("% of the payload mapped, not copied"), "{}", text(&record));
}

#[test]
fn where_no_page_can_be_mapped_the_receiver_says_so_and_reads() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpStream], 10_000);
    options.receive = Some(ReceiveMode::Zerocopy);
    options.amounts.bytes = Some("32m".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let stream = &record.flows[0].tests[0].rounds[0].server.streams[0];
    let io = stream.io.as_ref().unwrap();
    assert_eq!((io.receive, io.payload_copied, stream.bytes), (Some(ReceiveMode::Recv), Some(true), 32 << 20));
    assert!(io.fallback.as_ref().unwrap().contains("no page could be mapped"), "{io:?}");
    assert!(record.warnings.iter().any(|warning| warning.contains("no page could be mapped")), "{:?}", record.warnings);
}

#[test]
fn a_slow_path_holds_up_no_end_and_takes_no_byte() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 30mbit burst 20000 limit 60000");
    for send in [SendMode::Splice, SendMode::Uring] {
        let mut options = options(&[Test::TcpStream], 400);
        options.send = Some(send);
        let record = measure(&lab, lab.flow(0, false), &options);
        check(&record, send, ReceiveMode::Recv);
        let elapsed = record.flows[0].tests[0].rounds[0].client.streams[0].elapsed_ns;
        assert!(elapsed < 2_000_000_000, "{send}: {elapsed} ns");
    }
}

#[test]
fn what_is_checked_must_be_read() {
    let Some(lab) = Lab::new(1) else { return };
    for (send, receive) in
        [(Some(SendMode::Splice), None), (None, Some(ReceiveMode::Zerocopy)), (None, Some(ReceiveMode::Uring))]
    {
        let options = Options { verify: Some(1), send, receive, ..options(&[Test::TcpStream], 100) };
        let refused = options.check(&[lab.flow(0, false).flow]).unwrap_err().to_string();
        assert!(refused.contains("checked payload is made for each block and read at the receiver"), "{refused}");
    }
}

#[test]
fn the_probe_tries_every_way_and_chooses_one_that_it_tried() {
    let Some(lab) = Lab::new(1) else { return };
    let options = Options { io_auto: true, ..options(&[Test::TcpStream], 300) };
    let record = measure(&lab, lab.flow(0, false), &options);
    let test = &record.flows[0].tests[0];
    let probe = test.io_probe.as_ref().unwrap();
    for mode in [SendMode::Write, SendMode::Sendfile, SendMode::Zerocopy, SendMode::Splice, SendMode::Uring] {
        assert!(probe.tried.iter().any(|way| way.send == mode), "{mode}: {probe:?}");
    }
    for mode in [ReceiveMode::Recv, ReceiveMode::Trunc, ReceiveMode::Splice, ReceiveMode::Uring] {
        assert!(probe.tried.iter().any(|way| way.receive == mode), "{mode}: {probe:?}");
    }
    // Pages are mapped where they are sent by reference, and that was not hopeless.
    let fastest = probe.tried.iter().map(|way| way.bits_per_second).fold(0.0, f64::max);
    let alone =
        probe.tried.iter().find(|way| (way.send, way.receive) == (SendMode::Splice, ReceiveMode::Recv)).unwrap();
    let has_mapped = probe.tried.iter().any(|way| way.receive == ReceiveMode::Zerocopy);
    assert!(has_mapped || alone.bits_per_second < 0.8 * fastest, "{probe:?}");
    assert!(probe.tried.contains(&probe.chosen), "{probe:?}");
    let plain = &probe.tried[0];
    assert_eq!((plain.send, plain.receive), (SendMode::Write, ReceiveMode::Recv), "{probe:?}");
    assert!(probe.chosen.bits_per_second >= plain.bits_per_second, "{probe:?}");
    assert_eq!((test.settings.send, test.settings.receive), (probe.chosen.send, probe.chosen.receive));
}
