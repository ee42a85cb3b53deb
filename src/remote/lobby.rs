//! Where everybody waits who has connected and not yet said who it is. One thread, a fixed number of seats, no patience:
//! garbage, silence, ten thousand connections and half-open ones cost no more than that.

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::greeting::{self, Greeting};

/// Connections that may wait to be heard.
const SEATS: usize = 256;
/// How long one may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a look for news takes, at most.
const LOOK: Duration = Duration::from_millis(100);
/// Connections and datagrams taken at a turn, so that nobody is starved by a flood.
const TURN: usize = 64;

/// Who stands at the door.
#[derive(Debug)]
pub enum Arrival {
    /// A connection with its greeting.
    Connection(TcpStream, SocketAddr, Greeting),
    /// A datagram with a greeting; where it was sent from.
    Datagram(SocketAddr, Greeting),
}

/// What a look brought.
#[derive(Debug, Default)]
pub struct News {
    /// Who has said who it is.
    pub arrived: Vec<Arrival>,
    /// Connections that were hung up on: garbage, silence, no seat. And the last of them.
    pub strangers: u64,
    /// The last of them.
    pub last_stranger: Option<SocketAddr>,
}

impl News {
    fn stranger(&mut self, from: SocketAddr) {
        self.strangers += 1;
        self.last_stranger = Some(from);
    }
}

struct Guest {
    socket: TcpStream,
    from: SocketAddr,
    bytes: [u8; greeting::LENGTH],
    got: usize,
    since: Instant,
}

/// The sockets of a server and who waits at them.
pub struct Lobby {
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    /// In the order of their coming.
    guests: Vec<Guest>,
}

impl Lobby {
    /// Over sockets that are bound and non-blocking.
    pub fn new(listeners: Vec<TcpListener>, datagrams: Vec<UdpSocket>) -> Self {
        Self { listeners, datagrams, guests: Vec::new() }
    }

    /// Waits for something to happen, a tenth of a second at most, and says what did.
    pub fn look(&mut self) -> News {
        let mut news = News::default();
        let ready = self.wait();
        let (of_listeners, rest) = ready.split_at(self.listeners.len());
        let (of_datagrams, of_guests) = rest.split_at(self.datagrams.len());
        self.hear(of_guests, &mut news);
        self.accept(of_listeners, &mut news);
        let waiting = self.datagrams.iter().zip(of_datagrams).filter(|(_, ready)| **ready);
        waiting.for_each(|(socket, _)| receive(socket, &mut news));
        news
    }

    /// Which sockets have something: listeners, datagram sockets, guests.
    fn wait(&self) -> Vec<bool> {
        let fds = self.listeners.iter().map(|s| PollFd::new(s, PollFlags::IN));
        let fds = fds.chain(self.datagrams.iter().map(|s| PollFd::new(s, PollFlags::IN)));
        let fds = fds.chain(self.guests.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)));
        let mut fds: Vec<PollFd<'_>> = fds.collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos() as _ };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
            // A signal: whoever set a flag by it looks at it now.
            Err(_) => vec![false; fds.len()],
        }
    }

    fn hear(&mut self, ready: &[bool], news: &mut News) {
        let now = Instant::now();
        let mut ready = ready.iter();
        let guests = std::mem::take(&mut self.guests);
        for mut guest in guests {
            let can_read = ready.next().copied().unwrap_or(false);
            match guest.hear(can_read) {
                Hearing::Said(greeting) => news.arrived.push(Arrival::Connection(guest.socket, guest.from, greeting)),
                Hearing::Waits if now.duration_since(guest.since) < PATIENCE => self.guests.push(guest),
                Hearing::Waits | Hearing::Stranger => news.stranger(guest.from),
            }
        }
    }

    fn accept(&mut self, ready: &[bool], news: &mut News) {
        for (listener, _) in self.listeners.iter().zip(ready).filter(|(_, ready)| **ready) {
            for _ in 0..TURN {
                let (socket, from) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // Reset while it waited: an error of that connection only.
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                    Err(_) => {
                        // No file descriptor or memory is left: those who wait longest go.
                        self.guests.drain(..self.guests.len().div_ceil(2)).for_each(|guest| news.stranger(guest.from));
                        std::thread::sleep(Duration::from_millis(10));
                        break;
                    }
                };
                if socket.set_nonblocking(true).is_err() {
                    continue;
                }
                if self.guests.len() >= SEATS {
                    news.stranger(self.guests.remove(0).from);
                }
                let since = Instant::now();
                self.guests.push(Guest { socket, from, bytes: [0; greeting::LENGTH], got: 0, since });
            }
        }
    }
}

enum Hearing {
    Waits,
    Said(Greeting),
    Stranger,
}

impl Guest {
    /// Reads what is there, and never a byte behind the greeting: that belongs to the test.
    fn hear(&mut self, can_read: bool) -> Hearing {
        if !can_read {
            return Hearing::Waits;
        }
        match self.socket.read(&mut self.bytes[self.got..]) {
            Ok(0) => return Hearing::Stranger,
            Ok(count) => self.got += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Hearing::Stranger,
        }
        if !greeting::may_begin(&self.bytes[..self.got]) {
            return Hearing::Stranger;
        }
        if self.got < greeting::LENGTH {
            return Hearing::Waits;
        }
        Greeting::decode(&self.bytes).map_or(Hearing::Stranger, Hearing::Said)
    }
}

fn receive(socket: &UdpSocket, news: &mut News) {
    for _ in 0..TURN {
        let mut bytes = [0; greeting::DATAGRAM + 1];
        match socket.recv_from(&mut bytes) {
            Ok((length, from)) => {
                // Nothing is ever answered to a datagram, so that nobody's address can be made to receive one.
                if let Ok(greeting) = Greeting::decode_datagram(&bytes[..length]) {
                    news.arrived.push(Arrival::Datagram(from, greeting));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
