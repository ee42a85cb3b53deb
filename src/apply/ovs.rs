//! The private Open vSwitch of each namespace that needs one: started, asked, stopped, and found again after a crash.
//! And the host's own, in which bridges come and go.

use std::{path::PathBuf, time::Duration};

use super::{ApplyError, destroy::Removed, fault, journal::StateRoot, world::World};
use crate::{
    facts::{OvsFacts, TunnelCounters},
    kernel::{
        self,
        observe::{Wanted, observe as observe_links},
        openvswitch,
    },
    ovs::{
        self,
        client::Client,
        daemon::{self, Instance},
        system::System,
    },
    plan::{
        desired::{Desired, NsId},
        ovs::{ObservedOvs, Ovs, OvsBridge, OvsDaemon},
        step::Step,
    },
    topology::model::Datapath,
};

/// A daemon that works answers at once.
const ASKED: Duration = Duration::from_secs(2);

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

/// Carries out a step; any other step is none of its business.
pub fn step(world: &World, step: &Step) -> Result<(), ApplyError> {
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
            Ok(ovs::bridge::create(&database(topology, ns)?, topology, bridges)?)
        }
        Step::DeleteOvsBridges { ns, bridges } => {
            if !is_system(ns) && !instance(topology, ns).is_running() {
                return Ok(());
            }
            let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
            ovs::bridge::delete(&database(topology, ns)?, topology, Some(&names))?;
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

/// What each declared Open vSwitch says of itself, its tunnels' counters since `before`; one that does not answer is left
/// out, and [`ended`] names it.
pub fn evidence(world: &World, desired: &Desired, before: &[TunnelCounters]) -> Vec<OvsFacts> {
    let one = |declared: &Ovs| {
        let ns = &declared.daemon.ns;
        let control =
            if is_system(ns) { System::find().ok()?.control()? } else { instance(&world.topology, ns).control() };
        let version = ovs::unixctl::command(&control, "version", &[], ASKED).ok()?;
        let flows = ovs::unixctl::datapath_flows(&control, ASKED).ok()?;
        let mut tunnels = of_instance(world, declared);
        for now in &mut tunnels {
            if let Some(then) = before.iter().find(|then| then.same_port(now)) {
                now.counters = now.counters.since(&then.counters);
            }
        }
        let seen = observe(world, ns).ok()?;
        Some(OvsFacts {
            netns: ns.0.clone(),
            version: version.lines().next().unwrap_or_default().to_owned(),
            tso: seen.tso,
            hw_offload: seen.hw_offload,
            datapath_flows: flows.flows as u64,
            tc_flows: flows.tc as u64,
            offloaded_flows: flows.offloaded as u64,
            tunnels,
        })
    };
    desired.ovs.iter().filter_map(one).collect()
}

/// The counters of all tunnels as they are now.
pub fn tunnels(world: &World, desired: &Desired) -> Vec<TunnelCounters> {
    desired.ovs.iter().flat_map(|declared| of_instance(world, declared)).collect()
}

fn of_instance(world: &World, declared: &Ovs) -> Vec<TunnelCounters> {
    let has_tunnel = |bridge: &OvsBridge| {
        bridge.ports.iter().flat_map(|port| &port.interfaces).any(|interface| interface.tunnel.is_some())
    };
    if !declared.bridges.iter().any(has_tunnel) {
        return Vec::new();
    }
    let Ok(database) = database(&world.topology, &declared.daemon.ns) else { return Vec::new() };
    let Ok(states) = Client::connect(&database).and_then(|mut client| ovs::observe::interfaces(&mut client)) else {
        return Vec::new();
    };
    let of_bridge = |bridge| ovs::flows::tunnels(&database, bridge, &states).unwrap_or_default();
    declared.bridges.iter().flat_map(of_bridge).collect()
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
    let gone = match System::find() {
        Ok(system) if declared || marked(&system) => {
            fault::point("before bridges leave the host's Open vSwitch");
            ovs::bridge::delete(&system.database(), topology, None).map(|_| ())
        }
        Err(error) if declared => Err(error),
        _ => Ok(()),
    };
    if let Err(error) = gone {
        removed.problems.push(error.to_string());
    }
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
