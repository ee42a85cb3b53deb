//! Counters that one data thread writes and a sampler reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{cpus, sys};
use crate::measured::TcpInfo;

/// Live counters of one stream. Aligned to two cache lines, since x86 fetches lines in adjacent pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct StreamCounters {
    opened_ns: AtomicU64,
    bytes: AtomicU64,
    units: AtomicU64,
    moves: AtomicU64,
}

impl StreamCounters {
    /// Changes with every unit that is booked, warm-up or not.
    pub fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }
}

/// A sum over the streams of a job at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// When the first stream's window opened (`CLOCK_MONOTONIC`); 0 while none has.
    pub opened_ns: u64,
    /// When the sample was taken.
    pub at_ns: u64,
    /// Payload bytes in the window so far.
    pub bytes: u64,
    /// Datagrams or transactions in the window so far.
    pub units: u64,
}

/// One stream at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSample {
    /// Payload bytes in the window so far.
    pub bytes: u64,
    /// Datagrams or transactions in the window so far.
    pub units: u64,
    /// Its connection, with the retransmits since it was made.
    pub tcp: Option<TcpInfo>,
}

/// The counters of each stream.
pub fn each(counters: &[StreamCounters]) -> impl Iterator<Item = (u64, u64)> {
    counters.iter().map(|stream| (stream.bytes.load(Relaxed), stream.units.load(Relaxed)))
}

/// Sums the counters of all streams.
pub fn sample(counters: &[StreamCounters], at_ns: u64) -> Sample {
    let mut sum = Sample { at_ns, ..Sample::default() };
    for stream in counters {
        let opened = stream.opened_ns.load(Relaxed);
        if opened != 0 && (sum.opened_ns == 0 || opened < sum.opened_ns) {
            sum.opened_ns = opened;
        }
        sum.bytes += stream.bytes.load(Relaxed);
        sum.units += stream.units.load(Relaxed);
    }
    sum
}

/// A data thread's own books: plain integers, published to its [`StreamCounters`] by relaxed stores.
///
/// What comes before [`Tally::open`] is warm-up and counted apart.
pub struct Tally<'a> {
    shared: &'a StreamCounters,
    /// When the window opened; 0 before.
    pub opened_ns: u64,
    /// Payload bytes in the window.
    pub bytes: u64,
    /// Datagrams or transactions in the window.
    pub units: u64,
    /// Payload bytes of the warm-up.
    pub omitted_bytes: u64,
    /// Datagrams or transactions of the warm-up.
    pub omitted_units: u64,
    /// System calls.
    pub calls: u64,
    /// User and system time of the thread when the window opened, nanoseconds.
    pub usage_at_open: (u64, u64),
    /// Time it had waited for a CPU by then.
    pub waited_at_open: Option<u64>,
}

impl<'a> Tally<'a> {
    /// Empty books over these counters.
    pub fn new(shared: &'a StreamCounters) -> Self {
        Self {
            shared,
            opened_ns: 0,
            bytes: 0,
            units: 0,
            omitted_bytes: 0,
            omitted_units: 0,
            calls: 0,
            usage_at_open: (0, 0),
            waited_at_open: None,
        }
    }

    /// Opens the window.
    pub fn open(&mut self, now_ns: u64) {
        self.opened_ns = now_ns;
        self.usage_at_open = sys::thread_usage();
        self.waited_at_open = cpus::thread_waited();
        self.shared.opened_ns.store(now_ns, Relaxed);
    }

    /// Is the window open?
    #[inline]
    pub fn is_open(&self) -> bool {
        self.opened_ns != 0
    }

    /// Books and publishes.
    #[inline]
    pub fn add(&mut self, bytes: u64, units: u64) {
        if self.is_open() {
            self.bytes += bytes;
            self.units += units;
            self.shared.bytes.store(self.bytes, Relaxed);
            self.shared.units.store(self.units, Relaxed);
        } else {
            self.omitted_bytes += bytes;
            self.omitted_units += units;
        }
        self.shared.moves.store(self.units + self.omitted_units, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_own_lines() {
        assert_eq!(align_of::<StreamCounters>(), 128);
        assert_eq!(size_of::<StreamCounters>(), 128);
    }

    #[test]
    fn warm_up_is_counted_apart() {
        let shared = [StreamCounters::default(), StreamCounters::default()];
        let mut tally = Tally::new(&shared[1]);
        tally.add(10, 1);
        tally.open(77);
        tally.add(5, 1);
        assert_eq!((tally.omitted_bytes, tally.bytes), (10, 5));
        assert_eq!(sample(&shared, 100), Sample { opened_ns: 77, at_ns: 100, bytes: 5, units: 1 });
    }
}
