//! Namespaces by file name, as `ip netns` has them: a bind mount on an empty file.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::{NSFS, Operation, Result};

/// A file in the namespace folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNs {
    /// File name.
    pub name: String,
    /// Path.
    pub path: PathBuf,
    /// Inode of the namespace mounted there.
    pub inode: Option<u64>,
    /// Is a namespace mounted there? If not, it is a leftover.
    pub is_mount: bool,
}

/// Mounts the namespace `from` on a new file at `place`.
pub(super) fn bind(from: &Path, place: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(place)?;
    mount_bind(from, place).map_err(|errno| {
        let _ = fs::remove_file(place);
        errno.into()
    })
}

/// Removes a namespace file: unmounts all that is mounted on it and unlinks it.
///
/// The namespace itself lives on while a process or socket is in it. A leftover without a mount is unlinked if it is
/// empty; a file with content is nobody's namespace and is refused.
pub fn remove(path: &Path) -> Result<()> {
    let operation = || Operation::plain("remove namespace", path.display());
    let mut unmounted = false;
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => unmounted = true,
            // Not a mount point; with each round one mount less.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(operation().io(errno)),
        }
    }
    let file = fs::symlink_metadata(path).map_err(|error| operation().io(error))?;
    if !unmounted && (!file.is_file() || file.len() > 0) {
        return Err(operation().conflict("it is not a namespace but a file or folder of something else"));
    }
    fs::remove_file(path).map_err(|error| operation().io(error))
}

/// The namespace files in a folder, by name; none where the folder does not exist.
pub fn list(folder: &Path) -> Result<Vec<NamedNs>> {
    let operation = || Operation::plain("list namespaces in", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(operation().io(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| operation().io(error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        let inode = inode(&path);
        found.push(NamedNs { name, is_mount: inode.is_some(), path, inode });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The inode of the namespace mounted at a path; `None` where there is no namespace.
pub fn inode(path: &Path) -> Option<u64> {
    let is_namespace = rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type as u64 == NSFS);
    if is_namespace { fs::metadata(path).ok().map(|file| file.ino()) } else { None }
}

/// A process in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Inode of the namespace.
    pub inode: u64,
}

/// Processes in any of these namespaces, by pid. Processes that end meanwhile, and those of others that may not be
/// looked at, are passed over.
pub fn holders(inodes: &HashSet<u64>) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Holder> = processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let namespace = fs::metadata(process.path().join("ns/net")).ok()?;
            let inode = namespace.ino();
            let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned();
            inodes.contains(&inode).then(|| Holder { pid, command: name(), inode })
        })
        .collect();
    found.sort_unstable();
    found
}

/// The namespaces of all processes that may be looked at, each once: a process in it, and its inode.
pub fn of_processes() -> Vec<(u32, u64)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let one = |process: fs::DirEntry| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        Some((pid, fs::metadata(process.path().join("ns/net")).ok()?.ino()))
    };
    let mut found: Vec<(u32, u64)> = processes.flatten().filter_map(one).collect();
    found.sort_unstable_by_key(|&(pid, inode)| (inode, pid));
    found.dedup_by_key(|(_, inode)| *inode);
    found
}
