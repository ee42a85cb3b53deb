//! Flows that ran at the same time.

use serde::{Deserialize, Serialize};

use super::Unit;
use crate::{measured::Test, stats::Spread};

/// A test over pairs that ran at the same time (`--pairs`, `--all-pairs`). Each pair has its own account among the flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TogetherRecord {
    /// Which.
    pub test: Test,
    /// How many pairs.
    pub pairs: u32,
    /// Streams of each.
    pub streams: u32,
    /// Unit of the figures.
    pub unit: Unit,
    /// Every round in which all pairs came to a result.
    pub rounds: Vec<TogetherRound>,
    /// The sum of all pairs over the rounds; absent when there is none.
    pub headline: Option<Spread>,
}

/// A round of all pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TogetherRound {
    /// Number, from 1.
    pub round: u32,
    /// Sum of the pairs' headlines.
    pub headline: f64,
    /// Share of the longest window in which all windows were open, 0 to 1, by the clock that all ends share.
    pub overlap: f64,
}
