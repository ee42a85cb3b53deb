//! Requests in flight beside the first: `--burst`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use std::{sync::atomic::AtomicBool, time::Duration};

use cables::Lab;
use engine::{check_side, measure, options, record};
use netbench::{
    experiment::{Options, Progress, run},
    measured::Test,
    units::Span,
};

#[test]
fn every_transaction_in_flight_is_timed_and_counted_at_both_ends() {
    let Some(lab) = Lab::new(1) else { return };
    for (burst, length, response) in [(1, "8", "8"), (31, "64", "3000"), (500, "1000", "9")] {
        let mut options = options(&[Test::TcpRr, Test::UdpRr], 200);
        options.burst = burst;
        options.streams = 2;
        options.omit = Span(Duration::from_millis(50));
        (options.length, options.response) = (Some(length.parse().unwrap()), Some(response.parse().unwrap()));
        // Else hundreds of datagrams would be lost for want of room.
        options.socket_buffer = Some("4m".parse().unwrap());
        let record = measure(&lab, lab.flow(0, false), &options);
        for test in &record.flows[0].tests {
            assert!(test.verdict.valid, "{}: {:?}", test.test, test.verdict);
            let round = &test.rounds[0];
            check_side(&round.client, &format!("{} client", test.test));
            check_side(&round.server, &format!("{} server", test.test));
            let latency = round.client.latency.unwrap();
            assert_eq!(latency.count, round.client.units());
            for (client, server) in round.client.streams.iter().zip(&round.server.streams) {
                let asked_again = client.retries.unwrap_or(0);
                assert!(client.units > u64::from(burst), "{client:?}");
                let (asked, served) = (client.units + client.omitted_units, server.units + server.omitted_units);
                assert!((asked..=asked + asked_again).contains(&served), "{asked} {served} {asked_again}");
            }
        }
    }
}

#[test]
fn large_messages_in_flight_both_ways_wait_for_nobody() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpRr], 200);
    options.burst = 20;
    (options.length, options.response) = (Some("1m".parse().unwrap()), Some("1m".parse().unwrap()));
    options.socket_buffer = Some("16k".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let test = &record.flows[0].tests[0];
    assert!(test.verdict.valid, "{:?}", test.verdict);
    let (client, server) = (&test.rounds[0].client, &test.rounds[0].server);
    assert_eq!(client.units(), server.units());
}

#[test]
fn a_cut_wire_stops_no_burst() {
    let Some(lab) = Lab::new(1) else { return };
    let (mut record, mut looks) = (record(), 0);
    let mut snapshot = || Ok(lab.counters());
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Interval(..) = progress {
            looks += 1;
            match looks {
                2 => _ = lab.ip("server", "link set eth0 down"),
                10 => _ = lab.ip("server", "link set eth0 up"),
                _ => {}
            }
        }
    };
    let mut options = Options { interval: Span(Duration::from_millis(50)), ..options(&[Test::UdpRr], 3000) };
    options.burst = 15;
    let never = AtomicBool::new(false);
    run(&mut record, &[lab.flow(0, false)], &options, &mut lab.workers(), &mut snapshot, &mut progress, &never)
        .unwrap();
    let round = &record.flows[0].tests[0].rounds[0];
    check_side(&round.client, "UDP_RR client");
    assert!(round.client.streams[0].retries.unwrap() >= 16, "{:?}", round.client.streams[0]);
    assert!(round.client.intervals.iter().any(|interval| interval.units == 0));
    assert!(round.client.intervals.last().unwrap().units > 0, "it went on: {:?}", round.client.intervals);
    let latency = round.client.latency.unwrap();
    assert!(latency.max_ns > 200_000_000 && latency.count == round.client.units(), "{latency:?}");
}

#[test]
fn a_lossy_wire_costs_answers_and_never_the_test() {
    let Some(lab) = Lab::new(1) else { return };
    // A queue of a few packets drops what comes in bursts.
    lab.tc("server", "qdisc add dev eth0 root tbf rate 50mbit burst 3000 limit 6000");
    let mut options = options(&[Test::UdpRr], 1000);
    options.burst = 63;
    options.response = Some("1000".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let round = &record.flows[0].tests[0].rounds[0];
    let (client, server) = (&round.client.streams[0], &round.server.streams[0]);
    let again = client.retries.unwrap();
    assert!(again > 0 && client.units > 64, "{client:?}");
    assert!((client.units..=client.units + again + 64).contains(&server.units), "{} {}", client.units, server.units);
    assert_eq!(round.client.latency.unwrap().count, client.units);
}
