//! `Topology -> Desired`: every noun of the language becomes kernel objects with names, MACs and places decided.
//!
//! Everything here is a function of the topology alone, so that two runs of the same file make the same network.

mod ovs;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use super::{
    desired::{
        self, Desired, FdbSpec, FlowPath, Link, LinkKind, LinkRef, NeighbourSpec, Ns, NsId, NsOrigin, Qdisc, RouteSpec,
        Vf, Vxlan,
    },
    features,
    path::{self, NoPath},
    sriov::{Pf, VfSet},
};
use crate::{
    topology::model::{
        Attach, EndAt, Fabric, FreeVf, Nic, Port, PortSettings, Route, Switch, SwitchKind, Topology, Tunnel,
        TunnelKind, Wire,
    },
    units::{IfName, MacAddr, stable_hash},
};

/// A topology that cannot be turned into kernel objects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A name that the resolver should have caught.
    #[error("{what} `{name}` is not declared")]
    Unknown {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A NIC given by PCI address whose interface name nobody looked up.
    #[error("nic `{0}` is given by PCI address; its interface name was not looked up on this host")]
    NicUnresolved(String),
    /// A NIC with virtual functions whose PCI address nobody looked up.
    #[error("nic `{0}` has no PCI function behind it: it cannot have virtual functions")]
    NoFunction(String),
    /// A shaper and an impairment on one interface, which has one root qdisc.
    #[error(
        "{at}: `rate` together with `delay` or `loss` is not available on one interface; put them on the two ends of the wire, or on different ports"
    )]
    TwoQdiscs {
        /// The interface.
        at: LinkRef,
    },
    /// A declared flow without a way.
    #[error("flow {from} -> {to}: {why}")]
    NoPath {
        /// Client.
        from: String,
        /// Server.
        to: String,
        /// What is missing.
        why: NoPath,
    },
}

/// The file name of a namespace of ours.
pub fn ns_name(topology: &str, role: &str) -> String {
    format!("nb-{topology}-{role}")
}

/// Derives the desired state.
pub fn lower(topology: &Topology) -> Result<Desired, LowerError> {
    let mut lowering = Lowering { topology, links: Vec::new(), used: BTreeSet::new(), two_qdiscs: None };
    for nic in &topology.nics {
        lowering.nic(nic)?;
    }
    for switch in &topology.switches {
        lowering.bridge(switch);
    }
    for switch in &topology.switches {
        for port in &switch.ports {
            lowering.port(switch, port)?;
        }
    }
    for wire in &topology.links {
        lowering.wire(wire)?;
    }
    for tunnel in &topology.tunnels {
        lowering.tunnel(tunnel)?;
    }
    if let Some(at) = lowering.two_qdiscs.take() {
        return Err(LowerError::TwoQdiscs { at });
    }
    let Lowering { links, mut used, .. } = lowering;
    let own = topology.switches.iter().filter(|switch| !matches!(switch.kind, SwitchKind::Sriov { .. }));
    used.extend(own.map(|switch| switch_ns(topology, switch)).filter(|ns| ns.0 != NsId::SELF));
    used.extend(topology.nodes.iter().map(|node| node_ns(topology, &node.name)));
    used.extend(topology.hosts.iter().map(|host| NsId::new(&*host.name)));
    let mut desired = Desired {
        topology: topology.name.clone(),
        namespaces: namespaces(topology, &used),
        routes: routes(topology),
        fdb: Vec::new(),
        neighbours: Vec::new(),
        flows: Vec::new(),
        links,
        ovs: Vec::new(),
        sriov: sriov(topology)?,
    };
    ovs::lower(topology, &mut desired)?;
    desired.fdb = static_fdb(topology, &desired);
    desired.flows = flows(topology, &desired)?;
    desired.neighbours = neighbours(topology, &desired);
    Ok(desired)
}

/// The namespace a node's interfaces are in.
fn node_ns(topology: &Topology, node: &str) -> NsId {
    match topology.nodes.iter().find(|n| n.name == node) {
        Some(n) if n.attach == Some(Attach::This) => NsId::new(NsId::SELF),
        _ => NsId::new(node),
    }
}

fn fabric_ns(topology: &Topology) -> NsId {
    match topology.fabric {
        Fabric::Own => NsId::new(NsId::FABRIC),
        Fabric::Host => NsId::new(NsId::SELF),
    }
}

fn switch_ns(topology: &Topology, switch: &Switch) -> NsId {
    match &switch.host {
        Some(host) => NsId::new(&**host),
        None => fabric_ns(topology),
    }
}

fn namespaces(topology: &Topology, used: &BTreeSet<NsId>) -> Vec<Ns> {
    let own = |role: &str| NsOrigin::Own(ns_name(&topology.name, role));
    let mut list = Vec::new();
    for role in [NsId::SELF, NsId::FABRIC] {
        let id = NsId::new(role);
        if used.contains(&id) {
            let origin = if role == NsId::SELF { NsOrigin::This } else { own(role) };
            list.push(Ns { id, sysctl: base_sysctl(topology, &origin), origin });
        }
    }
    for host in &topology.hosts {
        let origin = own(&host.name);
        let mut sysctl = base_sysctl(topology, &origin);
        // The bridge is in the same namespace, and would answer for the address of the host's interface on it.
        let on_its_own = |switch: &Switch| {
            switch.host.as_ref() == Some(&host.name) && switch.ports.iter().any(|port| port.node == host.name)
        };
        if topology.switches.iter().any(on_its_own) {
            sysctl.insert("net.ipv4.conf.all.arp_ignore".to_owned(), "1".to_owned());
        }
        sysctl.extend(host.sysctl.clone());
        list.push(Ns { id: NsId::new(&*host.name), origin, sysctl });
    }
    for node in &topology.nodes {
        let origin = match &node.attach {
            Some(Attach::This) => {
                if let Some(this) = list.iter_mut().find(|ns| ns.id.0 == NsId::SELF) {
                    this.sysctl.extend(node.sysctl.clone());
                }
                continue;
            }
            None => own(&node.name),
            Some(Attach::Path(path)) => NsOrigin::Path(path.clone()),
            Some(Attach::Pid(pid)) => NsOrigin::Pid(*pid),
            Some(Attach::Docker(name)) => NsOrigin::Container { engine: "docker".into(), name: name.clone() },
            Some(Attach::Podman(name)) => NsOrigin::Container { engine: "podman".into(), name: name.clone() },
        };
        let mut sysctl = base_sysctl(topology, &origin);
        sysctl.extend(node.sysctl.clone());
        list.push(Ns { id: NsId::new(&*node.name), origin, sysctl });
    }
    list
}

/// IPv6 off unless asked: no MLD or router solicitation disturbs a measurement, and teardown is a quarter faster.
/// With IPv6: no duplicate address detection, which would hold addresses back for a second; it is switched on by name, since
/// an edit may find it off.
fn base_sysctl(topology: &Topology, origin: &NsOrigin) -> BTreeMap<String, String> {
    if !origin.is_own() {
        return BTreeMap::new();
    }
    let keys: &[_] =
        if topology.ipv6 { &[("accept_dad", "0"), ("disable_ipv6", "0")] } else { &[("disable_ipv6", "1")] };
    let of = |scope: &'static str| {
        keys.iter().map(move |(key, value)| (format!("net.ipv6.conf.{scope}.{key}"), (*value).to_owned()))
    };
    of("all").chain(of("default")).collect()
}

/// NICs with virtual functions.
fn sriov(topology: &Topology) -> Result<Vec<Pf>, LowerError> {
    let lowering = Lowering { topology, links: Vec::new(), used: BTreeSet::new(), two_qdiscs: None };
    let mut all = Vec::new();
    for nic in &topology.nics {
        let Some(wanted) = &nic.sriov else { continue };
        all.push(Pf {
            at: lowering.nic_place(&nic.name)?,
            pci: nic.pci.clone().ok_or_else(|| LowerError::NoFunction(nic.name.clone()))?,
            vfs: wanted.vfs,
            exact: wanted.exact,
            takeover: wanted.takeover,
            eswitch: wanted.eswitch,
            functions: wanted.functions.iter().map(free_function).collect(),
        });
    }
    Ok(all)
}

/// A function that no node has: what the file does not say is left alone.
fn free_function(free: &FreeVf) -> (u32, VfSet) {
    let port = &free.port;
    let rate = (port.min_rate.unwrap_or(0), port.max_rate.unwrap_or(0));
    let set = VfSet {
        vlan: free.vlan.map(|vlan| (vlan, port.qos)),
        mac: free.mac,
        rate: (rate != (0, 0)).then_some(rate),
        spoofchk: port.spoofchk,
        trust: port.trust,
        link_state: port.link_state,
    };
    (port.index, set)
}

fn routes(topology: &Topology) -> Vec<RouteSpec> {
    let spec = |ns: NsId, route: &Route| RouteSpec { ns, to: route.to, via: route.via, dev: route.dev.clone() };
    let nodes = topology
        .nodes
        .iter()
        .flat_map(|node| node.routes.iter().map(|route| spec(node_ns(topology, &node.name), route)));
    let hosts =
        topology.hosts.iter().flat_map(|host| host.routes.iter().map(|route| spec(NsId::new(&*host.name), route)));
    hosts.chain(nodes).collect()
}

struct Lowering<'a> {
    topology: &'a Topology,
    links: Vec<Link>,
    used: BTreeSet<NsId>,
    two_qdiscs: Option<LinkRef>,
}

impl Lowering<'_> {
    fn push(&mut self, at: LinkRef, kind: LinkKind, mtu: u32, settings: Option<&PortSettings>) -> &mut Link {
        self.used.insert(at.ns.clone());
        let mac = derived_mac(&self.topology.name, &at);
        let mut link = Link {
            mac: Some(mac),
            mtu: (mtu > 0).then_some(mtu),
            master: None,
            vlan: None,
            addresses: Vec::new(),
            qdisc: None,
            features: BTreeMap::new(),
            ethtool: BTreeMap::new(),
            gso_max_size: None,
            at,
            kind,
        };
        if let Some(settings) = settings {
            if settings.rate.is_some() && settings.netem.is_some() {
                self.two_qdiscs = Some(link.at.clone());
            }
            configure(&mut link, settings);
        }
        self.links.push(link);
        self.links.last_mut().expect("a link was pushed on the line above")
    }

    /// Where a NIC ends up: in the node it is handed to, beside the switch it is an uplink of, or where it was.
    fn nic_place(&self, name: &str) -> Result<LinkRef, LowerError> {
        let nic = self.nic_named(name)?;
        for node in &self.topology.nodes {
            if let Some(port) = node.nic.as_ref().filter(|port| port.nic == name) {
                return Ok(LinkRef { ns: node_ns(self.topology, &node.name), name: port.ifname.clone() });
            }
        }
        let real = nic.ifname.clone();
        let uplink_of = self.topology.switches.iter().find(|switch| switch.uplinks.iter().any(|up| up == name));
        let ns = match (uplink_of, is_real(nic)) {
            (Some(switch), _) => switch_ns(self.topology, switch),
            (None, true) => NsId::new(NsId::SELF),
            (None, false) => fabric_ns(self.topology),
        };
        let own_name = || name.parse().map_err(|_| LowerError::Unknown { what: "nic", name: name.to_owned() });
        Ok(LinkRef { ns, name: real.map_or_else(own_name, Ok)? })
    }

    fn nic_named(&self, name: &str) -> Result<&Nic, LowerError> {
        let found = self.topology.nics.iter().find(|nic| nic.name == name);
        found.ok_or_else(|| LowerError::Unknown { what: "nic", name: name.to_owned() })
    }

    fn nic(&mut self, nic: &Nic) -> Result<(), LowerError> {
        let at = self.nic_place(&nic.name)?;
        let port = self.topology.nodes.iter().find_map(|n| n.nic.as_ref().filter(|port| port.nic == nic.name));
        let settings = port.map_or(&nic.settings, |port| &port.settings);
        let mtu = if settings.mtu > 0 { settings.mtu } else { nic.mtu };
        // A cable has two ends, whichever of them the file names it at.
        let far = |other: &&Nic| other.cable.as_deref() == Some(&*nic.name);
        let named_there = self.topology.nics.iter().find(far).map(|other| other.name.as_str());
        let cable = nic.cable.as_deref().or(named_there).map(|name| self.nic_place(name)).transpose()?;
        if is_real(nic) {
            let ifname = nic.ifname.clone().ok_or_else(|| LowerError::NicUnresolved(nic.name.clone()))?;
            let link = self.push(at, LinkKind::Borrowed { ifname, cable }, mtu, Some(settings));
            link.mac = settings.mac;
            return Ok(());
        }
        // A stand-in: with a cable, the two named NICs are the two ends of one pair, made once.
        let alone = cable.is_none();
        let peer = match cable {
            Some(peer) => peer,
            None => LinkRef { ns: at.ns.clone(), name: end_name(&nic.name, "far") },
        };
        let uplink_of = self.topology.switches.iter().find(|switch| switch.uplinks.contains(&nic.name));
        let link = self.push(at.clone(), LinkKind::Veth { peer: peer.clone() }, mtu, Some(settings));
        link.master = uplink_of.map(|switch| switch.name.clone());
        if alone {
            self.push(peer, LinkKind::Veth { peer: at }, mtu, None);
        }
        Ok(())
    }

    fn bridge(&mut self, switch: &Switch) {
        let SwitchKind::Bridge(options) = &switch.kind else { return };
        let at = LinkRef { ns: switch_ns(self.topology, switch), name: switch.name.clone() };
        let kind = LinkKind::Bridge {
            stp: options.stp,
            vlan_filtering: options.vlan_filtering,
            multicast_snooping: options.multicast_snooping,
        };
        for link in &mut self.links {
            if let LinkKind::Borrowed { ifname, .. } = &link.kind {
                let is_uplink = |nic: &Nic| nic.ifname.as_ref() == Some(ifname) && switch.uplinks.contains(&nic.name);
                if self.topology.nics.iter().any(is_uplink) {
                    link.master = Some(switch.name.clone());
                }
            }
        }
        self.push(at.clone(), kind, switch.mtu, None).addresses = switch.addresses.clone();
        // A link stands after its master: uplinks were lowered with the NICs, so the bridge goes before them.
        let bridge = self.links.pop().expect("a link was pushed on the line above");
        let first_port = self.links.iter().position(|l| l.at.ns == at.ns && l.master.as_ref() == Some(&at.name));
        let place = first_port.map_or(self.links.len(), |port| self.before_pair(port));
        self.links.insert(place, bridge);
    }

    /// The index of the first end of the pair that the link at `index` belongs to.
    fn before_pair(&self, index: usize) -> usize {
        match &self.links[index].kind {
            LinkKind::Veth { peer } => self.links.iter().position(|l| l.at == *peer).map_or(index, |p| p.min(index)),
            _ => index,
        }
    }

    fn port(&mut self, switch: &Switch, port: &Port) -> Result<(), LowerError> {
        let node = LinkRef { ns: node_ns(self.topology, &port.node), name: port.ifname.clone() };
        match &switch.kind {
            // A port of Open vSwitch is lowered as a bridge's and becomes what it is in `ovs::lower`.
            SwitchKind::Bridge(_) | SwitchKind::Ovs(_) => {
                let fabric =
                    LinkRef { ns: switch_ns(self.topology, switch), name: end_name(&port.node, port.ifname.as_str()) };
                self.veth(fabric, None, Some((&switch.name, port.vlan)), node, Some(&port.settings), port.settings.mtu);
            }
            SwitchKind::Macvlan { nic, mode } => {
                let lower = self.nic_place(nic)?;
                let kind = LinkKind::Macvlan { lower, mode: *mode };
                let passthru = *mode == crate::topology::model::MacvlanMode::Passthru;
                let link = self.push(node, kind, port.settings.mtu, Some(&port.settings));
                if passthru {
                    link.mac = None; // a passthru child has the lower device's MAC
                }
            }
            SwitchKind::Ipvlan { nic, mode } => {
                let kind = LinkKind::Ipvlan { lower: self.nic_place(nic)?, mode: *mode };
                // A child has the MAC of the device below.
                self.push(node, kind, port.settings.mtu, Some(&port.settings)).mac = None;
            }
            SwitchKind::Sriov { nic } => {
                let pf = self.nic_place(nic)?;
                let port_vf = port.vf.clone().unwrap_or_default();
                let mac = port.settings.mac.unwrap_or_else(|| derived_mac(&self.topology.name, &node));
                let rate = (port_vf.min_rate.unwrap_or(0), port_vf.max_rate.unwrap_or(0));
                let set = VfSet {
                    vlan: Some((port.vlan.unwrap_or(0), port_vf.qos)),
                    mac: Some(mac),
                    rate: (rate != (0, 0)).then_some(rate),
                    spoofchk: port_vf.spoofchk,
                    trust: port_vf.trust,
                    link_state: port_vf.link_state,
                };
                let derived_mac = port.settings.mac.is_none();
                let kind = LinkKind::Vf(Vf { pf, index: port_vf.index, set, derived_mac });
                // The NIC has the MAC to give.
                self.push(node, kind, port.settings.mtu, Some(&port.settings)).mac = None;
            }
        }
        Ok(())
    }

    /// A pair: the first end makes both and is the one that may be a bridge port.
    fn veth(
        &mut self,
        first: LinkRef,
        first_settings: Option<&PortSettings>,
        bridge: Option<(&IfName, Option<u16>)>,
        second: LinkRef,
        second_settings: Option<&PortSettings>,
        mtu: u32,
    ) {
        let link = self.push(first.clone(), LinkKind::Veth { peer: second.clone() }, mtu, first_settings);
        if let Some((name, vlan)) = bridge {
            link.master = Some(name.clone());
            link.vlan = vlan;
        }
        self.push(second, LinkKind::Veth { peer: first }, mtu, second_settings);
    }

    fn wire(&mut self, wire: &Wire) -> Result<(), LowerError> {
        let place = |end: &EndAt, ifname: &IfName| -> Result<(LinkRef, Option<IfName>), LowerError> {
            let (ns, master) = match end {
                EndAt::Node(name) => (node_ns(self.topology, name), None),
                EndAt::Host(name) => (NsId::new(&**name), None),
                EndAt::Switch(name) => {
                    let switch = self.switch_named(name)?;
                    (switch_ns(self.topology, switch), Some(switch.name.clone()))
                }
            };
            Ok((LinkRef { ns, name: ifname.clone() }, master))
        };
        let [a, b] = &wire.ends;
        let (first, first_master) = place(&a.at, &a.ifname)?;
        let (second, second_master) = place(&b.at, &b.ifname)?;
        let bridge = first_master.as_ref().map(|name| (name, None));
        self.veth(first, Some(&a.settings), bridge, second, Some(&b.settings), 0);
        if let Some(link) = self.links.last_mut() {
            link.master = second_master;
        }
        Ok(())
    }

    fn switch_named(&self, name: &str) -> Result<&Switch, LowerError> {
        let found = self.topology.switches.iter().find(|switch| switch.name.as_str() == name);
        found.ok_or_else(|| LowerError::Unknown { what: "switch", name: name.to_owned() })
    }

    fn tunnel(&mut self, tunnel: &Tunnel) -> Result<(), LowerError> {
        let [a, b] = &tunnel.ends;
        for (end, far) in [(a, b), (b, a)] {
            let switch = self.switch_named(&end.switch)?;
            if matches!(switch.kind, SwitchKind::Ovs(_)) {
                continue;
            }
            let (ns, master) = (switch_ns(self.topology, switch), switch.name.clone());
            let kind = match tunnel.kind {
                TunnelKind::Vxlan => LinkKind::Vxlan(Vxlan {
                    vni: tunnel.vni,
                    local: end.local,
                    remote: far.local,
                    port: tunnel.port,
                    dev: end.dev.clone(),
                    udp_checksum: tunnel.udp_checksum,
                    udp6_zero_checksum: tunnel.udp6_zero_checksum,
                    gbp: tunnel.gbp,
                    learning: tunnel.learning,
                }),
                TunnelKind::Geneve | TunnelKind::Gre => LinkKind::Tunnel(desired::Tunnel {
                    kind: tunnel.kind,
                    key: tunnel.vni,
                    local: end.local,
                    remote: far.local,
                    port: tunnel.port,
                    udp_checksum: tunnel.udp_checksum,
                }),
            };
            self.push(LinkRef { ns, name: end.ifname.clone() }, kind, end.mtu, None).master = Some(master);
        }
        Ok(())
    }
}

fn is_real(nic: &Nic) -> bool {
    nic.ifname.is_some() || nic.pci.is_some()
}

/// The switch's end of a port: `client-0` for `eth0` of `client`; a hash where that would pass 15 bytes.
pub fn end_name(node: &str, ifname: &str) -> IfName {
    let suffix = ifname.strip_prefix("eth").filter(|n| n.parse::<u32>().is_ok()).unwrap_or(ifname);
    let plain = format!("{node}-{suffix}");
    let hashed = || format!("nb{:013x}", stable_hash(&[node, ifname]) >> 12);
    plain.parse().or_else(|_| hashed().parse()).expect("`nb` and 13 hexadecimal digits are an interface name")
}

/// A locally administered MAC that depends on topology and place only.
fn derived_mac(topology: &str, at: &LinkRef) -> MacAddr {
    let hash = stable_hash(&[topology, &at.ns.0, at.name.as_str()]).to_be_bytes();
    MacAddr([0x02, hash[0], hash[1], hash[2], hash[3], hash[4]])
}

fn configure(link: &mut Link, settings: &PortSettings) {
    if settings.mtu > 0 {
        link.mtu = Some(settings.mtu);
    }
    if let Some(mac) = settings.mac {
        link.mac = Some(mac);
    }
    link.addresses = settings.addresses.clone();
    link.qdisc = match (&settings.rate, &settings.netem) {
        (Some(shaper), _) => Some(Qdisc::Shaper(*shaper)),
        (None, Some(netem)) => Some(Qdisc::Netem(netem.clone())),
        (None, None) => None,
    };
    link.features = features::expand(&settings.offload);
    let tables = [("rings", &settings.rings), ("channels", &settings.channels), ("coalesce", &settings.coalesce)];
    link.ethtool = tables
        .iter()
        .flat_map(|(table, values)| values.iter().map(move |(key, value)| (format!("{table}.{key}"), *value)))
        .collect();
    link.gso_max_size = settings.gso_max_size;
}

/// With `fdb = "static"`, each end of a tunnel knows behind which remote every far MAC is.
fn static_fdb(topology: &Topology, desired: &Desired) -> Vec<FdbSpec> {
    let mut entries = Vec::new();
    for tunnel in topology.tunnels.iter().filter(|tunnel| tunnel.static_fdb) {
        let [a, b] = &tunnel.ends;
        for (end, far) in [(a, b), (b, a)] {
            let here = topology.switches.iter().find(|switch| switch.name.as_str() == end.switch);
            let there = topology.switches.iter().find(|switch| switch.name.as_str() == far.switch);
            let (Some(here), Some(there)) = (here, there) else { continue };
            let at = LinkRef { ns: switch_ns(topology, here), name: end.ifname.clone() };
            for port in &there.ports {
                let node = LinkRef { ns: node_ns(topology, &port.node), name: port.ifname.clone() };
                if let Some(mac) = desired.link(&node).and_then(|link| link.mac) {
                    entries.push(FdbSpec { at: at.clone(), mac, remote: far.local });
                }
            }
        }
    }
    entries
}

fn flows(topology: &Topology, desired: &Desired) -> Result<Vec<FlowPath>, LowerError> {
    let network = path::Network::new(desired);
    let lower_flow = |flow: &crate::topology::model::Flow| {
        let (from_ns, to_ns) = (node_ns(topology, &flow.from), node_ns(topology, &flow.to));
        let to: IpAddr = flow.to_address;
        let hops = network.hops(&from_ns, to).map_err(|why| LowerError::NoPath {
            from: flow.from.clone(),
            to: flow.to.clone(),
            why,
        })?;
        Ok(FlowPath { flow: flow.clone(), from_ns, to_ns, hops })
    };
    topology.flows.iter().map(lower_flow).collect()
}

/// One broadcast on a bridge of more ports than `net.core.netdev_max_backlog` (1000) overflows the CPU's backlog, and
/// the ports served last never see the ARP request. There the ends of declared flows know each other from the start.
const BROADCAST_REACHES: usize = 1000;

fn neighbours(topology: &Topology, desired: &Desired) -> Vec<NeighbourSpec> {
    let large = |switch: &&Switch| switch.ports.len() + switch.uplinks.len() > BROADCAST_REACHES;
    let large: HashSet<&str> =
        topology.switches.iter().filter(large).flat_map(|s| s.ports.iter().map(|port| port.node.as_str())).collect();
    let holder = |ns: &NsId, address: IpAddr| {
        desired.links.iter().find(|link| link.at.ns == *ns && link.addresses.iter().any(|net| net.addr() == address))
    };
    let mut entries = Vec::new();
    for path in &desired.flows {
        let flow = &path.flow;
        if !large.contains(&*flow.from) || !large.contains(&*flow.to) {
            continue;
        }
        let ends = (holder(&path.from_ns, flow.from_address), holder(&path.to_ns, flow.to_address));
        let (Some(near), Some(far)) = ends else { continue };
        let same_network = near.addresses.iter().any(|net| net.contains(&flow.to_address));
        for (here, there, address) in [(near, far, flow.to_address), (far, near, flow.from_address)] {
            if let (true, Some(mac)) = (same_network, there.mac) {
                let entry = NeighbourSpec { at: here.at.clone(), address, mac };
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
    }
    entries
}
