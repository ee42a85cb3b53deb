//! The link table.

use std::{collections::BTreeMap, net::IpAddr};

use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};

use crate::{
    facts::{LinkCounters, LinkPlace},
    kernel::{
        Result,
        error::Operation,
        link::RTM_GETLINK,
        netlink::{
            Failure, bytes,
            nla::{attributes, find, text, u32_at, u64_at},
        },
        netns::Netns,
    },
    plan::observed::{LinkDetail, ObservedLink},
    topology::model::{IpvlanMode, MacvlanMode},
    units::{IfName, MacAddr},
};

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// `struct ifinfomsg`
const HEADER: usize = 16;

/// A link as dumped, with what only this module needs.
#[derive(Debug, Clone)]
pub struct LinkRow {
    /// Its name.
    pub name: IfName,
    /// All that a plan wants to know.
    pub link: ObservedLink,
    /// Kind of the root qdisc.
    pub qdisc: String,
    /// MAC burnt in.
    pub permanent_mac: Option<MacAddr>,
    /// Bus and name of the parent device.
    pub parent: Option<(String, String)>,
    /// Which port of that device it is (`phys_port_name`): `p0`, `pf0vf1`.
    pub port: Option<String>,
}

impl LinkRow {
    /// Is it a bridge that filters VLANs?
    pub fn filters_vlans(&self) -> bool {
        matches!(self.link.detail, LinkDetail::Bridge { vlan_filtering: true, .. })
    }

    /// The function that it stands for on its NIC's embedded switch (`pf0vf1`). `None` for the NIC's own port, which has the
    /// same parent.
    pub fn represents(&self) -> Option<&str> {
        self.port.as_deref().filter(|port| is_representor(port))
    }
}

/// Does a port's name (`phys_port_name`) say that it stands for a function: `pf0vf1`, `c1pf0`, `pf0sf88`? The network's own
/// are `p0`, `p0s1` (`__devlink_port_phys_port_name_get()`).
pub(in crate::kernel) fn is_representor(port: &str) -> bool {
    let flavour = port.strip_prefix('c').unwrap_or(port).trim_start_matches(|c: char| c.is_ascii_digit());
    flavour.starts_with("pf")
}

/// All links of a namespace.
pub(in crate::kernel) fn rows(ns: &Netns) -> Result<Vec<LinkRow>, Failure> {
    let bodies = ns.route().dump(RTM_GETLINK, &dump_request(&[LinkExtentMask::SkipStats]))?;
    Ok(bodies.iter().filter_map(|body| row(body)).collect())
}

/// Names of the links in a group.
pub fn group_members(ns: &Netns, group: u32) -> Result<Vec<IfName>> {
    let rows = rows(ns).map_err(|failure| Operation::of("read", "links", ns.label()).failed(failure))?;
    Ok(rows.into_iter().filter(|row| row.link.group == group).map(|row| row.name).collect())
}

/// Counters of all links of a namespace.
pub fn counters(ns: &Netns) -> Result<BTreeMap<IfName, LinkCounters>> {
    let bodies = ns
        .route()
        .dump(RTM_GETLINK, &dump_request(&[]))
        .map_err(|failure| Operation::of("read", "link counters", ns.label()).failed(failure))?;
    let queues = bodies.iter().any(|body| has_queue(body));
    let drops = if queues { crate::kernel::qdisc::drops(ns) } else { Ok(BTreeMap::new()) };
    let drops = drops.map_err(|failure| Operation::of("read", "qdisc counters", ns.label()).failed(failure))?;
    let counted = |body: &Vec<u8>| {
        let (name, mut counters) = counted(body)?;
        counters.qdisc_dropped = drops.get(&u32_at(body, 4)?).copied().unwrap_or_default();
        Some((name, counters))
    };
    Ok(bodies.iter().filter_map(counted).collect())
}

/// Virtual links have no queue as a rule, and then there is nothing to ask the packet scheduler.
fn has_queue(body: &[u8]) -> bool {
    const IFLA_QDISC: u16 = 6;
    let kind = body.get(HEADER..).and_then(|rest| find(rest, IFLA_QDISC)).map(text).unwrap_or_default();
    !["", "noqueue", "noop"].contains(&&*kind)
}

fn dump_request(mask: &[LinkExtentMask]) -> Vec<u8> {
    let mut message = LinkMessage::default();
    if !mask.is_empty() {
        message.attributes.push(LinkAttribute::ExtMask(mask.to_vec()));
    }
    bytes(&message)
}

/// `struct rtnl_link_stats64` of include/uapi/linux/if_link.h.
fn counted(body: &[u8]) -> Option<(IfName, LinkCounters)> {
    const IFLA_IFNAME: u16 = 3;
    const IFLA_STATS64: u16 = 23;
    let rest = body.get(HEADER..)?;
    let name = text(find(rest, IFLA_IFNAME)?).parse().ok()?;
    let stats = find(rest, IFLA_STATS64)?;
    let field = |number: usize| u64_at(stats, number * 8);
    let counters = LinkCounters {
        rx_packets: field(0)?,
        tx_packets: field(1)?,
        rx_bytes: field(2)?,
        tx_bytes: field(3)?,
        rx_errors: field(4)?,
        tx_errors: field(5)?,
        rx_dropped: field(6)?,
        tx_dropped: field(7)?,
        qdisc_dropped: 0,
        place: place(body),
    };
    Some((name, counters))
}

/// Members of bonds and links below VLANs of the machine's own.
fn place(body: &[u8]) -> LinkPlace {
    let rest = body.get(HEADER..).unwrap_or_default();
    let number = |kind| find(rest, kind).and_then(|value| u32_at(value, 0)).unwrap_or_default();
    // IFLA_LINKINFO: IFLA_INFO_KIND (1), IFLA_INFO_SLAVE_KIND (4)
    let info = |kind| find(rest, 18).and_then(|info| find(info, kind)).map(text).unwrap_or_default();
    let is_member = ["bond", "team"].contains(&&*info(4));
    // IFLA_LINK_NETNSID: the link below is elsewhere.
    let is_over = info(1) == "vlan" && find(rest, 37).is_none();
    LinkPlace {
        index: u32_at(body, 4).unwrap_or_default(),
        member_of: if is_member { number(10) } else { 0 },
        over: if is_over { number(5) } else { 0 },
    }
}

/// A link message; `None` for one without a name, which the kernel does not send.
fn row(body: &[u8]) -> Option<LinkRow> {
    let flags = u32_at(body, 8)?;
    let mut link = ObservedLink {
        index: u32_at(body, 4)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..ObservedLink::default()
    };
    let (mut name, mut qdisc, mut permanent_mac) = (None, String::new(), None);
    let (mut parent_name, mut parent_bus, mut port) = (None, None, None);
    for (kind, value) in attributes(body.get(HEADER..)?) {
        // IFLA_* of include/uapi/linux/if_link.h.
        match kind {
            1 => link.mac = mac(value),
            3 => name = text(value).parse().ok(),
            4 => link.mtu = u32_at(value, 0)?,
            5 => link.link = u32_at(value, 0).filter(|&index| index != 0),
            6 => qdisc = text(value),
            10 => link.master = u32_at(value, 0),
            18 => read_info(value, &mut link),
            20 => link.alias = Some(text(value)),
            37 => link.link_netnsid = u32_at(value, 0).map(u32::cast_signed),
            38 => port = Some(text(value)),
            27 => link.group = u32_at(value, 0)?,
            41 => link.gso_max_size = u32_at(value, 0)?,
            51 => link.max_mtu = u32_at(value, 0)?,
            // IFLA_PROP_LIST of IFLA_ALT_IFNAME.
            52 => link.altnames = attributes(value).filter(|(kind, _)| *kind == 53).map(|(_, v)| text(v)).collect(),
            54 => permanent_mac = mac(value),
            56 => parent_name = Some(text(value)),
            57 => parent_bus = Some(text(value)),
            _ => {}
        }
    }
    let parent = parent_bus.zip(parent_name);
    link.pci = parent.as_ref().and_then(|(bus, name)| match bus.as_str() {
        "pci" => Some(name.clone()),
        // Has functions as well: the kernel's own simulated NIC.
        "netdevsim" => Some(format!("{bus}/{name}")),
        _ => None,
    });
    Some(LinkRow { name: name?, link, qdisc, permanent_mac, parent, port })
}

fn mac(value: &[u8]) -> Option<MacAddr> {
    value.try_into().ok().map(MacAddr)
}

fn read_info(value: &[u8], link: &mut ObservedLink) {
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    link.kind = find(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
    let Some(data) = find(value, IFLA_INFO_DATA) else { return };
    let byte = |kind: u16| find(data, kind).and_then(|value| value.first().copied()).unwrap_or_default();
    let long = |kind: u16| find(data, kind).and_then(|value| u32_at(value, 0)).unwrap_or_default();
    link.detail = match link.kind.as_str() {
        // IFLA_BR_STP_STATE, IFLA_BR_VLAN_FILTERING, IFLA_BR_MCAST_SNOOPING
        "bridge" => {
            LinkDetail::Bridge { stp: long(5) != 0, vlan_filtering: byte(7) != 0, multicast_snooping: byte(23) != 0 }
        }
        // IFLA_MACVLAN_MODE
        "macvlan" => LinkDetail::Macvlan { mode: macvlan_mode(long(1)) },
        // IFLA_IPVLAN_MODE
        "ipvlan" => {
            LinkDetail::Ipvlan { mode: find(data, 1).and_then(|value| value.first_chunk()).and_then(ipvlan_mode) }
        }
        "vxlan" => vxlan(data, byte, long),
        // IFLA_GENEVE_ID, _REMOTE, _REMOTE6, _PORT, _UDP_CSUM, _UDP_ZERO_CSUM6_TX
        "geneve" => LinkDetail::Tunnel {
            key: Some(long(1)),
            local: None,
            remote: find(data, 2).or_else(|| find(data, 7)).and_then(address),
            port: find(data, 5).and_then(|value| value.first_chunk()).map_or(0, |port| u16::from_be_bytes(*port)),
            udp_checksum: byte(8) != 0,
            udp6_zero_checksum: byte(9) != 0,
        },
        // IFLA_GRE_IKEY, _OKEY (big-endian), _LOCAL, _REMOTE
        "gretap" | "ip6gretap" => LinkDetail::Tunnel {
            key: (long(4) == long(5)).then(|| u32::from_be(long(4))),
            local: find(data, 6).and_then(address),
            remote: find(data, 7).and_then(address),
            port: 0,
            udp_checksum: false,
            udp6_zero_checksum: false,
        },
        _ => LinkDetail::None,
    };
}

/// `MACVLAN_MODE_*`
fn macvlan_mode(mode: u32) -> Option<MacvlanMode> {
    match mode {
        1 => Some(MacvlanMode::Private),
        2 => Some(MacvlanMode::Vepa),
        4 => Some(MacvlanMode::Bridge),
        8 => Some(MacvlanMode::Passthru),
        _ => None,
    }
}

/// `IPVLAN_MODE_*`
fn ipvlan_mode(mode: &[u8; 2]) -> Option<IpvlanMode> {
    match u16::from_ne_bytes(*mode) {
        0 => Some(IpvlanMode::L2),
        1 => Some(IpvlanMode::L3),
        2 => Some(IpvlanMode::L3s),
        _ => None,
    }
}

/// `IFLA_VXLAN_*`
fn vxlan(data: &[u8], byte: impl Fn(u16) -> u8, long: impl Fn(u16) -> u32) -> LinkDetail {
    let port = find(data, 15).and_then(|value| value.first_chunk()).map_or(0, |port| u16::from_be_bytes(*port));
    LinkDetail::Vxlan {
        vni: long(1),
        local: find(data, 4).or_else(|| find(data, 17)).and_then(address),
        remote: find(data, 2).or_else(|| find(data, 16)).and_then(address),
        port,
        dev: long(3),
        udp_checksum: byte(18) != 0,
        udp6_zero_checksum: byte(19) != 0,
        gbp: find(data, 23).is_some(),
        learning: byte(7) != 0,
    }
}

/// An address of either family, by its length.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::nla::Writer;

    #[test]
    fn a_link_message_is_read_with_attributes_of_unknown_types_in_it() {
        let mut header = [0; HEADER];
        header[4] = 7;
        header[8] = 1;
        let mut message = Writer::after(&header);
        message.text(3, "vx0").u32(4, 8950).put(1, &[2, 0, 0, 0, 0, 1]).u32(4000, 1).u32(27, 5);
        message.nest(18, |info| {
            info.text(1, "vxlan").nest(2, |data| {
                data.u32(1, 42).put(2, &[10, 0, 0, 2]).put(15, &4789u16.to_be_bytes()).put(23, &[]).u8(7, 1);
            });
        });
        let row = row(&message.finish()).unwrap();
        assert_eq!((row.name.as_str(), row.link.index, row.link.mtu, row.link.up), ("vx0", 7, 8950, true));
        match row.link.detail {
            LinkDetail::Vxlan { vni: 42, remote: Some(remote), port: 4789, gbp: true, learning: true, .. } => {
                assert_eq!(remote.to_string(), "10.0.0.2");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_stands_for_a_function_is_told_from_the_port() {
        for port in ["pf0vf1", "c1pf0vf3", "pf1", "pf0sf88"] {
            assert!(is_representor(port), "{port}");
        }
        for port in ["p0", "p0s1", "", "1", "n0"] {
            assert!(!is_representor(port), "{port}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (row(&bytes), counted(&bytes));
        }
    }
}
