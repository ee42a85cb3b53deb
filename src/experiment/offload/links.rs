//! Carriers of the devices of the paths: a driver that switches a feature may reset its card, and the card at the other end of the
//! cable sees that too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::checks::Target;
use crate::{
    apply::{ApplyError, world::World},
    kernel,
    plan::desired::{LinkRef, NsId},
    units::IfName,
};

/// How long a carrier may take to come back; what has none by then is left to the probe.
const WITHIN: Duration = Duration::from_secs(10);

/// Devices that had a carrier before anything was switched, by namespace.
#[derive(Debug)]
pub struct Links {
    up: BTreeMap<NsId, BTreeSet<IfName>>,
}

impl Links {
    /// Those of the targets.
    ///
    /// # Errors
    /// A namespace is not there, or the kernel could not be asked.
    pub fn read(world: &World, targets: &[Target]) -> Result<Self, ApplyError> {
        let mut up: BTreeMap<NsId, BTreeSet<IfName>> = BTreeMap::new();
        for LinkRef { ns, name } in targets.iter().flat_map(|target| &target.path.hops).map(|hop| &hop.at) {
            up.entry(ns.clone()).or_default().insert(name.clone());
        }
        for (ns, names) in &mut up {
            let has = carriers(world, ns)?;
            names.retain(|name| has.contains(name));
        }
        Ok(Self { up })
    }

    /// Waits until all of them have a carrier again, but not for ever. Where the kernel cannot be asked the next probe says so.
    pub fn wait(&self, world: &World) {
        let deadline = Instant::now() + WITHIN;
        for (ns, names) in &self.up {
            while carriers(world, ns).is_ok_and(|has| !names.is_subset(&has)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Devices of a namespace that have a carrier.
fn carriers(world: &World, ns: &NsId) -> Result<BTreeSet<IfName>, ApplyError> {
    let seen = kernel::observe(world.get(ns)?, &kernel::Wanted::links_only())?;
    Ok(seen.links.into_iter().filter(|(_, link)| link.carrier).map(|(name, _)| name).collect())
}
