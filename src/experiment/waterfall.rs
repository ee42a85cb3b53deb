//! From a sweep over layers to what each of them adds. Pure.

use crate::{
    record::sweep::{Layer, SweepCell, SweepReport, SweepResult, Waterfall},
    stats::compare::{Criterion, compare},
};

/// Bits of a KiB.
const KIB: f64 = 8.0 * 1024.0;

/// One for each test. The names of nodes differ between layers, so cells are brought together by test alone.
pub fn waterfalls(sweep: &SweepReport) -> Vec<Waterfall> {
    let mut tests: Vec<_> = sweep.results.iter().map(|result| result.test).collect();
    tests.dedup();
    let mut seen = Vec::new();
    for test in tests {
        if !seen.contains(&test) {
            seen.push(test);
        }
    }
    let of = |test| {
        let results: Vec<&SweepResult> = sweep.results.iter().filter(|result| result.test == test).collect();
        let mut cells: Vec<&SweepCell> = results.iter().flat_map(|result| &result.cells).collect();
        cells.sort_by_key(|cell| cell.variant);
        cells.dedup_by_key(|cell| cell.variant);
        let mut layers: Vec<Layer> = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let time_ns = if test.is_rr() { 1e9 } else { KIB * 1e9 } / cell.headline.median;
            let against = |other: Option<&&SweepCell>| compare(&samples(other?), &samples(cell), Criterion::THROUGHPUT);
            layers.push(Layer {
                name: sweep.variants[cell.variant as usize - 1].label.clone(),
                time_ns,
                added_ns: layers.last().map_or(time_ns, |before| time_ns - before.time_ns),
                headline: cell.headline,
                cpu_ns: cell.cpu_ns.map(|spread| spread.median),
                against_previous: against(at.checked_sub(1).and_then(|before| cells.get(before))),
                against_bare: if at > 0 { against(cells.first()) } else { None },
            });
        }
        Waterfall { test, layers }
    };
    seen.into_iter().map(of).filter(|waterfall| !waterfall.layers.is_empty()).collect()
}

fn samples(cell: &SweepCell) -> Vec<f64> {
    cell.rounds.iter().map(|round| round.headline).collect()
}
