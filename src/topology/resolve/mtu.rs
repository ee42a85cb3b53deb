//! MTU of everything: the topology's on the wire, what encapsulation leaves of it in an overlay, and proof that they fit.

use std::ops::Range;

use ipnet::IpNet;

use super::{Code, Draft, Medium, Owner, Thing, tunnels::TunnelParts};
use crate::topology::ast::Kind;

/// Decides every MTU.
pub fn decide(draft: &mut Draft<'_>) {
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
    if let (Kind::Macvlan | Kind::Ipvlan | Kind::Sriov, Some(nic)) =
        (draft.switches[switch].kind, draft.switches[switch].nic)
    {
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
                "MTU {mtu} on `{}` and {overhead} bytes of {} make {}, the wire below has {under}",
                name.value,
                tunnel.kind.title(),
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
            (Kind::Macvlan | Kind::Ipvlan | Kind::Sriov, Some(nic)) => {
                let parent = draft.nic_mtu[nic];
                if written.value > parent {
                    parent_mtu(draft, &written.span, written.value, nic);
                }
            }
            (Kind::Macvlan | Kind::Ipvlan | Kind::Sriov, None) => {}
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
        if let (Kind::Macvlan | Kind::Ipvlan | Kind::Sriov, Some(mtu), Some(nic)) =
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
        if matches!(draft.switches[switch].kind, Kind::Macvlan | Kind::Ipvlan | Kind::Sriov) {
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
