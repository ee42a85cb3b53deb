//! What a topology file says, word for word and with the place of each word; nothing is decided here.
//!
//! The JSON schema for editors, and the structural checks of [`super::parse`], are derived from these types.

mod shapes;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use shapes::{EndEntry, Located, OneOrMany, Ordered, PortEntry, Scalar, Text};

use super::model::{
    BondMode, Datapath, Eswitch, Fabric, FailMode, IpvlanMode, MacvlanMode, ShaperKind, TunnelKind, VfLinkState,
};

/// A topology file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name of the topology: lower-case letters, digits and `-`, at most 32 bytes.
    pub name: Text,
    /// MTU of every wire and switch that says nothing else, in bytes. Default 1500.
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<Located<u32>>,
    /// Assign IPv6 addresses too (2001:2::/48). Default false: IPv6 is off.
    pub ipv6: Option<Located<bool>>,
    /// Where switches without a host live: `own` is a namespace of their own, `host` the one netbench runs in.
    pub fabric: Option<Located<Fabric>>,
    /// Endpoints: network namespaces.
    #[serde(default)]
    pub node: Ordered<Node>,
    /// Namespaces that play a second machine.
    #[serde(default)]
    pub host: Ordered<Host>,
    /// Shared media; `kind` says which.
    #[serde(default)]
    pub switch: Ordered<Switch>,
    /// Wires between two ends.
    #[serde(default)]
    pub link: Vec<Located<Link>>,
    /// Real devices of this machine, or veth stand-ins for them.
    #[serde(default)]
    pub nic: Ordered<Nic>,
    /// Overlays between two switches on different hosts.
    #[serde(default)]
    pub tunnel: Vec<Located<Tunnel>>,
    /// Who talks to whom; without it the first two nodes do.
    #[serde(default)]
    pub flow: Vec<Located<Flow>>,
    /// What `netbench run` does unless the command line says otherwise.
    pub test: Option<Test>,
}

/// An endpoint.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Make this many nodes, named with a number from 0: `c` with `count = 3` is `c0`, `c1`, `c2`.
    #[schemars(range(min = 1, max = 65536))]
    pub count: Option<Located<u32>>,
    /// The emulated host it runs on.
    pub host: Option<Text>,
    /// Use an existing namespace: `docker:NAME`, `podman:NAME`, `pid:NUMBER`, `netns:/path` or `self`.
    pub attach: Option<Text>,
    /// A NIC that is moved into the node and given back on destroy.
    pub nic: Option<Text>,
    /// CPUs its streams are pinned to, such as `2-3`.
    pub cpus: Option<Text>,
    /// NUMA node its streams run on: a number, or `nic` for the one of its NIC.
    pub numa: Option<Located<Scalar>>,
    /// sysctls of its namespace (`net.*`).
    pub sysctl: Option<Ordered<Located<Scalar>>>,
    /// Routes: `DEST via GATEWAY` or `DEST dev IFNAME`; DEST is `default`, a prefix or a node, GATEWAY an address or a node.
    #[serde(default)]
    pub routes: Vec<Text>,
    /// Address with prefix length of its first interface; a list gives that interface several.
    pub address: Option<OneOrMany>,
    /// Forward packets between its interfaces (a router).
    pub forward: Option<Located<bool>>,
}

/// A namespace that plays a second machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// sysctls of its namespace (`net.*`).
    pub sysctl: Option<Ordered<Located<Scalar>>>,
    /// Routes, as of a node.
    #[serde(default)]
    pub routes: Vec<Text>,
}

/// What joins the ports of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The kernel's bridge.
    Bridge,
    /// macvlan children of one NIC.
    Macvlan,
    /// Open vSwitch.
    Ovs,
    /// ipvlan children of one NIC.
    Ipvlan,
    /// Virtual functions of one NIC.
    Sriov,
}

/// Modes of the children of a NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChildMode {
    /// macvlan: children cannot reach each other.
    Private,
    /// macvlan: children reach each other through the switch outside.
    Vepa,
    /// macvlan: children are switched in the kernel.
    Bridge,
    /// macvlan: one child owns the NIC.
    Passthru,
    /// ipvlan: switched by IP address.
    L2,
    /// ipvlan: routed in the namespace of the NIC.
    L3,
    /// ipvlan: the same, with the packet filter of that namespace in the way.
    L3s,
}

impl ChildMode {
    /// Of a macvlan; `None` for words of ipvlan.
    pub fn macvlan(self) -> Option<MacvlanMode> {
        match self {
            Self::Private => Some(MacvlanMode::Private),
            Self::Vepa => Some(MacvlanMode::Vepa),
            Self::Bridge => Some(MacvlanMode::Bridge),
            Self::Passthru => Some(MacvlanMode::Passthru),
            Self::L2 | Self::L3 | Self::L3s => None,
        }
    }

    /// Of an ipvlan; `None` for words of macvlan.
    pub fn ipvlan(self) -> Option<IpvlanMode> {
        match self {
            Self::L2 => Some(IpvlanMode::L2),
            Self::L3 => Some(IpvlanMode::L3),
            Self::L3s => Some(IpvlanMode::L3s),
            _ => None,
        }
    }
}

/// Whose Open vSwitch a switch is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Daemons {
    /// Daemons of the topology's own, in the switch's namespace.
    Private,
    /// The one that the host runs.
    System,
}

/// A shared medium.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What joins the ports.
    pub kind: Located<Kind>,
    /// MTU of the switch and all its ports, in bytes. Default: the topology's, or what a tunnel leaves of it.
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<Located<u32>>,
    /// The host it lives on.
    pub host: Option<Text>,
    /// Nodes on it: names, patterns (`c*`), or tables with settings.
    #[serde(default)]
    pub ports: Vec<Located<PortEntry>>,
    /// Spanning tree (bridge, ovs). Default false.
    pub stp: Option<Located<bool>>,
    /// Rapid spanning tree (ovs). Default false.
    pub rstp: Option<Located<bool>>,
    /// Who moves the packets (ovs): `user` is the daemon, `kernel` the module openvswitch. Default `user`.
    pub datapath: Option<Located<Datapath>>,
    /// Whose Open vSwitch it is (ovs): `private` is one of its own, started and ended with the topology. Default `private`.
    pub ovs: Option<Located<Daemons>>,
    /// What it does without a controller (ovs). Default `standalone`.
    pub fail_mode: Option<Located<FailMode>>,
    /// TCP segmentation offload through the userspace datapath (ovs). Default true, but false on a host with a tunnel.
    pub tso: Option<Located<bool>>,
    /// 802.1Q filtering (bridge): ports may then have a `vlan`.
    pub vlan_filtering: Option<Located<bool>>,
    /// IGMP and MLD snooping (bridge). Default: the kernel's.
    pub multicast_snooping: Option<Located<bool>>,
    /// The NIC below (macvlan, ipvlan), or the one whose virtual functions the ports are (sriov).
    pub nic: Option<Text>,
    /// How children reach each other: `private`, `vepa`, `bridge`, `passthru` (macvlan, default `bridge`), or `l2`, `l3`,
    /// `l3s` (ipvlan, default `l2`).
    pub mode: Option<Located<ChildMode>>,
    /// Addresses of the switch's own device (bridge).
    pub address: Option<OneOrMany>,
    /// NICs that are ports of it (bridge).
    #[serde(default)]
    pub uplinks: Vec<Text>,
    /// Static flows of OpenFlow (ovs).
    #[serde(default)]
    pub flows: Vec<Located<SwitchFlow>>,
}

/// A static flow of an Open vSwitch, in OpenFlow's words: a packet that matches all that is said goes to `output`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchFlow {
    /// Higher ones are looked at first. Default 32768, as of `ovs-ofctl`.
    pub priority: Option<u16>,
    /// The port it comes in by: a node on this switch (`a`, or `a:eth1`), or the name of a link's end or a tunnel there.
    pub in_port: Option<Text>,
    /// Its Ethernet destination: a MAC address, or a node on this switch.
    pub eth_dst: Option<Text>,
    /// Its Ethernet type: `arp`, `ipv4`, `ipv6`, or a number such as `0x88b5`.
    pub eth_type: Option<Text>,
    /// A port, as in `in_port`; `normal`, as a learning switch would; or `drop`.
    pub output: Text,
}

/// Declares a table that also takes the settings of an interface.
macro_rules! interface_table {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Address with prefix length, or a list of them.
            pub address: Option<OneOrMany>,
            /// MTU in bytes.
            #[schemars(range(min = 68, max = 65535))]
            pub mtu: Option<Located<u32>>,
            /// MAC address.
            pub mac: Option<Text>,
            /// Egress rate, such as `10gbit`. On a port of a switch of kind `sriov` the NIC keeps it, unless `shaper` is given.
            pub rate: Option<Text>,
            /// The qdisc that keeps the rate. Default `tbf`.
            pub shaper: Option<Located<ShaperKind>>,
            /// Delay added at egress, such as `5ms`.
            pub delay: Option<Text>,
            /// Share of packets dropped at egress, such as `0.1%`.
            pub loss: Option<Text>,
            /// Offloads on or off by ethtool's name: `{ tso = false, gro = true }`.
            pub offload: Option<Ordered<bool>>,
            /// Ring sizes in descriptors: `rx`, `tx`.
            pub rings: Option<Ordered<u32>>,
            /// Queue counts: `rx`, `tx`, `combined`.
            pub channels: Option<Ordered<u32>>,
            /// Interrupt coalescing by ethtool's name: `rx-usecs`, `tx-frames`.
            pub coalesce: Option<Ordered<u32>>,
            /// Largest GSO packet in bytes.
            #[schemars(range(min = 1, max = 524288))]
            pub gso_max_size: Option<Located<u32>>,
        }

        impl $name {
            /// The interface settings among its keys.
            pub fn settings(&self) -> Settings {
                Settings {
                    address: self.address.clone(),
                    mtu: self.mtu.clone(),
                    mac: self.mac.clone(),
                    rate: self.rate.clone(),
                    shaper: self.shaper.clone(),
                    delay: self.delay.clone(),
                    loss: self.loss.clone(),
                    offload: self.offload.clone(),
                    rings: self.rings.clone(),
                    channels: self.channels.clone(),
                    coalesce: self.coalesce.clone(),
                    gso_max_size: self.gso_max_size.clone(),
                }
            }
        }
    };
}

/// Settings that any declared interface takes.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // described where they are declared, in `interface_table!`
pub struct Settings {
    pub address: Option<OneOrMany>,
    pub mtu: Option<Located<u32>>,
    pub mac: Option<Text>,
    pub rate: Option<Text>,
    pub shaper: Option<Located<ShaperKind>>,
    pub delay: Option<Text>,
    pub loss: Option<Text>,
    pub offload: Option<Ordered<bool>>,
    pub rings: Option<Ordered<u32>>,
    pub channels: Option<Ordered<u32>>,
    pub coalesce: Option<Ordered<u32>>,
    pub gso_max_size: Option<Located<u32>>,
}

impl Settings {
    /// These settings, with those of `other` where these say nothing.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            address: self.address.or(other.address),
            mtu: self.mtu.or(other.mtu),
            mac: self.mac.or(other.mac),
            rate: self.rate.or(other.rate),
            shaper: self.shaper.or(other.shaper),
            delay: self.delay.or(other.delay),
            loss: self.loss.or(other.loss),
            offload: self.offload.or(other.offload),
            rings: self.rings.or(other.rings),
            channels: self.channels.or(other.channels),
            coalesce: self.coalesce.or(other.coalesce),
            gso_max_size: self.gso_max_size.or(other.gso_max_size),
        }
    }
}

interface_table! {
    /// A port of a switch, with settings of the node's interface.
    pub struct PortTable {
        /// Node or host name, or a pattern such as `c*`.
        pub node: Text,
        /// Interface name in the node. Default `eth0`, `eth1`, … in order of declaration.
        pub ifname: Option<Text>,
        /// Access VLAN of the port (ovs, sriov, or bridge with `vlan_filtering = true`).
        #[schemars(range(min = 1, max = 4094))]
        pub vlan: Option<Located<u16>>,
        /// VLANs that pass tagged (ovs); `vlan` is then the one of untagged frames.
        #[serde(default)]
        pub trunks: Vec<Located<u16>>,
        /// 802.1p priority of the VLAN's tag (sriov). Default 0.
        #[schemars(range(min = 0, max = 7))]
        pub vlan_qos: Option<Located<u8>>,
        /// May the virtual function change its MAC, be promiscuous (sriov)? Default: the driver's.
        pub trust: Option<Located<bool>>,
        /// Does the NIC drop frames with another source MAC (sriov)? Default: the driver's.
        pub spoofchk: Option<Located<bool>>,
        /// Link of the virtual function (sriov): `auto` follows the port. Default: the driver's.
        pub link_state: Option<Located<VfLinkState>>,
        /// Egress rate that the NIC guarantees (sriov), such as `1gbit`.
        pub min_rate: Option<Text>,
        /// Egress rate of the switch's port, towards the node, by QoS `linux-htb` (ovs), such as `1gbit`.
        pub qos: Option<Text>,
    }
}

interface_table! {
    /// One end of a wire, with settings of that interface.
    pub struct EndTable {
        /// `node`, `host` or `switch`, with an interface name if wanted: `a:wire`.
        pub at: Text,
    }
}

interface_table! {
    /// A real device of this machine, or a veth stand-in where neither `ifname` nor `pci` is given.
    pub struct Nic {
        /// Kernel name of the device.
        pub ifname: Option<Text>,
        /// PCI address of the device, such as `0000:01:00.0`.
        pub pci: Option<Text>,
        /// The NIC at the other end of its cable.
        pub cable: Option<Text>,
        /// Virtual functions to make (SR-IOV). Default: as many as the switch of kind `sriov` has ports.
        #[schemars(range(min = 1, max = 65535))]
        pub vfs: Option<Located<u32>>,
        /// Take the place of virtual functions that somebody else made (SR-IOV); they are made again on destroy.
        pub takeover: Option<Located<bool>>,
        /// Mode of the NIC's embedded switch (SR-IOV, by devlink). Default: as found.
        pub eswitch: Option<Located<Eswitch>>,
        /// Settings of virtual functions that no node has, which are for a virtual machine or DPDK (SR-IOV).
        #[serde(default)]
        pub functions: Vec<FunctionTable>,
    }
}

/// What a NIC does for a virtual function that no node has. What is not said stays as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionTable {
    /// Its number, from 0; those of nodes come first.
    pub vf: Located<u32>,
    /// VLAN of the tag that the NIC adds and removes.
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<Located<u16>>,
    /// 802.1p priority of the VLAN's tag. Default 0.
    #[schemars(range(min = 0, max = 7))]
    pub vlan_qos: Option<Located<u8>>,
    /// MAC address.
    pub mac: Option<Text>,
    /// Egress rate that the NIC keeps, such as `10gbit`.
    pub rate: Option<Text>,
    /// Egress rate that the NIC guarantees.
    pub min_rate: Option<Text>,
    /// May it change its MAC, be promiscuous?
    pub trust: Option<Located<bool>>,
    /// Does the NIC drop frames with another source MAC?
    pub spoofchk: Option<Located<bool>>,
    /// Its link: `auto` follows the port.
    pub link_state: Option<Located<VfLinkState>>,
}

/// A wire (veth pair) between two ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its two ends: `node`, `host` or `switch`, with an interface name if wanted (`a:wire`), or tables with settings.
    #[schemars(length(min = 2, max = 2))]
    pub ends: Vec<Located<EndEntry>>,
    /// MTU of both ends, in bytes.
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<Located<u32>>,
    /// Egress rate of both ends, such as `10gbit`.
    pub rate: Option<Text>,
    /// The qdisc that keeps the rate. Default `tbf`.
    pub shaper: Option<Located<ShaperKind>>,
    /// Delay added at the egress of each end, such as `5ms`.
    pub delay: Option<Text>,
    /// Share of packets dropped at the egress of each end, such as `0.1%`.
    pub loss: Option<Text>,
    /// Offloads of both ends on or off by ethtool's name.
    pub offload: Option<Ordered<bool>>,
    /// Several wires between two switches of kind `ovs`, as a bond of Open vSwitch at both ends.
    pub bond: Option<Located<BondMode>>,
    /// Wires of the bond. Default 2.
    #[schemars(range(min = 2, max = 16))]
    pub members: Option<Located<u32>>,
}

/// An overlay between two switches on different hosts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Encapsulation.
    pub kind: Located<TunnelKind>,
    /// Virtual network identifier, 24 bits; the key of gre.
    #[schemars(range(min = 0, max = 16777215))]
    pub vni: Located<u32>,
    /// UDP destination port. Default: 4789 for vxlan, 6081 for geneve; gre has none.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<Located<u16>>,
    /// The two switches it joins.
    #[schemars(length(min = 2, max = 2))]
    pub ends: Vec<Text>,
    /// Outer UDP checksum over IPv4. Default: the kernel's.
    pub udp_checksum: Option<bool>,
    /// Zero outer UDP checksum over IPv6, sent and accepted. Default: the kernel's.
    pub udp6_zero_checksum: Option<bool>,
    /// Group policy extension. Default false.
    pub gbp: Option<bool>,
    /// Source address learning. Default: the kernel's (on).
    pub learning: Option<bool>,
    /// `static` fills the forwarding table from the topology instead of by learning alone.
    pub fdb: Option<Located<Fdb>>,
}

/// How the forwarding table of a tunnel is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fdb {
    /// One entry for each node's interface.
    Static,
    /// By source address learning.
    Learn,
}

/// Who talks to whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Client: sends the stream, asks the request.
    pub from: Text,
    /// Server.
    pub to: Text,
}

/// Defaults of `netbench run`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Tests by name: `tcp_stream`, `tcp_maerts`, `tcp_bidir`, `tcp_sendfile`, `udp_stream`, `frame_stream`, `tcp_rr`, `udp_rr`, `tcp_crr`, `tcp_cc`.
    #[serde(default)]
    pub tests: Vec<Text>,
    /// Length of one round, such as `3s`.
    pub duration: Option<Text>,
    /// Rounds.
    #[schemars(range(min = 1, max = 10000))]
    pub rounds: Option<Located<u32>>,
    /// Parallel streams.
    #[schemars(range(min = 1, max = 256))]
    pub streams: Option<Located<u32>>,
}
