//! Which CPUs the streams got, in words.

use crate::record::{LanePlace, TestRecord};

/// Streams that are listed one by one.
const LISTED: usize = 4;

/// `placement spread: CPU 0 → 2 (two nodes)`, `receive processing on CPU 2`; nothing where it is not known.
pub fn items(test: &TestRecord) -> Vec<String> {
    let lanes = &test.placement[..];
    let Some(first) = lanes.first() else { return Vec::new() };
    let ends = |lane: &LanePlace| format!("{} → {}", lane.client_cpu, lane.server_cpu);
    let mut ways: Vec<String> = lanes.iter().take(LISTED).map(ends).collect();
    ways.dedup();
    if lanes.len() > LISTED {
        ways.push("…".to_owned());
    }
    let relation = match first.relation {
        Some(relation) if lanes.iter().all(|lane| lane.relation == Some(relation)) => format!(" ({})", relation.name()),
        _ => String::new(),
    };
    let policy = test.settings.placement.map(|policy| format!("placement {policy}: ")).unwrap_or_default();
    let word = if lanes.iter().all(|lane| lane.pinned) { "CPU" } else { "ended on CPU" };
    let mut said = vec![format!("{policy}{word} {}{relation}", ways.join(", "))];
    let list = |pick: fn(&LanePlace) -> Option<u32>| {
        let mut found: Vec<u32> = lanes.iter().filter_map(pick).collect();
        found.sort_unstable();
        found.dedup();
        let names: Vec<String> = found.iter().take(LISTED * 2).map(u32::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    said.extend(list(|lane| lane.incoming_cpu).map(|cpus| format!("receive processing on CPU {cpus}")));
    said.extend(list(|lane| lane.napi_id).map(|ids| format!("NAPI {ids}")));
    said
}
