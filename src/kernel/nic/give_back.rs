//! The way back.

use std::collections::BTreeMap;

use netlink_packet_route::{
    link::LinkMessage,
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{find, link, observe};
use crate::{
    kernel::{
        Error, Result,
        error::Operation,
        ethtool,
        link::{RTM_SETLINK, family_of},
        netlink::{CREATE, EXCL, Failure},
        netns::Netns,
        observe::LinkRow,
    },
    plan::{
        marks,
        step::{LinkSet, NicRoute, NicState},
    },
    units::IfName,
};

const RTM_NEWROUTE: u16 = 24;

/// Gives a device back: moved home under its old name, with its MAC, MTU, features, rings, channels, coalescing, alias, group,
/// alternative names, master, state, addresses and routes. Whatever of that is done already (by an earlier, interrupted call, or since the
/// namespace died and the kernel sent the device home) is left as it is.
///
/// `from` is where it was taken to and may be the same as `to`.
pub fn give_back(from: &Netns, current_name: &IfName, to: &Netns, state: &NicState) -> Result<()> {
    let operation = || Operation::of("give back", &state.ifname, to.label());
    let name: IfName = state.ifname.parse().map_err(|error| operation().malformed(error))?;
    bring_home(from, current_name, to, state, &name)?;
    let rows = observe::rows(to).map_err(|failure| operation().failed(failure))?;
    let Some(row) = rows.iter().find(|row| row.name == name) else {
        return Err(operation().failed(Failure::Kernel { errno: libc::ENODEV, extack: None }));
    };
    let marked = row.link.alias.as_deref().and_then(marks::parse_nic_alias).is_some();
    if !marked && row.link.alias == state.alias {
        return Ok(()); // it was never taken, or is given back already and its owner's again
    }
    restore_link(to, state, &name, row)?;
    for &address in &state.addresses {
        unless_present(link::add_address(to, &name, address))?;
    }
    for route in &state.routes {
        unless_present(add_route(to, row.link.index, route))?;
    }
    // The mark goes last: until then the device is known as borrowed, and an interrupted return is taken up again.
    link::set_alias(to, row.link.index, state.alias.as_deref().unwrap_or_default())
}

fn unless_present(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_present() => Ok(()),
        other => other,
    }
}

fn bring_home(from: &Netns, current_name: &IfName, to: &Netns, state: &NicState, name: &IfName) -> Result<()> {
    let operation = || Operation::of("give back", current_name, from.label());
    let failed = |failure: Failure| operation().failed(failure);
    if from.inode() != to.inode() {
        let rows = observe::rows(from).map_err(failed)?;
        if let Some(row) = find(&rows, state, current_name.as_str(), false) {
            link::set(from, &row.name, &LinkSet { up: Some(false), ..LinkSet::default() })?;
            drop_altname(from, row, name)?;
            return link::move_to(from, row.name.as_str(), to, name.as_str());
        }
    }
    let rows = observe::rows(to).map_err(failed)?;
    let row = find(&rows, state, name.as_str(), false)
        .or_else(|| find(&rows, state, current_name.as_str(), true))
        .ok_or_else(|| failed(Failure::Kernel { errno: libc::ENODEV, extack: None }))?;
    if row.name != *name {
        link::set(to, &row.name, &LinkSet { up: Some(false), ..LinkSet::default() })?;
        drop_altname(to, row, name)?;
        link::rename(to, row.name.as_str(), name.as_str())?;
    }
    Ok(())
}

fn drop_altname(ns: &Netns, row: &LinkRow, name: &IfName) -> Result<()> {
    match row.link.altnames.iter().any(|altname| altname == name.as_str()) {
        true => link::delete_altname(ns, row.name.as_str(), name.as_str()),
        false => Ok(()),
    }
}

fn restore_link(ns: &Netns, state: &NicState, name: &IfName, row: &LinkRow) -> Result<()> {
    if row.link.group != state.group {
        set_group(ns, name, row.link.index, state.group)?;
    }
    let mac = state.mac.filter(|mac| row.link.mac != Some(*mac));
    let mtu = Some(state.mtu).filter(|mtu| *mtu != row.link.mtu);
    if mac.is_some() && row.link.up {
        // Many drivers change the MAC of a device only while it is down.
        link::set(ns, name, &LinkSet { up: Some(false), ..LinkSet::default() })?;
    }
    if mac.is_some() || mtu.is_some() {
        link::set(ns, name, &LinkSet { mac, mtu, ..LinkSet::default() })?;
    }
    for altname in row.link.altnames.iter().filter(|altname| !state.altnames.contains(altname)) {
        link::delete_altname(ns, name.as_str(), altname)?;
    }
    for altname in state.altnames.iter().filter(|altname| !row.link.altnames.contains(altname)) {
        unless_present(link::add_altname(ns, name.as_str(), altname))?;
    }
    let master = match &state.master {
        Some(master) => Some(
            master.parse::<IfName>().map_err(|error| Operation::of("give back", name, ns.label()).malformed(error))?,
        ),
        None => None,
    };
    let set = LinkSet { master: Some(master), ..LinkSet::default() };
    link::set(ns, name, &set)?;
    // Some drivers take it while the device is down, some while it is up.
    let early = restore_ethtool(ns, state, name);
    link::set(ns, name, &LinkSet { up: Some(state.up), ..LinkSet::default() })?;
    if early.is_err() { restore_ethtool(ns, state, name) } else { Ok(()) }
}

/// Features, rings, channels and coalescing; a state that was read from an alias knows none.
fn restore_ethtool(ns: &Netns, state: &NicState, name: &IfName) -> Result<()> {
    // What counts is what is asked for: what a feature depends on may be off for a reason of its own.
    let differing = |now: &BTreeMap<String, ethtool::Feature>| {
        let differs = |(name, on): &(&String, &bool)| now.get(*name).is_some_and(|now| now.wanted != **on);
        state.features.iter().filter(differs).map(|(name, on)| (name.clone(), *on)).collect::<BTreeMap<_, _>>()
    };
    if !state.features.is_empty() {
        let outcome = ethtool::set_features(ns, name, &differing(&ethtool::features(ns, name)?));
        if outcome.is_err() && !differing(&ethtool::features(ns, name)?).is_empty() {
            return outcome;
        }
    }
    if state.ethtool.is_empty() {
        return Ok(());
    }
    let now = ethtool::parameters(ns, name)?;
    // The driver's own while it adapts them.
    let adapts =
        |direction: &str| state.ethtool.get(&format!("coalesce.adaptive-{direction}")).is_some_and(|&on| on != 0);
    let moves = |key: &str| {
        let of = |direction: &str| key.starts_with(&format!("coalesce.{direction}-")) && adapts(direction);
        of("rx") || of("tx")
    };
    let differs = |(key, before): &(&String, &u32)| !moves(key) && now.get(*key).is_some_and(|now| now != *before);
    let back = state.ethtool.iter().filter(differs).map(|(key, before)| (key.clone(), *before)).collect();
    ethtool::set_parameters(ns, name, &back)
}

fn set_group(ns: &Netns, name: &IfName, index: u32, group: u32) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(netlink_packet_route::link::LinkAttribute::Group(group));
    let operation = || Operation::on(format!("set group {group}"), name, ns.label());
    ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    Ok(())
}

fn add_route(ns: &Netns, index: u32, route: &NicRoute) -> Result<(), Error> {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.protocol = route.protocol.into();
    message.header.scope = route.scope.into();
    message.header.kind = RouteType::Unicast;
    // Tables above 255 go in the attribute only.
    message.header.table = u8::try_from(route.table).unwrap_or_default();
    message.attributes.push(RouteAttribute::Table(route.table));
    message.attributes.push(RouteAttribute::Oif(index));
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.addr().into()));
    }
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(via.into())));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    ns.route()
        .send(RTM_NEWROUTE, CREATE | EXCL, &message)
        .map_err(|failure| Operation::of("add route", route.to, ns.label()).failed(failure))?;
    Ok(())
}
