//! The running part of a test, the same at both ends: data streams, and their figures cut into intervals whose sums are the
//! totals.

use std::{net::SocketAddr, time::Duration};

use socket2::Socket;

use super::{
    Error, RELEASE,
    params::Params,
    results::{Results, StreamResult},
    streams,
    wire::{self, Cookie},
};
use crate::{
    facts::Machine,
    report::iperf3::{Asked, End, Extremes, Interval, Piece, Session, Stream, TcpPiece},
    traffic::guest::{self, GuestEnd, GuestSpec, Guests, TcpLook},
};

/// Intervals of a report, at most: a longer test has longer ones.
const INTERVALS: u64 = 4096;

/// What has been told of a stream so far.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    bytes: u64,
    packets: u64,
    errors: i64,
    retransmits: u64,
}

/// Round trips and windows seen at this end of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    extremes: Extremes,
    sum: u64,
    count: u64,
}

/// Streams that run.
pub struct Course {
    guests: Guests,
    specs: Vec<GuestSpec>,
    ends: Vec<(SocketAddr, SocketAddr)>,
    started: jiff::Timestamp,
    every_ns: u64,
    omit_ns: u64,
    /// When the window was seen open; 0 before.
    opened_ns: u64,
    /// When the next interval ends.
    next_ns: u64,
    told: Vec<Told>,
    seen: Vec<Seen>,
    intervals: Vec<Interval>,
}

/// Streams that have ended.
pub struct Closed {
    started: jiff::Timestamp,
    specs: Vec<GuestSpec>,
    ends: Vec<(SocketAddr, SocketAddr)>,
    streams: Vec<GuestEnd>,
    seen: Vec<Seen>,
    intervals: Vec<Interval>,
    /// Until this is gone, connections stay open: a peer may still be writing.
    pub guests: Guests,
}

impl Course {
    /// Starts every stream.
    pub fn start(params: &Params, server: bool, sockets: Vec<Socket>, every: Duration) -> Result<Self, Error> {
        let specs = streams::specs(params, server);
        let unknown = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let ends = sockets
            .iter()
            .map(|socket| (guest::local(socket).unwrap_or(unknown), guest::peer(socket).unwrap_or(unknown)))
            .collect();
        let least = Duration::from_secs((params.time + params.omit).div_ceil(INTERVALS));
        let every_ns = every.max(least).as_nanos() as u64;
        let count = specs.len();
        let started = jiff::Timestamp::now();
        let guests = Guests::start(specs.iter().cloned().zip(sockets).collect())?;
        Ok(Self {
            next_ns: guests.start_ns() + every_ns,
            omit_ns: params.omit * 1_000_000_000,
            guests,
            specs,
            ends,
            started,
            every_ns,
            opened_ns: 0,
            told: vec![Told::default(); count],
            seen: vec![Seen::default(); count],
            intervals: Vec::new(),
        })
    }

    /// The streams.
    pub fn guests(&self) -> &Guests {
        &self.guests
    }

    /// What each stream does.
    pub fn specs(&self) -> &[GuestSpec] {
        &self.specs
    }

    /// Payload in the window so far: sent, received.
    pub fn bytes(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for (i, spec) in self.specs.iter().enumerate() {
            let bytes = self.guests.look(i).bytes;
            if spec.sends { sum.0 += bytes } else { sum.1 += bytes }
        }
        sum
    }

    /// Time since the window opened, as far as the clock says it has.
    pub fn window_age(&self) -> Option<Duration> {
        let age = self.guests.now_ns().checked_sub(self.guests.start_ns() + self.omit_ns)?;
        Some(Duration::from_nanos(age))
    }

    /// Cuts an interval when one is over; returns the newest then. To be called some times a second.
    pub fn tick(&mut self) -> Option<&Interval> {
        let now = self.guests.now_ns();
        if self.opened_ns == 0 {
            let looks: Vec<_> = (0..self.specs.len()).map(|i| self.guests.look(i)).collect();
            if looks.iter().all(|look| look.opened_ns != 0) {
                let opened = looks.iter().map(|look| look.opened_ns).min().unwrap_or(now);
                if self.omit_ns > 0 {
                    self.cut(opened, true);
                }
                self.told = (0..self.specs.len())
                    .map(|i| Told {
                        bytes: 0,
                        packets: looks[i].omitted_packets,
                        errors: looks[i].omitted_errors,
                        retransmits: self.guests.omitted_retransmits(i),
                    })
                    .collect();
                self.opened_ns = opened;
                self.next_ns = opened + self.every_ns;
                return None;
            }
        }
        // A rest of the warm-up that is no interval joins the last one of it.
        let is_rest = self.opened_ns == 0 && now + self.every_ns / 2 > self.guests.start_ns() + self.omit_ns;
        if now < self.next_ns || is_rest || self.intervals.len() as u64 >= 2 * INTERVALS {
            return None;
        }
        self.next_ns += self.every_ns * (1 + (now - self.next_ns) / self.every_ns);
        self.cut(now, self.opened_ns == 0);
        self.intervals.last()
    }

    fn cut(&mut self, now: u64, omitted: bool) {
        let base = if omitted { self.guests.start_ns() } else { self.opened_ns };
        let last = self.intervals.last().filter(|last| last.omitted == omitted);
        let start = last.map_or(0.0, |last| last.end);
        let streams = (0..self.specs.len()).map(|i| self.piece(i, omitted)).collect();
        let end = (now.saturating_sub(base) as f64 / 1e9).max(start);
        self.intervals.push(Interval { start, end, omitted, streams, sums: None });
    }

    /// What a stream did since it was last asked.
    fn piece(&mut self, i: usize, omitted: bool) -> Piece {
        let look = self.guests.look(i);
        // The window may have opened since: what is of the warm-up is kept apart by the stream itself.
        let warm = omitted && look.opened_ns != 0;
        let tcp = self.specs[i].udp.is_none().then(|| self.guests.tcp(i));
        let all = Told {
            bytes: if omitted { look.omitted_bytes } else { look.bytes },
            packets: if warm { look.omitted_packets } else { look.packets },
            errors: if warm { look.omitted_errors } else { look.errors },
            retransmits: match &tcp {
                Some(tcp) if warm => tcp.omitted_retransmits,
                Some(tcp) => tcp.info.retransmits.map_or(0, u64::from),
                None => 0,
            },
        };
        let told = std::mem::replace(&mut self.told[i], all);
        Piece {
            bytes: all.bytes.saturating_sub(told.bytes),
            packets: all.packets.saturating_sub(told.packets),
            lost: all.errors - told.errors,
            jitter_ms: look.jitter_ns as f64 / 1e6,
            tcp: tcp
                .map(|tcp| self.seen[i].add(&tcp, all.retransmits.saturating_sub(told.retransmits)))
                .filter(|_| self.specs[i].sends),
        }
    }

    /// Waits for the streams, which have been told to end, and closes the last interval.
    pub fn close(mut self) -> Closed {
        let streams = self.guests.collect();
        self.tick();
        let longest = streams.iter().map(|end| end.elapsed_ns).max().unwrap_or(0);
        if self.opened_ns != 0 && longest > 0 {
            self.close_intervals(self.opened_ns + longest);
        } else if self.opened_ns == 0 {
            self.cut(self.guests.now_ns(), true);
        }
        let Self { started, specs, ends, seen, intervals, guests, .. } = self;
        Closed { started, specs, ends, streams, seen, intervals, guests }
    }

    /// A rest shorter than half an interval joins the one before; so does what was looked at after the window had closed.
    fn close_intervals(&mut self, end_ns: u64) {
        self.cut(end_ns, false);
        let end = (end_ns - self.opened_ns) as f64 / 1e9;
        let half = self.every_ns as f64 / 2e9;
        while let [.., before, rest] = &self.intervals[..]
            && !before.omitted
            && before.end + half > end
        {
            let mut joined = before.clone();
            for (sum, more) in joined.streams.iter_mut().zip(&rest.streams) {
                sum.bytes += more.bytes;
                sum.packets += more.packets;
                sum.lost += more.lost;
                sum.jitter_ms = more.jitter_ms;
                if let (Some(sum), Some(more)) = (&mut sum.tcp, more.tcp) {
                    *sum = TcpPiece { retransmits: sum.retransmits + more.retransmits, ..more };
                }
            }
            let keep = self.intervals.len() - 2;
            self.intervals.truncate(keep);
            self.intervals.push(joined);
        }
        if let Some(last) = self.intervals.last_mut() {
            last.end = end;
        }
    }
}

impl Seen {
    fn add(&mut self, look: &TcpLook, retransmits: u64) -> TcpPiece {
        let info = &look.info;
        let number = |value: Option<u32>| value.map_or(0, u64::from);
        let piece = TcpPiece {
            retransmits,
            // The kernel's window is in segments, iperf3's in bytes.
            snd_cwnd: number(info.snd_cwnd) * number(info.snd_mss),
            snd_wnd: number(look.snd_wnd),
            rtt: number(info.rtt_us),
            rttvar: number(info.rttvar_us),
            pmtu: number(info.pmtu),
            reorder: number(info.reordering),
        };
        let extremes = &mut self.extremes;
        extremes.max_snd_cwnd = extremes.max_snd_cwnd.max(piece.snd_cwnd);
        extremes.max_snd_wnd = extremes.max_snd_wnd.max(piece.snd_wnd);
        extremes.max_rtt = extremes.max_rtt.max(piece.rtt);
        extremes.min_rtt = if self.count == 0 { piece.rtt } else { extremes.min_rtt.min(piece.rtt) };
        (self.sum, self.count) = (self.sum + piece.rtt, self.count + 1);
        extremes.mean_rtt = self.sum / self.count;
        piece
    }
}

impl Closed {
    /// What this end tells the other.
    pub fn results(&self) -> Results {
        let sends = self.specs.iter().any(|spec| spec.sends);
        let udp = self.specs.iter().any(|spec| spec.udp.is_some());
        Results {
            cpu: self.cpu(),
            sender_has_retransmits: sends.then_some(!udp),
            congestion: self.congestion(),
            server_output: None,
            streams: self
                .streams
                .iter()
                .map(|end| StreamResult {
                    bytes: end.books.bytes,
                    retransmits: end.retransmits,
                    jitter: end.books.jitter_ns as f64 / 1e9,
                    errors: end.books.errors,
                    omitted_errors: end.books.omitted_errors,
                    packets: i64::try_from(end.books.packets).unwrap_or(i64::MAX),
                    omitted_packets: i64::try_from(end.books.omitted_packets).unwrap_or(i64::MAX),
                    end_time: end.elapsed_ns as f64 / 1e9,
                })
                .collect(),
        }
    }

    fn congestion(&self) -> Option<String> {
        self.streams.first().and_then(|end| end.facts.congestion.clone())
    }

    fn cpu(&self) -> [f64; 3] {
        let elapsed = self.streams.iter().map(|end| end.elapsed_ns).max().unwrap_or(0).max(1) as f64;
        let sum = |time: fn(&GuestEnd) -> u64| self.streams.iter().map(time).sum::<u64>() as f64;
        let (user, system) = (sum(|end| end.cpu.0) * 100.0 / elapsed, sum(|end| end.cpu.1) * 100.0 / elapsed);
        [user + system, user, system]
    }

    /// The test as this end knows it; `remote` is what the other one told.
    pub fn session(&self, about: &About<'_>, remote: Option<&Results>, error: Option<&Error>) -> Session {
        let (params, server) = (about.params, about.server);
        let facts = self.streams.first().map(|end| end.facts.clone()).unwrap_or_default();
        let (mine, theirs) = (self.congestion(), remote.and_then(|remote| remote.congestion.clone()));
        // In a test both ways the sender of the first streams is the client.
        let sends = self.specs.first().is_some_and(|spec| spec.sends);
        let (sender_congestion, receiver_congestion) = if sends { (mine, theirs) } else { (theirs, mine) };
        let mut warnings: Vec<String> = self.streams.iter().filter_map(|end| end.fallback.clone()).collect();
        warnings.dedup();
        let failed = self.streams.iter().find_map(|end| end.error.clone());
        let streams = (0..self.specs.len()).map(|i| self.stream(i, remote)).collect();
        Session {
            server,
            version: format!("netbench {} (iperf {RELEASE} protocol)", env!("CARGO_PKG_VERSION")),
            system_info: format!("Linux {} {}", about.machine.hostname, about.machine.kernel),
            started: self.started,
            peer: (about.peer.0.clone(), about.peer.1),
            cookie: wire::cookie_text(about.cookie),
            test: Asked {
                udp: params.udp,
                num_streams: params.parallel,
                blksize: self.specs.first().map_or(0, |spec| spec.length as u64),
                omit: params.omit,
                duration: params.time,
                bytes: params.num,
                blocks: params.blockcount,
                reverse: params.reverse,
                bidir: params.bidirectional,
                tos: params.tos.unwrap_or(0),
                target_bitrate: params.bandwidth.unwrap_or(0),
                fqrate: params.fqrate.unwrap_or(0),
                interval: about.every.as_secs_f64(),
            },
            sock_bufsize: u64::from(params.window.unwrap_or(0)),
            sndbuf_actual: facts.sndbuf,
            rcvbuf_actual: facts.rcvbuf,
            mss: facts.mss,
            streams,
            local_cpu: self.cpu(),
            remote_cpu: remote.map_or([0.0; 3], |remote| remote.cpu),
            intervals: self.intervals.clone(),
            sender_congestion,
            receiver_congestion,
            title: params.title.clone(),
            extra_data: params.extra_data.clone(),
            server_output: remote.and_then(|remote| remote.server_output.clone()),
            warnings,
            error: error.map(ToString::to_string).or(failed),
        }
    }

    fn stream(&self, i: usize, remote: Option<&Results>) -> Stream {
        let (spec, end, (local, peer)) = (&self.specs[i], &self.streams[i], self.ends[i]);
        let books = &end.books;
        let here = End {
            bytes: books.bytes,
            seconds: end.elapsed_ns as f64 / 1e9,
            packets: books.packets.saturating_sub(books.omitted_packets),
            lost: if spec.sends { 0 } else { books.errors - books.omitted_errors },
            out_of_order: books.out_of_order,
            jitter_ms: books.jitter_ns as f64 / 1e6,
            retransmits: end.retransmits,
        };
        let there = remote.and_then(|remote| remote.streams.get(i)).map_or_else(End::default, |told| End {
            bytes: told.bytes,
            seconds: if told.end_time > 0.0 { told.end_time } else { here.seconds },
            // Older peers do not say what of it was the warm-up, which was as long here.
            packets: match told.omitted_packets {
                0 => told.window_packets().saturating_sub(books.omitted_packets),
                _ => told.window_packets(),
            },
            lost: if spec.sends { told.window_errors() } else { 0 },
            out_of_order: 0,
            jitter_ms: if spec.sends { told.jitter * 1000.0 } else { 0.0 },
            retransmits: told.retransmits.filter(|_| !spec.sends && spec.udp.is_none()),
        });
        let (sent, received) = if spec.sends { (here, there) } else { (there, here) };
        Stream {
            socket: super::params::stream_id(i),
            local: (local.ip().to_string(), local.port()),
            remote: (peer.ip().to_string(), peer.port()),
            sends: spec.sends,
            sent,
            received,
            tcp: spec.udp.is_none().then_some(self.seen[i].extremes),
        }
    }
}

/// What a report says of a test besides its figures.
pub struct About<'a> {
    /// As agreed.
    pub params: &'a Params,
    /// This end is the server.
    pub server: bool,
    /// The test's name.
    pub cookie: &'a Cookie,
    /// The other end.
    pub peer: (String, u16),
    /// This machine.
    pub machine: &'a Machine,
    /// Length of an interval.
    pub every: Duration,
}
