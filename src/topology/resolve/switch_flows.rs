//! Static flows and QoS of an Open vSwitch: words to ports, MAC addresses and numbers.

use super::{Code, Draft, Medium, Owner, Text, Thing, ast, settings};
use crate::{
    topology::{
        ast::{Kind, Located, PortTable},
        model::{EthDst, FlowOutput, SwitchFlow, SwitchPort},
    },
    units::{BitRate, IfName},
};

/// `OFP_DEFAULT_PRIORITY`, which `ovs-ofctl` gives where nothing is said.
const PRIORITY: u16 = 0x8000;

/// The rate of a switch's port.
pub fn qos(draft: &mut Draft<'_>, switch: usize, table: Option<&PortTable>) -> Option<BitRate> {
    let text = table?.qos.as_ref()?;
    if draft.switches[switch].kind != Kind::Ovs {
        let message = "`qos` means something to Open vSwitch (`kind = \"ovs\"`) only";
        let help = "`rate` limits what a node sends, on every kind of switch";
        draft.error(Code::Conflict, &text.span, message).help.push(help.into());
    }
    settings::parsed(draft, text)
}

/// Resolves the flows of every switch; interfaces have their names by now.
pub fn resolve(draft: &mut Draft<'_>) {
    for index in 0..draft.switches.len() {
        let (_, switch) = draft.names.switches[index];
        if let (Some(first), true) = (switch.flows.first(), draft.switches[index].kind != Kind::Ovs) {
            draft.error(Code::Conflict, &first.span, "`flows` mean something to Open vSwitch (`kind = \"ovs\"`) only");
            continue;
        }
        let flows: Vec<SwitchFlow> = switch.flows.iter().filter_map(|flow| one(draft, index, flow)).collect();
        let mut seen: Vec<(&SwitchFlow, usize)> = Vec::new();
        for (at, flow) in flows.iter().enumerate().take(switch.flows.len()) {
            let same = |other: &SwitchFlow| {
                (other.priority, &other.in_port, &other.eth_dst, other.eth_type)
                    == (flow.priority, &flow.in_port, &flow.eth_dst, flow.eth_type)
            };
            let twin = seen.iter().find(|(other, _)| same(other)).map(|(_, at)| *at);
            if let Some(first) = twin.filter(|_| flows.len() == switch.flows.len()) {
                let message = "a second flow of the same priority and match would replace the first";
                let label = (switch.flows[first].span.clone(), "the first".to_owned());
                draft.error(Code::Conflict, &switch.flows[at].span, message).labels.push(label);
            }
            seen.push((flow, at));
        }
        if let Some(options) = &mut draft.switches[index].ovs {
            options.flows = flows;
        }
    }
}

fn one(draft: &mut Draft<'_>, switch: usize, flow: &Located<ast::SwitchFlow>) -> Option<SwitchFlow> {
    let declared = &flow.value;
    let in_port = declared.in_port.as_ref().map(|text| port(draft, switch, text));
    let eth_dst = declared.eth_dst.as_ref().map(|text| destination(draft, switch, text));
    let eth_type = declared.eth_type.as_ref().map(|text| ether_type(draft, text));
    let output = match declared.output.value.as_str() {
        "normal" => Some(FlowOutput::Normal),
        "drop" => Some(FlowOutput::Drop),
        _ => port(draft, switch, &declared.output).map(FlowOutput::Port),
    };
    let (in_port, eth_dst, eth_type) = (some_or(in_port)?, some_or(eth_dst)?, some_or(eth_type)?);
    let output = output?;
    if let (Some(came), FlowOutput::Port(goes)) = (&in_port, &output)
        && came == goes
    {
        let message = "a packet never leaves by the port that it came in by (OpenFlow 1.3, 5.12)";
        draft.error(Code::Conflict, &declared.output.span, message);
    }
    Some(SwitchFlow { priority: declared.priority.unwrap_or(PRIORITY), in_port, eth_dst, eth_type, output })
}

/// Not said is `Some(None)`, said wrongly is `None`.
fn some_or<T>(said: Option<Option<T>>) -> Option<Option<T>> {
    match said {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// A node on the switch, by name; else a port by its own.
fn port(draft: &mut Draft<'_>, switch: usize, text: &Text) -> Option<SwitchPort> {
    let (name, _) = split(&text.value);
    if let Some(Thing::Node(_) | Thing::Host(_)) = draft.names.get(name) {
        return node(draft, switch, text).map(|(node, ifname)| SwitchPort::Node(node, ifname));
    }
    let wired = draft.ifaces.iter().filter(|iface| iface.owner == Owner::Switch(switch));
    let tunnels = draft.tunnels.iter().flatten().flat_map(|tunnel| tunnel.switches.iter().zip(&tunnel.names));
    let names: Vec<IfName> = wired
        .filter(|iface| matches!(iface.medium, Medium::Wire(_)))
        .filter_map(|iface| iface.ifname.clone())
        .chain(tunnels.filter(|(at, _)| **at == switch).map(|(_, name)| name.clone()))
        .collect();
    if let Some(found) = names.iter().find(|found| found.as_str() == text.value) {
        return Some(SwitchPort::Named(found.clone()));
    }
    let message = format!("`{}` is no port of this switch", text.value.escape_debug());
    let own: Vec<&str> = names.iter().map(IfName::as_str).collect();
    let other = if own.is_empty() { String::new() } else { format!(", or one of: {}", own.join(", ")) };
    let help = format!("name a node on the switch{other}; where packets go it may also be `normal` or `drop`");
    draft.error(Code::BadEnd, &text.span, message).help.push(help);
    None
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, ifname)| (name, Some(ifname)))
}

/// The interface by which a node is on the switch.
fn node(draft: &mut Draft<'_>, switch: usize, text: &Text) -> Option<(String, IfName)> {
    let (name, ifname) = split(&text.value);
    let here = draft.ifaces.iter().find(|iface| {
        iface.medium == Medium::Port(switch)
            && draft.owner_name(iface.owner) == name
            && ifname.is_none_or(|wanted| iface.ifname.as_ref().is_some_and(|got| got.as_str() == wanted))
    });
    if let Some(ifname) = here.and_then(|iface| iface.ifname.clone()) {
        return Some((name.to_owned(), ifname));
    }
    let (message, on) =
        (format!("`{}` is not on this switch", text.value.escape_debug()), draft.names.switches[switch].0);
    let label = (on.span.clone(), "this switch".to_owned());
    draft.error(Code::BadEnd, &text.span, message).labels.push(label);
    None
}

fn destination(draft: &mut Draft<'_>, switch: usize, text: &Text) -> Option<EthDst> {
    if let Some(Thing::Node(_) | Thing::Host(_)) = draft.names.get(split(&text.value).0) {
        return node(draft, switch, text).map(|(node, ifname)| EthDst::Node(node, ifname));
    }
    settings::parsed(draft, text).map(EthDst::Mac)
}

fn ether_type(draft: &mut Draft<'_>, text: &Text) -> Option<u16> {
    let number = match text.value.as_str() {
        "arp" => Some(0x0806),
        "ipv4" => Some(0x0800),
        "ipv6" => Some(0x86dd),
        word => word.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok()),
    };
    // Below 0x600 the field is a length (IEEE 802.3).
    let number = number.filter(|number| *number >= 0x600);
    if number.is_none() {
        let message = format!("`{}` is no Ethernet type", text.value.escape_debug());
        let help = "`arp`, `ipv4`, `ipv6`, or four hexadecimal digits from 0x0600 on: `0x88b5`";
        draft.error(Code::Malformed, &text.span, message).help.push(help.into());
    }
    number
}
