//! MTU of everything: the topology's on the wire, what encapsulation leaves of it in an overlay, and proof that they fit.

use std::{collections::HashMap, ops::Range};

use ipnet::IpNet;

use super::{Code, Draft, Medium, Owner, Thing, routes};
use crate::{topology::ast::Kind, units::IfName};

/// Outer Ethernet is not part of an MTU; IPv4 (20) + UDP (8) + VXLAN (8) + inner Ethernet (14) are.
pub const VXLAN_OVER_V4: u32 = 50;
/// UDP port of VXLAN (IANA).
pub const VXLAN_PORT: u16 = 4789;
/// As over IPv4, with 40 bytes of IPv6.
pub const VXLAN_OVER_V6: u32 = 70;

/// A tunnel whose ends and wire below are known.
#[derive(Debug, Clone)]
pub struct TunnelParts {
    pub switches: [usize; 2],
    /// The hosts' interfaces that carry it.
    pub below: [usize; 2],
    pub names: [IfName; 2],
    /// Do outer packets travel over IPv4?
    pub ipv4: bool,
}

impl TunnelParts {
    /// Bytes it adds to each packet.
    pub fn overhead(&self) -> u32 {
        if self.ipv4 { VXLAN_OVER_V4 } else { VXLAN_OVER_V6 }
    }
}

/// Decides every MTU.
pub fn decide(draft: &mut Draft<'_>) {
    let owned = routes::by_owner(draft);
    draft.tunnels = (0..draft.file.tunnel.len()).map(|index| tunnel(draft, &owned, index)).collect();
    same_vni(draft);
    draft.nic_mtu = (0..draft.names.nics.len()).map(|nic| nic_mtu(draft, nic)).collect();
    // An overlay may lie on an overlay: each round settles one more layer.
    let mut rounds = 0;
    loop {
        let before: Vec<u32> = draft.switches.iter().map(|switch| switch.mtu).collect();
        for switch in 0..draft.switches.len() {
            draft.switches[switch].mtu = switch_mtu(draft, switch);
        }
        interfaces(draft);
        let settled = draft.switches.iter().map(|switch| switch.mtu).eq(before);
        rounds += 1;
        if settled || rounds > draft.tunnels.len() + 1 {
            break;
        }
    }
    for nic in 0..draft.nic_mtu.len() {
        follow_bridge(draft, nic);
    }
    check_tunnels(draft);
    check_media(draft);
    check_ipv6(draft);
}

fn tunnel(draft: &mut Draft<'_>, owned: &HashMap<Owner, Vec<usize>>, index: usize) -> Option<TunnelParts> {
    let declared = &draft.file.tunnel[index];
    let mut ends = Vec::new();
    for end in &declared.value.ends {
        match draft.names.find(&end.value, &end.span, &["switch"]) {
            Ok(Thing::Switch(switch)) => ends.push((switch, end.span.clone())),
            Ok(_) => {}
            Err(diagnostic) => {
                draft.report(*diagnostic);
            }
        }
    }
    let [(a, _), (b, b_span)] = &ends[..] else { return None };
    for (switch, span) in &ends {
        if draft.switches[*switch].kind == Kind::Macvlan {
            let message = "a macvlan switch cannot have a tunnel as a port";
            draft.error(Code::BadEnd, span, message).help.push("join bridges".into());
            return None;
        }
    }
    let no_underlay = |draft: &mut Draft<'_>, span: &Range<usize>, message: String, help: &str| {
        draft.error(Code::NoUnderlay, span, message).help.push(help.into());
    };
    let hosts = [draft.switches[*a].host, draft.switches[*b].host];
    let [Some(host_a), Some(host_b)] = hosts else {
        let (switch, span) = if hosts[0].is_none() { &ends[0] } else { &ends[1] };
        if draft.names.switches[*switch].1.host.is_none() {
            let message = format!(
                "switch `{}` is on no host, so it has no wire for a tunnel",
                draft.names.switches[*switch].0.value
            );
            no_underlay(draft, span, message, "give both switches a `host` and join the hosts with a `[[link]]`");
        }
        return None;
    };
    let name = |host: usize| draft.names.hosts[host].0.value.clone();
    let (name_a, name_b) = (name(host_a), name(host_b));
    if host_a == host_b {
        let message = format!("both ends of the tunnel are on host `{name_a}`");
        no_underlay(draft, b_span, message, "a tunnel joins two hosts; on one host a `[[link]]` joins two switches");
        return None;
    }
    let of = |host: usize| {
        let ifaces = owned.get(&Owner::Host(host)).map(Vec::as_slice).unwrap_or_default();
        ifaces.iter().map(|&at| (at, draft.segments.find(draft.ifaces[at].point)))
    };
    let pair = of(host_a)
        .find_map(|(at, segment)| of(host_b).find(|(_, other)| *other == segment).map(|(other, _)| [at, other]));
    let Some(below) = pair else {
        let message = format!("no wire joins the hosts `{name_a}` and `{name_b}`");
        let help = format!("add one:\n[[link]]\nends = [\"{name_a}:wire\", \"{name_b}:wire\"]");
        no_underlay(draft, &declared.span, message, &help);
        return None;
    };
    let has_v4 = |iface: usize| draft.ifaces[iface].settings.addresses.iter().any(|net| matches!(net, IpNet::V4(_)));
    let names = [*a, *b].map(|switch| device_name(draft, switch, index));
    let [Some(first), Some(second)] = names else { return None };
    Some(TunnelParts {
        switches: [*a, *b],
        ipv4: below.iter().all(|&iface| has_v4(iface)),
        below,
        names: [first, second],
    })
}

/// The kernel refuses a second VXLAN device with the same VNI and port in one namespace (EEXIST).
fn same_vni(draft: &mut Draft<'_>) {
    let mut seen: HashMap<(usize, u32, u16), Range<usize>> = HashMap::new();
    for index in 0..draft.tunnels.len() {
        let Some(parts) = draft.tunnels[index].clone() else { continue };
        let declared = &draft.file.tunnel[index].value;
        let port = declared.port.as_ref().map_or(VXLAN_PORT, |port| port.value);
        for host in parts.switches.map(|switch| draft.switches[switch].host).into_iter().flatten() {
            if let Some(first) = seen.insert((host, declared.vni.value, port), declared.vni.span.clone()) {
                let name = &draft.names.hosts[host].0.value;
                let message = format!("host `{name}` has VNI {} on port {port} twice", declared.vni.value);
                draft.error(Code::SameVni, &declared.vni.span, message).labels.push((first, "first here".into()));
            }
        }
    }
}

/// `vx0`, `vx1`, …: the first that no switch or interface on the host has.
fn device_name(draft: &Draft<'_>, switch: usize, index: usize) -> Option<IfName> {
    let host = draft.switches[switch].host;
    let taken = |name: &str| {
        let switch_has = draft.switches.iter().zip(&draft.names.switches);
        let interface_has = draft.ifaces.iter().filter(|iface| match iface.owner {
            Owner::Host(owner) => Some(owner) == host,
            Owner::Switch(owner) => draft.switches[owner].host == host,
            Owner::Node(_) => false,
        });
        switch_has.into_iter().any(|(parts, (text, _))| parts.host == host && text.value == name)
            || interface_has.into_iter().any(|iface| iface.ifname.as_ref().is_some_and(|taken| taken.as_str() == name))
    };
    let all = draft.file.tunnel.len();
    (0..).map(|round| format!("vx{}", index + round * all)).find(|name| !taken(name))?.parse().ok()
}

fn nic_mtu(draft: &Draft<'_>, nic: usize) -> u32 {
    let (name, declared) = draft.names.nics[nic];
    let cable = declared.cable.as_ref().and_then(|cable| draft.names.get(&cable.value));
    let far = draft.names.nics.iter().enumerate().find(|(index, (_, other))| {
        cable == Some(Thing::Nic(*index)) || other.cable.as_ref().is_some_and(|cable| cable.value == name.value)
    });
    let written = declared.mtu.as_ref().or(far.and_then(|(_, (_, other))| other.mtu.as_ref()));
    written.map_or(draft.wire_mtu(), |mtu| mtu.value)
}

/// Explicit, or what the tunnels leave, or the parent's, or the wire's.
fn switch_mtu(draft: &Draft<'_>, switch: usize) -> u32 {
    let (_, declared) = draft.names.switches[switch];
    if let Some(mtu) = &declared.mtu {
        return mtu.value;
    }
    if let (Kind::Macvlan, Some(nic)) = (draft.switches[switch].kind, draft.switches[switch].nic) {
        return draft.nic_mtu[nic];
    }
    // What another bridge of the same medium says, and what its tunnels leave.
    let layer2 = &draft.segments.layer2;
    let set = layer2.find(switch);
    let left = draft.tunnels.iter().flatten().filter(|tunnel| layer2.find(tunnel.switches[0]) == set);
    let left = left.map(|tunnel| room(draft, tunnel)).min();
    left.unwrap_or(draft.wire_mtu())
}

/// The largest inner MTU a tunnel carries.
fn room(draft: &Draft<'_>, tunnel: &TunnelParts) -> u32 {
    let below = tunnel.below.iter().map(|&iface| draft.ifaces[iface].settings.mtu).min().unwrap_or(0);
    match below {
        0 => draft.wire_mtu().saturating_sub(tunnel.overhead()),
        mtu => mtu.saturating_sub(tunnel.overhead()),
    }
}

fn interfaces(draft: &mut Draft<'_>) {
    for index in 0..draft.ifaces.len() {
        draft.ifaces[index].settings.mtu = match draft.ifaces[index].medium {
            Medium::Port(switch) | Medium::Device(switch) => {
                written(draft, index).unwrap_or(draft.switches[switch].mtu)
            }
            Medium::Nic(nic) => draft.nic_mtu[nic],
            Medium::Wire(link) => written(draft, index).unwrap_or_else(|| wire_end_mtu(draft, link)),
        };
    }
}

fn written(draft: &Draft<'_>, iface: usize) -> Option<u32> {
    draft.ifaces[iface].written_mtu.as_ref().map(|mtu| mtu.value)
}

/// An end that says nothing follows the other end, then the switch it leads to.
fn wire_end_mtu(draft: &Draft<'_>, link: usize) -> u32 {
    let Some(ends) = draft.links[link] else { return draft.wire_mtu() };
    if let Some(mtu) = ends.iter().find_map(|&end| written(draft, end)) {
        return mtu;
    }
    let switch = ends.iter().find_map(|&end| match draft.ifaces[end].owner {
        Owner::Switch(switch) => Some(switch),
        _ => None,
    });
    switch.map_or(draft.wire_mtu(), |switch| draft.switches[switch].mtu)
}

/// The NIC in a bridge takes the bridge's MTU where it says nothing itself.
fn follow_bridge(draft: &mut Draft<'_>, nic: usize) {
    let bridge = (0..draft.switches.len()).find(|&switch| draft.switches[switch].uplinks.contains(&nic));
    let Some(bridge) = bridge else { return };
    let mtu = draft.switches[bridge].mtu;
    let (name, declared) = draft.names.nics[nic];
    match &declared.mtu {
        None => draft.nic_mtu[nic] = mtu,
        Some(written) if written.value != mtu => {
            let message = format!(
                "NIC `{}` has MTU {}, its bridge `{}` has {mtu}",
                name.value, written.value, draft.names.switches[bridge].0.value
            );
            let label = (draft.names.switches[bridge].0.span.clone(), "the bridge".to_owned());
            draft.error(Code::MtuMismatch, &written.span, message).labels.push(label);
        }
        Some(_) => {}
    }
}

fn check_tunnels(draft: &mut Draft<'_>) {
    for tunnel in draft.tunnels.clone().into_iter().flatten() {
        let most = room(draft, &tunnel);
        let below = &draft.ifaces[tunnel.below[0]];
        let (under, span_below, overhead) = (most + tunnel.overhead(), below.span.clone(), tunnel.overhead());
        for switch in tunnel.switches {
            let mtu = draft.switches[switch].mtu;
            if mtu <= most && most >= 68 {
                continue;
            }
            let (name, declared) = draft.names.switches[switch];
            let span = declared.mtu.as_ref().map_or(&name.span, |mtu| &mtu.span);
            let message = format!(
                "MTU {mtu} on `{}` and {overhead} bytes of VXLAN make {}, the wire below has {under}",
                name.value,
                mtu + overhead
            );
            let help = format!("leave `mtu` out and {most} is set, or raise the wire's to {}", mtu + overhead);
            let diagnostic = draft.error(Code::TunnelMtu, span, message);
            diagnostic.labels.push((span_below.clone(), format!("this wire has MTU {under}")));
            diagnostic.help.push(help);
        }
    }
}

fn check_media(draft: &mut Draft<'_>) {
    for index in 0..draft.ifaces.len() {
        let iface = &draft.ifaces[index];
        let Some(written) = iface.written_mtu.clone() else { continue };
        let switch = match (iface.medium, iface.owner) {
            (Medium::Port(switch), _) => switch,
            (Medium::Wire(_), Owner::Switch(switch)) => switch,
            _ => continue,
        };
        let (name, _) = draft.names.switches[switch];
        let mtu = draft.switches[switch].mtu;
        match (draft.switches[switch].kind, draft.switches[switch].nic) {
            (Kind::Macvlan, Some(nic)) => {
                let parent = draft.nic_mtu[nic];
                if written.value > parent {
                    parent_mtu(draft, &written.span, written.value, nic);
                }
            }
            (Kind::Macvlan, None) => {}
            _ if written.value != mtu => {
                let message = format!("this port has MTU {}, its switch `{}` has {mtu}", written.value, name.value);
                let label = (name.span.clone(), format!("MTU {mtu}"));
                draft.error(Code::MtuMismatch, &written.span, message).labels.push(label);
            }
            _ => {}
        }
    }
    for switch in 0..draft.switches.len() {
        let (_, declared) = draft.names.switches[switch];
        if let (Kind::Macvlan, Some(mtu), Some(nic)) =
            (draft.switches[switch].kind, &declared.mtu, draft.switches[switch].nic)
            && mtu.value > draft.nic_mtu[nic]
        {
            parent_mtu(draft, &mtu.span, mtu.value, nic);
        }
    }
    check_wires(draft);
    check_bridges(draft);
    check_cables(draft);
}

fn parent_mtu(draft: &mut Draft<'_>, span: &Range<usize>, mtu: u32, nic: usize) {
    let (name, _) = draft.names.nics[nic];
    let parent = draft.nic_mtu[nic];
    let message = format!("MTU {mtu} is more than the {parent} of NIC `{}` below", name.value);
    let diagnostic = draft.error(Code::ParentMtu, span, message);
    diagnostic.labels.push((name.span.clone(), format!("MTU {parent}")));
    diagnostic.help.push(format!("set `mtu = {mtu}` on the NIC"));
}

fn check_wires(draft: &mut Draft<'_>) {
    for ends in draft.links.clone().into_iter().flatten() {
        let [a, b] = ends.map(|end| draft.ifaces[end].clone());
        if a.settings.mtu == b.settings.mtu {
            // One end in a bridge: the wire as a whole must fit it.
            for (near, far) in [(&a, &b), (&b, &a)] {
                let Owner::Switch(switch) = near.owner else { continue };
                let mtu = draft.switches[switch].mtu;
                if let (None, Some(written)) = (&near.written_mtu, &far.written_mtu)
                    && written.value != mtu
                {
                    let name = draft.names.switches[switch].0;
                    let message = format!(
                        "this wire has MTU {}, the switch `{}` it leads to has {mtu}",
                        written.value, name.value
                    );
                    let label = (name.span.clone(), format!("MTU {mtu}"));
                    draft.error(Code::MtuMismatch, &written.span, message).labels.push(label);
                }
            }
            continue;
        }
        let message = format!("the ends of this wire have MTU {} and {}", a.settings.mtu, b.settings.mtu);
        let label = (a.span.clone(), format!("MTU {}", a.settings.mtu));
        let span = b.written_mtu.as_ref().map_or(&b.span, |mtu| &mtu.span);
        draft.error(Code::MtuMismatch, span, message).labels.push(label);
    }
}

/// Bridges of one medium have one MTU.
fn check_bridges(draft: &mut Draft<'_>) {
    let mut first: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
    for switch in 0..draft.switches.len() {
        if draft.switches[switch].kind == Kind::Macvlan {
            continue;
        }
        let set = draft.segments.layer2.find(switch);
        let reference = *first.entry(set).or_insert(switch);
        let (mtu, other) = (draft.switches[switch].mtu, draft.switches[reference].mtu);
        if mtu != other {
            let ((name, declared), (other_name, _)) = (draft.names.switches[switch], draft.names.switches[reference]);
            let span = declared.mtu.as_ref().map_or(&name.span, |mtu| &mtu.span);
            let message =
                format!("`{}` has MTU {mtu}, `{}` on the same medium has {other}", name.value, other_name.value);
            let label = (other_name.span.clone(), format!("MTU {other}"));
            draft.error(Code::MtuMismatch, span, message).labels.push(label);
        }
    }
}

fn check_cables(draft: &mut Draft<'_>) {
    for nic in 0..draft.names.nics.len() {
        let (name, declared) = draft.names.nics[nic];
        let Some(Thing::Nic(other)) = declared.cable.as_ref().and_then(|cable| draft.names.get(&cable.value)) else {
            continue;
        };
        let (other_name, other_nic) = draft.names.nics[other];
        if let (Some(a), Some(b)) = (&declared.mtu, &other_nic.mtu) {
            let both_say = other_nic.cable.as_ref().is_some_and(|cable| cable.value == name.value);
            if a.value != b.value && !(both_say && other < nic) {
                let message = format!(
                    "NICs `{}` and `{}` on one cable have MTU {} and {}",
                    name.value, other_name.value, a.value, b.value
                );
                draft.error(Code::MtuMismatch, &a.span, message).labels.push((b.span.clone(), "the other end".into()));
            }
        }
    }
}

fn check_ipv6(draft: &mut Draft<'_>) {
    let mut said: Vec<Range<usize>> = Vec::new();
    for index in 0..draft.ifaces.len() {
        let iface = &draft.ifaces[index];
        let has_v6 = iface.settings.addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
        if has_v6 && iface.settings.mtu < 1280 && said.last() != Some(&iface.span) {
            let (span, mtu) = (iface.span.clone(), iface.settings.mtu);
            let message = format!("MTU {mtu} on {} is too small for IPv6", draft.iface_name(index));
            draft.error(Code::Ipv6Mtu, &span, message).help.push("IPv6 needs at least 1280 bytes".into());
            said.push(span);
        }
    }
}
