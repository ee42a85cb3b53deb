//! The way a packet must take: a walk over the desired state, link by link, as the kernel would forward it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::desired::{Desired, Direction, FlowPath, Hop, Link, LinkKind, LinkRef, NsId, Vf};
use super::ovs::{OvsBridge, OvsTunnel};
use crate::{
    topology::model::{Datapath, Flow, MacvlanMode},
    units::IfName,
};

/// Routers a packet may cross before the way is called a loop.
const MAX_ROUTERS: usize = 32;

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// No interface and no route of this namespace leads to the address.
    #[error("{ns} has no route to {to}")]
    NoRoute {
        /// Namespace.
        ns: NsId,
        /// Address that was looked for.
        to: IpAddr,
    },
    /// A namespace without an address.
    #[error("{0} has no address")]
    NoAddress(NsId),
    /// Nobody holds the address.
    #[error("no interface holds {0}")]
    NoOwner(IpAddr),
    /// Nothing joins the two interfaces.
    #[error("nothing joins {from} and {to}")]
    NotJoined {
        /// Sending interface.
        from: LinkRef,
        /// Receiving interface.
        to: LinkRef,
    },
    /// The routes go round.
    #[error("the routes towards {0} form a loop")]
    Loop(IpAddr),
}

/// The desired links with the indexes that a walk needs.
pub struct Network<'a> {
    desired: &'a Desired,
    by_place: HashMap<&'a LinkRef, &'a Link>,
    by_address: HashMap<IpAddr, &'a Link>,
    ports: HashMap<(&'a NsId, &'a IfName), Vec<&'a Link>>,
    children: HashMap<&'a LinkRef, Vec<&'a Link>>,
    /// Bridges of Open vSwitch by the links that are their ports, and by their internal ones.
    ovs: HashMap<(&'a NsId, &'a IfName), (&'a NsId, &'a OvsBridge)>,
}

impl<'a> Network<'a> {
    /// Indexes the desired state.
    pub fn new(desired: &'a Desired) -> Self {
        let mut network = Self {
            desired,
            by_place: HashMap::new(),
            by_address: HashMap::new(),
            ports: HashMap::new(),
            children: HashMap::new(),
            ovs: HashMap::new(),
        };
        for (ns, bridge) in ovs_bridges(desired) {
            network.ovs.insert((ns, &bridge.name), (ns, bridge));
            for interface in bridge.ports.iter().flat_map(|port| &port.interfaces) {
                network.ovs.insert((ns, &interface.name), (ns, bridge));
            }
        }
        for link in &desired.links {
            network.by_place.insert(&link.at, link);
            for address in &link.addresses {
                network.by_address.insert(address.addr(), link);
            }
            if let Some(master) = &link.master {
                network.ports.entry((&link.at.ns, master)).or_default().push(link);
            }
            if let LinkKind::Macvlan { lower, .. }
            | LinkKind::Ipvlan { lower, .. }
            | LinkKind::Vf(Vf { pf: lower, .. }) = &link.kind
            {
                network.children.entry(lower).or_default().push(link);
            }
        }
        network
    }

    /// The interfaces a packet crosses from namespace `from` to the holder of `to`.
    pub fn hops(&self, from: &NsId, to: IpAddr) -> Result<Vec<Hop>, NoPath> {
        if to.is_loopback() {
            let lo = LinkRef { ns: from.clone(), name: "lo".parse().expect("`lo` is an interface name") };
            let hop = |direction| Hop { at: lo.clone(), direction, mtu: 0, overhead: 0, beside: Vec::new() };
            return Ok(vec![hop(Direction::Tx), hop(Direction::Rx)]);
        }
        if !self.by_address.contains_key(&to) && self.is_attached(from) {
            // Two attached nodes with addresses of their own talk through whatever joins them already.
            return Ok(Vec::new());
        }
        let target = *self.by_address.get(&to).ok_or(NoPath::NoOwner(to))?;
        let mut hops = Vec::new();
        let mut here = from.clone();
        for _ in 0..MAX_ROUTERS {
            if here == target.at.ns {
                return Ok(hops);
            }
            let (out, next_hop) = self.route(&here, to)?;
            let next = *self.by_address.get(&next_hop).ok_or(NoPath::NoOwner(next_hop))?;
            let mut walk =
                Walk { network: self, goal: next, seen: HashSet::new(), switches: HashSet::new(), hops: Vec::new() };
            if !walk.transmit(out)? {
                return Err(NoPath::NotJoined { from: out.at.clone(), to: next.at.clone() });
            }
            hops.append(&mut walk.hops);
            here = next.at.ns.clone();
        }
        Err(NoPath::Loop(to))
    }

    /// The other members of the bond that an interface is in.
    fn beside(&self, at: &LinkRef) -> Vec<LinkRef> {
        let Some((ns, bridge)) = self.ovs.get(&(&at.ns, &at.name)) else { return Vec::new() };
        let port = bridge.ports.iter().find(|port| port.interfaces.iter().any(|member| member.name == at.name));
        let names = port.into_iter().flat_map(|port| &port.interfaces).map(|member| &member.name);
        names.filter(|name| **name != at.name).map(|name| LinkRef { ns: (*ns).clone(), name: name.clone() }).collect()
    }

    /// Is this namespace somebody else's, with interfaces that the file does not declare?
    fn is_attached(&self, id: &NsId) -> bool {
        self.desired.namespace(id).is_some_and(|ns| !ns.origin.is_own())
    }

    /// A flow between two namespaces that the file did not declare: addresses of a common network where there is one.
    pub fn between(&self, from: (&str, &NsId), to: (&str, &NsId)) -> Result<FlowPath, NoPath> {
        let addresses = |ns: &NsId| -> Vec<IpNet> {
            self.desired.links.iter().filter(|link| link.at.ns == *ns).flat_map(|l| l.addresses.clone()).collect()
        };
        let (near, far) = (addresses(from.1), addresses(to.1));
        let shared = far.iter().find(|net| near.iter().any(|own| own.contains(&net.addr())));
        let Some(target) = shared.or(far.first()).map(IpNet::addr) else {
            return Err(NoPath::NoAddress(to.1.clone()));
        };
        let hops = self.hops(from.1, target)?;
        let (out, _) = self.route(from.1, target)?;
        let source = out.addresses.iter().find(|net| net.addr().is_ipv4() == target.is_ipv4());
        let source = source.map(IpNet::addr).ok_or_else(|| NoPath::NoAddress(from.1.clone()))?;
        let mtu = hops.iter().filter(|hop| hop.mtu > 0).map(|hop| hop.mtu - hop.overhead.min(hop.mtu)).min();
        let flow = Flow {
            from: from.0.to_owned(),
            to: to.0.to_owned(),
            from_address: source,
            to_address: target,
            mtu: mtu.unwrap_or(0),
        };
        Ok(FlowPath { flow, from_ns: from.1.clone(), to_ns: to.1.clone(), hops })
    }

    /// The outgoing interface and the next hop's address: connected networks first, then the longest prefix.
    fn route(&self, ns: &NsId, to: IpAddr) -> Result<(&'a Link, IpAddr), NoPath> {
        let connected = |address: IpAddr| {
            let links = self.desired.links.iter().filter(|link| link.at.ns == *ns);
            links
                .flat_map(|link| link.addresses.iter().map(move |net| (link, net)))
                .filter(|(_, net)| net.contains(&address))
                .max_by_key(|(_, net)| net.prefix_len())
        };
        let routes = self.desired.routes.iter().filter(|route| route.ns == *ns && route.to.contains(&to));
        let best = routes.max_by_key(|route| route.to.prefix_len());
        let no_route = || NoPath::NoRoute { ns: ns.clone(), to };
        let length = |net: &IpNet| net.prefix_len();
        match (connected(to), best) {
            (Some((link, net)), Some(route)) if length(net) >= length(&route.to) => Ok((link, to)),
            (Some((link, _)), None) => Ok((link, to)),
            (_, Some(route)) => {
                let next_hop = route.via.unwrap_or(to);
                let named = |name: &IfName| {
                    let at = LinkRef { ns: ns.clone(), name: name.clone() };
                    self.by_place.get(&at).copied()
                };
                let link = match (&route.dev, route.via) {
                    (Some(name), _) => named(name),
                    (None, Some(via)) => connected(via).map(|(link, _)| link),
                    (None, None) => None,
                };
                Ok((link.ok_or_else(no_route)?, next_hop))
            }
            (None, None) => Err(no_route()),
        }
    }
}

fn ovs_bridges(desired: &Desired) -> impl Iterator<Item = (&NsId, &OvsBridge)> {
    desired.ovs.iter().flat_map(|ovs| ovs.bridges.iter().map(|bridge| (&ovs.daemon.ns, bridge)))
}

/// VLAN that the NIC keeps a function in, 0 for none.
fn vlan_of(vf: &Vf) -> u16 {
    vf.set.vlan.map_or(0, |(vlan, _)| vlan)
}

/// Does an untagged frame of the wire reach this child of a NIC?
fn is_untagged(link: &Link) -> bool {
    !matches!(&link.kind, LinkKind::Vf(vf) if vlan_of(vf) != 0)
}

/// A depth-first walk of one broadcast domain towards `goal`.
struct Walk<'n, 'a> {
    network: &'n Network<'a>,
    goal: &'a Link,
    seen: HashSet<(&'a LinkRef, bool)>,
    switches: HashSet<(&'a NsId, &'a IfName)>,
    hops: Vec<Hop>,
}

impl<'a> Walk<'_, 'a> {
    fn push(&mut self, link: &Link, direction: Direction) {
        let beside = self.network.beside(&link.at);
        self.hops.push(Hop { at: link.at.clone(), direction, mtu: link.mtu.unwrap_or(0), overhead: 0, beside });
    }

    /// A frame leaves by `link`; true when the goal was reached behind it.
    fn transmit(&mut self, link: &'a Link) -> Result<bool, NoPath> {
        if !self.seen.insert((&link.at, true)) {
            return Ok(false);
        }
        let mark = self.hops.len();
        self.push(link, Direction::Tx);
        let reached = match &link.kind {
            LinkKind::Veth { peer } => self.arrive(peer)?,
            LinkKind::Borrowed { cable, .. } => match self.turns_to_own_function(link)? {
                true => true,
                false => match cable {
                    Some(far) => self.arrive(far)?,
                    None => self.outside(link)?,
                },
            },
            LinkKind::OvsInternal => self.switched(link)?,
            LinkKind::Bridge { .. } => self.flood(link, None)?,
            LinkKind::Macvlan { lower, mode } => self.beside(link, lower, *mode == MacvlanMode::Bridge)?,
            LinkKind::Ipvlan { lower, .. } => self.beside(link, lower, true)?,
            LinkKind::Vf(vf) => self.embedded(link, vf)?,
            LinkKind::Vxlan(own) => {
                let far = self.network.desired.links.iter().find(|other| match &other.kind {
                    LinkKind::Vxlan(v) => v.vni == own.vni && v.local == own.remote && v.port == own.port,
                    _ => false,
                });
                match far {
                    Some(far) => {
                        let outer = self.network.hops(&link.at.ns, own.remote)?;
                        let overhead = if own.remote.is_ipv4() { 50 } else { 70 };
                        self.hops.extend(outer.into_iter().map(|hop| Hop { overhead, ..hop }));
                        self.receive(far)?
                    }
                    None => false,
                }
            }
        };
        if !reached {
            self.hops.truncate(mark);
        }
        Ok(reached)
    }

    /// Real ports whose cables the file does not draw are taken to be joined by one network outside.
    fn outside(&mut self, from: &Link) -> Result<bool, NoPath> {
        for other in &self.network.desired.links {
            let drawn = !matches!(other.kind, LinkKind::Borrowed { cable: None, .. });
            if !drawn && !std::ptr::eq(other, from) && self.receive(other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn arrive(&mut self, at: &LinkRef) -> Result<bool, NoPath> {
        match self.network.by_place.get(at) {
            Some(link) => self.receive(link),
            None => Ok(false),
        }
    }

    /// A frame comes in by `link`.
    fn receive(&mut self, link: &'a Link) -> Result<bool, NoPath> {
        if !self.seen.insert((&link.at, false)) {
            return Ok(false);
        }
        let mark = self.hops.len();
        self.push(link, Direction::Rx);
        if std::ptr::eq(link, self.goal) {
            return Ok(true);
        }
        let mut reached = false;
        if let Some(master) = &link.master {
            let at = LinkRef { ns: link.at.ns.clone(), name: master.clone() };
            if let Some(bridge) = self.network.by_place.get(&at).copied() {
                reached = if std::ptr::eq(bridge, self.goal) {
                    self.push(bridge, Direction::Rx);
                    true
                } else {
                    self.flood(bridge, Some(link))?
                };
            }
        }
        if !reached {
            reached = self.switched(link)?;
        }
        if !reached && let Some(children) = self.network.children.get(&link.at) {
            for child in children.iter().filter(|child| is_untagged(child)) {
                if self.receive(child)? {
                    reached = true;
                    break;
                }
            }
        }
        if !reached {
            self.hops.truncate(mark);
        }
        Ok(reached)
    }

    /// A frame comes into the Open vSwitch that `link` is a port of, if it is one.
    fn switched(&mut self, link: &'a Link) -> Result<bool, NoPath> {
        match self.network.ovs.get(&(&link.at.ns, &link.at.name)) {
            Some((ns, bridge)) => self.through(ns, bridge, Some(link)),
            None => Ok(false),
        }
    }

    /// A frame leaves an Open vSwitch by its ports: links, its internal port, and tunnels, whose outer packets go their
    /// own way (the internal port of the bridge below does not count them).
    fn through(&mut self, ns: &'a NsId, bridge: &'a OvsBridge, except: Option<&Link>) -> Result<bool, NoPath> {
        if !self.switches.insert((ns, &bridge.name)) {
            return Ok(false);
        }
        let tunnels = |bridge: &'a OvsBridge| {
            bridge.ports.iter().flat_map(|port| &port.interfaces).filter_map(|interface| interface.tunnel.as_ref())
        };
        let names = bridge.ports.iter().flat_map(|port| &port.interfaces).map(|interface| &interface.name);
        for name in names.chain([&bridge.name]) {
            let at = LinkRef { ns: ns.clone(), name: name.clone() };
            let Some(port) = self.network.by_place.get(&at).copied() else { continue };
            let back = except.is_some_and(|link| std::ptr::eq(link, port));
            if back {
                continue;
            }
            if port.kind == LinkKind::OvsInternal {
                if std::ptr::eq(port, self.goal) {
                    self.push(port, Direction::Rx);
                    return Ok(true);
                }
            } else if self.transmit(port)? {
                return Ok(true);
            }
        }
        for own in tunnels(bridge) {
            let mut ends = ovs_bridges(self.network.desired).filter_map(|(ns, bridge)| {
                let its = tunnels(bridge).find(|t| t.kind == own.kind && t.key == own.key && t.local == own.remote)?;
                Some((ns, bridge, its))
            });
            let Some((far_ns, far, end)) = ends.next() else { continue };
            let mark = self.hops.len();
            self.push_device(ns, bridge, own, Direction::Tx);
            let outer = self.network.hops(ns, own.remote)?;
            let counted = outer
                .into_iter()
                .filter(|hop| self.network.by_place.get(&hop.at).is_none_or(|link| link.kind != LinkKind::OvsInternal));
            let hops: Vec<Hop> = counted.map(|hop| Hop { overhead: own.overhead(), ..hop }).collect();
            self.hops.extend(hops);
            self.push_device(far_ns, far, end, Direction::Rx);
            if self.through(far_ns, far, None)? {
                return Ok(true);
            }
            self.hops.truncate(mark);
        }
        Ok(false)
    }

    /// The kernel's datapath has a device for tunnels, which counts inner packets; that of the daemon has none.
    fn push_device(&mut self, ns: &NsId, bridge: &OvsBridge, tunnel: &OvsTunnel, direction: Direction) {
        if let (Datapath::Kernel, Some(name)) = (bridge.datapath, tunnel.device()) {
            let at = LinkRef { ns: ns.clone(), name };
            self.hops.push(Hop { at, direction, mtu: 0, overhead: 0, beside: Vec::new() });
        }
    }

    fn flood(&mut self, bridge: &'a Link, except: Option<&Link>) -> Result<bool, NoPath> {
        let Some(ports) = self.network.ports.get(&(&bridge.at.ns, &bridge.at.name)) else { return Ok(false) };
        for port in ports {
            let back = except.is_some_and(|link| std::ptr::eq(link, *port));
            if !back && self.transmit(port)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A virtual function sends: the NIC's own switch passes the frame to a sibling of its VLAN, to the port itself, or
    /// out of the wire to a function of another NIC. The port counts none of these but the second.
    fn embedded(&mut self, link: &'a Link, vf: &'a Vf) -> Result<bool, NoPath> {
        let goal = self.goal;
        if std::ptr::eq(goal, link) {
            return Ok(false);
        }
        match &goal.kind {
            LinkKind::Vf(far) if vlan_of(far) == vlan_of(vf) => {
                if far.pf == vf.pf || self.wired(&vf.pf, &far.pf) {
                    self.receive(goal)
                } else {
                    Ok(false)
                }
            }
            LinkKind::Vf(_) => Ok(false),
            _ if vlan_of(vf) != 0 => Ok(false),
            LinkKind::Borrowed { .. } if goal.at == vf.pf || self.wired(&vf.pf, &goal.at) => self.receive(goal),
            _ => match self.network.by_place.get(&vf.pf).copied() {
                Some(pf) => match &pf.kind {
                    LinkKind::Borrowed { cable: Some(far), .. } => self.arrive(far),
                    _ => self.outside(pf),
                },
                None => Ok(false),
            },
        }
    }

    /// A NIC whose goal is one of its own functions: its embedded switch turns the frame round.
    fn turns_to_own_function(&mut self, link: &'a Link) -> Result<bool, NoPath> {
        match &self.goal.kind {
            LinkKind::Vf(vf) if vf.pf == link.at && vlan_of(vf) == 0 => self.receive(self.goal),
            _ => Ok(false),
        }
    }

    /// Are two NICs on one wire: by their cable, or, where none is drawn, by the network outside?
    fn wired(&self, a: &LinkRef, b: &LinkRef) -> bool {
        let cable = |at: &LinkRef| match self.network.by_place.get(at).map(|link| &link.kind) {
            Some(LinkKind::Borrowed { cable, .. }) => Some(cable.clone()),
            _ => None,
        };
        match (cable(a), cable(b)) {
            (Some(None), Some(None)) => a != b,
            (Some(near), Some(far)) => near.as_ref() == Some(b) || far.as_ref() == Some(a),
            _ => false,
        }
    }

    /// A macvlan or ipvlan child sends: to a sibling inside the kernel where its mode joins them (the lower device counts
    /// nothing), else out of the lower device.
    fn beside(&mut self, link: &'a Link, lower: &'a LinkRef, joined: bool) -> Result<bool, NoPath> {
        if joined && let Some(children) = self.network.children.get(lower) {
            for child in children {
                if !std::ptr::eq(*child, link) && std::ptr::eq(*child, self.goal) {
                    return self.receive(child);
                }
            }
        }
        match self.network.by_place.get(lower).copied() {
            Some(lower) => self.transmit(lower),
            None => Ok(false),
        }
    }
}
