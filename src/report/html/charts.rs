//! The charts: bars, percentiles, CPUs.

use super::{
    label,
    markup::Html,
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, path, words, y_axis},
};
use crate::{
    measured::{Latency, Side},
    record::{FlowRecord, TestRecord, Unit},
    report::quantity,
    stats::{Interval, Spread},
};

const SERIES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// The tests of a run, each with its flow.
pub type Tests<'a> = [(&'a FlowRecord, &'a TestRecord)];

/// Class of the series with this number.
pub fn series(i: usize, kind: &str) -> String {
    format!("{kind} {}", SERIES[i % SERIES.len()])
}

/// A median in a row of bars.
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Its height.
    pub median: f64,
    /// Where the median lies.
    pub interval: Option<Interval>,
    /// What it is the median of.
    pub rounds: Vec<f64>,
    /// What the path can carry, or what was asked for.
    pub ceiling: Option<f64>,
}

impl Bar {
    /// Of rounds.
    pub fn of(label: String, spread: &Spread, rounds: Vec<f64>, ceiling: Option<f64>) -> Self {
        Self { label, median: spread.median, interval: spread.interval, rounds, ceiling }
    }
}

/// Medians of tests as bars, one drawing a unit.
pub fn tests(html: &mut Html, tests: &Tests<'_>) {
    for unit in [Unit::BitsPerSecond, Unit::FramesPerSecond, Unit::TransactionsPerSecond] {
        let bar = |(flow, test): &(&FlowRecord, &TestRecord)| {
            let summary = test.summary.as_ref().filter(|summary| summary.unit == unit)?;
            let rounds = test.rounds.iter().map(|round| round.headline).collect();
            let ceiling = test.ceiling.as_ref().map(|ceiling| ceiling.bits_per_second);
            Some(Bar::of(label(flow, test), &summary.headline, rounds, ceiling))
        };
        let all: Vec<Bar> = tests.iter().filter_map(bar).collect();
        let name = match unit {
            Unit::BitsPerSecond => "Goodput",
            Unit::FramesPerSecond => "Frames",
            Unit::TransactionsPerSecond => "Transactions",
        };
        bars(html, name, unit, &all);
    }
}

/// Medians as bars with intervals as whiskers, every round as a dot, ceilings as dashed lines.
pub fn bars(html: &mut Html, name: &str, unit: Unit, all: &[Bar]) {
    let values = |bar: &Bar| {
        let ends = [Some(bar.median), bar.interval.map(|interval| interval.high), bar.ceiling];
        ends.into_iter().flatten().chain(bar.rounds.iter().copied()).fold(0.0, f64::max)
    };
    let most = all.iter().map(values).fold(0.0, f64::max);
    if most == 0.0 {
        return;
    }
    let left = 260.0;
    let scale = Scale::linear(0.0, most * 1.02, left, WIDTH - 130.0);
    let height = 30.0 + 34.0 * all.len() as f64;
    let description =
        "Bars are medians, whiskers intervals, dots rounds, dashed lines ceilings; the table has the figures";
    drawing(html, name, description, height, |h| {
        for tick in scale.ticks(4) {
            line(h, "axis", (scale.at(tick), 4.0), (scale.at(tick), height - 20.0));
            words(h, "dim", "middle", (scale.at(tick), height - 6.0), &quantity::headline(tick, unit));
        }
        for (i, bar) in all.iter().enumerate() {
            let y = 8.0 + 34.0 * i as f64;
            words(h, "", "end", (left - 8.0, y + 16.0), &quantity::cut(&bar.label, 38));
            let (w, top) = (n(scale.at(bar.median) - left), n(y));
            let at = [("class", "bar"), ("x", &n(left)), ("y", &top), ("width", &w), ("height", "22")];
            h.within("rect", &at, |h| {
                h.leaf("title", &[], &format!("{}: {}", bar.label, quantity::headline(bar.median, unit)));
            });
            for round in &bar.rounds {
                let x = n(scale.at(*round));
                h.within("circle", &[("class", "round"), ("cx", &x), ("cy", &n(y + 11.0)), ("r", "2")], |_| {});
            }
            if let Some(interval) = bar.interval {
                let (low, high) = (scale.at(interval.low), scale.at(interval.high));
                line(h, "whisker", (low, y + 11.0), (high, y + 11.0));
                line(h, "whisker", (low, y + 5.0), (low, y + 17.0));
                line(h, "whisker", (high, y + 5.0), (high, y + 17.0));
            }
            if let Some(ceiling) = bar.ceiling {
                let x = scale.at(ceiling);
                line(h, "ceiling", (x, y - 3.0), (x, y + 25.0));
            }
            words(h, "", "start", (WIDTH - 124.0, y + 16.0), &quantity::headline(bar.median, unit));
        }
    });
}

/// Latency by percentile, the tail stretched: each step to the right is a tenth of the transactions that are left.
pub fn percentiles(html: &mut Html, tests: &Tests<'_>) {
    let shown: Vec<(String, Latency)> =
        tests.iter().filter_map(|(f, t)| Some((label(f, t), t.summary.as_ref()?.latency?))).collect();
    if shown.is_empty() {
        return;
    }
    html.section("latency", "Latency");
    let points = |l: &Latency| {
        [
            ("p50", 0.5, l.p50_ns),
            ("p90", 0.1, l.p90_ns),
            ("p99", 0.01, l.p99_ns),
            ("p99.9", 1e-3, l.p99_9_ns),
            ("p99.99", 1e-4, l.p99_99_ns),
            ("p99.999", 1e-5, l.p99_999_ns),
        ]
    };
    let all = || shown.iter().flat_map(|(_, l)| points(l)).map(|(.., nanos)| nanos as f64);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(1.0, f64::max));
    let height = 280.0;
    let y = Scale::log(low / 1.3, high * 1.3, height - 30.0, 12.0);
    let x = Scale::log(1.0 / 0.6, 1.3e5, LEFT, WIDTH - RIGHT);
    drawing(html, "Latency by percentile", "The table below has the figures", height, |h| {
        y_axis(h, &y, &quantity::time);
        for (i, (_, latency)) in shown.iter().enumerate() {
            let places: Vec<_> =
                points(latency).iter().map(|&(_, rest, ns)| (x.at(1.0 / rest), y.at(ns as f64))).collect();
            path(h, &series(i, "line"), &places, false);
            for ((name, _, ns), (x, y)) in points(latency).into_iter().zip(places) {
                h.within("circle", &[("class", &series(i, "dot")), ("cx", &n(x)), ("cy", &n(y)), ("r", "3.5")], |h| {
                    h.leaf("title", &[], &format!("{name}: {}", quantity::time(ns as f64)));
                });
            }
        }
        for (name, rest, _) in points(&shown[0].1) {
            words(h, "dim", "middle", (x.at(1.0 / rest), height - 10.0), name);
        }
    });
    legend(html, shown.iter().map(|(name, _)| name.as_str()));
    let time = |ns: u64| quantity::time(ns as f64);
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|(name, l)| {
            let figures = [l.min_ns, l.p50_ns, l.p90_ns, l.p99_ns, l.p99_9_ns, l.p99_99_ns, l.p99_999_ns, l.max_ns];
            std::iter::once(name.clone()).chain(figures.map(time)).collect()
        })
        .collect();
    let header = ["test", "min", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"];
    html.table("Latency: median over the rounds of each percentile", &header, &rows);
}

/// What the lines are, in words and in their colors.
pub fn legend<'n>(html: &mut Html, names: impl Iterator<Item = &'n str>) {
    let names: Vec<&str> = names.collect();
    let height = 20.0 * names.len() as f64 + 4.0;
    drawing(html, "Legend", &names.join(", "), height, |h| {
        for (i, name) in names.iter().enumerate() {
            let y = 14.0 + 20.0 * i as f64;
            let at = [(LEFT, y - 4.0), (LEFT + 24.0, y - 4.0)];
            path(h, &series(i, "line"), &at, false);
            words(h, "", "start", (LEFT + 32.0, y), name);
        }
    });
}

/// What each CPU did in each round: the darker, the busier.
pub fn cpus(html: &mut Html, tests: &Tests<'_>) {
    let columns: Vec<(String, &Side)> = tests
        .iter()
        .flat_map(|(f, t)| t.rounds.iter().map(move |r| (format!("{}, round {}", label(f, t), r.round), &r.server)))
        .filter(|(_, side)| !side.cpus.is_empty())
        .take(120)
        .collect();
    let mut busy: Vec<u32> =
        columns.iter().flat_map(|(_, s)| &s.cpus).filter(|l| l.idle < 0.95).map(|l| l.cpu).collect();
    busy.sort_unstable();
    busy.dedup();
    busy.truncate(64);
    if busy.is_empty() {
        return;
    }
    html.section("cpus", "CPUs");
    html.leaf("p", &[("class", "dim")], "A column a round in the order of the tests, a row a CPU that was not idle; filled to the share that was busy, softirq in the words of each cell.");
    let (wide, tall) = (((WIDTH - LEFT - RIGHT) / columns.len() as f64).min(60.0), 22.0);
    let height = 10.0 + tall * busy.len() as f64;
    drawing(html, "Busy CPUs", "Rows are CPUs, columns are rounds", height, |h| {
        for (row, cpu) in busy.iter().enumerate() {
            let y = 4.0 + tall * row as f64;
            words(h, "", "end", (LEFT - 8.0, y + 15.0), &format!("CPU {cpu}"));
            for (column, (name, side)) in columns.iter().enumerate() {
                let Some(load) = side.cpus.iter().find(|load| load.cpu == *cpu) else { continue };
                let x = LEFT + wide * column as f64;
                let share = (1.0 - load.idle).clamp(0.0, 1.0);
                let opacity = format!("{:.2}", 0.1 + 0.9 * share);
                let (w, t) = (n(wide - 1.0), n(tall - 2.0));
                let at = [
                    ("class", "cell"),
                    ("x", &n(x)),
                    ("y", &n(y)),
                    ("width", &w),
                    ("height", &t),
                    ("opacity", &opacity),
                ];
                h.within("rect", &at, |h| {
                    let (all, soft, system) = (share * 100.0, load.softirq * 100.0, load.system * 100.0);
                    let (user, steal) = (load.user * 100.0, load.steal * 100.0);
                    h.leaf("title", &[], &format!("{name}, CPU {cpu}: busy {all:.0} %, softirq {soft:.0} %, system {system:.0} %, user {user:.0} %, stolen {steal:.0} %"));
                });
                if wide >= 30.0 {
                    let class = if share > 0.55 { "heat" } else { "" };
                    words(h, class, "middle", (x + wide / 2.0, y + 15.0), &format!("{:.0}", share * 100.0));
                }
            }
        }
    });
}
