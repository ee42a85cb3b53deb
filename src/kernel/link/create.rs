//! Links made in place: moving one to another namespace afterwards costs 16 ms, making it there costs nothing.

use std::{net::IpAddr, os::fd::AsRawFd};

use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVxlan, IpVlanMode, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode,
};

use super::{RTM_NEWLINK, RTM_SETLINK, add_altname, index, named, rename};
use crate::{
    kernel::{
        Result,
        error::{Error, Operation},
        netlink::{CREATE, EXCL, Failure, nla::Writer},
        netns::Netns,
        observe::group_members,
    },
    plan::{
        desired::{Link, LinkKind, Tunnel, Vxlan},
        marks::passing_name,
    },
    topology::model::{IpvlanMode, MacvlanMode, TunnelKind},
};

/// The kernel's own number that libc does not know (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// Told of an instant in which a crash would leave something half done.
pub type Point<'a> = &'a dyn Fn(&'static str);

/// What makes a link known as ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// `IFLA_GROUP`; free of cost at creation.
    pub group: u32,
    /// `IFLA_IFALIAS`.
    pub alias: Option<String>,
    /// An alternative name of the link itself; a veth's second end gets none.
    pub altname: Option<String>,
}

/// Makes a link (of a veth pair: both ends) with MTU, MAC, master and options, marked and up.
///
/// What one creating message cannot carry is left to later steps: the MTU of a bridge, the second end's state and
/// master, a port's VLAN, and the marks of a second end in somebody else's namespace.
///
/// `point` is told of the instants between two changes. `peer` is the second end of a veth pair and its namespace; `lower` the device below a macvlan or ipvlan, by namespace and
/// index. Addresses, qdiscs and features are set apart.
pub fn create(
    ns: &Netns,
    link: &Link,
    peer: Option<(&Netns, &Link)>,
    marks: &Marks,
    lower: Option<(&Netns, u32)>,
    point: Point<'_>,
) -> Result<()> {
    let (kind, data) = match &link.kind {
        LinkKind::Bridge { stp, vlan_filtering, multicast_snooping } => {
            let mut options = vec![InfoBridge::StpState(u32::from(*stp).into())];
            // Off is the default, and a kernel without the feature refuses even to switch it off.
            options.extend(vlan_filtering.then_some(InfoBridge::VlanFiltering(true)));
            options.extend(multicast_snooping.map(InfoBridge::MulticastSnooping));
            (InfoKind::Bridge, InfoData::Bridge(options))
        }
        LinkKind::Veth { .. } => {
            let (peer_ns, peer) = peer.ok_or_else(|| operation(ns, link).conflict("the second end is not given"))?;
            (InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(veth_peer(peer_ns, peer, marks))))
        }
        LinkKind::Macvlan { mode, .. } => {
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(macvlan_mode(*mode))]))
        }
        LinkKind::Ipvlan { mode, .. } => {
            (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(ipvlan_mode(*mode))]))
        }
        LinkKind::Vxlan(vxlan) => (InfoKind::Vxlan, InfoData::Vxlan(vxlan_options(ns, vxlan)?)),
        LinkKind::Tunnel(tunnel) => {
            (InfoKind::Other(tunnel.device().to_owned()), InfoData::Other(tunnel_options(tunnel)))
        }
        LinkKind::OvsInternal => {
            return Err(operation(ns, link).conflict("Open vSwitch makes it"));
        }
        LinkKind::Borrowed { .. } | LinkKind::Vf(_) => {
            return Err(operation(ns, link).conflict("a borrowed device is taken, not made"));
        }
    };
    let mut message = named(link.at.name.as_str());
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    push_common(&mut message, link, marks);
    if let Some(master) = &link.master {
        message.attributes.push(LinkAttribute::Controller(index(ns, master.as_str())?));
    }
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    // The request goes to the namespace in which the kernel shall look up IFLA_LINK.
    let asked = match lower {
        Some((lower_ns, lower_index)) => {
            message.attributes.push(LinkAttribute::Link(lower_index));
            message.attributes.push(LinkAttribute::NetNsFd(ns.fd().as_raw_fd()));
            lower_ns
        }
        None => ns,
    };
    // In somebody else's namespace it would outlive a crash before it is marked.
    if marks.alias.is_some() {
        return in_passing(ns, asked, link, message, marks, point);
    }
    // Before the arms: they ask again, and the socket is held until then.
    let answer = asked.route().send(RTM_NEWLINK, CREATE | EXCL, &message);
    match answer {
        Ok(_) => mark(ns, link.at.name.as_str(), marks),
        // Linux before 6.15 looks the name up where it is asked, and not where the link is to be.
        Err(failure)
            if failure.errno() == Some(libc::EEXIST)
                && lower.is_some()
                && index(ns, link.at.name.as_str()).is_err() =>
        {
            in_passing(ns, asked, link, message, marks, point)
        }
        Err(failure) => Err(refused(ns, link, failure)),
    }
}

/// Makes a link under a name that says whose it is, marks it, and only then gives it its own.
fn in_passing(
    ns: &Netns,
    asked: &Netns,
    link: &Link,
    mut message: LinkMessage,
    marks: &Marks,
    point: Point<'_>,
) -> Result<()> {
    let passing = passing_name(&link.at);
    if index(ns, link.at.name.as_str()).is_ok() {
        return Err(refused(ns, link, Failure::Kernel { errno: libc::EEXIST, extack: None }));
    }
    message.attributes.retain(|attribute| !matches!(attribute, LinkAttribute::IfName(_)));
    message.attributes.insert(0, LinkAttribute::IfName(passing.clone()));
    // Linux before 6.2 renames only what is down.
    (message.header.flags, message.header.change_mask) = (LinkFlags::empty(), LinkFlags::empty());
    let make = || asked.route().send(RTM_NEWLINK, CREATE | EXCL, &message).map(drop);
    let made = match make() {
        // What a crash left there.
        Err(failure)
            if failure.errno() == Some(libc::EEXIST)
                && group_members(ns, marks.group)?.iter().any(|name| name.as_str() == passing) =>
        {
            super::delete(ns, &passing)?;
            make()
        }
        made => made,
    };
    made.map_err(|failure| refused(ns, link, failure))?;
    point("link made, not yet marked");
    mark(ns, &passing, marks)?;
    point("link marked, under its passing name");
    rename(ns, &passing, link.at.name.as_str())?;
    point("link named, not yet up");
    let mut up = named(link.at.name.as_str());
    (up.header.flags, up.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    ns.route().send(RTM_SETLINK, 0, &up).map_err(|failure| refused(ns, link, failure))?;
    Ok(())
}

fn operation(ns: &Netns, link: &Link) -> Operation {
    let kind = match &link.kind {
        LinkKind::Bridge { .. } => "bridge",
        LinkKind::Veth { .. } => "veth",
        LinkKind::Macvlan { .. } => "macvlan",
        LinkKind::Ipvlan { .. } => "ipvlan",
        LinkKind::Vxlan(_) => "vxlan",
        LinkKind::Tunnel(tunnel) => tunnel.device(),
        LinkKind::OvsInternal => "internal port of Open vSwitch",
        LinkKind::Borrowed { .. } | LinkKind::Vf(_) => "borrowed device",
    };
    Operation::of(format!("create {kind}"), &link.at.name, ns.label())
}

/// Names the kernel option where the kernel does not know the kind or one of its features.
fn refused(ns: &Netns, link: &Link, failure: Failure) -> Error {
    let (errno, operation) = (failure.errno().unwrap_or_default(), operation(ns, link));
    match (&link.kind, errno) {
        (LinkKind::Bridge { vlan_filtering: true, .. }, libc::EOPNOTSUPP) => {
            operation.unsupported("CONFIG_BRIDGE_VLAN_FILTERING (or CONFIG_BRIDGE)", errno)
        }
        (LinkKind::Bridge { .. }, libc::EOPNOTSUPP) => operation.unsupported("CONFIG_BRIDGE", errno),
        (LinkKind::Veth { .. }, libc::EOPNOTSUPP) => operation.unsupported("CONFIG_VETH", errno),
        (LinkKind::Macvlan { .. }, libc::EOPNOTSUPP) => operation.unsupported("CONFIG_MACVLAN", errno),
        // ipvlan_l3s_register() without the option.
        (LinkKind::Ipvlan { mode: IpvlanMode::L3s, .. }, libc::EOPNOTSUPP | ENOTSUPP) => {
            operation.unsupported("CONFIG_IPVLAN and CONFIG_IPVLAN_L3S", errno)
        }
        (LinkKind::Ipvlan { .. }, libc::EOPNOTSUPP) => operation.unsupported("CONFIG_IPVLAN", errno),
        (LinkKind::Vxlan(_), libc::EOPNOTSUPP) => operation.unsupported("CONFIG_VXLAN", errno),
        (LinkKind::Tunnel(tunnel), libc::EOPNOTSUPP) => {
            let option = match (tunnel.kind, tunnel.remote.is_ipv4()) {
                (TunnelKind::Gre, true) => "CONFIG_NET_IPGRE (and CONFIG_NET_IPGRE_DEMUX)",
                (TunnelKind::Gre, false) => "CONFIG_IPV6_GRE (and CONFIG_NET_IPGRE_DEMUX)",
                _ => "CONFIG_GENEVE",
            };
            operation.unsupported(option, errno)
        }
        _ => operation.failed(failure),
    }
}

fn push_common(message: &mut LinkMessage, link: &Link, marks: &Marks) {
    // A bridge's MTU given at creation is written without marking it as set by the user, so that the first port
    // overrides it (`br_dev_newlink()`, `br_mtu_auto_adjust()`); it is set by a later message.
    if let (Some(mtu), false) = (link.mtu, is_bridge(link)) {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(mac) = link.mac {
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    if let Some(size) = link.gso_max_size {
        message.attributes.push(LinkAttribute::GsoMaxSize(size));
    }
    message.attributes.push(LinkAttribute::Group(marks.group));
}

/// The second end, made in its own namespace. It must not be up yet: `veth_newlink()` would open it before the two
/// ends are joined (ENOTCONN). A master is not looked at there.
fn veth_peer(ns: &Netns, link: &Link, marks: &Marks) -> LinkMessage {
    let mut message = named(link.at.name.as_str());
    push_common(&mut message, link, marks);
    message.attributes.push(LinkAttribute::NetNsFd(ns.fd().as_raw_fd()));
    message
}

/// Says whose the link is, where its group is not enough.
fn mark(ns: &Netns, name: &str, marks: &Marks) -> Result<()> {
    if let Some(alias) = &marks.alias {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::IfAlias(alias.clone()));
        let operation = || Operation::on(format!("set alias {alias}"), name, ns.label());
        ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    }
    match &marks.altname {
        Some(altname) => add_altname(ns, name, altname),
        None => Ok(()),
    }
}

fn is_bridge(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Bridge { .. })
}

fn macvlan_mode(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

fn ipvlan_mode(mode: IpvlanMode) -> IpVlanMode {
    match mode {
        IpvlanMode::L2 => IpVlanMode::L2,
        IpvlanMode::L3 => IpVlanMode::L3,
        IpvlanMode::L3s => IpVlanMode::L3S,
    }
}

/// What is inside `IFLA_INFO_DATA`: `IFLA_GENEVE_*` of include/uapi/linux/if_link.h, `IFLA_GRE_*` of if_tunnel.h.
fn tunnel_options(tunnel: &Tunnel) -> Vec<u8> {
    /// `GRE_KEY`: the header has the key.
    const HAS_KEY: [u8; 2] = 0x2000u16.to_be_bytes();
    /// `IP6_TNL_F_IGN_ENCAP_LIMIT`: no destination options, whose 8 bytes the MTU does not know.
    const NO_ENCAPSULATION_LIMIT: u32 = 1;
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut options = Writer::after(&[]);
    if tunnel.kind == TunnelKind::Gre {
        let key = tunnel.key.to_be_bytes();
        options.put(2, &HAS_KEY).put(3, &HAS_KEY).put(4, &key).put(5, &key);
        options.put(6, &bytes(tunnel.local)).put(7, &bytes(tunnel.remote));
        if !tunnel.remote.is_ipv4() {
            options.u32(13, NO_ENCAPSULATION_LIMIT);
        }
        return options.finish();
    }
    options.u32(1, tunnel.key).put(if tunnel.remote.is_ipv4() { 2 } else { 7 }, &bytes(tunnel.remote));
    options.put(5, &tunnel.port.to_be_bytes());
    if let Some(checksum) = tunnel.udp_checksum {
        if tunnel.remote.is_ipv4() {
            options.u8(8, u8::from(checksum));
        } else {
            options.u8(9, u8::from(!checksum)).u8(10, u8::from(!checksum));
        }
    }
    options.finish()
}

fn vxlan_options(ns: &Netns, vxlan: &Vxlan) -> Result<Vec<InfoVxlan>> {
    let mut options = vec![InfoVxlan::Id(vxlan.vni), InfoVxlan::Port(vxlan.port)];
    options.push(InfoVxlan::Link(index(ns, vxlan.dev.as_str())?));
    options.push(match vxlan.local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    });
    options.push(match vxlan.remote {
        IpAddr::V4(remote) => InfoVxlan::Group(remote),
        IpAddr::V6(remote) => InfoVxlan::Group6(remote),
    });
    options.extend(vxlan.udp_checksum.map(InfoVxlan::UDPCsum));
    if let Some(zero) = vxlan.udp6_zero_checksum {
        options.push(InfoVxlan::UDPZeroCsumTX(zero));
        options.push(InfoVxlan::UDPZeroCsumRX(zero));
    }
    if vxlan.gbp {
        options.push(InfoVxlan::Gbp);
    }
    options.push(InfoVxlan::Learning(vxlan.learning.unwrap_or(true)));
    Ok(options)
}
