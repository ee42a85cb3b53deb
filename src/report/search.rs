//! `search` at a terminal.

use std::io::{self, Write};

use super::{sweep::amount, wrap::wrapped};
use crate::record::sweep::{SearchEnd, SearchReport, TrialRecord};

/// The answer first, then the loads that were tried.
pub fn search(report: &SearchReport, out: &mut impl Write) -> io::Result<()> {
    let unit = report.unit;
    let limits = limits(report);
    writeln!(out, "{} {} → {}  {}  {limits}", report.topology, report.from, report.to, report.test)?;
    wrapped(out, "  ", &answer(report))?;
    if let Some(conditional) = report.conditional {
        let share = report.ceiling.map(|ceiling| {
            let most = ceiling.bits_per_second() as f64;
            format!(", {:.1} % of the path's ceiling of {}", conditional / most * 100.0, amount(unit, most))
        });
        let text = format!("what arrives there: {}{}", amount(unit, conditional), share.unwrap_or_default());
        wrapped(out, "  ", &text)?;
    }
    writeln!(out)?;
    writeln!(out, "  {:>16}  {:>6}  {:>4}  {:>10}  {:>10}", "load", "trials", "good", "worst loss", "worst p99")?;
    let mut loads: Vec<f64> = report.trials.iter().map(|trial| trial.load).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    for load in loads {
        let at: Vec<&TrialRecord> = report.trials.iter().filter(|trial| trial.load == load).collect();
        let worst = at.iter().map(|trial| trial.loss).fold(0.0, f64::max);
        let p99 = at.iter().filter_map(|trial| trial.p99_us).reduce(f64::max);
        let p99 = p99.map_or_else(String::new, |p99| format!("{p99:.0} µs"));
        let good = at.iter().filter(|trial| trial.good).count();
        let (load, loss) = (amount(unit, load), format!("{} %", percent(worst)));
        writeln!(out, "{}", format!("  {load:>16}  {:>6}  {good:>4}  {loss:>10}  {p99:>10}", at.len()).trim_end())?;
    }
    writeln!(out)?;
    let text = format!(
        "{} trials of {} in {:.1} s; a load fits when at most {:.0} % of its trials are bad",
        report.trials.len(),
        report.duration,
        report.elapsed_s,
        report.exceed_ratio * 100.0
    );
    wrapped(out, "  ", &text)?;
    for warning in &report.warnings {
        wrapped(out, "  ! ", warning)?;
    }
    Ok(())
}

/// What a load must meet.
pub fn limits(report: &SearchReport) -> String {
    match report.max_p99_us {
        Some(p99) => format!("loss ≤ {} %, p99 ≤ {p99:.0} µs", percent(report.max_loss)),
        None => format!("loss ≤ {} %", percent(report.max_loss)),
    }
}

/// The highest load that meets the limits, or why there is none.
pub fn answer(report: &SearchReport) -> String {
    let unit = report.unit;
    let lower = report.lower.map_or_else(|| "none".to_owned(), |lower| amount(unit, lower));
    match (report.ended, report.upper) {
        (SearchEnd::Found, Some(upper)) => format!("{lower} meets the limits, {} does not", amount(unit, upper)),
        (SearchEnd::AtMaximum, _) => format!("even the highest rate meets them: {lower}; see --max"),
        (SearchEnd::Generator, _) => format!("{lower} meets them, and the generator cannot offer more; see --streams"),
        (SearchEnd::NoneFits, _) => "not even the lowest rate meets them; see --min".to_owned(),
        (_, upper) => {
            let upper = upper.map_or_else(|| "unknown".to_owned(), |upper| amount(unit, upper));
            format!("not found within its trials: between {lower} and {upper}")
        }
    }
}

/// `0.01` of a share of 0.0001
pub fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
