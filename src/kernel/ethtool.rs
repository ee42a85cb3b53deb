//! ethtool over generic netlink: an own codec of the few messages needed.
//!
//! Numbers are those of include/uapi/linux/ethtool_netlink.h; generated bindings were tried and number the commands
//! wrongly.

mod parameters;
mod rss;
mod short;
mod tunnel_ports;

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
};

pub use parameters::{parameters, set_parameters};
pub use rss::{Rss, rss};
pub use short::{applicable, expand};
pub use tunnel_ports::tunnel_ports;

use super::{
    Result,
    error::Operation,
    netlink::{
        Failure, generic,
        nla::{Writer, attributes, find, text, u32_at},
        sys,
    },
    netns::Netns,
};
use crate::{
    plan::features::another_stands_for,
    units::{BitRate, IfName},
};

const TSINFO_GET: u8 = 25;
const STRSET_GET: u8 = 1;
const LINKMODES_GET: u8 = 4;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
/// `ETHTOOL_FLAG_COMPACT_BITSETS`
const COMPACT: u32 = 1;
/// `ETH_SS_FEATURES`
const FEATURE_NAMES: u32 = 4;

/// A feature of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feature {
    /// In force.
    pub active: bool,
    /// Asked for; what it depends on may keep it from being active.
    pub wanted: bool,
    /// Can it be switched?
    pub changeable: bool,
}

/// All features of a link, by kernel name.
pub fn features(ns: &Netns, name: &IfName) -> Result<BTreeMap<String, Feature>> {
    let operation = || Operation::of("read features of", name, ns.label());
    let names = feature_names(ns).map_err(|failure| operation().failed(failure))?;
    let answer = call(ns, FEATURES_GET, name, COMPACT, |_| {}).map_err(|failure| operation().failed(failure))?;
    // ETHTOOL_A_FEATURES_HW, WANTED, ACTIVE, NOCHANGE
    let [hw, wanted, active, fixed] = [2, 3, 4, 5].map(|kind| find(&answer, kind).map(bits).unwrap_or_default());
    let read = |(number, name): (usize, &String)| {
        let has = |set: &[u32]| set.get(number / 32).is_some_and(|word| word >> (number % 32) & 1 == 1);
        let feature = Feature { active: has(&active), wanted: has(&wanted), changeable: has(&hw) && !has(&fixed) };
        (name.clone(), feature)
    };
    Ok(names.iter().enumerate().filter(|(_, name)| !name.is_empty()).map(read).collect())
}

/// The speed that a port says it has; `None` where it says none (no carrier, or a device that knows of no speed).
///
/// Virtual devices make one up: veth says 10 Gbit/s whatever it carries. Ask [`crate::kernel::nic::is_physical`] first.
///
/// # Errors
/// The link is not there.
pub fn speed(ns: &Netns, name: &IfName) -> Result<Option<BitRate>> {
    // ETHTOOL_A_LINKMODES_SPEED, Mbit/s; SPEED_UNKNOWN is all ones.
    match call(ns, LINKMODES_GET, name, COMPACT, |_| {}) {
        Ok(answer) => {
            let speed = find(&answer, 5).and_then(|value| u32_at(value, 0));
            let known = speed.filter(|&megabits| megabits != 0 && megabits != u32::MAX);
            Ok(known.map(|megabits| BitRate(u64::from(megabits) * 1_000_000)))
        }
        Err(failure) if failure.errno() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(failure) => Err(Operation::of("read the speed of", name, ns.label()).failed(failure)),
    }
}

/// Driver and firmware as the driver itself tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Driver.
    pub driver: Option<String>,
    /// Version of the driver; the kernel's release where the driver has none of its own.
    pub version: Option<String>,
    /// Version of the firmware.
    pub firmware: Option<String>,
    /// Its place on its bus, such as a PCI address.
    pub bus: Option<String>,
}

/// Driver, its version, firmware and place (`ETHTOOL_GDRVINFO`, which ethtool's netlink never got).
///
/// # Errors
/// The link is not there, or its driver tells nothing.
pub fn identity(ns: &Netns, name: &IfName) -> Result<Identity> {
    let operation = || Operation::of("read the driver of", name, ns.label());
    let [driver, version, firmware, bus] =
        ns.within(|| sys::driver_info(name.as_str()))?.map_err(|error| operation().io(error))?;
    // Drivers without firmware say so in many ways.
    let said = |text: String| Some(text).filter(|text| !text.is_empty() && text != "N/A");
    Ok(Identity { driver: said(driver), version: said(version), firmware: said(firmware), bus: said(bus) })
}

/// The driver's own statistics (`ethtool -S`), by its names for them; none where it has none.
///
/// # Errors
/// The link is not there, or its queues change right now.
pub fn statistics(ns: &Netns, name: &IfName) -> Result<BTreeMap<String, u64>> {
    let operation = || Operation::of("read the driver's statistics of", name, ns.label());
    match ns.within(|| sys::driver_statistics(name.as_str()))? {
        Ok(all) => Ok(all.into_iter().collect()),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(BTreeMap::new()),
        Err(error) => Err(operation().io(error)),
    }
}

/// Number of the PTP hardware clock that stamps the interface's packets.
pub fn ptp_clock(ns: &Netns, name: &IfName) -> Option<u32> {
    // ETHTOOL_A_TSINFO_PHC_INDEX
    let answer = call(ns, TSINFO_GET, name, COMPACT, |_| {}).ok()?;
    find(&answer, 5).and_then(|value| u32_at(value, 0)).filter(|&index| index < 1 << 31)
}

/// Switches features. The kernel acknowledges a set even where it refuses a bit, so what is in force is read back: a
/// bit that is not as asked is an error.
pub fn set_features(ns: &Netns, name: &IfName, asked: &BTreeMap<String, bool>) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let list = || asked.iter().map(|(name, on)| format!("{name} {}", on_off(*on))).collect::<Vec<_>>().join(", ");
    let operation = || Operation::on(format!("set {}", list()), name, ns.label());
    call(ns, FEATURES_SET, name, COMPACT, |message| {
        // ETHTOOL_A_FEATURES_WANTED, a verbose bitset: the bits named are the mask, those with a value are on.
        message.nest(3, |set| {
            set.nest(3, |bits| {
                for (name, &on) in asked {
                    bits.nest(1, |bit| {
                        bit.text(2, name);
                        if on {
                            bit.put(3, &[]);
                        }
                    });
                }
            });
        });
    })
    .map_err(|failure| operation().failed(failure))?;
    let now = features(ns, name)?;
    let in_force: BTreeMap<String, bool> = now.iter().map(|(name, feature)| (name.clone(), feature.active)).collect();
    let as_asked = |name: &str, on: bool| match now.get(name) {
        Some(feature) if feature.active == on => true,
        Some(feature) => !feature.changeable && another_stands_for(name, on, &in_force),
        None => true, // a name that this kernel does not have is refused by the set itself
    };
    let refused: Vec<String> = asked
        .iter()
        .filter(|(name, on)| !as_asked(name, **on))
        .map(|(name, on)| {
            let why = match now.get(name) {
                Some(feature) if !feature.changeable => "the device has it fixed",
                Some(feature) if feature.wanted == *on => "something it depends on is off",
                _ => "the driver refused",
            };
            format!("{name} stays {} ({why})", on_off(!on))
        })
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(operation().conflict(refused.join(", "))) }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The words of a compact bitset.
fn bits(set: &[u8]) -> Vec<u32> {
    const ETHTOOL_A_BITSET_VALUE: u16 = 4;
    let value = find(set, ETHTOOL_A_BITSET_VALUE).unwrap_or_default();
    value.chunks_exact(4).filter_map(|word| u32_at(word, 0)).collect()
}

/// Sends a command about a device and returns the attributes of the answer (none for a command that has none).
fn call(
    ns: &Netns,
    command: u8,
    name: &IfName,
    flags: u32,
    fill: impl FnOnce(&mut Writer),
) -> Result<Vec<u8>, Failure> {
    // All requests of the family begin with ETHTOOL_A_*_HEADER (1): DEV_NAME (2), FLAGS (3).
    let mut message = Writer::after(&[command, 1, 0, 0]);
    message.nest(1, |header| {
        header.text(2, name.as_str()).u32(3, flags);
    });
    fill(&mut message);
    send(ns, &message.finish())
}

fn send(ns: &Netns, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let family = family(ns)?;
    let answer = ns.generic()?.request(family, 0, message)?;
    Ok(answer.into_iter().next().map(|body| body.get(4..).unwrap_or_default().to_vec()).unwrap_or_default())
}

/// The number of the `ethtool` family: the same in all namespaces of a running kernel.
fn family(ns: &Netns) -> Result<u16, Failure> {
    static FAMILY: OnceLock<u16> = OnceLock::new();
    if let Some(&family) = FAMILY.get() {
        return Ok(family);
    }
    let id = generic::family(&mut *ns.generic()?, "ethtool")?;
    Ok(*FAMILY.get_or_init(|| id))
}

/// Names of the feature bits, in order; asked once.
fn feature_names(ns: &Netns) -> Result<Vec<String>, Failure> {
    static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if names.is_empty() {
        // ETHTOOL_A_STRSET_STRINGSETS (2): STRINGSET (1): ID (1). The feature names belong to no device.
        let mut message = Writer::after(&[STRSET_GET, 1, 0, 0]);
        message.nest(1, |_| {}).nest(2, |sets| {
            sets.nest(1, |set| {
                set.u32(1, FEATURE_NAMES);
            });
        });
        *names = strings(&send(ns, &message.finish())?);
    }
    Ok(names.clone())
}

/// The strings of the first set in an answer: STRINGSETS (2): STRINGSET (1): STRINGS (3): STRING (1): INDEX (1), VALUE (2).
fn strings(answer: &[u8]) -> Vec<String> {
    let set = find(answer, 2).and_then(|sets| find(sets, 1)).and_then(|set| find(set, 3)).unwrap_or_default();
    let mut found = Vec::new();
    for (_, string) in attributes(set) {
        let number = find(string, 1).and_then(|value| u32_at(value, 0)).unwrap_or_default() as usize;
        if number < 4096 {
            found.resize(found.len().max(number + 1), String::new());
            found[number] = find(string, 2).map(text).unwrap_or_default();
        }
    }
    found
}
