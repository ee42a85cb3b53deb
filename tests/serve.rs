//! `netbench serve` and `netbench stream` between two hosts: what is measured, what is refused, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
mod serving;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use lab::{Lab, NETBENCH, eventually};
use netbench::{
    agent::frame,
    measured::{Side, Test},
    record::{PathVerdict, RunRecord},
    remote::{
        Secret,
        greeting::{Greeting, PROTOCOLS, Purpose},
        message::FromServer,
    },
};
use serving::{Serve, TOKEN, done, record, stream, two_hosts, within};

const ALL: &str = "tcp_stream,tcp_maerts,tcp_sendfile,udp_stream,tcp_rr,udp_rr,tcp_crr,tcp_cc";

fn check_side(side: &Side, streams: usize, what: &str) {
    assert_eq!(side.streams.len(), streams, "{what}");
    assert_eq!(side.intervals.iter().map(|i| i.bytes).sum::<u64>(), side.bytes(), "{what}");
    assert_eq!(side.intervals.iter().map(|i| i.units).sum::<u64>(), side.units(), "{what}");
    assert!(side.streams.iter().all(|s| s.socket.rcvbuf > 0), "{what}");
}

/// Every test of a record kept its books on both sides.
fn check(record: &RunRecord, streams: usize, closed_loop: bool) {
    assert!(record.is_valid(), "{:?}", record.flows);
    let peer = record.peer.as_ref().unwrap();
    assert!(!peer.machine.kernel.is_empty() && peer.protocol == PROTOCOLS.1);
    for result in &record.flows[0].tests {
        let (test, round) = (result.test, &result.rounds[0]);
        let what = format!("{test} {:?}", result.verdict);
        assert_eq!(round.path.verdict, PathVerdict::NoTopology, "{what}");
        check_side(&round.client, streams, &what);
        check_side(&round.server, streams, &what);
        assert!(round.headline > 0.0, "{what}");
        // What lies behind a veth is out of sight.
        assert!(record.flows[0].to_address.starts_with("127.") || round.client.arrived.is_none(), "{what}");
        let (senders, receivers) =
            if test.is_reverse() { (&round.server, &round.client) } else { (&round.client, &round.server) };
        for (a, b) in senders.streams.iter().zip(&receivers.streams) {
            assert_eq!((&a.local, &a.peer), (&b.peer, &b.local), "{what}");
            assert_eq!(a.tcp.is_some(), !test.is_udp() && !test.is_per_connection(), "{what}");
            match test {
                Test::UdpStream => {
                    let seen = b.datagrams.as_ref().unwrap();
                    assert_eq!((seen.sent, seen.received, seen.malformed), (a.units, b.units, 0), "{what}");
                    assert_eq!(seen.sent, seen.received + seen.lost, "{what}");
                }
                test if test.is_byte_stream() => {
                    assert_eq!(a.bytes + a.omitted_bytes, b.bytes + b.omitted_bytes, "{what}");
                }
                // A request that was late by itself was asked again, and both were answered.
                _ if closed_loop => {
                    let (asked, answered) = (a.units + a.omitted_units, b.units + b.omitted_units);
                    assert!((asked..=asked + a.retries.unwrap_or(0)).contains(&answered), "{what}: {a:?} {answered}");
                }
                _ => {}
            }
        }
        assert_eq!(test.is_rr(), round.client.latency.is_some(), "{what}");
        assert_eq!(test.is_byte_stream(), round.bottleneck.is_some() && test.is_byte_stream(), "{what}");
    }
}

#[test]
fn all_tests_keep_their_books_over_both_protocols() {
    let Some(lab) = Lab::new("serve") else { return };
    two_hosts(&lab);
    let serve = Serve::inside(&lab, "far", &["--bind", "any"]);
    let port = serve.port.to_string();
    for host in ["198.18.9.2", "fd00:9::2"] {
        let args = ["stream", host, "--port", &port, "--test", ALL, "--rounds", "1", "--duration", "200ms", "--json"];
        let one = done(within(&lab, "near", &args)).ok();
        let found = record(&one);
        check(&found, 1, true);
        assert_eq!((found.flows[0].to_address.as_str(), found.flows[0].mtu), (host, 1500));
        assert!(!one.stdout.contains(TOKEN));
        let more = [&args[..], &["-P", "3", "--omit", "100ms", "--rate", "2000/s"]].concat();
        // What is due on a schedule is due in a window in which a busy machine may have stood still.
        let mut found = done(within(&lab, "near", &more));
        for _ in 0..4 {
            if found.code == Some(0) {
                break;
            }
            assert!(found.code == Some(4) && found.stdout.contains("a stream carried nothing"), "{found}");
            found = done(within(&lab, "near", &more));
        }
        check(&record(&found.ok()), 3, false);
    }
    let text = done(within(&lab, "near", &["stream", "198.18.9.2", "--port", &port, "--rounds", "1"])).ok();
    let text = text.says("path: not proved, there is no topology between these hosts").says("server ");
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(serve.said().contains("TCP_STREAM for 1s, 1 stream"), "{}", serve.said());
}

#[test]
fn an_amount_ends_both_directions_exactly_within_the_bounds_of_the_server() {
    let serve = Serve::here(&["--max-duration", "30s"]);
    let tests = "tcp_stream,tcp_maerts,udp_stream,tcp_rr";
    let amounts = ["--test", tests, "--bytes", "7000001", "--transactions", "99", "--rounds", "1", "--json"];
    let refused = done(stream(serve.port, &amounts)).exits(4);
    assert!(
        refused.stdout.contains("60s of test and warm-up; at most 30s (--max-duration of the server)"),
        "{refused}"
    );
    let mut command = stream(serve.port, &amounts);
    command.args(["--duration", "20s", "-P", "2"]);
    let found = record(&done(command).ok());
    check(&found, 2, true);
    for result in &found.flows[0].tests {
        let (test, round) = (result.test, &result.rounds[0]);
        let receiver = if test.is_judged_by_client() { &round.client } else { &round.server };
        for (sent, received) in round.client.streams.iter().zip(&receiver.streams) {
            match test {
                Test::TcpRr => assert_eq!(sent.units, 99),
                Test::UdpStream => assert_eq!(sent.units, 7_000_001_u64.div_ceil(result.settings.length.0)),
                _ => assert_eq!(received.bytes, 7_000_001, "{test}"),
            }
        }
    }
}

#[test]
fn options_reach_the_server_and_are_read_back() {
    let serve = Serve::here(&["--cpus", "0"]);
    let mut command = stream(serve.port, &["--test", "tcp_maerts,udp_stream", "--rounds", "2", "--duration", "200ms"]);
    command.args(["--rate", "20mbit", "--socket-buffer", "100k", "--dscp", "10", "--congestion", "reno", "--json"]);
    let found = record(&done(command).ok());
    for result in &found.flows[0].tests {
        assert_eq!(result.rounds.len(), 2);
        for side in [&result.rounds[1].client, &result.rounds[1].server] {
            let socket = &side.streams[0].socket;
            assert_eq!((socket.sndbuf, socket.dscp), (204_800, Some(10)), "{}", result.test);
            assert!(result.test.is_udp() || socket.congestion.as_deref() == Some("reno"));
            // Of the loopback it is known what arrived.
            assert!(side.arrived.is_some_and(|packets| packets > 0), "{}: {:?}", result.test, side.arrived);
        }
        // 20 Mbit/s are half a megabyte, and without a rate it is some hundred times of it. What the receiver's window had is another matter: a
        // busy machine may open it late.
        let sent = result.rounds[0].client.bytes().max(result.rounds[0].server.bytes());
        assert!(sent < 5_000_000, "{}: {sent}", result.test);
        assert_eq!(result.rounds[0].server.streams[0].cpu.pinned.as_ref().unwrap().0, [0]);
        assert!(result.rounds[0].client.streams[0].cpu.pinned.is_none());
    }
}

#[test]
fn many_clients_at_once_and_no_more_than_allowed() {
    let serve = Serve::here(&["--max-clients", "4"]);
    let spawn = || {
        let mut command =
            stream(serve.port, &["--rounds", "1", "--duration", "3s", "--test", "tcp_rr,udp_rr", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let clients: Vec<_> = (0..4).map(|_| spawn()).collect();
    let tests = || serve.said().matches("TCP_RR for").count();
    assert!(eventually(Duration::from_secs(20), || tests() == 4), "{}", serve.said());
    done(stream(serve.port, &[])).exits(5).says("it serves 4 clients already; try again later");
    for client in clients {
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        check(&serde_json::from_str(&text).unwrap(), 1, true);
    }
    assert!(eventually(Duration::from_secs(5), || serve.threads() == 1), "{} threads are left", serve.threads());
}

#[test]
fn bounds_are_kept_and_said() {
    let serve =
        Serve::here(&["--max-duration", "2s", "--max-streams", "2", "--max-rate", "50mbit", "--max-length", "64k"]);
    for (args, says) in [
        (
            &["--duration", "3s", "--rate", "1mbit"][..],
            "3s of test and warm-up; at most 2s (--max-duration of the server)",
        ),
        (&["-P", "3", "--rate", "1mbit"], "3 streams; at most 2 (--max-streams of the server)"),
        (&["--rate", "1mbit"], "blocks or messages of 128k; at most 64k (--max-length of the server)"),
        (&["--length", "4k"], "ask for at most --rate 50mbit (--max-rate of the server)"),
    ] {
        let client = stream(serve.port, &[&["--test", "tcp_stream"], args].concat());
        // Broken where lines are full.
        let done = done(client).exits(4);
        let said = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(says), "{says}\n{done}");
    }
    let within = ["--test", "tcp_stream,tcp_rr", "--length", "4k", "--rate", "1mbit", "--rounds", "1", "--spin"];
    // The second test is refused: it would have no rate. The first stands.
    let mixed = done(stream(serve.port, &within)).exits(4).says("NOT VALID").says("Mbit/s");
    assert!(mixed.stdout.contains("its threads do not spin"), "{mixed}");
    let open = Serve::here(&["--open"]);
    let mut command = stream(open.port, &["--rounds", "1", "--duration", "100ms"]);
    command.env_remove("NETBENCH_TOKEN");
    done(command).ok();
}

#[test]
fn who_is_not_let_in_hears_why() {
    let serve = Serve::here(&[]);
    let says = "127.0.0.1:";
    done(stream(serve.port, &["--token", "another-token"])).exits(2).says(says).says("give the token that");
    let mut without = stream(serve.port, &[]);
    without.env_remove("NETBENCH_TOKEN");
    done(without).exits(2).says("the token is not this server's");
    done(stream(serve.port, &["--token", "short"])).exits(2).says("a token has 8 to 64");
    done(stream(1, &[])).exits(5).says("nothing listens there; start `netbench serve --bind 127.0.0.1`");
    done(stream(serve.port, &["-6"])).exits(5).says("it has no IPv6 address");
    // One from before there were times to live is spoken to as it speaks.
    let mut socket = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
    let secret = Secret::from_text(TOKEN).unwrap();
    let greeting = Greeting { protocols: (1, 2), ..Greeting::new(Purpose::Control, secret) };
    socket.write_all(&greeting.encode()).unwrap();
    let said: Option<FromServer> = frame::read(&mut socket).unwrap();
    assert!(matches!(said, Some(FromServer::Welcome { protocol: 2, .. })), "{said:?}");
    drop(socket);
    // A client of the future.
    let mut socket = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
    let secret = Secret::from_text(TOKEN).unwrap();
    let greeting = Greeting { protocols: (7, 9), ..Greeting::new(Purpose::Control, secret) };
    socket.write_all(&greeting.encode()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("versions do not match") && answer.contains("the client speaks 7 to 9"), "{answer}");
    let refused = serve.waits_to_say("versions do not match");
    assert!(refused.contains("was refused"), "{refused}");
    // The record names the command without the token.
    let client = stream(serve.port, &["--token", TOKEN, "--test", "tcp_cc", "--rounds", "1", "--json"]);
    assert!(!done(client).ok().stdout.contains(TOKEN));
}

/// Where nobody says one, each start makes a token, which lets in there and nowhere else.
#[test]
fn a_token_is_made_for_every_start() {
    let servers = [(), ()].map(|()| {
        let mut command = Command::new(NETBENCH);
        command.args(["serve", "--port", "0"]).env_remove("NETBENCH_TOKEN");
        Serve::start_as_it_is(command)
    });
    let tokens = servers.each_ref().map(|serve| {
        let command = serve.waits_to_say("netbench stream ");
        command.split_once("--token ").unwrap_or_else(|| panic!("{command}")).1.trim().to_owned()
    });
    assert!(tokens[0] != tokens[1] && tokens.iter().all(|token| token.len() >= 16), "{tokens:?}");
    for (serve, own, other) in [(&servers[0], &tokens[0], &tokens[1]), (&servers[1], &tokens[1], &tokens[0])] {
        let with = |token: &str| {
            stream(serve.port, &["--token", token, "--test", "tcp_cc", "--rounds", "1", "--duration", "50ms"])
        };
        done(with(own)).ok();
        done(with(other)).exits(2).says("the token is not this server's");
    }
}

#[test]
fn another_program_at_the_port_is_told_from_a_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let greeter = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        first.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
        let (second, _) = listener.accept().unwrap();
        drop(second);
        // The third is never answered.
        let (third, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_secs(15));
        drop((first, third));
    });
    done(stream(port, &[])).exits(5).says("does not speak netbench's protocol");
    done(stream(port, &[])).exits(5).says("hung up at once");
    done(stream(port, &[])).exits(5).says("did not greet within 10 s");
    drop(greeter);
}

#[test]
fn once_ends_with_its_client() {
    let mut serve = Serve::here(&["--once"]);
    done(stream(serve.port, &["--rounds", "1", "--duration", "100ms"])).ok();
    assert_eq!(serve.ends(Duration::from_secs(5)).code(), Some(0));
    let mut serve = Serve::here(&["--once"]);
    let mut client = stream(serve.port, &["--duration", "30s", "--test", "tcp_stream"]).spawn().unwrap();
    serve.waits_to_say("TCP_STREAM for");
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(serve.ends(Duration::from_secs(10)).code(), Some(4), "{}", serve.said());
    let said = serve.said();
    assert!(said.contains("in the middle of a test") || said.contains("without a goodbye"), "{said}");
}

#[test]
fn signals_end_it_cleanly_and_its_clients_hear_of_it() {
    for (signal, test) in [("-INT", "tcp_stream"), ("-TERM", "tcp_maerts"), ("-TERM", "udp_rr")] {
        let mut serve = Serve::here(&[]);
        let mut command = stream(serve.port, &["--duration", "30s", "--test", test, "--rounds", "1"]);
        let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        serve.waits_to_say(" for 30s");
        std::thread::sleep(Duration::from_millis(300));
        serve.signal(signal);
        assert_eq!(serve.ends(Duration::from_secs(10)).code(), Some(0));
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains("the server was stopped"), "{text}");
    }
}

#[test]
fn ctrl_c_ends_a_window_early_and_in_good_order() {
    let serve = Serve::here(&[]);
    for test in ["tcp_stream", "tcp_maerts", "udp_stream"] {
        let mut command = stream(serve.port, &["--duration", "30s", "--test", test, "--rounds", "3", "--json"]);
        let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(Duration::from_secs(10), || serve.said().to_lowercase().contains(&format!("{test} for"))));
        std::thread::sleep(Duration::from_millis(800));
        Command::new("kill").args(["-INT", &client.id().to_string()]).status().unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let found: RunRecord = serde_json::from_slice(&output.stdout).unwrap();
        let result = &found.flows[0].tests[0];
        assert!(found.interrupted && result.rounds.len() == 1 && result.verdict.valid, "{result:?}");
    }
}

#[test]
fn usage_is_said() {
    let serve = |args: &[&str]| {
        let mut command = Command::new(NETBENCH);
        command.arg("serve").args(args);
        done(command)
    };
    serve(&["--token", "abc"]).exits(2).says("a token has 8 to 64");
    serve(&["--bind", "nowhere"]).exits(2).says("`nowhere` is no address");
    serve(&["--bind", "198.18.77.77"]).exits(5).says("no interface of this host has that address");
    let busy = Serve::here(&[]);
    serve(&["--port", &busy.port.to_string()]).exits(5).says("another program has it, choose one with --port");
    for command in ["stream", "mtu probe"] {
        busy.waits_to_say(&format!("netbench {command} 127.0.0.1 --port {} --token {TOKEN}", busy.port));
    }
}
