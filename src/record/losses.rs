//! Where datagrams were lost.

use serde::{Deserialize, Serialize};

/// Lost datagrams and the place they are charged to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LossShare {
    /// What dropped them.
    pub place: LossPlace,
    /// Its interface, `namespace/interface`.
    pub at: Option<String>,
    /// Datagrams charged to it.
    pub datagrams: u64,
    /// What its counter said: packets, of which a bundle of datagrams is one.
    pub counted: u64,
    /// Datagrams came in bundles: the charge is an upper bound.
    pub at_most: bool,
}

/// Where a datagram can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossPlace {
    /// The receiving socket, its buffer full.
    ReceivingSocket,
    /// The queueing discipline of a sending interface.
    Qdisc,
    /// The backlog of a CPU (`softnet_stat`).
    Backlog,
    /// An interface that counted drops or errors.
    Interface,
    /// Nowhere that counts.
    Unexplained,
}

impl LossPlace {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReceivingSocket => "the receiving socket",
            Self::Qdisc => "the queueing discipline",
            Self::Backlog => "the backlog of a CPU",
            Self::Interface => "the interface",
            Self::Unexplained => "no place that counts",
        }
    }
}
