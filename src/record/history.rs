//! A stored outcome in a line, for lists and for the history of a figure.

use serde::{Deserialize, Serialize};

use super::{RunRecord, Unit, kept::Document, kept::Kind};
use crate::{measured::Test, stats::Interval};

/// An outcome without its rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Past {
    /// Number in its store, from 1.
    pub run: i64,
    /// Which command measured it.
    #[serde(default)]
    pub kind: Kind,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// Name of its topology.
    pub topology: String,
    /// Hash of what must be equal to compare it with another.
    pub fingerprint: String,
    /// May all of its figures be believed?
    pub valid: bool,
    /// The answer in some words; empty for a run, whose results say it.
    #[serde(default)]
    pub headline: String,
    /// By flow and test, and by variant where there are several.
    pub results: Vec<PastResult>,
}

/// A median of a stored outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PastResult {
    /// The variant, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
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
        record.past(run)
    }
}
