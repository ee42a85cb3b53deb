//! Where the two ends of a stream ran.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `--placement`: how far apart the CPUs of a stream's two ends shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Both on one CPU.
    SameCore,
    /// On two threads of one core (SMT).
    Sibling,
    /// On two cores of one NUMA node.
    SameNode,
    /// On two NUMA nodes; on a machine with one, on two cores.
    Spread,
}

impl Policy {
    /// All, from near to far.
    pub const ALL: [Self; 4] = [Self::SameCore, Self::Sibling, Self::SameNode, Self::Spread];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameCore => "same-core",
            Self::Sibling => "sibling",
            Self::SameNode => "same-node",
            Self::Spread => "spread",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{}` is none of {names}", text.chars().take(40).collect::<String>().escape_debug())
        })
    }
}

/// How far apart two CPUs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// One CPU.
    SameCpu,
    /// Two threads of one core.
    Sibling,
    /// Two cores of one NUMA node.
    SameNode,
    /// Two NUMA nodes.
    OtherNode,
}

impl Relation {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameCpu => "same CPU",
            Self::Sibling => "siblings",
            Self::SameNode => "same node",
            Self::OtherNode => "two nodes",
        }
    }
}

/// The CPUs that a stream got, in its last round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LanePlace {
    /// Number of the stream.
    pub stream: u32,
    /// Of the client's thread: as pinned, or the one it ended on.
    pub client_cpu: u32,
    /// Of the server's.
    pub server_cpu: u32,
    /// Both threads were pinned to one CPU each, read back.
    pub pinned: bool,
    /// How far apart these are; absent where one is not known to this host's sysfs.
    pub relation: Option<Relation>,
    /// `SO_INCOMING_CPU` of the receiving socket: the CPU that did its receive processing.
    pub incoming_cpu: Option<u32>,
    /// `SO_INCOMING_NAPI_ID` of the receiving socket: its receive queue, where that has a number.
    pub napi_id: Option<u32>,
}
