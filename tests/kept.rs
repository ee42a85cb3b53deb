//! Everything that measures keeps what it found: listed, shown as at first, exported, compared.

mod lab;

use std::collections::BTreeMap;

use lab::Lab;
use serde_json::Value;

/// A command of each kind, as short as it goes.
const COMMANDS: [(&str, &[&str]); 6] = [
    ("sweep", &["sweep", "veth", "--set", "mtu=1500,9000", "--duration", "60ms", "--rounds", "4", "--seed", "1"]),
    ("overhead", &["overhead", "--test", "tcp_rr", "--duration", "60ms", "--rounds", "4", "--seed", "1"]),
    ("mtu-tune", &["mtu", "tune", "veth", "--mtu", "1500,9000", "--duration", "60ms", "--rounds", "5", "--seed", "1"]),
    ("mtu-probe", &["mtu", "probe", "veth"]),
    ("search", &["search", "veth", "--max", "200mbit", "--duration", "60ms", "--omit", "0s", "--trials", "1"]),
    ("offload-verify", &["offload", "verify", "veth", "--only", "tso"]),
];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_kind_is_kept_listed_shown_and_exported() {
    let Some(lab) = Lab::new("kept") else { return };
    let mut reported = BTreeMap::new();
    for (number, (kind, command)) in COMMANDS.iter().enumerate() {
        let done = lab.netbench(command);
        assert!(matches!(done.code, Some(0 | 1 | 4)), "{done}");
        assert!(done.stderr.contains(&format!("kept as {kind} {}", number + 1)), "{done}");
        assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
        reported.insert(number + 1, done.stdout);
    }
    // The goal is out of reach: it ends with one look at the path and each trial of the halving.
    let bisect = lab.netbench(&["offload", "bisect", "veth", "--goal", "goodput>1M"]);
    assert!(bisect.code == Some(0) && bisect.stderr.contains("kept as offload-bisect 7"), "{bisect}");
    let not = lab.netbench(&["mtu", "probe", "veth", "--no-store"]);
    assert!(not.code == Some(0) && !not.stderr.contains("kept"), "{not}");

    let listed = lab.netbench(&["history"]);
    assert_eq!(listed.stdout.lines().count(), 8, "{listed}");
    assert!(listed.stdout.lines().all(|line| line.chars().count() <= 80), "{listed}");
    for (kind, word) in [
        ("sweep", "2 variants, best "),
        ("overhead", " bare, "),
        ("mtu-tune", " MTU"),
        ("mtu-probe", "MTU 1500"),
        ("search", " meets the limits"),
        ("offload-verify", " PASS"),
        ("offload-bisect", "the goal is met as found"),
    ] {
        let line = listed.stdout.lines().find(|line| line.contains(&format!("{kind}: ")));
        assert!(line.is_some_and(|line| line.contains(word)), "{kind}: {listed}");
    }
    let all = json(&lab.netbench(&["history", "--json"]).stdout);
    assert_eq!(all[0]["kind"], "sweep");
    assert_eq!(all[0]["results"][1]["variant"], "mtu=9000");
    let tunes = json(&lab.netbench(&["history", "--kind", "mtu-tune", "--json"]).stdout);
    assert_eq!((tunes.as_array().map(Vec::len), &tunes[0]["run"]), (Some(1), &3.into()));
    assert_eq!(lab.netbench(&["history", "--kind", "tune"]).code, Some(2));

    for (number, text) in &reported {
        let shown = lab.netbench(&["show", &number.to_string()]);
        assert_eq!((shown.code, &shown.stdout), (Some(0), text), "number {number}");
    }
    for number in 1..=7 {
        let number = number.to_string();
        let record = lab.netbench(&["show", &number, "--json"]);
        let manifest = match &json(&record.stdout) {
            it if it["variants"].is_array() => it["variants"][0]["manifest"].clone(),
            it if it["sweep"].is_object() => it["sweep"]["variants"][1]["manifest"].clone(),
            it => it["manifest"].clone(),
        };
        assert!(
            manifest["hops"].as_array().is_some_and(|hops| !hops.is_empty()) || number == "1",
            "{number}: {manifest}"
        );
        assert!(manifest["topology"].as_str().is_some_and(|text| text.contains("name =")), "{number}: {manifest}");
        // A file is as good as a number.
        let file = lab.file(&format!("{number}.json"), &record.stdout);
        let again = lab.netbench(&["show", &file, "--json"]);
        assert_eq!(again.stdout, record.stdout, "{again}");
        for format in ["json", "jsonl", "csv", "markdown"] {
            let exported = lab.netbench(&["export", &number, "--format", format]);
            assert!(exported.code == Some(0) && !exported.stdout.is_empty(), "{format}: {exported}");
            let fields: Vec<usize> = exported.stdout.lines().map(|line| line.matches('|').count()).collect();
            if format == "markdown" {
                assert!(fields[2..].iter().all(|count| *count >= 4), "{exported}");
            }
        }
        for format in ["iperf3", "openmetrics", "influx"] {
            let refused = lab.netbench(&["export", &number, "--format", format]);
            assert!(refused.code == Some(2) && refused.stderr.contains("is a format of runs"), "{refused}");
        }
    }
    let rows = lab.netbench(&["export", "1", "--format", "csv"]).stdout;
    assert_eq!(rows.lines().count(), 1 + 2 * 4, "a row a round: {rows}");
    assert!(rows.starts_with("run,kind,started,topology,variant,from,to,mtu,test,round,unit,value,"), "{rows}");
    let junit = lab.netbench(&["export", "6", "--format", "junit"]);
    assert!(junit.stdout.contains("<testsuite name=\"veth\"") && junit.stdout.contains("name=\"tso"), "{junit}");
    for number in 1..=7 {
        let page = lab.netbench(&["report", &number.to_string(), "-o", "-"]);
        let whole = page.stdout.starts_with("<!DOCTYPE html>") && page.stdout.ends_with("</html>");
        assert!(page.code == Some(0) && whole && page.stdout.contains("id=\"answer\""), "{number}: {page}");
    }
    let mixed = lab.netbench(&["export", "1", "4", "--format", "csv"]);
    assert!(mixed.code == Some(2) && mixed.stderr.contains("different kinds"), "{mixed}");
    assert_eq!(lab.netbench(&["export", "1", "4", "--format", "jsonl"]).stdout.lines().count(), 2);
}

#[test]
fn kinds_are_compared_by_what_they_say() {
    let Some(lab) = Lab::new("kept-compare") else { return };
    for (_, command) in [COMMANDS[0], COMMANDS[5], COMMANDS[0], COMMANDS[5], COMMANDS[3], COMMANDS[4]] {
        let done = lab.netbench(command);
        assert!(matches!(done.code, Some(0 | 1 | 4)), "{done}");
    }
    // Without a name A is the one before of the same kind, whatever came in between.
    let sweeps = lab.netbench(&["compare", "1", "3", "--effect", "1000"]);
    assert_eq!(sweeps.code, Some(0), "{sweeps}");
    assert!(sweeps.stdout.contains("mtu=1500") && sweeps.stdout.contains("mtu=9000"), "{sweeps}");
    assert!(sweeps.stdout.lines().all(|line| line.chars().count() <= 80), "{sweeps}");
    let other = lab.netbench(&["compare", "1", "2"]);
    assert!(other.code == Some(2) && other.stderr.contains("same kind"), "{other}");
    let same = lab.netbench(&["compare", "2", "4"]);
    assert!(same.code == Some(0) && same.stdout.contains("answers are the same"), "{same}");
    let none = lab.netbench(&["compare"]);
    assert!(none.code == Some(2) && none.stderr.contains("no other search of veth"), "{none}");

    // PASS → CORRUPT is a regression, the other way round is none.
    let mut worse = json(&lab.netbench(&["show", "4", "--json"]).stdout);
    let passed = worse["checks"].as_array().expect("checks").iter().position(|check| check["verdict"] == "PASS");
    let passed = passed.expect("something passes");
    worse["checks"][passed]["verdict"] = "CORRUPT".into();
    let file = lab.file("worse.json", &worse.to_string());
    let regression = lab.netbench(&["compare", "4", &file]);
    assert!(regression.code == Some(1) && regression.stdout.contains("worse"), "{regression}");
    let mended = lab.netbench(&["compare", &file, "4", "--json"]);
    assert_eq!(mended.code, Some(0), "{mended}");
    let answers = json(&mended.stdout);
    assert!(answers["answers"].as_array().expect("answers").iter().any(|answer| answer["verdict"] == "better"));

    // Other surroundings are refused for every kind.
    worse["machine"]["kernel"] = "2.6.32".into();
    let elsewhere = lab.file("elsewhere.json", &worse.to_string());
    let refused = lab.netbench(&["compare", "4", &elsewhere]);
    assert!(refused.code == Some(2) && refused.stderr.contains("kernel differ"), "{refused}");
    assert_eq!(lab.netbench(&["compare", "4", &elsewhere, "--force"]).code, Some(1));

    let mut slower = json(&lab.netbench(&["show", "3", "--json"]).stdout);
    for round in slower["results"][0]["cells"][1]["rounds"].as_array_mut().expect("rounds") {
        round["headline"] = (round["headline"].as_f64().expect("a figure") / 10.0).into();
    }
    let slower = lab.file("slower.json", &slower.to_string());
    let found = lab.netbench(&["compare", "3", &slower]);
    assert!(found.code == Some(1) && found.stdout.contains("worse"), "{found}");

    let mut smaller = json(&lab.netbench(&["show", "5", "--json"]).stdout);
    smaller["directions"][0]["largest"] = 1400.into();
    let smaller = lab.file("smaller.json", &smaller.to_string());
    assert_eq!(lab.netbench(&["compare", "5", &smaller]).code, Some(1));
    let mut lower = json(&lab.netbench(&["show", "6", "--json"]).stdout);
    (lower["lower"], lower["upper"]) = (1e6.into(), 2e6.into());
    let lower = lab.file("lower.json", &lower.to_string());
    let found = lab.netbench(&["compare", "6", &lower]);
    assert!(found.code == Some(1) && found.stdout.contains("1.00 Mbit/s to 2.00 Mbit/s"), "{found}");
}
