//! What each declared Open vSwitch says of itself and of what its ports carried: by OpenFlow, at once and exact, and by its
//! database, which the switch writes every five seconds. Both are read, and compared with what the kernel counted.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{ApplyError, World, database, instance, is_system, observe};
use crate::{
    facts::{LinkCounters, OvsFacts, OvsSetting, PortCounters},
    kernel,
    ovs::{self, client::Client, observe::InterfaceState, settings, system::System},
    plan::{
        desired::{Desired, FlowPath, LinkRef, NsId},
        ovs::Ovs,
    },
};

/// A daemon that works answers at once, where it gets a CPU.
const ASKED: Duration = Duration::from_secs(6);
/// Statistics are written this much later than they are due.
const LATE: Duration = Duration::from_secs(2);
/// Longer is not waited for statistics, whatever the interval is.
const LONGEST: Duration = Duration::from_secs(6);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What the switches' ports had counted before a measurement: those on its paths, and all tunnels.
#[derive(Debug, Default)]
pub struct Before(HashMap<NsId, Vec<PortCounters>>);

/// Reads the counters of all ports that `flows` cross, and of all tunnels.
pub fn before(world: &World, desired: &Desired, flows: &[FlowPath]) -> Before {
    let hops = flows.iter().flat_map(|flow| &flow.hops);
    let on_path: BTreeSet<&LinkRef> = hops.flat_map(|hop| hop.beside.iter().chain([&hop.at])).collect();
    let one = |declared: &Ovs| {
        let wanted = wanted(declared, &on_path);
        let counted = by_openflow(world, declared, &wanted);
        (declared.daemon.ns.clone(), counted)
    };
    Before(desired.ovs.iter().map(one).collect())
}

/// What each declared Open vSwitch says of itself, and its ports' counters since `before`; one that does not answer is left
/// out, and [`super::ended`] names it. Waits until the switch has written its statistics: a private one is asked to do so
/// now, the host's own does so in its own time (5 s unless it is told otherwise; 6 s at most are waited).
pub fn evidence(world: &World, desired: &Desired, before: &Before) -> Vec<OvsFacts> {
    let one = |declared: &Ovs| {
        let ns = &declared.daemon.ns;
        let control =
            if is_system(ns) { System::find().ok()?.control()? } else { instance(&world.topology, ns).control() };
        let version = ovs::unixctl::command(&control, "version", &[], ASKED).ok()?;
        let flows = ovs::unixctl::datapath_flows(&control, ASKED).ok()?;
        let database = database(&world.topology, ns).ok()?;
        let set = settings::read(&database).ok()?;
        let before = before.0.get(ns).map_or(&[][..], Vec::as_slice);
        let counted = Account { world, declared, database, interval: settings::statistics_interval(&set) }.take(before);
        let (tunnels, ports) = counted.into_iter().partition(|port| port.tunnel.is_some());
        let seen = observe(world, ns).ok()?;
        Some(OvsFacts {
            netns: ns.0.clone(),
            version: version.lines().next().unwrap_or_default().to_owned(),
            tso: seen.tso,
            hw_offload: seen.hw_offload,
            system: is_system(ns),
            settings: set,
            datapath_flows: flows.flows as u64,
            tc_flows: flows.tc as u64,
            offloaded_flows: flows.offloaded as u64,
            tunnels,
            ports,
        })
    };
    desired.ovs.iter().filter_map(one).collect()
}

/// How the Open vSwitch of a namespace is set: all of `other_config`.
///
/// # Errors
/// It does not run, or its database may not be read.
pub fn settings(topology: &str, ns: &NsId) -> Result<Vec<OvsSetting>, ApplyError> {
    Ok(settings::read(&database(topology, ns)?)?)
}

/// The ports of a switch that are to be counted, at zero. Its bridges' own are left out: OpenFlow counts them otherwise
/// (`port_get_stats()`, ofproto/ofproto-dpif.c).
fn wanted(declared: &Ovs, on_path: &BTreeSet<&LinkRef>) -> Vec<PortCounters> {
    let mut wanted = Vec::new();
    for bridge in &declared.bridges {
        for interface in bridge.ports.iter().flat_map(|port| &port.interfaces) {
            let at = LinkRef { ns: declared.daemon.ns.clone(), name: interface.name.clone() };
            if interface.tunnel.is_none() && !on_path.contains(&at) {
                continue;
            }
            wanted.push(PortCounters {
                bridge: bridge.name.to_string(),
                port: interface.name.to_string(),
                tunnel: interface.tunnel.as_ref().map(ToString::to_string),
                counters: LinkCounters::default(),
                database: None,
                difference: None,
            });
        }
    }
    wanted
}

/// Those of the wanted ports that their bridges tell of, with what they counted.
fn by_openflow(world: &World, declared: &Ovs, wanted: &[PortCounters]) -> Vec<PortCounters> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let Ok(database) = database(&world.topology, &declared.daemon.ns) else { return Vec::new() };
    let Some(states) = states(&database) else { return Vec::new() };
    let bridges: BTreeSet<&str> = wanted.iter().map(|port| port.bridge.as_str()).collect();
    let of_bridge = |bridge: &&str| Some(((*bridge).to_owned(), ovs::flows::ports(&database, bridge, &states).ok()?));
    let counted: HashMap<String, HashMap<String, LinkCounters>> = bridges.iter().filter_map(of_bridge).collect();
    let one = |port: &PortCounters| {
        let counters = *counted.get(&port.bridge)?.get(&port.port)?;
        Some(PortCounters { counters, ..port.clone() })
    };
    wanted.iter().filter_map(one).collect()
}

fn states(database: &Path) -> Option<Vec<InterfaceState>> {
    Client::connect(database).and_then(|mut client| ovs::observe::interfaces(&mut client)).ok()
}

/// Whoever counts a port, in total. All count on while they are asked, so that what the database says must lie between what
/// another said before and after.
struct Around {
    who: &'static str,
    before: LinkCounters,
    after: LinkCounters,
}

struct Account<'a> {
    world: &'a World,
    declared: &'a Ovs,
    database: PathBuf,
    interval: Duration,
}

impl Account<'_> {
    fn take(&self, before: &[PortCounters]) -> Vec<PortCounters> {
        if before.is_empty() {
            return Vec::new();
        }
        let (kernel, first) = (self.by_kernel(), by_openflow(self.world, self.declared, before));
        let database = self.by_database(&first);
        let (last, kernel_last) = (by_openflow(self.world, self.declared, before), self.by_kernel());
        let one = |port: &PortCounters| {
            let of = |all: &[PortCounters]| all.iter().find(|one| one.same_port(port)).map(|one| one.counters);
            let total = of(&last)?;
            let mut others = vec![Around { who: "its bridge", before: of(&first)?, after: total }];
            if let (None, Some(before), Some(after)) =
                (&port.tunnel, kernel.get(&port.port), kernel_last.get(&port.port))
            {
                others.push(Around { who: "the kernel", before: *before, after: *after });
            }
            let told = database.get(&port.port);
            Some(PortCounters {
                counters: total.since(&port.counters),
                database: told.map(|told| told.since(&port.counters)),
                difference: match told {
                    Some(told) => difference(told, &others),
                    None => Some("the database has no statistics of it".to_owned()),
                }
                .map(|what| format!("{what}{}", self.hint())),
                ..port.clone()
            })
        };
        before.iter().filter_map(one).collect()
    }

    fn hint(&self) -> String {
        match self.interval > LONGEST {
            true => format!(
                "; the switch writes statistics every {} ms only (other_config:stats-update-interval)",
                self.interval.as_millis()
            ),
            false => String::new(),
        }
    }

    /// What the kernel counted for the interfaces of the switch's namespace.
    fn by_kernel(&self) -> HashMap<String, LinkCounters> {
        let counted = self.world.get(&self.declared.daemon.ns).ok().and_then(|ns| kernel::observe::counters(ns).ok());
        counted.into_iter().flatten().map(|(name, counters)| (name.to_string(), counters)).collect()
    }

    /// What the database says as soon as it says no less than the bridges did; what it says in the end where it does not.
    fn by_database(&self, least: &[PortCounters]) -> HashMap<String, LinkCounters> {
        let private = !is_system(&self.declared.daemon.ns);
        // Where it cannot be hurried it is waited for.
        let hurried = private && settings::hurry(&self.database).is_ok();
        let deadline = Instant::now() + self.interval.min(LONGEST) + LATE;
        let told = loop {
            let told: HashMap<String, LinkCounters> =
                states(&self.database).into_iter().flatten().map(|state| (state.name, state.counters)).collect();
            let is_told =
                |port: &PortCounters| told.get(&port.port).is_some_and(|told| is_within(&port.counters, told));
            if least.iter().all(is_told) || Instant::now() >= deadline || crate::apply::interrupted() {
                break told;
            }
            std::thread::sleep(PAUSE);
        };
        if hurried {
            // A switch that has ended meanwhile is named by others.
            let _ = settings::rest(&self.database);
        }
        told
    }
}

/// The four numbers that every account has.
fn numbers(counters: &LinkCounters) -> [(&'static str, u64); 4] {
    [
        ("rx_packets", counters.rx_packets),
        ("rx_bytes", counters.rx_bytes),
        ("tx_packets", counters.tx_packets),
        ("tx_bytes", counters.tx_bytes),
    ]
}

fn is_within(low: &LinkCounters, high: &LinkCounters) -> bool {
    numbers(low).iter().zip(numbers(high)).all(|((_, low), (_, high))| *low <= high)
}

/// Where the database says otherwise than others did just before and just after.
fn difference(told: &LinkCounters, others: &[Around]) -> Option<String> {
    let mut found = Vec::new();
    for other in others {
        for (((name, told), (_, low)), (_, high)) in
            numbers(told).into_iter().zip(numbers(&other.before)).zip(numbers(&other.after))
        {
            if !(low..=high).contains(&told) {
                let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
                found.push(format!("{name} is {told} in the database, {range} by {}", other.who));
            }
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rx: u64, tx: u64) -> LinkCounters {
        LinkCounters { rx_packets: rx, rx_bytes: rx * 100, tx_packets: tx, tx_bytes: tx * 100, ..Default::default() }
    }

    #[test]
    fn the_database_must_say_what_others_said_around_it() {
        let bridge = Around { who: "its bridge", before: counted(10, 20), after: counted(12, 20) };
        for told in [counted(10, 20), counted(11, 20), counted(12, 20)] {
            assert_eq!(difference(&told, std::slice::from_ref(&bridge)), None);
        }
        let kernel = Around { who: "the kernel", before: counted(10, 21), after: counted(12, 22) };
        let said = difference(&counted(13, 20), &[bridge, kernel]).unwrap();
        for text in [
            "rx_packets is 13 in the database, 10 to 12 by its bridge",
            "rx_bytes is 1300 in the database, 1000 to 1200 by its bridge",
            "tx_packets is 20 in the database, 21 to 22 by the kernel",
        ] {
            assert!(said.contains(text), "{said}");
        }
        assert!(!said.contains("tx_packets is 20 in the database, 20"), "{said}");
    }
}
