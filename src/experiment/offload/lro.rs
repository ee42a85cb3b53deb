//! LRO must be off where packets are passed on: what it puts together cannot be taken apart as it was.

use std::collections::BTreeSet;

use super::checks::{Features, Target};
use crate::{
    apply::{ApplyError, world::World},
    kernel::{self, Netns, ethtool::Feature},
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
    units::IfName,
};

/// Name of the check.
pub const NAME: &str = "lro-forwarding";
/// The feature.
const FEATURE: &str = "rx-lro";

/// Rows of the devices of the paths that have LRO and pass packets on.
///
/// # Errors
/// A namespace or the kernel could not be asked.
pub fn rows(world: &World, targets: &[Target], features: &Features) -> Result<Vec<OffloadCheck>, ApplyError> {
    let (mut rows, mut done) = (Vec::new(), BTreeSet::new());
    for target in targets {
        for hop in &target.path.hops {
            let Some(lro) = features.get(&hop.at).and_then(|known| known.get(FEATURE)) else { continue };
            // The others do not have it.
            if !(lro.changeable || lro.active) || !done.insert(hop.at.clone()) {
                continue;
            }
            let user = target.userspace_ovs.contains(&hop.at);
            if let Some(why) = passes_on(world.get(&hop.at.ns)?, &hop.at.name, user)? {
                rows.push(judge(&target.way(false).text, &hop.at, *lro, &why));
            }
        }
    }
    Ok(rows)
}

/// Why a device's packets are passed on; nothing where they end at this host.
fn passes_on(ns: &Netns, name: &IfName, userspace: bool) -> Result<Option<String>, ApplyError> {
    if userspace {
        return Ok(Some("a port of an Open vSwitch in user space".to_owned()));
    }
    let seen = kernel::observe(ns, &kernel::Wanted::links_only())?;
    let master = seen.links.get(name).and_then(|link| link.master);
    if let Some((master, link)) = master.and_then(|index| seen.links.iter().find(|(_, link)| link.index == index)) {
        // A bond is no switch: its members' packets are its own.
        if link.kind != "bond" && link.kind != "team" {
            return Ok(Some(format!("a port of {master}")));
        }
    }
    // A slash stands for the dots of an interface's name.
    let of = |family: &str| format!("net.{family}.conf.{}.forwarding", name.as_str().replace('.', "/"));
    for family in ["ipv4", "ipv6"] {
        if ns.sysctl(&of(family))?.is_some_and(|value| value.trim() == "1") {
            return Ok(Some(format!("an interface of a router ({family} forwarding)")));
        }
    }
    Ok(None)
}

/// The row of a device with LRO that passes packets on.
pub fn judge(path: &str, at: &LinkRef, lro: Feature, why: &str) -> OffloadCheck {
    let (verdict, evidence) = match (lro.active, lro.wanted) {
        (true, _) => (
            OffloadVerdict::Corrupt,
            format!("{FEATURE} is on, and {at} is {why}: what it puts together goes out otherwise than it came"),
        ),
        (false, true) => (OffloadVerdict::Pass, format!("{FEATURE} is off though it was asked for: {at} is {why}")),
        (false, false) => (OffloadVerdict::Pass, format!("{FEATURE} is off, as it must be: {at} is {why}")),
    };
    OffloadCheck {
        device: Some(at.to_string()),
        features: vec![FEATURE.to_owned()],
        cure: lro.active.then(|| format!("in {}: `ethtool -K {} lro off`", at.ns, at.name)),
        ..OffloadCheck::new(path, NAME, verdict, evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::NsId;

    #[test]
    fn on_where_packets_are_passed_on_is_a_fault() {
        let at = LinkRef { ns: NsId("fabric".into()), name: "eth0".parse().unwrap() };
        let of = |active, wanted| judge("a -> b", &at, Feature { active, wanted, changeable: true }, "a port of br1");
        let row = of(true, true);
        assert_eq!(row.verdict, OffloadVerdict::Corrupt);
        assert_eq!(row.cure.as_deref(), Some("in fabric: `ethtool -K eth0 lro off`"));
        let row = of(false, true);
        assert_eq!((row.verdict, row.cure), (OffloadVerdict::Pass, None));
        assert_eq!(row.evidence, "rx-lro is off though it was asked for: fabric/eth0 is a port of br1");
        assert!(of(false, false).evidence.contains("off, as it must be"));
    }
}
