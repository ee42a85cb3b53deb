//! Addresses, routes and forwarding entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::links::address;
use crate::{
    kernel::{
        netlink::{
            Failure,
            nla::{attributes, find, u32_at},
        },
        netns::Netns,
    },
    plan::observed::ObservedRoute,
    units::MacAddr,
};

const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_KERNEL: u8 = 2;
const RTN_UNICAST: u8 = 1;
/// `RTM_F_CLONED`: an entry of a cache, not a route.
const RTM_F_CLONED: u32 = 0x200;

/// An address and the link it is on.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct AddressRow {
    pub index: u32,
    pub address: IpNet,
}

impl AddressRow {
    /// An IPv6 link-local address: the kernel's own.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address.addr(), IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

/// All addresses of a namespace, in the kernel's order: the first of a link and family is its primary one.
pub(in crate::kernel) fn addresses(ns: &Netns) -> Result<Vec<AddressRow>, Failure> {
    let bodies = ns.route().dump(RTM_GETADDR, &[0; 8])?;
    Ok(bodies.iter().filter_map(|body| address_row(body)).collect())
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn address_row(body: &[u8]) -> Option<AddressRow> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let rest = body.get(8..)?;
    // On a point-to-point link IFA_ADDRESS is the other end's.
    let value = find(rest, IFA_LOCAL).or_else(|| find(rest, IFA_ADDRESS))?;
    Some(AddressRow { index: u32_at(body, 4)?, address: IpNet::new(address(value)?, body[1]).ok()? })
}

/// A route with all that is needed to make it again.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct RouteRow {
    pub route: ObservedRoute,
    pub source: Option<IpAddr>,
    /// Output devices: one, or those of a multipath route.
    pub hops: Vec<u32>,
    pub scope: u8,
    pub table: u32,
}

/// Routes of the main table that someone made; those of the kernel (proto kernel) come with the addresses.
pub(super) fn main_routes(ns: &Netns, ipv6: bool) -> Result<Vec<ObservedRoute>, Failure> {
    let mut found = Vec::new();
    let families: &[i32] = if ipv6 { &[libc::AF_INET, libc::AF_INET6] } else { &[libc::AF_INET] };
    for &family in families {
        let rows = routes(ns, family, RT_TABLE_MAIN)?;
        found.extend(rows.into_iter().map(|row| row.route).filter(|route| route.protocol != RTPROT_KERNEL));
    }
    Ok(found)
}

/// Unicast routes of a table, or of all tables for 0.
pub(in crate::kernel) fn routes(ns: &Netns, family: i32, table: u8) -> Result<Vec<RouteRow>, Failure> {
    // `struct rtmsg`; with strict checking the kernel filters by table.
    let mut request = [0; 12];
    request[0] = family as u8;
    request[4] = table;
    match ns.route().dump(RTM_GETROUTE, &request) {
        Ok(bodies) => {
            let wanted = |row: &RouteRow| table == 0 || row.table == u32::from(table);
            Ok(bodies.iter().filter_map(|body| route_row(body)).filter(wanted).collect())
        }
        // A table comes into being with its first route (`inet_dump_fib()`); a family may be switched off.
        Err(failure) if matches!(failure.errno(), Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Ok(Vec::new())
        }
        Err(failure) => Err(failure),
    }
}

/// `struct rtmsg`: family, prefix length of destination and source, tos, table, protocol, scope, type, flags.
fn route_row(body: &[u8]) -> Option<RouteRow> {
    let &[family, prefix, _, _, table, protocol, scope, kind] = body.first_chunk()?;
    if kind != RTN_UNICAST || u32_at(body, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let any = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut row = RouteRow {
        route: ObservedRoute { to: IpNet::new(any, prefix).ok()?, via: None, oif: None, protocol, metric: 0 },
        source: None,
        hops: Vec::new(),
        scope,
        table: u32::from(table),
    };
    for (kind, value) in attributes(body.get(12..)?) {
        // RTA_* of include/uapi/linux/rtnetlink.h.
        match kind {
            1 => row.route.to = IpNet::new(address(value)?, prefix).ok()?,
            4 => row.route.oif = u32_at(value, 0),
            5 => row.route.via = address(value),
            6 => row.route.metric = u32_at(value, 0)?,
            7 => row.source = address(value),
            9 => row.hops = multipath(value),
            15 => row.table = u32_at(value, 0)?,
            // RTA_VIA: a gateway of the other family.
            18 => row.route.via = address(value.get(2..)?),
            _ => {}
        }
    }
    row.hops.extend(row.route.oif);
    Some(row)
}

/// Devices of `struct rtnexthop`s: length, flags, hops, index, attributes.
fn multipath(mut value: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let (Some(&[low, high, ..]), Some(index)) = (value.first_chunk::<4>(), u32_at(value, 4)) {
        found.push(index);
        let length = usize::from(u16::from_ne_bytes([low, high])).max(8);
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Static entries of a VXLAN device, but the all-zero one, which is its default remote.
pub(super) fn static_fdb(ns: &Netns, index: u32) -> Result<Vec<(MacAddr, IpAddr)>, Failure> {
    let entries = static_entries(ns, libc::AF_BRIDGE, index)?.into_iter();
    Ok(entries.filter(|(device, mac, _)| *device == index && mac.0 != [0; 6]).map(|(_, mac, at)| (mac, at)).collect())
}

/// Permanent neighbour entries of all devices, both families.
pub(super) fn permanent_neighbours(ns: &Netns) -> Result<Vec<(u32, MacAddr, IpAddr)>, Failure> {
    let mut all = static_entries(ns, libc::AF_INET, 0)?;
    match static_entries(ns, libc::AF_INET6, 0) {
        Ok(more) => all.extend(more),
        // IPv6 may be switched off.
        Err(failure) if matches!(failure.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {}
        Err(failure) => return Err(failure),
    }
    Ok(all)
}

/// What the namespace has learned of its neighbours, both families: what can be deleted again, as (index, address).
pub(in crate::kernel) fn learned_neighbours(ns: &Netns) -> Result<Vec<(u32, IpAddr)>, Failure> {
    /// NUD_PERMANENT and NUD_NOARP: set by somebody, or by the kernel for groups and broadcasts.
    const FIXED: u16 = 0x80 | 0x40;
    const NDA_DST: u16 = 1;
    // Of both families at once: AF_UNSPEC.
    let bodies = ns.route().dump(RTM_GETNEIGH, &[0; 12])?;
    let entry = |body: &Vec<u8>| {
        let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
        let is_address = matches!(i32::from(*body.first()?), libc::AF_INET | libc::AF_INET6);
        let address = address(find(body.get(12..)?, NDA_DST)?)?;
        (is_address && state & FIXED == 0).then_some((u32_at(body, 4)?, address))
    };
    Ok(bodies.iter().filter_map(entry).collect())
}

fn static_entries(ns: &Netns, family: i32, index: u32) -> Result<Vec<(u32, MacAddr, IpAddr)>, Failure> {
    // `struct ndmsg`: family, padding, index, state, flags, type; the kernel filters by index.
    let mut request = [0; 12];
    request[0] = family as u8;
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    let bodies = ns.route().dump(RTM_GETNEIGH, &request)?;
    let mut found: Vec<_> = bodies.iter().filter_map(|body| static_entry(body)).collect();
    found.sort_unstable();
    Ok(found)
}

fn static_entry(body: &[u8]) -> Option<(u32, MacAddr, IpAddr)> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    /// NUD_PERMANENT; NUD_NOARP entries are the kernel's own (multicast, broadcast), but a VXLAN device's are ours.
    const NUD_PERMANENT: u16 = 0x80;
    const NUD_NOARP: u16 = 0x40;
    let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let fixed = if i32::from(*body.first()?) == libc::AF_BRIDGE { NUD_PERMANENT | NUD_NOARP } else { NUD_PERMANENT };
    if state & fixed == 0 {
        return None;
    }
    let rest = body.get(12..)?;
    let mac: [u8; 6] = find(rest, NDA_LLADDR)?.try_into().ok()?;
    Some((u32_at(body, 4)?, MacAddr(mac), address(find(rest, NDA_DST)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (address_row(&bytes), route_row(&bytes).is_some(), static_entry(&bytes));
        }
    }
}
