//! What the data threads call while their window is open: the calls that move data, as many as the blocks need, and nothing else. Seen
//! from outside, by strace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::{collections::BTreeMap, fs};

use lab::{Lab, NETBENCH};

/// The calls of the two data threads of a run, each from the opening of its window to its end: the sender's (or the client's) and the
/// receiver's.
fn traced(lab: &Lab, inject: &[&str], args: &[&str]) -> ([Vec<String>; 2], String) {
    let file = format!("{}/trace-{}", std::env::temp_dir().display(), std::process::id());
    let mut command = lab.command("strace");
    command.args(["-f", "-Y", "-qq", "-s", "0", "-o", &file]).args(inject).args([
        NETBENCH,
        "run",
        "veth",
        "--no-store",
    ]);
    let output = command.args(["--rounds", "1", "--json"]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let mut threads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in trace.lines() {
        // `4711<stream-0> sendto(…`; what goes on after another thread's line begins with `<...`.
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let (Some((id, name)), Some((call, _))) = (thread.split_once('<'), call.trim_start().split_once('(')) else {
            continue;
        };
        if name.starts_with("stream-") && !call.starts_with('<') {
            threads.entry(id).or_default().push(call);
        }
    }
    // The thread asks for its own cost when its window opens and when its loop has ended.
    let window = |calls: &Vec<&str>| -> Vec<String> {
        let usage: Vec<usize> = (0..calls.len()).filter(|&i| calls[i] == "getrusage").collect();
        let &[_, opened, ended] = &usage[..] else { panic!("{args:?}: {calls:?}") };
        let inside = &calls[opened + 1..ended];
        // Then it reads once how long it has waited for a CPU.
        let opening = inside.iter().position(|&call| call == "close").unwrap();
        inside[opening + 1..].iter().map(|&call| call.to_owned()).collect()
    };
    let mut windows: Vec<Vec<String>> = threads.values().map(window).collect();
    // Both directions of io_uring go by the same call: the other end is told by its own.
    let rank = |calls: &Vec<String>| match calls[0].as_str() {
        "io_uring_enter" => 1,
        call if SENDS.contains(&call) => 0,
        _ => 2,
    };
    windows.sort_by_key(rank);
    let both = <[Vec<String>; 2]>::try_from(windows);
    (both.unwrap_or_else(|windows| panic!("{args:?}: {} data threads", windows.len())), said)
}

const SENDS: [&str; 5] = ["sendto", "sendfile", "tee", "sendmmsg", "ppoll"];

/// Up to the last call that moves data, there are only calls that do; how many of each.
#[track_caller]
fn only(calls: &[String], allowed: &[&str], what: &str) -> BTreeMap<String, usize> {
    let last = calls.iter().rposition(|call| call == allowed[0]).unwrap_or_else(|| panic!("{what}: {calls:?}"));
    let mut counts = BTreeMap::new();
    // The vDSO leaves the clock to the kernel for a moment when the hypervisor says that it moves: a loop that asked the kernel
    // would do so for each block.
    let clock = calls[..=last].iter().filter(|call| *call == "clock_gettime").count();
    assert!(clock * 20 <= last + 1, "{what}: {clock} clock_gettime among {} calls", last + 1);
    for call in calls[..=last].iter().filter(|call| *call != "clock_gettime") {
        assert!(allowed.contains(&call.as_str()), "{what}: {call} in the hot loop");
        *counts.entry(call.clone()).or_default() += 1;
    }
    println!("{what}: {counts:?}");
    counts
}

struct Case {
    args: &'static [&'static str],
    /// What the sender may call, the call that moves data first, and how often at most.
    sender: (&'static [&'static str], usize),
    /// The same of the receiver.
    receiver: (&'static [&'static str], usize),
}

const BLOCKS: usize = 240;
/// A blocked send or receive comes back now and then.
const PAUSES: usize = 40;
/// However small the pieces are in which a slow receiver is served.
const ANY: usize = usize::MAX;

#[test]
fn a_stream_calls_what_moves_its_blocks_and_nothing_else() {
    let Some(lab) = Lab::with("hot-streams", &["strace"]) else { return };
    let cases = [
        Case { args: &[], sender: (&["sendto"], BLOCKS + PAUSES), receiver: (&["recvfrom"], ANY) },
        Case { args: &["--recv", "trunc"], sender: (&["sendto"], BLOCKS + PAUSES), receiver: (&["recvfrom"], ANY) },
        Case { args: &["--send", "sendfile"], sender: (&["sendfile"], 4 * BLOCKS), receiver: (&["recvfrom"], ANY) },
        Case {
            args: &["--send", "zerocopy"],
            sender: (&["sendto", "recvmsg", "ppoll"], 3 * BLOCKS + PAUSES),
            receiver: (&["recvfrom"], ANY),
        },
        Case {
            args: &["--send", "splice", "--recv", "splice"],
            sender: (&["splice", "tee"], 3 * BLOCKS + PAUSES),
            receiver: (&["splice"], ANY),
        },
        Case {
            args: &["--send", "splice", "--recv", "zerocopy"],
            sender: (&["splice", "tee"], 3 * BLOCKS + PAUSES),
            receiver: (&["recvfrom", "getsockopt", "ppoll"], ANY),
        },
        Case {
            args: &["--send", "uring"],
            sender: (&["io_uring_enter"], BLOCKS / 8 + PAUSES),
            receiver: (&["recvfrom"], ANY),
        },
        Case {
            args: &["--recv", "uring"],
            sender: (&["sendto"], BLOCKS + PAUSES),
            receiver: (&["io_uring_enter"], ANY),
        },
    ];
    for Case { args, sender, receiver } in cases {
        let what = format!("TCP_STREAM {}", args.join(" "));
        let all = [&["--test", "tcp_stream", "--blocks", "240"][..], args].concat();
        let ([sends, receives], _) = traced(&lab, &[], &all);
        for (calls, (allowed, most), end) in [(&sends, sender, "sender"), (&receives, receiver, "receiver")] {
            let counts = only(calls, allowed, &format!("{what}: {end}"));
            assert!(counts.values().sum::<usize>() <= most, "{what}: {end}: {counts:?}");
        }
    }
}

#[test]
fn datagrams_and_frames_go_and_come_many_at_a_call() {
    let Some(lab) = Lab::with("hot-datagrams", &["strace"]) else { return };
    let blocks: usize = 20_000;
    for (args, sender, waits) in [
        (&["--test", "udp_stream", "--length", "1400"][..], "sendmmsg", false),
        (&["--test", "frame_stream", "--send", "mmsg"], "sendmmsg", true),
        (&["--test", "frame_stream", "--send", "ring"], "sendto", true),
    ] {
        let what = args.join(" ");
        let ([sends, receives], said) = traced(&lab, &[], &[args, &["--blocks", "20000"]].concat());
        let counts = only(&sends, &[sender, "ppoll"], &format!("{what}: sender"));
        assert!(counts.values().sum::<usize>() <= blocks / 16, "{what}: {counts:?}");
        let counts = only(&receives, &["recvmmsg"], &format!("{what}: receiver"));
        let record: serde_json::Value = serde_json::from_str(&said).unwrap();
        let came =
            record["flows"][0]["tests"][0]["rounds"][0]["server"]["streams"][0]["units"].as_u64().unwrap() as usize;
        // What comes in bundles comes many at a call however fast the receiver is; frames only as many as wait.
        assert!(waits || counts["recvmmsg"] <= came / 16 + PAUSES, "{what}: {counts:?} for {came}");
    }
}

#[test]
fn a_transaction_is_one_send_and_one_receive_at_each_end() {
    let Some(lab) = Lab::with("hot-requests", &["strace"]) else { return };
    for test in ["tcp_rr", "udp_rr"] {
        let ([client, server], _) = traced(&lab, &[], &["--test", test, "--transactions", "500"]);
        // The server's window opens with its first answer: its threads are told apart by their first call.
        for (calls, end) in [(&client, "client"), (&server, "server")] {
            let counts = only(calls, &["sendto", "recvfrom", "rt_sigreturn"], &format!("{test}: {end}"));
            let (sends, receives) = (counts["sendto"], counts["recvfrom"]);
            assert!((499..=500).contains(&sends), "{test}: {end}: {counts:?}");
            assert!((sends - 1..=sends + PAUSES).contains(&receives), "{test}: {end}: {counts:?}");
        }
    }
}

#[test]
fn without_io_uring_a_stream_goes_the_plain_way_and_says_so() {
    let Some(lab) = Lab::with("no-uring", &["strace"]) else { return };
    let inject = ["-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=EPERM"];
    let file = ["-f", "-qq", "-o", "/dev/null"];
    let mut command = lab.command("strace");
    command.args(file).args(inject).args([
        NETBENCH,
        "run",
        "veth",
        "--no-store",
        "--rounds",
        "1",
        "--duration",
        "200ms",
    ]);
    let output = command.args(["--test", "tcp_stream", "--send", "uring", "--recv", "uring"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success(), "{said}");
    for what in
        ["io_uring cannot be used here (Operation not permitted (os error 1)): sent by write", ": received by recv"]
    {
        assert!(said.contains(what), "{said}");
    }
}

/// Each option of a socket reaches the kernel, which takes it, at both ends.
#[test]
fn every_option_of_a_socket_is_set() {
    let Some(lab) = Lab::with("socket-options", &["strace"]) else { return };
    let file = format!("{}/options-{}", std::env::temp_dir().display(), std::process::id());
    let tcp = "--test tcp_stream --mss 1000 --congestion reno --dscp 46 --nodelay --pacing-rate 1gbit --sndbuf 300k --rcvbuf 200k --recv-lowat 64k";
    let udp = "--test udp_stream --rate 50mbit --dscp 10 --sndbuf 300k --rcvbuf 200k";
    // Raising it takes the machine's root.
    let busy = if lab::is_root() { "--busy-poll 50" } else { "" };
    let both = ["IP_TOS, [184]", "TCP_NODELAY, [1]", "TCP_CONGESTION, ", "TCP_MAXSEG, [1000]", "SO_MAX_PACING_RATE, "];
    for (options, expected) in [(tcp, &both[..]), (udp, &["IP_TOS, [40]", "IP_MTU_DISCOVER, [2]"])] {
        let mut command = lab.command("strace");
        command.args(["-f", "-qq", "-e", "trace=setsockopt", "-o", &file, NETBENCH, "run", "veth", "--no-store"]);
        command.args(["--rounds", "1", "--duration", "50ms"]).args(options.split(' '));
        let output = command.args(busy.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{options}: {}", String::from_utf8_lossy(&output.stderr));
        let trace = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let taken = |what: &str| trace.lines().filter(|line| line.contains(what) && line.ends_with("= 0")).count();
        for what in expected {
            assert!(taken(what) >= 2, "{options}: {what} was not set at both ends\n{trace}");
        }
        // Some are of one end: its buffer, and when its reader is woken.
        for (what, wanted) in [("SO_SNDBUF", true), ("SO_RCVBUF", true), ("SO_RCVLOWAT, [65536]", options == tcp)] {
            assert_eq!(taken(what) >= 1, wanted, "{options}: {what}\n{trace}");
        }
        assert_eq!(taken("SO_BUSY_POLL, [50]") >= 2, !busy.is_empty(), "{options}\n{trace}");
    }
}
