//! What interfaces are called, and in which namespace that name must be the only one.

use std::{collections::HashMap, ops::Range};

use super::{Code, Draft, Medium, Owner, switches};
use crate::{
    topology::{
        ast::Kind,
        model::{Attach, Fabric},
    },
    units::IfName,
};

/// Names the interfaces: as written, or `eth0`, `eth1`, … in a node, `w0`, `w1`, … for a switch's end of a wire. In a
/// namespace that is not ours (`attach`) they are `nb0`, `nb1`, …: `eth0` is most likely taken there.
pub fn assign(draft: &mut Draft<'_>) {
    let mut taken: HashMap<String, HashMap<String, Range<usize>>> = HashMap::new();
    for switch in 0..draft.switches.len() {
        let (text, kind) = (draft.names.switches[switch].0.clone(), draft.switches[switch].kind);
        if matches!(kind, Kind::Bridge | Kind::Ovs) {
            let space = namespace(draft, Owner::Switch(switch));
            taken.entry(space).or_default().insert(text.value, text.span);
        }
    }
    for index in 0..draft.ifaces.len() {
        let iface = &draft.ifaces[index];
        let Some(text) = iface.written_name.clone() else { continue };
        if matches!(iface.medium, Medium::Device(_)) {
            draft.ifaces[index].ifname = text.value.parse().ok();
            continue;
        }
        let space = namespace(draft, iface.owner);
        let owner = draft.owner_name(iface.owner).to_owned();
        let Some(name) = switches::interface_name(draft, &text) else { continue };
        if let Some(first) = taken.entry(space).or_default().insert(text.value.clone(), text.span.clone()) {
            let message = format!("`{owner}` would have two interfaces named `{name}`");
            draft.error(Code::InterfaceClash, &text.span, message).labels.push((first, "the other one".into()));
        }
        draft.ifaces[index].ifname = Some(name);
    }
    let mut next: HashMap<(String, &str), usize> = HashMap::new();
    for index in 0..draft.ifaces.len() {
        let iface = &draft.ifaces[index];
        if iface.written_name.is_some() {
            continue;
        }
        let space = namespace(draft, iface.owner);
        let prefix = match iface.owner {
            Owner::Switch(_) => "w",
            Owner::Node(node) if draft.names.nodes[node].ast.attach.is_some() => "nb",
            _ => "eth",
        };
        let number = next.entry((space.clone(), prefix)).or_default();
        let used = taken.entry(space).or_default();
        let name = loop {
            let name = format!("{prefix}{number}");
            *number += 1;
            if !used.contains_key(&name) {
                break name;
            }
        };
        used.insert(name.clone(), iface.span.clone());
        draft.ifaces[index].ifname = name.parse::<IfName>().ok();
    }
}

/// A key for the namespace an interface is in.
pub fn namespace(draft: &Draft<'_>, owner: Owner) -> String {
    match owner {
        Owner::Host(host) => format!("host:{}", draft.names.hosts[host].0.value),
        Owner::Node(node) => match (&draft.nodes[node].attach, &draft.names.nodes[node]) {
            (Some(Attach::This), _) => "self".into(),
            (Some(attach), _) => format!("attach:{attach:?}"),
            (None, decl) => format!("node:{}", decl.name),
        },
        Owner::Switch(switch) => match (draft.switches[switch].host, fabric(draft)) {
            (Some(host), _) => format!("host:{}", draft.names.hosts[host].0.value),
            (None, Fabric::Host) => "self".into(),
            (None, Fabric::Own) => "fabric".into(),
        },
    }
}

/// Where switches without a host live.
pub fn fabric(draft: &Draft<'_>) -> Fabric {
    draft.file.fabric.as_ref().map_or(Fabric::Own, |fabric| fabric.value)
}
