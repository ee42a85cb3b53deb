//! OpenMetrics text: medians and the ends of their intervals as gauges. node_exporter's textfile collector reads it too.

use std::io::{self, Write};

use super::tests;
use crate::record::{RunRecord, Unit};

pub fn write(runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    let families: [(&str, &str, Unit); 3] = [
        ("netbench_goodput_bits_per_second", "Goodput of the receiver", Unit::BitsPerSecond),
        ("netbench_frames_per_second", "Frames per second at the receiver", Unit::FramesPerSecond),
        ("netbench_transactions_per_second", "Transactions per second", Unit::TransactionsPerSecond),
    ];
    // A series is one test of one flow of one topology: of several runs the last one given stands.
    let mut series: Vec<(String, &RunRecord, &crate::record::FlowRecord, &crate::record::TestRecord)> = Vec::new();
    for (_, record) in runs {
        for (flow, test) in tests(record) {
            let key = labels(record, &flow.from, &flow.to, test.test.name());
            series.retain(|(other, ..)| *other != key);
            series.push((key, record, flow, test));
        }
    }
    for (name, help, unit) in families {
        let of_unit = || series.iter().filter_map(|s| Some((s, s.3.summary.as_ref().filter(|s| s.unit == unit)?)));
        if of_unit().next().is_none() {
            continue;
        }
        writeln!(out, "# TYPE {name} gauge\n# HELP {name} {help}, by statistic over the rounds.")?;
        for ((labels, ..), summary) in of_unit() {
            writeln!(out, "{name}{{{labels},statistic=\"median\"}} {}", summary.headline.median)?;
            if let Some(interval) = summary.headline.interval {
                writeln!(out, "{name}{{{labels},statistic=\"low\"}} {}", interval.low)?;
                writeln!(out, "{name}{{{labels},statistic=\"high\"}} {}", interval.high)?;
            }
        }
    }
    let latencies = || series.iter().filter_map(|s| Some((s, s.3.summary.as_ref()?.latency?)));
    if latencies().next().is_some() {
        let name = "netbench_latency_seconds";
        writeln!(out, "# TYPE {name} gauge\n# HELP {name} Latency of a transaction, median over the rounds.")?;
        for ((labels, ..), latency) in latencies() {
            for (quantile, nanos) in [("0.5", latency.p50_ns), ("0.99", latency.p99_ns), ("0.999", latency.p99_9_ns)] {
                writeln!(out, "{name}{{{labels},quantile=\"{quantile}\"}} {}", nanos as f64 / 1e9)?;
            }
        }
    }
    let name = "netbench_valid";
    writeln!(out, "# TYPE {name} gauge\n# HELP {name} 1 if the figures of the test may be believed.")?;
    for (labels, _, _, test) in &series {
        writeln!(out, "{name}{{{labels}}} {}", u8::from(test.verdict.valid))?;
    }
    writeln!(out, "# EOF")
}

fn labels(record: &RunRecord, from: &str, to: &str, test: &str) -> String {
    let pairs = [("topology", &*record.topology.name), ("from", from), ("to", to), ("test", test)];
    pairs.map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}
