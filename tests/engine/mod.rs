//! Runs of the engine between the two namespaces of [`crate::cables`], and what must hold of every result.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{sync::atomic::AtomicBool, time::Duration};

use netbench::{
    experiment::{Options, options::Asked, run},
    facts::Machine,
    measured::{Side, Test},
    plan::desired::FlowPath,
    record::{RunRecord, TopologyRef},
    topology::model::TestDefaults,
    units::Span,
};

use crate::cables::Lab;

pub fn options(tests: &[Test], millis: u64) -> Options {
    let asked = Asked {
        tests: Some(tests.to_vec()),
        duration: Some(Span(Duration::from_millis(millis))),
        rounds: Some(1),
        ..Asked::default()
    };
    Options::merge(asked, &TestDefaults::default()).unwrap()
}

pub fn record() -> RunRecord {
    RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], TopologyRef::default(), Machine::default())
}

pub fn measure(lab: &Lab, flow: FlowPath, options: &Options) -> RunRecord {
    let mut record = record();
    let mut snapshot = || Ok(lab.counters());
    let interrupt = AtomicBool::new(false);
    run(&mut record, &[flow], options, &mut lab.workers(), &mut snapshot, &mut |_| {}, &interrupt).unwrap();
    record
}

/// Intervals sum to the totals and cover the window.
pub fn check_side(side: &Side, what: &str) {
    assert_eq!(side.intervals.iter().map(|i| i.bytes).sum::<u64>(), side.bytes(), "{what}: bytes of intervals");
    assert_eq!(side.intervals.iter().map(|i| i.units).sum::<u64>(), side.units(), "{what}: units of intervals");
    assert!(side.intervals.windows(2).all(|w| w[0].end_ns == w[1].start_ns), "{what}: {:?}", side.intervals);
    let longest = side.streams.iter().map(|s| s.elapsed_ns).max().unwrap();
    assert_eq!(side.intervals.last().unwrap().end_ns, longest, "{what}");
}

/// The report as it is printed, without styles.
pub fn text(record: &RunRecord) -> String {
    let mut text = Vec::new();
    netbench::report::text(record, &mut anstream::StripStream::new(&mut text)).unwrap();
    String::from_utf8(text).unwrap()
}
