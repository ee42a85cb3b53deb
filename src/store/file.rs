//! The file itself: made with its folder, looked at before SQLite touches it.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the folder and an empty file, where there is none.
pub fn prepare(path: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path, source| StoreError::Io { doing: "create", path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    }
    OpenOptions::new().append(true).create(true).open(path).map(drop).map_err(|error| failed(path, error))
}

/// Refuses what is not SQLite's or has been cut short, by the header alone. An empty file is fine.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut header = Vec::new();
    (&file).take(100).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(());
    }
    // Right after a crash, and while another process writes, a log or journal holds what the file lacks. Looked for after the header was read and
    // before the length is: whoever has let go of it in the meantime has made the file whole before.
    let is_open =
        ["-wal", "-journal"].iter().any(|suffix| fs::metadata(beside(path, suffix)).is_ok_and(|log| log.len() > 0));
    let length = file.metadata().map_err(failed)?.len();
    let magic = b"SQLite format 3\0";
    if header.len() < magic.len() && magic.starts_with(&header) || header.starts_with(magic) && header.len() < 100 {
        return Err(StoreError::Damaged { path: path.to_owned(), detail: format!("{length} bytes are left of it") });
    }
    if !header.starts_with(magic) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    // https://www.sqlite.org/fileformat.html, 1.3: the page size at 16 (1 means 65536), the number of pages at 28.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    if pages * page > length && !is_open {
        let detail = format!("{length} of {} bytes are left of it", pages * page);
        return Err(StoreError::Damaged { path: path.to_owned(), detail });
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens it without making one.
pub fn connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Puts it in write-ahead mode. SQLite does not wait here by itself: of two connections that both read and want to change the mode, each would wait
/// for the other, and it tells one of them so at once (<https://www.sqlite.org/c3ref/busy_handler.html>). That one waits here.
pub fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}
