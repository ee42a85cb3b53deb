//! Tunnels: the switches they join, the hosts' interfaces that carry them, their devices.

use std::{collections::HashMap, ops::Range};

use ipnet::IpNet;

use super::{Code, Draft, Owner, Thing, routes};
use crate::{
    topology::{ast::Kind, model::TunnelKind},
    units::IfName,
};

/// A tunnel whose ends and wire below are known.
#[derive(Debug, Clone)]
pub struct TunnelParts {
    pub kind: TunnelKind,
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
        self.kind.overhead(self.ipv4)
    }
}

/// Resolves every tunnel.
pub fn resolve(draft: &mut Draft<'_>) {
    let owned = routes::by_owner(draft);
    draft.tunnels = (0..draft.file.tunnel.len()).map(|index| tunnel(draft, &owned, index)).collect();
    same_vni(draft);
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
        if matches!(draft.switches[*switch].kind, Kind::Macvlan | Kind::Ipvlan | Kind::Sriov) {
            let message = "a switch whose ports are children of a NIC cannot have a tunnel as a port";
            draft.error(Code::BadEnd, span, message).help.push("join bridges".into());
            return None;
        }
    }
    super::ovs::tunnel(draft, &declared.value, [*a, *b])?;
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
        kind: declared.value.kind.value,
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
        let port = declared.port.as_ref().map_or(declared.kind.value.default_port(), |port| port.value);
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
