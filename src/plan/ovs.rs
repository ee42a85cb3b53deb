//! Open vSwitch as it shall be: one instance a namespace, its bridges, their ports, tunnels and rates.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::desired::NsId;
use crate::{
    topology::model::{BondMode, Datapath, FailMode, TunnelKind},
    units::{BitRate, IfName, MacAddr},
};

/// The Open vSwitch of one namespace: daemons of our own there, and all bridges of the topology in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ovs {
    /// The daemons.
    pub daemon: OvsDaemon,
    /// Its bridges, in order.
    pub bridges: Vec<OvsBridge>,
}

/// ovsdb-server and ovs-vswitchd in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OvsDaemon {
    /// The namespace they run in.
    pub ns: NsId,
    /// Segmentation offload through the userspace datapath (`other_config:userspace-tso-enable`), read once at start.
    pub tso: bool,
    /// The host's own instead: used, never started, ended or configured.
    #[serde(default)]
    pub system: bool,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OvsBridge {
    /// Its name, and that of its internal port.
    pub name: IfName,
    /// Who moves the packets.
    pub datapath: Datapath,
    /// What it does without a controller.
    pub fail_mode: FailMode,
    /// Rapid spanning tree.
    pub rstp: bool,
    /// Spanning tree.
    pub stp: bool,
    /// MTU of its internal port, bytes.
    pub mtu: u32,
    /// MAC of its internal port (`other_config:hwaddr`); `None` leaves it the lowest of its ports'.
    pub mac: Option<MacAddr>,
    /// Its ports without the internal one.
    pub ports: Vec<OvsPort>,
    /// Static flows of table 0 that carry the topology's cookie, sorted.
    pub flows: Vec<OvsFlow>,
}

/// A static flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OvsFlow {
    /// Higher ones are looked at first.
    pub priority: u16,
    /// Port it comes in by; any where nothing is said, as below.
    pub in_port: Option<IfName>,
    /// Ethernet destination.
    pub eth_dst: Option<MacAddr>,
    /// Ethernet type.
    pub eth_type: Option<u16>,
    /// Where it goes.
    pub output: OvsOutput,
}

/// Where a static flow sends packets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OvsOutput {
    /// Out of a port.
    Port(IfName),
    /// As a learning switch would.
    Normal,
    /// Nowhere.
    Drop,
}

/// A port: one interface, or several as a bond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OvsPort {
    /// Its name; that of its interface where it has one.
    pub name: IfName,
    /// Access VLAN.
    pub tag: Option<u16>,
    /// VLANs that pass tagged; empty: all, where there is no access VLAN.
    pub trunks: Vec<u16>,
    /// How several interfaces share the load.
    pub bond: Option<BondMode>,
    /// Egress rate by QoS `linux-htb`.
    pub rate: Option<BitRate>,
    /// Its interfaces.
    pub interfaces: Vec<OvsInterface>,
}

/// An interface of a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OvsInterface {
    /// A link of the namespace, or the name of the tunnel.
    pub name: IfName,
    /// `mtu_request` in bytes; `None` for tunnels.
    pub mtu: Option<u32>,
    /// A tunnel instead of a link.
    pub tunnel: Option<OvsTunnel>,
}

/// A tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsTunnel {
    /// Encapsulation.
    pub kind: TunnelKind,
    /// Outer source.
    pub local: IpAddr,
    /// Outer destination.
    pub remote: IpAddr,
    /// VNI, or GRE key.
    pub key: u32,
    /// UDP destination port; 0 for GRE, which has none.
    pub port: u16,
    /// Outer UDP checksum; `None` leaves the default.
    pub checksum: Option<bool>,
}

impl OvsPort {
    /// A port of one link.
    pub fn of(name: IfName, mtu: u32) -> Self {
        let interface = OvsInterface { name: name.clone(), mtu: (mtu > 0).then_some(mtu), tunnel: None };
        Self { name, tag: None, trunks: Vec::new(), bond: None, rate: None, interfaces: vec![interface] }
    }
}

impl OvsTunnel {
    /// Bytes that it adds to each packet: outer IP header, UDP and VXLAN or Geneve headers (or GRE with its key), and
    /// the inner Ethernet header.
    pub fn overhead(&self) -> u32 {
        self.kind.overhead(self.remote.is_ipv4())
    }

    /// The device that the kernel's datapath has for all tunnels of this kind and port of a namespace
    /// (`netdev_vport_get_dpif_port()`, lib/netdev-vport.c).
    pub fn device(&self) -> Option<IfName> {
        let name = match self.kind {
            TunnelKind::Vxlan => format!("vxlan_sys_{}", self.port),
            TunnelKind::Geneve => format!("genev_sys_{}", self.port),
            TunnelKind::Gre => "gre_sys".to_owned(),
        };
        name.parse().ok()
    }
}

/// Open vSwitch of a namespace as it was read back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedOvs {
    /// Do both daemons run?
    pub running: bool,
    /// `userspace-tso-enable` as it was when it started.
    pub tso: bool,
    /// `other_config:hw-offload` as it is now.
    pub hw_offload: bool,
    /// Bridges of ours.
    pub bridges: Vec<OvsBridge>,
    /// Ports of ours that do not work: (interface, the switch's words).
    pub broken: Vec<(String, String)>,
}

/// How a bridge differs from what is declared, one sentence each.
pub fn differences(want: &OvsBridge, got: &OvsBridge) -> Vec<String> {
    let mut found = Vec::new();
    let bridge = &want.name;
    let mut field = |name: &str, want: String, got: String| {
        if want != got {
            found.push(format!("bridge {bridge}: {name} is {got}, declared {want}"));
        }
    };
    field("datapath", want.datapath.word().into(), got.datapath.word().into());
    field("fail_mode", want.fail_mode.word().into(), got.fail_mode.word().into());
    field("rstp", want.rstp.to_string(), got.rstp.to_string());
    field("stp", want.stp.to_string(), got.stp.to_string());
    field("mtu", want.mtu.to_string(), got.mtu.to_string());
    let mac = |bridge: &OvsBridge| bridge.mac.map_or("not set".to_owned(), |mac| mac.to_string());
    field("MAC", mac(want), mac(got));
    let there: std::collections::HashMap<_, _> = got.ports.iter().map(|port| (&port.name, port)).collect();
    for port in &want.ports {
        let name = &port.name;
        match there.get(name) {
            None => found.push(format!("bridge {bridge}: port {name} is missing")),
            Some(got) => port_differences(port, got, &mut found),
        }
    }
    for flow in want.flows.iter().filter(|flow| !got.flows.contains(flow)) {
        found.push(format!("bridge {bridge}: flow `{flow}` is missing"));
    }
    for flow in got.flows.iter().filter(|flow| !want.flows.contains(flow)) {
        found.push(format!("bridge {bridge}: flow `{flow}` is not declared"));
    }
    let declared: std::collections::HashSet<_> = want.ports.iter().map(|port| &port.name).collect();
    for port in got.ports.iter().filter(|port| !declared.contains(&port.name)) {
        found.push(format!("bridge {bridge}: port {} is not declared", port.name));
    }
    found
}

fn port_differences(want: &OvsPort, got: &OvsPort, found: &mut Vec<String>) {
    let port = &want.name;
    let mut field = |name: &str, want: String, got: String| {
        if want != got {
            found.push(format!("port {port}: {name} is {got}, declared {want}"));
        }
    };
    field("tag", none_or(want.tag), none_or(got.tag));
    field("trunks", format!("{:?}", want.trunks), format!("{:?}", got.trunks));
    field("bond mode", none_or(want.bond.map(BondMode::word)), none_or(got.bond.map(BondMode::word)));
    field("rate", none_or(want.rate), none_or(got.rate));
    for interface in &want.interfaces {
        let Some(seen) = got.interfaces.iter().find(|seen| seen.name == interface.name) else {
            field("interface", interface.name.to_string(), "not there".into());
            continue;
        };
        field("mtu_request", none_or(interface.mtu), none_or(seen.mtu));
        let tunnel = |tunnel: &Option<OvsTunnel>| tunnel.as_ref().map_or("none".to_owned(), OvsTunnel::to_string);
        field("tunnel", tunnel(&interface.tunnel), tunnel(&seen.tunnel));
    }
    for seen in &got.interfaces {
        if !want.interfaces.iter().any(|interface| interface.name == seen.name) {
            field("interface", "none".into(), seen.name.to_string());
        }
    }
}

fn none_or<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

/// As `ovs-ofctl` writes it.
impl std::fmt::Display for OvsFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "priority={}", self.priority)?;
        self.in_port.iter().try_for_each(|port| write!(f, ",in_port={port}"))?;
        self.eth_dst.iter().try_for_each(|mac| write!(f, ",dl_dst={mac}"))?;
        self.eth_type.iter().try_for_each(|kind| write!(f, ",dl_type={kind:#06x}"))?;
        match &self.output {
            OvsOutput::Port(port) => write!(f, " actions=output:{port}"),
            OvsOutput::Normal => f.write_str(" actions=NORMAL"),
            OvsOutput::Drop => f.write_str(" actions=drop"),
        }
    }
}

impl std::fmt::Display for OvsTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} key {} {} -> {}", self.kind.word(), self.key, self.local, self.remote)?;
        if self.port > 0 {
            write!(f, " port {}", self.port)?;
        }
        self.checksum.iter().try_for_each(|on| write!(f, " checksum {}", if *on { "on" } else { "off" }))
    }
}
