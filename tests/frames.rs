//! FRAME_STREAM: Ethernet frames by packet sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use cables::Lab;
use engine::{check_side, measure, options, text};
use netbench::{
    experiment::Options,
    measured::{SendMode, Test},
    record::{PathVerdict, TestRecord, Unit},
};

fn check(test: &TestRecord, streams: usize) {
    assert!(test.verdict.valid, "{:?}", test.verdict.reasons);
    let round = &test.rounds[0];
    assert_eq!(round.path.verdict, PathVerdict::Proved);
    assert_eq!((round.client.streams.len(), round.server.streams.len()), (streams, streams));
    check_side(&round.client, "client");
    check_side(&round.server, "server");
    for (a, b) in round.client.streams.iter().zip(&round.server.streams) {
        let seen = b.datagrams.as_ref().unwrap();
        assert_eq!((seen.sent, seen.received), (a.units, b.units));
        assert_eq!((seen.sent, seen.duplicates, seen.malformed), (seen.received + seen.lost, 0, 0));
        assert_eq!(b.bytes, b.units * test.settings.length.0);
        // The counters of the path saw every frame that came, at its length.
        assert!(seen.received > 0 && b.tcp.is_none());
    }
    let received: u64 = round.server.all_units();
    let last = round.path.hops.last().unwrap();
    assert!(last.packets >= received && last.bytes >= received * test.settings.length.0, "{last:?}");
}

#[test]
fn frames_of_every_size_keep_their_books_by_ring_and_by_messages() {
    let Some(lab) = Lab::new(1) else { return };
    for size in [64, 65, 1518, 9018] {
        for send in [SendMode::Mmsg, SendMode::Ring, SendMode::Write] {
            let mut options =
                Options { frame_size: Some(size), send: Some(send), ..options(&[Test::FrameStream], 100) };
            options.streams = 2;
            options.omit = netbench::units::Span(std::time::Duration::from_millis(30));
            options.tuning.qdisc_bypass = size == 1518;
            let record = measure(&lab, lab.flow(0, false), &options);
            let test = &record.flows[0].tests[0];
            check(test, 2);
            assert_eq!(test.rounds[0].client.streams[0].io.as_ref().unwrap().send, Some(send));
            assert_eq!(test.summary.as_ref().unwrap().unit, Unit::FramesPerSecond);
            let text = text(&record);
            assert!(text.contains(&format!("frames of {size} bytes")) && text.contains("bit/s on the wire"), "{text}");
        }
    }
}

#[test]
fn paced_frames_are_all_received() {
    let Some(lab) = Lab::new(1) else { return };
    for send in [SendMode::Mmsg, SendMode::Ring] {
        let mut options = Options { frame_size: Some(1000), send: Some(send), ..options(&[Test::FrameStream], 300) };
        options.rate = Some("20mbit".parse().unwrap());
        // 20 Mbit/s are 2500 frames: never more, and fewer only where a busy machine kept the sender from it.
        let mut best = 0.0_f64;
        for _ in 0..5 {
            let record = measure(&lab, lab.flow(0, false), &options);
            let test = &record.flows[0].tests[0];
            check(test, 1);
            assert_eq!(test.rounds[0].server.streams[0].datagrams.as_ref().unwrap().lost, 0);
            let frames = test.rounds[0].headline;
            assert!(frames <= 2600.0, "{frames}");
            best = best.max(frames);
            if best > 2300.0 {
                break;
            }
        }
        assert!(best > 2300.0, "{best}");
    }
}

#[test]
fn a_queue_that_drops_frames_is_charged_with_each_of_them() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 20mbit burst 5000 limit 5000");
    let mut options = Options { frame_size: Some(1000), ..options(&[Test::FrameStream], 300) };
    options.send = Some(SendMode::Ring);
    options.rate = Some("60mbit".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let test = &record.flows[0].tests[0];
    check(test, 1);
    let round = &test.rounds[0];
    let seen = round.server.streams[0].datagrams.as_ref().unwrap();
    let charged: u64 = round.losses.iter().map(|share| share.datagrams).sum();
    assert!(charged == seen.lost, "{:?} {seen:?}", round.losses);
}

#[test]
fn a_frame_longer_than_the_interface_takes_is_said() {
    let Some(lab) = Lab::new(1) else { return };
    lab.ip("client", "link set eth0 mtu 1500");
    for send in [SendMode::Mmsg, SendMode::Ring] {
        let options = Options { frame_size: Some(9018), send: Some(send), ..options(&[Test::FrameStream], 100) };
        let record = measure(&lab, lab.flow(0, false), &options);
        let reason = &record.flows[0].tests[0].verdict.reasons[0];
        assert!(reason.contains("a frame of 9018 bytes is longer than the interface takes"), "{send}: {reason}");
    }
}
