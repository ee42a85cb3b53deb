//! The loops that move data ask nothing of the allocator, however many blocks, datagrams, frames or transactions they move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use lab::{Lab, NETBENCH};

/// What a thread may ask for when its window opens and when its loop has ended.
const FEW: u64 = 8;

/// Calls of the allocator between the opening of a window and its end, of each data thread.
fn asked(lab: &Lab, library: &Path, args: &[&str]) -> Vec<u64> {
    let file = format!("{}/allocations-{}", std::env::temp_dir().display(), std::process::id());
    let mut command = lab.command(NETBENCH);
    command.args(["run", "veth", "--no-store", "--rounds", "1", "--duration", "60s"]).args(args);
    let output = command.env("LD_PRELOAD", library).env("ALLOCATIONS", &file).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let mut threads: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let [thread, name, count] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if name.starts_with("stream-") {
            threads.entry(thread).or_default().push(count.parse().unwrap());
        }
    }
    let window = |counts: &Vec<u64>| {
        let &[_, opened, ended] = &counts[..] else { panic!("{args:?}: {counts:?}") };
        ended - opened
    };
    let mut windows: Vec<u64> = threads.values().map(window).collect();
    windows.sort_unstable();
    assert_eq!(windows.len(), 2, "{args:?}: a data thread at each end");
    windows
}

#[test]
fn no_unit_of_work_asks_the_allocator() {
    let Some(lab) = Lab::with("allocations", &["cc"]) else { return };
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("count.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/allocations/count.c");
    let built = Command::new("cc").args(["-O2", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success());
    let stream = ["--test", "tcp_stream", "--blocks"];
    let datagrams = ["--test", "udp_stream", "--length", "1400", "--blocks"];
    let frames = ["--test", "frame_stream", "--blocks"];
    for (args, units, more) in [
        (&stream[..], "200", &[][..]),
        (&stream, "200", &["--recv", "trunc"]),
        (&stream, "200", &["--send", "sendfile"]),
        (&stream, "200", &["--send", "zerocopy"]),
        (&stream, "200", &["--send", "splice", "--recv", "splice"]),
        (&stream, "200", &["--send", "splice", "--recv", "zerocopy", "--mss", "8204"]),
        (&stream, "200", &["--send", "uring", "--recv", "uring"]),
        (&stream, "200", &["--verify"]),
        (&datagrams, "5000", &[]),
        (&datagrams, "5000", &["--send", "mmsg", "--recv", "mmsg"]),
        (&datagrams, "2000", &["--send", "write", "--recv", "recv"]),
        (&datagrams, "2000", &["--rate", "500mbit", "--pacing", "timer"]),
        (&datagrams, "2000", &["--rate", "500mbit", "--verify"]),
        (&frames, "5000", &["--send", "ring"]),
        (&frames, "5000", &["--send", "mmsg"]),
        (&["--test", "tcp_rr", "--transactions"], "500", &[]),
        (&["--test", "udp_rr", "--transactions"], "500", &[]),
        (&["--test", "tcp_rr", "--transactions"], "500", &["--burst", "8"]),
        (&["--test", "udp_rr", "--transactions"], "500", &["--burst", "8"]),
        (&["--test", "tcp_rr", "--transactions"], "500", &["--rate", "5000/s"]),
        (&["--test", "udp_rr", "--transactions"], "500", &["--rate", "5000/s"]),
        (&["--test", "tcp_crr", "--transactions"], "50", &[]),
        (&["--test", "tcp_cc", "--transactions"], "50", &[]),
    ] {
        let counts = asked(&lab, &library, &[args, &[units], more].concat());
        println!("{units} {args:?} {more:?}: {counts:?}");
        // What is read when the window opens has a buffer.
        assert!(
            counts.iter().all(|&count| count <= FEW),
            "{counts:?} calls of the allocator for {units} {args:?} {more:?}"
        );
    }
}
