//! What a host is and what its interfaces counted, as plain data. Reading them is `kernel`'s job.

pub mod cpus;
pub mod nic;
pub mod ovs;

use serde::{Deserialize, Serialize};

pub use self::{
    cpus::{CpuPlace, CpuTopology},
    ovs::{OvsFacts, OvsSetting, PortCounters},
};

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
    /// What it is to its neighbours.
    #[serde(skip)]
    pub place: LinkPlace,
}

/// Where a link stands among those of its namespace, by ifindex; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkPlace {
    /// Its own.
    pub index: u32,
    /// The bond or team of which it is a member.
    pub member_of: u32,
    /// Of a VLAN: the link below, which carries the same packets.
    pub over: u32,
}

impl LinkCounters {
    /// What was counted since an earlier reading; nothing where the interface was made again meanwhile.
    pub fn since(&self, then: &Self) -> Self {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            rx_packets: since(self.rx_packets, then.rx_packets),
            rx_bytes: since(self.rx_bytes, then.rx_bytes),
            tx_packets: since(self.tx_packets, then.tx_packets),
            tx_bytes: since(self.tx_bytes, then.tx_bytes),
            rx_errors: since(self.rx_errors, then.rx_errors),
            tx_errors: since(self.tx_errors, then.tx_errors),
            rx_dropped: since(self.rx_dropped, then.rx_dropped),
            tx_dropped: since(self.tx_dropped, then.tx_dropped),
            qdisc_dropped: since(self.qdisc_dropped, then.qdisc_dropped),
            place: self.place,
        }
    }
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
    /// Governor of the CPUs' frequencies, several with commas; absent where the kernel does not set frequencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
}

impl Machine {
    /// `, governor powersave`, or nothing.
    pub fn governed(&self) -> String {
        self.governor.as_ref().map(|governor| format!(", governor {governor}")).unwrap_or_default()
    }
}
