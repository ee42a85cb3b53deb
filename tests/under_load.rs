//! Latency under load: requests beside a stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use cables::Lab;
use engine::{check_side, measure, options, text};
use netbench::{experiment::Options, measured::Test, record::PathVerdict};

#[test]
fn a_stream_that_fills_a_queue_shows_in_the_latency_beside_it() {
    let Some(lab) = Lab::new(1) else { return };
    // 250 kB of queue at 100 Mbit/s are 20 ms.
    lab.tc("client", "qdisc add dev eth0 root tbf rate 100mbit burst 20000 limit 250000");
    let options = Options { rounds: 2, under: Some(Test::TcpStream), ..options(&[Test::TcpRr, Test::UdpRr], 600) };
    let record = measure(&lab, lab.flow(0, false), &options);
    for test in &record.flows[0].tests {
        assert!(test.verdict.valid, "{}: {:?}", test.test, test.verdict.reasons);
        let under = test.under.as_ref().unwrap();
        assert_eq!((test.rounds.len(), under.rounds.len(), under.load), (2, 2, Test::TcpStream));
        for round in &under.rounds {
            assert_eq!(round.path.verdict, PathVerdict::Proved);
            for (side, what) in [
                (&round.client, "client"),
                (&round.server, "server"),
                (&round.load_client, "load"),
                (&round.load_server, "load server"),
            ] {
                check_side(side, what);
            }
            // The stream's window holds that of the requests.
            let longest = |side: &netbench::measured::Side| side.streams.iter().map(|s| s.elapsed_ns).max().unwrap();
            assert!(longest(&round.load_client) > longest(&round.client));
            assert_eq!(round.load_client.all_bytes(), round.load_server.all_bytes());
            assert!(round.goodput > 10e6 && round.goodput < 150e6, "{}", round.goodput);
            assert_eq!(round.client.latency.unwrap().count, round.client.units());
        }
        let (idle, loaded) = (test.summary.as_ref().unwrap().latency.unwrap(), under.summary.unwrap().latency);
        assert!(loaded.p50_ns > 5 * idle.p50_ns && loaded.p50_ns > 2_000_000, "{idle:?} {loaded:?}");
    }
    let text = text(&record);
    assert!(text.contains("under TCP_STREAM: ") && text.contains("loaded over idle: p50 × "), "{text}");
}

#[test]
fn every_stream_can_be_the_load() {
    let Some(lab) = Lab::new(1) else { return };
    for load in [Test::TcpMaerts, Test::TcpBidir, Test::UdpStream] {
        let mut options = Options { under: Some(load), ..options(&[Test::TcpRr], 200) };
        options.rate = Some("200mbit".parse().unwrap());
        options.cpus = [("client".to_owned(), netbench::units::CpuList(vec![0, 1]))].into();
        let record = measure(&lab, lab.flow(0, false), &options);
        let test = &record.flows[0].tests[0];
        assert!(test.verdict.valid, "{load}: {:?}", test.verdict.reasons);
        let round = &test.under.as_ref().unwrap().rounds[0];
        assert!(round.goodput > 1e6, "{load}");
        let cpu = |side: &netbench::measured::Side| side.streams[0].cpu.pinned.clone().unwrap().0;
        assert_eq!((cpu(&round.client), cpu(&round.load_client)), (vec![0], vec![1]));
    }
}

#[test]
fn what_is_no_load_is_refused() {
    let Some(lab) = Lab::new(0) else { return };
    let flow = lab.flow(0, false).flow;
    let refusal = |options: Options| options.check(std::slice::from_ref(&flow)).unwrap_err().to_string();
    let none = Options { under: Some(Test::UdpRr), ..options(&[Test::TcpRr], 50) };
    assert!(refusal(none).contains("UDP_RR is no load"));
    let idle = Options { under: Some(Test::TcpStream), ..options(&[Test::UdpStream], 50) };
    assert!(refusal(idle).contains("none of the tests has a latency"));
}
