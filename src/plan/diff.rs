//! `Desired × Observed -> steps`: what must change, in an order the kernel accepts, and nothing else.
//!
//! The same function says what `verify` calls drift: on a network that is as declared it returns no step.

mod links;
mod missing;
mod ovs;
mod removal;
mod sriov;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    desired::{Desired, Link, LinkKind, LinkRef, NeighbourSpec, NsId, NsOrigin, RouteSpec},
    marks,
    observed::{Observed, ObservedLink, ObservedNs},
    step::{NicState, Step},
};
use crate::units::IfName;

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
    /// A macvlan or ipvlan is wanted on a device whose receive handler is taken.
    #[error(
        "{at} is a port of `{master}`, so no {kind} can stand on it: the kernel answers Device or resource busy (EBUSY)"
    )]
    LowerBusy {
        /// `macvlan` or `ipvlan`.
        kind: &'static str,
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
    /// A NIC that cannot give the virtual functions that are wanted of it.
    #[error("{at}: {why}")]
    Sriov {
        /// The NIC.
        at: LinkRef,
        /// What stands against it, and what helps.
        why: String,
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
    /// Borrowed devices as they are now, by kernel name; virtual functions by PCI address.
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
        ovs: Vec::new(),
        functions: BTreeMap::new(),
        own: desired.namespaces.iter().map(|ns| (&ns.id, ns.origin.is_own())).collect(),
    };
    for (ns, state) in &observed.namespaces {
        diff.names.extend(state.links.iter().map(|(name, link)| ((ns, link.index), name)));
    }
    diff.functions();
    diff.find_missing();
    diff.ovs_conflicts();
    diff.ovs_away();
    diff.take_away();
    diff.namespaces();
    diff.links();
    diff.functions_of_nobody();
    diff.settings_of_nobody();
    diff.ovs_make();
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
    /// What is to be made of Open vSwitch.
    ovs: Vec<ovs::OvsChange>,
    /// NICs whose virtual functions are to be made (again), until their step is in the plan.
    functions: BTreeMap<&'a LinkRef, sriov::Change>,
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
                // With a link that goes, its entries go.
                let stays = self.declared.contains_key(&at) && !self.missing.contains(&at);
                if mac.0 != [0; 6] && stays && !wanted(&at, *mac, *remote) {
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

    fn neighbours(&mut self) {
        let mut steps = Vec::new();
        for (ns, state) in self.observed.namespaces.iter().filter(|(ns, _)| self.owns(ns)) {
            for (name, address, mac) in &state.neighbours {
                let entry =
                    NeighbourSpec { at: LinkRef { ns: ns.clone(), name: name.clone() }, address: *address, mac: *mac };
                let stays = self.declared.contains_key(&entry.at) && !self.missing.contains(&entry.at);
                if stays && !self.desired.neighbours.contains(&entry) {
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

fn same_route(want: &RouteSpec, got: &RouteSpec) -> bool {
    want.ns == got.ns && want.to == got.to && want.via == got.via && (want.dev.is_none() || want.dev == got.dev)
}

/// The kernel separates the numbers of a sysctl with tabs.
fn same_words(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}
