//! Which UDP ports a device was told that tunnels use, so that it looks into their packets.

use super::{COMPACT, bits, call};
use crate::{
    facts::nic::{TunnelPort, TunnelTable},
    kernel::{
        Result,
        error::Operation,
        netlink::nla::{attributes, find, u32_at},
        netns::Netns,
    },
    units::IfName,
};

/// `ETHTOOL_MSG_TUNNEL_INFO_GET`
const TUNNEL_INFO_GET: u8 = 28;
/// Bits and numbers of `ETHTOOL_UDP_TUNNEL_TYPE_*`.
const KINDS: [&str; 3] = ["vxlan", "geneve", "vxlan-gpe"];

/// Tables of a device with the ports that it holds; `None` where it has none, or the kernel does not tell (before 5.9).
///
/// # Errors
/// The link is not there.
pub fn tunnel_ports(ns: &Netns, name: &IfName) -> Result<Option<Vec<TunnelTable>>> {
    match call(ns, TUNNEL_INFO_GET, name, COMPACT, |_| {}) {
        // ETHTOOL_A_TUNNEL_INFO_UDP_PORTS (2)
        Ok(answer) => Ok(Some(tables(find(&answer, 2).unwrap_or_default()))),
        Err(failure) if matches!(failure.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(None),
        Err(failure) => Err(Operation::of("read the tunnel ports of", name, ns.label()).failed(failure)),
    }
}

fn tables(answer: &[u8]) -> Vec<TunnelTable> {
    let kind = |number: usize| KINDS.get(number).map_or_else(|| format!("type {number}"), |kind| (*kind).to_owned());
    // ETHTOOL_A_TUNNEL_UDP_ENTRY_PORT (1), of the network's byte order, and _TYPE (2)
    let port = |entry: &[u8]| {
        let port = u16::from_be_bytes(*find(entry, 1)?.first_chunk()?);
        Some(TunnelPort { port, kind: kind(u32_at(find(entry, 2)?, 0)? as usize) })
    };
    // ETHTOOL_A_TUNNEL_UDP_TABLE_SIZE (1), TYPES (2), ENTRY (3)
    let table = |table: &[u8]| {
        let types = find(table, 2).map(bits).unwrap_or_default();
        let has = |number: &usize| types.first().is_some_and(|word| word >> number & 1 == 1);
        TunnelTable {
            size: find(table, 1).and_then(|size| u32_at(size, 0)).unwrap_or_default(),
            kinds: (0..32).filter(has).map(kind).collect(),
            ports: attributes(table).filter(|(at, _)| *at == 3).filter_map(|(_, entry)| port(entry)).collect(),
        }
    };
    // ETHTOOL_A_TUNNEL_UDP_TABLE (1)
    attributes(answer).filter(|(at, _)| *at == 1).map(|(_, bytes)| table(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::nla::Writer;

    #[test]
    fn tables_and_ports_are_read() {
        let mut writer = Writer::after(&[]);
        writer
            .nest(1, |table| {
                table.u32(1, 4).nest(2, |types| {
                    types.u32(2, 3).put(4, &1_u32.to_ne_bytes()).put(5, &1_u32.to_ne_bytes());
                });
                table.nest(3, |entry| {
                    entry.put(1, &4789_u16.to_be_bytes()).u32(2, 0);
                });
            })
            .nest(1, |table| {
                table.u32(1, 2).nest(2, |types| {
                    types.u32(2, 3).put(4, &6_u32.to_ne_bytes());
                });
            });
        let read = tables(&writer.finish());
        let vxlan = TunnelPort { port: 4789, kind: "vxlan".to_owned() };
        let first = TunnelTable { size: 4, kinds: vec!["vxlan".to_owned()], ports: vec![vxlan] };
        let second = TunnelTable { size: 2, kinds: vec!["geneve".to_owned(), "vxlan-gpe".to_owned()], ports: vec![] };
        assert_eq!(read, [first, second]);
        assert_eq!(tables(&[7; 3]), []);
    }
}
