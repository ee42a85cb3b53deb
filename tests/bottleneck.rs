//! The truth of the bottleneck verdict: faults of known kind on the real kernel, and what is said of each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;

use std::{
    process::{Child, Command},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use cables::Lab;
use netbench::{
    experiment::{Options, options::Asked, run},
    facts::Machine,
    measured::{ReceiveMode, SendMode, Side, Test},
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

/// Rounds until the verdict is one of these. Other programs of this machine may take the CPUs that a test needs: then it is
/// true that a CPU is the limit, and after some tries this is said and let pass.
fn expect(lab: &Lab, options: &Options, accepted: &[Limit], mut started: impl FnMut(u32)) {
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (found, disturbed) = verdict(lab, options, &mut started);
        if accepted.contains(&found.limit) {
            return;
        }
        seen.push((found, disturbed));
    }
    assert!(seen.iter().all(|(_, disturbed)| *disturbed), "none of {accepted:?}: {seen:?}");
    eprintln!("DISTURBED: other programs had the CPUs of this test: {seen:?}");
}

/// One round between the namespaces: its verdict, and whether the sender had to wait for its CPU. `started` gets the pid of
/// the server's worker when it runs.
fn verdict(lab: &Lab, options: &Options, started: &mut dyn FnMut(u32)) -> (Bottleneck, bool) {
    let test = measure(lab, options, started);
    let round = &test.rounds[0];
    let found = round.bottleneck.clone().unwrap();
    eprintln!("{} {:?}: {}", test.test, found.limit, found.evidence);
    let waited =
        |side: &Side| side.streams.iter().any(|s| s.cpu.waiting_ns.unwrap_or(0) as f64 > 0.1 * s.elapsed_ns as f64);
    (found, waited(&round.client) || waited(&round.server))
}

/// One round between the namespaces.
fn measure(lab: &Lab, options: &Options, started: &mut dyn FnMut(u32)) -> TestRecord {
    let machine = Machine::default();
    let mut record = RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], TopologyRef::default(), machine);
    let mut workers = lab.workers();
    workers.ensure("server").unwrap();
    started(workers.pids()["server"]);
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
    expect(
        &lab,
        &options(Test::TcpStream),
        &[Limit::SenderCpu, Limit::ReceiverCpu, Limit::Softirq, Limit::Path],
        |_| {},
    );
}

#[test]
fn a_tiny_receive_buffer_is_the_receive_window() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = options(Test::TcpStream);
    options.tuning.rcvbuf = Some("4k".parse().unwrap());
    // Small segments, so that some fit the window.
    options.tuning.mss = Some(1000);
    expect(&lab, &options, &[Limit::ReceiveWindow], |_| {});
}

#[test]
fn a_tiny_send_buffer_is_the_send_buffer() {
    let Some(lab) = Lab::new(1) else { return };
    // Acknowledgements that take their time make a round trip: there a small buffer leaves the window unused.
    lab.tc("server", "qdisc add dev eth0 root tbf rate 1mbit burst 1600 latency 50ms");
    let mut options = options(Test::TcpStream);
    options.tuning.sndbuf = Some("8k".parse().unwrap());
    expect(&lab, &options, &[Limit::SendBuffer], |_| {});
}

#[test]
fn a_shaper_is_the_path() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 200mbit burst 128k latency 20ms");
    expect(
        &lab,
        &options(Test::TcpStream),
        &[Limit::Path, Limit::Congestion, Limit::PathDrops, Limit::QdiscDrops],
        |_| {},
    );
}

#[test]
fn a_kept_rate_is_the_limit() {
    let Some(lab) = Lab::new(1) else { return };
    for test in [Test::TcpStream, Test::UdpStream] {
        let paced = Options { rate: Some("50mbit".parse().unwrap()), ..options(test) };
        expect(&lab, &paced, &[Limit::AskedRate], |_| {});
    }
}

#[test]
fn a_hog_on_the_receivers_cpu_is_the_receivers_cpu() {
    if cpus() < 2 {
        return cables::skip("one CPU: the hog would sit on the sender's too");
    }
    let Some(lab) = Lab::new(1) else { return };
    let _hogs = Hogs::on(1, 4);
    expect(&lab, &pinned(options(Test::TcpStream), 0, 1), &[Limit::ReceiverCpu], |_| {});
}

#[test]
fn a_reader_that_stops_and_goes_is_the_receivers_application() {
    let Some(lab) = Lab::new(1) else { return };
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    expect(&lab, &options(Test::TcpStream), &[Limit::ReceiverApp], |pid| {
        let over = over.clone();
        threads.push(std::thread::spawn(move || {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let signal = |signal| rustix::process::kill_process(pid, signal).is_ok();
            // Ends with the worker, which is gone after its round.
            while !over.load(Relaxed) && signal(rustix::process::Signal::STOP) {
                std::thread::sleep(Duration::from_millis(18));
                if !signal(rustix::process::Signal::CONT) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }));
    });
    over.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn datagrams_that_overflow_the_receiver_are_charged_to_it() {
    let Some(lab) = Lab::new(1) else { return };
    let mut options = pinned(options(Test::UdpStream), 0, 0);
    options.socket_buffer = Some("16k".parse().unwrap());
    expect(&lab, &options, &[Limit::ReceiverCpu, Limit::ReceiverApp], |_| {});
}

#[test]
fn datagrams_lost_in_a_shaper_are_charged_to_the_way() {
    let Some(lab) = Lab::new(1) else { return };
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 128k latency 5ms");
    let flood = Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) };
    expect(&lab, &flood, &[Limit::QdiscDrops, Limit::Congestion, Limit::PathDrops, Limit::Path], |_| {});
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
    expect(&lab, &options, &[Limit::WireRate], |_| {});
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
    expect(&lab, &options(Test::TcpStream), &[Limit::QdiscDrops], |_| {});
    // A send buffer that holds more than the queue, or the sender is made to wait and nothing is dropped.
    let flood = Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) };
    expect(&lab, &flood, &[Limit::QdiscDrops], |_| {});
}

#[test]
fn a_generator_that_cannot_keep_its_schedule_is_the_limit() {
    let Some(lab) = Lab::new(1) else { return };
    // Five million requests a second are one in 200 ns: a call takes longer.
    let mut late = options(Test::UdpRr);
    late.transactions = Some(5_000_000);
    expect(&lab, &late, &[Limit::Generator], |_| {});
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
    expect(&lab, &flood, &[Limit::Generator], |_| {});
}

/// Lost datagrams of a round by place, each datagram a packet of its own.
fn losses(lab: &Lab, mut options: Options) -> (u64, Vec<LossShare>) {
    (options.send, options.receive) = (Some(SendMode::Write), Some(ReceiveMode::Recv));
    let test = measure(lab, &options, &mut |_| {});
    let round = &test.rounds[0];
    (round.client.all_units() - round.server.all_units(), round.losses.clone())
}

#[test]
fn lost_datagrams_are_charged_to_the_place_that_lost_them_to_the_last() {
    let Some(lab) = Lab::new(1) else { return };
    let mut small = pinned(options(Test::UdpStream), 0, 0);
    small.tuning.rcvbuf = Some("16k".parse().unwrap());
    let (lost, shares) = losses(&lab, small);
    assert!(lost > 0, "16 KiB are too few for a flood");
    assert_eq!(shares.iter().map(|share| share.datagrams).sum::<u64>(), lost);
    assert!(shares.len() == 1 && shares[0].place == LossPlace::ReceivingSocket, "{shares:?}");
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 16k limit 20k");
    let (lost, shares) = losses(&lab, Options { rate: Some("400mbit".parse().unwrap()), ..options(Test::UdpStream) });
    assert!(lost > 0, "a queue of 20 kB is too short for four times its rate");
    assert_eq!(shares.iter().map(|share| share.datagrams).sum::<u64>(), lost);
    assert!(shares.len() == 1 && shares[0].place == LossPlace::Qdisc, "{shares:?}");
    assert_eq!(shares[0].at.as_deref(), Some("client/eth0"));
}
