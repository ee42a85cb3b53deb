//! Streams of another tool's protocol (iperf3's), over sockets that were opened by whoever speaks that protocol.
//!
//! Such a stream has no handshake of its own. Warm-up, time and amount are kept in the data thread; a controller may end
//! senders before ([`Guests::over`]), and lets receivers take what is still on its way ([`Guests::finish`]).

mod socket;
mod tcp;
mod udp;

use std::{
    net::Shutdown,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::*},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::Socket;

pub use self::socket::{Wish, local, open, peer, set};
use super::{Error, clock::now_ns, os, socket::tcp_info, sys};
use crate::{
    measured::{SendMode, SocketFacts, TcpInfo},
    units::BitRate,
};

/// How often a blocked call looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// A receiver that still gets something this long after the end leaves it.
const DRAIN_NS: u64 = 2_000_000_000;

/// What a datagram begins with, besides the sender's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// 32 bits.
    Short,
    /// 64 bits.
    Long,
}

/// One stream, as this end shall handle it.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// This end sends.
    pub sends: bool,
    /// Numbered datagrams; otherwise bytes.
    pub udp: Option<Numbers>,
    /// Bytes of a block or datagram.
    pub length: usize,
    /// Warm-up.
    pub omit: Duration,
    /// A sender ends this long after it.
    pub time: Option<Duration>,
    /// A sender ends after so many bytes of the window (datagrams are sent whole).
    pub bytes: Option<u64>,
    /// A sender sends blocks or datagrams at this rate.
    pub rate: Option<BitRate>,
    /// How a sender of bytes sends.
    pub send: SendMode,
    /// A receiver of bytes does not copy them.
    pub discard: bool,
}

/// What a data thread tells while it runs: written by it alone, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Books {
    opened_ns: AtomicU64,
    bytes: AtomicU64,
    omitted_bytes: AtomicU64,
    packets: AtomicU64,
    omitted_packets: AtomicU64,
    errors: AtomicI64,
    omitted_errors: AtomicI64,
    out_of_order: AtomicU64,
    jitter_ns: AtomicU64,
    /// Segments sent again before the window.
    omitted_retransmits: AtomicU64,
    ended: AtomicBool,
}

/// A stream at a moment.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// When its window opened (`CLOCK_MONOTONIC`); 0 while it has not.
    pub opened_ns: u64,
    /// Payload of the window.
    pub bytes: u64,
    /// Payload of the warm-up.
    pub omitted_bytes: u64,
    /// Datagrams: sent, or the highest number received; the warm-up included.
    pub packets: u64,
    /// Those of the warm-up.
    pub omitted_packets: u64,
    /// Lost by iperf3's rule, the warm-up included.
    pub errors: i64,
    /// Those of the warm-up.
    pub omitted_errors: i64,
    /// Came after a later one, or again.
    pub out_of_order: u64,
    /// RFC 3550.
    pub jitter_ns: u64,
    /// Its thread is done.
    pub ended: bool,
}

/// A connection at a moment.
#[derive(Debug, Clone, Default)]
pub struct TcpLook {
    /// The kernel's account; `retransmits` is since the connection was made.
    pub info: TcpInfo,
    /// The window that the receiver offers, bytes.
    pub snd_wnd: Option<u32>,
    /// Segments sent again before the window of the test.
    pub omitted_retransmits: u64,
}

/// How a stream ended.
#[derive(Debug, Clone, Default)]
pub struct GuestEnd {
    /// Its books.
    pub books: Look,
    /// Length of the window. Receivers: to the last byte, and not less than to the word that it is over.
    pub elapsed_ns: u64,
    /// System calls.
    pub calls: u64,
    /// User and system time of the thread, nanoseconds.
    pub cpu: (u64, u64),
    /// Segments sent again in the window.
    pub retransmits: Option<u64>,
    /// Options in force.
    pub facts: SocketFacts,
    /// Why it does not move its payload as was asked for.
    pub fallback: Option<String>,
    /// What ended it early.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct Control {
    end: AtomicBool,
    stop: AtomicBool,
    /// When the test was over by the word of the end that decides; 0 before.
    over_ns: AtomicU64,
    /// Receivers leave after so much silence; 0 while they are to stay.
    quiet_ns: AtomicU64,
}

impl Control {
    #[inline]
    fn ending(&self) -> bool {
        self.end.load(Relaxed)
    }
    #[inline]
    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
    /// Shall a receiver that last heard something then leave? Or one that hears on and on?
    #[inline]
    fn leave(&self, last: u64, now: u64) -> bool {
        let quiet = self.quiet_ns.load(Relaxed);
        quiet != 0 && {
            let over = self.over_ns.load(Relaxed);
            now >= last.max(over) + quiet || now > over + DRAIN_NS
        }
    }
}

/// What a data thread works with.
struct Lane<'a> {
    spec: &'a GuestSpec,
    socket: &'a Socket,
    control: &'a Control,
    books: &'a Books,
    /// Its own copies of what it tells.
    now: Look,
    open_at: u64,
    calls: u64,
}

/// What a loop hands back.
#[derive(Default)]
struct Ended {
    at_ns: u64,
    retransmits: Option<u64>,
    fallback: Option<String>,
    error: Option<String>,
}

impl Lane<'_> {
    /// Opens the window when it is time.
    #[inline]
    fn turn(&mut self, now: u64) {
        if self.now.opened_ns == 0 && now >= self.open_at {
            self.open(now);
        }
    }

    #[cold]
    fn open(&mut self, now: u64) {
        self.now.opened_ns = now;
        self.now.omitted_packets = self.now.packets;
        self.now.omitted_errors = self.now.errors;
        self.now.out_of_order = 0;
        if self.spec.sends && self.spec.udp.is_none() {
            let retransmits = tcp_info(self.socket).retransmits.unwrap_or(0);
            self.books.omitted_retransmits.store(retransmits.into(), Relaxed);
        }
        self.books.omitted_packets.store(self.now.omitted_packets, Relaxed);
        self.books.omitted_errors.store(self.now.omitted_errors, Relaxed);
        self.books.opened_ns.store(now, Release);
    }

    #[inline]
    fn add(&mut self, bytes: u64) {
        if self.now.opened_ns == 0 {
            self.now.omitted_bytes += bytes;
            self.books.omitted_bytes.store(self.now.omitted_bytes, Relaxed);
        } else {
            self.now.bytes += bytes;
            self.books.bytes.store(self.now.bytes, Relaxed);
        }
    }

    fn publish_packets(&mut self) {
        self.books.packets.store(self.now.packets, Relaxed);
        self.books.errors.store(self.now.errors, Relaxed);
        self.books.out_of_order.store(self.now.out_of_order, Relaxed);
        self.books.jitter_ns.store(self.now.jitter_ns, Relaxed);
    }

    /// When a sender's time is over.
    fn until(&self) -> u64 {
        match (self.spec.time, self.now.opened_ns) {
            (Some(time), opened @ 1..) => opened + time.as_nanos() as u64,
            _ => u64::MAX,
        }
    }

    /// Bytes that may still be sent in the window.
    #[inline]
    fn left(&self) -> u64 {
        match self.spec.bytes {
            Some(bytes) if self.now.opened_ns != 0 => bytes.saturating_sub(self.now.bytes),
            _ => u64::MAX,
        }
    }
}

/// The streams of a test, each in a thread of its own.
pub struct Guests {
    specs: Arc<[GuestSpec]>,
    sockets: Arc<[Socket]>,
    books: Arc<[Books]>,
    control: Arc<Control>,
    threads: Vec<JoinHandle<GuestEnd>>,
    start_ns: u64,
}

impl Guests {
    /// Starts streams over connected sockets, all at this moment.
    pub fn start(streams: Vec<(GuestSpec, Socket)>) -> Result<Self, Error> {
        let (specs, sockets): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
        let (specs, sockets): (Arc<[GuestSpec]>, Arc<[Socket]>) = (specs.into(), sockets.into());
        let books: Arc<[Books]> = specs.iter().map(|_| Books::default()).collect();
        let control = Arc::new(Control::default());
        let start_ns = now_ns();
        let mut guests = Self { specs, sockets, books, control, threads: Vec::new(), start_ns };
        for i in 0..guests.specs.len() {
            let (specs, sockets) = (guests.specs.clone(), guests.sockets.clone());
            let (books, control) = (guests.books.clone(), guests.control.clone());
            let named = std::thread::Builder::new().name(format!("stream-{i}"));
            match named.spawn(move || run(&specs[i], &sockets[i], &control, &books[i], start_ns)) {
                Ok(thread) => guests.threads.push(thread),
                Err(error) => {
                    guests.stop();
                    return Err(os("start the thread of stream", i)(error));
                }
            }
        }
        Ok(guests)
    }

    /// When the streams were started (`CLOCK_MONOTONIC`).
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Now, by the clock of the streams.
    pub fn now_ns(&self) -> u64 {
        now_ns()
    }

    /// A stream at this moment.
    pub fn look(&self, i: usize) -> Look {
        look(&self.books[i])
    }

    /// A connection at this moment.
    pub fn tcp(&self, i: usize) -> TcpLook {
        let omitted_retransmits = self.books[i].omitted_retransmits.load(Relaxed);
        TcpLook { info: tcp_info(&self.sockets[i]), snd_wnd: raw_info(&self.sockets[i], 228), omitted_retransmits }
    }

    /// Segments that a sending connection sent again before the window.
    pub fn omitted_retransmits(&self, i: usize) -> u64 {
        self.books[i].omitted_retransmits.load(Relaxed)
    }

    /// Are all senders done?
    pub fn senders_done(&self) -> bool {
        self.specs.iter().zip(self.books.iter()).all(|(spec, books)| !spec.sends || books.ended.load(Acquire))
    }

    /// Are all streams done?
    pub fn all_done(&self) -> bool {
        self.books.iter().all(|books| books.ended.load(Acquire))
    }

    /// Senders end with the block that they are at.
    fn end(&self) {
        self.control.end.store(true, Relaxed);
    }

    /// Has everything that was sent been acknowledged? Datagrams are gone when they are sent.
    pub fn is_flushed(&self) -> bool {
        const UNACKED: usize = 24;
        const NOTSENT_BYTES: usize = 144;
        let sending = self.specs.iter().zip(self.sockets.iter()).filter(|(spec, _)| spec.sends && spec.udp.is_none());
        sending.into_iter().all(|(_, socket)| {
            raw_info(socket, UNACKED).unwrap_or(0) == 0 && raw_info(socket, NOTSENT_BYTES).unwrap_or(0) == 0
        })
    }

    /// Says on sending connections that no more comes.
    pub fn shut_senders(&self) {
        for (spec, socket) in self.specs.iter().zip(self.sockets.iter()) {
            if spec.sends && spec.udp.is_none() {
                let _ = socket.shutdown(Shutdown::Write); // it may be gone already
            }
        }
    }

    /// The test is over now: senders end with the block that they are at, receivers stay.
    pub fn over(&self) {
        self.end();
        let _ = self.control.over_ns.compare_exchange(0, now_ns(), AcqRel, Acquire); // the first word counts
    }

    /// Receivers take what is still on its way, until it is silent for so long.
    pub fn finish(&self, quiet: Duration) {
        self.over();
        self.control.quiet_ns.store((quiet.as_nanos() as u64).max(1), Release);
    }

    /// Ends every stream at once.
    pub fn stop(&self) {
        self.control.stop.store(true, Relaxed);
        self.finish(Duration::ZERO);
        for (spec, socket) in self.specs.iter().zip(self.sockets.iter()) {
            if spec.udp.is_none() {
                let _ = socket.shutdown(Shutdown::Both); // wakes a blocked call; it may be gone already
            }
        }
    }

    /// Waits for the threads. The sockets stay open until this value is gone.
    pub fn collect(&mut self) -> Vec<GuestEnd> {
        let panicked = || GuestEnd { error: Some("its thread panicked".to_owned()), ..GuestEnd::default() };
        self.threads.drain(..).map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop();
            self.collect();
        }
    }
}

fn look(books: &Books) -> Look {
    let ended = books.ended.load(Acquire);
    Look {
        opened_ns: books.opened_ns.load(Acquire),
        bytes: books.bytes.load(Relaxed),
        omitted_bytes: books.omitted_bytes.load(Relaxed),
        packets: books.packets.load(Relaxed),
        omitted_packets: books.omitted_packets.load(Relaxed),
        errors: books.errors.load(Relaxed),
        omitted_errors: books.omitted_errors.load(Relaxed),
        out_of_order: books.out_of_order.load(Relaxed),
        jitter_ns: books.jitter_ns.load(Relaxed),
        ended,
    }
}

/// A word of `struct tcp_info`, by its offset in include/uapi/linux/tcp.h.
fn raw_info(socket: &Socket, offset: usize) -> Option<u32> {
    let mut bytes = [0; 256];
    let length = sys::get_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).ok()?;
    Some(u32::from_ne_bytes(bytes[..length].get(offset..offset + 4)?.try_into().ok()?))
}

/// The life of a stream's thread.
fn run(spec: &GuestSpec, socket: &Socket, control: &Control, books: &Books, start_ns: u64) -> GuestEnd {
    let open_at = start_ns + spec.omit.as_nanos() as u64;
    let mut lane = Lane { spec, socket, control, books, now: Look::default(), open_at, calls: 0 };
    let before = sys::thread_usage();
    let ended = match (spec.udp, spec.sends) {
        (None, true) => tcp::send(&mut lane),
        (None, false) => tcp::receive(&mut lane),
        (Some(numbers), true) => udp::send(&mut lane, numbers),
        (Some(numbers), false) => udp::receive(&mut lane, numbers),
    };
    let ended =
        ended.unwrap_or_else(|error| Ended { at_ns: now_ns(), error: Some(error.to_string()), ..Ended::default() });
    let after = sys::thread_usage();
    lane.publish_packets();
    books.ended.store(true, Release);
    let opened = lane.now.opened_ns;
    let at = if spec.sends { ended.at_ns } else { ended.at_ns.max(control.over_ns.load(Acquire)) };
    GuestEnd {
        books: look(books),
        elapsed_ns: if opened == 0 { 0 } else { at.saturating_sub(opened) },
        calls: lane.calls,
        cpu: (after.0 - before.0, after.1 - before.1),
        retransmits: ended.retransmits,
        facts: super::socket::facts(socket, spec.udp.is_none()),
        fallback: ended.fallback,
        error: ended.error,
    }
}
