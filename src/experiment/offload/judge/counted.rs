//! What devices and their drivers count by themselves, as evidence beside what was seen.

use std::collections::BTreeSet;

use super::Probed;
use crate::{experiment::drivers::Drivers, plan::desired::LinkRef};

/// What the device itself counted, where it counts: with the feature on, and off where that differs.
pub fn by_devices(at: &LinkRef, off: &Probed, on: &Probed) -> String {
    let (Some(with), without) = (on.counted.get(at), off.counted.get(at)) else { return String::new() };
    let before = |name: &str| without.and_then(|without| without.get(name)).copied().unwrap_or_default();
    let told = with.iter().filter(|(name, count)| **count > 0 || before(name) > 0);
    let text: Vec<String> =
        told.map(|(name, count)| format!("{name} {count} with it on, {} with it off", before(name))).collect();
    if text.is_empty() { String::new() } else { format!("; the device counted {}", text.join(", ")) }
}

/// Drops and errors that the drivers of the two devices told of (`ethtool -S`): with the feature on, and off.
pub fn by_drivers(off: &Probed, on: &Probed) -> String {
    let count = |probed: &Probed, at: &LinkRef, name: &String| {
        let of = |drivers: &Drivers| drivers.get(at).and_then(|all| all.get(name)).copied().unwrap_or_default();
        of(&probed.drivers) + probed.crafted.as_ref().map_or(0, |crafted| of(&crafted.drivers))
    };
    let of = |probed: &Probed| {
        let parts = [Some(probed.drivers.clone()), probed.crafted.as_ref().map(|crafted| crafted.drivers.clone())];
        let each = parts.into_iter().flatten().flatten();
        each.flat_map(|(at, all)| all.into_keys().map(move |name| (at.clone(), name))).collect::<BTreeSet<_>>()
    };
    let text = |(at, name): &(LinkRef, String)| {
        format!("{at} {name} {} with it on, {} with it off", count(on, at, name), count(off, at, name))
    };
    told(of(on).union(&of(off)).map(text).collect())
}

/// The same of a whole path.
pub fn of_path(drivers: &Drivers) -> String {
    let each = drivers.iter().flat_map(|(at, all)| all.iter().map(move |(name, count)| format!("{at} {name} {count}")));
    told(each.collect())
}

fn told(text: Vec<String>) -> String {
    if text.is_empty() { String::new() } else { format!("; drivers told of {}", text.join(", ")) }
}
