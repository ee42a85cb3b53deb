//! Pairs that ran at the same time: each of them in a line, and their sum.

use std::io::{self, Write};

use super::text::{BAD, BOLD, INDENT, WIDTH, cut, scaled, width};
use crate::record::{FlowRecord, RunRecord, TogetherRecord};

/// With more flows than these their own sections are left out, but of those that are not valid.
const IN_FULL: usize = 4;

/// Does a flow get a section of its own?
pub fn in_full(record: &RunRecord, flow: &FlowRecord) -> bool {
    record.together.is_empty() || record.flows.len() <= IN_FULL || flow.tests.iter().any(|test| !test.verdict.valid)
}

/// One test.
pub fn section(sum: &TogetherRecord, record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    let streams = if sum.streams == 1 { String::new() } else { format!(" × {} streams", sum.streams) };
    writeln!(out, "\n{BOLD}{} pairs{streams} at the same time{BOLD:#}", sum.pairs)?;
    match &sum.headline {
        None => {
            writeln!(out, "  {BOLD}{:<1$}{BOLD:#}no round in which all came to a result", sum.test.name(), INDENT - 2)?
        }
        Some(headline) => {
            let (scale, unit, digits) = scaled(headline.median, sum.unit);
            let figure = |value: f64| format!("{:.digits$}", value / scale);
            let range = match headline.samples {
                0 | 1 => String::new(),
                _ => format!(", range {} – {}", figure(headline.min), figure(headline.max)),
            };
            let together = sum.rounds.iter().map(|round| round.overlap).fold(1.0, f64::min) * 100.0;
            let value = format!("{} {unit}", figure(headline.median));
            let name = sum.test.name();
            writeln!(out, "  {BOLD}{name:<0$}{value:<16}{BOLD:#}in all{range}", INDENT - 2)?;
            writeln!(out, "{:INDENT$}all windows open for {together:.0} % of the time", "")?;
        }
    }
    for flow in &record.flows {
        let Some(test) = flow.tests.iter().find(|test| test.test == sum.test) else { continue };
        let value = match &test.summary {
            None => "no result".to_owned(),
            Some(summary) => {
                let (scale, unit, digits) = scaled(summary.headline.median, summary.unit);
                format!("{:.digits$} {unit}", summary.headline.median / scale)
            }
        };
        let mut notes = Vec::new();
        if let Some(summary) = &test.summary {
            notes.extend(summary.retransmits.filter(|&count| count > 0).map(|count| format!("retransmits {count}")));
            notes.extend(
                summary.datagrams.as_ref().filter(|d| d.lost > 0).map(|d| format!("lost {} of {}", d.lost, d.sent)),
            );
        }
        let room = WIDTH - INDENT - 18;
        let mut line = format!("{value:<16}  {}", cut(&format!("{} → {}", flow.from, flow.to), room));
        let notes = notes.join(", ");
        if !notes.is_empty() && INDENT + width(&line) + 2 + width(&notes) <= WIDTH {
            line += &format!("  {notes}");
        }
        match test.verdict.valid {
            true => writeln!(out, "{:INDENT$}{line}", "")?,
            false => writeln!(out, "{:INDENT$}{BAD}{}{BAD:#}", "", cut(&format!("{line}  NOT VALID"), WIDTH - INDENT))?,
        }
    }
    Ok(())
}
