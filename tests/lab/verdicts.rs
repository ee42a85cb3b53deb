//! All verdicts of `offload verify`, to be held against a table: a verdict that changes is noticed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A line for each device or path and each verdict that it has: `a/eth0 PASS gro, gso`. What a feature saves is left out: that is
/// for the machine to say.
pub fn table(json: &Value) -> String {
    let mut all: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in json["checks"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str();
        let subject = text("device").or(text("path")).unwrap_or_default();
        let (check, verdict) = (text("check").unwrap_or_default(), text("verdict").unwrap_or_default());
        if !check.ends_with("-cpu") {
            all.entry((subject, verdict)).or_default().insert(check);
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
