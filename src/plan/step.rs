//! A plan is data: steps with their undo, printed by `topo plan`, written to the journal, interpreted by `apply`.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::desired::{FdbSpec, Link, LinkRef, NeighbourSpec, NsId, Qdisc, RouteSpec};
use super::ovs::{OvsBridge, OvsDaemon};
use super::sriov::{PfChange, VfSet};
use crate::units::{IfName, MacAddr};

/// One change of the kernel's state. Every step knows its undo (`Step::undo`) and is idempotent both ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Make a namespace under `name` in the namespace folder; `lo` gets our mark and comes up; sysctls that must
    /// stand before any link are set.
    CreateNs {
        /// Role.
        ns: NsId,
        /// File name in the namespace folder.
        name: String,
        /// Early sysctls.
        sysctl: BTreeMap<String, String>,
    },
    /// Remove a namespace of ours with all that is in it.
    DeleteNs {
        /// Role.
        ns: NsId,
        /// File name in the namespace folder.
        name: String,
        /// What it was made with.
        sysctl: BTreeMap<String, String>,
    },
    /// Make a link (of a veth pair: both ends, each in its final namespace).
    CreateLink {
        /// The link.
        link: Box<Link>,
        /// The second end of a veth pair.
        peer: Option<Box<Link>>,
    },
    /// Delete a link of ours.
    DeleteLink {
        /// The link as it was.
        link: Box<Link>,
        /// The second end of a veth pair.
        peer: Option<Box<Link>>,
    },
    /// Borrow a device: move it from the namespace netbench was started in to `to`, renamed and marked.
    TakeNic {
        /// Its new place.
        to: LinkRef,
        /// All that must be given back.
        previous: Box<NicState>,
    },
    /// Give a borrowed device back exactly as it was.
    GiveBackNic {
        /// Where it is.
        from: LinkRef,
        /// How it was.
        previous: Box<NicState>,
    },
    /// Make (or unmake) the virtual functions of a NIC, which is marked meanwhile.
    SetVfs {
        /// Where the NIC is.
        pf: LinkRef,
        /// What changes, and what was before.
        change: Box<PfChange>,
    },
    /// Set what a NIC does for one of its virtual functions.
    SetVf {
        /// Where the NIC is.
        pf: LinkRef,
        /// PCI address of the NIC.
        pci: String,
        /// Number of the function.
        index: u32,
        /// Wanted.
        set: VfSet,
        /// Values before; `None` where they go with the function.
        previous: VfSet,
        /// Where it is somebody else's function that no node has: does the step set it, or give it back? The NIC has a note
        /// of the values before meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lent: Option<Lent>,
    },
    /// Start ovsdb-server and ovs-vswitchd in a namespace.
    StartOvs(OvsDaemon),
    /// End them, with all bridges.
    StopOvs(OvsDaemon),
    /// Make bridges with all their ports, in one transaction.
    CreateOvsBridges {
        /// Namespace.
        ns: NsId,
        /// The bridges.
        bridges: Vec<OvsBridge>,
        /// How those that were there differ, where they are made again.
        differs: Vec<String>,
    },
    /// Remove bridges of ours.
    DeleteOvsBridges {
        /// Namespace.
        ns: NsId,
        /// The bridges as they were.
        bridges: Vec<OvsBridge>,
    },
    /// Set link attributes.
    SetLink {
        /// The link.
        at: LinkRef,
        /// Attributes to set.
        set: LinkSet,
        /// Their values before.
        previous: LinkSet,
    },
    /// Add an address.
    AddAddress {
        /// The link.
        at: LinkRef,
        /// Address with prefix length.
        address: IpNet,
    },
    /// Remove an address.
    DeleteAddress {
        /// The link.
        at: LinkRef,
        /// Address with prefix length.
        address: IpNet,
    },
    /// Add a route to the main table.
    AddRoute(RouteSpec),
    /// Remove a route from the main table.
    DeleteRoute(RouteSpec),
    /// Add a static forwarding entry.
    AddFdb(FdbSpec),
    /// Remove a static forwarding entry.
    DeleteFdb(FdbSpec),
    /// Add a permanent neighbour entry.
    AddNeighbour(NeighbourSpec),
    /// Remove a permanent neighbour entry.
    DeleteNeighbour(NeighbourSpec),
    /// Set the root qdisc (`None`: the kernel's default).
    SetQdisc {
        /// The link.
        at: LinkRef,
        /// Wanted.
        qdisc: Option<Qdisc>,
        /// What it was, as far as netbench can make it again.
        previous: Option<Qdisc>,
    },
    /// Switch ethtool features.
    SetFeatures {
        /// The link.
        at: LinkRef,
        /// Kernel name to on/off.
        features: BTreeMap<String, bool>,
        /// Values before.
        previous: BTreeMap<String, bool>,
    },
    /// Set ethtool rings, channels, coalesce.
    SetEthtool {
        /// The link.
        at: LinkRef,
        /// Key (`rings.rx`) to value.
        values: BTreeMap<String, u32>,
        /// Values before.
        previous: BTreeMap<String, u32>,
    },
    /// Set a sysctl of a namespace.
    SetSysctl {
        /// Namespace.
        ns: NsId,
        /// Dotted key.
        key: String,
        /// Value.
        value: String,
        /// Value before.
        previous: Option<String>,
    },
}

/// Attributes of `RTM_SETLINK`; `None` leaves one alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkSet {
    /// MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Administrative state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Master: `Some(None)` frees the port.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "double_option")]
    pub master: Option<Option<IfName>>,
    /// Access VLAN of a bridge port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvid: Option<u16>,
    /// Bridge: spanning tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stp: Option<bool>,
    /// Bridge: 802.1Q filtering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_filtering: Option<bool>,
    /// Bridge: snooping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_snooping: Option<bool>,
    /// `gso_max_size` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gso_max_size: Option<u32>,
}

/// JSON has one `null`; `Some(None)` is written as `""`.
mod double_option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::IfName;

    pub fn serialize<S: Serializer>(value: &Option<Option<IfName>>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(Some(name)) => serializer.serialize_str(name.as_str()),
            Some(None) | None => serializer.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<IfName>>, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "" => Ok(Some(None)),
            name => name.parse().map(|name| Some(Some(name))).map_err(serde::de::Error::custom),
        }
    }
}

/// All that must be given back with a borrowed device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NicState {
    /// Kernel name.
    pub ifname: String,
    /// ifindex in the namespace it was taken from.
    pub index: u32,
    /// `/sys/bus/pci` address, if it has one.
    pub pci: Option<String>,
    /// MAC, the current one.
    pub mac: Option<MacAddr>,
    /// MAC burnt in (`IFLA_PERM_ADDRESS`).
    pub permanent_mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Name of its master.
    pub master: Option<String>,
    /// Its alias.
    pub alias: Option<String>,
    /// Its group.
    pub group: u32,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Features that can be switched, as asked for.
    #[serde(default)]
    pub features: BTreeMap<String, bool>,
    /// ethtool rings, channels, coalesce.
    #[serde(default)]
    pub ethtool: BTreeMap<String, u32>,
    /// Addresses it lost by moving.
    pub addresses: Vec<IpNet>,
    /// Routes it lost by moving: (destination, gateway, protocol, scope, metric, table).
    pub routes: Vec<NicRoute>,
    /// Of a virtual function. Its name is empty where it was yet to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vf: Option<VfState>,
}

/// What a virtual function is given, and what it had.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VfState {
    /// PCI address of its NIC.
    pub pf: String,
    /// Its number.
    pub index: u32,
    /// What is set through the NIC before it is taken.
    pub set: VfSet,
    /// What was set there before; `None` where the function is made for the topology and goes with it.
    pub before: Option<VfSet>,
    /// Had it a driver?
    pub bound: bool,
}

/// A route that a borrowed device carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NicRoute {
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<std::net::IpAddr>,
    /// Preferred source.
    pub source: Option<std::net::IpAddr>,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// Metric.
    pub metric: u32,
    /// Table.
    pub table: u32,
}

/// What becomes of a function of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lent {
    /// It is set.
    Set,
    /// It is given back.
    GivenBack,
}

impl Step {
    /// The step that takes this one back; `None` where the value before is not known.
    pub fn undo(&self) -> Option<Step> {
        Some(match self.clone() {
            Self::CreateNs { ns, name, sysctl } => Self::DeleteNs { ns, name, sysctl },
            Self::DeleteNs { ns, name, sysctl } => Self::CreateNs { ns, name, sysctl },
            Self::CreateLink { link, peer } => Self::DeleteLink { link, peer },
            Self::DeleteLink { link, peer } => Self::CreateLink { link, peer },
            Self::TakeNic { to, previous } => Self::GiveBackNic { from: to, previous },
            Self::GiveBackNic { from, previous } => Self::TakeNic { to: from, previous },
            Self::SetVfs { pf, change } => Self::SetVfs { pf, change: Box::new(change.undo()) },
            Self::SetVf { pf, pci, index, set, previous, lent } => {
                let lent = lent.map(|lent| if lent == Lent::Set { Lent::GivenBack } else { Lent::Set });
                Self::SetVf { pf, pci, index, set: previous, previous: set, lent }
            }
            Self::StartOvs(daemon) => Self::StopOvs(daemon),
            Self::StopOvs(daemon) => Self::StartOvs(daemon),
            Self::CreateOvsBridges { ns, bridges, .. } => Self::DeleteOvsBridges { ns, bridges },
            Self::DeleteOvsBridges { ns, bridges } => Self::CreateOvsBridges { ns, bridges, differs: Vec::new() },
            Self::SetLink { at, set, previous } => Self::SetLink { at, set: previous, previous: set },
            Self::AddAddress { at, address } => Self::DeleteAddress { at, address },
            Self::DeleteAddress { at, address } => Self::AddAddress { at, address },
            Self::AddRoute(route) => Self::DeleteRoute(route),
            Self::DeleteRoute(route) => Self::AddRoute(route),
            Self::AddFdb(entry) => Self::DeleteFdb(entry),
            Self::DeleteFdb(entry) => Self::AddFdb(entry),
            Self::AddNeighbour(entry) => Self::DeleteNeighbour(entry),
            Self::DeleteNeighbour(entry) => Self::AddNeighbour(entry),
            Self::SetQdisc { at, qdisc, previous } => Self::SetQdisc { at, qdisc: previous, previous: qdisc },
            Self::SetFeatures { at, features, previous } => {
                Self::SetFeatures { at, features: previous, previous: features }
            }
            Self::SetEthtool { at, values, previous } => Self::SetEthtool { at, values: previous, previous: values },
            Self::SetSysctl { ns, key, value, previous } => {
                Self::SetSysctl { ns, key, value: previous?, previous: Some(value) }
            }
        })
    }

    /// Does the step move a device that is not ours?
    pub fn is_loan(&self) -> bool {
        matches!(self, Self::TakeNic { .. } | Self::GiveBackNic { .. } | Self::SetVfs { .. } | Self::SetVf { .. })
    }

    /// Does the step take something away, so that its undo would make it?
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::DeleteNs { .. }
                | Self::DeleteLink { .. }
                | Self::DeleteAddress { .. }
                | Self::DeleteRoute(_)
                | Self::DeleteFdb(_)
                | Self::DeleteNeighbour(_)
                | Self::GiveBackNic { .. }
                | Self::StopOvs(_)
                | Self::DeleteOvsBridges { .. }
        )
    }

    /// The namespace the step acts in.
    pub fn ns(&self) -> &NsId {
        match self {
            Self::CreateNs { ns, .. } | Self::DeleteNs { ns, .. } | Self::SetSysctl { ns, .. } => ns,
            Self::CreateLink { link, .. } | Self::DeleteLink { link, .. } => &link.at.ns,
            Self::TakeNic { to: at, .. } | Self::GiveBackNic { from: at, .. } => &at.ns,
            Self::SetLink { at, .. }
            | Self::AddAddress { at, .. }
            | Self::DeleteAddress { at, .. }
            | Self::SetQdisc { at, .. }
            | Self::SetFeatures { at, .. }
            | Self::SetEthtool { at, .. }
            | Self::SetVfs { pf: at, .. }
            | Self::SetVf { pf: at, .. } => &at.ns,
            Self::StartOvs(daemon) | Self::StopOvs(daemon) => &daemon.ns,
            Self::CreateOvsBridges { ns, .. } | Self::DeleteOvsBridges { ns, .. } => ns,
            Self::AddRoute(route) | Self::DeleteRoute(route) => &route.ns,
            Self::AddFdb(entry) | Self::DeleteFdb(entry) => &entry.at.ns,
            Self::AddNeighbour(entry) | Self::DeleteNeighbour(entry) => &entry.at.ns,
        }
    }
}
