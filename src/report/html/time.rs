//! The rounds of a test one after another: what arrived, what was lost on the way, and what it cost, on one axis of time.

use super::{
    charts::{Tests, series},
    label,
    markup::Html,
    svg::{LEFT, RIGHT, Scale, WIDTH, drawing, line, n, path, words},
};
use crate::{
    measured::{Interval, Side},
    record::{FlowRecord, RoundRecord, TestRecord, Unit},
    report::quantity,
};

/// Points of the lines of a test, at most: more than there are pixels only make the page long.
const POINTS: usize = 600;
/// Rounds in a drawing, at most.
const ROUNDS: usize = 60;
/// Tops and heights of the three lanes.
const LANES: [(f64, f64); 3] = [(18.0, 150.0), (200.0, 50.0), (282.0, 60.0)];

/// A round with its place on the axis of time.
struct Stretch<'r> {
    round: &'r RoundRecord,
    from_ns: f64,
    to_ns: f64,
    line: &'r [Interval],
}

/// Every test.
pub fn all(html: &mut Html, tests: &Tests<'_>) {
    for (flow, test) in tests {
        html.leaf("h3", &[], &label(flow, test));
        lanes(html, flow, test);
        table(html, flow, test);
    }
}

fn stretches(test: &TestRecord) -> Vec<Stretch<'_>> {
    let (mut all, mut from_ns) = (Vec::new(), 0.0);
    for round in test.rounds.iter().take(ROUNDS) {
        let side = if test.test.is_judged_by_client() { &round.client } else { &round.server };
        let streams = round.client.streams.iter().chain(&round.server.streams);
        let longest = streams.map(|stream| stream.elapsed_ns).max().unwrap_or(0);
        let last = side.intervals.last().map_or(0, |last| last.end_ns);
        let to_ns = from_ns + longest.max(last).max(1) as f64;
        all.push(Stretch { round, from_ns, to_ns, line: &side.intervals });
        from_ns = to_ns;
    }
    all
}

/// CPU time of a side's threads over the time that passed.
fn cpu(side: &Side) -> f64 {
    let streams = side.streams.iter();
    streams.map(|s| (s.cpu.user_ns + s.cpu.system_ns) as f64 / s.elapsed_ns.max(1) as f64).sum()
}

fn dropped(round: &RoundRecord) -> u64 {
    round.path.hops.iter().map(|hop| hop.dropped + hop.qdisc_dropped).sum()
}

fn sent_again(test: &TestRecord, round: &RoundRecord) -> Option<u64> {
    let sender = if test.test.is_reverse() { &round.server } else { &round.client };
    sender.streams.iter().filter_map(|s| s.tcp.as_ref()?.retransmits).map(u64::from).reduce(|a, b| a + b)
}

fn lost(round: &RoundRecord) -> Option<u64> {
    round.server.streams.iter().filter_map(|s| Some(s.datagrams.as_ref()?.lost)).reduce(|a, b| a + b)
}

fn lanes(html: &mut Html, flow: &FlowRecord, test: &TestRecord) {
    let all = stretches(test);
    let Some(end) = all.last().map(|last| last.to_ns) else { return };
    let x = Scale::linear(0.0, end, LEFT, WIDTH - RIGHT);
    let name = format!("{} over time, with drops and CPU", label(flow, test));
    let description = "Rounds one after another; the table below has the sums of each";
    drawing(html, &name, description, 372.0, |h| {
        for stretch in &all {
            line(h, "axis", (x.at(stretch.from_ns), LANES[0].0), (x.at(stretch.from_ns), LANES[2].0 + LANES[2].1));
        }
        figures(h, test, &all, &x);
        drops(h, test, &all, &x);
        costs(h, &all, &x);
        for tick in x.ticks(6) {
            words(h, "dim", "middle", (x.at(tick), 366.0), &quantity::time(tick));
        }
    });
}

/// A lane's name, its scale from zero, and lines with their values.
fn lane(html: &mut Html, at: usize, name: &str, most: f64, ticks: usize, say: &dyn Fn(f64) -> String) -> Scale {
    let (top, height) = LANES[at];
    let y = Scale::linear(0.0, most, top + height, top);
    words(html, "lane", "start", (LEFT, top - 5.0), name);
    for tick in y.ticks(ticks) {
        line(html, "axis", (LEFT, y.at(tick)), (WIDTH - RIGHT, y.at(tick)));
        words(html, "dim", "end", (LEFT - 6.0, y.at(tick) + 4.0), &say(tick));
    }
    y
}

fn figures(html: &mut Html, test: &TestRecord, all: &[Stretch<'_>], x: &Scale) {
    let unit = Unit::of(test.test);
    let rate = |i: &Interval| if test.test.is_rr() { i.units_per_second() } else { i.bits_per_second() };
    let is_line = |stretch: &Stretch<'_>| unit != Unit::FramesPerSecond && stretch.line.len() > 1;
    let rates = all.iter().filter(|stretch| is_line(stretch)).flat_map(|stretch| stretch.line.iter().map(rate));
    let most = rates.chain(all.iter().map(|stretch| stretch.round.headline)).fold(0.0, f64::max);
    let name = if test.test.is_rr() { "transactions" } else { "what arrived" };
    let y = lane(html, 0, name, most * 1.05, 4, &|value| quantity::headline(value, unit));
    let each = (POINTS / all.len()).max(4);
    for stretch in all {
        let ends = [stretch.from_ns, stretch.to_ns].map(|at| (x.at(at), y.at(stretch.round.headline)));
        if !is_line(stretch) {
            path(html, &series(0, "line"), &ends, false);
            continue;
        }
        // Of a long line the mean of neighbors.
        let points = stretch.line.chunks(stretch.line.len().div_ceil(each)).map(|few| {
            let mean = few.iter().map(rate).sum::<f64>() / few.len() as f64;
            let middle = (few[0].start_ns + few[few.len() - 1].end_ns) as f64 / 2.0;
            (x.at(stretch.from_ns + middle), y.at(mean))
        });
        path(html, &series(0, "line"), &points.collect::<Vec<_>>(), false);
    }
}

/// Two bars a round: what hops dropped, and what was sent again or lost.
fn drops(html: &mut Html, test: &TestRecord, all: &[Stretch<'_>], x: &Scale) {
    let counts = |round: &RoundRecord| {
        let missing = sent_again(test, round).unwrap_or(0) + lost(round).unwrap_or(0);
        [(dropped(round), "dropped on the path", "s1"), (missing, "sent again or lost", "s3")]
    };
    let most = all.iter().flat_map(|stretch| counts(stretch.round)).map(|(count, ..)| count).max().unwrap_or(0);
    let say = |value: f64| format!("{value:.0}");
    let y = lane(html, 1, "drops:", most.max(1) as f64 * 1.05, 2, &say);
    for (i, (_, name, color)) in counts(all[0].round).into_iter().enumerate() {
        words(html, color, "start", (LEFT + 60.0 + 160.0 * i as f64, LANES[1].0 - 5.0), name);
    }
    if most == 0 {
        words(html, "dim", "middle", ((LEFT + WIDTH - RIGHT) / 2.0, LANES[1].0 + 30.0), "none in any round");
        return;
    }
    for stretch in all {
        let (from, to) = (x.at(stretch.from_ns), x.at(stretch.to_ns));
        let wide = ((to - from) / 3.0).clamp(0.5, 24.0);
        for (i, (count, name, color)) in counts(stretch.round).into_iter().enumerate().filter(|(_, (n, ..))| *n > 0) {
            let left = (from + to) / 2.0 + wide * (i as f64 - 1.0);
            let (top, bottom) = (y.at(count as f64), LANES[1].0 + LANES[1].1);
            let (x, y, w, t) = (n(left), n(top.min(bottom - 1.0)), n(wide), n((bottom - top).max(1.0)));
            let class = format!("drop {color}");
            h_rect(html, &class, (&x, &y, &w, &t), &format!("round {}: {count} {name}", stretch.round.round));
        }
    }
}

fn h_rect(html: &mut Html, class: &str, (x, y, w, t): (&str, &str, &str, &str), title: &str) {
    let at = [("class", class), ("x", x), ("y", y), ("width", w), ("height", t)];
    html.within("rect", &at, |h| h.leaf("title", &[], title));
}

/// CPU of the threads at both ends, a step a round.
fn costs(html: &mut Html, all: &[Stretch<'_>], x: &Scale) {
    type Pick = fn(&RoundRecord) -> &Side;
    let sides: [(&str, Pick, usize); 2] = [("client", |round| &round.client, 0), ("server", |round| &round.server, 2)];
    let shares = all.iter().flat_map(|stretch| sides.iter().map(|(_, pick, _)| cpu(pick(stretch.round))));
    let most = shares.fold(1.0, f64::max);
    let y = lane(html, 2, "CPU of the threads:", most * 1.05, 2, &|value| format!("{:.0} %", value * 100.0));
    for (i, (name, pick, color)) in sides.iter().enumerate() {
        let class = ["s0", "s1", "s2"][*color];
        words(html, class, "start", (LEFT + 150.0 + 70.0 * i as f64, LANES[2].0 - 5.0), name);
        let steps = all.iter().flat_map(|stretch| {
            let at = y.at(cpu(pick(stretch.round)));
            [(x.at(stretch.from_ns), at), (x.at(stretch.to_ns), at)]
        });
        path(html, &series(*color, "line cpu"), &steps.collect::<Vec<_>>(), false);
    }
}

fn table(html: &mut Html, flow: &FlowRecord, test: &TestRecord) {
    let unit = Unit::of(test.test);
    let said = |count: Option<u64>| count.map_or("–".to_owned(), |count| count.to_string());
    let percent = |side: &Side| format!("{:.0} %", cpu(side) * 100.0);
    let rows = test.rounds.iter().take(100).map(|round| {
        vec![
            round.round.to_string(),
            quantity::headline(round.headline, unit),
            said(sent_again(test, round)),
            said(lost(round)),
            dropped(round).to_string(),
            percent(&round.client),
            percent(&round.server),
            round.bottleneck.as_ref().map_or("–".to_owned(), |b| format!("{}: {}", b.limit.name(), b.text())),
        ]
    });
    let header =
        ["round", "figure", "sent again", "lost", "dropped on the path", "client CPU", "server CPU", "limited by"];
    html.table(&format!("Rounds of {}", label(flow, test)), &header, &rows.collect::<Vec<_>>());
}
