//! Headers that a card spoils while it cuts.

use netbench::packet::{
    Layers, VnetHeader,
    checksum::{fold, sum},
    parse,
};

use super::Fault;

/// By how much the identification of the segment with this number is more than that of the first.
pub fn step(fault: Fault, at: u16, depth: usize, is_outer: bool, dont_fragment: bool) -> u16 {
    let down = match fault {
        Fault::WrongIpId => true,
        Fault::InnerIpId => depth > 0,
        Fault::OuterIpId => is_outer,
        _ => false,
    };
    match fault {
        Fault::FixedIpId => 0,
        Fault::FixedIpIdUnsaid if dont_fragment => 0,
        _ if down => at.wrapping_mul(0xffff),
        _ => at,
    }
}

/// TCP's flags of the segment with this number, of those that the super-packet has.
pub fn flags(fault: Fault, flags: u8, at: usize, last: usize) -> u8 {
    let (fin, push, cwr) = (0x01, 0x08, 0x80);
    let mut kept = flags;
    if at < last {
        kept &= !(fin | push);
    }
    if at > 0 {
        kept &= !cwr;
    }
    match fault {
        Fault::PushOnEach if at < last => kept | push,
        Fault::FinOnFirst if at == 0 => kept | flags & fin,
        Fault::CwrOnEach => kept | flags & cwr,
        _ => kept,
    }
}

/// TCP's options, and what is around a packet in a tunnel: before the checksums are made.
pub fn spoil(fault: Fault, bytes: &mut [u8], layers: &Layers, at: u16) {
    let (Some(network), Some(transport)) = (&layers.network, &layers.transport) else { return };
    if transport.is_tcp() && fault == Fault::OptionsLost && at > 0 {
        bytes[transport.start + 20..transport.payload.start].fill(1);
    }
    if layers.inner.is_none() {
        return;
    }
    match fault {
        Fault::VniChanged => bytes[transport.payload.start + 6] ^= 1,
        Fault::OuterPort => bytes[transport.start + 1] ^= at as u8,
        Fault::OuterEcnLost if network.from.is_ipv4() => bytes[network.start + 1] &= !3,
        Fault::OuterEcnLost => bytes[network.start + 1] &= !0x30,
        _ => {}
    }
}

/// Checksums that are wrong only now and then, of a frame whose sum is done.
pub fn odd_sum(fault: Fault, bytes: &mut [u8], vnet: VnetHeader) {
    if !vnet.needs_checksum() || vnet.csum_offset != 6 {
        return;
    }
    let (start, at) = (usize::from(vnet.csum_start), usize::from(vnet.csum_start + vnet.csum_offset));
    match fault {
        Fault::ZeroSum if bytes[at..at + 2] == [0xff, 0xff] => bytes[at..at + 2].fill(0),
        Fault::NoOptions => {
            let Some(network) = parse(bytes).network else { return };
            let without = network.start + if network.from.is_ipv4() { 20 } else { 40 };
            // What it takes for a part of the datagram goes into the sum.
            let old = !u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let checksum = !fold(u64::from(old) + sum(&bytes[without..start]));
            bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        _ => {}
    }
}

/// Is there more than the packet says?
pub fn is_padded(bytes: &[u8]) -> bool {
    parse(bytes).network.is_some_and(|network| network.end < bytes.len() && bytes[network.end] != 0)
}

/// What is around a packet in a tunnel takes part in ECN, and is not marked.
pub fn mark(fault: Fault, bytes: &mut [u8]) {
    let layers = parse(bytes);
    let Some(network) = layers.network.filter(|_| fault == Fault::MarkLost && layers.inner.is_some()) else { return };
    let (start, v4) = (network.start, network.from.is_ipv4());
    if v4 && bytes[start + 1] & 3 == 3 {
        bytes[start + 1] ^= 1;
        bytes[start + 10..start + 12].fill(0);
        let header = !fold(sum(&bytes[start..start + 20]));
        bytes[start + 10..start + 12].copy_from_slice(&header.to_be_bytes());
    } else if !v4 && bytes[start + 1] & 0x30 == 0x30 {
        bytes[start + 1] ^= 0x10;
    }
}
