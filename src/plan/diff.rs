//! `Desired × Observed -> steps`: what must change, in an order the kernel accepts, and nothing else.
//!
//! The same function says what `verify` calls drift: on a network that is as declared it returns no step.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    desired::{Desired, Link, LinkKind, LinkRef, NeighbourSpec, NsId, NsOrigin, Qdisc, RouteSpec},
    marks,
    observed::{LinkDetail, Observed, ObservedLink, ObservedNs, ObservedQdisc},
    step::{LinkSet, NicState, Step},
};
use crate::{
    topology::model::{Netem, Shaper, ShaperKind},
    units::{BitRate, IfName},
};

/// Something of somebody else's stands where netbench would build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A link with our name that does not carry our marks.
    #[error("{at} exists already and is not ours (a {kind} link); rename yours, or take that one away")]
    LinkTaken {
        /// The place.
        at: LinkRef,
        /// Its kind.
        kind: String,
    },
    /// A namespace with our name that does not carry our mark.
    #[error("the namespace `{name}` exists already and is not ours; remove it, or rename the topology")]
    NamespaceTaken {
        /// File name in the namespace folder.
        name: String,
    },
    /// A macvlan is wanted on a device whose receive handler is taken.
    #[error(
        "{at} is a port of `{master}`, so no macvlan can stand on it: the kernel answers Device or resource busy (EBUSY)"
    )]
    LowerBusy {
        /// The device below.
        at: LinkRef,
        /// Its master.
        master: String,
    },
    /// A device to borrow that is not there.
    #[error("{ifname} is not in the namespace netbench was started in")]
    NicMissing {
        /// Its name.
        ifname: IfName,
    },
    /// A namespace to attach to that is not there.
    #[error("the namespace of `{0}` is not there")]
    NamespaceMissing(NsId),
}

/// What the diff needs beside the two states.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The desired state of the last apply, which names what may be taken away.
    pub before: Option<&'a Desired>,
    /// Borrowed devices as they are now, by kernel name.
    pub nics: Option<&'a BTreeMap<String, NicState>>,
    /// Devices that were borrowed before, by where they were put: what must be given back.
    pub taken: Option<&'a HashMap<LinkRef, NicState>>,
}

/// The steps from `observed` to `desired`.
pub fn diff(desired: &Desired, observed: &Observed, context: Context<'_>) -> Result<Vec<Step>, Vec<Conflict>> {
    let mut diff = Diff {
        desired,
        observed,
        context,
        steps: Vec::new(),
        conflicts: Vec::new(),
        missing: HashSet::new(),
        names: HashMap::new(),
        declared: desired.links.iter().map(|link| (&link.at, link)).collect(),
        own: desired.namespaces.iter().map(|ns| (&ns.id, ns.origin.is_own())).collect(),
    };
    for (ns, state) in &observed.namespaces {
        diff.names.extend(state.links.iter().map(|(name, link)| ((ns, link.index), name)));
    }
    diff.find_missing();
    diff.take_away();
    diff.namespaces();
    diff.links();
    diff.addresses();
    diff.late_sysctls();
    diff.routes();
    diff.fdb();
    diff.neighbours();
    if diff.conflicts.is_empty() { Ok(diff.steps) } else { Err(diff.conflicts) }
}

/// sysctls that name an interface can be set only when it exists; all others must stand before any link is made.
fn is_early(key: &str) -> bool {
    let mut parts = key.split('.').skip_while(|part| *part != "conf" && *part != "neigh");
    parts.next();
    parts.next().is_none_or(|scope| scope == "all" || scope == "default")
}

struct Diff<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    context: Context<'a>,
    steps: Vec<Step>,
    conflicts: Vec<Conflict>,
    /// Links that do not exist, or must be made again.
    missing: HashSet<&'a LinkRef>,
    names: HashMap<(&'a NsId, u32), &'a IfName>,
    declared: HashMap<&'a LinkRef, &'a Link>,
    /// Declared namespaces: is it one that we make?
    own: HashMap<&'a NsId, bool>,
}

impl<'a> Diff<'a> {
    fn ns(&self, id: &NsId) -> Option<&'a ObservedNs> {
        self.observed.namespaces.get(id)
    }

    fn seen(&self, at: &LinkRef) -> Option<&'a ObservedLink> {
        self.ns(&at.ns)?.links.get(&at.name)
    }

    /// The observed link, unless it is about to be made (again).
    fn kept(&self, at: &LinkRef) -> Option<&'a ObservedLink> {
        if self.missing.contains(at) { None } else { self.seen(at) }
    }

    fn owns(&self, ns: &NsId) -> bool {
        self.own.get(ns).copied().unwrap_or(false)
    }

    fn is_ours(&self, at: &LinkRef, link: &ObservedLink) -> bool {
        marks::owns_link(&self.desired.topology, self.owns(&at.ns), link)
    }

    fn find_missing(&mut self) {
        let desired = self.desired;
        for link in &desired.links {
            let found = self.seen(&link.at);
            match (&link.kind, found) {
                (LinkKind::Borrowed { .. }, Some(_)) => {}
                (_, Some(seen)) if !self.is_ours(&link.at, seen) => self.conflicts.push(Conflict::LinkTaken {
                    at: link.at.clone(),
                    kind: if seen.kind.is_empty() { "physical".into() } else { seen.kind.clone() },
                }),
                (_, Some(seen)) if self.same_device(link, seen) => {}
                _ => {
                    self.missing.insert(&link.at);
                }
            }
        }
        for link in &desired.links {
            let LinkKind::Macvlan { lower, .. } = &link.kind else { continue };
            // What is seen before anything is changed: to bring the device up first could not be taken back wholly.
            if let Some(master) = self.seen(lower).and_then(|below| below.master) {
                let master = self.names.get(&(&lower.ns, master)).map_or("?".into(), |name| name.to_string());
                let conflict = Conflict::LowerBusy { at: lower.clone(), master };
                if !self.conflicts.contains(&conflict) {
                    self.conflicts.push(conflict);
                }
            }
        }
        // A pair is made whole; a child goes with the device below it.
        loop {
            let more: Vec<&LinkRef> = desired
                .links
                .iter()
                .filter(|link| !self.missing.contains(&link.at))
                .filter(|link| match &link.kind {
                    LinkKind::Veth { peer } => self.missing.contains(peer),
                    LinkKind::Macvlan { lower, .. } => self.missing.contains(lower),
                    LinkKind::Vxlan(v) => {
                        self.missing.contains(&LinkRef { ns: link.at.ns.clone(), name: v.dev.clone() })
                    }
                    LinkKind::Bridge { .. } | LinkKind::Borrowed { .. } => false,
                })
                .map(|link| &link.at)
                .collect();
            if more.is_empty() {
                return;
            }
            self.missing.extend(more);
        }
    }

    /// What cannot be changed on a living link is as declared.
    fn same_device(&self, link: &Link, seen: &ObservedLink) -> bool {
        match &link.kind {
            LinkKind::Bridge { .. } => seen.kind == "bridge",
            LinkKind::Veth { peer } => {
                seen.kind == "veth"
                    && self.seen(peer).is_some_and(|far| {
                        far.kind == "veth" && seen.link == Some(far.index) && far.link == Some(seen.index)
                    })
            }
            LinkKind::Macvlan { lower, mode } => {
                seen.kind == "macvlan"
                    && self.seen(lower).is_some_and(|lower| seen.link == Some(lower.index))
                    && seen.detail == LinkDetail::Macvlan { mode: Some(*mode) }
            }
            LinkKind::Vxlan(want) => match &seen.detail {
                LinkDetail::Vxlan {
                    vni,
                    local,
                    remote,
                    port,
                    dev,
                    udp_checksum,
                    udp6_zero_checksum,
                    gbp,
                    learning,
                } => {
                    let below = LinkRef { ns: link.at.ns.clone(), name: want.dev.clone() };
                    *vni == want.vni
                        && *local == Some(want.local)
                        && *remote == Some(want.remote)
                        && *port == want.port
                        && self.seen(&below).is_some_and(|below| below.index == *dev)
                        && want.udp_checksum.is_none_or(|want| want == *udp_checksum)
                        && want.udp6_zero_checksum.is_none_or(|want| want == *udp6_zero_checksum)
                        && want.gbp == *gbp
                        && want.learning.is_none_or(|want| want == *learning)
                }
                _ => false,
            },
            LinkKind::Borrowed { .. } => true,
        }
    }

    /// Ours, but no longer declared, or to be made again: routes, addresses, links, namespaces.
    fn take_away(&mut self) {
        self.borrowed_and_undeclared();
        let mut going: BTreeSet<LinkRef> = BTreeSet::new();
        for (ns, state) in &self.observed.namespaces {
            if !self.own.contains_key(ns) {
                continue; // goes as a whole, below
            }
            for (name, seen) in &state.links {
                let at = LinkRef { ns: ns.clone(), name: name.clone() };
                if name.as_str() == "lo" || !self.is_ours(&at, seen) {
                    continue;
                }
                if seen.alias.as_deref().and_then(marks::parse_nic_alias).is_some() {
                    continue; // given back, never deleted
                }
                let declared = self.declared.get(&at).copied();
                let again = self.missing.contains(&at);
                if declared.is_none()
                    || (again && !matches!(declared.map(|l| &l.kind), Some(LinkKind::Borrowed { .. })))
                {
                    going.insert(at);
                }
            }
        }
        for (ns, state) in &self.observed.namespaces {
            let own = self.owns(ns);
            let was: &[RouteSpec] = self.context.before.map_or(&[], |before| &before.routes);
            for route in &state.routes {
                let dev = route.oif.and_then(|oif| self.names.get(&(ns, oif))).map(|name| (*name).clone());
                let spec = RouteSpec { ns: ns.clone(), to: route.to, via: route.via, dev: dev.clone() };
                let same = |other: &RouteSpec| same_route(other, &spec);
                let declared = self.desired.routes.iter().any(same);
                // In a namespace of ours every route that a person or we added is ours to keep straight.
                let ours = (own && matches!(route.protocol, 3 | 4)) || was.iter().any(same);
                let falls = dev.is_some_and(|name| going.contains(&LinkRef { ns: ns.clone(), name }));
                if ours && (!declared || falls) && self.own.contains_key(ns) {
                    self.steps.push(Step::DeleteRoute(spec));
                }
            }
        }
        // Newest first: a link goes before what it needs.
        let order = |at: &LinkRef| self.context.before.and_then(|b| b.links.iter().position(|l| l.at == *at));
        let mut links: Vec<LinkRef> = going.into_iter().collect();
        links.sort_by_key(|at| std::cmp::Reverse(order(at)));
        let mut gone: HashSet<LinkRef> = HashSet::new();
        for at in links {
            if gone.contains(&at) {
                continue;
            }
            let was = self.was(&at);
            let peer = match &was.kind {
                LinkKind::Veth { peer } if self.observed.namespaces.contains_key(&peer.ns) => Some(self.was(peer)),
                _ => None,
            };
            for link in [Some(&was), peer.as_ref()].into_iter().flatten() {
                for address in &link.addresses {
                    if self.seen(&link.at).is_some_and(|seen| seen.addresses.contains(address)) {
                        self.steps.push(Step::DeleteAddress { at: link.at.clone(), address: *address });
                    }
                }
                gone.insert(link.at.clone());
            }
            // A pair is made by its first end; taking it back and making it again must agree on which that is.
            let (first, second) = match peer {
                Some(peer) if order(&peer.at) < order(&was.at) => (peer, Some(was)),
                Some(peer) => (was, Some(peer)),
                None => (was, None),
            };
            self.steps.push(Step::DeleteLink { link: Box::new(first), peer: second.map(Box::new) });
        }
        self.undeclared_namespaces();
    }

    /// A borrowed device that the file no longer names goes back, before anything happens to its namespace.
    fn borrowed_and_undeclared(&mut self) {
        for (ns, state) in self.observed.namespaces.iter().filter(|(id, _)| id.0 != NsId::SELF) {
            for (name, seen) in &state.links {
                let at = LinkRef { ns: ns.clone(), name: name.clone() };
                let alias = seen
                    .alias
                    .as_deref()
                    .filter(|alias| marks::parse_alias(alias).is_some_and(|(owner, _)| owner == self.desired.topology));
                let Some(marked) = alias.and_then(marks::parse_nic_alias) else { continue };
                let declared = self.declared.get(&at).is_some_and(
                    |link| matches!(&link.kind, LinkKind::Borrowed { ifname, .. } if ifname.as_str() == marked.ifname),
                );
                if !declared {
                    let taken = self.context.taken.and_then(|taken| taken.get(&at));
                    let previous = Box::new(taken.cloned().unwrap_or(marked));
                    self.steps.push(Step::GiveBackNic { from: at, previous });
                }
            }
        }
    }

    fn undeclared_namespaces(&mut self) {
        for (ns, state) in &self.observed.namespaces {
            let Some(before) = self.context.before else { break };
            if self.own.contains_key(ns) || !marks::owns_ns(&self.desired.topology, state) {
                continue;
            }
            if let Some(NsOrigin::Own(name)) = before.namespace(ns).map(|ns| &ns.origin) {
                let sysctl = before.namespace(ns).map(|ns| early(&ns.sysctl)).unwrap_or_default();
                self.steps.push(Step::DeleteNs { ns: ns.clone(), name: name.clone(), sysctl });
            }
        }
    }

    /// A link as the last apply declared it, or as far as it can be told from what is seen.
    fn was(&self, at: &LinkRef) -> Link {
        if let Some(link) = self.context.before.and_then(|before| before.link(at)) {
            return link.clone();
        }
        let seen = self.seen(at);
        Link {
            at: at.clone(),
            kind: LinkKind::Bridge { stp: false, vlan_filtering: false, multicast_snooping: None },
            mtu: seen.map(|seen| seen.mtu),
            mac: seen.and_then(|seen| seen.mac),
            master: None,
            vlan: None,
            addresses: seen.map(|seen| seen.addresses.clone()).unwrap_or_default(),
            qdisc: None,
            features: BTreeMap::new(),
            ethtool: BTreeMap::new(),
            gso_max_size: None,
        }
    }

    fn namespaces(&mut self) {
        for ns in &self.desired.namespaces {
            match (&ns.origin, self.ns(&ns.id)) {
                (NsOrigin::Own(name), None) => {
                    self.steps.push(Step::CreateNs { ns: ns.id.clone(), name: name.clone(), sysctl: early(&ns.sysctl) })
                }
                (NsOrigin::Own(name), Some(state)) if !marks::owns_ns(&self.desired.topology, state) => {
                    self.conflicts.push(Conflict::NamespaceTaken { name: name.clone() });
                }
                (_, None) => self.conflicts.push(Conflict::NamespaceMissing(ns.id.clone())),
                (_, Some(state)) => {
                    for (key, value) in ns.sysctl.iter().filter(|(key, _)| is_early(key)) {
                        self.sysctl(&ns.id, state, key, value);
                    }
                }
            }
        }
    }

    fn sysctl(&mut self, ns: &NsId, state: &ObservedNs, key: &str, value: &str) {
        let previous = state.sysctl.get(key).cloned();
        if previous.as_deref().is_none_or(|got| !same_words(got, value)) {
            let (ns, key, value) = (ns.clone(), key.to_owned(), value.to_owned());
            self.steps.push(Step::SetSysctl { ns, key, value, previous });
        }
    }

    fn late_sysctls(&mut self) {
        let nothing = ObservedNs::default();
        for ns in &self.desired.namespaces {
            let state = self.ns(&ns.id).unwrap_or(&nothing);
            for (key, value) in ns.sysctl.iter().filter(|(key, _)| !is_early(key)) {
                self.sysctl(&ns.id, state, key, value);
            }
        }
    }

    fn links(&mut self) {
        let desired = self.desired;
        let mut made: HashSet<&LinkRef> = HashSet::new();
        let mut second_ends: HashSet<&LinkRef> = HashSet::new();
        for link in &desired.links {
            let second = second_ends.contains(&link.at);
            if let LinkKind::Veth { peer } = &link.kind {
                second_ends.insert(peer);
            }
            if self.missing.contains(&link.at) && made.insert(&link.at) {
                self.make(link, &mut made);
            }
            // Right after its making: a child's MTU may need that of the device below it.
            self.settings(link, second);
        }
    }

    fn make(&mut self, link: &'a Link, made: &mut HashSet<&'a LinkRef>) {
        match &link.kind {
            LinkKind::Borrowed { ifname, .. } => self.take_nic(link, ifname),
            LinkKind::Veth { peer } => {
                let second = self.declared.get(peer).copied().map(|peer| {
                    made.insert(&peer.at);
                    Box::new(peer.clone())
                });
                self.steps.push(Step::CreateLink { link: Box::new(link.clone()), peer: second });
            }
            _ => self.steps.push(Step::CreateLink { link: Box::new(link.clone()), peer: None }),
        }
    }

    fn take_nic(&mut self, link: &Link, ifname: &IfName) {
        match self.context.nics.and_then(|nics| nics.get(ifname.as_str())) {
            Some(state) => {
                let previous = Box::new(state.clone());
                self.steps.push(Step::TakeNic { to: link.at.clone(), previous });
            }
            None => self.conflicts.push(Conflict::NicMissing { ifname: ifname.clone() }),
        }
    }

    /// Everything that can be set on a living link.
    fn settings(&mut self, link: &Link, second: bool) {
        let fresh = self.missing.contains(&link.at);
        let (set, previous) = match self.kept(&link.at) {
            Some(seen) => self.changed(link, seen),
            None => (fresh_set(link, second), LinkSet::default()),
        };
        if set != LinkSet::default() {
            self.steps.push(Step::SetLink { at: link.at.clone(), set, previous });
        }
        let seen = if fresh { None } else { self.seen(&link.at) };
        self.features(link, seen);
        self.qdisc(link, seen);
    }

    fn changed(&self, link: &Link, seen: &ObservedLink) -> (LinkSet, LinkSet) {
        let (mut set, mut previous) = (LinkSet::default(), LinkSet::default());
        if let Some(mtu) = link.mtu.filter(|mtu| *mtu != seen.mtu) {
            (set.mtu, previous.mtu) = (Some(mtu), Some(seen.mtu));
        }
        if link.mac.is_some() && link.mac != seen.mac {
            (set.mac, previous.mac) = (link.mac, seen.mac);
        }
        if !seen.up {
            (set.up, previous.up) = (Some(true), Some(false));
        }
        let master = seen.master.and_then(|index| self.names.get(&(&link.at.ns, index)).map(|name| (*name).clone()));
        // A master that is made again in this plan has lost its ports.
        let lost = master
            .as_ref()
            .is_some_and(|name| self.missing.contains(&LinkRef { ns: link.at.ns.clone(), name: name.clone() }));
        // A borrowed port that the file does not mention stays where it is.
        let foreign = link.master.is_none() && matches!(link.kind, LinkKind::Borrowed { .. });
        if (link.master != master || lost) && !foreign {
            (set.master, previous.master) = (Some(link.master.clone()), Some(master));
        }
        if link.vlan.is_some() && (link.vlan != seen.pvid || set.master.is_some()) {
            (set.pvid, previous.pvid) = (link.vlan, seen.pvid);
        }
        if let Some(size) = link.gso_max_size.filter(|size| *size != seen.gso_max_size) {
            (set.gso_max_size, previous.gso_max_size) = (Some(size), Some(seen.gso_max_size));
        }
        if let (
            LinkKind::Bridge { stp, vlan_filtering, multicast_snooping },
            LinkDetail::Bridge { stp: got_stp, vlan_filtering: got_filtering, multicast_snooping: got_snooping },
        ) = (&link.kind, &seen.detail)
        {
            if stp != got_stp {
                (set.stp, previous.stp) = (Some(*stp), Some(*got_stp));
            }
            if vlan_filtering != got_filtering {
                (set.vlan_filtering, previous.vlan_filtering) = (Some(*vlan_filtering), Some(*got_filtering));
            }
            if let Some(want) = multicast_snooping.filter(|want| want != got_snooping) {
                (set.multicast_snooping, previous.multicast_snooping) = (Some(want), Some(*got_snooping));
            }
        }
        (set, previous)
    }

    fn features(&mut self, link: &Link, seen: Option<&ObservedLink>) {
        let differs = |(name, on): &(&String, &bool)| seen.is_none_or(|seen| seen.features.get(*name) != Some(*on));
        let features: BTreeMap<_, _> =
            link.features.iter().filter(differs).map(|(name, on)| (name.clone(), *on)).collect();
        if !features.is_empty() {
            let previous = seen.map(|seen| {
                let known = |name: &String| seen.features.get(name).map(|on| (name.clone(), *on));
                features.keys().filter_map(known).collect()
            });
            let at = link.at.clone();
            self.steps.push(Step::SetFeatures { at, features, previous: previous.unwrap_or_default() });
        }
        let differs = |(key, want): &(&String, &u32)| seen.is_none_or(|seen| seen.ethtool.get(*key) != Some(*want));
        let values: BTreeMap<_, _> = link.ethtool.iter().filter(differs).map(|(k, v)| (k.clone(), *v)).collect();
        if !values.is_empty() {
            let previous = seen.map(|seen| {
                let known = |key: &String| seen.ethtool.get(key).map(|value| (key.clone(), *value));
                values.keys().filter_map(known).collect()
            });
            self.steps.push(Step::SetEthtool { at: link.at.clone(), values, previous: previous.unwrap_or_default() });
        }
    }

    fn qdisc(&mut self, link: &Link, seen: Option<&ObservedLink>) {
        let got = seen.and_then(|seen| seen.qdisc.as_ref());
        let borrowed = matches!(link.kind, LinkKind::Borrowed { .. });
        let as_declared = match (&link.qdisc, got) {
            (Some(want), Some(got)) => same_qdisc(want, got),
            (None, None) => true,
            (None, Some(_)) => borrowed,
            (Some(_), None) => false,
        };
        if !as_declared {
            let previous = got.and_then(as_qdisc);
            self.steps.push(Step::SetQdisc { at: link.at.clone(), qdisc: link.qdisc.clone(), previous });
        }
    }

    fn addresses(&mut self) {
        for link in &self.desired.links {
            let seen = self.kept(&link.at);
            let borrowed = matches!(link.kind, LinkKind::Borrowed { .. });
            if let Some(seen) = seen.filter(|_| !borrowed) {
                for address in seen.addresses.iter().filter(|address| !link.addresses.contains(address)) {
                    self.steps.push(Step::DeleteAddress { at: link.at.clone(), address: *address });
                }
            }
            for address in &link.addresses {
                if seen.is_none_or(|seen| !seen.addresses.contains(address)) {
                    self.steps.push(Step::AddAddress { at: link.at.clone(), address: *address });
                }
            }
        }
    }

    fn routes(&mut self) {
        for want in &self.desired.routes {
            let removed = self.steps.iter().any(|step| matches!(step, Step::DeleteRoute(r) if same_route(want, r)));
            let there = self.ns(&want.ns).is_some_and(|state| {
                state.routes.iter().any(|route| {
                    let dev = route.oif.and_then(|oif| self.names.get(&(&want.ns, oif))).map(|name| (*name).clone());
                    same_route(want, &RouteSpec { ns: want.ns.clone(), to: route.to, via: route.via, dev })
                })
            });
            // The kernel takes a route away with the address or the link that it stands on.
            let undermined = self.undermined(want);
            if removed || !there || undermined {
                self.steps.push(Step::AddRoute(want.clone()));
            }
        }
    }

    fn undermined(&self, route: &RouteSpec) -> bool {
        let carries = |link: &&Link| {
            link.at.ns == route.ns
                && match (&route.dev, route.via) {
                    (Some(dev), _) => link.at.name == *dev,
                    (None, Some(via)) => link.addresses.iter().any(|net| net.contains(&via)),
                    (None, None) => false,
                }
        };
        self.desired.links.iter().find(carries).is_some_and(|link| self.missing.contains(&link.at))
    }

    fn fdb(&mut self) {
        let wanted = |at: &LinkRef, mac, remote| {
            self.desired.fdb.iter().any(|e| e.at == *at && e.mac == mac && e.remote == remote)
        };
        let mut steps = Vec::new();
        for (ns, state) in self.observed.namespaces.iter().filter(|(ns, _)| self.owns(ns)) {
            for (name, mac, remote) in &state.fdb {
                let at = LinkRef { ns: ns.clone(), name: name.clone() };
                if mac.0 != [0; 6] && !self.missing.contains(&at) && !wanted(&at, *mac, *remote) {
                    let entry = super::desired::FdbSpec { at, mac: *mac, remote: *remote };
                    steps.push(Step::DeleteFdb(entry));
                }
            }
        }
        for entry in &self.desired.fdb {
            let there = self
                .ns(&entry.at.ns)
                .is_some_and(|state| state.fdb.contains(&(entry.at.name.clone(), entry.mac, entry.remote)));
            if !there || self.missing.contains(&entry.at) {
                steps.push(Step::AddFdb(entry.clone()));
            }
        }
        self.steps.extend(steps);
    }
}

impl Diff<'_> {
    fn neighbours(&mut self) {
        let mut steps = Vec::new();
        for (ns, state) in self.observed.namespaces.iter().filter(|(ns, _)| self.owns(ns)) {
            for (name, address, mac) in &state.neighbours {
                let entry =
                    NeighbourSpec { at: LinkRef { ns: ns.clone(), name: name.clone() }, address: *address, mac: *mac };
                if !self.missing.contains(&entry.at) && !self.desired.neighbours.contains(&entry) {
                    steps.push(Step::DeleteNeighbour(entry));
                }
            }
        }
        for entry in &self.desired.neighbours {
            let there = self
                .ns(&entry.at.ns)
                .is_some_and(|state| state.neighbours.contains(&(entry.at.name.clone(), entry.address, entry.mac)));
            if !there || self.missing.contains(&entry.at) {
                steps.push(Step::AddNeighbour(entry.clone()));
            }
        }
        self.steps.extend(steps);
    }
}

fn early(sysctl: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    sysctl.iter().filter(|(key, _)| is_early(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What the creating message could not carry: a bridge's MTU does not stick then (`br_dev_newlink()` does not mark it
/// as set by the user), a veth peer cannot come up inside it, and a borrowed device is moved first.
fn fresh_set(link: &Link, second_end: bool) -> LinkSet {
    let mut set = LinkSet { gso_max_size: link.gso_max_size, pvid: link.vlan, ..LinkSet::default() };
    match &link.kind {
        LinkKind::Bridge { .. } => set.mtu = link.mtu,
        LinkKind::Veth { .. } if second_end => {
            set.up = Some(true);
            set.master = link.master.clone().map(Some);
        }
        LinkKind::Borrowed { .. } => {
            (set.mtu, set.mac, set.up) = (link.mtu, link.mac, Some(true));
            set.master = link.master.clone().map(Some);
        }
        LinkKind::Veth { .. } | LinkKind::Macvlan { .. } | LinkKind::Vxlan(_) => {}
    }
    set
}

fn same_route(want: &RouteSpec, got: &RouteSpec) -> bool {
    want.ns == got.ns && want.to == got.to && want.via == got.via && (want.dev.is_none() || want.dev == got.dev)
}

/// The kernel separates the numbers of a sysctl with tabs.
fn same_words(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

fn same_qdisc(want: &Qdisc, got: &ObservedQdisc) -> bool {
    match want {
        Qdisc::Shaper(Shaper { rate, qdisc }) => {
            let kind = match qdisc {
                ShaperKind::Tbf => "tbf",
                ShaperKind::Htb => "htb",
            };
            got.kind == kind && got.rate_bytes == Some(rate.bytes_per_second())
        }
        Qdisc::Netem(Netem { delay, loss }) => {
            // netem keeps loss as a 32-bit fraction.
            let close = |want: f64| (want - got.loss.unwrap_or(0.0)).abs() < 1e-6;
            got.kind == "netem"
                && got.delay_ns.unwrap_or(0) == delay.map_or(0, |delay| delay.0.as_nanos() as u64)
                && close(loss.unwrap_or(0.0))
        }
    }
}

/// A qdisc that netbench could make again; others come back as the kernel's default.
fn as_qdisc(got: &ObservedQdisc) -> Option<Qdisc> {
    let shaper = |qdisc| {
        let rate = BitRate(got.rate_bytes?.saturating_mul(8));
        Some(Qdisc::Shaper(Shaper { rate, qdisc }))
    };
    match got.kind.as_str() {
        "tbf" => shaper(ShaperKind::Tbf),
        "htb" => shaper(ShaperKind::Htb),
        _ => None,
    }
}
