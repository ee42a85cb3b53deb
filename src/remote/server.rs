//! `netbench serve`: the sockets, who may come in, and the end.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::Sender,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    bounds::Bounds,
    greeting::{Greeting, PROTOCOLS, Purpose, Secret, agree},
    lobby::{Arrival, Lobby, News},
    message::{FromServer, Refusal},
    session::{Inbox, Session},
};
use crate::facts::Machine;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// Strangers are told of at most this often.
const TELL: Duration = Duration::from_secs(5);
/// How long the clients get to hear that the server ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// A server with its sockets bound.
pub struct Server {
    lobby: Lobby,
    addresses: Vec<SocketAddr>,
    house: Arc<House>,
}

/// What all sessions share.
pub struct House {
    /// What a test may do.
    pub bounds: Bounds,
    /// This machine, as clients are told.
    pub machine: Machine,
    /// Secret that lets clients in; without one everybody is let in.
    pub token: Option<Secret>,
    /// Set when the server ends.
    pub ending: AtomicBool,
    /// Tells the person who runs the server.
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
    /// Jobs that wait for their data connections, by the number of their session.
    pub awaited: Mutex<BTreeMap<u64, Awaited>>,
}

/// A job that waits for its data connections.
pub struct Awaited {
    /// What they must say.
    pub cookie: Secret,
    /// How many streams it has.
    pub streams: u32,
    /// Where they are to be passed.
    pub sender: Sender<Inbox>,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Told to.
    Stopped,
    /// `--once`: the client's tests ended well.
    Once,
    /// `--once`: they did not.
    OnceFailed,
}

impl Server {
    /// Binds TCP and UDP to one port of each address; port 0 takes a free one. Where loopback lacks IPv6, `::1` is left out.
    pub fn bind(
        addresses: &[IpAddr],
        port: u16,
        token: Option<Secret>,
        bounds: Bounds,
        machine: Machine,
        tell: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let (mut listeners, mut datagrams, mut bound) = (Vec::new(), Vec::new(), Vec::<SocketAddr>::new());
        for &address in addresses {
            let at = SocketAddr::new(address, bound.first().map_or(port, SocketAddr::port));
            match bind_both(at) {
                Ok((listener, socket, at)) => {
                    listeners.push(listener);
                    datagrams.push(socket);
                    bound.push(at);
                }
                Err(_) if address.is_loopback() && address.is_ipv6() && addresses.len() > 1 => {}
                Err(error) => return Err((at, error)),
            }
        }
        let awaited = Mutex::default();
        let house = House { bounds, machine, token, ending: AtomicBool::new(false), tell, awaited };
        Ok(Self { lobby: Lobby::new(listeners, datagrams), addresses: bound, house: Arc::new(house) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until the flag is set, or with `once` until the first client has gone. Every client hears of the end.
    pub fn run(mut self, once: bool, interrupt: &AtomicBool) -> Served {
        let mut sessions: Vec<JoinHandle<bool>> = Vec::new();
        let (mut number, mut strangers, mut told) = (0, News::default(), Instant::now());
        let outcome = loop {
            if interrupt.load(Relaxed) {
                break Served::Stopped;
            }
            let (over, going): (Vec<_>, Vec<_>) = sessions.into_iter().partition(JoinHandle::is_finished);
            sessions = going;
            let ended_well = over.into_iter().map(|session| session.join().unwrap_or(false)).reduce(|a, b| a && b);
            if let Some(well) = ended_well.filter(|_| once) {
                break if well { Served::Once } else { Served::OnceFailed };
            }
            let news = self.lobby.look();
            strangers.strangers += news.strangers;
            strangers.last_stranger = news.last_stranger.or(strangers.last_stranger);
            if strangers.strangers > 0 && told.elapsed() > TELL {
                told = Instant::now();
                let last = strangers.last_stranger.map(|from| format!(", the last from {from}")).unwrap_or_default();
                (self.house.tell)(&format!("{} connections were hung up on{last}", strangers.strangers));
                strangers = News::default();
            }
            for arrival in news.arrived {
                match arrival {
                    Arrival::Datagram(from, greeting) => {
                        self.introduce(&greeting, |stream| Inbox::Datagram { stream, from })
                    }
                    Arrival::Connection(socket, _, greeting @ Greeting { purpose: Purpose::Data { .. }, .. }) => {
                        self.introduce(&greeting, |stream| Inbox::Connection { stream, socket });
                    }
                    Arrival::Connection(socket, from, greeting) => {
                        let full = sessions.len() >= self.house.bounds.clients as usize || (once && number > 0);
                        match self.refuse(&greeting, full) {
                            Some((refusal, what)) => {
                                if refusal != Refusal::Busy {
                                    (self.house.tell)(&format!("{from} was refused: {what}"));
                                }
                                hang_up(&socket, refusal, what);
                            }
                            None => {
                                number += 1;
                                sessions.extend(self.begin(socket, from, number, &greeting));
                            }
                        }
                    }
                }
            }
        };
        self.house.ending.store(true, Relaxed);
        let deadline = Instant::now() + FAREWELL;
        while !sessions.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        outcome
    }

    /// Why this greeting does not let in.
    fn refuse(&self, greeting: &Greeting, full: bool) -> Option<(Refusal, String)> {
        let (oldest, newest) = PROTOCOLS;
        let build = env!("CARGO_PKG_VERSION");
        if agree(PROTOCOLS, greeting.protocols).is_none() {
            let (from, to) = greeting.protocols;
            let what = format!(
                "versions do not match: this server is netbench {build} and speaks protocol {oldest} to {newest}, the client speaks {from} to {to}"
            );
            return Some((Refusal::Version, what));
        }
        if self.house.token.as_ref().is_some_and(|token| greeting.secret != *token) {
            return Some((Refusal::Token, "the token is not this server's".to_owned()));
        }
        full.then(|| (Refusal::Busy, format!("it serves {} clients already", self.house.bounds.clients)))
    }

    fn begin(&self, socket: TcpStream, from: SocketAddr, number: u64, greeting: &Greeting) -> Option<JoinHandle<bool>> {
        let protocol = agree(PROTOCOLS, greeting.protocols)?;
        let house = self.house.clone();
        let thread = std::thread::Builder::new().name(format!("client-{number}"));
        let started = thread.spawn(move || match Session::new(house, socket, from, number, protocol) {
            Ok(session) => session.run(),
            Err(_) => false,
        });
        match started {
            Ok(thread) => Some(thread),
            Err(error) => {
                (self.house.tell)(&format!("{from}: no thread for it: {error}"));
                None
            }
        }
    }

    /// Passes a data connection to the job whose cookie it knows.
    fn introduce(&self, greeting: &Greeting, inbox: impl FnOnce(u32) -> Inbox) {
        let Purpose::Data { stream } = greeting.purpose else { return };
        let awaited = self.house.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let job = awaited.values().find(|job| job.cookie == greeting.secret && stream < job.streams);
        if let Some(job) = job {
            // A session that is gone drops it, which hangs up.
            let _ = job.sender.send(inbox(stream));
        }
    }
}

/// A listener and a datagram socket at the same port.
fn bind_both(at: SocketAddr) -> io::Result<(TcpListener, UdpSocket, SocketAddr)> {
    let listener = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    let datagrams = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    for socket in [&listener, &datagrams] {
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
    }
    // A port whose last connections are in TIME_WAIT is free all the same.
    listener.set_reuse_address(true)?;
    listener.bind(&at.into())?;
    listener.listen(BACKLOG)?;
    let listener = TcpListener::from(listener);
    let at = listener.local_addr()?;
    // Shared with the connected sockets of the streams, and with nobody of another user.
    datagrams.set_reuse_port(true)?;
    datagrams.bind(&at.into())?;
    Ok((listener, datagrams.into(), at))
}

/// The last word to somebody who does not come in. The socket does not block: a word that does not fit is not said.
fn hang_up(mut socket: &TcpStream, refusal: Refusal, what: String) {
    let _ = crate::agent::frame::write(&mut socket, &FromServer::Refused { refusal, what });
    let _ = socket.shutdown(std::net::Shutdown::Write);
}
