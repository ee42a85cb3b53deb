//! Plans and drift as people read them.

use std::fmt;

use super::{
    desired::{Link, LinkKind, Qdisc},
    ovs::OvsBridge,
    sriov::PfChange,
    step::{LinkSet, Step},
};
use crate::topology::model::{Eswitch, Netem, ShaperKind};

/// One line a step: what is done, in `ip`'s words.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNs { ns, name, sysctl } => {
                write!(f, "add netns {name} for {ns}")?;
                sysctl.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))
            }
            Self::DeleteNs { ns, name, .. } => write!(f, "delete netns {name} of {ns}"),
            Self::CreateLink { link, peer } => {
                write!(f, "add link {} {}", link.at, KindText(link))?;
                if let Some(peer) = peer {
                    write!(f, " peer {}", peer.at)?;
                }
                if let Some(mtu) = link.mtu {
                    write!(f, " mtu {mtu}")?;
                }
                if let Some(master) = &link.master {
                    write!(f, " master {master}")?;
                }
                Ok(())
            }
            Self::DeleteLink { link, peer } => {
                write!(f, "delete link {}", link.at)?;
                peer.iter().try_for_each(|peer| write!(f, " with its peer {}", peer.at))
            }
            Self::TakeNic { to, previous } => match &previous.vf {
                Some(vf) => {
                    write!(f, "take virtual function {} of {} as {to}", vf.index, vf.pf)?;
                    vf.set.words().iter().try_for_each(|(field, value)| write!(f, " {field} {value}"))
                }
                None => write!(f, "borrow {} as {to}", previous.ifname),
            },
            Self::GiveBackNic { from, previous } => match &previous.vf {
                Some(vf) => write!(f, "give {from} back as virtual function {} of {}", vf.index, vf.pf),
                None => write!(f, "give {from} back as {}", previous.ifname),
            },
            Self::SetVfs { pf, change } => {
                let PfChange { pci, vfs, previous, .. } = &**change;
                write!(f, "set sriov_numvfs of {pf} ({pci}) to {vfs}, from {previous}")?;
                let switched = change.eswitch.filter(|(mode, before)| mode != before);
                switched.iter().try_for_each(|(mode, _)| write!(f, ", eswitch {}", word(*mode)))
            }
            Self::SetVf { pf, index, set, .. } => {
                write!(f, "set {pf} vf {index}")?;
                set.words().iter().try_for_each(|(field, value)| write!(f, " {field} {value}"))
            }
            Self::StartOvs(daemon) if daemon.system => f.write_str("use the Open vSwitch of this host"),
            Self::StartOvs(daemon) => {
                let tso = if daemon.tso { ", segmentation offload on" } else { "" };
                write!(f, "start Open vSwitch in {}{tso}", daemon.ns)
            }
            Self::StopOvs(daemon) => write!(f, "stop Open vSwitch in {}", daemon.ns),
            Self::CreateOvsBridges { ns, bridges, .. } => write!(f, "add Open vSwitch {} in {ns}", Bridges(bridges)),
            Self::DeleteOvsBridges { ns, bridges } => write!(f, "delete Open vSwitch {} in {ns}", Bridges(bridges)),
            Self::SetLink { at, set, .. } => write!(f, "set link {at}{}", SetText(set)),
            Self::AddAddress { at, address } => write!(f, "add address {address} on {at}"),
            Self::DeleteAddress { at, address } => write!(f, "delete address {address} on {at}"),
            Self::AddRoute(route) | Self::DeleteRoute(route) => {
                let verb = if matches!(self, Self::AddRoute(_)) { "add" } else { "delete" };
                write!(f, "{verb} route {} in {}", route.to, route.ns)?;
                route.via.iter().try_for_each(|via| write!(f, " via {via}"))?;
                route.dev.iter().try_for_each(|dev| write!(f, " dev {dev}"))
            }
            Self::AddFdb(entry) => write!(f, "add fdb {} on {} to {}", entry.mac, entry.at, entry.remote),
            Self::DeleteFdb(entry) => write!(f, "delete fdb {} on {} to {}", entry.mac, entry.at, entry.remote),
            Self::AddNeighbour(entry) => write!(f, "add neighbour {} {} on {}", entry.address, entry.mac, entry.at),
            Self::DeleteNeighbour(entry) => write!(f, "delete neighbour {} on {}", entry.address, entry.at),
            Self::SetQdisc { at, qdisc: Some(qdisc), .. } => write!(f, "set qdisc of {at} to {qdisc}"),
            Self::SetQdisc { at, qdisc: None, .. } => write!(f, "delete qdisc of {at}"),
            Self::SetFeatures { at, features, .. } => {
                write!(f, "set features of {at}:")?;
                features.iter().try_for_each(|(name, on)| write!(f, " {name} {}", on_off(*on)))
            }
            Self::SetEthtool { at, values, .. } => {
                write!(f, "set {at}:")?;
                values.iter().try_for_each(|(key, value)| write!(f, " {key} {value}"))
            }
            Self::SetSysctl { ns, key, value, .. } => write!(f, "set sysctl {key}={value} in {ns}"),
        }
    }
}

impl Step {
    /// The same step as `verify` says it: what is declared, and what is there instead.
    pub fn drift(&self) -> String {
        match self {
            Self::CreateNs { ns, name, .. } => format!("{ns}: the namespace {name} is missing"),
            Self::DeleteNs { ns, name, .. } => format!("{ns}: the namespace {name} is not declared"),
            Self::CreateLink { link, .. } => format!("{}: the link is missing, or not the declared one", link.at),
            Self::DeleteLink { link, .. } => format!("{}: the link is not as declared, or not declared", link.at),
            Self::TakeNic { to, previous } => match &previous.vf {
                Some(vf) => format!("{to}: virtual function {} of {} is not here", vf.index, vf.pf),
                None => format!("{to}: the device {} is not here", previous.ifname),
            },
            Self::SetVfs { pf, change } => {
                let switched = change.eswitch.filter(|(want, got)| want != got);
                let mode =
                    switched.map(|(want, got)| format!("; its eswitch is {}, declared {}", word(got), word(want)));
                let mode = mode.unwrap_or_default();
                format!("{pf}: {} virtual functions, declared {}{mode}", change.previous, change.vfs)
            }
            Self::SetVf { pf, index, set, previous, .. } => {
                let got = previous.words();
                let line = |(field, want): &(&str, String)| {
                    let got = got.iter().find(|(name, _)| name == field).map_or("unknown", |(_, value)| value);
                    format!("{pf}: {field} of virtual function {index} is {got}, declared {want}")
                };
                set.words().iter().map(line).collect::<Vec<_>>().join("; ")
            }
            Self::GiveBackNic { from, previous } => {
                format!("{from}: the borrowed device {} is not declared here", previous.ifname)
            }
            Self::StartOvs(daemon) => {
                let tso = if daemon.tso { "on" } else { "off" };
                format!("{}: Open vSwitch does not run with segmentation offload {tso}", daemon.ns)
            }
            Self::StopOvs(daemon) => {
                format!("{}: Open vSwitch, or what a killed one left, is not as declared", daemon.ns)
            }
            Self::CreateOvsBridges { ns, bridges, differs } => {
                let there = |bridge: &&OvsBridge| {
                    let ports = bridge.ports.iter().map(|port| format!("port {}", port.name));
                    let names: Vec<String> = ports.chain([format!("bridge {}:", bridge.name)]).collect();
                    !differs.iter().any(|line| names.iter().any(|name| line.starts_with(name)))
                };
                let missing = bridges.iter().filter(there).map(|bridge| format!("bridge {} is missing", bridge.name));
                let lines = differs.iter().cloned().chain(missing).map(|line| format!("{ns}: Open vSwitch: {line}"));
                lines.collect::<Vec<_>>().join("; ")
            }
            Self::DeleteOvsBridges { ns, bridges } => {
                let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
                format!("{ns}: Open vSwitch: not as declared, or not declared: {}", names.join(", "))
            }
            Self::SetLink { at, set, previous } => differing(set, previous)
                .into_iter()
                .map(|(field, want, got)| format!("{at}: {field} is {got}, declared {want}"))
                .collect::<Vec<_>>()
                .join("; "),
            Self::AddAddress { at, address } => format!("{at}: address {address} is missing"),
            Self::DeleteAddress { at, address } => format!("{at}: address {address} is not declared"),
            Self::AddRoute(route) => format!("{}: route {} is missing", route.ns, route.to),
            Self::DeleteRoute(route) => format!("{}: route {} is not declared", route.ns, route.to),
            Self::AddFdb(entry) => format!("{}: fdb entry {} is missing", entry.at, entry.mac),
            Self::DeleteFdb(entry) => format!("{}: fdb entry {} is not declared", entry.at, entry.mac),
            Self::AddNeighbour(entry) => format!("{}: neighbour entry {} is missing", entry.at, entry.address),
            Self::DeleteNeighbour(entry) => format!("{}: neighbour entry {} is not declared", entry.at, entry.address),
            Self::SetQdisc { at, qdisc, previous } => {
                let text = |qdisc: &Option<Qdisc>| qdisc.as_ref().map_or("the default".into(), Qdisc::to_string);
                format!("{at}: qdisc is {}, declared {}", text(previous), text(qdisc))
            }
            Self::SetFeatures { at, features, previous } => {
                let line = |(name, on): (&String, &bool)| {
                    let got = previous.get(name).map_or("not there", |on| on_off(*on));
                    format!("{at}: feature {name} is {got}, declared {}", on_off(*on))
                };
                features.iter().map(line).collect::<Vec<_>>().join("; ")
            }
            Self::SetEthtool { at, values, previous } => {
                let line = |(key, want): (&String, &u32)| {
                    let got = previous.get(key).map_or("not there".into(), u32::to_string);
                    format!("{at}: {key} is {got}, declared {want}")
                };
                values.iter().map(line).collect::<Vec<_>>().join("; ")
            }
            Self::SetSysctl { ns, key, value, previous } => {
                let got = previous.as_deref().unwrap_or("not there");
                format!("{ns}: sysctl {key} is {got}, declared {value}")
            }
        }
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

struct Bridges<'a>(&'a [OvsBridge]);

impl fmt::Display for Bridges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, bridge) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "bridge {} ({} ports", bridge.name, bridge.ports.len())?;
            for interface in bridge.ports.iter().flat_map(|port| &port.interfaces) {
                interface.tunnel.iter().try_for_each(|tunnel| write!(f, ", {} {tunnel}", interface.name))?;
            }
            write!(f, ") mtu {}", bridge.mtu)?;
        }
        Ok(())
    }
}

struct KindText<'a>(&'a Link);

impl fmt::Display for KindText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            LinkKind::Bridge { .. } => f.write_str("bridge"),
            LinkKind::Veth { .. } => f.write_str("veth"),
            LinkKind::Macvlan { lower, mode } => {
                write!(f, "macvlan on {lower} mode {}", format!("{mode:?}").to_lowercase())
            }
            LinkKind::Ipvlan { lower, mode } => write!(f, "ipvlan on {lower} mode {}", mode.word()),
            LinkKind::Vxlan(v) => {
                write!(f, "vxlan vni {} {} -> {} port {} dev {}", v.vni, v.local, v.remote, v.port, v.dev)
            }
            LinkKind::Tunnel(v) => {
                write!(f, "{} key {} {} -> {}", v.device(), v.key, v.local, v.remote)?;
                if v.port == 0 { Ok(()) } else { write!(f, " port {}", v.port) }
            }
            LinkKind::OvsInternal => f.write_str("internal port of Open vSwitch"),
            LinkKind::Vf(vf) => write!(f, "virtual function {} of {}", vf.index, vf.pf),
            LinkKind::Borrowed { ifname, .. } => write!(f, "borrowed {ifname}"),
        }
    }
}

/// The kind of a link in one word, for tables.
pub fn kind_word(link: &Link) -> &'static str {
    match link.kind {
        LinkKind::Bridge { .. } => "bridge",
        LinkKind::Veth { .. } => "veth",
        LinkKind::Macvlan { .. } => "macvlan",
        LinkKind::Ipvlan { .. } => "ipvlan",
        LinkKind::Vxlan(_) => "vxlan",
        LinkKind::Tunnel(ref tunnel) => tunnel.kind.word(),
        LinkKind::OvsInternal => "ovs internal",
        LinkKind::Vf(_) => "vf",
        LinkKind::Borrowed { .. } => "borrowed",
    }
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shaper(shaper) => {
                let kind = if shaper.qdisc == ShaperKind::Tbf { "tbf" } else { "htb" };
                write!(f, "{kind} rate {}", shaper.rate)
            }
            Self::Netem(Netem { delay, loss }) => {
                f.write_str("netem")?;
                delay.iter().try_for_each(|delay| write!(f, " delay {delay}"))?;
                loss.iter().try_for_each(|loss| write!(f, " loss {:.3}%", loss * 100.0))
            }
        }
    }
}

struct SetText<'a>(&'a LinkSet);

impl fmt::Display for SetText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        differing(self.0, &LinkSet::default()).iter().try_for_each(|(field, want, _)| write!(f, " {field} {want}"))
    }
}

/// (field, wanted, before) of every attribute that is set.
fn differing(set: &LinkSet, previous: &LinkSet) -> Vec<(&'static str, String, String)> {
    let mut fields = Vec::new();
    let mut field = |name, want: Option<String>, got: Option<String>| {
        if let Some(want) = want {
            fields.push((name, want, got.unwrap_or_else(|| "unknown".into())));
        }
    };
    let number = |value: Option<u32>| value.map(|v| v.to_string());
    let switch = |value: Option<bool>| value.map(|on| on_off(on).to_owned());
    let state = |value: Option<bool>| value.map(|up| if up { "up" } else { "down" }.to_owned());
    let master = |value: &Option<Option<crate::units::IfName>>| {
        value.as_ref().map(|name| name.as_ref().map_or("none".to_owned(), |name| name.to_string()))
    };
    field("mtu", number(set.mtu), number(previous.mtu));
    field("mac", set.mac.map(|m| m.to_string()), previous.mac.map(|m| m.to_string()));
    field("state", state(set.up), state(previous.up));
    field("master", master(&set.master), master(&previous.master));
    field("pvid", set.pvid.map(|v| v.to_string()), previous.pvid.map(|v| v.to_string()));
    field("stp", switch(set.stp), switch(previous.stp));
    field("vlan_filtering", switch(set.vlan_filtering), switch(previous.vlan_filtering));
    field("multicast_snooping", switch(set.multicast_snooping), switch(previous.multicast_snooping));
    field("gso_max_size", number(set.gso_max_size), number(previous.gso_max_size));
    fields
}

fn word(mode: Eswitch) -> &'static str {
    match mode {
        Eswitch::Legacy => "legacy",
        Eswitch::Switchdev => "switchdev",
    }
}
