//! What `netbench offload verify` and `offload bisect` found. Schemas: `docs/json/offload-*.schema.json`.

use serde::{Deserialize, Serialize};

use super::{TopologyRef, manifest::Manifest};
use crate::{facts::Machine, packet::Finding};

/// Version of the shapes below.
pub const OFFLOAD_SCHEMA_VERSION: u32 = 1;

/// What is to be said of a feature of a device, or of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum OffloadVerdict {
    /// Right bytes, and evidence that the feature does something.
    Pass,
    /// Wrong bytes, or wrong bytes accepted.
    Corrupt,
    /// What was left to a device went out undone: a partial checksum, a frame too large.
    Leak,
    /// What was handed over did not come.
    Drop,
    /// Right, and no sign that the feature does anything.
    Ineffective,
    /// The device does not do what was asked of it.
    NotActive,
    /// Packets of the declared MTU vanish.
    Blackhole,
    /// Nothing can be said; the evidence tells why.
    Inconclusive,
    /// Not tried; the evidence tells why.
    Skip,
}

impl OffloadVerdict {
    /// Is an offload broken: exit code 3?
    pub fn is_broken(self) -> bool {
        matches!(self, Self::Corrupt | Self::Leak | Self::Drop | Self::Blackhole)
    }

    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Corrupt => "CORRUPT",
            Self::Leak => "LEAK",
            Self::Drop => "DROP",
            Self::Ineffective => "INEFFECTIVE",
            Self::NotActive => "NOT-ACTIVE",
            Self::Blackhole => "BLACKHOLE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Skip => "SKIP",
        }
    }
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OffloadCheck {
    /// The direction in which traffic went, `client -> server`.
    pub path: String,
    /// The device, as namespace/interface; none for a check of the whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What was checked: `tx-checksum`, `tso`, `integrity` …
    pub check: String,
    /// Kernel names of the features that were switched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The verdict.
    pub verdict: OffloadVerdict,
    /// What it rests on.
    pub evidence: String,
    /// What the wire showed, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What to do, where something is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl OffloadCheck {
    /// A row of a whole path, without features, findings or a cure.
    pub fn new(path: &str, check: &str, verdict: OffloadVerdict, evidence: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            device: None,
            check: check.to_owned(),
            features: Vec::new(),
            verdict,
            evidence: evidence.into(),
            findings: Vec::new(),
            cure: None,
        }
    }
}

/// One `netbench offload verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OffloadRecord {
    /// [`OFFLOAD_SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// What was verified.
    pub topology: TopologyRef,
    /// Kernel release.
    pub kernel: String,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// In what it was measured, before anything was switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Ran without root.
    pub rootless: bool,
    /// Seed of every payload.
    pub seed: u64,
    /// Length, seconds.
    pub elapsed_s: f64,
    /// Every check in the order in which it was made.
    pub checks: Vec<OffloadCheck>,
    /// Features that are not as they were before; empty when all is.
    pub left: Vec<String>,
    /// Ended early by Ctrl-C.
    pub interrupted: bool,
}

impl OffloadRecord {
    /// Is anything broken?
    pub fn is_broken(&self) -> bool {
        self.checks.iter().any(|check| check.verdict.is_broken())
    }
}

/// A set of features and the goodput with them flipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trial {
    /// What was flipped, `device feature off`; empty for all as found.
    pub flipped: Vec<String>,
    /// Payload bits per second that arrived right; 0 where nothing passed.
    pub goodput: f64,
    /// Is the goal met?
    pub met: bool,
}

/// One `netbench offload bisect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BisectRecord {
    /// [`OFFLOAD_SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// What was searched.
    pub topology: TopologyRef,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// In what it was measured, before anything was switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The goal in payload bits per second.
    pub goal: f64,
    /// Does the path meet it as it is?
    pub met_as_found: bool,
    /// The smallest set of features found whose flip meets the goal, `device feature off`; empty where none does.
    pub culprits: Vec<String>,
    /// Was each of them confirmed by A/B?
    pub confirmed: bool,
    /// `ethtool -K` lines, one a device.
    pub commands: Vec<String>,
    /// The same for every boot: text of a systemd .link file, or a udev rule, one a device.
    pub persistent: Vec<String>,
    /// Every measurement.
    pub trials: Vec<Trial>,
    /// Features that are not as they were before.
    pub left: Vec<String>,
    /// Ended early by Ctrl-C.
    pub interrupted: bool,
}
