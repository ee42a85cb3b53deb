//! What a NIC was told of its functions, tried with traffic: VLAN, spoof check, trust, rate, link state.
//!
//! Nothing is set for the sake of a proof: what an interface lets in is asked for by sockets, which the kernel takes back
//! when they are closed, also by SIGKILL. There is nothing to restore, with one exception: igb keeps a MAC that a function
//! has asked for until the function is removed. Only functions that netbench made, and will remove, ask for one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

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
        marks,
        proof::{self, ArrivedAt, Enforcement, Privilege, ProbeSeen, SettingProof},
        sriov::{Pf, VfSet},
    },
    topology::model::VfLinkState,
};

/// One function in ten of an emulated NIC takes nine seconds longer than the others.
const CARRIER_WITHIN: Duration = Duration::from_secs(30);
/// A driver tells its NIC of a wish by a message.
const WISH: Duration = Duration::from_millis(100);
const BURST: Duration = Duration::from_millis(500);
/// One burst may meet a machine that is busy elsewhere.
const BURSTS: usize = 3;

/// A function that is declared with settings.
struct Declared<'a> {
    /// Its place among the spots.
    spot: usize,
    vf: &'a Vf,
    by: String,
    /// Did netbench make it?
    ours: bool,
}

/// The frames of one function, by their places in the list.
struct Frames {
    own: usize,
    forged: usize,
    inside: Option<usize>,
    outside: Vec<usize>,
}

/// What a function with a declared trust asked for: what arrived before and meanwhile.
struct Asked {
    wish: Wish,
    before: ProbeSeen,
    meanwhile: ProbeSeen,
}

/// Tries every declared setting of every function; nothing where there is none.
///
/// # Errors
/// A namespace or an interface is not there, packet sockets fail, or Ctrl-C.
pub fn settings(world: &World, desired: &Desired) -> Result<Vec<SettingProof>, ApplyError> {
    let provable = |set: &VfSet| !VfSet { mac: None, ..set.clone() }.words().is_empty();
    let mut proofs = of_nobody(desired);
    if !desired.links.iter().any(|link| matches!(&link.kind, LinkKind::Vf(vf) if provable(&vf.set))) {
        return Ok(proofs);
    }
    let home = Netns::current(NsId::SELF)?;
    let (spots, declared) = await_spots(world, desired, &home)?;
    let field = Field::open(spots)?;
    let trunks = field.open_trunks()?;
    std::thread::sleep(WISH);
    let (probes, frames) = first_probes(&field, &declared);
    let seen = field.exchange(&probes)?;
    // A NIC whose port takes everything may give its functions more than they asked for.
    drop(trunks);
    std::thread::sleep(WISH);
    let mut asked = wishes(&field, &declared)?;
    for (place, (function, frames)) in declared.iter().zip(&frames).enumerate() {
        let judge = Judge { field: &field, function, frames, probes: &probes, seen: &seen };
        judge.all(&asked.remove(&place).unwrap_or_default(), &mut proofs)?;
    }
    Ok(proofs)
}

/// What NICs do for functions that no node has cannot be tried: nobody here can send from them.
fn of_nobody(desired: &Desired) -> Vec<SettingProof> {
    let of_pf = |pf: &Pf| {
        let one = |(index, set): &(u32, VfSet)| {
            let at = format!("{} vf {index}", pf.at);
            let by = format!("virtual function {index} of {}", pf.pci);
            let words = set.words().into_iter().filter(|(name, _)| *name != "mac");
            let proof = |(name, value): (&str, String)| SettingProof {
                at: at.clone(),
                by: by.clone(),
                setting: format!("{name} {value}"),
                outcome: Enforcement::NotTested,
                evidence: "read back from the NIC; no node has the function, so that nothing can be sent from it"
                    .into(),
                probes: Vec::new(),
            };
            words.map(proof).collect::<Vec<_>>()
        };
        pf.functions.iter().flat_map(one).collect::<Vec<_>>()
    };
    desired.sriov.iter().flat_map(of_pf).collect()
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
    let mut made = BTreeMap::new();
    for (on, pf) in desired.sriov.iter().enumerate() {
        // A NIC whose own port is down takes no part.
        if let Some((ns, row)) = holder(world, &pf.at.ns, &pf.pci, home)?.filter(|(_, row)| row.link.up) {
            let mark = row.link.alias.as_deref().and_then(marks::parse_pf_alias);
            made.insert(on, mark.is_some_and(|mark| mark.topology == desired.topology && mark.vfs == 0));
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
        let ours = made.get(&on).copied().unwrap_or_default();
        declared.push(Declared { spot: spots.len(), vf, by, ours });
        spots.push(Spot { carrier: seen.carrier, ..spot });
    }
    Ok((spots, declared))
}

/// Locally administered, of nobody: the first octet says which kind. NICs keep groups by a hash of the last octets; no group
/// that a host is in by itself ends like this.
fn nobody(first: u8, kind: u8, number: usize) -> [u8; 6] {
    [first, b'n', b'b', (number >> 8) as u8, number as u8, 0xd0 | kind]
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
        // The controls come last: when they have arrived, so has what was sent before them.
        let own = add(field.broadcast(function.spot, None));
        let inside = peer.map(|peer| add(field.unicast(peer, spot.mac, tag)));
        all.push(Frames { own, forged, inside, outside });
    }
    (probes, all)
}

/// What a function may ask its NIC for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Promiscuous,
    AllMulticast,
    Address,
}

impl Wish {
    fn name(self) -> &'static str {
        match self {
            Self::Promiscuous => "promiscuous mode",
            Self::AllMulticast => "all multicast",
            Self::Address => "another MAC of its own",
        }
    }

    /// To whom the frames go: nobody, a group, another address of the function.
    fn mac(self, number: usize) -> [u8; 6] {
        match self {
            Self::Promiscuous => nobody(0x02, 1, number),
            Self::AllMulticast => nobody(0x03, 2, number),
            Self::Address => nobody(0x02, 3, number),
        }
    }
}

/// Each function with a declared trust asks its NIC for one thing after another; what arrived before and meanwhile, by the
/// function's place.
fn wishes(field: &Field<'_>, declared: &[Declared<'_>]) -> Result<BTreeMap<usize, Vec<Asked>>, ApplyError> {
    let with_trust = |(place, function): (usize, &Declared<'_>)| {
        function.vf.set.trust?;
        Some((place, peer(field, function)?))
    };
    let asking: Vec<(usize, usize)> = declared.iter().enumerate().filter_map(with_trust).collect();
    let mut asked = BTreeMap::new();
    for wish in [Wish::Promiscuous, Wish::AllMulticast, Wish::Address] {
        let so_far: &BTreeMap<usize, Vec<Asked>> = &asked;
        let still = |&&(place, _): &&(usize, usize)| {
            let before = so_far.get(&place).map_or(&[][..], |list| list);
            wish != Wish::Address || wants_address(field, &declared[place], before)
        };
        let asking: Vec<(usize, usize)> = asking.iter().filter(still).copied().collect();
        if asking.is_empty() {
            continue;
        }
        let probe = |&(place, peer): &(usize, usize)| {
            field.unicast(peer, wish.mac(place), tag_for(&field.spots[peer], declared[place].vf))
        };
        let before = field.exchange(&asking.iter().map(probe).collect::<Vec<_>>())?;
        let mut joined = Vec::new();
        for &(place, _) in &asking {
            let at = declared[place].spot;
            let (station, ns) = (&field.stations[at], field.spots[at].ns);
            joined.push(match wish {
                Wish::Promiscuous => station.promiscuous(ns)?,
                Wish::AllMulticast => station.all_multicast(ns)?,
                Wish::Address => station.address(ns, wish.mac(place))?,
            });
        }
        std::thread::sleep(WISH);
        let while_asked = |asking: &(usize, usize)| {
            let mut probe = probe(asking);
            let name = wish.name();
            probe.what += &format!(", while {} asks for {name}", field.spots[declared[asking.0].spot].at);
            probe
        };
        let meanwhile = field.exchange(&asking.iter().map(while_asked).collect::<Vec<_>>())?;
        for ((&(place, _), before), meanwhile) in asking.iter().zip(before).zip(meanwhile) {
            asked.entry(place).or_insert_with(Vec::new).push(Asked { wish, before, meanwhile });
        }
    }
    Ok(asked)
}

/// Another address is asked for where the rest says nothing, by a function that goes with all that its NIC remembers of it.
fn wants_address(field: &Field<'_>, function: &Declared<'_>, asked: &[Asked]) -> bool {
    let at = field.spots[function.spot].at.to_string();
    let came = |seen: &ProbeSeen| seen.arrived.iter().any(|arrived| arrived.at == at);
    function.ours && !asked.iter().any(|asked| came(&asked.meanwhile) && !came(&asked.before))
}

/// All that was seen of one function.
struct Judge<'a> {
    field: &'a Field<'a>,
    function: &'a Declared<'a>,
    frames: &'a Frames,
    probes: &'a [Probe],
    seen: &'a [ProbeSeen],
}

impl Judge<'_> {
    fn all(&self, asked: &[Asked], proofs: &mut Vec<SettingProof>) -> Result<(), ApplyError> {
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
            proofs.push(self.trust(on, only(VfSet { trust: Some(on), ..VfSet::default() }), asked));
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

    fn trust(&self, on: bool, what: String, asked: &[Asked]) -> SettingProof {
        let at = self.field.spots[self.function.spot].at.to_string();
        let control = self.frames.inside.map(|at| self.at(at));
        let privileges: Vec<Privilege<'_>> = (asked.iter())
            .map(|Asked { wish, before, meanwhile }| Privilege {
                name: wish.name(),
                before,
                while_asked: meanwhile,
                lasting: *wish == Wish::Address,
            })
            .collect();
        let mut verdict = proof::trusted(on, control, &privileges, &at);
        if verdict.0 != Enforcement::Enforced && !self.function.ours && !asked.is_empty() {
            verdict.1 += "; not asked for: another MAC, which some NICs keep as long as the function is there";
            // It is the one thing that trust allows on some NICs.
            if on {
                verdict.0 = Enforcement::NotTested;
            }
        }
        let pairs = privileges.iter().flat_map(|privilege| [privilege.before, privilege.while_asked]);
        self.proof(what, verdict, control.into_iter().chain(pairs).cloned().collect())
    }

    fn cut(&self, what: String) -> SettingProof {
        let spot = &self.field.spots[self.function.spot];
        let (own, inside) = (self.at(self.frames.own), self.frames.inside.map(|at| self.at(at)));
        let own_name = spot.at.to_string();
        let others = self.probes.iter().zip(self.seen).filter(|(probe, _)| probe.case.from != self.function.spot);
        let others_talk = others.flat_map(|(_, seen)| &seen.arrived).any(|arrived| arrived.at != own_name);
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
        // What a function alone in its VLAN sends arrives at the port, which must want it.
        let at_port = ends.first().is_some_and(|&to| spots[to].role == Role::Trunk);
        let _open = at_port.then(|| self.field.open_trunks()).transpose()?;
        if at_port {
            std::thread::sleep(WISH);
        }
        // In turn, so that what slows the machine slows both.
        let (mut bursts, mut arrived, mut unlimited) = (Vec::new(), Vec::new(), Vec::new());
        let mbit = |burst: &ProbeSeen| burst.bits_per_second.unwrap_or(0.0) / 1e6;
        let peer = peer(self.field, self.function);
        for _ in 0..BURSTS {
            let Some(&to) = ends.first() else { break };
            bursts.push(burst(from, to, None)?);
            arrived.extend(bursts.last().map(mbit));
            if let Some(peer) = peer {
                bursts.push(burst(peer, from, tag_for(&spots[peer], self.function.vf))?);
                unlimited.extend(bursts.last().map(mbit));
            }
        }
        let verdict = proof::limited(f64::from(most), &arrived, &unlimited);
        proofs.push(self.proof(format!("max_tx_rate {most}"), verdict, bursts));
        Ok(())
    }
}
