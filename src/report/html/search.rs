//! The page of a search: the answer, and the loads in the order in which they were tried.

use super::{
    markup::Html,
    network::{self, Place},
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, words, y_axis},
};
use crate::{
    record::{kept::Document, sweep::SearchReport},
    report::{
        quantity,
        search::{answer, limits, percent},
    },
};

/// The page.
pub fn body(html: &mut Html, report: &SearchReport) {
    let text = answer(report);
    let good = report.is_valid() && report.lower.is_some();
    super::answer(html, (good, &text), (&report.warnings, report.interrupted), |h| {
        let said = |value: Option<f64>| value.map_or("–".to_owned(), |value| quantity::headline(value, report.unit));
        let row = vec![
            format!("{} {} → {}", report.test, report.from, report.to),
            limits(report),
            said(report.lower),
            said(report.upper),
            said(report.conditional),
            said(report.ceiling.map(|ceiling| ceiling.bits_per_second() as f64)),
            format!("{} of {}", report.trials.len(), report.duration),
        ];
        let header =
            ["test", "limits", "meets them", "does not", "arrives at the first", "ceiling of the path", "trials"];
        h.table("Highest load that meets the limits", &header, &[row]);
    });
    super::sections(html);
    html.section("trials", "Trials");
    course(html, report);
    html.section("topology", "Topology");
    if let Some(manifest) = &report.manifest {
        let place = |hop: &crate::record::manifest::HopFacts| Place {
            at: hop.at.clone(),
            direction: String::new(),
            mtu: Some(hop.mtu),
            wrong: hop.mtu_wanted > 0 && hop.mtu != hop.mtu_wanted,
        };
        let places: Vec<Place> = manifest.hops.iter().map(place).collect();
        network::chain(html, &format!("Path from {} to {}", report.from, report.to), &places);
    }
}

fn course(html: &mut Html, report: &SearchReport) {
    let most = report.trials.iter().map(|trial| trial.load).fold(0.0, f64::max);
    if most == 0.0 {
        html.leaf("p", &[], "No trial was made.");
        return;
    }
    let height = 260.0;
    let y = Scale::linear(0.0, most * 1.08, height - 40.0, 10.0);
    let x = Scale::linear(0.5, report.trials.len() as f64 + 0.5, LEFT, WIDTH - RIGHT);
    let description =
        "A mark a trial: a filled circle met the limits, a cross did not; the table below has the figures";
    drawing(html, "Loads in the order of the trials", description, height, |h| {
        y_axis(h, &y, &|value| quantity::headline(value, report.unit));
        for bound in [report.lower, report.upper].into_iter().flatten() {
            line(h, "ceiling", (LEFT, y.at(bound)), (WIDTH - RIGHT, y.at(bound)));
        }
        for (i, trial) in report.trials.iter().enumerate() {
            let (px, py) = (x.at((i + 1) as f64), y.at(trial.load));
            if trial.good {
                h.within("circle", &[("class", "trial dot s2"), ("cx", &n(px)), ("cy", &n(py)), ("r", "5")], |h| {
                    h.leaf("title", &[], &format!("trial {}: {}", i + 1, quantity::headline(trial.load, report.unit)));
                });
            } else {
                line(h, "trial miss", (px - 5.0, py - 5.0), (px + 5.0, py + 5.0));
                line(h, "trial miss", (px - 5.0, py + 5.0), (px + 5.0, py - 5.0));
            }
        }
        let every = report.trials.len().div_ceil(20).max(1);
        for i in (0..report.trials.len()).step_by(every) {
            words(h, "dim", "middle", (x.at((i + 1) as f64), height - 22.0), &(i + 1).to_string());
        }
        words(h, "dim", "middle", ((LEFT + WIDTH - RIGHT) / 2.0, height - 4.0), "trial");
    });
    let figure = |value: f64| quantity::headline(value, report.unit);
    let mut rows = Vec::new();
    for (i, trial) in report.trials.iter().enumerate().take(500) {
        rows.push(vec![
            (i + 1).to_string(),
            figure(trial.load),
            figure(trial.offered),
            figure(trial.arrived),
            format!("{} %", percent(trial.loss)),
            trial.p99_us.map_or("–".to_owned(), |us| quantity::time(us * 1e3)),
            if trial.good { "meets the limits" } else { "does not" }.to_owned(),
        ]);
    }
    html.table("Every trial", &["trial", "load", "offered", "arrived", "lost", "p99", "limits"], &rows);
}
