//! The summary at a terminal: headline first, no line over 80 columns, all that was in force below it.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

use crate::{
    facts::Machine,
    measured::{CHECK_SEQUENCE, Latency, Side, Stream, Test},
    plan::ceiling::RateSource,
    record::{
        Ceiling, Directions, FlowRecord, LossShare, PathEvidence, PathVerdict, RunRecord, SideCost, Summary,
        TestRecord, UnderLoad, Unit,
    },
    stats::Spread,
    units::ByteSize,
};

pub(super) const WIDTH: usize = 80;
/// Column of everything that stands below a headline.
pub(super) const INDENT: usize = 14;

pub(super) const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Writes the report of a run. Styles are ANSI escapes: write through `anstream` to have them taken out where they do not belong.
pub fn text(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    header(record, out)?;
    for sum in &record.together {
        super::together::section(sum, record, out)?;
    }
    for flow in record.flows.iter().filter(|flow| super::together::in_full(record, flow)) {
        flow_section(flow, out)?;
    }
    for switch in &record.switches {
        super::switch::section(switch, out)?;
    }
    if !record.warnings.is_empty() {
        writeln!(out)?;
    }
    for warning in &record.warnings {
        paragraph(out, WARN, "warning: ", warning, 9)?;
    }
    if record.interrupted {
        writeln!(out, "\n{WARN}interrupted: later rounds are missing{WARN:#}")?;
    }
    Ok(())
}

fn header(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    let machine = &record.machine;
    let mut first = vec![format!("netbench {}", record.netbench), record.topology.name.clone()];
    first.push(record.started.clone());
    if record.rootless {
        first.push("rootless".to_owned());
    }
    items(out, 0, &first)?;
    items(out, 0, &machine_items(machine))?;
    let Some(peer) = &record.peer else { return Ok(()) };
    let mut server = machine_items(&peer.machine);
    server[0].insert_str(0, "server ");
    server.push(format!("netbench {}", peer.netbench));
    items(out, 0, &server)
}

fn machine_items(machine: &Machine) -> Vec<String> {
    let memory = format!("{:.1} GiB", machine.memory_bytes as f64 / f64::from(1 << 30));
    let cpus = format!("{} CPUs {}", machine.cpus, machine.cpu);
    vec![machine.hostname.clone(), format!("Linux {}", machine.kernel), cpus, memory]
}

fn flow_section(flow: &FlowRecord, out: &mut impl Write) -> io::Result<()> {
    let names = format!("{} → {}", flow.from, flow.to);
    let mut addresses = format!("{} → {}", flow.from_address, flow.to_address);
    if flow.mtu > 0 {
        let _ = write!(addresses, "  MTU {}", flow.mtu);
    }
    writeln!(out)?;
    if width(&names) + 2 + width(&addresses) <= WIDTH {
        writeln!(out, "{BOLD}{names}{BOLD:#}  {addresses}")?;
    } else {
        writeln!(out, "{BOLD}{}{BOLD:#}\n{}", cut(&names, WIDTH), cut(&addresses, WIDTH))?;
    }
    flow.tests.iter().try_for_each(|test| test_section(test, out))
}

fn test_section(test: &TestRecord, out: &mut impl Write) -> io::Result<()> {
    match &test.summary {
        None => writeln!(out, "\n  {BOLD}{:<INDENT$}{BOLD:#}no result", test.test.name(), INDENT = INDENT - 2)?,
        Some(summary) => {
            headline(test, summary, out)?;
            if let Some(directions) = &summary.directions {
                items(out, INDENT, &each_way(directions, summary.unit))?;
            }
            if let Some(ceiling) = &test.ceiling {
                ceiling_line(ceiling, out)?;
            }
            if let Some(latency) = &summary.latency {
                latencies("", latency, out)?;
            }
            if let Some(latency) = &summary.uncorrected {
                latencies("uncorrected ", latency, out)?;
            }
            if let Some(under) = &test.under {
                under_load(under, summary, out)?;
            }
            items(out, INDENT, &account(test, summary))?;
            items(out, INDENT, &super::intervals::items(test))?;
            items(out, INDENT, &losses(summary))?;
            items(out, INDENT, &super::drivers::items(test))?;
            items(out, INDENT, &in_force(test))?;
            items(out, INDENT, &super::moved::probed(test))?;
            items(out, INDENT, &cpu_items(test))?;
            items(out, INDENT, &super::placement::items(test))?;
            items(out, INDENT, &cost_items(summary))?;
            items(out, INDENT, &rfc6349_items(summary))?;
        }
    }
    if let Some(found) = test.rounds.last().and_then(|round| round.bottleneck.as_ref()) {
        let label = format!("{:INDENT$}limited by {}: ", "", found.limit.name());
        paragraph(out, Style::new(), &label, &found.text(), INDENT + 2)?;
    }
    let back = test.rounds.last().and_then(|round| round.other_way.as_ref()?.bottleneck.as_ref());
    if let Some(found) = back {
        let label = format!("{:INDENT$}and back by {}: ", "", found.limit.name());
        paragraph(out, Style::new(), &label, &found.text(), INDENT + 2)?;
    }
    if let Some(round) = test.rounds.last() {
        path_line(test, &round.path, out)?;
    }
    if test.verdict.valid {
        return Ok(());
    }
    let mut reasons: Vec<&str> = test.verdict.reasons.iter().map(String::as_str).collect();
    if reasons.is_empty() {
        reasons.push("no round ended");
    }
    for reason in reasons {
        paragraph(out, BAD, &format!("{:INDENT$}NOT VALID: ", ""), reason, INDENT + 2)?;
    }
    Ok(())
}

/// `TCP_STREAM    23.41 Gbit/s  range 22.90 – 24.05 of 3 rounds × 1s`
fn headline(test: &TestRecord, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let Spread { samples, median, min, max, interval, .. } = summary.headline;
    let (scale, unit, digits) = scaled(median, summary.unit);
    let figure = |value: f64| format!("{:.digits$}", value / scale);
    let spread = match interval {
        Some(interval) => format!(
            "{:.0} % interval {} – {}",
            (interval.coverage * 100.0).floor(),
            figure(interval.low),
            figure(interval.high)
        ),
        None if samples > 1 => format!("range {} – {}", figure(min), figure(max)),
        None => String::new(),
    };
    let rounds = if samples == 1 { "1 round".to_owned() } else { format!("{samples} rounds") };
    let name = test.test.name();
    let value = format!("{} {unit}", figure(median));
    writeln!(out)?;
    writeln!(
        out,
        "  {BOLD}{name:<pad$}{value:<16}{BOLD:#}{spread}{}{rounds} × {}",
        if spread.is_empty() { "" } else { ", " },
        test.settings.window(test.test),
        pad = (INDENT - 2).max(name.len() + 1)
    )
}

/// `9.37 of 9.42 Gb/s (99.5 %): PASS`, and whose ceiling it is.
fn ceiling_line(ceiling: &Ceiling, out: &mut impl Write) -> io::Result<()> {
    let (scale, unit) = match ceiling.bits_per_second {
        most if most >= 1e9 => (1e9, "Gb/s"),
        most if most >= 1e6 => (1e6, "Mb/s"),
        _ => (1e3, "kb/s"),
    };
    let (style, word) = match ceiling.pass {
        Some(true) => (GOOD, ": PASS"),
        Some(false) => (BAD, ": FAIL"),
        None => (Style::new(), ""),
    };
    let (achieved, most) = (ceiling.achieved / scale, ceiling.bits_per_second / scale);
    let figure = format!("{achieved:.2} of {most:.2} {unit} ({:.1} %)", ceiling.share() * 100.0);
    writeln!(out, "{:INDENT$}{style}{figure}{word}{style:#}", "")?;
    let source = match ceiling.source {
        RateSource::Shaper => "the shaper",
        RateSource::Port => "the port",
    };
    let (payload, wire) = (ceiling.payload_bytes, ceiling.wire_bytes);
    let rate = ceiling.rate.bits_per_second() as f64 / scale;
    let text = format!("{rate:.2} {unit} of {source} at {}, {payload} of {wire} bytes of a packet", ceiling.at);
    paragraph(out, Style::new(), &format!("{:INDENT$}ceiling: ", ""), &text, INDENT + 2)
}

/// `to the server 5.12 Gbit/s · back 4.98 Gbit/s`
fn each_way(directions: &Directions, unit: Unit) -> Vec<String> {
    let figure = |name: &str, spread: &Spread| {
        let (scale, unit, digits) = scaled(spread.median, unit);
        format!("{name} {:.digits$} {unit}", spread.median / scale)
    };
    vec![figure("client to server", &directions.forward), figure("server to client", &directions.back)]
}

pub(super) fn scaled(value: f64, unit: Unit) -> (f64, &'static str, usize) {
    match unit {
        Unit::TransactionsPerSecond => (1.0, "trans/s", if value < 100.0 { 1 } else { 0 }),
        Unit::FramesPerSecond => (1.0, "frames/s", 0),
        Unit::BitsPerSecond if value >= 1e9 => (1e9, "Gbit/s", 2),
        Unit::BitsPerSecond if value >= 1e6 => (1e6, "Mbit/s", 2),
        Unit::BitsPerSecond => (1e3, "kbit/s", 2),
    }
}

fn latencies(which: &str, latency: &Latency, out: &mut impl Write) -> io::Result<()> {
    let named = [
        ("p50", latency.p50_ns),
        ("p90", latency.p90_ns),
        ("p99", latency.p99_ns),
        ("p99.9", latency.p99_9_ns),
        ("p99.99", latency.p99_99_ns),
        ("p99.999", latency.p99_999_ns),
        ("max", latency.max_ns),
    ];
    let mut said = named.map(|(name, nanos)| format!("{name} {}", time(nanos as f64)));
    said[0].insert_str(0, which);
    items(out, INDENT, &said)
}

/// The same requests beside a stream, and how much slower they were.
fn under_load(under: &UnderLoad, idle: &Summary, out: &mut impl Write) -> io::Result<()> {
    let Some(loaded) = &under.summary else { return Ok(()) };
    let (scale, unit, digits) = scaled(loaded.goodput.median, Unit::BitsPerSecond);
    let goodput = format!("{:.digits$} {unit}", loaded.goodput.median / scale);
    let rate = loaded.headline.median;
    writeln!(out, "{:INDENT$}{BOLD}under {}{BOLD:#}: {rate:.0} trans/s beside {goodput}", "", under.load)?;
    latencies("loaded ", &loaded.latency, out)?;
    let Some(idle) = &idle.latency else { return Ok(()) };
    let times = |name: &str, pick: fn(&Latency) -> u64| {
        let (loaded, idle) = (pick(&loaded.latency) as f64, pick(idle).max(1) as f64);
        format!("{name} × {:.1}", loaded / idle)
    };
    let mut said = vec![times("p50", |l| l.p50_ns), times("p90", |l| l.p90_ns), times("p99", |l| l.p99_ns)];
    said[0].insert_str(0, "loaded over idle: ");
    items(out, INDENT, &said)
}

/// What the two ends and the kernel say of the traffic itself.
fn account(test: &TestRecord, summary: &Summary) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(d) = &summary.datagrams {
        let share = if d.sent == 0 { 0.0 } else { d.lost as f64 / d.sent as f64 * 100.0 };
        said.push(format!("lost {} of {} ({share:.2} %)", d.lost, d.sent));
        if d.socket_drops > 0 {
            said.push(format!("{} dropped by the receiving socket", d.socket_drops));
        }
        said.push(format!("reordered {}", d.reordered));
        said.push(format!("duplicates {}", d.duplicates));
        said.push(format!("jitter {}", time(d.jitter_ns as f64)));
    }
    if let Some(schedule) = &summary.schedule {
        said.push(format!("{} requests on schedule", schedule.requests - schedule.missed));
        said.push(format!("missed {}", schedule.missed));
        said.push(format!("unanswered {}", schedule.unanswered));
    }
    if let Some(retransmits) = summary.retransmits {
        said.push(format!("retransmits {retransmits}"));
    }
    if let Some(retries) = summary.retries {
        said.push(format!("asked again {retries}"));
    }
    let sender = |round: &'_ crate::record::RoundRecord| {
        if test.test.is_reverse() {
            round.server.streams.first().cloned()
        } else {
            round.client.streams.first().cloned()
        }
    };
    let last = test.rounds.last().and_then(sender);
    if let Some(tcp) = last.as_ref().and_then(|stream| stream.tcp.as_ref()) {
        let micros = |us: u32| time(f64::from(us) * 1000.0);
        match (tcp.rtt_us, tcp.min_rtt_us) {
            (Some(rtt), Some(least)) => said.push(format!("rtt {} (min {})", micros(rtt), micros(least))),
            (Some(rtt), None) => said.push(format!("rtt {}", micros(rtt))),
            _ => {}
        }
        if let Some(cwnd) = tcp.snd_cwnd {
            said.push(format!("cwnd {cwnd}"));
        }
    }
    said
}

/// `lost in the queueing discipline of client/eth0: 120`
fn losses(summary: &Summary) -> Vec<String> {
    let shares = summary.datagrams.iter().flat_map(|datagrams| &datagrams.losses);
    let said = |share: &LossShare| {
        let of = share.at.as_ref().map(|at| format!(" of {at}")).unwrap_or_default();
        let most = if share.at_most { "at most " } else { "" };
        format!("lost in {}{of}: {most}{}", share.place.name(), share.datagrams)
    };
    shares.map(said).collect()
}

/// `sender 0.31 ns/B (0.32 µs/KiB), softirq 12 %`
fn cost_items(summary: &Summary) -> Vec<String> {
    let said = |(name, cost): (&str, Option<SideCost>)| {
        let cost = cost?;
        let each = cost.user_ns_per_byte + cost.system_ns_per_byte;
        let softirq = cost.softirq.map(|share| format!(", its CPUs' softirq {:.0} %", share * 100.0));
        let demand = cost.service_demand_us_per_kib;
        Some(format!("{name} {each:.3} ns/B ({demand:.3} µs/KiB){}", softirq.unwrap_or_default()))
    };
    [("sender", summary.sender_cost), ("receiver", summary.receiver_cost)].into_iter().filter_map(said).collect()
}

/// RFC 6349: `transfer time ratio 1.01 · TCP efficiency 99.98 % · buffer delay 125 %`
fn rfc6349_items(summary: &Summary) -> Vec<String> {
    let Some(figures) = &summary.rfc6349 else { return Vec::new() };
    let mut said = Vec::new();
    said.extend(figures.transfer_time_ratio.map(|ratio| format!("transfer time ratio {ratio:.3}")));
    said.push(format!("TCP efficiency {:.3} %", figures.efficiency_percent));
    said.extend(figures.buffer_delay_percent.map(|delay| format!("buffer delay {delay:.0} %")));
    said.extend(summary.delivery_rate.map(|rate| format!("delivery rate {:.2} Gb/s", rate / 1e9)));
    said
}

/// Settings and socket options that were really there.
fn in_force(test: &TestRecord) -> Vec<String> {
    let settings = &test.settings;
    let mut said = Vec::new();
    if settings.streams > 1 {
        said.push(format!("{} streams", settings.streams));
    }
    match test.test.is_rr() {
        true => said.push(format!("request {} B, response {} B", settings.length.0, settings.response.0)),
        false if test.test == Test::FrameStream => said.extend(frames(test)),
        false if test.test.is_udp() => said.push(format!("datagrams of {} bytes", settings.length.0)),
        false => said.push(super::moved::blocks(test)),
    }
    if let Some(rate) = settings.transactions {
        said.push(format!("{rate} requests/s, latency from the intended time"));
    }
    if settings.burst > 0 {
        said.push(format!("{} requests in flight", settings.burst + 1));
    }
    if let Some(rate) = settings.rate.filter(|_| !test.test.is_rr()) {
        said.push(format!("paced at {rate}"));
    }
    if !settings.omit.0.is_zero() {
        said.push(format!("after {} warm-up", settings.omit));
    }
    let Some(round) = test.rounds.last() else { return said };
    let (sender, receiver) =
        if test.test.is_reverse() { (&round.server, &round.client) } else { (&round.client, &round.server) };
    if let (Some(client), Some(server)) = (sender.streams.first(), receiver.streams.first()) {
        said.extend(client.socket.congestion.clone());
        said.extend(client.socket.mss.map(|mss| format!("MSS {mss}")));
        said.extend(client.socket.nodelay.filter(|&on| on).map(|_| "TCP_NODELAY".to_owned()));
        said.extend(super::moved::paced(client));
        said.extend(super::moved::moved(client, server));
        said.extend(verified(client, server));
        said.push(format!("sndbuf {}", ByteSize(client.socket.sndbuf)));
        said.push(format!("rcvbuf {}", ByteSize(server.socket.rcvbuf)));
    }
    said
}

/// `payload checked (CRC32C), 0.121 ns/B to make, 0.049 to check`
fn verified(sender: &Stream, receiver: &Stream) -> Option<String> {
    let (made, checked) = (sender.verified.as_ref()?, receiver.verified.as_ref()?);
    let (make, check) = (made.ns_per_byte, checked.ns_per_byte);
    Some(format!("payload checked (CRC32C): {make:.3} ns/B to make, {check:.3} to check"))
}

/// `frames of 64 bytes`, `0.84 Gbit/s on the wire`
fn frames(test: &TestRecord) -> Vec<String> {
    // The check sequence is the device's; preamble, delimiter and gap are the wire's.
    const WIRE: u64 = 20;
    let size = test.settings.length.0 + CHECK_SEQUENCE;
    let mut said = vec![format!("frames of {size} bytes")];
    if let Some(summary) = &test.summary {
        let (scale, unit, digits) = scaled(summary.headline.median * ((size + WIRE) * 8) as f64, Unit::BitsPerSecond);
        let rate = summary.headline.median * ((size + WIRE) * 8) as f64 / scale;
        said.push(format!("{rate:.digits$} {unit} on the wire"));
    }
    let bypass = test.settings.tuning.qdisc_bypass;
    said.push(if bypass { "past the queueing discipline" } else { "through the queueing discipline" }.to_owned());
    said
}

fn cpu_items(test: &TestRecord) -> Vec<String> {
    let Some(round) = test.rounds.last() else { return Vec::new() };
    vec![cpu("client", &round.client), cpu("server", &round.server)]
}

/// `client CPU 97 % (2 user + 95 system), pinned to 0`
fn cpu(name: &str, side: &Side) -> String {
    let percent = |pick: fn(&Stream) -> u64| {
        side.both_ways().map(|s| pick(s) as f64 * 100.0 / s.elapsed_ns.max(1) as f64).sum::<f64>()
    };
    let (user, system) = (percent(|s| s.cpu.user_ns), percent(|s| s.cpu.system_ns));
    let mut cpus: Vec<usize> =
        side.both_ways().filter_map(|s| s.cpu.pinned.as_ref()).flat_map(|list| list.0.iter().copied()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let place =
        if cpus.is_empty() { "not pinned".to_owned() } else { format!("pinned to {}", crate::units::CpuList(cpus)) };
    format!("{name} CPU {:.0} % ({user:.0} user + {system:.0} system), {place}", user + system)
}

fn path_line(test: &TestRecord, path: &PathEvidence, out: &mut impl Write) -> io::Result<()> {
    let unproved = test.rounds.iter().any(|round| matches!(round.path.verdict, PathVerdict::NotProved { .. }));
    let (style, verdict) = match &path.verdict {
        PathVerdict::NoTopology => {
            return writeln!(out, "{:INDENT$}path: not proved, there is no topology between these hosts", "");
        }
        PathVerdict::NoHops => return writeln!(out, "{:INDENT$}path: no hop declared, nothing to prove", ""),
        _ if unproved => (BAD, "path NOT proved: "),
        _ => (GOOD, "path proved: "),
    };
    let label = format!("{:INDENT$}{verdict}", "");
    paragraph(out, style, &label, &way(path), INDENT + 2)
}

/// The hops in order; of a long path both ends.
fn way(path: &PathEvidence) -> String {
    let hops: Vec<&str> = path.hops.iter().map(|hop| &*hop.at).collect();
    let count = format!("({} {})", hops.len(), if hops.len() == 1 { "hop" } else { "hops" });
    let shown = match &hops[..] {
        [first, second, third, _, .., before, last] if hops.len() > 8 => {
            [first, second, third, "…", before, last].join(" → ")
        }
        all => all.join(" → "),
    };
    format!("{shown} {count}")
}

/// Items between dots, as many on a line as fit.
fn items(out: &mut impl Write, indent: usize, items: &[String]) -> io::Result<()> {
    let mut line = String::new();
    for item in items {
        let item = cut(item, WIDTH - indent);
        if !line.is_empty() && indent + width(&line) + 3 + width(&item) > WIDTH {
            writeln!(out, "{:indent$}{line}", "")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(" · ");
        }
        line.push_str(&item);
    }
    if line.is_empty() { Ok(()) } else { writeln!(out, "{:indent$}{line}", "") }
}

/// Words, broken where they must be; `hang` is the indent of every line but the first.
pub(super) fn paragraph(out: &mut impl Write, style: Style, label: &str, words: &str, hang: usize) -> io::Result<()> {
    let mut line = label.to_owned();
    for word in words.split_whitespace() {
        if !line.trim().is_empty() && width(&line) + 1 + width(word) > WIDTH {
            writeln!(out, "{style}{}{style:#}", line.trim_end())?;
            line = " ".repeat(hang);
        }
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(&cut(word, WIDTH - hang));
    }
    writeln!(out, "{style}{line}{style:#}")
}

pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

pub(super) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        text.to_owned()
    } else {
        text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    }
}

/// Nanoseconds with three significant digits.
fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n if n >= 1e3 => (n / 1e3, "µs"),
        n => return format!("{n:.0} ns"),
    };
    match value {
        v if v >= 100.0 => format!("{v:.0} {unit}"),
        v if v >= 10.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::HopEvidence;

    #[test]
    fn times_keep_three_digits() {
        for (nanos, text) in
            [(7.0, "7 ns"), (1234.0, "1.23 µs"), (58_940.0, "58.9 µs"), (348e6, "348 ms"), (2e9, "2.00 s")]
        {
            assert_eq!(time(nanos), text);
        }
    }

    #[test]
    fn long_paths_keep_both_ends() {
        let hop = |i: usize| HopEvidence {
            at: format!("n{i}/eth0"),
            direction: "tx".into(),
            bytes: 0,
            packets: 0,
            reverse_bytes: 0,
            reverse_packets: 0,
            expected_bytes: (0, 0),
            dropped: 0,
            qdisc_dropped: 0,
            driver: Default::default(),
            ok: true,
        };
        let path = |n| PathEvidence {
            hops: (0..n).map(hop).collect(),
            strays: Vec::new(),
            below_packets: 0,
            verdict: PathVerdict::Proved,
        };
        assert_eq!(way(&path(1)), "n0/eth0 (1 hop)");
        assert_eq!(way(&path(3)), "n0/eth0 → n1/eth0 → n2/eth0 (3 hops)");
        assert_eq!(way(&path(12)), "n0/eth0 → n1/eth0 → n2/eth0 → … → n10/eth0 → n11/eth0 (12 hops)");
    }
}
