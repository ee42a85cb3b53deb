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

use crate::{
    facts::LinkCounters,
    plan::desired::{Direction, FlowPath, Hop, LinkRef},
    record::{HopEvidence, PathEvidence, PathVerdict, StrayEvidence},
};

/// Counters of every interface of every namespace.
pub type Counters = BTreeMap<LinkRef, LinkCounters>;

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

/// Judges one round.
pub fn judge(path: &FlowPath, before: &Counters, after: &Counters, carried: Carried) -> PathEvidence {
    let deltas = bonds_as_one(path, deltas(before, after));
    let hops: Vec<HopEvidence> = path.hops.iter().map(|hop| hop_evidence(hop, &deltas, carried)).collect();
    let strays = strays(path, &deltas, carried);
    let verdict = conclude(path, &hops, &strays, &deltas, carried);
    PathEvidence { hops, strays, verdict }
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

fn hop_evidence(hop: &Hop, deltas: &Counters, carried: Carried) -> HopEvidence {
    let seen = deltas.get(&hop.at).copied().unwrap_or_default();
    let (tx, rx) = ((seen.tx_bytes, seen.tx_packets), (seen.rx_bytes, seen.rx_packets));
    let ((bytes, packets), (reverse_bytes, reverse_packets), direction) = match hop.direction {
        Direction::Tx => (tx, rx, "tx"),
        Direction::Rx => (rx, tx, "rx"),
    };
    let expected_bytes = expected(hop, carried);
    let ok = match carried {
        Carried::Stream { .. } => (expected_bytes.0..=expected_bytes.1).contains(&bytes) && packets > 0,
        Carried::Transactions { count } => packets >= count.max(1) && reverse_packets >= count.max(1),
    };
    HopEvidence {
        at: hop.at.to_string(),
        direction: direction.to_owned(),
        bytes,
        packets,
        reverse_bytes,
        reverse_packets,
        expected_bytes,
        dropped: seen.rx_dropped + seen.tx_dropped + seen.rx_errors + seen.tx_errors,
        qdisc_dropped: seen.qdisc_dropped,
        ok,
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

fn strays(path: &FlowPath, deltas: &Counters, carried: Carried) -> Vec<StrayEvidence> {
    if path.hops.is_empty() {
        return Vec::new();
    }
    let on_path: BTreeSet<&LinkRef> = path.hops.iter().map(|hop| &hop.at).collect();
    let floor = match carried {
        Carried::Stream { received, .. } => received,
        Carried::Transactions { count } => count * 60,
    };
    let limit = (floor / 100).max(NOISE);
    let mut strays: Vec<StrayEvidence> = deltas
        .iter()
        .filter(|(at, _)| !on_path.contains(at))
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
