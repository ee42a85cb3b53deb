//! A job from its sockets to its result: two-step start, one thread per stream, end.

use std::{
    net::{IpAddr, Shutdown, SocketAddr},
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::{
    Error, clock,
    counters::{Sample, StreamCounters, Tally, sample},
    cpus, crr, open_loop, os, rr, socket,
    spec::Spec,
    sys, tcp_stream, udp_stream,
};
use crate::{
    measured::{Datagrams, Latency, Schedule, Side, Stream, StreamIo, TcpInfo, Test, ThreadCpu},
    units::CpuList,
};

/// How long a server waits for the connections it was told of.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the sender of a stream reports to the receiver when it is done: only with it is the receiver's loss exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderTotals {
    /// Datagrams in the window.
    pub sent: u64,
    /// Length of the sender's window.
    pub elapsed_ns: u64,
}

/// The side that is connected to, bound and not started.
pub struct Server {
    spec: Spec,
    /// Listeners, or the sockets of datagram streams.
    sockets: Vec<Socket>,
    ports: Vec<u16>,
}

impl Server {
    /// Binds to an address of this namespace: one listener for TCP (for connections by the transaction one per stream), one
    /// socket per stream for UDP.
    pub fn bind(spec: Spec, address: IpAddr) -> Result<Self, Error> {
        spec.validate()?;
        let count = if spec.test.is_udp() || spec.test.is_per_connection() { spec.streams } else { 1 };
        let sockets = (0..count).map(|_| socket::bound(&spec, address)).collect::<Result<Vec<_>, _>>()?;
        if !spec.test.is_udp() {
            let backlog = spec.streams.max(128) as i32;
            sockets.iter().try_for_each(|socket| socket.listen(backlog)).map_err(os("listen at", address))?;
        }
        let bound = sockets.iter().map(|s| Ok(socket::local(s)?.port())).collect::<Result<Vec<_>, Error>>()?;
        let ports = (0..spec.streams as usize).map(|i| bound[i.min(bound.len() - 1)]).collect();
        Ok(Self { spec, sockets, ports })
    }

    /// The port of each stream.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Lets in the peers, stream by stream, and nobody else; then starts the data threads.
    pub fn start(self, peers: &[SocketAddr], done: Done) -> Result<Running, Error> {
        if peers.len() != self.spec.streams as usize {
            return Err(Error::Spec(format!("{} peers for {} streams", peers.len(), self.spec.streams)));
        }
        let mut listeners = Vec::new();
        let sockets = if self.spec.test.is_udp() {
            for (socket, &peer) in self.sockets.iter().zip(peers) {
                socket::connect(socket, peer)?;
                udp_stream::discard_queued(socket)?;
            }
            self.sockets
        } else if self.spec.test.is_per_connection() {
            listeners = self.sockets;
            let first = |(listener, peer)| Ok(accept(listener, std::slice::from_ref(peer))?.remove(0));
            listeners.iter().zip(peers).map(first).collect::<Result<Vec<_>, Error>>()?
        } else {
            accept(&self.sockets[0], peers)?
        };
        Running::start(self.spec, Role::Server, sockets, listeners, done)
    }
}

/// Takes connections until each peer has its own; strangers are closed.
fn accept(listener: &Socket, peers: &[SocketAddr]) -> Result<Vec<Socket>, Error> {
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    let mut accepted: Vec<Option<Socket>> = peers.iter().map(|_| None).collect();
    while let Some(missing) = accepted.iter().position(Option::is_none) {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait)).unwrap_or(0);
        if ready == 0 && left.is_zero() {
            let what = format!("{} did not connect within {} s", peers[missing], ACCEPT_TIMEOUT.as_secs());
            return Err(Error::Peer { stream: missing as u32, what });
        }
        if ready == 0 {
            continue;
        }
        // A connection that was reset while it waited is an error of that connection only.
        let Ok((socket, from)) = listener.accept() else { continue };
        if let Some(stream) = from.as_socket().and_then(|from| peers.iter().position(|peer| *peer == from)) {
            accepted[stream].get_or_insert(socket);
        }
    }
    Ok(accepted.into_iter().flatten().collect())
}

/// The side that connects and sends first, connected and not started.
pub struct Client {
    spec: Spec,
    sockets: Vec<Socket>,
    locals: Vec<SocketAddr>,
}

impl Client {
    /// Connects each stream to its target, from an address of this namespace.
    pub fn connect(spec: Spec, from: IpAddr, targets: &[SocketAddr]) -> Result<Self, Error> {
        spec.validate()?;
        if targets.len() != spec.streams as usize {
            return Err(Error::Spec(format!("{} targets for {} streams", targets.len(), spec.streams)));
        }
        let mut sockets = Vec::with_capacity(targets.len());
        for &target in targets {
            let socket = socket::bound(&spec, from)?;
            socket::connect(&socket, target)?;
            sockets.push(socket);
        }
        let locals = sockets.iter().map(socket::local).collect::<Result<_, _>>()?;
        Ok(Self { spec, sockets, locals })
    }

    /// Own address of each stream.
    pub fn locals(&self) -> &[SocketAddr] {
        &self.locals
    }

    /// Starts the data threads.
    pub fn start(self, done: Done) -> Result<Running, Error> {
        Running::start(self.spec, Role::Client, self.sockets, Vec::new(), done)
    }
}

/// Called by the last data thread that ends.
pub type Done = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// Flags by which the control thread speaks to the data threads. Read-mostly, so the line is shared without cost.
#[derive(Debug, Default)]
pub struct Control {
    end: AtomicBool,
    stop: AtomicBool,
    finish: AtomicBool,
    totals: Vec<(AtomicU64, AtomicU64)>,
}

impl Control {
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
    fn add(&mut self, other: Self) {
        const BOUNDS: &str = "histograms of one job have equal bounds";
        self.main.add(other.main).expect(BOUNDS);
        if let (Some(all), Some(one)) = (&mut self.uncorrected, other.uncorrected) {
            all.add(one).expect(BOUNDS);
        }
    }
}

type Outcome = Result<(Stream, Option<Histograms>), Error>;

/// A job in flight.
pub struct Running {
    spec: Spec,
    control: Arc<Control>,
    counters: Arc<[StreamCounters]>,
    sockets: Arc<[Socket]>,
    threads: Vec<JoinHandle<Outcome>>,
    /// What the CPUs had done when the window was first seen open.
    cpus: OnceLock<cpus::Snapshot>,
}

impl Running {
    fn start(spec: Spec, role: Role, sockets: Vec<Socket>, listeners: Vec<Socket>, done: Done) -> Result<Self, Error> {
        let count = sockets.len();
        let control =
            Arc::new(Control { totals: (0..count).map(|_| Default::default()).collect(), ..Control::default() });
        let counters: Arc<[StreamCounters]> = (0..count).map(|_| StreamCounters::default()).collect();
        let sockets: Arc<[Socket]> = sockets.into();
        let together = Arc::new(Barrier::new(count));
        let left = Arc::new(AtomicU64::new(count as u64));
        let mut threads = Vec::with_capacity(count);
        let mut listeners = listeners.into_iter();
        for i in 0..count {
            let listener = listeners.next();
            let (control, counters, sockets) = (control.clone(), counters.clone(), sockets.clone());
            let (together, left, done, spec) = (together.clone(), left.clone(), done.clone(), spec.clone());
            let thread = std::thread::Builder::new().name(format!("stream-{i}")).spawn(move || {
                let lane = Lane {
                    stream: i as u32,
                    spec: &spec,
                    socket: &sockets[i],
                    control: &control,
                    tally: Tally::new(&counters[i]),
                };
                let outcome = run_lane(role, lane, listener, &together);
                if left.fetch_sub(1, AcqRel) == 1 {
                    done();
                }
                outcome
            });
            match thread {
                Ok(thread) => threads.push(thread),
                // The threads that wait at the barrier would wait for ever; the worker ends with this error.
                Err(error) => return Err(os("start the thread of stream", i)(error)),
            }
        }
        Ok(Self { spec, control, counters, sockets, threads, cpus: OnceLock::new() })
    }

    /// What the streams have done so far.
    pub fn sample(&self) -> Sample {
        let sample = sample(&self.counters, clock::now_ns());
        if sample.opened_ns != 0 {
            self.cpus.get_or_init(cpus::Snapshot::take);
        }
        sample
    }

    /// The job as it runs.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Tells receivers that the senders are done; they end when all has come or nothing comes any more.
    pub fn finish(&self, totals: &[SenderTotals]) {
        for ((sent, elapsed), total) in self.control.totals.iter().zip(totals) {
            sent.store(total.sent, Relaxed);
            elapsed.store(total.elapsed_ns, Relaxed);
        }
        self.control.finish.store(true, Release);
    }

    /// Ends a client's window before its time; what was sent still arrives and is counted.
    pub fn end(&self) {
        self.control.end.store(true, Relaxed);
    }

    /// Ends every stream now, wherever it waits.
    pub fn stop(&self) {
        self.control.stop.store(true, Relaxed);
        self.end();
        if !self.spec.test.is_udp() {
            for socket in self.sockets.iter() {
                // Wakes a blocked call; an error says that the connection is gone already.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Waits for the threads; the result, without intervals. The first error of a stream is the job's.
    pub fn collect(self) -> Result<Side, Error> {
        let cpus = self.cpus.get().map(|before| cpus::Snapshot::take().since(before)).unwrap_or_default();
        let mut streams = Vec::with_capacity(self.threads.len());
        let mut all: Option<Histograms> = None;
        let mut failed = None;
        for (i, thread) in self.threads.into_iter().enumerate() {
            let panicked = || Error::Peer { stream: i as u32, what: "its thread panicked".to_owned() };
            match thread.join().map_err(|_| panicked()).and_then(|outcome| outcome) {
                Ok((stream, latency)) => {
                    streams.push(stream);
                    match (&mut all, latency) {
                        (Some(all), Some(latency)) => all.add(latency),
                        (none, latency) => *none = latency.or(none.take()),
                    }
                }
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                let uncorrected = all.as_ref().and_then(|all| all.uncorrected.as_ref()).map(percentiles);
                let latency = all.map(|all| percentiles(&all.main));
                Ok(Side { streams, intervals: Vec::new(), latency, uncorrected, cpus })
            }
        }
    }
}

fn run_lane(role: Role, mut lane: Lane<'_>, listener: Option<Socket>, together: &Barrier) -> Outcome {
    let pinned = lane.spec.cpu_of(lane.stream).map(pin).transpose();
    together.wait();
    let pinned = pinned?;
    // Now: a connection that both ends have closed no longer knows its peer.
    let (local, peer) = socket::names(lane.socket);
    let start = sys::thread_usage();
    let ended = match (lane.spec.test, role) {
        (Test::TcpStream | Test::TcpSendfile, Role::Client) => tcp_stream::send(&mut lane),
        (Test::TcpStream | Test::TcpSendfile, Role::Server) => tcp_stream::receive(&mut lane),
        (Test::TcpMaerts, Role::Client) => tcp_stream::receive(&mut lane),
        (Test::TcpMaerts, Role::Server) => tcp_stream::send(&mut lane),
        (Test::UdpStream, Role::Client) => udp_stream::send(&mut lane),
        (Test::UdpStream, Role::Server) => udp_stream::receive(&mut lane),
        (Test::TcpRr | Test::UdpRr, Role::Client) if lane.spec.transactions.is_some() => {
            let per_second = lane.spec.transactions.unwrap_or(1);
            open_loop::client(&mut lane, per_second)
        }
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
        socket: socket::facts(lane.socket, !lane.spec.test.is_udp()),
        tcp: ended.tcp,
        datagrams: ended.datagrams,
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

fn percentiles(histogram: &Histogram<u64>) -> Latency {
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

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, sync::mpsc::channel};

    use super::*;
    use crate::traffic::spec::example;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pair(spec: &Spec) -> (Server, Client) {
        let server = Server::bind(spec.clone(), LOCAL).unwrap();
        let targets: Vec<_> = server.ports().iter().map(|&port| (LOCAL, port).into()).collect();
        (server, Client::connect(spec.clone(), LOCAL, &targets).unwrap())
    }

    #[test]
    fn a_stranger_is_not_let_in() {
        let spec =
            Spec { streams: 2, duration: crate::units::Span(Duration::from_millis(20)), ..example(Test::TcpStream) };
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
        for test in Test::ALL {
            let (server, client) = pair(&example(test));
            // Nothing is ever sent: the server waits for its first byte.
            let running = server.start(client.locals(), Arc::new(|| {})).unwrap();
            let asked = Instant::now();
            running.stop();
            running.collect().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(1), "{test}");
        }
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
}
