//! The page of a run in a real browser: it renders without a complaint, its charts have their data, a click and a key show evidence,
//! nothing is fetched, and a hostile name stays a name.

mod browser;
mod lab;

use browser::Browser;
use lab::Lab;
use netbench::{
    record::{RunRecord, history::Past, kept::Kept},
    report::html,
};
use serde_json::json;

const HOSTILE: &str = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>";

/// A run of three tests, measured.
fn measured(lab: &Lab) -> RunRecord {
    let args =
        ["run", "bridge", "--test", "tcp_stream,tcp_rr,udp_stream", "--duration", "200ms", "--rounds", "6", "--json"];
    let done = lab.netbench(&[&args[..], &["--no-store"]].concat());
    assert!(matches!(done.code, Some(0 | 4)), "{done}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done}"))
}

/// So many runs of it, each a little faster.
fn history(record: &RunRecord, runs: i64) -> Vec<Past> {
    let one = |run: i64| {
        let mut past = Past::of(run, record);
        for result in &mut past.results {
            result.median *= 1.0 + run as f64 / 2000.0;
        }
        past
    };
    (1..=runs).map(one).collect()
}

#[test]
fn a_browser_shows_it_and_finds_nothing_wrong() {
    let Some(lab) = Lab::new("report") else { return };
    let Some(mut browser) = Browser::start("report") else {
        lab::skip("no Chromium; install the package chromium");
        return;
    };
    let mut record = measured(&lab);
    for flow in &mut record.flows {
        flow.from = HOSTILE.to_owned();
    }
    record.topology.name = HOSTILE.to_owned();
    record.warnings.push(HOSTILE.to_owned());
    let mut wrong = String::new();
    if let Some(manifest) = &mut record.manifest {
        manifest.rerun = HOSTILE.to_owned();
        manifest.hops[1].mtu -= 100;
        wrong.clone_from(&manifest.hops[1].at);
    }
    let runs = history(&record, 1000);
    let page = html::page(&Kept::Run(Box::new(record)), Some(1000), &runs);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let file = std::env::temp_dir().join(format!("netbench-report-{}.html", std::process::id()));
    std::fs::write(&file, page).expect("it is there");
    browser.open(&file);

    let loaded = browser.value("performance.timing.loadEventEnd - performance.timing.navigationStart");
    eprintln!("loaded in {loaded} ms");
    assert_eq!(browser.value("window.pwned"), json!(null), "a hostile name ran");
    assert_eq!(browser.value("document.querySelectorAll('img, iframe, object, link').length"), 0);
    assert_eq!(browser.value("document.querySelectorAll('script').length"), 1);
    assert_eq!(browser.value("document.querySelector('main h1').textContent.includes('<img src=x')"), true);

    // The answer comes first, and says each median.
    assert_eq!(browser.value("document.querySelectorAll('#answer tbody tr').length"), 3);
    let answer = browser.value("document.querySelector('#answer').textContent");
    for word in ["TCP_STREAM", "TCP_RR", "UDP_STREAM", "bit/s", "trans/s", "(96\u{a0}%)"] {
        assert!(answer.as_str().expect("it is there").contains(word), "{word}: {answer}");
    }
    // An interval stands in one line, its coverage perhaps in another.
    let lines = "Math.max(...[...document.querySelectorAll('#answer tbody tr')].map(r => r.children[2].getClientRects().length ? \
                 (() => { const range = document.createRange(); range.selectNodeContents(r.children[2]); \
                 return new Set([...range.getClientRects()].map(c => Math.round(c.top))).size; })() : 9))";
    assert!(browser.value(lines).as_u64() <= Some(2), "{answer}");
    let charts = [
        ("bars", "rect.bar", 3),
        ("rounds", "circle.round", 18),
        ("whiskers", "#figures ~ svg line.whisker", 9),
        ("history", "#history ~ svg path.line", 3),
        ("history bands", "path.band", 3),
        ("hops", "rect.hop", 4),
        ("lines of rounds over time", "#time ~ svg path.line", 18),
        ("CPU of both ends over time", "#time ~ svg path.cpu", 6),
        ("busy CPUs", "#cpus ~ svg rect.cell", 3),
        ("percentiles", "#latency ~ svg circle", 6),
    ];
    for (what, selector, least) in charts {
        let count = browser.value(&format!("document.querySelectorAll({selector:?}).length"));
        assert!(count.as_u64() >= Some(least), "{what}: {count}");
    }
    let drawn = "[...document.querySelectorAll('path.line')].every(p => p.getBBox().width > 0 && !p.getAttribute('d').includes('NaN'))";
    assert_eq!(browser.value(drawn), true);
    let bars = "[...document.querySelectorAll('rect.bar')].every(b => b.getBBox().width > 1)";
    assert_eq!(browser.value(bars), true);

    // The hop that does not fit is red, and said in words.
    assert!(browser.value("document.querySelectorAll('rect.hop.wrong').length").as_u64() >= Some(1));
    let words = browser.value("document.body.innerText");
    assert!(words.as_str().expect("it is there").contains(&format!("MTU mismatch: {wrong} has ")), "{wrong}");

    // A click shows evidence; so does the keyboard.
    let open = "document.querySelector('details.evidence').open";
    let seen = "document.querySelector('details.evidence table').checkVisibility({contentVisibilityAuto: true})";
    assert_eq!(browser.value(open), false);
    browser.click("details.evidence > summary");
    assert_eq!((browser.value(open), browser.value(seen)), (json!(true), json!(true)));
    browser.value("document.querySelector('details.evidence > summary').focus()");
    browser.press("Enter", 13, "\r");
    assert_eq!(browser.value(open), false);
    browser.click("#expand");
    assert_eq!(browser.value("[...document.querySelectorAll('details')].every(d => d.open)"), true);
    browser.click("#expand");
    assert_eq!(browser.value("[...document.querySelectorAll('details')].some(d => d.open)"), false);

    browser.assert_for_those_who_do_not_see_it();
    browser.assert_readable(&["body", ".dim", "a[href='#setup']", ".warn", "svg text.dim"]);
    let printed = browser.call("Page.printToPDF", json!({}));
    assert!(printed["data"].as_str().is_some_and(|data| data.len() > 10_000));

    browser.assert_alone_and_content();
    std::fs::remove_file(&file).ok();
}
