//! A captured frame with what the kernel said about it.

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is left to do; the field holds the sum of the pseudo-header.
pub const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: somebody claims to have verified the checksum.
pub const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_ECN`: CWR is to stand on the first segment only.
pub const GSO_ECN: u8 = 0x80;
/// `VIRTIO_NET_HDR_GSO_*`: the kind without the ECN bit and the tunnel bits.
pub const GSO_TCP4: u8 = 1;
/// IPv6 TCP.
pub const GSO_TCP6: u8 = 4;
/// UDP, one datagram a segment (`UDP_L4`).
pub const GSO_UDP: u8 = 5;
/// The kind within `gso_type`.
pub const GSO_KIND: u8 = 0x0f;
/// `TP_STATUS_CSUMNOTREADY`
pub const STATUS_NOT_READY: u32 = 0x8;
/// `TP_STATUS_CSUM_VALID`
pub const STATUS_VALID: u32 = 0x80;

/// `struct virtio_net_hdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`], [`DATA_VALID`].
    pub flags: u8,
    /// What a super-packet is to be cut into; 0 for a frame as it is.
    pub gso_type: u8,
    /// Length of all headers, bytes; a hint.
    pub hdr_len: u16,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// Where the sum begins, from the first byte of the frame.
    pub csum_start: u16,
    /// Where it is to be put, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Bytes of the header.
    pub const LENGTH: usize = 10;

    /// Reads the first ten bytes, in the machine's order, as the kernel's legacy header has it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(Self {
            flags: *bytes.first()?,
            gso_type: *bytes.get(1)?,
            hdr_len: word(2)?,
            gso_size: word(4)?,
            csum_start: word(6)?,
            csum_offset: word(8)?,
        })
    }

    /// The ten bytes.
    pub fn bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, word) in [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)] {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Is the checksum left to do?
    pub fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    /// Is this a super-packet that says how it is to be cut?
    pub fn is_super(&self) -> bool {
        self.gso_type & GSO_KIND != 0 && self.gso_size > 0
    }
}

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority, DEI and VLAN number.
    pub tci: u16,
}

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Its length on the wire; more than `bytes` where the capture cut it.
    pub length: u32,
    /// Seen on its way out.
    pub outgoing: bool,
    /// What the kernel knows of it.
    pub vnet: VnetHeader,
    /// `tp_status` of the auxiliary data.
    pub status: u32,
    /// A tag that the device took out, or that it is to put in.
    pub stripped: Option<Tag>,
}

impl Frame {
    /// Did somebody claim that the checksum is right?
    pub fn claimed_valid(&self) -> bool {
        self.vnet.flags & DATA_VALID != 0 || self.status & STATUS_VALID != 0
    }

    /// Is the checksum left to do, as the kernel says?
    pub fn is_partial(&self) -> bool {
        self.vnet.needs_checksum() || self.status & STATUS_NOT_READY != 0
    }

    /// Is it here to the last byte?
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.length as usize
    }
}
