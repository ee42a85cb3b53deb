//! UDP_STREAM: numbered, stamped datagrams one way, many per message and many messages per system call.
//!
//! Each datagram begins with two little-endian words: its number, and the sender's clock. Datagrams of the warm-up have
//! numbers of their own with the highest bit set, so that the receiver's window is the sender's, to the datagram.

mod jitter;
mod pace;
mod pacer;
mod receive;

use std::{io, os::fd::AsFd};

use socket2::Socket;

use self::pacer::{Choice, Pacer};
pub use self::{
    jitter::Jitter,
    pace::Pace,
    receive::{discard_queued, receive},
};
use super::{
    Error,
    clock::now_ns,
    frames,
    job::{Ended, Lane},
    payload::{seal, sealing_cost},
    socket::is_pause,
    spec::DATAGRAM_HEADER,
    sys::{self, Batch},
};
use crate::{
    measured::{SendMode, StreamIo, Test, Verified},
    units::ByteSize,
};

/// Set in the number of a warm-up datagram.
pub const WARM_UP: u64 = 1 << 63;
/// The number of a datagram that only asks whether the path takes it.
const PROBE: u64 = u64::MAX;

/// `UDP_MAX_SEGMENTS` of kernels before 6.9; later ones take 128.
const SEGMENTS: usize = 64;
/// Payload of a message: what an IPv6 packet without jumbogram option holds.
const MESSAGE: usize = 65_487;
/// Messages of a call when each is one datagram.
const MESSAGES: usize = 64;
/// Payload of a call when messages are bundles: stays in the second-level cache (docs/performance.md).
const CALL: usize = 256 << 10;

/// Asks the kernel to cut messages into datagrams of `length` bytes, and tries it on the path: the answer depends on the
/// egress device (kernels before 6.11 say EIO where that cannot sum), on IPsec (EIO where it transforms the packets), the MTU and the socket. An error is the reason why not.
pub fn probe_segmentation(socket: &Socket, length: usize) -> Result<(), String> {
    let asked = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &(length as i32).to_ne_bytes());
    asked.map_err(|error| format!("this kernel has no UDP_SEGMENT ({error})"))?;
    let mut bundle = vec![0; 2 * length];
    bundle[..8].copy_from_slice(&PROBE.to_le_bytes());
    bundle[length..length + 8].copy_from_slice(&PROBE.to_le_bytes());
    match socket.send(&bundle) {
        Ok(_) => Ok(()),
        Err(error) => {
            stop_segmentation(socket);
            Err(no_segmentation(&error))
        }
    }
}

fn stop_segmentation(socket: &Socket) {
    // Zero is always taken: it is what a socket begins with.
    let _ = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &0i32.to_ne_bytes());
}

fn no_segmentation(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EIO) => "EIO: the egress device does not compute checksums, or IPsec transforms the packets",
        Some(libc::EINVAL) => "EINVAL: a datagram with its headers is longer than the MTU, or checksums are off",
        Some(libc::EMSGSIZE) => "EMSGSIZE: a datagram with its headers is longer than the MTU",
        _ => return format!("UDP_SEGMENT does not work on this path ({error})"),
    };
    format!("UDP_SEGMENT does not work on this path ({why})")
}

/// How a sender bundles.
struct Bundles {
    batch: Batch,
    /// Datagrams of a message.
    segments: usize,
    /// Seed and stream of datagrams that can be checked.
    seal: Option<(u64, u32)>,
    /// Bytes in front of a number: what a frame begins with.
    offset: usize,
}

impl Bundles {
    fn new(mode: SendMode, length: usize, seal: Option<(u64, u32)>, prefix: &[u8]) -> Self {
        let segments = if mode == SendMode::Gso { (MESSAGE / length).clamp(1, SEGMENTS) } else { 1 };
        let messages = match mode {
            SendMode::Gso => (CALL / (segments * length)).clamp(1, MESSAGES),
            SendMode::Mmsg => MESSAGES,
            _ => 1,
        };
        let mut batch = Batch::new(messages, segments * length);
        for i in 0..messages {
            // Not zeros: a page of zeros may be shared or compressed on the way.
            batch.slot(i).iter_mut().enumerate().for_each(|(at, byte)| *byte = (at.wrapping_mul(167) >> 2) as u8);
            batch.slot(i)[..prefix.len()].copy_from_slice(prefix);
        }
        Self { batch, segments, seal, offset: prefix.len() }
    }

    /// Datagrams of a call.
    fn room(&self) -> usize {
        self.batch.count() * self.segments
    }

    /// Numbers and stamps the next `due` datagrams; how many messages they fill.
    #[inline]
    fn fill(&mut self, first: u64, due: usize, stamp: u64, length: usize) -> usize {
        let messages = due.div_ceil(self.segments);
        let at = self.offset;
        let mut number = first;
        for i in 0..messages {
            let here = self.segments.min(due - i * self.segments);
            for datagram in self.batch.slot(i).chunks_exact_mut(length).take(here) {
                datagram[at..at + 8].copy_from_slice(&number.to_le_bytes());
                datagram[at + 8..at + 16].copy_from_slice(&stamp.to_le_bytes());
                if let Some((seed, stream)) = self.seal {
                    seal(seed, stream, number, DATAGRAM_HEADER, datagram);
                }
                number += 1;
            }
            self.batch.set_len(i, here * length);
        }
        messages
    }
}

/// Sends until the window's end.
pub fn send(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let length = lane.spec.length.0 as usize;
    let mut io = StreamIo { send: Some(lane.spec.send), ..StreamIo::default() };
    if lane.spec.send == SendMode::Gso {
        let refused = match lane.spec.dont_fragment {
            true => probe_segmentation(lane.socket, length).err(),
            false => Some(format!("datagrams of {} are longer than the path's packets", ByteSize(length as u64))),
        };
        if let Some(reason) = refused {
            fall_back(&mut io, reason);
        }
    }
    let prefix = if lane.spec.test == Test::FrameStream { frames::prefix(lane.spec, lane.stream) } else { Vec::new() };
    let sealing = lane.spec.verify.map(|seed| (seed, lane.stream));
    let sealed = lane.spec.verify.map(|seed| sealing_cost(seed, DATAGRAM_HEADER, length));
    let mut bundles = Bundles::new(io.send.unwrap_or(SendMode::Mmsg), length, sealing, &prefix);
    let choice = Choice::make(lane);
    let start = now_ns();
    let omit = lane.spec.omit.0.as_nanos() as u64;
    if omit > 0 {
        let mut pacer = choice.as_ref().map(|choice| choice.pacer(start));
        pump(lane, &mut bundles, &mut io, &mut pacer, (WARM_UP, u64::MAX), (start, start + omit))?;
    }
    let opened = now_ns();
    lane.tally.open(opened);
    let until = opened + lane.spec.duration.0.as_nanos() as u64;
    let mut pacer = choice.as_ref().map(|choice| choice.pacer(opened));
    let ended = pump(lane, &mut bundles, &mut io, &mut pacer, (0, lane.most()), (opened, until))?;
    io.paced = choice.and_then(|choice| choice.account(pacer, ended));
    io.segments = (bundles.segments > 1).then_some(bundles.segments as u32);
    let verified = sealed.map(|ns_per_byte| Verified {
        blocks: lane.tally.units + lane.tally.omitted_units,
        bytes: lane.tally.bytes + lane.tally.omitted_bytes,
        ns_per_byte,
        ..Verified::default()
    });
    Ok(Ended { elapsed_ns: ended - opened, io: Some(io), verified, ..Ended::default() })
}

fn fall_back(io: &mut StreamIo, reason: String) {
    io.send = Some(SendMode::Mmsg);
    io.fallback = Some(format!("{reason}: sent by sendmmsg, one datagram per message"));
}

/// Sends numbers from `first` up, `most` of them, from `start` to `until`. Returns the time at which the last call returned.
fn pump(
    lane: &mut Lane<'_>,
    bundles: &mut Bundles,
    io: &mut StreamIo,
    pacer: &mut Option<Pacer>,
    (first, most): (u64, u64),
    (start, until): (u64, u64),
) -> Result<u64, Error> {
    let length = lane.spec.length.0;
    let (mut number, mut now) = (first, start);
    while now < until && number - first < most && !lane.control.ending() {
        let due = match pacer {
            None => bundles.room(),
            Some(pacer) => match pacer.due(now) {
                0 => {
                    now = pacer.wait(lane, until);
                    continue;
                }
                due => due.min(bundles.room() as u64) as usize,
            },
        };
        let due = due.min(usize::try_from(most - (number - first)).unwrap_or(usize::MAX));
        let messages = bundles.fill(number, due, now, length as usize);
        let (mut done, mut sent) = (0, 0);
        while done < messages {
            lane.tally.calls += 1;
            match transmit(lane.socket, io.send, bundles, done, messages) {
                Ok(count) => {
                    done += count;
                    let through = (done * bundles.segments).min(due) as u64;
                    lane.tally.add((through - sent) * length, through - sent);
                    sent = through;
                }
                // ENOBUFS is a full qdisc: nothing was sent, the same numbers go again.
                Err(error) if is_pause(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {
                    if lane.control.ending() || now_ns() >= until {
                        break;
                    }
                }
                // The route moved to a device that cannot: go on with what the next turn fills.
                Err(error) if io.send == Some(SendMode::Gso) && error.raw_os_error() == Some(libc::EIO) => {
                    stop_segmentation(lane.socket);
                    fall_back(io, no_segmentation(&error));
                    *bundles = Bundles::new(SendMode::Mmsg, length as usize, bundles.seal, &[]);
                    break;
                }
                Err(error) => return Err(refused(lane, &error)),
            }
        }
        number += sent;
        if let Some(pacer) = pacer {
            pacer.sent(now, sent);
        }
        now = now_ns();
    }
    Ok(now)
}

#[inline]
fn transmit(
    socket: &Socket,
    mode: Option<SendMode>,
    bundles: &mut Bundles,
    from: usize,
    to: usize,
) -> io::Result<usize> {
    match mode {
        Some(SendMode::Write) => socket.send(bundles.batch.slot(from)).map(|_| 1),
        _ => bundles.batch.send(socket.as_fd(), from, to),
    }
}

fn refused(lane: &Lane<'_>, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) if lane.spec.test == Test::FrameStream => frames::too_long(lane),
        Some(libc::EMSGSIZE) => lane.failed(format_args!(
            "a datagram of {} bytes does not fit the path (EMSGSIZE): its MTU is smaller than declared",
            lane.spec.length
        )),
        Some(libc::ECONNREFUSED) => lane.failed("the receiver is gone (port unreachable)"),
        _ => lane.failed(format_args!("send: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn bundles_number_every_datagram() {
        let mut bundles = Bundles::new(SendMode::Gso, 1460, None, &[]);
        assert_eq!((bundles.segments, bundles.batch.count()), (44, 4));
        assert_eq!(bundles.fill(1000, 50, 7, 1460), 2);
        let number = |slot: &[u8], i: usize| u64::from_le_bytes(slot[i * 1460..i * 1460 + 8].try_into().unwrap());
        assert_eq!((number(bundles.batch.slot(0), 0), number(bundles.batch.slot(0), 43)), (1000, 1043));
        assert_eq!((number(bundles.batch.slot(1), 0), number(bundles.batch.slot(1), 5)), (1044, 1049));
        assert_eq!(
            (
                Bundles::new(SendMode::Mmsg, 65507, None, &[]).room(),
                Bundles::new(SendMode::Gso, 16, None, &[]).segments
            ),
            (64, 64)
        );
        assert_eq!(Bundles::new(SendMode::Gso, 65507, None, &[]).segments, 1);
        assert_eq!(Bundles::new(SendMode::Write, 1460, None, &[]).room(), 1);
    }

    #[test]
    fn a_path_that_takes_no_bundles_is_found_out() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        let a = Socket::from(a);
        assert_eq!(probe_segmentation(&a, 1460), Ok(()));
        let reason = probe_segmentation(&a, 40_000).unwrap_err();
        assert!(
            reason.starts_with("UDP_SEGMENT does not work on this path (EINVAL") || reason.contains("EMSGSIZE"),
            "{reason}"
        );
        // A socket without checksums is refused like a device without them.
        sys::set_option(a.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, &1i32.to_ne_bytes()).unwrap();
        let reason = probe_segmentation(&a, 1460).unwrap_err();
        assert!(reason.contains("does not work on this path"), "{reason}");
        // And the socket is as before: a long datagram goes whole.
        b.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        a.send(&[1; 5000]).unwrap();
        let mut buffer = vec![0; 9000];
        while b.recv(&mut buffer).unwrap() != 5000 {}
        let broken = no_segmentation(&io::Error::from_raw_os_error(libc::EIO));
        assert!(broken.contains("EIO: the egress device does not compute checksums, or IPsec"), "{broken}");
    }
}
