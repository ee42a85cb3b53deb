//! JUnit's XML: a suite a run, a case a test. A missed profile is a failure, a figure that may not be believed an error.

use std::io::{self, Write};

use super::tests;
use crate::{record::RunRecord, report::quantity};

pub fn write(runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"netbench\">")?;
    for (_, record) in runs {
        let missed = |test: &crate::record::TestRecord| test.ceiling.as_ref().is_some_and(|c| c.pass == Some(false));
        let all = tests(record).count();
        let errors = tests(record).filter(|(_, test)| !test.verdict.valid).count();
        let failures = tests(record).filter(|(_, test)| test.verdict.valid && missed(test)).count();
        writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{all}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\" timestamp=\"{}\" hostname=\"{}\">",
            escaped(&record.topology.name),
            record.elapsed_s,
            escaped(record.started.trim_end_matches('Z')),
            escaped(&record.machine.hostname)
        )?;
        for (flow, test) in tests(record) {
            let time = test.settings.duration.0.as_secs_f64() * test.rounds.len() as f64;
            writeln!(
                out,
                "    <testcase classname=\"{}.{} → {}\" name=\"{}\" time=\"{time:.3}\">",
                escaped(&record.topology.name),
                escaped(&flow.from),
                escaped(&flow.to),
                test.test.name()
            )?;
            if !test.verdict.valid {
                let reasons = test.verdict.reasons.join("; ");
                let reason = if reasons.is_empty() { "no round ended" } else { &reasons };
                writeln!(out, "      <error type=\"not_valid\" message=\"{}\"/>", escaped(reason))?;
            } else if let Some(ceiling) = test.ceiling.as_ref().filter(|_| missed(test)) {
                let text = format!("{:.1} % of the ceiling set by {}", ceiling.share() * 100.0, ceiling.at);
                writeln!(out, "      <failure type=\"profile\" message=\"{}\"/>", escaped(&text))?;
            }
            if let Some(summary) = &test.summary {
                let median = quantity::headline(summary.headline.median, summary.unit);
                let interval = quantity::interval(&summary.headline, summary.unit);
                writeln!(out, "      <system-out>{}</system-out>", escaped(&format!("median {median}, {interval}")))?;
            }
            writeln!(out, "    </testcase>")?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// For text and for attributes; XML 1.0 has no way to write most control characters.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
