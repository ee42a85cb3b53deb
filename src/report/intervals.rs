//! What the connection did from interval to interval, in words.

use std::fmt::Write as _;

use crate::{
    measured::TcpInterval,
    record::{RoundRecord, TestRecord},
};

/// `by interval: cwnd 10 – 431`, `rtt 41 – 95 µs`, `retransmits at most 3`: of the sender of a byte stream, over all rounds.
pub fn items(test: &TestRecord) -> Vec<String> {
    if !test.test.is_byte_stream() {
        return Vec::new();
    }
    let sender =
        |round: &RoundRecord| if test.test.is_reverse() { &round.server } else { &round.client }.intervals.clone();
    let all: Vec<TcpInterval> = test.rounds.iter().flat_map(sender).filter_map(|interval| interval.tcp).collect();
    if all.len() < 2 {
        return Vec::new();
    }
    let mut said = Vec::new();
    let mut range = |name: &str, pick: fn(&TcpInterval) -> Option<u64>, scale: f64, digits: usize, unit: &str| {
        let found: Vec<u64> = all.iter().filter_map(pick).collect();
        if let (Some(&least), Some(&most)) = (found.iter().min(), found.iter().max()) {
            let figure = |value: u64| format!("{:.digits$}", value as f64 / scale);
            said.push(format!("{name} {} – {}{unit}", figure(least), figure(most)));
        }
    };
    range("by interval: cwnd", |tcp| tcp.cwnd.map(u64::from), 1.0, 0, "");
    range("rtt", |tcp| tcp.rtt_us.map(u64::from), 1.0, 0, " µs");
    range("delivery rate", |tcp| tcp.delivery_rate, 1.25e8, 2, " Gb/s");
    let most = all.iter().filter_map(|tcp| tcp.retransmits).max().unwrap_or(0);
    if most > 0 {
        let mut text = String::new();
        let _ = write!(text, "retransmits at most {most}");
        said.push(text);
    }
    said
}
