//! One stream of a job: what its thread works with, and which loop it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use socket2::Socket;

use super::{SenderTotals, gate::Gate};
use crate::{
    measured::{Datagrams, Latency, Schedule, Stream, StreamIo, TcpInfo, Test, ThreadCpu, Verified},
    traffic::{
        Error, burst, counters::Tally, cpus, crr, frames, open_loop, os, rr, socket, spec::Spec, sys, tcp_stream,
        udp_stream,
    },
    units::CpuList,
};

/// Which end of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Connects, and sends first.
    Client,
    /// Is connected to.
    Server,
}

/// Flags by which the control thread speaks to the data threads. Read-mostly, so the line is shared without cost.
#[derive(Debug, Default)]
pub struct Control {
    end: AtomicBool,
    stop: AtomicBool,
    finish: AtomicBool,
    begun: Vec<AtomicBool>,
    totals: Vec<(AtomicU64, AtomicU64)>,
}

impl Control {
    /// For so many streams.
    pub fn new(streams: usize) -> Self {
        Self {
            begun: (0..streams).map(|_| Default::default()).collect(),
            totals: (0..streams).map(|_| Default::default()).collect(),
            ..Self::default()
        }
    }
    /// The window shall end now, in good order.
    pub fn end(&self) {
        self.end.store(true, Relaxed);
    }
    /// Every thread shall end at once.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.end();
    }
    /// The first byte of a stream has come.
    pub fn begin(&self, stream: u32) {
        self.begun[stream as usize].store(true, Release);
    }
    /// Has the first byte of a stream come?
    pub fn has_begun(&self, stream: u32) -> bool {
        self.begun[stream as usize].load(Acquire)
    }
    /// The senders are done and sent this.
    pub fn finish(&self, totals: &[SenderTotals]) {
        for ((sent, elapsed), total) in self.totals.iter().zip(totals) {
            sent.store(total.sent, Relaxed);
            elapsed.store(total.elapsed_ns, Relaxed);
        }
        self.finish.store(true, Release);
    }
    /// Shall the window end now, in good order?
    #[inline]
    pub fn ending(&self) -> bool {
        self.end.load(Relaxed)
    }
    /// Shall the thread end at once, whatever is under way?
    #[inline]
    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
    /// What the sender of this stream sent, once it is done.
    pub fn finished(&self, stream: u32) -> Option<SenderTotals> {
        self.finish.load(Acquire).then(|| {
            let (sent, elapsed) = &self.totals[stream as usize];
            SenderTotals { sent: sent.load(Relaxed), elapsed_ns: elapsed.load(Relaxed) }
        })
    }
}

/// What a data thread works with.
pub struct Lane<'a> {
    /// Number of the stream.
    pub stream: u32,
    /// Of a test in both directions: it goes from the server to the client.
    pub is_back: bool,
    /// The job.
    pub spec: &'a Spec,
    /// Its connected socket.
    pub socket: &'a Socket,
    /// When to end otherwise than by time.
    pub control: &'a Control,
    /// Its books.
    pub tally: Tally<'a>,
}

impl Lane<'_> {
    /// The stream of the other direction over the same connection.
    pub fn other(&self) -> u32 {
        if self.is_back { self.stream - self.spec.streams } else { self.stream + self.spec.streams }
    }

    /// Bytes, datagrams or transactions that end the window before its time.
    pub fn most(&self) -> u64 {
        self.spec.amount.unwrap_or(u64::MAX)
    }

    /// An error of the other end or of a call on this stream.
    pub fn failed(&self, what: impl std::fmt::Display) -> Error {
        Error::Peer { stream: self.stream, what: what.to_string() }
    }
}

/// What a data loop hands back besides its books.
#[derive(Default)]
pub struct Ended {
    /// Length of the window.
    pub elapsed_ns: u64,
    /// How payload was moved.
    pub io: Option<StreamIo>,
    /// The kernel's account.
    pub tcp: Option<TcpInfo>,
    /// The receiver's account.
    pub datagrams: Option<Datagrams>,
    /// UDP_RR: requests sent again.
    pub retries: Option<u64>,
    /// Latencies.
    pub latency: Option<Histograms>,
    /// What the check of the payload brought.
    pub verified: Option<Verified>,
    /// What became of the schedule.
    pub schedule: Option<Schedule>,
}

/// Latencies of a stream, or of all.
pub struct Histograms {
    /// The result.
    pub main: Histogram<u64>,
    /// On a schedule: without the correction.
    pub uncorrected: Option<Histogram<u64>>,
}

impl From<Histogram<u64>> for Histograms {
    fn from(main: Histogram<u64>) -> Self {
        Self { main, uncorrected: None }
    }
}

impl Histograms {
    /// Adds those of another stream of the job.
    pub fn add(&mut self, other: Self) {
        const BOUNDS: &str = "histograms of one job have equal bounds";
        self.main.add(other.main).expect(BOUNDS);
        if let (Some(all), Some(one)) = (&mut self.uncorrected, other.uncorrected) {
            all.add(one).expect(BOUNDS);
        }
    }
}

/// What a thread hands back.
pub type Outcome = Result<(Stream, Option<Histograms>), Error>;

/// The life of a stream's thread: pinned, started together with the others, its loop, its books.
pub fn run(role: Role, mut lane: Lane<'_>, listener: Option<Socket>, together: &Gate) -> Outcome {
    let pinned = lane.spec.cpu_of(lane.stream).map(pin).transpose();
    let all_here = together.pass();
    let pinned = pinned?;
    if !all_here {
        return Err(lane.failed("another stream could not be started"));
    }
    // Now: a connection that both ends have closed no longer knows its peer.
    let (local, peer) = socket::names(lane.socket);
    let start = sys::thread_usage();
    let ended = match (lane.spec.test, role) {
        (Test::TcpStream | Test::TcpSendfile, Role::Client) => tcp_stream::send(&mut lane),
        (Test::TcpStream | Test::TcpSendfile, Role::Server) => tcp_stream::receive(&mut lane),
        (Test::TcpBidir, role) if (role == Role::Client) != lane.is_back => tcp_stream::send(&mut lane),
        (Test::TcpBidir, _) => tcp_stream::receive(&mut lane),
        (Test::TcpMaerts, Role::Client) => tcp_stream::receive(&mut lane),
        (Test::TcpMaerts, Role::Server) => tcp_stream::send(&mut lane),
        (Test::UdpStream, Role::Client) => udp_stream::send(&mut lane),
        (Test::UdpStream, Role::Server) => udp_stream::receive(&mut lane),
        (Test::FrameStream, Role::Client) => frames::send(&mut lane),
        (Test::FrameStream, Role::Server) => udp_stream::receive(&mut lane),
        (Test::TcpRr | Test::UdpRr, Role::Client) if lane.spec.transactions.is_some() => {
            let per_second = lane.spec.transactions.unwrap_or(1);
            open_loop::client(&mut lane, per_second)
        }
        (Test::TcpRr, Role::Client) if lane.spec.burst > 0 => burst::tcp_client(&mut lane),
        (Test::TcpRr, Role::Server) if lane.spec.burst > 0 => burst::tcp_server(&mut lane),
        (Test::UdpRr, Role::Client) if lane.spec.burst > 0 => burst::udp_client(&mut lane),
        (Test::TcpCrr | Test::TcpCc, Role::Client) => crr::client(&mut lane),
        (Test::TcpCrr | Test::TcpCc, Role::Server) => match listener {
            Some(listener) => crr::server(&mut lane, &listener),
            None => Err(lane.failed("has no listener")),
        },
        (Test::TcpRr, Role::Client) => rr::tcp_client(&mut lane),
        (Test::TcpRr, Role::Server) => rr::tcp_server(&mut lane),
        (Test::UdpRr, Role::Client) => rr::udp_client(&mut lane),
        (Test::UdpRr, Role::Server) => rr::udp_server(&mut lane),
    }?;
    let after = sys::thread_usage();
    let before = if lane.tally.is_open() { lane.tally.usage_at_open } else { start };
    let stream = Stream {
        stream: lane.stream,
        local,
        peer,
        bytes: lane.tally.bytes,
        omitted_bytes: lane.tally.omitted_bytes,
        units: lane.tally.units,
        omitted_units: lane.tally.omitted_units,
        elapsed_ns: ended.elapsed_ns,
        calls: lane.tally.calls,
        io: ended.io,
        cpu: ThreadCpu {
            user_ns: after.0 - before.0,
            waiting_ns: cpus::thread_waited()
                .zip(lane.tally.waited_at_open)
                .map(|(now, then)| now.saturating_sub(then)),
            system_ns: after.1 - before.1,
            pinned,
            last_cpu: u32::try_from(sched_getcpu()).ok(),
        },
        socket: socket::facts(lane.socket, !lane.spec.test.is_connectionless()),
        tcp: ended.tcp,
        datagrams: ended.datagrams,
        verified: ended.verified,
        schedule: ended.schedule,
        retries: ended.retries,
    };
    Ok((stream, ended.latency))
}

/// Pins the calling thread to a CPU; the set in force, read back.
fn pin(cpu: usize) -> Result<CpuList, Error> {
    let object = format!("CPU {cpu}");
    if cpu >= CpuSet::MAX_CPU {
        return Err(Error::Spec(format!("{object} is beyond the {} this build can pin to", CpuSet::MAX_CPU)));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| os("pin a stream to", &object)(e.into()))?;
    let got = sched_getaffinity(None).map_err(|e| os("read back the pinning to", &object)(e.into()))?;
    Ok(CpuList((0..CpuSet::MAX_CPU).filter(|&cpu| got.is_set(cpu)).collect()))
}

/// The percentiles that are reported.
pub fn percentiles(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
    Latency {
        count: histogram.len(),
        min_ns: histogram.min(),
        mean_ns: histogram.mean(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        p99_99_ns: at(0.9999),
        p99_999_ns: at(0.99999),
        max_ns: histogram.max(),
    }
}
