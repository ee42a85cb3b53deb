//! Addresses: what the file writes wins, the rest comes from the benchmarking ranges in order of declaration.
//!
//! RFC 2544 sets 198.18.0.0/15 aside for benchmarks, RFC 5180 2001:2::/48: neither is routed anywhere.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Code, Draft, Owner, routes};

/// First and last address of 198.18.0.0/15.
const POOL: (u32, u32) = (0xC612_0000, 0xC613_FFFF);

/// One segment's interfaces, in order.
struct Group {
    ifaces: Vec<usize>,
}

/// Gives every interface of a node or host its addresses.
pub fn assign(draft: &mut Draft<'_>) {
    clashes(draft);
    let groups = groups(draft);
    let mut taken: Vec<Ipv4Net> = Vec::new();
    for group in &groups {
        for &iface in &group.ifaces {
            taken.extend(draft.ifaces[iface].written.iter().filter_map(|(net, _)| match net {
                IpNet::V4(net) => Some(net.trunc()),
                IpNet::V6(_) => None,
            }));
        }
    }
    taken.sort_unstable();
    taken.dedup();
    let mut cursor = POOL.0;
    for (number, group) in groups.iter().enumerate() {
        let mut subnet4 = subnet(draft, group, true);
        let mut subnet6 = subnet(draft, group, false);
        let wanting4 = lacking(draft, group, true);
        let wanting6 = lacking(draft, group, false);
        // A segment whose written addresses are all IPv6 is an IPv6 segment.
        let only6 = subnet6.is_some() && subnet4.is_none();
        if subnet4.is_none() && !wanting4.is_empty() && !only6 {
            subnet4 = next_subnet(&mut cursor, wanting4.len(), &taken).map(IpNet::V4);
            if subnet4.is_none() {
                let span = draft.ifaces[group.ifaces[0]].span.clone();
                let message = format!("198.18.0.0/15 has no room left for {} interfaces", wanting4.len());
                draft.error(Code::AddressesExhausted, &span, message);
                return;
            }
        }
        if subnet6.is_none() && draft.ipv6() && !wanting6.is_empty() {
            let address = Ipv6Addr::from((0x2001_0002_u128 << 96) | ((number as u128) << 64));
            subnet6 = Ipv6Net::new(address, 64).ok().map(IpNet::V6);
        }
        settle(draft, group);
        if let Some(net) = subnet4 {
            fill(draft, group, &wanting4, net);
        }
        if let (Some(net), true) = (subnet6, draft.ipv6()) {
            fill(draft, group, &wanting6, net);
        }
    }
    order(draft);
    ambiguous(draft);
}

/// Segments in order of the first interface on them.
fn groups(draft: &Draft<'_>) -> Vec<Group> {
    let mut number: HashMap<usize, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (index, iface) in draft.ifaces.iter().enumerate() {
        let port_side = matches!(iface.owner, Owner::Switch(_)) && iface.written.is_empty();
        if port_side {
            continue;
        }
        let segment = draft.segments.find(iface.point);
        let at = *number.entry(segment).or_insert_with(|| {
            groups.push(Group { ifaces: Vec::new() });
            groups.len() - 1
        });
        groups[at].ifaces.push(index);
    }
    groups
}

fn is_family(net: &IpNet, ipv4: bool) -> bool {
    matches!(net, IpNet::V4(_)) == ipv4
}

/// The subnet of the first written address; later first addresses outside of it are reported.
fn subnet(draft: &mut Draft<'_>, group: &Group, ipv4: bool) -> Option<IpNet> {
    let mut found: Option<(IpNet, Range<usize>)> = None;
    let mut outside = Vec::new();
    for &iface in &group.ifaces {
        let first = draft.ifaces[iface].written.iter().find(|(net, _)| is_family(net, ipv4)).cloned();
        match (&found, first) {
            (None, Some(first)) => found = Some(first),
            (Some((net, at)), Some((other, span))) if net.trunc() != other.trunc() => {
                outside.push((net.trunc(), at.clone(), other, span));
            }
            _ => {}
        }
    }
    for (net, at, other, span) in outside {
        let message = format!("{other} is not in {net}, the subnet of its segment");
        let diagnostic = draft.error(Code::AddressOutside, &span, message);
        diagnostic.labels.push((at, "the segment's first address".into()));
    }
    found.map(|(net, _)| net.trunc())
}

/// Interfaces without a written address of the family.
fn lacking(draft: &Draft<'_>, group: &Group, ipv4: bool) -> Vec<usize> {
    let lacks = |iface: &usize| !draft.ifaces[*iface].written.iter().any(|(net, _)| is_family(net, ipv4));
    let wants = |iface: &usize| !matches!(draft.ifaces[*iface].owner, Owner::Switch(_));
    group.ifaces.iter().copied().filter(lacks).filter(wants).collect()
}

/// The next free block for `count` addresses: a /24, or larger where that has too few.
fn next_subnet(cursor: &mut u32, count: usize, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let bits = (8..=17).find(|&bits| (1usize << bits) - 3 >= count)?;
    let size = 1u32 << bits;
    let mut start = *cursor;
    loop {
        start = start.checked_next_multiple_of(size)?;
        let last = start.checked_add(size - 1)?;
        if last > POOL.1 {
            return None;
        }
        match taken.iter().find(|net| u32::from(net.network()) <= last && u32::from(net.broadcast()) >= start) {
            Some(net) => start = u32::from(net.broadcast()).checked_add(1)?,
            None => {
                *cursor = last + 1;
                return Ipv4Net::new(Ipv4Addr::from(start), 32 - bits).ok();
            }
        }
    }
}

/// Copies the written addresses over.
fn settle(draft: &mut Draft<'_>, group: &Group) {
    for &iface in &group.ifaces {
        let iface = &mut draft.ifaces[iface];
        let written = iface.written.iter().map(|(net, _)| *net);
        iface.settings.addresses = written.collect();
    }
}

/// Gives the interfaces that lack one an address of `net`, from its first host on, around those written.
fn fill(draft: &mut Draft<'_>, group: &Group, lacking: &[usize], net: IpNet) {
    let written = group.ifaces.iter().flat_map(|&iface| &draft.ifaces[iface].written);
    let used: HashSet<IpAddr> = written.map(|(net, _)| net.addr()).collect();
    let (first, last) = match net {
        IpNet::V4(net) if net.prefix_len() >= 31 => {
            (u32::from(net.network()).into(), u32::from(net.broadcast()).into())
        }
        IpNet::V4(net) => (u128::from(u32::from(net.network())) + 1, u128::from(u32::from(net.broadcast())) - 1),
        IpNet::V6(net) => (u128::from(net.network()) + 1, u128::from(net.broadcast())),
    };
    let mut next = first;
    for &iface in lacking {
        let address = loop {
            if next > last {
                let span = draft.ifaces[iface].span.clone();
                let message =
                    format!("{net} has no address left for `{}`", draft.owner_name(draft.ifaces[iface].owner));
                draft.error(Code::AddressesExhausted, &span, message);
                return;
            }
            let candidate = match net {
                IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(next as u32)),
                IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(next)),
            };
            next += 1;
            if !used.contains(&candidate) {
                break candidate;
            }
        };
        if let Ok(address) = IpNet::new(address, net.prefix_len()) {
            draft.ifaces[iface].settings.addresses.push(address);
        }
    }
}

/// IPv4 before IPv6, otherwise as written.
fn order(draft: &mut Draft<'_>) {
    for iface in &mut draft.ifaces {
        iface.settings.addresses.sort_by_key(|net| matches!(net, IpNet::V6(_)));
    }
}

/// Reports a node that is in one subnet on two segments: it could not say where a neighbour is.
fn ambiguous(draft: &mut Draft<'_>) {
    let mut found = Vec::new();
    for (owner, ifaces) in routes::by_owner(draft) {
        for (nth, &a) in ifaces.iter().enumerate() {
            for &b in ifaces[..nth].iter().take(16) {
                let segments = [a, b].map(|iface| draft.segments.find(draft.ifaces[iface].point));
                let nets = |iface: usize| draft.ifaces[iface].settings.addresses.iter().map(IpNet::trunc);
                let same = nets(a).find(|net| nets(b).any(|other| other.contains(net) || net.contains(&other)));
                if let (Some(net), true) = (same, segments[0] != segments[1]) {
                    let place = |iface: usize| draft.ifaces[iface].written.first().map(|(_, span)| span.clone());
                    let span = place(a).or_else(|| place(b)).unwrap_or_else(|| draft.ifaces[a].span.clone());
                    found.push((span, format!("`{}` is in {net} on two segments", draft.owner_name(owner))));
                }
            }
        }
    }
    for (span, message) in found {
        let help = "routes between them could not tell one from the other: give each segment a subnet of its own";
        draft.error(Code::AddressClash, &span, message).help.push(help.into());
    }
}

/// Reports addresses that stand twice.
fn clashes(draft: &mut Draft<'_>) {
    let mut seen: BTreeMap<IpAddr, Range<usize>> = BTreeMap::new();
    let mut twice = Vec::new();
    for (net, span) in draft.ifaces.iter().flat_map(|iface| &iface.written) {
        if let Some(first) = seen.get(&net.addr()) {
            twice.push((net.addr(), first.clone(), span.clone()));
        } else {
            seen.insert(net.addr(), span.clone());
        }
    }
    for (address, first, span) in twice {
        let message = format!("{address} is given to two interfaces");
        draft.error(Code::AddressClash, &span, message).labels.push((first, "first here".into()));
    }
}
