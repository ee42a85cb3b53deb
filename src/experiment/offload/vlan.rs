//! Tagged frames: each kind must come with the tags that it was sent with, priority and DEI among them, and a port that
//! filters lets nothing in that nobody asked for.

use std::collections::BTreeSet;

use super::{
    checks::{Features, Target, Way},
    judge::Crafted,
    suite::{finish, frames, on_one_cpu, start, template},
    traffic::{Between, Pair},
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::capture::{Bounds, Capture, Injector},
    packet::{
        Frame, Kind, Limits, Tag, VnetHeader, compare,
        craft::{Ends, marked_payload},
        parse,
        segments::marked,
    },
    plan::desired::{Direction, LinkRef},
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the row of filters.
pub const FILTER: &str = "vlan-filter";
/// Features that filter by tag.
const FILTERS: [&str; 2] = ["rx-vlan-filter", "rx-vlan-stag-filter"];
/// Frames of each kind.
pub const EACH: u32 = 12;
/// Number of the first tagged datagram, and of those behind all others.
const TAGGED: u32 = 3 << 24;
const LAST: u32 = 4 << 24;
/// How often they are sent where some are missing: a busy machine loses frames of its own.
const TRIES: u32 = 3;

const fn tag(tpid: u16, priority: u16, dei: bool, vlan: u16) -> Tag {
    Tag { tpid, tci: priority << 13 | (dei as u16) << 12 | vlan }
}

/// Kinds of tags, outermost first.
const KINDS: &[(&str, &[Tag])] = &[
    ("802.1Q", &[tag(0x8100, 5, false, 100)]),
    ("802.1Q with DEI", &[tag(0x8100, 3, true, 101)]),
    ("802.1ad", &[tag(0x88a8, 6, true, 200)]),
    ("802.1ad around 802.1Q", &[tag(0x88a8, 4, false, 201), tag(0x8100, 2, true, 102)]),
];

/// A frame with these tags before its type.
fn with_tags(frame: &[u8], tags: &[Tag]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for tag in tags {
        bytes.extend(tag.tpid.to_be_bytes());
        bytes.extend(tag.tci.to_be_bytes());
    }
    bytes.extend(&frame[12..]);
    bytes
}

fn number_of(frame: &Frame) -> Option<u32> {
    let layers = parse(&frame.bytes);
    let payload = layers.innermost().transport.as_ref().map(|transport| transport.payload.clone())?;
    marked(frame.bytes.get(payload)?)
}

/// Sends frames of every kind between two hops and notes what became of their tags.
///
/// # Errors
/// A device or a packet socket could not be reached.
pub fn tags(
    world: &World,
    way: &Way,
    (hand, wire): (usize, usize),
    (pair, ends): (&Pair, Ends),
    userspace_ovs: &BTreeSet<LinkRef>,
    result: &mut Crafted,
) -> Result<(), ApplyError> {
    let first = &way.hops[0].at;
    // Behind a port that receives, and before one that sends, packets pass the switch.
    let switched = way.hops[hand..=wire].iter().enumerate().any(|(at, hop)| {
        let passes = if hop.direction == Direction::Rx { hand + at < wire } else { at > 0 };
        passes && userspace_ovs.contains(&hop.at)
    });
    let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
    for _ in 0..TRIES {
        let places: BTreeSet<usize> = [hand, wire].into();
        let mut captures = start(world, &way.hops, &places.into_iter().collect::<Vec<_>>())?;
        // A port filters tags that nobody asked for; one that is promiscuous takes all. It ends with the socket.
        captures.values_mut().for_each(|capture| capture.everything());
        send(&injector, ends, KINDS)??;
        // What stands behind them has come: so have they.
        pair.numbers_up_to(LAST);
        let captured = finish(captures);
        let ((handed, whole_handed), (came, whole_came)) = (frames(way, &captured, hand), frames(way, &captured, wire));
        let limits = Limits { mtu: 65_535, complete: whole_handed && whole_came };
        let of_kind = |frames: &[Frame], kind: usize| -> Vec<Frame> {
            let from = TAGGED + kind as u32 * EACH;
            let is_one = |frame: &&Frame| number_of(frame).is_some_and(|number| (from..from + EACH).contains(&number));
            frames.iter().filter(is_one).cloned().collect()
        };
        (result.tagged, result.tag_kinds, result.tags) = Default::default();
        for (number, (name, _)) in KINDS.iter().enumerate() {
            let (sent, got) = (of_kind(&handed, number), of_kind(&came, number));
            // What does not get that far at all is no fault: a switch may let no tags through.
            if !got.is_empty() {
                result.tagged += u64::from(EACH);
                result.tag_kinds.push(name);
                result.tags.merge(&compare(&sent, &got, limits, |_| true).findings);
            }
        }
        // It is how the switch marks tagged frames (`VLAN_CFI` in its TCI): each loses it, whatever the devices do.
        if switched && result.tags.remove(Kind::TagDei).is_some() {
            result.tag_kinds.push("but for DEI, which Open vSwitch in user space does not keep");
        }
        let kinds = result.tagged / u64::from(EACH);
        if result.tags.iter().all(|finding| finding.kind.is_of_tag()) && kinds == KINDS.len() as u64 {
            break;
        }
    }
    Ok(())
}

/// Frames of these kinds and one without a tag behind them, from one CPU: another may send by another queue.
fn send(
    injector: &Injector,
    ends: Ends,
    kinds: &[(&str, &[Tag])],
) -> Result<Result<(), crate::kernel::Error>, ApplyError> {
    on_one_cpu(|| {
        for (kind, (_, tags)) in kinds.iter().enumerate() {
            for at in 0..EACH {
                let payload = marked_payload(TAGGED + kind as u32 * EACH + at, 40 + at as usize * 7);
                injector.send(VnetHeader::default(), &with_tags(&ends.udp(&payload), tags))?;
            }
        }
        injector.send(VnetHeader::default(), &ends.udp(&marked_payload(LAST, 40)))
    })
}

/// Rows of the devices where paths end that filter by tag.
///
/// # Errors
/// A device or a packet socket could not be reached.
pub fn filters(world: &World, targets: &[Target], features: &Features) -> Result<Vec<OffloadCheck>, ApplyError> {
    let (mut rows, mut done) = (Vec::new(), BTreeSet::new());
    for way in targets.iter().flat_map(|target| [target.way(false), target.way(true)]) {
        let Some(at) = way.hops.last().map(|hop| hop.at.clone()) else { continue };
        let known = features.get(&at);
        let has = |name: &&&str| known.and_then(|known| known.get(**name)).is_some_and(|f| f.active || f.changeable);
        let names: Vec<String> = FILTERS.iter().filter(has).map(|name| (*name).to_owned()).collect();
        if names.is_empty() || !done.insert(at.clone()) {
            continue;
        }
        let on = known.and_then(|known| known.get(FILTERS[0])).is_some_and(|feature| feature.active);
        let came = [unasked(world, &way, false)?, unasked(world, &way, true)?];
        rows.push(judge(&way.text, &at, names, on, came));
    }
    Ok(rows)
}

/// How many frames of a VLAN that nobody asked for come to the device where a way ends; `None` where what was sent behind them
/// did not come either, in [`TRIES`] tries.
fn unasked(world: &World, way: &Way, promiscuous: bool) -> Result<Option<u32>, ApplyError> {
    const VLAN: &[(&str, &[Tag])] = &[("802.1Q", &[tag(0x8100, 0, false, 3001)])];
    let (from, to) = (world.get(&way.from)?, world.get(&way.to)?);
    let (source, destination) = way.addresses[0];
    let (first, last) = (&way.hops[0].at, &way.hops[way.hops.len() - 1].at);
    for _ in 0..TRIES {
        let Ok(pair) = Pair::open(Between { from: (from, source), to: (to, destination) }) else { continue };
        let Some(ends) = template(world, way, &pair)? else { continue };
        let mut capture = Capture::start(world.get(&last.ns)?, &last.name, Bounds::default())?;
        if promiscuous {
            capture.everything();
        }
        let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
        send(&injector, ends, VLAN)??;
        let behind_came = pair.numbers_up_to(LAST).contains(&LAST);
        let numbers: BTreeSet<u32> = capture.finish().frames.iter().filter_map(number_of).collect();
        if behind_came {
            return Ok(Some(numbers.range(TAGGED..TAGGED + EACH).count() as u32));
        }
    }
    Ok(None)
}

/// The row of a filter: what came while it was as found, and while the port was promiscuous.
pub fn judge(path: &str, at: &LinkRef, features: Vec<String>, on: bool, came: [Option<u32>; 2]) -> OffloadCheck {
    let state = if on { "on" } else { "off" };
    let (verdict, evidence) = match came {
        [None, _] | [_, None] => (
            OffloadVerdict::Inconclusive,
            "what was sent behind the tagged frames, without a tag, did not come".to_owned(),
        ),
        [_, Some(0)] => (OffloadVerdict::Skip, "tagged frames do not get to this device".to_owned()),
        [Some(usual), Some(all)] => {
            let seen = format!(
                "of {EACH} frames of a VLAN that nobody asked for {usual} came with the filter {state}, {all} while the port \
                 was promiscuous"
            );
            match (on, usual) {
                (true, 0) | (false, 1..) => (OffloadVerdict::Pass, seen),
                (true, _) => (OffloadVerdict::Ineffective, seen),
                (false, 0) => (OffloadVerdict::NotActive, seen),
            }
        }
    };
    OffloadCheck { device: Some(at.to_string()), features, ..OffloadCheck::new(path, FILTER, verdict, evidence) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::NsId;

    #[test]
    fn tags_stand_outermost_first() {
        let frame: Vec<u8> = (0..20).collect();
        let tagged = with_tags(&frame, KINDS[3].1);
        assert_eq!(tagged[..12], frame[..12]);
        assert_eq!(tagged[12..20], [0x88, 0xa8, 0x80, 201, 0x81, 0x00, 0x50, 102]);
        assert_eq!(tagged[20..], frame[12..]);
    }

    #[test]
    fn a_filter_keeps_out_what_nobody_asked_for_and_nothing_else() {
        let at = LinkRef { ns: NsId("a".into()), name: "eth0".parse().unwrap() };
        let verdict = |on, came| judge("b -> a", &at, Vec::new(), on, came).verdict;
        assert_eq!(verdict(true, [Some(0), Some(12)]), OffloadVerdict::Pass);
        assert_eq!(verdict(true, [Some(12), Some(12)]), OffloadVerdict::Ineffective);
        assert_eq!(verdict(false, [Some(12), Some(12)]), OffloadVerdict::Pass);
        assert_eq!(verdict(false, [Some(0), Some(12)]), OffloadVerdict::NotActive);
        assert_eq!(verdict(true, [Some(0), Some(0)]), OffloadVerdict::Skip);
        assert_eq!(verdict(true, [None, Some(12)]), OffloadVerdict::Inconclusive);
    }
}
