//! Keeping what was measured.

use serde::Serialize;

use super::{stored::StoreArgs, talk};
use crate::{record::kept::Document, store::Store};

/// Whether and where the outcome is kept.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeepArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Do not keep the outcome.
    #[arg(long, conflicts_with = "store")]
    no_store: bool,
}

impl KeepArgs {
    /// Was a store named?
    pub fn is_named(&self) -> bool {
        self.store.store.is_some()
    }

    /// Opens the store, unless none is wanted, before anything is made: an hour of measuring should not end with "it cannot be
    /// kept". One that was named must do; the usual one may fail, which is said.
    ///
    /// # Errors
    /// The named one cannot be used.
    pub fn open(&self) -> anyhow::Result<Keeper> {
        if self.no_store {
            return Ok(Keeper(None));
        }
        let opened = self.store.path().and_then(|path| Ok(path.map(|path| Store::open(&path)).transpose()?));
        match opened {
            Err(error) if self.store.store.is_none() => {
                talk(&format!("warning: this will not be kept: {error:#}"));
                Ok(Keeper(None))
            }
            other => other.map(Keeper),
        }
    }
}

/// What keeps an outcome.
#[derive(Debug)]
pub struct Keeper(Option<Store>);

impl Keeper {
    /// Keeps it before anything is printed; what there is to say of it.
    pub fn keep<D: Document + Serialize>(&mut self, record: &D) -> Option<String> {
        let kind = record.kind();
        Some(match self.0.as_mut()?.append(record) {
            Ok(run) => {
                let next =
                    if kind.is_comparable() { "compare` compares it with the one before" } else { "show` shows it" };
                format!("kept as {kind} {run}; `netbench {next}")
            }
            Err(error) => format!("warning: this {kind} is not kept: {error}"),
        })
    }
}
