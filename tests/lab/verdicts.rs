//! All verdicts of `offload verify`, to be held against a table: a verdict that changes is noticed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Lab;

/// What `offload verify` of a file says. Rows that come out INCONCLUSIVE and must not be are taken from a second run: a moment in
/// which a loaded machine sees nothing of its own traffic is no defect, and twice in a row it is one.
#[track_caller]
pub fn verify(lab: &Lab, file: &str, expected: &str, code: i32) -> Value {
    let run = || lab.netbench(&["offload", "verify", file, "--json"]).exits(code).json();
    let mut json = run();
    let is_spoilt = |row: &Value| {
        let line = format!("{} INCONCLUSIVE ", subject(row));
        let foreseen = expected.lines().filter_map(|at| at.strip_prefix(&line));
        row["verdict"] == "INCONCLUSIVE"
            && !foreseen.flat_map(|all| all.split(", ")).any(|check| row["check"] == *check)
    };
    let rows = |json: &Value| json["checks"].as_array().cloned().unwrap_or_default();
    if !rows(&json).iter().any(is_spoilt) {
        return json;
    }
    let again = rows(&run());
    let settled = |row: Value| {
        let is_it = |other: &&Value| subject(other) == subject(&row) && other["check"] == row["check"];
        let other = is_spoilt(&row).then(|| again.iter().find(is_it)).flatten().cloned();
        if other.is_some() {
            eprintln!("INCONCLUSIVE, so it was asked for twice: {row}");
        }
        other.unwrap_or(row)
    };
    json["checks"] = rows(&json).into_iter().map(settled).collect();
    json
}

/// The device of a row, or its path.
fn subject(row: &Value) -> &str {
    row["device"].as_str().or(row["path"].as_str()).unwrap_or_default()
}

/// A line for each device or path and each verdict that it has: `a/eth0 PASS gro, gso`. What a feature saves is left out: that is
/// for the machine to say.
pub fn table(json: &Value) -> String {
    let mut all: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in json["checks"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str();
        let (check, verdict) = (text("check").unwrap_or_default(), text("verdict").unwrap_or_default());
        if !check.ends_with("-cpu") {
            all.entry((subject(row), verdict)).or_default().insert(check);
        }
    }
    let line = |((subject, verdict), checks): ((&str, &str), BTreeSet<&str>)| {
        format!("{subject} {verdict} {}\n", checks.into_iter().collect::<Vec<_>>().join(", "))
    };
    all.into_iter().map(line).collect()
}

/// What is not as the table says, in words for a failed test; nothing where all is.
pub fn differences(json: &Value, expected: &str) -> String {
    let seen = table(json);
    let (is, must): (BTreeSet<&str>, BTreeSet<&str>) = (seen.lines().collect(), expected.lines().collect());
    let other: Vec<String> = is.difference(&must).map(|line| format!("  is: {line}\n")).collect();
    let missing: Vec<String> = must.difference(&is).map(|line| format!("must be: {line}\n")).collect();
    [other, missing].concat().concat()
}

/// The same lines of two ends that are alike: `{x}` stands for each of them in turn, `{y}` for the other.
pub fn both(ends: [&str; 2], lines: &str) -> String {
    let of = |x: &str, y: &str| lines.replace("{x}", x).replace("{y}", y);
    of(ends[0], ends[1]) + &of(ends[1], ends[0])
}
