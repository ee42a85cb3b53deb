//! `--verify`: payload that is checked at the receiver, over wires that are whole and through a relay that flips a bit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod engine;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, mpsc::channel},
    thread::JoinHandle,
};

use cables::Lab;
use engine::{measure, options, text};
use netbench::{
    experiment::Options,
    measured::{SendMode, Side, Test},
    topology::model::Flow,
    traffic::{Client, Done, SenderTotals, Server, Spec},
};

const VERIFIED: [Test; 4] = [Test::TcpStream, Test::TcpMaerts, Test::TcpBidir, Test::UdpStream];

#[test]
fn every_byte_is_checked_and_the_cost_is_said() {
    let Some(lab) = Lab::new(1) else { return };
    for length in [None, Some("1000")] {
        let options = Options {
            verify: Some(9),
            streams: 2,
            length: length.map(|length| length.parse().unwrap()),
            ..options(&VERIFIED, 200)
        };
        let record = measure(&lab, lab.flow(0, false), &options);
        for test in &record.flows[0].tests {
            assert!(test.verdict.valid, "{}: {:?}", test.test, test.verdict.reasons);
            let round = &test.rounds[0];
            for stream in round.client.both_ways().chain(round.server.both_ways()) {
                let seen = stream.verified.as_ref().unwrap();
                assert!(seen.ns_per_byte > 0.0 && seen.corrupt == 0 && seen.first.is_none(), "{seen:?}");
                if !test.test.is_udp() {
                    assert_eq!(seen.bytes, stream.bytes + stream.omitted_bytes, "{}: nothing unchecked", test.test);
                } else {
                    assert!(seen.blocks >= stream.units + stream.omitted_units, "{seen:?}");
                }
            }
        }
        assert!(!record.is_corrupt());
        assert!(text(&record).contains("payload checked (CRC32C): "));
    }
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let Some(lab) = Lab::new(0) else { return };
    let flow = lab.flow(0, false).flow;
    let refusal = |options: Options| options.check(std::slice::from_ref(&flow)).unwrap_err().to_string();
    let asked = |test| Options { verify: Some(1), ..options(&[test], 50) };
    assert!(refusal(asked(Test::TcpRr)).contains("--verify is for streams"));
    assert!(refusal(asked(Test::TcpSendfile)).contains("can be checked"));
    let sendfile = Options { send: Some(SendMode::Sendfile), ..asked(Test::TcpStream) };
    assert!(refusal(sendfile).contains("it goes by write and recv"));
}

/// Copies one way, and flips the lowest bit of the byte at `flip`, counted from the first.
fn splice(mut from: TcpStream, mut to: TcpStream, flip: Option<u64>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut buffer, mut at) = (vec![0; 64 << 10], 0u64);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let here = &mut buffer[..count];
            if let Some(byte) = flip.and_then(|flip| here.get_mut(usize::try_from(flip.checked_sub(at)?).ok()?)) {
                *byte ^= 1;
            }
            at += count as u64;
            if to.write_all(here).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}

fn spec(test: Test) -> Spec {
    let (from_address, to_address) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
    let flow = Flow { from: "a".into(), to: "b".into(), from_address, to_address, mtu: 1500 };
    Options { verify: Some(4), ..options(&[test], 150) }.spec(test, &flow)
}

fn tell() -> (Done, std::sync::mpsc::Receiver<()>) {
    let (sender, over) = channel();
    (Arc::new(move || _ = sender.send(())), over)
}

/// Both sides through a relay that flips a bit of what goes to the server, and of what comes back.
fn through_relay(test: Test, to_server: Option<u64>, to_client: Option<u64>) -> (Side, Side) {
    let spec = spec(test);
    let local = Ipv4Addr::LOCALHOST.into();
    let server = Server::bind(spec.clone(), local).unwrap();
    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = Client::connect(spec, local, &[relay.local_addr().unwrap()]).unwrap();
    let (near, _) = relay.accept().unwrap();
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, server.ports()[0])).unwrap();
    let threads = [
        splice(near.try_clone().unwrap(), far.try_clone().unwrap(), to_server),
        splice(far.try_clone().unwrap(), near, to_client),
    ];
    let ((client_done, client_over), (server_done, server_over)) = (tell(), tell());
    let serving = server.start(&[far.local_addr().unwrap()], server_done).unwrap();
    drop(far);
    let sending = client.start(client_done).unwrap();
    client_over.recv().unwrap();
    server_over.recv().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (sending.collect().unwrap(), serving.collect().unwrap())
}

#[test]
fn a_bit_that_flips_on_the_way_is_found_at_its_byte() {
    let block = 128 << 10;
    for at in [0, 77_777, block - 1, block, 3 * block + 5] {
        let (_, server) = through_relay(Test::TcpStream, Some(at), None);
        let seen = server.streams[0].verified.as_ref().unwrap();
        let first = seen.first.as_ref().unwrap();
        assert_eq!((seen.corrupt, first.offset, first.block, first.differing), (1, at, at / block, 1), "{seen:?}");
        let text = first.text();
        assert!(text.starts_with(&format!("byte {at} (block {})", at / block)), "{text}");
        let differ = first.expected.split(' ').zip(first.found.split(' ')).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 1, "the hexadecimal difference shows it: {text}");
    }
    // The client's word to begin is the one byte that goes the other way.
    let (client, _) = through_relay(Test::TcpMaerts, None, Some(200_000));
    assert_eq!(client.streams[0].verified.as_ref().unwrap().first.as_ref().unwrap().offset, 200_000);
    let (client, server) = through_relay(Test::TcpBidir, Some(1234), Some(300_001));
    assert_eq!(server.streams[0].verified.as_ref().unwrap().first.as_ref().unwrap().offset, 1234);
    let back = client.back.unwrap();
    assert_eq!(back.streams[0].verified.as_ref().unwrap().first.as_ref().unwrap().offset, 300_001);
    let (client, server) = through_relay(Test::TcpBidir, None, None);
    let streams = client.both_ways().chain(server.both_ways());
    assert!(streams.into_iter().all(|stream| stream.verified.as_ref().unwrap().corrupt == 0));
}

#[test]
fn a_corrupt_datagram_is_found_and_not_believed() {
    let spec = Spec { rate: Some("50mbit".parse().unwrap()), ..spec(Test::UdpStream) };
    let length = spec.length.0 as usize;
    let local = Ipv4Addr::LOCALHOST.into();
    let server = Server::bind(spec.clone(), local).unwrap();
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target: SocketAddr = (local, server.ports()[0]).into();
    let client = Client::connect(spec, local, &[near.local_addr().unwrap()]).unwrap();
    near.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
    let peers = [far.local_addr().unwrap()];
    let relay = std::thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 65_536], 0);
        while let Ok(received) = near.recv(&mut buffer) {
            // The 20th has a wrong number, the 40th a wrong byte.
            if received == length {
                count += 1;
                match count {
                    20 => buffer[5] ^= 0x80,
                    40 => buffer[700] ^= 0x10,
                    _ => {}
                }
            }
            far.send_to(&buffer[..received], target).unwrap();
        }
    });
    let ((client_done, client_over), (server_done, server_over)) = (tell(), tell());
    let serving = server.start(&peers, server_done).unwrap();
    let sending = client.start(client_done).unwrap();
    client_over.recv().unwrap();
    let sent = sending.collect().unwrap();
    let totals = SenderTotals { sent: sent.units(), elapsed_ns: sent.streams[0].elapsed_ns };
    serving.finish(&[totals]);
    server_over.recv().unwrap();
    relay.join().unwrap();
    let received = serving.collect().unwrap();
    let stream = &received.streams[0];
    let (seen, books) = (stream.verified.as_ref().unwrap(), stream.datagrams.as_ref().unwrap());
    assert_eq!((seen.corrupt, books.sent), (2, sent.units()));
    assert!(books.lost >= 2 && books.received + books.lost == books.sent, "{books:?}");
    assert_eq!(seen.first.as_ref().unwrap().offset, 5, "{seen:?}");
}
