//! The pages of a sweep and of an overhead, with its waterfalls.

use super::{
    charts::{self, Bar},
    markup::Html,
    network,
    svg::{Scale, WIDTH, drawing, line, n, words},
};
use crate::{
    record::{
        Unit,
        kept::Document,
        sweep::{OverheadReport, SweepCell, SweepReport, SweepResult, Waterfall},
    },
    report::{quantity, sweep::change},
    stats::compare::Verdict,
};

/// `TCP_STREAM client → server`
pub fn label(result: &SweepResult) -> String {
    format!("{} {} → {}", result.test, result.from, result.to)
}

fn variant<'r>(report: &'r SweepReport, cell: &SweepCell) -> &'r str {
    report.variants.get(cell.variant as usize - 1).map_or("", |variant| variant.label.as_str())
}

/// The page of a sweep.
pub fn sweep(html: &mut Html, report: &SweepReport) {
    let best = format!("{}; every figure may be believed", report.headline());
    answer(html, report, &best, |_| {});
    super::sections(html);
    figures(html, report);
    network::variants(html, report);
}

/// Verdict, what the kind has to say, the table of every result, and what is doubtful.
pub fn answer(html: &mut Html, report: &SweepReport, best: &str, inside: impl FnOnce(&mut Html)) {
    let failed = report.variants.iter().filter(|variant| variant.failed.is_some()).count();
    let verdict = match (report.is_valid(), failed) {
        (_, 1..) => (false, format!("{failed} of {} variants have no figures", report.variants.len())),
        (false, _) => (false, "NOT VALID: not every figure may be believed".to_owned()),
        (true, _) => (true, best.to_owned()),
    };
    super::answer(html, (verdict.0, &verdict.1), (&report.warnings, report.interrupted), |h| {
        inside(h);
        for result in &report.results {
            let rows: Vec<Vec<String>> = result.cells.iter().map(|cell| row(report, result, cell)).collect();
            let header =
                ["variant", "median", "interval", "rounds", "of the ceiling", "CPU", "p99", "against the first"];
            h.table(&format!("{}: medians over the rounds", label(result)), &header, &rows);
        }
        for variant in &report.variants {
            if let Some(why) = &variant.failed {
                h.leaf("p", &[("class", "bad")], &format!("{}: {why}", variant.label));
            }
        }
        for result in &report.results {
            for cell in &result.cells {
                for doubt in &cell.doubts {
                    let text = format!("{}, {}: {doubt}", label(result), variant(report, cell));
                    h.leaf("p", &[("class", "bad")], &text);
                }
            }
        }
        let order = if report.side_by_side { "side by side" } else { "one after the other" };
        let text = format!(
            "{} rounds of {} in random order (seed {}), variants {order}; {:.1} s, of which {:.1} s traffic. ~ means that no \
             difference can be told, or none that matters (Mann-Whitney, 5 %).",
            report.rounds, report.duration, report.seed, report.elapsed_s, report.traffic_s
        );
        h.leaf("p", &[("class", "dim")], &text);
    });
}

fn row(report: &SweepReport, result: &SweepResult, cell: &SweepCell) -> Vec<String> {
    let none = || "–".to_owned();
    let unit = result.unit;
    let piece = if result.test.is_rr() { "ns a transaction" } else { "ns a byte" };
    vec![
        variant(report, cell).to_owned(),
        quantity::headline(cell.headline.median, unit),
        super::interval(&cell.headline, unit),
        cell.rounds.len().to_string(),
        cell.ceiling.map_or_else(none, |ceiling| format!("{:.1} %", cell.headline.median / ceiling * 100.0)),
        cell.cpu_ns.as_ref().map_or_else(none, |cpu| format!("{} {piece}", significant(cpu.median))),
        cell.p99_us.map_or_else(none, |us| quantity::time(us * 1e3)),
        cell.against_first.as_ref().map_or_else(|| "the first".to_owned(), change),
    ]
}

/// Three digits that say something.
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Bars of every result.
pub fn figures(html: &mut Html, report: &SweepReport) {
    html.section("figures", "Figures");
    for result in &report.results {
        html.leaf("h3", &[], &label(result));
        let bar = |cell: &SweepCell| {
            let rounds = cell.rounds.iter().map(|round| round.headline).collect();
            Bar::of(variant(report, cell).to_owned(), &cell.headline, rounds, cell.ceiling)
        };
        let bars: Vec<Bar> = result.cells.iter().map(bar).collect();
        charts::bars(html, &format!("{} by variant", label(result)), result.unit, &bars);
    }
}

/// The page of an overhead.
pub fn overhead(html: &mut Html, report: &OverheadReport) {
    answer(html, &report.sweep, &report.headline(), |_| {});
    super::sections(html);
    html.section("waterfall", "What each layer costs");
    for waterfall in &report.waterfalls {
        drawn(html, waterfall);
    }
    figures(html, &report.sweep);
    network::variants(html, &report.sweep);
}

/// Each bar begins where the one before ended; what can be told from chance is filled, the rest is hollow.
fn drawn(html: &mut Html, waterfall: &Waterfall) {
    let what = if waterfall.test.is_rr() { "time of a transaction" } else { "time of a KiB" };
    html.leaf("h3", &[], &format!("{}: {what}", waterfall.test));
    let most = waterfall.layers.iter().map(|layer| layer.time_ns).fold(0.0, f64::max);
    let left = 220.0;
    let x = Scale::linear(0.0, most * 1.02, left, WIDTH - 210.0);
    let height = 30.0 + 34.0 * waterfall.layers.len() as f64;
    let said = |ns: f64| format!("{}{}", if ns < 0.0 { "−" } else { "+" }, quantity::time(ns.abs()));
    let name = format!("{} waterfall", waterfall.test);
    drawing(html, &name, "What each layer adds to the one before; the table below has the figures", height, |h| {
        for tick in x.ticks(5) {
            line(h, "axis", (x.at(tick), 4.0), (x.at(tick), height - 20.0));
            words(h, "dim", "middle", (x.at(tick), height - 6.0), &quantity::time(tick));
        }
        let mut before = 0.0;
        for (i, layer) in waterfall.layers.iter().enumerate() {
            let y = 8.0 + 34.0 * i as f64;
            words(h, "", "end", (left - 8.0, y + 16.0), &quantity::cut(&layer.name, 32));
            let (from, to) = (x.at(f64::min(before, layer.time_ns)), x.at(f64::max(before, layer.time_ns)));
            let is_told = |c: &crate::stats::compare::Comparison| c.verdict != Verdict::NoDifference;
            let told = layer.against_previous.as_ref().is_none_or(is_told);
            let class = match (i, told, layer.added_ns < 0.0) {
                (0, ..) => "step first",
                (_, false, _) => "step unsure",
                (_, true, false) => "step more",
                (_, true, true) => "step less",
            };
            let added = if i == 0 { quantity::time(layer.time_ns) } else { said(layer.added_ns) };
            let (left, top, wide) = (n(from), n(y), n((to - from).max(2.0)));
            let at = [("class", class), ("x", &*left), ("y", &top), ("width", &wide), ("height", "22")];
            h.within("rect", &at, |h| h.leaf("title", &[], &format!("{}: {added}", layer.name)));
            if i + 1 < waterfall.layers.len() {
                let end = x.at(layer.time_ns);
                line(h, "link", (end, y + 22.0), (end, y + 34.0));
            }
            let mark = if told { "" } else { " ~" };
            let text = format!("{added}{mark} → {}", quantity::time(layer.time_ns));
            words(h, "", "start", (WIDTH - 200.0, y + 16.0), if i == 0 { &added } else { &text });
            before = layer.time_ns;
        }
    });
    let unit = Unit::of(waterfall.test);
    let mut rows = Vec::new();
    for (i, layer) in waterfall.layers.iter().enumerate() {
        rows.push(vec![
            layer.name.clone(),
            quantity::time(layer.time_ns),
            if i == 0 { "–".to_owned() } else { said(layer.added_ns) },
            quantity::headline(layer.headline.median, unit),
            super::interval(&layer.headline, unit),
            layer.cpu_ns.map_or_else(|| "–".to_owned(), |cpu| format!("{} ns", significant(cpu))),
            layer.against_previous.as_ref().map_or_else(|| "–".to_owned(), change),
            layer.against_bare.as_ref().map_or_else(|| "–".to_owned(), change),
        ]);
    }
    let piece = if waterfall.test.is_rr() { "CPU a transaction" } else { "CPU a byte" };
    let header = ["layer", what, "added", "median", "interval", piece, "against the layer before", "against bare"];
    html.table(&format!("Layers of {}", waterfall.test), &header, &rows);
}
