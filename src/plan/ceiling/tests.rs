use super::*;
use crate::{plan::desired::NsId, topology::model::Flow};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

/// Goodput in Gbit/s at 10, 25, 40 and 100 Gbit/s of line rate.
fn row(packet: Packet, overhead: u32, tag: bool) -> [f64; 4] {
    [10.0, 25.0, 40.0, 100.0]
        .map(|line| line * packet.payload as f64 / packet.wire(overhead, tag, RateSource::Port) as f64)
}

fn check(name: &str, packet: impl Fn(u32) -> Packet, overhead: u32, tag: bool, expected: [[f64; 4]; 2]) {
    for (mtu, expected) in [1500, 9000].into_iter().zip(expected) {
        for (found, wanted) in row(packet(mtu - overhead), overhead, tag).into_iter().zip(expected) {
            // The table has four digits, some of them from rounded ones.
            let unit = if wanted < 10.0 { 0.001 } else { 0.01 };
            assert!((found - wanted).abs() <= unit * 0.6, "{name}, MTU {mtu}: {found} is not {wanted}");
        }
    }
}

/// Worked out by hand from the formats of the headers, independent of this code.
#[test]
fn goodput_at_line_rate_is_that_of_the_table() {
    let tcp = |to| move |mtu| Packet::tcp(mtu, to, None);
    let plain = |mtu: u32| Packet::tcp(mtu, V4, Some(mtu - 40));
    let udp = |mtu: u32| Packet::udp(mtu, V4, u64::from(mtu) - 28);
    check("IPv4 TCP", tcp(V4), 0, false, [[9.415, 23.54, 37.66, 94.15], [9.900, 24.75, 39.60, 99.00]]);
    check("without timestamps", plain, 0, false, [[9.493, 23.73, 37.97, 94.93], [9.914, 24.78, 39.66, 99.14]]);
    check("IPv6 TCP", tcp(V6), 0, false, [[9.285, 23.21, 37.14, 92.85], [9.878, 24.70, 39.51, 98.78]]);
    check("802.1Q", tcp(V4), 0, true, [[9.390, 23.48, 37.56, 93.90], [9.896, 24.74, 39.58, 98.96]]);
    check("VXLAN", tcp(V4), 50, false, [[9.090, 22.72, 36.36, 90.90], [9.845, 24.61, 39.38, 98.45]]);
    check("VXLAN, inner VLAN", tcp(V4), 54, false, [[9.064, 22.66, 36.26, 90.64], [9.841, 24.60, 39.36, 98.41]]);
    check("VXLAN over IPv6", tcp(V4), 70, false, [[8.960, 22.40, 35.84, 89.60], [9.823, 24.56, 39.29, 98.23]]);
    check("IPv4 UDP", udp, 0, false, [[9.571, 23.93, 38.28, 95.71], [9.927, 24.82, 39.71, 99.27]]);
}

#[test]
fn packets_per_second_of_the_shortest_and_longest_frames() {
    let rate = |length: u64| 10e9 / 8.0 / Packet::udp(9000, V4, length).wire(0, false, RateSource::Port) as f64;
    assert_eq!(rate(18).round(), 14_880_952.0);
    assert_eq!(rate(1).round(), 14_880_952.0, "a shorter one is padded");
    assert_eq!(rate(1472).round(), 812_744.0);
    assert_eq!(rate(8972).round(), 138_305.0);
}

#[test]
fn a_small_segment_and_a_fragmented_datagram() {
    assert_eq!(Packet::tcp(1500, V4, Some(500)), Packet { payload: 500, ip: 552, packets: 1 });
    assert_eq!(Packet::tcp(1500, V4, Some(1448)), Packet::tcp(1500, V4, None));
    // 4008 bytes in fragments of 1480 (IPv4) and 1448 (IPv6).
    assert_eq!(Packet::udp(1500, V4, 4000), Packet { payload: 4000, ip: 4008 + 3 * 20, packets: 3 });
    assert_eq!(Packet::udp(1500, V6, 4000), Packet { payload: 4000, ip: 4008 + 3 * 48, packets: 3 });
    let nothing = Packet::tcp(0, V6, None);
    assert_eq!(nothing.payload, 0);
}

fn hop(ns: &str, direction: Direction, overhead: u32) -> Hop {
    let at = LinkRef { ns: NsId::new(ns), name: "eth0".parse().unwrap() };
    Hop { at, direction, mtu: 1500, overhead, beside: Vec::new() }
}

fn path(hops: Vec<Hop>) -> FlowPath {
    let flow = Flow { from: "a".into(), to: "b".into(), from_address: V4, to_address: V4, mtu: 1500 };
    FlowPath { flow, from_ns: NsId::new("a"), to_ns: NsId::new("b"), hops }
}

#[test]
fn the_narrowest_hop_bounds_and_a_shaper_only_what_leaves() {
    let path = path(vec![hop("a", Direction::Tx, 0), hop("h", Direction::Tx, 50), hop("b", Direction::Rx, 0)]);
    let packet = Packet::tcp(1450, V4, None);
    let rate = |gigabits: u64, source| LinkRate { rate: BitRate(gigabits * 1_000_000_000), source };
    assert_eq!(of_path(&path, &Rates::new(), packet), None);
    let mut rates: Rates = [
        (path.hops[0].at.clone(), rate(10, RateSource::Shaper)),
        (path.hops[1].at.clone(), rate(10, RateSource::Port)),
        (path.hops[2].at.clone(), rate(1, RateSource::Shaper)),
    ]
    .into();
    let bound = of_path(&path, &rates, packet).unwrap();
    assert_eq!((&bound.at, bound.wire, bound.payload), (&path.hops[1].at, 1538, 1398));
    rates.insert(path.hops[2].at.clone(), rate(1, RateSource::Port));
    assert_eq!(of_path(&path, &rates, packet).unwrap().at, path.hops[2].at);
}

#[test]
fn an_emulated_line_has_the_lines_ceiling() {
    for mtu in [1280, 1500, 9000] {
        let rate = emulated(BitRate(10_000_000_000), mtu);
        let packet = Packet::tcp(mtu, V4, None);
        let shaped = rate.0 as f64 * packet.payload as f64 / packet.wire(0, false, RateSource::Shaper) as f64;
        let line = 10e9 * packet.payload as f64 / packet.wire(0, false, RateSource::Port) as f64;
        assert!((shaped / line - 1.0).abs() < 1e-9, "{shaped} {line}");
    }
    let path = path(vec![hop("a", Direction::Tx, 0)]);
    let line = LinkRate { rate: BitRate(10_000_000_000), source: RateSource::Port };
    let bound = of_path(&path, &[(path.hops[0].at.clone(), line)].into(), Packet::tcp(1500, V4, None)).unwrap();
    assert!(bound.limit(10.0, 0) > bound.goodput() && bound.limit(10.0, 0) < bound.goodput() * 1.011);
    assert!(bound.limit(0.1, 6 << 20) > bound.goodput() * 1.04, "what the receiver held from before counts");
}
