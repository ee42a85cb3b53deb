//! Statistics of rounds. One round, with connections of its own, is one sample; intervals within a round hang together and are none.
//!
//! Rounds of a benchmark are few and their errors are not normal, so nothing here assumes a distribution: the median with an interval of
//! order statistics ([`spread`]), the rank test of Mann and Whitney ([`compare`]), the rule for how many rounds are enough
//! ([`sequential`]), and what makes them doubtful ([`warning`]). docs/statistics.md tells it to users.

pub mod compare;
pub mod line;
pub mod normal;
pub mod rank;
pub mod sequential;
pub mod warning;

use serde::{Deserialize, Serialize};

/// The fewest samples for which an interval of the median is given. That of five is their range and covers 93.75 % (1 − 2·2⁻⁵); from six
/// on it is at least 95 %.
pub const FEWEST_FOR_INTERVAL: usize = 5;

/// What a set of samples says; all values are in the samples' own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Spread {
    /// How many samples.
    pub samples: u32,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Interval of the median; absent below 5 samples, where only the range can be said.
    pub interval: Option<Interval>,
    /// Sample standard deviation over the mean; absent for one sample or a mean of zero.
    pub cv: Option<f64>,
}

/// A confidence interval of the median that holds for every continuous distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interval {
    /// Lower end: a sample.
    pub low: f64,
    /// Upper end: a sample.
    pub high: f64,
    /// Probability that it covers the median: 0.9375 for five samples, at least 0.95 for more.
    pub coverage: f64,
}

impl Spread {
    /// Half the width of the interval over the median: how well the median is known. `None` without an interval or for a median of zero.
    pub fn half_width(&self) -> Option<f64> {
        let interval = self.interval?;
        (self.median != 0.0).then(|| (interval.high - interval.low) / 2.0 / self.median.abs())
    }
}

/// Summarises samples; `None` when there is none or when one is not finite.
pub fn spread(samples: &[f64]) -> Option<Spread> {
    if samples.is_empty() || samples.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    Some(Spread {
        samples: n as u32,
        median: middle(&sorted),
        min: sorted[0],
        max: sorted[n - 1],
        interval: median_interval(&sorted),
        cv: coefficient_of_variation(&sorted),
    })
}

/// Median of unsorted samples; `None` when there is none.
pub fn median(samples: &[f64]) -> Option<f64> {
    spread(samples).map(|s| s.median)
}

fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 }
}

/// The narrowest symmetric pair of order statistics that covers the median with at least 95 %; the range of five samples.
///
/// Exact and without a bootstrap: resampling so few values can only give them back, with a coverage that nobody knows.
///
/// The number of samples below the true median is binomial(n, ½), so `[x(k), x(n+1−k)]` covers it with
/// `1 − 2·P(B < k)` (David & Nagaraja, Order Statistics, 7.1).
fn median_interval(sorted: &[f64]) -> Option<Interval> {
    let n = sorted.len();
    if n < FEWEST_FOR_INTERVAL {
        return None;
    }
    // Terms of the binomial distribution by recurrence on logarithms: 0.5^n underflows beyond n = 1074.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut best = None;
    for k in 1..=n / 2 {
        below += log_term.exp();
        let coverage = 1.0 - 2.0 * below;
        if coverage < 0.95 && n > FEWEST_FOR_INTERVAL {
            break;
        }
        best = Some(Interval { low: sorted[k - 1], high: sorted[n - k], coverage });
        if n == FEWEST_FOR_INTERVAL {
            break;
        }
        log_term += ((n - k + 1) as f64 / k as f64).ln();
    }
    best
}

fn coefficient_of_variation(samples: &[f64]) -> Option<f64> {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    if samples.len() < 2 || mean == 0.0 {
        return None;
    }
    let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(variance.sqrt() / mean.abs())
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{Binomial, DiscreteCDF};

    use super::*;

    fn ramp(n: usize) -> Vec<f64> {
        (1..=n).rev().map(|i| i as f64).collect()
    }

    /// Ranks and coverages as printed in tables of distribution-free intervals of the median
    /// (Conover, Practical Nonparametric Statistics; Hahn & Meeker, table A.10 for 95 %).
    #[test]
    fn interval_ranks_agree_with_published_tables() {
        for (n, low, high, coverage) in [
            (5, 1.0, 5.0, 0.9375),
            (6, 1.0, 6.0, 0.96875),
            (7, 1.0, 7.0, 0.984375),
            (8, 1.0, 8.0, 0.9921875),
            (9, 2.0, 8.0, 0.9609375),
            (10, 2.0, 9.0, 0.978516),
            (15, 4.0, 12.0, 0.964844),
            (20, 6.0, 15.0, 0.958611),
            (25, 8.0, 18.0, 0.956715),
        ] {
            let interval = spread(&ramp(n)).unwrap().interval.unwrap();
            assert_eq!((interval.low, interval.high), (low, high), "n = {n}");
            assert!((interval.coverage - coverage).abs() < 1e-6, "n = {n}: {}", interval.coverage);
        }
    }

    /// The ranks of a binomial distribution of one half: the innermost pair that leaves at most 2.5 % on either side.
    #[test]
    fn interval_ranks_agree_with_statrs() {
        for n in 6..=400_u64 {
            let below = |rank: u64| Binomial::new(0.5, n).unwrap().cdf(rank - 1);
            let interval = spread(&ramp(n as usize)).unwrap().interval.unwrap();
            let (low, high) = (interval.low as u64, interval.high as u64);
            assert_eq!(low + high, n + 1);
            assert!((interval.coverage - (1.0 - 2.0 * below(low))).abs() < 1e-9, "n = {n}: {}", interval.coverage);
            assert!(interval.coverage >= 0.95 && 1.0 - 2.0 * below(low + 1) < 0.95, "n = {n}: {interval:?}");
        }
    }

    #[test]
    fn few_samples_give_a_range_and_no_interval() {
        for n in 1..FEWEST_FOR_INTERVAL {
            assert_eq!(spread(&ramp(n)).unwrap().interval, None);
        }
        let five = spread(&[3.0, 1.0, 2.0, 5.0, 4.0]).unwrap();
        assert_eq!((five.median, five.min, five.max), (3.0, 1.0, 5.0));
        // Standard deviation of 1..5 is sqrt(2.5).
        assert!((five.cv.unwrap() - 2.5_f64.sqrt() / 3.0).abs() < 1e-12);
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]), Some(2.5));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[1.0, f64::NAN]), None);
        assert_eq!(spread(&[4.0]).unwrap().cv, None);
    }

    #[test]
    fn many_samples_do_not_underflow() {
        let wide = spread(&ramp(5000)).unwrap().interval.unwrap();
        assert!(wide.coverage >= 0.95 && wide.coverage < 0.96);
        assert!(wide.low < 2500.5 && wide.high > 2500.5 && wide.high - wide.low < 150.0);
    }
}
