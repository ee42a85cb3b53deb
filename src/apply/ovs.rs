//! The private Open vSwitch of each namespace that needs one: started, asked, stopped, and found again after a crash.

use std::path::PathBuf;

use super::{ApplyError, destroy::Removed, fault, journal::StateRoot, world::World};
use crate::{
    kernel::{
        self,
        observe::{Wanted, observe as observe_links},
    },
    ovs::{
        self,
        daemon::{self, Instance},
    },
    plan::{
        desired::{Desired, NsId},
        ovs::{ObservedOvs, OvsDaemon},
        step::Step,
    },
};

/// Its run folder is beside the journal, so that it dies with the state that it belongs to.
pub fn instance(topology: &str, ns: &NsId) -> Instance {
    Instance::at(StateRoot::from_environment().0.join(topology).join(format!("ovs-{ns}")))
}

/// Carries out a step; any other step is none of its business.
pub fn step(world: &World, step: &Step) -> Result<(), ApplyError> {
    match step {
        Step::StartOvs(daemon) => start(world, daemon),
        Step::StopOvs(daemon) => stop(world, &daemon.ns),
        Step::CreateOvsBridges { ns, bridges, .. } => {
            Ok(ovs::bridge::create(&instance(&world.topology, ns).database(), &world.topology, bridges)?)
        }
        Step::DeleteOvsBridges { ns, bridges } => {
            let instance = instance(&world.topology, ns);
            if !instance.is_running() {
                return Ok(());
            }
            let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
            ovs::bridge::delete(&instance.database(), &world.topology, Some(&names))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn start(world: &World, wanted: &OvsDaemon) -> Result<(), ApplyError> {
    let ns = world.get(&wanted.ns)?;
    let instance = instance(&world.topology, &wanted.ns);
    instance.start(ns.inode(), wanted.tso, &mut |command| {
        fault::point("before a program of Open vSwitch starts");
        ns.spawn(command)
    })?;
    fault::point("Open vSwitch runs");
    Ok(())
}

/// Internal ports of the userspace datapath are persistent taps: they outlive a daemon that was not told to remove them.
fn stop(world: &World, id: &NsId) -> Result<(), ApplyError> {
    instance(&world.topology, id).stop()?;
    if !world.has(id) {
        return Ok(());
    }
    let ns = world.get(id)?;
    for (name, link) in observe_links(ns, &Wanted::links_only())?.links {
        if link.kind == "tun" {
            kernel::link::delete(ns, name.as_str())?;
        }
    }
    Ok(())
}

/// What the Open vSwitch of a namespace holds; `running` is false where it does not, or not in this namespace.
pub fn observe(world: &World, id: &NsId) -> Result<ObservedOvs, ApplyError> {
    let instance = instance(&world.topology, id);
    if !instance.is_running_in(world.get(id)?.inode()) {
        return Ok(ObservedOvs::default());
    }
    match ovs::observe::read(&instance.database(), &world.topology) {
        Ok(state) => Ok(state),
        // It ended in this moment.
        Err(ovs::Error::Connect { .. } | ovs::Error::Closed { .. }) => Ok(ObservedOvs::default()),
        Err(error) => Err(error.into()),
    }
}

/// Namespaces whose declared Open vSwitch does not run any more.
pub fn ended(world: &World, desired: &Desired) -> Vec<NsId> {
    let runs =
        |ns: &NsId| world.get(ns).is_ok_and(|handle| instance(&world.topology, ns).is_running_in(handle.inode()));
    desired.ovs.iter().map(|ovs| ovs.daemon.ns.clone()).filter(|ns| !runs(ns)).collect()
}

/// Ends every Open vSwitch that a topology declares, or that runs in its folder: with the daemon all of its ports go,
/// which one by one would take 14 ms each.
pub fn stop_all(topology: &str, known: Option<&Desired>, removed: &mut Removed) {
    let declared = known.into_iter().flat_map(|known| &known.ovs).map(|ovs| instance(topology, &ovs.daemon.ns));
    let running = daemon::running_below(&StateRoot::from_environment().0.join(topology));
    for instance in declared.chain(running.into_iter().map(Instance::at)) {
        fault::point("before an Open vSwitch ends");
        match instance.stop() {
            Ok(true) => removed.daemons += 1,
            Ok(false) => {}
            Err(error) => removed.problems.push(error.to_string()),
        }
    }
}

/// Topologies that have an Open vSwitch running.
pub fn topologies() -> Vec<String> {
    let root = StateRoot::from_environment().0;
    let name = |folder: PathBuf| {
        let first = folder.strip_prefix(&root).ok()?.components().next()?;
        first.as_os_str().to_str().map(str::to_owned)
    };
    daemon::running_below(&root).into_iter().filter_map(name).collect()
}
