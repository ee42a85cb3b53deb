//! How the children of one NIC reach each other.

use serde::{Deserialize, Serialize};

/// macvlan modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Children cannot reach each other.
    Private,
    /// Children reach each other through the switch outside.
    Vepa,
    /// Children are switched in the kernel.
    Bridge,
    /// One child owns the NIC.
    Passthru,
}

/// ipvlan modes: what is between the children and the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Switched by IP address; broadcasts and ARP pass.
    L2,
    /// Routed in the namespace of the NIC; no ARP, no broadcasts.
    L3,
    /// The same, with the packet filter of that namespace in the way.
    L3s,
}

impl IpvlanMode {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::L3 => "l3",
            Self::L3s => "l3s",
        }
    }
}
