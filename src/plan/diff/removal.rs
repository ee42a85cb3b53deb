//! What is ours and no longer declared, or must be made again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Diff, early, same_route};
use crate::plan::{
    desired::{Link, LinkKind, LinkRef, NsId, NsOrigin, RouteSpec},
    marks,
    step::Step,
};

impl Diff<'_> {
    /// Ours, but no longer declared, or to be made again: routes, addresses, links, namespaces.
    pub(super) fn take_away(&mut self) {
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
                    || (again
                        && !matches!(declared.map(|l| &l.kind), Some(LinkKind::Borrowed { .. } | LinkKind::Vf(_))))
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
                let declared = self.declared.get(&at).is_some_and(|link| match &link.kind {
                    LinkKind::Borrowed { ifname, .. } => ifname.as_str() == marked.ifname,
                    LinkKind::Vf(vf) => self.is_function(vf, seen),
                    _ => false,
                });
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
}
