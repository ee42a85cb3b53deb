//! How long a device keeps received packets before it hands them up, in sysfs only.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use super::{Result, error::Operation, netns::Netns};
use crate::units::IfName;

/// Nanoseconds for which packets may wait for others to be merged with.
pub const GRO_FLUSH_TIMEOUT: &str = "gro_flush_timeout";
/// How many empty polls pass before interrupts come back; it makes the time count (`napi_complete_done()`).
pub const DEFER_HARD_IRQS: &str = "napi_defer_hard_irqs";
const KEYS: [&str; 2] = [GRO_FLUSH_TIMEOUT, DEFER_HARD_IRQS];

/// Both values of a device; none where the kernel does not have them (before 5.8), or lets nobody see its sysfs.
///
/// # Errors
/// The namespace cannot be entered.
pub fn waits(ns: &Netns, name: &IfName) -> Result<BTreeMap<String, u64>> {
    ns.within(|| {
        let Ok(folder) = folder(name) else { return BTreeMap::new() };
        KEYS.iter().filter_map(|key| Some(((*key).to_owned(), read(&folder, key)?))).collect()
    })
}

/// Sets them.
///
/// # Errors
/// Sysfs cannot be mounted (as in a container that masks parts of it), or the device refuses.
pub fn set_waits(ns: &Netns, name: &IfName, values: &BTreeMap<String, u64>) -> Result<()> {
    let list: Vec<String> = values.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let operation = || Operation::on(format!("set {}", list.join(", ")), name, ns.label());
    let set = || -> io::Result<()> {
        let folder = folder(name)?;
        // Both are no paths that a record could make up.
        for key in KEYS {
            let Some(value) = values.get(key) else { continue };
            let file = openat(&folder, key, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            std::fs::File::from(file).write_all(value.to_string().as_bytes())?;
        }
        Ok(())
    };
    ns.within(set)?.map_err(|error| operation().io(error))
}

/// The device's folder in a sysfs of the calling thread's namespace that is mounted nowhere and ends with the descriptor.
fn folder(name: &IfName) -> io::Result<OwnedFd> {
    let sysfs = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(sysfs.as_fd())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(sysfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let path = format!("class/net/{name}");
    Ok(openat(&root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn read(folder: &OwnedFd, key: &str) -> Option<u64> {
    let file = openat(folder, key, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
