//! Each verdict from made-up figures; tests/bottleneck.rs has the real ones.

use super::*;
use crate::measured::{CpuLoad, Datagrams, SocketFacts, Stream, StreamIo, TcpInfo, ThreadCpu};

/// A stream of a second whose thread ran and waited for these percentages of it.
fn side(running: u64, waiting: u64, tcp: Option<TcpInfo>) -> Side {
    let cpu =
        ThreadCpu { system_ns: running * 10_000_000, waiting_ns: Some(waiting * 10_000_000), ..ThreadCpu::default() };
    let stream = Stream {
        stream: 0,
        local: String::new(),
        peer: String::new(),
        bytes: 1_000_000_000,
        omitted_bytes: 0,
        units: 0,
        omitted_units: 0,
        elapsed_ns: 1_000_000_000,
        calls: 1,
        io: None,
        cpu,
        socket: SocketFacts::default(),
        tcp,
        datagrams: None,
        schedule: None,
        verified: None,
        retries: None,
    };
    Side { streams: vec![stream], ..Side::default() }
}

fn held(rwnd: u64, sndbuf: u64) -> Option<TcpInfo> {
    let busy_us = Some(1_000_000);
    Some(TcpInfo {
        busy_us,
        rwnd_limited_us: Some(rwnd * 10_000),
        sndbuf_limited_us: Some(sndbuf * 10_000),
        ..TcpInfo::default()
    })
}

fn inputs<'i>(sender: &'i Side, receiver: &'i Side) -> Inputs<'i> {
    Inputs {
        test: Test::TcpStream,
        sender,
        receiver,
        asked: None,
        rcvbuf_asked: false,
        sndbuf_asked: false,
        dropped: 0,
        qdisc_dropped: 0,
        received: None,
        bound: None,
    }
}

fn limit(inputs: &Inputs<'_>) -> Limit {
    judge(inputs).unwrap().limit
}

#[test]
fn a_full_window_is_charged_by_what_the_reader_did() {
    let sender = side(40, 0, held(80, 0));
    for (running, waiting, asked, expected) in [
        (97, 1, false, Limit::ReceiverCpu),
        (50, 45, false, Limit::ReceiverCpu),
        (40, 45, true, Limit::ReceiverCpu),
        (13, 57, false, Limit::ReceiverCpu),
        (30, 2, true, Limit::ReceiveWindow),
        (10, 0, false, Limit::ReceiverApp),
    ] {
        let receiver = side(running, waiting, None);
        let inputs = Inputs { rcvbuf_asked: asked, ..inputs(&sender, &receiver) };
        assert_eq!(limit(&inputs), expected, "{running} {waiting} {asked}");
    }
}

#[test]
fn the_sender_is_charged_when_it_is_the_sender() {
    let receiver = side(30, 0, None);
    assert_eq!(limit(&inputs(&side(20, 0, held(5, 60)), &receiver)), Limit::SendBuffer);
    assert_eq!(limit(&inputs(&side(95, 1, held(5, 5)), &receiver)), Limit::SenderCpu);
    assert_eq!(
        limit(&inputs(&side(20, 0, Some(TcpInfo { busy_us: Some(200_000), ..TcpInfo::default() })), &receiver)),
        Limit::SenderApp
    );
    assert_eq!(limit(&inputs(&side(50, 0, held(0, 0)), &side(93, 3, None))), Limit::ReceiverCpu);
}

#[test]
fn with_time_left_at_both_ends_it_is_the_path() {
    let receiver = side(20, 0, None);
    assert_eq!(limit(&inputs(&side(20, 0, held(0, 0)), &receiver)), Limit::Path);
    let lossy = side(20, 0, held(0, 0).map(|tcp| TcpInfo { bytes_retransmitted: Some(2_000_000), ..tcp }));
    assert_eq!(limit(&inputs(&lossy, &receiver)), Limit::Congestion);
    assert_eq!(limit(&Inputs { dropped: 3, ..inputs(&lossy, &receiver) }), Limit::PathDrops);
    let mut hot = side(20, 0, None);
    hot.cpus = vec![CpuLoad { cpu: 1, softirq: 0.95, ..CpuLoad::default() }];
    assert_eq!(limit(&inputs(&side(20, 0, held(0, 0)), &hot)), Limit::Softirq);
}

/// A side whose machine had one CPU with these shares, and a backlog that dropped so many packets.
fn on(running: u64, waiting: u64, tcp: Option<TcpInfo>, softirq: f64, idle: f64, softnet_dropped: u64) -> Side {
    let cpus = vec![CpuLoad { softirq, idle, softnet_dropped, ..CpuLoad::default() }];
    Side { cpus, ..side(running, waiting, tcp) }
}

#[test]
fn receive_work_that_fills_a_cpu_is_softirq_before_a_thread_that_waits_a_little() {
    let sender = side(30, 20, held(0, 0));
    for (running, waiting, softirq, idle, dropped, expected) in [
        (30, 40, 0.95, 0.0, 0, Limit::Softirq),
        (50, 45, 0.95, 0.0, 0, Limit::ReceiverCpu),
        (30, 40, 0.5, 0.0, 0, Limit::ReceiverCpu),
        (20, 10, 0.5, 0.0, 0, Limit::Softirq),
        (20, 10, 0.5, 0.3, 0, Limit::Path),
        (20, 10, 0.5, 0.3, 9, Limit::Softirq),
    ] {
        let receiver = on(running, waiting, None, softirq, idle, dropped);
        assert_eq!(limit(&inputs(&sender, &receiver)), expected, "{running} {waiting} {softirq} {idle} {dropped}");
    }
}

#[test]
fn a_connection_without_data_is_the_senders_application_whatever_held_back_the_rest() {
    let receiver = side(10, 0, None);
    let idle = |tcp: Option<TcpInfo>| tcp.map(|tcp| TcpInfo { busy_us: Some(100_000), ..tcp });
    let lossy = held(0, 0).map(|tcp| TcpInfo { bytes_retransmitted: Some(2_000_000), ..tcp });
    for tcp in [idle(held(3, 0)), idle(held(0, 3)), idle(lossy)] {
        assert_eq!(limit(&inputs(&side(10, 0, tcp.clone()), &receiver)), Limit::SenderApp, "{tcp:?}");
        assert_ne!(limit(&inputs(&side(96, 0, tcp.clone()), &receiver)), Limit::SenderApp, "{tcp:?}");
    }
}

#[test]
fn a_window_that_fills_behind_a_lost_segment_is_the_loss() {
    let receiver = side(30, 10, None);
    let resent = |rwnd, bytes| held(rwnd, 0).map(|tcp| TcpInfo { bytes_retransmitted: Some(bytes), ..tcp });
    assert_eq!(limit(&inputs(&side(30, 0, resent(25, 10_000_000)), &receiver)), Limit::Congestion);
    assert_eq!(limit(&inputs(&side(30, 0, resent(80, 10_000_000)), &receiver)), Limit::ReceiverApp);
    assert_eq!(limit(&inputs(&side(30, 0, resent(25, 0)), &receiver)), Limit::ReceiverApp);
    assert_eq!(limit(&inputs(&side(30, 0, resent(25, 10_000_000)), &side(60, 35, None))), Limit::ReceiverCpu);
}

#[test]
fn a_window_that_the_send_buffer_leaves_unused_is_the_send_buffer() {
    let roomy = held(0, 0).map(|tcp| TcpInfo { snd_cwnd: Some(32), snd_mss: Some(1448), ..tcp });
    let (mut sender, receiver) = (side(20, 0, roomy), side(20, 0, None));
    sender.streams[0].socket.sndbuf = 16_384;
    assert_eq!(limit(&Inputs { sndbuf_asked: true, ..inputs(&sender, &receiver) }), Limit::SendBuffer);
    assert_eq!(limit(&inputs(&sender, &receiver)), Limit::Path);
}

#[test]
fn a_rate_that_was_kept_is_the_limit_and_one_that_was_not_is_none() {
    let (sender, receiver) = (side(20, 0, held(0, 0)), side(20, 0, None));
    assert_eq!(limit(&Inputs { asked: Some(8e9), ..inputs(&sender, &receiver) }), Limit::AskedRate);
    assert_eq!(limit(&Inputs { asked: Some(20e9), ..inputs(&sender, &receiver) }), Limit::Path);
}

#[test]
fn lost_datagrams_are_charged_to_a_place() {
    let sender = side(99, 0, None);
    let seen = |lost, drops| {
        let mut receiver = side(60, 0, None);
        receiver.streams[0].datagrams = Some(Datagrams {
            sent: 1000,
            received: 1000 - lost,
            lost,
            socket_drops: Some(drops),
            ..Datagrams::default()
        });
        receiver
    };
    let judged =
        |receiver: &Side, dropped| limit(&Inputs { test: Test::UdpStream, dropped, ..inputs(&sender, receiver) });
    assert_eq!(judged(&seen(0, 0), 0), Limit::SenderCpu);
    assert_eq!(judged(&seen(100, 100), 0), Limit::ReceiverApp);
    assert_eq!(judged(&seen(100, 0), 7), Limit::PathDrops);
    assert_eq!(judged(&seen(100, 0), 0), Limit::Congestion);
    // What an interface counts may be what a backlog had no room for.
    for (backlog, expected) in [(100, Limit::Softirq), (20, Limit::PathDrops)] {
        let receiver = Side { cpus: on(0, 0, None, 0.1, 0.9, backlog).cpus, ..seen(100, 0) };
        assert_eq!(judged(&receiver, 100), expected, "{backlog}");
    }
    // A small buffer was asked for; a reader that waits for its CPU has none that is large enough.
    let asked =
        |receiver: &Side| limit(&Inputs { test: Test::UdpStream, rcvbuf_asked: true, ..inputs(&sender, receiver) });
    assert_eq!(asked(&seen(100, 100)), Limit::ReceiveWindow);
    let mut waits = seen(100, 100);
    waits.streams[0].cpu = side(5, 15, None).streams[0].cpu.clone();
    assert_eq!((judged(&waits, 0), asked(&waits)), (Limit::ReceiverCpu, Limit::ReceiveWindow));
}

#[test]
fn a_round_trip_has_no_verdict() {
    let (sender, receiver) = (side(1, 0, None), side(1, 0, None));
    assert_eq!(judge(&Inputs { test: Test::TcpRr, ..inputs(&sender, &receiver) }), None);
}

#[test]
fn what_other_programs_may_have_brought_about_is_inconclusive() {
    let load = |user, idle| CpuLoad { user, idle, ..CpuLoad::default() };
    for (waiting, asked, loads, expected) in [
        // Another program and a thread that waited.
        (20, None, [load(0.6, 0.4), load(0.1, 0.9)], true),
        // Nobody waited and a CPU was free.
        (0, None, [load(0.6, 0.4), load(0.1, 0.9)], false),
        // Threads of the kernel had no CPU to themselves.
        (0, None, [load(0.9, 0.02), load(0.8, 0.01)], true),
        // It waited, but for nobody who runs in user space: for the other end.
        (20, None, [load(0.02, 0.0), load(0.02, 0.0)], false),
        // What was asked for was reached.
        (20, Some(8e9), [load(0.6, 0.4), load(0.1, 0.9)], false),
    ] {
        let (mut sender, receiver) = (side(70, waiting, None), side(40, 0, None));
        sender.cpus = loads.to_vec();
        let found = judge(&Inputs { asked, ..inputs(&sender, &receiver) }).unwrap();
        assert_eq!(found.inconclusive.is_some(), expected, "{waiting} {asked:?} {loads:?}: {found:?}");
    }
}

#[test]
fn packets_of_others_on_the_cpu_that_receives_are_inconclusive() {
    let (sender, mut receiver) = (side(20, 0, held(0, 0)), side(20, 0, None));
    for (softirq, received, expected) in [
        (0.95, Some(1000), true),
        (0.95, Some(8100), false),
        (0.95, Some(20_000), false),
        (0.95, None, false),
        (0.3, Some(1000), false),
    ] {
        receiver.cpus = vec![CpuLoad { softirq, softnet_processed: 10_000, ..CpuLoad::default() }];
        let found = judge(&Inputs { received, ..inputs(&sender, &receiver) }).unwrap();
        assert_eq!(found.inconclusive.is_some(), expected, "{softirq} {received:?}: {found:?}");
    }
    // Two plain hosts know no path; each knows by which devices the other's packets come.
    receiver.cpus = vec![CpuLoad { softirq: 0.95, softnet_processed: 10_000, ..CpuLoad::default() }];
    for (here, there, expected) in
        [(Some(500), Some(500), true), (Some(8000), Some(100), false), (Some(500), None, false), (None, None, false)]
    {
        let sender = Side { arrived: here, ..sender.clone() };
        let receiver = Side { arrived: there, ..receiver.clone() };
        let found = judge(&inputs(&sender, &receiver)).unwrap();
        assert_eq!(found.inconclusive.is_some(), expected, "{here:?} {there:?}: {found:?}");
    }
}

#[test]
fn a_reader_that_leaves_payload_in_its_socket_is_the_limit_though_its_window_never_fills() {
    let sender = side(20, 0, held(0, 0));
    for (unread, running, waiting, expected) in [
        (80, 10, 0, Limit::ReceiverApp),
        (20, 10, 0, Limit::Path),
        // It was late since it waited for its CPU.
        (80, 10, 60, Limit::ReceiverCpu),
        (45, 10, 20, Limit::Path),
    ] {
        let mut receiver = side(running, waiting, None);
        receiver.streams[0].io = Some(StreamIo { unread_ns: Some(unread * 10_000_000), ..StreamIo::default() });
        assert_eq!(limit(&inputs(&sender, &receiver)), expected, "{unread} {running} {waiting}");
    }
}
