//! Ethernet, VLAN, IPv4, IPv6, TCP, UDP, VXLAN and GENEVE, as offsets into the frame.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::frame::Tag;

/// Ports that VXLAN is spoken on: IANA's and Linux's old one.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The network header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Where it begins.
    pub start: usize,
    /// Where the packet ends by its own length, no further than the frame.
    pub end: usize,
    /// Its own length field said more than the frame has.
    pub cut: bool,
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv6's flow label, 20 bits.
    pub label: u32,
    /// IPv4's identification.
    pub id: Option<u16>,
    /// Don't fragment (always with IPv6).
    pub dont_fragment: bool,
    /// A fragment: what follows is not a whole packet.
    pub fragment: bool,
    /// Is the sum of an IPv4 header right? True with IPv6.
    pub header_sum_ok: bool,
}

/// The transport header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// 6 or 17.
    pub protocol: u8,
    /// Where it begins.
    pub start: usize,
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
    /// Where its checksum stands.
    pub checksum_at: usize,
    /// The checksum as it stands.
    pub checksum: u16,
    /// TCP's sequence number.
    pub seq: u32,
    /// TCP's flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// What it carries.
    pub payload: Range<usize>,
}

impl Transport {
    /// TCP?
    pub fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }
}

/// The layers of a frame that were understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layers {
    /// Where the Ethernet header begins.
    pub ethernet: usize,
    /// Tags in the bytes, outermost first.
    pub tags: Vec<Tag>,
    /// IPv4 or IPv6.
    pub network: Option<Network>,
    /// TCP or UDP.
    pub transport: Option<Transport>,
    /// What a tunnel carries.
    pub inner: Option<Box<Layers>>,
}

impl Layers {
    /// The layers of the packet that the tunnels carry, or these themselves.
    pub fn innermost(&self) -> &Self {
        self.inner.as_ref().map_or(self, |inner| inner.innermost())
    }
}

/// Takes a frame apart as far as it can be understood.
pub fn parse(bytes: &[u8]) -> Layers {
    at(bytes, 0, bytes.len(), 2)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(word(bytes, at)?) << 16 | u32::from(word(bytes, at + 2)?))
}

fn at(bytes: &[u8], start: usize, end: usize, depth: u8) -> Layers {
    let bytes = &bytes[..end.min(bytes.len())];
    let mut layers = Layers { ethernet: start, ..Layers::default() };
    let mut next = start + 12;
    let Some(mut kind) = word(bytes, next) else { return layers };
    while matches!(kind, 0x8100 | 0x88a8) && layers.tags.len() < 4 {
        let (Some(tci), Some(inside)) = (word(bytes, next + 2), word(bytes, next + 4)) else { return layers };
        layers.tags.push(Tag { tpid: kind, tci });
        (kind, next) = (inside, next + 4);
    }
    let found = match kind {
        0x0800 => ipv4(bytes, next + 2),
        0x86dd => ipv6(bytes, next + 2),
        _ => None,
    };
    let Some((network, protocol, transport_at)) = found else { return layers };
    if !network.fragment {
        layers.transport = transport(&bytes[..network.end], protocol, transport_at);
    }
    let end = network.end;
    layers.network = Some(network);
    if let Some(udp) = layers.transport.as_ref().filter(|transport| transport.protocol == UDP && depth > 0)
        && let Some(inside) = tunnelled(bytes, udp)
    {
        layers.inner = Some(Box::new(at(bytes, inside, end, depth - 1)));
    }
    layers
}

fn ipv4(bytes: &[u8], start: usize) -> Option<(Network, u8, usize)> {
    let header = usize::from(bytes.get(start)? & 0x0f) * 4;
    if bytes[start] >> 4 != 4 || header < 20 {
        return None;
    }
    let whole = bytes.get(start..start + header)?;
    let length = usize::from(word(bytes, start + 2)?);
    let flags = word(bytes, start + 6)?;
    let address = |at: usize| Some(Ipv4Addr::from_bits(long(whole, at)?));
    if length < header {
        return None;
    }
    let network = Network {
        start,
        end: (start + length).min(bytes.len()),
        cut: start + length > bytes.len(),
        from: address(12)?.into(),
        to: address(16)?.into(),
        tos: whole[1],
        label: 0,
        id: word(whole, 4),
        dont_fragment: flags & 0x4000 != 0,
        fragment: flags & 0x3fff != 0,
        header_sum_ok: super::checksum::fold(super::checksum::sum(whole)) == 0xffff,
    };
    Some((network, whole[9], start + header))
}

fn ipv6(bytes: &[u8], start: usize) -> Option<(Network, u8, usize)> {
    let whole = bytes.get(start..start + 40)?;
    if whole[0] >> 4 != 6 {
        return None;
    }
    let length = 40 + usize::from(word(whole, 4)?);
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(whole.get(at..at + 16)?).ok()?));
    let mut network = Network {
        start,
        end: (start + length).min(bytes.len()),
        cut: start + length > bytes.len(),
        from: address(8)?.into(),
        to: address(24)?.into(),
        tos: whole[0] << 4 | whole[1] >> 4,
        label: long(whole, 0)? & 0xf_ffff,
        id: None,
        dont_fragment: true,
        fragment: false,
        header_sum_ok: true,
    };
    let (mut protocol, mut next) = (whole[6], start + 40);
    for _ in 0..8 {
        match protocol {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                let length = 8 + usize::from(*bytes.get(next + 1)?) * 8;
                (protocol, next) = (bytes[next], next + length);
            }
            44 => {
                network.fragment = true;
                break;
            }
            _ => break,
        }
    }
    Some((network, protocol, next))
}

fn transport(bytes: &[u8], protocol: u8, start: usize) -> Option<Transport> {
    let (from, to) = (word(bytes, start)?, word(bytes, start + 2)?);
    match protocol {
        TCP => {
            let header = usize::from(bytes.get(start + 12)? >> 4) * 4;
            let whole = header >= 20 && start + header <= bytes.len();
            let payload = if whole { start + header..bytes.len() } else { return None };
            Some(Transport {
                protocol,
                start,
                from,
                to,
                checksum_at: start + 16,
                checksum: word(bytes, start + 16)?,
                seq: long(bytes, start + 4)?,
                flags: bytes[start + 13],
                payload,
            })
        }
        UDP => {
            let checksum = word(bytes, start + 6)?;
            let payload = start + 8..bytes.len();
            Some(Transport { protocol, start, from, to, checksum_at: start + 6, checksum, seq: 0, flags: 0, payload })
        }
        _ => None,
    }
}

/// Where the inner Ethernet header begins.
fn tunnelled(bytes: &[u8], udp: &Transport) -> Option<usize> {
    let header = udp.payload.start;
    let first = *bytes.get(header)?;
    match udp.to {
        // The I flag, and nothing that is not known.
        port if VXLAN_PORTS.contains(&port) && first & 0x08 != 0 => Some(header + 8),
        GENEVE_PORT if first >> 6 == 0 && word(bytes, header + 2) == Some(0x6558) => {
            Some(header + 8 + usize::from(first & 0x3f) * 4)
        }
        _ => by_content(bytes, header),
    }
}

/// A tunnel on a port of its own is known by what stands there: its header to the last reserved bit, and a packet within whose
/// own length accounts for all that follows (or for a frame that was filled up to 60 bytes).
fn by_content(bytes: &[u8], header: usize) -> Option<usize> {
    let head = bytes.get(header..header + 8)?;
    let vxlan = head[0] == 0x08 && head[1..4] == [0, 0, 0];
    let geneve = head[0] >> 6 == 0 && head[1] & 0x3f == 0 && head[2..4] == [0x65, 0x58];
    let inside = match (vxlan, geneve) {
        _ if head[7] != 0 => return None,
        (true, _) => header + 8,
        (_, true) => header + 8 + usize::from(head[0] & 0x3f) * 4,
        _ => return None,
    };
    let within = at(bytes, inside, bytes.len(), 0).network?;
    let accounts = within.end == bytes.len() || bytes.len() <= inside + 60;
    (accounts && !within.cut && within.header_sum_ok).then_some(inside)
}
