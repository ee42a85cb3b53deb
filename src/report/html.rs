//! A run as one page of HTML that needs nothing else: drawings are SVG, the style and the few lines of script are in the page, and its
//! policy lets nothing be fetched and no other script run. The answer comes first.

mod charts;
mod markup;
mod network;
mod svg;

use markup::Html;

use super::quantity;
use crate::record::{FlowRecord, RunRecord, Summary, TestRecord, history::Past};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");
/// The policy has the script's SHA-256: `openssl dgst -sha256 -binary script.js | base64`. A browser runs no other; the test in a browser
/// fails when it is not current.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-u4AmR4QjizqwDN4Am1aen+eENeQRNgkdkKjr+zEc1gc='";

/// The page: of a record, its number in the store, and the earlier runs of its topology, oldest first.
pub fn page(record: &RunRecord, run: Option<i64>, history: &[Past]) -> String {
    let mut html = Html::default();
    html.fixed("<!DOCTYPE html>\n");
    html.open("html", &[("lang", "en")]);
    html.within("head", &[], |h| {
        h.empty("meta", &[("charset", "utf-8")]);
        h.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
        h.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
        h.leaf("title", &[], &format!("{} – netbench", title(record, run)));
        h.within("style", &[], |h| h.fixed(STYLE));
    });
    html.within("body", &[], |h| {
        h.leaf("a", &[("class", "skip"), ("href", "#answer")], "To the answer");
        h.within("main", &[], |h| body(h, record, run, history));
        h.within("script", &[], |h| h.fixed(SCRIPT));
    });
    html.finish()
}

fn title(record: &RunRecord, run: Option<i64>) -> String {
    let number = run.map(|run| format!("run {run}, ")).unwrap_or_default();
    format!("{}, {number}{}", record.topology.name, record.started)
}

/// `TCP_STREAM client → server`
fn label(flow: &FlowRecord, test: &TestRecord) -> String {
    format!("{} {} → {}", test.test, flow.from, flow.to)
}

fn body(html: &mut Html, record: &RunRecord, run: Option<i64>, history: &[Past]) {
    let tests: Vec<(&FlowRecord, &TestRecord)> =
        record.flows.iter().flat_map(|flow| flow.tests.iter().map(move |test| (flow, test))).collect();
    html.leaf("h1", &[], &title(record, run));
    let machine = &record.machine;
    let surroundings = format!(
        "netbench {}, {}, Linux {}, {} CPUs {}{}",
        record.netbench,
        machine.hostname,
        machine.kernel,
        machine.cpus,
        machine.cpu,
        if record.rootless { ", rootless" } else { "" }
    );
    html.leaf("p", &[("class", "dim")], &surroundings);
    answer(html, record, &tests);
    html.within("nav", &[("aria-label", "Sections")], |h| {
        h.within("ul", &[], |h| {
            for (anchor, name) in
                [("#figures", "Figures"), ("#time", "Time"), ("#topology", "Topology"), ("#setup", "Setup")]
            {
                h.within("li", &[], |h| h.leaf("a", &[("href", anchor)], name));
            }
        });
        h.leaf(
            "button",
            &[("id", "expand"), ("type", "button"), ("aria-pressed", "false"), ("hidden", "hidden")],
            "All evidence",
        );
    });
    html.leaf("h2", &[("id", "figures")], "Figures");
    charts::bars(html, &tests);
    charts::percentiles(html, &tests);
    html.leaf("h2", &[("id", "time")], "Over time");
    tests.iter().for_each(|(flow, test)| charts::time(html, flow, test));
    charts::cpus(html, &tests);
    network::paths(html, record);
    if let Some(manifest) = &record.manifest {
        network::offloads(html, manifest);
    }
    charts::history(html, &tests, history, run);
    setup(html, record);
}

/// Verdict first, then every median with its interval against its ceiling, then what to know before trusting them.
fn answer(html: &mut Html, record: &RunRecord, tests: &[(&FlowRecord, &TestRecord)]) {
    let (valid, failed) = (record.is_valid(), record.has_failed());
    let class = if valid && !failed { "answer" } else { "answer no" };
    html.within("section", &[("id", "answer"), ("class", class), ("aria-label", "Answer")], |h| {
        let verdict = match (valid, failed) {
            (false, _) => "NOT VALID: not every figure may be believed",
            (true, true) => "FAILED: a ceiling was not reached",
            (true, false) => "Valid: the bytes took the declared path, and the books agree",
        };
        h.leaf("p", &[("class", if valid && !failed { "good" } else { "bad" })], verdict);
        if record.interrupted {
            h.leaf("p", &[("class", "warn")], "Interrupted: later rounds are missing.");
        }
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
        if !record.warnings.is_empty() {
            h.within("ul", &[("class", "warn")], |h| {
                record.warnings.iter().for_each(|warning| h.leaf("li", &[], &format!("warning: {warning}")));
            });
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
        figure(&|summary| quantity::interval(&summary.headline, summary.unit)),
        test.rounds.len().to_string(),
        ceiling.unwrap_or_else(none),
        figure(&latency),
        verdict.to_owned(),
    ]
}

/// What it was measured in, and how to do it again.
fn setup(html: &mut Html, record: &RunRecord) {
    html.leaf("h2", &[("id", "setup")], "Setup");
    let fingerprint = record.fingerprint();
    let mut rows: Vec<Vec<String>> =
        fingerprint.0.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    rows.insert(0, vec!["fingerprint".to_owned(), fingerprint.hash()]);
    if let Some(sequential) = &record.sequential {
        let (half, budget) = (sequential.rule.half_width * 100.0, sequential.rule.budget_s);
        rows.push(vec!["rounds".to_owned(), format!("until every median is known to ±{half} %, at most {budget} s")]);
    }
    html.table("What must be equal to compare this run with another", &["part", "value"], &rows);
    let Some(manifest) = &record.manifest else { return };
    html.leaf("h3", &[], "Do it again");
    html.leaf("pre", &[], &manifest.rerun);
    if !manifest.placement.is_empty() {
        let rows: Vec<Vec<String>> =
            manifest.placement.iter().map(|(node, cpus)| vec![node.clone(), cpus.to_string()]).collect();
        html.table("CPUs of the nodes' threads", &["node", "CPUs"], &rows);
    }
    html.within("details", &[], |h| {
        h.leaf("summary", &[], "sysctls");
        let all = manifest
            .sysctls
            .iter()
            .flat_map(|(ns, keys)| keys.iter().map(move |(key, value)| vec![ns.clone(), key.clone(), value.clone()]));
        h.table("sysctls in force", &["namespace", "key", "value"], &all.take(500).collect::<Vec<_>>());
    });
    html.within("details", &[], |h| {
        h.leaf("summary", &[], "Topology file");
        h.leaf("pre", &[], &manifest.topology);
    });
    for missing in &manifest.missing {
        html.leaf("p", &[("class", "warn")], &format!("not read: {missing}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{facts::Machine, record::TopologyRef};

    #[test]
    fn a_record_without_results_is_a_page_too() {
        let topology = TopologyRef { name: "<script>alert(1)</script>".into(), hash: "0".into() };
        let record = RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], topology, Machine::default());
        let page = page(&record, Some(1), &[]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert_eq!(page.matches("<script").count(), 1, "our own");
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    }
}
