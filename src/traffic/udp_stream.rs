//! UDP_STREAM: numbered, stamped datagrams one way, many per system call.
//!
//! Each datagram begins with two little-endian words: its number, and the sender's clock. Datagrams of the warm-up have
//! numbers of their own with the highest bit set, so that the receiver's window is the sender's, to the datagram.

use std::{io::ErrorKind, os::fd::AsFd};

use socket2::Socket;

use super::{
    Error,
    clock::{now_ns, sleep_until},
    job::{Ended, Lane, SenderTotals},
    os,
    sequence::SequenceWindow,
    socket::{POLL, drops, is_pause},
    spec::DATAGRAM_HEADER,
    sys::{BATCH, Batch},
};
use crate::measured::Datagrams;

/// Set in the number of a warm-up datagram.
const WARM_UP: u64 = 1 << 63;
/// After the sender is done: silence for this long means that the rest is lost.
const QUIET_NS: u64 = 300_000_000;
/// A paced sender that is later than this forgets the datagrams it owes, instead of a burst.
const LATE_NS: u64 = 10_000_000;

/// Sends until the window's end.
pub fn send(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let mut batch = Batch::new(lane.spec.length.0 as usize);
    let start = now_ns();
    let omit = lane.spec.omit.0.as_nanos() as u64;
    if omit > 0 {
        pump(lane, &mut batch, WARM_UP, start, start + omit)?;
    }
    let opened = now_ns();
    lane.tally.open(opened);
    let ended = pump(lane, &mut batch, 0, opened, opened + lane.spec.duration.0.as_nanos() as u64)?;
    Ok(Ended { elapsed_ns: ended - opened, ..Ended::default() })
}

/// Sends numbers from `first` up, from `start` to `until`. Returns the time at which the last call returned.
fn pump(lane: &mut Lane<'_>, batch: &mut Batch, first: u64, start: u64, until: u64) -> Result<u64, Error> {
    let length = lane.spec.length.0;
    let mut pace = lane.spec.rate.map(|rate| Pace::new(length * 8, rate.bits_per_second(), start));
    let (mut number, mut now) = (first, start);
    while now < until && !lane.control.ending() {
        let due = match &mut pace {
            None => BATCH,
            Some(pace) => match pace.due(now) {
                0 => {
                    sleep_until(pace.next_ns().min(until));
                    now = now_ns();
                    continue;
                }
                due => due.min(BATCH as u64) as usize,
            },
        };
        for i in 0..due {
            let header = batch.header(i);
            header[..8].copy_from_slice(&(number + i as u64).to_le_bytes());
            header[8..].copy_from_slice(&now.to_le_bytes());
        }
        let mut sent = 0;
        while sent < due {
            lane.tally.calls += 1;
            match batch.send(lane.socket.as_fd(), sent, due) {
                Ok(count) => {
                    sent += count;
                    lane.tally.add(count as u64 * length, count as u64);
                }
                // ENOBUFS is a full qdisc: nothing was sent, the same numbers go again.
                Err(error) if is_pause(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {
                    if lane.control.ending() || now_ns() >= until {
                        break;
                    }
                }
                Err(error) => return Err(refused(lane, &error)),
            }
        }
        number += sent as u64;
        if let Some(pace) = &mut pace {
            pace.sent(sent as u64);
        }
        now = now_ns();
    }
    Ok(now)
}

fn refused(lane: &Lane<'_>, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => lane.failed(format_args!(
            "a datagram of {} bytes does not fit the path (EMSGSIZE): its MTU is smaller than declared",
            lane.spec.length
        )),
        Some(libc::ECONNREFUSED) => lane.failed("the receiver is gone (port unreachable)"),
        _ => lane.failed(format_args!("send: {error}")),
    }
}

/// When which datagram is due, from the start of the window: an absolute schedule, so that sleeping late costs nothing.
struct Pace {
    bits: u64,
    bits_per_second: u64,
    start: u64,
    sent: u64,
}

impl Pace {
    fn new(bits: u64, bits_per_second: u64, start: u64) -> Self {
        Self { bits, bits_per_second, start, sent: 0 }
    }

    fn at(&self, number: u64) -> u64 {
        let nanos = u128::from(number) * u128::from(self.bits) * 1_000_000_000 / u128::from(self.bits_per_second);
        self.start.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn next_ns(&self) -> u64 {
        self.at(self.sent)
    }

    /// How many datagrams are due and not sent.
    fn due(&mut self, now: u64) -> u64 {
        let next = self.next_ns();
        if now < next {
            return 0;
        }
        if now - next > LATE_NS {
            self.start += now - next;
            return 1;
        }
        let elapsed = u128::from(now - self.start) * u128::from(self.bits_per_second);
        let total = elapsed / (u128::from(self.bits) * 1_000_000_000) + 1;
        (total as u64).saturating_sub(self.sent).max(1)
    }

    fn sent(&mut self, count: u64) {
        self.sent += count;
    }
}

/// Receives until the sender's last datagram has come, or nothing has come for a while after the sender ended.
pub fn receive(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let mut batch = Batch::new(lane.spec.length.0 as usize);
    let mut window = SequenceWindow::default();
    let mut jitter = Jitter::default();
    let mut malformed = 0;
    let (mut last, mut heard) = (0, now_ns());
    let mut totals = None;
    loop {
        if totals.is_none() {
            totals = lane.control.finished(lane.stream);
        }
        if let Some(SenderTotals { sent, .. }) = totals
            && (window.received >= sent || now_ns().saturating_sub(heard) > QUIET_NS)
        {
            break;
        }
        if lane.control.stopped() {
            break;
        }
        lane.tally.calls += 1;
        let count = match batch.receive(lane.socket.as_fd()) {
            Ok(count) => count,
            // The sender's namespace may already be without its socket; what was sent is still to be counted.
            Err(error) if is_pause(&error) || error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        };
        let now = now_ns();
        heard = now;
        let mut newest = None;
        for i in 0..count {
            let length = batch.received_len(i);
            if length < DATAGRAM_HEADER {
                malformed += 1;
                continue;
            }
            let (number, stamp) = split(batch.header(i));
            if number & WARM_UP != 0 {
                if !lane.tally.is_open() {
                    lane.tally.add(length as u64, 1);
                }
                continue;
            }
            if !lane.tally.is_open() {
                lane.tally.open(now);
            }
            if window.observe(number) {
                lane.tally.add(length as u64, 1);
            }
            newest = Some(stamp);
        }
        if let Some(stamp) = newest {
            last = now;
            jitter.observe(now, stamp);
        }
    }
    let sent = totals.map_or(window.received, |totals| totals.sent);
    // A window is never shorter than the sender's: a few datagrams at a low rate have fewer gaps than datagrams.
    let own = last.saturating_sub(lane.tally.opened_ns);
    let elapsed_ns = if lane.tally.is_open() { own.max(totals.map_or(0, |totals| totals.elapsed_ns)) } else { 0 };
    let datagrams = Datagrams {
        sent,
        received: window.received,
        lost: window.lost(sent),
        reordered: window.reordered,
        duplicates: window.duplicates,
        beyond_window: window.beyond_window,
        socket_drops: drops(lane.socket),
        jitter_ns: jitter.nanos(),
        malformed,
    };
    Ok(Ended { elapsed_ns, datagrams: Some(datagrams), ..Ended::default() })
}

#[inline]
fn split(header: &[u8; DATAGRAM_HEADER]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    (word(0), word(8))
}

/// Throws away what arrived before the socket was connected: it may be from anybody.
pub fn discard_queued(socket: &Socket) -> Result<(), Error> {
    socket.set_nonblocking(true).map_err(os("set O_NONBLOCK of", "a datagram socket"))?;
    while socket.recv(&mut [std::mem::MaybeUninit::uninit(); 1]).is_ok() {}
    socket.set_nonblocking(false).map_err(os("clear O_NONBLOCK of", "a datagram socket"))?;
    socket.set_read_timeout(Some(POLL)).map_err(os("set SO_RCVTIMEO of", "a datagram socket"))
}

/// RFC 3550 6.4.1 interarrival jitter, once per receive call: datagrams of one batch have one arrival time.
#[derive(Debug, Default)]
struct Jitter {
    /// Sixteen times the estimate, as in the RFC's appendix A.8: integers without rounding loss.
    scaled: u64,
    transit: Option<i64>,
}

impl Jitter {
    #[inline]
    fn observe(&mut self, arrived: u64, stamped: u64) {
        let transit = arrived.wrapping_sub(stamped) as i64;
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).unsigned_abs();
            self.scaled = self.scaled.saturating_add(difference).saturating_sub((self.scaled + 8) >> 4);
        }
    }

    fn nanos(&self) -> u64 {
        self.scaled >> 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimator of RFC 3550 A.8, in floating point.
    #[test]
    fn jitter_is_rfc_3550s() {
        let transits = [5_000u64, 9_000, 2_000, 2_000, 40_000, 7_000, 7_500];
        let (mut jitter, mut model) = (Jitter::default(), 0.0f64);
        for (i, transit) in transits.iter().enumerate() {
            jitter.observe(1_000_000 * i as u64 + transit, 1_000_000 * i as u64);
            if i > 0 {
                let difference = transit.abs_diff(transits[i - 1]) as f64;
                model += (difference - model) / 16.0;
            }
        }
        assert!((jitter.nanos() as f64 - model).abs() <= 8.0, "{} {model}", jitter.nanos());
        let mut steady = Jitter::default();
        (0..100).for_each(|i| steady.observe(i * 1000 + 77, i * 1000));
        assert_eq!(steady.nanos(), 0);
    }

    #[test]
    fn a_pace_is_an_absolute_schedule() {
        // 1000-byte datagrams at 8 Mbit/s: one per millisecond, the first at once.
        let mut pace = Pace::new(8000, 8_000_000, 5);
        assert_eq!(pace.due(5), 1);
        pace.sent(1);
        assert_eq!((pace.due(6), pace.next_ns()), (0, 1_000_005));
        assert_eq!(pace.due(3_000_005), 3);
        pace.sent(3);
        assert_eq!(pace.due(3_999_000), 0);
        // A second late: no burst of a thousand, the schedule moves.
        assert_eq!(pace.due(1_000_000_000), 1);
        pace.sent(1);
        assert_eq!(pace.next_ns(), 1_001_000_000);
    }
}
