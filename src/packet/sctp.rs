//! SCTP's checksum: CRC32c over the packet, zeros in its own place (RFC 9260, section 6.8 and appendix A).

use super::{frame::Frame, parse::parse};

/// IP protocol number.
pub const PROTOCOL: u8 = 132;
/// Where the checksum stands in the common header, which has twelve bytes.
const AT: usize = 8;
const HEADER: usize = 12;

/// What is to be said of a packet's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crc {
    /// Right.
    Right,
    /// Left to do, as the kernel says beside the frame.
    Left,
    /// Zero, and nobody says that it is to be done.
    Undone,
    /// Something else.
    Wrong,
}

/// Judges a frame; `None` where it has no whole packet of SCTP.
pub fn crc(frame: &Frame) -> Option<Crc> {
    let layers = parse(&frame.bytes);
    let network = layers.innermost().network.clone()?;
    let (start, end) = (network.start, network.end);
    let (protocol, header) = match network.from.is_ipv4() {
        true => (*frame.bytes.get(start + 9)?, usize::from(frame.bytes.get(start)? & 15) * 4),
        false => (*frame.bytes.get(start + 6)?, 40),
    };
    let packet = frame.bytes.get(start + header..end)?;
    if protocol != PROTOCOL || network.fragment || network.cut || packet.len() < HEADER {
        return None;
    }
    if frame.is_partial() {
        return Some(Crc::Left);
    }
    let (before, rest) = packet.split_at(AT);
    let (sum, behind) = rest.split_at(4);
    Some(match sum {
        [0, 0, 0, 0] => Crc::Undone,
        sum if sum == checksum(before, behind) => Crc::Right,
        _ => Crc::Wrong,
    })
}

/// As it stands on the wire, of what is before and behind it.
fn checksum(before: &[u8], behind: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), behind).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frame::{NEEDS_CSUM, VnetHeader};

    /// Ethernet, IPv4, and a COOKIE ACK chunk.
    fn frame(sum: Option<[u8; 4]>) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        bytes.extend([0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, PROTOCOL, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
        let packet = [0x13, 0x88, 0x13, 0x89, 1, 2, 3, 4, 0, 0, 0, 0, 11, 0, 0, 4];
        bytes.extend(packet);
        let sum = sum.unwrap_or_else(|| checksum(&packet[..8], &packet[12..]));
        bytes[42..46].copy_from_slice(&sum);
        Frame { length: bytes.len() as u32, bytes, ..Frame::default() }
    }

    #[test]
    fn a_checksum_is_right_left_undone_or_wrong() {
        // RFC 3720, B.4: the CRC32c of 32 bytes of zeros.
        assert_eq!(checksum(&[0; 8], &[0; 20]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc(&frame(None)), Some(Crc::Right));
        assert_eq!(crc(&frame(Some([0; 4]))), Some(Crc::Undone));
        assert_eq!(crc(&frame(Some([1, 2, 3, 4]))), Some(Crc::Wrong));
        let mut left = frame(Some([0; 4]));
        left.vnet = VnetHeader { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 8, ..VnetHeader::default() };
        assert_eq!(crc(&left), Some(Crc::Left));
        let mut flipped = frame(None);
        flipped.bytes[48] ^= 1;
        assert_eq!(crc(&flipped), Some(Crc::Wrong));
        let mut other = frame(None);
        other.bytes[23] = 17;
        assert_eq!(crc(&other), None);
        let mut short = frame(None);
        short.bytes.truncate(40);
        assert_eq!(crc(&short), None);
    }
}
