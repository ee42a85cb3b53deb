//! SR-IOV within an apply: each change by itself, with a crash point between any two.

use std::collections::BTreeMap;

use super::{ApplyError, fault, world::World};
use crate::{
    kernel::{
        link,
        netns::Netns,
        observe::LinkRow,
        sriov::{self, Taking},
    },
    plan::{
        desired::{Desired, LinkRef, NsId},
        marks::{self, PfMark},
        observed::ObservedLink,
        sriov::{ObservedPf, PfChange, VfSet},
        step::{Lent, NicState, VfState},
    },
    topology::model::Eswitch,
    units::IfName,
};

/// The NICs whose functions a topology uses, by PCI address.
pub fn observe(world: &World, desired: &Desired) -> Result<BTreeMap<String, ObservedPf>, ApplyError> {
    let mut found = BTreeMap::new();
    for pf in &desired.sriov {
        let home = Netns::current(NsId::SELF)?;
        let ns = holder(world, &pf.at.ns, &pf.pci, &home)?;
        found.insert(pf.pci.clone(), sriov::observe(&pf.pci, ns.map(|(ns, _)| ns))?);
    }
    Ok(found)
}

/// Where the NIC's interface is: where it was put, or at home.
pub(super) fn holder<'a>(
    world: &'a World,
    place: &NsId,
    pci: &str,
    home: &'a Netns,
) -> Result<Option<(&'a Netns, LinkRow)>, ApplyError> {
    let placed = if world.has(place) { Some(world.get(place)?) } else { None };
    for ns in placed.into_iter().chain([home]) {
        if let Some(row) = sriov::interface(ns, pci)? {
            return Ok(Some((ns, row)));
        }
    }
    Ok(None)
}

/// Carries out a change of the functions of a NIC.
pub fn change(world: &World, pf: &LinkRef, change: &PfChange) -> Result<(), ApplyError> {
    let home = Netns::current(NsId::SELF)?;
    let Some((ns, row)) = holder(world, &pf.ns, &change.pci, &home)? else {
        // A NIC that is gone took its functions along.
        return if change.back { Ok(()) } else { Err(ApplyError::NoNamespace { ns: pf.ns.clone() }) };
    };
    let alias = row.link.alias.clone();
    let mark = alias.as_deref().and_then(marks::parse_pf_alias);
    if change.back {
        let ours = mark.as_ref().is_some_and(|mark| mark.topology == world.topology);
        if !ours && sriov::count(&change.pci)? == change.vfs {
            return Ok(()); // never made, or taken back already
        }
        if !ours {
            let message = "its mark is gone: somebody else has changed it since, and it is left as it is";
            let operation = crate::kernel::error::Operation::plain("give back the virtual functions of", &change.pci);
            return Err(operation.conflict(message).into());
        }
        return give_back(ns, &row, change, mark);
    }
    let had = change.eswitch.map(|(_, had)| had);
    if mark.as_ref().is_none_or(|mark| mark.eswitch.is_none() && had.is_some()) {
        let before = || PfMark {
            topology: world.topology.clone(),
            vfs: change.previous,
            autoprobe: change.autoprobe,
            eswitch: None,
            alias: alias.filter(|alias| !alias.is_empty()),
        };
        let mark = PfMark { eswitch: had, ..mark.unwrap_or_else(before) };
        link::set_alias(ns, row.link.index, &marks::pf_alias(&mark))?;
        fault::point("NIC marked, its functions not yet made");
    }
    let mode = change.eswitch.map(|(mode, _)| mode);
    switch_to(&change.pci, mode)?;
    fault::point("eswitch mode set");
    if sriov::count(&change.pci)? == change.vfs {
        return Ok(());
    }
    // Without drivers at first: one reads the MAC of its function when it is bound, and that is yet to be set.
    sriov::set_autoprobe(&change.pci, false)?;
    fault::point("drivers kept from new functions");
    let made = sriov::set_count(&change.pci, change.vfs);
    fault::point("functions made");
    sriov::set_autoprobe(&change.pci, change.autoprobe)?;
    made?;
    switch_to(&change.pci, mode)
}

/// Sets the mode of the embedded switch; not touched where it is that.
fn switch_to(pci: &str, mode: Option<Eswitch>) -> Result<(), ApplyError> {
    match mode {
        Some(mode) if sriov::eswitch(pci)? != Some(mode) => Ok(sriov::set_eswitch(pci, mode)?),
        _ => Ok(()),
    }
}

/// The functions as they were: their number, those of somebody else with their settings, drivers as the NIC has it.
fn give_back(ns: &Netns, row: &LinkRow, change: &PfChange, mark: Option<PfMark>) -> Result<(), ApplyError> {
    sriov::set_autoprobe(&change.pci, change.autoprobe)?;
    fault::point("autoprobe given back");
    sriov::set_count(&change.pci, change.vfs)?;
    fault::point("functions unmade");
    // Where this is the way back to before the first apply, the mark knows: one that was killed may have switched already.
    let first = mark.as_ref().filter(|mark| mark.vfs == change.vfs).and_then(|mark| mark.eswitch);
    switch_to(&change.pci, first.or(change.eswitch.map(|(mode, _)| mode)))?;
    fault::point("eswitch mode given back");
    for (index, set) in change.settings.iter().enumerate().take(change.vfs as usize) {
        let index = index as u32;
        let now = sriov::read(ns, &row.name)?.into_iter().nth(index as usize).unwrap_or_default();
        sriov::set(ns, &row.name, index, &set.against(&now).0, &mut || {
            fault::point("setting of a function given back")
        })?;
        // A MAC is read by the driver when it is bound, which the kernel did a moment ago.
        let mac = set.mac.filter(|mac| mac.0 != [0; 6]);
        if let (Some(_), true, Some(pci)) = (mac, change.autoprobe, sriov::address_of(&change.pci, index)) {
            sriov::unbind(&pci)?;
            sriov::bind(&change.pci, &pci)?;
        }
    }
    // The alias goes last: until then the NIC is known as changed. An edit that is taken back leaves it to the first apply.
    match mark {
        Some(mark) if mark.vfs != change.vfs => Ok(()),
        mark => Ok(link::set_alias(ns, row.link.index, &mark.and_then(|mark| mark.alias).unwrap_or_default())?),
    }
}

/// Sets what the NIC does for a function that stays where it is. Of one that is somebody else's and no node's the NIC keeps a note
/// of the values before (`lent`) until it is as it was.
pub fn set(
    world: &World,
    pf: &LinkRef,
    pci: &str,
    index: u32,
    set: &VfSet,
    lent: Option<(Lent, &VfSet)>,
) -> Result<(), ApplyError> {
    let home = Netns::current(NsId::SELF)?;
    if index >= sriov::count(pci).unwrap_or(0) {
        return Ok(()); // it went with its settings, or with its NIC
    }
    let Some((ns, row)) = holder(world, &pf.ns, pci, &home)? else {
        return Err(ApplyError::NoNamespace { ns: pf.ns.clone() });
    };
    let notes = notes_of(&row.link, &world.topology, index);
    let mut kept = notes.iter().map(|(_, before)| before).max_by_key(|before| before.words().len()).cloned();
    if let Some((Lent::Set, previous)) = lent {
        let first = kept.unwrap_or_default().or(previous);
        let note = marks::function_note(&world.topology, index, &first);
        if !notes.iter().any(|(name, _)| *name == note) {
            link::add_altname(ns, row.name.as_str(), &note)?;
        }
        fault::point("function noted");
        for (other, _) in notes.iter().filter(|(name, _)| *name != note) {
            link::delete_altname(ns, row.name.as_str(), other)?;
        }
        kept = Some(first);
    }
    // What is so already is not asked for: a driver may refuse to be told what it never took.
    let now = || -> Result<VfSet, ApplyError> {
        Ok(sriov::read(ns, &row.name)?.into_iter().nth(index as usize).unwrap_or_default())
    };
    let set = set.against(&now()?).0;
    sriov::set(ns, &row.name, index, &set, &mut || fault::point("before a setting of a function"))?;
    if let (Some(_), Some(kept)) = (lent, kept)
        && kept.against(&now()?).0 == VfSet::default()
    {
        fault::point("before the note of a function goes");
        for row in sriov::interface(ns, pci)?.iter() {
            for (note, _) in notes_of(&row.link, &world.topology, index) {
                link::delete_altname(ns, row.name.as_str(), &note)?;
            }
        }
    }
    Ok(())
}

/// The notes of a function that a NIC has, and what each says: two where a crash came while a longer one took the place of another.
fn notes_of(nic: &ObservedLink, topology: &str, index: u32) -> Vec<(String, VfSet)> {
    let notes = nic.altnames.iter().filter_map(|name| Some((name.clone(), marks::parse_function_note(name)?)));
    let ours = notes.filter(|(_, (owner, of, _))| *owner == topology && *of == index);
    ours.map(|(name, (_, _, before))| (name, before)).collect()
}

/// Gives functions back by the notes on their NIC, when the journal is lost; how many there were.
pub fn by_notes(ns: &Netns, topology: &str, name: &IfName, nic: &ObservedLink) -> Result<usize, ApplyError> {
    let mut found = 0;
    for note in &nic.altnames {
        let Some((_, index, before)) = marks::parse_function_note(note).filter(|(owner, ..)| *owner == topology) else {
            continue;
        };
        if let Some(now) = sriov::read(ns, name)?.into_iter().nth(index as usize) {
            sriov::set(ns, name, index, &before.against(&now).0, &mut || {
                fault::point("before a setting of a function goes back by its note")
            })?;
        }
        link::delete_altname(ns, name.as_str(), note)?;
        found += 1;
    }
    Ok(found)
}

/// The namespace that has the NIC of a function, among all that are open.
fn nic_of<'a>(world: &'a World, home: &'a Netns, pci: &str) -> Result<Option<(&'a Netns, LinkRow)>, ApplyError> {
    for ns in [home].into_iter().chain(world.handles().map(|(_, ns)| ns)) {
        if let Some(row) = sriov::interface(ns, pci)? {
            return Ok(Some((ns, row)));
        }
    }
    Ok(None)
}

/// Takes a function: marked, set, with its MAC, moved.
pub fn take(world: &World, to: &LinkRef, previous: &NicState, vf: &VfState) -> Result<(), ApplyError> {
    let (home, target) = (Netns::current(NsId::SELF)?, world.get(&to.ns)?);
    if sriov::taken_already(vf, target, &to.name, &world.topology)? {
        return Ok(());
    }
    let nic = nic_of(world, &home, &vf.pf)?;
    let (nic_ns, nic) = nic.ok_or_else(|| ApplyError::NoNamespace { ns: to.ns.clone() })?;
    if vf.before.is_none() {
        // Its driver reads all of it when it is bound.
        sriov::set(nic_ns, &nic.name, vf.index, &vf.set, &mut || fault::point("before a setting of a function"))?;
        fault::point("before a driver is bound to a function");
    }
    let taking = Taking::begin(&home, previous, vf, &world.topology)?;
    fault::point("function marked");
    if vf.before.is_some() {
        sriov::set(nic_ns, &nic.name, vf.index, &vf.set, &mut || fault::point("before a setting of a function"))?;
    }
    taking.adopt_mac(&home, vf, &world.topology)?;
    fault::point("before a function moves");
    Ok(taking.finish(&home, target, &to.name, &world.topology)?)
}

/// Gives a function back: its settings first, since a driver may refuse to reset one that is no longer trusted, then
/// its interface.
pub fn return_function(
    world: &World,
    from: Option<&Netns>,
    name: &IfName,
    previous: &NicState,
    vf: &VfState,
) -> Result<(), ApplyError> {
    let home = Netns::current(NsId::SELF)?;
    if let (Some(before), Some((ns, nic)), Some(pci)) =
        (&vf.before, nic_of(world, &home, &vf.pf)?, sriov::address_of(&vf.pf, vf.index))
    {
        let now = sriov::read(ns, &nic.name)?.into_iter().nth(vf.index as usize).unwrap_or_default();
        let back = before.against(&now).0;
        sriov::set(ns, &nic.name, vf.index, &back, &mut || fault::point("before a setting of a function goes back"))?;
        if back.mac.is_some() && vf.bound && sriov::driver(&pci).is_some() {
            fault::point("before the driver of a function reads its MAC again");
            // The MAC is the driver's to read; the interface comes back home under the kernel's name.
            let row = sriov::rebind(&home, &vf.pf, &pci)?;
            let mut state = previous.clone();
            if state.ifname.is_empty() {
                state.ifname = row.name.to_string();
            }
            link::set_alias(&home, row.link.index, &marks::nic_alias(&world.topology, &state))?;
        }
    }
    fault::point("before a function goes home");
    sriov::give_back(from, name, &home, previous, vf)?;
    if let (Some(mac), false, Some((ns, nic))) =
        (vf.before.as_ref().and_then(|before| before.mac), vf.bound, nic_of(world, &home, &vf.pf)?)
    {
        fault::point("before the MAC of a function without a driver goes back");
        let mac = VfSet { mac: Some(mac), ..VfSet::default() };
        let now = sriov::read(ns, &nic.name)?.into_iter().nth(vf.index as usize).unwrap_or_default();
        sriov::set(ns, &nic.name, vf.index, &mac.against(&now).0, &mut || {})?;
    }
    Ok(())
}

/// Gives back the functions of a NIC by the mark on it, when the journal is lost.
pub fn by_mark(ns: &Netns, topology: &str, link: &ObservedLink) -> Result<bool, ApplyError> {
    let Some(mark) = link.alias.as_deref().and_then(marks::parse_pf_alias).filter(|mark| mark.topology == topology)
    else {
        return Ok(false);
    };
    let Some(pci) = link.pci.clone() else { return Ok(false) };
    let change = PfChange {
        vfs: mark.vfs,
        previous: sriov::count(&pci)?,
        settings: Vec::new(),
        autoprobe: mark.autoprobe,
        back: true,
        eswitch: mark.eswitch.map(|before| (before, before)),
        pci: pci.clone(),
    };
    let Some(row) = sriov::interface(ns, &pci)? else { return Ok(false) };
    give_back(ns, &row, &change, Some(mark))?;
    Ok(true)
}
