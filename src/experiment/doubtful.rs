//! From the rounds of a test to the warnings of [`crate::stats::warning`]. Pure.

use std::collections::BTreeMap;

use crate::{
    measured::CpuLoad,
    record::{Limit, TestRecord},
    stats::warning::{self, Warning},
};

/// Everything that makes the figures of this test doubtful.
pub fn warnings(test: &TestRecord) -> Vec<Warning> {
    let mut found = Vec::new();
    found.extend(test.summary.as_ref().and_then(|summary| warning::unsteady(summary.headline.cv)));
    let loads = || test.rounds.iter().flat_map(|round| [&round.client, &round.server]).flat_map(|side| &side.cpus);
    found.extend(warning::steal(loads().map(|load| load.steal)));
    found.extend(drift(loads()));
    found.extend(warning::softirq(loads().map(|load| (load.cpu, load.softirq))));
    let limited = |limit: Limit| limit == Limit::Generator;
    let rounds = test.rounds.iter().filter(|round| round.bottleneck.as_ref().is_some_and(|b| limited(b.limit))).count();
    if rounds > 0 {
        found.push(Warning::GeneratorLimited { rounds: rounds as u32, of: test.rounds.len() as u32 });
    }
    found
}

/// The CPU whose frequency differed most between rounds.
fn drift<'l>(loads: impl Iterator<Item = &'l CpuLoad>) -> Option<Warning> {
    let mut by_cpu: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    // What an idle CPU does with its clock is no one's concern.
    for load in loads.filter(|load| load.idle < 0.5) {
        by_cpu.entry(load.cpu).or_default().extend(load.mhz);
    }
    let low = |warning: &Warning| if let Warning::FrequencyDrift { low_mhz, .. } = warning { *low_mhz } else { 0.0 };
    by_cpu.into_values().filter_map(warning::frequency_drift).min_by(|a, b| low(a).total_cmp(&low(b)))
}
