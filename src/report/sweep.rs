//! `sweep`, `mtu tune` and `overhead` at a terminal: tables of at most 80 columns.

use std::io::{self, Write};

use super::wrap::wrapped;
use crate::{
    record::{
        Unit,
        sweep::{CostFit, OverheadReport, SweepCell, SweepReport, SweepResult, TuneReport, Tuned},
    },
    stats::{
        Spread,
        compare::{Comparison, Verdict},
    },
};

/// A headline with its unit.
pub fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::BitsPerSecond if value >= 1e9 => format!("{:.2} Gbit/s", value / 1e9),
        Unit::BitsPerSecond => format!("{:.2} Mbit/s", value / 1e6),
        Unit::TransactionsPerSecond => format!("{value:.0} trans/s"),
        Unit::FramesPerSecond => format!("{value:.0} frames/s"),
    }
}

/// The interval in the unit of the median, or the range where there are too few rounds.
pub fn interval(unit: Unit, spread: &Spread) -> String {
    let (low, high) = spread.interval.map_or((spread.min, spread.max), |interval| (interval.low, interval.high));
    let (scale, digits) = match unit {
        Unit::BitsPerSecond if spread.median >= 1e9 => (1e9, 2),
        Unit::BitsPerSecond => (1e6, 2),
        Unit::TransactionsPerSecond | Unit::FramesPerSecond => (1.0, 0),
    };
    let mark = if spread.interval.is_some() { "" } else { " range" };
    format!("{:.digits$} – {:.digits$}{mark}", low / scale, high / scale)
}

/// `+9.9 %  better`, or `~` where nothing can be told.
pub fn change(comparison: &Comparison) -> String {
    match (comparison.verdict, comparison.change) {
        (Verdict::NoDifference, _) => "~".to_owned(),
        (verdict, Some(change)) => format!("{:+.1} %  {}", change * 100.0, verdict.name()),
        (verdict, None) => verdict.name().to_owned(),
    }
}

fn head(report: &SweepReport, what: &str, out: &mut impl Write) -> io::Result<()> {
    let text = format!(
        "{what}: {} variants, {} rounds of {}, random order (--seed {}), {:.1} s",
        report.variants.len(),
        report.rounds,
        report.duration,
        report.seed,
        report.elapsed_s
    );
    wrapped(out, "", &text)
}

fn cell_row(number: &str, cell: &SweepCell, unit: Unit, out: &mut impl Write) -> io::Result<()> {
    let against = cell.against_first.as_ref().map(change).unwrap_or_default();
    let doubt = if cell.doubts.is_empty() { "" } else { " ! not valid" };
    let (median, interval) = (amount(unit, cell.headline.median), interval(unit, &cell.headline));
    let row = format!("  {number:>5}  {median:>15}  {interval:>18}  {against}{doubt}");
    writeln!(out, "{}", row.trim_end())
}

fn notes(report: &SweepReport, out: &mut impl Write) -> io::Result<()> {
    let mut doubts: Vec<String> = Vec::new();
    for cell in report.results.iter().flat_map(|result| &result.cells) {
        for doubt in &cell.doubts {
            let text = format!("{}: {doubt}", report.variants[cell.variant as usize - 1].label);
            if !doubts.contains(&text) && doubts.len() < 8 {
                doubts.push(text);
            }
        }
    }
    for text in doubts.iter().chain(&report.warnings) {
        wrapped(out, "  ! ", text)?;
    }
    if report.interrupted {
        wrapped(out, "  ! ", "interrupted: later rounds are missing")?;
    }
    Ok(())
}

/// One table for each flow and test.
pub fn sweep(report: &SweepReport, out: &mut impl Write) -> io::Result<()> {
    head(report, &format!("sweep of {}", report.topology), out)?;
    for (at, variant) in report.variants.iter().enumerate() {
        let failed = variant.failed.as_ref().map(|why| format!("  FAILED: {why}")).unwrap_or_default();
        wrapped(out, &format!("  {:>5}  ", at + 1), &format!("{}{failed}", variant.label))?;
    }
    for result in &report.results {
        writeln!(out, "\n{} → {}  {}", result.from, result.to, result.test)?;
        writeln!(out, "  {:>5}  {:>15}  {:>18}  against the first", "", "median", "interval")?;
        for cell in &result.cells {
            cell_row(&cell.variant.to_string(), cell, result.unit, out)?;
        }
    }
    writeln!(out)?;
    wrapped(out, "  ", "~ no difference that can be told, or none that matters (Mann-Whitney, 5 %)")?;
    notes(report, out)
}

/// The sweep over MTUs, the cost of bytes and packets, and the best.
pub fn tune(report: &TuneReport, out: &mut impl Write) -> io::Result<()> {
    let sweep = &report.sweep;
    head(sweep, &format!("MTU of {}", sweep.topology), out)?;
    for (result, tuned) in sweep.results.iter().zip(&report.tuned) {
        writeln!(out, "\n{} → {}  {}", result.from, result.to, result.test)?;
        let heading = ["MTU", "median", "interval", "of ceiling", "CPU ns/B", "bytes/pkt"];
        let [mtu, median, range, ceiling, cpu, bytes] = heading;
        writeln!(out, "  {mtu:>5}  {median:>15}  {range:>18}  {ceiling:>10}  {cpu:>8}  {bytes:>9}")?;
        for cell in &result.cells {
            tune_row(report, result, cell, out)?;
        }
        match (&tuned.fit, &tuned.no_fit) {
            (Some(fit), _) => wrapped(out, "  ", &formula(fit))?,
            (None, Some(why)) => wrapped(out, "  ", &format!("no fit of the CPU cost: {why}"))?,
            (None, None) => {}
        }
        wrapped(out, "  ", &advice(tuned, result.unit))?;
    }
    writeln!(out)?;
    notes(sweep, out)
}

/// The line through the costs.
pub fn formula(fit: &CostFit) -> String {
    format!(
        "CPU ns/byte = {:.3} + {:.0} / S (S: bytes a packet; R² {:.2}, residuals ± {:.3} ns/B)",
        fit.a_ns_per_byte, fit.b_ns_per_packet, fit.r_squared, fit.residual_ns
    )
}

/// The best MTU, those as good, or that no difference can be told.
pub fn advice(tuned: &Tuned, unit: Unit) -> String {
    let (median, range) = (amount(unit, tuned.headline.median), interval(unit, &tuned.headline));
    let best = format!("best: MTU {} with {median} ({range})", tuned.best);
    let list = |mtus: &[u32]| mtus.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match (tuned.no_difference, tuned.as_good.is_empty()) {
        (true, _) => format!("no difference between the MTUs can be told; the median is best at {}", tuned.best),
        (false, true) => best,
        (false, false) => format!("{best}; as good: {}", list(&tuned.as_good)),
    }
}

fn tune_row(report: &TuneReport, result: &SweepResult, cell: &SweepCell, out: &mut impl Write) -> io::Result<()> {
    let mtu = report.mtus.get(cell.variant as usize - 1).copied().unwrap_or(cell.mtu);
    let ceiling = cell.ceiling.map(|ceiling| format!("{:.1} %", cell.headline.median / ceiling * 100.0));
    let ceiling = ceiling.unwrap_or_else(|| "no rate".to_owned());
    let cpu = cell.cpu_ns.map(|cpu| format!("{:.3}", cpu.median)).unwrap_or_default();
    let bytes: Vec<f64> = cell.rounds.iter().filter_map(|round| round.bytes_per_packet).collect();
    let bytes = crate::stats::median(&bytes).map(|bytes| format!("{bytes:.0}")).unwrap_or_default();
    let (median, range) = (amount(result.unit, cell.headline.median), interval(result.unit, &cell.headline));
    writeln!(out, "  {mtu:>5}  {median:>15}  {range:>18}  {ceiling:>10}  {cpu:>8}  {bytes:>9}")
}

/// Columns of a waterfall's bars.
const BAR: usize = 24;

/// Each layer's bar begins where the one before ended.
pub fn overhead(report: &OverheadReport, out: &mut impl Write) -> io::Result<()> {
    head(&report.sweep, "overhead", out)?;
    for waterfall in &report.waterfalls {
        let is_rr = waterfall.test.is_rr();
        let what = if is_rr { "time of a transaction" } else { "time of a KiB" };
        writeln!(out, "\n{}  {what}", waterfall.test)?;
        let most = waterfall.layers.iter().map(|layer| layer.time_ns).fold(0.0, f64::max);
        let column = |ns: f64| ((ns / most * BAR as f64).round() as usize).min(BAR);
        let mut before = 0.0_f64;
        for layer in &waterfall.layers {
            let (from, to) = (column(before.min(layer.time_ns)), column(before.max(layer.time_ns)));
            // A layer that makes it faster is drawn hollow.
            let fill = if layer.added_ns < 0.0 { '░' } else { '█' };
            let bar: String = (0..BAR).map(|at| if at >= from && at < to.max(from + 1) { fill } else { ' ' }).collect();
            let sign = if before == 0.0 {
                " "
            } else if layer.added_ns < 0.0 {
                "-"
            } else {
                "+"
            };
            let added = format!("{sign}{}", nanos(layer.added_ns.abs()));
            let told = match &layer.against_previous {
                Some(comparison) if comparison.verdict == Verdict::NoDifference => "~".to_owned(),
                Some(comparison) => comparison.change.map(|c| format!("{:+.0} %", c * 100.0)).unwrap_or_default(),
                None => String::new(),
            };
            let headline = amount(Unit::of(waterfall.test), layer.headline.median);
            let name: String = layer.name.chars().take(17).collect();
            let row = format!("{name:<17} {added:>9} {bar} {headline:>15} {told:>6}");
            writeln!(out, "{}", row.trim_end())?;
            before = layer.time_ns;
        }
    }
    writeln!(out)?;
    let text = "time follows from the median rate; the share is the change of the rate against the layer before, ~ where none can be told";
    wrapped(out, "  ", text)?;
    notes(&report.sweep, out)
}

fn nanos(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}
