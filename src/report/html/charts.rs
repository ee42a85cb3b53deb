//! The charts of a run: bars, percentiles, time, CPUs, history.

use super::{
    label,
    markup::Html,
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, path, words, y_axis},
};
use crate::{
    measured::{Interval, Latency, Side},
    record::{FlowRecord, TestRecord, Unit, history::Past},
    report::quantity,
};

const SERIES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// Points of a line, at most: more than there are pixels only make the page long.
const POINTS: usize = 300;

type Tests<'a> = [(&'a FlowRecord, &'a TestRecord)];

fn series(i: usize, kind: &str) -> String {
    format!("{kind} {}", SERIES[i % SERIES.len()])
}

/// Medians as bars with intervals as whiskers, every round as a dot, ceilings as dashed lines; one drawing a unit.
pub fn bars(html: &mut Html, tests: &Tests<'_>) {
    for unit in [Unit::BitsPerSecond, Unit::FramesPerSecond, Unit::TransactionsPerSecond] {
        let shown: Vec<_> =
            tests.iter().filter_map(|(f, t)| Some((f, t, t.summary.as_ref().filter(|s| s.unit == unit)?))).collect();
        if shown.is_empty() {
            continue;
        }
        let ceiling = |t: &TestRecord| t.ceiling.as_ref().map_or(0.0, |ceiling| ceiling.bits_per_second);
        let most = shown.iter().map(|(_, t, s)| s.headline.max.max(ceiling(t))).fold(0.0, f64::max);
        let left = 260.0;
        let scale = Scale::linear(0.0, most * 1.02, left, WIDTH - 130.0);
        let height = 30.0 + 34.0 * shown.len() as f64;
        let name = match unit {
            Unit::BitsPerSecond => "Goodput",
            Unit::FramesPerSecond => "Frames",
            Unit::TransactionsPerSecond => "Transactions",
        };
        drawing(
            html,
            name,
            "Bars are medians, whiskers intervals, dots rounds; the table above has the figures",
            height,
            |h| {
                for tick in scale.ticks(4) {
                    line(h, "axis", (scale.at(tick), 4.0), (scale.at(tick), height - 20.0));
                    words(h, "dim", "middle", (scale.at(tick), height - 6.0), &quantity::headline(tick, unit));
                }
                for (i, (flow, test, summary)) in shown.iter().enumerate() {
                    let y = 8.0 + 34.0 * i as f64;
                    words(h, "", "end", (left - 8.0, y + 16.0), &quantity::cut(&label(flow, test), 38));
                    let spread = &summary.headline;
                    let (w, top) = (n(scale.at(spread.median) - left), n(y));
                    h.within(
                        "rect",
                        &[("class", "bar"), ("x", &n(left)), ("y", &top), ("width", &w), ("height", "22")],
                        |h| {
                            h.leaf(
                                "title",
                                &[],
                                &format!("{}: {}", label(flow, test), quantity::headline(spread.median, unit)),
                            );
                        },
                    );
                    for round in &test.rounds {
                        let x = n(scale.at(round.headline));
                        h.within("circle", &[("class", "round"), ("cx", &x), ("cy", &n(y + 11.0)), ("r", "2")], |_| {});
                    }
                    if let Some(interval) = spread.interval {
                        let (low, high) = (scale.at(interval.low), scale.at(interval.high));
                        line(h, "whisker", (low, y + 11.0), (high, y + 11.0));
                        line(h, "whisker", (low, y + 5.0), (low, y + 17.0));
                        line(h, "whisker", (high, y + 5.0), (high, y + 17.0));
                    }
                    if ceiling(test) > 0.0 {
                        let x = scale.at(ceiling(test));
                        line(h, "ceiling", (x, y - 3.0), (x, y + 25.0));
                    }
                    words(h, "", "start", (WIDTH - 124.0, y + 16.0), &quantity::headline(spread.median, unit));
                }
            },
        );
    }
}

/// Latency by percentile, the tail stretched: each step to the right is a tenth of the transactions that are left.
pub fn percentiles(html: &mut Html, tests: &Tests<'_>) {
    let shown: Vec<(String, Latency)> =
        tests.iter().filter_map(|(f, t)| Some((label(f, t), t.summary.as_ref()?.latency?))).collect();
    if shown.is_empty() {
        return;
    }
    html.leaf("h2", &[("id", "latency")], "Latency");
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
fn legend<'n>(html: &mut Html, names: impl Iterator<Item = &'n str>) {
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

/// The headline side's intervals over the measured window, a line a round; the rounds' drops and CPU in a table below.
pub fn time(html: &mut Html, flow: &FlowRecord, test: &TestRecord) {
    let side = |round: &'_ crate::record::RoundRecord| -> Vec<Interval> {
        if test.test.is_judged_by_client() { round.client.intervals.clone() } else { round.server.intervals.clone() }
    };
    let unit = Unit::of(test.test);
    let rate = |i: &Interval| if test.test.is_rr() { i.units_per_second() } else { i.bits_per_second() };
    let lines: Vec<Vec<Interval>> = test.rounds.iter().map(side).filter(|line| line.len() > 1).collect();
    let all = || lines.iter().flatten();
    let end = all().map(|i| i.end_ns).max().unwrap_or(0) as f64;
    html.leaf("h3", &[], &label(flow, test));
    if end > 0.0 {
        let height = 200.0;
        let y = Scale::linear(0.0, all().map(rate).fold(0.0, f64::max) * 1.05, height - 28.0, 8.0);
        let x = Scale::linear(0.0, end, LEFT, WIDTH - RIGHT);
        let name = format!("{} over time", label(flow, test));
        drawing(html, &name, "A line a round; the table below has its sums", height, |h| {
            y_axis(h, &y, &|v| quantity::headline(v, unit));
            for tick in x.ticks(6) {
                words(h, "dim", "middle", (x.at(tick), height - 10.0), &quantity::time(tick));
            }
            for (i, line) in lines.iter().take(12).enumerate() {
                // Of a long line the mean of neighbors.
                let points = line.chunks(line.len().div_ceil(POINTS)).map(|few| {
                    let mean = few.iter().map(rate).sum::<f64>() / few.len() as f64;
                    let middle = (few[0].start_ns + few[few.len() - 1].end_ns) as f64 / 2.0;
                    (x.at(middle), y.at(mean))
                });
                path(h, &series(i, "line"), &points.collect::<Vec<_>>(), false);
            }
        });
    }
    let percent = |side: &Side| {
        let of =
            |s: &crate::measured::Stream| (s.cpu.user_ns + s.cpu.system_ns) as f64 * 100.0 / s.elapsed_ns.max(1) as f64;
        format!("{:.0} %", side.streams.iter().map(of).sum::<f64>())
    };
    let rows = test.rounds.iter().take(100).map(|round| {
        let sender = if test.test.is_reverse() { &round.server } else { &round.client };
        let again =
            sender.streams.iter().filter_map(|s| s.tcp.as_ref()?.retransmits).map(u64::from).reduce(|a, b| a + b);
        let lost = round.server.streams.iter().filter_map(|s| Some(s.datagrams.as_ref()?.lost)).reduce(|a, b| a + b);
        let said = |count: Option<u64>| count.map_or("–".to_owned(), |count| count.to_string());
        vec![
            round.round.to_string(),
            quantity::headline(round.headline, unit),
            said(again),
            said(lost),
            round.path.hops.iter().map(|hop| hop.dropped + hop.qdisc_dropped).sum::<u64>().to_string(),
            percent(&round.client),
            percent(&round.server),
            round.bottleneck.as_ref().map_or("–".to_owned(), |b| format!("{}: {}", b.limit.name(), b.text())),
        ]
    });
    let header =
        ["round", "median", "sent again", "lost", "dropped on the path", "client CPU", "server CPU", "limited by"];
    let header = header.map(|name| if name == "median" { "figure" } else { name });
    html.table(&format!("Rounds of {}", label(flow, test)), &header, &rows.collect::<Vec<_>>());
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
    html.leaf("h2", &[("id", "cpus")], "CPUs");
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
                    words(h, "", "middle", (x + wide / 2.0, y + 15.0), &format!("{:.0}", share * 100.0));
                }
            }
        }
    });
}

/// The medians of earlier runs of the same topology, a drawing for each flow and test of this run.
pub fn history(html: &mut Html, tests: &Tests<'_>, runs: &[Past], this: Option<i64>) {
    if runs.len() < 2 {
        return;
    }
    html.leaf("h2", &[("id", "history")], "History");
    for (flow, test) in tests {
        let of = |run: &Past| {
            let found = run.results.iter().find(|r| (&r.from, &r.to, r.test) == (&flow.from, &flow.to, test.test));
            found.map(|result| (run.run, run.started.clone(), run.fingerprint.clone(), result.clone()))
        };
        let shown: Vec<_> = runs.iter().filter_map(of).collect();
        let (Some(first), true) = (shown.first(), shown.len() > 1) else { continue };
        let unit = first.3.unit;
        let high = |r: &crate::record::history::PastResult| r.interval.map_or(r.median, |i| i.high);
        let low = |r: &crate::record::history::PastResult| r.interval.map_or(r.median, |i| i.low);
        let most = shown.iter().map(|(.., r)| high(r)).fold(0.0, f64::max);
        let height = 170.0;
        let y = Scale::linear(0.0, most * 1.05, height - 26.0, 8.0);
        let x = Scale::linear(0.0, (shown.len() - 1) as f64, LEFT, WIDTH - RIGHT - 6.0);
        html.leaf("h3", &[], &label(flow, test));
        let name = format!("{}: medians of {} runs", label(flow, test), shown.len());
        drawing(html, &name, "The band is the interval of each", height, |h| {
            y_axis(h, &y, &|v| quantity::headline(v, unit));
            let top = shown.iter().enumerate().map(|(i, (.., r))| (x.at(i as f64), y.at(high(r))));
            let bottom = shown.iter().enumerate().rev().map(|(i, (.., r))| (x.at(i as f64), y.at(low(r))));
            path(h, "band s0", &top.chain(bottom).collect::<Vec<_>>(), true);
            let medians = shown.iter().enumerate().map(|(i, (.., r))| (x.at(i as f64), y.at(r.median)));
            path(h, "line s0", &medians.collect::<Vec<_>>(), false);
            for (i, (run, started, print, result)) in shown.iter().enumerate() {
                let changed = i > 0 && shown[i - 1].2 != *print;
                // Every run of a few; of many those where something changed, and this one.
                if shown.len() > 200 && !changed && Some(*run) != this {
                    continue;
                }
                let at = (n(x.at(i as f64)), n(y.at(result.median)));
                let (class, r) = if Some(*run) == this { ("dot s1", "6") } else { ("dot s0", "3.5") };
                h.within("circle", &[("class", class), ("cx", &at.0), ("cy", &at.1), ("r", r)], |h| {
                    let note = if changed { ", other surroundings than the run before" } else { "" };
                    h.leaf(
                        "title",
                        &[],
                        &format!("run {run}, {started}: {}{note}", quantity::headline(result.median, unit)),
                    );
                });
                if changed && shown.len() <= 200 {
                    line(h, "ceiling", (x.at(i as f64), 8.0), (x.at(i as f64), height - 26.0));
                }
            }
            words(h, "dim", "start", (LEFT, height - 8.0), &format!("run {}", first.0));
            words(h, "dim", "end", (WIDTH - RIGHT, height - 8.0), &format!("run {}", shown[shown.len() - 1].0));
        });
    }
    html.within("details", &[], |h| {
        h.leaf("summary", &[], "The latest runs in figures");
        let rows = runs.iter().rev().take(50).flat_map(|run| {
            run.results.iter().map(move |r| {
                let half = r.interval.filter(|_| r.median != 0.0).map(|i| (i.high - i.low) / 2.0 / r.median * 100.0);
                vec![
                    run.run.to_string(),
                    run.started.clone(),
                    format!("{} {} → {}", r.test, r.from, r.to),
                    quantity::headline(r.median, r.unit),
                    half.map_or("–".to_owned(), |half| format!("±{half:.1} %")),
                    if run.valid { "yes".to_owned() } else { "no".to_owned() },
                ]
            })
        });
        h.table(
            "Earlier runs of this topology",
            &["run", "started", "test", "median", "interval", "valid"],
            &rows.collect::<Vec<_>>(),
        );
    });
}
