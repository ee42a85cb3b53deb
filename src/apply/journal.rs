//! The state folder of a topology: what is about to be made is on disk before the kernel hears of it.
//!
//! `<root>/<topology>/journal.jsonl` holds one JSON record a line: an `intent` (desired state and steps) before the
//! first kernel call of an apply, a `commit` after it was verified. A torn last line is what a crash leaves and is
//! ignored: nothing of it can have reached the kernel.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    fault,
    owner::{self, Owner},
};
use crate::plan::{
    desired::{Desired, LinkRef},
    step::{NicState, Step},
};

/// Version of the records; a folder written by another version is refused, not guessed at.
pub const VERSION: u32 = 1;

/// Errors of the state folder.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An operation on a file failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another netbench works on the topology.
    #[error("topology `{topology}` is in use by netbench process {holder}; wait for it, or end it")]
    Locked {
        /// Name of the topology.
        topology: String,
        /// Process id of the holder, or `unknown`.
        holder: String,
    },
    /// A record that cannot be read.
    #[error("{path} line {line}: {why}; `netbench topo gc` removes what carries our marks without it")]
    Corrupt {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

pub(super) fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io { operation, path: path.to_owned(), source }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// What an apply is about to do.
    Intent {
        /// Record version.
        version: u32,
        /// The file it was declared in, as given.
        source: String,
        /// The state it leads to.
        desired: Box<Desired>,
        /// The steps to it.
        steps: Vec<Step>,
        /// Does it live and die with the process that made it ([`super::owner`])?
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        temporary: bool,
    },
    /// The steps of the last intent were carried out and verified.
    Commit,
    /// The last intent failed and was taken back.
    RolledBack,
}

/// What the journal of a topology says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Every intent, oldest first, with the steps that it announced.
    pub intents: Vec<(Desired, Vec<Step>)>,
    /// The desired state of the last commit.
    pub committed: Option<Desired>,
    /// Was the last intent neither committed nor taken back?
    pub unfinished: bool,
    /// The file of the last intent.
    pub source: String,
    /// Does it live and die with the process that made it?
    pub temporary: bool,
}

impl History {
    /// Was it made to stay, and is it there? What a command made for its own time is not.
    pub fn is_up(&self) -> bool {
        self.committed.is_some() && !self.temporary
    }

    /// All that was ever declared and may still be there: every intent merged, the latest word on each thing.
    pub fn known(&self) -> Option<Desired> {
        let mut intents = self.intents.iter().map(|(desired, _)| desired);
        let mut known = intents.next()?.clone();
        for later in intents {
            merge(&mut known.namespaces, &later.namespaces, |ns| ns.id.clone());
            merge(&mut known.links, &later.links, |link| link.at.clone());
            merge(&mut known.sriov, &later.sriov, |pf| pf.pci.clone());
            merge(&mut known.ovs, &later.ovs, |ovs| ovs.daemon.ns.clone());
            merge(&mut known.routes, &later.routes, |route| (route.ns.clone(), route.to, route.via));
            merge(&mut known.fdb, &later.fdb, |entry| (entry.at.clone(), entry.mac, entry.remote));
            merge(&mut known.neighbours, &later.neighbours, |entry| (entry.at.clone(), entry.address));
            known.flows = later.flows.clone();
        }
        Some(known)
    }

    /// Devices that were borrowed, by where they were put, as they were before.
    pub fn taken(&self) -> HashMap<LinkRef, NicState> {
        let loans = self.steps().filter_map(|step| match step {
            Step::TakeNic { to, previous } => Some((to.clone(), (**previous).clone())),
            _ => None,
        });
        loans.collect()
    }

    /// All steps ever announced and not known to be taken back, oldest first.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.intents.iter().flat_map(|(_, steps)| steps)
    }
}

fn merge<T: Clone, K: std::hash::Hash + Eq>(known: &mut Vec<T>, later: &[T], key: impl Fn(&T) -> K) {
    let mut places: HashMap<K, usize> = known.iter().enumerate().map(|(index, item)| (key(item), index)).collect();
    for item in later {
        match places.get(&key(item)) {
            Some(&index) => known[index] = item.clone(),
            None => {
                places.insert(key(item), known.len());
                known.push(item.clone());
            }
        }
    }
}

/// The folder under which every topology has its own.
#[derive(Debug, Clone)]
pub struct StateRoot(pub PathBuf);

impl StateRoot {
    /// `$NETBENCH_STATE_DIR`, or `/run/netbench`: on a tmpfs it dies with the kernel state that it describes.
    pub fn from_environment() -> Self {
        Self(std::env::var_os("NETBENCH_STATE_DIR").map_or_else(|| "/run/netbench".into(), PathBuf::from))
    }

    /// Names of the topologies with a folder, sorted.
    pub fn topologies(&self) -> Result<Vec<String>, JournalError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &self.0)(error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Reads a topology's journal without a lock; `None` where there is none.
    pub fn read(&self, topology: &str) -> Result<Option<History>, JournalError> {
        read(&self.0.join(topology).join("journal.jsonl"))
    }

    /// Whose a topology is at the moment; asked without a lock, the answer is of a moment ago.
    pub fn owner(&self, topology: &str) -> Result<Owner, JournalError> {
        owner::of(&self.0.join(topology))
    }

    /// The text of the file that a topology was last applied from, where it was kept.
    pub fn text(&self, topology: &str) -> Option<String> {
        fs::read_to_string(self.0.join(topology).join("topology.toml")).ok()
    }

    /// Takes the topology's lock, making its folder.
    pub fn lock(&self, topology: &str) -> Result<Store, JournalError> {
        let folder = self.0.join(topology);
        let path = folder.join("lock");
        // The folder is removed with its lock file by a destroy, so a lock counts only while its file is the one there.
        for _ in 0..100 {
            fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
            fault::point("state folder made");
            let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
            let mut file = match open {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(io_error("open", &path))?,
            };
            if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(JournalError::Locked { topology: topology.to_owned(), holder: holder(&path) });
            }
            if same_file(&file, &path) {
                file.set_len(0).map_err(io_error("write", &path))?;
                file.write_all(std::process::id().to_string().as_bytes()).map_err(io_error("write", &path))?;
                return Ok(Store { folder, _lock: file });
            }
        }
        Err(JournalError::Locked { topology: topology.to_owned(), holder: "unknown".into() })
    }
}

/// The pid in a lock file. Whoever has just taken the lock writes it a moment later.
fn holder(path: &Path) -> String {
    for _ in 0..50 {
        match fs::read_to_string(path) {
            Ok(pid) if !pid.trim().is_empty() => return pid.trim().to_owned(),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    "unknown".to_owned()
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => held.ino() == there.ino() && held.dev() == there.dev(),
        _ => false,
    }
}

fn read(path: &Path) -> Result<Option<History>, JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes); // what is not UTF-8 is no JSON either, and named by its line
    let mut history = History::default();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let torn = index + 1 == lines.len() && !line.ends_with('\n');
        if torn {
            break;
        }
        let corrupt = |why: String| JournalError::Corrupt { path: path.to_owned(), line: index + 1, why };
        match serde_json::from_str(line).map_err(|error| corrupt(error.to_string()))? {
            Record::Intent { version, source, desired, steps, temporary } => {
                if version != VERSION {
                    return Err(corrupt(format!("written by record version {version}, this is {VERSION}")));
                }
                history.intents.push((*desired, steps));
                history.unfinished = true;
                history.source = source;
                history.temporary = temporary;
            }
            Record::Commit => {
                history.committed = history.intents.last().map(|(desired, _)| desired.clone());
                history.unfinished = false;
            }
            Record::RolledBack => history.unfinished = false,
        }
    }
    Ok(Some(history))
}

/// A locked state folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

impl Store {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn journal(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    /// Whose the topology is at the moment.
    pub fn owner(&self) -> Result<Owner, JournalError> {
        owner::of(&self.folder)
    }

    /// Refuses what a living process made for itself.
    pub fn refuse_others(&self, topology: &str) -> Result<(), JournalError> {
        match owner::of(&self.folder)? {
            Owner::Other(holder) => Err(JournalError::Locked { topology: topology.to_owned(), holder }),
            Owner::Nobody | Owner::This => Ok(()),
        }
    }

    /// What happened so far; empty where nothing did.
    pub fn history(&self) -> Result<History, JournalError> {
        Ok(read(&self.journal())?.unwrap_or_default())
    }

    /// Appends a record and forces it to the disk.
    pub fn append(&self, record: &Record) -> Result<(), JournalError> {
        let path = self.journal();
        let mut line = serde_json::to_vec(record).map_err(|error| io_error("encode", &path)(error.into()))?;
        line.push(b'\n');
        self.cut_torn_line(&path)?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(io_error("open", &path))?;
        let written = file.write_all(&line).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a record must not stay before the next one.
            let _ = self.cut_torn_line(&path);
            return Err(io_error("write", &path)(error));
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", &self.folder))
    }

    fn cut_torn_line(&self, path: &Path) -> Result<(), JournalError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            let file = OpenOptions::new().write(true).open(path).map_err(io_error("open", path))?;
            file.set_len(whole as u64).map_err(io_error("write", path))?;
        }
        Ok(())
    }

    /// Replaces the history by one committed intent, atomically: what was done long ago in somebody else's
    /// namespaces must stay undoable, what is ours is described by the desired state.
    pub fn compact(
        &self,
        source: &str,
        desired: &Desired,
        steps: Vec<Step>,
        temporary: bool,
    ) -> Result<(), JournalError> {
        let (path, fresh) = (self.journal(), self.folder.join("journal.new"));
        let (desired, source) = (Box::new(desired.clone()), source.to_owned());
        let intent = Record::Intent { version: VERSION, source, desired, steps, temporary };
        let encode = |record: &Record| serde_json::to_string(record).map_err(|e| io_error("encode", &path)(e.into()));
        let text = format!("{}\n{}\n", encode(&intent)?, encode(&Record::Commit)?);
        let mut file = File::create(&fresh).map_err(io_error("create", &fresh))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", &fresh))?;
        fault::point("journal rewritten");
        fs::rename(&fresh, &path).map_err(io_error("rename", &fresh))
    }

    /// Keeps the text of the topology beside the journal.
    pub fn keep_source(&self, text: &str) -> Result<(), JournalError> {
        let path = self.folder.join("topology.toml");
        fs::write(&path, text).map_err(io_error("write", &path))
    }

    /// Forgets everything: what the journal named is gone.
    pub fn clear(&self) -> Result<(), JournalError> {
        let path = self.journal();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the folder: the last act of a destroy.
    pub fn remove(self) -> Result<(), JournalError> {
        // The owner's lock goes with the process or here, after the last thing that it stands for.
        for name in ["journal.new", "features.jsonl", "topology.toml", "journal.jsonl", owner::FILE, "lock"] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path)(error)),
                _ => fault::point("state file removed"),
            }
        }
        owner::release(&self.folder);
        match fs::remove_dir(&self.folder) {
            // Somebody else has made the folder again, or put something in it.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTEMPTY)) => {
                return Err(io_error("remove", &self.folder)(error));
            }
            _ => {}
        }
        if let Some(root) = self.folder.parent() {
            let _ = fs::remove_dir(root); // only when it is empty
        }
        Ok(())
    }
}
