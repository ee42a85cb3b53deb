//! Which of the numbered datagrams came: exact counts of distinct, reordered and repeated ones in constant memory.

/// Numbers the window remembers behind the highest seen.
const WINDOW: u64 = 1 << 20;
const WORDS: usize = (WINDOW / 64) as usize;

/// A sliding bitmap of seen sequence numbers (128 KiB; a stream in order touches one cache line at a time).
///
/// A number more than 2²⁰ behind the highest seen can no longer be told from a repeat; it is counted as `beyond_window`.
#[derive(Debug)]
pub struct SequenceWindow {
    /// The next number if all come in order: one above the highest seen.
    next: u64,
    seen: Box<[u64; WORDS]>,
    /// Distinct numbers.
    pub received: u64,
    /// Distinct numbers that came after a higher one (RFC 4737, type-P-reordered).
    pub reordered: u64,
    /// Numbers that came again.
    pub duplicates: u64,
    /// Numbers too far back to judge.
    pub beyond_window: u64,
}

impl Default for SequenceWindow {
    fn default() -> Self {
        Self { next: 0, seen: Box::new([0; WORDS]), received: 0, reordered: 0, duplicates: 0, beyond_window: 0 }
    }
}

impl SequenceWindow {
    /// Takes note of a number; true when it is a new one.
    #[inline]
    pub fn observe(&mut self, number: u64) -> bool {
        if number >= self.next {
            self.advance_to(number);
            self.received += 1;
            return true;
        }
        if self.next - number > WINDOW {
            self.beyond_window += 1;
            return false;
        }
        let (word, bit) = place(number);
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return false;
        }
        self.seen[word] |= bit;
        self.received += 1;
        self.reordered += 1;
        true
    }

    /// Numbers of the `sent` that never came.
    pub fn lost(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.received)
    }

    /// Moves the window so that `number` is its highest, and marks it.
    #[inline]
    fn advance_to(&mut self, number: u64) {
        if number > self.next {
            self.forget(self.next, number);
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        // Clear the place of the number that is next to come: the one that left the window had it.
        self.next = number.saturating_add(1);
        let (word, bit) = place(self.next);
        self.seen[word] &= !bit;
    }

    /// Clears the places of skipped numbers.
    fn forget(&mut self, from: u64, to: u64) {
        if to - from >= WINDOW {
            self.seen.fill(0);
            return;
        }
        let mut at = from;
        while at < to {
            let (word, bit) = place(at);
            if bit == 1 && to - at >= 64 {
                self.seen[word] = 0;
                at += 64;
            } else {
                self.seen[word] &= !bit;
                at += 1;
            }
        }
    }
}

#[inline]
fn place(number: u64) -> (usize, u64) {
    (((number / 64) as usize) % WORDS, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn run(numbers: &[u64]) -> SequenceWindow {
        let mut window = SequenceWindow::default();
        for &number in numbers {
            window.observe(number);
        }
        window
    }

    #[test]
    fn in_order_is_neither_loss_nor_reorder() {
        let window = run(&(0..5_000_000).collect::<Vec<_>>());
        assert_eq!(
            (window.received, window.reordered, window.duplicates, window.lost(5_000_000)),
            (5_000_000, 0, 0, 0)
        );
    }

    #[test]
    fn loss_at_head_middle_and_tail_is_exact() {
        let window = run(&[3, 4, 7, 8]);
        assert_eq!((window.received, window.lost(12), window.reordered), (4, 8, 0));
        assert_eq!(run(&[]).lost(9), 9);
    }

    #[test]
    fn a_repeat_hides_no_loss() {
        let window = run(&[0, 1, 1, 1, 4]);
        assert_eq!((window.received, window.duplicates, window.lost(5)), (3, 2, 2));
    }

    #[test]
    fn late_ones_are_reordered_once_and_then_repeats() {
        let window = run(&[0, 3, 1, 2, 1, 4]);
        assert_eq!((window.received, window.reordered, window.duplicates, window.lost(5)), (5, 2, 1, 0));
    }

    #[test]
    fn far_behind_is_said_apart_and_far_ahead_is_survived() {
        let mut window = run(&[0, WINDOW + 5]);
        assert!(!window.observe(4));
        assert_eq!(window.beyond_window, 1);
        assert!(window.observe(6));
        assert!(!window.observe(6));
        assert!(window.observe(u64::MAX - 1));
        assert!(!window.observe(u64::MAX - 1));
        assert_eq!((window.reordered, window.duplicates), (1, 2));
    }

    proptest! {
        /// Against a set of all numbers, over steps small, backwards and past the window.
        #[test]
        fn agrees_with_a_naive_model(steps in prop::collection::vec(prop_oneof![
            10 => -70i64..80,
            2 => -3000i64..3000,
            1 => (WINDOW as i64 - 3)..(WINDOW as i64 + 3),
        ], 1..400)) {
            let (mut window, mut seen, mut next) = (SequenceWindow::default(), HashSet::new(), 0u64);
            let (mut reordered, mut duplicates, mut beyond) = (0, 0, 0);
            let mut at = 0i64;
            for step in steps {
                at = (at + step).max(0);
                let number = at as u64;
                window.observe(number);
                if next > number && next - number > WINDOW {
                    beyond += 1;
                } else if !seen.insert(number) {
                    duplicates += 1;
                } else if number < next {
                    reordered += 1;
                }
                next = next.max(number + 1);
            }
            prop_assert_eq!(window.received, seen.len() as u64);
            prop_assert_eq!((window.reordered, window.duplicates, window.beyond_window), (reordered, duplicates, beyond));
        }
    }
}
