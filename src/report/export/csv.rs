//! RFC 4180: a header, a row a round.

use std::io::{self, Write};

use super::tests;
use crate::{
    measured::Side,
    record::{RunRecord, Unit, compare, compare::Figure},
};

const HEADER: &str =
    "run,started,topology,from,to,mtu,test,round,unit,value,p50_ns,p99_ns,p99_9_ns,cpu_ns,retransmits,lost,valid\r\n";

/// Writes runs.
pub fn write(runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    out.write_all(HEADER.as_bytes())?;
    for (run, record) in runs {
        for (flow, test) in tests(record) {
            let unit = Unit::of(test.test);
            for round in &test.rounds {
                let latency = round.client.latency;
                let sender = if test.test.is_reverse() { &round.server } else { &round.client };
                let sum = |side: &Side, pick: fn(&crate::measured::Stream) -> Option<u64>| {
                    side.streams.iter().filter_map(pick).reduce(|a, b| a + b)
                };
                let cells = [
                    run.map(|run| run.to_string()),
                    Some(record.started.clone()),
                    Some(record.topology.name.clone()),
                    Some(flow.from.clone()),
                    Some(flow.to.clone()),
                    Some(flow.mtu.to_string()),
                    Some(test.test.name().to_owned()),
                    Some(round.round.to_string()),
                    Some(super::influx::unit(unit).to_owned()),
                    Some(round.headline.to_string()),
                    latency.map(|latency| latency.p50_ns.to_string()),
                    latency.map(|latency| latency.p99_ns.to_string()),
                    latency.map(|latency| latency.p99_9_ns.to_string()),
                    compare::sample(test.test, round, Figure::Cpu).map(|cost| cost.to_string()),
                    sum(sender, |s| s.tcp.as_ref()?.retransmits.map(u64::from)).map(|count| count.to_string()),
                    sum(&round.server, |s| Some(s.datagrams.as_ref()?.lost)).map(|count| count.to_string()),
                    Some(test.verdict.valid.to_string()),
                ];
                let cells = cells.map(|cell| cell.map(|cell| quoted(&cell)).unwrap_or_default());
                write!(out, "{}\r\n", cells.join(","))?;
            }
        }
    }
    Ok(())
}

/// A cell, quoted where it must be.
pub fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_separates_is_quoted() {
        assert_eq!(super::quoted("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(super::quoted("plain"), "plain");
    }
}
