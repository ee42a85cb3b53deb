//! The server: answers stock iperf3 clients, one test at a time, and outlives all that they may do.

mod door;
mod session;

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

pub use self::door::MOST_WAITING;
use super::{Error, os};
use crate::{facts::Machine, report::iperf3::Session};

/// What to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub bind: IpAddr,
    /// Its port; 0 is any.
    pub port: u16,
    /// Tests beyond this, warm-up included, are refused; those by amount end with it.
    pub max_duration: Duration,
    /// Streams of a direction, at most.
    pub max_streams: u32,
    /// Length of the intervals of the reports.
    pub every: Duration,
    /// End after the first test.
    pub once: bool,
    /// This machine, for the reports.
    pub machine: Machine,
}

/// A server that listens.
pub struct Server {
    options: Options,
    listener: TcpListener,
    at: SocketAddr,
}

impl Server {
    /// Listens.
    pub fn bind(options: Options) -> Result<Self, Error> {
        let at = SocketAddr::new(options.bind, options.port);
        let listener = TcpListener::bind(at).map_err(os("listen at", at))?;
        listener.set_nonblocking(true).map_err(os("listen at", at))?;
        let at = listener.local_addr().map_err(os("listen at", at))?;
        Ok(Self { options, listener, at })
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Serves until `stop` or `done` is set, or after one test where that is asked for; `stop` ends a test under way, too. Each test, and each that came to nothing, is
    /// told to `told`, on a thread of its own.
    pub fn run(
        &self,
        stop: &AtomicBool,
        done: &AtomicBool,
        told: &(dyn Fn(Result<Session, Error>) + Sync),
    ) -> io::Result<()> {
        let house = door::House { active: Mutex::new(None), stop, done };
        door::watch(&self.listener, &house, &self.options, told)
    }
}
