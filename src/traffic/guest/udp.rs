//! iperf3's datagrams: the sender's clock and a number, big-endian, in front of each.

use std::{io::ErrorKind, os::fd::AsFd};

use super::{Ended, Lane, Numbers};
use crate::traffic::{
    Error,
    clock::{now_ns, sleep_until},
    socket::is_pause,
    sys::{self, Batch},
    udp_stream::{Jitter, Pace},
};

/// `UDP_MAX_SEGMENTS` of kernels before 6.9.
const SEGMENTS: usize = 64;
/// Payload of a message.
const MESSAGE: usize = 65_487;
/// Messages of a call.
const MESSAGES: usize = 64;
/// Payload of a call when messages are bundles.
const CALL: usize = 256 << 10;

impl Numbers {
    /// Stamps a datagram that is sent now.
    fn write(self, datagram: &mut [u8], number: u64, now: u64) {
        datagram[..4].copy_from_slice(&((now / 1_000_000_000) as u32).to_be_bytes());
        datagram[4..8].copy_from_slice(&((now % 1_000_000_000 / 1000) as u32).to_be_bytes());
        match self {
            // iperf3's own sender wraps likewise.
            Self::Short => datagram[8..12].copy_from_slice(&(number as u32).to_be_bytes()),
            Self::Long => datagram[8..16].copy_from_slice(&number.to_be_bytes()),
        }
    }

    /// Number and time of a datagram; nothing when it is too short for them.
    #[inline]
    fn read(self, datagram: &[u8]) -> Option<(u64, u64)> {
        let word = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
        let stamp = u64::from(word(0)?) * 1_000_000_000 + u64::from(word(4)?) * 1000;
        let number = match self {
            Self::Short => u64::from(word(8)?),
            Self::Long => u64::from_be_bytes(datagram.get(8..16)?.try_into().ok()?),
        };
        Some((number, stamp))
    }
}

/// Messages of datagrams, as they are filled and sent.
struct Bundles {
    batch: Batch,
    segments: usize,
}

impl Bundles {
    fn new(length: usize, segments: usize) -> Self {
        let messages = if segments > 1 { (CALL / (segments * length)).clamp(1, MESSAGES) } else { MESSAGES };
        let mut batch = Batch::new(messages, segments * length);
        for i in 0..messages {
            // Not zeros: a page of zeros may be shared or compressed on the way.
            batch.slot(i).iter_mut().enumerate().for_each(|(at, byte)| *byte = (at.wrapping_mul(167) >> 2) as u8);
        }
        Self { batch, segments }
    }

    fn room(&self) -> usize {
        self.batch.count() * self.segments
    }

    fn fill(&mut self, numbers: Numbers, first: u64, due: usize, now: u64, length: usize) -> usize {
        let messages = due.div_ceil(self.segments);
        let mut number = first;
        for i in 0..messages {
            let here = self.segments.min(due - i * self.segments);
            for datagram in self.batch.slot(i).chunks_exact_mut(length).take(here) {
                numbers.write(datagram, number, now);
                number += 1;
            }
            self.batch.set_len(i, here * length);
        }
        messages
    }
}

/// Sends until its time or amount is over, or it is told to end.
pub fn send(lane: &mut Lane<'_>, numbers: Numbers) -> Result<Ended, Error> {
    let length = lane.spec.length;
    let mut fallback = None;
    let bundled = (MESSAGE / length).clamp(1, SEGMENTS);
    let asked = sys::set_option(lane.socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &(length as i32).to_ne_bytes());
    let mut bundles = Bundles::new(length, if asked.is_ok() { bundled } else { 1 });
    let mut now = now_ns();
    let mut pace = lane.spec.rate.map(|rate| Pace::new(length as u64 * 8, rate.bits_per_second(), now));
    let mut error = None;
    lane.turn(now);
    let mut until = lane.until();
    loop {
        let left = lane.left().div_ceil(length as u64);
        if lane.control.ending() || now >= until || left == 0 {
            break;
        }
        let due = match &mut pace {
            None => bundles.room() as u64,
            Some(pace) => pace.due(now),
        };
        let due = due.min(left).min(bundles.room() as u64) as usize;
        if due == 0 {
            let next = pace.as_ref().map_or(now, Pace::next_ns);
            let wake = if lane.now.opened_ns == 0 { lane.open_at } else { until };
            sleep_until(next.min(wake).min(now + super::LOOK.as_nanos() as u64));
        } else {
            let messages = bundles.fill(numbers, lane.now.packets + 1, due, now, length);
            lane.calls += 1;
            match bundles.batch.send(lane.socket.as_fd(), 0, messages) {
                Ok(count) => {
                    let sent = (count * bundles.segments).min(due) as u64;
                    lane.now.packets += sent;
                    lane.add(sent * length as u64);
                    lane.publish_packets();
                    if let Some(pace) = &mut pace {
                        pace.sent(sent);
                    }
                }
                // ENOBUFS is a full qdisc: nothing was sent, the same numbers go again.
                Err(error) if is_pause(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(refused) if bundles.segments > 1 && is_bundle_error(&refused) => {
                    let off = 0i32.to_ne_bytes();
                    // Zero is always taken: it is what a socket begins with.
                    let _ = sys::set_option(lane.socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &off);
                    fallback =
                        Some(format!("UDP_SEGMENT does not work here ({refused}): sent one by one, by sendmmsg"));
                    bundles = Bundles::new(length, 1);
                }
                Err(_) if lane.control.ending() => break,
                Err(failed) => {
                    error = Some(format!("send: {failed}"));
                    break;
                }
            }
        }
        now = now_ns();
        if lane.now.opened_ns == 0 {
            lane.turn(now);
            until = lane.until();
        }
    }
    Ok(Ended { at_ns: now, fallback, error, ..Ended::default() })
}

/// What kernels say of a bundle that the path or the device does not take.
fn is_bundle_error(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

/// Receives until nothing more comes after the word that the test is over.
pub fn receive(lane: &mut Lane<'_>, numbers: Numbers) -> Result<Ended, Error> {
    let on = 1i32.to_ne_bytes();
    let bundled = sys::set_option(lane.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &on).is_ok();
    // A message must hold the longest datagram, whatever was agreed on.
    let mut batch = Batch::new(if bundled { MESSAGES } else { 16 }, 64 << 10);
    let (mut jitter, mut last) = (Jitter::default(), now_ns());
    let mut error = None;
    lane.turn(last);
    loop {
        lane.calls += 1;
        match batch.receive(lane.socket.as_fd(), MESSAGES) {
            Ok(count) => {
                last = now_ns();
                lane.turn(last);
                for i in 0..count {
                    let (bytes, segment) = batch.received(i);
                    for datagram in bytes.chunks(segment) {
                        let Some((number, stamp)) = numbers.read(datagram) else { continue };
                        lane.add(datagram.len() as u64);
                        count_one(lane, number);
                        jitter.observe(last, stamp);
                    }
                }
                lane.now.jitter_ns = jitter.nanos();
                lane.publish_packets();
                if lane.control.leave(last, last) {
                    break;
                }
            }
            Err(error) if is_pause(&error) || error.kind() == ErrorKind::ConnectionRefused => {
                let now = now_ns();
                lane.turn(now);
                if lane.control.stopped() || lane.control.leave(last, now) {
                    break;
                }
            }
            Err(failed) => {
                error = Some(format!("receive: {failed}"));
                break;
            }
        }
    }
    lane.turn(now_ns());
    Ok(Ended { at_ns: last.max(lane.now.opened_ns), error, ..Ended::default() })
}

/// iperf3's rule: a gap is a loss, and what comes late takes one back.
#[inline]
fn count_one(lane: &mut Lane<'_>, number: u64) {
    let number = number.min(i64::MAX as u64);
    if number > lane.now.packets {
        lane.now.errors = lane.now.errors.saturating_add((number - 1 - lane.now.packets) as i64);
        lane.now.packets = number;
    } else {
        lane.now.out_of_order += 1;
        lane.now.errors -= i64::from(lane.now.errors > 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stamps_are_read_back(number in 1..u64::from(u32::MAX), now in 0..u64::from(u32::MAX) * 1_000_000_000) {
            for numbers in [Numbers::Short, Numbers::Long] {
                let mut datagram = [0; 20];
                numbers.write(&mut datagram, number, now);
                prop_assert_eq!(numbers.read(&datagram), Some((number, now / 1000 * 1000)));
            }
        }

        #[test]
        fn short_datagrams_are_none(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            prop_assert_eq!(Numbers::Short.read(&bytes).is_some(), bytes.len() >= 12);
            prop_assert_eq!(Numbers::Long.read(&bytes).is_some(), bytes.len() >= 16);
        }
    }

    #[test]
    fn the_captured_header_is_written() {
        let mut datagram = [0; 12];
        Numbers::Short.write(&mut datagram, 1, 0xac4 * 1_000_000_000 + 0xa_b7da * 1000);
        assert_eq!(datagram, [0, 0, 0x0a, 0xc4, 0, 0x0a, 0xb7, 0xda, 0, 0, 0, 1]);
    }
}
