//! What keeps a sender at its rate, and an account of how well it did.

use std::num::NonZeroU64;

use hdrhistogram::Histogram;

use super::pace::Pace;
use crate::{
    measured::{Paced, Pacing},
    traffic::{
        clock::{now_ns, sleep_until},
        cpus::Snapshot,
        job::Lane,
    },
};

/// What a late sender makes up for: nanoseconds, and datagrams at least. With fq fewer datagrams than its limit of a flow, 100
/// (`flow_limit` of tc-fq(8)), beyond which it drops.
const TIMER: (u64, u64) = (250_000, 2);
const SPIN: (u64, u64) = (20_000, 1);
const FQ: (u64, u64) = (1_000_000, 1);
const FQ_MOST: u64 = 64;
/// A longer gap counts as this, nanoseconds.
const LONGEST: u64 = 100_000_000_000;
/// Sleeps of the probe, and their length.
const PROBES: usize = 20;
const PROBE_NS: u64 = 50_000;

/// How a stream is paced, decided before its window.
pub struct Choice {
    bits: u64,
    bits_per_second: u64,
    by: Pacing,
    why: Option<String>,
    bound: Option<(u64, u64)>,
}

impl Choice {
    /// For this job, if it has a rate. May take some milliseconds.
    pub fn make(lane: &Lane<'_>) -> Option<Self> {
        let spec = lane.spec;
        let (bits, bits_per_second) = (spec.length.0 * 8, spec.rate?.bits_per_second());
        // Nobody else's sleep; as a default the kernel may add 50 µs to each.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let (by, why) = match spec.tuning.pacer {
            Some(Pacing::Auto) => {
                let gap = Pace::new(bits, bits_per_second, 0).gap_ns();
                let cpus = Snapshot::take().count();
                let (by, why) = climb(gap, lateness(), cpus, spec.streams);
                (by, Some(why))
            }
            Some(by) => (by, None),
            None => (Pacing::Timer, None),
        };
        let bound = spec.tuning.pacer.map(|_| match by {
            Pacing::Spin => SPIN,
            Pacing::Fq => {
                let within = u128::from(FQ_MOST) * u128::from(bits) * 1_000_000_000 / u128::from(bits_per_second);
                (FQ.0.min(u64::try_from(within).unwrap_or(u64::MAX)), FQ.1)
            }
            _ => TIMER,
        });
        Some(Self { bits, bits_per_second, by, why, bound })
    }

    /// The schedule of a window.
    pub fn pacer(&self, start: u64) -> Pacer {
        let pace = match self.bound {
            None => Pace::new(self.bits, self.bits_per_second, start),
            Some(bound) => Pace::bounded(self.bits, self.bits_per_second, start, bound),
        };
        Pacer { by: self.by, gaps: Gaps::new(pace.gap_ns()), pace }
    }

    /// What came of it in a window that ended then.
    pub fn account(self, pacer: Option<Pacer>, ended: u64) -> Option<Paced> {
        let Pacer { mut pace, gaps, .. } = pacer?;
        // A sender that stood still at the end has missed what was due meanwhile.
        pace.due(ended);
        let at = |quantile| gaps.histogram.as_ref().map_or(0, |all| all.value_at_quantile(quantile));
        Some(Paced {
            by: Some(self.by),
            why: self.why,
            asked_ns: pace.gap_ns(),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            max_ns: gaps.max,
            largest_burst: gaps.largest_burst(),
            burst_limit: pace.most(),
            missed: pace.missed(),
        })
    }
}

/// The ladder without its first rung, which only who knows the egress device can choose.
fn climb(gap: u64, late: u64, cpus: usize, streams: u32) -> (Pacing, String) {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let found = format!("a sleep ends {:.1} µs late (p90), a gap is {:.1} µs", micros(late), micros(gap));
    if late.saturating_mul(2) <= gap {
        return (Pacing::Timer, found);
    }
    let needed = 2 * u64::from(streams);
    if cpus as u64 >= needed {
        return (Pacing::Spin, found);
    }
    (Pacing::Timer, format!("{found}, but to spin takes {needed} CPUs and there are {cpus}"))
}

/// How late a sleep ends here, nanoseconds: the 90th percentile of some.
fn lateness() -> u64 {
    let mut late = [0; PROBES];
    for late in &mut late {
        let until = now_ns() + PROBE_NS;
        sleep_until(until);
        *late = now_ns().saturating_sub(until);
    }
    late.sort_unstable();
    late[PROBES * 9 / 10 - 1]
}

/// A schedule that is kept.
pub struct Pacer {
    by: Pacing,
    pace: Pace,
    gaps: Gaps,
}

impl Pacer {
    /// Datagrams that are due now.
    #[inline]
    pub fn due(&mut self, now: u64) -> u64 {
        self.pace.due(now)
    }

    /// Waits until the next is due, at most until then or until the job ends; what time it is.
    pub fn wait(&self, lane: &Lane<'_>, until: u64) -> u64 {
        let next = self.pace.next_ns().min(until);
        if self.by != Pacing::Spin {
            sleep_until(next);
            return now_ns();
        }
        loop {
            let now = now_ns();
            if now >= next || lane.control.ending() {
                return now;
            }
            std::hint::spin_loop();
        }
    }

    /// So many went with a call that began then.
    #[inline]
    pub fn sent(&mut self, at: u64, count: u64) {
        self.pace.sent(count);
        self.gaps.note(at, count);
    }
}

/// Gaps between the datagrams that were sent.
struct Gaps {
    asked: u64,
    last: Option<u64>,
    /// When a bucket that fills at the rate asked for would be full again.
    full: u64,
    /// Most that was taken out of it, nanoseconds of the rate.
    taken: u64,
    max: u64,
    histogram: Option<Histogram<u64>>,
}

impl Gaps {
    fn new(asked: u64) -> Self {
        // Two digits: it stays in the first-level cache.
        let histogram = Histogram::new_with_bounds(1, LONGEST, 2).ok();
        Self { asked, last: None, full: 0, taken: 0, max: 0, histogram }
    }

    fn note(&mut self, at: u64, count: u64) {
        if count == 0 {
            return;
        }
        let gap = self.last.map(|last| at.saturating_sub(last));
        self.full = self.full.max(at).saturating_add(count.saturating_mul(self.asked));
        self.taken = self.taken.max(self.full - at);
        self.max = self.max.max(gap.unwrap_or(0));
        self.last = Some(at);
        if let Some(histogram) = &mut self.histogram {
            if let Some(gap) = gap {
                histogram.saturating_record(gap);
            }
            histogram.saturating_record_n(0, count - 1);
        }
    }

    /// The smallest bucket of datagrams with which a policer at the rate asked for passes all of them.
    fn largest_burst(&self) -> u64 {
        (self.taken + self.asked / 2) / self.asked.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_bursts_are_those_of_the_calls() {
        let mut gaps = Gaps::new(1000);
        // One each gap, then a call with five, right after it two more, and a hole.
        for (at, count) in [(0, 1), (1000, 1), (2000, 1), (3000, 5), (3400, 2), (3900, 0), (9000, 1)] {
            gaps.note(at, count);
        }
        assert_eq!((gaps.largest_burst(), gaps.max), (7, 5600));
        let histogram = gaps.histogram.unwrap();
        assert_eq!(histogram.len(), 10, "one fewer than datagrams");
        assert_eq!(histogram.value_at_quantile(0.5), 0, "five of ten are 0");
    }

    /// One at a time, as fast as a slow host can: each call less late than the one before, and never a burst beyond the limit.
    #[test]
    fn a_burst_is_within_the_limit_however_slowly_it_is_handed_over() {
        for step in [1, 100, 400, 499, 501, 700, 999] {
            let mut pace = Pace::bounded(8, 8_000_000, 0, (8_000, 1));
            let mut gaps = Gaps::new(pace.gap_ns());
            let mut now = 50_000;
            for _ in 0..200 {
                if pace.due(now) > 0 {
                    pace.sent(1);
                    gaps.note(now, 1);
                }
                now += step;
            }
            assert!(gaps.largest_burst() <= pace.most() + 1, "{step}: {}", gaps.largest_burst());
        }
    }

    #[test]
    fn the_ladder_takes_the_cheapest_that_does() {
        assert_eq!(climb(200_000, 60_000, 1, 8).0, Pacing::Timer);
        assert_eq!(climb(100_000, 60_000, 2, 1).0, Pacing::Spin);
        let (by, why) = climb(2_000, 60_000, 2, 2);
        assert_eq!(by, Pacing::Timer);
        assert_eq!(why, "a sleep ends 60.0 µs late (p90), a gap is 2.0 µs, but to spin takes 4 CPUs and there are 2");
    }
}
