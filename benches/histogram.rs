//! What it costs to record a latency, against what the fastest transaction takes: `cargo bench --bench histogram`.
//!
//! The bounds are those of the engine's histograms: 1 ns to 60 s, 3 significant digits.

use std::{hint::black_box, time::Instant};

use hdrhistogram::Histogram;

const RECORDS: u32 = 10_000_000;
const ROUNDS: usize = 7;
/// A transaction over loopback or a veth, of two threads that each have a CPU, takes this long at least.
const TRANSACTION_NS: f64 = 5_000.0;

fn main() {
    let mut costs: Vec<f64> = (0..ROUNDS).map(|_| recording() - counting()).collect();
    costs.sort_by(f64::total_cmp);
    let (least, median, most) = (costs[0], costs[ROUNDS / 2], costs[ROUNDS - 1]);
    let share = median / TRANSACTION_NS * 100.0;
    println!("recording a latency: {median:.2} ns [{least:.2} – {most:.2}], {share:.2} % of a transaction of 5 µs");
}

/// Latencies as they come: around 6 µs, one in 64 far away.
fn latency(i: u32) -> u64 {
    let near = 5_500 + u64::from(i.wrapping_mul(2_654_435_761) >> 22);
    if i.is_multiple_of(64) { near * 20 } else { near }
}

fn recording() -> f64 {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid");
    let start = Instant::now();
    for i in 0..RECORDS {
        histogram.saturating_record(black_box(latency(i)));
    }
    let spent = start.elapsed();
    black_box(&histogram);
    spent.as_nanos() as f64 / f64::from(RECORDS)
}

fn counting() -> f64 {
    let start = Instant::now();
    let mut sum = 0u64;
    for i in 0..RECORDS {
        sum = black_box(sum.wrapping_add(black_box(latency(i))));
    }
    start.elapsed().as_nanos() as f64 / f64::from(RECORDS)
}
