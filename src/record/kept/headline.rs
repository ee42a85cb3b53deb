//! The answer of each kind in a few words, for lists.

use crate::record::{
    BisectRecord, OffloadRecord, OffloadVerdict,
    mtu::MtuReport,
    sweep::{OverheadReport, SearchEnd, SearchReport, SweepReport, TuneReport},
};

pub fn sweep(report: &SweepReport) -> String {
    let count = report.variants.len();
    let Some(result) = report.results.first() else { return format!("{count} variants, no figure") };
    let best = result.cells.iter().max_by(|a, b| a.headline.median.total_cmp(&b.headline.median));
    let Some(best) = best else { return format!("{count} variants, no figure") };
    let label = report.variants.get(best.variant as usize - 1).map_or("", |variant| variant.label.as_str());
    format!("{count} variants, best {}: {label}", result.unit.amount(best.headline.median))
}

pub fn tune(report: &TuneReport) -> String {
    let Some(tuned) = report.tuned.first() else { return "no figure".to_owned() };
    let unit = crate::record::Unit::of(tuned.test);
    match tuned.no_difference {
        true => format!("no difference between {} MTUs", report.mtus.len()),
        false => format!("best MTU {}, {}", tuned.best, unit.amount(tuned.headline.median)),
    }
}

pub fn overhead(report: &OverheadReport) -> String {
    let ends = report.waterfalls.first().and_then(|w| Some((w, w.layers.first()?, w.layers.last()?)));
    let Some((waterfall, bare, top)) = ends else { return "no figure".to_owned() };
    let unit = crate::record::Unit::of(waterfall.test);
    let (bare, top) = (unit.amount(bare.headline.median), unit.amount(top.headline.median));
    format!("{bare} bare, {top} with {} layers", waterfall.layers.len() - 1)
}

pub fn probe(report: &MtuReport) -> String {
    let fault = report.directions.iter().flat_map(|direction| &direction.findings).find(|finding| finding.fault);
    let mtus: Vec<String> = report
        .directions
        .iter()
        .map(|direction| direction.largest.map_or_else(|| "nothing passes".to_owned(), |mtu| mtu.to_string()))
        .collect();
    let mut distinct = mtus.clone();
    distinct.dedup();
    let text = if distinct.len() == 1 { distinct } else { mtus }.join(", ");
    match fault {
        Some(fault) => format!("{}, MTU {text}", fault.verdict.word()),
        None => format!("MTU {text}, nothing wrong"),
    }
}

pub fn search(report: &SearchReport) -> String {
    match (report.ended, report.lower) {
        (SearchEnd::NoneFits, _) | (_, None) => "no rate meets the limits".to_owned(),
        (_, Some(lower)) => format!("{} {} meets the limits", report.test, report.unit.amount(lower)),
    }
}

pub fn verify(record: &OffloadRecord) -> String {
    let mut counts: Vec<(OffloadVerdict, usize)> = Vec::new();
    for check in &record.checks {
        match counts.iter_mut().find(|(verdict, _)| *verdict == check.verdict) {
            Some((_, count)) => *count += 1,
            None => counts.push((check.verdict, 1)),
        }
    }
    counts.sort_by_key(|(verdict, _)| std::cmp::Reverse(super::badness(*verdict)));
    let words: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.text())).collect();
    words.join(", ")
}

pub fn bisect(record: &BisectRecord) -> String {
    match (record.met_as_found, record.culprits.as_slice()) {
        (true, _) => "the goal is met as found".to_owned(),
        (false, []) => "no set of features meets the goal".to_owned(),
        (false, culprits) => culprits.join(", "),
    }
}
