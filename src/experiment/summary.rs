//! From rounds to a test's summary, and what makes a round or a test doubtful. Pure.

use super::{cost, doubtful, loss};
use crate::{
    measured::{Latency, Schedule, Side, Test},
    record::{DatagramSummary, Directions, RoundRecord, Summary, TestRecord, Unit},
    stats,
};

/// A window that opened late by less is not told of: any thread is woken so late now and then.
const LATE_NS: u64 = 5_000_000;

/// Brings summary and verdict up to date with the rounds.
pub fn refresh(test: &mut TestRecord) {
    test.summary = summarise(test);
    test.warnings = doubtful::warnings(test);
    test.verdict.valid = test.summary.is_some() && test.verdict.reasons.is_empty();
}

fn summarise(test: &TestRecord) -> Option<Summary> {
    let rounds = &test.rounds;
    let headline = stats::spread(&rounds.iter().map(|r| r.headline).collect::<Vec<_>>())?;
    let clients = || rounds.iter().flat_map(|round| &round.client.streams);
    let senders = || {
        let back = rounds.iter().filter_map(|round| round.server.back.as_ref());
        let sides = rounds.iter().map(|r| if test.test.is_reverse() { &r.server } else { &r.client });
        sides.chain(back.map(|side| &**side)).flat_map(|side| &side.streams)
    };
    let schedule = clients().filter_map(|s| s.schedule).reduce(|a, b| Schedule {
        requests: a.requests + b.requests,
        missed: a.missed + b.missed,
        unanswered: a.unanswered + b.unanswered,
    });
    let datagrams = test.test.is_numbered().then(|| {
        let mut sum = DatagramSummary::default();
        let mut jitters = Vec::new();
        for seen in rounds.iter().flat_map(|r| &r.server.streams).filter_map(|s| s.datagrams.as_ref()) {
            sum.sent += seen.sent;
            sum.lost += seen.lost;
            sum.socket_drops += seen.socket_drops.unwrap_or(0);
            sum.reordered += seen.reordered;
            sum.duplicates += seen.duplicates;
            jitters.push(seen.jitter_ns as f64);
        }
        sum.losses = loss::sum(rounds.iter().flat_map(|round| &round.losses));
        sum.jitter_ns = stats::median(&jitters).unwrap_or(0.0) as u64;
        sum
    });
    let costs = cost::Costs::of(test);
    Some(Summary {
        unit: Unit::of(test.test),
        headline,
        directions: directions(test),
        retransmits: senders().filter_map(|s| s.tcp.as_ref()?.retransmits).map(u64::from).reduce(|a, b| a + b),
        datagrams,
        latency: median_latency(&rounds.iter().filter_map(|r| r.client.latency).collect::<Vec<_>>()),
        uncorrected: median_latency(&rounds.iter().filter_map(|r| r.client.uncorrected).collect::<Vec<_>>()),
        schedule,
        retries: clients().filter_map(|s| s.retries).reduce(|a, b| a + b),
        sender_cost: costs.sender,
        receiver_cost: costs.receiver,
        delivery_rate: costs.delivery_rate,
        rfc6349: costs.rfc6349,
    })
}

fn directions(test: &TestRecord) -> Option<Directions> {
    let of = |pick: &dyn Fn(&RoundRecord) -> Option<f64>| {
        stats::spread(&test.rounds.iter().filter_map(pick).collect::<Vec<_>>())
    };
    let back = of(&|round| Some(round.client.back.as_ref()?.bits_per_second()))?;
    Some(Directions { forward: of(&|round| Some(round.server.bits_per_second()))?, back })
}

/// Medians over the rounds; the extremes and the sum of the counts.
pub fn median_latency(rounds: &[Latency]) -> Option<Latency> {
    let middle = |pick: fn(&Latency) -> f64| stats::median(&rounds.iter().map(pick).collect::<Vec<_>>());
    Some(Latency {
        count: rounds.iter().map(|l| l.count).sum(),
        min_ns: rounds.iter().map(|l| l.min_ns).min()?,
        mean_ns: middle(|l| l.mean_ns)?,
        p50_ns: middle(|l| l.p50_ns as f64)? as u64,
        p90_ns: middle(|l| l.p90_ns as f64)? as u64,
        p99_ns: middle(|l| l.p99_ns as f64)? as u64,
        p99_9_ns: middle(|l| l.p99_9_ns as f64)? as u64,
        p99_99_ns: middle(|l| l.p99_99_ns as f64)? as u64,
        p99_999_ns: middle(|l| l.p99_999_ns as f64)? as u64,
        max_ns: rounds.iter().map(|l| l.max_ns).max()?,
    })
}

/// What makes the figures of one round unbelievable, whatever the path.
pub fn doubts(test: Test, client: &Side, server: &Side) -> Vec<String> {
    let mut doubts = Vec::new();
    match test {
        test if test.is_byte_stream() => {
            let (mut sent, mut received) = (client.all_bytes(), server.all_bytes());
            if test.is_reverse() {
                (sent, received) = (received, sent);
            }
            if sent != received {
                doubts.push(format!("{sent} bytes were sent and {received} received"));
            }
            if let Some((receiver, sender)) = client.back.as_deref().zip(server.back.as_deref())
                && sender.all_bytes() != receiver.all_bytes()
            {
                let (sent, received) = (sender.all_bytes(), receiver.all_bytes());
                doubts.push(format!("{sent} bytes were sent back and {received} received"));
            }
        }
        test if test.is_numbered() => {
            let late: u64 = server.streams.iter().filter_map(|s| s.datagrams.as_ref()).map(|d| d.beyond_window).sum();
            if late > 0 {
                doubts.push(format!("{late} datagrams came too late to be told from repeats"));
            }
        }
        _ => {}
    }
    let headline_side = if test.is_judged_by_client() { client } else { server };
    for stream in client.both_ways().chain(server.both_ways()) {
        let Some((seen, first)) = stream.verified.as_ref().and_then(|seen| Some((seen, seen.first.as_ref()?))) else {
            continue;
        };
        let (corrupt, blocks) = (seen.corrupt, seen.blocks);
        let number = stream.stream;
        doubts.push(format!(
            "the payload is corrupt: {corrupt} of {blocks} blocks of stream {number}, the first at {}",
            first.text()
        ));
    }
    let back = client.back.iter().flat_map(|back| &back.streams);
    if headline_side.streams.iter().chain(back).any(|s| s.bytes == 0 && s.units == 0) {
        let hint = if test == Test::FrameStream { ": frames are not routed, both ends must share a link" } else { "" };
        doubts.push(format!("a stream carried nothing{hint}"));
    }
    doubts
}

/// What a reader should know of a test whose figures stand.
pub fn warnings(test: &TestRecord) -> Vec<String> {
    let mut warnings: Vec<String> = test.warnings.iter().map(ToString::to_string).collect();
    let Some(summary) = &test.summary else { return warnings };
    let clients = || test.rounds.iter().flat_map(|round| &round.client.streams);
    let streams = test.rounds.iter().flat_map(|r| r.client.streams.iter().chain(&r.server.streams));
    let mut fallbacks: Vec<&String> = streams.filter_map(|s| s.io.as_ref()?.fallback.as_ref()).collect();
    fallbacks.sort();
    fallbacks.dedup();
    warnings.extend(fallbacks.into_iter().cloned());
    let paced = clients().filter_map(|s| Some((s.io.as_ref()?.paced.as_ref()?.missed, s.units)));
    let (missed, sent) = paced.fold((0, 0), |(missed, sent), (m, s)| (missed + m, sent + s));
    if missed * 100 > missed + sent {
        warnings.push(format!(
            "{missed} of {} datagrams were due and never sent: the sender did not get its CPU in time, or a call takes longer than a gap; try --cpus, --pacing spin, or less",
            missed + sent
        ));
    }
    if let Some(datagrams) = &summary.datagrams {
        if datagrams.socket_drops > 0 {
            warnings.push(format!(
                "{} datagrams dropped by the receiving socket, not by the network: it reads too slowly; try --rate",
                datagrams.socket_drops
            ));
        }
        if datagrams.duplicates > 0 {
            warnings.push(format!("{} datagrams came twice: is there a loop?", datagrams.duplicates));
        }
    }
    let waited =
        clients().map(|s| s.cpu.waiting_ns.unwrap_or(0) as f64 / s.elapsed_ns.max(1) as f64).fold(0.0, f64::max);
    if test.settings.tuning.spin && waited > 0.1 {
        warnings.push(format!(
            "a spinning thread waited {:.0} % of the time for its CPU: --spin needs a CPU for each thread, see cpus in the topology",
            waited * 100.0
        ));
    }
    let receivers = test.rounds.iter().flat_map(|round| round.client.both_ways().chain(&round.server.streams));
    let late = receivers.filter_map(|s| Some((s.io.as_ref()?.late_ns?, s.judged_ns())));
    if let Some((late, _)) = late.filter(|&(late, judged)| late >= LATE_NS && late * 20 > judged).max() {
        warnings.push(format!(
            "a receiver began {:.0} ms late, by what lay in its socket: its rate is over that time too; does anything else use its CPU?",
            late as f64 / 1e6
        ));
    }
    if let Some(schedule) = summary.schedule.filter(|schedule| schedule.missed * 100 > schedule.requests) {
        warnings.push(format!(
            "{} of {} requests went later than the next was due: this end cannot keep that rate; try a lower --rate, or --spin",
            schedule.missed, schedule.requests
        ));
    }
    if let Some(retries) = summary.retries.filter(|&retries| retries > 0) {
        warnings.push(format!("{retries} requests had no answer within 200 ms and were sent again"));
    }
    warnings
}
