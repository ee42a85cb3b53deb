//! What the counters of a path's interfaces prove.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Did the traffic of a round cross the declared path?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PathEvidence {
    /// Every declared hop with what it counted.
    pub hops: Vec<HopEvidence>,
    /// Interfaces off the declared path that carried more than 1 % of the traffic, the busiest first.
    pub strays: Vec<StrayEvidence>,
    /// Packets that links below the hops received, which are no hops themselves: members of a bond, the card under a VLAN.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub below_packets: u64,
    /// The conclusion.
    pub verdict: PathVerdict,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an interface on the path counted during a round, in both directions of the flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HopEvidence {
    /// `namespace/interface`
    pub at: String,
    /// Counter in the direction of the payload (client to server, but for TCP_MAERTS): `tx` or `rx`.
    pub direction: String,
    /// Bytes in that direction, link-layer headers included.
    pub bytes: u64,
    /// Packets in that direction; a GSO or GRO super-packet counts once.
    pub packets: u64,
    /// Bytes the other way.
    pub reverse_bytes: u64,
    /// Packets the other way.
    pub reverse_packets: u64,
    /// What `bytes` must be for the hop to be on the path: lowest and highest.
    pub expected_bytes: (u64, u64),
    /// Drops and errors of the interface during the round: by the kernel's counters, or by its driver's where those are more.
    pub dropped: u64,
    /// What of its driver's own statistics (`ethtool -S`) of drops and errors rose, by the driver's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver: BTreeMap<String, u64>,
    /// Drops of its queueing disciplines.
    #[serde(default)]
    pub qdisc_dropped: u64,
    /// Within what was expected.
    pub ok: bool,
}

/// An interface that should have been idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StrayEvidence {
    /// `namespace/interface`
    pub at: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// Conclusion on a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", tag = "path")]
pub enum PathVerdict {
    /// Every declared hop carried the traffic, and no other interface did.
    Proved,
    /// It went another way, or did not get through.
    NotProved {
        /// Which hop, which interface.
        reason: String,
    },
    /// No hop is declared: there is nothing to prove.
    NoHops,
    /// Two plain hosts: what lies between them is not known, and not proved.
    NoTopology,
}
