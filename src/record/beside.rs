//! What a test has besides its rounds in one direction: the other direction, rounds under load, the unit of its headline.

use serde::{Deserialize, Serialize};

use super::{Bottleneck, PathEvidence};
use crate::{
    measured::{Latency, Side, Test},
    stats::Spread,
};

/// Requests beside a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnderLoad {
    /// The stream.
    pub load: Test,
    /// Every loaded round.
    pub rounds: Vec<LoadedRound>,
    /// Over the rounds.
    pub summary: Option<LoadedSummary>,
}

/// A round of requests beside a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LoadedRound {
    /// Number, from 1: that of the idle round before it.
    pub round: u32,
    /// Transactions per second.
    pub headline: f64,
    /// Payload of the stream at its receiver, bits per second, over its window: that begins before the first request and ends
    /// after the last.
    pub goodput: f64,
    /// The client of the requests.
    pub client: Side,
    /// Their server.
    pub server: Side,
    /// The client of the stream.
    pub load_client: Side,
    /// Its server.
    pub load_server: Side,
    /// Did both cross the declared path?
    pub path: PathEvidence,
}

/// Over the loaded rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LoadedSummary {
    /// Transactions per second.
    pub headline: Spread,
    /// The stream's payload, bits per second.
    pub goodput: Spread,
    /// Medians over the rounds.
    pub latency: Latency,
}

/// The direction from the server to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OtherWay {
    /// Did the bytes take the declared path, backwards?
    pub path: PathEvidence,
    /// What kept it from going faster.
    pub bottleneck: Option<Bottleneck>,
}

/// The goodput of each direction of a test with two; the headline is their sum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Directions {
    /// From client to server, bits per second over the rounds.
    pub forward: Spread,
    /// From server to client.
    pub back: Spread,
}

/// Units of a headline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Unit {
    /// Payload bits per second.
    #[serde(rename = "bit/s")]
    BitsPerSecond,
    /// Frames per second.
    #[serde(rename = "frames/s")]
    FramesPerSecond,
    /// Transactions per second.
    #[serde(rename = "trans/s")]
    TransactionsPerSecond,
}

impl Unit {
    /// Of a test's headline.
    pub fn of(test: Test) -> Self {
        match test {
            Test::FrameStream => Self::FramesPerSecond,
            test if test.is_rr() => Self::TransactionsPerSecond,
            _ => Self::BitsPerSecond,
        }
    }

    /// A figure with its unit: `23.41 Gbit/s`, `12345 trans/s`.
    pub fn amount(self, value: f64) -> String {
        match self {
            Self::FramesPerSecond => format!("{value:.0} frames/s"),
            Self::TransactionsPerSecond if value < 100.0 => format!("{value:.1} trans/s"),
            Self::TransactionsPerSecond => format!("{value:.0} trans/s"),
            Self::BitsPerSecond => match value {
                v if v >= 1e9 => format!("{:.2} Gbit/s", v / 1e9),
                v if v >= 1e6 => format!("{:.2} Mbit/s", v / 1e6),
                0.0 => "0 bit/s".to_owned(),
                v => format!("{:.2} kbit/s", v / 1e3),
            },
        }
    }
}
