//! Frames made to order, with right checksums.

use std::net::{IpAddr, SocketAddr};

use super::{
    checksum::{fold, pseudo, sum},
    frame::{Frame, NEEDS_CSUM, Tag, VnetHeader},
    parse::parse,
    segments::MARK,
};

/// Ends of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Source MAC.
    pub from_mac: [u8; 6],
    /// Destination MAC.
    pub to_mac: [u8; 6],
    /// Source.
    pub from: SocketAddr,
    /// Destination; of the same family.
    pub to: SocketAddr,
    /// A tag to put in.
    pub tag: Option<Tag>,
}

/// Fields of a crafted TCP segment and of the packet around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFields {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// DSCP and ECN of its packet.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's flags and fragment offset, as they stand: 0x4000 is DF, 0x2000 MF.
    pub fragment: u16,
    /// IPv6 flow label, 20 bits.
    pub label: u32,
    /// TCP options, a multiple of 4 bytes.
    pub options: &'static [u8],
    /// IPv4 options, a multiple of 4 bytes; IPv6 has none of them.
    pub ip_options: &'static [u8],
}

impl Default for TcpFields {
    /// An ACK that may not be fragmented.
    fn default() -> Self {
        let (options, ip_options): (&[u8], &[u8]) = (&[], &[]);
        Self { seq: 1, ack: 1, flags: 0x10, tos: 0, id: 0, ttl: 64, fragment: 0x4000, label: 0, options, ip_options }
    }
}

impl Ends {
    /// The ends of a captured frame: a template to craft more by. `None` where it has no IP or no transport.
    pub fn of(frame: &Frame) -> Option<Self> {
        let layers = parse(&frame.bytes);
        let (network, transport) = (layers.network.as_ref()?, layers.transport.as_ref()?);
        Some(Self {
            from_mac: *frame.bytes.get(6..)?.first_chunk()?,
            to_mac: *frame.bytes.first_chunk()?,
            from: SocketAddr::new(network.from, transport.from),
            to: SocketAddr::new(network.to, transport.to),
            tag: None,
        })
    }

    /// A datagram.
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        self.udp_with(TcpFields::default(), payload)
    }

    /// A datagram in a packet with these fields; those of TCP count for nothing.
    pub fn udp_with(&self, fields: TcpFields, payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut datagram = Vec::with_capacity(usize::from(length));
        datagram.extend(self.from.port().to_be_bytes());
        datagram.extend(self.to.port().to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.packet(17, fields, datagram, 6)
    }

    /// A TCP segment.
    pub fn tcp(&self, fields: TcpFields, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::with_capacity(20 + payload.len());
        segment.extend(self.from.port().to_be_bytes());
        segment.extend(self.to.port().to_be_bytes());
        segment.extend(fields.seq.to_be_bytes());
        segment.extend(fields.ack.to_be_bytes());
        let words = 5 + fields.options.len() as u8 / 4;
        segment.extend([words << 4, fields.flags, 0x40, 0, 0, 0, 0, 0]);
        segment.extend(fields.options);
        segment.extend(payload);
        self.packet(6, fields, segment, 16)
    }

    fn packet(&self, protocol: u8, fields: TcpFields, mut transport: Vec<u8>, checksum_at: usize) -> Vec<u8> {
        let TcpFields { tos, id, ttl, fragment, label, ip_options, .. } = fields;
        let mut frame = Vec::with_capacity(64 + transport.len());
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        if let Some(tag) = self.tag {
            frame.extend(tag.tpid.to_be_bytes());
            frame.extend(tag.tci.to_be_bytes());
        }
        let length = transport.len();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00]);
                let mut header = vec![0x45 + ip_options.len() as u8 / 4, tos];
                header.extend(((20 + ip_options.len() + length) as u16).to_be_bytes());
                header.extend(id.to_be_bytes());
                header.extend(fragment.to_be_bytes());
                header.extend([ttl, protocol, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                header.extend(ip_options);
                let checksum = !fold(sum(&header));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                frame.extend(header);
            }
            (from, to) => {
                let first = 6 << 28 | u32::from(tos) << 20 | label & 0xf_ffff;
                frame.extend([0x86, 0xdd]);
                frame.extend(first.to_be_bytes());
                frame.extend((length as u16).to_be_bytes());
                frame.extend([protocol, ttl]);
                for address in [from, to] {
                    match address {
                        IpAddr::V4(address) => frame.extend(address.to_ipv6_mapped().octets()),
                        IpAddr::V6(address) => frame.extend(address.octets()),
                    }
                }
            }
        }
        let start = frame.len();
        frame.append(&mut transport);
        if let Some(network) = parse(&frame).network {
            // Over the whole of the transport part, also where it is called a fragment.
            let checksum = !fold(pseudo(&network, protocol, length) + sum(&frame[start..]));
            let checksum = if checksum == 0 && protocol == 17 { 0xffff } else { checksum };
            frame[start + checksum_at..start + checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }
}

/// Makes the transport checksum of a frame wrong; `false` where it has none.
pub fn spoil_checksum(bytes: &mut [u8]) -> bool {
    let layers = parse(bytes);
    let Some(transport) = layers.innermost().transport.as_ref() else { return false };
    let (at, old) = (transport.checksum_at, transport.checksum);
    // Neither the right one, nor zero (none at all), nor its other form.
    let wrong = [0x5555, 0xaaaa].map(|mask| old ^ mask).into_iter().find(|wrong| *wrong != 0).unwrap_or(1);
    bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
    true
}

/// Leaves the transport checksum of a frame to whoever sends it: the field has the sum of the pseudo-header, the header says
/// where to sum and where to put it. `None` where the frame has none.
pub fn left_to_do(bytes: &mut [u8]) -> Option<VnetHeader> {
    let layers = parse(bytes);
    let (network, transport) = (layers.network.as_ref()?, layers.transport.as_ref()?);
    let (start, at) = (transport.start, transport.checksum_at);
    let partial = fold(pseudo(network, transport.protocol, network.end - start));
    bytes.get_mut(at..at + 2)?.copy_from_slice(&partial.to_be_bytes());
    let (csum_start, csum_offset) = (start as u16, (at - start) as u16);
    Some(VnetHeader { flags: NEEDS_CSUM, csum_start, csum_offset, ..VnetHeader::default() })
}

/// A datagram's payload: the mark, its number, and bytes that follow from the number and are never all alike.
pub fn marked_payload(number: u32, length: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(length.max(8));
    payload.extend(MARK.to_be_bytes());
    payload.extend(number.to_be_bytes());
    payload.resize(length.max(8), 0);
    fill(&mut payload[8..], u64::from(number) + 1, 0);
    payload
}

/// Bytes of a pseudo-random stream (SplitMix64) from an offset on.
pub fn fill(bytes: &mut [u8], seed: u64, offset: u64) {
    let word = |index: u64| {
        let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let (mut current, mut held) = (u64::MAX, [0; 8]);
    for (at, byte) in (offset..).zip(bytes) {
        if at / 8 != current {
            (current, held) = (at / 8, word(at / 8));
        }
        *byte = held[(at % 8) as usize];
    }
}
