use super::*;
use crate::plan::desired::{Hop, NsId};

fn hop(ns: &str, name: &str, direction: Direction) -> Hop {
    let at = LinkRef { ns: NsId(ns.into()), name: name.parse().unwrap() };
    Hop { at, direction, mtu: 1500, overhead: 0, beside: Vec::new() }
}

fn way() -> Way {
    Way {
        hops: vec![
            hop("a", "eth0", Direction::Tx),
            hop("sw", "p0", Direction::Rx),
            hop("sw", "p1", Direction::Tx),
            hop("b", "eth0", Direction::Rx),
        ],
        addresses: Vec::new(),
        from: NsId("a".into()),
        to: NsId("b".into()),
        text: "a -> b".into(),
        mtu: 1500,
    }
}

const ARRIVED: Sample = Sample::Arrived { after: Duration::from_micros(40) };

fn seen(within: Sample, above: Sample) -> Seen {
    let sizes =
        BELOW.map(|below| (1500 - below, within)).into_iter().chain(ABOVE.map(|above_by| (1500 + above_by, above)));
    Seen { family: 4, tried: sizes.collect(), ..Seen::default() }
}

/// A burst of which each hop counted so many, and one that dropped.
fn burst(counted: [u64; 4], dropped: Option<usize>) -> Trace {
    let one = |(at, hop): (usize, &Hop)| HopSeen {
        hop: hop.clone(),
        mtu: if at == 2 { 1400 } else { 1500 },
        is_port: hop.at.ns.0 == "sw",
        counted: counted[at],
        dropped: if dropped == Some(at) { 24 } else { 0 },
    };
    Trace { hops: way().hops.iter().enumerate().map(one).collect(), fragments: Default::default() }
}

#[test]
fn refused_aloud_is_right() {
    let row = judge(&way(), &[seen(ARRIVED, Sample::Refused { mtu: Some(1500) })]);
    assert_eq!(row.verdict, OffloadVerdict::Pass);
    let text = "IPv4: packets of 1491, 1499, 1500 bytes arrive; \
                1501, 1505, 1509 are refused by the sender's own interface a/eth0 (EMSGSIZE)";
    assert_eq!(row.evidence, text);
    let who = "198.18.0.9".parse().ok();
    let row = judge(&way(), &[seen(ARRIVED, Sample::TooBig { offender: who, mtu: 1500 })]);
    assert_eq!(row.verdict, OffloadVerdict::Pass);
    assert!(row.evidence.ends_with("1509 are refused by 198.18.0.9 (ICMP, MTU 1500)"), "{}", row.evidence);
}

#[test]
fn dropped_is_right_where_it_is_counted() {
    let mut dropped = seen(ARRIVED, Sample::Lost);
    dropped.above = Some((1509, burst([24, 24, 0, 0], Some(2))));
    let row = judge(&way(), &[dropped.clone()]);
    assert_eq!(row.verdict, OffloadVerdict::Pass);
    assert!(row.evidence.ends_with("are dropped: of 24 packets sw/p1 counted 24 drops"), "{}", row.evidence);
    dropped.above = Some((1509, burst([24, 24, 0, 0], None)));
    let row = judge(&way(), &[dropped.clone()]);
    assert_eq!((row.verdict, row.device.as_deref()), (OffloadVerdict::Drop, Some("sw/p1")));
    assert!(row.evidence.contains("packets of 1509 bytes vanish at the port sw/p1 (MTU 1400)"), "{}", row.evidence);
    // A router that could not tell the sender counted them all the same.
    let mut trace = burst([24, 24, 0, 0], None);
    let refused = crate::kernel::snmp::Fragments { refused: 24, ..Default::default() };
    trace.fragments.insert(NsId("sw".into()), refused);
    dropped.above = Some((1509, trace));
    let row = judge(&way(), &[dropped]);
    assert_eq!(row.verdict, OffloadVerdict::Pass);
    assert!(row.evidence.contains("sw counted 24 packets that it could not forward"), "{}", row.evidence);
}

#[test]
fn a_declared_size_that_vanishes_is_a_black_hole_even_where_it_is_counted() {
    for dropped in [None, Some(2)] {
        let mut lost = seen(Sample::Lost, Sample::Lost);
        lost.within = Some((1491, burst([24, 24, 0, 0], dropped)));
        let row = judge(&way(), &[seen(ARRIVED, Sample::Refused { mtu: None }), Seen { family: 6, ..lost }]);
        assert_eq!((row.verdict, row.device.as_deref()), (OffloadVerdict::Blackhole, Some("sw/p1")));
        assert_eq!(row.evidence.contains("sw/p1 counted 24 drops"), dropped.is_some(), "{}", row.evidence);
        assert_eq!(row.cure.as_deref(), Some("in sw: `ip link set p1 mtu 1500`"));
    }
    let row = judge(&way(), &[seen(Sample::Refused { mtu: Some(1400) }, Sample::Refused { mtu: Some(1400) })]);
    assert_eq!((row.verdict, row.device.as_deref()), (OffloadVerdict::Drop, Some("a/eth0")));
}

#[test]
fn room_for_a_tag_is_no_fault_and_more_is() {
    let mut more = seen(ARRIVED, Sample::Refused { mtu: None });
    more.tried[3].1 = ARRIVED;
    let row = judge(&way(), &[more.clone()]);
    assert_eq!(row.verdict, OffloadVerdict::Pass);
    assert!(row.evidence.contains("1501 too, by the room that forwarding keeps for a VLAN tag"), "{}", row.evidence);
    more.tried[4].1 = ARRIVED;
    let row = judge(&way(), &[more]);
    assert_eq!(row.verdict, OffloadVerdict::Leak);
    assert!(row.evidence.contains("1505 bytes was delivered, 5 more than the declared MTU"), "{}", row.evidence);
    assert_eq!(judge(&way(), &[]).verdict, OffloadVerdict::Inconclusive);
}
