//! Borrowed devices: taken, and given back exactly as they were.

mod carries;
mod describe;
mod give_back;

use std::fs;

pub use carries::{carries_default_route, carries_ssh_session};
pub use describe::{affinities, describe_all};
pub use give_back::give_back;

use super::{
    Result,
    error::Operation,
    ethtool, link,
    netlink::Failure,
    netns::Netns,
    observe::{self, LinkRow},
};
use crate::{
    plan::step::{LinkSet, NicRoute, NicState},
    units::IfName,
};

/// `RTPROT_KERNEL`: comes back with its address.
const RTPROT_KERNEL: u8 = 2;
/// `RTPROT_RA`: comes back with the next router advertisement; made by hand it would never expire.
const RTPROT_RA: u8 = 9;

/// All that must be given back with a device.
pub fn state(ns: &Netns, ifname: &IfName) -> Result<NicState> {
    let operation = || Operation::of("read the state of", ifname, ns.label());
    let failed = |failure: Failure| operation().failed(failure);
    let rows = observe::rows(ns).map_err(failed)?;
    let Some(row) = rows.iter().find(|row| row.name == *ifname) else {
        return Err(failed(Failure::Kernel { errno: libc::ENODEV, extack: None }));
    };
    let master = row.link.master.and_then(|index| rows.iter().find(|row| row.link.index == index));
    let addresses = observe::addresses(ns).map_err(failed)?;
    let mut routes = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for route in observe::routes(ns, family, 0).map_err(failed)? {
            if route.route.oif == Some(row.link.index) && ![RTPROT_KERNEL, RTPROT_RA].contains(&route.route.protocol) {
                routes.push(NicRoute {
                    to: route.route.to,
                    via: route.route.via,
                    source: route.source,
                    protocol: route.route.protocol,
                    scope: route.scope,
                    metric: route.route.metric,
                    table: route.table,
                });
            }
        }
    }
    // A gateway must be reachable before a route goes through it.
    routes.sort_by_key(|route| route.via.is_some());
    Ok(NicState {
        ifname: ifname.to_string(),
        index: row.link.index,
        pci: pci(row),
        mac: row.link.mac,
        permanent_mac: row.permanent_mac,
        mtu: row.link.mtu,
        up: row.link.up,
        master: master.map(|master| master.name.to_string()),
        alias: row.link.alias.clone(),
        group: row.link.group,
        altnames: row.link.altnames.clone(),
        features: (ethtool::features(ns, ifname).unwrap_or_default().into_iter())
            .filter(|(_, feature)| feature.changeable)
            .map(|(name, feature)| (name, feature.wanted))
            .collect(),
        ethtool: ethtool::parameters(ns, ifname).unwrap_or_default(),
        addresses: addresses
            .iter()
            .filter(|address| address.index == row.link.index && !address.is_link_local())
            .map(|address| address.address)
            .collect(),
        routes,
        vf: None,
    })
}

/// Is the link a device on a bus, with a wire whose speed means something?
///
/// # Errors
/// The links cannot be read.
pub fn is_physical(ns: &Netns, ifname: &IfName) -> Result<bool> {
    let rows = observe::rows(ns).map_err(|failure| Operation::of("read", "links", ns.label()).failed(failure))?;
    Ok(rows.iter().any(|row| row.name == *ifname && row.parent.is_some()))
}

/// A representor has the address of the NIC whose function it stands for: it is another device.
fn pci(row: &LinkRow) -> Option<String> {
    let parent = row.parent.as_ref().filter(|(bus, _)| bus == "pci" && row.represents().is_none());
    parent.map(|(_, name)| name.clone())
}

/// Takes a device: marks it (so that it is known as borrowed even if the journal is lost), frees it from its master,
/// and moves it under its new name. It arrives down and without addresses; with `from` and `to` the same namespace it
/// is only renamed. A device that has arrived already is left as it is.
pub fn take(from: &Netns, previous: &NicState, to: &Netns, new_name: &IfName, alias_mark: &str) -> Result<()> {
    let operation = || Operation::of("take", &previous.ifname, from.label());
    let rows = observe::rows(from).map_err(|failure| operation().failed(failure))?;
    let Some(row) = find(&rows, previous, &previous.ifname, true) else {
        let there = observe::rows(to).map_err(|failure| operation().failed(failure))?;
        let arrived = there.iter().any(|row| row.name == *new_name && row.link.alias.as_deref() == Some(alias_mark));
        return match arrived {
            true => Ok(()),
            false => Err(operation().failed(Failure::Kernel { errno: libc::ENODEV, extack: None })),
        };
    };
    let name = row.name.clone();
    link::set_alias(from, row.link.index, alias_mark)?;
    let set = LinkSet { up: Some(false), master: row.link.master.map(|_| None), ..LinkSet::default() };
    link::set(from, &name, &set)?;
    if row.link.altnames.iter().any(|altname| altname == new_name.as_str()) {
        // A device cannot be named as it is called by the way (EEXIST).
        link::delete_altname(from, name.as_str(), new_name.as_str())?;
    }
    if from.inode() != to.inode() {
        link::move_to(from, name.as_str(), to, new_name.as_str())
    } else if name != *new_name {
        link::rename(from, name.as_str(), new_name.as_str())
    } else {
        Ok(())
    }
}

/// A borrowed device among the links of a namespace: by PCI address, burnt-in MAC or name; at home also by index,
/// which the kernel keeps through a move where it is free.
fn find<'r>(rows: &'r [LinkRow], state: &NicState, name: &str, home: bool) -> Option<&'r LinkRow> {
    if state.pci.is_some() {
        // Some NICs have two ports behind one address.
        let mut all = rows.iter().filter(|row| pci(row) == state.pci);
        let same_mac =
            all.clone().find(|row| state.permanent_mac.is_some() && row.permanent_mac == state.permanent_mac);
        return same_mac.or_else(|| all.next());
    }
    if state.permanent_mac.is_some() {
        return rows.iter().find(|row| row.permanent_mac == state.permanent_mac);
    }
    let by_name = rows.iter().find(|row| row.name.as_str() == name);
    by_name.or_else(|| rows.iter().find(|row| home && row.link.index == state.index))
}

/// The PCI function behind an interface of the machine's first namespace, or the device of another bus that has functions.
pub fn pci_of(ifname: &IfName) -> Option<String> {
    let device = fs::read_link(format!("/sys/class/net/{ifname}/device")).ok()?;
    let address = device.file_name()?.to_str()?.to_owned();
    if fs::exists(format!("/sys/bus/pci/devices/{address}")).ok()? {
        return Some(address);
    }
    let simulated = fs::exists(format!("/sys/bus/netdevsim/devices/{address}/sriov_numvfs")).ok()?;
    simulated.then(|| format!("netdevsim/{address}"))
}

/// The interface of a PCI function, by its address (`0000:03:00.0`); `None` where the function has no interface in
/// the machine's first namespace.
pub fn by_pci(address: &str) -> Option<String> {
    if address.contains('/') || address.starts_with('.') {
        return None;
    }
    let entries = fs::read_dir(format!("/sys/bus/pci/devices/{address}/net")).ok()?;
    let own = |name: &String| {
        let port = fs::read_to_string(format!("/sys/class/net/{name}/phys_port_name")).unwrap_or_default();
        !observe::is_representor(port.trim())
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(own).min()
}
