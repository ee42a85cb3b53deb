//! From what was seen of one direction to findings with evidence and cure. Pure.

use std::net::IpAddr;

use super::{
    Found, SLACK, Stop,
    place::{BURST, HopSeen, Trace},
};
use crate::{
    plan::desired::{Desired, Direction, LinkRef, NsOrigin},
    record::mtu::{MtuFinding, MtuTcp, MtuVerdict},
};

/// A segment is bound to half of the peer's largest window so far (`tcp_bound_to_half_wnd()`), which is 64 KiB at most in a handshake and half of
/// that with a small buffer: what is longer than this, as on loopback, is no matter of the way.
const HALF_WINDOW: u32 = 16 << 10;

/// All that was seen of one direction.
#[derive(Debug)]
pub struct Seen<'a> {
    /// What the topology declares.
    pub declared: Option<u32>,
    /// Outcome of the search.
    pub found: &'a Found,
    /// A burst of packets that are too large, where the hops are known.
    pub large: Option<&'a Trace>,
    /// A burst of packets as large as declared without DF, where a tunnel is on the way.
    pub passing: Option<&'a Trace>,
    /// The interface that the sender's packets leave by, and its MTU.
    pub local: Option<(String, u32)>,
    /// Destination address.
    pub target: Option<IpAddr>,
    /// Interface that holds the address of the router that objected.
    pub offender: Option<LinkRef>,
    /// Last router that answered for a large packet, with its number, where TTLs were walked.
    pub last_router: Option<(u8, IpAddr)>,
    /// Routers until the target, as small packets say.
    pub routers: Option<u8>,
    /// TCP at the sender.
    pub tcp: Option<&'a MtuTcp>,
    /// IP header of the path, bytes.
    pub ip_header: u32,
    /// For commands that name a namespace.
    pub desired: Option<&'a Desired>,
}

/// Names everything, the most important first.
pub fn classify(seen: &Seen<'_>) -> Vec<MtuFinding> {
    let mut findings = vec![size(seen)];
    findings.extend(fragmentation(seen));
    findings.extend(tcp(seen));
    findings
}

fn finding(verdict: MtuVerdict, fault: bool, text: String) -> MtuFinding {
    MtuFinding { verdict, fault, text, at: None, evidence: Vec::new(), fix: Vec::new() }
}

fn size(seen: &Seen<'_>) -> MtuFinding {
    let packets = seen.found.packets;
    let Some(largest) = seen.found.largest else { return unreachable(seen) };
    let stopped = seen.found.stopped;
    let mut evidence = vec![match stopped {
        Some((size, stop)) => format!("{largest} bytes arrive, {size} do not: {} ({packets} packets)", words(stop)),
        None => format!("{largest} bytes arrive, and larger ones were not tried ({packets} packets)"),
    }];
    let Some((above, stop)) = stopped else {
        let mut one = finding(MtuVerdict::Measured, false, format!("packets of up to {largest} bytes pass"));
        one.evidence = evidence;
        return judged(one, seen, largest);
    };
    if let Some(declared) = seen.declared.filter(|&mtu| (mtu..=mtu + SLACK).contains(&largest)) {
        let mut one = finding(MtuVerdict::AsDeclared, false, format!("MTU {declared}, as declared"));
        one.evidence = evidence;
        return one;
    }
    let mut one = match stop {
        Stop::Local { mtu } => local(seen, mtu.unwrap_or(largest)),
        Stop::Icmp { offender, mtu } => icmp(seen, offender, mtu),
        Stop::NoBuffer | Stop::Silence | Stop::Unreachable { .. } => silent(seen, above, stop),
    };
    evidence.append(&mut one.evidence);
    one.evidence = evidence;
    judged(one, seen, largest)
}

/// Is it a fault, and do all the same more than declared pass?
fn judged(mut one: MtuFinding, seen: &Seen<'_>, largest: u32) -> MtuFinding {
    match seen.declared {
        Some(declared) if largest > declared + SLACK => {
            one.verdict = MtuVerdict::Larger;
            one.text = format!("packets of {largest} bytes pass, and MTU {declared} is declared");
            one.fix = vec![format!("declare mtu = {largest}, or lower an interface to {declared}")];
            one.fault = true;
        }
        Some(_) => one.fault = true,
        // Nothing is declared: what is refused aloud is no fault.
        None => one.fault = one.verdict.word().starts_with("BLACKHOLE"),
    }
    if seen.declared.is_none() && !one.fault && one.verdict == MtuVerdict::LocalMtu {
        one.verdict = MtuVerdict::Measured;
        one.fix.clear();
    }
    one
}

fn words(stop: Stop) -> String {
    match stop {
        Stop::Local { mtu: Some(mtu) } => format!("EMSGSIZE from the sender's own stack, MTU {mtu}"),
        Stop::Local { mtu: None } => "EMSGSIZE from the sender's own stack".to_owned(),
        Stop::Icmp { offender: Some(who), mtu } => format!("{who} says \"too big\", MTU {mtu}"),
        Stop::Icmp { offender: None, mtu } => format!("a router says \"too big\", MTU {mtu}"),
        Stop::NoBuffer => "ENOBUFS, the sender's own device dropped it".to_owned(),
        Stop::Unreachable { offender: Some(who) } => format!("{who} says \"unreachable\""),
        Stop::Unreachable { offender: None } => "no route".to_owned(),
        Stop::Silence => "nobody says so".to_owned(),
    }
}

fn local(seen: &Seen<'_>, mtu: u32) -> MtuFinding {
    let first = seen.large.and_then(|trace| trace.hops.first());
    let at = first.map(|hop| hop.hop.at.to_string()).or(seen.local.as_ref().map(|(name, _)| name.clone()));
    let place = at.clone().unwrap_or_else(|| "the sending interface".to_owned());
    let mut one = finding(MtuVerdict::LocalMtu, true, format!("{place} has MTU {mtu}{}", instead(seen)));
    one.fix.extend(first.and_then(|hop| set_mtu(seen, &hop.hop.at, seen.declared?)));
    one.fix.extend(apply(seen));
    one.at = at;
    one
}

fn icmp(seen: &Seen<'_>, offender: Option<IpAddr>, mtu: u32) -> MtuFinding {
    let who = match (&seen.offender, offender) {
        (Some(at), Some(address)) => format!("{at} ({address})"),
        (None, Some(address)) => address.to_string(),
        (Some(at), None) => at.to_string(),
        (None, None) => "a router".to_owned(),
    };
    let mut one = finding(
        MtuVerdict::IcmpTooBig,
        true,
        format!("{who} forwards packets of up to {mtu} bytes and says so: path MTU discovery works"),
    );
    // A tunnel answers in the name of whom the packet was for; the narrow interface is that below it.
    let below = |hop: &&HopSeen| hop.hop.overhead > 0 && hop.mtu.saturating_sub(hop.hop.overhead) <= mtu;
    if offender.is_some()
        && offender == seen.target
        && let Some(wire) = seen.large.and_then(|trace| trace.hops.iter().find(below))
    {
        one.text = format!(
            "the tunnel over {} takes packets of up to {mtu} bytes and says so, in the name of the packets' target",
            wire.hop.at
        );
        one.evidence
            .push(format!("{} has MTU {}, and encapsulation adds {}", wire.hop.at, wire.mtu, wire.hop.overhead));
        one.fix.extend(seen.declared.and_then(|declared| set_mtu(seen, &wire.hop.at, declared + wire.hop.overhead)));
        one.fix.extend(apply(seen));
        one.at = Some(wire.hop.at.to_string());
        return one;
    }
    // The narrow interface is the one that the router sends by, not the one whose address it answers from.
    let narrow = seen.large.and_then(|trace| {
        let of_router = |hop: &&HopSeen| seen.offender.as_ref().is_none_or(|at| at.ns == hop.hop.at.ns);
        trace.hops.iter().filter(|hop| hop.hop.direction == Direction::Tx).filter(of_router).find(|hop| hop.mtu <= mtu)
    });
    if let Some(hop) = narrow {
        one.evidence.push(format!("{} has MTU {}", hop.hop.at, hop.mtu));
        one.fix.extend(seen.declared.and_then(|declared| set_mtu(seen, &hop.hop.at, declared)));
    }
    one.at = narrow.map(|hop| hop.hop.at.to_string()).or(offender.map(|address| address.to_string()));
    one.fix.extend(apply(seen));
    if seen.declared.is_some() {
        one.fix.push(format!("or declare mtu = {mtu} for this path"));
    }
    one
}

/// Packets vanish: the first hop that counted fewer of them than were sent is behind the place.
fn silent(seen: &Seen<'_>, above: u32, stop: Stop) -> MtuFinding {
    let mut one = finding(MtuVerdict::Blackhole, true, format!("packets from {above} bytes on vanish"));
    let enough = u64::from(BURST) * 3 / 4;
    let missing = |trace: &Trace| trace.hops.iter().position(|hop| hop.counted < enough);
    if let Some((trace, at)) = seen.large.and_then(|trace| Some((trace, missing(trace)?))) {
        let (hop, before) = (&trace.hops[at], at.checked_sub(1).map(|before| &trace.hops[before]));
        let after = trace.hops.get(at + 1);
        one.evidence.push(counted(trace, at));
        let larger = |hop: &HopSeen| above + hop.hop.overhead > hop.mtu;
        // A veth refuses what its peer cannot take, so its own side counts the drop.
        let veth = match (hop.hop.direction, before) {
            (Direction::Tx, _) if hop.dropped >= enough || stop == Stop::NoBuffer => {
                after.filter(|peer| peer.hop.direction == Direction::Rx).map(|peer| (hop, peer))
            }
            (Direction::Rx, Some(before)) if before.hop.direction == Direction::Tx && larger(hop) => {
                Some((before, hop))
            }
            _ => None,
        };
        if let Some((near, far)) = veth.filter(|(near, far)| near.mtu != far.mtu) {
            one.verdict = MtuVerdict::VethMismatch;
            one.text = format!(
                "the pair {} (MTU {}) and {} (MTU {}) differs: packets from {above} bytes on vanish between them",
                near.hop.at, near.mtu, far.hop.at, far.mtu
            );
            one.evidence.push(format!(
                "of {BURST} packets {} dropped {} and {} dropped {}",
                near.hop.at, near.dropped, far.hop.at, far.dropped
            ));
            one.fix.extend(seen.declared.and_then(|declared| set_mtu(seen, &far.hop.at, declared)));
            one.at = Some(far.hop.at.to_string());
        } else if hop.hop.direction == Direction::Tx && larger(hop) {
            let inside = before.is_some_and(|before| before.hop.at.ns == hop.hop.at.ns);
            one.verdict = if hop.is_port { MtuVerdict::BridgePort } else { MtuVerdict::Blackhole };
            let what = if hop.is_port { "the bridge's port" } else { "the interface" };
            one.text = format!(
                "{what} {} has MTU {}: packets from {above} bytes on vanish there without a counter",
                hop.hop.at, hop.mtu
            );
            if inside && !hop.is_port {
                one.evidence.push(format!("{} forwards without a word: ICMP is filtered or off", hop.hop.at.ns));
            }
            let wanted = seen.declared.map(|declared| declared + hop.hop.overhead);
            one.fix.extend(wanted.and_then(|mtu| set_mtu(seen, &hop.hop.at, mtu)));
            one.at = Some(hop.hop.at.to_string());
        } else {
            let from = before.map_or_else(|| "the sender".to_owned(), |before| before.hop.at.to_string());
            one.text = format!("packets from {above} bytes on vanish between {from} and {}", hop.hop.at);
            one.at = Some(format!("{from} → {}", hop.hop.at));
            let narrow = trace.hops.iter().find(|hop| larger(hop));
            one.evidence.extend(narrow.map(|hop| format!("{} has MTU {}", hop.hop.at, hop.mtu)));
        }
    } else if let Some((number, router)) = seen.last_router {
        one.text = format!("packets from {above} bytes on vanish behind {router} (hop {number})");
        one.evidence
            .push(format!("with TTL {number} the large packet expires at {router}, with more nothing is heard"));
        one.evidence.extend(seen.routers.map(|count| format!("routers that small packets cross: {count}")));
        one.at = Some(format!("behind {router}"));
    } else if seen.routers.is_some() {
        one.text = format!("packets from {above} bytes on vanish before the first router answers");
        one.at = Some("the first link".to_owned());
    }
    one.fix.extend(apply(seen));
    one.fix.push("until then: sysctl net.ipv4.tcp_mtu_probing=1 at the sender, or an MSS clamp".to_owned());
    one
}

fn unreachable(seen: &Seen<'_>) -> MtuFinding {
    let text = match seen.found.stopped {
        Some((size, stop)) => format!("not even {size} bytes pass: {}", words(stop)),
        None => "nothing passes".to_owned(),
    };
    let mut one = finding(MtuVerdict::Unreachable, true, text);
    let enough = u64::from(BURST) * 3 / 4;
    if let Some(trace) = seen.large
        && let Some(at) = trace.hops.iter().position(|hop| hop.counted < enough)
    {
        one.evidence.push(counted(trace, at));
        one.at = Some(trace.hops[at].hop.at.to_string());
    }
    one.fix.extend(seen.desired.map(|desired| {
        let name = &desired.topology;
        format!("`netbench topo verify {name}` says what differs from the file")
    }));
    one
}

/// `of 24 packets client/eth0 tx counted 24, fabric/client-0 rx 24, fabric/server-0 tx 0`
fn counted(trace: &Trace, upto: usize) -> String {
    let word = |hop: &HopSeen| if hop.hop.direction == Direction::Tx { "tx" } else { "rx" };
    let near = &trace.hops[upto.saturating_sub(2)..=upto];
    let hops: Vec<String> = near.iter().map(|hop| format!("{} {} {}", hop.hop.at, word(hop), hop.counted)).collect();
    format!("of {BURST} packets counted: {}", hops.join(", "))
}

/// The tunnel's own packets are cut in pieces: it works, and costs.
fn fragmentation(seen: &Seen<'_>) -> Option<MtuFinding> {
    let (trace, largest) = (seen.passing?, seen.declared.or(seen.found.largest)?);
    let enough = u64::from(BURST) * 3 / 4;
    let (makes, made) = trace.fragments.iter().find(|(_, fragments)| fragments.created >= enough)?;
    let joins = trace.fragments.iter().find(|(_, fragments)| fragments.reassembled >= enough);
    let text = format!("packets of {largest} bytes without DF cross the tunnel, and {makes} sends each in fragments");
    let mut one = finding(MtuVerdict::Fragmentation, true, text);
    one.at = Some(makes.to_string());
    one.evidence.push(format!("FragCreates +{} in {makes} for {BURST} packets", made.created));
    one.evidence.extend(joins.map(|(ns, f)| format!("ReasmOKs +{} in {ns}", f.reassembled)));
    let wire = trace.hops.iter().filter(|hop| hop.hop.overhead > 0).min_by_key(|hop| hop.mtu);
    if let Some(wire) = wire {
        let room = wire.mtu.saturating_sub(wire.hop.overhead);
        one.evidence
            .push(format!("{} has MTU {}, and encapsulation adds {}", wire.hop.at, wire.mtu, wire.hop.overhead));
        one.fix.extend(set_mtu(seen, &wire.hop.at, largest + wire.hop.overhead));
        one.fix.push(format!("or an MTU of {room} inside the tunnel"));
    }
    Some(one)
}

fn tcp(seen: &Seen<'_>) -> Vec<MtuFinding> {
    let mut findings = Vec::new();
    let (Some(tcp), Some(largest)) = (seen.tcp, seen.found.largest) else { return findings };
    let headers = seen.ip_header + 20;
    if let (Some(received), Some(announced)) = (tcp.received, tcp.peer_announced) {
        // What the own path MTU allows bounds the MSS as well, and so does the peer's window.
        let expected = announced.min(tcp.pmtu.saturating_sub(headers)).min(HALF_WINDOW);
        if received + 1 < expected {
            let text =
                format!("the MSS of {announced} that was announced arrives as {received}: it is clamped on the way");
            let mut one = finding(MtuVerdict::MssClamp, seen.declared.is_some(), text);
            one.evidence.push(format!(
                "TCP sends segments of {} bytes, {} with headers",
                tcp.snd_mss,
                received + headers
            ));
            one.fix.push("look for TCPMSS or `tcp option maxseg` on the routers of the path".to_owned());
            findings.push(one);
        }
    }
    if tcp.pmtu + SLACK < largest {
        let text = format!("TCP believes in a path MTU of {}, and packets of {largest} bytes pass", tcp.pmtu);
        let mut one = finding(MtuVerdict::TcpPathMtu, seen.declared.is_some_and(|mtu| tcp.pmtu < mtu), text);
        one.evidence.push(format!("TCP_INFO: pmtu {}, snd_mss {}", tcp.pmtu, tcp.snd_mss));
        one.fix.push(
            "look for `mtu` at a route (`ip route`), or flush what was learned (`ip route flush cache`)".to_owned(),
        );
        findings.push(one);
    }
    if tcp.carried < tcp.sent {
        let text = format!("TCP connects, and of {} bytes {} arrive", tcp.sent, tcp.carried);
        let mut one = finding(MtuVerdict::TcpStalls, true, text);
        one.evidence.push(format!("segments of {} bytes at a path MTU of {}", tcp.snd_mss, tcp.pmtu));
        one.fix.push("sysctl net.ipv4.tcp_mtu_probing=1 lets TCP find a size that passes".to_owned());
        findings.push(one);
    }
    findings
}

fn instead(seen: &Seen<'_>) -> String {
    seen.declared.map(|mtu| format!(", not the declared {mtu}")).unwrap_or_default()
}

fn apply(seen: &Seen<'_>) -> Option<String> {
    let desired = seen.desired.filter(|_| seen.declared.is_some())?;
    Some(format!("or `netbench topo apply` of {}'s file, which sets what is declared", desired.topology))
}

/// The command that gives an interface this MTU.
fn set_mtu(seen: &Seen<'_>, at: &LinkRef, mtu: u32) -> Option<String> {
    let ns = seen.desired?.namespace(&at.ns)?;
    let name = &at.name;
    Some(match &ns.origin {
        NsOrigin::Own(place) => format!("ip -n {place} link set {name} mtu {mtu}"),
        NsOrigin::This => format!("ip link set {name} mtu {mtu}"),
        _ => format!("in {}: ip link set {name} mtu {mtu}", at.ns),
    })
}
