//! VLANs of bridge ports: the `AF_BRIDGE` form of link messages.

use std::collections::BTreeMap;

use netlink_packet_route::{
    AddressFamily,
    link::{AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkMessage},
};

use super::{RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, index};
use crate::{
    kernel::{
        Result,
        error::Operation,
        netlink::{
            Failure, bytes,
            nla::{attributes, find, u32_at},
        },
        netns::Netns,
    },
    units::IfName,
};

const IFLA_AF_SPEC: u16 = 26;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 1 << 1;

/// Makes `pvid` the port's only untagged VLAN.
pub(super) fn set_pvid(ns: &Netns, name: &IfName, pvid: u16) -> Result<()> {
    let operation = || Operation::on(format!("set pvid {pvid}"), name, ns.label());
    let index = index(ns, name.as_str())?;
    let previous = port_vlans(ns).map_err(|failure| operation().failed(failure))?.remove(&index);
    let message = vlan(index, pvid, BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged);
    ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    // The kernel gives every port VLAN 1; a port that had another pvid keeps it as a member unless it is removed.
    for vid in [Some(1), previous].into_iter().flatten().filter(|&vid| vid != pvid) {
        let message = vlan(index, vid, BridgeVlanInfoFlags::empty());
        match ns.route().send(RTM_DELLINK, 0, &message) {
            Ok(_) => {}
            Err(failure) if failure.errno() == Some(libc::ENOENT) => {}
            Err(failure) => {
                return Err(Operation::on(format!("delete vlan {vid}"), name, ns.label()).failed(failure));
            }
        }
    }
    Ok(())
}

fn vlan(index: u32, vid: u16, flags: BridgeVlanInfoFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes.push(LinkAttribute::AfSpecBridge(vec![AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid })]));
    message
}

/// The pvid of each bridge port (and bridge), by ifindex.
pub(in crate::kernel) fn port_vlans(ns: &Netns) -> Result<BTreeMap<u32, u16>, Failure> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.attributes.push(LinkAttribute::ExtMask(vec![netlink_packet_route::link::LinkExtentMask::Brvlan]));
    let mut found = BTreeMap::new();
    for body in ns.route().dump(RTM_GETLINK, &bytes(&message))? {
        let (Some(index), Some(rest)) = (u32_at(&body, 4), body.get(16..)) else { continue };
        let Some(spec) = find(rest, IFLA_AF_SPEC) else { continue };
        let pvid = attributes(spec).find_map(|(kind, value)| match value {
            &[a, b, c, d] if kind == IFLA_BRIDGE_VLAN_INFO => {
                let flags = u16::from_ne_bytes([a, b]);
                (flags & BRIDGE_VLAN_INFO_PVID != 0).then_some(u16::from_ne_bytes([c, d]))
            }
            _ => None,
        });
        found.extend(pvid.map(|pvid| (index, pvid)));
    }
    Ok(found)
}
