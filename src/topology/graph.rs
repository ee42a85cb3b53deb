//! Pictures of a resolved topology: Mermaid, Graphviz and SVG.

mod dot;
mod mermaid;
mod svg;

use ipnet::IpNet;

use super::model::{EndAt, PortSettings, SwitchKind, Topology};

/// What a picture is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Mermaid flowchart, as GitHub and GitLab show it in Markdown
    Mermaid,
    /// Graphviz
    Dot,
    /// A picture for any browser
    Svg,
}

/// Draws a topology.
pub fn render(topology: &Topology, format: Format) -> String {
    let picture = Picture::of(topology);
    match format {
        Format::Mermaid => mermaid::render(&picture),
        Format::Dot => dot::render(&picture),
        Format::Svg => svg::render(&picture),
    }
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Node,
    Host,
    Switch,
    Nic,
}

/// A box.
#[derive(Debug)]
struct Shape {
    name: String,
    role: Role,
    /// Further lines: kind, MTU, addresses.
    lines: Vec<String>,
    /// Index of the host's box it belongs to.
    host: Option<String>,
}

/// A line between two boxes.
#[derive(Debug)]
struct Line {
    from: usize,
    to: usize,
    /// What stands along it: interface, MTU, addresses.
    label: Vec<String>,
    /// A tunnel, not a wire.
    dashed: bool,
}

/// A topology as boxes and lines.
#[derive(Debug)]
struct Picture {
    title: String,
    shapes: Vec<Shape>,
    lines: Vec<Line>,
}

/// Nodes of one switch beyond this many are drawn as one box.
const MANY: usize = 24;

impl Picture {
    fn of(topology: &Topology) -> Self {
        let mut picture = Self { title: topology.name.clone(), shapes: Vec::new(), lines: Vec::new() };
        for host in &topology.hosts {
            picture.shape(&host.name, Role::Host, Vec::new(), None);
        }
        for switch in &topology.switches {
            let kind = match &switch.kind {
                SwitchKind::Bridge(_) => "bridge".to_owned(),
                SwitchKind::Ovs(options) => format!("Open vSwitch ({})", options.datapath.word()),
                SwitchKind::Sriov { .. } => "SR-IOV".to_owned(),
                SwitchKind::Ipvlan { mode, .. } => format!("ipvlan {}", mode.word()),
                SwitchKind::Macvlan { mode, .. } => format!("macvlan {}", format!("{mode:?}").to_lowercase()),
            };
            let mut lines = vec![format!("{kind}, MTU {}", switch.mtu)];
            lines.extend(addresses(&switch.addresses));
            picture.shape(switch.name.as_str(), Role::Switch, lines, switch.host.clone());
        }
        for nic in &topology.nics {
            let device = nic.ifname.as_ref().map(|name| name.to_string()).or(nic.pci.clone());
            let device = device.unwrap_or_else(|| "veth stand-in".into());
            picture.shape(&nic.name, Role::Nic, vec![device, mtu(nic.mtu)], None);
        }
        let hidden = hidden_nodes(topology);
        for node in topology.nodes.iter().filter(|node| !hidden.contains(&node.name.as_str())) {
            picture.shape(&node.name, Role::Node, addresses(&node.addresses), node.host.clone());
        }
        picture.lines(topology, &hidden);
        picture
    }

    fn shape(&mut self, name: &str, role: Role, lines: Vec<String>, host: Option<String>) {
        self.shapes.push(Shape { name: name.to_owned(), role, lines, host });
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.shapes.iter().position(|shape| shape.name == name)
    }

    fn line(&mut self, from: &str, to: &str, label: Vec<String>, dashed: bool) {
        if let (Some(from), Some(to)) = (self.find(from), self.find(to)) {
            self.lines.push(Line { from, to, label, dashed });
        }
    }

    fn lines(&mut self, topology: &Topology, hidden: &[&str]) {
        for switch in &topology.switches {
            let mut more = 0;
            for port in &switch.ports {
                if hidden.contains(&port.node.as_str()) {
                    more += 1;
                    continue;
                }
                let mut label = port_label(port.ifname.as_str(), &port.settings);
                label.extend(port.vlan.map(|vlan| format!("VLAN {vlan}")));
                self.line(&port.node, switch.name.as_str(), label, false);
            }
            if more > 0 {
                let name = format!("{more} more on {}", switch.name);
                self.shape(&name, Role::Node, Vec::new(), switch.host.clone());
                self.line(&name, switch.name.as_str(), vec![mtu(switch.mtu)], false);
            }
            for nic in &switch.uplinks {
                self.line(switch.name.as_str(), nic, vec![mtu(switch.mtu)], false);
            }
            if let SwitchKind::Macvlan { nic, .. } | SwitchKind::Ipvlan { nic, .. } | SwitchKind::Sriov { nic } =
                &switch.kind
            {
                self.line(switch.name.as_str(), nic, vec![], false);
            }
        }
        for link in &topology.links {
            let [a, b] = &link.ends;
            let mut label = port_label(a.ifname.as_str(), &a.settings);
            label.extend(port_label(b.ifname.as_str(), &b.settings));
            self.line(place(&a.at), place(&b.at), label, false);
        }
        for node in &topology.nodes {
            if let Some(nic) = &node.nic {
                self.line(&node.name, &nic.nic, port_label(nic.ifname.as_str(), &nic.settings), false);
            }
        }
        for nic in &topology.nics {
            let said_by_other =
                |cable: &str| topology.nics.iter().any(|n| n.name == cable && n.cable.as_ref() == Some(&nic.name));
            if let Some(cable) = nic.cable.as_ref().filter(|cable| !said_by_other(cable) || nic.name < **cable) {
                self.line(&nic.name, cable, vec!["cable".into()], false);
            }
        }
        for tunnel in &topology.tunnels {
            let [a, b] = &tunnel.ends;
            let label = vec![format!("vxlan {}", tunnel.vni), mtu(a.mtu), format!("{} to {}", a.local, b.local)];
            self.line(&a.switch, &b.switch, label, true);
        }
    }
}

/// Nodes that a crowded switch shows only as a number: those past the first few, with no other interface and no flow.
fn hidden_nodes(topology: &Topology) -> Vec<&str> {
    let mut hidden: Vec<&str> = Vec::new();
    if topology.nodes.len() <= MANY {
        return hidden;
    }
    let in_flow = |name: &str| topology.flows.iter().any(|flow| flow.from == name || flow.to == name);
    let wired = |name: &str| topology.links.iter().flat_map(|link| &link.ends).any(|end| place(&end.at) == name);
    let mut on_switches: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for port in topology.switches.iter().flat_map(|switch| &switch.ports) {
        *on_switches.entry(&port.node).or_default() += 1;
    }
    for switch in topology.switches.iter().filter(|switch| switch.ports.len() > MANY) {
        for port in switch.ports.iter().skip(4) {
            let name = port.node.as_str();
            if on_switches[name] == 1 && !in_flow(name) && !wired(name) {
                hidden.push(name);
            }
        }
    }
    hidden.sort_unstable();
    hidden
}

fn place(at: &EndAt) -> &str {
    match at {
        EndAt::Node(name) | EndAt::Host(name) | EndAt::Switch(name) => name,
    }
}

fn port_label(ifname: &str, settings: &PortSettings) -> Vec<String> {
    let mut label = vec![format!("{ifname}, {}", mtu(settings.mtu))];
    label.extend(addresses(&settings.addresses));
    label.extend(settings.rate.map(|shaper| shaper.rate.to_string()));
    if let Some(netem) = &settings.netem {
        label.extend(netem.delay.map(|delay| format!("delay {delay}")));
        label.extend(netem.loss.map(|loss| format!("loss {}%", loss * 100.0)));
    }
    label
}

fn addresses(list: &[IpNet]) -> Vec<String> {
    list.iter().map(IpNet::to_string).collect()
}

fn mtu(mtu: u32) -> String {
    match mtu {
        0 => "MTU as found".into(),
        mtu => format!("MTU {mtu}"),
    }
}

/// Text for XML and HTML-like labels.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{load, shipped};

    #[test]
    fn every_shipped_topology_is_drawn_with_mtu_and_addresses() {
        for shipped in shipped::all() {
            let topology = load(shipped.name).unwrap().topology;
            for format in [Format::Mermaid, Format::Dot, Format::Svg] {
                let picture = render(&topology, format);
                for name in topology.flows.iter().flat_map(|flow| [&flow.from, &flow.to]) {
                    assert!(picture.contains(name.as_str()), "{format:?} of {} lacks {name}", shipped.name);
                }
                for flow in &topology.flows {
                    assert!(picture.contains(&flow.from_address.to_string()), "{format:?} {}", shipped.name);
                }
            }
        }
        let overlay = load("vxlan-kernel").unwrap().topology;
        for format in [Format::Mermaid, Format::Dot, Format::Svg] {
            let picture = render(&overlay, format);
            assert!(picture.contains("MTU 8950") && picture.contains("MTU 9000"), "{format:?}");
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a b=\"c\">&\u{7}"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}");
    }

    #[test]
    fn a_crowd_is_summed_up() {
        let picture = render(&load("scale").unwrap().topology, Format::Dot);
        assert!(picture.contains("495 more on br1"), "{picture}");
        assert!(picture.contains("c499"));
    }
}
