//! `netbench stream`: both directions, checked payload and what is kept, as `run` does them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
mod serving;

use std::{fs, process::Command};

use lab::Done;
use netbench::{measured::Test, record::RunRecord};
use serving::{Serve, done, record, stream};

const SHORT: [&str; 4] = ["--rounds", "1", "--duration", "600ms"];

/// A folder with a store in it; dropped, it is removed.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netbench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> String {
        self.0.join("runs.db").to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn netbench(args: &[&str]) -> Done {
    let mut command = Command::new(lab::NETBENCH);
    command.args(args).env("NO_COLOR", "1");
    done(command)
}

#[test]
fn both_directions_have_intervals_that_add_up() {
    let serve = Serve::here(&[]);
    let args = [&SHORT[..], &["--test", "tcp_bidir", "-P", "2", "--omit", "100ms", "--json"]].concat();
    let found = record(&done(stream(serve.port, &args)).ok());
    let result = &found.flows[0].tests[0];
    assert!(result.test == Test::TcpBidir && result.verdict.valid, "{:?}", result.verdict);
    let round = &result.rounds[0];
    let (back_here, back_there) = (round.client.back.as_deref().unwrap(), round.server.back.as_deref().unwrap());
    let all =
        [("client", &round.client), ("server", &round.server), ("back here", back_here), ("back there", back_there)];
    for (what, side) in all {
        assert!(side.bytes() > 0 && side.intervals.len() >= 2, "{what}: {} intervals", side.intervals.len());
        assert_eq!(side.intervals.iter().map(|i| i.bytes).sum::<u64>(), side.bytes(), "{what}");
        assert_eq!(side.intervals.iter().map(|i| i.units).sum::<u64>(), side.units(), "{what}");
    }
    for (sender, receiver) in [(&round.client, &round.server), (back_there, back_here)] {
        for (a, b) in sender.streams.iter().zip(&receiver.streams) {
            assert_eq!(a.bytes + a.omitted_bytes, b.bytes + b.omitted_bytes);
        }
    }
}

#[test]
fn payload_is_checked_by_whichever_side_receives() {
    let serve = Serve::here(&[]);
    let tests = "tcp_stream,tcp_maerts,tcp_bidir,udp_stream";
    let args = [&SHORT[..], &["--test", tests, "--verify=7", "--rate", "200mbit", "--json"]].concat();
    let found = record(&done(stream(serve.port, &args)).ok());
    assert_eq!(found.flows[0].tests.len(), 4);
    for result in &found.flows[0].tests {
        let round = &result.rounds[0];
        for stream in round.client.both_ways().chain(round.server.both_ways()) {
            let seen = stream.verified.as_ref().unwrap_or_else(|| panic!("{}: not checked", result.test));
            assert!(seen.blocks > 0 && seen.corrupt == 0 && seen.ns_per_byte > 0.0, "{}: {seen:?}", result.test);
        }
    }
    let text =
        done(stream(serve.port, &["--test", "tcp_stream", "--rounds", "1", "--duration", "100ms", "--verify"])).ok();
    text.says("payload checked (CRC32C): ");
}

#[test]
fn what_it_cannot_do_is_refused_before_anybody_is_asked() {
    // Nobody listens at this port: the refusal comes first.
    for (args, reason) in [
        (&["--verify", "--test", "tcp_rr"][..], "--verify is for streams"),
        (&["--verify", "--test", "tcp_stream", "--recv", "trunc"], "it goes by write and recv"),
        (&["--under", "tcp_stream", "--test", "tcp_rr"], "--under is for `netbench run`"),
        (&["--frame-size", "64"], "--frame-size is for `netbench run`"),
        (&["--iperf3", "--verify"], "--verify is of netbench's own protocol"),
        (&["--iperf3", "--live"], "--live is of netbench's own protocol"),
        (&["--iperf3", "--burst", "4"], "--burst is of netbench's own protocol"),
    ] {
        let refused = done(stream(1, args)).exits(2);
        assert!(refused.stderr.contains(reason), "{refused}");
    }
}

#[test]
fn what_it_measures_is_kept_and_compared_with_the_same_server_only() {
    let serve = Serve::here(&[]);
    let folder = Folder::new("stream-kept");
    let store = folder.store();
    let args = ["--test", "tcp_rr,tcp_stream", "--rounds", "4", "--duration", "60ms", "--store", &store];
    let first = done(stream(serve.port, &args)).ok();
    assert!(first.stderr.contains("kept as run 1; `netbench compare` compares it with the one before"), "{first}");
    let second = done(stream(serve.port, &args)).ok();
    assert!(second.stderr.contains("kept as run 2"), "{second}");
    let not = done(stream(serve.port, &[&SHORT[..], &["--no-store"]].concat())).ok();
    assert!(!not.stderr.contains("kept"), "{not}");

    let listed = netbench(&["history", "--store", &store]).ok();
    assert_eq!(listed.stdout.lines().filter(|line| line.contains("TCP_RR")).count(), 2, "{listed}");
    assert!(listed.stdout.lines().skip(1).all(|line| line.contains("  -  ")), "{listed}");
    // As it was printed at first.
    let shown = netbench(&["show", "1", "--store", &store]).ok();
    assert_eq!(shown.stdout, first.stdout);
    let json = netbench(&["show", "2", "--json", "--store", &store]).ok();
    let again: RunRecord = serde_json::from_str(&json.stdout).unwrap();
    assert!(again.peer.is_some() && !json.stdout.contains(serving::TOKEN), "{json}");

    let compared = netbench(&["compare", "--store", &store]);
    assert!(matches!(compared.code, Some(0 | 1)), "{compared}");
    assert!(compared.stdout.contains("TCP_RR") && compared.stdout.contains("TCP_STREAM"), "{compared}");
    // Another server is another measurement.
    let mut other = again;
    other.peer.as_mut().unwrap().machine.hostname = "elsewhere".to_owned();
    let file = folder.0.join("other.json");
    fs::write(&file, serde_json::to_string(&other).unwrap()).unwrap();
    let refused = netbench(&["compare", "1", file.to_str().unwrap(), "--store", &store]).exits(2);
    assert!(refused.stderr.contains("server") && refused.stderr.contains("elsewhere"), "{refused}");
}
