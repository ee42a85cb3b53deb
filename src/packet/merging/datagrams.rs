//! The same for datagrams: the rules of `udp_gro_receive_segment()`. What is put together must say where each datagram ends, so
//! that only the last may be smaller than the others, and none larger.

use std::net::SocketAddr;

use super::{IP_NOOPS, LENGTH, May, Rule};
use crate::packet::{
    craft::{Ends, TcpFields, spoil_checksum},
    parse::parse,
};

/// Ports of the senders: each rule of each round has its own.
const FIRST_PORT: u16 = 50_300;
const SHORT: usize = 120;

/// A case: two datagrams, which differ from two of one flow as it says.
struct Case {
    name: &'static str,
    may: May,
    family: Option<u8>,
    lengths: [usize; 2],
    change: fn(&mut TcpFields, &mut TcpFields),
    more: More,
}

/// What fields do not say.
#[derive(PartialEq)]
enum More {
    Nothing,
    /// The checksum of the second is wrong.
    Spoiled,
    /// Neither has a checksum.
    Bare,
    /// The second goes to another port.
    ElsePort,
}

const fn case(name: &'static str, may: May, change: fn(&mut TcpFields, &mut TcpFields)) -> Case {
    Case { name, may, family: None, lengths: [LENGTH, LENGTH], change, more: More::Nothing }
}

const fn v4(name: &'static str, may: May, change: fn(&mut TcpFields, &mut TcpFields)) -> Case {
    Case { family: Some(4), ..case(name, may, change) }
}

const CASES: &[Case] = &[
    case("two of one size", May::Merge, |_, _| {}),
    Case { lengths: [LENGTH, SHORT], ..case("a smaller one after a larger one", May::Merge, |_, _| {}) },
    Case { lengths: [SHORT, LENGTH], ..case("a larger one after a smaller one", May::Not, |_, _| {}) },
    Case { more: More::ElsePort, ..case("another destination port", May::Not, |_, _| {}) },
    Case { more: More::Spoiled, ..case("a wrong checksum on the second", May::Not, |_, _| {}) },
    Case { more: More::Bare, ..v4("no checksums", May::Not, |_, _| {}) },
    case("an ECN mark on one of them", May::Not, |a, b| (a.tos, b.tos) = (2, 3)),
    case("another traffic class", May::Not, |_, b| b.tos = 0x28),
    case("another TTL", May::Not, |_, b| b.ttl = 63),
    v4("IP options", May::Not, |a, b| (a.ip_options, b.ip_options) = (IP_NOOPS, IP_NOOPS)),
    v4("DF on one of them", May::Not, |_, b| b.fragment = 0),
    Case { family: Some(6), ..case("another flow label", May::Not, |a, b| (a.label, b.label) = (5, 6)) },
];

/// Every rule of the ends' family, to the port of `ends.to`. `round` keeps the flows of several rounds apart.
pub fn datagrams(ends: &Ends, round: u16) -> Vec<Rule> {
    let family = if ends.from.is_ipv4() { 4 } else { 6 };
    let each = CASES.len() as u16;
    let first_port = FIRST_PORT + round * 2 * each + if family == 6 { each } else { 0 };
    let mine = CASES.iter().filter(|case| case.family.is_none_or(|only| only == family));
    let rule = |(port, case): (u16, &Case)| {
        let mut ends = Ends { from: SocketAddr::new(ends.from.ip(), port), ..*ends };
        let mut one = TcpFields { id: 500, ..TcpFields::default() };
        let mut two = TcpFields { id: 501, ..one };
        (case.change)(&mut one, &mut two);
        let payloads = vec![vec![0x5a; case.lengths[0]], vec![0xa5; case.lengths[1]]];
        let first = ends.udp_with(one, &payloads[0]);
        if case.more == More::ElsePort {
            ends.to.set_port(ends.to.port() ^ 1);
        }
        let mut frames = vec![first, ends.udp_with(two, &payloads[1])];
        match case.more {
            More::Spoiled => drop(spoil_checksum(&mut frames[1])),
            More::Bare => frames.iter_mut().for_each(|frame| without_checksum(frame)),
            More::Nothing | More::ElsePort => {}
        }
        let name = format!("{} (datagrams, IPv{family})", case.name);
        Rule { name, may: case.may, port, datagrams: true, payloads, frames }
    };
    (first_port..).zip(mine).map(rule).collect()
}

fn without_checksum(frame: &mut [u8]) {
    if let Some(at) = parse(frame).transport.map(|transport| transport.checksum_at) {
        frame[at..at + 2].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Outcome, outcome},
        *,
    };
    use crate::packet::{Frame, VnetHeader, frame::GSO_UDP};

    fn ends(six: bool) -> Ends {
        let address = |host: u16| match six {
            true => format!("[fd00::{host}]:9").parse().unwrap(),
            false => format!("198.18.0.{host}:9").parse().unwrap(),
        };
        Ends { from_mac: [2; 6], to_mac: [3; 6], from: address(1), to: address(2), tag: None }
    }

    fn frame(bytes: Vec<u8>, size: usize) -> Frame {
        let gso_type = if size > 0 { GSO_UDP } else { 0 };
        let vnet = VnetHeader { gso_type, gso_size: size as u16, ..VnetHeader::default() };
        Frame { length: bytes.len() as u32, bytes, vnet, ..Frame::default() }
    }

    #[test]
    fn each_rule_has_frames_of_its_own() {
        let mut all = std::collections::BTreeSet::new();
        for six in [false, true] {
            for rule in (0..2).flat_map(|round| datagrams(&ends(six), round)) {
                assert!(all.insert(rule.port), "{}", rule.name);
                for (bytes, payload) in rule.frames.iter().zip(&rule.payloads) {
                    let layers = parse(bytes);
                    let transport = layers.transport.as_ref().unwrap();
                    assert!(layers.network.as_ref().is_some_and(|network| network.header_sum_ok), "{}", rule.name);
                    assert_eq!(&bytes[transport.payload.clone()], payload, "{}", rule.name);
                    assert_eq!(transport.checksum == 0, rule.name.starts_with("no checksums"), "{}", rule.name);
                }
                let came: Vec<Frame> = rule.frames.iter().map(|bytes| frame(bytes.clone(), 0)).collect();
                assert_eq!(outcome(&rule, &came, true), Outcome::Apart, "{}", rule.name);
                assert_eq!(outcome(&rule, &[], true), Outcome::Nothing);
            }
        }
        assert_eq!(all.len(), 2 * (11 + 9));
    }

    #[test]
    fn what_was_put_together_must_say_where_each_datagram_ends() {
        let rules = datagrams(&ends(false), 0);
        for rule in rules.iter().filter(|rule| rule.may == May::Merge) {
            let mut ends = ends(false);
            ends.from.set_port(rule.port);
            let whole = ends.udp(&rule.payloads.concat());
            assert_eq!(outcome(rule, &[frame(whole.clone(), LENGTH)], true), Outcome::Merged, "{}", rule.name);
            assert_eq!(outcome(rule, &[frame(whole.clone(), SHORT)], true), Outcome::Spoiled, "{}", rule.name);
            assert_eq!(outcome(rule, &[frame(whole, 0)], true), Outcome::Spoiled, "{}", rule.name);
        }
    }
}
