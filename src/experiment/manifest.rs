//! Reads what a run is measured in: devices of the paths, offloads, MTUs, queueing disciplines, sysctls.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    apply::world::World,
    kernel::{self, Wanted, ethtool},
    plan::desired::{Desired, FlowPath},
    record::manifest::{HopFacts, Manifest},
    units::CpuList,
};

/// sysctls that decide how TCP and UDP go, whoever set them; those that a kernel lacks are left out.
const TUNING: &[&str] = &[
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_mtu_probing",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.default_qdisc",
    "net.core.busy_read",
    "net.core.netdev_max_backlog",
    "net.core.netdev_budget",
];

/// Reads it. What cannot be read stands in `missing`; nothing here stops a measurement.
pub fn read(
    world: &World,
    desired: &Desired,
    flows: &[FlowPath],
    text: &str,
    command: &[String],
    cpus: &BTreeMap<String, CpuList>,
) -> Manifest {
    let mut manifest = Manifest {
        topology: text.to_owned(),
        rerun: command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        placement: cpus.clone(),
        ..Manifest::default()
    };
    let ends = flows.iter().flat_map(|path| [&path.from_ns, &path.to_ns]);
    let crossed = flows.iter().flat_map(|path| path.hops.iter().map(|hop| &hop.at.ns));
    let namespaces: BTreeSet<_> = ends.chain(crossed).collect();
    let mut links = BTreeMap::new();
    for id in namespaces {
        let declared = desired.namespace(id).into_iter().flat_map(|ns| ns.sysctl.keys().cloned());
        let sysctl = declared.chain(TUNING.iter().map(|&key| key.to_owned())).collect();
        let wanted = Wanted { sysctl, qdiscs: true, ..Wanted::links_only() };
        let read = world.get(id).map_err(|error| error.to_string());
        match read.and_then(|ns| kernel::observe(ns, &wanted).map_err(|error| error.to_string())) {
            Ok(observed) => {
                manifest.sysctls.insert(id.0.clone(), observed.sysctl);
                links.insert(id, observed.links);
            }
            Err(error) => manifest.missing.push(error),
        }
    }
    let mut seen = BTreeSet::new();
    for hop in flows.iter().flat_map(|path| &path.hops).filter(|hop| seen.insert(&hop.at)) {
        let Some(link) = links.get(&hop.at.ns).and_then(|links| links.get(&hop.at.name)) else { continue };
        let mut facts = HopFacts {
            at: hop.at.to_string(),
            kind: link.kind.clone(),
            mtu: link.mtu,
            mtu_wanted: hop.mtu,
            qdisc: link.qdisc.as_ref().map(|qdisc| qdisc.kind.clone()),
            gso_max_size: link.gso_max_size,
            ..HopFacts::default()
        };
        // A bridge or a tunnel may have no driver that says anything.
        let identity = world.get(&hop.at.ns).ok().and_then(|ns| ethtool::identity(ns, &hop.at.name).ok());
        (facts.driver, facts.driver_version, facts.firmware) =
            identity.map_or((None, None, None), |it| (it.driver, it.version, it.firmware));
        let features = world.get(&hop.at.ns).map_err(|error| error.to_string());
        match features.and_then(|ns| ethtool::features(ns, &hop.at.name).map_err(|error| error.to_string())) {
            Ok(features) => offloads(&mut facts, &features),
            Err(error) => manifest.missing.push(error),
        }
        manifest.hops.push(facts);
    }
    manifest
}

fn offloads(facts: &mut HopFacts, features: &BTreeMap<String, ethtool::Feature>) {
    let names = |fits: &dyn Fn(&ethtool::Feature) -> bool| {
        let fitting = features.iter().filter(|(name, feature)| {
            // The rest is about how the driver is written, not about what it does for packets.
            (name.starts_with("tx-") || name.starts_with("rx-")) && fits(feature)
        });
        fitting.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    facts.active = names(&|feature| feature.active);
    facts.wanted_inactive = names(&|feature| feature.wanted && !feature.active);
    facts.off = names(&|feature| feature.changeable && !feature.wanted && !feature.active);
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(quoted("--flow=a:b"), "--flow=a:b");
        assert_eq!(quoted("my file.toml"), "'my file.toml'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
