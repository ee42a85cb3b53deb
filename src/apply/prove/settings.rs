//! What a NIC was told of its functions, tried with traffic: VLAN, spoof check, trust, rate, link state.
//!
//! Nothing is set for the sake of a proof: what an interface lets in is asked for by sockets, which the kernel takes back
//! when they are closed, also by SIGKILL. There is nothing to restore.

use std::time::{Duration, Instant};

use super::spots::{Field, Probe, Role, Spot};
use crate::{
    apply::{ApplyError, sriov::holder, world::World},
    kernel::{
        frame_probe::{self, Case},
        netns::Netns,
        observe::{Wanted, observe},
    },
    plan::{
        desired::{Desired, LinkKind, NsId, Vf},
        proof::{self, ArrivedAt, Enforcement, Privilege, ProbeSeen, SettingProof},
        sriov::VfSet,
    },
    topology::model::VfLinkState,
};

/// One function in ten of an emulated NIC takes nine seconds longer than the others.
const CARRIER_WITHIN: Duration = Duration::from_secs(30);
/// A driver tells its NIC of a wish by a message.
const WISH: Duration = Duration::from_millis(100);
const BURST: Duration = Duration::from_millis(700);

/// A function that is declared with settings.
struct Declared<'a> {
    /// Its place among the spots.
    spot: usize,
    vf: &'a Vf,
    by: String,
}

/// The frames of one function, by their places in the list.
struct Frames {
    own: usize,
    forged: usize,
    inside: Option<usize>,
    outside: Vec<usize>,
    /// Before it asks: promiscuous, every group, another address.
    filtered: Option<[usize; 3]>,
}

/// Tries every declared setting of every function; nothing where there is none.
///
/// # Errors
/// A namespace or an interface is not there, packet sockets fail, or Ctrl-C.
pub fn settings(world: &World, desired: &Desired) -> Result<Vec<SettingProof>, ApplyError> {
    if desired.sriov.is_empty() {
        return Ok(Vec::new());
    }
    let home = Netns::current(NsId::SELF)?;
    let (spots, declared) = await_spots(world, desired, &home)?;
    let field = Field::open(spots)?;
    let _trunks = field.open_trunks()?;
    std::thread::sleep(WISH);
    let (probes, frames) = first_probes(&field, &declared);
    let seen = field.exchange(&probes)?;
    let asked = wishes(&field, &declared, &frames, &probes)?;
    let mut proofs = Vec::new();
    for (place, (function, frames)) in declared.iter().zip(&frames).enumerate() {
        let judge = Judge { field: &field, function, frames, seen: &seen };
        let wishes: Vec<&ProbeSeen> = asked.iter().filter_map(|list| list[place].as_ref()).collect();
        judge.all(&wishes, &mut proofs)?;
    }
    Ok(proofs)
}

/// The interfaces, when all that should have a link have one or it takes too long.
fn await_spots<'a>(
    world: &'a World,
    desired: &'a Desired,
    home: &'a Netns,
) -> Result<(Vec<Spot<'a>>, Vec<Declared<'a>>), ApplyError> {
    let deadline = Instant::now() + CARRIER_WITHIN;
    loop {
        let (spots, declared) = spots(world, desired, home)?;
        let cut = |spot: usize| {
            let of = declared.iter().find(|declared| declared.spot == spot);
            of.is_some_and(|of| of.vf.set.link_state == Some(VfLinkState::Disable))
        };
        let waits = spots.iter().enumerate().any(|(at, spot)| !spot.carrier && !cut(at));
        if !waits || Instant::now() > deadline {
            return Ok((spots, declared));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn spots<'a>(
    world: &'a World,
    desired: &'a Desired,
    home: &'a Netns,
) -> Result<(Vec<Spot<'a>>, Vec<Declared<'a>>), ApplyError> {
    let (mut spots, mut declared) = (Vec::new(), Vec::new());
    for (on, pf) in desired.sriov.iter().enumerate() {
        // A NIC whose own port is down takes no part.
        if let Some((ns, row)) = holder(world, &pf.at.ns, &pf.pci, home)?.filter(|(_, row)| row.link.up) {
            let spot = Spot::new(pf.at.clone(), ns, row.name, row.link.mac, Role::Trunk, on);
            spots.extend(spot.map(|spot| Spot { carrier: row.link.carrier, ..spot }));
        }
    }
    for link in &desired.links {
        let LinkKind::Vf(vf) = &link.kind else { continue };
        let Some((on, pf)) = desired.sriov.iter().enumerate().find(|(_, pf)| pf.at == vf.pf) else { continue };
        let ns = world.get(&link.at.ns)?;
        let seen = observe(ns, &Wanted::links_only())?;
        let Some(seen) = seen.links.get(&link.at.name) else { continue };
        let vlan = vf.set.vlan.map_or(0, |(vlan, _)| vlan);
        let spot = Spot::new(link.at.clone(), ns, link.at.name.clone(), seen.mac, Role::Member(vlan), on);
        let Some(spot) = spot else { continue };
        let by = format!("virtual function {} of {}", vf.index, pf.pci);
        declared.push(Declared { spot: spots.len(), vf, by });
        spots.push(Spot { carrier: seen.carrier, ..spot });
    }
    Ok((spots, declared))
}

/// Locally administered, of nobody: the first octet says which kind.
fn nobody(first: u8, kind: u8, number: usize) -> [u8; 6] {
    [first, b'n', b'b', 0x70 | kind, (number >> 8) as u8, number as u8]
}

/// What the sender's driver must put on a frame that is to reach a member of a VLAN.
fn tag_for(from: &Spot<'_>, vf: &Vf) -> Option<u16> {
    let (vlan, qos) = vf.set.vlan.unwrap_or((0, 0));
    (from.role == Role::Trunk && vlan > 0).then_some(u16::from(qos) << 13 | vlan)
}

/// Who may send to a function within its VLAN: its NIC's own port, or another function.
fn peer(field: &Field<'_>, function: &Declared<'_>) -> Option<usize> {
    let own = &field.spots[function.spot];
    let beside = |(at, spot): &(usize, &Spot<'_>)| *at != function.spot && spot.on == own.on && spot.carrier;
    let mut all = field.spots.iter().enumerate().filter(beside);
    all.clone()
        .find(|(_, spot)| spot.role == Role::Trunk)
        .or_else(|| all.find(|(_, spot)| spot.role == own.role))
        .map(|(at, _)| at)
}

fn first_probes(field: &Field<'_>, declared: &[Declared<'_>]) -> (Vec<Probe>, Vec<Frames>) {
    let mut probes = Vec::new();
    let mut add = |probe: Probe| {
        probes.push(probe);
        probes.len() - 1
    };
    let mut all = Vec::new();
    for (number, function) in declared.iter().enumerate() {
        let spot = &field.spots[function.spot];
        let vlan = spot.vlan().unwrap_or(0);
        let forged = add(field.broadcast(function.spot, Some(nobody(0x02, 0, number))));
        let mut outside = Vec::new();
        let peer = peer(field, function);
        if vlan > 0 {
            let stranger = |(at, other): &(usize, &Spot<'_>)| {
                *at != function.spot && other.on == spot.on && other.vlan().is_some_and(|other| other != vlan)
            };
            if let Some((at, _)) = field.spots.iter().enumerate().find(stranger) {
                outside.push(add(field.unicast(at, spot.mac, None)));
            }
            if let Some(trunk) = peer.filter(|&peer| field.spots[peer].role == Role::Trunk) {
                let other = if vlan == 4094 { 4093 } else { vlan + 1 };
                outside.push(add(field.unicast(trunk, spot.mac, Some(other))));
                outside.push(add(field.unicast(trunk, spot.mac, None)));
            }
        }
        let tag = peer.and_then(|peer| tag_for(&field.spots[peer], function.vf));
        let wants_trust = function.vf.set.trust.is_some();
        let filtered =
            peer.filter(|_| wants_trust).map(|peer| strangers(number).map(|mac| add(field.unicast(peer, mac, tag))));
        // The controls come last: when they have arrived, so has what was sent before them.
        let own = add(field.broadcast(function.spot, None));
        let inside = peer.map(|peer| add(field.unicast(peer, spot.mac, tag)));
        all.push(Frames { own, forged, inside, outside, filtered });
    }
    (probes, all)
}

/// MACs that a function may ask for: of nobody, of a group, another of its own.
fn strangers(number: usize) -> [[u8; 6]; 3] {
    [nobody(0x02, 1, number), nobody(0x03, 2, number), nobody(0x02, 3, number)]
}

const WISHES: [&str; 3] = ["promiscuous mode", "all multicast", "another MAC of its own"];

/// Each function with a declared trust asks its NIC for three things, one at a time; for each of them what then arrived, by
/// function.
fn wishes(
    field: &Field<'_>,
    declared: &[Declared<'_>],
    frames: &[Frames],
    probes: &[Probe],
) -> Result<Vec<Vec<Option<ProbeSeen>>>, ApplyError> {
    let mut all = Vec::new();
    if frames.iter().all(|frames| frames.filtered.is_none()) {
        return Ok(vec![declared.iter().map(|_| None).collect()]);
    }
    for wish in 0..WISHES.len() {
        let mut joined = Vec::new();
        let mut asked = Vec::new();
        for (number, (function, frames)) in declared.iter().zip(frames).enumerate() {
            let Some(filtered) = frames.filtered else { continue };
            let (station, ns) = (&field.stations[function.spot], field.spots[function.spot].ns);
            joined.push(match wish {
                0 => station.promiscuous(ns)?,
                1 => station.all_multicast(ns)?,
                _ => station.address(ns, strangers(number)[2])?,
            });
            let before = &probes[filtered[wish]];
            asked.push((
                number,
                Probe { case: before.case, what: format!("{}, which asked for {}", before.what, WISHES[wish]) },
            ));
        }
        std::thread::sleep(WISH);
        let (numbers, asked): (Vec<usize>, Vec<Probe>) = asked.into_iter().unzip();
        let seen = field.exchange(&asked)?;
        let mut by_function: Vec<Option<ProbeSeen>> = declared.iter().map(|_| None).collect();
        for (number, seen) in numbers.into_iter().zip(seen) {
            by_function[number] = Some(seen);
        }
        all.push(by_function);
    }
    Ok(all)
}

/// All that was seen of one function.
struct Judge<'a> {
    field: &'a Field<'a>,
    function: &'a Declared<'a>,
    frames: &'a Frames,
    seen: &'a [ProbeSeen],
}

impl Judge<'_> {
    fn all(&self, wishes: &[&ProbeSeen], proofs: &mut Vec<SettingProof>) -> Result<(), ApplyError> {
        let set = &self.function.vf.set;
        let vlan = set.vlan.filter(|&(vlan, _)| vlan > 0);
        let only = |set: VfSet| {
            let words: Vec<String> = set.words().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
            words.join(" ")
        };
        if set.link_state == Some(VfLinkState::Disable) {
            let what = only(VfSet { link_state: set.link_state, ..VfSet::default() });
            proofs.push(self.cut(what));
            for setting in
                [VfSet { vlan, ..VfSet::default() }, VfSet { link_state: None, vlan: None, mac: None, ..set.clone() }]
            {
                let later = setting.words().into_iter().map(|(name, value)| format!("{name} {value}"));
                proofs.extend(
                    later.map(|what| self.proof(what, (Enforcement::NotTested, "its link is cut".into()), Vec::new())),
                );
            }
            return Ok(());
        }
        if let Some((_, qos)) = vlan {
            let (own, inside) = (self.at(self.frames.own), self.frames.inside.map(|at| self.at(at)));
            let outside: Vec<&ProbeSeen> = self.frames.outside.iter().map(|&at| self.at(at)).collect();
            let here = &self.field.spots[self.function.spot];
            let outsiders = self.field.spots.iter().filter(|spot| spot.role != here.role).count();
            let verdict = proof::isolated(Some(qos), own, outsiders, inside, &outside, &here.at.to_string());
            let probes = [own].into_iter().chain(inside).chain(outside).cloned().collect();
            proofs.push(self.proof(only(VfSet { vlan, ..VfSet::default() }), verdict, probes));
        }
        self.rate(proofs)?;
        if let Some(on) = set.spoofchk {
            let (own, forged) = (self.at(self.frames.own), self.at(self.frames.forged));
            let what = only(VfSet { spoofchk: Some(on), ..VfSet::default() });
            proofs.push(self.proof(what, proof::spoof_checked(on, own, forged), vec![own.clone(), forged.clone()]));
        }
        if let Some(on) = set.trust {
            proofs.push(self.trust(on, only(VfSet { trust: Some(on), ..VfSet::default() }), wishes));
        }
        if set.link_state.is_some() {
            proofs.push(self.link(only(VfSet { link_state: set.link_state, ..VfSet::default() })));
        }
        Ok(())
    }

    fn at(&self, place: usize) -> &ProbeSeen {
        &self.seen[place]
    }

    fn proof(&self, setting: String, (outcome, evidence): proof::Verdict, probes: Vec<ProbeSeen>) -> SettingProof {
        let at = self.field.spots[self.function.spot].at.to_string();
        SettingProof { at, by: self.function.by.clone(), setting, outcome, evidence, probes }
    }

    fn trust(&self, on: bool, what: String, wishes: &[&ProbeSeen]) -> SettingProof {
        let at = self.field.spots[self.function.spot].at.to_string();
        let control = self.frames.inside.map(|at| self.at(at));
        let before = self.frames.filtered.unwrap_or_default();
        let asked = if self.frames.filtered.is_some() { wishes } else { &[] };
        let privileges: Vec<Privilege<'_>> = (WISHES.iter().zip(before).zip(asked))
            .map(|((name, before), while_asked)| Privilege { name, before: self.at(before), while_asked })
            .collect();
        let verdict = proof::trusted(on, control, &privileges, &at);
        let pairs = privileges.iter().flat_map(|privilege| [privilege.before, privilege.while_asked]);
        self.proof(what, verdict, control.into_iter().chain(pairs).cloned().collect())
    }

    fn cut(&self, what: String) -> SettingProof {
        let spot = &self.field.spots[self.function.spot];
        let (own, inside) = (self.at(self.frames.own), self.frames.inside.map(|at| self.at(at)));
        let own_name = spot.at.to_string();
        let of_it = |probe: &ProbeSeen| probe.what.contains(&own_name);
        let others_talk = self.seen.iter().filter(|probe| !of_it(probe)).any(|probe| !probe.arrived.is_empty());
        let verdict = proof::cut(spot.carrier, own, inside, others_talk, &own_name);
        self.proof(what, verdict, [own].into_iter().chain(inside).cloned().collect())
    }

    /// `auto` and `enable` say what happens when the port's link goes, which a proof does not do to a host.
    fn link(&self, what: String) -> SettingProof {
        let here = &self.field.spots[self.function.spot];
        let trunk = self.field.spots.iter().find(|spot| spot.on == here.on && spot.role == Role::Trunk);
        let port = trunk.is_some_and(|trunk| trunk.carrier);
        let enable = self.function.vf.set.link_state == Some(VfLinkState::Enable);
        let words = |up: bool| if up { "up" } else { "down" };
        let said = format!("the port's link is {}, the function's {}", words(port), words(here.carrier));
        let verdict = match (enable, port, here.carrier) {
            (true, _, false) | (false, false, true) => (Enforcement::NotEnforced, said),
            (true, false, true) => (Enforcement::Enforced, said),
            (false, true, false) => (Enforcement::NotEnforced, said),
            _ => (Enforcement::NotTested, format!("{said}: a difference shows only when the port's link changes")),
        };
        self.proof(what, verdict, Vec::new())
    }

    fn rate(&self, proofs: &mut Vec<SettingProof>) -> Result<(), ApplyError> {
        let Some((least, most)) = self.function.vf.set.rate else { return Ok(()) };
        if least > 0 {
            let why = "a guaranteed rate shows only while others compete for the port";
            proofs.push(self.proof(format!("min_tx_rate {least}"), (Enforcement::NotTested, why.into()), Vec::new()));
        }
        if most == 0 {
            return Ok(());
        }
        let (spots, stations) = (&self.field.spots, &self.field.stations);
        let from = self.function.spot;
        let heard = |spot: &Spot<'_>| {
            let at = spot.at.to_string();
            self.at(self.frames.own).arrived.iter().any(|arrived| arrived.at == at && arrived.within)
        };
        // Another function first: what the NIC switches itself does not go out on the wire.
        let mut ends: Vec<usize> = (0..spots.len()).filter(|&at| at != from && heard(&spots[at])).collect();
        ends.sort_by_key(|&at| (spots[at].on != spots[from].on, spots[at].role == Role::Trunk));
        let burst = |from: usize, to: usize, tci: Option<u16>| -> Result<ProbeSeen, ApplyError> {
            let case = Case { from, to_mac: spots[to].mac, from_mac: spots[from].mac, tci };
            let flood = frame_probe::flood(&stations[from], &stations[to], &case, BURST)?;
            let at = spots[to].at.to_string();
            let arrived = ArrivedAt { at, frames: flood.arrived, vlan: None, priority: None, within: true };
            Ok(ProbeSeen {
                what: format!("burst of {} ms from {} to {}", BURST.as_millis(), spots[from].at, spots[to].at),
                sent: flood.sent,
                refused: None,
                arrived: (flood.arrived > 0).then_some(arrived).into_iter().collect(),
                bits_per_second: Some(flood.bits_per_second),
            })
        };
        let mut bursts = Vec::new();
        for to in ends {
            bursts.push(burst(from, to, None)?);
            if bursts.last().is_some_and(|burst| burst.bits_per_second > Some(0.0)) {
                break;
            }
        }
        let mbit = |burst: &ProbeSeen| burst.bits_per_second.unwrap_or(0.0) / 1e6;
        let arrived = bursts.last().map_or(0.0, mbit);
        let mut unlimited = None;
        if let Some(peer) = peer(self.field, self.function).filter(|_| arrived > 0.0) {
            let beside = burst(peer, from, tag_for(&spots[peer], self.function.vf))?;
            unlimited = Some(mbit(&beside)).filter(|rate| *rate > 0.0);
            bursts.push(beside);
        }
        let verdict = proof::limited(f64::from(most), arrived, unlimited);
        proofs.push(self.proof(format!("max_tx_rate {most}"), verdict, bursts));
        Ok(())
    }
}
