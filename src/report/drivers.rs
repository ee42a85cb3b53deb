//! What the drivers of a path's interfaces counted for themselves.

use std::collections::BTreeMap;

use crate::record::{PathEvidence, TestRecord};

/// `driver of server/eth0: rx_queue_0_xdp_drops 812`, over all rounds; nothing where nothing rose.
pub(super) fn items(test: &TestRecord) -> Vec<String> {
    let mut all: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for hop in test.rounds.iter().flat_map(|round| &round.path.hops) {
        for (name, count) in &hop.driver {
            *all.entry(&hop.at).or_default().entry(name).or_default() += count;
        }
    }
    let said = |(at, counts): (&str, BTreeMap<&str, u64>)| {
        let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("driver of {at}: {}", counts.join(", "))
    };
    all.into_iter().map(|(at, counts)| said((at, counts))).collect()
}

/// The same of one round.
pub(super) fn of_path(path: &PathEvidence) -> Vec<String> {
    let said = |(name, count): (&String, &u64)| format!("{name} {count}");
    let hops = path.hops.iter().filter(|hop| !hop.driver.is_empty());
    hops.map(|hop| format!("driver of {}: {}", hop.at, hop.driver.iter().map(said).collect::<Vec<_>>().join(", ")))
        .collect()
}
