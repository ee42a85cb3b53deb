//! Latency under load: requests beside a stream, in the same window and over the same path.

use std::time::Duration;

use super::{
    evidence::{Carried, judge},
    options::Options,
    round::Measured,
    summary,
};
use crate::{
    measured::{Side, Test},
    plan::desired::FlowPath,
    record::{LoadedRound, LoadedSummary, PathVerdict, TestRecord, UnderLoad},
    stats,
    traffic::Spec,
    units::{CpuList, Span},
};

/// Warm-up of the stream before the first request: slow start is no load.
const RAMP: Duration = Duration::from_millis(200);
/// Its intervals; requests begin when the first is over.
const INTERVAL: Duration = Duration::from_millis(100);
/// It is ended when the requests are; by itself it would end so much later.
const MARGIN: Duration = Duration::from_secs(45);

/// The stream beside requests: client's job and server's.
pub fn jobs(load: Test, test: &Spec, path: &FlowPath, options: &Options) -> (Spec, Spec) {
    let mut spec = options.job(load, path);
    spec.omit = Span(RAMP.max(test.omit.0));
    spec.duration = Span(test.total() + MARGIN);
    spec.interval = Span(INTERVAL.max(spec.duration.0 / 4000));
    let beside = |node: &str| options.cpus.get(node).map(|cpus| next(cpus, test.streams));
    let on = |node: &str| Spec { cpus: beside(node), ..spec.clone() };
    (on(&path.flow.from), on(&path.flow.to))
}

/// The CPUs that the requests leave, so that threads share one only where there are too few.
fn next(cpus: &CpuList, taken: u32) -> CpuList {
    let left = cpus.0.get(taken as usize..).filter(|left| !left.is_empty());
    CpuList(left.unwrap_or(&cpus.0).to_vec())
}

/// Judges a loaded round and adds it to its test.
pub fn book(result: &mut TestRecord, load: Test, round: u32, path: &FlowPath, measured: Measured) {
    let Measured { client, server, before, after, load: Some((load_client, load_server)) } = measured else { return };
    let goodput = |client: &Side, server: &Side| {
        let back = client.back.as_deref().map_or(0.0, Side::bits_per_second);
        if load.is_reverse() { client.bits_per_second() } else { server.bits_per_second() + back }
    };
    // The path of the requests is that of the stream; its counters must show every request at least.
    let evidence = judge(path, &before, &after, Carried::Transactions { count: client.all_units().min(1) });
    let mut doubts = summary::doubts(result.test, &client, &server);
    doubts
        .extend(summary::doubts(load, &load_client, &load_server).into_iter().map(|doubt| format!("{load}: {doubt}")));
    if let PathVerdict::NotProved { reason } = &evidence.verdict {
        doubts.push(format!("path not proved: {reason}"));
    }
    result.verdict.reasons.extend(doubts.into_iter().map(|doubt| format!("round {round} under {load}: {doubt}")));
    let headline = client.units_per_second();
    let goodput = goodput(&load_client, &load_server);
    let under = result.under.get_or_insert_with(|| UnderLoad { load, rounds: Vec::new(), summary: None });
    under.rounds.push(LoadedRound {
        round,
        headline,
        goodput,
        client,
        server,
        load_client,
        load_server,
        path: evidence,
    });
    under.summary = summarise(under);
}

fn summarise(under: &UnderLoad) -> Option<LoadedSummary> {
    let spread = |pick: fn(&LoadedRound) -> f64| stats::spread(&under.rounds.iter().map(pick).collect::<Vec<_>>());
    let latencies: Vec<_> = under.rounds.iter().filter_map(|round| round.client.latency).collect();
    Some(LoadedSummary {
        headline: spread(|round| round.headline)?,
        goodput: spread(|round| round.goodput)?,
        latency: summary::median_latency(&latencies)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_takes_the_cpus_after_those_of_the_requests() {
        assert_eq!(next(&CpuList(vec![2, 5, 7]), 1).0, [5, 7]);
        assert_eq!(next(&CpuList(vec![2]), 3).0, [2]);
        assert_eq!(next(&CpuList(vec![]), 3).0, Vec::<usize>::new());
    }
}
