//! Which variant is measured next: rounds outermost, a new random order in each, until the rule says that it is enough. Pure.
//!
//! A change of the machine's mood falls on all variants alike, and no variant always follows the same other one.

use crate::stats::sequential::{Rule, Stop};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Measure this variant.
    Measure {
        /// Its number, from 0.
        variant: usize,
        /// Which round, from 1.
        round: u32,
    },
    /// It is enough.
    Done(Stop),
}

/// What came of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// One figure for each thing that was measured (flow and test), in the same order each time; empty when the variant
    /// failed: it is not measured again.
    pub figures: Vec<f64>,
    /// Time since the first round began, seconds.
    pub spent_s: f64,
}

/// The sequence of measurements.
#[derive(Debug, Clone)]
pub struct Interleave {
    rule: Rule,
    random: u64,
    round: u32,
    /// What is left of the round, in reverse.
    order: Vec<usize>,
    current: Option<usize>,
    failed: Vec<bool>,
    /// By variant, then by thing.
    sets: Vec<Vec<Vec<f64>>>,
}

impl Interleave {
    /// A sequence over so many variants; the same seed gives the same order.
    pub fn new(variants: usize, rule: Rule, seed: u64) -> Self {
        Self {
            rule,
            random: seed,
            round: 0,
            order: Vec::new(),
            current: None,
            failed: vec![false; variants],
            sets: vec![Vec::new(); variants],
        }
    }

    /// Learns what came of the last measurement (`None` at first) and says what to do.
    pub fn next(&mut self, sample: Option<Sample>) -> Action {
        let spent_s = sample.as_ref().map_or(0.0, |sample| sample.spent_s);
        if let (Some(variant), Some(sample)) = (self.current, sample) {
            self.failed[variant] |= sample.figures.is_empty();
            let sets = &mut self.sets[variant];
            sets.resize(sets.len().max(sample.figures.len()), Vec::new());
            for (set, figure) in sets.iter_mut().zip(sample.figures) {
                set.push(figure);
            }
        }
        if self.order.is_empty() {
            if self.round > 0 {
                let alive = self.sets.iter().zip(&self.failed).filter(|(_, failed)| !**failed);
                let sets = alive.flat_map(|(sets, _)| sets).map(Vec::as_slice);
                if let Some(stop) = self.rule.stop(sets, spent_s) {
                    return Action::Done(stop);
                }
            }
            self.round += 1;
            self.order = self.shuffled();
        }
        self.current = self.order.pop();
        match self.current {
            Some(variant) => Action::Measure { variant, round: self.round },
            None => Action::Done(Stop::Rounds),
        }
    }

    /// The variants that did not fail, in a random order (Fisher and Yates).
    fn shuffled(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.failed.len()).filter(|&variant| !self.failed[variant]).collect();
        for at in (1..order.len()).rev() {
            let other = (self.draw() % (at as u64 + 1)) as usize;
            order.swap(at, other);
        }
        order
    }

    /// splitmix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        variants: usize,
        rule: Rule,
        seed: u64,
        figure: impl Fn(usize, u32) -> Option<f64>,
    ) -> (Vec<Vec<usize>>, Stop) {
        let mut interleave = Interleave::new(variants, rule, seed);
        let (mut rounds, mut sample, mut spent_s): (Vec<Vec<usize>>, _, _) = (Vec::new(), None, 0.0);
        loop {
            match interleave.next(sample) {
                Action::Done(stop) => return (rounds, stop),
                Action::Measure { variant, round } => {
                    rounds.resize(round as usize, Vec::new());
                    rounds[round as usize - 1].push(variant);
                    spent_s += 1.0;
                    sample = Some(Sample { figures: figure(variant, round).into_iter().collect(), spent_s });
                }
            }
        }
    }

    #[test]
    fn every_round_has_every_variant_once_and_orders_differ() {
        let rule = Rule { at_least: 6, at_most: 6, ..Rule::default() };
        let (rounds, stop) =
            run(4, rule, 7, |variant, round| Some((variant * 100) as f64 + f64::from(round % 3) * 40.0 + 1.0));
        assert_eq!((rounds.len(), stop), (6, Stop::Rounds));
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert!(rounds.iter().any(|round| *round != rounds[0]), "{rounds:?}");
        let again = run(4, rule, 7, |variant, round| Some((variant * 100) as f64 + f64::from(round % 3) * 40.0 + 1.0));
        assert_eq!(again.0, rounds, "the seed decides");
    }

    #[test]
    fn every_order_comes_up() {
        let rule = Rule { at_least: 300, at_most: 300, budget_s: 1e9, ..Rule::default() };
        let (rounds, _) = run(3, rule, 1, |_, round| Some(f64::from(round)));
        let mut seen: Vec<&Vec<usize>> = rounds.iter().collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 6, "all orders of three");
        let first = rounds.iter().filter(|round| round[0] == 0).count();
        assert!((70..130).contains(&first), "{first} of 300 begin with the first");
    }

    #[test]
    fn steady_variants_end_early_and_noisy_ones_by_budget() {
        let rule = Rule { at_least: 5, at_most: 50, budget_s: 60.0, ..Rule::default() };
        let (rounds, stop) = run(2, rule, 3, |_, _| Some(10.0));
        assert_eq!((rounds.len(), stop), (5, Stop::Steady));
        let (rounds, stop) = run(2, rule, 3, |_, round| Some(if round % 2 == 0 { 5.0 } else { 10.0 }));
        assert_eq!(stop, Stop::Budget);
        assert!((25..=31).contains(&rounds.len()), "{}", rounds.len());
    }

    #[test]
    fn what_failed_is_not_tried_again() {
        let rule = Rule { at_least: 5, at_most: 5, ..Rule::default() };
        let (rounds, _) = run(2, rule, 3, |variant, round| (variant == 0).then_some(f64::from(round)));
        assert_eq!(rounds.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 1, 1]);
        let (rounds, stop) = run(1, rule, 3, |_, _| None);
        assert_eq!((rounds.len(), stop), (1, Stop::Rounds));
    }
}
