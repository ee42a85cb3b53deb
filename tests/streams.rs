//! The traffic engine, its workers and the path evidence on the real kernel, in namespaces of the test's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use cables::Lab;
use netbench::{
    agent::{
        Workers,
        message::{FromDriver, FromWorker},
    },
    experiment::{Options, Progress, options::Asked, run},
    facts::Machine,
    measured::{ReceiveMode, SendMode, Side, Test},
    plan::desired::FlowPath,
    record::{PathVerdict, RunRecord, TestRecord, TopologyRef},
    topology::model::TestDefaults,
    units::{CpuList, Span},
};

fn options(tests: &[Test], millis: u64) -> Options {
    let asked = Asked {
        tests: Some(tests.to_vec()),
        duration: Some(Span(Duration::from_millis(millis))),
        rounds: Some(1),
        ..Asked::default()
    };
    Options::merge(asked, &TestDefaults::default()).unwrap()
}

fn record() -> RunRecord {
    RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], TopologyRef::default(), Machine::default())
}

fn measure(lab: &Lab, flow: FlowPath, options: &Options) -> RunRecord {
    let mut record = record();
    let mut snapshot = || Ok(lab.counters());
    let interrupt = AtomicBool::new(false);
    run(&mut record, &[flow], options, &mut lab.workers(), &mut snapshot, &mut |_| {}, &interrupt).unwrap();
    record
}

fn check_side(side: &Side, what: &str) {
    assert_eq!(side.intervals.iter().map(|i| i.bytes).sum::<u64>(), side.bytes(), "{what}: bytes of intervals");
    assert_eq!(side.intervals.iter().map(|i| i.units).sum::<u64>(), side.units(), "{what}: units of intervals");
    assert!(side.intervals.windows(2).all(|w| w[0].end_ns == w[1].start_ns), "{what}: {:?}", side.intervals);
    let longest = side.streams.iter().map(|s| s.elapsed_ns).max().unwrap();
    assert_eq!(side.intervals.last().unwrap().end_ns, longest, "{what}");
}

fn check(result: &TestRecord, streams: usize) {
    let test = result.test;
    assert!(result.verdict.valid, "{test}: {:?}", result.verdict.reasons);
    let round = &result.rounds[0];
    assert_eq!(round.path.verdict, PathVerdict::Proved, "{test}");
    assert_eq!((round.client.streams.len(), round.server.streams.len()), (streams, streams));
    check_side(&round.client, &format!("{test} client"));
    check_side(&round.server, &format!("{test} server"));
    assert!(round.headline > 0.0);
    let (senders, receivers) =
        if test.is_reverse() { (&round.server, &round.client) } else { (&round.client, &round.server) };
    for (a, b) in senders.streams.iter().zip(&receivers.streams) {
        assert_eq!((&a.local, &a.peer), (&b.peer, &b.local), "{test}: streams are matched end to end");
        assert!(b.bytes <= a.bytes || test.is_rr() || b.omitted_bytes > 0);
        assert!(a.cpu.system_ns > 0 || a.cpu.user_ns > 0);
        assert_eq!(a.tcp.is_some(), !test.is_connectionless() && !test.is_per_connection());
        match test {
            Test::UdpStream => {
                let seen = b.datagrams.as_ref().unwrap();
                assert_eq!((seen.sent, seen.received), (a.units, b.units));
                assert_eq!(seen.sent, seen.received + seen.lost);
                assert_eq!((seen.duplicates, seen.beyond_window, seen.malformed), (0, 0, 0));
                assert_eq!(b.bytes, b.units * result.settings.length.0);
                // On a veth nothing but the receiving socket can lose them; its count includes the warm-up's, and the last
                // bundle may not have been full.
                let drops = seen.socket_drops.unwrap();
                let bundle = u64::from(b.io.as_ref().unwrap().segments.unwrap_or(1));
                assert!(seen.lost <= drops && (a.omitted_units > 0 || drops < seen.lost + 2 * bundle), "{seen:?}");
            }
            Test::FrameStream => {
                let seen = b.datagrams.as_ref().unwrap();
                assert_eq!((seen.sent, seen.sent), (a.units, seen.received + seen.lost));
            }
            test if test.is_byte_stream() => {
                assert_eq!(a.bytes + a.omitted_bytes, b.bytes + b.omitted_bytes);
                assert!(a.tcp.as_ref().unwrap().retransmits.is_some() && a.socket.congestion.is_some());
            }
            // A request that was late by itself was asked again, and both were answered.
            _ => {
                let (asked, answered) = (a.units + a.omitted_units, b.units + b.omitted_units);
                assert!((asked..=asked + a.retries.unwrap_or(0)).contains(&answered), "{test}: {a:?} {answered}");
            }
        }
    }
    if let Some(l) = &round.client.latency {
        assert_eq!(l.count, round.client.units());
        let ladder = [l.min_ns, l.p50_ns, l.p90_ns, l.p99_ns, l.p99_9_ns, l.p99_99_ns, l.p99_999_ns, l.max_ns];
        assert!(ladder.is_sorted() && l.min_ns > 0, "{ladder:?}");
    }
    assert_eq!(test.is_rr(), round.client.latency.is_some());
}

#[test]
fn all_tests_keep_their_books() {
    let Some(lab) = Lab::new(1) else { return };
    let record = measure(&lab, lab.flow(0, false), &options(&Test::ALL, 300));
    record.flows[0].tests.iter().for_each(|test| check(test, 1));
    assert!(record.is_valid() && !record.interrupted);
    netbench::report::text(&record, &mut anstream::StripStream::new(std::io::stderr())).unwrap();
}

#[test]
fn parallel_pinned_streams_with_warm_up_over_ipv6() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&Test::ALL, 300);
    options.streams = 3;
    options.omit = Span(Duration::from_millis(100));
    options.cpus = [("client".to_owned(), CpuList(vec![0]))].into();
    let record = measure(&lab, lab.flow(0, true), &options);
    for test in &record.flows[0].tests {
        check(test, 3);
        let round = &test.rounds[0];
        // The warm-up is beside the figures at both ends.
        for stream in round.client.streams.iter().chain(&round.server.streams) {
            assert!(stream.omitted_bytes > 0 || stream.omitted_units > 0, "{}: {stream:?}", test.test);
        }
        assert!(round.client.streams.iter().all(|s| s.cpu.pinned == Some(CpuList(vec![0]))));
        assert!(round.server.streams.iter().all(|s| s.cpu.pinned.is_none()));
    }
}

#[test]
fn a_paced_stream_keeps_its_rate_and_loses_nothing() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::UdpStream, Test::TcpStream], 500);
    options.rate = Some("20mbit".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let [udp, tcp] = &record.flows[0].tests[..] else { panic!() };
    check(udp, 1);
    check(tcp, 1);
    // By the sender's clock: a busy machine may open the receiver's window late.
    let rate = udp.rounds[0].client.bits_per_second();
    assert!((5e6..=25e6).contains(&rate), "{rate}");
    assert_eq!(udp.rounds[0].server.streams[0].datagrams.as_ref().unwrap().lost, 0);
    assert!(tcp.rounds[0].client.bytes() < 10_000_000, "{}", tcp.rounds[0].client.bytes());
}

#[test]
fn one_worker_plays_both_ends_of_a_loopback() {
    let Some(lab) = Lab::new(0) else { return };
    let mut flow = lab.flow(0, false);
    flow.to_ns = flow.from_ns.clone();
    flow.flow.from_address = "127.0.0.1".parse().unwrap();
    flow.flow.to_address = "127.0.0.1".parse().unwrap();
    flow.flow.mtu = 65536;
    flow.hops.clear();
    let record = measure(&lab, flow, &options(&Test::ALL, 100));
    assert!(record.is_valid(), "{:?}", record.flows);
    assert!(record.flows[0].tests.iter().all(|test| test.rounds[0].path.verdict == PathVerdict::NoHops));
}

#[test]
fn a_path_narrower_than_declared_is_said() {
    let Some(lab) = Lab::new(1) else { return };
    lab.ip("client", "link set eth0 mtu 1500");
    for (ipv6, length) in [(false, 8972), (true, 8952)] {
        let record = measure(&lab, lab.flow(0, ipv6), &options(&[Test::UdpStream], 100));
        let test = &record.flows[0].tests[0];
        let reason = &test.verdict.reasons[0];
        let said = format!("a datagram of {length} bytes does not fit the path (EMSGSIZE)");
        assert!(reason.contains(&said), "{reason}");
        assert!(!test.verdict.valid && test.rounds.is_empty());
    }
}

#[test]
fn rounds_are_interleaved_and_summarised() {
    let Some(lab) = Lab::new(1) else { return };
    let options = Options { rounds: 6, ..options(&[Test::TcpStream, Test::UdpRr], 50) };
    let (mut record, mut order) = (record(), Vec::new());
    let mut snapshot = || Ok(lab.counters());
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Begin(step) = progress {
            order.push((step.round, step.test));
        }
    };
    let never = AtomicBool::new(false);
    run(&mut record, &[lab.flow(0, false)], &options, &mut lab.workers(), &mut snapshot, &mut progress, &never)
        .unwrap();
    let expected: Vec<_> = (1..=6).flat_map(|round| [(round, Test::TcpStream), (round, Test::UdpRr)]).collect();
    assert_eq!(order, expected);
    for test in &record.flows[0].tests {
        check(test, 1);
        let spread = test.summary.as_ref().unwrap().headline;
        let interval = spread.interval.expect("six rounds give an interval");
        assert!(spread.samples == 6 && interval.low <= spread.median && spread.median <= interval.high);
        assert!(interval.coverage > 0.95);
    }
}

#[test]
fn traffic_on_another_wire_is_no_result() {
    let Some(lab) = Lab::new(2) else { return };
    // Declared to cross eth0, addressed to eth1.
    let record = measure(&lab, lab.flow(1, false), &options(&[Test::TcpStream, Test::UdpRr], 100));
    assert!(!record.is_valid());
    for test in &record.flows[0].tests {
        let PathVerdict::NotProved { reason } = &test.rounds[0].path.verdict else { panic!("{}", test.test) };
        assert!(reason.starts_with("client/eth0 counted"), "{reason}");
        assert!(test.verdict.reasons[0].contains("path not proved"), "{:?}", test.verdict);
    }
    let strays = &record.flows[0].tests[0].rounds[0].path.strays;
    assert!(strays.iter().any(|s| s.at == "server/eth1"), "{strays:?}");
}

#[test]
fn a_cut_wire_stops_no_request_response_test() {
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
    let options = Options { interval: Span(Duration::from_millis(50)), ..options(&[Test::UdpRr], 3000) };
    let never = AtomicBool::new(false);
    run(&mut record, &[lab.flow(0, false)], &options, &mut lab.workers(), &mut snapshot, &mut progress, &never)
        .unwrap();
    let round = &record.flows[0].tests[0].rounds[0];
    check_side(&round.client, "UDP_RR client");
    assert!(round.client.streams[0].retries.unwrap() > 0);
    let silent = round.client.intervals.iter().filter(|i| i.units == 0).count();
    assert!(silent > 0, "{:?}", round.client.intervals);
    assert!(round.client.intervals.last().unwrap().units > 0, "it went on: {:?}", round.client.intervals);
    // The transaction that waited for the wire is in the histogram.
    assert!(round.client.latency.unwrap().max_ns > 200_000_000);
}

#[test]
fn a_receiver_that_reads_too_little_is_charged_to_its_socket() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::UdpStream], 300);
    options.socket_buffer = Some("16k".parse().unwrap());
    options.cpus = [("client", 0), ("server", 0)].map(|(node, cpu)| (node.to_owned(), CpuList(vec![cpu]))).into();
    let record = measure(&lab, lab.flow(0, false), &options);
    let test = &record.flows[0].tests[0];
    check(test, 1);
    let seen = test.rounds[0].server.streams[0].datagrams.as_ref().unwrap();
    assert!(seen.lost > 0, "{seen:?}");
    assert!(record.warnings.iter().any(|w| w.contains("dropped by the receiving socket")), "{:?}", record.warnings);
}

#[test]
fn requests_on_a_schedule_are_timed_from_it() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpRr, Test::UdpRr], 400);
    options.transactions = Some(2000);
    options.omit = Span(Duration::from_millis(50));
    let record = measure(&lab, lab.flow(0, false), &options);
    for test in &record.flows[0].tests {
        check(test, 1);
        let round = &test.rounds[0];
        let schedule = round.client.streams[0].schedule.unwrap();
        assert_eq!(schedule.requests, 800, "{}: the rate is kept to the request", test.test);
        assert_eq!((round.client.units(), schedule.unanswered), (800, 0));
        let (corrected, uncorrected) = (round.client.latency.unwrap(), round.client.uncorrected.unwrap());
        assert_eq!((corrected.count, uncorrected.count), (800, 800));
        assert!(corrected.max_ns >= uncorrected.max_ns && corrected.p50_ns >= uncorrected.p50_ns);
    }
}

#[test]
fn a_stall_is_charged_to_every_request_that_waited_for_it() {
    let Some(lab) = Lab::new(1) else { return };
    let (mut record, mut looks) = (record(), 0);
    let mut snapshot = || Ok(lab.counters());
    let mut workers = lab.workers();
    workers.ensure("server").unwrap();
    let server = rustix::process::Pid::from_raw(workers.pids()["server"] as i32).unwrap();
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Interval(..) = progress {
            looks += 1;
            if looks == 4 {
                rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                rustix::process::kill_process(server, rustix::process::Signal::CONT).unwrap();
            }
        }
    };
    let mut options = Options { interval: Span(Duration::from_millis(50)), ..options(&[Test::UdpRr], 1000) };
    options.transactions = Some(1000);
    let never = AtomicBool::new(false);
    run(&mut record, &[lab.flow(0, false)], &options, &mut workers, &mut snapshot, &mut progress, &never).unwrap();
    let latency = record.flows[0].tests[0].rounds[0].client.latency.unwrap();
    // A fifth of all requests fell into the stall of a fifth of the time: a closed loop would have one bad sample.
    assert!(latency.p90_ns > 50_000_000, "{latency:?}");
}

#[test]
fn spinning_threads_answer_without_sleeping() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpRr, Test::UdpRr], 100);
    options.tuning.spin = true;
    let record = measure(&lab, lab.flow(0, false), &options);
    for test in &record.flows[0].tests {
        check(test, 1);
    }
}

#[test]
fn bundled_datagrams_cost_few_calls_and_every_one_is_accounted_for() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::UdpStream], 400);
    options.length = Some("1460".parse().unwrap());
    let record = measure(&lab, lab.flow(0, false), &options);
    let test = &record.flows[0].tests[0];
    check(test, 1);
    let (client, server) = (&test.rounds[0].client.streams[0], &test.rounds[0].server.streams[0]);
    let (sent, taken) = (client.io.as_ref().unwrap(), server.io.as_ref().unwrap());
    assert_eq!((sent.send, sent.segments, &sent.fallback), (Some(SendMode::Gso), Some(44), &None));
    assert_eq!((taken.receive, taken.payload_copied), (Some(ReceiveMode::Gro), Some(true)));
    assert!(client.calls * 16 < client.units, "{} calls for {}", client.calls, client.units);
    assert!(server.calls * 16 < server.units, "{} calls for {}", server.calls, server.units);
}

#[test]
fn every_way_to_send_and_receive_keeps_the_books() {
    let Some(lab) = Lab::new(1) else { return };
    for send in SendMode::ALL {
        for receive in ReceiveMode::ALL {
            let fits = |test: &Test| send.fits(*test) && receive.fits(*test);
            let tests: Vec<Test> = [Test::TcpStream, Test::UdpStream].into_iter().filter(fits).collect();
            if tests.is_empty() {
                continue;
            }
            let options = Options {
                send: Some(send),
                receive: Some(receive),
                length: Some("1400".parse().unwrap()),
                ..options(&tests, 60)
            };
            let record = measure(&lab, lab.flow(0, false), &options);
            for test in &record.flows[0].tests {
                check(test, 1);
                let (client, server) = (&test.rounds[0].client.streams[0], &test.rounds[0].server.streams[0]);
                let (sent, taken) = (client.io.as_ref().unwrap(), server.io.as_ref().unwrap());
                assert_eq!(sent.send, Some(send));
                // Small segments cannot be mapped: the receiver may give that up, and says so.
                let gave_up = receive == ReceiveMode::Zerocopy && taken.fallback.is_some();
                assert_eq!(taken.receive, Some(if gave_up { ReceiveMode::Recv } else { receive }));
                assert_eq!(taken.payload_copied, Some(!matches!(receive, ReceiveMode::Trunc | ReceiveMode::Splice)));
                if let Some(zerocopy) = sent.zerocopy {
                    assert!(zerocopy.sends > 0 && zerocopy.completed == zerocopy.sends, "{zerocopy:?}");
                    assert_eq!(zerocopy.copied, zerocopy.completed, "a veth copies");
                }
            }
        }
    }
}

#[test]
fn datagrams_longer_than_the_path_go_without_bundles_and_it_is_said() {
    let Some(lab) = Lab::new(1) else { return };
    let options = Options { length: Some("12000".parse().unwrap()), ..options(&[Test::UdpStream], 100) };
    let record = measure(&lab, lab.flow(0, false), &options);
    let io = record.flows[0].tests[0].rounds[0].client.streams[0].io.clone().unwrap();
    assert_eq!(io.send, Some(SendMode::Mmsg));
    assert!(io.fallback.as_ref().unwrap().contains("longer than the path's packets"), "{io:?}");
    assert!(record.warnings.iter().any(|w| w.contains("sent by sendmmsg")), "{:?}", record.warnings);
}

#[test]
fn the_fastest_way_is_found_by_trying_and_it_is_said_which() {
    let Some(lab) = Lab::new(1) else { return };
    let options = Options { io_auto: true, ..options(&[Test::TcpMaerts, Test::UdpStream, Test::TcpRr], 100) };
    let record = measure(&lab, lab.flow(0, false), &options);
    for test in &record.flows[0].tests {
        check(test, 1);
        let Some(probe) = &test.io_probe else {
            assert!(test.test.is_rr());
            continue;
        };
        assert!(probe.chosen.bits_per_second > 0.0 && probe.tried.len() >= 3, "{probe:?}");
        assert_eq!((test.settings.send, test.settings.receive), (probe.chosen.send, probe.chosen.receive));
        let round = &test.rounds[0];
        let receiver = if test.test.is_reverse() { &round.client } else { &round.server };
        let io = receiver.streams[0].io.as_ref().unwrap();
        // Whichever was the fastest in this moment. Pages that cannot be mapped are read after all, and it is said.
        let gave_up = probe.chosen.receive == ReceiveMode::Zerocopy && io.fallback.is_some();
        assert_eq!(io.receive, Some(if gave_up { ReceiveMode::Recv } else { probe.chosen.receive }));
        let copied = io.receive.map(|way| !matches!(way, ReceiveMode::Trunc | ReceiveMode::Splice));
        assert!(io.payload_copied == copied || io.mapped.is_some(), "{io:?}");
    }
    let mut text = Vec::new();
    netbench::report::text(&record, &mut anstream::StripStream::new(&mut text)).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("probe chose "));
}

#[test]
fn the_flow_label_is_in_force_and_crosses_the_wire() {
    let Some(lab) = Lab::new(1) else { return };
    // Else a listener may not answer with the label that comes.
    let allow = ["sh", "-c", "echo 0 >/proc/sys/net/ipv6/flowlabel_consistency"];
    assert!(lab.command("server").args(allow).status().unwrap().success());
    let mut options = options(&[Test::TcpStream, Test::TcpMaerts, Test::UdpStream], 50);
    options.streams = 2;
    options.tuning.flow_label = Some(0xbeef);
    let record = measure(&lab, lab.flow(0, true), &options);
    for test in &record.flows[0].tests {
        check(test, 2);
        let round = &test.rounds[0];
        // The server of a connection answers with the label that came: it says what crossed the wire.
        for stream in round.client.streams.iter().chain(&round.server.streams) {
            assert_eq!(stream.socket.flow_label, Some(0xbeef), "{} {stream:?}", test.test);
        }
    }
    let refused = options.check(&[lab.flow(0, false).flow]).unwrap_err().to_string();
    assert!(refused.contains("which has no flow label"), "{refused}");
}

#[test]
fn socket_options_are_in_force() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(&[Test::TcpStream], 50);
    options.tuning.mss = Some(1000);
    options.tuning.congestion = Some("reno".into());
    options.tuning.nodelay = Some(true);
    options.tuning.dscp = Some(46);
    options.tuning.rcvlowat = Some(65536);
    let record = measure(&lab, lab.flow(0, false), &options);
    check(&record.flows[0].tests[0], 1);
    let socket = &record.flows[0].tests[0].rounds[0].client.streams[0].socket;
    assert!(socket.mss.unwrap() <= 1000, "{socket:?}");
    assert_eq!((socket.congestion.as_deref(), socket.nodelay, socket.dscp), (Some("reno"), Some(true), Some(46)));
    options.tuning.congestion = Some("nosuch".into());
    let record = measure(&lab, lab.flow(0, false), &options);
    let reason = &record.flows[0].tests[0].verdict.reasons[0];
    assert!(reason.contains("set TCP_CONGESTION nosuch"), "{reason}");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_killed_worker_is_an_error_soon() {
    for test in Test::ALL {
        for victim in ["server", "client"] {
            let Some(lab) = Lab::new(1) else { return };
            let mut workers = lab.workers();
            // nsenter executes the worker: its pid is the worker's.
            for ns in ["client", "server"] {
                workers.ensure(ns).unwrap();
            }
            let pid = workers.pids()[victim];
            let (mut record, mut killed) = (record(), None);
            let mut snapshot = || Ok(lab.counters());
            let mut progress = |progress: Progress<'_>| {
                if let (Progress::Interval(..), None) = (progress, killed) {
                    kill(pid);
                    killed = Some(Instant::now());
                }
            };
            let never = AtomicBool::new(false);
            let options = Options { interval: Span(Duration::from_millis(50)), ..options(&[test], 20_000) };
            run(&mut record, &[lab.flow(0, false)], &options, &mut workers, &mut snapshot, &mut progress, &never)
                .unwrap();
            let took = killed.expect("progress was told").elapsed();
            assert!(took < Duration::from_secs(5), "{test} {victim}: {took:?}");
            let verdict = &record.flows[0].tests[0].verdict;
            assert!(!verdict.valid && !verdict.reasons.is_empty(), "{test} {victim}: {verdict:?}");
        }
    }
}

#[test]
fn an_interrupt_ends_the_window_early_and_keeps_it() {
    let Some(lab) = Lab::new(1) else { return };
    let (mut record, interrupt) = (record(), AtomicBool::new(false));
    let mut snapshot = || Ok(lab.counters());
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Interval(..) = progress {
            interrupt.store(true, Relaxed);
        }
    };
    let options = Options { interval: Span(Duration::from_millis(50)), ..options(&Test::ALL, 20_000) };
    let began = Instant::now();
    run(&mut record, &[lab.flow(0, false)], &options, &mut lab.workers(), &mut snapshot, &mut progress, &interrupt)
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(record.interrupted);
    assert_eq!(record.flows[0].tests.len(), 1, "tests that did not run are left out");
    check(&record.flows[0].tests[0], 1);
}

#[test]
fn a_worker_leaves_when_its_driver_hangs_up() {
    let Some(lab) = Lab::new(0) else { return };
    let mut workers = lab.workers();
    workers.ensure("client").unwrap();
    // With a data thread that waits for a client that never comes.
    let spec = options(&[Test::UdpRr], 60_000).spec(Test::UdpRr, &lab.flow(0, false).flow);
    let prepare = FromDriver::PrepareServer { job: 1, spec, address: "127.0.0.1".parse().unwrap() };
    workers.send("client", &prepare).unwrap();
    workers.send("client", &FromDriver::Start { job: 1, peers: vec!["127.0.0.1:9".parse().unwrap()] }).unwrap();
    let started = |message: &FromWorker| matches!(message, FromWorker::Started { job: 1 }).then_some(());
    workers.expect("client", Duration::from_secs(5), "start", started).unwrap();
    let pid = workers.pids()["client"];
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let hung_up = Instant::now();
    drop(workers);
    assert!(hung_up.elapsed() < Duration::from_millis(1500), "it left by itself and was not killed");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_job_can_be_broken_off() {
    let Some(lab) = Lab::new(0) else { return };
    let mut workers = lab.workers();
    workers.ensure("client").unwrap();
    let mut spec = options(&[Test::TcpStream], 60_000).spec(Test::TcpStream, &lab.flow(0, false).flow);
    spec.interval = Span(Duration::from_millis(50));
    let local: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    let patience = Duration::from_secs(5);
    workers.send("client", &FromDriver::PrepareServer { job: 1, spec: spec.clone(), address: local }).unwrap();
    let bound = |message: &FromWorker| match message {
        FromWorker::Bound { ports, .. } => Some(ports.clone()),
        _ => None,
    };
    let ports = workers.expect("client", patience, "bind", bound).unwrap();
    let targets = vec![(local, ports[0]).into()];
    workers.send("client", &FromDriver::PrepareClient { job: 2, spec, from: local, targets }).unwrap();
    let connected = |message: &FromWorker| match message {
        FromWorker::Connected { locals, .. } => Some(locals.clone()),
        _ => None,
    };
    let peers = workers.expect("client", patience, "connect", connected).unwrap();
    workers.send("client", &FromDriver::Start { job: 1, peers }).unwrap();
    workers.send("client", &FromDriver::Start { job: 2, peers: vec![] }).unwrap();
    let started = |message: &FromWorker| matches!(message, FromWorker::Started { job: 2 }).then_some(());
    workers.expect("client", patience, "start", started).unwrap();
    // A connection that is closed before its first byte is an error, and not what is broken off here.
    let moved = |message: &FromWorker| matches!(message, FromWorker::Progress { job: 1, .. }).then_some(());
    workers.expect("client", patience, "move bytes", moved).unwrap();
    // The client's end may end the server before it is told.
    let mut left = vec![1, 2];
    for job in [2, 1] {
        workers.send("client", &FromDriver::Stop { job }).unwrap();
    }
    let all = |message: &FromWorker| {
        if let FromWorker::Result { job, .. } = message {
            left.retain(|j| j != job);
        }
        left.is_empty().then_some(())
    };
    workers.expect("client", patience, "give what it has", all).unwrap();
}

#[test]
fn what_cannot_start_or_speaks_another_tongue_is_said() {
    let mut none = Workers::new("/nonexistent/netbench".into(), |_, command| command.spawn());
    let error = none.ensure("client").unwrap_err().to_string();
    assert!(error.starts_with("start a worker in namespace client: "), "{error}");
    let mut cat = Workers::new("/bin/false".into(), |_, command| command.spawn());
    let error = cat.ensure("client").unwrap_err().to_string();
    assert!(error.contains("ended with exit code 1"), "{error}");
    let mut noisy = Workers::new("/bin/sh".into(), |_, command| {
        let mut shell = std::process::Command::new(command.get_program());
        shell.args(["-c", "echo cannot open display >&2; echo this is no frame at all"]);
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        shell.stderr(std::process::Stdio::piped()).spawn()
    });
    let error = noisy.ensure("client").unwrap_err().to_string();
    assert!(error.contains("something else than messages") && error.contains("cannot open display"), "{error}");
}
