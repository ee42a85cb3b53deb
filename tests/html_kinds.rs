//! The pages of everything but a run in a real browser: what is drawn is what was measured, a click and a key show evidence, nothing
//! is fetched, nothing complains, and a hostile name stays a name.

mod browser;
mod lab;

use browser::Browser;
use lab::Lab;
use netbench::{
    packet::{Finding, Kind as FindingKind},
    record::{
        OffloadVerdict,
        history::Past,
        kept::{Kept, Kind},
        sweep::{CostFit, CostPoint},
    },
    report::html,
};
use serde_json::json;

const HOSTILE: &str = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>";

struct Pages {
    lab: Lab,
    browser: Browser,
    file: std::path::PathBuf,
}

impl Pages {
    /// What a command measured.
    #[track_caller]
    fn measured(&self, kind: Kind, args: &[&str]) -> Kept {
        let done = self.lab.netbench(&[args, &["--json", "--no-store"]].concat());
        assert!(matches!(done.code, Some(0 | 1 | 4)), "{done}");
        Kept::parse(kind, &done.stdout).unwrap_or_else(|error| panic!("{error}: {done}"))
    }

    /// Opens its page, as number 2 of two.
    #[track_caller]
    fn open(&mut self, kept: &Kept) {
        let past: Vec<Past> = (1..=2).map(|run| kept.document().past(run)).collect();
        std::fs::write(&self.file, html::page(kept, Some(2), &past)).expect("it can be written");
        self.browser.open(&self.file);
        self.count("#answer", 1);
        self.count("script", 1);
        self.count("img, iframe, object, link", 0);
        self.count("#history", 1);
    }

    #[track_caller]
    fn count(&mut self, selector: &str, expected: usize) {
        let found = self.browser.value(&format!("document.querySelectorAll({selector:?}).length"));
        assert_eq!(found, expected, "{selector}");
    }

    /// An attribute of every element, as a number.
    fn numbers(&mut self, selector: &str, attribute: &str) -> Vec<f64> {
        let script =
            format!("[...document.querySelectorAll({selector:?})].map(e => Number(e.getAttribute({attribute:?})))");
        let found = self.browser.value(&script);
        found.as_array().expect("it is a list").iter().map(|value| value.as_f64().expect("it is a number")).collect()
    }

    #[track_caller]
    fn says(&mut self, words: &str) {
        let text = self.browser.value("document.body.textContent");
        assert!(text.as_str().is_some_and(|text| text.contains(words)), "{words}");
    }

    /// What holds for each.
    #[track_caller]
    fn close(&mut self) {
        assert_eq!(self.browser.value("window.pwned"), json!(null), "a hostile name ran");
        self.says("<img src=x");
        let drawn = "[...document.querySelectorAll('svg *')].every(e => ![...e.attributes].some(a => a.value.includes('NaN') || a.value.includes('inf')))";
        assert_eq!(self.browser.value(drawn), true);
        self.browser.assert_for_those_who_do_not_see_it();
        let printed = self.browser.call("Page.printToPDF", json!({}));
        assert!(printed["data"].as_str().is_some_and(|data| data.len() > 10_000));
        self.browser.assert_alone_and_content();
    }
}

/// Widths stand to each other as the figures do.
#[track_caller]
fn assert_in_proportion(widths: &[f64], figures: &[f64]) {
    assert_eq!(widths.len(), figures.len());
    let (wide, most) = (widths.iter().copied().fold(0.0, f64::max), figures.iter().copied().fold(0.0, f64::max));
    for (width, figure) in widths.iter().zip(figures) {
        assert!((width - figure / most * wide).abs() < 2.5, "{width} of {wide}, {figure} of {most}");
    }
}

#[test]
fn each_kind_is_drawn_as_it_was_measured() {
    let Some(lab) = Lab::new("html-kinds") else { return };
    let Some(browser) = Browser::start("kinds") else {
        lab::skip("no Chromium; install the package chromium");
        return;
    };
    let file = std::env::temp_dir().join(format!("netbench-kinds-{}.html", std::process::id()));
    let mut pages = Pages { lab, browser, file };
    sweep(&mut pages);
    overhead(&mut pages);
    tune(&mut pages);
    probe(&mut pages);
    search(&mut pages);
    verify(&mut pages);
    bisect(&mut pages);
    std::fs::remove_file(&pages.file).ok();
}

const SHORT: [&str; 4] = ["--duration", "60ms", "--rounds", "5"];

fn sweep(pages: &mut Pages) {
    let args = [&["sweep", "veth", "--set", "mtu=1500,9000", "--test", "tcp_rr"][..], &SHORT].concat();
    let mut kept = pages.measured(Kind::Sweep, &args);
    let Kept::Sweep(report) = &mut kept else { panic!("it is a sweep") };
    report.variants[1].label = HOSTILE.to_owned();
    report.warnings.push(HOSTILE.to_owned());
    let manifest = report.variants[0].manifest.as_mut().expect("it is kept");
    manifest.hops[0].mtu -= 100;
    let wrong = manifest.hops[0].at.clone();
    let medians: Vec<f64> = report.results[0].cells.iter().map(|cell| cell.headline.median).collect();
    pages.open(&kept);
    assert_in_proportion(&pages.numbers("#figures ~ svg rect.bar", "width"), &medians);
    pages.count("#figures ~ svg circle.round", 10);
    pages.count("#answer tbody tr", 2);
    pages.count("rect.hop", 4);
    pages.count("rect.hop.wrong", 1);
    pages.says(&format!("MTU mismatch: {wrong} has 1400, asked for 1500"));
    pages.close();
}

fn overhead(pages: &mut Pages) {
    let mut kept = pages.measured(Kind::Overhead, &[&["overhead", "--test", "tcp_rr"][..], &SHORT].concat());
    let Kept::Overhead(report) = &mut kept else { panic!("it is an overhead") };
    let layers = &mut report.waterfalls[0].layers;
    layers[1].name = HOSTILE.to_owned();
    let (times, added): (Vec<f64>, Vec<f64>) = layers.iter().map(|layer| (layer.time_ns, layer.added_ns)).unzip();
    let most = times.iter().copied().fold(0.0, f64::max);
    pages.open(&kept);
    let (left, wide) = (pages.numbers("rect.step", "x"), pages.numbers("rect.step", "width"));
    assert_eq!(left.len(), times.len());
    // Each begins, or when it is faster ends, where the one before ended.
    let scale =
        (wide[0] / times[0]).max((left.iter().zip(&wide).map(|(x, w)| x + w).fold(0.0, f64::max) - left[0]) / most);
    for i in 1..times.len() {
        let from = left[0] + times[i - 1].min(times[i]) * scale;
        assert!((left[i] - from).abs() < 2.5, "layer {i} begins at {} and not at {from}", left[i]);
        assert!((wide[i] - (added[i].abs() * scale).max(2.0)).abs() < 2.5, "layer {i} is {} wide", wide[i]);
    }
    pages.says("time of a transaction");
    pages.close();
}

fn tune(pages: &mut Pages) {
    let args = [&["mtu", "tune", "veth", "--mtu", "1500,9000", "--test", "tcp_rr"][..], &SHORT].concat();
    let mut kept = pages.measured(Kind::MtuTune, &args);
    let Kept::MtuTune(report) = &mut kept else { panic!("it is a tuning") };
    report.sweep.warnings.push(HOSTILE.to_owned());
    // As without segmentation offload, where the fit is: 0.3 ns a byte, 900 ns a packet.
    let point = |mtu: u32, bytes_per_packet: f64| {
        let fitted = 0.3 + 900.0 / bytes_per_packet;
        CostPoint { mtu, bytes_per_packet, cpu_ns_per_byte: fitted * 1.05, fitted }
    };
    report.tuned[0].no_fit = None;
    report.tuned[0].fit = Some(CostFit {
        a_ns_per_byte: 0.3,
        b_ns_per_packet: 900.0,
        r_squared: 0.98,
        residual_ns: 0.01,
        points: vec![point(1500, 1448.0), point(9000, 8948.0)],
    });
    pages.open(&kept);
    pages.says("CPU ns/byte = 0.300 + 900 / S");
    pages.count("circle.mtu", 2);
    pages.count("circle.cost", 2);
    pages.count("#figures ~ svg circle.round", 10);
    // The curve falls from left to right, and the measured costs stand 5 % above it.
    let line = pages.browser.value("document.querySelector('path.fit').getAttribute('d')");
    let heights: Vec<f64> = line
        .as_str()
        .expect("it is a path")
        .split(['M', 'L'])
        .filter_map(|point| point.split(' ').nth(1)?.parse().ok())
        .collect();
    assert!(heights.len() > 50 && heights.is_sorted(), "{heights:?}");
    let (measured, fitted) = (pages.numbers("circle.cost", "cy"), pages.numbers("circle.cost + text, line.link", "y2"));
    let fitted: Vec<f64> = fitted.into_iter().filter(|y| *y > 0.0).collect();
    assert!(measured.iter().zip(&fitted).all(|(measured, fitted)| measured < fitted), "{measured:?} {fitted:?}");
    pages.close();
}

fn probe(pages: &mut Pages) {
    let mut kept = pages.measured(Kind::MtuProbe, &["mtu", "probe", "bridge"]);
    let Kept::MtuProbe(report) = &mut kept else { panic!("it is a probe") };
    let direction = &mut report.directions[0];
    direction.findings[0].evidence.push(HOSTILE.to_owned());
    direction.hops[1].mtu -= 1;
    let hops = report.directions.iter().map(|direction| direction.hops.len()).sum();
    pages.open(&kept);
    pages.count("rect.hop", hops);
    pages.count("rect.hop.wrong", 1);
    let open = "document.querySelector('details.evidence').open";
    assert_eq!(pages.browser.value(open), false);
    pages.browser.click("details.evidence > summary");
    assert_eq!(pages.browser.value(open), true);
    pages.close();
}

fn search(pages: &mut Pages) {
    let args = ["search", "veth", "--max", "200mbit", "--duration", "60ms", "--omit", "0s", "--trials", "1"];
    let mut kept = pages.measured(Kind::Search, &args);
    let Kept::Search(report) = &mut kept else { panic!("it is a search") };
    report.to = HOSTILE.to_owned();
    report.trials[0].good = false;
    let good = report.trials.iter().filter(|trial| trial.good).count();
    let bad = report.trials.len() - good;
    pages.open(&kept);
    pages.count("circle.trial", good);
    pages.count("line.trial", bad * 2);
    pages.count("#trials + svg + .scroll tbody tr", good + bad);
    pages.close();
}

fn verify(pages: &mut Pages) {
    let mut kept = pages.measured(Kind::OffloadVerify, &["offload", "verify", "veth", "--only", "tso,tx-checksum"]);
    let Kept::OffloadVerify(record) = &mut kept else { panic!("it is a verification") };
    let broken = &mut record.checks[1];
    broken.verdict = OffloadVerdict::Corrupt;
    broken.evidence = format!("7 of 60 super-packets differ {HOSTILE}");
    broken.findings =
        vec![Finding { kind: FindingKind::PayloadChanged, count: 7, example: "byte 40 of segment 3".into() }];
    broken.cure = Some("ethtool -K eth0 tso off".to_owned());
    let (checks, pass) =
        (record.checks.len(), record.checks.iter().filter(|c| c.verdict == OffloadVerdict::Pass).count());
    pages.open(&kept);
    pages.count("#answer.no", 1);
    pages.count("table.matrix button.v", checks);
    pages.count("table.matrix button.pass", pass);
    pages.count("table.matrix button.broken", 1);
    let browser = &mut pages.browser;
    browser.assert_readable(&["table.matrix button.v", "#answer .bad", "caption", "th"]);

    // A click shows the evidence of that check and of no other; Esc hides it.
    let shown = "[...document.querySelectorAll(':popover-open')].map(e => e.innerText).join()";
    assert_eq!(browser.value(shown), "");
    browser.click("button.broken");
    let text = browser.value(shown);
    for word in
        ["CORRUPT", "7 of 60 super-packets differ <img", "payload changed (7×): byte 40", "ethtool -K eth0 tso off"]
    {
        assert!(text.as_str().is_some_and(|text| text.contains(word)), "{word}: {text}");
    }
    browser.assert_readable(&[":popover-open p", ":popover-open h3"]);
    browser.press("Escape", 27, "");
    assert_eq!(browser.value(shown), "");
    // So do the keys alone, and the focus comes back to the verdict.
    browser.value("document.querySelector('button.pass').focus()");
    browser.press("Enter", 13, "\r");
    assert!(browser.value(shown).as_str().is_some_and(|text| text.contains("PASS")));
    browser.press("Escape", 27, "");
    assert_eq!(browser.value("document.activeElement === document.querySelector('button.pass')"), true);
    // On paper nothing can be clicked: every check stands there in words.
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    browser.value("dispatchEvent(new Event('beforeprint'))");
    let verdicts = "[...document.querySelectorAll('button.v')].every(b => b.checkVisibility() && b.getBoundingClientRect().width > 20)";
    assert_eq!(browser.value(verdicts), true, "the matrix has its verdicts on paper too");
    let only_on_a_screen = "[...document.querySelectorAll('nav, #expand, .screen')].some(e => e.checkVisibility())";
    assert_eq!(browser.value(only_on_a_screen), false);
    let paper = browser.value("document.body.innerText");
    assert!(paper.as_str().is_some_and(|paper| paper.matches("super-packets differ").count() == 2), "{paper}");
    browser.value("dispatchEvent(new Event('afterprint'))");
    browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
    pages.close();
}

fn bisect(pages: &mut Pages) {
    let mut kept = pages.measured(Kind::OffloadBisect, &["offload", "bisect", "veth", "--goal", "goodput>1M"]);
    let Kept::OffloadBisect(record) = &mut kept else { panic!("it is a bisection") };
    record.met_as_found = false;
    record.culprits = vec![HOSTILE.to_owned()];
    record.commands = vec![format!("ethtool -K {HOSTILE} off")];
    let goodput: Vec<f64> = record.trials.iter().map(|trial| trial.goodput).collect();
    pages.open(&kept);
    assert_in_proportion(&pages.numbers("rect.bar", "width"), &goodput);
    pages.count("line.ceiling", goodput.len());
    pages.says("NOT confirmed");
    pages.close();
}
