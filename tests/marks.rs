//! What a packet is marked with (DSCP) arrives at the other end, in both directions and over both families: a packet filter counts it there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use std::process::Command;

use cables::Lab;
use engine::{measure, options};
use netbench::measured::Test;

/// Packets of these protocols that came with this mark, and without.
fn counted(lab: &Lab, ns: &str, program: &str) -> (u64, u64) {
    let output = lab.command(ns).arg(format!("{program}-save")).arg("-c").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let sum = |wanted: &str| -> u64 {
        let rules = text.lines().filter(|line| line.contains(wanted));
        rules.map(|line| line[1..].split(':').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    (sum("-m dscp --dscp 0x2e"), sum("-m dscp ! --dscp 0x2e"))
}

#[test]
fn the_mark_of_every_packet_arrives() {
    for (program, ipv6) in [("iptables-legacy", false), ("ip6tables-legacy", true)] {
        if Command::new(program).arg("--version").output().is_err() {
            return cables::skip(&format!("{program} not installed"));
        }
        let Some(lab) = Lab::new(1) else { return };
        for ns in ["client", "server"] {
            for protocol in ["tcp", "udp"] {
                for mark in ["--dscp 46", "! --dscp 46"] {
                    let rule = format!("-w -A INPUT -p {protocol} -m dscp {mark}");
                    // The lock is for a table of the whole machine; this one is the test's.
                    let mut command = lab.command(ns);
                    command.args(["env", "XTABLES_LOCKFILE=/dev/null", program]).args(rule.split(' '));
                    if !command.status().unwrap().success() {
                        return cables::skip_to_lab("this kernel has no filter by DSCP (xt_dscp)");
                    }
                }
            }
        }
        let tests = [Test::TcpStream, Test::TcpMaerts, Test::UdpStream, Test::TcpRr, Test::UdpRr, Test::TcpCrr];
        for test in tests {
            let mut options = options(&[test], 50);
            options.tuning.dscp = Some(46);
            let before = ["client", "server"].map(|ns| counted(&lab, ns, program));
            let record = measure(&lab, lab.flow(0, ipv6), &options);
            let test = &record.flows[0].tests[0];
            assert!(test.verdict.valid, "{}: {:?}", test.test, test.verdict);
            let after = ["client", "server"].map(|ns| counted(&lab, ns, program));
            let [client, server] = [0, 1].map(|i| (after[i].0 - before[i].0, after[i].1 - before[i].1));
            let what = format!("{} {program}: client {client:?}, server {server:?}", test.test);
            // A port that was closed meanwhile, or never was one, is answered by the kernel itself, without a mark.
            assert!(server.0 > 5 && server.1 <= server.0 / 100, "{what}");
            // Of datagrams in one direction nothing comes back.
            let back = test.test != Test::UdpStream;
            assert!((client.0 > 5) == back && client.1 <= client.0 / 100, "{what}");
        }
    }
}
