//! What Open vSwitch adds to the language: its options, VLANs, limits, tunnels, and which offloads pass.

use std::collections::HashMap;

use super::{Code, Draft, Medium, Owner, Text, ast};
use crate::topology::{
    ast::{Daemons, Fdb, Kind, PortTable},
    model::{Datapath, Fabric, FailMode, OvsOptions, TunnelKind},
};

/// Ports that take part in its spanning tree (`STP_MAX_PORTS`, lib/stp.h).
const STP_PORTS: usize = 255;
/// And in its rapid one (`RSTP_MAX_PORTS`, lib/rstp.h).
const RSTP_PORTS: usize = 4095;
/// Ports of a datapath (`choose_port()` counts to `UINT16_MAX`; OpenFlow's numbers end below `OFPP_MAX`, 0xff00).
const PORTS: usize = 0xfeff;
/// Where one broadcast reaches more ports, the kernel's backlog is full.
const MANY_PORTS: usize = 1000;

/// The options of a switch of kind `ovs`; `None` for other kinds.
pub fn options(draft: &mut Draft<'_>, name: &Text, switch: &ast::Switch) -> Option<OvsOptions> {
    if switch.kind.value != Kind::Ovs {
        return None;
    }
    let system = switch.ovs.as_ref().filter(|ovs| ovs.value == Daemons::System);
    let in_host = draft.file.fabric.as_ref().filter(|fabric| fabric.value == Fabric::Host);
    match (system, &switch.host, in_host) {
        (Some(ovs), Some(host), _) => {
            let message = "the host's own Open vSwitch sees no ports on an emulated host";
            let label = (ovs.span.clone(), "this says whose it is".to_owned());
            draft.error(Code::Conflict, &host.span, message).labels.push(label);
        }
        (Some(ovs), None, None) => {
            let message = "the host's own Open vSwitch sees ports in the host's own namespace only";
            let help = "write `fabric = \"host\"` at the top, or leave `ovs` out: daemons of the topology's own";
            draft.error(Code::Conflict, &ovs.span, message).help.push(help.into());
        }
        (None, None, Some(fabric)) => {
            let message = format!("`{}` would be in the host's own namespace", name.value.escape_debug());
            let diagnostic = draft.error(Code::Conflict, &fabric.span, message);
            diagnostic.labels.push((switch.kind.span.clone(), "Open vSwitch of the topology's own".into()));
            diagnostic.help.push("write `ovs = \"system\"` to use the host's, or leave `fabric` out".into());
        }
        _ => {}
    }
    let on = |key: &Option<ast::Located<bool>>| key.as_ref().is_some_and(|key| key.value);
    let options = OvsOptions {
        datapath: switch.datapath.as_ref().map_or(Datapath::User, |datapath| datapath.value),
        fail_mode: switch.fail_mode.as_ref().map_or(FailMode::Standalone, |mode| mode.value),
        stp: on(&switch.stp),
        rstp: on(&switch.rstp),
        tso: false,
        system: system.is_some(),
        flows: Vec::new(),
    };
    if let (true, true, Some(rstp)) = (options.stp, options.rstp, &switch.rstp) {
        draft.error(Code::Conflict, &rstp.span, "a switch has `stp` or `rstp`, not both");
    }
    if let (Datapath::Kernel, Some(tso)) = (options.datapath, &switch.tso) {
        let message =
            "`tso` is about the userspace datapath; with `datapath = \"kernel\"` the nodes' own offloads count";
        draft.error(Code::Conflict, &tso.span, message);
    }
    Some(options)
}

/// The VLANs that pass a port tagged.
pub fn trunks(draft: &mut Draft<'_>, switch: usize, table: Option<&PortTable>) -> Vec<u16> {
    let Some(first) = table.and_then(|table| table.trunks.first()) else { return Vec::new() };
    let table = table.expect("it has trunks");
    if draft.switches[switch].kind != Kind::Ovs {
        draft.error(Code::Conflict, &first.span, "`trunks` means something to Open vSwitch (`kind = \"ovs\"`) only");
    } else if table.vlan.is_none() {
        let message = "a port with `trunks` and without `vlan` drops the untagged frames that a node sends";
        draft.error(Code::Conflict, &first.span, message).help.push("`vlan` says which VLAN these are in".into());
    }
    for vlan in table.trunks.iter().filter(|vlan| !(1..=4094).contains(&vlan.value)) {
        draft.error(Code::OutOfRange, &vlan.span, format!("a VLAN is 1 to 4094, this is {}", vlan.value));
    }
    let mut vlans: Vec<u16> = table.trunks.iter().map(|vlan| vlan.value).collect();
    vlans.sort_unstable();
    vlans.dedup();
    vlans
}

/// The VLAN that stands for a port's segment. Frames without a tag are in VLAN 1 on a bridge; on Open vSwitch and
/// between virtual functions they are in
/// none (0), so that a port of VLAN 1 is apart from them: 4096 is no VLAN.
pub fn segment_vlan(kind: Kind, vlan: Option<u16>) -> u16 {
    match (kind, vlan) {
        (Kind::Ovs | Kind::Sriov, Some(1)) => 4096,
        (_, vlan) => vlan.unwrap_or(1),
    }
}

/// Limits on the number of ports.
pub fn count_ports(draft: &mut Draft<'_>, index: usize, count: usize) {
    let (name, switch) = draft.names.switches[index];
    let Some(options) = draft.switches[index].ovs.clone() else { return };
    let (key, most) = match (&switch.stp, &switch.rstp) {
        (Some(key), _) if options.stp => (Some(key), STP_PORTS),
        (_, Some(key)) if options.rstp => (Some(key), RSTP_PORTS),
        _ => (None, PORTS),
    };
    let span = switch.ports.first().map_or(&name.span, |port| &port.span).clone();
    if let Some(key) = key.filter(|_| count > most) {
        let message = format!("`{}` would have {count} ports, spanning tree of Open vSwitch takes {most}", name.value);
        let diagnostic = draft.error(Code::SpanningTreePorts, &key.span, message);
        diagnostic.labels.push((span, format!("{count} ports")));
        diagnostic.help.push("leave it out: one switch has no loop".into());
    } else if count > PORTS {
        let message = format!("`{}` would have {count} ports, Open vSwitch allows {PORTS}", name.value);
        draft.error(Code::TooManyPorts, &span, message);
    } else if count > MANY_PORTS {
        let message = format!("`{}` has {count} ports: broadcasts and ARP entries may be lost", name.value);
        let help = format!(
            "sysctl -w net.core.netdev_max_backlog={} net.ipv4.neigh.default.gc_thresh3={}",
            (count * 4).next_power_of_two(),
            (count * 8).next_power_of_two()
        );
        draft.report(super::Diagnostic::warning(Code::ManyPorts, span, message).help(help));
    }
}

/// Can this tunnel join these two switches? `None` when not, and said.
pub fn tunnel(draft: &mut Draft<'_>, declared: &ast::Tunnel, ends: [usize; 2]) -> Option<()> {
    let before = draft.diagnostics.len();
    let kinds = ends.map(|switch| draft.switches[switch].kind);
    if kinds[0] != kinds[1] {
        let message = "a tunnel joins two switches of one kind";
        let spans = ends.map(|switch| draft.names.switches[switch].1.kind.span.clone());
        let diagnostic = draft.error(Code::MixedTunnel, &declared.kind.span, message);
        diagnostic
            .labels
            .extend(spans.into_iter().zip(["one end is of this kind", "the other of this"].map(String::from)));
        return None;
    }
    let kind = declared.kind.value;
    if kinds[0] != Kind::Ovs && kind == TunnelKind::Vxlan {
        return Some(());
    }
    let at = declared.kind.span.clone();
    let what = match kinds[0] {
        Kind::Ovs => "a tunnel of Open vSwitch".to_owned(),
        _ => format!("a tunnel of kind `{}`", kind.word()),
    };
    let vxlan_only = [
        ("udp6_zero_checksum", declared.udp6_zero_checksum.is_some()),
        ("gbp", declared.gbp.is_some()),
        ("learning", declared.learning.is_some()),
        ("fdb", declared.fdb.as_ref().is_some_and(|fdb| fdb.value == Fdb::Static)),
    ];
    for (key, _) in vxlan_only.iter().filter(|(_, said)| *said) {
        draft.error(Code::Conflict, &at, format!("`{key}` means nothing to {what}"));
    }
    if kinds[0] != Kind::Ovs && kind == TunnelKind::Gre && declared.udp_checksum.is_some() {
        draft.error(Code::Conflict, &at, format!("`udp_checksum` means nothing to {what}"));
    }
    if let (TunnelKind::Gre, Some(port)) = (kind, &declared.port) {
        draft.error(Code::Conflict, &port.span, "GRE is its own protocol over IP and has no UDP port");
    }
    (draft.diagnostics.len() == before).then_some(())
}

/// What is known once all tunnels are: segmentation offload, and which nodes must compute checksums themselves.
pub fn resolve(draft: &mut Draft<'_>) {
    decide_tso(draft);
    checksums(draft);
}

/// One daemon, one setting: all switches of a host (or of the fabric) share it.
fn decide_tso(draft: &mut Draft<'_>) {
    let tunnelled: Vec<Option<usize>> =
        draft.tunnels.iter().flatten().flat_map(|tunnel| tunnel.switches).map(|s| draft.switches[s].host).collect();
    let mut said: HashMap<Option<usize>, (bool, std::ops::Range<usize>)> = HashMap::new();
    for index in 0..draft.switches.len() {
        let (name, switch) = draft.names.switches[index];
        let (Some(options), Some(tso)) = (&draft.switches[index].ovs, &switch.tso) else { continue };
        if options.datapath == Datapath::Kernel {
            continue;
        }
        let host = draft.switches[index].host;
        if tso.value && tunnelled.contains(&host) {
            let message =
                format!("`{}` is on a host with a tunnel, where `tso` makes TCP fail", name.value.escape_debug());
            let help = "leave `tso` out: it is off where there is a tunnel";
            draft.error(Code::TunnelOffload, &tso.span, message).help.push(help.into());
        }
        if let Some((_, first)) = said.get(&host).cloned().filter(|(other, _)| *other != tso.value) {
            let message = "switches of one host share one Open vSwitch, and with it `tso`";
            draft.error(Code::Conflict, &tso.span, message).labels.push((first, "the other one says this".into()));
        }
        said.insert(host, (tso.value, tso.span.clone()));
    }
    for parts in &mut draft.switches {
        let host = parts.host;
        if let Some(options) = parts.ovs.as_mut().filter(|options| options.datapath == Datapath::User) {
            // What the host's own has switched on is not known here; checksums computed by the nodes always pass.
            let usual = !options.system && !tunnelled.contains(&host);
            options.tso = said.get(&host).map_or(usual, |(tso, _)| *tso);
        }
    }
}

/// Without `tso` the userspace datapath passes packets on as they are: one whose checksum was left to the hardware
/// arrives with a wrong one. The device behind each port then computes it (`tx = false`, which ends segmentation offload
/// there too).
fn checksums(draft: &mut Draft<'_>) {
    let needs = |draft: &Draft<'_>, switch: usize| {
        draft.switches[switch].ovs.as_ref().is_some_and(|o| o.datapath == Datapath::User && !o.tso)
    };
    let mut behind: Vec<usize> = Vec::new();
    for (index, iface) in draft.ifaces.iter().enumerate() {
        if let Medium::Port(switch) = iface.medium
            && needs(draft, switch)
        {
            behind.push(index);
        }
    }
    for &[a, b] in draft.links.iter().flatten() {
        for (end, far) in [(a, b), (b, a)] {
            if let Owner::Switch(switch) = draft.ifaces[end].owner
                && needs(draft, switch)
            {
                behind.push(far);
            }
        }
    }
    for index in behind {
        let wrong = draft.ifaces[index].settings.offload.get("tx") == Some(&true);
        if wrong {
            let (span, name) = (draft.ifaces[index].span.clone(), draft.iface_name(index));
            let message = format!("`tx = true` on {name}, whose switch does not pass checksums that were left open");
            draft.error(Code::TunnelOffload, &span, message).help.push("leave `tx` out: it is off there".into());
        }
        draft.ifaces[index].settings.offload.insert("tx".into(), false);
    }
}
