//! Loss that is put in on purpose, packet by packet, is the loss that is reported: to the datagram.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use cables::Lab;
use engine::{measure, options};
use netbench::{
    experiment::Options,
    measured::{ReceiveMode, SendMode, Test},
    units::ByteSize,
};

/// Runs the packet filter of the server's namespace with these words.
fn filter(lab: &Lab, words: &str) -> String {
    let mut command = lab.command("server");
    // The lock is for a table of the whole machine; this one is the test's.
    command.args(["env", "XTABLES_LOCKFILE=/dev/null", "iptables-legacy"]).args(words.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Is the filter's program here? Said where it is not.
fn has_filter() -> bool {
    let found = std::process::Command::new("iptables-legacy").arg("--version").output().is_ok();
    if !found {
        cables::skip("iptables-legacy not installed");
    }
    found
}

/// Packets that the one rule dropped.
fn dropped(lab: &Lab) -> u64 {
    let listed = filter(lab, "-L INPUT -v -n -x");
    listed.lines().nth(2).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn every_datagram_that_a_filter_drops_is_counted_and_no_other() {
    if !has_filter() {
        return;
    }
    let Some(lab) = Lab::new(1) else { return };
    filter(&lab, "-A INPUT -p udp -m statistic --mode nth --every 7 --packet 3 -j DROP");
    // One datagram a packet, slowly enough that no buffer fills.
    let mut options = Options { rate: Some("100mbit".parse().unwrap()), ..options(&[Test::UdpStream], 20_000) };
    (options.send, options.receive) = (Some(SendMode::Mmsg), Some(ReceiveMode::Mmsg));
    options.length = Some(ByteSize(1000));
    options.amounts.blocks = Some(7000);
    let record = measure(&lab, lab.flow(0, false), &options);
    let seen = record.flows[0].tests[0].rounds[0].server.streams[0].datagrams.clone().unwrap();
    assert_eq!((seen.sent, seen.lost, seen.received), (7000, 1000, 6000), "{seen:?}");
    assert_eq!((seen.reordered, seen.duplicates, seen.socket_drops), (0, 0, Some(0)), "{seen:?}");
    assert_eq!(dropped(&lab), 1000);
}

#[test]
fn a_bundle_that_a_filter_drops_is_all_of_its_datagrams() {
    if !has_filter() {
        return;
    }
    let Some(lab) = Lab::new(1) else { return };
    filter(&lab, "-A INPUT -p udp -m statistic --mode nth --every 3 --packet 1 -j DROP");
    let mut options = options(&[Test::UdpStream], 20_000);
    options.length = Some(ByteSize(1400));
    // Thirty full bundles.
    options.amounts.blocks = Some(30 * 46);
    let record = measure(&lab, lab.flow(0, false), &options);
    let round = &record.flows[0].tests[0].rounds[0];
    assert_eq!(round.client.streams[0].io.as_ref().unwrap().segments, Some(46), "{:?}", round.client.streams[0].io);
    let seen = round.server.streams[0].datagrams.clone().unwrap();
    let drops = dropped(&lab);
    assert!(drops >= 9, "{drops}");
    // The bundle that asks whether the path takes bundles may be one of them, and has no number.
    let lost = seen.lost - seen.socket_drops.unwrap();
    assert!(lost == drops * 46 || lost == (drops - 1) * 46, "{seen:?}, {drops} bundles dropped");
    assert_eq!(seen.sent, seen.received + seen.lost);
}
