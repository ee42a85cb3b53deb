//! SR-IOV: virtual functions made, set through their NIC, found by PCI address, taken, and given back.
//!
//! sysfs is read by PCI address, which no namespace hides; interfaces are found over netlink by the PCI address that the
//! kernel tells with each link (`IFLA_PARENT_DEV_NAME`), since names change under udev's hands.

mod functions;
mod settings;
mod take;

pub use functions::{
    address_of, autoprobe, bind, count, driver, handle, pf_of, set_autoprobe, set_count, total, unbind,
};
pub use settings::{read, set};
pub use take::{Taking, give_back, interface, rebind, taken_already};

use super::{Result, devlink, netns::Netns};
use crate::{
    plan::{
        marks,
        sriov::{ObservedPf, ObservedVf},
    },
    topology::model::Eswitch,
};

/// Mode of a NIC's embedded switch; `None` where its driver has no such mode.
///
/// # Errors
/// The kernel's answer cannot be read.
pub fn eswitch(address: &str) -> Result<Option<Eswitch>> {
    let (bus, device) = handle(address);
    devlink::eswitch(bus, device)
}

/// Sets the mode of a NIC's embedded switch.
///
/// # Errors
/// The driver refuses, as many do while there are virtual functions.
pub fn set_eswitch(address: &str, mode: Eswitch) -> Result<()> {
    let (bus, device) = handle(address);
    devlink::set_eswitch(bus, device, mode)
}

/// Everything of a NIC's virtual functions. `ns` is where its interface is; without one, settings are not known.
pub fn observe(pci: &str, ns: Option<&Netns>) -> Result<ObservedPf> {
    let total = total(pci);
    if total == 0 {
        return Ok(ObservedPf::default());
    }
    let row = ns.map(|ns| interface(ns, pci)).transpose()?.flatten();
    let settings = match (ns, &row) {
        (Some(ns), Some(row)) => read(ns, &row.name)?,
        _ => Vec::new(),
    };
    let vfs = count(pci)?;
    let function = |index: u32| {
        let address = address_of(pci, index).unwrap_or_default();
        let set = settings.get(index as usize).cloned().unwrap_or_default();
        ObservedVf { driver: driver(&address), pci: address, set }
    };
    let owner = row.as_ref().and_then(|row| row.link.alias.as_deref()).and_then(marks::parse_pf_alias);
    Ok(ObservedPf {
        vfs,
        total,
        // What it was before, where an apply was killed while it kept drivers from new functions.
        autoprobe: owner.as_ref().map_or_else(|| autoprobe(pci), |mark| mark.autoprobe),
        eswitch: eswitch(pci)?,
        made: owner.as_ref().is_some_and(|mark| mark.vfs != vfs),
        owner: owner.map(|mark| mark.topology),
        functions: (0..vfs).map(function).collect(),
    })
}
