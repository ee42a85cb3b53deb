//! Is everything as it was before? Features, rings, channels, coalescing, how long a device waits, and where its interrupts go: a driver may
//! change them along with a feature.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    checks::{Features, Target},
    drive::features,
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::{ethtool, napi, nic},
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
};

/// Values of devices, by name.
type Values = BTreeMap<LinkRef, BTreeMap<String, String>>;

/// Changes that others brought along, of which the evidence tells so many.
const TOLD: usize = 3;

/// All that can be compared.
#[derive(Debug)]
pub struct Before {
    features: Features,
    parameters: Values,
    interrupts: Values,
}

/// What a comparison found, one sentence each.
#[derive(Debug, Default)]
pub struct Now {
    /// Not as before.
    pub left: Vec<String>,
    /// Interrupts that go elsewhere. The driver did that, or whoever balances interrupts: not put back.
    pub moved: Vec<String>,
}

impl Before {
    /// Reads it.
    pub fn read(world: &World, targets: &[Target], features: &Features) -> Result<Self, ApplyError> {
        Ok(Self {
            features: features.clone(),
            parameters: parameters(world, targets)?,
            interrupts: interrupts(world, targets),
        })
    }

    /// What differs now.
    pub fn compared(&self, world: &World, targets: &[Target]) -> Now {
        let mut left = residue(world, targets, &self.features);
        match parameters(world, targets) {
            Ok(now) => left.extend(differences(&self.parameters, &now)),
            Err(error) => left.push(error.to_string()),
        }
        Now { left, moved: differences(&self.interrupts, &interrupts(world, targets)) }
    }

    /// The check.
    pub fn row(&self, left: &[String], moved: &[String], along: &BTreeSet<String>) -> OffloadCheck {
        let clean = left.is_empty();
        let mut evidence = match clean {
            true => {
                let values: usize = self.parameters.values().map(BTreeMap::len).sum();
                format!(
                    "every feature of {} devices is as it was before, and so are {values} values of rings, channels, coalescing and waiting",
                    self.features.len()
                )
            }
            false => left.join("; "),
        };
        let bound: usize = self.interrupts.values().map(BTreeMap::len).sum();
        if !moved.is_empty() {
            evidence +=
                &format!("; interrupts go elsewhere, by the driver or by who balances them: {}", moved.join("; "));
        } else if bound > 0 {
            evidence += &format!("; {bound} interrupts go to the CPUs that they went to");
        }
        if !along.is_empty() {
            let told: Vec<&str> = along.iter().take(TOLD).map(String::as_str).collect();
            let more = along.len().saturating_sub(TOLD);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            evidence += &format!("; meanwhile others changed along: {}{more}", told.join("; "));
        }
        OffloadCheck::new(
            "all devices",
            "state",
            if clean { OffloadVerdict::Pass } else { OffloadVerdict::NotActive },
            evidence,
        )
    }
}

/// `server/eth0: tx-checksum-ip-generic off took tx-tcp-segmentation off`; nothing where only what was asked for changed.
pub fn along(at: &LinkRef, asked: &BTreeMap<String, bool>, others: &[String]) -> Option<String> {
    let on = |on: &bool| if *on { "on" } else { "off" };
    let asked: Vec<String> = asked.iter().map(|(name, value)| format!("{name} {}", on(value))).collect();
    (!others.is_empty()).then(|| format!("{at}: {} made {}", asked.join(", "), others.join(", ")))
}

/// Rings, channels, coalescing and how long a device waits, of every device of the targets.
fn parameters(world: &World, targets: &[Target]) -> Result<Values, ApplyError> {
    let mut all = Values::new();
    for hop in targets.iter().flat_map(|target| &target.path.hops) {
        if !all.contains_key(&hop.at) {
            let ns = world.get(&hop.at.ns)?;
            let waits = napi::waits(ns, &hop.at.name)?.into_iter().map(|(name, value)| (name, value.to_string()));
            let others = ethtool::parameters(ns, &hop.at.name)?.into_iter();
            let values = waits.chain(others.map(|(name, value)| (name, value.to_string()))).collect();
            all.insert(hop.at.clone(), values);
        }
    }
    Ok(all)
}

/// The CPUs that the interrupts of every device on a bus are bound to.
fn interrupts(world: &World, targets: &[Target]) -> Values {
    let mut all = Values::new();
    for hop in targets.iter().flat_map(|target| &target.path.hops) {
        let bus = || ethtool::identity(world.get(&hop.at.ns).ok()?, &hop.at.name).ok()?.bus;
        if !all.contains_key(&hop.at)
            && let Some(bus) = bus()
        {
            all.insert(hop.at.clone(), nic::affinities(&bus));
        }
    }
    all
}

/// What differs between two such, one sentence each.
fn differences(before: &Values, now: &Values) -> Vec<String> {
    let mut left = Vec::new();
    for (at, values) in before {
        for (name, was) in values {
            match now.get(at).and_then(|now| now.get(name)) {
                Some(is) if is == was => {}
                Some(is) => left.push(format!("{at}: {name} was {was}, is {is} now")),
                None => left.push(format!("{at}: {name} was {was}, is not there now")),
            }
        }
    }
    left
}

/// Features that differ from before, one sentence each.
pub fn residue(world: &World, targets: &[Target], before: &Features) -> Vec<String> {
    let now = match features(world, targets) {
        Ok(now) => now,
        Err(error) => return vec![error.to_string()],
    };
    let mut left = Vec::new();
    for (at, known) in before {
        let Some(is) = now.get(at) else { continue };
        let differs = |(name, was): &(&String, &ethtool::Feature)| is.get(*name) != Some(*was);
        left.extend(
            known.iter().filter(differs).map(|(name, was)| {
                format!("{at}: {name} was {}, is not so now", if was.active { "on" } else { "off" })
            }),
        );
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::NsId;

    #[test]
    fn a_ring_that_changed_along_is_named() {
        let at = LinkRef { ns: NsId("a".into()), name: "eth0".parse().unwrap() };
        let of = |values: &[(&str, u64)]| {
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
            BTreeMap::from([(at.clone(), values)])
        };
        let before = of(&[("rings.rx", 256), ("coalesce.rx-usecs", 3), ("channels.combined", 2)]);
        assert!(differences(&before, &before).is_empty());
        let left = differences(&before, &of(&[("rings.rx", 512), ("coalesce.rx-usecs", 3)]));
        assert_eq!(left, ["a/eth0: channels.combined was 2, is not there now", "a/eth0: rings.rx was 256, is 512 now"]);
    }

    #[test]
    fn what_came_along_and_interrupts_that_moved_are_told() {
        let at = LinkRef { ns: NsId("a".into()), name: "eth0".parse().unwrap() };
        let asked = BTreeMap::from([("tx-checksum-ip-generic".to_owned(), false)]);
        assert_eq!(along(&at, &asked, &[]), None);
        let told = along(&at, &asked, &["tx-tcp-segmentation off".to_owned()]).unwrap();
        assert_eq!(told, "a/eth0: tx-checksum-ip-generic off made tx-tcp-segmentation off");
        let of =
            |cpus: &str| Values::from([(at.clone(), BTreeMap::from([("interrupt 1".to_owned(), cpus.to_owned())]))]);
        let before = Before { features: Features::new(), parameters: Values::new(), interrupts: of("0-1") };
        assert_eq!(differences(&before.interrupts, &of("1")), ["a/eth0: interrupt 1 was 0-1, is 1 now"]);
        let all: BTreeSet<String> = (1..=5).map(|number| format!("change {number}")).collect();
        let row = before.row(&[], &differences(&before.interrupts, &of("1")), &all);
        assert_eq!(row.verdict, OffloadVerdict::Pass, "who balances interrupts may do that at any time");
        assert!(row.evidence.contains("interrupt 1 was 0-1, is 1 now"), "{row:?}");
        assert!(row.evidence.ends_with("changed along: change 1; change 2; change 3; and 2 more"), "{row:?}");
        let same = before.row(&["a/eth0: rings.rx was 1, is 2 now".to_owned()], &[], &BTreeSet::new());
        assert_eq!(same.verdict, OffloadVerdict::NotActive);
        assert!(same.evidence.ends_with("1 interrupts go to the CPUs that they went to"), "{same:?}");
    }
}
