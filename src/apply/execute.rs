//! Carries out steps, one kernel change after the other; each is idempotent, so a crash may be followed by the same
//! steps, or by their undo, from any point.

use std::{collections::HashMap, path::Path};

use crate::{
    apply::{ApplyError, fault, ovs, sriov, world::World, world::netns_path},
    kernel::{self, link::Marks, netns::Netns, observe::Wanted},
    plan::{
        desired::{Link, LinkKind, LinkRef, NsId},
        marks,
        step::{NicState, Step},
    },
    units::IfName,
};

/// Interprets steps in a world.
pub struct Executor<'a> {
    /// Open namespaces.
    pub world: &'a mut World,
    /// Namespaces that we make; elsewhere links carry alias and alternative name too.
    own: HashMap<NsId, bool>,
    /// Ctrl-C ends an apply between two steps, but not what takes it back.
    heeds_interrupt: bool,
}

impl<'a> Executor<'a> {
    /// `own` tells which roles are namespaces of ours.
    pub fn new(world: &'a mut World, own: HashMap<NsId, bool>) -> Self {
        Self { world, own, heeds_interrupt: true }
    }

    /// The same for taking steps back: it goes on after Ctrl-C.
    pub fn undoing(world: &'a mut World, own: HashMap<NsId, bool>) -> Self {
        Self { heeds_interrupt: false, ..Self::new(world, own) }
    }

    fn is_own(&self, ns: &NsId) -> bool {
        self.own.get(ns).copied().unwrap_or(false)
    }

    /// Carries out all steps in order. On an error, returns how many were begun.
    pub fn run(&mut self, steps: &[Step]) -> Result<(), (usize, ApplyError)> {
        let mut index = 0;
        while index < steps.len() {
            fault::point("before a step");
            let batch = self.batch_of_deletes(&steps[index..]);
            let done = if fault::step_fails(index) {
                Err(ApplyError::Injected { step: steps[index].to_string() })
            } else if batch > 1 {
                self.delete_links(&steps[index..index + batch])
            } else {
                self.step(&steps[index])
            };
            done.map_err(|error| (index + 1, error))?;
            index += batch;
            if self.heeds_interrupt && index < steps.len() && crate::apply::interrupted() {
                return Err((index, ApplyError::Interrupted));
            }
        }
        fault::point("after the last step");
        Ok(())
    }

    /// Links of one namespace that stand next to each other in the plan are deleted by one message: an `RTM_DELLINK`
    /// waits for RCU grace periods, 18 ms for one link and hardly more for five hundred.
    fn batch_of_deletes(&self, steps: &[Step]) -> usize {
        let ns = steps[0].ns();
        let deletes = |step: &&Step| matches!(step, Step::DeleteLink { .. }) && step.ns() == ns && self.is_own(ns);
        steps.iter().take_while(deletes).count().max(1)
    }

    fn delete_links(&mut self, steps: &[Step]) -> Result<(), ApplyError> {
        let ns = self.world.get(steps[0].ns())?;
        let names: Vec<IfName> = steps
            .iter()
            .filter_map(|step| match step {
                Step::DeleteLink { link, .. } => Some(link.at.name.clone()),
                _ => None,
            })
            .collect();
        Ok(kernel::link::delete_many(ns, &names, marks::scratch_group(&self.world.topology))?)
    }

    /// Carries out one step.
    pub fn step(&mut self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::CreateNs { ns, name, sysctl } => {
                let path = netns_path(name);
                if kernel::netns::inode(&path).is_none() {
                    remove_ns(&path)?; // the empty file of a crash between making and mounting it
                }
                let mark = marks::alias(&self.world.topology, &ns.0);
                let made = Netns::create(&path, &ns.0, &mark, sysctl)?;
                self.world.insert(ns.clone(), made);
                Ok(())
            }
            Step::DeleteNs { ns, name, .. } => {
                self.world.forget(ns);
                remove_ns(&netns_path(name)).map(|_| ())
            }
            Step::CreateLink { link, peer } => self.create_link(link, peer.as_deref()),
            Step::DeleteLink { link, .. } => self.delete_link(&link.at),
            Step::TakeNic { to, previous } => {
                if let Some(vf) = &previous.vf {
                    return sriov::take(self.world, to, previous, vf);
                }
                let from = Netns::current(NsId::SELF)?;
                let mark = marks::nic_alias(&self.world.topology, previous);
                Ok(kernel::nic::take(&from, previous, self.world.get(&to.ns)?, &to.name, &mark)?)
            }
            Step::GiveBackNic { from, previous } => self.give_back(from, previous),
            Step::SetVfs { pf, change } => sriov::change(self.world, pf, change),
            Step::SetVf { pf, pci, index, set, previous, lent } => {
                sriov::set(self.world, pf, pci, *index, set, lent.map(|lent| (lent, previous)))
            }
            Step::StartOvs(_) | Step::StopOvs(_) | Step::CreateOvsBridges { .. } | Step::DeleteOvsBridges { .. } => {
                ovs::step(self.world, step)
            }
            Step::SetLink { at, set, .. } => Ok(kernel::link::set(self.world.get(&at.ns)?, &at.name, set)?),
            Step::AddAddress { at, address } => {
                Ok(kernel::link::add_address(self.world.get(&at.ns)?, &at.name, *address)?)
            }
            Step::DeleteAddress { at, address } => {
                gone_is_fine(kernel::link::delete_address(self.world.get(&at.ns)?, &at.name, *address))
            }
            Step::AddRoute(route) => Ok(kernel::link::add_route(self.world.get(&route.ns)?, route)?),
            Step::DeleteRoute(route) => gone_is_fine(kernel::link::delete_route(self.world.get(&route.ns)?, route)),
            Step::AddFdb(entry) => Ok(kernel::link::add_fdb(self.world.get(&entry.at.ns)?, entry)?),
            Step::DeleteFdb(entry) => gone_is_fine(kernel::link::delete_fdb(self.world.get(&entry.at.ns)?, entry)),
            Step::AddNeighbour(entry) => Ok(kernel::link::add_neighbour(self.world.get(&entry.at.ns)?, entry)?),
            Step::DeleteNeighbour(entry) => {
                gone_is_fine(kernel::link::delete_neighbour(self.world.get(&entry.at.ns)?, entry))
            }
            Step::SetQdisc { at, qdisc, .. } => {
                Ok(kernel::qdisc::set(self.world.get(&at.ns)?, &at.name, qdisc.as_ref())?)
            }
            Step::SetFeatures { at, features, .. } => {
                Ok(kernel::ethtool::set_features(self.world.get(&at.ns)?, &at.name, features)?)
            }
            Step::SetEthtool { at, values, .. } => {
                Ok(kernel::ethtool::set_parameters(self.world.get(&at.ns)?, &at.name, values)?)
            }
            Step::SetSysctl { ns, key, value, .. } => Ok(self.world.get(ns)?.set_sysctl(key, value)?),
        }
    }

    fn create_link(&mut self, link: &Link, peer: Option<&Link>) -> Result<(), ApplyError> {
        let ns = self.world.get(&link.at.ns)?;
        let peer = peer.map(|peer| Ok::<_, ApplyError>((self.world.get(&peer.at.ns)?, peer))).transpose()?;
        let lower = match &link.kind {
            LinkKind::Macvlan { lower, .. } | LinkKind::Ipvlan { lower, .. } => {
                let below = self.world.get(&lower.ns)?;
                Some((below, kernel::link::index(below, lower.name.as_str())?))
            }
            _ => None,
        };
        kernel::link::create(ns, link, peer, &self.marks(&link.at), lower, &|what| fault::point(what))?;
        fault::point("link made, its peer not yet marked");
        if let Some((ns, peer)) = peer
            && !self.is_own(&peer.at.ns)
        {
            let marks = self.marks(&peer.at);
            let index = kernel::link::index(ns, peer.at.name.as_str())?;
            kernel::link::set_alias(ns, index, marks.alias.as_deref().unwrap_or_default())?;
            kernel::link::add_altname(ns, peer.at.name.as_str(), marks.altname.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// In somebody else's namespace a link says whose it is; in one of ours the group is enough.
    fn marks(&self, at: &LinkRef) -> Marks {
        let topology = &self.world.topology;
        let foreign = !self.is_own(&at.ns);
        Marks {
            group: marks::group(topology),
            alias: foreign.then(|| marks::alias(topology, at.name.as_str())),
            altname: foreign.then(|| marks::altname(topology, at.name.as_str())),
        }
    }

    /// Deletes a link if it is there and ours.
    fn delete_link(&mut self, at: &LinkRef) -> Result<(), ApplyError> {
        if !self.world.has(&at.ns) {
            return Ok(());
        }
        let ns = self.world.get(&at.ns)?;
        let state = kernel::observe::observe(ns, &Wanted::links_only())?;
        // Where a crash came before its name.
        let passing = marks::passing_name(at);
        let passing = state
            .links
            .iter()
            .find(|(name, link)| name.as_str() == passing && link.group == marks::group(&self.world.topology));
        if let Some((name, _)) = passing {
            gone_is_fine(kernel::link::delete(ns, name.as_str()))?;
        }
        let Some(seen) = state.links.get(&at.name) else { return Ok(()) };
        // Between its creation and its marking a link of ours carries the group alone; the journal names it.
        let unmarked =
            seen.alias.is_none() && seen.altnames.is_empty() && seen.group == marks::group(&self.world.topology);
        if !unmarked && !marks::owns_link(&self.world.topology, self.is_own(&at.ns), seen) {
            return Ok(());
        }
        gone_is_fine(kernel::link::delete(ns, at.name.as_str()))
    }

    /// Takes a step back. What is gone already is fine.
    pub fn undo(&mut self, step: &Step) -> Result<(), ApplyError> {
        fault::point("before an undo");
        let Some(undo) = step.undo() else { return Ok(()) };
        match undo {
            // These look for themselves what is there and ours.
            Step::DeleteLink { .. }
            | Step::DeleteNs { .. }
            | Step::CreateNs { .. }
            | Step::GiveBackNic { .. }
            | Step::SetVfs { .. }
            | Step::SetVf { .. }
            | Step::StopOvs(_) => self.step(&undo),
            undo if !self.world.has(undo.ns()) => Ok(()),
            undo => gone_is_fine_or(self.step(&undo)),
        }
    }

    fn give_back(&mut self, from: &LinkRef, previous: &NicState) -> Result<(), ApplyError> {
        if let Some(vf) = &previous.vf {
            let from_ns = if self.world.has(&from.ns) { Some(self.world.get(&from.ns)?) } else { None };
            return sriov::return_function(self.world, from_ns, &from.name, previous, vf);
        }
        let here = Netns::current(NsId::SELF)?;
        // Where its namespace is gone, the kernel has sent it home.
        let there = if self.world.has(&from.ns) { self.world.get(&from.ns)? } else { &here };
        Ok(kernel::nic::give_back(there, &from.name, &here, previous)?)
    }
}

/// Removes a namespace file; `false` where there is none.
pub fn remove_ns(path: &Path) -> Result<bool, ApplyError> {
    match kernel::netns::remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn gone_is_fine(result: Result<(), kernel::Error>) -> Result<(), ApplyError> {
    gone_is_fine_or(result.map_err(ApplyError::from))
}

fn gone_is_fine_or(result: Result<(), ApplyError>) -> Result<(), ApplyError> {
    match result {
        Err(ApplyError::Kernel(error)) if error.is_absent() => Ok(()),
        other => other,
    }
}
