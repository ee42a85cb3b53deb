//! Every interface the file declares, in order of declaration.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Code, Diagnostic, Draft, Iface, Medium, Owner, Text, Thing, ast, ovs, segments::Point, settings, sriov,
    switch_flows, switches,
};
use crate::topology::{
    ast::{EndEntry, Kind, Located, PortEntry, Settings},
    model::{Bond, MacvlanMode},
};

/// Bridges with more ports get a warning.
const MANY_PORTS: usize = 1000;

/// Patterns multiply: more interfaces than this are refused before memory runs out.
const MAX_INTERFACES: usize = 200_000;
/// After so many mistakes the rest of a switch's ports is not looked at.
const MAX_MISTAKES: usize = 1000;

enum Item {
    Switch(usize),
    Link(usize),
    NodeNic(usize),
}

/// Declares the interfaces of switches, links and NICs in the order in which these stand in the file.
pub fn declare(draft: &mut Draft<'_>) {
    draft.links = vec![None; draft.file.link.len()];
    let mut items: Vec<(usize, Item)> = Vec::new();
    items.extend(draft.names.switches.iter().enumerate().map(|(i, (name, _))| (name.span.start, Item::Switch(i))));
    items.extend(draft.file.link.iter().enumerate().map(|(i, link)| (link.span.start, Item::Link(i))));
    for (index, node) in draft.names.nodes.iter().enumerate() {
        if let (Some(nic), false) = (&node.ast.nic, node.numbered) {
            items.push((nic.span.start, Item::NodeNic(index)));
        }
    }
    items.sort_by_key(|(start, _)| *start);
    for (_, item) in items {
        match item {
            Item::Switch(index) => switch_ports(draft, index),
            Item::Link(index) => link(draft, index),
            Item::NodeNic(index) => node_nic(draft, index),
        }
    }
    let mut ports = vec![0; draft.switches.len()];
    for iface in &draft.ifaces {
        match (iface.medium, iface.owner) {
            (Medium::Port(switch), _) | (Medium::Wire(_), Owner::Switch(switch)) => ports[switch] += 1,
            _ => {}
        }
    }
    for end in draft.file.tunnel.iter().flat_map(|tunnel| &tunnel.value.ends) {
        if let Some(Thing::Switch(switch)) = draft.names.get(&end.value) {
            ports[switch] += 1;
        }
    }
    for (switch, count) in ports.into_iter().enumerate() {
        count_ports(draft, switch, count);
    }
    node_addresses(draft);
}

fn switch_ports(draft: &mut Draft<'_>, index: usize) {
    let (name, switch) = draft.names.switches[index];
    let mut seen: HashMap<Owner, Range<usize>> = HashMap::new();
    for port in &switch.ports {
        if draft.ifaces.len() > MAX_INTERFACES || draft.diagnostics.len() > MAX_MISTAKES {
            let message = format!("the topology has more than {MAX_INTERFACES} ports, or too many mistakes to go on");
            draft.error(Code::OutOfRange, &port.span, message);
            return;
        }
        let (node, table) = match &port.value {
            PortEntry::Name(node) => (Located { value: node.clone(), span: port.span.clone() }, None),
            PortEntry::Table(table) => (table.node.clone(), Some(table.as_ref())),
        };
        let owners = port_owners(draft, &node);
        let own = table.map(|table| table.settings()).unwrap_or_default();
        let shared = owners.len() > 1;
        if shared {
            shared_settings(draft, &own, &node, owners.len());
        }
        let vlan = table.and_then(|table| table.vlan.as_ref());
        let trunks = ovs::trunks(draft, index, table);
        let qos = switch_flows::qos(draft, index, table);
        let filters =
            draft.switches[index].options.vlan_filtering || matches!(switch.kind.value, Kind::Ovs | Kind::Sriov);
        if let Some(vlan) = vlan.filter(|_| !filters) {
            let message = format!("`{}` does not filter VLANs", name.value.escape_debug());
            let help = match switch.kind.value {
                Kind::Bridge => "write `vlan_filtering = true` on the switch",
                _ => "a bridge (`vlan_filtering = true`) and Open vSwitch (`kind = \"ovs\"`) do",
            };
            draft.error(Code::VlanUnfiltered, &vlan.span, message).help.push(help.into());
        }
        let written_name = table.and_then(|table| table.ifname.clone());
        let mut settings = settings::resolve(draft, &own);
        if let (Kind::Ipvlan, Some(mac)) = (switch.kind.value, &own.mac) {
            let message = "the children of an ipvlan have the MAC of their NIC";
            draft
                .error(Code::Conflict, &mac.span, message)
                .help
                .push("leave `mac` out; a macvlan child has its own".into());
        }
        let vf = sriov::port(draft, index, table, &own, &mut settings);
        let written = settings::addresses(draft, own.address.as_ref(), false);
        let written = if shared { Vec::new() } else { written };
        let vlan = vlan.map(|vlan| vlan.value);
        let point = draft.segments.point(Point::Switch(index, ovs::segment_vlan(switch.kind.value, vlan)));
        for owner in owners {
            if let Some(first) = seen.insert(owner, node.span.clone()) {
                let message =
                    format!("`{}` is on `{}` twice", draft.owner_name(owner).escape_debug(), name.value.escape_debug());
                draft.error(Code::PortTwice, &node.span, message).labels.push((first, "first here".into()));
                break;
            }
            other_host(draft, owner, index, &node.span);
            draft.ifaces.push(Iface {
                owner,
                medium: Medium::Port(index),
                span: node.span.clone(),
                written_name: written_name.clone(),
                ifname: None,
                point,
                vlan,
                trunks: trunks.clone(),
                vf: vf.clone(),
                qos,
                bond: None,
                settings: settings.clone(),
                written: written.clone(),
                written_mtu: own.mtu.clone(),
            });
        }
    }
    if draft.switches[index].mode == MacvlanMode::Passthru && seen.len() > 1 {
        let span = switch.mode.as_ref().map_or(&name.span, |mode| &mode.span);
        let message = format!("a macvlan in `passthru` mode has one child, `{}` has {}", name.value, seen.len());
        draft.error(Code::Conflict, span, message);
    }
    let written = draft.switches[index].written.clone();
    if !written.is_empty() {
        let point = draft.segments.point(Point::Switch(index, 1));
        draft.ifaces.push(Iface {
            owner: Owner::Switch(index),
            medium: Medium::Device(index),
            span: name.span.clone(),
            written_name: Some((*name).clone()),
            ifname: None,
            point,
            vlan: None,
            trunks: Vec::new(),
            vf: None,
            qos: None,
            bond: None,
            settings: Default::default(),
            written,
            written_mtu: None,
        });
    }
}

fn port_owners(draft: &mut Draft<'_>, node: &Text) -> Vec<Owner> {
    if node.value.contains(['*', '?']) {
        let found = draft.names.matching(&node.value);
        if found.is_empty() {
            let message = format!("no node matches `{}`", node.value.escape_debug());
            draft.error(Code::EmptyPattern, &node.span, message);
        }
        return found.into_iter().map(Owner::Node).collect();
    }
    match draft.names.find(&node.value, &node.span, &["node", "host"]) {
        Ok(Thing::Node(index)) => vec![Owner::Node(index)],
        Ok(Thing::Host(index)) => vec![Owner::Host(index)],
        Ok(_) => Vec::new(),
        Err(diagnostic) => {
            draft.report(*diagnostic);
            Vec::new()
        }
    }
}

/// Settings that a pattern would give to several interfaces although only one can have them.
fn shared_settings(draft: &mut Draft<'_>, own: &Settings, node: &Text, count: usize) {
    let address = own.address.as_ref().and_then(|list| list.0.first()).map(|text| ("an address", text.span.clone()));
    let mac = own.mac.as_ref().map(|text| ("a MAC address", text.span.clone()));
    for (what, span) in address.into_iter().chain(mac) {
        let message = format!("{what} cannot be shared by {count} interfaces");
        let label = (node.span.clone(), format!("matches {count} nodes"));
        draft.error(Code::Conflict, &span, message).labels.push(label);
    }
}

fn other_host(draft: &mut Draft<'_>, owner: Owner, switch: usize, span: &Range<usize>) {
    let wanted = draft.switches[switch].host.map(|host| draft.names.hosts[host].0.value.clone());
    let (name, place) = match owner {
        Owner::Node(node) => {
            let node = &draft.names.nodes[node];
            let Some(host) = &node.ast.host else { return };
            (node.name.clone(), host.clone())
        }
        _ => return,
    };
    if wanted.as_ref() != Some(&place.value) {
        let switch_name = &draft.names.switches[switch].0.value;
        let elsewhere = wanted.map_or("on no host".into(), |wanted| format!("on `{wanted}`"));
        let message = format!("`{name}` is on host `{}`, switch `{switch_name}` is {elsewhere}", place.value);
        draft.error(Code::OtherHost, span, message).labels.push((place.span, "the node's host".into()));
    }
}

fn count_ports(draft: &mut Draft<'_>, index: usize, declared: usize) {
    let parts = &draft.switches[index];
    if parts.kind == Kind::Ovs {
        return ovs::count_ports(draft, index, declared);
    }
    if parts.kind != Kind::Bridge {
        return;
    }
    let (name, switch) = draft.names.switches[index];
    let count = declared + parts.uplinks.len();
    let span = switch.ports.first().map_or(&name.span, |port| &port.span).clone();
    if count > switches::BRIDGE_PORTS {
        let message =
            format!("bridge `{}` would have {count} ports, the kernel allows {}", name.value, switches::BRIDGE_PORTS);
        let help = &mut draft.error(Code::TooManyPorts, &span, message).help;
        help.push("shard it: several bridges joined by links, each with at most 1022 nodes".into());
        help.push("or use `kind = \"ovs\"`, which takes 65 thousand ports".into());
    } else if count > MANY_PORTS {
        let message = format!("bridge `{}` has {count} ports: broadcasts and ARP entries will be lost", name.value);
        let backlog = (count * 4).next_power_of_two();
        let help = format!(
            "sysctl -w net.core.netdev_max_backlog={backlog} net.ipv4.neigh.default.gc_thresh3={0} net.ipv6.neigh.default.gc_thresh3={0}",
            (count * 8).next_power_of_two()
        );
        draft.report(Diagnostic::warning(Code::ManyPorts, span, message).help(help));
    }
}

fn link(draft: &mut Draft<'_>, index: usize) {
    let declared = &draft.file.link[index];
    let common = Settings {
        mtu: declared.value.mtu.clone(),
        rate: declared.value.rate.clone(),
        shaper: declared.value.shaper.clone(),
        delay: declared.value.delay.clone(),
        loss: declared.value.loss.clone(),
        offload: declared.value.offload.clone(),
        ..Settings::default()
    };
    let before = draft.diagnostics.len();
    let ends: Vec<Option<Iface>> =
        declared.value.ends.iter().map(|entry| end(draft, index, entry, common.clone())).collect();
    // What the link says for both ends is reported once.
    let mut seen: HashSet<(Range<usize>, Code)> = HashSet::new();
    let mut found = draft.diagnostics.split_off(before);
    found.retain(|diagnostic| diagnostic.span.clone().is_none_or(|span| seen.insert((span, diagnostic.code))));
    draft.diagnostics.extend(found);
    let [Some(a), Some(b)] = &ends[..] else { return };
    if a.owner == b.owner {
        let shown = draft.owner_name(a.owner).escape_debug().to_string();
        let (code, message) = match a.owner {
            Owner::Switch(_) => (Code::Loop, format!("both ends of this link are ports of `{shown}`: a loop")),
            _ => (Code::BadEnd, format!("both ends of this link are in `{shown}`")),
        };
        draft.error(code, &b.span, message);
        return;
    }
    let mut pair = [a.clone(), b.clone()];
    let point = match (a.owner, b.owner) {
        (Owner::Switch(s), _) | (_, Owner::Switch(s)) => draft.segments.point(Point::Switch(s, 1)),
        _ => draft.segments.point(Point::Link(index)),
    };
    for end in &mut pair {
        end.point = point;
    }
    if let (Owner::Switch(a), Owner::Switch(b)) = (pair[0].owner, pair[1].owner) {
        let (a, b) = (draft.segments.point(Point::Switch(a, 1)), draft.segments.point(Point::Switch(b, 1)));
        draft.segments.union(a, b);
    }
    let members = bond(draft, index, &mut pair);
    for member in 0..members {
        let first = draft.ifaces.len();
        draft.ifaces.extend(pair.clone());
        match member {
            0 => draft.links[index] = Some([first, first + 1]),
            _ => draft.links.push(Some([first, first + 1])),
        }
    }
}

/// How many wires a link is: several where it is a bond, whose ends then know it.
fn bond(draft: &mut Draft<'_>, index: usize, pair: &mut [Iface; 2]) -> u32 {
    let declared = &draft.file.link[index].value;
    let Some(mode) = &declared.bond else {
        if let Some(members) = &declared.members {
            draft.error(Code::MissingKey, &members.span, "`members` without a `bond` says nothing").help.push(
                "say how they share the load: `bond = \"active-backup\"`, `\"balance-slb\"` or `\"balance-tcp\"`"
                    .into(),
            );
        }
        return 1;
    };
    for end in pair.iter() {
        let is_ovs = matches!(end.owner, Owner::Switch(switch) if draft.switches[switch].kind == Kind::Ovs);
        if !is_ovs {
            let message = "a `bond` joins two switches of `kind = \"ovs\"`, and this end is in none";
            draft.error(Code::BadEnd, &end.span, message).labels.push((mode.span.clone(), "the bond".into()));
            return 1;
        }
        if let Some(name) = &end.written_name {
            let message = "a bond names its wires itself";
            let help = "write the switch alone: `ends = [\"left\", \"right\"]`";
            draft.error(Code::Conflict, &name.span, message).help.push(help.into());
            return 1;
        }
    }
    let number = draft.file.link[..index].iter().filter(|link| link.value.bond.is_some()).count();
    let bond = Some(Bond { number: number as u32, mode: mode.value });
    pair.iter_mut().for_each(|end| end.bond = bond.clone());
    declared.members.as_ref().map_or(2, |members| members.value)
}

fn end(draft: &mut Draft<'_>, link: usize, entry: &Located<EndEntry>, common: Settings) -> Option<Iface> {
    let (at, own) = match &entry.value {
        EndEntry::Name(at) => (Located { value: at.clone(), span: entry.span.clone() }, Settings::default()),
        EndEntry::Table(table) => (table.at.clone(), table.settings()),
    };
    let (name, ifname) = match at.value.split_once(':') {
        Some((name, ifname)) => (name, Some(Located { value: ifname.to_owned(), span: at.span.clone() })),
        None => (at.value.as_str(), None),
    };
    let owner = match draft.names.find(name, &at.span, &["node", "host", "switch"]) {
        Ok(Thing::Node(index)) => Owner::Node(index),
        Ok(Thing::Host(index)) => Owner::Host(index),
        Ok(Thing::Switch(index)) => Owner::Switch(index),
        Ok(Thing::Nic(_)) => return None,
        Err(diagnostic) => {
            draft.report(*diagnostic);
            return None;
        }
    };
    if let Owner::Switch(switch) = owner {
        if matches!(draft.switches[switch].kind, Kind::Macvlan | Kind::Ipvlan | Kind::Sriov) {
            let message = format!("a wire cannot end in `{name}`, which is not a bridge");
            draft.error(Code::BadEnd, &at.span, message);
            return None;
        }
        if let Some(address) = own.address.as_ref().and_then(|list| list.0.first()) {
            let message = "the port of a bridge has no address of its own";
            let help = "give it to the switch (`address`) or to the other end";
            draft.error(Code::Conflict, &address.span, message).help.push(help.into());
        }
    }
    let written = settings::addresses(draft, own.address.as_ref(), false);
    let own = own.or(common);
    let settings = settings::resolve(draft, &own);
    Some(Iface {
        owner,
        medium: Medium::Wire(link),
        span: at.span.clone(),
        written_name: ifname,
        ifname: None,
        point: 0,
        vlan: None,
        trunks: Vec::new(),
        vf: None,
        qos: None,
        bond: None,
        settings,
        written,
        written_mtu: own.mtu,
    })
}

fn node_nic(draft: &mut Draft<'_>, node: usize) {
    let decl = &draft.names.nodes[node];
    let Some(text) = &decl.ast.nic else { return };
    let what = format!("NIC of node `{}`", decl.name.escape_debug());
    let Some(index) = switches::use_nic(draft, text, what, switches::NicUser::Node) else { return };
    let (_, nic): (&Text, &ast::Nic) = draft.names.nics[index];
    let own = nic.settings();
    let settings = settings::resolve(draft, &own);
    let written = settings::addresses(draft, own.address.as_ref(), false);
    let point = draft.segments.point(Point::Nic(index));
    draft.ifaces.push(Iface {
        owner: Owner::Node(node),
        medium: Medium::Nic(index),
        span: text.span.clone(),
        written_name: None,
        ifname: None,
        point,
        vlan: None,
        trunks: Vec::new(),
        vf: None,
        qos: None,
        bond: None,
        settings,
        written,
        written_mtu: own.mtu,
    });
}

/// The `address` of a node's own table goes to its first interface.
fn node_addresses(draft: &mut Draft<'_>) {
    let mut first: HashMap<usize, usize> = HashMap::new();
    for (index, iface) in draft.ifaces.iter().enumerate() {
        if let Owner::Node(node) = iface.owner {
            first.entry(node).or_insert(index);
        }
    }
    for node in 0..draft.nodes.len() {
        let written = std::mem::take(&mut draft.nodes[node].written);
        let Some((_, span)) = written.first() else { continue };
        match first.get(&node) {
            None => draft.nodes[node].addresses = written.into_iter().map(|(net, _)| net).collect(),
            Some(&iface) if draft.ifaces[iface].written.is_empty() => draft.ifaces[iface].written = written,
            Some(&iface) => {
                let message =
                    format!("the first interface of `{}` has an address already", draft.names.nodes[node].name);
                let label = (draft.ifaces[iface].written[0].1.clone(), "given here".to_owned());
                draft.error(Code::Conflict, span, message).labels.push(label);
            }
        }
    }
}
