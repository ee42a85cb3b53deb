//! A temporary topology lives and dies with the process that made it.
//!
//! That process holds an exclusive `flock` on `<root>/<topology>/owner` from before the journal's first record until it
//! ends. The kernel gives the lock back at any death, also by SIGKILL, and in every pid namespace means the same: no
//! process id is compared, so none can be taken for another one's. The file names the holder for people.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, flock};

use super::journal::{JournalError, io_error};

/// Name of the file.
pub const FILE: &str = "owner";

/// Whose a topology is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: of no process, or of one that has ended.
    Nobody,
    /// This process made it for itself.
    This,
    /// A living process made it for itself; its id, or `unknown`.
    Other(String),
}

/// The locks that this process holds, by folder. They end with it: there is nothing to forget on the way out.
static HELD: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

fn held() -> MutexGuard<'static, BTreeMap<PathBuf, File>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose the topology with this state folder is.
///
/// # Errors
/// The file is there and cannot be opened.
pub fn of(folder: &Path) -> Result<Owner, JournalError> {
    if held().contains_key(folder) {
        return Ok(Owner::This);
    }
    let path = folder.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Owner::Nobody),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    // Shared: two that look at once do not take each other for an owner.
    match flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Owner::Nobody),
        Err(_) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            Ok(Owner::Other(if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() }))
        }
    }
}

/// Makes the topology this process's own, whose lock the caller holds and which is nobody's.
pub(super) fn take(folder: &Path) -> Result<(), JournalError> {
    let path = folder.join(FILE);
    let open = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
    let mut file = open.map_err(io_error("open", &path))?;
    // Waits for those that only look, for microseconds.
    flock(file.as_fd(), FlockOperation::LockExclusive).map_err(|errno| io_error("lock", &path)(errno.into()))?;
    file.write_all(std::process::id().to_string().as_bytes()).map_err(io_error("write", &path))?;
    held().insert(folder.to_owned(), file);
    Ok(())
}

/// The topology is this process's own no longer.
pub(super) fn release(folder: &Path) {
    held().remove(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_says_who_lives() {
        let folder = std::env::temp_dir().join(format!("netbench-owner-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(of(&folder).unwrap(), Owner::Nobody);
        take(&folder).unwrap();
        assert_eq!(of(&folder).unwrap(), Owner::This);
        // Seen from elsewhere: another open of the file is another process's as far as flock is concerned.
        let lock = held().remove(&folder).unwrap();
        assert_eq!(of(&folder).unwrap(), Owner::Other(std::process::id().to_string()));
        drop(lock);
        assert_eq!(of(&folder).unwrap(), Owner::Nobody, "the file alone is no owner");
        fs::remove_dir_all(&folder).unwrap();
    }
}
