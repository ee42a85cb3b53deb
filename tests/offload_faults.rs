//! A card that is right passes `offload verify`; one that is wrong on purpose is caught, and its fault named. The table of
//! faults and verdicts is printed, and docs/offload.md holds the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod model_nic;

use std::{collections::BTreeSet, fs, path::Path, sync::atomic::AtomicBool};

use cables::Lab;
use model_nic::{Fault, ModelNic};
use netbench::{
    apply::{features::Loans, journal::StateRoot, world::World},
    experiment::offload::{Target, bundles, drive, ecn, edges},
    kernel::Netns,
    packet::Kind,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Flow,
};

/// Two namespaces on a model card, with VXLAN over it where asked.
struct Wired {
    world: World,
    target: Target,
    nic: ModelNic,
    _lab: Lab,
}

/// A VXLAN: the family around it, and its words for ip(8) about outer checksums.
#[derive(Debug, Clone, Copy)]
struct Tunnel {
    outer: u8,
    sums: &'static str,
    port: u16,
}

const TUNNEL_SUMS: Tunnel = Tunnel { outer: 4, sums: "udpcsum", port: 4789 };
const TUNNEL_PLAIN: Tunnel = Tunnel { sums: "noudpcsum", ..TUNNEL_SUMS };

fn wired(fault: Fault, tunnel: Option<Tunnel>) -> Option<Wired> {
    wired_by((fault, Fault::None), tunnel)
}

/// With what the card does wrong from client to server, and back.
fn wired_by(faults: (Fault, Fault), tunnel: Option<Tunnel>) -> Option<Wired> {
    let lab = Lab::new(0)?;
    let open = |ns: &str| Netns::of_pid(lab.pid(ns), ns).unwrap();
    let nic = match ModelNic::both_ways(&open("client"), &open("server"), faults) {
        Ok(nic) => nic,
        Err(error) => {
            cables::skip(&format!("no TAP device: {error}"));
            return None;
        }
    };
    for (ns, host, far) in [("client", 1, 2), ("server", 2, 1)] {
        lab.ip(ns, "link set eth0 mtu 1500");
        lab.ip(ns, &format!("addr add 198.18.0.{host}/24 dev eth0"));
        lab.ip(ns, &format!("addr add fd00::{host}/64 dev eth0 nodad"));
        lab.ip(ns, "link set eth0 up");
        let Some(Tunnel { outer, sums, port }) = tunnel else { continue };
        let net = if outer == 4 { "198.18.0." } else { "fd00::" };
        let ends = format!("local {net}{host} remote {net}{far} dev eth0 dstport {port} {sums}");
        lab.ip(ns, &format!("link add vx0 type vxlan id 42 {ends}"));
        lab.ip(ns, &format!("link set vx0 mtu {}", 1500 - overhead(outer)));
        lab.ip(ns, &format!("addr add 198.18.9.{host}/24 dev vx0"));
        lab.ip(ns, &format!("addr add fd09::{host}/64 dev vx0 nodad"));
        lab.ip(ns, "link set vx0 up");
    }
    let around = tunnel.map_or(0, |tunnel| overhead(tunnel.outer));
    let hop = |ns: &str, name: &str, direction, overhead| Hop {
        at: LinkRef { ns: NsId::new(ns), name: name.parse().unwrap() },
        direction,
        mtu: if name == "vx0" { 1500 - around } else { 1500 },
        overhead,
        beside: Vec::new(),
    };
    let (mut hops, net, net6) = match tunnel {
        Some(_) => (vec![hop("client", "vx0", Direction::Tx, 0)], "198.18.9", "fd09"),
        None => (Vec::new(), "198.18.0", "fd00"),
    };
    hops.push(hop("client", "eth0", Direction::Tx, around));
    hops.push(hop("server", "eth0", Direction::Rx, around));
    hops.extend(tunnel.map(|_| hop("server", "vx0", Direction::Rx, 0)));
    let (from, to) = (format!("{net}.1").parse().unwrap(), format!("{net}.2").parse().unwrap());
    let flow =
        Flow { from: "client".into(), to: "server".into(), from_address: from, to_address: to, mtu: 1500 - around };
    let path = FlowPath { flow, from_ns: NsId::new("client"), to_ns: NsId::new("server"), hops };
    let addresses = vec![(from, to), (format!("{net6}::1").parse().unwrap(), format!("{net6}::2").parse().unwrap())];
    let target = Target { path, addresses, userspace_ovs: BTreeSet::new(), tunnels: Default::default() };
    let mut world = World::new("model");
    for ns in ["client", "server"] {
        world.insert(NsId::new(ns), open(ns));
    }
    Some(Wired { world, target, nic, _lab: lab })
}

/// Bytes of VXLAN around a packet: Ethernet, IP, UDP and its own header.
fn overhead(outer: u8) -> u32 {
    if outer == 4 { 50 } else { 70 }
}

fn verify(wired: &Wired, only: &[&str]) -> Vec<OffloadCheck> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model-{}", std::process::id()));
    let root = StateRoot(folder.join(format!("{:?}", std::thread::current().id())));
    let store = root.lock("model").unwrap();
    let only = only.iter().map(|name| (*name).to_owned()).collect();
    let (never, targets) = (AtomicBool::new(false), std::slice::from_ref(&wired.target));
    let verified = drive::verify(&wired.world, targets, &only, 1, Loans::new(&store), &never, &mut |_| {}).unwrap();
    assert!(verified.left.is_empty(), "{:?}", verified.left);
    store.remove().unwrap();
    verified.checks
}

fn show(checks: &[OffloadCheck]) -> String {
    let line = |check: &OffloadCheck| {
        let device = check.device.as_deref().unwrap_or(&check.path);
        format!("{device} {} {}: {}\n", check.check, check.verdict.text(), check.evidence)
    };
    checks.iter().map(line).collect()
}

/// A fault, over which wire it is looked for, the check that must catch it, and as what.
struct Case {
    name: &'static str,
    fault: Fault,
    tunnel: Option<Tunnel>,
    check: &'static str,
    verdict: OffloadVerdict,
    kind: Option<Kind>,
}

const fn case(name: &'static str, fault: Fault, check: &'static str, verdict: OffloadVerdict, kind: Kind) -> Case {
    Case { name, fault, tunnel: None, check, verdict, kind: Some(kind) }
}

const fn in_tunnel(name: &'static str, fault: Fault, kind: Kind) -> Case {
    Case { tunnel: Some(TUNNEL_SUMS), ..case(name, fault, "tunnel-tso", OffloadVerdict::Corrupt, kind) }
}

const TX_EDGES: &str = edges::NAMES[0];
const RX_EDGES: &str = edges::NAMES[1];

const CASES: &[Case] = &[
    Case { name: "none", fault: Fault::None, tunnel: None, check: "", verdict: OffloadVerdict::Pass, kind: None },
    Case {
        name: "none, VXLAN",
        fault: Fault::None,
        tunnel: Some(TUNNEL_SUMS),
        check: "",
        verdict: OffloadVerdict::Pass,
        kind: None,
    },
    case("partial checksum leaked", Fault::PartialLeak, "tx-checksum", OffloadVerdict::Leak, Kind::PartialChecksum),
    case("wrong checksum", Fault::WrongChecksum, "tx-checksum", OffloadVerdict::Corrupt, Kind::WrongChecksum),
    Case {
        tunnel: Some(TUNNEL_PLAIN),
        ..case(
            "wrong inner checksum",
            Fault::WrongInner,
            "tunnel-tso",
            OffloadVerdict::Corrupt,
            Kind::WrongInnerChecksum,
        )
    },
    Case {
        tunnel: Some(TUNNEL_SUMS),
        ..case(
            "wrong outer checksum",
            Fault::WrongOuter,
            "tunnel-tso",
            OffloadVerdict::Corrupt,
            Kind::WrongOuterChecksum,
        )
    },
    case("segments duplicated", Fault::Duplicate, "tso", OffloadVerdict::Corrupt, Kind::Duplicated),
    case("segments missing", Fault::Missing, "tso", OffloadVerdict::Corrupt, Kind::MissingSegment),
    case("segments reordered", Fault::Reorder, "tso", OffloadVerdict::Corrupt, Kind::Reordered),
    case("wrong IP-ID", Fault::WrongIpId, "tso", OffloadVerdict::Corrupt, Kind::WrongIpId),
    case("PSH on each segment", Fault::PushOnEach, "tso", OffloadVerdict::Corrupt, Kind::PushOnEach),
    case("IP-ID stays without DF", Fault::FixedIpId, "tso", OffloadVerdict::Corrupt, Kind::WrongIpId),
    case("IP-ID stays with DF, unsaid", Fault::FixedIpIdUnsaid, "tso", OffloadVerdict::Corrupt, Kind::WrongIpId),
    case("FIN on the first segment", Fault::FinOnFirst, "tso", OffloadVerdict::Corrupt, Kind::FinOnEach),
    case("CWR on each segment", Fault::CwrOnEach, "tso", OffloadVerdict::Corrupt, Kind::CwrOnEach),
    case("time stamps lost", Fault::OptionsLost, "tso", OffloadVerdict::Corrupt, Kind::OptionsChanged),
    in_tunnel("VNI changed", Fault::VniChanged, Kind::VniChanged),
    in_tunnel("outer source port counts up", Fault::OuterPort, Kind::OuterPort),
    in_tunnel("outer ECN lost", Fault::OuterEcnLost, Kind::OuterChanged),
    in_tunnel("wrong outer IP-ID", Fault::OuterIpId, Kind::WrongOuterIpId),
    in_tunnel("wrong inner IP-ID", Fault::InnerIpId, Kind::WrongIpId),
    in_tunnel("wrong inner length", Fault::InnerLength, Kind::WrongLength),
    Case { check: ecn::NAME, ..in_tunnel("mark of congestion lost", Fault::MarkLost, Kind::OuterChanged) },
    case("zero sum sent as none", Fault::ZeroSum, TX_EDGES, OffloadVerdict::Corrupt, Kind::ZeroChecksum),
    case("sums from before the options", Fault::NoOptions, TX_EDGES, OffloadVerdict::Corrupt, Kind::WrongChecksum),
    case("padding is summed too", Fault::PaddingSummed, RX_EDGES, OffloadVerdict::Drop, Kind::Lost),
    case("DATA_VALID at the edges", Fault::ValidOnCorrupt, RX_EDGES, OffloadVerdict::Corrupt, Kind::ValidOnCorrupt),
    case("bundle cut short at 32", Fault::ShortBundle, bundles::NAME, OffloadVerdict::Drop, Kind::MissingSegment),
    case("bundle sent uncut", Fault::UncutBundle, bundles::NAME, OffloadVerdict::Corrupt, Kind::OverMerged),
    case("last datagram filled up", Fault::FilledBundle, bundles::NAME, OffloadVerdict::Corrupt, Kind::PayloadChanged),
    case("oversize frame", Fault::Oversize, "tso", OffloadVerdict::Leak, Kind::Oversize),
    case("VLAN tag lost", Fault::TagLost, "vlan", OffloadVerdict::Corrupt, Kind::TagLost),
    case("VLAN tag changed", Fault::TagChanged, "vlan", OffloadVerdict::Corrupt, Kind::TagChanged),
    case("VLAN tags swapped", Fault::TagsSwapped, "vlan", OffloadVerdict::Corrupt, Kind::TagOrder),
    case("802.1ad becomes 802.1Q", Fault::ServiceTag, "vlan", OffloadVerdict::Corrupt, Kind::TagProtocol),
    case("VLAN priority lost", Fault::PriorityLost, "vlan", OffloadVerdict::Corrupt, Kind::TagPriority),
    case("VLAN DEI lost", Fault::DeiLost, "vlan", OffloadVerdict::Corrupt, Kind::TagDei),
    case("1 in 3 tagged frames dropped", Fault::TaggedDropped, "vlan", OffloadVerdict::Drop, Kind::Lost),
    case(
        "DATA_VALID on a corrupt frame",
        Fault::ValidOnCorrupt,
        "rx-verification",
        OffloadVerdict::Corrupt,
        Kind::ValidOnCorrupt,
    ),
    case("payload bit flipped", Fault::FlippedBit, "integrity", OffloadVerdict::Corrupt, Kind::PayloadChanged),
    case("1 in 1000 dropped", Fault::DropOneInThousand, "integrity", OffloadVerdict::Drop, Kind::Lost),
    case("GRO over-merging", Fault::OverMerge, "merge-rules", OffloadVerdict::Corrupt, Kind::OverMerged),
    case(
        "UDP GRO over-merging",
        Fault::OverMergeDatagrams,
        "merge-rules-udp",
        OffloadVerdict::Corrupt,
        Kind::OverMerged,
    ),
];

/// The row that a case is about; nothing where it cannot be tried here.
fn run(case: &Case) -> Result<Option<String>, String> {
    let Some(wired) = wired(case.fault, case.tunnel) else { return Ok(None) };
    if case.tunnel.is_some() && !wired.nic.tunnels {
        cables::skip("this kernel's TAP takes no tunnels uncut");
        return Ok(None);
    }
    let only: &[&str] = match case.check {
        "" => &[],
        "integrity" | "vlan" | "rx-verification" | "merge-rules" | "merge-rules-udp" => &["tx-checksum"],
        check => &[check],
    };
    let began = std::time::Instant::now();
    let checks = verify(&wired, only);
    eprintln!("{}: {:.1} s", case.name, began.elapsed().as_secs_f64());
    let is_right = |check: &&OffloadCheck| {
        check.check == case.check
            && check.verdict == case.verdict
            && case.kind.is_none_or(|kind| check.findings.iter().any(|finding| finding.kind == kind))
    };
    if case.kind.is_none() {
        if checks.iter().all(|check| !check.verdict.is_broken()) && checks[0].verdict == OffloadVerdict::Pass {
            return Ok(Some(format!("| {:<29} | {:<7} | {:<15} | nothing |", case.name, "PASS", "all")));
        }
    } else if let Some(row) = checks.iter().find(is_right) {
        assert!(row.cure.is_some(), "{row:?}");
        let (kind, verdict) = (case.kind.map_or("", Kind::text), row.verdict.text());
        return Ok(Some(format!("| {:<29} | {verdict:<7} | {:<15} | {kind} |", case.name, case.check)));
    }
    let (expected, seen) = (case.verdict.text(), show(&checks));
    Err(format!("{} is not named {expected} {:?} by {}:\n{seen}", case.name, case.kind, case.check))
}

#[test]
fn each_fault_is_caught_and_named_and_a_right_card_passes() {
    let mut table = format!("| {:<29} | {:<7} | {:<15} | named |\n", "fault", "verdict", "check");
    table += "|---|---|---|---|\n";
    let (mut rows, mut wrong) = (Vec::new(), String::new());
    for case in CASES {
        match run(case) {
            Ok(row) => rows.push(row),
            Err(text) => wrong += &text,
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    if rows.iter().all(Option::is_none) {
        return;
    }
    for row in rows.iter().flatten() {
        table += &(row.clone() + "\n");
    }
    print!("{table}");
    if rows.iter().any(Option::is_none) {
        return;
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/offload.md")).unwrap();
    assert!(page.contains(&table), "docs/offload.md has another table of faults than this:\n{table}");
}

/// What is wrong on the way from server to client only is found there, and charged to nobody else.
#[test]
fn a_fault_on_the_way_back_is_charged_to_the_other_end() {
    const BACK: &str = "server -> client";
    let names = ["wrong checksum", "segments missing", "VLAN tag changed", "DATA_VALID on a corrupt frame"];
    let names = names.iter().chain(&["1 in 1000 dropped", "GRO over-merging"]);
    let mut wrong = String::new();
    for name in names {
        let case = CASES.iter().find(|case| case.name == *name).unwrap();
        let Some(wired) = wired_by((Fault::None, case.fault), None) else { return };
        let of_device = ["tx-checksum", "tso"].contains(&case.check);
        let checks = verify(&wired, &[if of_device { case.check } else { "tx-checksum" }]);
        let is_right = |check: &&OffloadCheck| {
            let at = if of_device { Some("server/eth0") } else { None };
            let named = check.findings.iter().any(|finding| Some(finding.kind) == case.kind);
            (check.check == case.check && check.path == BACK && check.device.as_deref() == at)
                && (check.verdict == case.verdict && named)
        };
        // Where acknowledgments have wrong checksums no stream gets anywhere: that is said of whole paths.
        let elsewhere = checks.iter().find(|check| {
            check.verdict.is_broken() && check.path != BACK && (case.check != "tx-checksum" || check.device.is_some())
        });
        if !checks.iter().any(|check| is_right(&check)) || elsewhere.is_some() {
            wrong += &format!("{name}, on the way back:\n{}", show(&checks));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// VXLAN over IPv4 and IPv6, with outer checksums and without, with IPv4 and IPv6 in it: a right card passes each of the eight,
/// one that is wrong is named in each where the fault can be.
fn over(tunnel: Tunnel, text: &str) {
    let mut wrong = String::new();
    for (fault, verdict, kind) in [
        (Fault::None, OffloadVerdict::Pass, None),
        (Fault::WrongInner, OffloadVerdict::Corrupt, Some(Kind::WrongInnerChecksum)),
        (Fault::WrongOuter, OffloadVerdict::Corrupt, Some(Kind::WrongOuterChecksum)),
    ] {
        if fault == Fault::WrongOuter && text.contains("without") {
            continue;
        }
        let Ok(seen) = cell(fault, tunnel, text, verdict, kind) else { return };
        wrong += &seen;
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn vxlan_over_ipv4_without_outer_checksums() {
    over(TUNNEL_PLAIN, "over IPv4 without outer checksums");
}

#[test]
fn vxlan_over_ipv4_with_outer_checksums() {
    over(TUNNEL_SUMS, "over IPv4 with outer checksums");
}

#[test]
fn vxlan_over_ipv6_without_outer_checksums() {
    over(Tunnel { outer: 6, sums: "udp6zerocsumtx udp6zerocsumrx", port: 4789 }, "over IPv6 without outer checksums");
}

#[test]
fn vxlan_over_ipv6_with_outer_checksums() {
    over(Tunnel { outer: 6, sums: "noudp6zerocsumtx", port: 4789 }, "over IPv6 with outer checksums");
}

/// A tunnel on a port of its own is looked into as any other.
#[test]
fn vxlan_on_another_port() {
    let tunnel = Tunnel { port: 4790, ..TUNNEL_SUMS };
    over(tunnel, "over IPv4 with outer checksums, UDP port 4790");
    for fault in [Fault::VniChanged, Fault::OuterPort] {
        let kind = if fault == Fault::OuterPort { Kind::OuterPort } else { Kind::VniChanged };
        let Ok(wrong) = cell(fault, tunnel, "", OffloadVerdict::Corrupt, Some(kind)) else { return };
        assert!(wrong.is_empty(), "{wrong}");
    }
}

/// The outer source port stands for the flow: a tunnel that has one for all lets no card spread them.
#[test]
fn flows_in_a_tunnel_come_by_different_ports() {
    for (sums, verdict, says) in [
        ("udpcsum", OffloadVerdict::Pass, "4 flows came by "),
        ("udpcsum srcport 40000 40001", OffloadVerdict::Ineffective, "all 4 flows come by one outer source port"),
    ] {
        let Some(wired) = wired(Fault::None, Some(Tunnel { sums, ..TUNNEL_SUMS })) else { return };
        let checks = verify(&wired, &["vlan-strip"]);
        let rows: Vec<_> = checks.iter().filter(|check| check.check == "tunnel-headers").collect();
        assert_eq!(rows.len(), 2, "each way: {}", show(&checks));
        for row in rows {
            assert!(row.verdict == verdict && row.evidence.contains(says), "{}", show(&checks));
        }
    }
}

/// What was seen where it is not as expected; an error where it cannot be tried here.
fn cell(fault: Fault, tunnel: Tunnel, text: &str, verdict: OffloadVerdict, kind: Option<Kind>) -> Result<String, ()> {
    let wired = wired(fault, Some(tunnel)).ok_or(())?;
    if !wired.nic.tunnels {
        cables::skip("this kernel's TAP takes no tunnels uncut");
        return Err(());
    }
    let began = std::time::Instant::now();
    let checks = verify(&wired, &["tunnel-tso", "tunnel-tso6"]);
    eprintln!("{fault:?} {text}: {:.1} s", began.elapsed().as_secs_f64());
    let is_right = |name: &str| {
        checks.iter().any(|check| {
            let named = kind.is_none_or(|kind| check.findings.iter().any(|finding| finding.kind == kind));
            let told = kind.is_some() || check.evidence.contains(text);
            let at = check.device.as_deref() == Some("client/eth0");
            at && check.check == name && check.verdict == verdict && named && told
        })
    };
    let all = is_right("tunnel-tso") && is_right("tunnel-tso6");
    Ok(if all { String::new() } else { format!("{fault:?} {text}:\n{}", show(&checks)) })
}
