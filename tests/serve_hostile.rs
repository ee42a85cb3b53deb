//! `netbench serve` among people and networks that mean it ill, or are broken: it goes on to serve those who mean it well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
mod serving;

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    process::Stdio,
    time::{Duration, Instant},
};

use lab::{Lab, eventually};
use netbench::{
    agent::frame,
    experiment::options::{Asked, Options},
    measured::Test,
    remote::{
        Secret,
        greeting::{Greeting, LENGTH, PROTOCOLS, Purpose},
        message::{FromClient, FromServer},
        path::{MOST, PathAnswer, PathOrder},
    },
    topology::model::{Flow, TestDefaults},
    traffic::Spec,
    units::ByteSize,
};
use serving::{Serve, TOKEN, done, stream, two_hosts, within};

fn connect(serve: &Serve) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

fn greeting() -> [u8; LENGTH] {
    Greeting::new(Purpose::Control, Secret::from_text(TOKEN).unwrap()).encode()
}

/// Has the server hung up?
fn is_closed(mut socket: &TcpStream) -> bool {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

/// Somebody with good intentions is served, soon.
#[track_caller]
fn serves(serve: &Serve) {
    let client = stream(serve.port, &["--test", "tcp_stream,udp_rr,tcp_cc", "--rounds", "1", "--duration", "50ms"]);
    done(client).ok();
}

/// A welcomed client of the test's own.
fn welcomed(serve: &Serve) -> TcpStream {
    let mut socket = connect(serve);
    socket.write_all(&greeting()).unwrap();
    let said: Option<FromServer> = frame::read(&mut socket).unwrap();
    assert!(matches!(said, Some(FromServer::Welcome { protocol, .. }) if protocol == PROTOCOLS.1), "{said:?}");
    socket
}

/// A job as a client of ours would ask for.
fn spec(streams: u32) -> Spec {
    let nowhere = std::net::IpAddr::from([127, 0, 0, 1]);
    let flow = Flow { from: String::new(), to: String::new(), from_address: nowhere, to_address: nowhere, mtu: 1500 };
    let options =
        Options::merge(Asked { streams: Some(streams), ..Asked::default() }, &TestDefaults::default()).unwrap();
    options.spec(Test::TcpStream, &flow)
}

#[test]
fn garbage_is_hung_up_on() {
    let serve = Serve::here(&[]);
    let mut noise: u64 = 7;
    let mut random = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 33) as u8
    };
    for round in 0..50 {
        let mut bytes: Vec<u8> = (0..200).map(|_| random()).collect();
        match round % 5 {
            0 => bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            // A good beginning.
            1 => bytes[..8].copy_from_slice(b"netbench"),
            2 => bytes[..LENGTH]
                .copy_from_slice(&Greeting::new(Purpose::Data { stream: 0 }, Secret::random().unwrap()).encode()),
            _ => {}
        }
        let mut socket = connect(&serve);
        let _ = socket.write_all(&bytes);
        assert!(is_closed(&socket), "round {round}");
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..300 {
        let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
        let _ = datagrams.send_to(&bytes, ("127.0.0.1", serve.port));
    }
    datagrams.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(datagrams.recv(&mut [0; 10]).is_err(), "nothing is answered to datagrams");
    serves(&serve);
}

#[test]
fn garbage_behind_a_good_greeting_ends_that_client_only() {
    let serve = Serve::here(&[]);
    for bytes in [&b"\xff\xff\xff\xffxxxx"[..], b"\0\0\0\x05hello", b"\0\0\0\x02{}", b"\0\x01\0\x01", b"\0\0\0\0"] {
        let mut socket = welcomed(&serve);
        socket.write_all(bytes).unwrap();
        assert!(is_closed(&socket), "{bytes:?}");
    }
    // Sound JSON that asks for too much: refused before anything is allocated for it.
    let mut socket = welcomed(&serve);
    let huge = Spec { streams: u32::MAX, ..spec(1) };
    for spec in [huge, Spec { length: ByteSize(1 << 40), ..spec(1) }, Spec { streams: 65, ..spec(1) }] {
        let asked = format!("{} streams of {}", spec.streams, spec.length);
        frame::write(&mut socket, &FromClient::Prepare { spec }).unwrap();
        let said: Option<FromServer> = frame::read(&mut socket).unwrap();
        assert!(matches!(said, Some(FromServer::Declined { .. })), "{asked}: {said:?}");
    }
    drop(socket);
    // A second test in the middle of nothing, and words out of order, are passed over.
    let mut socket = welcomed(&serve);
    for message in [FromClient::End, FromClient::Stop, FromClient::Finish { totals: vec![] }, FromClient::Bye] {
        frame::write(&mut socket, &message).unwrap();
    }
    assert!(is_closed(&socket));
    serves(&serve);
    assert!(eventually(Duration::from_secs(10), || serve.threads() == 1), "{} threads", serve.threads());
}

#[test]
fn a_slow_loris_keeps_no_seat() {
    let serve = Serve::here(&[]);
    let bytes = greeting();
    // Byte by byte, as in an attack on web servers; and after the greeting too.
    let mut before = connect(&serve);
    let mut after = welcomed(&serve);
    let began = Instant::now();
    let mut ends = [None, None];
    for at in 0..60 {
        if before.write_all(&bytes[at..=at]).is_err() {
            ends[0].get_or_insert(began.elapsed());
        }
        if after.write_all(if at == 0 { &[0, 0, 1, 0] } else { b"x" }).is_err() {
            ends[1].get_or_insert(began.elapsed());
        }
        if at % 20 == 10 {
            serves(&serve);
        }
        if ends.iter().all(Option::is_some) {
            break;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(ends.iter().all(Option::is_some), "{ends:?}");
}

#[test]
fn ten_thousand_connections_cost_little() {
    let serve = Serve::here(&[]);
    let memory = serve.memory();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let maximum = limit.maximum;
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: maximum, maximum },
    )
    .unwrap();
    let held = maximum.unwrap_or(20_000).saturating_sub(200).min(10_000) as usize;
    let mut sockets = std::collections::VecDeque::new();
    for at in 0..10_000 {
        let socket = TcpStream::connect_timeout(&([127, 0, 0, 1], serve.port).into(), Duration::from_secs(10)).unwrap();
        sockets.push_back(socket);
        if sockets.len() > held {
            sockets.pop_front();
        }
        if at == 5000 {
            serves(&serve);
        }
    }
    serves(&serve);
    assert!(serve.threads() < 8, "{} threads", serve.threads());
    assert!(eventually(Duration::from_secs(20), || serve.files() < 300), "{} files", serve.files());
    assert!(serve.memory() < memory + (16 << 20), "{} bytes", serve.memory());
    serve.waits_to_say("connections were hung up on");
    drop(sockets);
    assert!(eventually(Duration::from_secs(10), || serve.files() < 20), "{} files", serve.files());
}

#[test]
fn streams_that_never_come_end_the_test_and_not_the_server() {
    let serve = Serve::here(&[]);
    let mut socket = welcomed(&serve);
    frame::write(&mut socket, &FromClient::Prepare { spec: spec(2) }).unwrap();
    let said: Option<FromServer> = frame::read(&mut socket).unwrap();
    let Some(FromServer::Prepared { cookie, .. }) = said else { panic!("{said:?}") };
    // One of two comes, twice; a third has no place.
    for stream in [0, 0, 2] {
        let mut data = connect(&serve);
        let greeting = Greeting::new(Purpose::Data { stream }, Secret::from_text(&cookie).unwrap());
        data.write_all(&greeting.encode()).unwrap();
    }
    serves(&serve);
    let said: Option<FromServer> = frame::read(&mut socket).unwrap();
    let Some(FromServer::Failed { what }) = said else { panic!("{said:?}") };
    assert!(what.contains("stream 1 did not connect within 10 s"), "{what}");
}

#[test]
fn a_client_that_vanishes_is_noticed() {
    let Some(lab) = Lab::new("vanish") else { return };
    two_hosts(&lab);
    let serve = Serve::inside(&lab, "far", &["--bind", "198.18.9.2"]);
    let port = serve.port.to_string();
    let idle = serve.threads();
    for test in ["tcp_stream", "tcp_maerts", "udp_rr"] {
        let args = ["stream", "198.18.9.2", "--port", &port, "--test", test, "--duration", "120s", "--rounds", "1"];
        let mut command = within(&lab, "near", &args);
        let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(Duration::from_secs(20), || serve.threads() > idle + 2), "{}", serve.said());
        std::thread::sleep(Duration::from_millis(300));
        // The wire is cut: neither end hears of it.
        lab.sh("ip -n near link set wire down");
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains("vanished while testing"), "{text}");
        assert!(eventually(Duration::from_secs(30), || serve.threads() == idle), "{test}: {}", serve.said());
        assert!(serve.said().contains("in the middle of a test"), "{}", serve.said());
        lab.sh("ip -n near link set wire up");
    }
}

#[test]
fn a_silent_network_is_told_from_a_refusal() {
    let Some(lab) = Lab::new("silent") else { return };
    two_hosts(&lab);
    // An address that nobody answers for, as behind a firewall that drops.
    lab.sh("ip -n near neigh add 198.18.9.9 lladdr 02:00:00:00:00:09 dev wire nud permanent");
    let silent = done(within(&lab, "near", &["stream", "198.18.9.9"]));
    silent.exits(5).says("no answer within 5 s").says("a firewall drops what goes to TCP port 5210");
    done(within(&lab, "near", &["stream", "198.18.9.2"])).exits(5).says("nothing listens there");
    done(within(&lab, "near", &["stream", "203.0.113.1"])).exits(5).says("ip route get 203.0.113.1");
    // TCP gets through, UDP does not: a rule of the server's host drops it.
    let serve = Serve::inside(&lab, "far", &["--bind", "198.18.9.2"]);
    let blocked = lab.try_sh(
        "ip -n far rule add pref 10 lookup local; ip -n far rule del pref 0
         ip -n far rule add pref 5 iif wire ipproto udp blackhole",
    );
    if blocked.code != Some(0) {
        lab::skip("this kernel has no rules by protocol");
        return;
    }
    let port = serve.port.to_string();
    let args = [
        "stream",
        "198.18.9.2",
        "--port",
        &port,
        "--test",
        "tcp_rr,udp_stream",
        "--rounds",
        "1",
        "--duration",
        "100ms",
    ];
    let half = done(within(&lab, "near", &args)).exits(4);
    let said = half.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(&format!("does a firewall drop UDP to port {port}?")), "{half}");
    assert!(said.contains("trans/s"), "{half}");
}

/// Single packets go to the address of whoever asked, once a datagram from there has said the cookie, and within the bounds.
#[test]
fn single_packets_are_sent_in_bounds_and_only_to_who_asked() {
    let serve = Serve::here(&["--max-length", "2k"]);
    let mut socket = welcomed(&serve);
    let mut ask = |order: PathOrder| -> FromServer {
        frame::write(&mut socket, &FromClient::Path(order)).unwrap();
        frame::read(&mut socket).unwrap().expect("an answer")
    };
    let refused = |answer: FromServer, why: &str| match answer {
        FromServer::Failed { what } => assert!(what.contains(why), "{what}"),
        other => panic!("{other:?}"),
    };
    refused(ask(PathOrder::Send { size: 1000, ttl: None }), "no datagram has come yet");
    let opened = |answer: FromServer| match answer {
        FromServer::Path(PathAnswer::Opened { cookie, .. }) => Secret::from_text(&cookie).unwrap(),
        other => panic!("{other:?}"),
    };
    let cookie = opened(ask(PathOrder::Open));
    refused(ask(PathOrder::Arrived { size: 1000, wait_ms: u32::MAX }), "no datagram has come yet");
    // That ended it: the cookie is worth nothing any more.
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let hello = |cookie: Secret| {
        let greeting = Greeting::new(Purpose::Data { stream: 0 }, cookie).encode_datagram();
        datagrams.send_to(&greeting, ("127.0.0.1", serve.port)).unwrap();
    };
    hello(cookie);
    let cookie = opened(ask(PathOrder::Open));
    hello(cookie);
    let ready: Option<FromServer> = frame::read(&mut socket).unwrap();
    assert_eq!(ready, Some(FromServer::Path(PathAnswer::Ready)));
    let mut ask = |order: PathOrder| -> FromServer {
        frame::write(&mut socket, &FromClient::Path(order)).unwrap();
        frame::read(&mut socket).unwrap().expect("an answer")
    };
    assert_eq!(ask(PathOrder::Send { size: 1000, ttl: None }), FromServer::Path(PathAnswer::Sent { against: None }));
    assert_eq!(datagrams.recv(&mut [0; 2000]).unwrap(), 1000 - 28);
    // Whoever waits for ever is answered after two seconds.
    let began = Instant::now();
    let arrived = ask(PathOrder::Arrived { size: 1000, wait_ms: u32::MAX });
    assert_eq!(arrived, FromServer::Path(PathAnswer::Arrived { arrived: false }));
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    for _ in 1..MOST {
        let sent = ask(PathOrder::Send { size: 600, ttl: None });
        assert_eq!(sent, FromServer::Path(PathAnswer::Sent { against: None }));
    }
    refused(ask(PathOrder::Send { size: 600, ttl: None }), "more than 1000 packets");
    refused(ask(PathOrder::Send { size: 3000, ttl: None }), "--max-length of the server");
}
