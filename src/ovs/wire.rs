//! A unix stream with deadlines: every read and write ends by then, with an error that names socket and purpose.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Error, Result};

/// Until when, and how long that was when it began (for the error).
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    began: Instant,
    ends: Instant,
}

impl Deadline {
    /// From now.
    pub fn after(patience: Duration) -> Self {
        let began = Instant::now();
        Self { began, ends: began + patience }
    }

    /// What is left; `None` when it has passed.
    pub fn left(&self) -> Option<Duration> {
        let left = self.ends.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The same, or sooner: that long from now.
    pub fn or_after(&self, pause: Duration) -> Self {
        Self { began: self.began, ends: self.ends.min(Instant::now() + pause) }
    }

    /// The whole span.
    pub fn span(&self) -> Duration {
        self.ends - self.began
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    path: PathBuf,
}

impl Wire {
    /// Connects to `what` at `path`.
    pub fn connect(what: &'static str, path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).map_err(|source| Error::Connect { what, path: path.to_owned(), source })?;
        Ok(Self { stream, path: path.to_owned() })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    pub fn send(&mut self, bytes: &[u8], during: &str, deadline: Deadline) -> Result<()> {
        let left = deadline.left().ok_or_else(|| self.timeout(during, deadline))?;
        let sent = self.stream.set_write_timeout(Some(left)).and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|error| self.failed(error, during, deadline, 0))
    }

    /// Reads what is there, at least one byte. `received` is what an unfinished answer has so far.
    pub fn receive(&mut self, buffer: &mut [u8], during: &str, deadline: Deadline, received: usize) -> Result<usize> {
        loop {
            let left = deadline.left().ok_or_else(|| self.timeout(during, deadline))?;
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(buffer));
            match read {
                Ok(0) => return Err(self.closed(during, received)),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error, during, deadline, received)),
            }
        }
    }

    fn failed(&self, error: io::Error, during: &str, deadline: Deadline, received: usize) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.timeout(during, deadline),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.closed(during, received),
            _ => Error::Io { operation: "talk to", path: self.path.clone(), source: error },
        }
    }

    fn timeout(&self, during: &str, deadline: Deadline) -> Error {
        Error::Timeout { path: self.path.clone(), during: during.to_owned(), after: deadline.span() }
    }

    fn closed(&self, during: &str, received: usize) -> Error {
        Error::Closed { path: self.path.clone(), during: during.to_owned(), received }
    }
}
