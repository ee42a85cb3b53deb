//! Latency under load: requests beside a stream, in the same window and over the same path.

use std::time::Duration;

use super::{
    evidence::{Carried, Load, judge_all},
    options::Options,
    round::{Ends, Lane, Measured},
    summary,
};
use crate::{
    measured::{Side, Test},
    record::{LoadedRound, LoadedSummary, PathEvidence, PathVerdict, TestRecord, UnderLoad},
    stats,
    traffic::Spec,
    units::Span,
};

/// Warm-up of the stream before the first request: slow start is no load.
const RAMP: Duration = Duration::from_millis(200);
/// Its intervals; requests begin when the first is over.
const INTERVAL: Duration = Duration::from_millis(100);
/// It is ended when the requests are; by itself it would end so much later.
const MARGIN: Duration = Duration::from_secs(45);

/// Adds a stream beside each of the lanes, with numbers of its own for all.
pub fn add(lanes: &mut Vec<Lane<'_>>, load: Test, options: &Options, job: &mut u32) {
    let pairs = lanes.len();
    for place in 0..pairs {
        let Lane { path, client: ref test, .. } = lanes[place];
        let mut spec = options.job(load, path);
        spec.amount = None;
        spec.omit = Span(RAMP.max(test.omit.0));
        spec.duration = Span(test.total() + MARGIN);
        spec.interval = Span(INTERVAL.max(spec.duration.0 / 4000));
        // The CPUs that the requests leave, so that threads share one only where there are too few.
        let [client, server] = options
            .cpus_of(&path.flow, (pairs + place) * options.streams as usize)
            .map(|cpus| Spec { cpus, ..spec.clone() });
        lanes.push(Lane { path, client, server, job: 0, is_load: true });
    }
    for lane in lanes {
        *job += 2;
        lane.job = *job;
    }
}

/// Requests, the stream beside them, and their common path.
pub type Loaded = ((Ends, Ends), PathEvidence);

/// Pairs requests with their streams. Their path is the same; its counters must show every request at least.
pub fn judged(lanes: &[Lane<'_>], Measured { ends, before, after }: Measured) -> Vec<Loaded> {
    let (loads, requests): (Vec<_>, Vec<_>) = lanes.iter().zip(ends).partition(|(lane, _)| lane.is_load);
    let carried = |ends: &Ends| Carried::Transactions { count: ends.client.all_units().min(1) };
    let due: Vec<Load<'_>> =
        requests.iter().map(|(lane, ends)| Load { path: lane.path, carried: carried(ends) }).collect();
    let evidence = judge_all(&due, &before, &after);
    let pairs = requests.into_iter().zip(loads).map(|((_, requests), (_, load))| (requests, load));
    pairs.zip(evidence).collect()
}

/// Adds a loaded round to its test.
pub fn book(result: &mut TestRecord, load: Test, round: u32, ((requests, stream), path): Loaded) {
    let (Ends { client, server, .. }, Ends { client: load_client, server: load_server, .. }) = (requests, stream);
    let goodput = |client: &Side, server: &Side| {
        let back = client.back.as_deref().map_or(0.0, Side::bits_per_second);
        if load.is_reverse() { client.bits_per_second() } else { server.bits_per_second() + back }
    };
    let mut doubts = summary::doubts(result.test, &client, &server);
    doubts
        .extend(summary::doubts(load, &load_client, &load_server).into_iter().map(|doubt| format!("{load}: {doubt}")));
    if let PathVerdict::NotProved { reason } = &path.verdict {
        doubts.push(format!("path not proved: {reason}"));
    }
    result.verdict.reasons.extend(doubts.into_iter().map(|doubt| format!("round {round} under {load}: {doubt}")));
    let headline = client.units_per_second();
    let goodput = goodput(&load_client, &load_server);
    let under = result.under.get_or_insert_with(|| UnderLoad { load, rounds: Vec::new(), summary: None });
    under.rounds.push(LoadedRound { round, headline, goodput, client, server, load_client, load_server, path });
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
