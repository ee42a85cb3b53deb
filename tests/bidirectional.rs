//! TCP_BIDIR: both ends send at once, over one connection a stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use std::{sync::atomic::AtomicBool, time::Duration};

use cables::Lab;
use engine::{check_side, measure, options, record, text};
use netbench::{
    experiment::{Options, Progress, run},
    measured::{ReceiveMode, SendMode, Test},
    record::{PathVerdict, TestRecord},
    units::Span,
};

fn check(test: &TestRecord, streams: usize) {
    assert!(test.verdict.valid, "{:?}", test.verdict.reasons);
    let round = &test.rounds[0];
    assert_eq!(round.path.verdict, PathVerdict::Proved);
    assert_eq!(round.other_way.as_ref().unwrap().path.verdict, PathVerdict::Proved);
    let (client, server) = (&round.client, &round.server);
    let (received, sent) = (client.back.as_deref().unwrap(), server.back.as_deref().unwrap());
    for (side, what) in [(client, "client"), (server, "server"), (received, "back at client"), (sent, "back at server")]
    {
        assert_eq!(side.streams.len(), streams, "{what}");
        assert!(side.streams.iter().all(|stream| stream.bytes > 0 && stream.elapsed_ns > 0), "{what}");
        check_side(side, what);
    }
    for (sender, receiver) in [(client, server), (sent, received)] {
        for (a, b) in sender.streams.iter().zip(&receiver.streams) {
            assert_eq!((&a.local, &a.peer, a.stream), (&b.peer, &b.local, b.stream));
            assert_eq!(a.bytes + a.omitted_bytes, b.bytes + b.omitted_bytes);
            assert!(a.io.as_ref().unwrap().send.is_some() && b.io.as_ref().unwrap().receive.is_some());
        }
    }
    // Both directions of a stream share a connection.
    assert_eq!(client.streams[0].local, received.streams[0].local);
    let (there, back) = (server.bits_per_second(), received.bits_per_second());
    assert!((round.headline - there - back).abs() < 1.0 && there > 0.0 && back > 0.0);
}

#[test]
fn both_directions_keep_their_books_and_sum_up() {
    let Some(lab) = Lab::new(1) else { return };
    for (streams, ipv6, omit) in [(1, false, 0), (3, true, 100)] {
        let options =
            Options { streams, omit: Span(Duration::from_millis(omit)), rounds: 2, ..options(&[Test::TcpBidir], 300) };
        let record = measure(&lab, lab.flow(0, ipv6), &options);
        let test = &record.flows[0].tests[0];
        check(test, streams as usize);
        let summary = test.summary.as_ref().unwrap();
        let each = summary.directions.unwrap();
        assert!(summary.headline.min <= each.forward.max + each.back.max);
        let text = text(&record);
        assert!(text.contains("client to server ") && text.contains("server to client "), "{text}");
    }
}

#[test]
fn every_way_to_send_and_receive_works_both_ways() {
    let Some(lab) = Lab::new(1) else { return };
    for (send, receive) in [(SendMode::Sendfile, ReceiveMode::Trunc), (SendMode::Zerocopy, ReceiveMode::Recv)] {
        let options = Options { send: Some(send), receive: Some(receive), ..options(&[Test::TcpBidir], 100) };
        let record = measure(&lab, lab.flow(0, false), &options);
        check(&record.flows[0].tests[0], 1);
    }
}

#[test]
fn an_interrupt_ends_both_directions() {
    let Some(lab) = Lab::new(1) else { return };
    let (mut record, interrupt) = (record(), AtomicBool::new(false));
    let mut snapshot = || Ok(lab.counters());
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Interval(..) = progress {
            interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let options = Options { interval: Span(Duration::from_millis(50)), ..options(&[Test::TcpBidir], 20_000) };
    let began = std::time::Instant::now();
    run(&mut record, &[lab.flow(0, false)], &options, &mut lab.workers(), &mut snapshot, &mut progress, &interrupt)
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(8));
    assert!(record.interrupted);
    check(&record.flows[0].tests[0], 1);
}
