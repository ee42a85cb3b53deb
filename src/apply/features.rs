//! Features that are switched for a while, and how long a device waits for more: their values are on disk before the kernel
//! hears of it, so that they can be put back after SIGKILL at any instant.
//!
//! `<root>/<topology>/features.jsonl` has a line for each feature when it is switched for the first time, with what was
//! asked for before (`wanted`, not `active`: what it depends on may be off for a reason of its own).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ApplyError, fault,
    journal::{JournalError, Store, io_error},
    world::World,
};
use crate::{
    kernel::{self, ethtool, napi},
    plan::desired::LinkRef,
};

/// Name of the file.
pub const FILE: &str = "features.jsonl";

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Noted {
    at: LinkRef,
    #[serde(flatten)]
    before: Before,
}

/// Values of before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Before {
    features: BTreeMap<String, bool>,
    /// [`napi::waits`]
    #[serde(default)]
    waits: BTreeMap<String, u64>,
}

/// What is switched for a while.
#[derive(Debug)]
pub struct Loans {
    path: PathBuf,
    noted: BTreeMap<LinkRef, Before>,
}

impl Loans {
    /// An account for a topology whose lock is held. What an earlier process noted is put back first ([`give_back`]).
    pub fn new(store: &Store) -> Self {
        Self { path: store.folder().join(FILE), noted: BTreeMap::new() }
    }

    /// Switches features, the values before on disk first; what else changed by it.
    ///
    /// # Errors
    /// The note cannot be written (then nothing was switched), or the device does not do it.
    pub fn set(
        &mut self,
        world: &World,
        at: &LinkRef,
        asked: &BTreeMap<String, bool>,
    ) -> Result<Vec<String>, ApplyError> {
        let ns = world.get(&at.ns)?;
        let before = ethtool::features(ns, &at.name)?;
        let known = self.noted.get(at);
        let new: BTreeMap<String, bool> = asked
            .keys()
            .filter(|name| known.is_none_or(|known| !known.features.contains_key(*name)))
            .filter_map(|name| Some((name.clone(), before.get(name)?.wanted)))
            .collect();
        if !new.is_empty() {
            let before = Before { features: new.clone(), ..Before::default() };
            self.note(&Noted { at: at.clone(), before })?;
            self.noted.entry(at.clone()).or_default().features.extend(new);
        }
        fault::point("features noted");
        let outcome = ethtool::set_features(ns, &at.name, asked);
        fault::point("features switched");
        outcome?;
        let now = ethtool::features(ns, &at.name)?;
        let other = |(name, feature): &(&String, &ethtool::Feature)| {
            !asked.contains_key(*name) && before.get(*name).is_some_and(|before| before.active != feature.active)
        };
        let text = |(name, feature): (&String, &ethtool::Feature)| {
            format!("{name} {}", if feature.active { "on" } else { "off" })
        };
        Ok(now.iter().filter(other).map(text).collect())
    }

    /// Has a device wait for more packets before it hands up what it has, the values before on disk first.
    ///
    /// # Errors
    /// As [`Loans::set`].
    pub fn wait(&mut self, world: &World, at: &LinkRef, asked: &BTreeMap<String, u64>) -> Result<(), ApplyError> {
        let ns = world.get(&at.ns)?;
        if self.noted.get(at).is_none_or(|known| known.waits.is_empty()) {
            let before = Before { waits: napi::waits(ns, &at.name)?, ..Before::default() };
            self.note(&Noted { at: at.clone(), before: before.clone() })?;
            self.noted.entry(at.clone()).or_default().waits = before.waits;
        }
        fault::point("waits noted");
        let outcome = napi::set_waits(ns, &at.name, asked);
        fault::point("waits set");
        Ok(outcome?)
    }

    /// The end of [`Loans::wait`].
    ///
    /// # Errors
    /// The device does not do it.
    pub fn wait_no_longer(&self, world: &World, at: &LinkRef) -> Result<(), ApplyError> {
        let before = self.noted.get(at).map(|known| &known.waits).filter(|waits| !waits.is_empty());
        before.map_or(Ok(()), |waits| Ok(napi::set_waits(world.get(&at.ns)?, &at.name, waits)?))
    }

    fn note(&self, noted: &Noted) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(noted).map_err(|error| io_error("encode", &self.path)(error.into()))?;
        line.push(b'\n');
        let open = OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = open.map_err(io_error("open", &self.path))?;
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(io_error("write", &self.path))
    }

    /// Puts everything back and forgets it; what could not be, one sentence each.
    pub fn end(self, world: &World) -> Vec<String> {
        let left = put_back(world, &self.noted);
        if left.is_empty() {
            forget(&self.path);
        }
        left
    }
}

fn forget(path: &Path) {
    // A note that stays is put back again, which changes nothing.
    let _ = fs::remove_file(path);
}

/// Puts back what a process that died had switched; what could not be, one sentence each. Nothing where there is no note.
pub fn give_back(store: &Store, world: &World) -> Result<Vec<String>, JournalError> {
    let path = store.folder().join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let mut noted: BTreeMap<LinkRef, Before> = BTreeMap::new();
    // A torn last line was never followed by a switch.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(Noted { at, before }) = serde_json::from_str(line) else { continue };
        let known = noted.entry(at).or_default();
        // The oldest is the one of before.
        for (name, on) in before.features {
            known.features.entry(name).or_insert(on);
        }
        for (name, value) in before.waits {
            known.waits.entry(name).or_insert(value);
        }
    }
    let left = put_back(world, &noted);
    if left.is_empty() {
        forget(&path);
    }
    Ok(left)
}

/// Is there a note of a process that died?
pub fn are_noted(store: &Store) -> bool {
    store.folder().join(FILE).exists()
}

fn put_back(world: &World, noted: &BTreeMap<LinkRef, Before>) -> Vec<String> {
    let mut left = Vec::new();
    for (at, before) in noted {
        // A namespace that is gone took its devices along.
        let Ok(ns) = world.get(&at.ns) else { continue };
        for outcome in [restore(ns, at, &before.features), restore_waits(ns, at, &before.waits)] {
            match outcome {
                Ok(()) => {}
                Err(error) if error.errno() == Some(libc::ENODEV) => {}
                Err(error) => left.push(format!("{at}: {error}")),
            }
        }
    }
    left
}

fn restore_waits(ns: &kernel::Netns, at: &LinkRef, before: &BTreeMap<String, u64>) -> kernel::Result<()> {
    if before.is_empty() || napi::waits(ns, &at.name)? == *before {
        return Ok(());
    }
    let outcome = napi::set_waits(ns, &at.name, before);
    if napi::waits(ns, &at.name)? == *before { Ok(()) } else { outcome }
}

/// Asks for the values of before; what counts is what is asked for, since that is what was noted.
fn restore(ns: &kernel::Netns, at: &LinkRef, features: &BTreeMap<String, bool>) -> kernel::Result<()> {
    let differs = |now: &BTreeMap<String, ethtool::Feature>| {
        let differs = |(name, on): &(&String, &bool)| now.get(*name).is_some_and(|feature| feature.wanted != **on);
        features.iter().filter(differs).map(|(name, on)| (name.clone(), *on)).collect::<BTreeMap<_, _>>()
    };
    let asked = differs(&ethtool::features(ns, &at.name)?);
    let outcome = ethtool::set_features(ns, &at.name, &asked);
    let still: BTreeSet<String> = differs(&ethtool::features(ns, &at.name)?).into_keys().collect();
    if still.is_empty() { Ok(()) } else { outcome }
}

/// Puts features back within a run.
pub fn put_back_one(world: &World, at: &LinkRef, features: &BTreeMap<String, bool>) -> Result<(), ApplyError> {
    Ok(restore(world.get(&at.ns)?, at, features)?)
}
