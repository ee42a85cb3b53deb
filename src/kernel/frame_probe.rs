//! Single frames of our own EtherType between interfaces: which of them arrive where, and with which VLAN tag.
//!
//! Everything lives in sockets: what an interface lets in for the sake of a probe (promiscuous mode, another address) is the
//! kernel's to take back when they are closed, also by SIGKILL. Nothing is changed that would have to be put back.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Error, Result,
    error::Operation,
    netlink::{
        packet::{self, Membership},
        sys::set_int_option,
    },
    netns::Netns,
};
use crate::units::IfName;

/// "IEEE Std 802 - Local Experimental Ethertype 1": no network forwards it, no stack answers it.
const ETHERTYPE: u16 = 0x88b5;
const MARK: [u8; 4] = *b"nbpf";
/// Frames of a case. One could be lost by chance; of ten, some arrive where any may.
pub const FRAMES: u32 = 10;
/// Between two frames of a case: drivers tell their NIC of a new filter by a message that takes its time.
const PACE: Duration = Duration::from_millis(15);
/// Without news for so long, all has arrived that will.
const QUIET: Duration = Duration::from_millis(300);
const AT_MOST: Duration = Duration::from_secs(3);
/// Bytes of a frame in a flood, Ethernet header and no check sequence.
const FULL: usize = 1514;
/// A flood fills the NIC's ring first, which a rate does not bound.
const RUN_UP: Duration = Duration::from_millis(150);
const VLAN_VALID: u32 = 0x10;
/// Enough for what a flood leaves while the sender has the CPU.
const BUFFER: i32 = 8 << 20;

/// An interface that sends and hears probe frames.
#[derive(Debug)]
pub struct Station {
    sender: OwnedFd,
    ears: OwnedFd,
    index: u32,
    nonce: u32,
    operation: Operation,
}

/// One frame to be sent [`FRAMES`] times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Sender, by its place among the stations.
    pub from: usize,
    /// Destination MAC.
    pub to_mac: [u8; 6],
    /// Source MAC.
    pub from_mac: [u8; 6],
    /// Priority, DEI and VLAN of an 802.1Q tag.
    pub tci: Option<u16>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Frames that the sender's interface took.
    pub sent: u32,
    /// Why it took no more.
    pub refused: Option<String>,
    /// Where frames arrived, with which tag, how many.
    pub arrived: Vec<Arrived>,
}

/// Frames of a case that arrived alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Where, by its place among the stations.
    pub at: usize,
    /// With which tag.
    pub tci: Option<u16>,
    /// How many.
    pub frames: u32,
}

/// A burst as fast as the sender goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flood {
    /// Frames that the sender's interface took.
    pub sent: u32,
    /// Frames that arrived.
    pub arrived: u32,
    /// Rate of arrival in bit/s, frames from their Ethernet header on, without the run-up; 0 where too few arrived.
    pub bits_per_second: f64,
}

/// Something that an interface lets in while this lives.
#[derive(Debug)]
pub struct Joined {
    _socket: OwnedFd,
}

struct Heard {
    case: u16,
    tci: Option<u16>,
}

impl Station {
    /// Opens sockets on an interface. `nonce` tells frames of this proof from others'.
    ///
    /// # Errors
    /// The interface is not there, or packet sockets are not allowed (CAP_NET_RAW).
    pub fn open(ns: &Netns, name: &IfName, nonce: u32) -> Result<Self> {
        let operation = Operation::on("probe with frames", name, ns.label());
        let index = super::link::index(ns, name.as_str())?;
        let sockets = ns.within(|| {
            let (sender, ears) = (packet::open()?, packet::open()?);
            set_int_option(&ears, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
            if set_int_option(&ears, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
                set_int_option(&ears, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER)?;
            }
            packet::bind(&sender, index, false)?;
            packet::bind(&ears, index, true)?;
            Ok::<_, io::Error>((sender, ears))
        })?;
        let (sender, ears) = sockets.map_err(|error| operation.clone().io(error))?;
        Ok(Self { sender, ears, index, nonce, operation })
    }

    /// Lets everything in while the answer lives.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn promiscuous(&self, ns: &Netns) -> Result<Joined> {
        self.join(ns, Membership::Promiscuous)
    }

    /// Lets every multicast group in while the answer lives.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn all_multicast(&self, ns: &Netns) -> Result<Joined> {
        self.join(ns, Membership::AllMulticast)
    }

    /// Lets frames to another unicast address in while the answer lives.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn address(&self, ns: &Netns, mac: [u8; 6]) -> Result<Joined> {
        self.join(ns, Membership::Address(mac))
    }

    fn join(&self, ns: &Netns, membership: Membership) -> Result<Joined> {
        let index = self.index;
        let joined = ns.within(|| {
            let socket = packet::open()?;
            packet::join(&socket, index, membership)?;
            Ok::<_, io::Error>(socket)
        })?;
        Ok(Joined { _socket: joined.map_err(|error| self.operation.clone().io(error))? })
    }

    fn frame(&self, case: &Case, number: u16, length: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(length);
        frame.extend(case.to_mac);
        frame.extend(case.from_mac);
        if let Some(tci) = case.tci {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(ETHERTYPE.to_be_bytes());
        frame.extend(MARK);
        frame.extend(self.nonce.to_be_bytes());
        frame.extend(number.to_be_bytes());
        frame.resize(length, 0);
        frame
    }

    /// A frame of ours that waits; `None` when none does.
    fn hear(&self, buffer: &mut [u8]) -> Result<Option<Heard>> {
        loop {
            let received = match packet::receive(&self.ears, buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENETDOWN)) => continue,
                Err(error) => return Err(self.operation.clone().io(error)),
            };
            if received.outgoing {
                continue;
            }
            let taken = (received.auxdata.status & VLAN_VALID != 0).then_some(received.auxdata.tci);
            if let Some(heard) = read(&buffer[..received.bytes], taken, self.nonce) {
                return Ok(Some(heard));
            }
        }
    }
}

/// A frame of ours, by its bytes and the tag that the device took out of it.
fn read(bytes: &[u8], taken: Option<u16>, nonce: u32) -> Option<Heard> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (inside, at) = match word(12)? {
        0x8100 => (Some(word(14)?), 16),
        _ => (None, 12),
    };
    let marked = word(at)? == ETHERTYPE
        && bytes.get(at + 2..at + 6)? == MARK
        && bytes.get(at + 6..at + 10)? == nonce.to_be_bytes();
    // VLAN 0 is a priority without a VLAN.
    let tci = taken.or(inside).filter(|tci| tci & 0xfff != 0);
    marked.then_some(Heard { case: word(at + 10)?, tci })
}

fn in_time(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR))
}

/// Sends every case and listens everywhere; what became of each, in order.
///
/// # Errors
/// A socket fails. An interface that takes no frames is no error.
pub fn exchange(stations: &[Station], cases: &[Case]) -> Result<Vec<Seen>> {
    let mut buffer = vec![0; 4096];
    let mut seen = vec![Seen::default(); cases.len()];
    listen(stations, &mut seen, &mut buffer, true)?; // what waits is of an earlier exchange
    seen.iter_mut().for_each(|seen| seen.arrived.clear());
    for _ in 0..FRAMES {
        for (number, case) in cases.iter().enumerate() {
            let station = &stations[case.from];
            let frame = station.frame(case, number as u16, 60);
            match packet::send(&station.sender, &frame) {
                Ok(()) => seen[number].sent += 1,
                Err(error) if in_time(&error) => {}
                Err(error) => seen[number].refused = Some(error.to_string()),
            }
        }
        listen(stations, &mut seen, &mut buffer, false)?;
        std::thread::sleep(PACE);
    }
    let (until, mut news) = (Instant::now() + AT_MOST, Instant::now());
    loop {
        // The clock first: what came while this process did not run is heard before it gives up.
        let (now, quiet) = (Instant::now(), news.elapsed());
        if listen(stations, &mut seen, &mut buffer, false)? {
            news = Instant::now();
        } else if quiet >= QUIET || now >= until {
            break;
        }
        let mut polled: Vec<PollFd<'_>> = stations.iter().map(|s| PollFd::new(&s.ears, PollFlags::IN)).collect();
        let short = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _ = poll(&mut polled, Some(&short)); // a signal only shortens the wait
    }
    Ok(seen)
}

/// Takes what waits everywhere; was there anything of ours?
fn listen(stations: &[Station], seen: &mut [Seen], buffer: &mut [u8], any: bool) -> Result<bool> {
    let mut news = false;
    for (at, station) in stations.iter().enumerate() {
        while let Some(heard) = station.hear(buffer)? {
            news = true;
            let Some(seen) = seen.get_mut(usize::from(heard.case)).filter(|_| !any) else { continue };
            match seen.arrived.iter_mut().find(|arrived| arrived.at == at && arrived.tci == heard.tci) {
                Some(arrived) => arrived.frames += 1,
                None => seen.arrived.push(Arrived { at, tci: heard.tci, frames: 1 }),
            }
        }
    }
    Ok(news)
}

/// Sends large frames as fast as the interface takes them, and counts what arrives at `to`.
///
/// # Errors
/// A socket fails, or the interface takes no frames.
pub fn flood(from: &Station, to: &Station, case: &Case, time: Duration) -> Result<Flood> {
    let mut buffer = vec![0; 4096];
    while to.hear(&mut buffer)?.is_some() {}
    let frame = from.frame(case, u16::MAX, FULL);
    let mut flood = Flood::default();
    let began = Instant::now();
    let (mut counted, mut first, mut last) = (0_u32, None, began);
    while began.elapsed() < time {
        let mut waits = false;
        for _ in 0..32 {
            match packet::send(&from.sender, &frame) {
                Ok(()) => flood.sent += 1,
                Err(error) if in_time(&error) => {
                    waits = true;
                    break;
                }
                Err(error) => return Err(from.failed(error)),
            }
        }
        while let Some(heard) = to.hear(&mut buffer)? {
            if heard.case != u16::MAX {
                continue;
            }
            flood.arrived += 1;
            let now = Instant::now();
            if now - began >= RUN_UP {
                // The first one opens the interval and is not in it.
                counted += u32::from(first.is_some());
                first.get_or_insert(now);
                last = now;
            }
        }
        if waits {
            let mut polled = [PollFd::new(&from.sender, PollFlags::OUT), PollFd::new(&to.ears, PollFlags::IN)];
            let short = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            let _ = poll(&mut polled, Some(&short));
        }
    }
    let took = first.map_or(0.0, |first: Instant| (last - first).as_secs_f64());
    if counted >= 10 && took > 0.0 {
        flood.bits_per_second = f64::from(counted) * FULL as f64 * 8.0 / took;
    }
    Ok(flood)
}

impl Station {
    fn failed(&self, error: io::Error) -> Error {
        self.operation.clone().io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_by_mark_nonce_and_tag() {
        let frame = |tci: Option<u16>| {
            let mut frame = vec![0xff; 12];
            if let Some(tci) = tci {
                frame.extend([0x81, 0x00]);
                frame.extend(tci.to_be_bytes());
            }
            frame.extend([0x88, 0xb5]);
            frame.extend(MARK);
            frame.extend(7_u32.to_be_bytes());
            frame.extend(3_u16.to_be_bytes());
            frame
        };
        let tag = |bytes: &[u8], taken| read(bytes, taken, 7).map(|heard| (heard.case, heard.tci));
        assert_eq!(tag(&frame(None), None), Some((3, None)));
        assert_eq!(tag(&frame(Some(0x6007)), None), Some((3, Some(0x6007))));
        assert_eq!(tag(&frame(None), Some(9)), Some((3, Some(9))));
        assert_eq!(tag(&frame(Some(0x6000)), None), Some((3, None)), "VLAN 0 is no VLAN");
        assert!(read(&frame(None), None, 8).is_none(), "of another proof");
        assert!(read(&frame(None)[..20], None, 7).is_none());
    }
}
