//! What `sweep`, `mtu tune`, `overhead` and `search` found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Unit, manifest::Manifest};
use crate::{
    facts::Machine,
    measured::Test,
    stats::{Spread, compare::Comparison, sequential::Stop},
    units::{BitRate, Span},
};

/// `sweep --json`, and the part of `mtu tune` and `overhead` that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepReport {
    /// [`super::SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// The topology that varies.
    pub topology: String,
    /// The machine.
    pub machine: Machine,
    /// Ran without root.
    pub rootless: bool,
    /// Do the variants stand side by side, or is each applied in its turn?
    pub side_by_side: bool,
    /// Every variant, the one that others are compared with first.
    pub variants: Vec<VariantRecord>,
    /// Rounds that were begun.
    pub rounds: u32,
    /// Why no more were.
    pub stopped: Option<Stop>,
    /// Window of a round.
    pub duration: Span,
    /// The seed of the order of each round; the same one gives the same order.
    pub seed: u64,
    /// From the first apply to the last removal, seconds.
    pub elapsed_s: f64,
    /// Of which were the windows and warm-ups themselves, seconds.
    pub traffic_s: f64,
    /// Figures by flow and test.
    pub results: Vec<SweepResult>,
    /// What a reader should know before trusting the figures.
    pub warnings: Vec<String>,
    /// Ended early by Ctrl-C.
    pub interrupted: bool,
}

/// A variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantRecord {
    /// Its settings, `key=value` with blanks between; or its name.
    pub label: String,
    /// Name of its topology.
    pub topology: String,
    /// Hash of its text, hexadecimal.
    pub hash: String,
    /// Making it and waiting for the kernel to become quiet, milliseconds.
    pub apply_ms: f64,
    /// Why it has no figures, where it has none.
    pub failed: Option<String>,
    /// In what it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// One test on one flow over all variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepResult {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// The test.
    pub test: Test,
    /// Unit of the headline.
    pub unit: Unit,
    /// One a variant that has figures.
    pub cells: Vec<SweepCell>,
}

/// A test in a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepCell {
    /// Number of the variant, from 1.
    pub variant: u32,
    /// Largest IP packet of the flow in it, bytes.
    pub mtu: u32,
    /// Each round's figures, in order of time.
    pub rounds: Vec<Figure>,
    /// The headline over the rounds.
    pub headline: Spread,
    /// CPU time of both ends' threads over the rounds, nanoseconds a byte, or a transaction.
    pub cpu_ns: Option<Spread>,
    /// Median of the rounds' p99, microseconds (request and response).
    pub p99_us: Option<f64>,
    /// Payload bits per second that the path can carry at most, where a link of it has a known rate.
    pub ceiling: Option<f64>,
    /// Against the first variant that has figures; absent in that one.
    pub against_first: Option<Comparison>,
    /// The rounds' doubts: where there are any, the figure is not valid.
    pub doubts: Vec<String>,
}

/// One round of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Goodput in bits per second, or transactions per second.
    pub headline: f64,
    /// CPU time of both ends' threads, nanoseconds a byte or a transaction.
    pub cpu_ns: Option<f64>,
    /// Bytes that the first interface handled at once: a super-packet counts once.
    pub bytes_per_packet: Option<f64>,
    /// Latency, microseconds (request and response).
    pub p99_us: Option<f64>,
}

/// `mtu tune --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TuneReport {
    /// What was measured.
    pub sweep: SweepReport,
    /// The MTUs, in the order of the variants.
    pub mtus: Vec<u32>,
    /// By flow and test.
    pub tuned: Vec<Tuned>,
}

/// The advice for one test on one flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tuned {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// The test.
    pub test: Test,
    /// CPU ns per byte = a + b / S.
    pub fit: Option<CostFit>,
    /// Why there is no fit.
    pub no_fit: Option<String>,
    /// The MTU with the best median.
    pub best: u32,
    /// Its headline.
    pub headline: Spread,
    /// MTUs that cannot be told from the best.
    pub as_good: Vec<u32>,
    /// No MTU can be told from another.
    pub no_difference: bool,
}

/// A straight line through the costs: a byte costs `a`, a packet `b`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostFit {
    /// Nanoseconds a byte.
    pub a_ns_per_byte: f64,
    /// Nanoseconds for each traversal of the stack.
    pub b_ns_per_packet: f64,
    /// Share of the variance that it explains, 0 to 1.
    pub r_squared: f64,
    /// Standard deviation of what is left, nanoseconds a byte.
    pub residual_ns: f64,
    /// By MTU: bytes a traversal, measured and fitted nanoseconds a byte.
    pub points: Vec<CostPoint>,
}

/// A point of the fit: medians of an MTU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostPoint {
    /// MTU, bytes.
    pub mtu: u32,
    /// Bytes a traversal of the stack (S).
    pub bytes_per_packet: f64,
    /// Measured.
    pub cpu_ns_per_byte: f64,
    /// By the line.
    pub fitted: f64,
}

/// `overhead --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverheadReport {
    /// What was measured; its variants are the layers.
    pub sweep: SweepReport,
    /// By test: what each layer adds to the one before it.
    pub waterfalls: Vec<Waterfall>,
}

/// What the layers cost in one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waterfall {
    /// The test.
    pub test: Test,
    /// From the bare host on.
    pub layers: Vec<Layer>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// What it adds.
    pub name: String,
    /// Nanoseconds of a KiB (streams, both ends and the path at the measured goodput) or of a transaction: the time that one
    /// takes.
    pub time_ns: f64,
    /// Of which this layer adds to the one before, nanoseconds.
    pub added_ns: f64,
    /// Headline over the rounds.
    pub headline: Spread,
    /// CPU nanoseconds a byte or a transaction.
    pub cpu_ns: Option<f64>,
    /// Against the layer before.
    pub against_previous: Option<Comparison>,
    /// Against the bare host.
    pub against_bare: Option<Comparison>,
}

/// `search --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchReport {
    /// [`super::SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// The topology.
    pub topology: String,
    /// The machine.
    pub machine: Machine,
    /// Ran without root.
    pub rootless: bool,
    /// In what it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// The test.
    pub test: Test,
    /// Unit of the loads.
    pub unit: Unit,
    /// Window of a trial.
    pub duration: Span,
    /// Largest share of datagrams or requests that may be lost, 0 to 1.
    pub max_loss: f64,
    /// Largest p99, microseconds.
    pub max_p99_us: Option<f64>,
    /// Share of trials at a load that may be bad.
    pub exceed_ratio: f64,
    /// Width of the answer over its upper end at which the search ends.
    pub precision: f64,
    /// Highest load that meets the limits; absent when none does.
    pub lower: Option<f64>,
    /// Lowest load that does not; absent when all that could be offered do.
    pub upper: Option<f64>,
    /// What really arrived at the highest load that meets the limits (RFC 9971's conditional throughput).
    pub conditional: Option<f64>,
    /// What a link of the path allows, where it has a known rate.
    pub ceiling: Option<BitRate>,
    /// Why it ended.
    pub ended: SearchEnd,
    /// Every trial in order.
    pub trials: Vec<TrialRecord>,
    /// From the first trial to the last, seconds.
    pub elapsed_s: f64,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Ended early by Ctrl-C.
    pub interrupted: bool,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchEnd {
    /// The two bounds are near enough to each other.
    Found,
    /// Even the highest load meets the limits.
    AtMaximum,
    /// The generator cannot offer more.
    Generator,
    /// Not even the lowest load meets the limits.
    NoneFits,
    /// The trials are used up.
    Trials,
}

/// A trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialRecord {
    /// Load that was asked for.
    pub load: f64,
    /// Load that was offered.
    pub offered: f64,
    /// What arrived, in the same unit.
    pub arrived: f64,
    /// Share lost, 0 to 1.
    pub loss: f64,
    /// p99, microseconds.
    pub p99_us: Option<f64>,
    /// Does it meet the limits?
    pub good: bool,
}
