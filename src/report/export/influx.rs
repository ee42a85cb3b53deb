//! InfluxDB line protocol: a point a round, at the time at which the run began.

use std::io::{self, Write};

use super::tests;
use crate::record::{RunRecord, Unit};

pub fn write(runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    for (_, record) in runs {
        // A point must differ from the next by time or tag: the round is a tag.
        let at = record.started.parse::<jiff::Timestamp>().map_or(0, |at| at.as_nanosecond());
        for (flow, test) in tests(record) {
            for round in &test.rounds {
                let tags = [
                    ("topology", record.topology.name.as_str()),
                    ("from", &flow.from),
                    ("to", &flow.to),
                    ("test", test.test.name()),
                    ("host", &record.machine.hostname),
                    ("round", &round.round.to_string()),
                ]
                .map(|(key, value)| {
                    if value.is_empty() { String::new() } else { format!(",{key}={}", escaped(value)) }
                });
                let unit = Unit::of(test.test);
                let mut fields = format!("{}={}", unit_field(unit), round.headline);
                if let Some(latency) = round.client.latency {
                    fields += &format!(",p50_ns={}i,p99_ns={}i", latency.p50_ns, latency.p99_ns);
                }
                fields += &format!(",valid={}", test.verdict.valid);
                writeln!(out, "netbench{} {fields} {at}", tags.concat())?;
            }
        }
    }
    Ok(())
}

fn unit_field(unit: Unit) -> &'static str {
    match unit {
        Unit::BitsPerSecond => "bits_per_second",
        Unit::FramesPerSecond => "frames_per_second",
        Unit::TransactionsPerSecond => "transactions_per_second",
    }
}

/// As in the record.
pub fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::BitsPerSecond => "bit/s",
        Unit::FramesPerSecond => "frames/s",
        Unit::TransactionsPerSecond => "trans/s",
    }
}

/// A tag's value: commas, equals signs and blanks have a backslash, a line has one line.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            ',' | '=' | ' ' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push('_'),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_cannot_end_its_tag_or_its_line() {
        assert_eq!(super::escaped("a b,c=d\ne"), "a\\ b\\,c\\=d_e");
    }
}
