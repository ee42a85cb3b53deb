//! Switches of Open vSwitch: what would be a bridge's port becomes a row of its database, and a tunnel too.

use std::collections::HashMap;

use super::{Desired, LowerError, derived_mac, end_name, node_ns, switch_ns};
use crate::{
    plan::{
        desired::{Link, LinkKind, LinkRef, NsId, Qdisc},
        ovs::{Ovs, OvsBridge, OvsDaemon, OvsFlow, OvsOutput, OvsPort, OvsTunnel},
    },
    topology::model::{
        Bond, Datapath, EndAt, EthDst, FailMode, FlowOutput, OvsOptions, Port, Switch, SwitchKind, SwitchPort, Topology,
    },
    units::{IfName, stable_hash},
};

/// Turns the links that were lowered as ports of an Open vSwitch into links that its database names.
pub(super) fn lower(topology: &Topology, desired: &mut Desired) -> Result<(), LowerError> {
    for switch in &topology.switches {
        let SwitchKind::Ovs(options) = &switch.kind else { continue };
        let ns = switch_ns(topology, switch);
        let bridge = bridge(topology, switch, options, &ns, &mut desired.links);
        instance(&mut desired.ovs, &ns, options).bridges.push(bridge);
    }
    for tunnel in &topology.tunnels {
        let [a, b] = &tunnel.ends;
        for (end, far) in [(a, b), (b, a)] {
            let switch = topology.switches.iter().find(|switch| switch.name.as_str() == end.switch);
            let Some((switch, SwitchKind::Ovs(options))) = switch.map(|switch| (switch, &switch.kind)) else {
                continue;
            };
            let ns = switch_ns(topology, switch);
            let mut port = OvsPort::of(end.ifname.clone(), 0);
            port.interfaces[0].tunnel = Some(OvsTunnel {
                kind: tunnel.kind,
                local: end.local,
                remote: far.local,
                key: tunnel.vni,
                port: tunnel.port,
                checksum: tunnel.udp_checksum,
            });
            let bridges = &mut instance(&mut desired.ovs, &ns, options).bridges;
            if let Some(bridge) = bridges.iter_mut().find(|bridge| bridge.name == switch.name) {
                bridge.ports.push(port);
            }
            if options.datapath == Datapath::User {
                underlay(desired, &ns, &end.dev, options);
            }
        }
    }
    flows(topology, desired)?;
    // As they are read back.
    for ovs in &mut desired.ovs {
        ovs.bridges.sort_by(|a, b| a.name.cmp(&b.name));
        ovs.bridges.iter_mut().for_each(|bridge| bridge.ports.sort_by(|a, b| a.name.cmp(&b.name)));
    }
    Ok(())
}

/// The one Open vSwitch of a namespace.
fn instance<'o>(all: &'o mut Vec<Ovs>, ns: &NsId, options: &OvsOptions) -> &'o mut Ovs {
    if let Some(index) = all.iter().position(|ovs| ovs.daemon.ns == *ns) {
        all[index].daemon.tso |= options.tso;
        return &mut all[index];
    }
    let daemon = OvsDaemon { ns: ns.clone(), tso: options.tso, system: options.system };
    all.push(Ovs { daemon, bridges: Vec::new() });
    all.last_mut().expect("one was pushed on the line above")
}

fn bridge(topology: &Topology, switch: &Switch, options: &OvsOptions, ns: &NsId, links: &mut [Link]) -> OvsBridge {
    let declared: HashMap<IfName, &Port> =
        switch.ports.iter().map(|port| (end_name(&port.node, port.ifname.as_str()), port)).collect();
    let mut ports = Vec::new();
    for link in links.iter_mut().filter(|link| link.at.ns == *ns && link.master.as_ref() == Some(&switch.name)) {
        link.master = None;
        let mut port = OvsPort::of(link.at.name.clone(), link.mtu.unwrap_or(0));
        port.tag = link.vlan.take();
        if let Some(declared) = declared.get(&link.at.name) {
            (port.trunks, port.rate) = (declared.trunks.clone(), declared.qos);
        }
        // The qdisc of a port is the switch's: it takes away what it did not make.
        if let Some(Qdisc::Shaper(shaper)) = &link.qdisc {
            port.rate = Some(shaper.rate);
            link.qdisc = None;
        }
        ports.push(port);
    }
    let ports = bonded(topology, switch, ports);
    let at = LinkRef { ns: ns.clone(), name: switch.name.clone() };
    OvsBridge {
        name: switch.name.clone(),
        datapath: options.datapath,
        fail_mode: options.fail_mode,
        rstp: options.rstp,
        stp: options.stp,
        mtu: switch.mtu,
        mac: Some(derived_mac(&topology.name, &at)),
        ports,
        flows: Vec::new(),
    }
}

/// Ports of one bond become one port of several interfaces.
fn bonded(topology: &Topology, switch: &Switch, ports: Vec<OvsPort>) -> Vec<OvsPort> {
    let mut bonds: HashMap<&IfName, &Bond> = HashMap::new();
    for (wire, bond) in topology.links.iter().filter_map(|wire| Some((wire, wire.bond.as_ref()?))) {
        let here =
            wire.ends.iter().filter(|end| matches!(&end.at, EndAt::Switch(name) if *name == *switch.name.as_str()));
        bonds.extend(here.map(|end| (&end.ifname, bond)));
    }
    let mut all: Vec<OvsPort> = Vec::with_capacity(ports.len());
    let mut made: HashMap<u32, usize> = HashMap::new();
    for mut port in ports {
        let Some(bond) = bonds.get(&port.name) else {
            all.push(port);
            continue;
        };
        if let Some(&at) = made.get(&bond.number) {
            all[at].interfaces.append(&mut port.interfaces);
            all[at].interfaces.sort_by(|a, b| a.name.cmp(&b.name));
            continue;
        }
        made.insert(bond.number, all.len());
        // Both switches may be in one database, in which a port's name stands once.
        let name = format!("bond-{}", port.name).parse();
        (port.name, port.bond) = (name.unwrap_or(port.name), Some(bond.mode));
        all.push(port);
    }
    all
}

/// Static flows, once every port stands: nodes by the names of their ports and by their MAC addresses.
fn flows(topology: &Topology, desired: &mut Desired) -> Result<(), LowerError> {
    for switch in &topology.switches {
        let SwitchKind::Ovs(options) = &switch.kind else { continue };
        let port = |port: &SwitchPort| match port {
            SwitchPort::Node(node, ifname) => end_name(node, ifname.as_str()),
            SwitchPort::Named(name) => name.clone(),
        };
        let mac = |node: &str, ifname: &IfName| {
            let at = LinkRef { ns: node_ns(topology, node), name: ifname.clone() };
            let link = desired.links.iter().find(|link| link.at == at);
            let unknown = || LowerError::Unknown { what: "interface", name: at.to_string() };
            link.and_then(|link| link.mac).ok_or_else(unknown)
        };
        let mut flows = Vec::with_capacity(options.flows.len());
        for flow in &options.flows {
            flows.push(OvsFlow {
                priority: flow.priority,
                in_port: flow.in_port.as_ref().map(port),
                eth_dst: match &flow.eth_dst {
                    Some(EthDst::Mac(mac)) => Some(*mac),
                    Some(EthDst::Node(node, ifname)) => Some(mac(node, ifname)?),
                    None => None,
                },
                eth_type: flow.eth_type,
                output: match &flow.output {
                    FlowOutput::Port(to) => OvsOutput::Port(port(to)),
                    FlowOutput::Normal => OvsOutput::Normal,
                    FlowOutput::Drop => OvsOutput::Drop,
                },
            });
        }
        flows.sort();
        let ns = switch_ns(topology, switch);
        let bridges = desired.ovs.iter_mut().filter(|ovs| ovs.daemon.ns == ns).flat_map(|ovs| &mut ovs.bridges);
        bridges.filter(|bridge| bridge.name == switch.name).for_each(|bridge| bridge.flows = flows.clone());
    }
    Ok(())
}

/// The userspace datapath sends a tunnel's packets out of a bridge of its own whose internal port holds the outer
/// address (`tnl_route_lookup_flow()`, ofproto/ofproto-dpif-xlate.c): the wire becomes a port of such a bridge, and its
/// addresses move to it. The bridge has a MAC of its own, or the kernel would take the wire's packets for its own too
/// and answer that nobody listens.
fn underlay(desired: &mut Desired, ns: &NsId, wire: &IfName, options: &OvsOptions) {
    let name = underlay_name(wire);
    let at = LinkRef { ns: ns.clone(), name: name.clone() };
    if desired.links.iter().any(|link| link.at == at) {
        return;
    }
    let Some(index) = desired.links.iter().position(|link| link.at.ns == *ns && link.at.name == *wire) else { return };
    let carrier = &mut desired.links[index];
    let mtu = carrier.mtu.unwrap_or(1500);
    let mac = derived_mac(&desired.topology, &at);
    let internal = Link {
        kind: LinkKind::OvsInternal,
        mtu: Some(mtu),
        mac: Some(mac),
        addresses: std::mem::take(&mut carrier.addresses),
        master: None,
        vlan: None,
        qdisc: None,
        features: Default::default(),
        ethtool: Default::default(),
        gso_max_size: None,
        at,
    };
    desired.links.push(internal);
    for route in desired.routes.iter_mut().filter(|route| route.ns == *ns && route.dev.as_ref() == Some(wire)) {
        route.dev = Some(name.clone());
    }
    let bridge = OvsBridge {
        name,
        datapath: Datapath::User,
        fail_mode: FailMode::Standalone,
        rstp: false,
        stp: false,
        mtu,
        mac: Some(mac),
        ports: vec![OvsPort::of(wire.clone(), mtu)],
        flows: Vec::new(),
    };
    instance(&mut desired.ovs, ns, options).bridges.push(bridge);
}

/// `br-wire` for `wire`; a hash where that would pass 15 bytes.
fn underlay_name(wire: &IfName) -> IfName {
    let hashed = || format!("nb{:013x}", stable_hash(&["underlay", wire.as_str()]) >> 12);
    let plain = format!("br-{wire}").parse();
    plain.or_else(|_| hashed().parse()).expect("`nb` and 13 hexadecimal digits are an interface name")
}
