use super::*;
use crate::packet::{
    Limits, compare,
    craft::{Ends, TcpFields, fill},
    frame::{GSO_ECN, GSO_TCP4, NEEDS_CSUM, VnetHeader},
};

/// What is done to a segment of this number.
type Change<T> = fn(usize, &mut T);

const SIZE: usize = 400;
const STAMPED: &[u8] = &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 3];
const LATER: &[u8] = &[1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 3];

fn ends(port: u16) -> Ends {
    let (from, to) = ("198.18.0.1:4000", format!("198.18.0.2:{port}"));
    Ends { from_mac: [2; 6], to_mac: [4; 6], from: from.parse().unwrap(), to: to.parse().unwrap(), tag: None }
}

fn fields() -> TcpFields {
    TcpFields { flags: 0xd9, tos: 0x2a, id: 700, options: STAMPED, ..TcpFields::default() }
}

fn frame(bytes: Vec<u8>) -> Frame {
    Frame { length: bytes.len() as u32, bytes, ..Frame::default() }
}

/// The same in VXLAN, if at all: with this outer header.
#[derive(Clone, Copy)]
struct Around {
    from: u16,
    to: u16,
    vni: u8,
    outer: TcpFields,
}

const AROUND: Around = Around {
    from: 40_000,
    to: 4789,
    vni: 42,
    outer: TcpFields {
        seq: 0,
        ack: 0,
        flags: 0,
        tos: 2,
        id: 90,
        ttl: 64,
        fragment: 0,
        label: 0,
        options: &[],
        ip_options: &[],
    },
};

fn put(around: Option<Around>, inner: Vec<u8>) -> Frame {
    let Some(around) = around else { return frame(inner) };
    let mut outer = ends(around.to);
    outer.from.set_port(around.from);
    let payload = [&[8, 0, 0, 0, 0, 0, around.vni, 0][..], &inner].concat();
    frame(outer.udp_with(around.outer, &payload))
}

/// A super-packet of four segments and what is made of it, each segment with fields and surroundings as `change` says; what is
/// found of it.
fn found(tunnel: Option<Around>, change: impl Fn(usize, &mut TcpFields, &mut Around)) -> Vec<Kind> {
    let mut payload = vec![0; 4 * SIZE];
    fill(&mut payload, 3, 0);
    let mut whole = put(tunnel, ends(5000).tcp(TcpFields { seq: 1000, ..fields() }, &payload));
    let kind = GSO_TCP4 | GSO_ECN;
    whole.vnet = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type: kind,
        gso_size: SIZE as u16,
        csum_start: 34,
        ..VnetHeader::default()
    };
    let segments: Vec<Frame> = payload
        .chunks(SIZE)
        .enumerate()
        .map(|(at, part)| {
            let last = if at == 3 { 0x09 } else { 0 };
            let flags = 0x50 | last | if at == 0 { 0x80 } else { 0 };
            let step = at as u16;
            let mut own = TcpFields { seq: 1000 + (at * SIZE) as u32, flags, id: 700 + step, ..fields() };
            let mut around = tunnel.unwrap_or(AROUND);
            around.outer.id += step;
            change(at, &mut own, &mut around);
            put(tunnel.map(|_| around), ends(5000).tcp(own, part))
        })
        .collect();
    let seen = compare(&[whole], &segments, Limits { mtu: 1500, complete: true }, |_| true);
    assert_eq!(seen.came, 4);
    seen.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn each_field_that_a_segment_must_keep_has_a_name_when_it_does_not() {
    assert_eq!(found(None, |_, _, _| ()), []);
    let cases: [(Kind, Change<TcpFields>); 8] = [
        (Kind::FinOnEach, |_, fields| fields.flags |= 1),
        (Kind::CwrOnEach, |_, fields| fields.flags |= 0x80),
        (Kind::FlagsChanged, |_, fields| fields.flags &= !0x80),
        (Kind::FlagsChanged, |_, fields| fields.flags &= !0x40),
        (Kind::FlagsChanged, |_, fields| fields.flags &= !0x01),
        (Kind::OptionsChanged, |at, fields| fields.options = if at > 1 { LATER } else { STAMPED }),
        (Kind::HeaderChanged, |at, fields| fields.tos = if at > 0 { 0x2e } else { 0x2a }),
        (Kind::WrongIpId, |at, fields| fields.id = 700 - at as u16),
    ];
    for (kind, change) in cases {
        assert_eq!(found(None, |at, fields, _| change(at, fields)), [kind]);
        assert_eq!(found(Some(AROUND), |at, fields, _| change(at, fields)), [kind], "in a tunnel");
    }
    assert_eq!(found(None, |_, fields, _| fields.tos = 0x28), [Kind::HeaderChanged], "ECN lost");
    // A mark of congestion on the way, and identifications that stay where nobody may fragment.
    assert_eq!(found(None, |_, fields, _| fields.tos = 0x2b), []);
    assert_eq!(found(None, |_, fields, _| fields.id = 700), []);
}

#[test]
fn each_field_around_a_packet_has_a_name_when_it_changes() {
    assert_eq!(found(Some(AROUND), |_, _, _| ()), []);
    let own = Around { to: 4790, ..AROUND };
    assert_eq!(found(Some(own), |_, _, _| ()), [], "a tunnel on another port is known by its content");
    let cases: [(Kind, Change<Around>); 5] = [
        (Kind::VniChanged, |at, around| around.vni += u8::from(at == 2)),
        (Kind::OuterPort, |at, around| around.from += at as u16),
        (Kind::OuterChanged, |_, around| around.outer.tos = 0),
        (Kind::OuterChanged, |_, around| around.to = 8472),
        // It may be fragmented: it must count.
        (Kind::WrongOuterIpId, |_, around| around.outer.id = 90),
    ];
    for (kind, change) in cases {
        assert_eq!(found(Some(AROUND), |at, _, around| change(at, around)), [kind]);
        if kind != Kind::OuterChanged {
            assert_eq!(found(Some(own), |at, _, around| change(at, around)), [kind], "on a port of its own");
        }
    }
    assert_eq!(found(Some(AROUND), |_, _, around| around.outer.tos = 3), [], "marked on the way");
}

#[test]
fn a_length_within_a_tunnel_that_is_not_that_of_the_packet_is_found() {
    let of = |change: u16| {
        let mut inner = ends(5000).tcp(fields(), &[7; 300]);
        let length = u16::from_be_bytes([inner[16], inner[17]]).wrapping_add(change);
        inner[16..18].copy_from_slice(&length.to_be_bytes());
        let bytes = put(Some(AROUND), inner);
        let mut findings = Findings::default();
        lengths(&bytes, &crate::packet::parse(&bytes.bytes), &mut findings);
        findings.has(Kind::WrongLength)
    };
    assert_eq!((of(0), of(2), of(0_u16.wrapping_sub(2))), (false, true, true));
    // What was filled up to the least length of a frame is none.
    let mut small = ends(5000).tcp(TcpFields { tos: 2, ..TcpFields::default() }, &[1]);
    small.resize(60, 0);
    let mut findings = Findings::default();
    let bytes = put(Some(AROUND), small);
    lengths(&bytes, &crate::packet::parse(&bytes.bytes), &mut findings);
    assert!(findings.is_empty());
}

#[test]
fn ecn_around_a_packet_that_takes_no_part_is_found() {
    let of = |inner: u8, outer: u8| {
        let within = ends(5000).tcp(TcpFields { tos: inner, ..fields() }, &[7; 300]);
        let mut around = AROUND;
        around.outer.tos = outer;
        let bytes = put(Some(around), within);
        let mut findings = Findings::default();
        lengths(&bytes, &crate::packet::parse(&bytes.bytes), &mut findings);
        !findings.is_empty()
    };
    // Copied, the older rule for CE, and the mode that leaves it out.
    assert_eq!([(2, 2), (3, 3), (3, 2), (1, 1), (2, 0), (0, 0)].map(|(a, b)| of(a, b)), [false; 6]);
    assert_eq!([(0, 1), (0, 2), (0, 3)].map(|(a, b)| of(a, b)), [true; 3]);
}
