//! What the machine would lose with a device.

use std::net::IpAddr;

use super::observe;
use crate::{
    kernel::{Result, egress, error::Operation, netlink::Failure, netns::Netns},
    units::IfName,
};

/// Does a default route of any table go out by the device, or by the bridge or bond that it is a port of?
pub fn carries_default_route(ns: &Netns, ifname: &IfName) -> Result<bool> {
    let failed = |failure| Operation::of("read the routes of", ifname, ns.label()).failed(failure);
    let own = indexes(ns, ifname).map_err(failed)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let routes = observe::routes(ns, family, 0).map_err(failed)?;
        if routes.iter().any(|row| row.route.to.prefix_len() == 0 && row.hops.iter().any(|hop| own.contains(hop))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Does the SSH session that netbench was started from (`$SSH_CONNECTION`) go over the device?
pub fn carries_ssh_session(ns: &Netns, ifname: &IfName) -> Result<bool> {
    let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
    match ssh_peer(&connection) {
        Some(peer) => leads_to(ns, ifname, peer),
        None => Ok(false),
    }
}

/// `client port server port`; the client may be a link-local address with its zone.
fn ssh_peer(connection: &str) -> Option<IpAddr> {
    connection.split_whitespace().next()?.split('%').next()?.parse().ok()
}

/// Would a packet to `peer` leave by the device, or by its master?
fn leads_to(ns: &Netns, ifname: &IfName, peer: IpAddr) -> Result<bool> {
    let failed =
        |failure| Operation::of(format!("look up the route to {peer} for"), ifname, ns.label()).failed(failure);
    let own = indexes(ns, ifname).map_err(failed)?;
    Ok(egress::route(ns, peer).map_err(failed)?.is_some_and(|index| own.contains(&index)))
}

/// Indexes of the device and of its master.
fn indexes(ns: &Netns, ifname: &IfName) -> Result<Vec<u32>, Failure> {
    let rows = observe::rows(ns)?;
    let row = rows.iter().find(|row| row.name == *ifname);
    let row = row.ok_or(Failure::Kernel { errno: libc::ENODEV, extack: None })?;
    Ok([Some(row.link.index), row.link.master].into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::ssh_peer;

    #[test]
    fn the_client_of_an_ssh_session_is_read() {
        assert_eq!(ssh_peer("192.0.2.7 50000 192.0.2.1 22"), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(ssh_peer("fe80::1%eth0 50000 fe80::2%eth0 22"), Some("fe80::1".parse().unwrap()));
        assert_eq!(ssh_peer(""), None);
    }
}
