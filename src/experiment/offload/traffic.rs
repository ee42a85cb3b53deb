//! The traffic of a probe: short streams and counted datagrams between two namespaces, every byte known to both ends.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    judge::{Datagrams, Stream},
    spread::Seen,
};
use crate::{
    kernel::{
        Netns,
        netlink::sys::{int_option, set_int_option},
    },
    packet::{
        craft::{fill, marked_payload},
        segments::marked,
    },
    traffic::{drops, tcp_info},
};

/// `SOL_UDP`, `UDP_SEGMENT`, `UDP_GRO`
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
/// How long a connection may take to come, and each read and write after it.
const WITHIN: Duration = Duration::from_millis(500);
/// A receiver that waits so long waits for the sender's timer (200 ms at least).
const STALL: Duration = Duration::from_millis(150);
/// So many of them, each with a retransmission, and a stream crawls: the rest of it tells nothing more.
const STALLS: u32 = 4;
/// How long a measurement of CPU time may take; slow paths carry less in it.
const COST_WITHIN: Duration = Duration::from_millis(200);
/// Datagrams on the way at a time: fewer than any socket buffer holds.
const WINDOW: u64 = 16;
/// How long the last ones of a window may take where none has come so far.
const WINDOW_WITHIN: Duration = Duration::from_millis(60);
/// How long where some have: on a busy machine they wait for the thread that does softirqs.
const LATE_WITHIN: Duration = Duration::from_millis(200);
const RECEIVE_BUFFER: usize = 4 << 20;
/// Windows that may be lost in a row before the rest is given up.
const LOST_WINDOWS: u32 = 4;
/// Datagrams of which one must come where others get through.
const FEW: u32 = 3;
/// Datagrams that may be lost before it is: what is behind each window is waited for.
const LOST_DATAGRAMS: u64 = 4 * WINDOW;

/// Both ends of a way.
#[derive(Debug, Clone, Copy)]
pub struct Between<'a> {
    /// Sender.
    pub from: (&'a Netns, IpAddr),
    /// Receiver.
    pub to: (&'a Netns, IpAddr),
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

fn inside<T: Send>(ns: &Netns, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    ns.within(work).map_err(io::Error::other)?
}

/// Sends `bytes` over a fresh connection and checks each of them on arrival; the port of the server.
pub fn stream(between: Between<'_>, bytes: u64, seed: u64) -> (Stream, u16) {
    let mut result = Stream { family: family(between.to.1), sent: bytes, ..Stream::default() };
    let mut port = 0;
    let outcome = (|| {
        let listener = inside(between.to.0, || TcpListener::bind((between.to.1, 0)))?;
        port = listener.local_addr()?.port();
        let (client, server) = connection(between, &listener)?;
        let watched = client.try_clone()?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(client, bytes, seed));
            let (right, wrong, received) = receive(server, bytes, seed, &|| retransmissions(&watched));
            (result.right, result.wrong_at) = (right, wrong);
            if received.is_err() {
                let _ = watched.shutdown(std::net::Shutdown::Both);
            }
            sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked"))).and(received)
        })
    })();
    if let Err(error) = outcome {
        result.failed = Some(in_words(&error));
    }
    (result, port)
}

/// Segments that a connection has sent again.
fn retransmissions(socket: &TcpStream) -> u32 {
    tcp_info(&socket2::SockRef::from(socket)).retransmits.unwrap_or_default()
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("nothing more within {} ms", WITHIN.as_millis()),
        _ => error.to_string(),
    }
}

/// Both ends of a fresh connection, none of which waits for ever.
fn connection(between: Between<'_>, listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let to = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let client = inside(between.from.0, || connect(between.from.1, to))?;
    let (server, _) = accept(listener)?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(WITHIN))?;
        socket.set_write_timeout(Some(WITHIN))?;
    }
    Ok((client, server))
}

/// May it be otherwise a moment later?
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN))
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(to);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), WITHIN)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(200));
            }
            other => {
                let accepted = other?;
                accepted.0.set_nonblocking(false)?;
                return Ok(accepted);
            }
        }
    }
}

fn send(mut socket: TcpStream, bytes: u64, seed: u64) -> io::Result<()> {
    let mut block = vec![0; 64 << 10];
    let mut sent = 0;
    while sent < bytes {
        let part = &mut block[..((bytes - sent) as usize).min(64 << 10)];
        fill(part, seed, sent);
        socket.write_all(part)?;
        sent += part.len() as u64;
    }
    socket.shutdown(std::net::Shutdown::Write)?;
    // Until the receiver has closed: all that was sent has been seen by then.
    let _ = socket.read(&mut [0; 1]);
    Ok(())
}

/// Bytes that came and were right, the first wrong one, and how it ended. `again` tells what was retransmitted so far: a
/// stream that moves by its timers only is given up.
fn receive(
    mut socket: TcpStream,
    bytes: u64,
    seed: u64,
    again: &dyn Fn() -> u32,
) -> (u64, Option<u64>, io::Result<()>) {
    let (mut block, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut right, mut wrong, mut stalls) = (0, None, 0);
    loop {
        let began = Instant::now();
        let came = socket.read(&mut block);
        stalls += u32::from(began.elapsed() >= STALL);
        if stalls >= STALLS && again() >= STALLS {
            let why = format!("it waits for retransmissions, {stalls} times so far, and was given up");
            return (right, wrong, Err(io::Error::other(why)));
        }
        match came {
            Ok(0) if right == bytes => return (right, wrong, Ok(())),
            Ok(0) => return (right, wrong, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                fill(&mut expected[..count], seed, right);
                if let Some(at) = block[..count].iter().zip(&expected).position(|(a, b)| a != b) {
                    wrong.get_or_insert(right + at as u64);
                }
                right += count as u64;
            }
            Err(error) => return (right, wrong, Err(error)),
        }
    }
}

/// Payload bits per second that arrive in a time, over a fresh connection; 0 where nothing passes or bytes are wrong.
pub fn goodput(between: Between<'_>, time: Duration, seed: u64) -> f64 {
    let outcome: io::Result<f64> = (|| {
        let listener = inside(between.to.0, || TcpListener::bind((between.to.1, 0)))?;
        let (mut client, mut server) = connection(between, &listener)?;
        let mut block = vec![0; 128 << 10];
        fill(&mut block, seed, 0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (over, sent) = (&over, &block);
            scope.spawn(move || while !over.load(Relaxed) && client.write_all(sent).is_ok() {});
            let mut buffer = vec![0; 128 << 10];
            let (mut bytes, began) = (0_u64, Instant::now());
            let outcome = loop {
                if began.elapsed() >= time {
                    break Ok(());
                }
                match server.read(&mut buffer) {
                    Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => {
                        // The block repeats: its place follows from how much came.
                        let place = (bytes % block.len() as u64) as usize;
                        let first = count.min(block.len() - place);
                        if buffer[..first] != block[place..place + first]
                            || buffer[first..count] != block[..count - first]
                        {
                            break Err(io::ErrorKind::InvalidData.into());
                        }
                        bytes += count as u64;
                    }
                    // Stalled: what came in this time is the rate.
                    Err(_) => break Ok(()),
                }
            };
            over.store(true, Relaxed);
            drop(server);
            outcome.map(|()| bytes as f64 * 8.0 / began.elapsed().as_secs_f64())
        })
    })();
    outcome.unwrap_or(0.0)
}

/// CPU time a byte, in nanoseconds, of both ends' threads over a fresh connection that carries up to `bytes`, or what a slow path
/// takes in a fifth of a second. What the kernel does in softirqs is charged to whichever thread it interrupts.
///
/// # Errors
/// Nothing arrived, or the connection broke.
pub fn cpu_cost(between: Between<'_>, bytes: u64, seed: u64) -> io::Result<f64> {
    let listener = inside(between.to.0, || TcpListener::bind((between.to.1, 0)))?;
    let (mut client, mut server) = connection(between, &listener)?;
    let mut block = vec![0; 128 << 10];
    fill(&mut block, seed, 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let sender = scope.spawn(move || -> io::Result<u64> {
            let began = thread_time();
            let mut sent = 0;
            while sent < bytes && !over.load(Relaxed) {
                let part = &block[..(bytes - sent).min(128 << 10) as usize];
                match client.write_all(part) {
                    // The receiver has enough, and closed.
                    Err(_) if over.load(Relaxed) => break,
                    done => done?,
                }
                sent += part.len() as u64;
            }
            let _ = client.shutdown(std::net::Shutdown::Write);
            Ok(thread_time() - began)
        });
        let mut buffer = vec![0; 128 << 10];
        let (began, deadline) = (thread_time(), Instant::now() + COST_WITHIN);
        let mut came = 0;
        let outcome = loop {
            match server.read(&mut buffer) {
                Ok(0) if came < bytes => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => break Ok(()),
                Ok(count) => came += count as u64,
                Err(error) => break Err(error),
            }
            if came < bytes && Instant::now() >= deadline {
                break Ok(());
            }
        };
        let received = thread_time() - began;
        over.store(true, Relaxed);
        drop(server);
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked")));
        outcome?;
        Ok((sent? + received) as f64 / came as f64)
    })
}

/// The same of datagrams that go in bundles (`UDP_SEGMENT`), one bundle on its way at a time; whoever takes them takes as many as
/// come together (`UDP_GRO`).
///
/// # Errors
/// A bundle could not be sent, or did not arrive.
pub fn cpu_cost_of_bundles(between: Between<'_>, bytes: u64, longest: usize) -> io::Result<f64> {
    const EACH: usize = 16;
    let pair = Pair::open(between)?;
    set_int_option(&pair.client, SOL_UDP, UDP_SEGMENT, longest as i32)?;
    set_int_option(&pair.server, SOL_UDP, UDP_GRO, 1)?;
    pair.server.set_read_timeout(Some(WITHIN))?;
    let bundle: Vec<u8> = (0..EACH).flat_map(|number| marked_payload(number as u32, longest)).collect();
    let mut buffer = vec![0; 65_536];
    let (began, deadline) = (thread_time(), Instant::now() + COST_WITHIN);
    let mut carried = 0;
    while carried < bytes && (carried == 0 || Instant::now() < deadline) {
        pair.client.send(&bundle)?;
        let mut came = 0;
        while came < bundle.len() {
            came += pair.server.recv(&mut buffer)?;
        }
        carried += came as u64;
    }
    Ok((thread_time() - began) as f64 / carried as f64)
}

/// Opens so many connections one after the other, sends a byte over each, and asks by which queue it came.
///
/// # Errors
/// One of them could not be opened, or its byte did not arrive.
pub fn connections(between: Between<'_>, count: usize) -> io::Result<Vec<Seen>> {
    const SO_INCOMING_NAPI_ID: i32 = 56;
    let listener = inside(between.to.0, || TcpListener::bind((between.to.1, 0)))?;
    let to = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let mut seen = Vec::new();
    for _ in 0..count {
        let mut client = inside(between.from.0, || connect(between.from.1, to))?;
        let (mut server, from) = accept(&listener)?;
        server.set_read_timeout(Some(WITHIN))?;
        client.write_all(&[1])?;
        server.read_exact(&mut [0])?;
        let napi = int_option(&server, libc::SOL_SOCKET, SO_INCOMING_NAPI_ID)?;
        seen.push(Seen { from, to, napi: napi.cast_unsigned() });
    }
    Ok(seen)
}

/// Nanoseconds of CPU time of the calling thread.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A pair of datagram sockets.
#[derive(Debug)]
pub struct Pair {
    client: UdpSocket,
    server: UdpSocket,
    family: u8,
}

impl Pair {
    /// A connected socket at the sender, and one at the receiver. An address that is not there for a moment, as one of IPv6
    /// right after its link came up, is waited for.
    pub fn open(between: Between<'_>) -> io::Result<Self> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match Self::try_open(between) {
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }

    fn try_open(between: Between<'_>) -> io::Result<Self> {
        let server = inside(between.to.0, || UdpSocket::bind((between.to.1, 0)))?;
        // As much as may be had: datagrams that are late come together with the next.
        let _ = socket2::SockRef::from(&server).set_recv_buffer_size(RECEIVE_BUFFER);
        let to = server.local_addr()?;
        let client = inside(between.from.0, || {
            let client = UdpSocket::bind((between.from.1, 0))?;
            client.connect(to)?;
            Ok(client)
        })?;
        server.set_read_timeout(Some(Duration::from_millis(10)))?;
        Ok(Self { client, server, family: family(between.to.1) })
    }

    /// Ports of sender and receiver.
    pub fn ports(&self) -> (u16, u16) {
        let port = |socket: &UdpSocket| socket.local_addr().map_or(0, |address| address.port());
        (port(&self.client), port(&self.server))
    }

    /// Has the receiver take datagrams that were put together (`UDP_GRO`), or no longer; what waits in it is taken.
    pub fn put_together(&self, on: bool) {
        // A kernel that does not know it puts nothing together, and that is seen.
        let _ = set_int_option(&self.server, SOL_UDP, UDP_GRO, i32::from(on));
        while self.server.recv(&mut [0]).is_ok() {}
    }

    /// Does one of a few datagrams with numbers from `first` on come? A busy machine may lose one of them.
    pub fn passes(&self, first: u32) -> bool {
        (0..FEW).any(|number| self.datagrams(1, 64, first + number).right == 1)
    }

    /// Sends this many datagrams of all lengths up to `longest`, a few at a time.
    pub fn datagrams(&self, count: u32, longest: usize, first: u32) -> Datagrams {
        // Odd and even, tiny and full, in no order: 997 is a prime.
        let length = |number: u32| 8 + (number as usize).wrapping_mul(997) % (longest - 7);
        self.counted(first, u64::from(count), 1, &length, &|numbers| {
            for number in numbers {
                self.client.send(&marked_payload(number, length(number)))?;
            }
            Ok(())
        })
    }

    /// Sends super-packets of `size` bytes a segment with a shorter one at the end.
    pub fn segmented(&self, supers: u32, size: usize, first: u32) -> Datagrams {
        const EACH: u32 = 8;
        let length = |number: u32| if (number - first) % EACH == EACH - 1 { size / 2 + 9 } else { size };
        let outcome = set_int_option(&self.client, SOL_UDP, UDP_SEGMENT, size as i32);
        let mut result = match outcome {
            Ok(()) => self.counted(first, u64::from(supers * EACH), u64::from(EACH), &length, &|numbers| {
                let payload: Vec<u8> = numbers.flat_map(|number| marked_payload(number, length(number))).collect();
                self.client.send(&payload).map(drop)
            }),
            Err(error) => Datagrams { failed: Some(format!("UDP_SEGMENT: {error}")), ..Datagrams::default() },
        };
        let _ = set_int_option(&self.client, SOL_UDP, UDP_SEGMENT, 0);
        (result.segmented, result.family) = (true, self.family);
        result
    }

    fn counted(
        &self,
        first: u32,
        count: u64,
        each: u64,
        length: &dyn Fn(u32) -> usize,
        send: &dyn Fn(std::ops::Range<u32>) -> io::Result<()>,
    ) -> Datagrams {
        let mut result = Datagrams { family: self.family, ..Datagrams::default() };
        let dropped_before = drops(&socket2::SockRef::from(&self.server)).unwrap_or_default();
        let mut seen = vec![false; count as usize];
        let (mut lost, mut buffer) = (0, vec![0; 65_536]);
        // Takes what comes until none of so many is missing, or the time is over.
        let mut take = |result: &mut Datagrams, missing: u64, within: Duration| {
            let deadline = Instant::now() + within;
            while result.missing() > missing && Instant::now() < deadline {
                let Ok(got) = self.server.recv(&mut buffer) else { continue };
                let Some(number) = marked(&buffer[..got]).filter(|number| *number >= first) else { continue };
                let Some(seen) = seen.get_mut((number - first) as usize) else { continue };
                match buffer[..got] == marked_payload(number, length(number)) {
                    _ if *seen => result.again += 1,
                    true => result.right += 1,
                    false => result.wrong += 1,
                }
                *seen = true;
            }
        };
        while result.sent < count && lost < LOST_WINDOWS && result.missing() < LOST_DATAGRAMS {
            let (before, missing) = (result.sent, result.missing());
            while result.sent < (before + WINDOW).min(count) {
                let next = first + result.sent as u32;
                match send(next..next + each as u32) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
                    Err(error) => {
                        result.failed = Some(format!("send: {error}"));
                        return result;
                    }
                }
                result.sent += each;
            }
            // What earlier windows miss is waited for once, at the end.
            let some_came = result.right + result.wrong > 0;
            take(&mut result, missing, if some_came { LATE_WITHIN } else { WINDOW_WITHIN });
            lost = if result.missing() >= missing + (result.sent - before) { lost + 1 } else { 0 };
        }
        take(&mut result, 0, LATE_WITHIN);
        result.unread = drops(&socket2::SockRef::from(&self.server)).unwrap_or_default().saturating_sub(dropped_before);
        result
    }

    /// What is sent may not be fragmented.
    pub fn never_fragment(&self) -> io::Result<()> {
        let (level, option, always) = match self.family {
            4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
            _ => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
        };
        set_int_option(&self.client, level, option, always)
    }

    /// What is sent has this traffic class.
    pub fn class(&self, class: u8) -> io::Result<()> {
        let (level, option) = match self.family {
            4 => (libc::IPPROTO_IP, libc::IP_TOS),
            _ => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        set_int_option(&self.client, level, option, i32::from(class))
    }

    /// Sends one bundle of datagrams of `size` bytes; what came until all of its bytes had, or the time was over.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn bundle(&self, size: usize, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        // Late ones of another bundle.
        while self.server.recv(&mut [0]).is_ok() {}
        set_int_option(&self.client, SOL_UDP, UDP_SEGMENT, size as i32)?;
        let sent = self.client.send(payload);
        set_int_option(&self.client, SOL_UDP, UDP_SEGMENT, 0)?;
        sent?;
        let (mut came, mut bytes, mut buffer) = (Vec::new(), 0, vec![0; 65_536]);
        let deadline = Instant::now() + LATE_WITHIN;
        while bytes < payload.len() && Instant::now() < deadline {
            if let Ok(got) = self.server.recv(&mut buffer) {
                bytes += got;
                came.push(buffer[..got].to_vec());
            }
        }
        Ok(came)
    }

    /// Numbers of the marked datagrams that come up to the one with this number, and those that are behind it.
    pub fn numbers_up_to(&self, last: u32) -> Vec<u32> {
        let (mut numbers, mut buffer) = (Vec::new(), vec![0; 65_536]);
        let deadline = Instant::now() + LATE_WITHIN;
        while Instant::now() < deadline && !numbers.contains(&last) {
            if let Ok(got) = self.server.recv(&mut buffer) {
                numbers.extend(marked(&buffer[..got]));
            }
        }
        numbers.extend(self.numbers(0));
        numbers
    }

    /// Numbers of the marked datagrams that come until it is quiet.
    pub fn numbers(&self, enough: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut buffer = vec![0; 65_536];
        let deadline = Instant::now() + LATE_WITHIN;
        while Instant::now() < deadline && numbers.len() < enough {
            if let Ok(got) = self.server.recv(&mut buffer) {
                numbers.extend(marked(&buffer[..got]));
            }
        }
        // What ought not to come may come last.
        while let Ok(got) = self.server.recv(&mut buffer) {
            numbers.extend(marked(&buffer[..got]));
        }
        numbers
    }
}

/// `InCsumErrors` of TCP and UDP in a namespace.
pub fn checksum_errors(ns: &Netns) -> u64 {
    let read = || {
        let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap_or_default();
        let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
        snmp(&v4) + snmp6(&v6)
    };
    ns.within(read).unwrap_or(0)
}

fn snmp(text: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let of = |pair: &[&str]| {
        let ["Tcp:" | "Udp:", ..] = pair[0].split(' ').collect::<Vec<_>>()[..] else { return None };
        let at = pair[0].split(' ').position(|name| name == "InCsumErrors")?;
        pair[1].split(' ').nth(at)?.parse::<u64>().ok()
    };
    lines.chunks_exact(2).filter_map(of).sum()
}

fn snmp6(text: &str) -> u64 {
    let value = |line: &str| line.strip_prefix("Udp6InCsumErrors")?.trim().parse::<u64>().ok();
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum_errors_are_read_by_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: X InCsumErrors\nTcp: 9 4\nUdp: InCsumErrors Y\nUdp: 3 9\n";
        assert_eq!(super::snmp(text), 7);
        assert_eq!(super::snmp6("Udp6InErrors  5\nUdp6InCsumErrors    2\n"), 2);
    }
}
