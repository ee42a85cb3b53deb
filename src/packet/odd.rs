//! Datagrams whose checksums are hard to do or to verify: at unusual places, of unusual lengths, with values that mean something
//! else. Each with what must become of it.

use super::{
    checksum::{complete, fold, pseudo, sum},
    craft::{Ends, TcpFields, left_to_do, marked_payload, spoil_checksum},
    frame::{Frame, Tag, VnetHeader},
    parse::parse,
};

/// IPv4 options: so many no-operations.
static NOOPS: [u8; 40] = [1; 40];
/// The shortest frame of Ethernet, bytes.
const SHORTEST: usize = 60;
/// What padding is filled with.
const FILLED: u8 = 0xa5;
/// VLAN 100.
const TAG: Tag = Tag { tpid: 0x8100, tci: 100 };

/// What must become of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered.
    Delivered,
    /// Nobody takes it; what counts is how it comes.
    Seen,
    /// It is refused, and this counter says so.
    Refused(&'static str),
}

/// Such a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// What is odd about it.
    pub name: &'static str,
    /// Its number, in the payload.
    pub number: u32,
    /// What is left to do.
    pub vnet: VnetHeader,
    /// The frame.
    pub bytes: Vec<u8>,
    /// UDP checksum with which it must come.
    pub checksum: u16,
    /// What must become of it.
    pub fate: Fate,
}

/// The checksum of the datagram in a frame.
fn checksum_of(bytes: &[u8]) -> Option<u16> {
    parse(bytes).transport.map(|transport| transport.checksum)
}

/// Option of experiments, which whoever does not know it skips (RFC 4727). The kernel takes no more than 7 bytes of padding.
const SKIPPED: u8 = 0x1e;

/// Puts an IPv6 header of destination options, filled with one of no meaning, before the datagram.
fn extended(bytes: &[u8], length: usize) -> Vec<u8> {
    let at = 14 + 40;
    let mut extended = bytes[..at].to_vec();
    let payload = u16::from_be_bytes([bytes[18], bytes[19]]) + length as u16;
    extended[18..20].copy_from_slice(&payload.to_be_bytes());
    extended[20] = 60;
    extended.extend([17, (length / 8 - 1) as u8, SKIPPED, (length - 4) as u8]);
    extended.resize(at + length, 0);
    extended.extend(&bytes[at..]);
    extended
}

/// Gives a datagram the last two bytes with which its sum is zero.
fn to_zero(bytes: &mut [u8]) {
    let layers = parse(bytes);
    let (Some(network), Some(transport)) = (&layers.network, &layers.transport) else { return };
    let (end, at) = (network.end, transport.checksum_at);
    bytes[at..at + 2].fill(0);
    bytes[end - 2..end].fill(0);
    let rest = !fold(pseudo(network, transport.protocol, end - transport.start) + sum(&bytes[transport.start..end]));
    bytes[end - 2..end].copy_from_slice(&rest.to_be_bytes());
    bytes[at..at + 2].copy_from_slice(&[0xff, 0xff]);
}

/// Datagrams whose checksum is left to the device: each kind once, with numbers from `first` on.
pub fn sent(ends: &Ends, first: u32) -> Vec<Odd> {
    let v4 = ends.from.is_ipv4();
    let plain = |length: usize| move |ends: &Ends, number: u32| ends.udp(&marked_payload(number, length));
    let options = |length: usize| {
        move |ends: &Ends, number: u32| {
            let ip_options = &NOOPS[..length];
            ends.udp_with(TcpFields { ip_options, ..TcpFields::default() }, &marked_payload(number, 61))
        }
    };
    let extension =
        |length: usize| move |ends: &Ends, number: u32| extended(&ends.udp(&marked_payload(number, 61)), length);
    let tagged = |ends: &Ends, number: u32| Ends { tag: Some(TAG), ..*ends }.udp(&marked_payload(number, 61));
    let zero = |ends: &Ends, number: u32| {
        let mut bytes = ends.udp(&marked_payload(number, 40));
        to_zero(&mut bytes);
        bytes
    };
    type Make<'a> = Box<dyn Fn(&Ends, u32) -> Vec<u8> + 'a>;
    let mut makes: Vec<(&'static str, Fate, Make<'_>)> = vec![
        ("an even length", Fate::Delivered, Box::new(plain(200))),
        ("an odd length", Fate::Delivered, Box::new(plain(201))),
        ("a sum of zero", Fate::Delivered, Box::new(zero)),
        ("a VLAN tag", Fate::Seen, Box::new(tagged)),
    ];
    if v4 {
        makes.push(("4 bytes of IP options", Fate::Delivered, Box::new(options(4))));
        makes.push(("40 bytes of IP options", Fate::Delivered, Box::new(options(40))));
    } else {
        makes.push(("8 bytes of IPv6 options", Fate::Delivered, Box::new(extension(8))));
        makes.push(("24 bytes of IPv6 options", Fate::Delivered, Box::new(extension(24))));
    }
    let mut all = Vec::new();
    for (number, (name, fate, make)) in (first..).zip(makes) {
        let mut bytes = make(ends, number);
        let Some(vnet) = left_to_do(&mut bytes) else { continue };
        let whole = Frame { length: bytes.len() as u32, bytes, vnet, ..Frame::default() };
        let Some(checksum) = complete(&whole).as_deref().and_then(checksum_of) else { continue };
        all.push(Odd { name, number, vnet, bytes: whole.bytes, checksum, fate });
    }
    if v4 {
        let number = first + all.len() as u32;
        let mut bytes = ends.udp(&marked_payload(number, 60));
        bytes[40..42].fill(0);
        let (vnet, fate) = (VnetHeader::default(), Fate::Delivered);
        all.push(Odd { name: "no checksum", number, vnet, bytes, checksum: 0, fate });
    }
    all
}

/// Datagrams that are complete, for the receiver to verify.
pub fn received(ends: &Ends, first: u32) -> Vec<Odd> {
    let v4 = ends.from.is_ipv4();
    let mut all: Vec<Odd> = Vec::new();
    let mut add = |name: &'static str, fate: Fate, length: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let number = first + all.len() as u32;
        let mut bytes = ends.udp(&marked_payload(number, length));
        change(&mut bytes);
        let checksum = checksum_of(&bytes).unwrap_or_default();
        all.push(Odd { name, number, vnet: VnetHeader::default(), bytes, checksum, fate });
    };
    add("an odd length and padding that is not zero", Fate::Delivered, 9, &|bytes| {
        let padded = if bytes.len() < SHORTEST { SHORTEST } else { bytes.len() + 5 };
        bytes.resize(padded, FILLED);
    });
    add("an even length and padding that is not zero", Fate::Delivered, 10, &|bytes| {
        let padded = if bytes.len() < SHORTEST { SHORTEST } else { bytes.len() + 6 };
        bytes.resize(padded, FILLED);
    });
    let udp = if v4 { "Udp.InCsumErrors" } else { "Udp6InCsumErrors" };
    add("a wrong UDP checksum", Fate::Refused(udp), 61, &|bytes| {
        spoil_checksum(bytes);
    });
    let long = |at: usize| {
        move |bytes: &mut Vec<u8>| {
            let says = u16::from_be_bytes([bytes[at], bytes[at + 1]]) + 40;
            bytes[at..at + 2].copy_from_slice(&says.to_be_bytes());
        }
    };
    if v4 {
        add("no checksum", Fate::Delivered, 60, &|bytes| bytes[40..42].fill(0));
        add("a wrong IP header checksum", Fate::Refused("Ip.InHdrErrors"), 62, &|bytes| bytes[24] ^= 0x55);
        add("an end that is cut off", Fate::Refused("IpExt.InTruncatedPkts"), 63, &|bytes| {
            long(16)(bytes);
            bytes[24..26].fill(0);
            let header = !fold(sum(&bytes[14..34]));
            bytes[24..26].copy_from_slice(&header.to_be_bytes());
        });
    } else {
        // RFC 8200, 8.1: a datagram without one is discarded.
        add("no checksum", Fate::Refused(udp), 60, &|bytes| bytes[60..62].fill(0));
        add("an end that is cut off", Fate::Refused("Ip6InTruncatedPkts"), 63, &|bytes| long(18)(bytes));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        checksum::{self, Sum},
        segments::marked,
    };

    fn ends(ipv6: bool) -> Ends {
        let (from, to) =
            if ipv6 { ("[fd00::1]:4000", "[fd00::2]:5000") } else { ("198.18.0.1:4000", "198.18.0.2:5000") };
        Ends { from_mac: [2; 6], to_mac: [4; 6], from: from.parse().unwrap(), to: to.parse().unwrap(), tag: None }
    }

    fn frame(odd: &Odd) -> Frame {
        Frame { length: odd.bytes.len() as u32, bytes: odd.bytes.clone(), vnet: odd.vnet, ..Frame::default() }
    }

    #[test]
    fn what_is_left_to_do_is_right_once_it_is_done() {
        for ipv6 in [false, true] {
            let all = sent(&ends(ipv6), 70);
            assert_eq!(all.len(), if ipv6 { 6 } else { 7 });
            for (number, odd) in (70..).zip(&all) {
                let sums = checksum::all(&frame(odd));
                let right = if odd.checksum == 0 { Sum::Absent } else { Sum::Good };
                assert_eq!(sums.iter().map(|(_, sum)| *sum).collect::<Vec<_>>(), [right], "{}", odd.name);
                assert_eq!(odd.number, number);
                assert_eq!(odd.name == "a sum of zero", odd.checksum == 0xffff, "{}", odd.name);
                assert_eq!(odd.vnet.needs_checksum(), odd.checksum != 0);
            }
            let starts: std::collections::BTreeSet<u16> = all.iter().map(|odd| odd.vnet.csum_start).collect();
            assert!(starts.len() >= 4, "{starts:?}");
        }
    }

    #[test]
    fn what_is_to_be_refused_is_wrong_and_what_is_not_is_right() {
        for ipv6 in [false, true] {
            for odd in received(&ends(ipv6), 7) {
                let layers = parse(&odd.bytes);
                let network = layers.network.clone().unwrap();
                let payload = layers.transport.clone().unwrap().payload;
                assert_eq!(odd.bytes.get(payload).and_then(marked), Some(odd.number), "{}", odd.name);
                let sums = checksum::all(&frame(&odd));
                let bad_sum = sums.iter().any(|(_, sum)| *sum == Sum::Wrong);
                let wrong = bad_sum || network.cut || !network.header_sum_ok;
                assert_eq!(wrong, matches!(odd.fate, Fate::Refused(_)), "{} {ipv6}", odd.name);
                assert_eq!(odd.name.contains("padding"), network.end < odd.bytes.len(), "{}", odd.name);
            }
        }
    }
}
