//! What earlier outcomes of the same kind and topology said.

use super::{
    markup::Html,
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, path, words, y_axis},
};
use crate::{
    record::history::{Past, PastResult},
    report::quantity,
};

/// Medians of what was measured again and again, at most so many drawings.
const DRAWINGS: usize = 24;

/// `TCP_STREAM client → server, mtu=1500`
fn name(result: &PastResult) -> String {
    let variant = result.variant.as_ref().map(|variant| format!(", {variant}")).unwrap_or_default();
    format!("{} {} → {}{variant}", result.test, result.from, result.to)
}

fn is_same(a: &PastResult, b: &PastResult) -> bool {
    (&a.from, &a.to, a.test, &a.variant) == (&b.from, &b.to, b.test, &b.variant)
}

/// A drawing for each figure of the one with number `this`, or of the last; a table of the latest.
pub fn all(html: &mut Html, past: &[Past], this: Option<i64>) {
    let (true, Some(last)) = (past.len() > 1, past.last()) else { return };
    let shown = past.iter().find(|past| Some(past.run) == this).unwrap_or(last);
    html.section("history", "History");
    for result in shown.results.iter().take(DRAWINGS) {
        let of = |past: &'_ Past| past.results.iter().find(|other| is_same(other, result)).cloned();
        let line: Vec<(&Past, PastResult)> = past.iter().filter_map(|past| Some((past, of(past)?))).collect();
        if line.len() > 1 {
            html.leaf("h3", &[], &name(result));
            drawn(html, &name(result), &line, this);
        }
    }
    match shown.results.is_empty() {
        true => answers(html, past),
        false => figures(html, past),
    }
}

fn drawn(html: &mut Html, name: &str, shown: &[(&Past, PastResult)], this: Option<i64>) {
    let unit = shown[0].1.unit;
    let high = |result: &PastResult| result.interval.map_or(result.median, |interval| interval.high);
    let low = |result: &PastResult| result.interval.map_or(result.median, |interval| interval.low);
    let most = shown.iter().map(|(_, result)| high(result)).fold(0.0, f64::max);
    let height = 170.0;
    let y = Scale::linear(0.0, most * 1.05, height - 26.0, 8.0);
    let x = Scale::linear(0.0, (shown.len() - 1) as f64, LEFT, WIDTH - RIGHT - 6.0);
    let name = format!("{name}: medians of {} runs", shown.len());
    drawing(html, &name, "The band is the interval of each", height, |h| {
        y_axis(h, &y, &|v| quantity::headline(v, unit));
        let top = shown.iter().enumerate().map(|(i, (_, r))| (x.at(i as f64), y.at(high(r))));
        let bottom = shown.iter().enumerate().rev().map(|(i, (_, r))| (x.at(i as f64), y.at(low(r))));
        path(h, "band s0", &top.chain(bottom).collect::<Vec<_>>(), true);
        let medians = shown.iter().enumerate().map(|(i, (_, r))| (x.at(i as f64), y.at(r.median)));
        path(h, "line s0", &medians.collect::<Vec<_>>(), false);
        for (i, (past, result)) in shown.iter().enumerate() {
            let changed = i > 0 && shown[i - 1].0.fingerprint != past.fingerprint;
            let is_this = Some(past.run) == this;
            // Every run of a few; of many those where something changed, and this one.
            if shown.len() > 200 && !changed && !is_this {
                continue;
            }
            if changed && shown.len() <= 200 {
                line(h, "ceiling", (x.at(i as f64), 8.0), (x.at(i as f64), height - 26.0));
            }
            let at = (n(x.at(i as f64)), n(y.at(result.median)));
            let (class, r) = if is_this { ("dot s1", "6") } else { ("dot s0", "3.5") };
            h.within("circle", &[("class", class), ("cx", &at.0), ("cy", &at.1), ("r", r)], |h| {
                let note = if changed { ", other surroundings than the run before" } else { "" };
                let median = quantity::headline(result.median, unit);
                h.leaf("title", &[], &format!("run {}, {}: {median}{note}", past.run, past.started));
            });
        }
        words(h, "dim", "start", (LEFT, height - 8.0), &format!("run {}", shown[0].0.run));
        words(h, "dim", "end", (WIDTH - RIGHT, height - 8.0), &format!("run {}", shown[shown.len() - 1].0.run));
    });
}

fn yes(valid: bool) -> String {
    if valid { "yes" } else { "no" }.to_owned()
}

fn figures(html: &mut Html, past: &[Past]) {
    html.within("details", &[], |h| {
        h.leaf("summary", &[], "The latest runs in figures");
        let rows = past.iter().rev().take(50).flat_map(|run| {
            run.results.iter().map(move |r| {
                let half = r.interval.filter(|_| r.median != 0.0).map(|i| (i.high - i.low) / 2.0 / r.median * 100.0);
                vec![
                    run.run.to_string(),
                    run.started.clone(),
                    name(r),
                    quantity::headline(r.median, r.unit),
                    half.map_or("–".to_owned(), |half| format!("±{half:.1} %")),
                    yes(run.valid),
                ]
            })
        });
        let header = ["run", "started", "test", "median", "interval", "valid"];
        h.table("Earlier runs of this topology", &header, &rows.take(1000).collect::<Vec<_>>());
    });
}

/// Of what ends with an answer and not with figures.
fn answers(html: &mut Html, past: &[Past]) {
    let rows: Vec<Vec<String>> = past
        .iter()
        .rev()
        .take(50)
        .map(|past| vec![past.run.to_string(), past.started.clone(), past.headline.clone(), yes(past.valid)])
        .collect();
    html.table("Earlier answers for this topology", &["number", "started", "answer", "valid"], &rows);
}
