//! What may be put together on arrival and what must stay apart: the rules of `inet_gro_receive()`, `ipv6_gro_receive()` and
//! `tcp_gro_receive()`, as pairs of crafted segments of connections that do not exist. A device that merges (LRO, HW-GRO)
//! has to keep the same ones.

mod datagrams;

use std::net::SocketAddr;

pub use datagrams::datagrams;

use super::{
    craft::{Ends, TcpFields, spoil_checksum},
    frame::Frame,
    parse::parse,
};

/// Ports of the connections: each rule of each round has its own.
const FIRST_PORT: u16 = 50_100;
const TO_PORT: u16 = 50_099;
/// Payload of most segments.
const LENGTH: usize = 200;
/// The largest packet, of IPv4 as of IPv6 without a jumbo option.
const LARGEST: usize = 65_535;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// Time stamps (RFC 7323) with two no-operations before them.
const STAMPED: &[u8] = &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 3];
const STAMPED_LATER: &[u8] = &[1, 1, 8, 10, 0, 0, 0, 10, 0, 0, 0, 3];
/// Selective acknowledgment of one block.
const SACK: &[u8] = &[1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0];
/// IPv4: four no-operations.
const IP_NOOPS: &[u8] = &[1, 1, 1, 1];

/// May they become one?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// They may.
    Merge,
    /// They must not.
    Not,
}

/// Segments of one connection, and whether they may become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is special about them.
    pub name: String,
    /// May they be merged?
    pub may: May,
    /// Source port.
    pub port: u16,
    /// Datagrams, and no segments of TCP.
    pub datagrams: bool,
    /// Payload of each.
    pub payloads: Vec<Vec<u8>>,
    /// The frames in the order in which they are sent.
    pub frames: Vec<Vec<u8>>,
}

/// What came of a rule's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// None came: nothing can be said.
    Nothing,
    /// Each came by itself.
    Apart,
    /// Some were put together.
    Merged,
    /// They were put together with other bytes than were sent, into more than an IP packet can be, or datagrams so that nobody
    /// can tell where each ends.
    Spoiled,
}

/// A case: two segments, which differ from two in sequence as the functions say.
struct Case {
    name: &'static str,
    may: May,
    family: Option<u8>,
    lengths: [usize; 2],
    change: fn(&mut TcpFields, &mut TcpFields),
    spoil: bool,
}

const fn case(name: &'static str, may: May, change: fn(&mut TcpFields, &mut TcpFields)) -> Case {
    Case { name, may, family: None, lengths: [LENGTH, LENGTH], change, spoil: false }
}

const fn v4(name: &'static str, may: May, change: fn(&mut TcpFields, &mut TcpFields)) -> Case {
    Case { family: Some(4), ..case(name, may, change) }
}

const CASES: &[Case] = &[
    case("two of one size in sequence", May::Merge, |_, _| {}),
    Case { lengths: [LENGTH, 120], ..case("a smaller one after a larger one", May::Merge, |_, _| {}) },
    case("the same time stamps", May::Merge, |a, b| (a.options, b.options) = (STAMPED, STAMPED)),
    case("PSH on the last", May::Merge, |_, b| b.flags |= PSH),
    v4("IP-ID counts up, DF", May::Merge, |_, _| {}),
    v4("IP-ID stays, DF", May::Merge, |a, b| b.id = a.id),
    v4("IP-ID counts up, no DF", May::Merge, |a, b| (a.fragment, b.fragment) = (0, 0)),
    Case { lengths: [120, LENGTH], ..case("a larger one after a smaller one", May::Not, |_, _| {}) },
    Case { lengths: [LENGTH, 0], ..case("an ACK without data after data", May::Not, |_, _| {}) },
    case("a gap in the sequence numbers", May::Not, |_, b| b.seq += 100),
    case("the same sequence number twice", May::Not, |a, b| b.seq = a.seq),
    case("another acknowledgment number", May::Not, |_, b| b.ack += 1),
    case("PSH on the first", May::Not, |a, _| a.flags |= PSH),
    case("FIN on the first", May::Not, |a, _| a.flags |= FIN),
    case("SYN on the second", May::Not, |_, b| b.flags |= SYN),
    case("RST on the second", May::Not, |_, b| b.flags |= RST),
    case("URG on the second", May::Not, |_, b| b.flags |= URG),
    case("CWR on the second", May::Not, |_, b| b.flags |= CWR),
    case("ECE on the second", May::Not, |_, b| b.flags |= ECE),
    Case { spoil: true, ..case("a wrong checksum on the second", May::Not, |_, _| {}) },
    case("other time stamps", May::Not, |a, b| (a.options, b.options) = (STAMPED, STAMPED_LATER)),
    case("time stamps on one of them", May::Not, |a, _| a.options = STAMPED),
    case("other options of the same length", May::Not, |a, b| (a.options, b.options) = (STAMPED, SACK)),
    case("an ECN mark on one of them", May::Not, |a, b| (a.tos, b.tos) = (2, 3)),
    case("another traffic class", May::Not, |_, b| b.tos = 0x28),
    case("another TTL", May::Not, |_, b| b.ttl = 63),
    v4("IP options", May::Not, |a, b| (a.ip_options, b.ip_options) = (IP_NOOPS, IP_NOOPS)),
    v4("a fragment after a whole packet", May::Not, |a, b| (a.fragment, b.fragment) = (0, 0x2000)),
    v4("DF on one of them", May::Not, |_, b| b.fragment = 0),
    // One that stays without DF is kept apart by older kernels, and merged by 6.18: no rule.
    v4("IP-ID jumps, no DF", May::Not, |a, b| (a.fragment, b.fragment, b.id) = (0, 0, a.id + 7)),
    Case { family: Some(6), ..case("another flow label", May::Not, |a, b| (a.label, b.label) = (5, 6)) },
];

/// Every rule of the ends' family. `round` keeps the connections of several rounds apart; `longest` is the payload that the
/// wire takes, for the rule of 64 KiB.
pub fn rules(ends: &Ends, round: u16, longest: usize) -> Vec<Rule> {
    let family = if ends.from.is_ipv4() { 4 } else { 6 };
    let mut rules: Vec<Rule> = Vec::new();
    let of = |port: u16| Ends {
        from: SocketAddr::new(ends.from.ip(), port),
        to: SocketAddr::new(ends.to.ip(), TO_PORT),
        ..*ends
    };
    // One more for the large one; the families are told apart by their ports too.
    let each = CASES.len() as u16 + 1;
    let first_port = FIRST_PORT + round * 2 * each + if family == 6 { each } else { 0 };
    for (port, case) in (first_port..).zip(CASES.iter().filter(|case| case.family.is_none_or(|only| only == family))) {
        let ends = of(port);
        let mut one = TcpFields { seq: 70_000, flags: ACK, id: 500, ..TcpFields::default() };
        let mut two = TcpFields { seq: one.seq + case.lengths[0] as u32, id: one.id + 1, ..one };
        (case.change)(&mut one, &mut two);
        let payloads = vec![vec![0x5a; case.lengths[0]], vec![0xa5; case.lengths[1]]];
        let mut frames = vec![ends.tcp(one, &payloads[0]), ends.tcp(two, &payloads[1])];
        if case.spoil {
            spoil_checksum(&mut frames[1]);
        }
        rules.push(Rule {
            name: format!("{} (IPv{family})", case.name),
            may: case.may,
            port,
            datagrams: false,
            payloads,
            frames,
        });
    }
    if round == 0 {
        rules.push(large(of(first_port + CASES.len() as u16), family, longest));
    }
    rules
}

/// More in sequence than one packet can be.
fn large(ends: Ends, family: u8, longest: usize) -> Rule {
    let count = 70_000_usize.div_ceil(longest.max(1));
    let payloads: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; longest]).collect();
    let fields =
        |at: usize| TcpFields { seq: 70_000 + (at * longest) as u32, id: 500 + at as u16, ..TcpFields::default() };
    let frames = payloads.iter().enumerate().map(|(at, payload)| ends.tcp(fields(at), payload)).collect();
    let name = format!("more than 64 KiB in sequence (IPv{family})");
    Rule { name, may: May::Merge, port: ends.from.port(), datagrams: false, payloads, frames }
}

/// What came of a rule, by the frames of the receiving device. `complete`: the capture has all of them.
pub fn outcome(rule: &Rule, came: &[Frame], complete: bool) -> Outcome {
    let mut payloads: Vec<&[u8]> = Vec::new();
    for frame in came {
        let layers = parse(&frame.bytes);
        let inner = layers.innermost();
        let (Some(network), Some(transport)) = (&inner.network, &inner.transport) else { continue };
        let is_of_kind = transport.is_tcp() != rule.datagrams && (rule.datagrams || transport.to == TO_PORT);
        if is_of_kind && transport.from == rule.port {
            if frame.bytes.len().saturating_sub(network.start) > LARGEST {
                return Outcome::Spoiled;
            }
            let payload = &frame.bytes[transport.payload.clone()];
            let is_one = rule.payloads.iter().any(|sent| sent.len() == payload.len());
            if rule.datagrams && !is_one && usize::from(frame.vnet.gso_size) != rule.payloads[0].len() {
                return Outcome::Spoiled;
            }
            payloads.push(payload);
        }
    }
    if payloads.is_empty() {
        return Outcome::Nothing;
    }
    // Whether the bytes of a single one are right is another check's question.
    let is_one = |payload: &&[u8]| rule.payloads.iter().any(|sent| sent.len() == payload.len());
    let together: Vec<&[u8]> = payloads.iter().copied().filter(|payload| !is_one(payload)).collect();
    // Fragments have no port to be known by.
    let visible = rule.frames.iter().filter(|frame| parse(frame).transport.is_some()).count();
    let swallowed = complete && payloads.len() < visible && rule.payloads.iter().any(Vec::is_empty);
    if together.is_empty() {
        return if swallowed { Outcome::Merged } else { Outcome::Apart };
    }
    let all = rule.payloads.concat();
    let begins: Vec<usize> = rule
        .payloads
        .iter()
        .scan(0, |at, payload| {
            let begin = *at;
            *at += payload.len();
            Some(begin)
        })
        .collect();
    let right = |payload: &&[u8]| begins.iter().any(|&begin| all[begin..].starts_with(payload));
    if together.iter().all(right) { Outcome::Merged } else { Outcome::Spoiled }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(six: bool) -> Ends {
        let address = |host: u16| match six {
            true => format!("[fd00::{host}]:9").parse().unwrap(),
            false => format!("198.18.0.{host}:9").parse().unwrap(),
        };
        Ends { from_mac: [2; 6], to_mac: [3; 6], from: address(1), to: address(2), tag: None }
    }

    fn frame(bytes: Vec<u8>) -> Frame {
        let length = bytes.len() as u32;
        Frame { bytes, length, ..Frame::default() }
    }

    #[test]
    fn each_rule_has_frames_of_its_own_that_are_what_they_say() {
        let mut all = std::collections::BTreeSet::new();
        for six in [false, true] {
            let rules: Vec<Rule> = (0..2).flat_map(|round| rules(&ends(six), round, 1400)).collect();
            assert!(rules.iter().filter(|rule| rule.may == May::Not).count() >= 40, "{}", rules.len());
            assert!(rules.iter().all(|rule| all.insert(rule.port)), "each connection has a port of its own");
            for rule in &rules {
                for (bytes, payload) in rule.frames.iter().zip(&rule.payloads) {
                    let layers = parse(bytes);
                    let network = layers.network.as_ref().unwrap();
                    assert!(network.header_sum_ok && network.end == bytes.len(), "{}", rule.name);
                    let Some(transport) = &layers.transport else {
                        assert!(network.fragment, "{}", rule.name);
                        continue;
                    };
                    assert_eq!(&bytes[transport.payload.clone()], payload, "{}", rule.name);
                }
                let came: Vec<Frame> = rule.frames.iter().cloned().map(frame).collect();
                assert_eq!(outcome(rule, &came, true), Outcome::Apart, "{}", rule.name);
                assert_eq!(outcome(rule, &[], true), Outcome::Nothing);
            }
        }
    }

    #[test]
    fn what_was_put_together_is_seen_and_so_is_what_was_put_together_wrongly() {
        let rules = rules(&ends(false), 0, 1400);
        let rule = |name: &str| rules.iter().find(|rule| rule.name.starts_with(name)).unwrap();
        let base = TcpFields { seq: 70_000, ..TcpFields::default() };
        let of = |rule: &Rule, payload: &[u8]| {
            let mut ends = ends(false);
            ends.from.set_port(rule.port);
            ends.to.set_port(TO_PORT);
            frame(ends.tcp(base, payload))
        };
        let pair = rule("PSH on the first");
        assert_eq!(outcome(pair, &[of(pair, &pair.payloads.concat())], true), Outcome::Merged);
        let mut wrong = pair.payloads.concat();
        wrong[250] = 0;
        assert_eq!(outcome(pair, &[of(pair, &wrong)], true), Outcome::Spoiled);
        let lone = rule("an ACK without data");
        let came = [of(lone, &lone.payloads[0])];
        assert_eq!(outcome(lone, &came, true), Outcome::Merged, "the ACK is gone");
        assert_eq!(outcome(lone, &came, false), Outcome::Apart, "or was not seen");
        // One of its own length with other bytes was not put together.
        assert_eq!(outcome(pair, &[of(pair, &[9; 200])], true), Outcome::Apart);
        // An identical pair of which one was lost says nothing of merging.
        assert_eq!(outcome(pair, &[of(pair, &pair.payloads[0])], true), Outcome::Apart);
    }
}
