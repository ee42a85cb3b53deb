//! The mounts a command inside a namespace should see.

use std::{fs, io, path::Path};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount},
    thread::UnshareFlags,
};

use super::super::netlink::sys;

/// Gives the calling thread mounts of its own, as `netns_switch()` of iproute2's lib/namespace.c does: `/sys` of its
/// network namespace, and `/etc/netns/NAME/*` over `/etc/*`.
pub(super) fn own_mounts(name: Option<&str>) -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS)?;
    // Slave, not private: what the host unmounts later shall go here too, or this process would pin it.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    remount_sys()?;
    match name {
        Some(name) => bind_etc(&Path::new("/etc/netns").join(name)),
        None => Ok(()),
    }
}

/// /sys/class/net shows the namespace in which sysfs was mounted.
fn remount_sys() -> io::Result<()> {
    let writable =
        rustix::fs::statvfs("/sys").is_ok_and(|fs| !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let flags = if writable { MountFlags::empty() } else { MountFlags::RDONLY };
    // A container may hold mounts below /sys that cannot be detached; the new one then lies on top.
    let _ = unmount("/sys", UnmountFlags::DETACH);
    mount("netbench", "/sys", "sysfs", flags, None).map_err(Into::into)
}

fn bind_etc(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let target = Path::new("/etc").join(entry.file_name());
        if target.exists() {
            mount_bind(entry.path(), target)?;
        }
    }
    Ok(())
}
