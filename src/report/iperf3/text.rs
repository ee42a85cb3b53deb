//! A session for people: a line an interval, two a direction.

use super::{End, Session};

/// A session as text.
pub fn text(session: &Session) -> String {
    let mut lines = Vec::new();
    let Session { test, peer, .. } = session;
    let protocol = if test.udp { "UDP" } else { "TCP" };
    let way = match (test.bidir, test.reverse) {
        (true, _) => "both ways",
        (_, true) => "server to client",
        _ => "client to server",
    };
    let streams = if test.num_streams == 1 { "1 stream".to_owned() } else { format!("{} streams", test.num_streams) };
    let role = if session.server { "client" } else { "server" };
    lines.push(format!("{protocol} {way}, {streams} of {} B; {role} {} port {}", test.blksize, peer.0, peer.1));
    for interval in session.intervals.iter().filter(|_| session.intervals.len() > 1) {
        let seconds = interval.end - interval.start;
        for &(first, _) in session.groups() {
            let sum = super::sum_pieces(session, interval, first);
            let rate = if seconds > 0.0 { sum.bytes as f64 * 8.0 / seconds } else { 0.0 };
            let word = if session.sends(first) { "sent" } else { "received" };
            let omitted = if interval.omitted { "  (warm-up)" } else { "" };
            let (from, to) = (interval.start, interval.end);
            lines.push(format!("{from:6.2} – {to:6.2} s  {:>14}  {word}{omitted}", rate_text(rate)));
        }
    }
    for &(first, _) in session.groups() {
        let name = match (test.bidir, first) {
            (true, true) => "client to server: ",
            (true, false) => "server to client: ",
            _ => "",
        };
        let group = || session.streams.iter().filter(move |stream| session.is_first(stream) == first);
        let (sent, received) = (group().map(|stream| &stream.sent), group().map(|stream| &stream.received));
        for (word, sum) in [("sent", super::sum_ends(sent)), ("received", super::sum_ends(received))] {
            // A server is never told what its client counted.
            if sum.seconds > 0.0 {
                lines.push(format!("{name}{word:<8} {}", ended(&sum, test.udp, word == "received")));
            }
        }
    }
    lines.extend(session.warnings.iter().map(|warning| format!("note: {warning}")));
    lines.extend(session.error.iter().map(|error| format!("ended early: {error}")));
    lines.join("\n") + "\n"
}

fn ended(end: &End, udp: bool, is_receiver: bool) -> String {
    let rate = end.bytes as f64 * 8.0 / end.seconds;
    let mut text = format!("{} B in {:.3} s = {}", end.bytes, end.seconds, rate_text(rate));
    if udp && is_receiver {
        text += &format!(", {} lost of {} datagrams, jitter {:.3} ms", end.lost, end.packets, end.jitter_ms);
    } else if udp {
        text += &format!(", {} datagrams", end.packets);
    } else if let Some(count) = end.retransmits {
        text += &format!(", {count} retransmits");
    }
    text
}

fn rate_text(rate: f64) -> String {
    let (divisor, unit) = if rate >= 1e9 { (1e9, "Gbit/s") } else { (1e6, "Mbit/s") };
    format!("{:.2} {unit}", rate / divisor)
}
