//! The draft, complete and sound, becomes the model.

use super::{Draft, Iface, Medium, Owner, naming, settings, switches::NicUser};
use crate::topology::{
    ast::{Fdb, Kind},
    model::{
        Attach, End, EndAt, Host, Nic, NicPort, Node, Port, PortSettings, Switch, SwitchKind, TestDefaults, Topology,
        Tunnel, TunnelEnd, Wire,
    },
};

/// Builds the model. `None` only where a mistake was reported.
pub fn topology(draft: &Draft<'_>, nics: Vec<Nic>, test: TestDefaults) -> Option<Topology> {
    let mut with_interface = vec![false; draft.nodes.len()];
    let mut switches: Vec<Switch> =
        (0..draft.switches.len()).map(|index| switch(draft, index)).collect::<Option<_>>()?;
    let mut nic_ports: Vec<Option<NicPort>> = vec![None; draft.nodes.len()];
    for iface in &draft.ifaces {
        if let Owner::Node(node) = iface.owner {
            with_interface[node] = true;
        }
        match (iface.medium, iface.owner) {
            (Medium::Device(switch), _) => switches[switch].addresses = iface.settings.addresses.clone(),
            (Medium::Port(switch), owner) => switches[switch].ports.push(Port {
                node: draft.owner_name(owner).to_owned(),
                ifname: iface.ifname.clone()?,
                vlan: iface.vlan,
                trunks: iface.trunks.clone(),
                vf: iface.vf.clone(),
                qos: iface.qos,
                settings: iface.settings.clone(),
            }),
            (Medium::Nic(nic), Owner::Node(node)) => {
                nic_ports[node] = Some(NicPort {
                    nic: draft.names.nics[nic].0.value.clone(),
                    ifname: iface.ifname.clone()?,
                    settings: iface.settings.clone(),
                });
            }
            _ => {}
        }
    }
    let links = draft.links.iter().flatten().map(|&[a, b]| wire(draft, a, b)).collect::<Option<_>>()?;
    let tunnels = (0..draft.tunnels.len()).map(|index| tunnel(draft, index)).collect::<Option<_>>()?;
    let nodes =
        nic_ports.into_iter().enumerate().map(|(index, nic)| node(draft, index, nic, with_interface[index])).collect();
    let hosts = draft.hosts.iter().zip(&draft.names.hosts).map(|(parts, (name, _))| Host {
        name: name.value.clone(),
        sysctl: parts.sysctl.clone(),
        routes: parts.routes.clone(),
    });
    Some(Topology {
        name: draft.file.name.value.clone(),
        fabric: naming::fabric(draft),
        ipv6: draft.ipv6(),
        nodes,
        hosts: hosts.collect(),
        switches,
        links,
        nics,
        tunnels,
        flows: draft.flows.clone(),
        test,
    })
}

fn node(draft: &Draft<'_>, index: usize, nic: Option<NicPort>, with_interface: bool) -> Node {
    let (decl, parts) = (&draft.names.nodes[index], &draft.nodes[index]);
    let mut addresses = parts.addresses.clone();
    if parts.attach == Some(Attach::This) && !with_interface && addresses.is_empty() {
        addresses.push(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::LOCALHOST, 8).into());
    }
    Node {
        name: decl.name.clone(),
        host: decl.ast.host.as_ref().map(|host| host.value.clone()),
        attach: parts.attach.clone(),
        nic,
        cpus: parts.cpus.clone(),
        numa: parts.numa.clone(),
        sysctl: parts.space.sysctl.clone(),
        routes: parts.space.routes.clone(),
        addresses,
    }
}

fn switch(draft: &Draft<'_>, index: usize) -> Option<Switch> {
    let (name, _) = draft.names.switches[index];
    let parts = &draft.switches[index];
    let kind = match parts.kind {
        Kind::Ovs => SwitchKind::Ovs(parts.ovs.clone()?),
        Kind::Sriov => SwitchKind::Sriov { nic: nic_name(draft, parts.nic?) },
        Kind::Macvlan => SwitchKind::Macvlan { nic: nic_name(draft, parts.nic?), mode: parts.mode },
        Kind::Ipvlan => SwitchKind::Ipvlan { nic: nic_name(draft, parts.nic?), mode: parts.ipvlan },
        Kind::Bridge => SwitchKind::Bridge(parts.options.clone()),
    };
    Some(Switch {
        name: name.value.parse().ok()?,
        host: parts.host.map(|host| draft.names.hosts[host].0.value.clone()),
        kind,
        mtu: parts.mtu,
        addresses: Vec::new(),
        ports: Vec::new(),
        uplinks: parts.uplinks.iter().map(|&nic| nic_name(draft, nic)).collect(),
    })
}

fn nic_name(draft: &Draft<'_>, nic: usize) -> String {
    draft.names.nics[nic].0.value.clone()
}

fn wire(draft: &Draft<'_>, a: usize, b: usize) -> Option<Wire> {
    let end = |iface: &Iface| {
        let name = draft.owner_name(iface.owner).to_owned();
        let at = match iface.owner {
            Owner::Node(_) => EndAt::Node(name),
            Owner::Host(_) => EndAt::Host(name),
            Owner::Switch(_) => EndAt::Switch(name),
        };
        Some(End { at, ifname: iface.ifname.clone()?, settings: iface.settings.clone() })
    };
    Some(Wire { ends: [end(&draft.ifaces[a])?, end(&draft.ifaces[b])?], bond: draft.ifaces[a].bond.clone() })
}

fn tunnel(draft: &Draft<'_>, index: usize) -> Option<Tunnel> {
    let declared = &draft.file.tunnel[index].value;
    let parts = draft.tunnels[index].as_ref()?;
    let end = |side: usize| {
        let below = &draft.ifaces[parts.below[side]];
        Some(TunnelEnd {
            switch: draft.names.switches[parts.switches[side]].0.value.clone(),
            ifname: parts.names[side].clone(),
            local: below.address_of_family(parts.ipv4)?.addr(),
            dev: below.ifname.clone()?,
            mtu: draft.switches[parts.switches[side]].mtu,
        })
    };
    Some(Tunnel {
        kind: declared.kind.value,
        vni: declared.vni.value,
        port: declared.port.as_ref().map_or(declared.kind.value.default_port(), |port| port.value),
        ends: [end(0)?, end(1)?],
        udp_checksum: declared.udp_checksum,
        udp6_zero_checksum: declared.udp6_zero_checksum,
        gbp: declared.gbp.unwrap_or(false),
        learning: declared.learning,
        static_fdb: declared.fdb.as_ref().is_some_and(|fdb| fdb.value == Fdb::Static),
    })
}

/// The NICs themselves; mistakes in their settings are reported.
pub fn nics(draft: &mut Draft<'_>) -> Vec<Nic> {
    (0..draft.names.nics.len()).map(|index| nic(draft, index)).collect()
}

fn nic(draft: &mut Draft<'_>, index: usize) -> Nic {
    let (name, declared) = draft.names.nics[index];
    let mtu = draft.nic_mtu[index];
    let own = declared.settings();
    let before = draft.diagnostics.len();
    let settings = PortSettings { mtu, ..settings::resolve(draft, &own) };
    if draft.nic_uses[index].as_ref().is_some_and(|used| used.by == NicUser::Node) {
        // The node's interface has said them already.
        draft.diagnostics.truncate(before);
    }
    Nic {
        name: name.value.clone(),
        ifname: declared.ifname.as_ref().and_then(|ifname| ifname.value.parse().ok()),
        pci: declared.pci.as_ref().map(|pci| pci.value.clone()),
        cable: declared.cable.as_ref().map(|cable| cable.value.clone()),
        sriov: draft.nic_sriov[index].clone(),
        mtu,
        settings,
    }
}
