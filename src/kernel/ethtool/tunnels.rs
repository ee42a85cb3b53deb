//! Ports of UDP tunnels that a device knows: what comes to others it treats as plain datagrams.

use std::collections::BTreeSet;

use super::call;
use crate::{
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

/// A device's tables of tunnel ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelPorts {
    /// Ports that fit.
    pub room: u32,
    /// Ports that are in it.
    pub ports: BTreeSet<u16>,
}

/// What the device says; `None` where it has no such table.
///
/// # Errors
/// The link is not there.
pub fn tunnel_ports(ns: &Netns, name: &IfName) -> Result<Option<TunnelPorts>> {
    match call(ns, TUNNEL_INFO_GET, name, 0, |_| {}) {
        // ETHTOOL_A_TUNNEL_INFO_UDP_PORTS
        Ok(answer) => Ok(find(&answer, 2).map(tables)),
        Err(failure) if matches!(failure.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(None),
        Err(failure) => Err(Operation::of("read the tunnel ports of", name, ns.label()).failed(failure)),
    }
}

fn tables(nest: &[u8]) -> TunnelPorts {
    let mut all = TunnelPorts::default();
    // ETHTOOL_A_TUNNEL_UDP_TABLE: _SIZE (1), _ENTRY (3) with _PORT (1), big endian.
    for (_, table) in attributes(nest).filter(|(kind, _)| *kind == 1) {
        all.room += find(table, 1).and_then(|value| u32_at(value, 0)).unwrap_or_default();
        let entries = attributes(table).filter(|(kind, _)| *kind == 3);
        let port = |entry: &[u8]| find(entry, 1)?.get(..2)?.try_into().ok().map(u16::from_be_bytes);
        all.ports.extend(entries.filter_map(|(_, entry)| port(entry)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::nla::Writer;

    #[test]
    fn ports_of_all_tables_are_read() {
        let mut message = Writer::after(&[]);
        for ports in [&[4789_u16, 8472][..], &[6081], &[]] {
            message.nest(1, |table| {
                table.u32(1, 4);
                for port in ports {
                    table.nest(3, |entry| {
                        entry.put(1, &port.to_be_bytes()).u32(2, 0);
                    });
                }
            });
        }
        assert_eq!(tables(&message.finish()), TunnelPorts { room: 12, ports: [4789, 6081, 8472].into() });
    }
}
