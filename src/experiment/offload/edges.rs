//! Checksums at their edges, as the path is found: what is left to the device at unusual places, and what the receiver has to
//! verify or refuse, with the counter that must say so.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    checks::{Target, Way},
    suite::{finish, frames, on_one_cpu, start, template},
    traffic::{Between, Pair},
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::{capture::Injector, snmp},
    packet::{
        Finding, Findings, Frame, Kind,
        checksum::complete,
        craft::{Ends, marked_payload},
        odd::{Fate, Odd, received, sent},
        parse,
        segments::marked,
    },
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
};

/// Names of the rows: of the sender's devices, and of the receiver's.
pub const NAMES: [&str; 2] = ["tx-checksum-edges", "rx-checksum-edges"];
/// Number of the first, and of one that stands behind all.
const FIRST: u32 = 6 << 24;
const BEHIND: u32 = 7 << 24;
/// How often what is missing is tried: a busy machine loses frames of its own.
const TRIES: u32 = 3;

/// What became of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// 4 or 6.
    pub family: u8,
    /// What is odd about it.
    pub name: &'static str,
    /// What was to become of it.
    pub fate: Fate,
    /// It came to the device where the way ends.
    pub came: bool,
    /// Its checksum, if it is not as it must be.
    pub wrong: Option<Wrong>,
    /// A socket got it.
    pub delivered: bool,
    /// The counter of its fate rose.
    pub counted: bool,
}

/// A checksum that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What it is.
    pub is: u16,
    /// What it must be.
    pub must: u16,
    /// It is what the kernel left to the device, undone.
    pub undone: bool,
    /// Behind which device it shows first.
    pub device: String,
}

/// The rows of both directions of each path.
///
/// # Errors
/// A namespace is not there, or a packet socket fails.
pub fn rows(world: &World, targets: &[Target], only: &BTreeSet<String>) -> Result<Vec<OffloadCheck>, ApplyError> {
    let mut rows = Vec::new();
    let makes: [fn(&Ends, u32) -> Vec<Odd>; 2] = [sent, received];
    for (name, make) in NAMES.into_iter().zip(makes) {
        if !(only.is_empty() || only.contains(name)) {
            continue;
        }
        for way in targets.iter().flat_map(|target| [target.way(false), target.way(true)]) {
            if way.hops.len() < 2 {
                continue;
            }
            let mut seen = Vec::new();
            for &(source, destination) in &way.addresses {
                let ends = Between { from: (world.get(&way.from)?, source), to: (world.get(&way.to)?, destination) };
                if let Ok(pair) = Pair::open(ends) {
                    seen.extend(of_family(world, &way, &pair, make)?);
                }
            }
            rows.push(judge(&way, name, &seen));
        }
    }
    Ok(rows)
}

fn of_family(world: &World, way: &Way, pair: &Pair, make: fn(&Ends, u32) -> Vec<Odd>) -> Result<Vec<Seen>, ApplyError> {
    let Some(ends) = template(world, way, pair)? else { return Ok(Vec::new()) };
    let first = &way.hops[0].at;
    let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
    let places: Vec<usize> = (0..way.hops.len()).collect();
    let family = if ends.from.is_ipv4() { 4 } else { 6 };
    let mut best: BTreeMap<u32, Seen> = BTreeMap::new();
    for _ in 0..TRIES {
        let todo: Vec<Odd> =
            make(&ends, FIRST).into_iter().filter(|odd| best.get(&odd.number).is_none_or(poor)).collect();
        if todo.is_empty() {
            break;
        }
        let before = snmp::counters(world.get(&way.to)?)?;
        let captures = start(world, &way.hops, &places)?;
        on_one_cpu(|| {
            let each = todo.iter().try_for_each(|odd| injector.send(odd.vnet, &odd.bytes));
            each.and_then(|()| injector.send(Default::default(), &ends.udp(&marked_payload(BEHIND, 64))))
        })??;
        let delivered: BTreeSet<u32> = pair.numbers_up_to(BEHIND).into_iter().collect();
        let captured = finish(captures);
        let after = snmp::counters(world.get(&way.to)?)?;
        let at: Vec<Vec<Frame>> = places.iter().map(|&place| frames(way, &captured, place).0).collect();
        for odd in todo {
            let counted = match odd.fate {
                Fate::Refused(counter) => after.get(counter) > before.get(counter),
                _ => false,
            };
            let last = at.last().is_some_and(|frames| frames.iter().any(|frame| number_of(frame) == Some(odd.number)));
            let seen = Seen {
                family,
                name: odd.name,
                fate: odd.fate,
                came: last,
                wrong: wrong(&odd, &at, way),
                delivered: delivered.contains(&odd.number),
                counted,
            };
            best.insert(odd.number, seen);
        }
        if delivered.is_empty() {
            break; // Nothing passes.
        }
    }
    Ok(best.into_values().collect())
}

/// May it have been lost, by chance?
fn poor(seen: &Seen) -> bool {
    match seen.fate {
        Fate::Delivered => !seen.delivered,
        Fate::Seen => !seen.came,
        Fate::Refused(_) => !seen.counted,
    }
}

pub(super) fn number_of(frame: &Frame) -> Option<u32> {
    let layers = parse(&frame.bytes);
    let transport = layers.innermost().transport.as_ref()?;
    marked(frame.bytes.get(transport.payload.clone())?)
}

/// The first place behind the first device where the checksum is not as it must be.
fn wrong(odd: &Odd, at: &[Vec<Frame>], way: &Way) -> Option<Wrong> {
    at.iter().enumerate().skip(1).find_map(|(place, frames)| {
        let frame = frames.iter().find(|frame| number_of(frame) == Some(odd.number))?;
        let sum_of = |bytes: &[u8]| Some(parse(bytes).innermost().transport.as_ref()?.checksum);
        let as_it_is = sum_of(&frame.bytes)?;
        // What is left to do beside the frame is as good as done; a device may also say so of a sum that is done.
        let left = frame.vnet.needs_checksum() && as_it_is != odd.checksum;
        let is = if left { sum_of(&complete(frame)?)? } else { as_it_is };
        let device: &LinkRef = &way.hops[place - 1].at;
        let undone = odd.vnet.needs_checksum() && sum_of(&odd.bytes) == Some(is);
        (is != odd.checksum).then(|| Wrong { is, must: odd.checksum, undone, device: device.to_string() })
    })
}

/// From what was seen to a row.
pub fn judge(way: &Way, name: &str, seen: &[Seen]) -> OffloadCheck {
    let mut row = OffloadCheck::new(&way.text, name, OffloadVerdict::Pass, "");
    let of = |seen: &Seen| format!("IPv{} with {}", seen.family, seen.name);
    if !seen.iter().any(|seen| seen.delivered) {
        row.verdict = OffloadVerdict::Inconclusive;
        row.evidence = "crafted datagrams do not pass this path".to_owned();
        return row;
    }
    let mut findings = Findings::default();
    for seen in seen {
        if let Some(Wrong { is, must, undone, device }) = &seen.wrong {
            let kind = match (*is, *must) {
                _ if *undone => Kind::PartialChecksum,
                (0, 0xffff) => Kind::ZeroChecksum,
                _ => Kind::WrongChecksum,
            };
            findings.add(kind, || format!("{}: {is:04x} behind {device}, {must:04x} is right", of(seen)));
        } else if matches!(seen.fate, Fate::Refused(_)) && seen.delivered {
            findings.add(Kind::ValidOnCorrupt, || format!("{} was delivered", of(seen)));
        } else if seen.fate == Fate::Delivered && !seen.delivered {
            let place = if seen.came { "came and was refused" } else { "did not come" };
            findings.add(Kind::Lost, || format!("{} {place}", of(seen)));
        }
    }
    let found: Vec<Finding> = findings.iter().cloned().collect();
    let count = |wanted: &dyn Fn(&Seen) -> bool| seen.iter().filter(|seen| wanted(seen)).count();
    if let Some(first) = found.first() {
        row.verdict = match first.kind {
            Kind::Lost => OffloadVerdict::Drop,
            Kind::PartialChecksum => OffloadVerdict::Leak,
            _ => OffloadVerdict::Corrupt,
        };
        row.evidence = first.to_string();
        let (hop, side) = if name == NAMES[0] { (way.hops.first(), "tx") } else { (way.hops.last(), "rx") };
        let line = |at: &LinkRef| format!("in {}: `ethtool -K {} {side} off`", at.ns, at.name);
        row.cure = hop.map(|hop| format!("have the kernel do it, {}", line(&hop.at)));
        row.findings = found;
        return row;
    }
    let right = count(&|seen| seen.delivered);
    row.evidence = format!("{right} kinds of datagrams came right");
    let refused: Vec<String> = seen
        .iter()
        .filter_map(|seen| match seen.fate {
            Fate::Refused(counter) if seen.counted => Some(format!("{} ({counter})", of(seen))),
            _ => None,
        })
        .collect();
    if !refused.is_empty() {
        row.evidence += &format!("; refused and counted: {}", refused.join(", "));
    }
    let uncounted = |came: bool| {
        let is_it = move |seen: &&Seen| matches!(seen.fate, Fate::Refused(_)) && !seen.counted && seen.came == came;
        seen.iter().filter(is_it).map(of).collect::<Vec<_>>()
    };
    // A router, or a bridge that has netfilter look at IP, refuses what is wrong before the receiver can.
    let (silent, before) = (uncounted(true), uncounted(false));
    if !before.is_empty() {
        row.evidence += &format!("; refused on the way: {}", before.join(", "));
    }
    if !silent.is_empty() {
        row.evidence += &format!("; refused where the receiver does not count it: {}", silent.join(", "));
    }
    if !silent.is_empty() || refused.is_empty() && !before.is_empty() {
        row.verdict = OffloadVerdict::Inconclusive;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::{Direction, Hop};

    fn judge(name: &str, seen: &[Seen]) -> OffloadCheck {
        let at = |name: &str| LinkRef { ns: crate::plan::desired::NsId::new(name), name: "eth0".parse().unwrap() };
        let hop = |name: &str, direction| Hop { at: at(name), direction, mtu: 1500, overhead: 0, beside: Vec::new() };
        let hops = vec![hop("a", Direction::Tx), hop("b", Direction::Rx)];
        let (from, to) = (hops[0].at.ns.clone(), hops[1].at.ns.clone());
        let way = Way { hops, addresses: Vec::new(), from, to, text: "a -> b".into(), mtu: 1500 };
        super::judge(&way, name, seen)
    }

    fn seen(fate: Fate) -> Seen {
        let delivered = fate == Fate::Delivered;
        let counted = matches!(fate, Fate::Refused(_));
        Seen { family: 4, name: "something", fate, came: true, wrong: None, delivered, counted }
    }

    #[test]
    fn each_fate_that_is_missed_has_its_verdict() {
        let (good, bad) = (seen(Fate::Delivered), seen(Fate::Refused("Udp.InCsumErrors")));
        let row = |other: Seen| judge(NAMES[1], &[seen(Fate::Delivered), other]);
        let right = row(bad.clone());
        assert_eq!(right.verdict, OffloadVerdict::Pass);
        assert!(right.evidence.ends_with("refused and counted: IPv4 with something (Udp.InCsumErrors)"), "{right:?}");
        let early = Seen { came: false, counted: false, ..bad.clone() };
        let passed = judge(NAMES[1], &[good.clone(), bad.clone(), early.clone()]);
        assert_eq!(passed.verdict, OffloadVerdict::Pass);
        assert!(passed.evidence.ends_with("refused on the way: IPv4 with something"), "{passed:?}");
        assert_eq!(row(early).verdict, OffloadVerdict::Inconclusive, "nothing is shown of the receiver");
        let verdict = |other: Seen| (row(other.clone()).verdict, row(other).findings.first().map(|found| found.kind));
        let wrong = |is, must| {
            let wrong = Wrong { is, must, undone: is == 1, device: "a/eth0".into() };
            Seen { wrong: Some(wrong), ..good.clone() }
        };
        for (other, expected, kind) in [
            (Seen { delivered: true, ..bad.clone() }, OffloadVerdict::Corrupt, Some(Kind::ValidOnCorrupt)),
            (Seen { counted: false, ..bad }, OffloadVerdict::Inconclusive, None),
            (Seen { delivered: false, ..good.clone() }, OffloadVerdict::Drop, Some(Kind::Lost)),
            (wrong(0, 0xffff), OffloadVerdict::Corrupt, Some(Kind::ZeroChecksum)),
            (wrong(7, 8), OffloadVerdict::Corrupt, Some(Kind::WrongChecksum)),
            (wrong(1, 8), OffloadVerdict::Leak, Some(Kind::PartialChecksum)),
        ] {
            assert_eq!(verdict(other.clone()), (expected, kind), "{other:?}");
        }
        let cure = row(wrong(7, 8)).cure;
        assert_eq!(cure.as_deref(), Some("have the kernel do it, in b: `ethtool -K eth0 rx off`"));
        let dead = judge(NAMES[0], &[Seen { delivered: false, ..good }]);
        assert_eq!(dead.verdict, OffloadVerdict::Inconclusive);
    }
}
