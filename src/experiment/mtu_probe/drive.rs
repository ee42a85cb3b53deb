//! Runs the search over real sockets, and gathers what explains its outcome.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    Action, Found, Known, Search, Stop,
    classify::{Seen, classify},
    place::{self, Trace},
    tcp,
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::{
        self,
        path_probe::{Means, Prober, Sample},
    },
    plan::{
        desired::{Desired, FlowPath, Hop, LinkRef, NsId},
        path::Network,
    },
    record::mtu::{MtuDirection, MtuHop, MtuMeans, MtuTcp},
    remote::RemoteError,
};

/// How long the first packet may take: neighbours are resolved meanwhile.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// And later ones, at least; otherwise a multiple of the round trip that was seen.
pub(super) const LEAST_WAIT: Duration = Duration::from_millis(60);
const TRIPS: u32 = 8;
/// ICMP of hosts that are not ours is limited to one a second after the first six (`icmp_ratelimit`).
pub(super) const FOREIGN_WAIT: Duration = Duration::from_millis(1100);
const MOST_ROUTERS: u8 = 30;
/// What every IPv4 host must take, and every link of IPv6.
const FLOOR: (u32, u32) = (576, 1280);
/// The length field of IPv4.
pub(super) const LARGEST: u32 = 65_535;

/// Why a probe could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A namespace or the kernel refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The other host, or the way to it.
    #[error(transparent)]
    Remote(RemoteError),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl From<RemoteError> for ProbeError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Interrupted => Self::Interrupted,
            error => Self::Remote(error),
        }
    }
}

impl From<kernel::Error> for ProbeError {
    fn from(error: kernel::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Probes both directions of a flow in a topology that is up.
pub fn flow(
    world: &World,
    desired: &Desired,
    path: &FlowPath,
    interrupt: &AtomicBool,
) -> Result<[MtuDirection; 2], ProbeError> {
    let flow = &path.flow;
    let (near, far) = ((world.get(&path.from_ns)?, flow.from_address), (world.get(&path.to_ns)?, flow.to_address));
    let network = Network::new(desired);
    let backward = network.hops(&path.to_ns, flow.from_address).unwrap_or_default();
    let one = |names: (&str, &str), from, to, hops: &[Hop]| {
        direction(world, desired, names, (from, to), (flow.mtu > 0).then_some(flow.mtu), hops, interrupt)
    };
    let (mut there, seen_there) = one((&flow.from, &flow.to), near, far, &path.hops)?;
    let (mut back, seen_back) = one((&flow.to, &flow.from), far, near, &backward)?;
    let mut views = (None, None);
    if there.largest.is_some() && back.largest.is_some() {
        match tcp::view(near, far)? {
            Ok((client, server)) => views = (Some(client), Some(server)),
            Err(why) => there.findings.push(no_tcp(why)),
        }
    }
    conclude(&mut there, seen_there, views.0, desired);
    conclude(&mut back, seen_back, views.1, desired);
    Ok([there, back])
}

fn no_tcp(why: String) -> crate::record::mtu::MtuFinding {
    crate::record::mtu::MtuFinding {
        verdict: crate::record::mtu::MtuVerdict::TcpStalls,
        fault: true,
        text: format!("datagrams pass and TCP does not connect: {why}"),
        at: None,
        evidence: Vec::new(),
        fix: Vec::new(),
    }
}

/// What a direction's findings rest on.
struct Gathered {
    found: Found,
    large: Option<Trace>,
    passing: Option<Trace>,
    local: Option<(String, u32)>,
    offender: Option<LinkRef>,
}

type End<'a> = (&'a kernel::Netns, IpAddr);

fn direction(
    world: &World,
    desired: &Desired,
    names: (&str, &str),
    (from, to): (End<'_>, End<'_>),
    declared: Option<u32>,
    hops: &[Hop],
    interrupt: &AtomicBool,
) -> Result<(MtuDirection, Gathered), ProbeError> {
    let mut prober = Prober::between(from, to)?;
    let guesses = mtus(world, hops)?;
    let known = Known { floor: floor(to.1), ceiling: LARGEST, declared, guesses };
    let (found, after) =
        search(|size, wait| Ok(prober.probe(size, wait)?), known, (FIRST_WAIT, LEAST_WAIT), interrupt)?;
    let large = match found.stopped {
        Some((size, _)) if !hops.is_empty() => Some(place::trace(world, hops, &mut prober, size, true)?),
        _ => None,
    };
    // Only a tunnel cuts what its own packets carry; a router that cuts packets without DF does what it is there for.
    let tunnelled = hops.iter().any(|hop| hop.overhead > 0);
    let whole = found.largest.filter(|_| tunnelled).map(|largest| declared.unwrap_or(largest));
    let passing = whole.map(|size| place::trace(world, hops, &mut prober, size, false)).transpose()?;
    let offender = match found.stopped {
        Some((_, Stop::Icmp { offender: Some(address), .. })) => holder(desired, address),
        _ => None,
    };
    let local = prober.local().and_then(|address| interface(from.0, address));
    let direction = MtuDirection {
        from: names.0.to_owned(),
        to: names.1.to_owned(),
        from_address: from.1.to_string(),
        to_address: to.1.to_string(),
        declared,
        largest: found.largest,
        stopped_at: found.stopped.map(|(size, _)| size),
        means: MtuMeans::Receiver,
        packets: found.packets,
        after_us: after.map(|after| after.as_secs_f64() * 1e6),
        hops: large.iter().flat_map(|trace| &trace.hops).map(hop_record).collect(),
        tcp: None,
        findings: Vec::new(),
        ok: false,
    };
    Ok((direction, Gathered { found, large, passing, local, offender }))
}

fn conclude(direction: &mut MtuDirection, seen: Gathered, tcp: Option<MtuTcp>, desired: &Desired) {
    let seen = Seen {
        declared: direction.declared,
        found: &seen.found,
        large: seen.large.as_ref(),
        passing: seen.passing.as_ref(),
        local: seen.local,
        target: direction.to_address.parse().ok(),
        offender: seen.offender,
        last_router: None,
        routers: None,
        tcp: tcp.as_ref(),
        ip_header: if direction.to_address.contains(':') { 40 } else { 20 },
        desired: Some(desired),
    };
    let mut findings = classify(&seen);
    findings.append(&mut direction.findings);
    direction.ok = findings.iter().all(|finding| !finding.fault);
    (direction.findings, direction.tcp) = (findings, tcp);
}

/// Probes a host that is not ours, one way, from the calling process's namespace.
pub fn host(name: &str, to: IpAddr, interrupt: &AtomicBool) -> Result<MtuDirection, ProbeError> {
    let here = kernel::Netns::current(NsId::SELF)?;
    let (mut prober, means) = opener(to)?;
    let local = prober.local().and_then(|address| interface(&here, address));
    let guesses = local.iter().map(|(_, mtu)| *mtu).chain([1500, 9000]).collect();
    let known = Known { floor: floor(to), ceiling: LARGEST, declared: None, guesses };
    let (first, least) =
        if means == Means::ClosedPort { (FOREIGN_WAIT, FOREIGN_WAIT) } else { (FOREIGN_WAIT, LEAST_WAIT) };
    let (found, after) = search(|size, wait| Ok(prober.probe(size, wait)?), known, (first, least), interrupt)?;
    let (mut last_router, mut routers) = (None, None);
    if let (Some(largest), Some((size, Stop::Silence))) = (found.largest, found.stopped) {
        (routers, last_router) = walked_by(&mut prober, (floor(to).min(largest), size), interrupt)?;
    }
    let mut direction = MtuDirection {
        from: "here".to_owned(),
        to: name.to_owned(),
        from_address: prober.local().map(|address| address.to_string()).unwrap_or_default(),
        to_address: to.to_string(),
        declared: None,
        largest: found.largest,
        stopped_at: found.stopped.map(|(size, _)| size),
        means: if means == Means::Echo { MtuMeans::Echo } else { MtuMeans::ClosedPort },
        packets: found.packets,
        after_us: after.map(|after| after.as_secs_f64() * 1e6),
        hops: Vec::new(),
        tcp: None,
        findings: Vec::new(),
        ok: false,
    };
    let seen = Seen {
        declared: None,
        found: &found,
        large: None,
        passing: None,
        local,
        target: Some(to),
        offender: None,
        last_router,
        routers,
        tcp: None,
        ip_header: if to.is_ipv4() { 20 } else { 40 },
        desired: None,
    };
    direction.findings = classify(&seen);
    if let (Means::Echo, Some((size, Stop::Silence)), Some(finding)) =
        (means, found.stopped, direction.findings.first_mut())
    {
        finding.evidence.push(match one_way(to, size)? {
            true => format!("a datagram of {size} bytes arrives: it is the echo's way back that is narrow"),
            false => "an echo comes back as large as it went: either way may be the narrow one".to_owned(),
        });
    }
    direction.ok = direction.findings.iter().all(|finding| !finding.fault);
    Ok(direction)
}

/// Echo where it is allowed and answered, a closed port otherwise.
fn opener(to: IpAddr) -> Result<(Prober, Means), ProbeError> {
    if let Ok(mut prober) = Prober::towards(to, Means::Echo)
        && matches!(prober.probe(floor(to), FOREIGN_WAIT), Ok(Sample::Arrived { .. }))
    {
        return Ok((prober, Means::Echo));
    }
    Ok((Prober::towards(to, Means::ClosedPort)?, Means::ClosedPort))
}

/// Does a datagram of this size reach the host?
fn one_way(to: IpAddr, size: u32) -> Result<bool, ProbeError> {
    let mut prober = Prober::towards(to, Means::ClosedPort)?;
    for _ in 0..2 {
        if let Sample::Arrived { .. } = prober.probe(size, FOREIGN_WAIT)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Routers until the target, and the last one that answered with its number.
pub(super) type Walked = (Option<u8>, Option<(u8, IpAddr)>);

/// Routers that a small packet crosses, and the last that a large one expires at; `probe` sends a packet of a size with a time to
/// live.
pub(super) fn walked(
    mut probe: impl FnMut(u32, u8) -> Result<Sample, ProbeError>,
    (small, large): (u32, u32),
    interrupt: &AtomicBool,
) -> Result<Walked, ProbeError> {
    Ok((walk(&mut probe, small, interrupt)?.0, walk(&mut probe, large, interrupt)?.1))
}

/// The same by packets from here.
pub(super) fn walked_by(prober: &mut Prober, sizes: (u32, u32), interrupt: &AtomicBool) -> Result<Walked, ProbeError> {
    let probe = |size, ttl| {
        prober.set_ttl(Some(ttl))?;
        Ok(prober.probe(size, FOREIGN_WAIT)?)
    };
    let walked = walked(probe, sizes, interrupt)?;
    prober.set_ttl(None)?;
    Ok(walked)
}

/// Walks the time to live: how many routers until the target answers, and the last router that did.
fn walk(
    probe: &mut impl FnMut(u32, u8) -> Result<Sample, ProbeError>,
    size: u32,
    interrupt: &AtomicBool,
) -> Result<Walked, ProbeError> {
    let mut last = None;
    let mut reached = None;
    'hops: for ttl in 1..=MOST_ROUTERS {
        for _ in 0..2 {
            if interrupt.load(Relaxed) {
                return Err(ProbeError::Interrupted);
            }
            match probe(size, ttl)? {
                Sample::Expired { router: Some(router) } => {
                    last = Some((ttl, router));
                    continue 'hops;
                }
                Sample::Arrived { .. } => {
                    reached = Some(ttl - 1);
                    break 'hops;
                }
                _ => {}
            }
        }
        break;
    }
    Ok((reached, last))
}

/// Searches with a packet of a size and the time that it may take; the first may take longer than the least of later ones.
pub(super) fn search(
    mut probe: impl FnMut(u32, Duration) -> Result<Sample, ProbeError>,
    known: Known,
    (first, least): (Duration, Duration),
    interrupt: &AtomicBool,
) -> Result<(Found, Option<Duration>), ProbeError> {
    let (mut search, mut sample, mut trip) = (Search::new(known), None, None::<Duration>);
    loop {
        let size = match search.next(sample) {
            Action::Send { size } => size,
            Action::Done(found) => return Ok((found, trip)),
        };
        if interrupt.load(Relaxed) {
            return Err(ProbeError::Interrupted);
        }
        let wait = trip.map_or(first, |trip| (trip * TRIPS).clamp(least, first.max(least)));
        let came = probe(size, wait)?;
        if let Sample::Arrived { after } = came {
            trip = Some(after);
        }
        sample = Some(came);
    }
}

pub(super) fn floor(to: IpAddr) -> u32 {
    if to.is_ipv4() { FLOOR.0 } else { FLOOR.1 }
}

/// Where the answer may change: the MTUs of the hops as they are now, without what encapsulation takes there.
fn mtus(world: &World, hops: &[Hop]) -> Result<Vec<u32>, ProbeError> {
    let mut mtus = Vec::new();
    let mut namespaces: Vec<&NsId> = hops.iter().map(|hop| &hop.at.ns).collect();
    namespaces.sort();
    namespaces.dedup();
    for id in namespaces {
        let links = kernel::observe(world.get(id)?, &kernel::Wanted::links_only())?.links;
        let here = hops.iter().filter(|hop| hop.at.ns == *id);
        mtus.extend(here.filter_map(|hop| Some(links.get(&hop.at.name)?.mtu.saturating_sub(hop.overhead))));
    }
    mtus.sort_unstable();
    mtus.dedup();
    Ok(mtus)
}

fn holder(desired: &Desired, address: IpAddr) -> Option<LinkRef> {
    let holds = |link: &&crate::plan::desired::Link| link.addresses.iter().any(|net| net.addr() == address);
    desired.links.iter().find(holds).map(|link| link.at.clone())
}

/// Name and MTU of the interface that holds an address.
pub(super) fn interface(ns: &kernel::Netns, address: IpAddr) -> Option<(String, u32)> {
    let wanted = kernel::Wanted { addresses: true, ..kernel::Wanted::links_only() };
    let links = kernel::observe(ns, &wanted).ok()?.links;
    let found = links.iter().find(|(_, link)| link.addresses.iter().any(|net| net.addr() == address));
    found.map(|(name, link)| (name.to_string(), link.mtu))
}

fn hop_record(seen: &place::HopSeen) -> MtuHop {
    MtuHop {
        at: seen.hop.at.to_string(),
        direction: match seen.hop.direction {
            crate::plan::desired::Direction::Tx => "tx".to_owned(),
            crate::plan::desired::Direction::Rx => "rx".to_owned(),
        },
        mtu: seen.mtu,
        overhead: seen.hop.overhead,
        counted: seen.counted,
        dropped: seen.dropped,
    }
}
