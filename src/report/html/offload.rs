//! The pages of `offload verify`, a matrix whose verdicts show their evidence on a click, and of `offload bisect`.

use super::{
    charts::{self, Bar},
    markup::Html,
};
use crate::record::{
    BisectRecord, OffloadCheck, OffloadRecord, OffloadVerdict, Unit,
    kept::{Document, badness},
};

/// The page of a verification.
pub fn verify(html: &mut Html, record: &OffloadRecord) {
    let good = !record.is_broken() && record.left.is_empty();
    let verdict = if record.is_broken() { "BROKEN" } else { "No offload is broken" };
    super::answer(html, (good, &format!("{verdict}: {}", record.headline())), (&[], record.interrupted), |h| {
        left(h, &record.left);
        for check in record.checks.iter().filter(|check| check.verdict.is_broken()) {
            h.leaf("p", &[("class", "bad")], &format!("{}: {}", check.verdict.text(), name(check)));
            h.leaf("p", &[], &check.evidence);
            check.cure.iter().for_each(|cure| h.leaf("p", &[], &format!("Cure: {cure}")));
        }
    });
    super::sections(html);
    html.section("checks", "Checks");
    html.leaf(
        "p",
        &[("class", "dim screen")],
        "A verdict is a button: it shows what the verdict rests on. Esc closes it.",
    );
    let mut paths: Vec<&str> = Vec::new();
    for check in &record.checks {
        if !paths.contains(&check.path.as_str()) {
            paths.push(&check.path);
        }
    }
    let numbered: Vec<(usize, &OffloadCheck)> = record.checks.iter().enumerate().collect();
    for path in paths {
        let of: Vec<_> = numbered.iter().filter(|(_, check)| check.path == path).copied().collect();
        matrix(html, path, &of);
    }
    numbered.iter().for_each(|(number, check)| evidence(html, *number, check));
    html.within("details", &[("class", "evidence")], |h| {
        h.leaf("summary", &[], "Every check in words");
        let rows: Vec<Vec<String>> = record.checks.iter().map(row).collect();
        let header = ["path", "device", "check", "verdict", "evidence", "what to do"];
        h.table("Every check in the order in which it was made", &header, &rows);
    });
}

fn left(html: &mut Html, features: &[String]) {
    if !features.is_empty() {
        html.leaf("p", &[("class", "bad")], &format!("Not as before: {}", features.join(", ")));
    }
}

fn name(check: &OffloadCheck) -> String {
    match &check.device {
        Some(device) => format!("{} of {device}, {}", check.check, check.path),
        None => format!("{}, {}", check.check, check.path),
    }
}

fn row(check: &OffloadCheck) -> Vec<String> {
    let findings = check.findings.iter().map(|finding| format!("; {finding}")).collect::<String>();
    vec![
        check.path.clone(),
        check.device.clone().unwrap_or_else(|| "the whole path".to_owned()),
        check.check.clone(),
        check.verdict.text().to_owned(),
        format!("{}{findings}", check.evidence),
        check.cure.clone().unwrap_or_else(|| "–".to_owned()),
    ]
}

/// Class of a verdict; each has its word besides the color.
fn class(verdict: OffloadVerdict) -> &'static str {
    match (verdict, badness(verdict)) {
        (OffloadVerdict::Pass, _) => "v pass",
        (_, 3..) => "v broken",
        (_, 2) => "v weak",
        _ => "v silent",
    }
}

/// Rows are checks, columns devices in the order of the path.
fn matrix(html: &mut Html, path: &str, checks: &[(usize, &OffloadCheck)]) {
    let (mut devices, mut rows): (Vec<Option<&str>>, Vec<&str>) = (Vec::new(), Vec::new());
    for (_, check) in checks {
        if !devices.contains(&check.device.as_deref()) {
            devices.push(check.device.as_deref());
        }
        if !rows.contains(&check.check.as_str()) {
            rows.push(&check.check);
        }
    }
    devices.sort_by_key(Option::is_none);
    let caption = format!("{path}: verdicts by check and device");
    let region = [("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", &*caption)];
    html.within("div", &region, |h| {
        h.within("table", &[("class", "matrix")], |h| {
            h.leaf("caption", &[], &caption);
            h.within("thead", &[], |h| {
                h.within("tr", &[], |h| {
                    h.leaf("th", &[("scope", "col")], "check");
                    devices.iter().for_each(|d| h.leaf("th", &[("scope", "col")], d.unwrap_or("the whole path")));
                });
            });
            h.within("tbody", &[], |h| {
                for row in &rows {
                    h.within("tr", &[], |h| {
                        h.leaf("th", &[("scope", "row")], row);
                        for device in &devices {
                            let here = |(_, check): &&(usize, &OffloadCheck)| {
                                check.check == *row && check.device.as_deref() == *device
                            };
                            h.within("td", &[], |h| checks.iter().filter(here).for_each(|(i, c)| button(h, *i, c)));
                        }
                    });
                }
            });
        });
    });
}

/// The browser itself shows and hides what `popovertarget` names, by mouse and by key, and says so to a screen reader.
fn button(html: &mut Html, number: usize, check: &OffloadCheck) {
    let (target, says) = (format!("e{number}"), format!("{}: {}", name(check), check.verdict.text()));
    let at = [
        ("type", "button"),
        ("class", class(check.verdict)),
        ("popovertarget", &*target),
        ("aria-haspopup", "dialog"),
        ("aria-label", &says),
    ];
    html.leaf("button", &at, check.verdict.text());
}

fn evidence(html: &mut Html, number: usize, check: &OffloadCheck) {
    let (id, heading) = (format!("e{number}"), format!("e{number}h"));
    let at = [("id", &*id), ("popover", ""), ("role", "dialog"), ("aria-labelledby", &heading)];
    html.within("div", &at, |h| {
        h.leaf("h3", &[("id", &heading)], &name(check));
        h.leaf("p", &[("class", class(check.verdict))], check.verdict.text());
        h.leaf("p", &[], &check.evidence);
        if !check.findings.is_empty() {
            h.within("ul", &[], |h| check.findings.iter().for_each(|f| h.leaf("li", &[], &f.to_string())));
        }
        if !check.features.is_empty() {
            h.leaf("p", &[("class", "dim")], &format!("Switched: {}", check.features.join(" ")));
        }
        check.cure.iter().for_each(|cure| h.leaf("p", &[("class", "bad")], &format!("What to do: {cure}")));
        h.leaf("button", &[("type", "button"), ("popovertarget", &id), ("popovertargetaction", "hide")], "Close");
    });
}

/// The page of a search for culprits.
pub fn bisect(html: &mut Html, record: &BisectRecord) {
    let good = record.left.is_empty() && (record.met_as_found || (!record.culprits.is_empty() && record.confirmed));
    super::answer(html, (good, &record.headline()), (&[], record.interrupted), |h| {
        left(h, &record.left);
        let sure = match (record.culprits.is_empty(), record.confirmed) {
            (true, _) => "–",
            (false, true) => "confirmed by A/B",
            (false, false) => "NOT confirmed: the path is too unsteady",
        };
        let row = vec![
            Unit::BitsPerSecond.amount(record.goal),
            if record.met_as_found { "yes" } else { "no" }.to_owned(),
            if record.culprits.is_empty() { "none".to_owned() } else { record.culprits.join(", ") },
            sure.to_owned(),
        ];
        let header = ["goal", "met as found", "smallest set whose flip meets it", "sure"];
        h.table("What keeps the path from its goal", &header, &[row]);
        if !record.commands.is_empty() {
            h.leaf("p", &[], "Now:");
            h.leaf("pre", &[], &record.commands.join("\n"));
            h.leaf("p", &[], "At every boot:");
            h.leaf("pre", &[], &record.persistent.join("\n"));
        }
    });
    super::sections(html);
    html.section("trials", "Trials");
    let flipped = |flipped: &[String]| match flipped {
        [] => "as found".to_owned(),
        [only] => only.clone(),
        many => format!("{} features", many.len()),
    };
    let bar = |(i, trial): (usize, &crate::record::Trial)| Bar {
        label: format!("{}: {}", i + 1, flipped(&trial.flipped)),
        median: trial.goodput,
        interval: None,
        rounds: Vec::new(),
        ceiling: Some(record.goal),
    };
    let bars: Vec<Bar> = record.trials.iter().take(60).enumerate().map(bar).collect();
    charts::bars(html, "Goodput of each trial against the goal", Unit::BitsPerSecond, &bars);
    let mut rows = Vec::new();
    for (i, trial) in record.trials.iter().enumerate() {
        let what = if trial.flipped.is_empty() { "nothing: as found".to_owned() } else { trial.flipped.join(", ") };
        let met = if trial.met { "met" } else { "not met" };
        rows.push(vec![(i + 1).to_string(), Unit::BitsPerSecond.amount(trial.goodput), met.to_owned(), what]);
    }
    html.table("Every trial", &["trial", "goodput", "goal", "flipped"], &rows);
}
