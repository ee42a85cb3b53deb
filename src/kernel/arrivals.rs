//! What the devices have received by which packets of another host arrive here.

use std::{collections::BTreeSet, net::IpAddr};

use netlink_packet_route::link::LinkMessage;

use super::{
    Result,
    egress::route,
    error::Operation,
    link::RTM_GETLINK,
    netlink::{
        bytes,
        nla::{find, text, u32_at, u64_at},
    },
    netns::Netns,
};

/// `struct ifinfomsg`
const HEADER: usize = 16;

/// A device, and what it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Device {
    index: u32,
    kind: String,
    /// Device that it is a member of; 0 is none.
    master: u32,
    /// Device below it, in the same namespace.
    below: Option<u32>,
    packets: u64,
}

/// Packets that the devices have received so far which a packet from this host passes: the one that leads there and those below it, each by its
/// own count, for the kernel counts a packet once for each (`softnet_stat`), too. None where no route leads there, and where it cannot be told: the other
/// end of a veth pair and what is below a tunnel are out of sight.
///
/// # Errors
/// The kernel's answer.
pub fn arrived(ns: &Netns, from: IpAddr) -> Result<Option<u64>> {
    let failed = |failure| Operation::of("count what arrives from", from, ns.label()).failed(failure);
    let Some(first) = route(ns, from).map_err(failed)? else { return Ok(None) };
    let bodies = ns.route().dump(RTM_GETLINK, &bytes(&LinkMessage::default())).map_err(failed)?;
    let devices: Vec<Device> = bodies.iter().filter_map(|body| Device::of(body)).collect();
    Ok(received(&devices, first))
}

impl Device {
    fn of(body: &[u8]) -> Option<Self> {
        let rest = body.get(HEADER..)?;
        let number = |kind| find(rest, kind).and_then(|value| u32_at(value, 0));
        // IFLA_LINKINFO (18): IFLA_INFO_KIND (1); IFLA_LINK_NETNSID (37): the one below is elsewhere.
        let kind = find(rest, 18).and_then(|info| find(info, 1)).map(text).unwrap_or_default();
        Some(Self {
            index: u32_at(body, 4)?,
            kind: kind.to_string(),
            master: number(10).unwrap_or(0),
            below: number(5).filter(|&link| link != 0 && find(rest, 37).is_none()),
            packets: find(rest, 23).and_then(|stats| u64_at(stats, 0))?,
        })
    }
}

fn received(devices: &[Device], first: u32) -> Option<u64> {
    let (mut seen, mut left, mut sum) = (BTreeSet::new(), vec![first], 0_u64);
    while let Some(index) = left.pop() {
        if !seen.insert(index) {
            continue;
        }
        let device = devices.iter().find(|device| device.index == index)?;
        sum = sum.saturating_add(device.packets);
        match device.kind.as_str() {
            // What has no kind has a driver, or is the loopback.
            "" | "bond" | "bridge" | "dummy" | "netdevsim" | "team" | "tun" => {}
            "vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec" => left.push(device.below?),
            _ => return None,
        }
        left.extend(devices.iter().filter(|device| device.master == index).map(|device| device.index));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, kind: &str, packets: u64) -> Device {
        Device { index, kind: kind.to_owned(), packets, ..Device::default() }
    }

    #[test]
    fn a_packet_counts_once_for_each_device_that_it_passes() {
        let member = |index, master, packets| Device { master, ..device(index, "", packets) };
        let over = |index, kind: &str, below, packets| Device { below, ..device(index, kind, packets) };
        let devices = [
            device(1, "", 1),
            // A VLAN on a bond of two cards.
            member(2, 4, 10),
            member(3, 4, 20),
            device(4, "bond", 30),
            over(5, "vlan", Some(4), 29),
            // A bridge over a card, another card.
            member(6, 7, 100),
            device(7, "bridge", 90),
            device(8, "", 5000),
            // Out of sight: a container's two, a tunnel, a macvlan whose card is elsewhere.
            device(9, "veth", 1),
            device(10, "vxlan", 1),
            over(11, "macvlan", None, 1),
        ];
        for (first, expected) in [
            (1, Some(1)),
            (5, Some(89)),
            (4, Some(60)),
            (7, Some(190)),
            (8, Some(5000)),
            (9, None),
            (10, None),
            (11, None),
            (12, None),
        ] {
            assert_eq!(received(&devices, first), expected, "{first}");
        }
    }

    #[test]
    fn what_comes_from_this_host_itself_comes_by_the_loopback() {
        let ns = Netns::current("here").unwrap();
        let local = IpAddr::from([127, 0, 0, 1]);
        let before = arrived(&ns, local).unwrap().unwrap();
        let socket = std::net::UdpSocket::bind((local, 0)).unwrap();
        (0..100).for_each(|_| _ = socket.send_to(&[7], socket.local_addr().unwrap()).unwrap());
        assert!(arrived(&ns, local).unwrap().unwrap() >= before + 100);
    }
}
