//! Virtual functions: NICs that must make them, functions to take, and what the NIC does for each.

use super::{Conflict, Diff};
use crate::plan::{
    desired::{Link, LinkKind, Vf},
    observed::ObservedLink,
    sriov::{ObservedPf, Pf, PfChange, VfSet},
    step::{Lent, NicState, Step, VfState},
};

/// What is to become of the functions of a NIC.
#[derive(Debug)]
pub(super) struct Change {
    change: PfChange,
    /// Is the step in the plan?
    planned: bool,
}

impl<'a> Diff<'a> {
    fn pf(&self, vf: &Vf) -> Option<&'a Pf> {
        self.desired.sriov.iter().find(|pf| pf.at == vf.pf)
    }

    fn seen_pf(&self, pf: &Pf) -> Option<&'a ObservedPf> {
        self.observed.sriov.get(&pf.pci)
    }

    /// Is this link the function?
    pub(super) fn is_function(&self, vf: &Vf, seen: &ObservedLink) -> bool {
        let there = self.pf(vf).and_then(|pf| self.seen_pf(pf)?.functions.get(vf.index as usize));
        there.is_some_and(|there| seen.pci.as_ref() == Some(&there.pci))
    }

    /// Which NICs must make their functions, and which cannot.
    pub(super) fn functions(&mut self) {
        for pf in &self.desired.sriov {
            let nothing = ObservedPf::default();
            let seen = self.seen_pf(pf).unwrap_or(&nothing);
            let ours = seen.owner.as_deref() == Some(&*self.desired.topology);
            let somebody =
                seen.owner.as_ref().map_or("somebody else".to_owned(), |owner| format!("topology `{owner}`"));
            let enough = seen.vfs == pf.vfs || (!pf.exact && seen.vfs > pf.vfs);
            let mode = seen.eswitch.map(|got| (pf.eswitch.unwrap_or(got), got));
            let switched = mode.is_some_and(|(mode, got)| mode != got);
            let why = if seen.total == 0 {
                Some(format!("{} has no SR-IOV here (no sriov_totalvfs in sysfs)", pf.pci))
            } else if seen.total < pf.vfs {
                Some(format!("{} virtual functions are wanted, the NIC can have {}", pf.vfs, seen.total))
            } else if seen.owner.is_some() && !ours {
                Some(format!("its virtual functions are in use by {somebody}"))
            } else if !enough && seen.vfs > 0 && !ours && !pf.takeover {
                Some(format!(
                    "it has {} virtual functions that {somebody} made, and {} are wanted; write `vfs = {}` to use these, \
                     or `takeover = true` to have them unmade, and made again on destroy",
                    seen.vfs, pf.vfs, seen.vfs
                ))
            } else if pf.pci.contains('/') && self.has_ports(pf) {
                Some(format!(
                    "the virtual functions of {} are no PCI functions and have no interfaces: no node can have one; \
                     `ports = []` and `vfs` make them",
                    pf.pci
                ))
            } else if pf.eswitch.is_some() && seen.eswitch.is_none() {
                Some("its driver has no devlink eswitch mode; take `eswitch` out".to_owned())
            } else {
                None
            };
            if let Some(why) = why {
                self.conflicts.push(Conflict::Sriov { at: pf.at.clone(), why });
                continue;
            }
            if !enough || switched {
                let foreign = seen.vfs > 0 && !(ours && seen.made);
                let settings = seen.functions.iter().filter(|_| foreign).map(|vf| vf.set.clone()).collect();
                let change = PfChange {
                    pci: pf.pci.clone(),
                    vfs: if enough { seen.vfs } else { pf.vfs },
                    previous: seen.vfs,
                    settings,
                    autoprobe: seen.autoprobe,
                    back: false,
                    eswitch: mode,
                };
                self.functions.insert(&pf.at, Change { change, planned: false });
            }
        }
    }

    fn has_ports(&self, pf: &Pf) -> bool {
        self.desired.links.iter().any(|link| matches!(&link.kind, LinkKind::Vf(vf) if vf.pf == pf.at))
    }

    /// Are all functions of the NIC to be made anew?
    fn again(&self, vf: &Vf) -> bool {
        self.functions.get(&vf.pf).is_some_and(|Change { change, .. }| change.vfs != change.previous)
    }

    /// Is a function where it is declared? Where its NIC makes all of them again, none is.
    pub(super) fn find_function(&mut self, link: &'a Link, vf: &'a Vf, found: Option<&ObservedLink>) {
        let again = self.again(vf);
        match found {
            Some(seen) if self.is_function(vf, seen) && !again => {}
            Some(seen) if !self.is_function(vf, seen) => self.conflicts.push(Conflict::LinkTaken {
                at: link.at.clone(),
                kind: if seen.kind.is_empty() { "physical".into() } else { seen.kind.clone() },
            }),
            _ => {
                self.missing.insert(&link.at);
            }
        }
    }

    /// The step that makes the functions of the NIC, before the first that needs them.
    fn make_functions(&mut self, vf: &Vf) {
        let Some(change) = self.functions.get_mut(&vf.pf).filter(|change| !change.planned) else { return };
        change.planned = true;
        let step = Step::SetVfs { pf: vf.pf.clone(), change: Box::new(change.change.clone()) };
        self.steps.push(step);
    }

    /// The same for NICs none of whose functions is a port: somebody else uses them, or those that stand for them.
    pub(super) fn functions_of_nobody(&mut self) {
        for (pf, Change { change, .. }) in self.functions.iter().filter(|(_, change)| !change.planned) {
            self.steps.push(Step::SetVfs { pf: (*pf).clone(), change: Box::new(change.clone()) });
        }
    }

    /// What NICs do for functions that no node has, once they are there.
    pub(super) fn settings_of_nobody(&mut self) {
        for pf in &self.desired.sriov {
            let again = self.functions.get(&pf.at).is_some_and(|Change { change, .. }| change.vfs != change.previous);
            let seen = self.seen_pf(pf).filter(|_| !again);
            for (index, wanted) in &pf.functions {
                let (set, previous) = match seen.and_then(|seen| seen.functions.get(*index as usize)) {
                    Some(got) => wanted.against(&got.set),
                    None => (wanted.clone(), VfSet::default()),
                };
                if set != VfSet::default() {
                    let (pci, index) = (pf.pci.clone(), *index);
                    let lent = (seen.is_some() && !self.is_made_by_us(seen)).then_some(Lent::Set);
                    self.steps.push(Step::SetVf { pf: pf.at.clone(), pci, index, set, previous, lent });
                }
            }
        }
    }

    /// What the NIC does for a function; before the function is taken, since a driver reads its MAC when it is bound.
    pub(super) fn function_settings(&mut self, link: &Link) {
        let LinkKind::Vf(vf) = &link.kind else { return };
        if !self.missing.contains(&link.at) {
            self.make_functions(vf);
            self.set_function(vf);
        }
    }

    fn is_made_by_us(&self, seen: Option<&ObservedPf>) -> bool {
        seen.is_some_and(|seen| seen.made && seen.owner.as_deref() == Some(&*self.desired.topology))
    }

    /// A function that somebody else made keeps its MAC, unless the file gives one: a driver's made-up MAC could not be
    /// given back.
    fn wanted_of(&self, vf: &Vf, seen: Option<&ObservedPf>) -> VfSet {
        let keeps = vf.derived_mac && !self.is_made_by_us(seen) && !self.again(vf);
        VfSet { mac: vf.set.mac.filter(|_| !keeps), ..vf.set.clone() }
    }

    fn set_function(&mut self, vf: &Vf) {
        let Some(pf) = self.pf(vf) else { return };
        let again = self.again(vf);
        let seen = self.seen_pf(pf);
        let got = seen.filter(|_| !again).and_then(|seen| seen.functions.get(vf.index as usize));
        let wanted = self.wanted_of(vf, seen);
        let (set, previous) = match got {
            Some(got) => wanted.against(&got.set),
            None => (wanted, VfSet::default()),
        };
        if set == VfSet::default() {
            return;
        }
        let (at, pci, index) = (vf.pf.clone(), pf.pci.clone(), vf.index);
        self.steps.push(Step::SetVf { pf: at, pci, index, set, previous, lent: None });
    }

    /// Makes, sets and takes a function, in this order.
    pub(super) fn take_function(&mut self, link: &Link, vf: &Vf) {
        self.make_functions(vf);
        let Some(pf) = self.pf(vf) else { return };
        let again = self.again(vf);
        let seen = self.seen_pf(pf);
        let ours = self.is_made_by_us(seen);
        let wanted = self.wanted_of(vf, seen);
        let there = seen.filter(|_| !again).and_then(|seen| seen.functions.get(vf.index as usize));
        let known = there.and_then(|there| self.context.nics?.get(&there.pci));
        let was_ours = self.context.taken.is_some_and(|taken| {
            taken.values().filter_map(|nic| nic.vf.as_ref()).any(|old| old.pf == pf.pci && old.index == vf.index)
        });
        let why = match there.and_then(|there| there.driver.as_deref()) {
            Some(driver) if driver.starts_with("vfio") => Some(format!(
                "virtual function {} is bound to {driver}: a virtual machine or a DPDK program has it; unbind it, or \
                 declare fewer ports",
                vf.index
            )),
            Some(_) if known.is_none() && !ours && !was_ours => Some(format!(
                "virtual function {} is in another namespace: somebody uses it; free it, or declare fewer ports",
                vf.index
            )),
            _ => None,
        };
        if let Some(why) = why {
            self.conflicts.push(Conflict::Sriov { at: vf.pf.clone(), why });
            return;
        }
        let (set, before) = match there {
            Some(there) if !ours => {
                let (set, mut before) = wanted.against(&there.set);
                if there.driver.is_none() {
                    // Its driver will tell the NIC a MAC of its own.
                    before.mac = there.set.mac;
                }
                (set, Some(before))
            }
            _ => (wanted, None),
        };
        let bound = there.is_some_and(|there| there.driver.is_some());
        let state = VfState { pf: pf.pci.clone(), index: vf.index, set, before, bound };
        // A function that is not made yet has no state to be given back.
        let previous = NicState { vf: Some(state), ..known.cloned().unwrap_or_default() };
        self.steps.push(Step::TakeNic { to: link.at.clone(), previous: Box::new(previous) });
    }
}
