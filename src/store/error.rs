//! Why a store cannot be used: which file, what is wrong with it, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Nothing was changed in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of somebody else's.
    #[error("{path} is not a store of netbench and is left as it is; name another with --store or NETBENCH_STORE")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error(
        "{path} is of a later netbench (format {found}, this one knows {known}); update netbench, or name another with --store"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// Cut short or overwritten.
    #[error(
        "{path} is damaged ({detail}) and is left as it is; move it away, or name another with --store (`sqlite3 {path} .recover` may save what is in it)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Another process has it.
    #[error("{doing} {path}: another process kept it locked for ten seconds; try again")]
    Busy {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or its folder.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// A run in it cannot be read by this version.
    #[error("{path}: run {run} is not as this netbench writes it: {source}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its number.
        run: i64,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// A kind of outcome that this version does not know.
    #[error("{path}: number {run} is a `{kind}`, which this netbench does not know; update netbench")]
    Kind {
        /// The file.
        path: PathBuf,
        /// Its number.
        run: i64,
        /// What it says.
        kind: String,
    },
    /// SQLite said no.
    #[error("{doing} {path}: {source}")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Its words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// What SQLite's error means for the file.
    pub(super) fn of(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged { path, detail: source.to_string() },
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Busy { doing, path },
            _ => Self::Sqlite { doing, path, source },
        }
    }
}
