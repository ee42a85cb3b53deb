//! What a host is and what its interfaces counted, as plain data. Reading them is `kernel`'s job.

pub mod cpus;

use serde::{Deserialize, Serialize};

pub use self::cpus::{CpuPlace, CpuTopology};

/// Interface counters (`struct rtnl_link_stats64`), since the interface was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LinkCounters {
    /// Packets received; a GRO or GSO super-packet counts once.
    pub rx_packets: u64,
    /// Bytes received, link-layer header included.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent, link-layer header included.
    pub tx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Transmit errors.
    pub tx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Not sent but dropped.
    pub tx_dropped: u64,
    /// Dropped by its root queueing discipline. The kernel counts a super-packet once, whatever it holds.
    #[serde(default)]
    pub qdisc_dropped: u64,
}

/// The machine a result was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Machine {
    /// `uname -n`.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// CPU model of `/proc/cpuinfo`.
    pub cpu: String,
    /// Online CPUs.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// An Open vSwitch of the topology, asked over its control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OvsFacts {
    /// Namespace it runs in, by role.
    pub netns: String,
    /// What it says of its version.
    pub version: String,
    /// Segmentation offload through the userspace datapath (`userspace-tso-enable`), read back.
    pub tso: bool,
    /// Flows in its datapath.
    pub datapath_flows: u64,
    /// Those of them that hardware does.
    pub offloaded_flows: u64,
}
