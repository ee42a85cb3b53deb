//! Becoming root of namespaces of one's own, without being root of the machine.

use std::{fs, io, str::FromStr};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{CapabilitySet, UnshareFlags, capabilities},
};

use super::{Error, Netns, Result, error::Operation, link, netlink::sys};
use crate::{plan::step::LinkSet, units::IfName};

/// Does this process have a capability, in its own user namespace?
pub fn can(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Makes sure that namespaces and links can be made: unless CAP_NET_ADMIN and CAP_SYS_ADMIN are there, enters user,
/// network and mount namespaces of its own, as their root, with an empty `/run` and loopback up.
///
/// Must be called while the process has one thread (`unshare(CLONE_NEWUSER)` refuses others with EINVAL), so first
/// thing in `main`.
pub fn enter() -> Result<()> {
    if can(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS).map_err(forbidden)?;
    let operation = |what: &'static str| move |error: io::Error| Operation::plain("set up", what).io(error);
    // user_namespaces(7): without CAP_SETGID outside, groups must be given up before the group map is written.
    fs::write("/proc/self/setgroups", "deny").map_err(operation("the group map"))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw())).map_err(operation("the group map"))?;
    // AppArmor's restriction lets the unshare pass and takes the capabilities away: it shows here.
    fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw())).map_err(forbidden)?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).map_err(|errno| forbidden(errno.into()))?;
    mount("netbench", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")
        .map_err(|errno| forbidden(errno.into()))?;
    // Only possible where no part of the old one is masked (`mount_too_revealing()` in fs/namespace.c); without it
    // /sys/class/net shows the machine's links, which nothing here reads.
    let _ = mount("netbench", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None);
    // As on a booted machine: a topology of the bare host talks over it.
    let lo = IfName::from_str("lo").expect("`lo` is a name that a link can have");
    link::set(&Netns::current("self")?, &lo, &LinkSet { up: Some(true), ..LinkSet::default() })
}

/// The error of a forbidden user namespace, with what forbids it.
fn forbidden(error: io::Error) -> Error {
    let operation = Operation::plain("enter", "a user namespace to work without CAP_NET_ADMIN and CAP_SYS_ADMIN");
    match reason(&|path| fs::read_to_string(path).ok()) {
        Some(reason) => operation.conflict(format!("{error}: {reason}; run as root, or allow it")),
        None if error.raw_os_error() == Some(libc::EINVAL) => {
            operation.conflict(format!("{error}: the process has threads already"))
        }
        None => operation.io(error),
    }
}

/// Which sysctl forbids user namespaces.
fn reason(read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    // Key, path, and the value that forbids.
    const KEYS: [(&str, &str, &str); 3] = [
        // Debian's own key.
        ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", "0"),
        // Ubuntu 23.10 and later.
        ("kernel.apparmor_restrict_unprivileged_userns", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    KEYS.iter()
        .find(|(_, path, forbids)| read(path).is_some_and(|value| value.trim() == *forbids))
        .map(|(key, _, forbids)| format!("the sysctl {key}={forbids} forbids it"))
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_sysctl_that_forbids_is_named() {
        let read = |path: &str| path.ends_with("max_user_namespaces").then(|| "0\n".to_owned());
        assert_eq!(reason(&read).unwrap(), "the sysctl user.max_user_namespaces=0 forbids it");
        assert_eq!(reason(&|_| None), None);
    }
}
