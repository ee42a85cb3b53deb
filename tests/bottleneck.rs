//! The truth of the bottleneck verdict: faults of known kind on the real kernel, and what is said of each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
#[path = "bottleneck/matrix.rs"]
mod matrix;
mod model_nic;

use std::{
    io::Write,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use cables::Lab;
use matrix::Fault;
use netbench::{
    experiment::{Options, options::Asked, run},
    facts::Machine,
    kernel::Netns,
    measured::{ReceiveMode, SendMode, Test},
    plan::{
        ceiling::{LinkRate, RateSource},
        desired::{LinkRef, NsId},
    },
    record::{Bottleneck, Limit, LossPlace, LossShare, RunRecord, TestRecord, TopologyRef},
    topology::model::TestDefaults,
    units::{BitRate, CpuList, Span},
};

fn options(test: Test) -> Options {
    let asked = Asked {
        tests: Some(vec![test]),
        duration: Some(Span(Duration::from_millis(600))),
        omit: Some(Span(Duration::from_millis(200))),
        rounds: Some(1),
        ..Asked::default()
    };
    Options::merge(asked, &TestDefaults::default()).unwrap()
}

fn pinned(mut options: Options, client: usize, server: usize) -> Options {
    options.cpus =
        [("client", client), ("server", server)].map(|(node, cpu)| (node.to_owned(), CpuList(vec![cpu]))).into();
    options
}

/// The workers' processes.
#[derive(Debug, Clone, Copy)]
struct Pids {
    client: u32,
    server: u32,
}

/// A verdict is one of the fault's, or it says itself that it is inconclusive, and why; then other programs did run, which /proc/stat
/// tells this test as well, and another round may be better. A wrong verdict that is sure of itself fails at once.
fn expect(lab: &Lab, options: &Options, fault: &Fault, mut started: impl FnMut(Pids)) -> Bottleneck {
    let accepted = fault.accepted;
    let mut last = None;
    for _ in 0..4 {
        let before = others();
        let found = verdict(lab, options, &mut started);
        if accepted.contains(&found.limit) {
            assert!(!fault.inconclusive || found.inconclusive.is_some(), "others run by design: {found:?}");
            return found;
        }
        assert!(found.inconclusive.is_some(), "{}: none of {accepted:?}, and sure of it: {found:?}", fault.what);
        let used = others().saturating_sub(before);
        assert!(used > Duration::from_millis(50), "others used no more than {used:?}: {found:?}");
        eprintln!("inconclusive: {found:?}");
        last = Some(found);
    }
    last.unwrap()
}

/// Time that all CPUs spent in user space, but for the workers that have ended. This test is one of the others: it may play a card.
fn others() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks: u64 =
        stat.lines().next().unwrap().split_whitespace().skip(1).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // User time of children that were waited for: field 16 of stat.
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own: Vec<&str> = own.rsplit(") ").next().unwrap().split(' ').collect();
    Duration::from_millis(ticks.saturating_sub(own[13].parse().unwrap()) * 10)
}

/// The verdict on one round between the namespaces. `started` gets the workers when they run.
fn verdict(lab: &Lab, options: &Options, started: &mut dyn FnMut(Pids)) -> Bottleneck {
    let test = measure(lab, options, started);
    let found = test.rounds[0].bottleneck.clone().unwrap();
    eprintln!("{} {:?}: {}", test.test, found.limit, found.text());
    found
}

/// One round between the namespaces.
fn measure(lab: &Lab, options: &Options, started: &mut dyn FnMut(Pids)) -> TestRecord {
    let machine = Machine::default();
    let mut record = RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], TopologyRef::default(), machine);
    let mut workers = lab.workers();
    workers.ensure("client").unwrap();
    workers.ensure("server").unwrap();
    started(Pids { client: workers.pids()["client"], server: workers.pids()["server"] });
    let mut snapshot = || Ok(lab.counters());
    let never = AtomicBool::new(false);
    run(&mut record, &[lab.flow(0, false)], options, &mut workers, &mut snapshot, &mut |_| {}, &never).unwrap();
    let test = record.flows.remove(0).tests.remove(0);
    assert!(!test.rounds.is_empty(), "{:?}", test.verdict);
    test
}

/// The loads of a CPU hog, ended with this value.
struct Hogs(Vec<Child>);

impl Hogs {
    fn on(cpu: usize, count: usize) -> Self {
        let hog = |_| {
            Command::new("taskset").args(["-c", &cpu.to_string(), "sh", "-c", "while :; do :; done"]).spawn().unwrap()
        };
        Self((0..count).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn without_a_fault_a_cpu_is_the_limit() {
    let Some(lab) = Lab::new(1) else { return };
    expect(&lab, &options(Test::TcpStream), &matrix::UNPACED, |_| {});
}

#[test]
fn a_tiny_receive_buffer_is_the_receive_window() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(Test::TcpStream);
    options.tuning.rcvbuf = Some("4k".parse().unwrap());
    // Where a round trip takes no time the sender may run out of CPU before the window closes.
    lab.tc("server", "qdisc add dev eth0 root tbf rate 1mbit burst 1600 latency 50ms");
    // Small segments, so that some fit the window.
    options.tuning.mss = Some(1000);
    expect(&lab, &options, &matrix::SMALL_RCVBUF, |_| {});
}

#[test]
fn a_tiny_send_buffer_is_the_send_buffer() {
    let Some(lab) = Lab::new(1) else { return };
    // Acknowledgements that take their time make a round trip: there a small buffer leaves the window unused.
    lab.tc("server", "qdisc add dev eth0 root tbf rate 1mbit burst 1600 latency 50ms");
    let mut options = options(Test::TcpStream);
    options.tuning.sndbuf = Some("8k".parse().unwrap());
    expect(&lab, &options, &matrix::SMALL_SNDBUF, |_| {});
}

#[test]
fn a_shaper_is_the_path() {
    let Some(lab) = Lab::new(1) else { return };
    // A queue that holds more than the connection ever has in flight: nothing is dropped.
    lab.tc("client", "qdisc add dev eth0 root tbf rate 200mbit burst 128k limit 64m");
    expect(&lab, &options(Test::TcpStream), &matrix::SHAPER, |_| {});
}

#[test]
fn a_kept_rate_is_the_limit() {
    let Some(lab) = Lab::new(1) else { return };
    for test in [Test::TcpStream, Test::UdpStream] {
        let paced = Options { rate: Some("50mbit".parse().unwrap()), ..options(test) };
        expect(&lab, &paced, &matrix::KEPT_RATE, |_| {});
    }
}

#[test]
fn a_hog_on_the_receivers_cpu_is_the_receivers_cpu() {
    if cpus() < 2 {
        return cables::skip("one CPU: the hog would sit on the sender's too");
    }
    let Some(lab) = Lab::new(1) else { return };
    let _hogs = Hogs::on(1, 4);
    for test in [Test::TcpStream, Test::UdpStream] {
        let found = expect(&lab, &pinned(options(test), 0, 1), &matrix::HOGGED_RECEIVER, |_| {});
        // It is a program of others that takes it, and this is said.
        let why = found.inconclusive.unwrap();
        assert!(why.contains("beside this stream used ") && why.contains("thread waited for one "), "{why}");
    }
}

/// On a machine whose every CPU others use, a verdict is right or it is said to be inconclusive.
#[test]
fn on_a_busy_machine_a_verdict_is_right_or_inconclusive() {
    let Some(lab) = Lab::new(1) else { return };
    let _hogs: Vec<Hogs> = (0..cpus().min(4)).map(|cpu| Hogs::on(cpu, 3)).collect();
    let found = expect(&lab, &options(Test::TcpStream), &matrix::HOGGED_MACHINE, |_| {});
    assert!(found.inconclusive.is_some(), "{found:?}");
    lab.tc("client", "qdisc add dev eth0 root tbf rate 20mbit burst 128k latency 50ms");
    let mut full = options(Test::TcpStream);
    full.duration = Span(Duration::from_millis(1500));
    shaped(&mut full, 20);
    let found = expect(&lab, &full, &matrix::FULL_WIRE_HOGGED, |_| {});
    assert_eq!(found.limit == Limit::WireRate, found.inconclusive.is_none(), "{found:?}");
}

/// Stops a process for 90 of every 100 ms, until it is gone.
fn stop_and_go(pid: u32) -> std::thread::JoinHandle<()> {
    use rustix::process::{Pid, Signal, kill_process};
    std::thread::spawn(move || {
        let pid = Pid::from_raw(pid as i32).unwrap();
        while kill_process(pid, Signal::STOP).is_ok() {
            std::thread::sleep(Duration::from_millis(90));
            if kill_process(pid, Signal::CONT).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

#[test]
fn a_reader_that_stops_and_goes_is_the_receivers_application() {
    let Some(lab) = Lab::new(1) else { return };
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    for (fault, congestion) in [(&matrix::STOPPED_READER, "cubic"), (&matrix::STOPPED_READER_BBR, "bbr")] {
        if !available.split_whitespace().any(|here| here == congestion) {
            continue;
        }
        let mut threads = Vec::new();
        let mut options = options(Test::TcpStream);
        options.tuning.congestion = Some(congestion.parse().unwrap());
        expect(&lab, &options, fault, |pids| threads.push(stop_and_go(pids.server)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_sender_that_stops_and_goes_is_the_senders_application() {
    let Some(lab) = Lab::new(1) else { return };
    let mut threads = Vec::new();
    expect(&lab, &options(Test::TcpStream), &matrix::STOPPED_SENDER, |pids| threads.push(stop_and_go(pids.client)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn datagrams_that_overflow_a_small_buffer_are_charged_to_it() {
    let Some(lab) = Lab::new(1) else { return };
    if cpus() < 2 {
        return cables::skip("one CPU: the reader has none to itself");
    }
    // A burst is more than the buffer holds, and there are pauses between: the reader has time left.
    let mut options = pinned(options(Test::UdpStream), 0, 1);
    options.tuning.rcvbuf = Some("2k".parse().unwrap());
    (options.length, options.rate) = (Some("1400".parse().unwrap()), Some("500mbit".parse().unwrap()));
    (options.send, options.receive) = (Some(SendMode::Gso), Some(ReceiveMode::Recv));
    expect(&lab, &options, &matrix::SMALL_UDP_RCVBUF, |_| {});
}

/// Runs the packet filter of the server's namespace with these words, and this text at its stdin.
fn filter(lab: &Lab, program: &str, words: &[&str], text: &str) {
    let mut command = lab.command("server");
    // The lock is for a table of the whole machine; this one is the test's.
    command.args(["env", "XTABLES_LOCKFILE=/dev/null", program]).args(words).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {words:?}");
}

/// Is the filter's program here? Said where it is not.
fn has_filter() -> bool {
    let found = Command::new("iptables-legacy").arg("--version").output().is_ok();
    if !found {
        cables::skip("iptables-legacy not installed");
    }
    found
}

#[test]
fn loss_that_nothing_on_the_path_counts_is_congestion() {
    if !has_filter() {
        return;
    }
    let Some(lab) = Lab::new(1) else { return };
    for (protocol, share) in [("tcp", 0.05), ("udp", 0.15)] {
        let words = format!("-A INPUT -p {protocol} -m statistic --mode random --probability {share} -j DROP");
        filter(&lab, "iptables-legacy", &words.split(' ').collect::<Vec<_>>(), "");
    }
    let mut tcp = options(Test::TcpStream);
    tcp.tuning.congestion = Some("cubic".parse().unwrap());
    expect(&lab, &tcp, &matrix::RANDOM_LOSS, |_| {});
    let udp = Options { rate: Some("50mbit".parse().unwrap()), ..options(Test::UdpStream) };
    expect(&lab, &udp, &matrix::UDP_LOSS, |_| {});
    let shares = charged(&lab, udp);
    assert!(shares.len() == 1 && shares[0].place == LossPlace::Unexplained, "{shares:?}");
}

/// Sets the flag when it is dropped: also when a test fails.
struct Ends<'f>(&'f AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Receive work of the server on CPU 1, and a packet filter that makes much of it.
fn slow_softirq(lab: &Lab, pairs: usize) {
    let rules: String = (0..50_000).map(|n| format!("-A INPUT -s 192.0.{}.{} -j DROP\n", n / 250, n % 250)).collect();
    filter(lab, "iptables-legacy-restore", &[], &format!("*filter\n{rules}COMMIT\n"));
    for pair in 0..pairs {
        let steer = format!("mount -t sysfs none /sys && echo 2 >/sys/class/net/eth{pair}/queues/rx-0/rps_cpus");
        assert!(lab.command("server").args(["unshare", "-m", "sh", "-c", &steer]).status().unwrap().success());
    }
}

#[test]
fn a_cpu_that_does_nothing_but_receive_is_softirq() {
    if !has_filter() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return cables::skip("needs root: receive steering is set by the machine's root only");
    }
    if cpus() < 2 {
        return cables::skip("one CPU: receive work has none to itself");
    }
    let Some(lab) = Lab::new(2) else { return };
    slow_softirq(&lab, 2);
    for test in [Test::TcpStream, Test::UdpStream] {
        let mut options = pinned(options(test), 0, 0);
        options.length = (test == Test::UdpStream).then(|| "1000".parse().unwrap());
        let found = expect(&lab, &options, &matrix::SLOW_FILTER, |_| {});
        assert!(!found.text().contains("other traffic"), "there is none: {found:?}");
    }
    // Small frames of others come to the same CPU, more than its backlog takes.
    let over = AtomicBool::new(false);
    let [client, server] = ["client", "server"].map(|ns| Netns::of_pid(lab.pid(ns), ns).unwrap());
    let sink = server.within(|| UdpSocket::bind("198.18.1.2:9").unwrap()).unwrap();
    std::thread::scope(|scope| {
        let _end = Ends(&over);
        for _ in 0..8 {
            let flood = client.within(|| UdpSocket::bind("198.18.1.1:0").unwrap()).unwrap();
            flood.connect(sink.local_addr().unwrap()).unwrap();
            scope.spawn(|| {
                let flood = flood;
                while !over.load(Relaxed) {
                    // A port unreachable, or a buffer that is full for now.
                    let _ = flood.send(&[0; 18]);
                }
            });
        }
        let mut options = pinned(options(Test::UdpStream), 0, 0);
        options.length = Some("1000".parse().unwrap());
        let found = expect(&lab, &options, &matrix::SMALL_FRAMES, |_| {});
        assert!(found.text().contains("other traffic on CPU 1"), "most of its work is others': {found:?}");
        let dropped = found.evidence.contains(" dropped ") && !found.evidence.contains(" dropped 0 ");
        assert!(found.limit != Limit::Softirq || dropped, "{found:?}");
        options.omit = Span(Duration::ZERO);
        let shares = charged(&lab, options);
        let lost: u64 = shares.iter().map(|share| share.datagrams).sum();
        let backlog = shares.iter().find(|share| share.place == LossPlace::Backlog).expect("the backlog dropped");
        assert!(backlog.datagrams * 2 > lost, "{shares:?}");
    });
}

#[test]
fn a_card_whose_ring_overflows_is_drops_on_the_path() {
    let Some(lab) = Lab::new(0) else { return };
    let [client, server] = ["client", "server"].map(|ns| Netns::of_pid(lab.pid(ns), ns).unwrap());
    let _card = match model_nic::ModelNic::new(&client, &server, model_nic::Fault::Slow) {
        Ok(card) => card,
        Err(error) => return cables::skip(&format!("no TAP device can be made here: {error}")),
    };
    for (ns, host) in [("client", 1), ("server", 2)] {
        lab.ip(ns, &format!("addr add 198.18.0.{host}/24 dev eth0"));
        lab.ip(ns, "link set eth0 txqueuelen 10 up");
    }
    // BBR may settle at a rate at which the ring does not overflow.
    let mut tcp = options(Test::TcpStream);
    tcp.tuning.congestion = Some("cubic".parse().unwrap());
    expect(&lab, &tcp, &matrix::SLOW_CARD, |_| {});
    let mut udp = Options { rate: Some("200mbit".parse().unwrap()), ..options(Test::UdpStream) };
    udp.length = Some("1000".parse().unwrap());
    let shares = charged(&lab, udp);
    assert!(shares.len() == 1 && shares[0].place == LossPlace::Interface, "{shares:?}");
    assert_eq!(shares[0].at.as_deref(), Some("client/eth0"));
}

#[test]
fn datagrams_lost_in_a_shaper_are_charged_to_the_way() {
    let Some(lab) = Lab::new(1) else { return };
    // The queue holds less than the send buffer: the sender is never made to wait for it.
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 16k limit 60k");
    let flood = Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) };
    expect(&lab, &flood, &matrix::SHORT_QUEUE, |_| {});
}

/// The rate of the client's eth0, as the plan would know it.
fn shaped(options: &mut Options, megabits: u64) {
    let at = LinkRef { ns: NsId::new("client"), name: "eth0".parse().unwrap() };
    let rate = LinkRate { rate: BitRate(megabits * 1_000_000), source: RateSource::Shaper };
    options.rates = [(at, rate)].into();
}

#[test]
fn a_full_wire_is_the_wire() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 200mbit burst 128k latency 50ms");
    let mut options = options(Test::TcpStream);
    options.duration = Span(Duration::from_millis(1500));
    shaped(&mut options, 200);
    expect(&lab, &options, &matrix::FULL_WIRE, |_| {});
}

#[test]
fn more_than_the_ceiling_is_no_measurement() {
    let Some(lab) = Lab::new(1) else { return };
    // The plan says 20 Mbit/s and nobody holds the traffic to it.
    let mut options = options(Test::TcpStream);
    options.socket_buffer = Some("64k".parse().unwrap());
    shaped(&mut options, 20);
    let test = measure(&lab, &options, &mut |_| {});
    assert!(!test.verdict.valid);
    assert!(test.verdict.reasons[0].contains("is more than 20mbit at client/eth0 can carry"), "{:?}", test.verdict);
    assert!(test.ceiling.unwrap().share() > 1.0);
}

#[test]
fn a_tiny_queue_is_the_qdisc() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 16k limit 20k");
    expect(&lab, &options(Test::TcpStream), &matrix::TINY_QUEUE, |_| {});
    // A send buffer that holds more than the queue, or the sender is made to wait and nothing is dropped.
    let flood = Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) };
    expect(&lab, &flood, &matrix::TINY_QUEUE, |_| {});
}

#[test]
fn a_generator_that_cannot_keep_its_schedule_is_the_limit() {
    let Some(lab) = Lab::new(1) else { return };
    // Five million requests a second are one in 200 ns: a call takes longer.
    let mut late = options(Test::UdpRr);
    late.transactions = Some(5_000_000);
    expect(&lab, &late, &matrix::NO_TIME_TO_SEND, |_| {});
    // Over a connection neither end may wait for the other for ever, and what was never sent is in the account.
    for request in ["1", "1000"] {
        let mut late = options(Test::TcpRr);
        late.transactions = Some(5_000_000);
        late.length = Some(request.parse().unwrap());
        late.response = Some(request.parse().unwrap());
        let due = 5_000_000.0 * late.duration.0.as_secs_f64();
        let test = measure(&lab, &late, &mut |_| {});
        let round = &test.rounds[0];
        assert_eq!(round.bottleneck.as_ref().unwrap().limit, Limit::Generator);
        let schedule = round.client.streams[0].schedule.unwrap();
        assert!((schedule.requests as f64 - due).abs() <= 1.0, "{due} were due: {schedule:?}");
        assert!(schedule.missed > schedule.requests / 2, "{schedule:?}");
        assert_eq!(round.client.latency.unwrap().count + schedule.unanswered, schedule.requests, "{schedule:?}");
    }
    // One datagram a call at a rate for which a call would have to take 10 ns.
    let mut flood = Options { rate: Some("50gbit".parse().unwrap()), ..options(Test::UdpStream) };
    (flood.length, flood.send) = (Some("64".parse().unwrap()), Some(SendMode::Write));
    expect(&lab, &flood, &matrix::NO_TIME_TO_SEND, |_| {});
}

/// Lost datagrams of a round by place, to the last; each datagram a packet of its own.
fn charged(lab: &Lab, mut options: Options) -> Vec<LossShare> {
    (options.send, options.receive) = (Some(SendMode::Write), Some(ReceiveMode::Recv));
    let test = measure(lab, &options, &mut |_| {});
    let round = &test.rounds[0];
    let lost = round.client.all_units() - round.server.all_units();
    assert!(lost > 0, "nothing was lost");
    assert_eq!(round.losses.iter().map(|share| share.datagrams).sum::<u64>(), lost, "{:?}", round.losses);
    round.losses.clone()
}

#[test]
fn lost_datagrams_are_charged_to_the_place_that_lost_them_to_the_last() {
    let Some(lab) = Lab::new(1) else { return };
    // 16 KiB are too few for a flood.
    let mut small = pinned(options(Test::UdpStream), 0, 0);
    small.tuning.rcvbuf = Some("16k".parse().unwrap());
    let shares = charged(&lab, small);
    assert!(shares.len() == 1 && shares[0].place == LossPlace::ReceivingSocket, "{shares:?}");
    // A queue of 20 kB is too short for four times its rate.
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 16k limit 20k");
    let shares = charged(&lab, Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) });
    assert!(shares.len() == 1 && shares[0].place == LossPlace::Qdisc, "{shares:?}");
    assert_eq!(shares[0].at.as_deref(), Some("client/eth0"));
}

/// Segments sent again in the client's namespace, by its own count.
fn segments_again(lab: &Lab) -> u64 {
    let text = lab.command("client").args(["cat", "/proc/net/snmp"]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = lines.next().unwrap().split(' ').position(|name| name == "RetransSegs").unwrap();
    lines.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn the_figures_of_rfc_6349_and_the_service_demand_are_what_the_kernel_counted() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 16k limit 30k");
    let mut options = options(Test::TcpStream);
    options.omit = Span(Duration::ZERO);
    shaped(&mut options, 100);
    let before = segments_again(&lab);
    let test = measure(&lab, &options, &mut |_| {});
    let again = segments_again(&lab) - before;
    let summary = test.summary.as_ref().unwrap();
    let figures = summary.rfc6349.unwrap();
    let (client, server) = (&test.rounds[0].client.streams[0], &test.rounds[0].server.streams[0]);
    // A full segment has 8948 bytes and takes 9014 of the shaper, which counts from the Ethernet header on.
    let seconds = server.elapsed_ns as f64 / 1e9;
    let at_best = server.bytes as f64 * 8.0 / (100e6 * 8948.0 / 9014.0);
    let ratio = figures.transfer_time_ratio.unwrap();
    assert!((ratio - seconds / at_best).abs() < 0.01 * ratio, "{ratio} {seconds} {at_best}");
    assert!(again > 0, "a queue of three packets is too short for TCP");
    let inefficiency = 100.0 - figures.efficiency_percent;
    let expected = again as f64 * 8948.0 / (client.bytes as f64 + again as f64 * 8948.0) * 100.0;
    assert!((inefficiency - expected).abs() < 0.2 * expected, "{inefficiency} {expected}");
    let tcp = client.tcp.as_ref().unwrap();
    let (rtt, least) = (f64::from(tcp.rtt_us.unwrap()), f64::from(tcp.min_rtt_us.unwrap()));
    let delay = figures.buffer_delay_percent.unwrap();
    assert!(delay > 0.0 && (delay - (rtt / least - 1.0) * 100.0).abs() < 1e-6, "{delay} {rtt} {least}");
    for (stream, cost) in [(client, summary.sender_cost), (server, summary.receiver_cost)] {
        let micros = (stream.cpu.user_ns + stream.cpu.system_ns) as f64 / 1e3;
        let demand = cost.unwrap().service_demand_us_per_kib;
        assert!(demand > 0.0 && (demand - micros / (stream.bytes as f64 / 1024.0)).abs() < 1e-9, "{demand} {micros}");
    }
}

#[test]
fn the_matrix_of_the_page_is_the_one_of_these_tests() {
    let page = include_str!("../docs/bottleneck.md");
    let table = matrix::table();
    if !page.contains(&table) {
        let fresh = concat!(env!("CARGO_TARGET_TMPDIR"), "/matrix.md");
        std::fs::write(fresh, &table).unwrap();
        panic!("docs/bottleneck.md shall have the table of {fresh}:\n{table}");
    }
    let tests = include_str!("bottleneck.rs");
    for (name, fault) in matrix::ALL {
        assert!(tests.contains(&format!("&matrix::{name},")), "no test makes the fault {}", fault.what);
        assert_eq!(fault.accepted.len() > 1, !fault.why.is_empty(), "{}: more than one, and why", fault.what);
    }
}
