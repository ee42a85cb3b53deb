//! Bundles of datagrams (`UDP_SEGMENT`) at their edges, as the path is found: around the size of a segment, the number of segments
//! and the size of an IP packet, that must not be fragmented.

use std::io;

use super::{
    checks::{Target, Way},
    suite::{finish, frames, on_one_cpu, start},
    traffic::{Between, Pair},
};
use crate::{
    apply::{ApplyError, world::World},
    packet::{Finding, Findings, Frame, Kind, craft::fill, parse, segments::flow_of},
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the row.
pub const NAME: &str = "uso-edges";
/// How often what did not come is tried: a busy machine loses datagrams of its own.
const TRIES: u64 = 3;
/// Datagrams of a bundle that every kernel takes (`UDP_MAX_SEGMENTS`), and more than any takes.
const MOST: usize = 64;
const TOO_MANY: usize = 129;
/// Bytes of an IPv4 packet.
const LARGEST: usize = 65_535;

/// A bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundle {
    /// 4 or 6.
    pub family: u8,
    /// Bytes of each datagram but the last.
    pub size: usize,
    /// Bytes of all.
    pub total: usize,
    /// The kernel is to refuse it.
    pub refused: bool,
}

/// What came of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Each datagram with its bytes, in order.
    Right,
    /// Other datagrams than were to come: why.
    Wrong(String),
    /// The bytes of several in one: why.
    Uncut(String),
    /// So many of the datagrams.
    Few(usize),
    /// The kernel's error.
    Refused(String),
}

/// The bundles of a family on a path of this MTU.
pub fn bundles(family: u8, mtu: usize) -> Vec<Bundle> {
    let headers = if family == 4 { 28 } else { 48 };
    let size = mtu.min(LARGEST) - headers;
    let most = (LARGEST - headers).min(MOST * size);
    let several = (most / size).clamp(1, 5);
    let bundle = |size, total, refused| Bundle { family, size, total, refused };
    let mut all = vec![bundle(size, 1, false), bundle(size, size - 1, false), bundle(size, size, false)];
    for total in [size + 1, several * size, several * size + 1, most] {
        if total <= most {
            all.push(bundle(size, total, false));
        }
    }
    all.extend([bundle(1, MOST, false), bundle(500, MOST * 500 - 1, false), bundle(1, TOO_MANY, true)]);
    if size < LARGEST - headers {
        all.push(bundle(size + 1, size + 2, true));
    }
    all.push(bundle(size, LARGEST + 1, true));
    all
}

/// The rows of both directions of each path.
///
/// # Errors
/// A namespace is not there, or a packet socket fails.
pub fn rows(world: &World, targets: &[Target]) -> Result<Vec<OffloadCheck>, ApplyError> {
    let mut rows = Vec::new();
    for target in targets {
        for way in [target.way(false), target.way(true)] {
            if way.hops.len() > 1 {
                let (seen, place) = seen(world, &way)?;
                let ours = place.as_ref().is_some_and(|(before, behind)| {
                    target.userspace_ovs.contains(before) || target.userspace_ovs.contains(behind)
                });
                rows.push(judge(&way, &seen, place.as_ref(), ours));
            }
        }
    }
    Ok(rows)
}

/// Two devices between which it shows first that a bundle is cut otherwise than it was to be.
type Place = (LinkRef, LinkRef);

/// What came of each bundle, and where the first that came wrong was spoiled.
type Seen = (Vec<(Bundle, Came)>, Option<Place>);

fn seen(world: &World, way: &Way) -> Result<Seen, ApplyError> {
    let (mut all, mut found) = (Vec::new(), None);
    for &(source, destination) in &way.addresses {
        let between = Between { from: (world.get(&way.from)?, source), to: (world.get(&way.to)?, destination) };
        let Ok(pair) = Pair::open(between) else { continue };
        let family = if source.is_ipv4() { 4 } else { 6 };
        if way.mtu < 1280 || pair.never_fragment().is_err() || !pair.passes(0) {
            continue;
        }
        for bundle in bundles(family, way.mtu as usize) {
            let mut came = Came::Few(0);
            for number in 0..TRIES {
                came = on_one_cpu(|| send(&pair, bundle, number))?;
                if !matches!(came, Came::Few(_)) {
                    break;
                }
            }
            let is_wrong = matches!(came, Came::Wrong(_) | Came::Uncut(_) | Came::Few(_));
            if is_wrong && found.is_none() {
                found = place(world, way, &pair, bundle)?;
            }
            all.push((bundle, came));
        }
    }
    Ok((all, found))
}

/// Sends a bundle once more, and looks at each device for which datagrams its frames stand.
fn place(world: &World, way: &Way, pair: &Pair, bundle: Bundle) -> Result<Option<Place>, ApplyError> {
    let places: Vec<usize> = (0..way.hops.len()).collect();
    let captures = start(world, &way.hops, &places)?;
    on_one_cpu(|| send(pair, bundle, TRIES))?;
    let captured = finish(captures);
    let mut sent = vec![bundle.size; bundle.total / bundle.size];
    sent.extend(Some(bundle.total % bundle.size).filter(|rest| *rest > 0));
    let differs = places.iter().find(|&&place| {
        let (frames, complete) = frames(way, &captured, place);
        let came: Vec<usize> = frames.iter().flat_map(|frame| datagrams(frame, pair.ports())).collect();
        complete && came != sent
    });
    let of = |place: usize| way.hops[place].at.clone();
    Ok(differs.filter(|&&place| place > 0).map(|&place| (of(place - 1), of(place))))
}

/// Bytes of the datagrams between two ports that a frame stands for.
fn datagrams(frame: &Frame, ports: (u16, u16)) -> Vec<usize> {
    let layers = parse(&frame.bytes);
    let ours = flow_of(&layers).is_some_and(|flow| flow.protocol == 17 && (flow.from.1, flow.to.1) == ports);
    let Some(transport) = layers.innermost().transport.as_ref().filter(|_| ours) else { return Vec::new() };
    let size = if frame.vnet.is_super() { usize::from(frame.vnet.gso_size) } else { transport.payload.len() };
    let payload = frame.bytes.get(transport.payload.clone()).unwrap_or_default();
    payload.chunks(size.max(1)).map(<[u8]>::len).collect()
}

fn send(pair: &Pair, bundle: Bundle, number: u64) -> Came {
    let mut payload = vec![0; bundle.total];
    fill(&mut payload, bundle.total as u64 * 1000 + number, 0);
    let came = match pair.bundle(bundle.size, &payload) {
        Ok(came) => came,
        Err(error) => return Came::Refused(name_of(&error)),
    };
    let sent: Vec<&[u8]> = payload.chunks(bundle.size).collect();
    let differs = came.iter().zip(&sent).position(|(came, sent)| came != sent);
    match differs {
        // One that is not there shifts all behind it.
        Some(at) if came.len() >= sent.len() || came[at].len() > sent[at].len() => {
            let (is, was) = (came[at].len(), sent[at].len());
            let why = format!("datagram {} of {} came with {is} bytes, {was} were sent", at + 1, sent.len());
            if payload[at * bundle.size..].starts_with(&came[at]) { Came::Uncut(why) } else { Came::Wrong(why) }
        }
        None if came.len() == sent.len() => Came::Right,
        None if came.len() > sent.len() => Came::Wrong(format!("{} came for {}", came.len(), sent.len())),
        _ => Came::Few(came.len()),
    }
}

fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EINVAL) => "EINVAL".to_owned(),
        Some(libc::EMSGSIZE) => "EMSGSIZE".to_owned(),
        Some(libc::EIO) => "EIO".to_owned(),
        _ => error.to_string(),
    }
}

/// From what came to a row.
pub fn judge(way: &Way, seen: &[(Bundle, Came)], place: Option<&Place>, is_ovs: bool) -> OffloadCheck {
    let mut row = OffloadCheck::new(&way.text, NAME, OffloadVerdict::Pass, "");
    let text = |bundle: &Bundle| {
        let Bundle { family, size, total, .. } = bundle;
        format!("{total} bytes over IPv{family} in datagrams of {size}")
    };
    let mut findings = Findings::default();
    for (bundle, came) in seen {
        match came {
            Came::Wrong(why) => findings.add(Kind::PayloadChanged, || format!("{}: {why}", text(bundle))),
            Came::Uncut(why) => findings.add(Kind::OverMerged, || format!("{}: {why}", text(bundle))),
            Came::Few(count) => {
                let of = bundle.total.div_ceil(bundle.size);
                findings.add(Kind::MissingSegment, || format!("{}: {count} of {of} came", text(bundle)));
            }
            Came::Right | Came::Refused(_) => {}
        }
    }
    let refused = |wanted: bool| {
        let of = move |(bundle, came): &(Bundle, Came)| match came {
            Came::Refused(error) if bundle.refused == wanted => Some(format!("{} ({error})", text(bundle))),
            _ => None,
        };
        seen.iter().filter_map(of).collect::<Vec<_>>()
    };
    let right = seen.iter().filter(|(_, came)| *came == Came::Right).count();
    // What a program got otherwise than it was sent is worse than what it did not get.
    let is_lost = |found: &Finding| found.kind == Kind::MissingSegment;
    if let Some(worst) = findings.iter().find(|found| !is_lost(found)).or(findings.worst()) {
        row.verdict = if is_lost(worst) { OffloadVerdict::Drop } else { OffloadVerdict::Corrupt };
        row.evidence = worst.to_string();
        if let Some((before, behind)) = place {
            row.evidence += &format!("; first seen between {before} and {behind}");
        }
        let sender = &way.hops[0].at;
        let why = if is_ovs { "Open vSwitch in user space forgets where to cut bundles: " } else { "" };
        let line = format!("in {}: `ethtool -K {} tx-udp-segmentation off`", sender.ns, sender.name);
        row.cure = Some(format!("{why}have the sender's kernel cut them, {line}"));
        row.findings = findings.iter().cloned().collect();
    } else if seen.is_empty() {
        (row.verdict, row.evidence) = (OffloadVerdict::Inconclusive, "no datagram passes this path".to_owned());
    } else if let Some(first) = refused(false).first() {
        row.verdict = OffloadVerdict::Inconclusive;
        row.evidence = format!("the kernel takes no bundle of {first}; {right} others came right");
    } else if let Some((bundle, _)) = seen.iter().find(|(bundle, came)| bundle.refused && *came == Came::Right) {
        row.verdict = OffloadVerdict::Inconclusive;
        row.evidence = format!("the kernel takes {}, which it is to refuse; all came right", text(bundle));
    } else {
        let largest = seen.iter().filter(|(_, came)| *came == Came::Right).map(|(bundle, _)| bundle.total).max();
        row.evidence = format!(
            "{right} bundles of 1 to {} bytes came as they were to be cut; refused: {}",
            largest.unwrap_or_default(),
            refused(true).join(", ")
        );
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::{Direction, Hop};

    #[test]
    fn bundles_stand_around_the_limits() {
        for (family, mtu, size) in [(4, 1500, 1472), (6, 1500, 1452), (4, 9000, 8972)] {
            let all = bundles(family, mtu);
            let (good, bad): (Vec<&Bundle>, Vec<&Bundle>) = all.iter().partition(|bundle| !bundle.refused);
            for total in [1, size - 1, size, size + 1, 5 * size, 5 * size + 1] {
                assert!(good.iter().any(|bundle| (bundle.size, bundle.total) == (size, total)), "{total}");
            }
            assert!(good.iter().all(|bundle| bundle.total.div_ceil(bundle.size) <= MOST && bundle.total <= 65_507));
            assert_eq!(bad.len(), 3);
        }
        // As large as can be: the loopback's.
        assert!(bundles(4, 65_536).iter().all(|bundle| bundle.refused || bundle.total <= 65_507));
    }

    fn judge(seen: &[(Bundle, Came)], place: Option<&Place>, is_ovs: bool) -> OffloadCheck {
        let at = |name: &str| LinkRef { ns: crate::plan::desired::NsId::new("a"), name: name.parse().unwrap() };
        let hop = Hop { at: at("eth0"), direction: Direction::Tx, mtu: 1500, overhead: 0, beside: Vec::new() };
        let (from, to) = (hop.at.ns.clone(), hop.at.ns.clone());
        let way = Way { hops: vec![hop], addresses: Vec::new(), from, to, text: "a -> b".into(), mtu: 1500 };
        super::judge(&way, seen, place, is_ovs)
    }

    #[test]
    fn each_outcome_has_its_verdict() {
        let all = bundles(4, 1500);
        let with = |other: Came| {
            let came = |bundle: &Bundle| if bundle.refused { Came::Refused("EINVAL".into()) } else { Came::Right };
            let mut seen: Vec<(Bundle, Came)> = all.iter().map(|bundle| (*bundle, came(bundle))).collect();
            seen[3].1 = other;
            judge(&seen, None, false)
        };
        let right = with(Came::Right);
        assert_eq!(right.verdict, OffloadVerdict::Pass);
        assert!(right.evidence.starts_with("9 bundles of 1 to 65507 bytes came"), "{right:?}");
        assert!(right.evidence.contains("129 bytes over IPv4 in datagrams of 1 (EINVAL)"), "{right:?}");
        let taken: Vec<(Bundle, Came)> = all.iter().map(|bundle| (*bundle, Came::Right)).collect();
        let taken = judge(&taken, None, false);
        assert_eq!(taken.verdict, OffloadVerdict::Inconclusive);
        assert!(taken.evidence.contains("takes 129 bytes over IPv4 in datagrams of 1"), "{taken:?}");
        assert_eq!(with(Came::Few(1)).verdict, OffloadVerdict::Drop);
        assert_eq!(with(Came::Wrong("x".into())).verdict, OffloadVerdict::Corrupt);
        let uncut = with(Came::Uncut("x".into()));
        assert_eq!(uncut.findings.first().map(|found| found.kind), Some(Kind::OverMerged), "{uncut:?}");
        assert_eq!(
            uncut.cure.as_deref(),
            Some("have the sender's kernel cut them, in a: `ethtool -K eth0 tx-udp-segmentation off`")
        );
        assert_eq!(with(Came::Refused("EIO".into())).verdict, OffloadVerdict::Inconclusive);
        assert_eq!(judge(&[], None, false).verdict, OffloadVerdict::Inconclusive);
    }
}
