//! A model of the kernel: enough of its rules to refuse steps in a wrong order, and state that can be compared.

use std::collections::BTreeMap;

use netbench::{
    plan::{
        desired::{Link, LinkKind, LinkRef, NsId, Qdisc},
        marks,
        observed::{LinkDetail, Observed, ObservedLink, ObservedNs, ObservedQdisc, ObservedRoute},
        ovs::{ObservedOvs, OvsBridge},
        step::{LinkSet, Step},
    },
    topology::model::ShaperKind,
    units::IfName,
};

/// The modelled kernel with one topology in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub topology: String,
    pub state: Observed,
    next: u32,
}

impl Model {
    pub fn new(topology: &str) -> Self {
        Self { topology: topology.to_owned(), state: Observed::default(), next: 2 }
    }

    fn ns(&mut self, id: &NsId) -> Result<&mut ObservedNs, String> {
        self.state.namespaces.get_mut(id).ok_or_else(|| format!("no namespace {id}"))
    }

    fn link(&mut self, at: &LinkRef) -> Result<&mut ObservedLink, String> {
        self.ns(&at.ns)?.links.get_mut(&at.name).ok_or_else(|| format!("no link {at}"))
    }

    fn index(&mut self, ns: &NsId, name: &IfName) -> Result<u32, String> {
        Ok(self.link(&LinkRef { ns: ns.clone(), name: name.clone() })?.index)
    }

    pub fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| self.step(step).map_err(|why| format!("{step}: {why}")))
    }

    pub fn undo(&mut self, step: &Step) -> Result<(), String> {
        match step.undo() {
            Some(undo) => self.step(&undo).map_err(|why| format!("undo of {step}: {why}")),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::CreateNs { ns, sysctl, .. } => {
                if self.state.namespaces.contains_key(ns) {
                    return Err("File exists".into());
                }
                let mark = Some(marks::alias(&self.topology, &ns.0));
                let defaults =
                    ["net.ipv4.ip_forward", "net.ipv4.conf.eth0.rp_filter"].map(|key| (key.into(), "0".into()));
                let mut all = BTreeMap::from(defaults);
                all.extend(sysctl.clone());
                self.state.namespaces.insert(ns.clone(), ObservedNs { mark, sysctl: all, ..ObservedNs::default() });
            }
            Step::DeleteNs { ns, .. } => {
                let gone = self.state.namespaces.remove(ns).ok_or("no such namespace")?;
                // Virtual links die with their namespace, and their peers with them.
                for link in gone.links.values().filter(|link| link.kind == "veth") {
                    self.remove_index(link.link);
                }
            }
            Step::CreateLink { link, peer } => self.create(link, peer.as_deref())?,
            Step::DeleteLink { link, .. } => {
                let seen = self.link(&link.at)?.clone();
                self.remove(&link.at);
                if seen.kind == "veth" {
                    self.remove_index(seen.link);
                }
            }
            Step::TakeNic { .. } | Step::GiveBackNic { .. } | Step::SetVfs { .. } | Step::SetVf { .. } => {
                return Err("the model has no NIC".into());
            }
            Step::StartOvs(daemon) => {
                let ovs = ObservedOvs { running: true, tso: daemon.tso, ..ObservedOvs::default() };
                self.ns(&daemon.ns)?.ovs = Some(ovs);
            }
            Step::StopOvs(daemon) => {
                let ns = self.ns(&daemon.ns)?;
                ns.ovs.take().ok_or("no such daemon")?;
                ns.links.retain(|_, link| link.kind != "tun");
            }
            Step::CreateOvsBridges { ns, bridges, .. } => self.create_bridges(ns, bridges)?,
            Step::DeleteOvsBridges { ns, bridges } => {
                let state = self.ns(ns)?;
                let ovs = state.ovs.as_mut().ok_or("no such daemon")?;
                for bridge in bridges {
                    let before = ovs.bridges.len();
                    ovs.bridges.retain(|have| have.name != bridge.name);
                    if ovs.bridges.len() == before {
                        return Err("no such bridge".into());
                    }
                    state.links.remove(&bridge.name);
                }
            }
            Step::SetLink { at, set, .. } => self.set(at, set)?,
            Step::AddAddress { at, address } => {
                let link = self.link(at)?;
                if link.addresses.contains(address) {
                    return Err("File exists".into());
                }
                link.addresses.push(*address);
                link.addresses.sort();
            }
            Step::DeleteAddress { at, address } => {
                let link = self.link(at)?;
                let before = link.addresses.len();
                link.addresses.retain(|have| have != address);
                if link.addresses.len() == before {
                    return Err("Cannot assign requested address".into());
                }
                let index = link.index;
                self.ns(&at.ns)?
                    .routes
                    .retain(|route| route.oif != Some(index) || route.via.is_none_or(|via| !address.contains(&via)));
            }
            Step::AddRoute(want) => {
                let oif = match (&want.dev, want.via) {
                    (Some(dev), _) => self.index(&want.ns, dev)?,
                    (None, Some(via)) => {
                        let links = &self.ns(&want.ns)?.links;
                        let link = links.values().find(|l| l.addresses.iter().any(|net| net.contains(&via)));
                        let link = link.ok_or("Nexthop has invalid gateway")?;
                        if !link.up {
                            return Err("Network is down".into());
                        }
                        link.index
                    }
                    (None, None) => return Err("No such device".into()),
                };
                let route = ObservedRoute { to: want.to, via: want.via, oif: Some(oif), protocol: 4, metric: 0 };
                let ns = self.ns(&want.ns)?;
                if ns.routes.contains(&route) {
                    return Err("File exists".into());
                }
                ns.routes.push(route);
            }
            Step::DeleteRoute(gone) => {
                let ns = self.ns(&gone.ns)?;
                let before = ns.routes.len();
                ns.routes.retain(|route| route.to != gone.to || route.via != gone.via);
                if ns.routes.len() == before {
                    return Err("No such process".into());
                }
            }
            Step::AddFdb(entry) => {
                self.link(&entry.at)?;
                let (name, mac, remote) = (entry.at.name.clone(), entry.mac, entry.remote);
                self.ns(&entry.at.ns)?.fdb.push((name, mac, remote));
            }
            Step::DeleteFdb(entry) => {
                let key = (entry.at.name.clone(), entry.mac, entry.remote);
                self.ns(&entry.at.ns)?.fdb.retain(|have| *have != key);
            }
            Step::AddNeighbour(_) | Step::DeleteNeighbour(_) => return Err("the model has no neighbours".into()),
            Step::SetQdisc { at, qdisc, .. } => {
                self.link(at)?.qdisc = qdisc.as_ref().map(|qdisc| match qdisc {
                    Qdisc::Shaper(shaper) => ObservedQdisc {
                        kind: if shaper.qdisc == ShaperKind::Tbf { "tbf" } else { "htb" }.into(),
                        rate_bytes: Some(shaper.rate.bytes_per_second()),
                        ..ObservedQdisc::default()
                    },
                    Qdisc::Netem(netem) => ObservedQdisc {
                        kind: "netem".into(),
                        delay_ns: netem.delay.map(|delay| delay.0.as_nanos() as u64),
                        loss: netem.loss,
                        ..ObservedQdisc::default()
                    },
                });
            }
            Step::SetFeatures { at, features, .. } => {
                self.link(at)?.features.extend(features.iter().map(|(name, on)| (name.clone(), *on)));
            }
            Step::SetEthtool { at, values, .. } => {
                self.link(at)?.ethtool.extend(values.iter().map(|(key, value)| (key.clone(), *value)));
            }
            Step::SetSysctl { ns, key, value, .. } => {
                self.ns(ns)?.sysctl.insert(key.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn create_bridges(&mut self, id: &NsId, bridges: &[OvsBridge]) -> Result<(), String> {
        for bridge in bridges {
            let index = self.next;
            self.next += 1;
            let ns = self.ns(id)?;
            for interface in bridge.ports.iter().flat_map(|port| &port.interfaces) {
                if interface.tunnel.is_none() && !ns.links.contains_key(&interface.name) {
                    return Err("could not open network device".into());
                }
            }
            let tap =
                ObservedLink { index, kind: "tun".into(), mtu: bridge.mtu, mac: bridge.mac, ..ObservedLink::default() };
            if ns.links.insert(bridge.name.clone(), tap).is_some() {
                return Err("File exists".into());
            }
            let ovs = ns.ovs.as_mut().ok_or("no such daemon")?;
            ovs.bridges.push(bridge.clone());
            ovs.bridges.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(())
    }

    fn create(&mut self, link: &Link, peer: Option<&Link>) -> Result<(), String> {
        let mut near = self.fresh(link)?;
        near.up = true;
        match &link.kind {
            LinkKind::Veth { .. } => {
                let peer = peer.ok_or("a pair has two ends")?;
                let mut far = self.fresh(peer)?;
                (near.link, far.link) = (Some(far.index), Some(near.index));
                near.master = link.master.as_ref().map(|name| self.index(&link.at.ns, name)).transpose()?;
                self.ns(&peer.at.ns)?.links.insert(peer.at.name.clone(), far);
            }
            LinkKind::Bridge { stp, vlan_filtering, multicast_snooping } => {
                near.mtu = 1500; // IFLA_MTU does not stick at creation
                near.detail = LinkDetail::Bridge {
                    stp: *stp,
                    vlan_filtering: *vlan_filtering,
                    multicast_snooping: multicast_snooping.unwrap_or(true),
                };
            }
            LinkKind::Macvlan { lower, .. } | LinkKind::Ipvlan { lower, .. } => {
                let below = self.link(lower)?;
                if below.master.is_some() {
                    return Err("Device or resource busy".into());
                }
                if near.mtu > below.mtu {
                    return Err("Invalid argument".into());
                }
                near.link = Some(below.index);
                near.detail = match &link.kind {
                    LinkKind::Ipvlan { mode, .. } => LinkDetail::Ipvlan { mode: Some(*mode) },
                    LinkKind::Macvlan { mode, .. } => LinkDetail::Macvlan { mode: Some(*mode) },
                    _ => LinkDetail::None,
                };
            }
            LinkKind::Vxlan(v) => {
                let dev = self.index(&link.at.ns, &v.dev)?;
                near.link = Some(dev);
                near.detail = LinkDetail::Vxlan {
                    vni: v.vni,
                    local: Some(v.local),
                    remote: Some(v.remote),
                    port: v.port,
                    dev,
                    udp_checksum: v.udp_checksum.unwrap_or(true),
                    udp6_zero_checksum: v.udp6_zero_checksum.unwrap_or(false),
                    gbp: v.gbp,
                    learning: v.learning.unwrap_or(true),
                };
                near.master = link.master.as_ref().map(|name| self.index(&link.at.ns, name)).transpose()?;
            }
            LinkKind::OvsInternal => return Err("Open vSwitch makes it".into()),
            LinkKind::Borrowed { .. } | LinkKind::Vf(_) => return Err("the model borrows nothing".into()),
        }
        self.ns(&link.at.ns)?.links.insert(link.at.name.clone(), near);
        Ok(())
    }

    fn fresh(&mut self, link: &Link) -> Result<ObservedLink, String> {
        let group = marks::group(&self.topology);
        let index = self.next;
        self.next += 1;
        let ns = self.ns(&link.at.ns)?;
        if ns.links.contains_key(&link.at.name) {
            return Err("File exists".into());
        }
        let kind = match link.kind {
            LinkKind::Bridge { .. } => "bridge",
            LinkKind::Veth { .. } => "veth",
            LinkKind::Macvlan { .. } => "macvlan",
            LinkKind::Ipvlan { .. } => "ipvlan",
            LinkKind::Vxlan(_) => "vxlan",
            LinkKind::OvsInternal => "tun",
            LinkKind::Borrowed { .. } | LinkKind::Vf(_) => "",
        };
        Ok(ObservedLink {
            index,
            kind: kind.into(),
            mtu: link.mtu.unwrap_or(1500),
            mac: link.mac,
            group,
            features: BTreeMap::from([("rx-gro".into(), true)]),
            ..ObservedLink::default()
        })
    }

    fn set(&mut self, at: &LinkRef, set: &LinkSet) -> Result<(), String> {
        let master = match &set.master {
            Some(Some(name)) => Some(Some(self.index(&at.ns, name)?)),
            Some(None) => Some(None),
            None => None,
        };
        let link = self.link(at)?;
        link.mtu = set.mtu.unwrap_or(link.mtu);
        link.mac = set.mac.or(link.mac);
        link.up = set.up.unwrap_or(link.up);
        link.pvid = set.pvid.or(link.pvid);
        link.gso_max_size = set.gso_max_size.unwrap_or(link.gso_max_size);
        if let Some(master) = master {
            link.master = master;
        }
        if let LinkDetail::Bridge { stp, vlan_filtering, multicast_snooping } = &mut link.detail {
            *stp = set.stp.unwrap_or(*stp);
            *vlan_filtering = set.vlan_filtering.unwrap_or(*vlan_filtering);
            *multicast_snooping = set.multicast_snooping.unwrap_or(*multicast_snooping);
        }
        Ok(())
    }

    fn remove(&mut self, at: &LinkRef) {
        let Some(ns) = self.state.namespaces.get_mut(&at.ns) else { return };
        let Some(gone) = ns.links.remove(&at.name) else { return };
        ns.routes.retain(|route| route.oif != Some(gone.index));
        ns.fdb.retain(|(name, ..)| *name != at.name);
        let mut children = Vec::new();
        for (id, ns) in &mut self.state.namespaces {
            for (name, link) in &mut ns.links {
                if link.master == Some(gone.index) {
                    link.master = None;
                }
                if matches!(link.kind.as_str(), "macvlan" | "vxlan") && link.link == Some(gone.index) {
                    children.push(LinkRef { ns: id.clone(), name: name.clone() });
                }
            }
        }
        children.iter().for_each(|child| self.remove(child));
    }

    fn remove_index(&mut self, index: Option<u32>) {
        let mut places = Vec::new();
        for (id, ns) in &self.state.namespaces {
            for (name, link) in &ns.links {
                if Some(link.index) == index {
                    places.push(LinkRef { ns: id.clone(), name: name.clone() });
                }
            }
        }
        places.iter().for_each(|at| self.remove(at));
    }

    /// The state with indexes replaced by names, so that a link that was made again compares equal.
    pub fn comparable(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for (id, ns) in &self.state.namespaces {
            for (name, link) in &ns.links {
                names.insert(link.index, format!("{id}/{name}"));
            }
        }
        let named = |index: Option<u32>| index.map(|index| names.get(&index).cloned());
        let mut all = BTreeMap::new();
        for (id, ns) in &self.state.namespaces {
            all.insert(format!("netns {id}"), format!("{:?} {:?}", ns.mark, ns.sysctl));
            for (name, link) in &ns.links {
                let mut shown = link.clone();
                (shown.index, shown.link, shown.master) = (0, None, None);
                if let LinkDetail::Vxlan { dev, .. } = &mut shown.detail {
                    *dev = 0;
                }
                // What is set at creation and not readable before: a pvid or gso size that the undo cannot know.
                let text = format!("{shown:?} over {:?} in {:?}", named(link.link), named(link.master));
                all.insert(format!("link {id}/{name}"), text);
            }
            let mut routes: Vec<String> =
                ns.routes.iter().map(|r| format!("{} {:?} {:?}", r.to, r.via, named(r.oif))).collect();
            routes.sort();
            all.insert(format!("ovs {id}"), format!("{:?}", ns.ovs));
            all.insert(format!("routes {id}"), routes.join("; "));
            let mut fdb: Vec<String> = ns.fdb.iter().map(|entry| format!("{entry:?}")).collect();
            fdb.sort();
            all.insert(format!("fdb {id}"), fdb.join("; "));
        }
        all
    }
}
