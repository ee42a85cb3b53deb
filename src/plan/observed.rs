//! What the kernel holds, read back: the same nouns as `desired`, with what only the kernel knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{desired::NsId, ovs::ObservedOvs, sriov::ObservedPf};
use crate::{
    topology::model::{IpvlanMode, MacvlanMode},
    units::{IfName, MacAddr},
};

/// The observed state of the namespaces that a topology names. A namespace that does not exist has no entry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// By role.
    pub namespaces: BTreeMap<NsId, ObservedNs>,
    /// NICs with virtual functions, by PCI address.
    #[serde(default)]
    pub sriov: BTreeMap<String, ObservedPf>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedNs {
    /// Inode of the namespace: its identity while it lives.
    pub inode: u64,
    /// Alias of `lo`: `netbench:<topology>:<role>` in a namespace that we made.
    pub mark: Option<String>,
    /// Links by name.
    pub links: BTreeMap<IfName, ObservedLink>,
    /// Routes of the main table, without those that the kernel made (proto kernel).
    pub routes: Vec<ObservedRoute>,
    /// Open vSwitch of ours, where one runs or is declared.
    #[serde(default)]
    pub ovs: Option<ObservedOvs>,
    /// Static FDB entries of VXLAN devices: (device, MAC, remote).
    pub fdb: Vec<(IfName, MacAddr, IpAddr)>,
    /// Permanent neighbour entries, where they were asked for: (device, address, MAC).
    #[serde(default)]
    pub neighbours: Vec<(IfName, IpAddr, MacAddr)>,
    /// The sysctls that were asked for, dotted key to value; a key the kernel does not have is missing.
    pub sysctl: BTreeMap<String, String>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedLink {
    /// ifindex.
    pub index: u32,
    /// `IFLA_INFO_KIND`, empty for physical devices and `lo`.
    pub kind: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Largest MTU the device takes, 0 if it does not say.
    pub max_mtu: u32,
    /// MAC.
    pub mac: Option<MacAddr>,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Operationally up (IFF_LOWER_UP).
    pub carrier: bool,
    /// Index of the master, if any.
    pub master: Option<u32>,
    /// `IFLA_LINK`: the veth peer's index, or the lower device's.
    pub link: Option<u32>,
    /// `IFLA_LINK_NETNSID`: the number that this namespace gives to the one in which `link` is, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_netnsid: Option<i32>,
    /// `IFLA_IFALIAS`.
    pub alias: Option<String>,
    /// PCI address of the device behind it.
    #[serde(default)]
    pub pci: Option<String>,
    /// `IFLA_GROUP`.
    pub group: u32,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Addresses, link-local ones of IPv6 left out.
    pub addresses: Vec<IpNet>,
    /// Root qdisc, when it is not the kernel's default for the device.
    pub qdisc: Option<ObservedQdisc>,
    /// What the kind adds.
    pub detail: LinkDetail,
    /// Access VLAN of a bridge port: pvid where filtering is on.
    pub pvid: Option<u16>,
    /// ethtool features, only for links on which the desired state names some: kernel name to active.
    pub features: BTreeMap<String, bool>,
    /// Those of `features` that the device does not let anybody switch.
    #[serde(default)]
    pub fixed_features: BTreeSet<String>,
    /// ethtool rings, channels, coalesce, only where asked.
    pub ethtool: BTreeMap<String, u32>,
    /// `gso_max_size`.
    pub gso_max_size: u32,
}

/// Kind-specific facts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkDetail {
    /// Nothing of interest.
    #[default]
    None,
    /// A bridge.
    Bridge {
        /// Spanning tree.
        stp: bool,
        /// 802.1Q filtering.
        vlan_filtering: bool,
        /// Snooping.
        multicast_snooping: bool,
    },
    /// A macvlan.
    Macvlan {
        /// Mode; `None` for modes netbench does not make.
        mode: Option<MacvlanMode>,
    },
    /// An ipvlan.
    Ipvlan {
        /// Mode; `None` for modes netbench does not make.
        mode: Option<IpvlanMode>,
    },
    /// A Geneve or GRE device.
    Tunnel {
        /// VNI, or GRE key of both directions; `None` where they differ or there is none.
        key: Option<u32>,
        /// Outer source, of GRE.
        local: Option<IpAddr>,
        /// Outer destination.
        remote: Option<IpAddr>,
        /// UDP port; 0 of GRE.
        port: u16,
        /// Outer UDP checksum over IPv4, of Geneve.
        udp_checksum: bool,
        /// Zero checksum sent over IPv6, of Geneve.
        udp6_zero_checksum: bool,
    },
    /// A VXLAN device.
    Vxlan {
        /// VNI.
        vni: u32,
        /// Outer source.
        local: Option<IpAddr>,
        /// Default remote.
        remote: Option<IpAddr>,
        /// UDP port.
        port: u16,
        /// Index of the lower device.
        dev: u32,
        /// Outer UDP checksum over IPv4.
        udp_checksum: bool,
        /// Zero checksum sent over IPv6.
        udp6_zero_checksum: bool,
        /// Group policy.
        gbp: bool,
        /// Learning.
        learning: bool,
    },
}

/// A root qdisc as read back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedQdisc {
    /// `tbf`, `htb`, `netem`, …
    pub kind: String,
    /// Rate in bytes per second, of tbf, or of htb's one class.
    pub rate_bytes: Option<u64>,
    /// netem delay in nanoseconds.
    pub delay_ns: Option<u64>,
    /// netem loss, 0..1.
    pub loss: Option<f64>,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedRoute {
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Output device's index.
    pub oif: Option<u32>,
    /// `RTPROT_*`: 3 boot, 4 static, …
    pub protocol: u8,
    /// Metric.
    pub metric: u32,
}
