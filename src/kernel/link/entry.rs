//! Addresses, routes and forwarding entries.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::index;
use crate::{
    kernel::{
        Result,
        error::Operation,
        netlink::{CREATE, EXCL, REPLACE},
        netns::Netns,
        observe::learned_neighbours,
    },
    plan::desired::{FdbSpec, NeighbourSpec, RouteSpec},
    units::IfName,
};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// `AF_INET` or `AF_INET6`.
pub fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The network of an address: the kernel refuses a route to `10.0.0.1/24` (EINVAL).
pub fn host_bits_cleared(to: IpNet) -> IpNet {
    to.trunc()
}

/// Adds an address. IPv6 addresses skip duplicate address detection, during which they could not be used.
pub fn add_address(ns: &Netns, name: &IfName, address: IpNet) -> Result<()> {
    change_address(ns, name, address, "add", RTM_NEWADDR, CREATE | EXCL)
}

/// Removes an address.
pub fn delete_address(ns: &Netns, name: &IfName, address: IpNet) -> Result<()> {
    change_address(ns, name, address, "delete", RTM_DELADDR, 0)
}

fn change_address(ns: &Netns, name: &IfName, address: IpNet, verb: &str, kind: u16, flags: u16) -> Result<()> {
    let operation = || Operation::on(format!("{verb} address {address}"), name, ns.label());
    let mut message = AddressMessage::default();
    message.header.family = family_of(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index(ns, name.as_str())?;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if address.addr().is_ipv6() && kind == RTM_NEWADDR {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    ns.route().send(kind, flags, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

/// Adds a route to the main table, protocol static.
pub fn add_route(ns: &Netns, route: &RouteSpec) -> Result<()> {
    let message = route_message(ns, route)?;
    ns.route()
        .send(RTM_NEWROUTE, CREATE | EXCL, &message)
        .map_err(|failure| route_operation(ns, route, "add").failed(failure))?;
    Ok(())
}

/// Removes a route from the main table.
pub fn delete_route(ns: &Netns, route: &RouteSpec) -> Result<()> {
    let message = route_message(ns, route)?;
    ns.route()
        .send(RTM_DELROUTE, 0, &message)
        .map_err(|failure| route_operation(ns, route, "delete").failed(failure))?;
    Ok(())
}

fn route_operation(ns: &Netns, route: &RouteSpec, verb: &str) -> Operation {
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    let dev = route.dev.as_ref().map(|dev| format!(" dev {dev}")).unwrap_or_default();
    Operation::of(format!("{verb} route"), format!("{}{via}{dev}", route.to), ns.label())
}

fn route_message(ns: &Netns, route: &RouteSpec) -> Result<RouteMessage> {
    let to = host_bits_cleared(route.to);
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(to.addr());
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    // A deletion matches on scope unless it is `nowhere`; IPv6 has no scopes.
    message.header.scope = match route.via {
        None if to.addr().is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(to.addr().into()));
    }
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(via.into()));
    }
    if let Some(dev) = &route.dev {
        message.attributes.push(RouteAttribute::Oif(index(ns, dev.as_str())?));
    }
    Ok(message)
}

/// Adds a static forwarding entry to a VXLAN device.
pub fn add_fdb(ns: &Netns, entry: &FdbSpec) -> Result<()> {
    change_fdb(ns, entry, "add", RTM_NEWNEIGH, CREATE | EXCL)
}

/// Removes a static forwarding entry.
pub fn delete_fdb(ns: &Netns, entry: &FdbSpec) -> Result<()> {
    change_fdb(ns, entry, "delete", RTM_DELNEIGH, 0)
}

fn change_fdb(ns: &Netns, entry: &FdbSpec, verb: &str, kind: u16, flags: u16) -> Result<()> {
    let operation = || {
        Operation::on(format!("{verb} forwarding entry {} to {}", entry.mac, entry.remote), &entry.at.name, ns.label())
    };
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index(ns, entry.at.name.as_str())?;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(match entry.remote {
        IpAddr::V4(remote) => NeighbourAddress::Inet(remote),
        IpAddr::V6(remote) => NeighbourAddress::Inet6(remote),
    }));
    ns.route().send(kind, flags, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

/// Adds a permanent neighbour (ARP, NDP) entry, in place of a learned one.
pub fn add_neighbour(ns: &Netns, entry: &NeighbourSpec) -> Result<()> {
    change_neighbour(ns, entry, "add", RTM_NEWNEIGH, CREATE | REPLACE)
}

/// Removes a neighbour entry.
pub fn delete_neighbour(ns: &Netns, entry: &NeighbourSpec) -> Result<()> {
    change_neighbour(ns, entry, "delete", RTM_DELNEIGH, 0)
}

/// Forgets what the namespace has learned of its neighbours, so that it asks again: who held an address may have another
/// MAC now. Entries that were set stay.
pub fn forget_neighbours(ns: &Netns) -> Result<()> {
    let failed = |failure| Operation::of("forget", "learned neighbours", ns.label()).failed(failure);
    for (index, address) in learned_neighbours(ns).map_err(failed)? {
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(address);
        message.header.ifindex = index;
        message.attributes.push(destination(address));
        match ns.route().send(RTM_DELNEIGH, 0, &message) {
            Err(failure) if !matches!(failure.errno(), Some(libc::ENOENT | libc::ENODEV)) => {
                return Err(failed(failure));
            }
            _ => {}
        }
    }
    Ok(())
}

fn destination(address: IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    })
}

fn change_neighbour(ns: &Netns, entry: &NeighbourSpec, verb: &str, kind: u16, flags: u16) -> Result<()> {
    let operation = || Operation::on(format!("{verb} neighbour {}", entry.address), &entry.at.name, ns.label());
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(entry.address);
    message.header.ifindex = index(ns, entry.at.name.as_str())?;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()));
    message.attributes.push(destination(entry.address));
    ns.route().send(kind, flags, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}
