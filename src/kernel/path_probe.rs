//! Single packets of an exact size with DF set, and all that comes of each: it arrives, the own stack refuses it, a router
//! says why it does not pass, or nothing is heard.
//!
//! Towards a namespace of ours the packet is a datagram that is seen to arrive. Towards a host that is not ours it is an echo
//! request, whose reply is as large, or a datagram to a closed port, whose answer is small: that is one way only.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Error, Result,
    error::Operation,
    netlink::{
        socket_errors::{Origin, SocketError, next_error},
        sys::set_int_option,
    },
    netns::Netns,
};

/// Where traceroute sends to: ports that nobody serves.
const CLOSED_PORT: u16 = 33_434;
/// How long a queue is given that had no room: more than a machine's backlog of some thousand packets takes.
const FULL: Duration = Duration::from_millis(30);
const ICMP_ECHO: u8 = 8;
const ICMPV6_ECHO: u8 = 128;

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// It arrived, or was answered.
    Arrived {
        /// Until it was known.
        after: Duration,
    },
    /// The own stack refused it (EMSGSIZE).
    Refused {
        /// The MTU that it would take.
        mtu: Option<u32>,
    },
    /// A router says that it is too big.
    TooBig {
        /// Who.
        offender: Option<IpAddr>,
        /// What would pass there.
        mtu: u32,
    },
    /// The own device took it and dropped it (ENOBUFS): a veth does when its peer's MTU is smaller.
    NoBuffer,
    /// Its time to live ended at this router.
    Expired {
        /// Who.
        router: Option<IpAddr>,
    },
    /// A router or the target says that there is no way for it.
    Unreachable {
        /// Who.
        offender: Option<IpAddr>,
    },
    /// Nothing was heard in time.
    Lost,
}

/// How arrival is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The other end is ours and tells.
    Receiver,
    /// An echo as large comes back.
    Echo,
    /// "Port unreachable" comes back.
    ClosedPort,
}

/// Sends packets one way.
#[derive(Debug)]
pub struct Prober {
    sender: Socket,
    receiver: Option<UdpSocket>,
    means: Means,
    to: IpAddr,
    sequence: u16,
    buffer: Vec<u8>,
    /// What was said against the last packet while something else was waited for.
    objection: Option<Sample>,
    operation: Operation,
}

impl Prober {
    /// Between two namespaces that are open: arrival is seen at the other end.
    pub fn between(from: (&Netns, IpAddr), to: (&Netns, IpAddr)) -> Result<Self> {
        let operation = Operation::of(format!("probe from {} to", from.1), to.1, from.0.label());
        let receiver = to.0.within(|| receiver(to.1))?.map_err(|error| operation.clone().io(error))?;
        let port = receiver.local_addr().map_err(|error| operation.clone().io(error))?.port();
        let sender = from.0.within(|| datagrams(Some(from.1), SocketAddr::new(to.1, port)))?;
        let sender = sender.map_err(|error| operation.clone().io(error))?;
        Ok(Self::new(sender, Some(receiver), Means::Receiver, to.1, operation))
    }

    /// Towards a host that is not ours, from the calling process's namespace. Echo needs `net.ipv4.ping_group_range` or
    /// CAP_NET_RAW; a closed port needs nothing.
    pub fn towards(to: IpAddr, means: Means) -> Result<Self> {
        let operation = Operation::plain("probe towards", to);
        let sender = match means {
            Means::Echo => echo(to),
            _ => datagrams(None, SocketAddr::new(to, CLOSED_PORT)),
        };
        let sender = sender.map_err(|error| operation.clone().io(error))?;
        Ok(Self::new(sender, None, means, to, operation))
    }

    /// This end of a path whose other end is asked by word of mouth: one socket sends and receives. Its port may be that of
    /// a listening socket of the same user (`SO_REUSEPORT`).
    pub fn connected(local: SocketAddr, peer: SocketAddr) -> Result<Self> {
        let operation = Operation::plain(format!("probe from {local} to"), peer);
        let open = || {
            let socket = Socket::new(domain(peer.ip()), Type::DGRAM, None)?;
            socket.set_reuse_port(true)?;
            socket.bind(&local.into())?;
            ready(&socket, peer)?;
            Ok((socket.try_clone()?, UdpSocket::from(socket)))
        };
        let (sender, receiver) = open().map_err(|error: io::Error| operation.clone().io(error))?;
        Ok(Self::new(sender, Some(receiver), Means::Receiver, peer.ip(), operation))
    }

    /// Sends bytes as they are, of whatever size; that they are lost is no error.
    pub fn greet(&self, bytes: &[u8]) {
        let _ = self.sender.send(bytes);
    }

    /// Sends a packet of `size` bytes, IP header included; a sample when it is known at once that it did not leave.
    pub fn send_one(&mut self, size: u32) -> Result<Option<Sample>> {
        self.objection = None;
        while next_error(&self.sender).map_err(|error| self.failed(error))?.is_some() {}
        let _ = self.sender.take_error();
        self.send(size)
    }

    /// Waits for a packet of `size` bytes to come from the other end.
    pub fn received(&mut self, size: u32, wait: Duration) -> Result<bool> {
        let expected = size.saturating_sub(self.headers()) as usize;
        let until = Instant::now() + wait;
        loop {
            let Some(receiver) = &self.receiver else { return Ok(false) };
            while let Some(length) = take(receiver.recv(&mut self.buffer)).map_err(|e| self.operation.clone().io(e))? {
                if length == expected {
                    return Ok(true);
                }
            }
            // Otherwise waiting would not wait: an error that nobody takes wakes at once.
            self.objection = self.objected(size)?.or(self.objection);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.wait(left)?;
        }
    }

    /// What was said against the last packet, which had `size` bytes.
    pub fn objection(&mut self, size: u32) -> Result<Option<Sample>> {
        Ok(self.objected(size)?.or(self.objection))
    }

    fn objected(&self, size: u32) -> Result<Option<Sample>> {
        let mut last = None;
        while let Some(error) = next_error(&self.sender).map_err(|error| self.failed(error))? {
            last = self.said(&error, size).or(last);
        }
        let _ = self.sender.take_error();
        Ok(last)
    }

    fn new(sender: Socket, receiver: Option<UdpSocket>, means: Means, to: IpAddr, operation: Operation) -> Self {
        Self { sender, receiver, means, to, sequence: 0, buffer: vec![0; 65_536], objection: None, operation }
    }

    /// IP and UDP or ICMP headers, bytes.
    pub fn headers(&self) -> u32 {
        if self.to.is_ipv4() { 28 } else { 48 }
    }

    /// The source address that the kernel chose.
    pub fn local(&self) -> Option<IpAddr> {
        self.sender.local_addr().ok()?.as_socket().map(|address| address.ip())
    }

    /// Limits how many routers the packets pass; `None` is the usual 64.
    pub fn set_ttl(&self, ttl: Option<u8>) -> Result<()> {
        let ttl = u32::from(ttl.unwrap_or(64));
        let set = if self.to.is_ipv4() { self.sender.set_ttl_v4(ttl) } else { self.sender.set_unicast_hops_v6(ttl) };
        set.map_err(|error| self.failed(error))
    }

    /// Sends a packet of `size` bytes, IP header included, and waits for what comes of it.
    pub fn probe(&mut self, size: u32, wait: Duration) -> Result<Sample> {
        self.drain()?;
        let began = Instant::now();
        if let Some(sample) = self.send(size)? {
            if sample == Sample::NoBuffer {
                // Where it was a queue that is full for a moment, whoever tries again should find it otherwise.
                std::thread::sleep(FULL.min(wait));
            }
            return Ok(sample);
        }
        let until = began + wait;
        loop {
            if let Some(sample) = self.heard(size, began)? {
                return Ok(sample);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Sample::Lost);
            }
            self.wait(left)?;
        }
    }

    /// Sends `count` packets of `size` bytes, for the sake of what they leave in counters; errors of sending are passed over.
    pub fn burst(&mut self, size: u32, count: u32) -> Result<()> {
        for _ in 0..count {
            self.send(size)?;
        }
        Ok(())
    }

    /// The same without DF and whatever the kernel remembers of the path: who must make fragments shows it in its counters.
    pub fn burst_without_df(&mut self, size: u32, count: u32) -> Result<()> {
        let set = |prober: &Self, how4, how6| match prober.to {
            IpAddr::V4(_) => set_int_option(&prober.sender, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how4),
            IpAddr::V6(_) => set_int_option(&prober.sender, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, how6),
        };
        set(self, libc::IP_PMTUDISC_INTERFACE, libc::IPV6_PMTUDISC_INTERFACE).map_err(|error| self.failed(error))?;
        let outcome = self.burst(size, count);
        set(self, libc::IP_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_PROBE).map_err(|error| self.failed(error))?;
        outcome
    }

    /// Sends; a sample when it is known at once that it did not leave.
    fn send(&mut self, size: u32) -> Result<Option<Sample>> {
        let length = size.saturating_sub(self.headers()) as usize;
        self.sequence = self.sequence.wrapping_add(1);
        let payload = self.payload(length);
        for _ in 0..8 {
            let Err(error) = self.sender.send(&payload) else { return Ok(None) };
            match error.raw_os_error() {
                Some(libc::EMSGSIZE) => return Ok(Some(Sample::Refused { mtu: self.local_mtu()? })),
                Some(libc::ENOBUFS) => return Ok(Some(Sample::NoBuffer)),
                Some(libc::EAGAIN) => return Ok(None),
                // What is said of an earlier packet; it is in the queue as well and is read from there.
                Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EINTR) => {}
                Some(libc::ENETUNREACH) => return Ok(Some(Sample::Unreachable { offender: None })),
                _ => return Err(self.failed(error)),
            }
        }
        Ok(None)
    }

    fn payload(&self, length: usize) -> Vec<u8> {
        if self.means != Means::Echo {
            return vec![0x5a; length];
        }
        // Type, code, checksum, identifier (the kernel's), sequence number: a socket for pings fills in the rest.
        let kind = if self.to.is_ipv4() { ICMP_ECHO } else { ICMPV6_ECHO };
        let mut packet = vec![0x5a; length + 8];
        packet[..8].copy_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        packet[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        packet
    }

    /// The MTU in the own stack's refusal.
    fn local_mtu(&self) -> Result<Option<u32>> {
        while let Some(error) = next_error(&self.sender).map_err(|error| self.failed(error))? {
            if error.origin == Origin::Local && error.errno == libc::EMSGSIZE {
                return Ok(Some(error.info));
            }
        }
        Ok(None)
    }

    fn heard(&mut self, size: u32, began: Instant) -> Result<Option<Sample>> {
        let expected = size.saturating_sub(self.headers()) as usize;
        if let Some(receiver) = &self.receiver {
            while let Some(length) = take(receiver.recv(&mut self.buffer)).map_err(|e| self.operation.clone().io(e))? {
                if length == expected {
                    return Ok(Some(Sample::Arrived { after: began.elapsed() }));
                }
            }
        } else if self.means == Means::Echo {
            let mut socket = &self.sender;
            while let Some(length) = take(io::Read::read(&mut socket, &mut self.buffer)).map_err(|e| self.failed(e))? {
                if length == expected + 8 && self.buffer[6..8] == self.sequence.to_be_bytes() {
                    return Ok(Some(Sample::Arrived { after: began.elapsed() }));
                }
            }
        }
        while let Some(error) = next_error(&self.sender).map_err(|error| self.failed(error))? {
            match self.said(&error, size) {
                Some(Sample::Arrived { .. }) => return Ok(Some(Sample::Arrived { after: began.elapsed() })),
                None => {}
                said => return Ok(said),
            }
        }
        Ok(None)
    }

    /// What a router or the target says of a packet of this size.
    fn said(&self, error: &SocketError, size: u32) -> Option<Sample> {
        let offender = error.offender;
        if error.origin != Origin::Icmp {
            return None;
        }
        // ICMP: 11 time exceeded, 3 unreachable with 3 port and 4 too big. ICMPv6: 3, 1 with 4, and 2.
        match (self.to.is_ipv4(), error.kind, error.code) {
            (true, 11, _) | (false, 3, _) => Some(Sample::Expired { router: offender }),
            (true, 3, 4) | (false, 2, _) => (error.info < size).then_some(Sample::TooBig { offender, mtu: error.info }),
            (true, 3, 3) | (false, 1, 4) if self.means == Means::ClosedPort => {
                Some(Sample::Arrived { after: Duration::ZERO })
            }
            (true, 3, _) | (false, 1, _) => Some(Sample::Unreachable { offender }),
            _ => None,
        }
    }

    /// Forgets what is left of earlier packets.
    pub fn drain(&mut self) -> Result<()> {
        if let Some(receiver) = &self.receiver {
            while take(receiver.recv(&mut self.buffer)).map_err(|error| self.operation.clone().io(error))?.is_some() {}
        } else if self.means == Means::Echo {
            let mut socket = &self.sender;
            while take(io::Read::read(&mut socket, &mut self.buffer)).map_err(|error| self.failed(error))?.is_some() {}
        }
        while next_error(&self.sender).map_err(|error| self.failed(error))?.is_some() {}
        let _ = self.sender.take_error();
        Ok(())
    }

    fn wait(&self, left: Duration) -> Result<()> {
        let in_or_error = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut polled: Vec<PollFd<'_>> = vec![in_or_error(self.sender.as_fd())];
        polled.extend(self.receiver.as_ref().map(|receiver| in_or_error(receiver.as_fd())));
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(self.operation.clone().io(errno)),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        self.operation.clone().io(error)
    }
}

/// A length, nothing yet, or an error that is not about an earlier packet.
fn take(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EINTR)) => {
            Ok(None)
        }
        // With an error queue the socket's error is that of the queue's head.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EPROTO | libc::EACCES)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn receiver(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn datagrams(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain(to.ip()), Type::DGRAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    ready(&socket, to)?;
    Ok(socket)
}

fn echo(to: IpAddr) -> io::Result<Socket> {
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(domain(to), Type::DGRAM, Some(protocol))?;
    ready(&socket, SocketAddr::new(to, 0))?;
    Ok(socket)
}

fn domain(address: IpAddr) -> Domain {
    if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

/// `PMTUDISC_PROBE` sets DF and ignores the cached path MTU; the error queue says who objects.
fn ready(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    let fd: BorrowedFd<'_> = socket.as_fd();
    match to.ip() {
        IpAddr::V4(_) => {
            set_int_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
            set_int_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        }
        IpAddr::V6(_) => {
            set_int_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
            set_int_option(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
            set_int_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        }
    }
    socket.set_nonblocking(true)?;
    socket.connect(&to.into())
}
