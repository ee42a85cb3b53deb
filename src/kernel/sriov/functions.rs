//! The functions themselves: sysfs of the PCI bus. Addresses of other buses are written `BUS/DEVICE`, as by devlink: the
//! kernel's simulated NIC (netdevsim) has functions that are no PCI functions.

use std::{fs, io, path::PathBuf};

use crate::kernel::{Result, error::Operation};

/// Bus and name of a device.
pub fn handle(address: &str) -> (&str, &str) {
    address.split_once('/').unwrap_or(("pci", address))
}

fn file(address: &str, name: &str) -> PathBuf {
    let (bus, device) = handle(address);
    PathBuf::from(format!("/sys/bus/{bus}/devices/{device}")).join(name)
}

fn number(pci: &str, name: &str) -> Option<u32> {
    fs::read_to_string(file(pci, name)).ok()?.trim().parse().ok()
}

/// Most virtual functions that a NIC can have (`sriov_totalvfs`); 0 where it has no SR-IOV or is not there.
pub fn total(pci: &str) -> u32 {
    let simulated = || {
        let (bus, device) = handle(pci);
        // Its limit is in debugfs; where that cannot be read, what it has it can have.
        let limit = fs::read_to_string(format!("/sys/kernel/debug/{bus}/{device}/max_vfs")).ok();
        (bus != "pci").then(|| limit.and_then(|text| text.trim().parse().ok()).or(count(pci).ok())).flatten()
    };
    number(pci, "sriov_totalvfs").or_else(simulated).unwrap_or(0)
}

/// Virtual functions that a NIC has (`sriov_numvfs`).
///
/// # Errors
/// The file cannot be read.
pub fn count(pci: &str) -> Result<u32> {
    let operation = || Operation::plain("read sriov_numvfs of", pci);
    let text = fs::read_to_string(file(pci, "sriov_numvfs")).map_err(|error| operation().io(error))?;
    text.trim().parse().map_err(|error| operation().malformed(error))
}

/// Are drivers bound to new functions by themselves (`sriov_drivers_autoprobe`)? True before Linux 4.12, which always did.
pub fn autoprobe(pci: &str) -> bool {
    number(pci, "sriov_drivers_autoprobe") != Some(0)
}

/// Switches `sriov_drivers_autoprobe`, where there is such a file.
///
/// # Errors
/// The kernel refuses.
pub fn set_autoprobe(pci: &str, on: bool) -> Result<()> {
    let there = fs::exists(file(pci, "sriov_drivers_autoprobe")).unwrap_or(true);
    if autoprobe(pci) == on || !there {
        return Ok(());
    }
    let operation = || Operation::plain(format!("set sriov_drivers_autoprobe to {} of", u32::from(on)), pci);
    fs::write(file(pci, "sriov_drivers_autoprobe"), if on { "1" } else { "0" }).map_err(|error| operation().io(error))
}

/// Makes or unmakes functions. From one number to another the way leads over none: the kernel answers EBUSY otherwise.
///
/// # Errors
/// The kernel or the driver refuses; the message says what that means.
pub fn set_count(pci: &str, wanted: u32) -> Result<()> {
    let now = count(pci)?;
    if now == wanted {
        return Ok(());
    }
    if now != 0 {
        write_count(pci, 0)?;
    }
    if wanted == 0 { Ok(()) } else { write_count(pci, wanted) }
}

fn write_count(pci: &str, wanted: u32) -> Result<()> {
    let operation = || Operation::plain(format!("set sriov_numvfs to {wanted} of"), pci);
    fs::write(file(pci, "sriov_numvfs"), wanted.to_string()).map_err(|error: io::Error| match error.raw_os_error() {
        Some(libc::ERANGE) => operation().conflict(format!("the NIC can have {} (ERANGE)", total(pci))),
        Some(libc::ENOENT) => operation().conflict("its driver makes no virtual functions (ENOENT)"),
        Some(libc::EBUSY) => operation().conflict("its virtual functions are in use, or it has others (EBUSY)"),
        Some(libc::ENOMEM | libc::EIO) => operation().conflict(format!(
            "{error}: the firmware left no room for their memory or bus numbers; switch SR-IOV on in the BIOS, or boot \
             with pci=realloc"
        )),
        _ => operation().io(error),
    })
}

/// PCI address of a function (`virtfnN`); `None` where the NIC has no such function now.
pub fn address_of(pci: &str, index: u32) -> Option<String> {
    let target = fs::read_link(file(pci, &format!("virtfn{index}"))).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}

/// The NIC of a function, by PCI address (`physfn`); `None` for what is no virtual function.
pub fn pf_of(pci: &str) -> Option<String> {
    let target = fs::read_link(file(pci, "physfn")).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}

/// Driver that a function is bound to.
pub fn driver(pci: &str) -> Option<String> {
    let target = fs::read_link(file(pci, "driver")).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}

/// Binds a virtual function to the driver that the kernel finds for it. Where its NIC forbids that
/// (`sriov_drivers_autoprobe` 0 holds for every probe, `pci_device_can_probe()`), the file is set for as long as it takes.
///
/// # Errors
/// No driver takes it.
pub fn bind(pf: &str, pci: &str) -> Result<()> {
    if driver(pci).is_some() {
        return Ok(());
    }
    let operation = || Operation::plain("bind a driver to virtual function", pci);
    let before = autoprobe(pf);
    set_autoprobe(pf, true)?;
    let probed = fs::write("/sys/bus/pci/drivers_probe", pci);
    set_autoprobe(pf, before)?;
    probed.map_err(|error| operation().io(error))?;
    match driver(pci) {
        Some(_) => Ok(()),
        None => Err(operation().conflict(
            "this kernel has no driver for it: load the module of the NIC's virtual functions (igbvf, ixgbevf, iavf, …)",
        )),
    }
}

/// Takes a function from its driver; its interface goes, wherever it is.
///
/// # Errors
/// The kernel refuses.
pub fn unbind(pci: &str) -> Result<()> {
    if driver(pci).is_none() {
        return Ok(());
    }
    fs::write(file(pci, "driver/unbind"), pci)
        .map_err(|error| Operation::plain("unbind the driver of virtual function", pci).io(error))
}
