//! A table of GitHub's Markdown.

use std::io::{self, Write};

use super::tests;
use crate::{record::RunRecord, report::quantity};

pub fn write(runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    for (at, (run, record)) in runs.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let number = run.map(|run| format!("Run {run}, ")).unwrap_or_default();
        let (machine, name) = (&record.machine, escaped(&record.topology.name));
        writeln!(
            out,
            "{number}{name}, {}, netbench {}, Linux {}, {} CPUs {}\n",
            escaped(&record.started),
            escaped(&record.netbench),
            escaped(&machine.kernel),
            machine.cpus,
            escaped(&machine.cpu)
        )?;
        writeln!(
            out,
            "| flow | test | median | interval | rounds | p50 | p99 | valid |\n|---|---|---:|---|---:|---:|---:|---|"
        )?;
        for (flow, test) in tests(record) {
            let cells = match &test.summary {
                None => ["no result".to_owned(), String::new(), "0".to_owned(), String::new(), String::new()],
                Some(summary) => {
                    let time = |pick: fn(&crate::measured::Latency) -> u64| {
                        summary.latency.as_ref().map(|l| quantity::time(pick(l) as f64)).unwrap_or_default()
                    };
                    [
                        quantity::headline(summary.headline.median, summary.unit),
                        quantity::interval(&summary.headline, summary.unit),
                        summary.headline.samples.to_string(),
                        time(|l| l.p50_ns),
                        time(|l| l.p99_ns),
                    ]
                }
            };
            let [median, interval, rounds, p50, p99] = cells;
            let valid = if test.verdict.valid { "yes" } else { "**no**" };
            let (from, to) = (escaped(&flow.from), escaped(&flow.to));
            writeln!(
                out,
                "| {from} → {to} | {} | {median} | {interval} | {rounds} | {p50} | {p99} | {valid} |",
                test.test.name().replace('_', "\\_")
            )?;
        }
    }
    Ok(())
}

/// What would be markup, or end the cell.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' | '&' | '!' | '#' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
