//! Is B better than A? Only if a rank test says that they differ *and* the difference is large enough to matter.

use serde::{Deserialize, Serialize};

use super::{Interval, median, rank};

/// Below this probability of a false alarm a difference is taken for real.
pub const SIGNIFICANCE: f64 = 0.05;
/// Least difference of a throughput or of a rate of transactions that matters, over A's median.
pub const THROUGHPUT_EFFECT: f64 = 0.05;
/// Least difference of a CPU cost that matters.
pub const CPU_EFFECT: f64 = 0.10;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Good {
    /// Throughput, transactions.
    Higher,
    /// Latency, CPU, loss.
    Lower,
}

/// When two sets of rounds are called different.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Criterion {
    /// Which way is good.
    pub good: Good,
    /// The probability of a false alarm that is accepted.
    pub significance: f64,
    /// The least difference of medians that matters, over A's median.
    pub minimum_effect: f64,
}

impl Criterion {
    /// For throughput: higher is good, 5 % matter.
    pub const THROUGHPUT: Self =
        Self { good: Good::Higher, significance: SIGNIFICANCE, minimum_effect: THROUGHPUT_EFFECT };
    /// For CPU cost: lower is good, 10 % matter.
    pub const CPU: Self = Self { good: Good::Lower, significance: SIGNIFICANCE, minimum_effect: CPU_EFFECT };

    /// With another least difference.
    pub fn with_effect(self, minimum_effect: f64) -> Self {
        Self { minimum_effect, ..self }
    }
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is better than A.
    Better,
    /// B is worse.
    Worse,
    /// No difference that can be told, or none that matters: `~`.
    NoDifference,
}

impl Verdict {
    /// `better`, `worse`, `~`
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "~",
        }
    }
}

/// Why a comparison came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Significant, and large enough.
    Difference,
    /// The ranks of the rounds could well have fallen so by chance.
    NotSignificant,
    /// Significant, but smaller than what matters.
    TooSmall,
    /// So few rounds that no result of theirs could have been significant: four and four are the least.
    TooFewRounds,
}

impl Reason {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Difference => "significant and large enough to matter",
            Self::NotSignificant => "may well be chance",
            Self::TooSmall => "real, but too small to matter",
            Self::TooFewRounds => "too few rounds to tell",
        }
    }
}

/// Two sets of rounds, compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Comparison {
    /// Median of A.
    pub a: f64,
    /// Median of B.
    pub b: f64,
    /// Rounds of A.
    pub rounds_a: u32,
    /// Rounds of B.
    pub rounds_b: u32,
    /// (B − A) / A of the medians; absent when A's is zero.
    pub change: Option<f64>,
    /// Where that change lies with at least 95 %, by the interval of Hodges and Lehmann's shift over A's median.
    pub change_interval: Option<Interval>,
    /// Two-sided probability by Mann and Whitney's test.
    pub p: f64,
    /// How it was found.
    pub method: rank::Method,
    /// The verdict.
    pub verdict: Verdict,
    /// And why.
    pub reason: Reason,
}

/// Compares the rounds of B with those of A; `None` when a set is empty or has a figure that is not finite.
pub fn compare(a: &[f64], b: &[f64], criterion: Criterion) -> Option<Comparison> {
    let test = rank::mann_whitney(a, b)?;
    let (middle_a, middle_b) = (median(a)?, median(b)?);
    let over = |value: f64| value / middle_a.abs();
    let change = (middle_a != 0.0).then(|| over(middle_b - middle_a));
    let change_interval = rank::shift(a, b)?.interval.filter(|_| middle_a != 0.0);
    let change_interval = change_interval.map(|i| Interval { low: over(i.low), high: over(i.high), ..i });
    let reason = if test.p < criterion.significance {
        // From zero every change is without bound.
        match change.is_none_or(|change| change.abs() >= criterion.minimum_effect) && middle_a != middle_b {
            true => Reason::Difference,
            false => Reason::TooSmall,
        }
    } else if fewest_possible(a.len(), b.len()) >= criterion.significance {
        Reason::TooFewRounds
    } else {
        Reason::NotSignificant
    };
    let verdict = match (reason, criterion.good) {
        (Reason::Difference, Good::Higher) if middle_b > middle_a => Verdict::Better,
        (Reason::Difference, Good::Lower) if middle_b < middle_a => Verdict::Better,
        (Reason::Difference, _) => Verdict::Worse,
        _ => Verdict::NoDifference,
    };
    Some(Comparison {
        a: middle_a,
        b: middle_b,
        rounds_a: a.len() as u32,
        rounds_b: b.len() as u32,
        change,
        change_interval,
        p: test.p,
        method: test.method,
        verdict,
        reason,
    })
}

/// The least p that sets of these sizes can give: 2 / C(n + m, m).
fn fewest_possible(n: usize, m: usize) -> f64 {
    let choices = (1..=m).fold(1.0, |product, i| product * (n + i) as f64 / i as f64);
    2.0 / choices
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];

    fn scaled(by: f64) -> Vec<f64> {
        A.iter().map(|a| a * by).collect()
    }

    fn outcome(b: &[f64], criterion: Criterion) -> (Verdict, Reason) {
        let done = compare(&A, b, criterion).unwrap();
        (done.verdict, done.reason)
    }

    #[test]
    fn a_difference_must_be_real_and_matter() {
        let up = Criterion::THROUGHPUT;
        assert_eq!(outcome(&scaled(1.10), up), (Verdict::Better, Reason::Difference));
        assert_eq!(outcome(&scaled(0.90), up), (Verdict::Worse, Reason::Difference));
        assert_eq!(outcome(&scaled(1.03), up), (Verdict::NoDifference, Reason::TooSmall));
        assert_eq!(outcome(&scaled(1.03), up.with_effect(0.02)), (Verdict::Better, Reason::Difference));
        assert_eq!(outcome(&A, up), (Verdict::NoDifference, Reason::NotSignificant));
        assert_eq!(outcome(&[80.0, 150.0, 90.0, 130.0, 95.0], up), (Verdict::NoDifference, Reason::NotSignificant));
        // Lower is good: the same figures the other way round.
        assert_eq!(outcome(&scaled(0.85), Criterion::CPU), (Verdict::Better, Reason::Difference));
        assert_eq!(outcome(&scaled(1.15), Criterion::CPU), (Verdict::Worse, Reason::Difference));
        assert_eq!(outcome(&scaled(1.07), Criterion::CPU), (Verdict::NoDifference, Reason::TooSmall));
    }

    #[test]
    fn three_rounds_can_never_tell() {
        let done = compare(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0], Criterion::THROUGHPUT).unwrap();
        assert_eq!((done.verdict, done.reason, done.p), (Verdict::NoDifference, Reason::TooFewRounds, 0.1));
        let four = compare(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0], Criterion::THROUGHPUT).unwrap();
        assert_eq!((four.verdict, four.change), (Verdict::Better, Some(9.0)));
    }

    #[test]
    fn from_zero_a_change_has_no_share() {
        let done = compare(&[0.0; 5], &[1.0, 2.0, 1.0, 2.0, 3.0], Criterion::CPU).unwrap();
        assert_eq!((done.verdict, done.change, done.change_interval), (Verdict::Worse, None, None));
        assert_eq!(compare(&[], &[1.0], Criterion::CPU), None);
        assert_eq!(compare(&[f64::INFINITY], &[1.0], Criterion::CPU), None);
    }

    #[test]
    fn the_interval_of_the_change_is_around_it() {
        let done = compare(&A, &scaled(1.10), Criterion::THROUGHPUT).unwrap();
        let (change, interval) = (done.change.unwrap(), done.change_interval.unwrap());
        assert!((change - 0.1).abs() < 1e-9 && interval.low < change && change < interval.high);
        assert!(interval.low > 0.05 && interval.high < 0.15 && interval.coverage >= 0.95);
    }
}
