//! Links of ours in somebody else's namespaces, when no journal names these: in those with a file in `/run/netns`, and in those
//! of processes. The other side of a wire goes with its near end; a child of a device of this machine does not.
//!
//! In the namespaces of processes another netbench may be at work, whose journal is not seen from here. Only children of devices
//! that are in this namespace are ours there: nobody inside can make those.

use std::collections::BTreeSet;

use super::{Removed, give_back_by_alias};
use crate::{
    apply::{ApplyError, journal::StateRoot, world::NETNS_FOLDER},
    kernel::{
        self, netns,
        netns::Netns,
        observe::{Wanted, observe},
    },
    plan::{
        marks,
        observed::{ObservedLink, ObservedNs},
    },
};

/// Kinds of links that stand on a device and may be in another namespace.
const CHILDREN: [&str; 3] = ["macvlan", "macvtap", "ipvlan"];

/// A namespace that is not ours, and what stands there.
struct Place {
    ns: Netns,
    state: ObservedNs,
    /// Has it a file in `/run/netns`?
    named: bool,
    /// What it calls the namespace that netbench was started in.
    home: Option<i32>,
}

impl Place {
    /// `None` where it is going away, or has a namespace of some topology's own.
    fn look(ns: Result<Netns, kernel::Error>, this: &Netns, named: bool) -> Option<Self> {
        let ns = ns.ok()?;
        let state = observe(&ns, &Wanted::links_only()).ok()?;
        let foreign = state.mark.as_deref().and_then(marks::parse_alias).is_none();
        let home = ns.number_of(this).ok()?;
        foreign.then_some(Self { ns, state, named, home })
    }

    /// Could only this netbench, or one that sees the same `/run/netns`, have made the link?
    fn is_within_reach(&self, link: &ObservedLink) -> bool {
        let is_child = CHILDREN.contains(&&*link.kind) && self.home.is_some() && link.link_netnsid == self.home;
        self.named || is_child
    }

    fn links(&self) -> impl Iterator<Item = (&str, &ObservedLink)> {
        let links = self.state.links.iter().filter(|(_, link)| self.is_within_reach(link));
        links.map(|(name, link)| (name.as_str(), link))
    }
}

/// All namespaces that can be reached and are nobody's topology. What is going away meanwhile, or may not be looked at, is passed
/// over.
fn places(this: &Netns) -> Result<Vec<Place>, ApplyError> {
    let mut seen = BTreeSet::from([this.inode()]);
    let mut found = Vec::new();
    for file in netns::list(NETNS_FOLDER.as_ref())? {
        if file.inode.is_some_and(|inode| seen.insert(inode)) {
            found.extend(Place::look(Netns::open(&file.path, &file.name), this, true));
        }
    }
    for (pid, inode) in netns::of_processes() {
        if seen.insert(inode) {
            found.extend(Place::look(Netns::of_pid(pid, &format!("of process {pid}")), this, false));
        }
    }
    Ok(found)
}

/// Topologies with a marked link there.
pub(super) fn topologies(this: &Netns) -> Result<Vec<String>, ApplyError> {
    let mut found = Vec::new();
    for place in places(this)? {
        let marked = |(_, link): (&str, &ObservedLink)| {
            let (topology, _) = marks::parse_alias(link.alias.as_deref()?)?;
            let is_borrowed = link.alias.as_deref().and_then(marks::parse_nic_alias).is_some();
            (is_borrowed || marks::owns_link(topology, false, link)).then(|| topology.to_owned())
        };
        found.extend(place.links().filter_map(marked));
    }
    Ok(found)
}

/// Removes a topology's links there; borrowed devices go home.
pub(super) fn remove(this: &Netns, topology: &str, removed: &mut Removed) -> Result<(), ApplyError> {
    for place in places(this)? {
        if place.named {
            give_back_by_alias(&place.ns, &place.state, topology, removed)?;
        }
        for (name, link) in place.links() {
            let is_borrowed = link.alias.as_deref().and_then(marks::parse_nic_alias).is_some();
            let unmarked = marks::is_passing(name, link) && link.group == marks::group(topology);
            if unmarked || (!is_borrowed && marks::owns_link(topology, false, link)) {
                delete(&place.ns, name, removed);
            }
        }
    }
    Ok(())
}

fn delete(ns: &Netns, name: &str, removed: &mut Removed) {
    match kernel::link::delete(ns, name) {
        Ok(()) => removed.links += 1,
        Err(error) if error.is_absent() => {}
        Err(error) => removed.problems.push(error.to_string()),
    }
}

/// Removes links that a crash left before they could say of which topology they are, here and elsewhere, where no topology that is
/// known could be at work on them; how many there were.
///
/// # Errors
/// The folder of namespaces or of state cannot be read, or one does not go.
pub fn collect_unmarked(root: &StateRoot) -> Result<usize, ApplyError> {
    let here = || Netns::current(crate::plan::desired::NsId::SELF);
    let this = here()?;
    let (mut places, mut removed) = (places(&this)?, Removed::default());
    places.extend(Place::look(here(), &this, true));
    // After the look: what is at work now was known before it made anything.
    let known: Vec<u32> = root.topologies()?.iter().map(|topology| marks::group(topology)).collect();
    for place in places {
        for (name, link) in place.links() {
            if marks::is_passing(name, link) && !known.contains(&link.group) {
                delete(&place.ns, name, &mut removed);
            }
        }
    }
    match removed.problems.is_empty() {
        true => Ok(removed.links),
        false => Err(ApplyError::CleanupIncomplete(removed.problems)),
    }
}
