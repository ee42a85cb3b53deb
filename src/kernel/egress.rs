//! By which device packets to an address leave, and through which queueing discipline.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily,
    route::{RouteAttribute, RouteMessage},
};

use super::{
    Result,
    error::Operation,
    netlink::{
        Failure,
        nla::{find, u32_at},
    },
    netns::Netns,
    observe, qdisc,
};
use crate::units::IfName;

const RTM_GETROUTE: u16 = 26;
const RTA_OIF: u16 = 4;

/// Where packets leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The device.
    pub device: IfName,
    /// Kind of its queueing discipline; of `mq`, that of its queues where they have the same.
    pub qdisc: String,
}

/// Where packets to this address leave a namespace; none where no route leads there.
///
/// # Errors
/// The kernel's answer, but for unreachable destinations.
pub fn egress(ns: &Netns, to: IpAddr) -> Result<Option<Egress>> {
    let failed = |failure| Operation::of("look up the route to", to, ns.label()).failed(failure);
    let Some(index) = route(ns, to).map_err(failed)? else { return Ok(None) };
    let rows = observe::rows(ns).map_err(failed)?;
    let Some(row) = rows.into_iter().find(|row| row.link.index == index) else { return Ok(None) };
    let qdisc = qdisc::effective(ns, index, row.qdisc).map_err(failed)?;
    Ok(Some(Egress { device: row.name, qdisc }))
}

/// Index of the device by which packets to this address leave; none where it is unreachable.
pub(super) fn route(ns: &Netns, to: IpAddr) -> Result<Option<u32>, Failure> {
    let to = to.to_canonical();
    let mut message = RouteMessage::default();
    (message.header.address_family, message.header.destination_prefix_length) =
        if to.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    message.attributes.push(RouteAttribute::Destination(to.into()));
    match ns.route().send(RTM_GETROUTE, 0, &message) {
        Ok(answer) => Ok(answer.first().and_then(|body| u32_at(find(body.get(12..)?, RTA_OIF)?, 0))),
        Err(failure) if matches!(failure.errno(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => Ok(None),
        Err(failure) => Err(failure),
    }
}
