//! FRAME_STREAM: numbered Ethernet frames through a packet socket, past the network stack.
//!
//! A frame has the local experimental EtherType 0x88B5 (IEEE 802) and, behind the addresses, the job's token and the number of
//! its stream, by which a filter in the kernel gives each receiver its own frames; then number and stamp as a datagram of
//! UDP_STREAM has them. Loss, reordering and duplicates are counted as there.

use std::{net::IpAddr, os::fd::AsFd};

use pnet_packet::ethernet::{EtherType, MutableEthernetPacket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Error,
    clock::{now_ns, sleep_until},
    job::{Ended, Lane},
    os,
    socket::{POLL, is_pause},
    spec::Spec,
    sys::{self, TxRing},
    udp_stream::{self, Pace, WARM_UP},
};
use crate::{
    measured::{SendMode, StreamIo},
    units::{ByteSize, MacAddr},
};

/// Local experimental EtherType 1.
const ETHER_TYPE: u16 = 0x88b5;
/// Addresses and EtherType.
const ETHERNET: usize = 14;
/// Bytes in front of number and stamp.
pub const HEADER: usize = ETHERNET + 8;
/// Frames of a turn through the ring.
const TURN: usize = 64;
/// Asked as send and receive buffer.
const BUFFER: ByteSize = ByteSize(4 << 20);
/// How long a sender waits for room in its ring at a time.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Where frames leave and enter.
pub struct Interface {
    /// Its number.
    index: i32,
    /// Its hardware address.
    pub mac: MacAddr,
}

/// The interface that has an address.
pub fn interface(address: IpAddr) -> Result<Interface, Error> {
    match sys::interface_of(address).map_err(os("find the interface of", address))? {
        Some((index, mac)) => Ok(Interface { index, mac: MacAddr(mac) }),
        None => Err(Error::Spec(format!("no interface here has the address {address}, so frames cannot leave by it"))),
    }
}

fn packet_socket(at: &Interface) -> Result<Socket, Error> {
    Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
        .map_err(os("open a packet socket (it needs CAP_NET_RAW in its namespace) at interface", at.index))
}

/// A receiver of the frames of one stream.
pub fn receiver(spec: &Spec, at: &Interface, stream: u32) -> Result<Socket, Error> {
    let socket = packet_socket(at)?;
    let size = spec.tuning.rcvbuf.or(spec.socket_buffer).unwrap_or(BUFFER).0;
    let value = i32::try_from(size).unwrap_or(i32::MAX).to_ne_bytes();
    if sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value).is_err() {
        socket.set_recv_buffer_size(size as usize).map_err(os("set SO_RCVBUF of interface", at.index))?;
    }
    socket.set_read_timeout(Some(POLL)).map_err(os("set SO_RCVTIMEO of interface", at.index))?;
    // Before it is bound: nothing else ever gets in.
    let words = [(ETHERNET as u32, spec.frames.token), (ETHERNET as u32 + 4, stream)];
    sys::accept_words(socket.as_fd(), words).map_err(os("attach a filter at interface", at.index))?;
    sys::bind_packet(socket.as_fd(), at.index, ETHER_TYPE).map_err(os("bind to interface", at.index))?;
    Ok(socket)
}

/// A sender, which receives nothing.
pub fn sender(spec: &Spec, at: &Interface) -> Result<Socket, Error> {
    const PACKET_QDISC_BYPASS: i32 = 20;
    let socket = packet_socket(at)?;
    let size = spec.tuning.sndbuf.or(spec.socket_buffer).unwrap_or(BUFFER).0;
    socket.set_send_buffer_size(size as usize).map_err(os("set SO_SNDBUF of interface", at.index))?;
    if spec.tuning.qdisc_bypass {
        sys::set_option(socket.as_fd(), libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1i32.to_ne_bytes())
            .map_err(os("set PACKET_QDISC_BYPASS at interface", at.index))?;
    }
    sys::bind_packet(socket.as_fd(), at.index, 0).map_err(os("bind to interface", at.index))?;
    Ok(socket)
}

/// What every frame of a stream begins with.
pub fn prefix(spec: &Spec, stream: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    let bytes_of = |mac: Option<MacAddr>| mac.map_or([0; 6], |mac| mac.0);
    if let Some(mut frame) = MutableEthernetPacket::new(&mut bytes) {
        frame.set_destination(bytes_of(spec.frames.peer).into());
        frame.set_source(bytes_of(spec.frames.source).into());
        frame.set_ethertype(EtherType::new(ETHER_TYPE));
        let mut payload = [0; HEADER - ETHERNET];
        payload[..4].copy_from_slice(&spec.frames.token.to_be_bytes());
        payload[4..].copy_from_slice(&stream.to_be_bytes());
        frame.set_payload(&payload);
    }
    bytes
}

/// Sends until the window's end.
pub fn send(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    if lane.spec.send != SendMode::Ring {
        return udp_stream::send(lane);
    }
    let length = lane.spec.length.0 as usize;
    let mut ring = match TxRing::new(lane.socket.as_fd(), length, &prefix(lane.spec, lane.stream)) {
        Ok(ring) => ring,
        Err(error) => return Err(lane.failed(format_args!("make a PACKET_TX_RING: {error}; try --send mmsg"))),
    };
    let start = now_ns();
    let omit = lane.spec.omit.0.as_nanos() as u64;
    if omit > 0 {
        pump(lane, &mut ring, (WARM_UP, u64::MAX), start, start + omit)?;
    }
    let opened = now_ns();
    lane.tally.open(opened);
    let until = opened + lane.spec.duration.0.as_nanos() as u64;
    let ended = pump(lane, &mut ring, (0, lane.most()), opened, until)?;
    let io = StreamIo { send: Some(SendMode::Ring), ..StreamIo::default() };
    Ok(Ended { elapsed_ns: ended - opened, io: Some(io), ..Ended::default() })
}

/// Sends numbers from `first` up, `most` of them, from `start` to `until`, and waits until the kernel has taken the last.
fn pump(
    lane: &mut Lane<'_>,
    ring: &mut TxRing,
    (first, most): (u64, u64),
    start: u64,
    until: u64,
) -> Result<u64, Error> {
    let length = lane.spec.length.0;
    let mut pace = lane.spec.rate.map(|rate| Pace::new(length * 8, rate.bits_per_second(), start));
    let (mut number, mut now) = (first, start);
    while now < until && number - first < most && !lane.control.ending() {
        let due = match &mut pace {
            None => TURN,
            Some(pace) => match pace.due(now) {
                0 => {
                    sleep_until(pace.next_ns().min(until));
                    now = now_ns();
                    continue;
                }
                due => due.min(TURN as u64) as usize,
            },
        };
        let due = (due as u64).min(most - (number - first));
        let mut sent = 0;
        while sent < due
            && ring.write(|frame| {
                frame[HEADER..HEADER + 8].copy_from_slice(&(number + sent).to_le_bytes());
                frame[HEADER + 8..HEADER + 16].copy_from_slice(&now.to_le_bytes());
            })
        {
            sent += 1;
        }
        lane.tally.calls += 1;
        kick(lane, ring, true)?;
        if sent == 0 {
            lane.tally.calls += 1;
            let _ = poll(&mut [PollFd::new(lane.socket, PollFlags::OUT)], Some(&WAIT));
        }
        lane.tally.add(sent * length, sent);
        number += sent;
        if let Some(pace) = &mut pace {
            pace.sent(sent);
        }
        now = now_ns();
    }
    while !ring.is_empty() && !lane.control.stopped() {
        lane.tally.calls += 1;
        kick(lane, ring, false)?;
    }
    Ok(now_ns())
}

/// Tells the kernel that there are frames.
fn kick(lane: &Lane<'_>, ring: &TxRing, at_once: bool) -> Result<(), Error> {
    match ring.kick(lane.socket.as_fd(), at_once) {
        Ok(()) => Ok(()),
        // A full queue: the frames wait in the ring.
        Err(error) if is_pause(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Err(too_long(lane)),
        Err(error) => Err(lane.failed(format_args!("send: {error}"))),
    }
}

/// A frame that the interface does not take.
pub fn too_long(lane: &Lane<'_>) -> Error {
    let size = lane.spec.length.0 + crate::measured::CHECK_SEQUENCE;
    lane.failed(format_args!("a frame of {size} bytes is longer than the interface takes (EMSGSIZE): its MTU and 18"))
}

#[cfg(test)]
mod tests {
    use pnet_packet::{Packet, ethernet::EthernetPacket};

    use super::*;
    use crate::{measured::Test, traffic::spec::example};

    #[test]
    fn a_frame_begins_as_it_should() {
        let mut spec = example(Test::FrameStream);
        spec.frames.token = 0x0102_0304;
        spec.frames.peer = Some(MacAddr([2, 0, 0, 0, 0, 7]));
        let bytes = prefix(&spec, 9);
        let frame = EthernetPacket::new(&bytes).unwrap();
        assert_eq!(
            (frame.get_ethertype().0, frame.get_destination().to_string()),
            (0x88b5, "02:00:00:00:00:07".into())
        );
        assert_eq!(frame.payload(), [1, 2, 3, 4, 0, 0, 0, 9]);
    }
}
