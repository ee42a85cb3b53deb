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
use crate::{
    facts::Machine,
    report::iperf3::Session,
    traffic::{
        self,
        guest::{self, Wish},
    },
};

/// What to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub bind: Vec<IpAddr>,
    /// The port of all; 0 is any.
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
    listeners: Vec<TcpListener>,
    at: Vec<SocketAddr>,
}

impl Server {
    /// Listens. An IPv6 address that this host cannot have is left out where another is there.
    pub fn bind(options: Options) -> Result<Self, Error> {
        let (mut listeners, mut at, mut port, mut left_out) = (Vec::new(), Vec::new(), options.port, None);
        for &address in &options.bind {
            let wanted = SocketAddr::new(address, port);
            match listen(wanted) {
                Ok((listener, bound)) => {
                    port = bound.port();
                    listeners.push(listener);
                    at.push(bound);
                }
                Err(error) if address.is_ipv6() && options.bind.len() > 1 && is_no_ipv6(&error) => {
                    left_out = Some(error)
                }
                Err(error) => return Err(error),
            }
        }
        match left_out {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(Self { options, listeners, at }),
        }
    }

    /// Where it listens.
    pub fn at(&self) -> &[SocketAddr] {
        &self.at
    }

    /// Serves until `stop` is set, or after one test where that is asked for. Each test, and each that came to nothing, is
    /// told to `told`, on a thread of its own.
    pub fn run(&self, stop: &AtomicBool, told: &(dyn Fn(Result<Session, Error>) + Sync)) -> io::Result<()> {
        let house = door::House { active: Mutex::new(None), stop };
        door::watch(&self.listeners, &house, &self.options, told)
    }
}

fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let socket = guest::open(&Wish::default(), at)?;
    socket.listen(1024).map_err(os("listen at", at))?;
    socket.set_nonblocking(true).map_err(os("listen at", at))?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(os("listen at", at))?;
    Ok((listener, bound))
}

fn is_no_ipv6(error: &Error) -> bool {
    let Error::Stream(traffic::Error::Os { source, .. }) = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}
