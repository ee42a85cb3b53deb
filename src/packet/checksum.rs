//! Internet checksums (RFC 1071): which are right, which were left undone, which are wrong.

use std::net::IpAddr;

use super::{
    frame::Frame,
    parse::{Layers, Network, Transport, parse},
};

/// What is to be said of one checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Right.
    Good,
    /// UDP without one, where that is allowed.
    Absent,
    /// The sum of the pseudo-header alone: it was left to a device that did not do it.
    Partial,
    /// Something else.
    Wrong,
}

/// Where a checksum stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The only transport header.
    Only,
    /// The tunnel's own.
    Outer,
    /// Within a tunnel.
    Inner,
}

/// The ones' complement sum of 16-bit words, not folded.
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&last| u64::from(last) << 8);
    words.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u64>() + odd
}

/// Folds to 16 bits; not inverted.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sum of the pseudo-header.
pub fn pseudo(network: &Network, protocol: u8, length: usize) -> u64 {
    let addresses = match (network.from, network.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&from.octets()) + sum(&to.octets()),
        _ => 0,
    };
    addresses + u64::from(protocol) + length as u64
}

/// Judges one transport header; `None` where the packet is not whole.
pub fn judge(bytes: &[u8], network: &Network, transport: &Transport, zero_allowed: bool) -> Option<Sum> {
    if network.cut || network.fragment {
        return None;
    }
    let end = if transport.is_tcp() {
        network.end
    } else {
        let length = usize::from(super::parse::word(bytes, transport.start + 4)?);
        if length < 8 || transport.start + length > network.end {
            return Some(Sum::Wrong);
        }
        transport.start + length
    };
    let covered = bytes.get(transport.start..end)?;
    let header = pseudo(network, transport.protocol, covered.len());
    if !transport.is_tcp() && transport.checksum == 0 {
        return Some(if zero_allowed || network.from.is_ipv4() { Sum::Absent } else { Sum::Wrong });
    }
    if fold(header + sum(covered)) == 0xffff {
        return Some(Sum::Good);
    }
    // `__tcp_v4_send_check()` leaves the folded sum, not inverted; for a super-packet some devices want it without length.
    let left = [covered.len(), 0].map(|length| fold(pseudo(network, transport.protocol, length)));
    Some(if left.contains(&transport.checksum) { Sum::Partial } else { Sum::Wrong })
}

/// Does what a device is asked to do by `NEEDS_CSUM`: the frame as it ought to leave.
pub fn complete(frame: &Frame) -> Option<Vec<u8>> {
    let mut bytes = frame.bytes.clone();
    let start = usize::from(frame.vnet.csum_start);
    let at = start + usize::from(frame.vnet.csum_offset);
    let checksum = !fold(sum(bytes.get(start..)?));
    let is_udp = frame.vnet.csum_offset == 6;
    let checksum = if checksum == 0 && is_udp { 0xffff } else { checksum };
    bytes.get_mut(at..at + 2)?.copy_from_slice(&checksum.to_be_bytes());
    Some(bytes)
}

/// Every transport checksum of a frame with its place, those that are left to do on purpose done first. Empty for a
/// super-packet, whose sums are of segments to come, and for a frame that was cut.
pub fn all(frame: &Frame) -> Vec<(Place, Sum)> {
    if !frame.is_whole() || frame.vnet.is_super() {
        return Vec::new();
    }
    let completed = if frame.vnet.needs_checksum() { complete(frame) } else { None };
    if completed.is_none() && frame.is_partial() {
        return Vec::new();
    }
    let bytes = completed.as_deref().unwrap_or(&frame.bytes);
    let layers = parse(bytes);
    let mut found = Vec::new();
    each(bytes, &layers, &mut found);
    if frame.outgoing && completed.is_some() {
        // A device that sums where the frame lies changes what the capture shares with it: a sum is there already, or the
        // outer one is of the bytes as they are (QEMU's e1000e and igb write so). What it sent is judged where it arrives.
        let mut as_it_is = Vec::new();
        each(&frame.bytes, &layers, &mut as_it_is);
        for (seen, other) in found.iter_mut().zip(as_it_is) {
            if other.1 == Sum::Good {
                *seen = other;
            }
        }
    }
    if found.len() == 1 && layers.inner.is_none() {
        found[0].0 = Place::Only;
    }
    found
}

fn each(bytes: &[u8], layers: &Layers, found: &mut Vec<(Place, Sum)>) {
    if let (Some(network), Some(transport)) = (&layers.network, &layers.transport) {
        let place = if layers.inner.is_some() { Place::Outer } else { Place::Inner };
        found.extend(judge(bytes, network, transport, layers.inner.is_some()).map(|sum| (place, sum)));
    }
    if let Some(inner) = &layers.inner {
        each(bytes, inner, found);
    }
}

/// Is the header sum of every IPv4 header right?
pub fn headers_ok(layers: &Layers) -> bool {
    layers.network.as_ref().is_none_or(|network| network.header_sum_ok)
        && layers.inner.as_ref().is_none_or(|inner| headers_ok(inner))
}
