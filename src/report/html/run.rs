//! The page of a run.

use super::{charts, history, label, markup::Html, network, setup, time};
use crate::{
    record::{FlowRecord, RunRecord, Summary, TestRecord, history::Past},
    report::quantity,
};

/// Its sections.
/// All between the page's title and its setup.
pub fn body(html: &mut Html, record: &RunRecord, run: Option<i64>, past: &[Past]) {
    let tests: Vec<(&FlowRecord, &TestRecord)> =
        record.flows.iter().flat_map(|flow| flow.tests.iter().map(move |test| (flow, test))).collect();
    answer(html, record, &tests);
    super::sections(html);
    html.section("figures", "Figures");
    charts::tests(html, &tests);
    charts::percentiles(html, &tests);
    html.section("time", "Over time");
    time::all(html, &tests);
    charts::cpus(html, &tests);
    network::paths(html, record);
    if let Some(manifest) = &record.manifest {
        network::offloads(html, "", manifest);
    }
    history::all(html, past, run);
    let mut rows = Vec::new();
    if let Some(sequential) = &record.sequential {
        let (half, budget) = (sequential.rule.half_width * 100.0, sequential.rule.budget_s);
        rows.push(vec!["rounds".to_owned(), format!("until every median is known to ±{half} %, at most {budget} s")]);
    }
    setup::head(html, &record.fingerprint(), rows);
    record.manifest.iter().for_each(|manifest| setup::manifest(html, "", manifest));
}

/// Verdict first, then every median with its interval against its ceiling, then what to know before trusting them.
fn answer(html: &mut Html, record: &RunRecord, tests: &[(&FlowRecord, &TestRecord)]) {
    let verdict = match (record.is_valid(), record.has_failed()) {
        (false, _) => (false, "NOT VALID: not every figure may be believed"),
        (true, true) => (false, "FAILED: a ceiling was not reached"),
        (true, false) => (true, "Valid: the bytes took the declared path, and the books agree"),
    };
    super::answer(html, verdict, (&record.warnings, record.interrupted), |h| {
        let rows: Vec<Vec<String>> = tests.iter().map(|(flow, test)| answer_row(flow, test)).collect();
        let header = ["test", "median", "interval", "rounds", "of the ceiling", "p50 / p99", "verdict"];
        h.table("Medians over the rounds", &header, &rows);
        for (flow, test) in tests {
            for reason in &test.verdict.reasons {
                h.leaf("p", &[("class", "bad")], &format!("{}: {reason}", label(flow, test)));
            }
        }
        for proof in record.proofs.iter().filter(|proof| !proof.holds) {
            h.leaf("p", &[("class", "bad")], &proof.text);
        }
    });
}

fn answer_row(flow: &FlowRecord, test: &TestRecord) -> Vec<String> {
    let verdict = match (&test.ceiling, test.verdict.valid) {
        (_, false) => "NOT VALID",
        (Some(ceiling), true) if ceiling.pass == Some(false) => "FAIL",
        (Some(ceiling), true) if ceiling.pass == Some(true) => "PASS",
        _ => "valid",
    };
    let none = || "–".to_owned();
    let figure = |say: &dyn Fn(&Summary) -> String| test.summary.as_ref().map_or_else(none, say);
    let latency = |summary: &Summary| {
        let time = |nanos: u64| quantity::time(nanos as f64);
        summary.latency.map_or_else(none, |latency| format!("{} / {}", time(latency.p50_ns), time(latency.p99_ns)))
    };
    let ceiling = test.ceiling.as_ref().map(|ceiling| {
        let most = quantity::headline(ceiling.bits_per_second, crate::record::Unit::BitsPerSecond);
        format!("{:.1} % of {most} at {}", ceiling.share() * 100.0, ceiling.at)
    });
    vec![
        label(flow, test),
        figure(&|summary| quantity::headline(summary.headline.median, summary.unit)),
        figure(&|summary| super::interval(&summary.headline, summary.unit)),
        test.rounds.len().to_string(),
        ceiling.unwrap_or_else(none),
        figure(&latency),
        verdict.to_owned(),
    ]
}
