//! From samples of running counters to intervals.

use std::time::{Duration, Instant};

use super::counters::Sample;
use crate::measured::{Interval, Side};

/// How often a job is looked at whose window has not opened.
const UNOPENED: Duration = Duration::from_millis(10);

/// Cuts a job's running counters into intervals whose sums are its totals.
#[derive(Debug)]
pub struct Sampler {
    every: Duration,
    next_look: Instant,
    /// When the window opened (`CLOCK_MONOTONIC`, nanoseconds); 0 before.
    opened_ns: u64,
    /// Bytes and units told so far.
    told: (u64, u64),
    intervals: Vec<Interval>,
}

impl Sampler {
    /// For a job that has just been started, with intervals of this length.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            next_look: Instant::now() + UNOPENED.min(every),
            opened_ns: 0,
            told: (0, 0),
            intervals: Vec::new(),
        }
    }

    /// When to look next.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Takes a sample; the interval that is over with it, if one is.
    pub fn look(&mut self, sample: Sample, now: Instant) -> Option<Interval> {
        if sample.opened_ns == 0 {
            self.next_look = now + UNOPENED.min(self.every);
            return None;
        }
        let age = Duration::from_nanos(sample.at_ns.saturating_sub(sample.opened_ns));
        let opened_now = self.opened_ns == 0;
        self.opened_ns = sample.opened_ns;
        // The grid of intervals is anchored at the opening, so that late looks do not add up.
        let next = self.every * (age.as_nanos() / self.every.as_nanos() + 1).min(u128::from(u32::MAX)) as u32;
        self.next_look = now + next.saturating_sub(age);
        if opened_now && age < self.every {
            return None;
        }
        let start_ns = self.intervals.last().map_or(0, |last| last.end_ns);
        let interval = Interval {
            start_ns,
            end_ns: (age.as_nanos() as u64).max(start_ns),
            bytes: sample.bytes.saturating_sub(self.told.0),
            units: sample.units.saturating_sub(self.told.1),
        };
        self.told = (sample.bytes.max(self.told.0), sample.units.max(self.told.1));
        self.intervals.push(interval);
        Some(interval)
    }

    /// The intervals of a side.
    pub fn close_for(self, side: &Side) -> Vec<Interval> {
        let longest = side.streams.iter().map(|s| s.elapsed_ns).max().unwrap_or(0);
        self.close(longest, side.bytes(), side.units())
    }

    /// The intervals of the whole window. A rest shorter than half an interval joins the one before; so does what was
    /// looked at after the window had closed.
    pub fn close(mut self, elapsed_ns: u64, bytes: u64, units: u64) -> Vec<Interval> {
        let mut rest = Interval {
            start_ns: self.intervals.last().map_or(0, |last| last.end_ns),
            end_ns: elapsed_ns,
            bytes: bytes.saturating_sub(self.told.0),
            units: units.saturating_sub(self.told.1),
        };
        let shortest = self.every.as_nanos() as u64 / 2;
        while let Some(last) = self.intervals.pop_if(|_| rest.start_ns + shortest > elapsed_ns) {
            rest.start_ns = last.start_ns;
            rest.bytes += last.bytes;
            rest.units += last.units;
        }
        if elapsed_ns > 0 {
            self.intervals.push(rest);
        }
        self.intervals
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_sum_to_the_totals(looks in prop::collection::vec((1u64..400_000_000, 0u64..1_000_000), 0..40), tail in 0u64..90_000_000, late in prop_oneof![Just(0u64), 0u64..900_000_000]) {
            let mut sampler = Sampler::new(Duration::from_millis(100));
            let (mut at_ns, mut bytes) = (1_000, 0);
            let now = Instant::now();
            for (step, more) in looks {
                at_ns += step;
                bytes += more;
                sampler.look(Sample { opened_ns: 1_000, at_ns, bytes, units: bytes / 7 }, now);
            }
            // The last byte may have come before the last looks.
            let elapsed = (at_ns - 1_000 + tail).saturating_sub(late);
            let intervals = sampler.close(elapsed, bytes + 11, bytes / 7 + 1);
            if elapsed > 0 {
                prop_assert_eq!(intervals.iter().map(|i| i.bytes).sum::<u64>(), bytes + 11);
                prop_assert_eq!(intervals.iter().map(|i| i.units).sum::<u64>(), bytes / 7 + 1);
                prop_assert_eq!(intervals[0].start_ns, 0);
                prop_assert_eq!(intervals.last().unwrap().end_ns, elapsed);
                prop_assert!(intervals.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
            }
        }
    }
}
