//! `--pacing`: the rate that is kept, the gaps and bursts that are told, and what a sender that stood still does not make up for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::{process::Command, time::Duration};

use lab::{Done, Lab, PATIENCE, eventually, is_root, skip, skip_to_lab};
use netbench::{
    measured::{Paced, Pacing, Stream, StreamPacer},
    record::{LossPlace, RunRecord},
};

/// 100 Mbit/s of 1472 bytes: a gap of 117,760 ns.
const ARGS: [&str; 10] =
    ["run", "veth", "--test", "udp_stream", "--rate", "100mbit", "--rounds", "1", "--json", "--no-store"];
const GAP_NS: u64 = 117_760;

fn record(done: &Done) -> RunRecord {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}\n{done}"))
}

fn sender(record: &RunRecord) -> (&Stream, &Paced) {
    let stream = &record.flows[0].tests[0].rounds[0].client.streams[0];
    (stream, stream.io.as_ref().unwrap().paced.as_ref().unwrap())
}

/// What was due was sent or is told as missed, to the datagram: no time is made up for in silence, and none is lost in it.
#[track_caller]
fn check(stream: &Stream, paced: &Paced) {
    let due = stream.elapsed_ns / GAP_NS + 1;
    let accounted = stream.units + paced.missed;
    // What became due while the last call ran was not looked at any more.
    assert!(
        accounted <= due + 1 && accounted + paced.burst_limit + 50 >= due,
        "{due} due: {} sent, {paced:?}",
        stream.units
    );
    assert_eq!(paced.asked_ns, GAP_NS);
    assert!(paced.largest_burst <= paced.burst_limit + 1, "{paced:?}");
    assert!(paced.p50_ns <= paced.p99_ns && paced.p99_ns <= paced.max_ns * 102 / 100, "{paced:?}");
    let seconds = stream.elapsed_ns as f64 / 1e9;
    assert!(stream.bytes as f64 * 8.0 / seconds <= 100e6 * 1.01, "{} bytes in {seconds} s", stream.bytes);
}

#[test]
fn every_way_keeps_the_rate_and_tells_its_gaps() {
    let Some(lab) = Lab::new("pacing") else { return };
    for (asked, limit) in [(None, 84), (Some("timer"), 2), (Some("spin"), 1), (Some("auto"), 2)] {
        let mut args = [&ARGS[..], &["--duration", "400ms", "--omit", "100ms"]].concat();
        args.extend(asked.iter().flat_map(|way| ["--pacing", way]));
        let found = record(&lab.netbench(&args).ok());
        let (stream, paced) = sender(&found);
        check(stream, paced);
        assert!(paced.burst_limit <= limit, "{asked:?}: {paced:?}");
        match asked {
            Some("spin") => assert_eq!(paced.by, Some(Pacing::Spin)),
            // The kernel of this veth pair has no queueing discipline, so that the first rung is out.
            Some("auto") => {
                assert!(matches!(paced.by, Some(Pacing::Timer | Pacing::Spin)), "{paced:?}");
                assert!(paced.why.as_ref().unwrap().contains("a gap is 117.8 µs"), "{paced:?}");
            }
            _ => assert!(paced.by == Some(Pacing::Timer) && paced.why.is_none(), "{paced:?}"),
        }
    }
    let mut args = ARGS.to_vec();
    args.retain(|word| *word != "--json");
    let text = lab.netbench(&[&args[..], &["--duration", "100ms", "--pacing", "timer"]].concat()).ok();
    text.says("kept by timer").says("gaps p50 ").says("asked 118 µs").says("largest burst ").says("limit 2");
}

/// A sender that stands still for a third of the window makes up for its limit and no more; the rest is told.
#[test]
fn a_sender_that_stood_still_does_not_catch_up() {
    let Some(lab) = Lab::new("pacing-stop") else { return };
    for way in ["timer", "spin"] {
        let command = lab.netbench_command(&[&ARGS[..], &["--duration", "3s", "--pacing", way]].concat());
        let run = lab.background(command);
        let children = || {
            let path = format!("/proc/{0}/task/{0}/children", run.id());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // A worker is in the namespace of its node: the datagrams sent there are those of the window.
        let sends = |id: &str| {
            let text = std::fs::read_to_string(format!("/proc/{id}/net/snmp")).unwrap_or_default();
            let sent =
                text.lines().filter_map(|line| line.strip_prefix("Udp: ")?.split(' ').nth(3)?.parse::<u64>().ok());
            sent.sum::<u64>() > 1000
        };
        assert!(eventually(PATIENCE, || children().iter().any(|id| sends(id))), "{way}: nobody sends");
        // The sender and the receiver: both stand still.
        let all = children();
        let signal = |what: &str| assert!(Command::new("kill").arg(what).args(&all).status().unwrap().success());
        signal("-STOP");
        std::thread::sleep(Duration::from_millis(500));
        signal("-CONT");
        let found = record(&run.wait(way).ok());
        let (stream, paced) = sender(&found);
        check(stream, paced);
        assert!(paced.max_ns >= 450_000_000, "{way}: it did not stand still: {paced:?}");
        // What 450 ms would have carried, but for the limit.
        assert!(paced.missed >= 450_000_000 / GAP_NS - paced.burst_limit, "{way}: {paced:?}");
        let said = &found.flows[0].tests[0].verdict;
        let warned = |text: &String| text.contains("were due and never sent");
        assert!(found.warnings.iter().chain(&said.reasons).any(warned) || shows(&lab, &found), "{way}: {said:?}");
    }
}

/// Does the report of this record warn?
fn shows(lab: &Lab, record: &RunRecord) -> bool {
    let file = lab.file("record.json", &serde_json::to_string(record).unwrap());
    let shown = lab.netbench(&["show", &file]).ok();
    shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ").contains("datagrams were due and never sent")
}

#[test]
fn fq_is_proved_and_not_believed() {
    let Some(lab) = Lab::new("pacing-fq") else { return };
    let args = [&ARGS[..], &["--duration", "100ms", "--pacing", "fq"]].concat();
    let refused = lab.netbench(&args).exits(5);
    refused.says("client/eth0 has the queueing discipline noqueue").says("take timer, spin or auto");
    assert_eq!(lab.namespaces(), Vec::<String>::new());
    for (more, reason) in [
        (&["run", "veth", "--test", "udp_stream", "--pacing", "timer"][..], "say which with --rate"),
        (&["run", "veth", "--test", "tcp_stream", "--rate", "1gbit", "--pacing", "spin"], "is for udp_stream"),
        (&["run", "veth", "--rate", "1gbit", "--pacing", "htb"], "it is one of auto, fq, timer, spin"),
        (&["run", "veth", "--test", "tcp_rr", "--pacing", "fq"], "is for udp_stream and TCP streams"),
        (&["stream", "127.0.0.1", "--iperf3", "--pacing", "spin"], "--pacing is of netbench's own protocol"),
    ] {
        let refused = lab.netbench(more).exits(2);
        assert!(refused.stderr.contains(reason), "{refused}");
    }
}

/// Who spaced the segments of the sender and, in a test of both directions, of the other end.
fn spacers(record: &RunRecord) -> Vec<Option<StreamPacer>> {
    let test = &record.flows[0].tests[0];
    assert!(test.verdict.valid, "{:?}", test.verdict);
    let round = &test.rounds[0];
    let sides = [Some(&round.client), Some(&round.server), round.client.back.as_deref(), round.server.back.as_deref()];
    let streams = sides.into_iter().flatten().flat_map(|side| &side.streams);
    streams.filter_map(|s| s.io.as_ref()).filter(|io| io.send.is_some()).map(|io| io.paced_by).collect()
}

/// A rate of TCP is told with what keeps it, in every direction and over `stream`; without fq it is TCP itself.
#[test]
fn a_tcp_stream_says_what_spaces_it() {
    let Some(lab) = Lab::new("pacing-tcp") else { return };
    let usual = ["--rate", "50mbit", "--duration", "600ms", "--rounds", "1", "--json", "--no-store"];
    for (test, more, expected) in [
        ("tcp_stream", &["--pacing", "auto"][..], 1),
        ("tcp_maerts", &[], 1),
        ("tcp_bidir", &["--pacing", "auto"], 2),
        ("tcp_stream", &["--streams", "3"], 3),
    ] {
        let found = record(&lab.netbench(&[&["run", "veth", "--test", test], &usual[..], more].concat()).ok());
        assert_eq!(spacers(&found), vec![Some(StreamPacer::Tcp); expected], "{test}");
        let rate = found.flows[0].tests[0].rounds[0].headline / f64::from(expected as u32);
        // The first ten segments are not spaced, and the send buffer is full when the window ends.
        assert!(rate < 50e6 * 1.4, "{test}: {rate} bits per second");
    }
    let unpaced = ["run", "veth", "--test", "tcp_stream", "--duration", "100ms", "--rounds", "1", "--json"];
    assert_eq!(spacers(&record(&lab.netbench(&unpaced).ok())), [None]);
    let args = ["run", "veth", "--test", "tcp_stream", "--rate", "50mbit", "--duration", "100ms", "--rounds", "1"];
    lab.netbench(&args).ok().says("paced at 50mbit").says("spaced by TCP itself, without fq");
    lab.netbench(&[&args[..], &["--pacing", "fq"]].concat()).exits(5).says("for a TCP stream leave --pacing out");

    let _server = lab.background(lab.netbench_command(&["serve", "--port", "5998", "--open"]));
    assert!(eventually(PATIENCE, || lab.sh("ss -Hltn").contains(":5998")));
    let to = ["stream", "127.0.0.1", "-p", "5998", "--test"];
    for test in ["tcp_stream", "tcp_maerts"] {
        let found = record(&lab.netbench(&[&to[..], &[test], &usual[..], &["--pacing", "auto"]].concat()).ok());
        assert_eq!(spacers(&found), [Some(StreamPacer::Tcp)], "{test}");
    }
    for test in ["tcp_stream", "udp_stream"] {
        let refused = lab.netbench(&[&to[..], &[test, "--rate", "50mbit", "--pacing", "fq"]].concat()).exits(5);
        let refused =
            refused.says("lo has the queueing discipline noqueue").says("for datagrams take timer, spin or auto");
        refused.says("tc qdisc replace dev DEVICE root fq");
    }
    // And what it says to take is taken.
    let timed = ["udp_stream", "--rate", "50mbit", "--pacing", "timer", "--duration", "100ms", "--rounds", "1"];
    lab.netbench(&[&to[..], &timed].concat()).ok().says("kept by timer");
    // What the server sends is its own to look at.
    let refused = lab.netbench(&[&to[..], &["tcp_maerts", "--rate", "50mbit", "--pacing", "fq"]].concat());
    let refused = refused.exits(4).says("--pacing fq:").says("the server's lo has the queueing discipline noqueue");
    let said = refused.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("for a TCP stream leave --pacing out: with --rate it spaces itself"), "{refused}");
}

#[test]
fn fq_spaces_what_the_sender_hands_over() {
    let Some(lab) = Lab::new("pacing-fq-there") else { return };
    if !is_root() {
        return skip("a topology that stays up needs root");
    }
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let client = lab.namespaces().into_iter().find(|name| name.ends_with("client")).unwrap();
    let made = lab.try_sh(&format!("tc -n {client} qdisc replace dev eth0 root fq"));
    if made.code != Some(0) {
        lab.netbench(&["topo", "destroy", "veth"]).ok();
        return skip_to_lab("this kernel has no fq (CONFIG_NET_SCH_FQ)");
    }
    let mut dropped = 0;
    for way in ["fq", "auto"] {
        let args = [&ARGS[..], &["--duration", "2s", "--pacing", way, "--send", "write"]].concat();
        let found = record(&lab.netbench(&args).ok());
        let (stream, paced) = sender(&found);
        assert_eq!(paced.by, Some(Pacing::Fq), "{way}: {paced:?}");
        check(stream, paced);
        let throttled = lab.sh(&format!("tc -n {client} -s qdisc show dev eth0"));
        // The last of a name is the sum: `(inactive 1 throttled 0)` is of now.
        let count = |word: &str| -> u64 {
            // What never happened is not shown.
            let Some((_, after)) = throttled.rsplit_once(&format!("{word} ")) else { return 0 };
            after.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
        };
        assert!(count("throttled") > 0, "fq held nothing back: {throttled}");
        // On a loaded machine fq is late as well, does not make up for all of it, and takes 100 packets of a flow: what it drops then
        // is told, to the datagram.
        let losses = &found.flows[0].tests[0].rounds[0].losses;
        let told: u64 = losses.iter().filter(|loss| loss.place == LossPlace::Qdisc).map(|loss| loss.datagrams).sum();
        assert_eq!((count("dropped") - dropped, count("flows_plimit")), (told, count("dropped")), "{throttled}");
        dropped = count("dropped");
    }
    // TCP leaves it to fq, in a run and between two hosts; the server has none.
    let tcp = ["--rate", "50mbit", "--duration", "1s", "--rounds", "1", "--json", "--no-store", "--pacing"];
    let found = record(&lab.netbench(&[&["run", "veth", "--test", "tcp_stream"], &tcp[..], &["fq"]].concat()).ok());
    assert_eq!(spacers(&found), [Some(StreamPacer::Fq)]);
    let exec = |node: &'static str| ["topo", "exec", "veth", node, "--", lab::NETBENCH];
    let serve = [&exec("server")[..], &["serve", "--bind", "any", "--port", "5997", "--open"]].concat();
    let serving = lab.background(lab.netbench_command(&serve));
    let server = client.replace("client", "server");
    assert!(eventually(PATIENCE, || lab.sh_in(&server, "ss -Hltn").contains(":5997")));
    let to = |test| [&exec("client")[..], &["stream", "198.18.0.2", "-p", "5997", "--test", test], &tcp[..]].concat();
    let found = record(&lab.netbench(&[&to("tcp_stream")[..], &["fq"]].concat()).ok());
    assert_eq!(spacers(&found), [Some(StreamPacer::Fq)]);
    let found = record(&lab.netbench(&[&to("udp_stream")[..], &["auto"]].concat()).ok());
    assert_eq!(sender(&found).1.by, Some(Pacing::Fq));
    let refused = lab.netbench(&[&to("tcp_maerts")[..], &["fq"]].concat()).exits(4);
    refused.says("the server's eth0 has the queueing discipline noqueue");
    drop(serving);
    lab.netbench(&["topo", "destroy", "veth"]).ok();
}
