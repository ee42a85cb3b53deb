//! Daemons of ours among the machine's processes: found by what they were started with, held by pidfd, so that a number
//! that the kernel gives to another process meanwhile is never signalled.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStrExt, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// The daemons, in the order in which they end: the switch, then its database.
pub const PROGRAMS: [&str; 2] = [SWITCH, DATABASE_SERVER];
/// The switch.
pub const SWITCH: &str = "ovs-vswitchd";
/// Its database.
pub const DATABASE_SERVER: &str = "ovsdb-server";

/// A running daemon.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Which daemon.
    pub program: &'static str,
    /// The run folder it was started with.
    pub folder: PathBuf,
    handle: OwnedFd,
}

impl Process {
    /// The inode of its network namespace.
    pub fn netns(&self) -> Option<u64> {
        tasks(self.pid).into_iter().find_map(|task| fs::metadata(task.join("ns/net")).ok()).map(|file| file.ino())
    }

    /// Was it killed, and has not come to its end yet? It still looks as it did, and may even be reached for a moment. One
    /// whose threads go on without the first of them has not ended: they hold all that it held.
    pub fn is_ending(&self) -> bool {
        let ends = |task: &PathBuf| {
            let read = |name: &str| fs::read_to_string(task.join(name)).ok();
            match (read("status"), read("stat")) {
                (Some(status), Some(stat)) => is_ending(&status, &stat),
                _ => true,
            }
        };
        tasks(self.pid).iter().all(ends)
    }

    /// Sends a signal; a process that has ended is fine.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Waits for its end; false when it did not come in time.
    pub fn ends_within(&self, patience: Duration) -> bool {
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&timeout)), Ok(1..))
    }
}

/// SIGKILL waits for it (`SigPnd`, `ShdPnd` of proc(5)), or it is on its way out (`PF_EXITING`, `PF_SIGNALED` of
/// include/linux/sched.h, the ninth field of `stat`).
fn is_ending(status: &str, stat: &str) -> bool {
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    const LEAVING: u64 = 0x4 | 0x400;
    let pending = |line: &str| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    status.lines().filter_map(pending).any(|mask| mask & KILL != 0) || flags.is_some_and(|flags| flags & LEAVING != 0)
}

/// The daemons that were started with this run folder, seen from here.
pub fn of_folder(folder: &Path) -> Vec<Process> {
    all().into_iter().filter(|process| process.folder == folder && sees_as_we(process)).collect()
}

/// The daemons with a run folder somewhere below `root`.
pub fn below(root: &Path) -> Vec<Process> {
    all().into_iter().filter(|process| process.folder.starts_with(root) && sees_as_we(process)).collect()
}

/// The daemons with a run folder below `root` that a run without root left when it was killed: in a user namespace and a
/// mount namespace of their own, where no process lives but such daemons. Nobody can reach what they hold.
pub fn deserted(root: &Path) -> Vec<Process> {
    let apart = |process: Process| {
        let is_apart = |kind| Some(namespace(process.pid, kind)? != own_namespace(kind)?);
        let world = namespace(process.pid, "mnt")?;
        (process.folder.starts_with(root) && is_apart("mnt")? && is_apart("user")?).then_some((process, world))
    };
    let daemons: Vec<(Process, PathBuf)> = all().into_iter().filter_map(apart).collect();
    if daemons.is_empty() {
        return Vec::new();
    }
    let is_daemon = |pid: &i32| daemons.iter().any(|(process, _)| process.pid == *pid);
    let inhabited: HashSet<PathBuf> =
        pids().filter(|pid| !is_daemon(pid)).filter_map(|pid| namespace(pid, "mnt")).collect();
    daemons.into_iter().filter(|(_, world)| !inhabited.contains(world)).map(|(process, _)| process).collect()
}

/// A namespace of a process, as its link in `/proc` names it; `None` where it cannot be seen.
fn namespace(pid: i32, kind: &str) -> Option<PathBuf> {
    tasks(pid).into_iter().find_map(|task| fs::read_link(task.join("ns").join(kind)).ok())
}

fn own_namespace(kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/ns/{kind}")).ok()
}

/// The threads of a process, the first of them first. It may have ended alone, and then has neither a command line nor namespaces.
fn tasks(pid: i32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut numbers: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_by_key(|number| (*number != pid, *number));
    numbers.into_iter().map(|number| PathBuf::from(format!("/proc/{pid}/task/{number}"))).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every daemon that was started with a pid file of the shape that [`super::daemon`] gives.
fn all() -> Vec<Process> {
    let mut found: Vec<Process> = pids().filter_map(of_pid).collect();
    found.sort_by_key(|process| PROGRAMS.iter().position(|program| *program == process.program));
    found
}

fn of_pid(pid: i32) -> Option<Process> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let program = PROGRAMS.into_iter().find(|program| comm.trim_end() == *program)?;
    // The handle first: what is read after it is of this process, or of none.
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let mut lines = tasks(pid).into_iter().filter_map(|task| fs::read(task.join("cmdline")).ok());
    let line = lines.find(|line| !line.is_empty())?;
    let file = line.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(b"--pidfile="))?;
    let file = Path::new(OsStr::from_bytes(file));
    (file.file_name()? == format!("{program}.pid").as_str()).then_some(())?;
    Some(Process { pid, program, folder: file.parent()?.to_owned(), handle })
}

/// The same path can mean another file to a process in another mount namespace: a second machine, or a test.
fn sees_as_we(process: &Process) -> bool {
    let pid = process.pid;
    if namespace(pid, "mnt").is_some_and(|theirs| Some(theirs) == own_namespace("mnt")) {
        return true;
    }
    let identity = |path: PathBuf| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let folder = process.folder.strip_prefix("/").unwrap_or(&process.folder);
    let theirs = tasks(pid).into_iter().find_map(|task| identity(task.join("root").join(folder)));
    theirs.is_some() && theirs == identity(process.folder.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_killed_is_ending_before_it_has_ended() {
        let status =
            "Name:\tovs-vswitchd\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000100\n";
        let stat = "17 (ovs ) (vswitchd) S 1 17 17 0 -1 4194560 9 0";
        assert!(!is_ending(status, stat));
        assert!(is_ending(&status.replace("SigPnd:\t0000000000000000", "SigPnd:\t0000000000000100"), stat));
        assert!(is_ending(&status.replace("ShdPnd:\t0000000000000000", "ShdPnd:\t0000000000004100"), stat));
        assert!(is_ending(status, &stat.replace("4194560", &(4_194_560 | 0x400).to_string())), "PF_SIGNALED");
        assert!(is_ending(status, &stat.replace("4194560", &(4_194_560 | 0x4).to_string())), "PF_EXITING");
        let own = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        assert!(!is_ending(&own("status"), &own("stat")));
    }
}
