//! The schedule of a paced datagram sender.

/// When which datagram is due, from the start of the window: an absolute schedule, so that sleeping late costs nothing, up
/// to a limit. What is due beyond it is missed, and counted.
pub struct Pace {
    bits: u64,
    bits_per_second: u64,
    start: u64,
    /// Sent or missed.
    gone: u64,
    most: u64,
    missed: u64,
}

/// A sender that was not told how makes up for so much.
const CATCH_UP_NS: u64 = 10_000_000;

impl Pace {
    /// `bits` of a datagram, and when the first is due. A sender that is late makes up for 10 ms.
    pub fn new(bits: u64, bits_per_second: u64, start: u64) -> Self {
        Self::bounded(bits, bits_per_second, start, (CATCH_UP_NS, 1))
    }

    /// Makes up for so many nanoseconds, and for so many datagrams at least.
    pub fn bounded(bits: u64, bits_per_second: u64, start: u64, (nanos, least): (u64, u64)) -> Self {
        let within = u128::from(nanos) * u128::from(bits_per_second) / (u128::from(bits) * 1_000_000_000);
        let most = u64::try_from(within).unwrap_or(u64::MAX).max(least);
        Self { bits, bits_per_second, start, gone: 0, most, missed: 0 }
    }

    fn at(&self, number: u64) -> u64 {
        let nanos = u128::from(number) * u128::from(self.bits) * 1_000_000_000 / u128::from(self.bits_per_second);
        self.start.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the next is due.
    pub fn next_ns(&self) -> u64 {
        self.at(self.gone)
    }

    /// How many datagrams are due and not sent, within the limit; those beyond it are missed.
    pub fn due(&mut self, now: u64) -> u64 {
        if now < self.next_ns() {
            return 0;
        }
        let elapsed = u128::from(now - self.start) * u128::from(self.bits_per_second);
        let total = elapsed / (u128::from(self.bits) * 1_000_000_000) + 1;
        let due = (total as u64).saturating_sub(self.gone).max(1);
        let late = due.saturating_sub(self.most);
        self.missed += late;
        self.gone += late;
        due - late
    }

    /// Takes note of what was sent.
    pub fn sent(&mut self, count: u64) {
        self.gone += count;
    }

    /// Nanoseconds between two datagrams.
    pub fn gap_ns(&self) -> u64 {
        self.at(1) - self.start
    }

    /// Datagrams that it makes up for at most.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Datagrams that were due beyond that.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_an_absolute_schedule() {
        // 1000-byte datagrams at 8 Mbit/s: one per millisecond, the first at once.
        let mut pace = Pace::new(8000, 8_000_000, 5);
        assert_eq!((pace.gap_ns(), pace.most()), (1_000_000, 10));
        assert_eq!(pace.due(5), 1);
        pace.sent(1);
        assert_eq!((pace.due(6), pace.next_ns()), (0, 1_000_005));
        assert_eq!(pace.due(3_000_005), 3);
        pace.sent(3);
        assert_eq!((pace.due(3_999_000), pace.missed()), (0, 0));
    }

    #[test]
    fn what_is_due_beyond_the_limit_is_missed_and_counted_once() {
        let mut pace = Pace::bounded(8000, 8_000_000, 0, (250_000, 2));
        assert_eq!((pace.due(0), pace.most()), (1, 2));
        pace.sent(1);
        // A second late: 1000 are due, no burst of a thousand.
        assert_eq!((pace.due(1_000_000_000), pace.missed()), (2, 998));
        assert_eq!((pace.due(1_000_000_000), pace.missed()), (2, 998));
        pace.sent(2);
        assert_eq!((pace.due(1_000_500_000), pace.next_ns()), (0, 1_001_000_000));
        // Whatever happens, what was sent and what was missed is what was due.
        let (mut sent, mut now) = (3, 1_000_500_000);
        for step in [10_u64, 900_000, 2_100_000, 7, 55_000_000, 1_000_000, 400_000_000] {
            now += step;
            let due = pace.due(now);
            pace.sent(due);
            sent += due;
            assert_eq!(sent + pace.missed(), now / 1_000_000 + 1);
        }
    }
}
