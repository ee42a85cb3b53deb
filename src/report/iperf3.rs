//! A test in the shape of `iperf3 -J`, so that what reads iperf3's reports reads these.
//!
//! [`Session`] is a test as one end knows it; [`document`] shapes it. Keys are those of iperf3 3.12, with a few of later
//! releases; a figure that is not known is 0, as there.

mod of_run;
mod text;

use std::io::{self, Write};

use serde_json::{Map, Value, json};

pub use self::{of_run::of_run, text::text};
use crate::record::RunRecord;

/// A test between two ends, as one of them knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Session {
    /// This end is the server.
    pub server: bool,
    /// What measured: program and version.
    pub version: String,
    /// The machine.
    pub system_info: String,
    /// When it began.
    pub started: jiff::Timestamp,
    /// The other end of the control connection: host and port.
    pub peer: (String, u16),
    /// The test's cookie; empty where there is none.
    pub cookie: String,
    /// What was asked for.
    pub test: Asked,
    /// Bytes asked as socket buffers; 0 is the kernel's choice.
    pub sock_bufsize: u64,
    /// `SO_SNDBUF` in force.
    pub sndbuf_actual: u64,
    /// `SO_RCVBUF` in force.
    pub rcvbuf_actual: u64,
    /// Segment size (TCP).
    pub mss: Option<u32>,
    /// Every stream, in the order of its connection.
    pub streams: Vec<Stream>,
    /// Consecutive, warm-up first.
    pub intervals: Vec<Interval>,
    /// CPU time of this end's data threads over elapsed time, percent: total, user, system.
    pub local_cpu: [f64; 3],
    /// The other end's.
    pub remote_cpu: [f64; 3],
    /// Congestion control at the end that sends, when known. In a test both ways, of the client.
    pub sender_congestion: Option<String>,
    /// At the other.
    pub receiver_congestion: Option<String>,
    /// Free text of the client.
    pub title: Option<String>,
    /// Free text of the client.
    pub extra_data: Option<String>,
    /// The server's own report, when it was asked for.
    pub server_output: Option<Value>,
    /// What a reader should know: ways of sending that did not work, and the like.
    pub warnings: Vec<String>,
    /// Why it ended early.
    pub error: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    /// Datagrams.
    pub udp: bool,
    /// Streams of a direction.
    pub num_streams: u32,
    /// Bytes of a block or datagram.
    pub blksize: u64,
    /// Seconds of warm-up.
    pub omit: u64,
    /// Seconds.
    pub duration: u64,
    /// Bytes; 0 is no limit.
    pub bytes: u64,
    /// Blocks; 0 is no limit.
    pub blocks: u64,
    /// The server sends.
    pub reverse: bool,
    /// Both send.
    pub bidir: bool,
    /// Type of service.
    pub tos: u8,
    /// Bits per second of each stream; 0 is no limit.
    pub target_bitrate: u64,
    /// `SO_MAX_PACING_RATE`, bits per second; 0 is no limit.
    pub fqrate: u64,
    /// Seconds of an interval.
    pub interval: f64,
}

/// A stream from both ends.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stream {
    /// What names it in the report.
    pub socket: u64,
    /// Own address and port.
    pub local: (String, u16),
    /// The other end's.
    pub remote: (String, u16),
    /// This end sends.
    pub sends: bool,
    /// The sender's figures; zeros when they are not known.
    pub sent: End,
    /// The receiver's.
    pub received: End,
    /// Of the connection, as this end has it (TCP).
    pub tcp: Option<Extremes>,
}

/// What one end of a stream counted in the window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct End {
    /// Payload.
    pub bytes: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Datagrams.
    pub packets: u64,
    /// Of those, lost.
    pub lost: i64,
    /// Came late.
    pub out_of_order: u64,
    /// Milliseconds.
    pub jitter_ms: f64,
    /// Segments sent again, when known.
    pub retransmits: Option<u64>,
}

/// Of a connection over its intervals: bytes and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extremes {
    /// Largest congestion window.
    pub max_snd_cwnd: u64,
    /// Largest window that the receiver offered.
    pub max_snd_wnd: u64,
    /// Longest round trip.
    pub max_rtt: u64,
    /// Shortest.
    pub min_rtt: u64,
    /// Mean of the samples.
    pub mean_rtt: u64,
}

/// A piece of the test.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interval {
    /// Seconds since the begin of the window, or of the warm-up.
    pub start: f64,
    /// To.
    pub end: f64,
    /// It is of the warm-up.
    pub omitted: bool,
    /// By stream; empty where only sums are known.
    pub streams: Vec<Piece>,
    /// Sums of the client's sending streams and of the others, where streams are not known one by one.
    pub sums: Option<[Piece; 2]>,
}

/// A stream in an interval, as this end counted it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Piece {
    /// Payload.
    pub bytes: u64,
    /// Datagrams.
    pub packets: u64,
    /// Of those, lost.
    pub lost: i64,
    /// Milliseconds, at its end.
    pub jitter_ms: f64,
    /// Of a sending connection.
    pub tcp: Option<TcpPiece>,
}

/// A sending connection in an interval: bytes and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpPiece {
    /// Segments sent again.
    pub retransmits: u64,
    /// Congestion window.
    pub snd_cwnd: u64,
    /// Window that the receiver offers.
    pub snd_wnd: u64,
    /// Round trip.
    pub rtt: u64,
    /// Its variation.
    pub rttvar: u64,
    /// Path MTU.
    pub pmtu: u64,
    /// Reordering.
    pub reorder: u64,
}

impl Session {
    /// Streams of the report's first sums: in a test both ways those that the client sends on.
    fn is_first(&self, stream: &Stream) -> bool {
        !self.test.bidir || stream.sends != self.server
    }

    /// Does this end send on the streams of these sums?
    fn sends(&self, first: bool) -> bool {
        let one_way = self.streams.first().is_some_and(|stream| stream.sends);
        if self.test.bidir { first != self.server } else { one_way }
    }

    /// The sums that there are: first, and in a test both ways the other.
    fn groups(&self) -> &'static [(bool, &'static str)] {
        if self.test.bidir { &[(true, ""), (false, "_bidir_reverse")] } else { &[(true, "")] }
    }

    /// Bytes, in all, that senders of a group sent and receivers got.
    pub fn bytes(&self, first: bool) -> (u64, u64) {
        let group = self.streams.iter().filter(|stream| self.is_first(stream) == first);
        group.fold((0, 0), |sum, stream| (sum.0 + stream.sent.bytes, sum.1 + stream.received.bytes))
    }
}

/// The stream tests of a record as `iperf3 -J` would print each, one document a round.
pub fn documents(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    for session in of_run(record) {
        serde_json::to_writer_pretty(&mut *out, &document(&session))?;
        writeln!(out)?;
    }
    Ok(())
}

/// A session as `iperf3 -J` prints it.
pub fn document(session: &Session) -> Value {
    let mut map = Map::new();
    map.insert("start".to_owned(), start(session));
    map.insert("intervals".to_owned(), session.intervals.iter().map(|i| interval(session, i)).collect());
    map.insert("end".to_owned(), end(session));
    if let Some(title) = &session.title {
        map.insert("title".to_owned(), json!(title));
    }
    if let Some(extra) = &session.extra_data {
        map.insert("extra_data".to_owned(), json!(extra));
    }
    if let Some(output) = &session.server_output {
        let key = if output.is_string() { "server_output_text" } else { "server_output_json" };
        map.insert(key.to_owned(), output.clone());
    }
    if let Some(error) = &session.error {
        map.insert("error".to_owned(), json!(error));
    }
    Value::Object(map)
}

fn start(session: &Session) -> Value {
    let Session { test, peer, .. } = session;
    let connected: Vec<Value> = session
        .streams
        .iter()
        .map(|stream| {
            json!({
                "socket": stream.socket,
                "local_host": stream.local.0,
                "local_port": stream.local.1,
                "remote_host": stream.remote.0,
                "remote_port": stream.remote.1,
            })
        })
        .collect();
    let mut start = json!({
        "connected": connected,
        "version": session.version,
        "system_info": session.system_info,
        "timestamp": {
            "time": session.started.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
            "timesecs": session.started.as_second(),
            "timemillisecs": session.started.as_millisecond(),
        },
        "cookie": session.cookie,
        "target_bitrate": test.target_bitrate,
        "fq_rate": test.fqrate,
        "sock_bufsize": session.sock_bufsize,
        "sndbuf_actual": session.sndbuf_actual,
        "rcvbuf_actual": session.rcvbuf_actual,
        "test_start": {
            "protocol": if test.udp { "UDP" } else { "TCP" },
            "num_streams": test.num_streams,
            "blksize": test.blksize,
            "omit": test.omit,
            "duration": test.duration,
            "bytes": test.bytes,
            "blocks": test.blocks,
            "reverse": u8::from(test.reverse),
            "tos": test.tos,
            "target_bitrate": test.target_bitrate,
            "bidir": u8::from(test.bidir),
            "fqrate": test.fqrate,
            "interval": test.interval,
        },
    });
    let other = if session.server { "accepted_connection" } else { "connecting_to" };
    start[other] = json!({ "host": peer.0, "port": peer.1 });
    if let Some(mss) = session.mss {
        start["tcp_mss_default"] = json!(mss);
    }
    start
}

fn interval(session: &Session, piece: &Interval) -> Value {
    let seconds = (piece.end - piece.start).max(0.0);
    let head = |bytes: u64, sender: bool| {
        let mut head = window(piece.start, piece.end, seconds, bytes, sender);
        head.insert("omitted".to_owned(), json!(piece.omitted));
        head
    };
    let rows = piece.streams.iter().zip(&session.streams).map(|(row, stream)| {
        let mut map = head(row.bytes, stream.sends);
        map.insert("socket".to_owned(), json!(stream.socket));
        if session.test.udp {
            map.extend(datagrams(row.packets, row.lost, row.jitter_ms, stream.sends));
        } else if let Some(tcp) = row.tcp {
            map.insert("retransmits".to_owned(), json!(tcp.retransmits));
            let rest = [
                ("snd_cwnd", tcp.snd_cwnd),
                ("snd_wnd", tcp.snd_wnd),
                ("rtt", tcp.rtt),
                ("rttvar", tcp.rttvar),
                ("pmtu", tcp.pmtu),
                ("reorder", tcp.reorder),
            ];
            map.extend(rest.map(|(key, value)| (key.to_owned(), json!(value))));
        }
        Value::Object(map)
    });
    let mut all = json!({ "streams": rows.collect::<Vec<_>>() });
    for (i, &(first, suffix)) in session.groups().iter().enumerate() {
        let sender = session.sends(first);
        let sum = match &piece.sums {
            Some(sums) => sums[i],
            None => sum_pieces(session, piece, first),
        };
        let mut map = head(sum.bytes, sender);
        if session.test.udp {
            map.extend(datagrams(sum.packets, sum.lost, sum.jitter_ms, sender));
        } else if let Some(tcp) = sum.tcp {
            map.insert("retransmits".to_owned(), json!(tcp.retransmits));
        }
        all[format!("sum{suffix}")] = Value::Object(map);
    }
    all
}

fn sum_pieces(session: &Session, interval: &Interval, first: bool) -> Piece {
    let mut sum = Piece::default();
    let mut count = 0.0;
    for (piece, _) in interval.streams.iter().zip(&session.streams).filter(|(_, s)| session.is_first(s) == first) {
        sum.bytes += piece.bytes;
        sum.packets += piece.packets;
        sum.lost += piece.lost;
        sum.jitter_ms += piece.jitter_ms;
        count += 1.0;
        if let Some(tcp) = piece.tcp {
            sum.tcp.get_or_insert_default().retransmits += tcp.retransmits;
        }
    }
    // iperf3 gives the mean of the streams' jitters.
    sum.jitter_ms /= f64::max(count, 1.0);
    sum
}

fn end(session: &Session) -> Value {
    let udp = session.test.udp;
    let rows: Vec<Value> = session.streams.iter().map(|stream| end_of(stream, udp)).collect();
    let mut end = json!({
        "streams": rows,
        "cpu_utilization_percent": {
            "host_total": session.local_cpu[0],
            "host_user": session.local_cpu[1],
            "host_system": session.local_cpu[2],
            "remote_total": session.remote_cpu[0],
            "remote_user": session.remote_cpu[1],
            "remote_system": session.remote_cpu[2],
        },
    });
    for &(first, suffix) in session.groups() {
        let group = || session.streams.iter().filter(move |stream| session.is_first(stream) == first);
        let sender = session.sends(first);
        let sent = sum_ends(group().map(|stream| &stream.sent));
        let received = sum_ends(group().map(|stream| &stream.received));
        let mut sums = [("sum_sent", &sent, true), ("sum_received", &received, false)].map(|(key, sum, by_sender)| {
            let mut map = window(0.0, sum.seconds, sum.seconds, sum.bytes, if udp { by_sender } else { sender });
            if udp {
                let lost = if by_sender { 0 } else { sum.lost };
                map.extend(datagrams(sum.packets, lost, sum.jitter_ms, false));
            } else if by_sender && let Some(count) = sum.retransmits {
                map.insert("retransmits".to_owned(), json!(count));
            }
            (key, map)
        });
        if udp {
            let total = whole(&sent, &received);
            let mut map = window(0.0, total.seconds, total.seconds, total.bytes, sender);
            map.extend(datagrams(total.packets, total.lost, total.jitter_ms, false));
            end[format!("sum{suffix}")] = Value::Object(map);
        }
        for (key, map) in &mut sums {
            end[format!("{key}{suffix}")] = Value::Object(std::mem::take(map));
        }
    }
    let congestion = [
        ("sender_tcp_congestion", &session.sender_congestion),
        ("receiver_tcp_congestion", &session.receiver_congestion),
    ];
    for (key, name) in congestion {
        if let Some(name) = name.as_ref().filter(|_| !udp) {
            end[key] = json!(name);
        }
    }
    end
}

fn end_of(stream: &Stream, udp: bool) -> Value {
    let map = |end: &End| {
        let mut map = window(0.0, end.seconds, end.seconds, end.bytes, stream.sends);
        map.insert("socket".to_owned(), json!(stream.socket));
        map
    };
    if udp {
        let total = whole(&stream.sent, &stream.received);
        let mut row = map(&total);
        row.extend(datagrams(total.packets, total.lost, total.jitter_ms, false));
        row.insert("out_of_order".to_owned(), json!(total.out_of_order));
        return json!({ "udp": row });
    }
    let (mut sender, receiver) = (map(&stream.sent), map(&stream.received));
    if let Some(count) = stream.sent.retransmits {
        sender.insert("retransmits".to_owned(), json!(count));
    }
    if let Some(tcp) = stream.tcp {
        let rest = [
            ("max_snd_cwnd", tcp.max_snd_cwnd),
            ("max_snd_wnd", tcp.max_snd_wnd),
            ("max_rtt", tcp.max_rtt),
            ("min_rtt", tcp.min_rtt),
            ("mean_rtt", tcp.mean_rtt),
        ];
        sender.extend(rest.map(|(key, value)| (key.to_owned(), json!(value))));
    }
    json!({ "sender": sender, "receiver": receiver })
}

/// A stream of datagrams in one row: what was sent, and what became of it. A server is never told what was sent.
fn whole(sent: &End, received: &End) -> End {
    let known = sent.packets > 0;
    let base = if known { sent } else { received };
    End {
        bytes: base.bytes,
        seconds: base.seconds.max(received.seconds),
        packets: base.packets,
        lost: received.lost,
        out_of_order: received.out_of_order,
        jitter_ms: received.jitter_ms,
        retransmits: None,
    }
}

fn sum_ends<'a>(ends: impl Iterator<Item = &'a End>) -> End {
    let mut sum = End::default();
    let mut count = 0.0;
    for end in ends {
        sum.bytes += end.bytes;
        sum.seconds = sum.seconds.max(end.seconds);
        sum.packets += end.packets;
        sum.lost += end.lost;
        sum.out_of_order += end.out_of_order;
        sum.jitter_ms += end.jitter_ms;
        count += 1.0;
        sum.retransmits = match (sum.retransmits, end.retransmits) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
    sum.jitter_ms /= f64::max(count, 1.0);
    sum
}

fn window(start: f64, end: f64, seconds: f64, bytes: u64, sender: bool) -> Map<String, Value> {
    let rate = if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 };
    let values = [
        ("start", json!(start)),
        ("end", json!(end)),
        ("seconds", json!(seconds)),
        ("bytes", json!(bytes)),
        ("bits_per_second", json!(rate)),
        ("sender", json!(sender)),
    ];
    values.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

/// What a row of datagrams has besides; in the intervals of a sender only their number.
fn datagrams(packets: u64, lost: i64, jitter_ms: f64, counted_only: bool) -> Vec<(String, Value)> {
    let mut values = vec![("packets".to_owned(), json!(packets))];
    if !counted_only {
        let percent = if packets > 0 { lost as f64 * 100.0 / packets as f64 } else { 0.0 };
        values.push(("jitter_ms".to_owned(), json!(jitter_ms)));
        values.push(("lost_packets".to_owned(), json!(lost)));
        values.push(("lost_percent".to_owned(), json!(percent)));
    }
    values
}
