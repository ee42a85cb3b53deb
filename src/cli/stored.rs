//! Where runs are kept, and runs by their names.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    record::{
        OFFLOAD_SCHEMA_VERSION, SCHEMA_VERSION,
        kept::{Kept, Kind},
    },
    store::{Filter, Pick, Store},
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

/// An outcome and what it is called.
pub struct Named {
    /// `run 17, bridge, 2026-11-24T10:00:00Z`, or the file.
    pub label: String,
    /// Its number in the store.
    pub run: Option<i64>,
    /// The outcome.
    pub record: Kept,
}

impl Named {
    fn new(name: &str, run: Option<i64>, record: Kept) -> Self {
        let document = record.document();
        let label = format!("{name}, {}, {}", document.topology(), document.started());
        Self { label, run, record }
    }
}

/// Loads `17`, `last`, `last~1`, a file that a command wrote with `--json`, or `-`.
pub fn load(name: &str, store: &StoreArgs) -> anyhow::Result<Named> {
    let Some(pick) = Pick::parse(name) else { return from_file(name) };
    let store = store.open()?;
    let Some((run, record)) = store.get(pick)? else {
        bail!("there is no run {name}: {} are kept; `netbench history` lists them", store.count()?);
    };
    let name = format!("{} {run}", record.kind());
    Ok(Named::new(&name, Some(run), record))
}

/// The one before it of the same kind and topology.
pub fn before(later: &Named, store: &StoreArgs) -> anyhow::Result<Named> {
    let document = later.record.document();
    let (kind, topology) = (document.kind(), document.topology());
    let filter = Filter {
        topology: Some(topology.to_owned()),
        kind: Some(kind),
        before: later.run,
        limit: 1,
        ..Filter::default()
    };
    match store.open()?.list(&filter)?.first() {
        Some(past) => load(&past.run.to_string(), store),
        None => bail!("there is no other {kind} of {topology} before {}; `netbench history` lists them", later.label),
    }
}

fn from_file(name: &str) -> anyhow::Result<Named> {
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("read a record from standard input")?;
    } else if Path::new(name).exists() {
        text = std::fs::read_to_string(name).with_context(|| format!("read {name}"))?;
    } else {
        bail!(
            "{name}: it is a number, `last`, `last~1`, or a file that `netbench run --json` or another command wrote"
        );
    }
    let document: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{name} is no record of netbench"))?;
    let Some(kind) = Kind::of_document(&document) else {
        bail!("{name} is no record of netbench: it has the fields of none of its commands");
    };
    let known = match kind {
        Kind::OffloadVerify | Kind::OffloadBisect => OFFLOAD_SCHEMA_VERSION,
        _ => SCHEMA_VERSION,
    };
    let part = if document.get("sweep").is_some() { &document["sweep"] } else { &document };
    match part["schema_version"].as_u64() {
        Some(version) if version > u64::from(known) => {
            bail!("{name} is of a later netbench (record {version}, this one knows {known})")
        }
        Some(_) => {}
        None => bail!("{name} is no record of netbench: it has no schema_version"),
    }
    let record = Kept::parse(kind, &text).with_context(|| format!("read the {kind} {name}"))?;
    Ok(Named::new(name, None, record))
}
