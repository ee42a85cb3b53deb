//! The door: reads the cookie of everyone who comes, and tells new clients from streams of the test under way.
//!
//! Nobody is waited for: those who have not said their cookie yet stand in a short queue with a deadline, and the oldest of
//! them leaves when it is full.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread::Scope,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Options, session};
use crate::{
    iperf::{
        Error,
        wire::{COOKIE, Cookie, State},
    },
    report::iperf3::Session,
};

/// Connections whose cookie is not complete.
pub const MOST_WAITING: usize = 128;
/// How long one may take to say it.
const COOKIE_TIME: Duration = Duration::from_secs(5);
/// How long a client waits for the one before it to leave.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the door looks whether it shall close.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The test under way, as the door knows it.
pub struct Active {
    cookie: Cookie,
    /// Takes its streams, as many as it still wants.
    streams: SyncSender<TcpStream>,
    /// Its results are exchanged: who comes now may wait.
    pub leaving: bool,
}

/// What door and test share.
pub struct House<'a> {
    /// The test under way.
    pub active: Mutex<Option<Active>>,
    /// Everything shall end.
    pub stop: &'a AtomicBool,
}

impl House<'_> {
    /// The test under way; a test that panicked left nothing half done here.
    pub fn active(&self) -> MutexGuard<'_, Option<Active>> {
        self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

type Told<'a> = &'a (dyn Fn(Result<Session, Error>) + Sync);

/// Someone who came in and has not said all of the cookie.
struct Comer {
    stream: TcpStream,
    said: Cookie,
    length: usize,
    until: Instant,
}

/// Serves until it is told to stop.
pub fn watch(listeners: &[TcpListener], house: &House<'_>, options: &Options, told: Told<'_>) -> std::io::Result<()> {
    std::thread::scope(|scope| {
        let mut door = Door { house, options, told, comers: VecDeque::new(), next: VecDeque::new(), tests: 0 };
        while !house.stop.load(Relaxed) {
            if options.once && door.tests > 0 && house.active().is_none() {
                return Ok(());
            }
            door.wait(listeners);
            for listener in listeners {
                door.accept(listener)?;
            }
            door.listen(scope);
            door.call_next(scope);
        }
        Ok(())
    })
}

struct Door<'env> {
    house: &'env House<'env>,
    options: &'env Options,
    told: Told<'env>,
    comers: VecDeque<Comer>,
    /// Clients who wait for the test under way to leave.
    next: VecDeque<(TcpStream, Cookie, Instant)>,
    tests: u64,
}

impl<'env> Door<'env> {
    fn wait(&self, listeners: &[TcpListener]) {
        let mut fds: Vec<_> = listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        fds.extend(self.comers.iter().map(|comer| PollFd::new(&comer.stream, PollFlags::IN)));
        let short = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        let _ = poll(&mut fds, Some(if self.next.is_empty() { &LOOK } else { &short })); // an interrupt is a look, too
    }

    fn accept(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        for _ in 0..MOST_WAITING {
            match listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    if self.comers.len() >= MOST_WAITING {
                        self.comers.pop_front();
                    }
                    let until = Instant::now() + COOKIE_TIME;
                    self.comers.push_back(Comer { stream, said: [0; COOKIE], length: 0, until });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // One that was reset while it waited, or no descriptor left: both pass.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                    self.comers.pop_front();
                    std::thread::sleep(Duration::from_millis(20));
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn listen<'scope>(&mut self, scope: &'scope Scope<'scope, 'env>) {
        for _ in 0..self.comers.len() {
            let Some(mut comer) = self.comers.pop_front() else { break };
            let Comer { stream, said, length, until } = &mut comer;
            match stream.read(&mut said[*length..]) {
                Ok(0) => {}
                Ok(more) => {
                    *length += more;
                    if *length == COOKIE {
                        self.open(comer.stream, comer.said, scope);
                    } else {
                        self.comers.push_back(comer);
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if Instant::now() < *until {
                        self.comers.push_back(comer);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Someone has said the cookie.
    fn open<'scope>(&mut self, stream: TcpStream, cookie: Cookie, scope: &'scope Scope<'scope, 'env>) {
        let active = self.house.active();
        match &*active {
            None => {
                drop(active);
                self.begin(stream, cookie, scope);
            }
            Some(test) if test.cookie == cookie => {
                if let Err(error) = test.streams.try_send(stream) {
                    let (std::sync::mpsc::TrySendError::Full(stream)
                    | std::sync::mpsc::TrySendError::Disconnected(stream)) = error;
                    deny(stream);
                }
            }
            Some(test) if test.leaving && self.next.len() < MOST_WAITING => {
                self.next.push_back((stream, cookie, Instant::now() + PATIENCE));
            }
            Some(_) => deny(stream),
        }
    }

    /// Lets in who waited for the test before to leave.
    fn call_next<'scope>(&mut self, scope: &'scope Scope<'scope, 'env>) {
        let is_free = self.house.active().is_none();
        let may_begin = is_free && !(self.options.once && self.tests > 0);
        if may_begin && let Some((stream, cookie, _)) = self.next.pop_front() {
            self.begin(stream, cookie, scope);
        }
        let now = Instant::now();
        while self.next.front().is_some_and(|(_, _, until)| *until < now) {
            if let Some((stream, ..)) = self.next.pop_front() {
                deny(stream);
            }
        }
    }

    fn begin<'scope>(&mut self, stream: TcpStream, cookie: Cookie, scope: &'scope Scope<'scope, 'env>) {
        let (give, take) = sync_channel(MOST_WAITING * 2);
        *self.house.active() = Some(Active { cookie, streams: give, leaving: false });
        let (house, options, told) = (self.house, self.options, self.told);
        let spawned = std::thread::Builder::new().name("test".to_owned()).spawn_scoped(scope, move || {
            let vacate = Vacate(house);
            let outcome = session::run(stream, &cookie, &take, house, options);
            // Whoever reads the reports slowly keeps no client waiting.
            drop(vacate);
            told(outcome);
        });
        match spawned {
            Ok(_) => self.tests += 1,
            Err(_) => *self.house.active() = None,
        }
    }
}

/// Frees the house, however the test ends.
struct Vacate<'a>(&'a House<'a>);

impl Drop for Vacate<'_> {
    fn drop(&mut self) {
        *self.0.active() = None;
    }
}

fn deny(mut stream: TcpStream) {
    let _ = stream.write_all(&[State::AccessDenied.byte()]); // it may have gone already
}
