//! A job from its sockets to its result: two-step start, one thread per stream, end.

mod gate;
mod lane;

use std::{
    net::{IpAddr, Shutdown, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::*},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gate::Gate;
use lane::Outcome;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use socket2::Socket;

pub use self::lane::{Control, Ended, Histograms, Lane, Role};
use super::{
    Error, clock,
    counters::{self, Sample, StreamCounters, StreamSample, Tally, sample},
    cpus, frames, nudge, os, socket,
    spec::Spec,
    udp_stream,
};
use crate::{
    measured::{Side, Test},
    units::MacAddr,
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
    mac: Option<MacAddr>,
}

impl Server {
    /// Binds to an address of this namespace: one listener for TCP (for connections by the transaction one per stream), one
    /// socket per stream for UDP.
    pub fn bind(spec: Spec, address: IpAddr) -> Result<Self, Error> {
        spec.validate()?;
        if spec.test == Test::FrameStream {
            let at = frames::interface(address)?;
            let sockets = (0..spec.streams).map(|i| frames::receiver(&spec, &at, i)).collect::<Result<Vec<_>, _>>()?;
            // A number for each, as of ports: frames have none.
            let ports = (0..spec.streams).map(|i| i as u16 + 1).collect();
            return Ok(Self { spec, sockets, ports, mac: Some(at.mac) });
        }
        let count = if spec.test.is_udp() || spec.test.is_per_connection() { spec.streams } else { 1 };
        let sockets = (0..count).map(|_| socket::bound(&spec, address)).collect::<Result<Vec<_>, _>>()?;
        if !spec.test.is_udp() {
            let backlog = spec.streams.max(128) as i32;
            sockets.iter().try_for_each(|socket| socket::reflect_flow_label(&spec, socket))?;
            sockets.iter().try_for_each(|socket| socket.listen(backlog)).map_err(os("listen at", address))?;
        }
        let bound = sockets.iter().map(|s| Ok(socket::local(s)?.port())).collect::<Result<Vec<_>, Error>>()?;
        let ports = (0..spec.streams as usize).map(|i| bound[i.min(bound.len() - 1)]).collect();
        Ok(Self { spec, sockets, ports, mac: None })
    }

    /// The port of each stream.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Of frames: the hardware address that the client sends to.
    pub fn mac(&self) -> Option<MacAddr> {
        self.mac
    }

    /// Lets in the peers, stream by stream, and nobody else; then starts the data threads.
    pub fn start(self, peers: &[SocketAddr], done: Done) -> Result<Running, Error> {
        if peers.len() != self.spec.streams as usize {
            return Err(Error::Spec(format!("{} peers for {} streams", peers.len(), self.spec.streams)));
        }
        let mut listeners = Vec::new();
        let sockets = if self.spec.test == Test::FrameStream {
            self.sockets
        } else if self.spec.test.is_udp() {
            for (socket, &peer) in self.sockets.iter().zip(peers) {
                socket::connect(&self.spec, socket, peer)?;
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
        Running::with_sockets(self.spec, Role::Server, sockets, listeners, done)
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
    pub fn connect(mut spec: Spec, from: IpAddr, targets: &[SocketAddr]) -> Result<Self, Error> {
        spec.validate()?;
        if targets.len() != spec.streams as usize {
            return Err(Error::Spec(format!("{} targets for {} streams", targets.len(), spec.streams)));
        }
        let mut sockets = Vec::with_capacity(targets.len());
        if spec.test == Test::FrameStream {
            let at = frames::interface(from)?;
            spec.frames.source = Some(at.mac);
            for _ in targets {
                sockets.push(frames::sender(&spec, &at)?);
            }
            let locals = targets.iter().map(|target| SocketAddr::new(from, target.port())).collect();
            return Ok(Self { spec, sockets, locals });
        }
        for &target in targets {
            let socket = socket::bound(&spec, from)?;
            socket::connect(&spec, &socket, target)?;
            sockets.push(socket);
        }
        let locals = sockets.iter().map(socket::local).collect::<Result<_, _>>()?;
        Ok(Self { spec, sockets, locals })
    }

    /// Own address of each stream.
    pub fn locals(&self) -> &[SocketAddr] {
        &self.locals
    }

    /// The connected sockets, for what must be said on them before the test.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// Starts the data threads.
    pub fn start(self, done: Done) -> Result<Running, Error> {
        Running::with_sockets(self.spec, Role::Client, self.sockets, Vec::new(), done)
    }
}

/// Called by the last data thread that ends.
pub type Done = Arc<dyn Fn() + Send + Sync>;

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
    /// Starts the data threads on sockets that are connected already, stream by stream; for a server of connections by the
    /// transaction, `listeners` has the listener of each stream. How the sockets came to be is the caller's: see
    /// [`Server`] and [`Client`], or [`adopt`](super::adopt) for what a listener of somebody else accepted.
    ///
    /// # Errors
    /// A job beyond the limits, a number of sockets that is not its number of streams, a thread that cannot be started.
    pub fn with_sockets(
        spec: Spec,
        role: Role,
        sockets: Vec<Socket>,
        listeners: Vec<Socket>,
        done: Done,
    ) -> Result<Self, Error> {
        spec.validate()?;
        let streams = sockets.len();
        if streams != spec.streams as usize {
            return Err(Error::Spec(format!("{streams} sockets for {} streams", spec.streams)));
        }
        // In both directions, each has a thread of its own: those back to the client come after the others.
        let count = if spec.test.is_bidirectional() { 2 * streams } else { streams };
        let control = Arc::new(Control::new(count));
        let counters: Arc<[StreamCounters]> = (0..count).map(|_| StreamCounters::default()).collect();
        let sockets: Arc<[Socket]> = sockets.into();
        let gate = Arc::new(Gate::new(count));
        let left = Arc::new(AtomicU64::new(count as u64));
        let sleepers = Arc::new(nudge::Sleepers::new(count));
        let mut threads = Vec::with_capacity(count);
        let mut listeners = listeners.into_iter();
        for i in 0..count {
            let listener = listeners.next();
            let (control, counters, sockets) = (control.clone(), counters.clone(), sockets.clone());
            let (together, left, done, spec) = (gate.clone(), left.clone(), done.clone(), spec.clone());
            let sleepers = sleepers.clone();
            let thread = std::thread::Builder::new().name(format!("stream-{i}")).spawn(move || {
                let lane = Lane {
                    stream: i as u32,
                    is_back: i >= streams,
                    spec: &spec,
                    socket: &sockets[i % streams],
                    control: &control,
                    tally: Tally::new(&counters[i]),
                };
                let awake = sleepers.enter(i);
                let outcome = lane::run(role, lane, listener, &together);
                drop(awake);
                if left.fetch_sub(1, AcqRel) == 1 {
                    done();
                }
                outcome
            });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    gate.give_up();
                    return Err(os("start the thread of stream", i)(error));
                }
            }
        }
        if spec.test.is_rr() && (spec.test.is_udp() || spec.burst > 0) {
            nudge::start(sleepers, counters.clone(), left).map_err(os("start the thread that wakes", "streams"))?;
        }
        Ok(Self { spec, control, counters, sockets, threads, cpus: OnceLock::new() })
    }

    /// What the streams have done so far.
    pub fn sample(&self) -> Sample {
        let sample = sample(&self.counters[..self.sockets.len()], clock::now_ns());
        if sample.opened_ns != 0 {
            self.cpus.get_or_init(cpus::Snapshot::take);
        }
        sample
    }

    /// The same of the other direction, where there is one.
    pub fn sample_back(&self) -> Option<Sample> {
        let back = &self.counters[self.sockets.len()..];
        (!back.is_empty()).then(|| sample(back, clock::now_ns()))
    }

    /// What each stream has done so far, and the kernel's account of its connection. Not for a data thread: it costs a call a
    /// stream.
    pub fn sample_streams(&self) -> Vec<StreamSample> {
        self.each(&self.counters)
    }

    /// The same of the other direction, where there is one.
    pub fn sample_streams_back(&self) -> Vec<StreamSample> {
        self.each(&self.counters[self.sockets.len()..])
    }

    fn each(&self, counters: &[StreamCounters]) -> Vec<StreamSample> {
        let connected = !self.spec.test.is_connectionless() && !self.spec.test.is_per_connection();
        let one = |((bytes, units), socket): ((u64, u64), &Socket)| StreamSample {
            bytes,
            units,
            tcp: connected.then(|| socket::tcp_info(socket)),
        };
        counters::each(counters).zip(self.sockets.iter()).map(one).collect()
    }

    /// The job as it runs.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Tells receivers that the senders are done; they end when all has come or nothing comes any more.
    pub fn finish(&self, totals: &[SenderTotals]) {
        self.control.finish(totals);
    }

    /// Ends a client's window before its time; what was sent still arrives and is counted.
    pub fn end(&self) {
        self.control.end();
    }

    /// Ends every stream now, wherever it waits.
    pub fn stop(&self) {
        self.control.stop();
        if !self.spec.test.is_connectionless() {
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
                let uncorrected = all.as_ref().and_then(|all| all.uncorrected.as_ref()).map(lane::percentiles);
                let latency = all.map(|all| lane::percentiles(&all.main));
                let back = streams.split_off(self.sockets.len().min(streams.len()));
                let side = |streams, cpus, back| Side { streams, latency, uncorrected, cpus, back, ..Side::default() };
                let back = (!back.is_empty()).then(|| Box::new(side(back, cpus.clone(), None)));
                Ok(side(streams, cpus, back))
            }
        }
    }
}

#[cfg(test)]
mod tests;
