//! Has a daemon ended while something was asked of it? A connection that is held tells at once, and costs it nothing.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{
    Error,
    process::{DATABASE_SERVER, SWITCH},
};

/// From the end of a process to that of its sockets.
const LEAVING: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection to a daemon's socket on which nothing is said.
#[derive(Debug)]
struct Held(io::Result<UnixStream>);

impl Held {
    fn at(path: &Path) -> Self {
        Self(UnixStream::connect(path))
    }

    /// One that cannot be reached at all counts as ended where nobody listens.
    fn has_ended(&self) -> bool {
        match &self.0 {
            Ok(stream) => {
                let mut byte = [0; 1];
                match recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Ok((count, _)) => count == 0,
                    // Where it was never accepted, the end of the listener is a reset.
                    Err(error) => !matches!(error, Errno::AGAIN | Errno::INTR),
                }
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
        }
    }
}

/// Watches both daemons of an Open vSwitch.
#[derive(Debug)]
pub struct Sentry {
    database: PathBuf,
    server: Held,
    switch: Held,
    system: bool,
}

impl Sentry {
    /// From now on; `control` is the switch's control socket, `system` says that they are the host's own.
    pub fn at(database: &Path, control: &Path, system: bool) -> Self {
        let (server, switch) = (Held::at(database), Held::at(control));
        Self { database: database.to_owned(), server, switch, system }
    }

    /// The daemon that has ended, or was not there; the database first, without which the switch says nothing.
    pub fn ended(&self) -> Option<&'static str> {
        match (self.server.has_ended(), self.switch.has_ended()) {
            (true, _) => Some(DATABASE_SERVER),
            (_, true) => Some(SWITCH),
            _ => None,
        }
    }

    /// The same where something else says that one has: a process that was killed closes its sockets one after the other,
    /// the last a moment after it is gone.
    pub fn ended_soon(&self) -> Option<&'static str> {
        let deadline = Instant::now() + LEAVING;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    /// An error that comes of a daemon's end says so, with what to do; any other is as it was.
    pub fn blame(&self, error: Error) -> Error {
        let ended = match &error {
            Error::Ended { .. } => None,
            Error::Connect { .. } | Error::Closed { .. } | Error::Io { .. } => self.ended_soon(),
            _ => self.ended(),
        };
        match ended {
            Some(program) => {
                let (database, system, cause) = (self.database.clone(), self.system, Box::new(error));
                Error::Ended { program, database, system, cause }
            }
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_end_is_seen_on_a_connection_that_was_never_accepted() {
        let folder = std::env::temp_dir().join(format!("netbench-sentry-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (database, control) = (folder.join("db.sock"), folder.join("ovs-vswitchd.ctl"));
        let server = UnixListener::bind(&database).unwrap();
        assert_eq!(Sentry::at(&database, &control, false).ended(), Some(SWITCH), "it never ran");
        let switch = UnixListener::bind(&control).unwrap();
        let sentry = Sentry::at(&database, &control, false);
        assert_eq!(sentry.ended(), None);
        drop(switch);
        assert_eq!(sentry.ended(), Some(SWITCH));
        drop(server);
        assert_eq!(sentry.ended(), Some(DATABASE_SERVER));
        let cause = Error::NotApplied {
            path: database.clone(),
            wanted: 3,
            reached: 2,
            after: std::time::Duration::from_secs(1),
        };
        let said = sentry.blame(cause).to_string();
        assert!(said.starts_with("ovsdb-server has ended") && said.contains("configuration 3"), "{said}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
