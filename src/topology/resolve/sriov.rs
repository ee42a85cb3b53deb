//! What SR-IOV adds to the language: ports that are virtual functions, how many there are, and who reaches whom.

use super::{Code, Draft, Medium, Text, ast, settings, switches::NicUser};
use crate::{
    topology::{
        ast::{FunctionTable, Kind, PortTable, Settings},
        model::{FreeVf, PortSettings, SriovNic, VfPort},
    },
    units::BitRate,
};

use super::segments::Point;

/// A switch of kind `sriov` that names no NIC.
pub fn no_nic(draft: &mut Draft<'_>, name: &Text, switch: &ast::Switch) {
    let message = format!("SR-IOV switch `{}` has no `nic`", name.value.escape_debug());
    let help = "declare the NIC (`[nic.pf]` with `pci` or `ifname`) and name it: `nic = \"pf\"`";
    draft.error(Code::MissingKey, &switch.kind.span, message).help.push(help.into());
}

/// What the NIC does for a port; `None` on other switches, where such keys are mistakes. A rate that names no qdisc is
/// the NIC's to keep, and leaves `settings`.
pub fn port(
    draft: &mut Draft<'_>,
    switch: usize,
    table: Option<&PortTable>,
    own: &Settings,
    settings: &mut PortSettings,
) -> Option<VfPort> {
    let sriov = draft.switches[switch].kind == Kind::Sriov;
    let Some(table) = table else { return sriov.then(VfPort::default) };
    if !sriov {
        let keys = [
            ("vlan_qos", table.vlan_qos.as_ref().map(|key| key.span.clone())),
            ("trust", table.trust.as_ref().map(|key| key.span.clone())),
            ("spoofchk", table.spoofchk.as_ref().map(|key| key.span.clone())),
            ("link_state", table.link_state.as_ref().map(|key| key.span.clone())),
            ("min_rate", table.min_rate.as_ref().map(|key| key.span.clone())),
        ];
        for (key, span) in keys {
            if let Some(span) = span {
                let message = format!("`{key}` means something to a virtual function (`kind = \"sriov\"`) only");
                draft.error(Code::Conflict, &span, message);
            }
        }
        return None;
    }
    let mut vf = VfPort {
        index: 0,
        qos: table.vlan_qos.as_ref().map_or(0, |qos| qos.value),
        max_rate: None,
        min_rate: table.min_rate.as_ref().and_then(|text| megabits(draft, text)),
        spoofchk: table.spoofchk.as_ref().map(|key| key.value),
        trust: table.trust.as_ref().map(|key| key.value),
        link_state: table.link_state.as_ref().map(|key| key.value),
    };
    if let (Some(qos), None) = (&table.vlan_qos, &table.vlan) {
        draft.error(Code::Conflict, &qos.span, "`vlan_qos` is a part of a VLAN's tag, and the port has no `vlan`");
    }
    if let (Some(rate), None) = (&own.rate, &own.shaper) {
        if settings.rate.take().is_some() {
            vf.max_rate = megabits(draft, rate);
        }
        if let (Some(min), Some(max), Some(text)) = (vf.min_rate, vf.max_rate, &table.min_rate)
            && min > max
        {
            let message = format!("`min_rate` is more than the `rate` of {max} Mbit/s");
            draft.error(Code::Conflict, &text.span, message);
        }
    }
    Some(vf)
}

/// A rate in the whole megabits that NICs count in.
fn megabits(draft: &mut Draft<'_>, text: &Text) -> Option<u32> {
    let BitRate(bits) = settings::parsed(draft, text)?;
    if bits == 0 || bits % 1_000_000 != 0 {
        let message = format!("`{}`: a NIC keeps rates of whole Mbit/s", text.value.escape_debug());
        let help = "`shaper = \"tbf\"` beside `rate` lets the kernel keep it instead";
        draft.error(Code::OutOfRange, &text.span, message).help.push(help.into());
        return None;
    }
    u32::try_from(bits / 1_000_000).ok()
}

/// Settings of functions that no node has: of `vfs`, the first `ports` are nodes'.
fn free(draft: &mut Draft<'_>, tables: &[FunctionTable], ports: u32, vfs: u32) -> Vec<FreeVf> {
    let mut found: Vec<FreeVf> = Vec::new();
    for table in tables {
        let (index, span) = (table.vf.value, &table.vf.span);
        if index < ports {
            let message = format!("virtual function {index} is a node's port: its settings stand there");
            draft.error(Code::Conflict, span, message);
        } else if index >= vfs {
            let message = format!("there is no virtual function {index}: the NIC has {vfs}, counted from 0");
            draft.error(Code::TooFewFunctions, span, message).help.push(format!("`vfs = {}`", index.saturating_add(1)));
        } else if found.iter().any(|other| other.port.index == index) {
            draft.error(Code::Conflict, span, format!("virtual function {index} is there twice"));
        }
        if let Some(vlan) = table.vlan.as_ref().filter(|vlan| !(1..=4094).contains(&vlan.value)) {
            draft.error(Code::OutOfRange, &vlan.span, format!("a VLAN is 1 to 4094, this is {}", vlan.value));
        }
        if let Some(qos) = table.vlan_qos.as_ref().filter(|qos| qos.value > 7) {
            draft.error(Code::OutOfRange, &qos.span, format!("a priority is 0 to 7, this is {}", qos.value));
        }
        if let (Some(qos), None) = (&table.vlan_qos, &table.vlan) {
            draft.error(Code::Conflict, &qos.span, "`vlan_qos` is a part of a VLAN's tag, and there is no `vlan`");
        }
        let [max_rate, min_rate] =
            [&table.rate, &table.min_rate].map(|text| text.as_ref().and_then(|text| megabits(draft, text)));
        if let (Some(min), Some(max), Some(text)) = (min_rate, max_rate, &table.min_rate)
            && min > max
        {
            let message = format!("`min_rate` is more than the `rate` of {max} Mbit/s");
            draft.error(Code::Conflict, &text.span, message);
        }
        found.push(FreeVf {
            vlan: table.vlan.as_ref().map(|vlan| vlan.value),
            mac: table.mac.as_ref().and_then(|mac| settings::parsed(draft, mac)),
            port: VfPort {
                index,
                qos: table.vlan_qos.as_ref().map_or(0, |qos| qos.value),
                max_rate,
                min_rate,
                spoofchk: table.spoofchk.as_ref().map(|key| key.value),
                trust: table.trust.as_ref().map(|key| key.value),
                link_state: table.link_state.as_ref().map(|key| key.value),
            },
        });
    }
    found
}

/// Numbers the functions in order of declaration and decides how many each NIC has.
pub fn count(draft: &mut Draft<'_>) {
    draft.nic_sriov = vec![None; draft.names.nics.len()];
    for switch in 0..draft.switches.len() {
        let (Kind::Sriov, Some(nic)) = (draft.switches[switch].kind, draft.switches[switch].nic) else { continue };
        let ((name, declared), (_, switch_ast)) = (draft.names.nics[nic], draft.names.switches[switch]);
        if declared.ifname.is_none() && declared.pci.is_none() {
            let message = format!("NIC `{}` has neither `pci` nor `ifname`", name.value.escape_debug());
            let diagnostic = draft.error(Code::NoStandIn, &name.span, message);
            diagnostic.labels.push((switch_ast.kind.span.clone(), "virtual functions need a real NIC".into()));
            diagnostic.help.push("`pci = \"0000:01:00.0\"`; `netbench nic list` names those of this host".into());
        }
        let mut ports: u32 = 0;
        for iface in &mut draft.ifaces {
            if let (Medium::Port(of), Some(vf)) = (iface.medium, &mut iface.vf)
                && of == switch
            {
                vf.index = ports;
                ports += 1;
            }
        }
        if let Some(vfs) = declared.vfs.as_ref().filter(|vfs| vfs.value < ports) {
            let message = format!(
                "`{}` has {ports} ports, its NIC {} virtual functions",
                switch_ast_name(draft, switch),
                vfs.value
            );
            draft.error(Code::TooFewFunctions, &vfs.span, message).help.push(format!("`vfs = {ports}`"));
        }
        let vfs = declared.vfs.as_ref().map_or(ports, |vfs| vfs.value);
        let functions = free(draft, &declared.functions, ports, vfs);
        draft.nic_sriov[nic] = Some(SriovNic {
            vfs,
            functions,
            exact: declared.vfs.is_some(),
            takeover: declared.takeover.as_ref().is_some_and(|takeover| takeover.value),
            eswitch: declared.eswitch.as_ref().map(|eswitch| eswitch.value),
        });
    }
    for nic in 0..draft.names.nics.len() {
        let (name, declared) = draft.names.nics[nic];
        let keys = [
            ("vfs", declared.vfs.as_ref().map(|key| key.span.clone())),
            ("takeover", declared.takeover.as_ref().map(|key| key.span.clone())),
            ("eswitch", declared.eswitch.as_ref().map(|key| key.span.clone())),
            ("functions", declared.functions.first().map(|function| function.vf.span.clone())),
        ];
        let used = draft.nic_uses[nic].as_ref().is_some_and(|used| used.by == NicUser::Functions);
        if used || draft.nic_sriov[nic].is_some() {
            continue;
        }
        for (key, span) in keys {
            if let Some(span) = span {
                let message = format!("`{key}` has no effect: no switch of kind `sriov` is on NIC `{}`", name.value);
                draft.error(Code::Conflict, &span, message);
            }
        }
    }
}

fn switch_ast_name(draft: &Draft<'_>, switch: usize) -> String {
    draft.names.switches[switch].0.value.escape_debug().to_string()
}

/// Functions of two NICs on one wire reach each other within their VLAN: the tags are on the wire.
pub fn join_functions(draft: &mut Draft<'_>) {
    let on_nics: Vec<(usize, usize)> = (0..draft.switches.len())
        .filter(|&switch| draft.switches[switch].kind == Kind::Sriov)
        .filter_map(|switch| Some((switch, draft.switches[switch].nic?)))
        .collect();
    let vlans: Vec<(usize, u16)> = draft
        .ifaces
        .iter()
        .filter_map(|iface| match (iface.medium, iface.vlan) {
            (Medium::Port(switch), Some(vlan)) => Some((switch, super::ovs::segment_vlan(Kind::Sriov, Some(vlan)))),
            _ => None,
        })
        .collect();
    for (at, &(a, nic_a)) in on_nics.iter().enumerate() {
        for &(b, nic_b) in &on_nics[at + 1..] {
            let wires = [nic_a, nic_b].map(|nic| draft.segments.point(Point::Nic(nic)));
            if draft.segments.find(wires[0]) != draft.segments.find(wires[1]) {
                continue;
            }
            for &(_, vlan) in vlans.iter().filter(|(switch, _)| *switch == a) {
                if vlans.contains(&(b, vlan)) {
                    let points = [a, b].map(|switch| draft.segments.point(Point::Switch(switch, vlan)));
                    draft.segments.union(points[0], points[1]);
                }
            }
        }
    }
}
