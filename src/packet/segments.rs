//! The packets that a frame stands for: itself, or what a super-packet is to be cut into.

use std::net::IpAddr;

use super::{
    frame::{Frame, GSO_ECN, Tag},
    headers::Outer,
    parse::{Layers, parse},
};

/// First bytes of a datagram of a probe; its number follows, both big endian.
pub const MARK: u32 = 0x6e62_7072;

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source.
    pub from: (IpAddr, u16),
    /// Destination.
    pub to: (IpAddr, u16),
    /// 6 or 17.
    pub protocol: u8,
}

/// A packet as the wire shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its flow, within tunnels.
    pub flow: Flow,
    /// TCP's sequence number, or the number of a marked datagram.
    pub number: u32,
    /// What it carries.
    pub payload: Vec<u8>,
    /// TCP's flags.
    pub flags: u8,
    /// IPv4's identification as it stands in the frame (for a super-packet that of its first segment).
    pub id: Option<u16>,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv6's flow label.
    pub label: u32,
    /// TCP's options.
    pub options: Vec<u8>,
    /// CWR belongs on the first segment only, as was said beside it.
    pub ecn_rule: bool,
    /// The header of the tunnel around it.
    pub outer: Option<Outer>,
    /// Place within a super-packet, and how many it has; `(0, 1)` for a frame that is one packet.
    pub place: (usize, usize),
    /// Which frame of the capture.
    pub frame: usize,
    /// Tags, in the bytes or beside them, outermost first.
    pub tags: Vec<Tag>,
    /// IP bytes of the outermost packet: what is held against the MTU. 0 where it is still to be cut.
    pub ip_length: usize,
}

/// Number of a marked datagram.
pub fn marked(payload: &[u8]) -> Option<u32> {
    let (mark, rest) = payload.split_first_chunk()?;
    (u32::from_be_bytes(*mark) == MARK).then(|| rest.first_chunk().map(|number| u32::from_be_bytes(*number)))?
}

/// All segments of the frames that carry payload and belong to a flow that `wanted` accepts.
pub fn expand(frames: &[Frame], wanted: impl Fn(&Flow) -> bool) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        of_frame(frame, at, &wanted, &mut segments);
    }
    segments
}

/// The flow of the innermost packet.
pub fn flow_of(layers: &Layers) -> Option<Flow> {
    let inner = layers.innermost();
    let (network, transport) = (inner.network.as_ref()?, inner.transport.as_ref()?);
    Some(Flow { from: (network.from, transport.from), to: (network.to, transport.to), protocol: transport.protocol })
}

fn of_frame(frame: &Frame, at: usize, wanted: &impl Fn(&Flow) -> bool, segments: &mut Vec<Segment>) {
    let layers = parse(&frame.bytes);
    let Some(flow) = flow_of(&layers).filter(|flow| wanted(flow)) else { return };
    let inner = layers.innermost();
    let (Some(network), Some(transport)) = (&inner.network, &inner.transport) else { return };
    let payload = &frame.bytes[transport.payload.clone()];
    // Of a packet in a tunnel its own: those around the tunnel belong to another wire.
    let tags: Vec<Tag> = match &layers.inner {
        Some(_) => inner.tags.clone(),
        None => frame.stripped.into_iter().chain(layers.tags.iter().copied()).collect(),
    };
    let ip_length = match layers.network.as_ref() {
        Some(outer) if !frame.vnet.is_super() => outer.end - outer.start,
        _ => 0,
    };
    let outer = Outer::of(&frame.bytes, &layers);
    let options = match transport.is_tcp() {
        true => &frame.bytes[transport.start + 20..transport.payload.start],
        false => &[],
    };
    let size = if frame.vnet.is_super() { usize::from(frame.vnet.gso_size) } else { payload.len().max(1) };
    let count = payload.len().div_ceil(size);
    for (index, part) in payload.chunks(size).enumerate() {
        let number = if transport.is_tcp() {
            transport.seq.wrapping_add((index * size) as u32)
        } else {
            match marked(part) {
                Some(number) => number,
                None => continue,
            }
        };
        segments.push(Segment {
            flow,
            number,
            payload: part.to_vec(),
            flags: transport.flags,
            id: network.id,
            dont_fragment: network.dont_fragment,
            tos: network.tos,
            label: network.label,
            options: options.to_vec(),
            ecn_rule: frame.vnet.gso_type & GSO_ECN != 0,
            outer,
            place: (index, count),
            frame: at,
            tags: tags.clone(),
            ip_length,
        });
    }
}

/// A segment in words.
pub(super) fn segment_text(segment: &Segment) -> String {
    let (index, count) = segment.place;
    let name = if segment.flow.protocol == 6 { "TCP seq" } else { "UDP datagram" };
    let place = if count > 1 { format!(", segment {} of {count}", index + 1) } else { String::new() };
    format!("{name} {}, {} bytes{place}", segment.number, segment.payload.len())
}
