//! Two runs, figure by figure; two outcomes of other kinds by variant or by what they say.

mod kept;

use serde::{Deserialize, Serialize};

pub use self::kept::kept;
use super::{RoundRecord, RunRecord, TestRecord};
use crate::{
    measured::{Side, Test},
    stats::compare::{Comparison, Criterion, Good, Verdict, compare},
};

/// What of a test is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Payload bits per second.
    Goodput,
    /// Transactions per second.
    Transactions,
    /// Median latency, nanoseconds.
    P50,
    /// 99th percentile, nanoseconds.
    P99,
    /// CPU time of both sides' data threads, nanoseconds for a byte or a transaction.
    Cpu,
}

impl Figure {
    /// At a terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Goodput => "goodput",
            Self::Transactions => "trans/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Cpu => "CPU",
        }
    }

    fn criterion(self, effect: Option<f64>) -> Criterion {
        let usual = match self {
            Self::Goodput | Self::Transactions => Criterion::THROUGHPUT,
            Self::P50 | Self::P99 => Criterion { good: Good::Lower, ..Criterion::THROUGHPUT },
            Self::Cpu => Criterion::CPU,
        };
        effect.map_or(usual, |effect| usual.with_effect(effect))
    }
}

/// A figure of a test in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Compared {
    /// The variant, of sweeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Which test.
    pub test: Test,
    /// What of it.
    pub figure: Figure,
    /// The rounds of both, compared.
    pub comparison: Comparison,
}

/// An answer that is no set of rounds, in both outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ComparedAnswer {
    /// What was asked: a check, a direction, a rate.
    pub what: String,
    /// A's answer.
    pub a: String,
    /// B's.
    pub b: String,
    /// Of B.
    pub verdict: Verdict,
}

/// All that two outcomes say of each other.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Comparisons {
    /// By flow, test and figure, in the order of A.
    pub figures: Vec<Compared>,
    /// Checks, directions or rates, in the order of A.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<ComparedAnswer>,
    /// Tests that only one of them has: `A: TCP_RR client → server`.
    pub unmatched: Vec<String>,
}

impl Comparisons {
    /// Is any figure or answer of B worse?
    pub fn has_regression(&self) -> bool {
        self.figures.iter().any(|compared| compared.comparison.verdict == Verdict::Worse)
            || self.answers.iter().any(|answer| answer.verdict == Verdict::Worse)
    }
}

/// Compares the rounds of B with those of A, test by test; a test counts as the same if flow, name, streams, length and rate are.
pub fn runs(a: &RunRecord, b: &RunRecord, effect: Option<f64>) -> Comparisons {
    let (in_a, in_b) = (tests(a), tests(b));
    let mut all = Comparisons::default();
    let say =
        |which: &str, (from, to, test): &(&str, &str, &TestRecord)| format!("{which}: {} {from} → {to}", test.test);
    for one in &in_a {
        let Some(other) = in_b.iter().find(|other| is_same(one, other)) else {
            all.unmatched.push(say("A", one));
            continue;
        };
        for &figure in figures(one.2.test) {
            let samples = |test: &TestRecord| test.rounds.iter().filter_map(|r| sample(test.test, r, figure)).collect();
            let (ours, theirs): (Vec<f64>, Vec<f64>) = (samples(one.2), samples(other.2));
            let comparison = compare(&ours, &theirs, figure.criterion(effect));
            all.figures.extend(comparison.map(|comparison| Compared {
                variant: None,
                from: one.0.to_owned(),
                to: one.1.to_owned(),
                test: one.2.test,
                figure,
                comparison,
            }));
        }
    }
    let lone = in_b.iter().filter(|other| !in_a.iter().any(|one| is_same(one, other)));
    all.unmatched.extend(lone.map(|other| say("B", other)));
    all
}

fn tests(record: &RunRecord) -> Vec<(&str, &str, &TestRecord)> {
    let flows = record.flows.iter();
    flows.flat_map(|flow| flow.tests.iter().map(move |test| (&*flow.from, &*flow.to, test))).collect()
}

fn is_same(a: &(&str, &str, &TestRecord), b: &(&str, &str, &TestRecord)) -> bool {
    let asked = |test: &TestRecord| {
        let settings = &test.settings;
        (test.test, settings.streams, settings.length, settings.response, settings.rate, settings.transactions)
    };
    // A datagram as long as the packet follows the path's MTU, which --force may let differ.
    let lengths = a.2.test == b.2.test && a.2.test.is_udp() && !a.2.test.is_rr();
    (a.0, a.1) == (b.0, b.1) && (asked(a.2) == asked(b.2) || lengths && a.2.settings.streams == b.2.settings.streams)
}

fn figures(test: Test) -> &'static [Figure] {
    match test.is_rr() {
        true => &[Figure::Transactions, Figure::P50, Figure::P99, Figure::Cpu],
        false => &[Figure::Goodput, Figure::Cpu],
    }
}

/// The figure of one round, where the round has it.
pub fn sample(test: Test, round: &RoundRecord, figure: Figure) -> Option<f64> {
    match figure {
        Figure::Goodput | Figure::Transactions => Some(round.headline),
        Figure::P50 => Some(round.client.latency?.p50_ns as f64),
        Figure::P99 => Some(round.client.latency?.p99_ns as f64),
        Figure::Cpu => {
            let time = |side: &Side| side.streams.iter().map(|s| s.cpu.user_ns + s.cpu.system_ns).sum::<u64>();
            let receiver = if test.is_reverse() { &round.client } else { &round.server };
            let work = if test.is_rr() { round.client.units() } else { receiver.bytes() };
            (work > 0).then(|| (time(&round.client) + time(&round.server)) as f64 / work as f64)
        }
    }
}
