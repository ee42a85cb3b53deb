//! The rank test of Mann and Whitney (Wilcoxon's rank sum), and the shift of Hodges and Lehmann that goes with it.
//!
//! Both ask of two sets of samples only that one can be said to be larger than another.

use serde::{Deserialize, Serialize};

use super::{Interval, normal, spread};

/// Up to so many samples in both sets together the distribution is counted out, ties included. C(50, 25) is exact in an `f64`.
pub const EXACT_AT_MOST: usize = 50;

/// How a probability was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every way in which the ranks could have fallen was counted.
    Exact,
    /// The normal approximation, corrected for ties and continuity.
    Normal,
}

/// What Mann and Whitney's test says of two sets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RankTest {
    /// Pairs in which the sample of the second set is larger; a tie counts half. From 0 to n·m.
    pub u: f64,
    /// Probability of a difference in ranks at least so large, either way, if both sets come from the same distribution.
    pub p: f64,
    /// How it was found.
    pub method: Method,
}

/// The two-sided test; `None` when a set is empty or has a sample that is not finite.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<RankTest> {
    if a.is_empty() || b.is_empty() || a.iter().chain(b).any(|s| !s.is_finite()) {
        return None;
    }
    let (ranks, ties) = doubled_ranks(a, b);
    let (n, m) = (a.len(), b.len());
    let sum_of_b: u64 = ranks[n..].iter().sum();
    let u = sum_of_b as f64 / 2.0 - (m * (m + 1)) as f64 / 2.0;
    let (p, method) = if n + m <= EXACT_AT_MOST {
        (exact(&ranks, m, sum_of_b), Method::Exact)
    } else {
        (approximate(n, m, u, &ties), Method::Normal)
    };
    Some(RankTest { u, p, method })
}

/// By how much the second set lies above the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Shift {
    /// Median of all differences b − a, in the samples' unit.
    pub estimate: f64,
    /// Where the shift lies with at least 95 %; absent where the sets are too small to say so.
    pub interval: Option<Interval>,
}

/// Hodges and Lehmann's estimate with the interval that belongs to the rank test (Hollander & Wolfe, 4.2 and 4.3); `None` as for
/// [`mann_whitney`]. Ties make the interval wider than needed, never narrower.
pub fn shift(a: &[f64], b: &[f64]) -> Option<Shift> {
    let mut differences: Vec<f64> = b.iter().flat_map(|b| a.iter().map(move |a| b - a)).collect();
    let estimate = spread(&differences)?.median;
    differences.sort_by(f64::total_cmp);
    let (n, m) = (a.len(), b.len());
    // The interval from the k-th smallest to the k-th largest difference misses the shift with 2·P(U < k).
    let interval = outermost(n, m).map(|(k, coverage)| Interval {
        low: differences[k - 1],
        high: differences[n * m - k],
        coverage,
    });
    Some(Shift { estimate, interval })
}

/// The largest k with 2·P(U < k) ≤ 5 %, and the coverage that it leaves.
fn outermost(n: usize, m: usize) -> Option<(usize, f64)> {
    let half = n * m / 2;
    if n + m > EXACT_AT_MOST {
        let deviation = ((n * m * (n + m + 1)) as f64 / 12.0).sqrt();
        let missed = |k: usize| 2.0 * normal::upper_tail(((n * m) as f64 / 2.0 - k as f64 + 0.5) / deviation);
        let k = (1..=half).take_while(|&k| missed(k) <= 0.05).last()?;
        return Some((k, 1.0 - missed(k)));
    }
    let ranks: Vec<u64> = (1..=(n + m) as u64).map(|rank| 2 * rank).collect();
    let ways = ways(&ranks, m);
    let all: f64 = ways.iter().sum();
    let least = m * (m + 1);
    let (mut below, mut best) = (0.0, None);
    for k in 1..=half {
        // Doubled rank sums of U = k − 1.
        below += ways.get(least + 2 * (k - 1)).copied().unwrap_or(0.0);
        let missed = 2.0 * below / all;
        if missed > 0.05 {
            break;
        }
        best = Some((k, 1.0 - missed));
    }
    best
}

/// Twice the mid-rank of each sample among all, those of `a` first, and the sizes of the groups of equal samples.
fn doubled_ranks(a: &[f64], b: &[f64]) -> (Vec<u64>, Vec<usize>) {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&i, &j| all[i].total_cmp(&all[j]));
    let mut ranks = vec![0; all.len()];
    let mut ties = Vec::new();
    let mut at = 0;
    while at < order.len() {
        // Not by bits: 0 and −0 are equal.
        let end = at + order[at..].iter().take_while(|&&i| all[i] == all[order[at]]).count();
        for &i in &order[at..end] {
            ranks[i] = (at + 1 + end) as u64;
        }
        ties.push(end - at);
        at = end;
    }
    (ranks, ties)
}

/// How many choices of `m` of these doubled ranks have each sum.
fn ways(ranks: &[u64], m: usize) -> Vec<f64> {
    let most = ranks.iter().sum::<u64>() as usize;
    let mut ways = vec![vec![0.0; most + 1]; m + 1];
    ways[0][0] = 1.0;
    for (seen, &rank) in ranks.iter().enumerate() {
        let rank = rank as usize;
        for chosen in (1..=m.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(chosen);
            for (to, from) in more[0][rank..].iter_mut().zip(&fewer[chosen - 1]) {
                *to += from;
            }
        }
    }
    ways.swap_remove(m)
}

/// Share of the choices whose sum is at least as far from the mean.
fn exact(ranks: &[u64], m: usize, sum: u64) -> f64 {
    let mean = (m * (ranks.len() + 1)) as u64;
    let far = sum.abs_diff(mean);
    let ways = ways(ranks, m);
    let beyond = ways.iter().enumerate().filter(|(at, _)| (*at as u64).abs_diff(mean) >= far);
    (beyond.map(|(_, count)| count).sum::<f64>() / ways.iter().sum::<f64>()).min(1.0)
}

fn approximate(n: usize, m: usize, u: f64, ties: &[usize]) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let tied: f64 = ties.iter().map(|&t| (t as f64).powi(3) - t as f64).sum();
    let variance = n * m / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - n * m / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * normal::upper_tail(z)).min(1.0)
}

#[cfg(test)]
mod tests;
