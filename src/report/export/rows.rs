//! Outcomes that are no runs, as rows: a round of a variant, a check, a direction, a trial.

use std::io::{self, Write};

use super::{csv::quoted, junit, markdown};
use crate::{
    record::{
        OffloadVerdict, Unit,
        kept::Kept,
        mtu::MtuDirection,
        sweep::{SearchReport, SweepReport, TrialRecord},
    },
    report::quantity,
};

/// Names of the columns, and the rows.
struct Table {
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

const ROUNDS: &[&str] =
    &["variant", "from", "to", "mtu", "test", "round", "unit", "value", "p99_ns", "cpu_ns", "valid"];
const MEDIANS: &[&str] = &["variant", "flow", "test", "median", "interval", "rounds", "p99", "CPU", "valid"];
const CHECKS: &[&str] = &["path", "device", "check", "features", "verdict", "evidence", "cure"];
const DIRECTIONS: &[&str] = &["from", "to", "declared", "largest", "stopped_at", "ok", "finding"];
const TRIALS: &[&str] = &["from", "to", "test", "unit", "load", "offered", "arrived", "loss", "p99_us", "good"];
const FLIPS: &[&str] = &["flipped", "goodput", "met"];

fn said<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn label(sweep: &SweepReport, number: u32) -> String {
    sweep.variants.get(number as usize - 1).map_or_else(String::new, |variant| variant.label.clone())
}

/// A row a round.
fn rounds(sweep: &SweepReport) -> Table {
    let mut rows = Vec::new();
    for result in &sweep.results {
        for cell in &result.cells {
            for (at, round) in cell.rounds.iter().enumerate() {
                rows.push(vec![
                    label(sweep, cell.variant),
                    result.from.clone(),
                    result.to.clone(),
                    cell.mtu.to_string(),
                    result.test.name().to_owned(),
                    (at + 1).to_string(),
                    super::influx::unit(result.unit).to_owned(),
                    round.headline.to_string(),
                    said(round.p99_us.map(|us| us * 1e3)),
                    said(round.cpu_ns),
                    cell.doubts.is_empty().to_string(),
                ]);
            }
        }
    }
    Table { header: ROUNDS, rows }
}

/// A row a variant, for people.
fn medians(sweep: &SweepReport) -> Table {
    let mut rows = Vec::new();
    for result in &sweep.results {
        for cell in &result.cells {
            let per = if result.unit == Unit::TransactionsPerSecond { "transaction" } else { "byte" };
            rows.push(vec![
                label(sweep, cell.variant),
                format!("{} → {}", result.from, result.to),
                result.test.name().to_owned(),
                quantity::headline(cell.headline.median, result.unit),
                quantity::interval(&cell.headline, result.unit),
                cell.headline.samples.to_string(),
                said(cell.p99_us.map(|us| quantity::time(us * 1e3))),
                said(cell.cpu_ns.map(|cpu| format!("{} a {per}", quantity::time(cpu.median)))),
                if cell.doubts.is_empty() { "yes".to_owned() } else { "no".to_owned() },
            ]);
        }
    }
    Table { header: MEDIANS, rows }
}

fn finding(direction: &MtuDirection) -> String {
    let fault = direction.findings.iter().find(|finding| finding.fault).or(direction.findings.first());
    said(fault.map(|finding| format!("{}: {}", finding.verdict.word(), finding.text)))
}

fn trials(search: &SearchReport) -> Table {
    let row = |trial: &TrialRecord| {
        vec![
            search.from.clone(),
            search.to.clone(),
            search.test.name().to_owned(),
            super::influx::unit(search.unit).to_owned(),
            trial.load.to_string(),
            trial.offered.to_string(),
            trial.arrived.to_string(),
            trial.loss.to_string(),
            said(trial.p99_us),
            trial.good.to_string(),
        ]
    };
    Table { header: TRIALS, rows: search.trials.iter().map(row).collect() }
}

/// `for_people`: medians rather than rounds.
fn table(kept: &Kept, for_people: bool) -> Table {
    match kept {
        Kept::OffloadVerify(record) => {
            let rows = record.checks.iter().map(|check| {
                vec![
                    check.path.clone(),
                    said(check.device.as_ref()),
                    check.check.clone(),
                    check.features.join(" "),
                    check.verdict.text().to_owned(),
                    check.evidence.clone(),
                    said(check.cure.as_ref()),
                ]
            });
            Table { header: CHECKS, rows: rows.collect() }
        }
        Kept::MtuProbe(report) => {
            let rows = report.directions.iter().map(|direction| {
                vec![
                    direction.from.clone(),
                    direction.to.clone(),
                    said(direction.declared),
                    said(direction.largest),
                    said(direction.stopped_at),
                    direction.ok.to_string(),
                    finding(direction),
                ]
            });
            Table { header: DIRECTIONS, rows: rows.collect() }
        }
        Kept::Search(search) => trials(search),
        Kept::OffloadBisect(record) => {
            let rows = record
                .trials
                .iter()
                .map(|trial| vec![trial.flipped.join("; "), trial.goodput.to_string(), trial.met.to_string()]);
            Table { header: FLIPS, rows: rows.collect() }
        }
        Kept::Run(_) | Kept::Sweep(_) | Kept::Overhead(_) | Kept::MtuTune(_) => match (kept.sweep(), for_people) {
            (Some(sweep), true) => medians(sweep),
            (Some(sweep), false) => rounds(sweep),
            (None, _) => Table { header: ROUNDS, rows: Vec::new() },
        },
    }
}

/// RFC 4180, all under one header.
pub fn csv(all: &[(Option<i64>, Kept)], out: &mut impl Write) -> io::Result<()> {
    for (at, (run, kept)) in all.iter().enumerate() {
        let table = table(kept, false);
        let document = kept.document();
        if at == 0 {
            write!(out, "run,kind,started,topology,{}\r\n", table.header.join(","))?;
        }
        for row in &table.rows {
            let head =
                [said(*run), kept.kind().to_string(), document.started().to_owned(), document.topology().to_owned()];
            let cells: Vec<String> = head.iter().chain(row).map(|cell| quoted(cell)).collect();
            write!(out, "{}\r\n", cells.join(","))?;
        }
    }
    Ok(())
}

/// GitHub's tables, each under a line that says what it is.
pub fn markdown(all: &[(Option<i64>, Kept)], out: &mut impl Write) -> io::Result<()> {
    for (at, (run, kept)) in all.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let (machine, netbench, _) = kept.origin();
        let (document, kind) = (kept.document(), kept.kind());
        let number = run.map(|run| format!("{kind} {run}")).unwrap_or_else(|| kind.to_string());
        let cell = |text: &str| markdown::escaped(text);
        writeln!(
            out,
            "{number}, {}, {}, netbench {}, Linux {}: {}\n",
            cell(document.topology()),
            cell(document.started()),
            cell(netbench),
            cell(&machine.kernel),
            cell(&document.headline())
        )?;
        let table = table(kept, true);
        writeln!(out, "| {} |\n|{}", table.header.join(" | "), "---|".repeat(table.header.len()))?;
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

/// A case a check or direction: what is broken failed, what could not be said was skipped.
pub fn junit(all: &[(Option<i64>, Kept)], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"netbench\">")?;
    for (_, kept) in all {
        let cases = cases(kept);
        let count = |fits: fn(&Outcome) -> bool| cases.iter().filter(|case| fits(&case.outcome)).count();
        let (failures, skipped) =
            (count(|o| matches!(o, Outcome::Failed(_))), count(|o| matches!(o, Outcome::Skipped(_))));
        let document = kept.document();
        let topology = junit::escaped(document.topology());
        writeln!(
            out,
            "  <testsuite name=\"{topology}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" timestamp=\"{}\">",
            cases.len(),
            junit::escaped(document.started().trim_end_matches('Z'))
        )?;
        for case in &cases {
            let (class, name) = (junit::escaped(&case.class), junit::escaped(&case.name));
            write!(out, "    <testcase classname=\"{topology}.{class}\" name=\"{name}\">")?;
            match &case.outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => write!(out, "<failure message=\"{}\"/>", junit::escaped(why))?,
                Outcome::Skipped(why) => write!(out, "<skipped message=\"{}\"/>", junit::escaped(why))?,
            }
            writeln!(out, "</testcase>")?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Case {
    class: String,
    name: String,
    outcome: Outcome,
}

fn cases(kept: &Kept) -> Vec<Case> {
    match kept {
        Kept::OffloadVerify(record) => {
            let case = |check: &crate::record::OffloadCheck| {
                let text = format!("{}: {}", check.verdict.text(), check.evidence);
                Case {
                    class: check.device.clone().unwrap_or_else(|| check.path.clone()),
                    name: check.check.clone(),
                    outcome: match check.verdict {
                        OffloadVerdict::Pass => Outcome::Passed,
                        OffloadVerdict::Skip | OffloadVerdict::Inconclusive => Outcome::Skipped(text),
                        verdict if verdict.is_broken() => Outcome::Failed(text),
                        // The bytes are right: exit code 0, and no failure here either.
                        _ => Outcome::Skipped(text),
                    },
                }
            };
            record.checks.iter().map(case).collect()
        }
        Kept::MtuProbe(report) => {
            let case = |direction: &MtuDirection| Case {
                class: "mtu".to_owned(),
                name: format!("{} → {}", direction.from, direction.to),
                outcome: if direction.ok { Outcome::Passed } else { Outcome::Failed(finding(direction)) },
            };
            report.directions.iter().map(case).collect()
        }
        _ => Vec::new(),
    }
}
