//! Open vSwitch: daemons to start or end, bridges to make, to remove, or to make again.

use super::{Conflict, Diff};
use crate::plan::{
    desired::{Link, LinkKind, LinkRef, NsId},
    observed::{ObservedLink, ObservedNs},
    ovs::{ObservedOvs, Ovs, OvsBridge, OvsDaemon, differences},
    step::{LinkSet, Step},
};
use crate::units::IfName;

/// What happens to the Open vSwitch of one namespace.
#[derive(Debug)]
pub(super) struct OvsChange {
    daemon: OvsDaemon,
    start: bool,
    create: Vec<OvsBridge>,
    differs: Vec<String>,
}

impl<'a> Diff<'a> {
    fn seen_ovs(&self, ns: &NsId) -> Option<&'a ObservedOvs> {
        self.ns(ns)?.ovs.as_ref().filter(|ovs| ovs.running)
    }

    /// Does Open vSwitch run in this namespace, or has one that was killed left its internal ports there?
    fn leaves_something(&self, ns: &NsId) -> bool {
        if ns.0 == NsId::SELF {
            return self.seen_ovs(ns).is_some_and(|seen| !seen.bridges.is_empty());
        }
        let has_port = |state: &ObservedNs| state.links.values().any(|link| self.is_internal_port(ns, link));
        self.seen_ovs(ns).is_some() || self.ns(ns).is_some_and(has_port)
    }

    /// Is this a tap of the userspace datapath, or a device of the kernel's, in a namespace of ours?
    pub(super) fn is_internal_port(&self, ns: &NsId, link: &ObservedLink) -> bool {
        matches!(link.kind.as_str(), "tun" | "openvswitch")
            && self.owns(ns)
            && self.ns(ns).is_some_and(|state| state.ovs.is_some())
    }

    /// Is this master of a link the kernel's datapath? It is that of all ports in the namespace; the database says which of
    /// its bridges they are in, and frees them.
    pub(super) fn is_datapath_of(&self, at: &LinkRef, master: &IfName) -> bool {
        let device = LinkRef { ns: at.ns.clone(), name: master.clone() };
        let of_ns = self.desired.ovs.iter().filter(|ovs| ovs.daemon.ns == at.ns).flat_map(|ovs| &ovs.bridges);
        let mut interfaces = of_ns.flat_map(|bridge| &bridge.ports).flat_map(|port| &port.interfaces);
        self.seen(&device).is_some_and(|seen| {
            seen.kind == "openvswitch"
                && (self.is_internal_port(&at.ns, seen) || interfaces.any(|interface| interface.name == at.name))
        })
    }

    /// Is this a port that Open vSwitch keeps a rate of, with a qdisc of its own?
    pub(super) fn is_limited_by_ovs(&self, at: &LinkRef) -> bool {
        let of_ns = self.desired.ovs.iter().filter(|ovs| ovs.daemon.ns == at.ns);
        of_ns
            .flat_map(|ovs| &ovs.bridges)
            .flat_map(|bridge| &bridge.ports)
            .any(|port| port.rate.is_some() && port.interfaces.iter().any(|interface| interface.name == at.name))
    }

    /// Takes away what is not as declared, before any link goes, and notes what must be made once the links stand.
    pub(super) fn ovs_away(&mut self) {
        let undeclared = |ns: &NsId| !self.desired.ovs.iter().any(|ovs| ovs.daemon.ns == *ns);
        let states = self.observed.namespaces.iter().filter_map(|(ns, state)| Some((ns, state.ovs.as_ref()?)));
        let going = states.filter(|(ns, _)| undeclared(ns) && self.leaves_something(ns));
        let going = going.map(|(ns, seen)| match ns.0.as_str() {
            // The host's own goes on.
            NsId::SELF => Step::DeleteOvsBridges { ns: ns.clone(), bridges: seen.bridges.clone() },
            _ => Step::StopOvs(OvsDaemon { ns: ns.clone(), tso: seen.tso, system: false }),
        });
        let going: Vec<Step> = going.collect();
        self.steps.extend(going);
        for ovs in &self.desired.ovs {
            let change = self.ovs_of(ovs);
            if change.start && !ovs.daemon.system && self.leaves_something(&ovs.daemon.ns) {
                let tso = !ovs.daemon.tso;
                self.steps.push(Step::StopOvs(OvsDaemon { ns: ovs.daemon.ns.clone(), tso, system: false }));
            }
            for link in self.desired.links.iter().filter(|link| link.at.ns == ovs.daemon.ns) {
                let made = change.create.iter().any(|bridge| bridge.name == link.at.name);
                if link.kind == LinkKind::OvsInternal && (made || self.seen(&link.at).is_none()) {
                    self.missing.insert(&link.at);
                }
            }
            self.ovs.push(change);
        }
    }

    fn ovs_of(&mut self, ovs: &Ovs) -> OvsChange {
        let daemon = ovs.daemon.clone();
        let Some(seen) = self.seen_ovs(&daemon.ns) else {
            return OvsChange { daemon, start: true, create: ovs.bridges.clone(), differs: Vec::new() };
        };
        // Of the host's own, segmentation offload may be on unasked; nodes that compute checksums lose nothing by it.
        if seen.tso != daemon.tso && !(daemon.system && seen.tso) {
            return OvsChange { daemon, start: true, create: ovs.bridges.clone(), differs: Vec::new() };
        }
        let mut change = OvsChange { start: false, create: Vec::new(), differs: Vec::new(), daemon };
        let mut going = Vec::new();
        for want in &ovs.bridges {
            let Some(got) = seen.bridges.iter().find(|got| got.name == want.name) else {
                change.create.push(want.clone());
                continue;
            };
            let mut differs = differences(want, got);
            for interface in want.ports.iter().flat_map(|port| &port.interfaces) {
                let at = LinkRef { ns: change.daemon.ns.clone(), name: interface.name.clone() };
                let broken = seen.broken.iter().find(|(name, _)| *name == interface.name.as_str());
                if self.missing.contains(&at) {
                    differs.push(format!("port {}: its device is made again", interface.name));
                } else if let Some((name, why)) = broken {
                    differs.push(format!("port {name} does not work: {why}"));
                }
            }
            if !differs.is_empty() {
                change.differs.extend(differs);
                change.create.push(want.clone());
                going.push(got.clone());
            }
        }
        let declared = |got: &&OvsBridge| ovs.bridges.iter().any(|want| want.name == got.name);
        going.extend(seen.bridges.iter().filter(|got| !declared(got)).cloned());
        if !going.is_empty() {
            self.steps.push(Step::DeleteOvsBridges { ns: change.daemon.ns.clone(), bridges: going });
        }
        change
    }

    /// Makes what [`Self::ovs_away`] noted: the links that become ports stand by now.
    pub(super) fn ovs_make(&mut self) {
        for change in std::mem::take(&mut self.ovs) {
            let ns = change.daemon.ns.clone();
            if change.start {
                self.steps.push(Step::StartOvs(change.daemon));
            }
            if !change.create.is_empty() {
                let (bridges, differs) = (change.create, change.differs);
                self.steps.push(Step::CreateOvsBridges { ns: ns.clone(), bridges, differs });
            }
            let desired = self.desired;
            for link in desired.links.iter().filter(|link| link.at.ns == ns && link.kind == LinkKind::OvsInternal) {
                self.internal(link);
            }
        }
    }

    /// An internal port comes up like any link; its MTU and MAC are the database's to set.
    fn internal(&mut self, link: &Link) {
        let (mut set, mut previous) = match self.kept(&link.at) {
            Some(seen) => self.changed(link, seen),
            None => (LinkSet { up: Some(true), ..LinkSet::default() }, LinkSet::default()),
        };
        (set.master, previous.master) = (None, None);
        if set != LinkSet::default() {
            self.steps.push(Step::SetLink { at: link.at.clone(), set, previous });
        }
    }

    /// A device that stands where an internal port would.
    pub(super) fn ovs_conflicts(&mut self) {
        for ovs in &self.desired.ovs {
            let ns = &ovs.daemon.ns;
            for bridge in &ovs.bridges {
                let at = LinkRef { ns: ns.clone(), name: bridge.name.clone() };
                let taken = self.seen(&at).filter(|seen| seen.kind != "tun" && seen.kind != "openvswitch");
                // A bridge of ours of another kind is taken away before.
                if let Some(seen) = taken.filter(|seen| !self.is_ours(&at, seen)) {
                    self.conflicts.push(Conflict::LinkTaken { kind: seen.kind.clone(), at });
                }
            }
        }
    }
}
