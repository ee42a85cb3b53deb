//! Cuts what a job's counters and connections say into intervals whose sums are the totals.

use std::time::{Duration, Instant};

use super::{
    counters::{Sample, StreamSample},
    job::Running,
};
use crate::measured::{Interval, Side, StreamInterval, TcpInterval};

/// How often a job is looked at whose window has not opened.
const UNOPENED: Duration = Duration::from_millis(10);

/// Cuts the running counters of one direction of a job into intervals whose sums are its totals.
#[derive(Debug)]
struct Sampler {
    every: Duration,
    next_look: Instant,
    /// When the window opened (`CLOCK_MONOTONIC`, nanoseconds); 0 before.
    opened_ns: u64,
    /// Bytes and units told so far.
    told: (u64, u64),
    /// Each stream as it was told last.
    streams: Vec<StreamSample>,
    /// Segments sent again that were told so far.
    retransmits: u32,
    intervals: Vec<Interval>,
}

impl Sampler {
    /// For intervals of this length.
    fn new(every: Duration) -> Self {
        Self {
            every,
            next_look: Instant::now() + UNOPENED.min(every),
            opened_ns: 0,
            told: (0, 0),
            streams: Vec::new(),
            retransmits: 0,
            intervals: Vec::new(),
        }
    }

    /// When to look next.
    fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Looks: what has happened since the last interval, in all and by stream, when one is over.
    fn look(
        &mut self,
        sample: Sample,
        streams: &mut dyn FnMut() -> Vec<StreamSample>,
        now: Instant,
    ) -> Option<(Interval, Vec<StreamInterval>)> {
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
        if opened_now {
            // Not earlier than the window's own count, so that what is told never passes the total.
            self.streams = streams().into_iter().map(|stream| StreamSample { bytes: 0, units: 0, ..stream }).collect();
            if age < self.every {
                return None;
            }
        }
        let streams = self.each(streams());
        let start_ns = self.intervals.last().map_or(0, |last| last.end_ns);
        let tcp = TcpInterval::of(self.streams.iter().filter_map(|stream| stream.tcp.as_ref()));
        let again = streams.iter().filter_map(|stream| stream.tcp?.retransmits).reduce(u32::saturating_add);
        self.retransmits = self.retransmits.saturating_add(again.unwrap_or(0));
        let has_tcp = self.streams.iter().any(|stream| stream.tcp.is_some());
        let interval = Interval {
            start_ns,
            end_ns: (age.as_nanos() as u64).max(start_ns),
            bytes: sample.bytes.saturating_sub(self.told.0),
            units: sample.units.saturating_sub(self.told.1),
            tcp: has_tcp.then_some(TcpInterval { retransmits: again, ..tcp }),
        };
        self.told = (sample.bytes.max(self.told.0), sample.units.max(self.told.1));
        self.intervals.push(interval);
        Some((interval, streams))
    }

    /// What each stream did since it was told last.
    fn each(&mut self, now: Vec<StreamSample>) -> Vec<StreamInterval> {
        let one = |(i, (now, before)): (usize, (&StreamSample, &StreamSample))| {
            let again = |sample: &StreamSample| sample.tcp.as_ref().and_then(|tcp| tcp.retransmits);
            let retransmits = again(now).zip(again(before)).map(|(now, before)| now.saturating_sub(before));
            StreamInterval {
                stream: i as u32,
                bytes: now.bytes.saturating_sub(before.bytes),
                units: now.units.saturating_sub(before.units),
                tcp: now.tcp.as_ref().map(|tcp| TcpInterval { retransmits, ..TcpInterval::of([tcp].into_iter()) }),
            }
        };
        let told = now.iter().zip(&self.streams).enumerate().map(one).collect();
        self.streams = now;
        told
    }

    /// The intervals of a side.
    fn close_for(self, side: &Side) -> Vec<Interval> {
        let longest = side.streams.iter().map(|s| s.elapsed_ns).max().unwrap_or(0);
        self.close(longest, side)
    }

    /// The intervals of the whole window. A rest shorter than half an interval joins the one before; so does what was
    /// looked at after the window had closed.
    fn close(mut self, elapsed_ns: u64, side: &Side) -> Vec<Interval> {
        let connections = || side.streams.iter().filter_map(|stream| stream.tcp.as_ref());
        let end = TcpInterval::of(connections());
        let again = end.retransmits.map(|total| total.saturating_sub(self.retransmits));
        let mut rest = Interval {
            start_ns: self.intervals.last().map_or(0, |last| last.end_ns),
            end_ns: elapsed_ns,
            bytes: side.bytes().saturating_sub(self.told.0),
            units: side.units().saturating_sub(self.told.1),
            tcp: connections().next().map(|_| TcpInterval { retransmits: again, ..end }),
        };
        let shortest = self.every.as_nanos() as u64 / 2;
        while let Some(last) = self.intervals.pop_if(|_| rest.start_ns + shortest > elapsed_ns) {
            rest.start_ns = last.start_ns;
            rest.bytes += last.bytes;
            rest.units += last.units;
            if let (Some(rest), Some(last)) = (&mut rest.tcp, last.tcp) {
                rest.retransmits = rest.retransmits.zip(last.retransmits).map(|(a, b)| a.saturating_add(b));
            }
        }
        if elapsed_ns > 0 {
            self.intervals.push(rest);
        }
        self.intervals
    }
}

/// The intervals of a job: of its direction, and of the other one where there are two.
#[derive(Debug)]
pub struct JobSampler {
    there: Sampler,
    back: Sampler,
}

impl JobSampler {
    /// For intervals of this length.
    pub fn new(every: Duration) -> Self {
        Self { there: Sampler::new(every), back: Sampler::new(every) }
    }

    /// When to look next.
    pub fn next_look(&self) -> Instant {
        self.there.next_look()
    }

    /// Looks, when it is time: the interval that is over, and its streams. What is told is of both directions, which are booked
    /// each for itself.
    pub fn look(&mut self, running: &Running, now: Instant) -> Option<(Interval, Vec<StreamInterval>)> {
        if self.next_look() > now {
            return None;
        }
        let (mut interval, mut streams) = self.there.look(running.sample(), &mut || running.sample_streams(), now)?;
        let look = |sample| self.back.look(sample, &mut || running.sample_streams_back(), now);
        if let Some((back, streams_back)) = running.sample_back().and_then(look) {
            interval.bytes += back.bytes;
            for (stream, back) in streams.iter_mut().zip(streams_back) {
                stream.bytes += back.bytes;
            }
        }
        Some((interval, streams))
    }

    /// Gives a side its intervals, whose sums are its totals.
    pub fn close(self, side: &mut Side) {
        side.intervals = self.there.close_for(side);
        if let Some(other) = &mut side.back {
            other.intervals = self.back.close_for(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measured::{SocketFacts, Stream, TcpInfo, ThreadCpu};

    fn side(bytes: u64, units: u64, retransmits: u32) -> Side {
        let stream = Stream {
            stream: 0,
            local: String::new(),
            peer: String::new(),
            bytes,
            omitted_bytes: 0,
            units,
            omitted_units: 0,
            elapsed_ns: 1,
            calls: 1,
            io: None,
            cpu: ThreadCpu::default(),
            socket: SocketFacts::default(),
            tcp: Some(TcpInfo { retransmits: Some(retransmits), ..TcpInfo::default() }),
            datagrams: None,
            schedule: None,
            retries: None,
            verified: None,
        };
        Side { streams: vec![stream], ..Side::default() }
    }

    proptest! {
        #[test]
        fn intervals_sum_to_the_totals(looks in prop::collection::vec((1u64..400_000_000, 0u64..1_000_000), 0..40), tail in 0u64..90_000_000, late in prop_oneof![Just(0u64), 0u64..900_000_000], warm_up in 0u32..9) {
            let mut sampler = Sampler::new(Duration::from_millis(100));
            let (mut at_ns, mut bytes, mut again) = (1_000, 0, warm_up);
            let now = Instant::now();
            for (step, more) in looks {
                at_ns += step;
                bytes += more;
                again += (more % 3) as u32;
                let mut streams = || {
                    let tcp = TcpInfo { retransmits: Some(again), ..TcpInfo::default() };
                    vec![StreamSample { bytes, units: bytes / 7, tcp: Some(tcp) }]
                };
                sampler.look(Sample { opened_ns: 1_000, at_ns, bytes, units: bytes / 7 }, &mut streams, now);
            }
            // The last byte may have come before the last looks.
            let elapsed = (at_ns - 1_000 + tail).saturating_sub(late);
            let total = again - warm_up + 2;
            let intervals = sampler.close(elapsed, &side(bytes + 11, bytes / 7 + 1, total));
            if elapsed > 0 {
                prop_assert_eq!(intervals.iter().map(|i| i.bytes).sum::<u64>(), bytes + 11);
                prop_assert_eq!(intervals.iter().map(|i| i.units).sum::<u64>(), bytes / 7 + 1);
                prop_assert_eq!(intervals.iter().map(|i| i.tcp.unwrap().retransmits.unwrap()).sum::<u32>(), total);
                prop_assert_eq!(intervals[0].start_ns, 0);
                prop_assert_eq!(intervals.last().unwrap().end_ns, elapsed);
                prop_assert!(intervals.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
            }
        }
    }
}
