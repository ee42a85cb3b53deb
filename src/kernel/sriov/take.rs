//! A function's interface into a node's namespace, and back.

use std::time::{Duration, Instant};

use super::functions::{address_of, bind, driver, unbind};
use crate::{
    kernel::{
        Result,
        error::Operation,
        link,
        netns::Netns,
        nic,
        observe::{LinkRow, rows},
    },
    plan::{
        marks,
        step::{LinkSet, NicState, VfState},
    },
    units::IfName,
};

/// A driver makes its interface when it is bound; udev may rename it meanwhile.
const INTERFACE_WITHIN: Duration = Duration::from_secs(30);
/// A driver that is bound again reads the MAC that its NIC assigned.
const ADDRESS_WITHIN: Duration = Duration::from_secs(5);

/// The interface of a PCI function in a namespace; a NIC's own, not one that stands for a function of it.
///
/// # Errors
/// The links cannot be read.
pub fn interface(ns: &Netns, pci: &str) -> Result<Option<LinkRow>> {
    let rows = rows(ns).map_err(|failure| Operation::of("read", "links", ns.label()).failed(failure))?;
    Ok(rows.into_iter().find(|row| row.link.pci.as_deref() == Some(pci) && row.represents().is_none()))
}

fn await_interface(ns: &Netns, pci: &str) -> Result<LinkRow> {
    let deadline = Instant::now() + INTERFACE_WITHIN;
    loop {
        if let Some(row) = interface(ns, pci)? {
            return Ok(row);
        }
        if Instant::now() > deadline {
            let driver = driver(pci).map_or("no driver".to_owned(), |driver| format!("driver {driver}"));
            let why = format!("it has no interface in this namespace after {INTERFACE_WITHIN:?} ({driver})");
            return Err(Operation::of("find virtual function", pci, ns.label()).conflict(why));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A function on its way: bound, found, and marked.
#[derive(Debug)]
pub struct Taking {
    /// Its PCI address.
    pub pci: String,
    /// How its interface was, as far as that was not known.
    pub state: NicState,
}

/// Is the function where it shall be, with the mark of this topology?
///
/// # Errors
/// The links cannot be read.
pub fn taken_already(vf: &VfState, to: &Netns, name: &IfName, topology: &str) -> Result<bool> {
    let Some(pci) = address_of(&vf.pf, vf.index) else { return Ok(false) };
    let row = interface(to, &pci)?.filter(|row| row.name == *name);
    let alias = row.as_ref().and_then(|row| row.link.alias.as_deref());
    Ok(alias.and_then(marks::parse_alias).is_some_and(|(owner, _)| owner == topology))
}

impl Taking {
    /// Finds the interface of a function at home, binding a driver where there is none, and marks it: from then on it
    /// is known as borrowed, with what it was before, whatever becomes of the journal.
    ///
    /// # Errors
    /// The NIC has no such function, it belongs to a virtual machine, or no driver takes it.
    pub fn begin(home: &Netns, previous: &NicState, vf: &VfState, topology: &str) -> Result<Self> {
        let operation = || Operation::plain(format!("take virtual function {} of", vf.index), &vf.pf);
        let pci = address_of(&vf.pf, vf.index).ok_or_else(|| operation().conflict("there is no such function now"))?;
        if let Some(driver) = driver(&pci).filter(|driver| driver.starts_with("vfio")) {
            return Err(operation().conflict(format!("it is bound to {driver}: a virtual machine or DPDK has it")));
        }
        bind(&vf.pf, &pci)?;
        let row = await_interface(home, &pci)?;
        // What a killed apply has marked says itself how it was before.
        let marked = row.link.alias.as_deref().and_then(marks::parse_nic_alias);
        let state = match marked {
            Some(marked) => NicState { pci: Some(pci.clone()), ..marked },
            None if previous.ifname.is_empty() => nic::state(home, &row.name)?,
            None => previous.clone(),
        };
        let state = NicState { vf: previous.vf.clone(), ..state };
        link::set_alias(home, row.link.index, &marks::nic_alias(topology, &state))?;
        Ok(Self { pci, state })
    }

    /// The interface gets the MAC that its NIC assigned. A driver that does not let it be set (igbvf) reads it when it is
    /// bound, so it is bound again.
    ///
    /// # Errors
    /// The interface does not come back.
    pub fn adopt_mac(&self, home: &Netns, vf: &VfState, topology: &str) -> Result<()> {
        let row = await_interface(home, &self.pci)?;
        let Some(wanted) = vf.set.mac.filter(|mac| row.link.mac != Some(*mac)) else { return Ok(()) };
        let down = LinkSet { up: Some(false), ..LinkSet::default() };
        link::set(home, &row.name, &down)?;
        let set = link::set(home, &row.name, &LinkSet { mac: Some(wanted), ..LinkSet::default() });
        if set.is_ok() && interface(home, &self.pci)?.is_some_and(|row| row.link.mac == Some(wanted)) {
            return Ok(());
        }
        // A driver whose NIC did not answer it in time makes an address up (igbvf).
        let deadline = Instant::now() + ADDRESS_WITHIN;
        loop {
            let row = rebind(home, &vf.pf, &self.pci)?;
            link::set_alias(home, row.link.index, &marks::nic_alias(topology, &self.state))?;
            if row.link.mac == Some(wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Operation::on(format!("set address {wanted}"), &row.name, home.label())
                    .conflict("the driver keeps another, also after it was bound again"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Moves it under its new name, in one message: it never appears there under another, and nobody at home sees a
    /// rename that udev would answer.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn finish(&self, home: &Netns, to: &Netns, name: &IfName, topology: &str) -> Result<()> {
        let row = await_interface(home, &self.pci)?;
        let now = NicState { ifname: row.name.to_string(), pci: Some(self.pci.clone()), ..self.state.clone() };
        nic::take(home, &now, to, name, &marks::nic_alias(topology, &self.state))
    }
}

/// Binds the driver of a function again. Its interface goes, wherever it is, and a new one appears in the machine's first
/// namespace.
///
/// # Errors
/// The interface does not appear in `home`.
pub fn rebind(home: &Netns, pf: &str, pci: &str) -> Result<LinkRow> {
    unbind(pci)?;
    bind(pf, pci)?;
    await_interface(home, pci)
}

/// A function that was made for the topology has no state of its own to return to; its name may be another's by now,
/// since the kernel gives free ones.
fn send_home(ns: &Netns, row: &LinkRow, home: &Netns, state: &NicState) -> Result<()> {
    link::set(ns, &row.name, &LinkSet { up: Some(false), mtu: Some(state.mtu), ..LinkSet::default() })?;
    if ns.inode() != home.inode() {
        let name = row.name.as_str();
        match link::move_to(ns, name, home, &state.ifname) {
            // `dev_alloc_name()` puts a free number for `%d`.
            Err(error) if error.is_present() => link::move_to(ns, name, home, "vf%d")?,
            other => other?,
        }
    }
    link::set_alias(home, row.link.index, "")
}

/// Brings a function's interface home as it was. Where no namespace that we know has it (a process keeps one alive
/// whose name is gone), its driver is bound again, which makes it anew at home.
///
/// # Errors
/// The kernel refuses.
pub fn give_back(from: Option<&Netns>, name: &IfName, home: &Netns, previous: &NicState, vf: &VfState) -> Result<()> {
    let Some(pci) = address_of(&vf.pf, vf.index) else { return Ok(()) };
    if driver(&pci).is_none_or(|driver| driver.starts_with("vfio")) {
        return Ok(());
    }
    let away = from.map(|ns| interface(ns, &pci)).transpose()?.flatten();
    let (row, ns) = match (away, from) {
        (Some(row), Some(ns)) => (row, ns),
        _ => match interface(home, &pci)? {
            Some(row) => (row, home),
            None => (rebind(home, &vf.pf, &pci)?, home),
        },
    };
    let marked = row.link.alias.as_deref().and_then(marks::parse_nic_alias);
    let anew = marked.is_none() && ns.inode() == home.inode();
    let known = if previous.ifname.is_empty() { marked } else { Some(previous.clone()) };
    let Some(mut state) = known else { return Ok(()) };
    if vf.before.is_none() {
        return send_home(ns, &row, home, &state);
    }
    let same_mac = state.mac.is_none_or(|mac| row.link.mac == Some(mac));
    if anew && row.name.as_str() == state.ifname && row.link.up == state.up && same_mac {
        return Ok(()); // never taken, or given back already
    }
    state.pci = Some(pci.clone());
    if state.ifname.is_empty() {
        state.ifname = row.name.to_string();
    }
    if anew {
        // `nic::give_back` takes what carries no mark for given back.
        link::set_alias(home, row.link.index, &marks::nic_alias("again", &state))?;
    }
    let current = if ns.inode() == home.inode() { &row.name } else { name };
    // A MAC that the NIC assigned is read by the driver, and not to be set from here.
    if vf.before.as_ref().and_then(|before| before.mac).is_some_and(|mac| mac.0 != [0; 6]) || !vf.bound {
        state.mac = None;
    }
    nic::give_back(ns, current, home, &state)?;
    match vf.bound {
        true => Ok(()),
        false if vf.before.is_some() => unbind(&pci),
        false => Ok(()),
    }
}
