//! The page of an MTU tuning: figures by MTU against their ceilings, and the line through the costs.

use super::{
    markup::Html,
    network,
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, path, words, y_axis},
    sweep,
};
use crate::{
    record::sweep::{CostFit, SweepResult, TuneReport},
    report::{
        quantity,
        sweep::{advice, formula},
    },
};

/// The page.
pub fn body(html: &mut Html, report: &TuneReport) {
    let pairs = || report.sweep.results.iter().zip(&report.tuned);
    let first = pairs().next().map(|(result, tuned)| advice(tuned, result.unit));
    let best = first.unwrap_or_else(|| "no figure".to_owned());
    sweep::answer(html, &report.sweep, &best, |h| {
        for (result, tuned) in pairs().filter(|_| report.tuned.len() > 1) {
            h.leaf("p", &[], &format!("{}: {}", sweep::label(result), advice(tuned, result.unit)));
        }
    });
    super::sections(html);
    html.section("figures", "By MTU");
    for (result, tuned) in pairs() {
        html.leaf("h3", &[], &sweep::label(result));
        by_mtu(html, report, result, tuned.best);
    }
    html.section("cost", "What a byte and a packet cost");
    for (result, tuned) in pairs() {
        html.leaf("h3", &[], &sweep::label(result));
        match (&tuned.fit, &tuned.no_fit) {
            (Some(fit), _) => cost(html, result, fit),
            (None, why) => {
                let why = why.as_deref().unwrap_or("it was not measured");
                html.leaf("p", &[("class", "dim")], &format!("No fit of the CPU cost: {why}"));
            }
        }
    }
    network::variants(html, &report.sweep);
}

/// Medians with intervals and rounds by MTU, each with its ceiling; the best has another color.
fn by_mtu(html: &mut Html, report: &TuneReport, result: &SweepResult, best: u32) {
    let at = |variant: u32| report.mtus.get(variant as usize - 1).copied();
    let cells: Vec<_> = result.cells.iter().filter_map(|cell| Some((at(cell.variant)?, cell))).collect();
    let ends = |f: fn(u32, u32) -> u32| cells.iter().map(|(mtu, _)| *mtu).reduce(f);
    let (Some(least), Some(largest)) = (ends(u32::min), ends(u32::max)) else { return };
    let most = cells.iter().flat_map(|(_, cell)| [cell.headline.max, cell.ceiling.unwrap_or(0.0)]).fold(0.0, f64::max);
    let height = 260.0;
    let y = Scale::linear(0.0, most * 1.05, height - 40.0, 10.0);
    let x = Scale::linear(f64::from(least), f64::from(largest), LEFT + 30.0, WIDTH - RIGHT - 30.0);
    let name = format!("{} by MTU", sweep::label(result));
    let description = "Medians with intervals, every round as a dot, ceilings dashed; the table has the figures";
    drawing(html, &name, description, height, |h| {
        y_axis(h, &y, &|value| quantity::headline(value, result.unit));
        let mut medians: Vec<_> = cells.iter().map(|(mtu, cell)| (*mtu, cell.headline.median)).collect();
        medians.sort_by_key(|(mtu, _)| *mtu);
        let line_of: Vec<_> = medians.iter().map(|(mtu, median)| (x.at(f64::from(*mtu)), y.at(*median))).collect();
        path(h, "line s0", &line_of, false);
        for (mtu, cell) in &cells {
            let place = x.at(f64::from(*mtu));
            for round in &cell.rounds {
                let (cx, cy) = (n(place), n(y.at(round.headline)));
                h.within("circle", &[("class", "round"), ("cx", &cx), ("cy", &cy), ("r", "2")], |_| {});
            }
            if let Some(interval) = cell.headline.interval {
                let (low, high) = (y.at(interval.low), y.at(interval.high));
                line(h, "whisker", (place, low), (place, high));
                line(h, "whisker", (place - 6.0, low), (place + 6.0, low));
                line(h, "whisker", (place - 6.0, high), (place + 6.0, high));
            }
            if let Some(ceiling) = cell.ceiling {
                line(h, "ceiling", (place - 18.0, y.at(ceiling)), (place + 18.0, y.at(ceiling)));
            }
            let (class, r) = if *mtu == best { ("mtu dot s1", "6") } else { ("mtu dot s0", "4") };
            let (cx, cy) = (n(place), n(y.at(cell.headline.median)));
            h.within("circle", &[("class", class), ("cx", &cx), ("cy", &cy), ("r", r)], |h| {
                let median = quantity::headline(cell.headline.median, result.unit);
                h.leaf("title", &[], &format!("MTU {mtu}: {median}"));
            });
        }
        let mut free = 0.0;
        for (mtu, _) in &medians {
            let place = x.at(f64::from(*mtu));
            if place >= free {
                words(h, "dim", "middle", (place, height - 22.0), &mtu.to_string());
                free = place + 44.0;
            }
        }
        words(h, "dim", "middle", ((LEFT + WIDTH - RIGHT) / 2.0, height - 4.0), "MTU, bytes");
    });
}

/// Measured costs over bytes a packet, and the line a + b/S through them.
fn cost(html: &mut Html, result: &SweepResult, fit: &CostFit) {
    html.leaf("p", &[], &formula(fit));
    let sizes = || fit.points.iter().map(|point| point.bytes_per_packet);
    let (low, high) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(1.0, f64::max));
    if !low.is_finite() {
        return;
    }
    let (low, high) = (low * 0.8, high * 1.1);
    let fitted = |size: f64| fit.a_ns_per_byte + fit.b_ns_per_packet / size;
    let costs = fit.points.iter().flat_map(|point| [point.cpu_ns_per_byte, point.fitted]);
    let most = costs.chain([fitted(low)]).fold(0.0, f64::max);
    let height = 260.0;
    let y = Scale::linear(0.0, most * 1.1, height - 40.0, 10.0);
    let x = Scale::log(low, high, LEFT + 10.0, WIDTH - RIGHT - 10.0);
    let name = format!("{}: CPU cost of a byte by bytes a packet, with the fitted line", sweep::label(result));
    drawing(html, &name, "The table below has measured and fitted costs", height, |h| {
        y_axis(h, &y, &|value| format!("{} ns/B", sweep::significant(value)));
        let steps = (0..=80).map(|i| low * (high / low).powf(f64::from(i) / 80.0));
        let curve: Vec<_> = steps.map(|size| (x.at(size), y.at(fitted(size).max(0.0)))).collect();
        path(h, "line s2 fit", &curve, false);
        let asymptote = y.at(fit.a_ns_per_byte.max(0.0));
        line(h, "ceiling", (x.at(low), asymptote), (x.at(high), asymptote));
        words(h, "dim", "end", (WIDTH - RIGHT - 12.0, asymptote + 14.0), "a: cost of the bytes alone");
        for point in &fit.points {
            let (px, py) = (x.at(point.bytes_per_packet), y.at(point.cpu_ns_per_byte));
            line(h, "link", (px, py), (px, y.at(point.fitted.max(0.0))));
            h.within("circle", &[("class", "cost dot s0"), ("cx", &n(px)), ("cy", &n(py)), ("r", "5")], |h| {
                let text = format!("MTU {}: {} ns/B", point.mtu, sweep::significant(point.cpu_ns_per_byte));
                h.leaf("title", &[], &text);
            });
            words(h, "", "start", (px + 9.0, py - 6.0), &format!("MTU {}", point.mtu));
        }
        for tick in x.ticks(6) {
            words(h, "dim", "middle", (x.at(tick), height - 22.0), &format!("{tick:.0}"));
        }
        words(h, "dim", "middle", ((LEFT + WIDTH - RIGHT) / 2.0, height - 4.0), "S, bytes a packet (log)");
    });
    let rows: Vec<Vec<String>> = fit
        .points
        .iter()
        .map(|point| {
            let off = point.cpu_ns_per_byte - point.fitted;
            vec![
                point.mtu.to_string(),
                format!("{:.0}", point.bytes_per_packet),
                format!("{:.3}", point.cpu_ns_per_byte),
                format!("{:.3}", point.fitted),
                format!("{off:+.3}"),
            ]
        })
        .collect();
    let header = ["MTU", "bytes a packet (S)", "measured, ns a byte", "fitted", "off the line"];
    html.table(&format!("{}: costs, measured and fitted", sweep::label(result)), &header, &rows);
}
