//! The hash by which cards choose a receive queue (Microsoft's "RSS Hashing Types").

use std::net::{IpAddr, SocketAddr};

/// The hash of a flow by its addresses and ports, as it arrives; `None` where the key is shorter than the flow needs, or the
/// addresses are of two families.
pub fn toeplitz(key: &[u8], from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let mut input = addresses(from.ip(), to.ip())?;
    input.extend(from.port().to_be_bytes());
    input.extend(to.port().to_be_bytes());
    hash(key, &input)
}

fn addresses(from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some([from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some([from.octets(), to.octets()].concat()),
        _ => None,
    }
}

/// For each bit that is set, the 32 bits of the key that begin at it, all put together by exclusive or.
fn hash(key: &[u8], input: &[u8]) -> Option<u32> {
    if key.len() < input.len() + 4 {
        return None;
    }
    let mut window = u32::from_be_bytes(*key.first_chunk()?);
    let mut hash = 0;
    for (byte, next) in input.iter().zip(&key[4..]) {
        for bit in (0..8).rev() {
            if byte >> bit & 1 == 1 {
                hash ^= window;
            }
            window = window << 1 | u32::from(next >> bit & 1);
        }
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and values of Microsoft's "Verifying the RSS hash calculation".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_published_values() {
        for (to, from, alone, with_ports) in [
            ("161.142.100.80:1766", "66.9.149.187:2794", 0x323e_8fc2, 0x51cc_c178),
            ("65.69.140.83:4739", "199.92.111.2:14230", 0xd718_262a, 0xc626_b0ea),
            ("12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0_a5de, 0x5c2b_394a),
            ("209.142.163.6:2217", "38.27.205.30:48228", 0x8298_9176, 0xafc7_327f),
            ("202.188.127.2:1303", "153.39.163.191:44251", 0x5d18_09c5, 0x10e8_28a2),
            ("[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc1_8cd5, 0x4020_7d3d),
            ("[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c_461c, 0xdde5_1bbf),
            (
                "[fe80::200:f8ff:fe21:67cf]:38024",
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(toeplitz(&KEY, from, to), Some(with_ports), "{from} {to}");
            assert_eq!(hash(&KEY, &addresses(from.ip(), to.ip()).unwrap()), Some(alone), "{from} {to}");
        }
        let four = "198.18.0.1:1".parse().unwrap();
        assert_eq!(toeplitz(&KEY[..15], four, four), None, "a key that is too short");
        assert_eq!(toeplitz(&KEY, four, "[fd00::1]:1".parse().unwrap()), None);
    }
}
