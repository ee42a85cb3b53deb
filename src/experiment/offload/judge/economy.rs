//! What CPU time a feature saves.

use super::{Check, row};
use crate::{
    record::{OffloadCheck, OffloadVerdict},
    stats::compare::{CPU_EFFECT, Criterion, Verdict, compare},
};

/// What CPU time a feature saves: times a byte with it off and with it on, or why there are none.
pub fn economy(check: &Check, path: &str, costs: Result<(&[f64], &[f64]), &str>) -> OffloadCheck {
    let mut row = row(check, path, OffloadVerdict::Inconclusive, String::new());
    row.check = check.group.cpu.unwrap_or(check.group.name).to_owned();
    let compared = costs.map(|(off, on)| compare(off, on, Criterion::CPU));
    let compared = match compared {
        Ok(Some(compared)) => compared,
        Ok(None) => {
            row.evidence = "no CPU time was measured".to_owned();
            return row;
        }
        Err(why) => {
            row.evidence = format!("CPU time could not be measured: {why}");
            return row;
        }
    };
    // Percent of what a byte costs with it off: from the least to the most.
    let percent = |change: f64| format!("{:.0} %", change.abs() * 100.0);
    let change = compared.change.unwrap_or_default();
    let within = compared.change_interval.map_or_else(String::new, |interval| {
        let most = (-interval.low).min(1.0);
        format!(" (95 %: {:.0} to {:.0} %)", -interval.high * 100.0, most * 100.0)
    });
    // May it save as much as matters, for all that is known?
    let is_open = compared.change_interval.is_none_or(|interval| -interval.low >= CPU_EFFECT);
    let held: Vec<&str> = check.still.iter().flat_map(|(_, asked)| asked.keys()).map(String::as_str).collect();
    let still = if held.is_empty() { String::new() } else { format!(", with {} off", held.join(", ")) };
    let figures = format!(
        "{:.3} ns/B with it on, {:.3} with it off{still}; {} rounds each by turns, p {:.3}",
        compared.b,
        compared.a,
        compared.rounds_a.min(compared.rounds_b),
        compared.p
    );
    (row.verdict, row.evidence) = match compared.verdict {
        Verdict::Better => (OffloadVerdict::Pass, format!("saves {} of CPU time{within}: {figures}", percent(change))),
        Verdict::Worse => (OffloadVerdict::Ineffective, format!("costs {} more CPU time: {figures}", percent(change))),
        Verdict::NoDifference if is_open => {
            (OffloadVerdict::Inconclusive, format!("what it saves is lost in the noise{within}: {figures}"))
        }
        Verdict::NoDifference => {
            (OffloadVerdict::Ineffective, format!("saves no CPU time ({}): {figures}", compared.reason.name()))
        }
    };
    row
}
