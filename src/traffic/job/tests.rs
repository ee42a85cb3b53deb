use std::{net::TcpStream, sync::mpsc::channel};

use super::*;
use crate::{
    measured::{ReceiveMode, Test},
    traffic::spec::example,
};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn pair(spec: &Spec) -> (Server, Client) {
    let server = Server::bind(spec.clone(), LOCAL).unwrap();
    let targets: Vec<_> = server.ports().iter().map(|&port| (LOCAL, port).into()).collect();
    (server, Client::connect(spec.clone(), LOCAL, &targets).unwrap())
}

#[test]
fn a_stranger_is_not_let_in() {
    let spec = Spec { streams: 2, duration: crate::units::Span(Duration::from_millis(20)), ..example(Test::TcpStream) };
    let server = Server::bind(spec.clone(), LOCAL).unwrap();
    let mut stranger = TcpStream::connect((LOCAL, server.ports()[0])).unwrap();
    let targets: Vec<_> = server.ports().iter().map(|&port| (LOCAL, port).into()).collect();
    let client = Client::connect(spec, LOCAL, &targets).unwrap();
    let (sender, done) = channel();
    let done_too = sender.clone();
    let running = server.start(client.locals(), Arc::new(move || _ = sender.send(()))).unwrap();
    let sending = client.start(Arc::new(move || _ = done_too.send(()))).unwrap();
    done.recv().unwrap();
    done.recv().unwrap();
    assert_eq!(std::io::Read::read(&mut stranger, &mut [0; 1]).unwrap_or(0), 0, "the stranger was hung up on");
    let (sent, received) = (sending.collect().unwrap().streams, running.collect().unwrap().streams);
    for (a, b) in sent.iter().zip(&received) {
        assert_eq!((&a.local, a.bytes), (&b.peer, b.bytes));
    }
}

#[test]
fn a_stop_wakes_every_kind_of_thread() {
    // Frames need a privilege (tests/frames.rs).
    for test in Test::ALL.into_iter().filter(|&test| test != Test::FrameStream) {
        let (server, client) = pair(&example(test));
        // Nothing is ever sent: the server waits for its first byte.
        let running = server.start(client.locals(), Arc::new(|| {})).unwrap();
        let asked = Instant::now();
        running.stop();
        running.collect().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "{test}");
    }
    for receive in ReceiveMode::ALL.into_iter().filter(|mode| mode.fits(Test::TcpStream)) {
        let (server, client) = pair(&Spec { receive, ..example(Test::TcpStream) });
        let running = server.start(client.locals(), Arc::new(|| {})).unwrap();
        // One that has begun waits in its own way.
        client.sockets()[0].send(&[1; 10]).unwrap();
        while running.sample().bytes < 10 {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.stop();
        assert_eq!(running.collect().unwrap().bytes(), 10, "{receive}");
    }
}

#[test]
fn each_percentile_is_that_of_its_share() {
    let mut all = crate::traffic::rr::histogram();
    for (micros, count) in [(1, 500_000), (2, 400_000), (3, 90_000), (4, 9_000), (5, 900), (6, 90), (7, 10)] {
        all.record_n(micros * 1000, count).unwrap();
    }
    let found = lane::percentiles(&all);
    assert_eq!((found.count, found.min_ns / 1000, found.max_ns / 1000), (1_000_000, 1, 7));
    let ladder = [found.p50_ns, found.p90_ns, found.p99_ns, found.p99_9_ns, found.p99_99_ns, found.p99_999_ns];
    assert_eq!(ladder.map(|nanos| nanos / 1000), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn latencies_of_parallel_streams_are_one_distribution() {
    let spec = Spec { streams: 3, ..example(Test::TcpRr) };
    let (server, client) = pair(&spec);
    let running = server.start(client.locals(), Arc::new(|| {})).unwrap();
    let side = client.start(Arc::new(|| {})).unwrap().collect().unwrap();
    assert_eq!(side.latency.unwrap().count, side.streams.iter().map(|s| s.units).sum::<u64>());
    running.collect().unwrap();
}

#[test]
fn a_receiver_whose_thread_begins_late_does_not_report_too_high_a_rate() {
    let mut spec = Spec { duration: crate::units::Span(Duration::from_millis(500)), ..example(Test::TcpStream) };
    // What waits in the sender's buffer is short, so that its own window tells the rate.
    spec.tuning.sndbuf = Some(crate::units::ByteSize(32 << 10));
    spec.tuning.pacing = Some(crate::units::BitRate(20_000_000));
    // In the middle of the payload, and when all of it lies there.
    for late in [300, 1000].map(Duration::from_millis) {
        let (server, client) = pair(&spec);
        let locals = client.locals().to_vec();
        let sending = client.start(Arc::new(|| {})).unwrap();
        std::thread::sleep(late);
        let mut received = server.start(&locals, Arc::new(|| {})).unwrap().collect().unwrap();
        let sent = sending.collect().unwrap();
        assert_eq!(received.bytes(), sent.bytes());
        let (told, truth) = (received.bits_per_second(), sent.bits_per_second());
        assert!(told > 1.2 * truth, "it was not late: {told} of {truth}");
        received.make_up(&sent);
        let stream = &received.streams[0];
        assert!(received.bits_per_second() < 1.25 * truth, "{truth}: {stream:?}");
        assert!(stream.judged_ns() <= sent.streams[0].io.as_ref().unwrap().drained_ns.unwrap(), "{stream:?} {sent:?}");
        assert!(stream.io.as_ref().unwrap().late_ns.unwrap() > 60_000_000, "{stream:?}");
    }
}

#[test]
fn a_receiver_that_keeps_up_is_not_late() {
    let mut spec = Spec { duration: crate::units::Span(Duration::from_millis(300)), ..example(Test::TcpStream) };
    spec.omit = crate::units::Span(Duration::from_millis(100));
    let (server, client) = pair(&spec);
    let running = server.start(client.locals(), Arc::new(|| {})).unwrap();
    let sent = client.start(Arc::new(|| {})).unwrap().collect().unwrap();
    let mut received = running.collect().unwrap();
    let before = received.bits_per_second();
    received.make_up(&sent);
    // Something may lie there at any moment.
    assert!(received.streams[0].io.as_ref().unwrap().queued.is_some());
    assert!(received.bits_per_second() > 0.8 * before, "{:?}", received.streams[0]);
}
