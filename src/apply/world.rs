//! The namespaces of a topology as open handles, and what stands in them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use crate::{
    apply::{ApplyError, ovs, sriov},
    kernel::{
        self,
        netns::{self, Netns},
        observe::Wanted,
    },
    plan::{
        desired::{Desired, LinkKind, Ns, NsId, NsOrigin},
        observed::Observed,
        step::NicState,
    },
};

/// The folder of named namespaces, shared with `ip netns`.
pub const NETNS_FOLDER: &str = "/run/netns";

/// Path of a namespace of ours.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new(NETNS_FOLDER).join(name)
}

/// Open namespaces by role. A handle keeps its netlink socket for life, so nothing but opening ever switches namespace.
pub struct World {
    /// Name of the topology.
    pub topology: String,
    handles: HashMap<NsId, Netns>,
}

impl World {
    /// A world without open handles.
    pub fn new(topology: &str) -> Self {
        Self { topology: topology.to_owned(), handles: HashMap::new() }
    }

    /// The open namespace of this role.
    pub fn get(&self, id: &NsId) -> Result<&Netns, ApplyError> {
        self.handles.get(id).ok_or_else(|| ApplyError::NoNamespace { ns: id.clone() })
    }

    /// Is the role's namespace open?
    pub fn has(&self, id: &NsId) -> bool {
        self.handles.contains_key(id)
    }

    /// Takes in a namespace that was just made.
    pub fn insert(&mut self, id: NsId, ns: Netns) {
        self.handles.insert(id, ns);
    }

    /// Forgets a namespace.
    pub fn forget(&mut self, id: &NsId) {
        self.handles.remove(id);
    }

    /// All open namespaces.
    pub fn handles(&self) -> impl Iterator<Item = (&NsId, &Netns)> {
        self.handles.iter()
    }

    /// Opens a namespace that exists; `false` where it does not.
    pub fn open(&mut self, ns: &Ns) -> Result<bool, ApplyError> {
        if self.handles.contains_key(&ns.id) {
            return Ok(true);
        }
        let label = &ns.id.0;
        let opened = match &ns.origin {
            NsOrigin::Own(name) => {
                let path = netns_path(name);
                if netns::inode(&path).is_none() {
                    return Ok(false);
                }
                Netns::open(&path, label)
            }
            NsOrigin::This => Netns::current(label),
            NsOrigin::Path(path) => Netns::open(path, label),
            NsOrigin::Pid(pid) => Netns::of_pid(*pid, label),
            NsOrigin::Container { engine, name } => {
                let pid = kernel::container::pid(engine, name)?;
                Netns::of_pid(pid, label)
            }
        };
        self.handles.insert(ns.id.clone(), opened?);
        Ok(true)
    }

    /// Opens what exists of the desired (and earlier desired) namespaces and reads their state.
    pub fn observe(&mut self, desired: &Desired, before: Option<&Desired>) -> Result<Observed, ApplyError> {
        let mut observed = Observed::default();
        let earlier = before.into_iter().flat_map(|before| &before.namespaces);
        let gone = earlier.filter(|ns| ns.origin.is_own() && desired.namespace(&ns.id).is_none());
        let all: Vec<&Ns> = desired.namespaces.iter().chain(gone).collect();
        let mut wanted: HashMap<&NsId, Wanted> = HashMap::new();
        for ns in &all {
            let keys: BTreeSet<String> = ns.sysctl.keys().cloned().collect();
            wanted.entry(&ns.id).or_default().sysctl.extend(keys);
        }
        for entry in &desired.neighbours {
            wanted.entry(&entry.at.ns).or_default().neighbours = true;
        }
        for link in &desired.links {
            let Some(wanted) = wanted.get_mut(&link.at.ns) else { continue };
            if !link.features.is_empty() {
                wanted.features.insert(link.at.name.clone());
            }
            if !link.ethtool.is_empty() {
                wanted.ethtool.insert(link.at.name.clone());
            }
        }
        let declared = before.into_iter().chain([desired]).flat_map(|desired| &desired.ovs);
        let with_ovs: BTreeSet<&NsId> = declared.map(|ovs| &ovs.daemon.ns).collect();
        for ns in all {
            if self.open(ns)? {
                let mut state = kernel::observe::observe(self.get(&ns.id)?, &wanted[&ns.id])?;
                if with_ovs.contains(&ns.id) {
                    state.ovs = Some(ovs::observe(self, &ns.id)?);
                }
                observed.namespaces.insert(ns.id.clone(), state);
            }
        }
        observed.sriov = sriov::observe(self, desired)?;
        Ok(observed)
    }

    /// The devices to be borrowed, as they are now where netbench was started, by kernel name; virtual functions, whose
    /// names change, by PCI address.
    pub fn nics(&self, desired: &Desired) -> Result<BTreeMap<String, NicState>, ApplyError> {
        let mut nics = BTreeMap::new();
        for link in &desired.links {
            let this = Netns::current(NsId::SELF)?;
            if let LinkKind::Vf(vf) = &link.kind {
                let pf = desired.sriov.iter().find(|pf| pf.at == vf.pf);
                let Some(pci) = pf.and_then(|pf| kernel::sriov::address_of(&pf.pci, vf.index)) else { continue };
                if let Some(row) = kernel::sriov::interface(&this, &pci)? {
                    nics.insert(pci, kernel::nic::state(&this, &row.name)?);
                }
                continue;
            }
            let LinkKind::Borrowed { ifname, .. } = &link.kind else { continue };
            match kernel::nic::state(&this, ifname) {
                Ok(state) => nics.insert(ifname.to_string(), state),
                Err(error) if error.errno() == Some(libc::ENODEV) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(nics)
    }
}
