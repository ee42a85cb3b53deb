//! The verdicts of `offload verify` and the outcome of `offload bisect` as text of at most 80 columns.

use std::io::{self, Write};

use crate::record::{BisectRecord, OffloadCheck, OffloadRecord, OffloadVerdict};

const WIDTH: usize = 80;

/// Writes a verification.
pub fn verify(record: &OffloadRecord, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} on {}", record.topology.name, record.kernel)?;
    writeln!(out)?;
    let device = |check: &OffloadCheck| check.device.clone().unwrap_or_else(|| check.path.clone());
    let wide = |text: &dyn Fn(&OffloadCheck) -> usize| record.checks.iter().map(text).max().unwrap_or(0);
    let first = wide(&|check| device(check).chars().count()).clamp(6, 30);
    let second = wide(&|check| check.check.chars().count()).max(5);
    writeln!(out, "{:first$}  {:second$}  {:<12}  evidence", "device", "check", "verdict")?;
    for check in &record.checks {
        let head =
            format!("{:first$}  {:second$}  {:<12}  ", short(&device(check), first), check.check, check.verdict.text());
        if check.verdict.is_broken() {
            writeln!(out, "{}", head.trim_end())?;
            wrapped(out, "    ", 4, &check.evidence)?;
        } else {
            let line = format!("{head}{}", check.evidence);
            writeln!(out, "{}", short(line.split_once(';').map_or(&*line, |(first, _)| first), WIDTH))?;
        }
        if check.verdict.is_broken() {
            for finding in check.findings.iter().filter(|finding| !check.evidence.contains(finding.kind.text())).take(4)
            {
                wrapped(out, "    also: ", 10, &finding.to_string())?;
            }
            if let Some(cure) = &check.cure {
                wrapped(out, "    cure: ", 10, cure)?;
            }
        }
    }
    writeln!(out)?;
    writeln!(out, "{}", summary(record))
}

fn short(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn summary(record: &OffloadRecord) -> String {
    let count = |verdict: OffloadVerdict| record.checks.iter().filter(|check| check.verdict == verdict).count();
    use OffloadVerdict::{Blackhole, Corrupt, Drop, Inconclusive, Ineffective, Leak, NotActive, Pass, Skip};
    let order = [Corrupt, Leak, Drop, Blackhole, NotActive, Ineffective, Inconclusive, Pass, Skip];
    let parts: Vec<String> = order
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {}", count(verdict), verdict.text()))
        .collect();
    let ended = if record.interrupted { "; interrupted" } else { "" };
    format!("{} in {:.1} s{ended}", parts.join(", "), record.elapsed_s)
}

/// A head, then words that are broken at the width and indented.
fn wrapped(out: &mut dyn Write, head: &str, indent: usize, text: &str) -> io::Result<()> {
    let indent = indent.min(WIDTH / 2 + 8);
    let mut line = head.to_owned();
    let mut fresh = true;
    if line.chars().count() > indent {
        writeln!(out, "{}", line.trim_end())?;
        line = " ".repeat(indent);
    }
    for word in text.split_whitespace() {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            (line, fresh) = (" ".repeat(indent), true);
        }
        if !fresh {
            line.push(' ');
        }
        // A word longer than a line is broken where the line ends.
        let mut rest = word;
        while indent + rest.chars().count() > WIDTH && fresh {
            let cut = rest.char_indices().nth(WIDTH - indent).map_or(rest.len(), |(at, _)| at);
            writeln!(out, "{line}{}", &rest[..cut])?;
            (line, rest) = (" ".repeat(indent), &rest[cut..]);
        }
        line += rest;
        fresh = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes the outcome of a search.
pub fn bisect(record: &BisectRecord, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: goal {} of goodput", record.topology.name, rate(record.goal))?;
    writeln!(out)?;
    writeln!(out, "{:>12}  goal  flipped", "goodput")?;
    for trial in &record.trials {
        let met = if trial.met { "met" } else { "-" };
        let what = match trial.flipped.as_slice() {
            [] => "nothing: as found".to_owned(),
            [only] => only.clone(),
            many => format!("{} features", many.len()),
        };
        wrapped(out, &format!("{:>12}  {met:<4}  ", rate(trial.goodput)), 20, &what)?;
    }
    writeln!(out)?;
    if record.met_as_found {
        return writeln!(out, "the goal is met as the path is: there is nothing to find");
    }
    if record.culprits.is_empty() {
        return writeln!(out, "no set of features that was tried meets the goal");
    }
    let sure = if record.confirmed { "confirmed by A/B" } else { "NOT confirmed by A/B: the path is too unsteady" };
    writeln!(out, "smallest set whose flip meets the goal ({sure}):")?;
    for culprit in &record.culprits {
        writeln!(out, "  {culprit}")?;
    }
    writeln!(out, "now:")?;
    for command in &record.commands {
        writeln!(out, "  {command}")?;
    }
    writeln!(out, "at every boot:")?;
    for line in record.persistent.iter().flat_map(|text| text.lines()) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn rate(bits: f64) -> String {
    match bits {
        bits if bits >= 1e9 => format!("{:.2} Gb/s", bits / 1e9),
        bits if bits >= 1e6 => format!("{:.1} Mb/s", bits / 1e6),
        bits => format!("{:.1} kb/s", bits / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut out = Vec::new();
        let text = "words and_a_word_that_is_much_longer_than_any_line_of_a_terminal_can_be_without_being_broken end";
        wrapped(&mut out, "head ", 30, text).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= WIDTH), "{out}");
        assert_eq!(out.replace(['\n', ' '], ""), format!("head{}", text.replace(' ', "")));
    }
}
