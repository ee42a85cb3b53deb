//! Did the bytes cross the declared path? Counters of all interfaces before and after a round, hop by hop. Pure.
//!
//! Tolerances, and where they come from:
//! - Interface counters hold the link-layer header and every header above, once per packet. A GSO super-packet counts as one
//!   packet with one set of headers on a virtual interface, so the floor of a hop is the payload delivered; the ceiling adds
//!   the headers of full-sized segments, as a NIC that segments would count them, what TCP says it sent again, a tenth of
//!   slack, and 64 KiB for handshakes, ARP, ND and whatever else a quiet namespace says in a few seconds.
//! - What was sent and lost is counted up to where it got lost: the ceiling is taken from what the sender sent, the floor
//!   from what the receiver got.
//! - A request/response test is judged by packets: at least one each way per transaction. Its bytes are noise.
//! - A stray is an interface off the path with more than 1 % of the traffic's floor and more than 64 KiB.

use std::collections::{BTreeMap, BTreeSet};

use super::drivers::{self, Drivers};
use crate::{
    facts::LinkCounters,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    record::{HopEvidence, PathEvidence, PathVerdict, StrayEvidence},
};

/// Counters of every interface of every namespace.
pub type Counters = BTreeMap<LinkRef, LinkCounters>;

/// What was counted up to a moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By the kernel.
    pub links: Counters,
    /// By the drivers of the paths' interfaces.
    pub drivers: Drivers,
}

/// Bytes that a quiet namespace may carry beside the traffic.
const NOISE: u64 = 64 << 10;

/// What the two ends say was carried, warm-up included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// A stream from client to server.
    Stream {
        /// Payload bytes that left the client's socket, those sent again counted again.
        sent: u64,
        /// Payload bytes that arrived.
        received: u64,
        /// Payload bytes of a full packet.
        per_packet: u64,
    },
    /// Requests and responses.
    Transactions {
        /// Answered requests.
        count: u64,
    },
}

/// A flow of a round, and what it carried.
#[derive(Debug, Clone, Copy)]
pub struct Load<'f> {
    /// Its path, in the direction of the payload.
    pub path: &'f FlowPath,
    /// What its ends say.
    pub carried: Carried,
}

/// Judges one flow that ran alone.
#[cfg(test)]
pub fn judge(path: &FlowPath, before: &Counters, after: &Counters, carried: Carried) -> PathEvidence {
    judge_all(&[Load { path, carried }], &seen(before), &seen(after)).remove(0)
}

#[cfg(test)]
fn seen(links: &Counters) -> Seen {
    Seen { links: links.clone(), drivers: Drivers::new() }
}

/// Judges the flows of a round, which ran at the same time: what a hop counted must fit the sum of all that crossed it.
pub fn judge_all(loads: &[Load<'_>], before: &Seen, after: &Seen) -> Vec<PathEvidence> {
    let deltas = loads.iter().fold(deltas(&before.links, &after.links), |deltas, load| bonds_as_one(load.path, deltas));
    let due = due(loads);
    let strays = strays(loads, &deltas);
    let rose = |hop: &Hop| drivers::risen(&hop.at, &before.drivers, &after.drivers);
    let one = |load: &Load<'_>| {
        let hops: Vec<HopEvidence> =
            load.path.hops.iter().map(|hop| hop_evidence(hop, &deltas, rose(hop), &due, load.carried)).collect();
        let strays = if load.path.hops.is_empty() { Vec::new() } else { strays.clone() };
        let verdict = conclude(load.path, &hops, &strays, &deltas, load.carried);
        PathEvidence { hops, strays, below_packets: below_packets(load.path, &deltas), verdict }
    };
    loads.iter().map(one).collect()
}

/// What an interface must count in a direction for all flows to have crossed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Due {
    /// Bytes at least.
    low: u64,
    /// Bytes at most.
    high: u64,
    /// Packets at least.
    packets: u64,
}

/// By interface and direction.
type Dues<'l> = BTreeMap<(&'l LinkRef, Direction), Due>;

/// Sums what every flow owes to each interface and direction that it crosses, on its way there and back.
fn due<'l>(loads: &[Load<'l>]) -> Dues<'l> {
    let mut sums = Dues::new();
    for load in loads {
        // A path that turns on an interface (the loopback) crosses it once.
        let mut own = Dues::new();
        for hop in &load.path.hops {
            let packets = match load.carried {
                Carried::Stream { .. } => 1,
                Carried::Transactions { count } => count.max(1),
            };
            let back = if matches!(load.carried, Carried::Stream { .. }) { 0 } else { packets };
            let (low, high) = expected(hop, load.carried);
            let there = own.entry((&hop.at, hop.direction)).or_default();
            *there = Due { low, high: there.high.max(high), packets };
            let returned = own.entry((&hop.at, opposite(hop.direction))).or_default();
            returned.high = returned.high.max(returning(hop, load.carried));
            returned.packets = returned.packets.max(back);
        }
        for (at, more) in own {
            let sum = sums.entry(at).or_default();
            sum.low += more.low;
            sum.high = sum.high.saturating_add(more.high);
            sum.packets += more.packets;
        }
    }
    sums
}

fn deltas(before: &Counters, after: &Counters) -> Counters {
    let since =
        |(at, now): (&LinkRef, &LinkCounters)| (at.clone(), now.since(&before.get(at).copied().unwrap_or_default()));
    after.iter().map(since).collect()
}

/// What the members of a bond counted, as if the one that the path names had counted it all.
fn bonds_as_one(path: &FlowPath, mut deltas: Counters) -> Counters {
    for hop in &path.hops {
        for member in &hop.beside {
            let Some(other) = deltas.remove(member) else { continue };
            let sum = deltas.entry(hop.at.clone()).or_default();
            sum.rx_packets += other.rx_packets;
            sum.rx_bytes += other.rx_bytes;
            sum.tx_packets += other.tx_packets;
            sum.tx_bytes += other.tx_bytes;
            sum.rx_errors += other.rx_errors;
            sum.tx_errors += other.tx_errors;
            sum.rx_dropped += other.rx_dropped;
            sum.tx_dropped += other.tx_dropped;
            sum.qdisc_dropped += other.qdisc_dropped;
        }
    }
    deltas
}

fn hop_evidence(
    hop: &Hop,
    deltas: &Counters,
    driver: BTreeMap<String, u64>,
    due: &Dues<'_>,
    carried: Carried,
) -> HopEvidence {
    let seen = deltas.get(&hop.at).copied().unwrap_or_default();
    let (tx, rx) = ((seen.tx_bytes, seen.tx_packets), (seen.rx_bytes, seen.rx_packets));
    let ((bytes, packets), (reverse_bytes, reverse_packets), direction) = match hop.direction {
        Direction::Tx => (tx, rx, "tx"),
        Direction::Rx => (rx, tx, "rx"),
    };
    let owed = |direction| due.get(&(&hop.at, direction)).copied().unwrap_or_default();
    let (there, back) = (owed(hop.direction), owed(opposite(hop.direction)));
    let ok = match carried {
        Carried::Stream { .. } => (there.low..=there.high).contains(&bytes) && packets > 0,
        Carried::Transactions { .. } => packets >= there.packets && reverse_packets >= back.packets,
    };
    HopEvidence {
        at: hop.at.to_string(),
        direction: direction.to_owned(),
        bytes,
        packets,
        reverse_bytes,
        reverse_packets,
        expected_bytes: (there.low, there.high),
        // Most drivers add theirs to the kernel's counters; some drops stand in their own alone.
        dropped: (seen.rx_dropped + seen.tx_dropped + seen.rx_errors + seen.tx_errors).max(drivers::dropped(&driver)),
        driver,
        qdisc_dropped: seen.qdisc_dropped,
        ok,
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Tx => Direction::Rx,
        Direction::Rx => Direction::Tx,
    }
}

/// Most bytes that the other direction carries for a flow: of a stream its acknowledgments, of which there are no more than
/// packets.
fn returning(hop: &Hop, carried: Carried) -> u64 {
    match carried {
        Carried::Stream { sent, per_packet, .. } => {
            let headers = 14 + 40 + 60 + u64::from(hop.overhead);
            (sent / per_packet.max(1) + 1) * headers + NOISE
        }
        Carried::Transactions { .. } => u64::MAX,
    }
}

/// Lowest and highest byte count of a hop in the direction client to server.
fn expected(hop: &Hop, carried: Carried) -> (u64, u64) {
    match carried {
        Carried::Stream { sent, received, per_packet } => {
            // Ethernet, IPv6 and TCP with options, and what a tunnel puts around them.
            let headers = 14 + 40 + 60 + u64::from(hop.overhead);
            let packets = sent / per_packet.max(1) + 1;
            (received.max(1), sent + packets * headers + sent / 10 + NOISE)
        }
        Carried::Transactions { .. } => (0, u64::MAX),
    }
}

/// Members of the machine's own bonds, and links below its own VLANs, that carry what an interface of the path carries: by
/// namespace and ifindex.
fn below<'d>(on_path: &BTreeSet<&LinkRef>, deltas: &'d Counters) -> BTreeSet<(&'d NsId, u32)> {
    let of = |at: &&'d LinkRef| on_path.contains(*at);
    let mut above: BTreeSet<(&NsId, u32)> =
        deltas.keys().filter(of).map(|at| (&at.ns, deltas[at].place.index)).filter(|(_, index)| *index != 0).collect();
    let mut below = BTreeSet::new();
    // A VLAN may stand on a bond.
    while !above.is_empty() {
        let mut more = BTreeSet::new();
        for (at, seen) in deltas {
            if above.contains(&(&at.ns, seen.place.member_of)) {
                more.insert((&at.ns, seen.place.index));
            }
            if above.contains(&(&at.ns, seen.place.index)) && seen.place.over != 0 {
                more.insert((&at.ns, seen.place.over));
            }
        }
        above = more.difference(&below).copied().collect();
        below.extend(above.iter().copied());
    }
    below
}

/// Packets that the links below the hops of a path received, which the kernel counts once more for each of them.
fn below_packets(path: &FlowPath, deltas: &Counters) -> u64 {
    let hops: BTreeSet<&LinkRef> = path.hops.iter().map(|hop| &hop.at).collect();
    let below = below(&hops, deltas);
    let counts = deltas.iter().filter(|(at, seen)| !hops.contains(at) && below.contains(&(&at.ns, seen.place.index)));
    counts.map(|(_, seen)| seen.rx_packets).sum()
}

/// Interfaces on the path of none of the flows.
fn strays(loads: &[Load<'_>], deltas: &Counters) -> Vec<StrayEvidence> {
    let on_path: BTreeSet<&LinkRef> = loads.iter().flat_map(|load| &load.path.hops).map(|hop| &hop.at).collect();
    let floor = |load: &Load<'_>| match load.carried {
        Carried::Stream { received, .. } => received,
        Carried::Transactions { count } => count * 60,
    };
    let below = below(&on_path, deltas);
    // Of the least of them: one flow that went astray must show beside many that did not.
    let floor = loads.iter().map(floor).min().unwrap_or(0);
    let limit = (floor / 100).max(NOISE);
    let mut strays: Vec<StrayEvidence> = deltas
        .iter()
        .filter(|(at, _)| !on_path.contains(at) && !below.contains(&(&at.ns, deltas[at].place.index)))
        .filter(|(_, seen)| seen.rx_bytes.max(seen.tx_bytes) > limit)
        .map(|(at, seen)| StrayEvidence { at: at.to_string(), rx_bytes: seen.rx_bytes, tx_bytes: seen.tx_bytes })
        .collect();
    strays.sort_by_key(|stray| std::cmp::Reverse(stray.rx_bytes.max(stray.tx_bytes)));
    strays
}

fn conclude(
    path: &FlowPath,
    hops: &[HopEvidence],
    strays: &[StrayEvidence],
    deltas: &Counters,
    carried: Carried,
) -> PathVerdict {
    let not = |reason: String| PathVerdict::NotProved { reason };
    if hops.is_empty() {
        return PathVerdict::NoHops;
    }
    if let Carried::Stream { received: 0, .. } | Carried::Transactions { count: 0 } = carried {
        return not("nothing arrived".to_owned());
    }
    if let Some(missing) = path.hops.iter().find(|hop| !deltas.contains_key(&hop.at)) {
        return not(format!("{} is not there to count", missing.at));
    }
    let went = strays
        .first()
        .map(|stray| format!("{} carried {} bytes and is not on it", stray.at, stray.rx_bytes.max(stray.tx_bytes)));
    match (hops.iter().find(|hop| !hop.ok), went) {
        (Some(hop), Some(went)) => not(format!("{}; {went}", fault(hop, carried))),
        (Some(hop), None) => not(fault(hop, carried)),
        (None, Some(went)) => not(went),
        (None, None) => PathVerdict::Proved,
    }
}

fn fault(hop: &HopEvidence, carried: Carried) -> String {
    let HopEvidence { at, direction, bytes, packets, reverse_packets, expected_bytes: (low, high), .. } = hop;
    match carried {
        Carried::Stream { .. } if bytes < low => {
            format!("{at} counted {bytes} bytes {direction}, at least {low} were delivered")
        }
        Carried::Stream { .. } => format!("{at} counted {bytes} bytes {direction}, at most {high} belong to the flow"),
        Carried::Transactions { count } => {
            format!("{at} counted {packets} packets one way and {reverse_packets} the other, for {count} transactions")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::desired::NsId, topology::model::Flow};

    fn link(ns: &str, name: &str) -> LinkRef {
        LinkRef { ns: NsId(ns.into()), name: name.parse().unwrap() }
    }

    /// client/eth0 -> fabric/client-0 -> fabric/server-0 -> server/eth0
    fn path() -> FlowPath {
        let hop =
            |ns, name, direction| Hop { at: link(ns, name), direction, mtu: 1500, overhead: 0, beside: Vec::new() };
        FlowPath {
            flow: Flow {
                from: "client".into(),
                to: "server".into(),
                from_address: "198.18.0.1".parse().unwrap(),
                to_address: "198.18.0.2".parse().unwrap(),
                mtu: 1500,
            },
            from_ns: NsId("client".into()),
            to_ns: NsId("server".into()),
            hops: vec![
                hop("client", "eth0", Direction::Tx),
                hop("fabric", "client-0", Direction::Rx),
                hop("fabric", "server-0", Direction::Tx),
                hop("server", "eth0", Direction::Rx),
            ],
        }
    }

    fn counters(forward_tx: &[(&str, &str, u64, u64)]) -> Counters {
        forward_tx
            .iter()
            .map(|&(ns, name, rx, tx)| {
                let counted = LinkCounters {
                    rx_bytes: rx,
                    tx_bytes: tx,
                    rx_packets: rx / 1000,
                    tx_packets: tx / 1000,
                    ..LinkCounters::default()
                };
                (link(ns, name), counted)
            })
            .collect()
    }

    const SENT: Carried = Carried::Stream { sent: 100_000_000, received: 100_000_000, per_packet: 1448 };

    fn after(eth0: u64) -> Counters {
        let acks = 3_000_000;
        counters(&[
            ("client", "eth0", acks, eth0),
            ("client", "lo", 0, 0),
            ("fabric", "client-0", eth0, acks),
            ("fabric", "server-0", acks, eth0),
            ("fabric", "br1", 0, 0),
            ("server", "eth0", eth0, acks),
        ])
    }

    #[test]
    fn segmented_and_super_packet_counts_both_prove() {
        // Super-packets of 64 KiB with 66 bytes of headers, and wire-sized segments with 66 each.
        for bytes in [100_000_000 + 66 * 1526, 100_000_000 + 66 * 69061] {
            let evidence = judge(&path(), &after(0), &after(bytes), SENT);
            assert_eq!(evidence.verdict, PathVerdict::Proved);
            assert!(evidence.hops.iter().all(|hop| hop.ok) && evidence.strays.is_empty());
        }
    }

    #[test]
    fn what_is_below_a_bond_or_a_vlan_of_the_path_is_no_stray() {
        let place = |index, member_of, over| crate::facts::LinkPlace { index, member_of, over };
        let bytes = 100_000_000 + 66 * 1526;
        let mut seen = after(bytes);
        // The hop is a VLAN on a bond of two members; beside them another link, as busy.
        seen.get_mut(&link("client", "eth0")).unwrap().place = place(5, 0, 4);
        for (name, place) in [("bond0", place(4, 0, 0)), ("up0", place(2, 4, 0)), ("up1", place(3, 4, 0))] {
            let rx_packets = u64::from(place.index) * 1000;
            let counted = LinkCounters { tx_bytes: bytes, rx_packets, place, ..LinkCounters::default() };
            seen.insert(link("client", name), counted);
        }
        let evidence = judge(&path(), &after(0), &seen, SENT);
        assert_eq!((evidence.verdict, evidence.below_packets), (PathVerdict::Proved, 9000));
        assert_eq!(judge(&path(), &after(0), &after(bytes), SENT).below_packets, 0);
        // Of another bond, or with the same number in another namespace, it is none of the path's.
        for (ns, place) in [("client", place(9, 8, 0)), ("server", place(2, 4, 0))] {
            let mut other = seen.clone();
            other.insert(link(ns, "up9"), LinkCounters { tx_bytes: bytes, place, ..LinkCounters::default() });
            assert_eq!(judge(&path(), &after(0), &other, SENT).strays.len(), 1, "{ns}");
        }
    }

    #[test]
    fn counters_are_taken_as_differences() {
        let evidence = judge(&path(), &after(7_000_000_000), &after(7_100_200_000), SENT);
        assert_eq!((evidence.verdict, evidence.hops[0].bytes), (PathVerdict::Proved, 100_200_000));
    }

    #[test]
    fn traffic_that_goes_another_way_is_named() {
        let mut elsewhere = after(5_000);
        elsewhere.insert(link("client", "eth1"), LinkCounters { tx_bytes: 101_000_000, ..LinkCounters::default() });
        elsewhere.insert(link("server", "eth1"), LinkCounters { rx_bytes: 101_000_000, ..LinkCounters::default() });
        let evidence = judge(&path(), &after(0), &elsewhere, SENT);
        let PathVerdict::NotProved { reason } = evidence.verdict else { panic!("{:?}", evidence.verdict) };
        assert!(reason.contains("client/eth0 counted 5000 bytes tx"), "{reason}");
        assert!(reason.contains("client/eth1 carried 101000000 bytes"), "{reason}");
        assert_eq!(evidence.strays.len(), 2);
    }

    #[test]
    fn a_second_way_beside_the_declared_one_is_named() {
        let mut both = after(101_000_000);
        both.insert(link("client", "eth1"), LinkCounters { tx_bytes: 9_000_000, ..LinkCounters::default() });
        let evidence = judge(&path(), &after(0), &both, SENT);
        assert!(
            matches!(evidence.verdict, PathVerdict::NotProved { reason } if reason.starts_with("client/eth1 carried"))
        );
    }

    #[test]
    fn doubled_bytes_and_missing_hops_are_not_proved() {
        let doubled = judge(&path(), &after(0), &after(205_000_000), SENT);
        assert!(matches!(doubled.verdict, PathVerdict::NotProved { reason } if reason.contains("at most")));
        let mut gone = after(101_000_000);
        gone.remove(&link("fabric", "server-0"));
        let evidence = judge(&path(), &after(0), &gone, SENT);
        assert!(
            matches!(evidence.verdict, PathVerdict::NotProved { reason } if reason == "fabric/server-0 is not there to count")
        );
    }

    /// A second flow the other way over the same hops: each port carries payload of one and acknowledgments of the other.
    #[test]
    fn a_hop_is_judged_by_the_sum_of_what_crossed_it() {
        let there = path();
        let mut back = path();
        back.hops.reverse();
        back.hops.iter_mut().for_each(|hop| hop.direction = opposite(hop.direction));
        let loads = [Load { path: &there, carried: SENT }, Load { path: &back, carried: SENT }];
        let acks = 3_000_000;
        let both = |client: u64| {
            counters(&[
                ("client", "eth0", 101_000_000 + acks, client + acks),
                ("fabric", "client-0", client + acks, 101_000_000 + acks),
                ("fabric", "server-0", 101_000_000 + acks, client + acks),
                ("server", "eth0", client + acks, 101_000_000 + acks),
            ])
        };
        let verdicts = |after: &Counters| {
            let all = judge_all(&loads, &seen(&self::after(0)), &seen(after));
            all.into_iter().map(|evidence| evidence.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&both(101_000_000)), [PathVerdict::Proved, PathVerdict::Proved]);
        assert!(
            matches!(&verdicts(&both(90_000_000))[0], PathVerdict::NotProved { reason } if reason.contains("at least"))
        );
        // Two the same way owe twice the bytes.
        let same = [Load { path: &there, carried: SENT }; 2];
        let judged = |bytes| judge_all(&same, &seen(&self::after(0)), &seen(&self::after(bytes))).remove(1).verdict;
        assert_eq!(judged(202_000_000), PathVerdict::Proved);
        assert!(matches!(judged(150_000_000), PathVerdict::NotProved { .. }));
    }

    #[test]
    fn loss_on_the_way_is_within_bounds() {
        // The first hops carry what was sent, the last what came.
        let mut lossy = after(100_500_000);
        lossy.insert(
            link("server", "eth0"),
            LinkCounters { rx_bytes: 60_500_000, rx_packets: 1, ..LinkCounters::default() },
        );
        let carried = Carried::Stream { sent: 100_000_000, received: 60_000_000, per_packet: 1448 };
        assert_eq!(judge(&path(), &after(0), &lossy, carried).verdict, PathVerdict::Proved);
    }

    #[test]
    fn transactions_are_judged_by_packets_both_ways() {
        let carried = |count| Carried::Transactions { count };
        let seen = counters(&[
            ("client", "eth0", 70_000, 70_000),
            ("fabric", "client-0", 70_000, 70_000),
            ("fabric", "server-0", 70_000, 70_000),
            ("server", "eth0", 70_000, 70_000),
        ]);
        let none = seen.keys().map(|at| (at.clone(), LinkCounters::default())).collect();
        assert_eq!(judge(&path(), &none, &seen, carried(70)).verdict, PathVerdict::Proved);
        let evidence = judge(&path(), &none, &seen, carried(71));
        assert!(
            matches!(evidence.verdict, PathVerdict::NotProved { reason } if reason.contains("for 71 transactions"))
        );
        assert!(matches!(judge(&path(), &none, &seen, carried(0)).verdict, PathVerdict::NotProved { .. }));
    }

    #[test]
    fn loopback_has_nothing_to_prove() {
        let path = FlowPath { hops: vec![], ..path() };
        assert_eq!(judge(&path, &after(0), &after(1), SENT).verdict, PathVerdict::NoHops);
    }
}
