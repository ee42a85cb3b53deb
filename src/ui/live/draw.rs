//! Draws the live view on a screen of any size: what has no room is left out, and said.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Sparkline},
};

use super::model::{Model, Row};
use crate::{experiment::live::HopNow, measured::CpuLoad};

/// Widest bar of a CPU, columns.
const BAR: usize = 30;
/// Rows of the curve.
const CURVE: u16 = 3;

/// Colors, unless `NO_COLOR` asks for none.
#[derive(Clone, Copy)]
struct Paint {
    colors: bool,
}

impl Paint {
    fn of_environment() -> Self {
        Self { colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn color(self, color: Color) -> Style {
        if self.colors { Style::default().fg(color) } else { Style::default() }
    }

    fn title(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        Style::default().add_modifier(Modifier::DIM)
    }

    /// Something that should be nothing.
    fn count(self, count: u64) -> Style {
        if count > 0 { self.color(Color::Red).add_modifier(Modifier::BOLD) } else { Style::default() }
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let (area, paint) = (frame.area(), Paint::of_environment());
    if area.width == 0 || area.height == 0 {
        return;
    }
    let width = usize::from(area.width);
    let head = head(model, width, paint);
    let sections = [streams(model, width, paint), cpus(model, width, paint), hops(model, width, paint)];
    let (room, footer) = (usize::from(area.height), usize::from(area.height > 6));
    let left = room.saturating_sub(head.len() + footer);
    // The curve comes only where nothing else needs the place.
    let needed: usize = sections.iter().map(Vec::len).sum();
    let curve = if needed + usize::from(CURVE) < left && model.history.len() > 1 { usize::from(CURVE) } else { 0 };
    let shares = share(sections.each_ref().map(Vec::len), left - curve);
    let mut y = area.y;
    let mut put = |frame: &mut Frame<'_>, lines: Vec<Line<'static>>| {
        let height = (lines.len() as u16).min(area.bottom().saturating_sub(y));
        frame.render_widget(Paragraph::new(lines), Rect::new(area.x, y, area.width, height));
        y += height;
    };
    put(frame, head);
    if curve > 0 {
        let place = Rect::new(area.x, area.y + (room - left - footer) as u16, area.width, CURVE);
        let shown = model.history.len().saturating_sub(width);
        let values: Vec<u64> = model.history.iter().skip(shown).copied().collect();
        frame.render_widget(Sparkline::default().style(paint.color(Color::Cyan)).data(&values), place);
        put(frame, vec![Line::default(); curve]);
    }
    for (section, share) in sections.into_iter().zip(shares) {
        put(frame, cut(section, share, paint));
    }
    if footer > 0 {
        let place = Rect::new(area.x, area.bottom() - 1, area.width, 1);
        frame.render_widget(
            Paragraph::new(Line::styled("q or Ctrl-C: end, and report what there is", paint.quiet())),
            place,
        );
    }
}

/// Shares rows among sections, one at a time in turn, so that none takes all.
fn share<const N: usize>(needs: [usize; N], mut room: usize) -> [usize; N] {
    let mut got = [0; N];
    while room > 0 && got.iter().zip(&needs).any(|(got, need)| got < need) {
        for (got, need) in got.iter_mut().zip(&needs) {
            if *got < *need && room > 0 {
                *got += 1;
                room -= 1;
            }
        }
    }
    got
}

/// The first rows of a section; the last says how many are missing.
fn cut(mut lines: Vec<Line<'static>>, room: usize, paint: Paint) -> Vec<Line<'static>> {
    if lines.len() > room {
        let missing = lines.len() - room + 1;
        lines.truncate(room);
        if room > 1
            && let Some(last) = lines.last_mut()
        {
            *last = Line::styled(format!("… and {missing} more"), paint.quiet());
        }
    }
    lines
}

/// Who, what, where it stands, and how fast in all.
fn head(model: &Model, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let Some(round) = &model.round else {
        return vec![Line::styled(fit(&format!("netbench: {}", model.said), width), paint.title())];
    };
    let pairs = if round.pairs > 1 { format!(" and {} pairs", round.pairs - 1) } else { String::new() };
    let who = format!("{} → {}{pairs}", round.nodes.0, round.nodes.1);
    let elapsed = model.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let what = format!("{} round {} [{}/{}]", round.test, round.round, round.number.0, round.number.1);
    let when = if model.said.is_empty() {
        format!("{:.1} of {:.1} s", elapsed.min(round.seconds), round.seconds)
    } else {
        model.said.clone()
    };
    let total = match &model.sum {
        None => "…".to_owned(),
        Some(sum) if round.test.is_rr() => format!("{:.0} trans/s", sum.units_per_second()),
        Some(sum) => rate(sum.bits_per_second()),
    };
    let total = Span::styled(total, paint.color(Color::Green).add_modifier(Modifier::BOLD));
    let wide = format!("{who}  {what}  {when}");
    if wide.chars().count() <= width {
        return vec![Line::styled(wide, paint.title()), Line::from(total)];
    }
    vec![
        Line::styled(fit(&who, width), paint.title()),
        Line::from(total),
        Line::from(fit(&what, width)),
        Line::styled(fit(&when, width), paint.quiet()),
    ]
}

fn streams(model: &Model, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let Some(round) = model.round.as_ref().filter(|_| !model.rows.is_empty()) else { return Vec::new() };
    let several = round.pairs > 1;
    let titles =
        if width >= 60 { "stream       throughput  rtt  cwnd  retransmits" } else { "stream    throughput  retr  rtt" };
    let mut lines = vec![Line::styled(fit(titles, width), paint.quiet())];
    for ((_, number), row) in &model.rows {
        let name = if several { format!("{} → {} {number}", row.nodes.0, row.nodes.1) } else { number.to_string() };
        lines.push(stream(&name, row, round.test.is_rr(), width, paint));
    }
    lines
}

fn stream(name: &str, row: &Row, is_rr: bool, width: usize, paint: Paint) -> Line<'static> {
    let fast = match row.rate {
        None => "…".to_owned(),
        Some((_, units)) if is_rr => format!("{units:.0} trans/s"),
        Some((bits, _)) => rate(bits),
    };
    let wide = width >= 60;
    let room = if wide { 16 } else { 13 };
    let mut spans = vec![Span::raw(format!("{:<6} {fast:>room$}", fit(name, (width / 3).max(6))))];
    let tcp = row.tcp.unwrap_or_default();
    let rtt = tcp.rtt_us.map(|rtt| Span::raw(format!("  rtt {}", micros(rtt))));
    let cwnd = tcp.cwnd.filter(|_| wide).map(|cwnd| Span::raw(format!("  cwnd {cwnd}")));
    let again = row.retransmits.map(|again| Span::styled(format!("  retr {again}"), paint.count(again)));
    // What does not fit is cut from the right: the round trips, before the retransmits.
    spans.extend(if wide { [rtt, cwnd, again] } else { [again, rtt, None] }.into_iter().flatten());
    Line::from(spans)
}

fn cpus(model: &Model, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let line = |load: &CpuLoad| {
        let parts = [load.user, load.system, load.softirq + load.irq, load.steal];
        let busy = parts.iter().sum::<f64>().clamp(0.0, 1.0);
        let label = format!("CPU{:<3} {:>3.0} % ", load.cpu, busy * 100.0);
        let detail = format!(
            " {:.0} user {:.0} system {:.0} softirq{}",
            parts[0] * 100.0,
            parts[1] * 100.0,
            parts[2] * 100.0,
            if load.steal >= 0.005 { format!(" {:.0} stolen", load.steal * 100.0) } else { String::new() },
        );
        let detail = if width >= 60 { detail } else { String::new() };
        let bar = width.saturating_sub(label.chars().count() + detail.chars().count()).min(BAR);
        let filled = (busy * bar as f64).round() as usize;
        let color = if busy > 0.9 { Color::Red } else { Color::Yellow };
        Line::from(vec![
            Span::raw(label),
            Span::styled("█".repeat(filled), paint.color(color)),
            Span::styled("·".repeat(bar - filled), paint.quiet()),
            Span::raw(detail),
        ])
    };
    model.looked.cpus.iter().map(line).collect()
}

fn hops(model: &Model, width: usize, paint: Paint) -> Vec<Line<'static>> {
    if model.looked.hops.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::styled(fit("hop                       now          drops", width), paint.quiet())];
    let room = if width >= 60 { 24 } else { (width / 3).max(4) };
    let line = |hop: &HopNow| {
        let name = format!("{} {}", hop.at, if hop.is_tx { "tx" } else { "rx" });
        Line::from(vec![
            Span::raw(format!("{:<room$} {:>14}", fit(&name, room), rate(hop.bits_per_second))),
            Span::styled(format!("  {} dropped", hop.dropped), paint.count(hop.dropped)),
        ])
    };
    lines.extend(model.looked.hops.iter().map(line));
    lines
}

/// Cut to so many columns.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).take(width).collect()
}

fn rate(bits: f64) -> String {
    match bits {
        b if b >= 1e9 => format!("{:.2} Gbit/s", b / 1e9),
        b if b >= 1e6 => format!("{:.1} Mbit/s", b / 1e6),
        b => format!("{:.1} kbit/s", b / 1e3),
    }
}

fn micros(micros: u32) -> String {
    if micros >= 10_000 { format!("{:.1} ms", f64::from(micros) / 1e3) } else { format!("{micros} µs") }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::{
        experiment::{
            live::Looked,
            round::Told,
            run::{Progress, Step},
        },
        measured::{Interval, StreamInterval, TcpInterval, Test},
    };

    fn model(streams: u32) -> Model {
        let step = Step {
            number: 2,
            of: 6,
            from: "client",
            to: "server",
            pairs: 1,
            test: Test::TcpStream,
            round: 1,
            seconds: 3.0,
        };
        let mut model = Model::default();
        model.show(Progress::Begin(step));
        let tcp = TcpInterval { rtt_us: Some(87), cwnd: Some(58), retransmits: Some(3), ..TcpInterval::default() };
        let interval = Interval {
            start_ns: 0,
            end_ns: 1_000_000_000,
            bytes: u64::from(streams) * 125_000_000,
            units: 0,
            tcp: Some(tcp),
        };
        let pieces: Vec<StreamInterval> = (0..streams)
            .map(|stream| StreamInterval { stream, bytes: 125_000_000, units: 0, tcp: Some(tcp) })
            .collect();
        for (is_headline, is_sender) in [(true, false), (false, true), (false, true)] {
            let nodes = ("client", "server");
            let told = Told { lane: 0, nodes, is_headline, is_sender, interval: &interval, streams: &pieces };
            model.show(Progress::Told(step, told));
        }
        model.show(Progress::Interval(step, &interval));
        model.show(Progress::Interval(step, &interval));
        let cpu = CpuLoad { cpu: 1, user: 0.25, system: 0.5, idle: 0.25, ..CpuLoad::default() };
        let hop = HopNow { at: "client/eth0".to_owned(), is_tx: true, bits_per_second: 1e9, dropped: 7 };
        let looked = Looked { hops: vec![hop; 4], cpus: vec![cpu; 2] };
        model.show(Progress::Seen(step, &looked));
        model
    }

    fn screen(model: &Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_wide_screen_has_all_of_it() {
        let text = screen(&model(2), 100, 30);
        for part in [
            "client → server  TCP_STREAM round 1 [2/6]",
            "2.00 Gbit/s",
            "1.00 Gbit/s  rtt 87 µs  cwnd 58  retr 6",
            "CPU1    75 %",
            "25 user 50 system 0 softirq",
            "client/eth0 tx",
            "7 dropped",
            "q or Ctrl-C",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_narrow_screen_keeps_what_matters() {
        let text = screen(&model(1), 40, 20);
        for part in ["client → server", "1.00 Gbit/s", "TCP_STREAM round 1", "CPU1", "75 %", "7 dropped", "retr 6"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn no_size_is_too_small_or_too_large() {
        let models = [Model::default(), model(1), model(64)];
        for model in &models {
            for (width, height) in [(1, 1), (10, 5), (2, 40), (200, 2), (40, 12), (300, 200)] {
                screen(model, width, height);
            }
        }
        let text = screen(&models[2], 100, 20);
        assert!(text.contains("… and ") && text.contains("CPU1") && text.contains("client/eth0 tx"), "{text}");
    }

    #[test]
    fn rows_are_shared_in_turn() {
        assert_eq!(share([10, 2, 5], 100), [10, 2, 5]);
        assert_eq!(share([10, 2, 5], 9), [4, 2, 3]);
        assert_eq!(share([10, 2, 5], 0), [0, 0, 0]);
    }
}
