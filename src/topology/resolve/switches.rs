//! What a switch says of itself, which keys its kind takes, and who uses which NIC.

use std::{collections::HashMap, ops::Range};

use ipnet::IpNet;

use super::{Code, Diagnostic, Draft, Text, Thing, ast, settings};
use crate::{
    topology::{
        ast::Kind,
        model::{BridgeOptions, IpvlanMode, MacvlanMode, OvsOptions},
    },
    units::IfName,
};

/// Ports that the kernel's bridge can have (`BR_MAX_PORTS` less port 0).
pub const BRIDGE_PORTS: usize = 1023;

/// A switch but for its ports.
#[derive(Debug, Clone)]
pub struct SwitchParts {
    pub kind: Kind,
    pub host: Option<usize>,
    pub options: BridgeOptions,
    /// What an Open vSwitch says beside; `tso` is decided once all tunnels are known.
    pub ovs: Option<OvsOptions>,
    pub mode: MacvlanMode,
    pub ipvlan: IpvlanMode,
    /// The NIC below.
    pub nic: Option<usize>,
    pub uplinks: Vec<usize>,
    /// Addresses of its own device.
    pub written: Vec<(IpNet, Range<usize>)>,
    /// Decided last.
    pub mtu: u32,
}

/// What a NIC is used for.
#[derive(Debug, Clone)]
pub struct NicUse {
    pub span: Range<usize>,
    pub what: String,
    pub by: NicUser,
}

/// Who uses a NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicUser {
    Node,
    Uplink(usize),
    Parent,
    /// Its virtual functions are ports of a switch; the NIC itself may be a node's.
    Functions,
}

/// Checks every switch, and the NICs.
pub fn check(draft: &mut Draft<'_>) {
    draft.nic_uses = vec![None; draft.names.nics.len()];
    for index in 0..draft.names.switches.len() {
        let (name, switch) = draft.names.switches[index];
        let parts = one(draft, index, name, switch);
        draft.switches.push(parts);
    }
    for index in 0..draft.names.nics.len() {
        let (name, nic) = draft.names.nics[index];
        nic_itself(draft, name, nic);
    }
    same_device(draft);
}

fn one(draft: &mut Draft<'_>, index: usize, name: &Text, switch: &ast::Switch) -> SwitchParts {
    let kind = switch.kind.value;
    let host = switch.host.as_ref().and_then(|host| match draft.names.find(&host.value, &host.span, &["host"]) {
        Ok(Thing::Host(index)) => Some(index),
        Ok(_) => None,
        Err(diagnostic) => {
            draft.report(*diagnostic);
            None
        }
    });
    let known = match kind {
        Kind::Bridge => "a bridge",
        Kind::Macvlan => "a macvlan switch",
        Kind::Ovs => "an Open vSwitch",
        Kind::Sriov => "an SR-IOV switch",
        Kind::Ipvlan => "an ipvlan switch",
    };
    foreign_keys(draft, name, switch, known);
    let mut parts = SwitchParts {
        kind,
        host,
        options: BridgeOptions {
            stp: switch.stp.as_ref().is_some_and(|stp| stp.value),
            vlan_filtering: switch.vlan_filtering.as_ref().is_some_and(|filtering| filtering.value),
            multicast_snooping: switch.multicast_snooping.as_ref().map(|snooping| snooping.value),
        },
        mode: switch.mode.as_ref().and_then(|mode| mode.value.macvlan()).unwrap_or(MacvlanMode::Bridge),
        ipvlan: switch.mode.as_ref().and_then(|mode| mode.value.ipvlan()).unwrap_or(IpvlanMode::L2),
        nic: None,
        ovs: None,
        uplinks: Vec::new(),
        written: settings::addresses(draft, switch.address.as_ref(), false),
        mtu: 0,
    };
    parts.ovs = super::ovs::options(draft, name, switch);
    if let (Kind::Bridge | Kind::Ovs, Some(stp)) = (kind, switch.stp.as_ref().filter(|stp| stp.value)) {
        let message = format!("ports of `{}` forward nothing for the first 30 seconds", name.value.escape_debug());
        draft.report(Diagnostic::warning(Code::StpDelay, stp.span.clone(), message));
    }
    match (&switch.nic, kind) {
        (Some(nic), _) => {
            let what = format!("parent of `{}`", name.value.escape_debug());
            let by = if kind == Kind::Sriov { NicUser::Functions } else { NicUser::Parent };
            parts.nic = use_nic(draft, nic, what, by);
        }
        (None, Kind::Sriov) => super::sriov::no_nic(draft, name, switch),
        (None, Kind::Macvlan | Kind::Ipvlan) => {
            let word = if kind == Kind::Macvlan { "macvlan" } else { "ipvlan" };
            let message = format!("{word} switch `{}` has no `nic`", name.value.escape_debug());
            let help = "declare a NIC (`[nic.up]`) and name it: `nic = \"up\"`; without `ifname` a stand-in is made";
            draft.error(Code::MissingKey, &switch.kind.span, message).help.push(help.into());
        }
        _ => {}
    }
    for uplink in &switch.uplinks {
        let what = format!("port of `{}`", name.value.escape_debug());
        parts.uplinks.extend(use_nic(draft, uplink, what, NicUser::Uplink(index)));
    }
    parts
}

/// Keys that another kind of switch takes.
fn foreign_keys(draft: &mut Draft<'_>, name: &Text, switch: &ast::Switch, known: &str) {
    let bridge_only = [
        ("stp", switch.stp.as_ref().map(|key| key.span.clone())),
        ("vlan_filtering", switch.vlan_filtering.as_ref().map(|key| key.span.clone())),
        ("multicast_snooping", switch.multicast_snooping.as_ref().map(|key| key.span.clone())),
        ("address", switch.address.as_ref().and_then(|list| list.0.first()).map(|key| key.span.clone())),
        ("uplinks", switch.uplinks.first().map(|key| key.span.clone())),
    ];
    let macvlan_only = [
        ("nic", switch.nic.as_ref().map(|key| key.span.clone())),
        ("mode", switch.mode.as_ref().map(|key| key.span.clone())),
    ];
    let ovs_only = [
        ("rstp", switch.rstp.as_ref().map(|key| key.span.clone())),
        ("datapath", switch.datapath.as_ref().map(|key| key.span.clone())),
        ("ovs", switch.ovs.as_ref().map(|key| key.span.clone())),
        ("fail_mode", switch.fail_mode.as_ref().map(|key| key.span.clone())),
        ("tso", switch.tso.as_ref().map(|key| key.span.clone())),
    ];
    let foreign = match switch.kind.value {
        Kind::Bridge => [&macvlan_only[..], &ovs_only[..]],
        Kind::Macvlan | Kind::Ipvlan => [&bridge_only[..], &ovs_only[..]],
        Kind::Sriov => [&bridge_only[..], &ovs_only[..]],
        Kind::Ovs => [&macvlan_only[..], &bridge_only[1..]],
    };
    let mode = switch.mode.as_ref().filter(|_| switch.kind.value == Kind::Sriov);
    let mode = [("mode", mode.map(|mode| mode.span.clone()))];
    for (key, span) in foreign.into_iter().flatten().chain(&mode) {
        if let Some(span) = span {
            let message = format!("`{key}` means nothing to {known} such as `{}`", name.value.escape_debug());
            let diagnostic = draft.error(Code::Conflict, span, message);
            diagnostic.labels.push((switch.kind.span.clone(), "of this kind".into()));
            if *key == "nic" {
                diagnostic.help.push("a NIC that is a port of a bridge stands in `uplinks`".into());
            }
        }
    }
    mode_of_another_kind(draft, switch);
    if let (Kind::Macvlan | Kind::Ipvlan | Kind::Sriov, Some(host)) = (switch.kind.value, &switch.host) {
        let message = format!("{known} lives where its NIC is, on no emulated host");
        draft.error(Code::Conflict, &host.span, message);
    }
}

/// Macvlan and ipvlan share the key `mode`, but no word of it.
fn mode_of_another_kind(draft: &mut Draft<'_>, switch: &ast::Switch) {
    let Some(mode) = &switch.mode else { return };
    let (known, words) = match switch.kind.value {
        Kind::Macvlan => (mode.value.macvlan().is_some(), "`private`, `vepa`, `bridge`, `passthru`"),
        Kind::Ipvlan => (mode.value.ipvlan().is_some(), "`l2`, `l3`, `l3s`"),
        _ => return,
    };
    if !known {
        let diagnostic = draft.error(Code::Conflict, &mode.span, "this `mode` is one of another kind of switch");
        diagnostic.labels.push((switch.kind.span.clone(), format!("its modes are {words}")));
    }
}

/// Takes a NIC for one use.
pub fn use_nic(draft: &mut Draft<'_>, nic: &Text, what: String, by: NicUser) -> Option<usize> {
    let index = match draft.names.find(&nic.value, &nic.span, &["nic"]) {
        Ok(Thing::Nic(index)) => index,
        Ok(_) => return None,
        Err(diagnostic) => {
            draft.report(*diagnostic);
            return None;
        }
    };
    if let Some(first) = draft.nic_uses[index].clone() {
        // A node may hold the port whose functions are switched; what else it is, is the node's.
        if let (NicUser::Functions, NicUser::Node) | (NicUser::Node, NicUser::Functions) = (first.by, by) {
            if by == NicUser::Node {
                draft.nic_uses[index] = Some(NicUse { span: nic.span.clone(), what, by });
            }
            return Some(index);
        }
        let message = format!("NIC `{}` is the {} already", nic.value.escape_debug(), first.what);
        draft.error(Code::NicTaken, &nic.span, message).labels.push((first.span, "its first use".into()));
        return None;
    }
    draft.nic_uses[index] = Some(NicUse { span: nic.span.clone(), what, by });
    Some(index)
}

fn nic_itself(draft: &mut Draft<'_>, name: &Text, nic: &ast::Nic) {
    if let (Some(ifname), Some(pci)) = (&nic.ifname, &nic.pci) {
        let message = format!("NIC `{}` has both `ifname` and `pci`", name.value.escape_debug());
        let label = (ifname.span.clone(), "one of them says which device it is".to_owned());
        draft.error(Code::Conflict, &pci.span, message).labels.push(label);
    }
    if let Some(ifname) = &nic.ifname {
        interface_name(draft, ifname);
    }
    if let Some(pci) = &nic.pci
        && !is_pci_address(&pci.value)
    {
        let message = format!("`{}` is not a PCI address", pci.value.escape_debug());
        let help = "write domain, bus, device and function: `0000:01:00.0`";
        draft.error(Code::Malformed, &pci.span, message).help.push(help.into());
    }
    if let Some(address) = nic.address.as_ref().and_then(|list| list.0.first()) {
        let used = draft.names.get(&name.value).and_then(|thing| match thing {
            Thing::Nic(index) => draft.nic_uses[index].clone(),
            _ => None,
        });
        if let Some(used) = used.filter(|used| used.by != NicUser::Node) {
            let message = format!("NIC `{}` cannot have an address: it is the {}", name.value, used.what);
            draft.error(Code::Conflict, &address.span, message).labels.push((used.span, "used here".into()));
        }
    }
    let Some(cable) = &nic.cable else { return };
    let other = match draft.names.find(&cable.value, &cable.span, &["nic"]) {
        Ok(Thing::Nic(index)) => draft.names.nics[index],
        Ok(_) => return,
        Err(diagnostic) => {
            draft.report(*diagnostic);
            return;
        }
    };
    let (other_name, other_nic) = other;
    if other_name.value == name.value {
        draft.error(Code::BadEnd, &cable.span, "a cable has two ends: this one comes back to its own NIC");
    } else if let Some(back) = other_nic.cable.as_ref().filter(|back| back.value != name.value) {
        let message = format!("NIC `{}` says its cable leads elsewhere", other_name.value.escape_debug());
        draft
            .error(Code::BadEnd, &cable.span, message)
            .labels
            .push((back.span.clone(), "the other end says this".into()));
    } else if (nic.ifname.is_some() || nic.pci.is_some()) != (other_nic.ifname.is_some() || other_nic.pci.is_some()) {
        draft.error(Code::BadEnd, &cable.span, "a cable cannot lead from a real NIC to a stand-in");
    } else {
        let claims = |(_, third): &&(&Text, &ast::Nic)| third.cable.as_ref().is_some_and(|c| c.value == cable.value);
        if let Some((third, _)) = draft.names.nics.iter().find(claims).filter(|(third, _)| third.value != name.value) {
            let message = format!("NICs `{}` and `{}` have one cable end", third.value, name.value);
            draft.error(Code::BadEnd, &cable.span, message);
        }
    }
}

/// Two NICs of the file that would borrow one device.
fn same_device(draft: &mut Draft<'_>) {
    let mut seen: HashMap<String, Range<usize>> = HashMap::new();
    for index in 0..draft.names.nics.len() {
        let (_, nic) = draft.names.nics[index];
        for device in [&nic.ifname, &nic.pci].into_iter().flatten() {
            if let Some(first) = seen.insert(device.value.to_ascii_lowercase(), device.span.clone()) {
                let message = format!("device `{}` is two NICs", device.value.escape_debug());
                draft.error(Code::NicTaken, &device.span, message).labels.push((first, "first here".into()));
            }
        }
    }
}

/// Reads an interface name that may be given to, or found in, a namespace.
pub fn interface_name(draft: &mut Draft<'_>, text: &Text) -> Option<IfName> {
    match text.value.parse::<IfName>() {
        Ok(name) if !matches!(name.as_str(), "lo" | "all" | "default") => Some(name),
        Ok(name) => {
            draft.error(
                Code::BadName,
                &text.span,
                format!("`{name}` cannot name an interface: the kernel uses the word"),
            );
            None
        }
        Err(error) => {
            let message = format!("`{}` cannot name an interface: {}", text.value.escape_debug(), error.why);
            draft.error(Code::BadName, &text.span, message);
            None
        }
    }
}

/// `0000:01:00.0`
fn is_pci_address(text: &str) -> bool {
    let shape = "hhhh:hh:hh.h";
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'h' { b.is_ascii_hexdigit() } else { b == s })
}
