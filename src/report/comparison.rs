//! Two runs side by side, at a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{
    quantity::{cut, figure},
    wrap::wrapped,
};
use crate::{
    record::compare::{ComparedAnswer, Comparisons},
    stats::compare::Verdict,
};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Writes it; no line is over 80 columns.
pub fn comparison(found: &Comparisons, names: (&str, &str), out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "A: {}\nB: {}", cut(names.0, 77), cut(names.1, 77))?;
    let mut before = String::new();
    for compared in &found.figures {
        let variant = compared.variant.as_ref().map(|variant| format!("  {variant}")).unwrap_or_default();
        let head = format!("{} → {}{variant}", compared.from, compared.to);
        if before != head {
            before = head;
            writeln!(out, "\n{BOLD}{}{BOLD:#}", cut(&before, 80))?;
            writeln!(out, "  {:<13}{:<9}{:>13}{:>14}{:>10}{:>8}  verdict", "test", "figure", "A", "B", "change", "p")?;
        }
        let c = &compared.comparison;
        let style = style(c.verdict);
        let change = c.change.map_or("–".to_owned(), |change| format!("{:+.1} %", change * 100.0));
        let (a, b) = (figure(c.a, compared.figure), figure(c.b, compared.figure));
        let p = if c.p < 0.001 { "<0.001".to_owned() } else { format!("{:.3}", c.p) };
        let (test, name) = (compared.test.name(), compared.figure.name());
        let verdict = c.verdict.name();
        writeln!(out, "  {test:<13}{name:<9}{a:>13}{b:>14}{change:>10}{p:>8}  {style}{verdict}{style:#}")?;
        if let Some(i) = c.change_interval.filter(|_| c.verdict != Verdict::NoDifference) {
            let (low, high, sure) = (i.low * 100.0, i.high * 100.0, (i.coverage * 100.0).floor());
            writeln!(out, "  {:<13}change {low:+.1} to {high:+.1} % ({sure:.0} % interval)", "")?;
        }
        if c.verdict == Verdict::NoDifference {
            writeln!(out, "  {:<13}{} ({} and {} rounds)", "", c.reason.name(), c.rounds_a, c.rounds_b)?;
        }
    }
    answers(&found.answers, out)?;
    if !found.unmatched.is_empty() {
        writeln!(out)?;
    }
    found.unmatched.iter().try_for_each(|lone| writeln!(out, "{}", cut(&format!("only in {lone}"), 80)))
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Better => GOOD,
        Verdict::Worse => BAD,
        Verdict::NoDifference => Style::new(),
    }
}

/// What differs, and how much does not.
fn answers(all: &[ComparedAnswer], out: &mut impl Write) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut same = 0;
    for answer in all {
        if answer.a == answer.b {
            same += 1;
            continue;
        }
        let style = style(answer.verdict);
        wrapped(out, "", &answer.what)?;
        wrapped(out, "    A: ", &answer.a)?;
        wrapped(out, "    B: ", &answer.b)?;
        writeln!(out, "    {style}{}{style:#}", answer.verdict.name())?;
    }
    writeln!(out, "{same} of {} answers are the same", all.len())
}
