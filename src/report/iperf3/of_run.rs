//! A record of `netbench run` in iperf3's shape: each round of a stream test is a test of its own.

use super::{Asked, End, Extremes, Interval, Piece, Session, Stream};
use crate::{
    measured::{self, Side, Test},
    record::{FlowRecord, RoundRecord, RunRecord, TestRecord},
};

/// Every round of every stream test, in the order of the record, as the client's end knows it. Request/response tests have
/// no such shape and are left out.
pub fn of_run(record: &RunRecord) -> Vec<Session> {
    let mut sessions = Vec::new();
    for flow in &record.flows {
        for test in flow.tests.iter().filter(|test| test.test.is_byte_stream() || test.test == Test::UdpStream) {
            sessions.extend(test.rounds.iter().map(|round| of_round(record, flow, test, round)));
        }
    }
    sessions
}

fn of_round(record: &RunRecord, flow: &FlowRecord, test: &TestRecord, round: &RoundRecord) -> Session {
    let settings = &test.settings;
    let udp = test.test == Test::UdpStream;
    let client_sends = !test.test.is_reverse();
    let (sender, receiver) = if client_sends { (&round.client, &round.server) } else { (&round.server, &round.client) };
    let facts = round.client.streams.first().map(|stream| &stream.socket);
    let congestion = |side: &Side| side.streams.first().and_then(|stream| stream.socket.congestion.clone());
    let machine = &record.machine;
    Session {
        server: false,
        version: format!("netbench {}", record.netbench),
        system_info: format!("Linux {} {}", machine.hostname, machine.kernel),
        started: record.started.parse().unwrap_or_default(),
        peer: (flow.to_address.clone(), round.client.streams.first().map_or(0, |stream| address(&stream.peer).1)),
        test: Asked {
            udp,
            num_streams: settings.streams,
            blksize: super::super::moved::block(test).unwrap_or(settings.length.0),
            omit: settings.omit.0.as_secs(),
            duration: settings.duration.0.as_secs(),
            reverse: !client_sends,
            tos: settings.tuning.dscp.unwrap_or(0) << 2,
            target_bitrate: settings.rate.map_or(0, |rate| rate.bits_per_second()),
            fqrate: settings.tuning.pacing.map_or(0, |rate| rate.bits_per_second()),
            interval: round.client.intervals.first().map_or(0.0, |first| nanos(first.end_ns - first.start_ns)),
            ..Asked::default()
        },
        sndbuf_actual: facts.map_or(0, |facts| facts.sndbuf),
        rcvbuf_actual: facts.map_or(0, |facts| facts.rcvbuf),
        mss: facts.and_then(|facts| facts.mss),
        streams: round
            .client
            .streams
            .iter()
            .map(|client| stream(client, sender, receiver, client_sends, udp))
            .collect(),
        intervals: round.client.intervals.iter().map(|piece| interval(piece, &round.client)).collect(),
        local_cpu: cpu(&round.client),
        remote_cpu: cpu(&round.server),
        sender_congestion: congestion(sender),
        receiver_congestion: congestion(receiver),
        warnings: test.verdict.reasons.clone(),
        ..Session::default()
    }
}

fn stream(client: &measured::Stream, sender: &Side, receiver: &Side, client_sends: bool, udp: bool) -> Stream {
    let of = |side: &Side| side.streams.iter().find(|stream| stream.stream == client.stream).cloned();
    let (sent, received) = (of(sender), of(receiver));
    let tcp = sent.as_ref().and_then(|sent| sent.tcp.as_ref());
    let end = |stream: Option<&measured::Stream>| {
        stream.map_or_else(End::default, |stream| End {
            bytes: stream.bytes,
            seconds: nanos(stream.judged_ns()),
            packets: stream.units,
            ..End::default()
        })
    };
    let datagrams = received.as_ref().and_then(|received| received.datagrams.as_ref());
    Stream {
        socket: u64::from(client.stream) + 1,
        local: address(&client.local),
        remote: address(&client.peer),
        sends: client_sends,
        sent: End {
            retransmits: tcp.and_then(|tcp| tcp.retransmits).map(u64::from).filter(|_| !udp),
            ..end(sent.as_ref())
        },
        received: End {
            packets: datagrams.map_or(0, |datagrams| datagrams.sent),
            lost: datagrams.map_or(0, |datagrams| datagrams.lost as i64),
            out_of_order: datagrams.map_or(0, |datagrams| datagrams.reordered),
            jitter_ms: datagrams.map_or(0.0, |datagrams| datagrams.jitter_ns as f64 / 1e6),
            ..end(received.as_ref())
        },
        tcp: tcp.filter(|_| client_sends).map(|tcp| {
            let rtt = u64::from(tcp.rtt_us.unwrap_or(0));
            Extremes {
                // The kernel's window is in segments, iperf3's in bytes.
                max_snd_cwnd: u64::from(tcp.snd_cwnd.unwrap_or(0)) * u64::from(tcp.snd_mss.unwrap_or(0)),
                max_snd_wnd: 0,
                max_rtt: rtt,
                min_rtt: u64::from(tcp.min_rtt_us.unwrap_or(0)),
                mean_rtt: rtt,
            }
        }),
    }
}

/// A side counts its intervals over all streams: only of a single one they are also the stream's.
fn interval(piece: &measured::Interval, side: &Side) -> Interval {
    let sum = Piece { bytes: piece.bytes, packets: piece.units, ..Piece::default() };
    Interval {
        start: nanos(piece.start_ns),
        end: nanos(piece.end_ns),
        omitted: false,
        streams: if side.streams.len() == 1 { vec![sum] } else { Vec::new() },
        sums: Some([sum, Piece::default()]),
    }
}

fn cpu(side: &Side) -> [f64; 3] {
    let elapsed = side.streams.iter().map(|stream| stream.elapsed_ns).max().unwrap_or(0).max(1) as f64;
    let sum = |time: fn(&measured::ThreadCpu) -> u64| side.streams.iter().map(|s| time(&s.cpu)).sum::<u64>() as f64;
    let (user, system) = (sum(|cpu| cpu.user_ns) * 100.0 / elapsed, sum(|cpu| cpu.system_ns) * 100.0 / elapsed);
    [user + system, user, system]
}

fn nanos(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn address(text: &str) -> (String, u16) {
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port()),
        Err(_) => (text.to_owned(), 0),
    }
}
