//! What the kernel shall hold: namespaces and, in each, links, addresses, routes, sysctls. Flat and fully named.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    ovs::Ovs,
    sriov::{Pf, VfSet},
};
use crate::{
    topology::model::{Flow, IpvlanMode, MacvlanMode, Netem, Shaper},
    units::{IfName, MacAddr},
};

/// A namespace by its role in the topology: a node's or host's name, `fabric`, or `self` (where netbench was started).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NsId(pub String);

impl NsId {
    /// The role under this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
    /// The namespace netbench was started in.
    pub const SELF: &'static str = "self";
    /// The namespace of switches that live on no host.
    pub const FABRIC: &'static str = "fabric";
}

impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The whole desired state, in an order in which it can be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Name of the topology.
    pub topology: String,
    /// Namespaces in order of declaration.
    pub namespaces: Vec<Ns>,
    /// Links; a link stands after every link that it needs (master, lower device, veth's first end).
    pub links: Vec<Link>,
    /// Open vSwitch, one a namespace.
    #[serde(default)]
    pub ovs: Vec<Ovs>,
    /// NICs whose virtual functions are ports.
    #[serde(default)]
    pub sriov: Vec<Pf>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Static forwarding entries.
    pub fdb: Vec<FdbSpec>,
    /// Permanent neighbour entries.
    #[serde(default)]
    pub neighbours: Vec<NeighbourSpec>,
    /// Declared flows with the hops they must cross.
    pub flows: Vec<FlowPath>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ns {
    /// Its role.
    pub id: NsId,
    /// Where it comes from.
    pub origin: NsOrigin,
    /// sysctls: dotted key to value, as the kernel prints it.
    pub sysctl: BTreeMap<String, String>,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NsOrigin {
    /// Ours: made under this name in the namespace folder (`/run/netns`).
    Own(String),
    /// The one netbench was started in.
    This,
    /// An existing one, by path.
    Path(PathBuf),
    /// An existing one, by process.
    Pid(u32),
    /// A running container's, by engine (`docker`, `podman`) and name.
    Container {
        /// `docker` or `podman`.
        engine: String,
        /// Name or id.
        name: String,
    },
}

impl NsOrigin {
    /// Did we make it (and may therefore remove it with all that is in it)?
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

/// A link by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkRef {
    /// Namespace.
    pub ns: NsId,
    /// Interface name.
    pub name: IfName,
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ns, self.name)
    }
}

/// A link and all that is set on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Where and under which name.
    pub at: LinkRef,
    /// What it is.
    pub kind: LinkKind,
    /// MTU in bytes; `None` leaves it as found.
    pub mtu: Option<u32>,
    /// MAC; `None` leaves the kernel's.
    pub mac: Option<MacAddr>,
    /// Bridge it is a port of, in the same namespace.
    pub master: Option<IfName>,
    /// Access VLAN (pvid, untagged) of the bridge port.
    pub vlan: Option<u16>,
    /// Addresses in order; the first IPv4 one is the source of flows.
    pub addresses: Vec<IpNet>,
    /// Root qdisc; `None` leaves the kernel's.
    pub qdisc: Option<Qdisc>,
    /// ethtool features by kernel name (`tx-tcp-segmentation`), on or off.
    pub features: BTreeMap<String, bool>,
    /// ethtool rings, channels, coalesce (`rings.rx`, `channels.combined`, `coalesce.rx-usecs`).
    pub ethtool: BTreeMap<String, u32>,
    /// `gso_max_size` in bytes.
    pub gso_max_size: Option<u32>,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A bridge.
    Bridge {
        /// Spanning tree on.
        stp: bool,
        /// 802.1Q filtering on.
        vlan_filtering: bool,
        /// IGMP/MLD snooping; `None` leaves the default.
        multicast_snooping: Option<bool>,
    },
    /// One end of a veth pair. The end that stands first in `Desired::links` makes both.
    Veth {
        /// The other end.
        peer: LinkRef,
    },
    /// A macvlan child.
    Macvlan {
        /// The device below.
        lower: LinkRef,
        /// Mode.
        mode: MacvlanMode,
    },
    /// An ipvlan child.
    Ipvlan {
        /// The device below.
        lower: LinkRef,
        /// Mode.
        mode: IpvlanMode,
    },
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// The internal port of a bridge of Open vSwitch (the bridge stands in `Desired::ovs` under the same name).
    OvsInternal,
    /// A virtual function of a NIC (which stands in `Desired::sriov`): moved in and renamed, given back or unmade.
    Vf(Vf),
    /// A device that was there before and is given back: moved in and renamed, or only configured where it is.
    Borrowed {
        /// Kernel name in the namespace netbench was started in.
        ifname: IfName,
        /// The interface at the other end of its cable, when the file says so.
        cable: Option<LinkRef>,
    },
}

/// A virtual function with what its NIC does for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vf {
    /// The NIC.
    pub pf: LinkRef,
    /// Number of the function.
    pub index: u32,
    /// What is set through the NIC.
    pub set: VfSet,
    /// Is its MAC the planner's choice? Functions that somebody else made then keep theirs.
    pub derived_mac: bool,
}

/// A VXLAN device with one unicast remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// VNI.
    pub vni: u32,
    /// Outer source.
    pub local: IpAddr,
    /// Outer destination of unknown and broadcast frames (the all-zero FDB entry).
    pub remote: IpAddr,
    /// UDP destination port.
    pub port: u16,
    /// Lower device, so that the kernel bounds the MTU.
    pub dev: IfName,
    /// Outer UDP checksum over IPv4; `None` leaves the default.
    pub udp_checksum: Option<bool>,
    /// Zero outer checksum over IPv6, sent and accepted; `None` leaves the default.
    pub udp6_zero_checksum: Option<bool>,
    /// Group policy extension.
    pub gbp: bool,
    /// Learning; `None` leaves the default.
    pub learning: Option<bool>,
}

/// A root qdisc.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qdisc {
    /// tbf or htb at a rate.
    Shaper(Shaper),
    /// netem.
    Netem(Netem),
}

/// A route in the main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Namespace.
    pub ns: NsId,
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Device; derived from the gateway by the kernel when `None`.
    pub dev: Option<IfName>,
}

/// A static forwarding entry of a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbSpec {
    /// The VXLAN device.
    pub at: LinkRef,
    /// Inner destination.
    pub mac: MacAddr,
    /// Outer destination.
    pub remote: IpAddr,
}

/// A permanent neighbour (ARP, NDP) entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NeighbourSpec {
    /// The interface.
    pub at: LinkRef,
    /// Address of the neighbour.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: MacAddr,
}

/// A flow and the way it must take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowPath {
    /// Who talks to whom, over which addresses, at which MTU.
    pub flow: Flow,
    /// Namespace of the client.
    pub from_ns: NsId,
    /// Namespace of the server.
    pub to_ns: NsId,
    /// Interfaces in the order in which a packet from client to server crosses them.
    pub hops: Vec<Hop>,
}

/// One interface on a path, in the direction client to server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The interface.
    pub at: LinkRef,
    /// Does the packet leave the namespace (or stack) by it, or come in?
    pub direction: Direction,
    /// MTU that this hop must have; 0 where it is left as found.
    pub mtu: u32,
    /// Bytes that encapsulation adds to each packet at this hop (0 outside tunnels).
    pub overhead: u32,
    /// Other members of the bond that it is one of: any of them may carry the packet.
    #[serde(default)]
    pub beside: Vec<LinkRef>,
}

/// Direction at a hop, seen from its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Counted as transmitted.
    Tx,
    /// Counted as received.
    Rx,
}

impl Desired {
    /// The link at this place.
    pub fn link(&self, at: &LinkRef) -> Option<&Link> {
        self.links.iter().find(|link| link.at == *at)
    }

    /// The namespace of this role.
    pub fn namespace(&self, id: &NsId) -> Option<&Ns> {
        self.namespaces.iter().find(|ns| ns.id == *id)
    }

    /// Is this a namespace that we make?
    pub fn owns(&self, id: &NsId) -> bool {
        self.namespace(id).is_some_and(|ns| ns.origin.is_own())
    }
}
