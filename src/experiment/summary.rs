//! From rounds to a test's summary, and what makes a round or a test doubtful. Pure.

use crate::{
    measured::{Latency, Side, Test},
    record::{DatagramSummary, Summary, TestRecord, Unit},
    stats,
};

/// Spread between rounds, over the median, from which a reader is warned.
const UNSTEADY: f64 = 0.1;

/// Brings summary and verdict up to date with the rounds.
pub fn refresh(test: &mut TestRecord) {
    test.summary = summarise(test);
    test.verdict.valid = test.summary.is_some() && test.verdict.reasons.is_empty();
}

fn summarise(test: &TestRecord) -> Option<Summary> {
    let rounds = &test.rounds;
    let headline = stats::spread(&rounds.iter().map(|r| r.headline).collect::<Vec<_>>())?;
    let clients = || rounds.iter().flat_map(|round| &round.client.streams);
    let datagrams = (test.test == Test::UdpStream).then(|| {
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
        sum.jitter_ns = stats::median(&jitters).unwrap_or(0.0) as u64;
        sum
    });
    Some(Summary {
        unit: if test.test.is_rr() { Unit::TransactionsPerSecond } else { Unit::BitsPerSecond },
        headline,
        retransmits: clients().filter_map(|s| s.tcp.as_ref()?.retransmits).map(u64::from).reduce(|a, b| a + b),
        datagrams,
        latency: median_latency(&rounds.iter().filter_map(|r| r.client.latency).collect::<Vec<_>>()),
        retries: clients().filter_map(|s| s.retries).reduce(|a, b| a + b),
    })
}

fn median_latency(rounds: &[Latency]) -> Option<Latency> {
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
        max_ns: rounds.iter().map(|l| l.max_ns).max()?,
    })
}

/// What makes the figures of one round unbelievable, whatever the path.
pub fn doubts(test: Test, client: &Side, server: &Side) -> Vec<String> {
    let mut doubts = Vec::new();
    match test {
        Test::TcpStream => {
            let (sent, received) = (client.all_bytes(), server.all_bytes());
            if sent != received {
                doubts.push(format!("{sent} bytes were sent and {received} received"));
            }
        }
        Test::UdpStream => {
            let late: u64 = server.streams.iter().filter_map(|s| s.datagrams.as_ref()).map(|d| d.beyond_window).sum();
            if late > 0 {
                doubts.push(format!("{late} datagrams came too late to be told from repeats"));
            }
        }
        Test::TcpRr | Test::UdpRr => {}
    }
    let headline_side = if test.is_rr() { client } else { server };
    if headline_side.streams.iter().any(|s| s.bytes == 0) {
        doubts.push("a stream carried nothing".to_owned());
    }
    doubts
}

/// What a reader should know of a test whose figures stand.
pub fn warnings(test: &TestRecord) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(summary) = &test.summary else { return warnings };
    let spread = &summary.headline;
    if let Some(cv) = spread.cv.filter(|&cv| cv > UNSTEADY) {
        warnings.push(format!(
            "rounds differ by {:.0} % (CV): other load, or no pinning? try more --rounds, or cpus in the topology",
            cv * 100.0
        ));
    }
    let streams = test.rounds.iter().flat_map(|r| r.client.streams.iter().chain(&r.server.streams));
    let mut fallbacks: Vec<&String> = streams.filter_map(|s| s.io.as_ref()?.fallback.as_ref()).collect();
    fallbacks.sort();
    fallbacks.dedup();
    warnings.extend(fallbacks.into_iter().cloned());
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
    if let Some(retries) = summary.retries.filter(|&retries| retries > 0) {
        warnings.push(format!("{retries} requests had no answer within 200 ms and were sent again"));
    }
    warnings
}
