//! From what was typed (a file, a shipped name, the name of a topology that is up) to a desired state.

use anyhow::Context;

use super::Exit;
use crate::{
    apply::{Declared, journal::StateRoot},
    kernel,
    plan::{desired::Desired, lower::lower, step::NicState},
    topology,
};

/// A topology file, read, checked and lowered.
pub struct Loaded {
    /// The resolved topology.
    pub topology: topology::model::Topology,
    /// What the kernel shall hold.
    pub desired: Desired,
    /// The name it was given by.
    pub source: String,
    /// The text of the file.
    pub text: String,
}

impl Loaded {
    /// To be applied for the time of this process.
    pub fn for_now(&self) -> Declared<'_> {
        Declared { desired: &self.desired, source: &self.source, text: &self.text, temporary: true }
    }
}

/// What readers are told where an apply found what another process should have removed.
pub fn collected(topology: &str) -> String {
    format!("{topology}: a command that was killed had left its network; it was removed first")
}

/// Reads a file or shipped topology; its mistakes go to stderr and end with exit code 2.
pub fn load(argument: &str) -> anyhow::Result<Result<Loaded, Exit>> {
    load_here(argument, true)
}

/// The same without a look at this host: a device is called as the file calls it.
pub fn load_offline(argument: &str) -> anyhow::Result<Result<Loaded, Exit>> {
    load_here(argument, false)
}

fn load_here(argument: &str, look: bool) -> anyhow::Result<Result<Loaded, Exit>> {
    let Some(loaded) = super::topo::load(argument) else { return Ok(Err(Exit::Usage)) };
    let mut topology = loaded.topology;
    let taken = if look { taken_before(&topology.name) } else { Vec::new() };
    for nic in topology.nics.iter_mut().filter(|nic| !look && (nic.ifname.is_some() || nic.pci.is_some())) {
        nic.ifname = nic.ifname.take().or(nic.name.parse().ok());
        nic.pci = nic.pci.take().or(Some(nic.name.clone()));
    }
    for nic in topology.nics.iter_mut().filter(|nic| nic.ifname.is_none()) {
        if let Some(pci) = &nic.pci {
            let before = || taken.iter().find(|nic| nic.pci.as_ref() == Some(pci)).map(|nic| nic.ifname.clone());
            let ifname = kernel::nic::by_pci(pci).or_else(before).with_context(|| {
                format!("nic `{}`: the PCI function {pci} has no network interface in this namespace", nic.name)
            })?;
            nic.ifname = Some(ifname.parse().with_context(|| format!("nic `{}`", nic.name))?);
        }
    }
    for nic in topology.nics.iter_mut().filter(|nic| nic.pci.is_none() && nic.sriov.is_some()) {
        let Some(ifname) = &nic.ifname else { continue };
        let before = || taken.iter().find(|taken| taken.ifname == ifname.as_str()).and_then(|taken| taken.pci.clone());
        nic.pci = kernel::nic::pci_of(ifname).or_else(before);
    }
    let desired = lower(&topology)?;
    Ok(Ok(Loaded { topology, desired, source: argument.to_owned(), text: loaded.report.source.text }))
}

/// Devices that this topology has borrowed already: they are no longer where they are looked for.
fn taken_before(topology: &str) -> Vec<NicState> {
    let history = StateRoot::from_environment().read(topology).ok().flatten();
    history.map(|history| history.taken().into_values().collect()).unwrap_or_default()
}

/// Does the argument look like a file rather than a name?
pub fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".toml")
}

/// The name of the topology that an argument means: of the file, or as typed.
pub fn name_of(argument: &str) -> anyhow::Result<Result<String, Exit>> {
    if !is_file(argument) {
        let can_be_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if argument.is_empty() || !argument.chars().all(can_be_a_name) {
            super::talk(&format!("error: {argument:?} is neither a file nor the name of a topology"));
            return Ok(Err(Exit::Usage));
        }
        return Ok(Ok(argument.to_owned()));
    }
    Ok(load(argument)?.map(|loaded| loaded.desired.topology))
}

/// The desired state of a topology that is up (by name), or of a file.
pub fn desired_of(argument: &str, root: &StateRoot) -> anyhow::Result<Result<Desired, Exit>> {
    if is_file(argument) {
        return Ok(load(argument)?.map(|loaded| loaded.desired));
    }
    let history = root.read(argument)?;
    if let Some(desired) = history.and_then(|history| history.committed) {
        return Ok(Ok(desired));
    }
    let hint = match topology::shipped::find(argument) {
        Some(_) => format!("`netbench topo apply {argument}` makes it"),
        None => "`netbench topo list` shows those that are".to_owned(),
    };
    super::talk(&format!("error: no topology named `{argument}` is up; {hint}"));
    Ok(Err(Exit::Usage))
}
