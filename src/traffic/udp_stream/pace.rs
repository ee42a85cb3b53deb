//! The schedule of a paced datagram sender.

/// A paced sender that is later than this forgets the datagrams it owes, instead of a burst.
const LATE_NS: u64 = 10_000_000;

/// When which datagram is due, from the start of the window: an absolute schedule, so that sleeping late costs nothing.
pub struct Pace {
    bits: u64,
    bits_per_second: u64,
    start: u64,
    sent: u64,
}

impl Pace {
    /// `bits` of a datagram, and when the first is due.
    pub fn new(bits: u64, bits_per_second: u64, start: u64) -> Self {
        Self { bits, bits_per_second, start, sent: 0 }
    }

    fn at(&self, number: u64) -> u64 {
        let nanos = u128::from(number) * u128::from(self.bits) * 1_000_000_000 / u128::from(self.bits_per_second);
        self.start.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the next is due.
    pub fn next_ns(&self) -> u64 {
        self.at(self.sent)
    }

    /// How many datagrams are due and not sent.
    pub fn due(&mut self, now: u64) -> u64 {
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

    /// Takes note of what was sent.
    pub fn sent(&mut self, count: u64) {
        self.sent += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
