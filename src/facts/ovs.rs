//! What an Open vSwitch is, how it is set, and what its ports counted by two accounts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LinkCounters;

/// An Open vSwitch of the topology, asked over its control socket and in its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OvsFacts {
    /// Namespace it runs in, by role.
    pub netns: String,
    /// What it says of its version.
    pub version: String,
    /// Segmentation offload through the userspace datapath (`userspace-tso-enable`), read back.
    pub tso: bool,
    /// Is it told to have hardware do flows (`other_config:hw-offload`)? Read back.
    #[serde(default)]
    pub hw_offload: bool,
    /// Is it the host's own, which is read and never changed?
    #[serde(default)]
    pub system: bool,
    /// All of `other_config` of its database.
    #[serde(default)]
    pub settings: Vec<OvsSetting>,
    /// Flows in its datapath, those in tc included.
    pub datapath_flows: u64,
    /// Those of them that were handed to tc, which a device may take from there.
    #[serde(default)]
    pub tc_flows: u64,
    /// Those of them that hardware does.
    pub offloaded_flows: u64,
    /// What its tunnels carried while it was measured, in its own words: the userspace datapath tells its ports late, when
    /// flows are looked at again. What proves the path are the counters of the wires.
    #[serde(default)]
    pub tunnels: Vec<PortCounters>,
    /// What its other ports on the measured paths carried meanwhile, in its own words.
    #[serde(default)]
    pub ports: Vec<PortCounters>,
}

impl OvsFacts {
    /// What its accounts of a port disagree in, one sentence each.
    pub fn differences(&self) -> Vec<String> {
        let all = self.tunnels.iter().chain(&self.ports);
        let text = |port: &PortCounters| {
            let why = port.difference.as_ref()?;
            Some(format!("the Open vSwitch in {}, port {}: {why}", self.netns, port.port))
        };
        all.filter_map(text).collect()
    }
}

/// A key of `other_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OvsSetting {
    /// Its name.
    pub key: String,
    /// Its value, as the database has it.
    pub value: String,
    /// What it does to figures; absent for a key that netbench does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
}

impl fmt::Display for OvsSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = self.meaning.as_deref().unwrap_or("unknown to netbench");
        write!(f, "other_config:{}={} ({meaning})", self.key, self.value)
    }
}

/// A port of an Open vSwitch, with the switch's own counters. Of a tunnel they hold what is inside, without the outer
/// headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PortCounters {
    /// Bridge it is a port of.
    pub bridge: String,
    /// Name of its interface.
    pub port: String,
    /// `vxlan key 42 198.18.0.1 -> 198.18.0.2 port 4789`; absent where it is no tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Packets and bytes as the bridge counts its port (OpenFlow 1.3, `ofp_port_stats`), exact at both ends of the time.
    pub counters: LinkCounters,
    /// The same by the database (`Interface.statistics`), which the switch writes every five seconds: read when it had
    /// written it after the measurement. Absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<LinkCounters>,
    /// What the database says otherwise than the bridge, or the kernel, of which the port is an interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

impl PortCounters {
    /// Is this the same port of the same bridge?
    pub fn same_port(&self, other: &Self) -> bool {
        (&self.bridge, &self.port, &self.tunnel) == (&other.bridge, &other.port, &other.tunnel)
    }
}
