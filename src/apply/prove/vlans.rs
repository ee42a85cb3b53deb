//! The VLANs of bridges and of Open vSwitch, tried with frames: each end is in its own and in no other.

use std::collections::BTreeMap;

use super::spots::{Field, Role, Spot};
use crate::{
    apply::{ApplyError, world::World},
    kernel::observe::{Wanted, observe},
    plan::{
        desired::{Desired, Link, LinkKind, LinkRef},
        proof::{self, ProbeSeen, SettingProof},
    },
    units::IfName,
};

/// Of each VLAN of a switch so many ends take part: a thousand would each be told from a thousand.
const ENDS: usize = 4;

/// An end of a wire whose other end is a port with a VLAN.
struct End<'a> {
    link: &'a Link,
    port: IfName,
    vlan: u16,
}

/// Tries the VLAN of every port whose other end is a namespace of the topology; nothing where no switch has VLANs.
///
/// # Errors
/// A namespace or an interface is not there, packet sockets fail, or Ctrl-C.
pub fn vlans(world: &World, desired: &Desired) -> Result<Vec<SettingProof>, ApplyError> {
    let mut proofs = Vec::new();
    for (switch, ends) in switches(desired) {
        if ends.iter().any(|end| end.vlan > 0) {
            one(world, &switch, &ends, &mut proofs)?;
        }
    }
    Ok(proofs)
}

/// Switches with the ends of their ports; ports without a VLAN are in VLAN 0 (a trunk, or the switch's default).
fn switches(desired: &Desired) -> BTreeMap<LinkRef, Vec<End<'_>>> {
    let mut found: BTreeMap<LinkRef, Vec<End<'_>>> = BTreeMap::new();
    for link in &desired.links {
        let LinkKind::Veth { peer } = &link.kind else { continue };
        let Some((switch, vlan)) = port(desired, peer) else { continue };
        // A wire between two switches is no end.
        if link.master.is_some() || port(desired, &link.at).is_some() {
            continue;
        }
        let ends = found.entry(switch).or_default();
        if ends.iter().filter(|end| end.vlan == vlan).count() < ENDS {
            ends.push(End { link, port: peer.name.clone(), vlan });
        }
    }
    found
}

/// The switch that an interface is a port of, and its VLAN there; nothing for trunks, which are in many.
fn port(desired: &Desired, at: &LinkRef) -> Option<(LinkRef, u16)> {
    if let Some(link) = desired.link(at)
        && let Some(master) = &link.master
    {
        let switch = LinkRef { ns: at.ns.clone(), name: master.clone() };
        let filters = matches!(desired.link(&switch)?.kind, LinkKind::Bridge { vlan_filtering: true, .. });
        return filters.then(|| (switch, link.vlan.unwrap_or(1)));
    }
    let ovs = desired.ovs.iter().find(|ovs| ovs.daemon.ns == at.ns)?;
    ovs.bridges.iter().find_map(|bridge| {
        let port =
            bridge.ports.iter().find(|port| port.interfaces.iter().any(|interface| interface.name == at.name))?;
        let switch = LinkRef { ns: at.ns.clone(), name: bridge.name.clone() };
        (port.interfaces.len() == 1 && port.trunks.is_empty()).then(|| Some((switch, port.tag?)))?
    })
}

fn one(world: &World, switch: &LinkRef, ends: &[End<'_>], proofs: &mut Vec<SettingProof>) -> Result<(), ApplyError> {
    let mut spots = Vec::new();
    for end in ends {
        let ns = world.get(&end.link.at.ns)?;
        let seen = observe(ns, &Wanted::links_only())?;
        let mac = seen.links.get(&end.link.at.name).and_then(|seen| seen.mac);
        let name = end.link.at.name.clone();
        spots.extend(Spot::new(end.link.at.clone(), ns, name, mac, Role::Member(end.vlan), 0));
    }
    if spots.len() != ends.len() {
        return Ok(()); // an interface is gone: that is drift, and said there
    }
    let field = Field::open(spots)?;
    let mut probes = Vec::new();
    let mut frames = Vec::new();
    for (at, end) in ends.iter().enumerate() {
        let mac = field.spots[at].mac;
        let mut outside = Vec::new();
        if let Some(stranger) = ends.iter().position(|other| other.vlan != end.vlan) {
            outside.push(probes.len());
            probes.push(field.unicast(stranger, mac, None));
            // A tag of one's own choice leads nowhere either.
            outside.push(probes.len());
            probes.push(field.unicast(stranger, mac, Some(end.vlan)));
        }
        let own = probes.len();
        probes.push(field.broadcast(at, None));
        let friend = ends.iter().enumerate().position(|(place, other)| place != at && other.vlan == end.vlan);
        let inside = friend.map(|friend| {
            probes.push(field.unicast(friend, mac, None));
            probes.len() - 1
        });
        frames.push((own, inside, outside));
    }
    let seen = field.exchange(&probes)?;
    for (at, (end, (own, inside, outside))) in ends.iter().zip(&frames).enumerate() {
        let place = field.spots[at].at.to_string();
        let (own, inside) = (&seen[*own], inside.map(|at| &seen[at]));
        let outside: Vec<&ProbeSeen> = outside.iter().map(|&at| &seen[at]).collect();
        let outsiders = ends.iter().filter(|other| other.vlan != end.vlan).count();
        let (outcome, evidence) = proof::isolated(None, own, outsiders, inside, &outside, &place);
        proofs.push(SettingProof {
            at: place,
            by: format!("port {} of {switch}", end.port),
            setting: format!("vlan {}", end.vlan),
            outcome,
            evidence,
            probes: [own].into_iter().chain(inside).chain(outside).cloned().collect(),
        });
    }
    Ok(())
}
