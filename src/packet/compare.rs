//! What was handed to a device against what came out of it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    checksum::{self, Place, Sum},
    finding::{Findings, Kind},
    frame::{Frame, Tag},
    headers,
    parse::{Layers, parse},
    segments::{Flow, Segment, expand, flow_of, segment_text},
};

/// TCP's PSH.
const PUSH: u8 = 8;

/// What the wire allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MTU of the wire: IP bytes of a packet.
    pub mtu: usize,
    /// Both captures are complete: what is missing was not merely overlooked.
    pub complete: bool,
}

/// What a comparison saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// What is wrong.
    pub findings: Findings,
    /// Segments that were handed over.
    pub handed: u64,
    /// Those of them that were handed over before: TCP sent them again.
    pub repeated: u64,
    /// Segments that came.
    pub came: u64,
    /// Super-packets among the frames handed over.
    pub supers: u64,
    /// Super-packets with DF of whose segments the identifications stayed.
    pub stayed: u64,
    /// Super-packets among the frames that came: they were not cut, or put together again.
    pub merged: u64,
    /// Frames that were handed over with their checksum left to do.
    pub partial: u64,
    /// Frames that came with it left to do, as said beside them.
    pub partial_on_wire: u64,
    /// Frames that came with the word that their checksum was verified.
    pub verified: u64,
    /// What was around the packets that came in a tunnel.
    pub around: BTreeSet<Around>,
    /// Flows that came in a tunnel, each with the outer source port by which its first packet came.
    pub entropy: HashMap<Flow, u16>,
}

/// What is around a packet in a tunnel of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Around {
    /// 4 or 6.
    pub family: u8,
    /// Does the outer UDP header have a checksum?
    pub sums: bool,
    /// Destination port.
    pub port: u16,
}

impl Around {
    fn of(layers: &Layers) -> Option<Self> {
        layers.inner.as_ref()?;
        let (network, transport) = (layers.network.as_ref()?, layers.transport.as_ref()?);
        Some(Self {
            family: if network.from.is_ipv4() { 4 } else { 6 },
            sums: transport.checksum != 0,
            port: transport.to,
        })
    }
}

/// Compares two captures of the flows that `wanted` accepts.
pub fn compare(handed: &[Frame], wire: &[Frame], limits: Limits, wanted: impl Fn(&Flow) -> bool) -> Comparison {
    let mut result = Comparison::default();
    let expected = expand(handed, &wanted);
    let came = expand(wire, &wanted);
    (result.handed, result.came) = (expected.len() as u64, came.len() as u64);
    let mut numbers = HashSet::new();
    result.repeated = expected.iter().filter(|segment| !numbers.insert((segment.flow, segment.number))).count() as u64;
    let belongs = |layers: &Layers| flow_of(layers).is_some_and(|flow| wanted(&flow));
    for frame in handed {
        if belongs(&parse(&frame.bytes)) {
            result.supers += u64::from(frame.vnet.is_super());
            result.partial += u64::from(frame.is_partial());
        }
    }
    for frame in wire {
        let layers = parse(&frame.bytes);
        if layers.innermost().network.as_ref().is_some_and(|network| network.fragment)
            || layers.network.as_ref().is_some_and(|network| network.fragment)
        {
            result.findings.add(Kind::Fragmented, || describe(&layers));
            continue;
        }
        if !belongs(&layers) {
            continue;
        }
        result.merged += u64::from(frame.vnet.is_super());
        result.partial_on_wire += u64::from(frame.is_partial());
        result.verified += u64::from(frame.claimed_valid());
        result.around.extend(Around::of(&layers));
        if let (Some(flow), Some(outer)) = (flow_of(&layers), headers::Outer::of(&frame.bytes, &layers)) {
            result.entropy.entry(flow).or_insert(outer.from.1);
        }
        sums(frame, &layers, &mut result.findings);
        headers::lengths(frame, &layers, &mut result.findings);
    }
    result.stayed = Matching::new(&expected, limits).run(&came, &mut result.findings);
    result
}

/// The checksums of a frame that came.
pub fn sums(frame: &Frame, layers: &Layers, findings: &mut Findings) {
    for (place, sum) in checksum::all(frame) {
        let kind = match (sum, place) {
            (Sum::Good | Sum::Absent, _) => continue,
            (Sum::Partial, _) => Kind::PartialChecksum,
            (Sum::Wrong, Place::Only) => Kind::WrongChecksum,
            (Sum::Wrong, Place::Outer) => Kind::WrongOuterChecksum,
            (Sum::Wrong, Place::Inner) => Kind::WrongInnerChecksum,
        };
        findings.add(kind, || describe(layers));
        if frame.claimed_valid() {
            findings.add(Kind::ValidOnCorrupt, || describe(layers));
        }
    }
    if frame.is_whole() && !frame.vnet.is_super() && !checksum::headers_ok(layers) {
        findings.add(Kind::WrongHeaderChecksum, || describe(layers));
    }
}

/// A packet in words.
pub fn describe(layers: &Layers) -> String {
    let inner = layers.innermost();
    let around = if layers.inner.is_some() { " in a tunnel" } else { "" };
    match (&inner.network, &inner.transport) {
        (Some(network), Some(transport)) => {
            let name = if transport.is_tcp() { "TCP" } else { "UDP" };
            let number = if transport.is_tcp() { format!(" seq {}", transport.seq) } else { String::new() };
            format!(
                "{name} {} to {}{number}, {} bytes, checksum {:04x}{around}",
                end_point(network.from, transport.from),
                end_point(network.to, transport.to),
                transport.payload.len(),
                transport.checksum
            )
        }
        (Some(network), None) => format!("a packet from {} to {}{around}", network.from, network.to),
        _ => "a frame without IP".to_owned(),
    }
}

fn end_point(address: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Finds the expected segment that each one on the wire is.
struct Matching<'a> {
    expected: &'a [Segment],
    limits: Limits,
    /// Not yet seen, by flow and number; the last is the next.
    open: HashMap<(Flow, u32), Vec<usize>>,
    seen: Vec<bool>,
    /// By flow: a device of several queues keeps the order of each, and no other.
    latest: HashMap<Flow, usize>,
    streams: HashMap<Flow, Stream>,
}

/// The bytes of a TCP flow as they were handed over, and which of them came in another cut.
#[derive(Default)]
struct Stream {
    base: u32,
    bytes: Vec<u8>,
    came: Vec<bool>,
}

impl Stream {
    fn add(&mut self, segment: &Segment) {
        if self.bytes.is_empty() {
            self.base = segment.number;
        }
        let at = segment.number.wrapping_sub(self.base) as usize;
        // Far from what is known it is another connection's, or sent before the capture began.
        if at <= self.bytes.len() {
            let end = at + segment.payload.len();
            self.bytes.resize(self.bytes.len().max(end), 0);
            self.came.resize(self.bytes.len(), false);
            self.bytes[at..end].copy_from_slice(&segment.payload);
        }
    }

    fn place(&self, segment: &Segment) -> Option<std::ops::Range<usize>> {
        let at = segment.number.wrapping_sub(self.base) as usize;
        let end = at.checked_add(segment.payload.len())?;
        (end <= self.bytes.len()).then_some(at..end)
    }

    /// Notes what came; the first byte that is not as handed over.
    fn take(&mut self, segment: &Segment) -> Result<(), Option<usize>> {
        let place = self.place(segment).ok_or(None)?;
        let differs = |(a, b): (&u8, &u8)| a != b;
        match segment.payload.iter().zip(&self.bytes[place.clone()]).position(differs) {
            Some(at) => Err(Some(at)),
            None => {
                self.came[place].fill(true);
                Ok(())
            }
        }
    }

    fn has(&self, segment: &Segment) -> bool {
        self.place(segment).is_some_and(|place| self.came[place].iter().all(|came| *came))
    }
}

impl<'a> Matching<'a> {
    fn new(expected: &'a [Segment], limits: Limits) -> Self {
        let mut open: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, segment) in expected.iter().enumerate().rev() {
            open.entry((segment.flow, segment.number)).or_default().push(at);
        }
        let mut streams: HashMap<Flow, Stream> = HashMap::new();
        for segment in expected.iter().filter(|segment| segment.flow.protocol == 6) {
            streams.entry(segment.flow).or_default().add(segment);
        }
        Self { expected, limits, open, seen: vec![false; expected.len()], latest: HashMap::new(), streams }
    }

    fn run(mut self, came: &[Segment], findings: &mut Findings) -> u64 {
        for segment in came {
            let Some(queue) = self.open.get_mut(&(segment.flow, segment.number)) else {
                self.other_cut(segment, findings);
                continue;
            };
            // What was handed over twice (TCP sent it again) came by the later one, where that keeps the order.
            let latest = self.latest.get(&segment.flow).copied();
            let later = queue.iter().rposition(|at| latest.is_none_or(|latest| *at > latest));
            match later.or(queue.len().checked_sub(1)).map(|pick| queue.remove(pick)) {
                Some(at) => self.matched(at, segment, findings),
                // It was seen as often as it was handed over already.
                None => findings.add(Kind::Duplicated, || segment_text(segment)),
            }
        }
        let stayed = headers::judge(self.expected, came, findings);
        if self.limits.complete {
            self.unseen(findings);
        }
        stayed
    }

    fn matched(&mut self, at: usize, segment: &Segment, findings: &mut Findings) {
        let expected = &self.expected[at];
        self.seen[at] = true;
        let latest = self.latest.entry(expected.flow).or_insert(at);
        if *latest > at {
            let latest = &self.expected[*latest];
            findings.add(Kind::Reordered, || format!("{} came after {}", segment_text(expected), segment_text(latest)));
        }
        *latest = (*latest).max(at);
        if segment.ip_length > self.limits.mtu {
            findings.add(Kind::Oversize, || {
                format!("{} in a packet of {} bytes, MTU {}", segment_text(segment), segment.ip_length, self.limits.mtu)
            });
        }
        // Cut elsewhere, or to be cut elsewhere (Open vSwitch says another size than it was told): the bytes decide.
        let other_cut = segment.payload.len() < expected.payload.len() || segment.place.1 > 1;
        if expected.flow.protocol == 6 && segment.payload.len() != expected.payload.len() && other_cut {
            self.seen[at] = false;
            return self.other_cut(segment, findings);
        }
        if segment.payload.len() > expected.payload.len() {
            return self.swallowed(at, segment, findings);
        }
        if segment.payload != expected.payload {
            let differs = |(a, b): (&u8, &u8)| a != b;
            let place = segment.payload.iter().zip(&expected.payload).position(differs);
            findings.add(Kind::PayloadChanged, || match place {
                Some(place) => format!(
                    "{}, byte {place} is {:02x}, {:02x} was sent",
                    segment_text(expected),
                    segment.payload[place],
                    expected.payload[place]
                ),
                None => format!("{} came with {} bytes", segment_text(expected), segment.payload.len()),
            });
        }
        let (index, count) = expected.place;
        let cut = segment.place == (0, 1);
        if cut && segment.flags & PUSH != 0 && (index + 1 < count || expected.flags & PUSH == 0) {
            findings.add(Kind::PushOnEach, || segment_text(expected));
        }
        tags(expected, segment, findings);
    }

    /// A segment of TCP that begins or ends elsewhere than any that was handed over.
    fn other_cut(&mut self, segment: &Segment, findings: &mut Findings) {
        let Some(stream) = self.streams.get_mut(&segment.flow) else { return };
        if let Err(Some(at)) = stream.take(segment) {
            findings.add(Kind::PayloadChanged, || format!("{}, byte {at} is another", segment_text(segment)));
        }
        if segment.ip_length > self.limits.mtu {
            findings.add(Kind::Oversize, || format!("{}, MTU {}", segment_text(segment), self.limits.mtu));
        }
    }

    /// More came in one packet than was handed over in one.
    fn swallowed(&mut self, at: usize, segment: &Segment, findings: &mut Findings) {
        let mut rest = segment.payload.len() - self.expected[at].payload.len();
        let mut next = at + 1;
        while rest > 0 && next < self.expected.len() && self.expected[next].flow == segment.flow {
            let key = (segment.flow, self.expected[next].number);
            if let Some(queue) = self.open.get_mut(&key)
                && queue.last() == Some(&next)
            {
                queue.pop();
            }
            self.seen[next] = true;
            rest = rest.saturating_sub(self.expected[next].payload.len());
            next += 1;
        }
        // A frame larger than the wire takes is named by its size; the same within the MTU was put together wrongly.
        if segment.ip_length <= self.limits.mtu {
            let (was, is) = (self.expected[at].payload.len(), segment.payload.len());
            findings.add(Kind::OverMerged, || format!("{} came with {is} bytes, sent as {was}", segment_text(segment)));
        }
    }

    fn unseen(&self, findings: &mut Findings) {
        let in_another_cut =
            |expected: &Segment| self.streams.get(&expected.flow).is_some_and(|stream| stream.has(expected));
        for (at, expected) in self.expected.iter().enumerate().filter(|(at, _)| !self.seen[*at]) {
            if in_another_cut(expected) {
                continue;
            }
            let (_, count) = expected.place;
            let others = count > 1
                && (at.saturating_sub(count)..(at + count).min(self.expected.len()))
                    .filter(|&other| self.expected[other].frame == expected.frame)
                    .any(|other| self.seen[other] || in_another_cut(&self.expected[other]));
            let kind = if others { Kind::MissingSegment } else { Kind::Lost };
            findings.add(kind, || segment_text(expected));
        }
    }
}

fn tags(expected: &Segment, segment: &Segment, findings: &mut Findings) {
    if expected.tags == segment.tags {
        return;
    }
    let show = |segment: &Segment| {
        let each = segment.tags.iter().map(|tag| {
            let dei = if tag.tci & 0x1000 != 0 { " DEI" } else { "" };
            format!("VLAN {} priority {}{dei} ({:04x})", tag.tci & 0xfff, tag.tci >> 13, tag.tpid)
        });
        if segment.tags.is_empty() { "no tag".to_owned() } else { each.collect::<Vec<_>>().join(" around ") }
    };
    findings.add(tag_kind(&expected.tags, &segment.tags), || {
        format!("{} came, {} was sent", show(segment), show(expected))
    });
}

/// What became of tags that differ, outermost first.
fn tag_kind(sent: &[Tag], came: &[Tag]) -> Kind {
    let numbers = |tags: &[Tag]| tags.iter().map(|tag| tag.tci & 0xfff).collect::<Vec<_>>();
    let differ = |what: fn(&Tag) -> u16| sent.iter().zip(came).any(|(sent, came)| what(sent) != what(came));
    let mut turned = numbers(came);
    turned.reverse();
    match sent.len() == came.len() {
        false if came.len() < sent.len() => Kind::TagLost,
        true if numbers(sent) != numbers(came) && numbers(sent) == turned => Kind::TagOrder,
        true if numbers(sent) != numbers(came) => Kind::TagChanged,
        true if differ(|tag| tag.tpid) => Kind::TagProtocol,
        true if differ(|tag| tag.tci >> 13) => Kind::TagPriority,
        true => Kind::TagDei,
        false => Kind::TagChanged,
    }
}

#[cfg(test)]
mod tests;
