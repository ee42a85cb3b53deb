use proptest::prelude::*;

use super::*;
use crate::packet::{
    craft::{Ends, TcpFields, fill, marked_payload, spoil_checksum},
    frame::{DATA_VALID, GSO_TCP4, GSO_UDP, NEEDS_CSUM, Tag, VnetHeader},
};

const LIMITS: Limits = Limits { mtu: 1500, complete: true };

fn ends(ipv6: bool) -> Ends {
    let (from, to) = if ipv6 { ("[fd00::1]:4000", "[fd00::2]:5000") } else { ("198.18.0.1:4000", "198.18.0.2:5000") };
    Ends { from_mac: [2; 6], to_mac: [4; 6], from: from.parse().unwrap(), to: to.parse().unwrap(), tag: None }
}

fn frame(bytes: Vec<u8>) -> Frame {
    Frame { length: bytes.len() as u32, bytes, ..Frame::default() }
}

fn tcp(number: u16, seq: u32, flags: u8, payload: &[u8]) -> Frame {
    frame(ends(false).tcp(TcpFields { seq, flags, id: 100 + number, ..TcpFields::default() }, payload))
}

/// A super-packet of five segments, and what a device ought to make of it.
fn cut() -> (Frame, Vec<Frame>) {
    let mut payload = vec![0; 4 * 1000 + 300];
    fill(&mut payload, 7, 0);
    let mut whole = tcp(0, 5000, 0x18, &payload);
    whole.vnet = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCP4,
        hdr_len: 54,
        gso_size: 1000,
        csum_start: 34,
        csum_offset: 16,
    };
    let segments = payload.chunks(1000).enumerate().map(|(at, part)| {
        let flags = if at == 4 { 0x18 } else { 0x10 };
        tcp(at as u16, 5000 + 1000 * at as u32, flags, part)
    });
    (whole, segments.collect())
}

fn kinds(handed: &[Frame], wire: &[Frame]) -> Vec<Kind> {
    compare(handed, wire, LIMITS, |_| true).findings.iter().map(|finding| finding.kind).collect()
}

/// What is found of a super-packet after its segments were tampered with.
fn after(tamper: impl FnOnce(&mut Vec<Frame>)) -> Vec<Kind> {
    let (whole, mut segments) = cut();
    tamper(&mut segments);
    kinds(&[whole], &segments)
}

fn resum(frame: &mut Frame) {
    let layers = parse(&frame.bytes);
    let transport = layers.transport.unwrap();
    frame.vnet = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: transport.start as u16,
        csum_offset: (transport.checksum_at - transport.start) as u16,
        ..VnetHeader::default()
    };
    let partial = checksum::fold(checksum::pseudo(
        &layers.network.unwrap(),
        transport.protocol,
        frame.bytes.len() - transport.start,
    ));
    frame.bytes[transport.checksum_at..transport.checksum_at + 2].copy_from_slice(&partial.to_be_bytes());
    frame.bytes = checksum::complete(frame).unwrap();
    frame.vnet = VnetHeader::default();
}

#[test]
fn a_right_cut_and_an_uncut_super_packet_are_without_fault() {
    assert_eq!(after(|_| ()), []);
    let (whole, segments) = cut();
    assert_eq!(kinds(std::slice::from_ref(&whole), std::slice::from_ref(&whole)), []);
    // Sent cut and merged again on the way in.
    assert_eq!(kinds(&segments, std::slice::from_ref(&whole)), []);
    let result = compare(std::slice::from_ref(&whole), &segments, LIMITS, |_| true);
    assert_eq!((result.handed, result.came, result.supers, result.merged, result.partial), (5, 5, 1, 0, 1));
}

/// A device of several queues keeps the order of each flow alone.
#[test]
fn flows_may_overtake_one_another() {
    let (whole, segments) = cut();
    let datagram = frame(ends(false).udp(&marked_payload(1, 300)));
    let wire = [&segments[..], std::slice::from_ref(&datagram)].concat();
    assert_eq!(kinds(&[datagram, whole], &wire), []);
}

#[test]
fn each_fault_of_a_cut_has_its_name() {
    assert_eq!(after(|segments| drop(segments.remove(1))), [Kind::MissingSegment]);
    assert_eq!(after(|segments| segments.swap(1, 2)), [Kind::Reordered]);
    assert_eq!(after(|segments| segments.push(segments[3].clone())), [Kind::Duplicated]);
    assert_eq!(after(|segments| assert!(spoil_checksum(&mut segments[2].bytes))), [Kind::WrongChecksum]);
    assert_eq!(after(Vec::clear), [Kind::Lost]);
    assert_eq!(after(|segments| segments[1].length += 4), []); // cut short by the capture: nothing to be said of it
    let flip = |segments: &mut Vec<Frame>| {
        segments[2].bytes[70] ^= 1;
        resum(&mut segments[2]);
    };
    assert_eq!(after(flip), [Kind::PayloadChanged]);
    let push = |segments: &mut Vec<Frame>| {
        segments.iter_mut().for_each(|segment| segment.bytes[47] |= PUSH);
        segments.iter_mut().for_each(resum);
    };
    assert_eq!(after(push), [Kind::PushOnEach]);
    let valid = |segments: &mut Vec<Frame>| {
        spoil_checksum(&mut segments[0].bytes);
        segments[0].vnet.flags = DATA_VALID;
    };
    assert_eq!(after(valid), [Kind::WrongChecksum, Kind::ValidOnCorrupt]);
    let ids = |ids: [u16; 5]| {
        move |segments: &mut Vec<Frame>| {
            for (segment, id) in segments.iter_mut().zip(ids) {
                segment.bytes[18..20].copy_from_slice(&id.to_be_bytes());
                segment.bytes[24..26].copy_from_slice(&[0, 0]);
                let sum = !checksum::fold(checksum::sum(&segment.bytes[14..34]));
                segment.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            }
        }
    };
    assert_eq!(after(ids([100, 100, 100, 100, 100])), []);
    assert_eq!(after(ids([100, 99, 98, 97, 96])), [Kind::WrongIpId]);
    assert!(after(|segments| segments[0].bytes[22] ^= 1).contains(&Kind::WrongHeaderChecksum));
}

#[test]
fn a_leaked_partial_checksum_is_told_from_a_wrong_one() {
    let leak = |segments: &mut Vec<Frame>| {
        let layers = parse(&segments[1].bytes);
        let network = layers.network.unwrap();
        let partial = checksum::fold(checksum::pseudo(&network, 6, 20 + 1000));
        segments[1].bytes[50..52].copy_from_slice(&partial.to_be_bytes());
    };
    assert_eq!(after(leak), [Kind::PartialChecksum]);
    // Beside the word that it is left to do it is as it must be.
    let said = |segments: &mut Vec<Frame>| {
        leak(segments);
        segments[1].vnet = VnetHeader { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..VnetHeader::default() };
    };
    assert_eq!(after(said), []);
}

#[test]
fn an_uncut_frame_without_a_word_is_oversize_and_a_small_one_over_merged() {
    let (whole, segments) = cut();
    let mut bare = whole.clone();
    bare.vnet = VnetHeader::default();
    resum(&mut bare);
    assert_eq!(kinds(&[whole], &[bare]), [Kind::Oversize]);
    let datagrams: Vec<Frame> = (0..2).map(|number| frame(ends(true).udp(&marked_payload(number, 200)))).collect();
    let both = [marked_payload(0, 200), marked_payload(1, 200)].concat();
    assert_eq!(kinds(&datagrams, &[frame(ends(true).udp(&both))]), [Kind::OverMerged]);
    let mut said = frame(ends(true).udp(&both));
    said.vnet = VnetHeader { flags: NEEDS_CSUM, gso_type: GSO_UDP, gso_size: 200, ..VnetHeader::default() };
    assert_eq!(kinds(&datagrams, &[said]), []);
    assert_eq!(kinds(&segments[..1], &segments[..1]), []);
}

#[test]
fn a_segment_that_was_lost_and_sent_again_is_missing_and_not_reordered() {
    let (whole, mut segments) = cut();
    let again = segments.remove(1);
    segments.push(again.clone());
    assert_eq!(kinds(&[whole, again], &segments), [Kind::MissingSegment]);
}

#[test]
fn another_cut_of_the_same_bytes_is_no_fault() {
    let (whole, _) = cut();
    let mut payload = vec![0; 4 * 1000 + 300];
    fill(&mut payload, 7, 0);
    let other = |payload: &[u8]| {
        let pieces = payload.chunks(998).enumerate();
        pieces.map(|(at, part)| tcp(at as u16, 5000 + 998 * at as u32, 0x10, part)).collect::<Vec<_>>()
    };
    let mut recut = whole.clone();
    recut.vnet.gso_size = 998;
    assert_eq!(kinds(std::slice::from_ref(&whole), &[recut]), []);
    assert_eq!(kinds(std::slice::from_ref(&whole), &other(&payload)), []);
    assert_eq!(kinds(std::slice::from_ref(&whole), &other(&payload)[..4]), [Kind::MissingSegment]);
    payload[1500] ^= 4;
    assert_eq!(kinds(&[whole], &other(&payload)), [Kind::PayloadChanged, Kind::MissingSegment]);
}

#[test]
fn tags_are_compared_wherever_they_stand() {
    let tag = Tag { tpid: 0x8100, tci: 3 << 13 | 100 };
    let tagged = |tci| frame(Ends { tag: Some(Tag { tci, ..tag }), ..ends(false) }.udp(&marked_payload(1, 100)));
    let mut stripped = frame(ends(false).udp(&marked_payload(1, 100)));
    assert_eq!(kinds(&[tagged(tag.tci)], &[stripped.clone()]), [Kind::TagLost]);
    stripped.stripped = Some(tag);
    assert_eq!(kinds(&[tagged(tag.tci)], &[stripped]), []);
    assert_eq!(kinds(&[tagged(tag.tci)], &[tagged(101)]), [Kind::TagChanged]);
}

/// A frame in VXLAN with an outer checksum.
fn tunnelled(inner: &[u8], outer_sum: bool) -> Frame {
    let mut payload = vec![8, 0, 0, 0, 0, 0, 42, 0];
    payload.extend(inner);
    let mut outer = ends(false);
    outer.to.set_port(4789);
    let mut bytes = outer.udp(&payload);
    if !outer_sum {
        bytes[40..42].copy_from_slice(&[0, 0]);
    }
    frame(bytes)
}

#[test]
fn inner_and_outer_checksums_are_told_apart() {
    let inner = ends(true).tcp(TcpFields::default(), &[7; 100]);
    let mut spoiled = inner.clone();
    spoil_checksum(&mut spoiled);
    for with in [true, false] {
        assert_eq!(kinds(&[tunnelled(&inner, with)], &[tunnelled(&inner, with)]), []);
        assert_eq!(kinds(&[tunnelled(&inner, with)], &[tunnelled(&spoiled, with)]), [Kind::WrongInnerChecksum]);
    }
    let mut outer = tunnelled(&inner, true);
    outer.bytes[41] ^= 0x10;
    assert_eq!(kinds(&[tunnelled(&inner, true)], &[outer]), [Kind::WrongOuterChecksum]);
}

/// The emulated 82576 sums where the frame lies: it knows nothing of tunnels, leaves the inner sum undone, and makes the outer
/// one right for what is there. The sender's capture shares these bytes.
#[test]
fn an_outer_sum_that_the_device_wrote_over_the_senders_is_judged_where_it_arrives() {
    let mut inner = ends(false).udp(&[7; 100]);
    let layers = parse(&inner);
    let (network, transport) = (layers.network.as_ref().unwrap(), layers.transport.as_ref().unwrap());
    let left = checksum::fold(checksum::pseudo(network, 17, inner.len() - transport.start));
    let at = transport.checksum_at;
    inner[at..at + 2].copy_from_slice(&left.to_be_bytes());
    let mut sent = tunnelled(&inner, true);
    sent.vnet = VnetHeader { flags: NEEDS_CSUM, csum_start: 84, csum_offset: 6, ..VnetHeader::default() };
    sent.outgoing = true;
    let outer: Vec<Kind> = kinds(&[], &[sent.clone()]);
    assert_eq!(outer, [], "on the way out");
    let came = Frame { vnet: VnetHeader::default(), outgoing: false, ..sent.clone() };
    assert_eq!(kinds(&[], &[came]), [Kind::PartialChecksum], "where it arrives");
    let at = sent.bytes.len() - inner.len() - 10;
    sent.bytes[at] ^= 0x55;
    assert_eq!(kinds(&[], &[sent.clone()]), [Kind::WrongOuterChecksum], "right neither way");
    // The outer sum alone was left to it, and is done.
    let mut outer = tunnelled(&ends(false).udp(&[7; 100]), true);
    outer.vnet = VnetHeader { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..VnetHeader::default() };
    outer.outgoing = true;
    assert_eq!(kinds(&[], &[outer.clone()]), [], "done on the way out");
    outer.bytes[40] ^= 0x55;
    assert_eq!(kinds(&[], &[outer]), [Kind::WrongOuterChecksum], "neither left nor done");
}

#[test]
fn an_incomplete_capture_misses_nothing() {
    let (whole, mut segments) = cut();
    segments.truncate(2);
    let limits = Limits { complete: false, ..LIMITS };
    assert!(compare(&[whole], &segments, limits, |_| true).findings.is_empty());
}

proptest! {
    /// No bytes panic, whatever the metadata says.
    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), vnet in any::<[u8; 10]>(), kind in 0..4u8) {
        let mut bytes = bytes;
        if bytes.len() > 14 && kind > 0 {
            let (high, low) = [(8, 0), (0x86, 0xdd), (0x81, 0)][usize::from(kind) - 1];
            (bytes[12], bytes[13]) = (high, low);
            bytes[14] = if kind == 1 { 0x45 } else { 0x60 };
            if bytes.len() > 23 { bytes[23] = if vnet[0] & 1 == 0 { 17 } else { 6 }; }
        }
        let vnet = VnetHeader::read(&vnet).unwrap();
        let odd = Frame { length: bytes.len() as u32, bytes, vnet, ..Frame::default() };
        compare(std::slice::from_ref(&odd), &[odd.clone(), odd.clone()], LIMITS, |_| true);
        checksum::all(&odd);
        spoil_checksum(&mut odd.bytes.clone());
    }

    /// Truncated and flipped real packets do not panic, and a flipped bit below the IP header is always found.
    #[test]
    fn a_flipped_bit_of_a_packet_is_found(length in 8..400usize, bit in 0..3000usize, ipv6: bool, cut in 0..500usize) {
        let good = frame(ends(ipv6).udp(&marked_payload(3, length)));
        let start = if ipv6 { 54 } else { 34 };
        let at = start + bit / 8 % (good.bytes.len() - start);
        let mut bad = good.clone();
        bad.bytes[at] ^= 1 << (bit % 8);
        let found = compare(std::slice::from_ref(&good), &[bad.clone()], LIMITS, |_| true);
        prop_assert!(!found.findings.is_empty() || found.handed == 0);
        bad.bytes.truncate(cut);
        compare(&[good], &[bad], LIMITS, |_| true);
    }

    /// The stream of payload bytes is the same however it is cut.
    #[test]
    fn payload_follows_from_its_place(split in 0..999usize, seed: u64) {
        let mut whole = vec![0; 1000];
        fill(&mut whole, seed, 13);
        let mut parts = vec![0; 1000];
        let (a, b) = parts.split_at_mut(split);
        fill(a, seed, 13);
        fill(b, seed, 13 + split as u64);
        prop_assert_eq!(whole, parts);
    }
}
