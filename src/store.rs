//! What was measured and is kept: one SQLite file, appended to by any number of processes, safe when one of them is killed.
//!
//! A record is stored as the JSON that its command prints with `--json`; beside it stands what lists need, so that they read no record. The file is ours
//! if its application id says so; anything else is refused before a byte of it is changed.

mod error;
mod file;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

pub use self::error::StoreError;
use crate::record::{
    history::Past,
    kept::{Document, Kept, Kind},
};

/// `NBst` in `PRAGMA application_id`.
const APPLICATION_ID: i32 = 0x4e42_7374;

/// Pages of the write-ahead log after which a writer moves them into the file: a log of 32 MB. An append that does so waits for the disk;
/// with SQLite's 1000 pages it is about one in a hundred. The log is moved in any case when the last process closes the file.
const LOG_PAGES: i64 = 8000;

/// What brings a file from each version to the next. A version that was released is never edited.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        started TEXT NOT NULL,
        topology TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        line TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX run_by_topology ON run (topology, id);",
    "CREATE INDEX run_by_fingerprint ON run (fingerprint, id);",
    // Until then there was nothing but runs.
    "ALTER TABLE run ADD COLUMN kind TEXT NOT NULL DEFAULT 'run';
    CREATE INDEX run_by_kind ON run (kind, id);",
];

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Of this topology only.
    pub topology: Option<String>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// With a smaller number than this.
    pub before: Option<i64>,
    /// Of this fingerprint only.
    pub fingerprint: Option<String>,
    /// Begun at this time (RFC 3339, or a prefix such as `2026-11`) or later.
    pub since: Option<String>,
    /// At most so many, the latest.
    pub limit: u32,
}

/// A run by what a person calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Its number.
    Number(i64),
    /// `last~n`: so many before the last.
    Last(u32),
}

impl Pick {
    /// `17`, `last`, `last~1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("last") {
            Some("") => Some(Self::Last(0)),
            Some(back) => back.strip_prefix('~')?.parse().ok().map(Self::Last),
            None => text.parse().ok().filter(|&number| number > 0).map(Self::Number),
        }
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens the file, or makes it with its folder.
    ///
    /// # Errors
    /// It is not ours, newer than this program, damaged, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::prepare(path)?;
        Self::connect(path)
    }

    /// Opens the file if it is there.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        match path.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Self::connect(path).map(Some),
            Err(source) => Err(StoreError::Io { doing: "look for", path: path.to_owned(), source }),
        }
    }

    fn connect(path: &Path) -> Result<Self, StoreError> {
        file::check(path)?;
        let failed = |error| StoreError::of(path, "open", error);
        let mut connection = file::connection(path).map_err(failed)?;
        migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Adds a run; its number. When this returns, the run outlives the process, however it ends.
    ///
    /// # Errors
    /// The disk is full, another writer kept the lock for ten seconds, or the file is damaged.
    pub fn append<D: Document + serde::Serialize>(&mut self, record: &D) -> Result<i64, StoreError> {
        let fail = |error| StoreError::of(&self.path, "append to", error);
        let json = |error| StoreError::Shape { path: self.path.clone(), run: 0, source: error };
        let text = serde_json::to_string(record).map_err(json)?;
        // The number of the line is given when it is read.
        let past = record.past(0);
        let line = serde_json::to_string(&past).map_err(json)?;
        self.connection
            .execute(
                "INSERT INTO run (started, topology, fingerprint, line, record, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![past.started, past.topology, past.fingerprint, line, text, past.kind.name()],
            )
            .map_err(fail)?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The latest runs that pass the filter, the latest first.
    ///
    /// # Errors
    /// The file is damaged, or holds a line that this version does not understand.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Past>, StoreError> {
        let fail = |error| StoreError::of(&self.path, "read", error);
        let text = "SELECT id, line FROM run WHERE (?1 IS NULL OR topology = ?1) AND (?2 IS NULL OR fingerprint = ?2)
             AND (?3 IS NULL OR started >= ?3) AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR id < ?5)
             ORDER BY id DESC LIMIT ?6";
        let mut statement = self.connection.prepare(text).map_err(fail)?;
        let kind = filter.kind.map(Kind::name);
        let wanted = params![filter.topology, filter.fingerprint, filter.since, kind, filter.before, filter.limit];
        let rows = statement.query_map(wanted, pair).map_err(fail)?;
        let mut list = Vec::new();
        for row in rows {
            let (run, line) = row.map_err(fail)?;
            let past: Past = self.decode(run, &line)?;
            list.push(Past { run, ..past });
        }
        Ok(list)
    }

    /// An outcome with its number; `None` when there is none such.
    ///
    /// # Errors
    /// As for [`Store::list`]; or it is of a kind that this version does not know.
    pub fn get(&self, pick: Pick) -> Result<Option<(i64, Kept)>, StoreError> {
        let fail = |error| StoreError::of(&self.path, "read", error);
        let triple = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
        let found = match pick {
            Pick::Number(number) => {
                self.connection.query_row("SELECT id, kind, record FROM run WHERE id = ?1", [number], triple).optional()
            }
            Pick::Last(back) => {
                let text = "SELECT id, kind, record FROM run ORDER BY id DESC LIMIT 1 OFFSET ?1";
                self.connection.query_row(text, [back], triple).optional()
            }
        };
        let Some((run, kind, text)) = found.map_err(fail)? else { return Ok(None) };
        let kind = kind.parse().map_err(|_| StoreError::Kind { path: self.path.clone(), run, kind })?;
        let kept = Kept::parse(kind, &text);
        let shape = |source| StoreError::Shape { path: self.path.clone(), run, source };
        Ok(Some((run, kept.map_err(shape)?)))
    }

    /// How many runs there are.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn count(&self) -> Result<u64, StoreError> {
        let count = self.connection.query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|error| StoreError::of(&self.path, "read", error))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, run: i64, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|source| StoreError::Shape { path: self.path.clone(), run, source })
    }
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Brings the file up to this version, in one transaction: another process may be doing the same.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| StoreError::of(path, "open", error);
    let newest = MIGRATIONS.len() as i32;
    let stamps = |connection: &Connection| {
        let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        Ok((read("application_id")?, read("user_version")?))
    };
    let judge = |(id, version): (i32, i32), is_empty: bool| match (id, version) {
        (APPLICATION_ID, version) if version > newest => {
            Err(StoreError::Newer { path: path.to_owned(), found: version, known: newest })
        }
        (APPLICATION_ID, version) => Ok(version.max(0) as usize),
        (0, 0) if is_empty => Ok(0),
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    };
    let empty = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| Ok(row.get::<_, i64>(0)? == 0))
    };
    // Judged before anything is written, journal mode included; all of it as of one moment, for another process may be making it.
    let moment = connection.transaction().map_err(fail)?;
    let at = judge(stamps(&moment).map_err(fail)?, empty(&moment).map_err(fail)?)?;
    moment.finish().map_err(fail)?;
    // NORMAL with a write-ahead log: a killed process loses nothing, a power cut at most the latest runs, and neither harms the file.
    file::write_ahead(connection).map_err(fail)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(fail)?;
    if at == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let found = stamps(&transaction).map_err(fail)?;
    let at = judge(found, empty(&transaction).map_err(fail)?)?;
    for step in &MIGRATIONS[at..] {
        transaction.execute_batch(step).map_err(fail)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
    transaction.pragma_update(None, "user_version", newest).map_err(fail)?;
    transaction.commit().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_names() {
        for (text, pick) in [
            ("17", Some(Pick::Number(17))),
            ("last", Some(Pick::Last(0))),
            ("last~3", Some(Pick::Last(3))),
            ("last~", None),
            ("lasting", None),
            ("0", None),
            ("-1", None),
            ("file.json", None),
        ] {
            assert_eq!(Pick::parse(text), pick, "{text}");
        }
    }
}
