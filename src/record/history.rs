//! A stored run in a line, for lists and for the history of a figure.

use serde::{Deserialize, Serialize};

use super::{RunRecord, Unit};
use crate::{measured::Test, stats::Interval};

/// A run without its rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Past {
    /// Number in its store, from 1.
    pub run: i64,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// Name of its topology.
    pub topology: String,
    /// Hash of what must be equal to compare it with another.
    pub fingerprint: String,
    /// May all of its figures be believed?
    pub valid: bool,
    /// By flow and test.
    pub results: Vec<PastResult>,
}

/// A headline of a stored run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PastResult {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Which test.
    pub test: Test,
    /// Unit of the figures.
    pub unit: Unit,
    /// Median over the rounds.
    pub median: f64,
    /// Its interval, where there were rounds enough.
    pub interval: Option<Interval>,
    /// Rounds.
    pub rounds: u32,
}

impl Past {
    /// The line of a record that is number `run`.
    pub fn of(run: i64, record: &RunRecord) -> Self {
        let tests = record.flows.iter().flat_map(|flow| flow.tests.iter().map(move |test| (flow, test)));
        let results = tests.filter_map(|(flow, test)| {
            let summary = test.summary.as_ref()?;
            Some(PastResult {
                from: flow.from.clone(),
                to: flow.to.clone(),
                test: test.test,
                unit: summary.unit,
                median: summary.headline.median,
                interval: summary.headline.interval,
                rounds: summary.headline.samples,
            })
        });
        Self {
            run,
            started: record.started.clone(),
            topology: record.topology.name.clone(),
            fingerprint: record.fingerprint().hash(),
            valid: record.is_valid(),
            results: results.collect(),
        }
    }
}
