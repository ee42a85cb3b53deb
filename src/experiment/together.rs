//! The sum of flows that ran at the same time, and for how much of it they really did. Pure.

use super::round::Ends;
use crate::{
    measured::Test,
    record::{FlowRecord, LossPlace, LossShare, PathEvidence, TogetherRecord, TogetherRound, Unit},
    stats,
};

/// Share of the longest window in which all windows must be open for a sum to be one.
const ENOUGH: f64 = 0.9;

/// Adds a round; nothing when a pair has no result of it.
pub fn book(into: &mut Vec<TogetherRecord>, test: Test, round: u32, flows: &[FlowRecord], overlap: f64) {
    let of = |flow: &FlowRecord| -> Option<(f64, u32)> {
        let test = flow.tests.iter().find(|found| found.test == test)?;
        let found = test.rounds.iter().find(|found| found.round == round)?;
        Some((found.headline, test.settings.streams))
    };
    let Some(found) = flows.iter().map(of).collect::<Option<Vec<_>>>() else { return };
    let at = into.iter().position(|sum| sum.test == test).unwrap_or_else(|| {
        let unit = Unit::of(test);
        let streams = found.first().map_or(0, |&(_, streams)| streams);
        into.push(TogetherRecord { test, pairs: flows.len() as u32, streams, unit, rounds: vec![], headline: None });
        into.len() - 1
    });
    let sum = &mut into[at];
    let headline = found.iter().map(|&(headline, _)| headline).sum();
    sum.rounds.push(TogetherRound { round, headline, overlap });
    sum.headline = stats::spread(&sum.rounds.iter().map(|round| round.headline).collect::<Vec<_>>());
}

/// For which share of the longest window all of them were open.
pub fn overlap(test: Test, ends: &[Ends]) -> f64 {
    let window = |ends: &Ends| {
        let (side, opened) = match test.is_judged_by_client() {
            true => (&ends.client, ends.opened_ns[0]),
            false => (&ends.server, ends.opened_ns[1]),
        };
        (opened, side.streams.iter().map(|stream| stream.elapsed_ns).max().unwrap_or(0))
    };
    let windows: Vec<(u64, u64)> = ends.iter().map(window).collect();
    let longest = windows.iter().map(|&(_, length)| length).max().unwrap_or(0);
    let begin = windows.iter().map(|&(from, _)| from).max().unwrap_or(0);
    let end = windows.iter().map(|&(from, length)| from + length).min().unwrap_or(0);
    if longest == 0 { 0.0 } else { (end.saturating_sub(begin) as f64 / longest as f64).min(1.0) }
}

/// What a hop that several flows cross counted may be any one's: the charge is an upper bound then.
pub fn soften(losses: &mut [LossShare], own: &PathEvidence, others: &[PathEvidence]) {
    let shared = |at: &str| others.iter().flat_map(|path| &path.hops).filter(|hop| hop.at == at).count() > 1;
    for loss in losses {
        loss.at_most |= match loss.place {
            LossPlace::Qdisc | LossPlace::Interface => loss.at.as_deref().is_some_and(shared) || own.hops.is_empty(),
            LossPlace::Backlog => true,
            LossPlace::ReceivingSocket | LossPlace::Unexplained => false,
        };
    }
}

/// What a reader should know.
pub fn warnings(sums: &[TogetherRecord]) -> Vec<String> {
    let worst = |sum: &TogetherRecord| sum.rounds.iter().map(|round| round.overlap).fold(1.0, f64::min);
    let late = sums.iter().filter(|sum| worst(sum) < ENOUGH);
    let say = |sum: &TogetherRecord| {
        let share = worst(sum) * 100.0;
        format!(
            "{}: the {} pairs ran together for {share:.0} % of the window only; their sum counts what ran apart too: try a longer --duration, or --omit",
            sum.test, sum.pairs
        )
    };
    late.map(say).collect()
}
