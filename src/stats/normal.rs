//! The normal distribution, for ranks of many samples.

use std::f64::consts::{PI, SQRT_2};

/// Probability that a standard normal variable is at least `z`; relative error below 1e-12.
pub fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let x = z / SQRT_2;
    if x < 3.0 { (1.0 - erf(x)) / 2.0 } else { erfc(x) / 2.0 }
}

/// Abramowitz & Stegun 7.1.6: every term is positive, nothing cancels.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Abramowitz & Stegun 7.1.14, from the far end; for x ≥ 3.
fn erfc(x: f64) -> f64 {
    let fraction = (1..=60).rev().fold(x, |rest, k| x + f64::from(k) / 2.0 / rest);
    (-x * x).exp() / PI.sqrt() / fraction
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF, Normal};

    use super::*;

    #[test]
    fn the_tail_is_that_of_statrs() {
        let oracle = Normal::standard();
        for step in -80..=350 {
            let z = f64::from(step) / 10.0;
            let (ours, theirs) = (upper_tail(z), oracle.sf(z));
            assert!((ours - theirs).abs() <= 1e-9 * theirs, "z = {z}: {ours} and {theirs}");
        }
    }

    #[test]
    fn quantiles_of_the_tables() {
        for (z, tail) in [(1.959963984540054, 0.025), (1.644853626951473, 0.05), (3.090232306167813, 0.001)] {
            assert!((upper_tail(z) - tail).abs() < 1e-13);
        }
    }
}
