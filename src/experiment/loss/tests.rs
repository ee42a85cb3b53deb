use proptest::prelude::*;

use super::*;
use crate::measured::{CpuLoad, SocketFacts, Stream, StreamIo, ThreadCpu};

fn side(units: u64, segments: Option<u32>, socket_drops: Option<u64>, backlog: u64) -> Side {
    let stream = Stream {
        stream: 0,
        local: String::new(),
        peer: String::new(),
        bytes: units * 1000,
        omitted_bytes: 0,
        units: units / 2,
        omitted_units: units - units / 2,
        elapsed_ns: 1_000_000_000,
        calls: 0,
        io: Some(StreamIo { segments, ..StreamIo::default() }),
        cpu: ThreadCpu::default(),
        socket: SocketFacts::default(),
        tcp: None,
        datagrams: socket_drops.map(|drops| Datagrams { socket_drops: Some(drops), ..Datagrams::default() }),
        schedule: None,
        verified: None,
        retries: None,
    };
    let cpus = vec![CpuLoad { softnet_dropped: backlog, ..CpuLoad::default() }];
    Side { streams: vec![stream], cpus, ..Side::default() }
}

fn hop(at: &str, direction: &str, qdisc_dropped: u64, dropped: u64) -> HopEvidence {
    HopEvidence {
        at: at.into(),
        direction: direction.into(),
        bytes: 0,
        packets: 0,
        reverse_bytes: 0,
        reverse_packets: 0,
        expected_bytes: (0, 0),
        dropped,
        qdisc_dropped,
        driver: Default::default(),
        ok: true,
    }
}

fn said(shares: &[LossShare]) -> Vec<(LossPlace, Option<&str>, u64)> {
    shares.iter().map(|share| (share.place, share.at.as_deref(), share.datagrams)).collect()
}

#[test]
fn every_place_is_charged_what_it_counted_and_the_rest_is_unexplained() {
    let hops = [hop("a/eth0", "tx", 30, 0), hop("b/eth0", "rx", 99, 7)];
    let shares = charge(&side(1000, None, None, 0), &side(900, None, Some(50), 5), &hops);
    let expected = [
        (LossPlace::ReceivingSocket, None, 50),
        (LossPlace::Qdisc, Some("a/eth0"), 30),
        (LossPlace::Backlog, None, 5),
        (LossPlace::Interface, Some("b/eth0"), 7),
        (LossPlace::Unexplained, None, 8),
    ];
    assert_eq!(said(&shares), expected, "a queue of the way back is not charged");
    assert!(charge(&side(5, None, None, 9), &side(5, None, Some(3), 0), &hops).is_empty());
}

#[test]
fn a_bundle_counts_for_all_that_is_in_it_at_most() {
    let shares = charge(&side(1000, Some(44), None, 0), &side(900, None, None, 0), &[hop("a/eth0", "tx", 2, 50)]);
    assert_eq!(said(&shares), [(LossPlace::Qdisc, Some("a/eth0"), 88), (LossPlace::Interface, Some("a/eth0"), 12)]);
    assert!(shares.iter().all(|share| share.at_most) && shares[0].counted == 2);
    let twice = sum(shares.iter().chain(&shares));
    assert_eq!(said(&twice), [(LossPlace::Qdisc, Some("a/eth0"), 176), (LossPlace::Interface, Some("a/eth0"), 24)]);
}

proptest! {
    /// Whatever the counters say, nothing is charged twice and nothing is left out.
    #[test]
    fn charges_sum_to_the_loss(
        sent in 0u64..1_000_000, share in 0u64..=100, segments in proptest::option::of(1u32..64),
        socket: u64, backlog: u64, counted in proptest::collection::vec((0u64..2_000_000, any::<u64>()), 0..5),
    ) {
        let received = sent * share / 100;
        let hops: Vec<_> = counted.iter().map(|&(qdisc, dropped)| hop("a/eth0", "tx", qdisc, dropped)).collect();
        let shares = charge(&side(sent, segments, None, 0), &side(received, segments, Some(socket), backlog), &hops);
        prop_assert_eq!(shares.iter().map(|share| share.datagrams).sum::<u64>(), sent - received);
        prop_assert!(shares.iter().all(|share| share.datagrams > 0));
    }
}
