//! From a sweep over MTUs to advice: the best one, those that are as good, and what a byte and a packet cost. Pure.

use crate::{
    record::sweep::{CostFit, CostPoint, SweepCell, SweepReport, SweepResult, Tuned},
    stats::{
        self,
        compare::{Criterion, Verdict, compare},
        line::least_squares,
    },
};

/// Below this ratio of the largest to the smallest bytes a traversal, a line through the costs would be a guess.
const SPREAD: f64 = 1.3;

/// The advice for every flow and test.
pub fn tuned(sweep: &SweepReport, mtus: &[u32]) -> Vec<Tuned> {
    sweep.results.iter().filter_map(|result| one(result, mtus)).collect()
}

fn one(result: &SweepResult, mtus: &[u32]) -> Option<Tuned> {
    let samples = |cell: &SweepCell| cell.rounds.iter().map(|round| round.headline).collect::<Vec<f64>>();
    let mtu = |cell: &SweepCell| mtus.get(cell.variant as usize - 1).copied().unwrap_or(cell.mtu);
    let best = result.cells.iter().max_by(|a, b| a.headline.median.total_cmp(&b.headline.median))?;
    let differs = |a: &SweepCell, b: &SweepCell| {
        let comparison = compare(&samples(a), &samples(b), Criterion::THROUGHPUT);
        comparison.is_some_and(|comparison| comparison.verdict != Verdict::NoDifference)
    };
    let others = result.cells.iter().filter(|cell| cell.variant != best.variant);
    let as_good: Vec<u32> = others.filter(|cell| !differs(cell, best)).map(mtu).collect();
    let (fit, no_fit) = match fit(result, mtus) {
        Ok(fit) => (Some(fit), None),
        Err(why) => (None, Some(why)),
    };
    Some(Tuned {
        from: result.from.clone(),
        to: result.to.clone(),
        test: result.test,
        fit,
        no_fit,
        best: mtu(best),
        headline: best.headline,
        no_difference: as_good.len() + 1 == result.cells.len(),
        as_good,
    })
}

/// Through all rounds, not their medians: what is left over is the noise of a round.
fn fit(result: &SweepResult, mtus: &[u32]) -> Result<CostFit, String> {
    if result.test.is_rr() {
        return Err("requests and responses have no cost a byte".to_owned());
    }
    let mut points = Vec::new();
    let mut medians = Vec::new();
    for cell in &result.cells {
        let both = cell.rounds.iter().filter_map(|round| Some((round.bytes_per_packet?, round.cpu_ns?)));
        let both: Vec<(f64, f64)> = both.filter(|(size, _)| *size > 0.0).collect();
        let middle = |pick: fn(&(f64, f64)) -> f64| stats::median(&both.iter().map(pick).collect::<Vec<_>>());
        if let (Some(size), Some(cpu)) = (middle(|p| p.0), middle(|p| p.1)) {
            medians.push((mtus.get(cell.variant as usize - 1).copied().unwrap_or(cell.mtu), size, cpu));
        }
        points.extend(both.iter().map(|(size, cpu)| (1.0 / size, *cpu)));
    }
    let sizes = medians.iter().map(|(_, size, _)| *size);
    let (least, most) = sizes.fold((f64::INFINITY, 0.0_f64), |(least, most), size| (least.min(size), most.max(size)));
    if medians.len() < 2 {
        return Err("the path's interfaces did not count, so the bytes a packet are not known".to_owned());
    }
    if most < least * SPREAD {
        return Err(format!(
            "at every MTU the stack is crossed with {:.0} KB at once: segmentation offload makes the MTU a matter of the wire alone",
            most / 1e3
        ));
    }
    let line = least_squares(&points).ok_or_else(|| "the costs lie on no line".to_owned())?;
    let point = |&(mtu, size, cpu): &(u32, f64, f64)| CostPoint {
        mtu,
        bytes_per_packet: size,
        cpu_ns_per_byte: cpu,
        fitted: line.at(1.0 / size),
    };
    Ok(CostFit {
        a_ns_per_byte: line.intercept,
        b_ns_per_packet: line.slope,
        r_squared: line.r_squared,
        residual_ns: line.residual,
        points: medians.iter().map(point).collect(),
    })
}

#[cfg(test)]
mod tests;
