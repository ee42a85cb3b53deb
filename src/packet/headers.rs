//! What the headers of the segments of a super-packet must be: which fields stay, which count up, what stands on the first or
//! the last segment only; the same for the headers of a tunnel around them.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    finding::{Findings, Kind},
    frame::Frame,
    parse::Layers,
    segments::{Flow, Segment, expand, segment_text},
};

/// TCP's flags.
const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const CWR: u8 = 0x80;
/// The two bits of ECN: none, ECT(1), ECT(0), CE.
const ECN: u8 = 3;
const CE: u8 = 3;
/// An Ethernet frame may be filled up to this length, without its tags.
const PADDED: usize = 60;

/// The header around a packet in a tunnel of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Source.
    pub from: (IpAddr, u16),
    /// Destination.
    pub to: (IpAddr, u16),
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv4's identification.
    pub id: Option<u16>,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// The tunnel's number, 24 bits.
    pub vni: u32,
}

impl Outer {
    /// That of a frame; `None` outside tunnels.
    pub fn of(bytes: &[u8], layers: &Layers) -> Option<Self> {
        layers.inner.as_ref()?;
        let (network, transport) = (layers.network.as_ref()?, layers.transport.as_ref()?);
        // VXLAN and Geneve have it at the same place.
        let vni = bytes.get(transport.payload.start + 4..transport.payload.start + 7)?;
        Some(Self {
            from: (network.from, transport.from),
            to: (network.to, transport.to),
            tos: network.tos,
            id: network.id,
            dont_fragment: network.dont_fragment,
            vni: u32::from(vni[0]) << 16 | u32::from(vni[1]) << 8 | u32::from(vni[2]),
        })
    }
}

/// Segments that came by themselves, each with the one that was handed over; only those that were sent once, since what was
/// sent twice had two headers.
struct Pairs<'a> {
    expected: &'a [Segment],
    came: HashMap<(Flow, u32), &'a Segment>,
}

impl<'a> Pairs<'a> {
    fn new(expected: &'a [Segment], came: &'a [Segment]) -> Self {
        let mut times: HashMap<(Flow, u32), u32> = HashMap::new();
        for segment in expected {
            *times.entry((segment.flow, segment.number)).or_default() += 1;
        }
        let mut by_key = HashMap::new();
        for segment in came.iter().filter(|segment| segment.place == (0, 1)) {
            if times.get(&(segment.flow, segment.number)) == Some(&1) {
                by_key.entry((segment.flow, segment.number)).or_insert(segment);
            }
        }
        Self { expected, came: by_key }
    }

    fn iter(&self) -> impl Iterator<Item = (&'a Segment, &'a Segment)> {
        self.expected.iter().filter_map(|was| Some((was, *self.came.get(&(was.flow, was.number))?)))
    }
}

/// Holds the headers of what came against what was handed over; of how many super-packets the identifications stayed.
pub fn judge(expected: &[Segment], came: &[Segment], findings: &mut Findings) -> u64 {
    let pairs = Pairs::new(expected, came);
    let inner = |was: &Segment, is: &Segment| Some((was.id?, is.id?, was.dont_fragment));
    let stayed = identifications(&pairs, inner, Kind::WrongIpId, findings);
    for (was, is) in pairs.iter() {
        if was.flow.protocol == 6 && was.payload.len() == is.payload.len() {
            flags(was, is, findings);
            if was.options != is.options {
                let text =
                    || format!("{} has {}, sent with {}", segment_text(was), hex(&is.options), hex(&was.options));
                findings.add(Kind::OptionsChanged, text);
            }
        }
        if !same_class(was.tos, is.tos) || was.label != is.label {
            let text =
                |segment: &Segment| format!("DSCP and ECN {:02x}, flow label {:05x}", segment.tos, segment.label);
            findings.add(Kind::HeaderChanged, || {
                format!("{} came with {}, sent with {}", segment_text(was), text(is), text(was))
            });
        }
    }
    around(&pairs, findings);
    stayed
}

/// The headers of the tunnel alone, between two places that both see them.
pub fn outer(handed: &[Frame], wire: &[Frame], wanted: impl Fn(&Flow) -> bool, findings: &mut Findings) {
    let (expected, came) = (expand(handed, &wanted), expand(wire, &wanted));
    around(&Pairs::new(&expected, &came), findings);
}

fn around(pairs: &Pairs<'_>, findings: &mut Findings) {
    let outer_id = |was: &Segment, is: &Segment| {
        let (was, is) = (was.outer?, is.outer?);
        Some((was.id?, is.id?, was.dont_fragment))
    };
    identifications(pairs, outer_id, Kind::WrongOuterIpId, findings);
    for (was, is) in pairs.iter() {
        let (Some(before), Some(behind)) = (was.outer, is.outer) else { continue };
        if before.vni != behind.vni {
            let text = || format!("{}: number {} came, {} was sent", segment_text(was), behind.vni, before.vni);
            findings.add(Kind::VniChanged, text);
        }
        if before.from.1 != behind.from.1 {
            let (is, from) = (behind.from.1, before.from.1);
            findings.add(Kind::OuterPort, || format!("{}: from port {is}, {from} was sent", segment_text(was)));
        }
        let ends = |outer: &Outer| (outer.from.0, outer.to);
        if ends(&before) != ends(&behind) || !same_class(before.tos, behind.tos) {
            let text = |outer: &Outer| {
                let to = SocketAddr::new(outer.to.0, outer.to.1);
                format!("{} to {to}, DSCP and ECN {:02x}", outer.from.0, outer.tos)
            };
            findings.add(Kind::OuterChanged, || {
                format!("{}: {}; sent {}", segment_text(was), text(&behind), text(&before))
            });
        }
    }
}

/// The same, but for a mark of congestion on what may be marked (RFC 3168).
fn same_class(was: u8, is: u8) -> bool {
    was == is || (was & !ECN == is & !ECN && was & ECN != 0 && is & ECN == CE)
}

/// FIN and PSH stand on the last segment only, CWR on the first; the others on each.
fn flags(was: &Segment, is: &Segment, findings: &mut Findings) {
    let (index, count) = was.place;
    let (first, last) = (index == 0, index + 1 == count);
    if is.flags & FIN != 0 && (!last || was.flags & FIN == 0) {
        findings.add(Kind::FinOnEach, || segment_text(was));
    }
    // Only beside the word that it is ECN of RFC 3168: with accurate ECN it is a part of a counter, and stays.
    if is.flags & CWR != 0 && (was.flags & CWR == 0 || !first && was.ecn_rule) {
        findings.add(Kind::CwrOnEach, || segment_text(was));
    }
    let anywhere = !(FIN | PUSH | CWR);
    let mut kept = was.flags & anywhere;
    kept |= if last { was.flags & (FIN | PUSH) } else { 0 };
    kept |= if first { was.flags & CWR } else { 0 };
    if kept & !is.flags != 0 || is.flags & anywhere & !was.flags != 0 {
        let (came, sent) = (is.flags, was.flags);
        findings.add(Kind::FlagsChanged, || format!("{}: flags {came:02x}, {sent:02x} sent", segment_text(was)));
    }
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "no options".to_owned() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

/// Identifications of the segments of a super-packet count up, or stay where they need not differ (RFC 6864): of how many they
/// stayed.
fn identifications(
    pairs: &Pairs<'_>,
    of: impl Fn(&Segment, &Segment) -> Option<(u16, u16, bool)>,
    kind: Kind,
    findings: &mut Findings,
) -> u64 {
    let mut groups: HashMap<usize, (bool, bool, Option<String>)> = HashMap::new();
    for (was, is) in pairs.iter() {
        let Some((base, id, dont_fragment)) = of(was, is) else { continue };
        let group = groups.entry(was.frame).or_insert((true, true, None));
        let counts = id == base.wrapping_add(was.place.0 as u16);
        let stays = id == base && dont_fragment;
        if !counts && !stays && group.2.is_none() {
            group.2 = Some(format!("{} has IP-ID {id}, the first has {base}", segment_text(was)));
        }
        (group.0, group.1) = (group.0 && counts, group.1 && stays);
    }
    let stayed = groups.values().filter(|(counts, stays, _)| !counts && *stays).count() as u64;
    let mut wrong: Vec<_> = groups.into_iter().filter(|(_, (counts, stays, _))| !counts && !stays).collect();
    wrong.sort_by_key(|(frame, _)| *frame);
    for (_, (_, _, example)) in wrong {
        findings.add(kind, || example.unwrap_or_else(|| "neither counts up nor stays".to_owned()));
    }
    stayed
}

/// Do the lengths of the headers of a frame that came account for all of it, and the ECN of a tunnel for what is in it?
pub fn lengths(frame: &Frame, layers: &Layers, findings: &mut Findings) {
    if !frame.is_whole() || frame.vnet.is_super() {
        return;
    }
    let (Some(network), Some(inner)) = (&layers.network, layers.inner.as_deref()) else { return };
    let Some(within) = &inner.network else { return };
    let carried = network.end - inner.ethernet.min(network.end);
    if within.cut || within.end != network.end && carried > PADDED + 4 * inner.tags.len() {
        let (says, has) = (within.end - within.start, network.end - within.start.min(network.end));
        let says = if within.cut { "more".to_owned() } else { says.to_string() };
        findings.add(Kind::WrongLength, || format!("the packet in the tunnel says {says} bytes, there are {has}"));
    }
    if network.tos & ECN != 0 && within.tos & ECN == 0 {
        let text = || format!("ECN {} around a packet that does not take part (RFC 6040)", network.tos & ECN);
        findings.add(Kind::OuterChanged, text);
    }
}

#[cfg(test)]
mod tests;
