//! How the bytes were moved, where it is not the plain way, and what `--io auto` found.

use crate::{
    measured::{Pacing, ReceiveMode, SendMode, Stream, StreamPacer},
    record::{IoTry, RoundRecord, TestRecord},
    report::quantity::time,
    units::ByteSize,
};

/// `sent by gso × 44`, `payload not copied`.
pub fn moved(sender: &Stream, receiver: &Stream) -> Vec<String> {
    let mut said = Vec::new();
    for io in [sender, receiver].into_iter().filter_map(|stream| stream.io.as_ref()) {
        let bundle = io.segments.map(|count| format!(" × {count}")).unwrap_or_default();
        said.extend(io.send.filter(|&mode| mode != SendMode::Write).map(|mode| format!("sent by {mode}{bundle}")));
        let other = io.receive.filter(|&mode| mode != ReceiveMode::Recv);
        said.extend(other.map(|mode| format!("received by {mode}{bundle}")));
        if let Some(pages) = io.mapped.filter(|pages| pages.mapped > 0) {
            let share = pages.mapped as f64 * 100.0 / (pages.mapped + pages.copied) as f64;
            said.push(format!("{share:.1} % of the payload mapped, not copied"));
        } else if io.payload_copied == Some(false) {
            said.push("payload not copied".to_owned());
        }
        if let Some(zerocopy) = io.zerocopy.filter(|zerocopy| zerocopy.completed > 0) {
            let share = zerocopy.copied as f64 * 100.0 / zerocopy.completed as f64;
            said.push(format!("the kernel copied {share:.0} % after all"));
        }
    }
    said
}

/// The first stream of the end that sends, which is both in both directions: the client's.
fn sender<'a>(test: &TestRecord, round: &'a RoundRecord) -> Option<&'a Stream> {
    let side = if test.test.is_reverse() { &round.server } else { &round.client };
    side.streams.first()
}

/// Bytes of the blocks that the first stream of the last round sent.
pub fn block(test: &TestRecord) -> Option<u64> {
    sender(test, test.rounds.last()?)?.io.as_ref()?.block
}

/// `blocks of 128k`; `blocks of 62636 bytes (7 segments)` where nobody said their length and the sender took whole segments.
pub fn blocks(test: &TestRecord) -> String {
    let said = format!("blocks of {}", test.settings.length);
    let chosen = block(test).filter(|&block| test.settings.whole_segments && block != test.settings.length.0);
    let Some(block) = chosen else { return said };
    let mss = test.rounds.last().and_then(|round| sender(test, round)?.socket.mss).unwrap_or(0);
    match block.checked_rem(u64::from(mss)) {
        Some(0) => format!("blocks of {block} bytes ({} segments)", block / u64::from(mss)),
        _ => format!("blocks of {block} bytes"),
    }
}

/// How evenly a sender of datagrams sent: `paced by timer: gaps p50 …`.
pub fn paced(sender: &Stream) -> Vec<String> {
    let Some((by, paced)) = sender.io.as_ref().and_then(|io| io.paced.as_ref()).and_then(|it| Some((it.by?, it)))
    else {
        return sender.io.as_ref().and_then(|io| io.paced_by).map(by_kernel).into_iter().collect();
    };
    let ns = |nanos: u64| time(nanos as f64);
    let mut said = vec![format!("kept by {by}")];
    said.extend(paced.why.as_ref().map(|why| format!("auto: {why}")));
    let (p50, p99, max) = (ns(paced.p50_ns), ns(paced.p99_ns), ns(paced.max_ns));
    let place = if by == Pacing::Fq { " before fq" } else { "" };
    said.push(format!("gaps{place} p50 {p50}, p99 {p99}, max {max}; asked {}", ns(paced.asked_ns)));
    said.push(format!("largest burst {}, limit {}", paced.largest_burst, paced.burst_limit));
    if paced.missed > 0 {
        said.push(format!("{} datagrams missed", paced.missed));
    }
    said
}

fn by_kernel(pacer: StreamPacer) -> String {
    match pacer {
        StreamPacer::Fq => "spaced by fq".to_owned(),
        StreamPacer::Tcp => "spaced by TCP itself, without fq".to_owned(),
    }
}

/// What `--io auto` chose, and how it compares with the plain way.
pub fn probed(test: &TestRecord) -> Vec<String> {
    let Some(probe) = &test.io_probe else { return Vec::new() };
    let name = |way: &IoTry| {
        let mark = way.rcvlowat.map(|mark| format!(" (lowat {})", ByteSize(mark.unsigned_abs().into())));
        format!("{} and {}{}", way.send, way.receive, mark.unwrap_or_default())
    };
    let rate = |way: &IoTry| format!("{:.1} Gbit/s", way.bits_per_second / 1e9);
    let mut said = vec![format!("probe chose {}: {}", name(&probe.chosen), rate(&probe.chosen))];
    let usual = probe.tried.first().filter(|first| **first != probe.chosen);
    said.extend(usual.map(|usual| format!("{} got {}", name(usual), rate(usual))));
    said
}
