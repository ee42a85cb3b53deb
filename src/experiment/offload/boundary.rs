//! The boundary of a path: packets up to the declared MTU arrive, larger ones are refused, or dropped where it is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::checks::{Target, Way};
use crate::{
    apply::{ApplyError, world::World},
    experiment::mtu_probe::{
        SLACK,
        place::{BURST, HopSeen, Trace, trace},
    },
    kernel::{
        self,
        path_probe::{Prober, Sample},
    },
    plan::desired::{Direction, LinkRef},
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the check.
pub const NAME: &str = "mtu";
/// Bytes below the MTU and above it. Forwarding keeps room for a VLAN tag: that much more may pass.
const BELOW: [u32; 3] = [0, 1, 9];
const ABOVE: [u32; 3] = [1, SLACK + 1, 9];
/// How long the first packet may take: neighbours are resolved meanwhile.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long each later one may.
const WAIT: Duration = Duration::from_millis(150);
/// How long the absence of a larger one is waited for.
const ABSENT: Duration = Duration::from_millis(80);
const TRIES: u32 = 3;
/// Packets of a burst that must be missing, or counted, for a place to be named.
const ENOUGH: u64 = BURST as u64 * 3 / 4;
/// What every link of IPv6 must take.
const IPV6_LEAST: u32 = 1280;

/// What was seen of one family in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// 4 or 6.
    pub family: u8,
    /// Bytes of the IP packet, and what came of it.
    pub tried: Vec<(u32, Sample)>,
    /// What vanished without a word: a burst of the smallest size within the MTU, and one of the largest above it.
    pub within: Option<(u32, Trace)>,
    /// The same above it.
    pub above: Option<(u32, Trace)>,
    /// Interfaces that hold the addresses of routers that objected.
    pub holders: BTreeMap<IpAddr, LinkRef>,
}

/// The rows of both directions of each path that is not loopback.
///
/// # Errors
/// A namespace is not there, or a socket fails.
pub fn rows(world: &World, targets: &[Target]) -> Result<Vec<OffloadCheck>, ApplyError> {
    let mut rows = Vec::new();
    for target in targets.iter().filter(|target| !target.path.flow.to_address.is_loopback()) {
        for way in [target.way(false), target.way(true)] {
            rows.push(judge(&way, &seen(world, &way)?));
        }
    }
    Ok(rows)
}

fn seen(world: &World, way: &Way) -> Result<Vec<Seen>, ApplyError> {
    let mut all = Vec::new();
    for &(source, destination) in &way.addresses {
        if destination.is_ipv6() && way.mtu < IPV6_LEAST {
            continue;
        }
        let mut prober = Prober::between((world.get(&way.from)?, source), (world.get(&way.to)?, destination))?;
        let mut seen = Seen { family: if destination.is_ipv4() { 4 } else { 6 }, ..Seen::default() };
        for below in BELOW {
            let mut sample = Sample::Lost;
            for _ in 0..TRIES {
                sample = prober.probe(way.mtu - below, if below == BELOW[0] { FIRST_WAIT } else { WAIT })?;
                // A neighbour that did not answer in time does so the next time.
                if !is_silent(sample) && !matches!(sample, Sample::Unreachable { .. }) {
                    break;
                }
            }
            seen.tried.push((way.mtu - below, sample));
        }
        for above in ABOVE.map(|above| way.mtu + above).into_iter().filter(|size| *size <= 65_535) {
            let mut sample = prober.probe(above, ABSENT)?;
            if is_silent(sample) {
                sample = prober.probe(above, ABSENT)?;
            }
            seen.tried.push((above, sample));
        }
        let silent = |(_, sample): &&(u32, Sample)| is_silent(*sample);
        let (within, above) = (
            seen.tried.iter().filter(silent).map(|(size, _)| *size).filter(|size| *size <= way.mtu).min(),
            seen.tried.iter().filter(silent).map(|(size, _)| *size).filter(|size| *size > way.mtu).max(),
        );
        let mut traced = |size: Option<u32>| -> Result<Option<(u32, Trace)>, ApplyError> {
            size.map(|size| Ok((size, trace(world, &way.hops, &mut prober, size, true)?))).transpose()
        };
        (seen.within, seen.above) = (traced(within)?, traced(above)?);
        let objects = |(_, sample): &(u32, Sample)| match sample {
            Sample::TooBig { offender, .. } | Sample::Unreachable { offender } => *offender,
            _ => None,
        };
        if seen.tried.iter().any(|tried| objects(tried).is_some()) {
            seen.holders = holders(world, way)?;
        }
        all.push(seen);
    }
    Ok(all)
}

/// Who has which address, of the namespaces of a way.
fn holders(world: &World, way: &Way) -> Result<BTreeMap<IpAddr, LinkRef>, ApplyError> {
    let mut all = BTreeMap::new();
    for ns in way.hops.iter().map(|hop| &hop.at.ns).collect::<BTreeSet<_>>() {
        let wanted = kernel::Wanted { addresses: true, ..kernel::Wanted::links_only() };
        for (name, link) in kernel::observe(world.get(ns)?, &wanted)?.links {
            let at = LinkRef { ns: ns.clone(), name };
            all.extend(link.addresses.iter().map(|net| (net.addr(), at.clone())));
        }
    }
    Ok(all)
}

/// Does nobody tell the sender in a way that it can act on?
fn is_silent(sample: Sample) -> bool {
    matches!(sample, Sample::Lost | Sample::NoBuffer | Sample::Expired { .. })
}

/// What one family says.
struct Said {
    verdict: OffloadVerdict,
    text: String,
    at: Option<LinkRef>,
    cure: Option<String>,
}

/// From what was seen to the row of a direction.
pub fn judge(way: &Way, seen: &[Seen]) -> OffloadCheck {
    let worst = |verdict: &OffloadVerdict| match verdict {
        OffloadVerdict::Blackhole => 0,
        OffloadVerdict::Drop => 1,
        OffloadVerdict::Leak => 2,
        _ => 3,
    };
    let said: Vec<(u8, Said)> = seen.iter().map(|seen| (seen.family, family(way, seen))).collect();
    let mut row = OffloadCheck::new(
        &way.text,
        NAME,
        OffloadVerdict::Inconclusive,
        format!("nothing can be sent over a path of MTU {}", way.mtu),
    );
    let Some((_, first)) = said.iter().min_by_key(|(_, said)| worst(&said.verdict)) else { return row };
    let texts: BTreeSet<&str> = said.iter().map(|(_, said)| said.text.as_str()).collect();
    row.verdict = first.verdict;
    row.evidence = if texts.len() == 1 {
        let families: Vec<String> = said.iter().map(|(family, _)| format!("IPv{family}")).collect();
        format!("{}: {}", families.join(" and "), first.text)
    } else {
        let each: Vec<String> = said.iter().map(|(family, said)| format!("IPv{family}: {}", said.text)).collect();
        each.join("; ")
    };
    (row.device, row.cure) = (first.at.as_ref().map(LinkRef::to_string), first.cure.clone());
    row
}

fn family(way: &Way, seen: &Seen) -> Said {
    within(way, seen).or_else(|| above(way, seen)).unwrap_or_else(|| {
        let of = |wanted: &dyn Fn(&(u32, Sample)) -> bool| {
            let mut sizes: Vec<u32> = seen.tried.iter().filter(|tried| wanted(tried)).map(|(size, _)| *size).collect();
            sizes.sort_unstable();
            sizes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        };
        let mut parts = vec![format!("packets of {} bytes arrive", of(&|(size, _)| *size <= way.mtu))];
        let room = of(&|(size, sample)| *size > way.mtu && matches!(sample, Sample::Arrived { .. }));
        if !room.is_empty() {
            parts.push(format!("{room} too, by the room that forwarding keeps for a VLAN tag"));
        }
        // Each answer once, with its sizes.
        let answers: BTreeSet<String> = seen
            .tried
            .iter()
            .filter(|(size, _)| *size > way.mtu)
            .filter_map(|(_, sample)| answer(way, seen, *sample))
            .collect();
        for said in answers {
            let sizes = of(&|(size, sample)| *size > way.mtu && answer(way, seen, *sample).as_ref() == Some(&said));
            parts.push(format!("{sizes} {said}"));
        }
        if let Some((_, trace)) = &seen.above {
            let sizes = of(&|(size, sample)| *size > way.mtu && is_silent(*sample));
            parts.push(format!("{sizes} are dropped: {}", counters(way, trace).unwrap_or_default()));
        }
        Said { verdict: OffloadVerdict::Pass, text: parts.join("; "), at: None, cure: None }
    })
}

/// Who refuses a packet aloud.
fn answer(way: &Way, seen: &Seen, sample: Sample) -> Option<String> {
    let first = way.hops.first().map_or_else(|| "the sender".to_owned(), |hop| hop.at.to_string());
    let name = |who: IpAddr| match seen.holders.get(&who) {
        Some(at) => format!("{at} ({who})"),
        None => who.to_string(),
    };
    match sample {
        Sample::Refused { .. } => Some(format!("are refused by the sender's own interface {first} (EMSGSIZE)")),
        Sample::TooBig { offender: Some(who), mtu } => Some(format!("are refused by {} (ICMP, MTU {mtu})", name(who))),
        Sample::TooBig { offender: None, mtu } => Some(format!("are refused by a router (ICMP, MTU {mtu})")),
        Sample::Unreachable { offender: Some(who) } => Some(format!("are unreachable, says {}", name(who))),
        Sample::Unreachable { offender: None } => Some("have no route".to_owned()),
        Sample::Arrived { .. } | Sample::Lost | Sample::NoBuffer | Sample::Expired { .. } => None,
    }
}

/// What is not larger than the MTU and does not arrive.
fn within(way: &Way, seen: &Seen) -> Option<Said> {
    let (size, sample) = seen
        .tried
        .iter()
        .filter(|(size, _)| *size <= way.mtu)
        .find(|(_, sample)| !matches!(sample, Sample::Arrived { .. }))?;
    if let (true, Some((size, trace))) = (is_silent(*sample), &seen.within) {
        let (place, at) = place(trace);
        let counted = counters(way, trace).unwrap_or_else(|| "no counter says so".to_owned());
        let narrow = trace.hops.iter().find(|hop| hop.mtu < size + hop.hop.overhead);
        let cure = match narrow {
            Some(hop) => set_mtu(&hop.hop.at, way.mtu + hop.hop.overhead),
            None => format!(
                "no interface of the path has a smaller MTU: what is between takes less than it should. \
                 `netbench mtu probe` finds how much; or declare a smaller `mtu`{}",
                if seen.family == 4 { ", or sysctl net.ipv4.tcp_mtu_probing=1 at the senders" } else { "" }
            ),
        };
        return Some(Said {
            verdict: OffloadVerdict::Blackhole,
            text: format!(
                "packets of {size} bytes vanish {place}, MTU {} is declared, and nobody tells the sender; {counted}",
                way.mtu
            ),
            at,
            cure: Some(cure),
        });
    }
    let said = answer(way, seen, *sample)?;
    let at = matches!(sample, Sample::Refused { .. }).then(|| way.hops.first().map(|hop| hop.at.clone())).flatten();
    Some(Said {
        verdict: OffloadVerdict::Drop,
        text: format!("packets of {size} bytes {said}, MTU {} is declared", way.mtu),
        cure: Some(match &at {
            Some(at) => set_mtu(at, way.mtu),
            None => "give every device of the path the same MTU, tunnels theirs less the overhead".to_owned(),
        }),
        at,
    })
}

/// What is larger than the MTU and arrives, or vanishes without a trace.
fn above(way: &Way, seen: &Seen) -> Option<Said> {
    let arrived = |(size, sample): &&(u32, Sample)| *size > way.mtu + SLACK && matches!(sample, Sample::Arrived { .. });
    if let Some((size, _)) = seen.tried.iter().filter(arrived).max_by_key(|(size, _)| *size) {
        let cure = format!("declare the MTU that the path has, or lower an interface to {}", way.mtu);
        return Some(Said {
            verdict: OffloadVerdict::Leak,
            text: format!("a packet of {size} bytes was delivered, {} more than the declared MTU", size - way.mtu),
            at: None,
            cure: Some(cure),
        });
    }
    let (size, trace) = seen.above.as_ref()?;
    if counters(way, trace).is_some() {
        return None;
    }
    let (place, at) = place(trace);
    let cure = way.hops.first().map(|hop| set_mtu(&hop.at, way.mtu) + ": whoever sends more is told then");
    Some(Said {
        verdict: OffloadVerdict::Drop,
        text: format!("packets of {size} bytes vanish {place}; no counter says so, and nobody tells the sender"),
        at,
        cure,
    })
}

/// Where a burst stays, in words: the first hop that counted fewer of its packets than were sent.
fn place(trace: &Trace) -> (String, Option<LinkRef>) {
    let Some(at) = trace.hops.iter().position(|hop| hop.counted < ENOUGH) else {
        let last = trace.hops.last();
        let text = last.map_or_else(String::new, |hop| format!("behind {}, in the receiver's own stack", hop.hop.at));
        return (text, last.map(|hop| hop.hop.at.clone()));
    };
    let hop = &trace.hops[at];
    let before = at.checked_sub(1).map(|before| &trace.hops[before]);
    let text = match (hop.hop.direction, before) {
        (Direction::Tx, _) if hop.is_port => format!("at the port {} (MTU {})", hop.hop.at, hop.mtu),
        (Direction::Tx, _) => format!("at {} (MTU {})", hop.hop.at, hop.mtu),
        (Direction::Rx, None) => format!("before {}", hop.hop.at),
        (Direction::Rx, Some(before)) => format!("between {} and {} (MTU {})", before.hop.at, hop.hop.at, hop.mtu),
    };
    (text, Some(hop.hop.at.clone()))
}

/// Who counted that it dropped them.
fn counters(way: &Way, trace: &Trace) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    let dropped = |hop: &&HopSeen| hop.dropped >= ENOUGH;
    told.extend(trace.hops.iter().filter(dropped).map(|hop| format!("{} counted {} drops", hop.hop.at, hop.dropped)));
    for (ns, fragments) in trace.fragments.iter().filter(|(ns, _)| **ns != way.from) {
        if fragments.refused >= ENOUGH {
            told.push(format!("{ns} counted {} packets that it could not forward (FragFails)", fragments.refused));
        }
    }
    (!told.is_empty()).then(|| format!("of {BURST} packets {}", told.join(", ")))
}

fn set_mtu(at: &LinkRef, mtu: u32) -> String {
    format!("in {}: `ip link set {} mtu {mtu}`", at.ns, at.name)
}

#[cfg(test)]
mod tests;
