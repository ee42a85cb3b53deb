//! Proof of a path's MTU with packets: a datagram of exactly that size arrives, a larger one does not.
//!
//! Counters cannot show it: a 1500-byte port in a 9000-byte path drops silently, and the sender's `sendto` succeeds.

mod socket;

use std::{
    net::IpAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Result, error::Operation, netns::Netns};
use socket::{Sent, open, receive, send};

/// How long each try of the datagram of the MTU's size waits, in milliseconds: the first may be lost while neighbours are
/// resolved, which takes a second where the first question is lost, and a machine may be busy elsewhere.
const TRIES: [u64; 4] = [500, 500, 1000, 2000];
/// How long the larger datagram is waited for at least.
const ABSENT: Duration = Duration::from_millis(150);
/// How much longer at most, until a datagram that was sent after it has come.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// Where the nonce of what is sent after the larger datagram differs.
const AFTER: usize = 11;

/// A path to prove, in both directions.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// Namespace and address of one end.
    pub from: (&'a Netns, IpAddr),
    /// Namespace and address of the other end.
    pub to: (&'a Netns, IpAddr),
    /// Size of the largest IP packet that must pass, in bytes.
    pub mtu: u32,
}

/// Bytes above the MTU that no port lets through. Forwarding keeps room for the four of a VLAN tag that a packet without one
/// may use (`is_skb_forwardable`): Linux 6.12 with VLANs passes 1504 bytes through a bridge port of 1500.
const BEYOND: usize = 5;

/// What happened to the datagram one byte larger, which the sender's own stack must refuse, or else a hop behind it, which
/// may let four more bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Larger {
    /// The sender's own stack refused it (EMSGSIZE): the interface has exactly this MTU.
    LocalEmsgsize,
    /// It left and did not arrive: a hop behind the sender's interface bounds the path.
    NotArrived,
    /// It arrived: the path carries more than was declared.
    Arrived,
}

/// One direction of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// A packet of exactly the MTU arrived whole.
    pub arrived_at_mtu: bool,
    /// The packet of exactly the MTU was refused by the sender's own stack (EMSGSIZE).
    pub refused_at_mtu: bool,
    /// The packet larger than that.
    pub larger: Larger,
    /// Time from sending to arrival of the packet that arrived.
    pub one_way: Option<Duration>,
    /// Datagrams of the MTU's size sent.
    pub tries: u32,
}

impl Direction {
    /// Is the path's MTU in this direction exactly what was declared?
    pub fn is_proved(&self) -> bool {
        self.arrived_at_mtu && self.larger != Larger::Arrived
    }
}

/// Both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// From `from` to `to`.
    pub forward: Direction,
    /// Back.
    pub backward: Direction,
}

/// One direction at work.
struct Probe {
    sender: std::net::UdpSocket,
    receiver: std::net::UdpSocket,
    size: usize,
    nonce: [u8; 16],
    last_sent: Option<Instant>,
    result: Direction,
    larger_sent: bool,
    /// Bytes above the MTU of the packet whose arrival counts.
    larger_by: usize,
    /// What was sent after that has come.
    overtaken: bool,
    operation: Operation,
}

/// Proves paths, all at once: a hundred take as long as one. `deadline` bounds the whole.
pub fn prove(paths: &[Path<'_>], deadline: Instant) -> Result<Vec<Proof>> {
    let mut probes = Vec::with_capacity(paths.len() * 2);
    for (number, path) in paths.iter().enumerate() {
        probes.push(probe(path.from, path.to, path.mtu, 2 * number)?);
        probes.push(probe(path.to, path.from, path.mtu, 2 * number + 1)?);
    }
    for wait in TRIES {
        let mut waiting = false;
        for probe in probes.iter_mut().filter(|probe| !probe.result.arrived_at_mtu && !probe.result.refused_at_mtu) {
            probe.send_mtu()?;
            waiting = true;
        }
        if !waiting || Instant::now() >= deadline {
            break;
        }
        collect(&mut probes, deadline.min(Instant::now() + Duration::from_millis(wait)), |probe| {
            probe.result.arrived_at_mtu || probe.result.refused_at_mtu
        })?;
    }
    for probe in &mut probes {
        probe.send_larger()?;
    }
    // Not bounded by the deadline: an absence that was not waited for is no proof.
    collect(&mut probes, Instant::now() + ABSENT, |probe| !probe.is_open())?;
    // Where the kernel is late, what was sent afterwards is late as well.
    for probe in probes.iter_mut().filter(|probe| probe.is_open() && probe.result.arrived_at_mtu) {
        probe.send_after()?;
    }
    collect(&mut probes, Instant::now() + OVERTAKEN, |probe| {
        !probe.is_open() || !probe.result.arrived_at_mtu || probe.overtaken
    })?;
    let mut directions = probes.into_iter().map(|probe| probe.result);
    Ok(std::iter::from_fn(|| Some(Proof { forward: directions.next()?, backward: directions.next()? })).collect())
}

fn probe(from: (&Netns, IpAddr), to: (&Netns, IpAddr), mtu: u32, number: usize) -> Result<Probe> {
    let operation = Operation::of(format!("prove mtu {mtu} from {} to", from.1), to.1, from.0.label());
    // IP header without options and UDP header.
    let headers = if to.1.is_ipv4() { 20 + 8 } else { 40 + 8 };
    let size = mtu as usize;
    if size < headers + 16 || size > 65_534 || from.1.is_ipv4() != to.1.is_ipv4() {
        return Err(operation.conflict("it cannot be probed: the size or the address families do not fit"));
    }
    let receiver = to.0.within(|| open(to.1))?.map_err(|error| operation.clone().io(error))?;
    let sender = from.0.within(|| open(from.1))?.map_err(|error| operation.clone().io(error))?;
    let address = receiver.local_addr().map_err(|error| operation.clone().io(error))?;
    sender.connect(address).map_err(|error| operation.clone().io(error))?;
    let mut nonce = *b"netbench-df-----";
    nonce[12..].copy_from_slice(&(number as u32 ^ std::process::id().rotate_left(16)).to_ne_bytes());
    let result =
        Direction { arrived_at_mtu: false, refused_at_mtu: false, larger: Larger::NotArrived, one_way: None, tries: 0 };
    Ok(Probe {
        sender,
        receiver,
        size: size - headers,
        nonce,
        last_sent: None,
        result,
        larger_sent: false,
        larger_by: 1,
        overtaken: false,
        operation,
    })
}

impl Probe {
    fn payload(&self, size: usize) -> Vec<u8> {
        let mut payload = vec![0x5a; size];
        payload[..16].copy_from_slice(&self.nonce);
        payload
    }

    /// May the larger datagram still come?
    fn is_open(&self) -> bool {
        self.larger_sent && self.result.larger != Larger::Arrived
    }

    /// The nonce of the datagram that is sent after the larger one.
    fn after(&self) -> [u8; 16] {
        let mut nonce = self.nonce;
        nonce[AFTER] = b'+';
        nonce
    }

    fn send_after(&mut self) -> Result<()> {
        let mut payload = self.payload(self.size);
        payload[..16].copy_from_slice(&self.after());
        send(&self.sender, &payload).map(drop).map_err(|error| self.operation.clone().io(error))
    }

    fn send_mtu(&mut self) -> Result<()> {
        self.result.tries += 1;
        self.last_sent = Some(Instant::now());
        match send(&self.sender, &self.payload(self.size)).map_err(|error| self.operation.clone().io(error))? {
            Sent::TooLarge => self.result.refused_at_mtu = true,
            Sent::Gone => {}
        }
        Ok(())
    }

    fn send_larger(&mut self) -> Result<()> {
        let sent =
            |by| send(&self.sender, &self.payload(self.size + by)).map_err(|error| self.operation.clone().io(error));
        match sent(1)? {
            Sent::TooLarge => self.result.larger = Larger::LocalEmsgsize,
            Sent::Gone => {
                // An interface that is larger by less than that: what left it is what counts.
                self.larger_by = if sent(BEYOND)? == Sent::Gone { BEYOND } else { 1 };
                self.larger_sent = true;
            }
        }
        Ok(())
    }

    /// Takes all that has arrived.
    fn receive(&mut self) -> Result<()> {
        while let Some(payload) = receive(&self.receiver).map_err(|error| self.operation.clone().io(error))? {
            self.overtaken |= payload.get(..16) == Some(&self.after()[..]);
            if payload.get(..16) != Some(&self.nonce[..]) {
                continue;
            }
            if payload.len() == self.size {
                self.result.arrived_at_mtu = true;
                self.result.one_way = self.result.one_way.or(self.last_sent.map(|sent| sent.elapsed()));
            } else if payload.len() == self.size + self.larger_by {
                self.result.larger = Larger::Arrived;
            }
        }
        Ok(())
    }
}

/// Receives until all probes are `done` or `until` has come.
fn collect(probes: &mut [Probe], until: Instant, done: impl Fn(&Probe) -> bool) -> Result<()> {
    loop {
        let open: Vec<usize> = (0..probes.len()).filter(|&number| !done(&probes[number])).collect();
        let left = until.saturating_duration_since(Instant::now());
        if open.is_empty() || left.is_zero() {
            return Ok(());
        }
        let mut polled: Vec<PollFd<'_>> = open
            .iter()
            .map(|&number| PollFd::from_borrowed_fd(probes[number].receiver.as_fd(), PollFlags::IN))
            .collect();
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Operation::plain("wait for", "probe packets").io(errno)),
        }
        let ready: Vec<usize> = open
            .iter()
            .zip(&polled)
            .filter(|(_, polled)| !polled.revents().is_empty())
            .map(|(&number, _)| number)
            .collect();
        for number in ready {
            probes[number].receive()?;
        }
    }
}
