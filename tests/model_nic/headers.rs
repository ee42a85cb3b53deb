//! Headers that a card spoils while it cuts.

use netbench::packet::Layers;

use super::Fault;

/// By how much the identification of the segment with this number is more than that of the first.
pub fn step(fault: Fault, at: u16, depth: usize, is_outer: bool) -> u16 {
    let down = match fault {
        Fault::WrongIpId => true,
        Fault::InnerIpId => depth > 0,
        Fault::OuterIpId => is_outer,
        _ => false,
    };
    match fault {
        Fault::FixedIpId => 0,
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
