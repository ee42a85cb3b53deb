//! The private Open vSwitch of each namespace that needs one: started, asked, stopped, and found again after a crash.
//! And the host's own, in which bridges come and go.

mod evidence;

use std::{path::PathBuf, time::Duration};

pub use evidence::{Before, before, evidence, settings};

use super::{ApplyError, destroy::Removed, fault, journal::StateRoot, world::World};
use crate::{
    kernel::{
        self,
        netns::Netns,
        observe::{Wanted, observe as observe_links},
        openvswitch,
    },
    ovs::{
        self,
        bridge::Watch,
        daemon::{self, Instance},
        sentry::Sentry,
        system::System,
    },
    plan::{
        desired::{Desired, NsId},
        ovs::{ObservedOvs, Ovs, OvsDaemon},
        step::Step,
    },
    topology::model::Datapath,
};

/// Its run folder is beside the journal, so that it dies with the state that it belongs to.
pub fn instance(topology: &str, ns: &NsId) -> Instance {
    Instance::at(StateRoot::from_environment().0.join(topology).join(format!("ovs-{ns}")))
}

/// A private one is never where netbench was started: what is there is the host's own.
fn is_system(ns: &NsId) -> bool {
    ns.0 == NsId::SELF
}

fn database(topology: &str, ns: &NsId) -> Result<PathBuf, ApplyError> {
    Ok(if is_system(ns) { System::find()?.database() } else { instance(topology, ns).database() })
}

/// Watches both daemons of a namespace from now on.
fn sentry(topology: &str, ns: &NsId) -> Result<Sentry, ApplyError> {
    let database = database(topology, ns)?;
    let control = if is_system(ns) { System::find()?.control() } else { Some(instance(topology, ns).control()) };
    let control = control.unwrap_or_else(|| database.with_file_name("ovs-vswitchd.ctl"));
    Ok(Sentry::at(&database, &control, is_system(ns)))
}

/// What has ended of the declared Open vSwitches, and what to do, one sentence each.
pub fn fallen(desired: &Desired) -> Vec<String> {
    let one = |declared: &Ovs| {
        let ns = &declared.daemon.ns;
        let sentry = sentry(&desired.topology, ns).ok()?;
        // Of ours the processes are known, and gone a moment before their sockets.
        let runs = is_system(ns) || instance(&desired.topology, ns).is_running();
        let program = if runs { sentry.ended() } else { sentry.ended_soon() }?;
        let place = if is_system(ns) { "of the host".to_owned() } else { format!("in {ns}") };
        Some(format!("{program} {place} has ended; {}", ovs::error::cure(is_system(ns))))
    };
    desired.ovs.iter().filter_map(one).collect()
}

/// Carries out a step; any other step is none of its business. Where a daemon has ended, the error says so.
pub fn step(world: &World, step: &Step) -> Result<(), ApplyError> {
    carry_out(world, step).map_err(|error| match error {
        ApplyError::Ovs(error @ (ovs::Error::Connect { .. } | ovs::Error::Closed { .. })) => {
            let sentry = sentry(&world.topology, step.ns());
            sentry.map_or_else(|error| error, |sentry| sentry.blame(error).into())
        }
        other => other,
    })
}

fn carry_out(world: &World, step: &Step) -> Result<(), ApplyError> {
    let topology = &world.topology;
    match step {
        Step::StartOvs(daemon) if daemon.system => {
            Ok(System::find()?.require(world.get(&daemon.ns)?.inode(), daemon.tso)?)
        }
        Step::StartOvs(daemon) => start(world, daemon),
        Step::StopOvs(daemon) if daemon.system => Ok(()),
        Step::StopOvs(daemon) => stop(world, &daemon.ns),
        Step::CreateOvsBridges { ns, bridges, .. } => {
            if bridges.iter().any(|bridge| bridge.datapath == Datapath::Kernel) {
                openvswitch::require(world.get(ns)?)?;
                count_of_processors();
            }
            let (database, sentry) = (database(topology, ns)?, sentry(topology, ns)?);
            let watch = Watch { sentry: &sentry, point: &|what| fault::point(what) };
            Ok(ovs::bridge::create(&database, topology, bridges, Some(watch))?)
        }
        Step::DeleteOvsBridges { ns, bridges } => {
            if !is_system(ns) && !instance(topology, ns).is_running() {
                return Ok(());
            }
            let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
            let (database, sentry) = (database(topology, ns)?, sentry(topology, ns)?);
            let watch = Watch { sentry: &sentry, point: &|what| fault::point(what) };
            ovs::bridge::delete(&database, topology, Some(&names), Some(watch))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// ovs-vswitchd counts the processors at most once in ten seconds, and thinks that it did at boot
/// (`count_cpu_cores()`, lib/ovs-thread.c): of a bridge that it makes earlier the kernel's datapath gets no handler threads,
/// and forwards nothing.
fn count_of_processors() {
    const COUNTED_AFTER: Duration = Duration::from_millis(10_100);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot = Duration::try_from(now).unwrap_or(COUNTED_AFTER);
    std::thread::sleep(COUNTED_AFTER.saturating_sub(since_boot));
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

/// Internal ports of the userspace datapath are persistent taps, and the kernel's datapath is the module's: both outlive a
/// daemon that was not told to remove them.
fn stop(world: &World, id: &NsId) -> Result<(), ApplyError> {
    instance(&world.topology, id).stop()?;
    if !world.has(id) {
        return Ok(());
    }
    let ns = world.get(id)?;
    let links = observe_links(ns, &Wanted::links_only())?.links;
    let datapath = links.iter().find(|(name, link)| openvswitch::is_datapath(name.as_str(), &link.kind));
    for (name, link) in &links {
        let is_tunnel = datapath.is_some_and(|(_, datapath)| link.master == Some(datapath.index))
            && openvswitch::is_tunnel(name.as_str(), &link.kind);
        if link.kind == "tun" || is_tunnel {
            kernel::link::delete(ns, name.as_str())?;
        }
    }
    if let Some((_, datapath)) = datapath {
        openvswitch::delete_datapath(ns, datapath.index)?;
    }
    Ok(())
}

/// What the Open vSwitch of a namespace holds; `running` is false where it does not, or not in this namespace.
pub fn observe(world: &World, id: &NsId) -> Result<ObservedOvs, ApplyError> {
    if !runs(world, id)? {
        return Ok(ObservedOvs::default());
    }
    match ovs::observe::read(&database(&world.topology, id)?, &world.topology) {
        Ok(state) => Ok(state),
        // It ended in this moment.
        Err(ovs::Error::Connect { .. } | ovs::Error::Closed { .. }) => Ok(ObservedOvs::default()),
        Err(error) => Err(error.into()),
    }
}

/// Does the Open vSwitch of this namespace run there?
fn runs(world: &World, id: &NsId) -> Result<bool, ApplyError> {
    let netns = world.get(id)?.inode();
    if !is_system(id) {
        return Ok(instance(&world.topology, id).is_running_in(netns));
    }
    // Where its process cannot be seen, that it answers is enough.
    let here =
        System::find().is_ok_and(|system| system.control().is_some() && system.netns().is_none_or(|its| its == netns));
    Ok(here)
}

/// Namespaces whose declared Open vSwitch does not run any more.
pub fn ended(world: &World, desired: &Desired) -> Vec<NsId> {
    let all = desired.ovs.iter().map(|ovs| ovs.daemon.ns.clone());
    all.filter(|ns| !runs(world, ns).unwrap_or(false)).collect()
}

/// Ends every Open vSwitch that a topology declares, or that runs in its folder: with the daemon all of its ports go,
/// which one by one would take 14 ms each.
pub fn stop_all(topology: &str, known: Option<&Desired>, removed: &mut Removed) {
    leave_system(topology, known, removed);
    let private = known.into_iter().flat_map(|known| &known.ovs).filter(|ovs| !ovs.daemon.system);
    let declared = private.map(|ovs| instance(topology, &ovs.daemon.ns));
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

/// Takes the topology's bridges out of the host's own Open vSwitch: those that are known to be there, and those that carry
/// its mark. That it does not answer matters to the former only; its database outlives it.
fn leave_system(topology: &str, known: Option<&Desired>, removed: &mut Removed) {
    let declared = known.is_some_and(|known| known.ovs.iter().any(|ovs| ovs.daemon.system));
    let marked = |system: &System| system.topologies().is_ok_and(|names| names.iter().any(|name| name == topology));
    let gone: Result<(), ApplyError> = match System::find() {
        Ok(system) if declared || marked(&system) => {
            fault::point("before bridges leave the host's Open vSwitch");
            leave(topology, &system)
        }
        Err(error) if declared => Err(error.into()),
        _ => Ok(()),
    };
    if let Err(error) = gone {
        removed.problems.push(error.to_string());
    }
}

/// A switch that has ended leaves the internal ports of its userspace datapath, which are persistent taps: those of our
/// bridges go too.
fn leave(topology: &str, system: &System) -> Result<(), ApplyError> {
    let sentry = sentry(topology, &NsId(NsId::SELF.to_owned()))?;
    let watch = Watch { sentry: &sentry, point: &|what| fault::point(what) };
    let names = ovs::bridge::delete(&system.database(), topology, None, Some(watch))?;
    if sentry.ended().is_none() {
        return Ok(());
    }
    let here = Netns::current(NsId::SELF)?;
    let links = observe_links(&here, &Wanted::links_only())?.links;
    for (name, link) in &links {
        if link.kind == "tun" && names.iter().any(|one| one == name.as_str()) {
            kernel::link::delete(&here, name.as_str())?;
        }
    }
    Ok(())
}

/// Ends the daemons that runs without root left when they were killed; how many there were.
///
/// # Errors
/// One does not end.
pub fn end_deserted(root: &StateRoot) -> Result<usize, ApplyError> {
    Ok(daemon::end_deserted(&root.0)?)
}

/// Topologies that have an Open vSwitch running, or bridges in the host's own.
pub fn topologies() -> Vec<String> {
    let root = StateRoot::from_environment().0;
    let name = |folder: PathBuf| {
        let first = folder.strip_prefix(&root).ok()?.components().next()?;
        first.as_os_str().to_str().map(str::to_owned)
    };
    let in_system = System::find().ok().and_then(|system| system.topologies().ok()).unwrap_or_default();
    daemon::running_below(&root).into_iter().filter_map(name).chain(in_system).collect()
}
