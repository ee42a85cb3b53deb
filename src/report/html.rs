//! An outcome as one page of HTML that needs nothing else: drawings are SVG, the style and the few lines of script are in the page, and its
//! policy lets nothing be fetched and no other script run. The answer comes first.

mod charts;
mod history;
mod markup;
mod network;
mod offload;
mod probe;
mod run;
mod search;
mod setup;
mod svg;
mod sweep;
mod time;
mod tune;

use markup::Html;

use super::quantity;
use crate::{
    record::{
        FlowRecord, TestRecord, Unit,
        history::Past,
        kept::{Kept, Kind},
    },
    stats::Spread,
};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");
/// The policy has the script's SHA-256: `openssl dgst -sha256 -binary script.js | base64`. A browser runs no other; the test in a browser
/// fails when it is not current.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-u4AmR4QjizqwDN4Am1aen+eENeQRNgkdkKjr+zEc1gc='";

/// The page: of an outcome, its number in the store, and the earlier ones of its kind and topology, oldest first.
pub fn page(kept: &Kept, run: Option<i64>, history: &[Past]) -> String {
    let mut html = Html::default();
    html.fixed("<!DOCTYPE html>\n");
    html.open("html", &[("lang", "en")]);
    html.within("head", &[], |h| {
        h.empty("meta", &[("charset", "utf-8")]);
        h.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
        h.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
        h.leaf("title", &[], &format!("{} – netbench", title(kept, run)));
        h.within("style", &[], |h| h.fixed(STYLE));
    });
    html.within("body", &[], |h| {
        h.leaf("a", &[("class", "skip"), ("href", "#answer")], "To the answer");
        h.within("main", &[], |h| body(h, kept, run, history));
        h.within("script", &[], |h| h.fixed(SCRIPT));
    });
    html.finish()
}

fn title(kept: &Kept, run: Option<i64>) -> String {
    let document = kept.document();
    let kind = if kept.kind() == Kind::Run { "run".to_owned() } else { kept.kind().name().replace('-', " ") };
    let number = match (run, kept.kind()) {
        (Some(run), _) => format!("{kind} {run}, "),
        (None, Kind::Run) => String::new(),
        (None, _) => format!("{kind}, "),
    };
    format!("{}, {number}{}", document.topology(), document.started())
}

/// `TCP_STREAM client → server`
fn label(flow: &FlowRecord, test: &TestRecord) -> String {
    format!("{} {} → {}", test.test, flow.from, flow.to)
}

fn body(html: &mut Html, kept: &Kept, run: Option<i64>, history: &[Past]) {
    html.leaf("h1", &[], &title(kept, run));
    let (machine, netbench, _) = kept.origin();
    let rootless = match kept {
        Kept::Run(record) => record.rootless,
        Kept::Search(report) => report.rootless,
        Kept::OffloadVerify(record) => record.rootless,
        _ => kept.sweep().is_some_and(|sweep| sweep.rootless),
    };
    let surroundings = format!(
        "netbench {netbench}, {}, Linux {}, {} CPUs {}{}{}",
        machine.hostname,
        machine.kernel,
        machine.cpus,
        machine.cpu,
        machine.governed(),
        if rootless { ", rootless" } else { "" }
    );
    html.leaf("p", &[("class", "dim")], &surroundings);
    match kept {
        Kept::Run(record) => return run::body(html, record, run, history),
        Kept::Sweep(report) => sweep::sweep(html, report),
        Kept::Overhead(report) => sweep::overhead(html, report),
        Kept::MtuTune(report) => tune::body(html, report),
        Kept::MtuProbe(report) => probe::body(html, report),
        Kept::Search(report) => search::body(html, report),
        Kept::OffloadVerify(record) => offload::verify(html, record),
        Kept::OffloadBisect(record) => offload::bisect(html, record),
    }
    history::all(html, history, run);
    setup::all(html, kept);
}

/// An interval that breaks before its coverage, and nowhere else.
fn interval(spread: &Spread, unit: Unit) -> String {
    // A browser breaks behind a dash, whatever space follows: a word joiner keeps it.
    quantity::interval(spread, unit).replace(' ', "\u{a0}").replace('–', "–\u{2060}").replace("\u{a0}(", " (")
}

/// Where the links to the sections go once all of them are written, and the button that opens all evidence.
fn sections(html: &mut Html) {
    html.within("nav", &[("aria-label", "Sections")], |h| {
        h.contents();
        h.leaf(
            "button",
            &[("id", "expand"), ("type", "button"), ("aria-pressed", "false"), ("hidden", "hidden")],
            "All evidence",
        );
    });
}

/// The answer comes first: is all well, what is it, and what to know before trusting it.
fn answer(
    html: &mut Html,
    (good, verdict): (bool, &str),
    (warnings, interrupted): (&[String], bool),
    inside: impl FnOnce(&mut Html),
) {
    let class = if good { "answer" } else { "answer no" };
    html.within("section", &[("id", "answer"), ("class", class), ("aria-label", "Answer")], |h| {
        h.leaf("p", &[("class", if good { "good" } else { "bad" })], verdict);
        if interrupted {
            h.leaf("p", &[("class", "warn")], "Interrupted: not all that was to be measured is here.");
        }
        inside(h);
        if !warnings.is_empty() {
            h.within("ul", &[("class", "warn")], |h| {
                warnings.iter().for_each(|warning| h.leaf("li", &[], &format!("warning: {warning}")));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::Machine,
        record::{RunRecord, TopologyRef},
    };

    #[test]
    fn a_record_without_results_is_a_page_too() {
        let topology = TopologyRef { name: "<script>alert(1)</script>".into(), hash: "0".into() };
        let record = RunRecord::new("2026-11-22T10:00:00Z".parse().unwrap(), vec![], topology, Machine::default());
        let page = page(&Kept::Run(Box::new(record)), Some(1), &[]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert_eq!(page.matches("<script").count(), 1, "our own");
        assert!(page.contains("&lt;script&gt;alert(1)"));
        // Every section has its link.
        let sections: Vec<&str> = page.split("<h2 id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(sections.contains(&"figures") && sections.contains(&"setup"), "{sections:?}");
        let links: Vec<String> = sections.iter().map(|id| format!("<li><a href=\"#{id}\">")).collect();
        assert!(links.iter().all(|link| page.matches(link).count() == 1), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    }
}
