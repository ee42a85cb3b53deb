//! Links: made in place, set, moved, renamed, deleted.

mod create;
mod delete;
mod entry;
mod vlan;

use netlink_packet_route::link::{InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

pub use create::{Marks, Point, create};
pub use delete::{delete, delete_group, delete_many};
pub use entry::{
    add_address, add_fdb, add_neighbour, add_route, delete_address, delete_fdb, delete_neighbour, delete_route,
    family_of, forget_neighbours, host_bits_cleared,
};
pub(super) use vlan::port_vlans;

use super::{Result, error::Operation, netlink::nla, netns::Netns};
use crate::{
    plan::step::LinkSet,
    units::{IfName, MacAddr},
};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_SETLINK: u16 = 19;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;

/// The ifindex of a link; ENODEV where there is none of that name.
pub fn index(ns: &Netns, name: &str) -> Result<u32> {
    let operation = || Operation::of("look up", name, ns.label());
    let mut message = named(name);
    // RTEXT_FILTER_SKIP_STATS: the counters are most of the answer.
    message.attributes.push(LinkAttribute::ExtMask(vec![netlink_packet_route::link::LinkExtentMask::SkipStats]));
    let answer = ns.route().send(RTM_GETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    let body = answer.first().ok_or_else(|| operation().malformed("no link in the answer"))?;
    nla::u32_at(body, 4).ok_or_else(|| operation().malformed("a short link message"))
}

/// A link message that names its link by name.
fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// Sets attributes of a link; those that are `None` stay as they are.
pub fn set(ns: &Netns, name: &IfName, set: &LinkSet) -> Result<()> {
    let mut message = LinkMessage::default();
    let mut said = Vec::new();
    if let Some(mtu) = set.mtu {
        said.push(format!("mtu {mtu}"));
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(MacAddr(mac)) = set.mac {
        said.push(format!("address {}", MacAddr(mac)));
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    if let Some(up) = set.up {
        said.push(if up { "up".into() } else { "down".to_owned() });
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    match &set.master {
        Some(Some(master)) => {
            said.push(format!("master {master}"));
            message.attributes.push(LinkAttribute::Controller(index(ns, master.as_str())?));
        }
        Some(None) => {
            said.push("no master".into());
            message.attributes.push(LinkAttribute::Controller(0));
        }
        None => {}
    }
    if let Some(size) = set.gso_max_size {
        said.push(format!("gso_max_size {size}"));
        message.attributes.push(LinkAttribute::GsoMaxSize(size));
    }
    let bridge = bridge_options(set, &mut said);
    let mut kind = RTM_SETLINK;
    if !bridge.is_empty() {
        // Only RTM_NEWLINK reads IFLA_LINKINFO of an existing link (`rtnl_changelink()` in net/core/rtnetlink.c).
        kind = RTM_NEWLINK;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(bridge)),
        ]));
    }
    if !said.is_empty() {
        // By index where there could be a new name in the message; by name is enough here and saves a look-up.
        message.attributes.insert(0, LinkAttribute::IfName(name.to_string()));
        let operation = || Operation::on(format!("set {}", said.join(", ")), name, ns.label());
        ns.route().send(kind, 0, &message).map_err(|failure| operation().failed(failure))?;
    }
    match set.pvid {
        Some(pvid) => vlan::set_pvid(ns, name, pvid),
        None => Ok(()),
    }
}

fn bridge_options(set: &LinkSet, said: &mut Vec<String>) -> Vec<InfoBridge> {
    let mut options = Vec::new();
    if let Some(stp) = set.stp {
        said.push(format!("stp {stp}"));
        options.push(InfoBridge::StpState(u32::from(stp).into()));
    }
    if let Some(filtering) = set.vlan_filtering {
        said.push(format!("vlan_filtering {filtering}"));
        options.push(InfoBridge::VlanFiltering(filtering));
    }
    if let Some(snooping) = set.multicast_snooping {
        said.push(format!("mcast_snooping {snooping}"));
        options.push(InfoBridge::MulticastSnooping(snooping));
    }
    options
}

/// Renames a link. The kernel renames links that are up since Linux 6.2 only; older ones answer EBUSY.
pub fn rename(ns: &Netns, name: &str, new_name: &str) -> Result<()> {
    let operation = || Operation::of(format!("rename {name} to"), new_name, ns.label());
    let mut message = named(new_name);
    message.header.index = index(ns, name)?;
    ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

/// Moves a link to another namespace under a new name, in one message: it never appears there under the old one.
///
/// Slow (two RCU grace periods, 16 ms measured): links of our own are made in place instead.
pub fn move_to(ns: &Netns, name: &str, target: &Netns, new_name: &str) -> Result<()> {
    use std::os::fd::AsRawFd;
    let operation =
        || Operation::of(format!("move {name} to netns {} as {new_name}: link", target.label()), name, ns.label());
    let mut message = LinkMessage::default();
    message.header.index = index(ns, name)?;
    message.attributes.push(LinkAttribute::NetNsFd(target.fd().as_raw_fd()));
    message.attributes.push(LinkAttribute::IfName(new_name.to_owned()));
    ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

/// Sets the alias (`""` clears it) of the link with an index.
pub fn set_alias(ns: &Netns, index: u32, alias: &str) -> Result<()> {
    let operation = || Operation::on(format!("set alias {alias}"), format!("link {index}"), ns.label());
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Other(netlink_packet_core::DefaultNla::new(20, alias.as_bytes().to_vec())));
    ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

/// Adds an alternative name; unique in its namespace among all names, so that adding is an atomic claim (EEXIST).
pub fn add_altname(ns: &Netns, name: &str, altname: &str) -> Result<()> {
    property(ns, name, altname, RTM_NEWLINKPROP, "add altname")
}

/// Removes an alternative name.
pub fn delete_altname(ns: &Netns, name: &str, altname: &str) -> Result<()> {
    property(ns, name, altname, RTM_DELLINKPROP, "delete altname")
}

fn property(ns: &Netns, name: &str, altname: &str, kind: u16, verb: &str) -> Result<()> {
    use netlink_packet_route::link::Prop;
    let operation = || Operation::on(format!("{verb} {altname}"), name, ns.label());
    let mut message = named(name);
    message.attributes.push(LinkAttribute::PropList(vec![Prop::AltIfName(altname.to_owned())]));
    let flags = if kind == RTM_NEWLINKPROP { super::netlink::CREATE | super::netlink::EXCL } else { 0 };
    ns.route().send(kind, flags, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}
