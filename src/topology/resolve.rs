//! What the file says, made definite: counts expanded, names checked and joined, addresses and MTU decided, flows proved.
//!
//! The stages run in order and share a `Draft`. Each reports every mistake it finds; the last ones, which follow packets
//! along the paths, run only when all before is sound, since a path through a mistake says nothing.

mod addresses;
mod assemble;
mod flows;
mod interfaces;
mod mtu;
mod names;
mod naming;
mod nodes;
mod ovs;
mod routes;
mod segments;
mod settings;
mod sriov;
mod switch_flows;
mod switches;
mod tunnels;

use std::ops::Range;

use ipnet::IpNet;

use super::{
    ast::{self, Located, Text},
    diagnostic::{Code, Diagnostic},
    model::{Bond, PortSettings, Topology, VfPort},
};
use crate::units::{BitRate, IfName};
use names::{Names, Thing};
use segments::Segments;

/// Resolves a file. `whole` says that nothing was left out of it by mistake, so that paths through it mean something.
pub fn resolve(file: &ast::File, whole: bool) -> (Option<Topology>, Vec<Diagnostic>) {
    let mut draft = Draft::new(file);
    names::check(&mut draft);
    nodes::check(&mut draft);
    switches::check(&mut draft);
    interfaces::declare(&mut draft);
    sriov::count(&mut draft);
    naming::assign(&mut draft);
    segments::join(&mut draft);
    addresses::assign(&mut draft);
    tunnels::resolve(&mut draft);
    ovs::resolve(&mut draft);
    switch_flows::resolve(&mut draft);
    mtu::decide(&mut draft);
    routes::resolve(&mut draft);
    let test = nodes::test_defaults(&mut draft);
    let nics = assemble::nics(&mut draft);
    let wanted = flows::wanted(&mut draft);
    if draft.is_sound() && whole {
        flows::resolve(&mut draft, wanted);
    }
    let topology = if draft.is_sound() { assemble::topology(&draft, nics, test) } else { None };
    let sound = draft.is_sound();
    (topology.filter(|_| sound), draft.diagnostics)
}

/// The work in progress.
struct Draft<'f> {
    file: &'f ast::File,
    names: Names<'f>,
    diagnostics: Vec<Diagnostic>,
    nodes: Vec<nodes::NodeParts>,
    hosts: Vec<nodes::NamespaceParts>,
    switches: Vec<switches::SwitchParts>,
    nic_uses: Vec<Option<switches::NicUse>>,
    ifaces: Vec<Iface>,
    links: Vec<Option<[usize; 2]>>,
    tunnels: Vec<Option<tunnels::TunnelParts>>,
    segments: Segments,
    nic_mtu: Vec<u32>,
    nic_sriov: Vec<Option<super::model::SriovNic>>,
    flows: Vec<super::model::Flow>,
}

impl<'f> Draft<'f> {
    fn new(file: &'f ast::File) -> Self {
        let names = Names::collect(file);
        Self {
            file,
            names,
            diagnostics: Vec::new(),
            nodes: Vec::new(),
            hosts: Vec::new(),
            switches: Vec::new(),
            nic_uses: Vec::new(),
            ifaces: Vec::new(),
            links: Vec::new(),
            tunnels: Vec::new(),
            segments: Segments::default(),
            nic_mtu: Vec::new(),
            nic_sriov: Vec::new(),
            flows: Vec::new(),
        }
    }

    fn error(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.report(Diagnostic::error(code, span.clone(), message))
    }

    fn report(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.diagnostics.push(diagnostic);
        self.diagnostics.last_mut().expect("one was pushed")
    }

    fn is_sound(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The MTU of wires that say nothing.
    fn wire_mtu(&self) -> u32 {
        self.file.mtu.as_ref().map_or(1500, |mtu| mtu.value)
    }

    fn ipv6(&self) -> bool {
        self.file.ipv6.as_ref().is_some_and(|ipv6| ipv6.value)
    }

    fn owner_name(&self, owner: Owner) -> &str {
        match owner {
            Owner::Node(node) => &self.names.nodes[node].name,
            Owner::Host(host) => &self.names.hosts[host].0.value,
            Owner::Switch(switch) => &self.names.switches[switch].0.value,
        }
    }

    /// `client eth0`
    fn iface_name(&self, iface: usize) -> String {
        let iface = &self.ifaces[iface];
        format!("{} {}", self.owner_name(iface.owner), iface.ifname.as_ref().map_or("?", IfName::as_str))
    }
}

/// Where an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Node(usize),
    Host(usize),
    /// On the switch's side: its own device, or the end of a wire that is a port of it.
    Switch(usize),
}

/// What an interface is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    /// A node's interface on a switch.
    Port(usize),
    /// One end of a wire.
    Wire(usize),
    /// A NIC moved into a node.
    Nic(usize),
    /// The switch's own device.
    Device(usize),
}

/// An interface the file declares.
#[derive(Debug, Clone)]
struct Iface {
    owner: Owner,
    medium: Medium,
    /// Where it is declared.
    span: Range<usize>,
    /// Its name, if the file gives it.
    written_name: Option<Text>,
    /// Its name, once all are known.
    ifname: Option<IfName>,
    /// Point of the segment it is on.
    point: usize,
    vlan: Option<u16>,
    trunks: Vec<u16>,
    /// What it is as a virtual function.
    vf: Option<VfPort>,
    qos: Option<BitRate>,
    bond: Option<Bond>,
    settings: PortSettings,
    /// Addresses the file gives.
    written: Vec<(IpNet, Range<usize>)>,
    written_mtu: Option<Located<u32>>,
}

impl Iface {
    /// First address, IPv4 before IPv6.
    fn first_address(&self) -> Option<IpNet> {
        let addresses = &self.settings.addresses;
        addresses.iter().find(|net| matches!(net, IpNet::V4(_))).or(addresses.first()).copied()
    }

    fn address_of_family(&self, ipv4: bool) -> Option<IpNet> {
        self.settings.addresses.iter().find(|net| matches!(net, IpNet::V4(_)) == ipv4).copied()
    }
}
