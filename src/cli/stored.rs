//! Where runs are kept, and runs by their names.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::talk;
use crate::{
    record::{RunRecord, SCHEMA_VERSION},
    store::{Pick, Store},
};

/// Which store.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreArgs {
    /// The file in which runs are kept [default: $NETBENCH_STORE, or netbench/runs.db in $XDG_DATA_HOME or ~/.local/share].
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,
}

impl StoreArgs {
    /// The file; `None` where NETBENCH_STORE is empty, which turns it off.
    ///
    /// # Errors
    /// Nothing says where it is.
    pub fn path(&self) -> anyhow::Result<Option<PathBuf>> {
        if let Some(path) = &self.store {
            return Ok(Some(path.clone()));
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        if let Some(path) = variable("NETBENCH_STORE") {
            return Ok((!path.as_os_str().is_empty()).then_some(path));
        }
        // The specification of base directories: a relative path there is to be ignored.
        let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
        let home = || variable("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".local/share"));
        match data.or_else(home) {
            Some(folder) => Ok(Some(folder.join("netbench/runs.db"))),
            None => bail!("neither HOME nor XDG_DATA_HOME says where runs are kept; name a file with --store"),
        }
    }

    /// The file to read; it must be there.
    pub fn open(&self) -> anyhow::Result<Store> {
        let Some(path) = self.path()? else { bail!("NETBENCH_STORE is empty: no runs are kept") };
        match Store::open_existing(&path)? {
            Some(store) => Ok(store),
            None => bail!("no run is kept yet: there is no {}", path.display()),
        }
    }
}

/// Whether and where a run is kept.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeepArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Do not keep the run.
    #[arg(long, conflicts_with = "store")]
    pub no_store: bool,
}

impl KeepArgs {
    /// The store, unless none is wanted. One that was named must do; the usual one may fail, which is said.
    pub fn open(&self) -> anyhow::Result<Option<Store>> {
        if self.no_store {
            return Ok(None);
        }
        let opened = self.store.path().and_then(|path| Ok(path.map(|path| Store::open(&path)).transpose()?));
        match opened {
            Err(error) if self.store.store.is_none() => {
                talk(&format!("warning: this run will not be kept: {error:#}"));
                Ok(None)
            }
            other => other,
        }
    }
}

/// Keeps a run before anything is printed; what there is to say of it.
pub fn keep(store: &mut Option<Store>, record: &RunRecord) -> Option<String> {
    Some(match store.as_mut()?.append(record) {
        Ok(run) => format!("kept as run {run}; `netbench compare` compares it with the one before"),
        Err(error) => format!("warning: this run is not kept: {error}"),
    })
}

/// A record and what it is called.
pub struct Named {
    /// `run 17, bridge, 2026-11-24T10:00:00Z`, or the file.
    pub label: String,
    /// Its number in the store.
    pub run: Option<i64>,
    /// The record.
    pub record: RunRecord,
}

/// Loads `17`, `last`, `last~1`, a file of `run --json`, or `-`.
pub fn load(name: &str, store: &StoreArgs) -> anyhow::Result<Named> {
    let Some(pick) = Pick::parse(name) else { return from_file(name) };
    let store = store.open()?;
    let Some((run, record)) = store.get(pick)? else {
        bail!("there is no run {name}: {} are kept; `netbench history` lists them", store.count()?);
    };
    let label = format!("run {run}, {}, {}", record.topology.name, record.started);
    Ok(Named { label, run: Some(run), record })
}

fn from_file(name: &str) -> anyhow::Result<Named> {
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("read a record from standard input")?;
    } else if Path::new(name).exists() {
        text = std::fs::read_to_string(name).with_context(|| format!("read {name}"))?;
    } else {
        bail!("{name}: a run is a number, `last`, `last~1`, or a file that `netbench run --json` wrote");
    }
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema_version: u32,
    }
    let known = |text: &str| serde_json::from_str::<Versioned>(text).map(|found| found.schema_version);
    match known(&text) {
        Ok(version) if version > SCHEMA_VERSION => {
            bail!("{name} is of a later netbench (record {version}, this one knows {SCHEMA_VERSION})")
        }
        Ok(_) => {}
        Err(error) => bail!("{name} is no record of netbench: {error}"),
    }
    let record: RunRecord = serde_json::from_str(&text).with_context(|| format!("read the record {name}"))?;
    Ok(Named { label: format!("{name}, {}, {}", record.topology.name, record.started), run: None, record })
}
