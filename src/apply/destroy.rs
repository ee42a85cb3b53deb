//! Taking a topology away: what was done to others is undone, what is ours is deleted, explicitly and links first
//! (a namespace that a dying socket pins would keep its links alive long after its name is gone).

mod elsewhere;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use elsewhere::collect_unmarked;

use crate::{
    apply::{
        ApplyError,
        execute::{Executor, remove_ns},
        fault,
        journal::{History, JournalError, StateRoot, Store},
        ovs, own_roles,
        owner::Owner,
        sriov,
        world::{NETNS_FOLDER, World, netns_path},
    },
    kernel::{
        self, netns,
        netns::Netns,
        observe::{Wanted, observe},
    },
    plan::{
        desired::{Desired, NsId, NsOrigin},
        marks,
        observed::ObservedNs,
        step::Step,
    },
};

/// What a removal did.
#[derive(Debug, Default)]
pub struct Removed {
    /// Namespaces removed, by file name.
    pub namespaces: Vec<String>,
    /// Private Open vSwitches ended.
    pub daemons: usize,
    /// Links deleted explicitly.
    pub links: usize,
    /// Namespaces that live on since a process sits in them: (file name, pid, command).
    pub pinned: Vec<(String, u32, String)>,
    /// What could not be done.
    pub problems: Vec<String>,
    /// The process that works on it, for which it was left alone.
    pub in_use: Option<String>,
}

/// Removes a topology by name; `None` when nothing of it is there.
pub fn destroy(topology: &str, root: &StateRoot) -> Result<Option<Removed>, ApplyError> {
    // The lock comes first also where there is no state yet: an apply may just be starting.
    let store = match root.lock(topology) {
        Ok(store) => store,
        // A state folder that cannot be written has no journal of ours; the marks are what is left to go by.
        Err(JournalError::Io { .. }) if !root.0.join(topology).exists() => {
            return by_marks(topology, Reach::Everywhere);
        }
        Err(error) => return Err(error.into()),
    };
    store.refuse_others(topology)?;
    let removed = remove_locked(topology, &store)?;
    store.remove()?;
    Ok(removed)
}

/// Removes what a process that has ended had made for its own time; was there something?
pub(super) fn collect_abandoned(topology: &str, store: &Store) -> Result<bool, ApplyError> {
    if !store.history()?.temporary || store.owner()? != Owner::Nobody {
        return Ok(false);
    }
    remove_locked(topology, store)?;
    store.clear()?;
    Ok(true)
}

/// Removes all of a topology but its state folder.
fn remove_locked(topology: &str, store: &Store) -> Result<Option<Removed>, ApplyError> {
    let history = store.history()?;
    // A borrowed device goes home with the features it came with.
    let features = super::put_features_back(&mut World::new(topology), store, history.known().as_ref());
    let mut removed = remove_all(&history);
    if let (Some(removed), Err(error)) = (&mut removed, features) {
        removed.problems.push(error.to_string());
    }
    // A journal names every namespace.
    let reach = if removed.is_some() { Reach::Own } else { Reach::Everywhere };
    let marked = by_marks(topology, reach)?;
    let mut removed = match (removed, marked) {
        (Some(mut all), Some(rest)) => {
            all.namespaces.extend(rest.namespaces);
            all.links += rest.links;
            all.daemons += rest.daemons;
            all.pinned.extend(rest.pinned);
            all.problems.extend(rest.problems);
            Some(all)
        }
        (all, rest) => all.or(rest),
    };
    if let Some(removed) = &mut removed
        && !removed.problems.is_empty()
    {
        return Err(ApplyError::CleanupIncomplete(std::mem::take(&mut removed.problems)));
    }
    Ok(removed)
}

/// Like [`destroy`], for what `orphans` found: a journal that cannot be read is passed over, the marks decide.
pub fn collect(topology: &str, root: &StateRoot) -> Result<Option<Removed>, ApplyError> {
    match destroy(topology, root) {
        // Not left behind, but being worked on.
        Err(ApplyError::Journal(JournalError::Locked { holder, .. })) => {
            Ok(Some(Removed { in_use: Some(holder), ..Removed::default() }))
        }
        Err(ApplyError::Journal(JournalError::Corrupt { .. })) => {
            let store = root.lock(topology)?;
            store.refuse_others(topology)?;
            let removed = by_marks(topology, Reach::Everywhere)?;
            store.remove()?;
            Ok(removed)
        }
        other => other,
    }
}

/// Undoes and removes all that a journal names; goes on past errors and reports them. `None` for an empty journal.
pub fn remove_all(history: &History) -> Option<Removed> {
    let known = history.known()?;
    let mut removed = Removed::default();
    let mut world = World::new(&known.topology);
    for ns in &known.namespaces {
        match world.open(ns) {
            Ok(_) => {}
            // A container or process that has ended took its namespace along.
            Err(_) if !ns.origin.is_own() => {}
            Err(error) => removed.problems.push(error.to_string()),
        }
    }
    ovs::stop_all(&known.topology, Some(&known), &mut removed);
    give_others_back(&mut world, history, &known, &mut removed);
    delete_links(&world, &known.topology, &known, &mut removed);
    let names = known.namespaces.iter().filter_map(|ns| match &ns.origin {
        NsOrigin::Own(name) => Some(name.clone()),
        _ => None,
    });
    let names: Vec<String> = names.collect();
    drop(world);
    remove_namespaces(&names, &mut removed);
    Some(removed)
}

fn give_others_back(world: &mut World, history: &History, known: &Desired, removed: &mut Removed) {
    let own = own_roles(known, None);
    let is_own = |step: &Step| own.get(step.ns()).copied().unwrap_or(false);
    let mut executor = Executor::undoing(world, own.clone());
    for step in history.steps().rev() {
        let foreign = step.is_loan() || !is_own(step);
        if foreign
            && !step.is_removal()
            && let Err(error) = executor.undo(step)
        {
            removed.problems.push(format!("undo of `{step}`: {error}"));
        }
    }
}

/// One `RTM_DELLINK` by group and namespace. Switches first: their ports' far ends go with them.
fn delete_links(world: &World, topology: &str, known: &Desired, removed: &mut Removed) {
    let group = marks::group(topology);
    let with_masters: HashSet<&NsId> =
        known.links.iter().filter(|link| link.master.is_some()).map(|link| &link.at.ns).collect();
    let own: Vec<&NsId> = known.namespaces.iter().filter(|ns| ns.origin.is_own()).map(|ns| &ns.id).collect();
    let (first, second): (Vec<&NsId>, Vec<&NsId>) = own.into_iter().partition(|id| with_masters.contains(id));
    for id in first.into_iter().chain(second) {
        let Ok(ns) = world.get(id) else { continue };
        fault::point("before a group of links goes");
        match delete_group(ns, group) {
            Ok(deleted) => removed.links += deleted,
            Err(error) => removed.problems.push(error.to_string()),
        }
    }
}

fn remove_namespaces(names: &[String], removed: &mut Removed) {
    let mut inodes = HashMap::new();
    for name in names {
        if let Some(inode) = netns::inode(&netns_path(name)) {
            inodes.insert(inode, name.clone());
        }
    }
    // Asked while the mounts keep the namespaces alive: a freed inode number is soon that of somebody else's namespace.
    let held = holders_of(&inodes);
    for name in names {
        fault::point("before a namespace goes");
        match remove_ns(&netns_path(name)) {
            Ok(true) => removed.namespaces.push(name.clone()),
            Ok(false) => {}
            Err(error) => removed.problems.push(error.to_string()),
        }
    }
    if held.is_empty() {
        return;
    }
    // Who was about to leave is no holder.
    for holder in holders_of(&inodes).into_iter().filter(|holder| held.contains(holder)) {
        removed.pinned.push((inodes[&holder.inode].clone(), holder.pid, holder.command));
    }
}

fn holders_of(inodes: &HashMap<u64, String>) -> Vec<netns::Holder> {
    if inodes.is_empty() { Vec::new() } else { netns::holders(&inodes.keys().copied().collect()) }
}

/// Deletes all links of a group in a namespace by one message; how many there were.
fn delete_group(ns: &Netns, group: u32) -> Result<usize, kernel::Error> {
    let members = kernel::observe::group_members(ns, group)?.len();
    if members > 0 {
        match kernel::link::delete_group(ns, group) {
            // Their peers or the devices below them went in between.
            Err(error) if error.is_absent() => {}
            other => other?,
        }
    }
    Ok(members)
}

/// Where marks are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In namespaces of the topology's own, and where netbench was started.
    Own,
    /// In all that can be reached.
    Everywhere,
}

/// Removes what carries a topology's marks, without a journal: namespaces, and links where netbench was started, or in
/// somebody else's namespaces.
pub fn by_marks(topology: &str, reach: Reach) -> Result<Option<Removed>, ApplyError> {
    let mut removed = Removed::default();
    ovs::stop_all(topology, None, &mut removed);
    let prefix = format!("nb-{topology}-");
    let mut names = Vec::new();
    for named in netns::list(NETNS_FOLDER.as_ref())?.into_iter().filter(|named| named.name.starts_with(&prefix)) {
        if !named.is_mount {
            // What a crash between making the file and mounting on it leaves: an empty file under our name.
            names.push(named.name);
            continue;
        }
        let ns = Netns::open(&named.path, &named.name)?;
        let state = observe(&ns, &Wanted::links_only())?;
        if state.mark.as_deref().and_then(marks::parse_alias).is_some_and(|(owner, _)| owner == topology) {
            give_back_by_alias(&ns, &state, topology, &mut removed)?;
            removed.links += delete_group(&ns, marks::group(topology))?;
            names.push(named.name);
        }
    }
    let this = Netns::current(NsId::SELF)?;
    for (name, link) in observe(&this, &Wanted::links_only())?.links {
        if link.alias.as_deref().and_then(marks::parse_pf_alias).is_some_and(|mark| mark.topology == topology) {
            continue;
        }
        let is_borrowed = || link.alias.as_deref().and_then(marks::parse_nic_alias).is_some();
        let unmarked = marks::is_passing(name.as_str(), &link) && link.group == marks::group(topology);
        if unmarked || marks::owns_link(topology, false, &link) && !is_borrowed() {
            match kernel::link::delete(&this, name.as_str()) {
                Ok(()) => removed.links += 1,
                // The other end of a wire went in between.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    if reach == Reach::Everywhere {
        elsewhere::remove(&this, topology, &mut removed)?;
    }
    nics_by_marks(&this, topology, &mut removed)?;
    remove_namespaces(&names, &mut removed);
    let nothing =
        removed.namespaces.is_empty() && removed.links == 0 && removed.daemons == 0 && removed.problems.is_empty();
    Ok((!nothing).then_some(removed))
}

/// Virtual functions that a killed apply left at home, and NICs that say they have functions of ours.
fn nics_by_marks(this: &Netns, topology: &str, removed: &mut Removed) -> Result<(), ApplyError> {
    let world = World::new(topology);
    for (name, link) in observe(this, &Wanted::links_only())?.links {
        let Some(alias) = link.alias.as_deref() else { continue };
        if marks::parse_alias(alias).is_none_or(|(owner, _)| owner != topology) {
            continue;
        }
        if let Some((state, vf)) = marks::parse_nic_alias(alias).and_then(|state| Some((state.clone(), state.vf?)))
            && let Err(error) = sriov::return_function(&world, None, &name, &state, &vf)
        {
            removed.problems.push(error.to_string());
        }
    }
    for (name, link) in &observe(this, &Wanted::links_only())?.links {
        match sriov::by_notes(this, topology, name, link) {
            Ok(functions) => removed.links += functions,
            Err(error) => removed.problems.push(error.to_string()),
        }
        match sriov::by_mark(this, topology, link) {
            Ok(true) => removed.links += 1,
            Ok(false) => {}
            Err(error) => removed.problems.push(error.to_string()),
        }
    }
    Ok(())
}

/// A borrowed device says in its alias what it was called and how it was set.
fn give_back_by_alias(ns: &Netns, state: &ObservedNs, topology: &str, removed: &mut Removed) -> Result<(), ApplyError> {
    let this = Netns::current(NsId::SELF)?;
    for (name, link) in &state.links {
        let Some(alias) = link.alias.as_deref() else { continue };
        let ours = marks::parse_alias(alias).is_some_and(|(owner, _)| owner == topology);
        let Some(previous) = marks::parse_nic_alias(alias).filter(|_| ours) else { continue };
        let returned = match &previous.vf {
            Some(vf) => sriov::return_function(&World::new(topology), Some(ns), name, &previous, vf),
            None => {
                sriov::by_mark(ns, topology, link).and_then(|_| Ok(kernel::nic::give_back(ns, name, &this, &previous)?))
            }
        };
        if let Err(error) = returned {
            removed.problems.push(error.to_string());
        }
    }
    Ok(())
}

/// Topologies that left marks but no usable state, state of an apply that never ended, or of a process that did. What a
/// living process made for itself is none.
pub fn orphans(root: &StateRoot) -> Result<Vec<String>, ApplyError> {
    let mut found = BTreeSet::new();
    for named in netns::list(NETNS_FOLDER.as_ref())? {
        if named.is_mount && named.name.starts_with("nb-") {
            let ns = Netns::open(&named.path, &named.name)?;
            if let Some((topology, _)) =
                observe(&ns, &Wanted::links_only())?.mark.as_deref().and_then(marks::parse_alias)
            {
                found.insert(topology.to_owned());
            }
        }
    }
    let this = Netns::current(NsId::SELF)?;
    for link in observe(&this, &Wanted::links_only())?.links.values() {
        if let Some((topology, _)) = link.alias.as_deref().and_then(marks::parse_alias)
            && (marks::owns_link(topology, false, link) || link.pci.is_some())
        {
            found.insert(topology.to_owned());
        }
    }
    for link in observe(&this, &Wanted::links_only())?.links.values() {
        let notes = link.altnames.iter().filter_map(|name| marks::parse_function_note(name));
        found.extend(notes.map(|(topology, ..)| topology.to_owned()));
    }
    found.extend(elsewhere::topologies(&this)?);
    found.extend(root.topologies()?);
    found.extend(ovs::topologies());
    let is_orphan = |topology: &String| match root.read(topology) {
        Ok(Some(history)) => history.committed.is_none() || history.unfinished || history.temporary,
        Ok(None) | Err(_) => true,
    };
    let is_owned = |topology: &String| matches!(root.owner(topology), Ok(Owner::This | Owner::Other(_)));
    Ok(found.into_iter().filter(|name| is_orphan(name) && !is_owned(name)).collect())
}
