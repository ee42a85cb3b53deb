//! How many rounds are enough: at least five, then more until the median is known well enough or the budget is spent.
//!
//! Looking again after each round and stopping when the interval looks narrow prefers sets that came out close together by chance, so that
//! an interval after an early stop covers less than it says. Two things keep that small: the interval of up to eight rounds is their
//! whole range, and it must be narrow after two rounds in succession. The test below simulates what is left, docs/statistics.md tells it.

use serde::{Deserialize, Serialize};

use super::spread;

/// Rounds before the first look.
pub const AT_LEAST: u32 = 5;
/// Half width of the interval over the median that is good enough.
pub const HALF_WIDTH: f64 = 0.02;

/// Time for all rounds where nothing was said, seconds: an answer within ten.
pub const QUICK_S: f64 = 8.0;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rule {
    /// Fewest rounds.
    pub at_least: u32,
    /// Most rounds, whatever they say.
    pub at_most: u32,
    /// Half width of each median's interval over the median that ends it.
    pub half_width: f64,
    /// Time for all rounds, seconds; a round that would not end in time is not begun, but for the first `at_least`.
    pub budget_s: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Self { at_least: AT_LEAST, at_most: 100, half_width: HALF_WIDTH, budget_s: 120.0 }
    }
}

/// What to do after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Every interval is narrow enough.
    Steady,
    /// The budget is spent, or would be by another round.
    Budget,
    /// The most rounds have been run.
    Rounds,
}

impl Rule {
    /// The one of who said nothing: as soon as there are five and [`QUICK_S`] are over.
    pub fn quick() -> Self {
        Self { budget_s: QUICK_S, ..Self::default() }
    }

    /// After a round of everything that is measured together: `None` to go on, or why to stop.
    ///
    /// `sets` has the samples of each of them in the order of time, one a round; a set that is empty (its test failed) is passed over.
    /// `spent_s` is the time since the first round began.
    pub fn stop<'s>(&self, sets: impl IntoIterator<Item = &'s [f64]>, spent_s: f64) -> Option<Stop> {
        let (mut rounds, mut steady) = (0, true);
        for set in sets.into_iter().filter(|set| !set.is_empty()) {
            rounds = rounds.max(set.len() as u32);
            steady &= self.is_steady(set);
        }
        if rounds < self.at_least {
            // Nothing at all was measured: it will not be by more rounds.
            return (rounds == 0).then_some(Stop::Rounds);
        }
        if steady {
            return Some(Stop::Steady);
        }
        if rounds >= self.at_most {
            return Some(Stop::Rounds);
        }
        (spent_s + spent_s / f64::from(rounds) > self.budget_s).then_some(Stop::Budget)
    }

    /// Was the interval narrow enough both after the last round and after the one before? At the least number of rounds the last counts
    /// alone: it is their range.
    pub fn is_steady(&self, samples: &[f64]) -> bool {
        let narrow = |set: &[f64]| {
            spread(set).and_then(|spread| spread.half_width()).is_some_and(|half| half <= self.half_width)
        };
        let before = samples.len().saturating_sub(1);
        narrow(samples) && (before < self.at_least as usize || narrow(&samples[..before]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { at_least: 5, at_most: 20, half_width: 0.02, budget_s: 60.0 };

    #[test]
    fn it_stops_when_steady_and_not_before_five() {
        let tight = [100.0, 100.5, 99.8, 100.1, 100.2];
        assert_eq!(RULE.stop([&tight[..4]], 4.0), None);
        assert_eq!(RULE.stop([&tight[..]], 5.0), Some(Stop::Steady));
        let wide = [100.0, 120.0, 99.8, 100.1, 100.2];
        assert_eq!(RULE.stop([&tight[..], &wide[..]], 5.0), None, "every set must be steady");
        assert_eq!(RULE.stop([&tight[..], &[]], 5.0), Some(Stop::Steady), "one that failed is passed over");
        assert_eq!(RULE.stop([&[][..], &[]], 5.0), Some(Stop::Rounds), "nothing comes of nothing");
    }

    #[test]
    fn once_narrow_may_be_chance() {
        // Nine rounds: the interval is from the second to the eighth; after eight it was the range, which is wide.
        let mut set = vec![100.0; 8];
        set[3] = 130.0;
        assert!(!RULE.is_steady(&set));
        set.push(100.0);
        assert!(!RULE.is_steady(&set), "narrow for the first time");
        set.push(100.0);
        assert!(RULE.is_steady(&set));
    }

    #[test]
    fn the_budget_and_the_most_rounds_end_it() {
        let wide: Vec<f64> = (0..20).map(|i| f64::from(100 + 40 * (i % 2))).collect();
        assert_eq!(RULE.stop([&wide[..10]], 30.0), None);
        assert_eq!(RULE.stop([&wide[..10]], 55.0), Some(Stop::Budget), "another round would take 5.5 s");
        assert_eq!(RULE.stop([&wide[..3]], 600.0), None, "five are run in any case");
        assert_eq!(RULE.stop([&wide[..5]], 600.0), Some(Stop::Budget));
        assert_eq!(RULE.stop([&wide[..]], 20.0), Some(Stop::Rounds));
    }

    /// Share of stops at which the interval holds the true median, the mean number of rounds and the share that became steady.
    fn simulated(deviation: f64, seed: u64) -> (f64, f64, f64) {
        let mut state = seed;
        let mut uniform = move || {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let rule = Rule { at_most: 60, budget_s: f64::INFINITY, ..RULE };
        let (runs, mut covered, mut rounds, mut steady) = (2000, 0, 0, 0);
        for _ in 0..runs {
            let mut set: Vec<f64> = Vec::new();
            let stop = loop {
                set.push(1.0 + deviation * normal());
                if let Some(stop) = rule.stop([&set[..]], 0.0) {
                    break stop;
                }
            };
            let interval = spread(&set).unwrap().interval.unwrap();
            covered += u32::from(interval.low <= 1.0 && 1.0 <= interval.high);
            steady += u32::from(stop == Stop::Steady);
            rounds += set.len();
        }
        let share = |count: u32| f64::from(count) / f64::from(runs);
        (share(covered), rounds as f64 / f64::from(runs), share(steady))
    }

    /// The table of docs/statistics.md.
    #[test]
    fn the_bias_of_stopping_early_is_small_and_known() {
        let page = include_str!("../../docs/statistics.md");
        for (percent, seed) in [(1, 1), (2, 2), (3, 3), (5, 4)] {
            let (covered, rounds, steady) = simulated(f64::from(percent) / 100.0, seed);
            assert!(covered > 0.85, "CV {percent} %: {covered}");
            let row = format!("| {percent} % | {rounds:.0} | {:.0} % | {:.0} % |", steady * 100.0, covered * 100.0);
            assert!(page.contains(&row), "docs/statistics.md lacks `{row}`");
        }
    }
}
