//! The resolved topology: every count expanded, every default filled in, every address and MTU decided.
//!
//! It is pure data. What the file said lives in `ast`; what the kernel shall hold lives in `plan::desired`.

mod child;
mod sriov;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::units::{BitRate, CpuList, IfName, MacAddr, Span};

pub use child::{IpvlanMode, MacvlanMode};
pub use sriov::{Eswitch, FreeVf, SriovNic, VfLinkState, VfPort};

/// A topology ready to be planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Name of the topology: `[a-z0-9][a-z0-9-]*`, at most 32 bytes. Namespaces and marks carry it.
    pub name: String,
    /// Where switches without a host live.
    pub fabric: Fabric,
    /// IPv6 addresses are assigned (and IPv6 left on) only when asked.
    pub ipv6: bool,
    /// Endpoints, counts expanded, in order of declaration.
    pub nodes: Vec<Node>,
    /// Namespaces that play a second machine.
    pub hosts: Vec<Host>,
    /// Shared media.
    pub switches: Vec<Switch>,
    /// Wires (veth pairs).
    pub links: Vec<Wire>,
    /// Real devices of this machine, or veth stand-ins for them.
    pub nics: Vec<Nic>,
    /// Overlays between two switches.
    pub tunnels: Vec<Tunnel>,
    /// Who talks to whom; never empty when there are two nodes.
    pub flows: Vec<Flow>,
    /// Defaults for `netbench run`.
    pub test: TestDefaults,
}

/// Where switches live that name no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fabric {
    /// In a namespace of their own (the default).
    Own,
    /// In the namespace netbench was started in.
    Host,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique among nodes and hosts.
    pub name: String,
    /// The emulated host it runs on, if one was named.
    pub host: Option<String>,
    /// An existing namespace to use instead of a new one.
    pub attach: Option<Attach>,
    /// A NIC handed to the node (`[node.x] nic = "left"`), with the interface it becomes there.
    pub nic: Option<NicPort>,
    /// CPUs its streams are pinned to.
    pub cpus: Option<CpuList>,
    /// `numa = "nic"` or a node number, as written.
    pub numa: Option<String>,
    /// sysctls of its namespace: dotted keys (`net.ipv4.ip_forward`).
    pub sysctl: BTreeMap<String, String>,
    /// Routes of its namespace.
    pub routes: Vec<Route>,
    /// Addresses of a node without any interface of ours (attach = "self": loopback); first is what flows use.
    pub addresses: Vec<IpNet>,
}

/// A namespace that plays a second machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Unique among nodes and hosts.
    pub name: String,
    /// sysctls of its namespace.
    pub sysctl: BTreeMap<String, String>,
    /// Routes of its namespace.
    pub routes: Vec<Route>,
}

/// An existing namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// `self`: the namespace netbench was started in.
    This,
    /// `netns:/run/netns/x`
    Path(PathBuf),
    /// `pid:4711`
    Pid(u32),
    /// `docker:web`
    Docker(String),
    /// `podman:db`
    Podman(String),
}

/// A route of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination; `0.0.0.0/0` or `::/0` for the default route.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Device, when there is no gateway.
    pub dev: Option<IfName>,
}

/// What may be said of any interface that the file declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PortSettings {
    /// Explicit MAC; otherwise the planner derives one.
    pub mac: Option<MacAddr>,
    /// Addresses with prefix length, in order.
    pub addresses: Vec<IpNet>,
    /// MTU of the interface: always decided (0 only for interfaces whose MTU is left as found).
    pub mtu: u32,
    /// Egress shaper.
    pub rate: Option<Shaper>,
    /// netem on egress.
    pub netem: Option<Netem>,
    /// ethtool features by netbench's or ethtool's name (`tso`, `gro`, `tx-checksum-ip-generic`), on or off.
    pub offload: BTreeMap<String, bool>,
    /// ethtool rings `rx`, `tx`.
    pub rings: BTreeMap<String, u32>,
    /// ethtool channels `rx`, `tx`, `combined`.
    pub channels: BTreeMap<String, u32>,
    /// ethtool coalesce parameters.
    pub coalesce: BTreeMap<String, u32>,
    /// `gso_max_size` in bytes.
    pub gso_max_size: Option<u32>,
}

/// An egress shaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shaper {
    /// Rate.
    pub rate: BitRate,
    /// Which qdisc does it.
    pub qdisc: ShaperKind,
}

/// The qdisc of a shaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShaperKind {
    /// Token bucket filter.
    Tbf,
    /// Hierarchical token bucket with one class.
    Htb,
}

/// Emulated impairment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Netem {
    /// One-way delay added at egress.
    pub delay: Option<Span>,
    /// Share of packets lost, 0..1.
    pub loss: Option<f64>,
}

/// A node's (or host's) interface on a switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Node or host name.
    pub node: String,
    /// Its interface name in the node: `eth0`, `eth1`, … in order of declaration.
    pub ifname: IfName,
    /// Access VLAN of the port, on switches that filter.
    pub vlan: Option<u16>,
    /// VLANs that pass tagged, on switches that filter.
    pub trunks: Vec<u16>,
    /// What the NIC does for the port, on a switch of kind `sriov`.
    #[serde(default)]
    pub vf: Option<VfPort>,
    /// Egress rate of the switch's port by QoS (Open vSwitch).
    #[serde(default)]
    pub qos: Option<BitRate>,
    /// Settings of the node's end (the switch's end shares the MTU).
    pub settings: PortSettings,
}

/// A shared medium.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    /// Its device name where it is a device.
    pub name: IfName,
    /// The host it lives on; `None` is the fabric.
    pub host: Option<String>,
    /// What joins the ports.
    pub kind: SwitchKind,
    /// MTU of the switch itself and of all its ports.
    pub mtu: u32,
    /// Addresses of the switch device itself (a bridge's).
    pub addresses: Vec<IpNet>,
    /// Nodes on it, in order.
    pub ports: Vec<Port>,
    /// NICs enslaved to it (bridge uplinks), by nic name.
    pub uplinks: Vec<String>,
}

/// Kinds of switch; one word in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchKind {
    /// The kernel's bridge.
    Bridge(BridgeOptions),
    /// Open vSwitch.
    Ovs(OvsOptions),
    /// macvlan children of one NIC.
    Macvlan {
        /// NIC name.
        nic: String,
        /// macvlan mode.
        mode: MacvlanMode,
    },
    /// ipvlan children of one NIC.
    Ipvlan {
        /// NIC name.
        nic: String,
        /// ipvlan mode.
        mode: IpvlanMode,
    },
    /// Virtual functions of one NIC, which switches between them.
    Sriov {
        /// NIC name.
        nic: String,
    },
}

/// Bridge options; `None` leaves the kernel's default, but STP, which is off unless asked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BridgeOptions {
    /// Spanning tree.
    pub stp: bool,
    /// 802.1Q filtering.
    pub vlan_filtering: bool,
    /// IGMP/MLD snooping.
    pub multicast_snooping: Option<bool>,
}

/// Open vSwitch options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OvsOptions {
    /// Who moves the packets.
    pub datapath: Datapath,
    /// What it does without a controller.
    pub fail_mode: FailMode,
    /// Spanning tree.
    pub stp: bool,
    /// Rapid spanning tree.
    pub rstp: bool,
    /// Segmentation offload through the userspace datapath: decided for all switches of a host together.
    pub tso: bool,
    /// It is a bridge of the host's own Open vSwitch.
    #[serde(default)]
    pub system: bool,
    /// Static flows.
    #[serde(default)]
    pub flows: Vec<SwitchFlow>,
}

/// A static flow of an Open vSwitch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchFlow {
    /// Higher ones are looked at first.
    pub priority: u16,
    /// Port it comes in by; any where nothing is said, as below.
    pub in_port: Option<SwitchPort>,
    /// Ethernet destination.
    pub eth_dst: Option<EthDst>,
    /// Ethernet type.
    pub eth_type: Option<u16>,
    /// Where it goes.
    pub output: FlowOutput,
}

/// A port of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchPort {
    /// Where this interface of a node is plugged in.
    Node(String, IfName),
    /// By its own name: the end of a link, or a tunnel.
    Named(IfName),
}

/// An Ethernet destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EthDst {
    /// As it is written.
    Mac(MacAddr),
    /// That of this interface of a node.
    Node(String, IfName),
}

/// Where a static flow sends packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowOutput {
    /// Out of a port.
    Port(SwitchPort),
    /// As a learning switch would.
    Normal,
    /// Nowhere.
    Drop,
}

/// Who moves the packets of an Open vSwitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// The daemon itself (`netdev`): no kernel module.
    User,
    /// The kernel's module `openvswitch` (`system`).
    Kernel,
}

impl Datapath {
    /// `datapath_type` in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "netdev",
            Self::Kernel => "system",
        }
    }
}

/// What a bridge of Open vSwitch does without a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailMode {
    /// It learns and forwards like any switch.
    Standalone,
    /// It forwards what flows say, and nothing else.
    Secure,
}

impl FailMode {
    /// The database's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Secure => "secure",
        }
    }
}

/// A wire: a veth pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wire {
    /// Its two ends.
    pub ends: [End; 2],
    /// The bond of Open vSwitch that it is a member of, at both ends.
    #[serde(default)]
    pub bond: Option<Bond>,
}

/// A bond of Open vSwitch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Which, counted from 0 in the file: its members share it.
    pub number: u32,
    /// How it shares the load.
    pub mode: BondMode,
}

/// How a bond shares the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One interface works, the others stand by.
    ActiveBackup,
    /// By source MAC and VLAN.
    BalanceSlb,
    /// By addresses and ports; needs LACP.
    BalanceTcp,
}

impl BondMode {
    /// The database's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::BalanceSlb => "balance-slb",
            Self::BalanceTcp => "balance-tcp",
        }
    }
}

/// One end of a wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Node or host the end is in, or the switch it is a port of.
    pub at: EndAt,
    /// Interface name there.
    pub ifname: IfName,
    /// Its settings.
    pub settings: PortSettings,
}

/// Where a wire's end is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndAt {
    /// In a node's namespace.
    Node(String),
    /// In a host's namespace.
    Host(String),
    /// A port of a bridge.
    Switch(String),
}

/// A real device of this machine, or a veth stand-in where neither `ifname` nor `pci` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    /// Name in the file.
    pub name: String,
    /// Kernel name to borrow.
    pub ifname: Option<IfName>,
    /// PCI address to borrow.
    pub pci: Option<String>,
    /// The NIC at the other end of the cable, when the file says so. Stand-ins with `cable` are one veth pair.
    pub cable: Option<String>,
    /// Its virtual functions, where a switch of kind `sriov` is on it.
    #[serde(default)]
    pub sriov: Option<SriovNic>,
    /// MTU the NIC must have while it is ours (0: as found).
    pub mtu: u32,
    /// Settings for the NIC itself.
    pub settings: PortSettings,
}

/// A NIC handed to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NicPort {
    /// NIC name.
    pub nic: String,
    /// Interface name in the node.
    pub ifname: IfName,
    /// Settings while it is there.
    pub settings: PortSettings,
}

/// An overlay between two switches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Encapsulation.
    pub kind: TunnelKind,
    /// Virtual network identifier, 24 bits.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// Its two ends.
    pub ends: [TunnelEnd; 2],
    /// Outer UDP checksum: `None` leaves the kernel's default.
    pub udp_checksum: Option<bool>,
    /// Outer UDP checksum may be zero over IPv6.
    pub udp6_zero_checksum: Option<bool>,
    /// Group policy extension.
    pub gbp: bool,
    /// Source address learning: `None` leaves the kernel's default (on).
    pub learning: Option<bool>,
    /// Static FDB entries: MAC of a node's interface to the remote it is behind.
    pub static_fdb: bool,
}

/// Encapsulations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926, without options.
    Geneve,
    /// RFC 2784 with the key of RFC 2890, carrying Ethernet.
    Gre,
}

impl TunnelKind {
    /// Its word in the file and in Open vSwitch's database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
        }
    }

    /// Its name in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::Gre => "GRE",
        }
    }

    /// Bytes it adds to each packet. Outer Ethernet is not part of an MTU; the outer IP header (20, or 40), UDP (8) with
    /// VXLAN or Geneve (8), or GRE (4) with its key (4), and the inner Ethernet header (14) are.
    pub fn overhead(self, ipv4: bool) -> u32 {
        let outer = if ipv4 { 20 } else { 40 };
        let own = match self {
            Self::Vxlan | Self::Geneve => 16,
            Self::Gre => 8,
        };
        outer + own + 14
    }

    /// UDP port (IANA); 0 where there is none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Vxlan => 4789,
            Self::Geneve => 6081,
            Self::Gre => 0,
        }
    }
}

/// One end of a tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelEnd {
    /// Switch it is a port of.
    pub switch: String,
    /// Name of the tunnel device.
    pub ifname: IfName,
    /// Outer source address.
    pub local: IpAddr,
    /// The interface that holds `local`.
    pub dev: IfName,
    /// MTU of the tunnel device.
    pub mtu: u32,
}

/// Who talks to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Client: the sender of a stream, the requester of a request/response test.
    pub from: String,
    /// Server.
    pub to: String,
    /// Address the client binds.
    pub from_address: IpAddr,
    /// Address the client connects to.
    pub to_address: IpAddr,
    /// Largest IP packet that the declared path carries, in bytes.
    pub mtu: u32,
}

/// `[test]`: what `netbench run` does unless the command line says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TestDefaults {
    /// Test names, lower case (`tcp_stream`).
    pub tests: Vec<String>,
    /// Length of one round.
    pub duration: Option<Span>,
    /// Rounds.
    pub rounds: Option<u32>,
    /// Parallel streams.
    pub streams: Option<u32>,
}
