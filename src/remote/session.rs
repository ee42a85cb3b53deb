//! One client of a server: its tests one after the other, until it says goodbye, vanishes, or breaks the rules.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{
    arrivals::Arrivals,
    bounds::Admitted,
    greeting::Secret,
    message::{FromClient, FromServer, LONGEST_OF_CLIENT},
    server::{Awaited, House},
    talk::{Heard, Talk, how},
};
use crate::{
    agent::egress,
    measured::{Side, Test},
    traffic::{self, JobSampler, Role, Running, Spec},
};

/// A client without a test is let go after this.
const IDLE: Duration = Duration::from_secs(60);
/// The streams of a test must be connected after this.
const ATTACH: Duration = Duration::from_secs(10);
/// Beyond the length of a test, for its end: a sender waits up to 20 s for a slow path to drain.
const LINGER: Duration = Duration::from_secs(30);
/// For threads that were told to stop.
const STOP: Duration = Duration::from_secs(3);
/// How often the server's end, and connections by the transaction, are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The same while such a connection is awaited.
const LOOK_FOR_CONNECTIONS: Duration = Duration::from_millis(5);

/// What comes to a session.
#[derive(Debug)]
pub enum Inbox {
    /// From its client.
    Control(Heard<FromClient>),
    /// A data connection of the job with the cookie.
    Connection {
        /// For this stream.
        stream: u32,
        /// Greeted, otherwise untouched.
        socket: TcpStream,
    },
    /// The datagrams of a stream come from here.
    Datagram {
        /// Which.
        stream: u32,
        /// Its client.
        from: SocketAddr,
    },
    /// The last data thread ended.
    Done,
}

mod path;

enum State {
    Idle { since: Instant },
    Path(path::Path),
    Attaching(Box<Attaching>),
    Running(Box<Run>),
}

struct Attaching {
    spec: Spec,
    sockets: Vec<Option<Socket>>,
    listeners: Vec<Socket>,
    deadline: Instant,
}

struct Run {
    running: Running,
    sampler: JobSampler,
    arrivals: Arrivals,
    deadline: Instant,
}

/// How a session goes on.
enum Next {
    On,
    /// It is over; did it end well?
    Over(bool),
}

pub struct Session {
    house: Arc<House>,
    talk: Talk,
    local: SocketAddr,
    peer: SocketAddr,
    number: u64,
    events: Sender<Inbox>,
    inbox: Receiver<Inbox>,
    state: State,
    tests: u32,
}

impl Session {
    /// Welcomes a client.
    pub fn new(house: Arc<House>, socket: TcpStream, peer: SocketAddr, number: u64, protocol: u8) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let mut talk = Talk::new(socket)?;
        let machine = house.machine.clone();
        let netbench = env!("CARGO_PKG_VERSION").to_owned();
        talk.say(&FromServer::Welcome { protocol, netbench, machine }).map_err(io::Error::other)?;
        let (events, inbox) = channel();
        talk.listen(LONGEST_OF_CLIENT, events.clone(), Inbox::Control)?;
        let state = State::Idle { since: Instant::now() };
        Ok(Self { house, talk, local, peer, number, events, inbox, state, tests: 0 })
    }

    /// Serves it to its end; did that end well, with a test at least?
    pub fn run(mut self) -> bool {
        let well = loop {
            let item = self.inbox.recv_timeout(self.next_look());
            let next = match item {
                _ if self.house.ending.load(Relaxed) => {
                    self.say(&FromServer::Failed { what: "the server was stopped".to_owned() });
                    Next::Over(false)
                }
                Ok(Inbox::Control(Heard::Said(message))) => self.obey(*message),
                Ok(Inbox::Control(Heard::Closed)) => self.left("hung up"),
                Ok(Inbox::Control(Heard::Broken(error))) => self.left(&format!("was lost: {}", how(&error))),
                Ok(Inbox::Connection { stream, socket }) => self.attach(stream, |spec| {
                    let socket = Socket::from(socket);
                    traffic::adopt(spec, &socket).map(|()| socket)
                }),
                Ok(Inbox::Datagram { from, .. }) if matches!(self.state, State::Path(_)) => self.path_from(from),
                Ok(Inbox::Datagram { stream, from }) => {
                    let (local, expected) = (self.local, self.peer.ip());
                    if from.ip() == expected {
                        self.attach(stream, |spec| traffic::datagrams(spec, local, from))
                    } else {
                        Next::On
                    }
                }
                Ok(Inbox::Done) => self.report(),
                Err(RecvTimeoutError::Timeout) => Next::On,
                Err(RecvTimeoutError::Disconnected) => Next::Over(false),
            };
            match next {
                Next::Over(well) => break well,
                Next::On => {}
            }
            if let Next::Over(well) = self.look() {
                break well;
            }
        };
        self.forget();
        self.stop();
        well && self.tests > 0
    }

    fn tell(&self, what: &str) {
        (self.house.tell)(&format!("{}: {what}", self.peer));
    }

    /// Whether a client that does not listen is there at all is found out by reading.
    fn say(&mut self, message: &FromServer) {
        let _ = self.talk.say(message);
    }

    /// Its client went without a goodbye: a process that is killed closes its streams as if they had ended.
    fn left(&self, how: &str) -> Next {
        let between = matches!(self.state, State::Idle { .. });
        self.tell(&format!("{how} {}", if between { "without a goodbye" } else { "in the middle of a test" }));
        Next::Over(false)
    }

    fn next_look(&self) -> Duration {
        match &self.state {
            State::Attaching(attaching) if !attaching.listeners.is_empty() => LOOK_FOR_CONNECTIONS,
            State::Running(run) => run.sampler.next_look().saturating_duration_since(Instant::now()).min(LOOK),
            _ => LOOK,
        }
    }

    /// What time brings.
    fn look(&mut self) -> Next {
        let now = Instant::now();
        match &mut self.state {
            State::Idle { since } if now.duration_since(*since) > IDLE => {
                let what = format!("no test was asked for in {} s", IDLE.as_secs());
                self.say(&FromServer::Failed { what });
                return Next::Over(false);
            }
            State::Idle { .. } => {}
            State::Path(path) => {
                if let Some(what) = path.late(now) {
                    return self.fail(what);
                }
            }
            State::Attaching(attaching) => {
                if now > attaching.deadline {
                    let missing = attaching.sockets.iter().position(Option::is_none).unwrap_or_default();
                    let what = format!("stream {missing} did not connect within {} s", ATTACH.as_secs());
                    return self.fail(what);
                }
                return self.accept();
            }
            State::Running(run) => {
                if now > run.deadline {
                    run.running.stop();
                    run.deadline = now + LINGER;
                } else if let Some((interval, streams)) = run.sampler.look(&run.running, now) {
                    self.say(&FromServer::Progress { interval, streams });
                }
            }
        }
        Next::On
    }

    /// A test that cannot go on; the client may ask for another.
    fn fail(&mut self, what: String) -> Next {
        self.tell(&what);
        self.forget();
        self.stop();
        self.state = State::Idle { since: Instant::now() };
        self.say(&FromServer::Failed { what });
        Next::On
    }

    fn obey(&mut self, message: FromClient) -> Next {
        match (message, &self.state) {
            (FromClient::Prepare { spec }, State::Idle { .. }) => self.prepare(spec),
            (FromClient::Path(order), State::Idle { .. } | State::Path(_)) => self.path(order),
            (FromClient::Prepare { .. } | FromClient::Path(_), _) => {
                self.tell("asked for a test in the middle of another");
                self.say(&FromServer::Failed { what: "a test is under way already".to_owned() });
                Next::Over(false)
            }
            (FromClient::Finish { totals }, State::Running(run)) => {
                run.running.finish(&totals);
                Next::On
            }
            (FromClient::End, State::Running(run)) => {
                run.running.end();
                Next::On
            }
            (FromClient::Stop, State::Running(run)) => {
                run.running.stop();
                Next::On
            }
            (FromClient::Stop, State::Attaching(_)) => self.fail("the client broke it off".to_owned()),
            (FromClient::Bye, State::Idle { .. }) => Next::Over(true),
            (FromClient::Bye, _) => self.left("said goodbye"),
            // Of a test that has just ended.
            _ => Next::On,
        }
    }

    fn prepare(&mut self, spec: Spec) -> Next {
        let streams = if spec.streams == 1 { "1 stream".to_owned() } else { format!("{} streams", spec.streams) };
        let asked = format!("{} for {}, {streams}", spec.test, spec.duration);
        let prepared = self.house.bounds.admit(spec).and_then(|admitted| {
            let sends = admitted.spec.test.is_reverse() || admitted.spec.test.is_bidirectional();
            let lacks = egress::settled(&admitted.spec, self.peer.ip()).err().filter(|_| sends);
            if let Some(lacks) = lacks {
                return Err(format!("--pacing fq: the server's {lacks}; {}", egress::INSTEAD));
            }
            let cookie = Secret::random().map_err(|error| format!("make a cookie: {error}"))?;
            let listeners = if admitted.spec.test.is_per_connection() {
                (0..admitted.spec.streams)
                    .map(|_| {
                        let listener = traffic::listener(&admitted.spec, self.local.ip())?;
                        let port = listener.local_addr().ok().and_then(|at| at.as_socket()).map_or(0, |at| at.port());
                        // A listener that cannot be made so is found out by its first accept.
                        let _ = listener.set_nonblocking(true);
                        Ok((listener, port))
                    })
                    .collect::<Result<Vec<_>, traffic::Error>>()
                    .map_err(|error| error.to_string())?
            } else {
                Vec::new()
            };
            Ok((admitted, cookie, listeners))
        });
        let (Admitted { spec, notes }, cookie, listeners) = match prepared {
            Ok(prepared) => prepared,
            Err(what) => {
                self.tell(&format!("{asked}: not allowed: {what}"));
                self.say(&FromServer::Declined { what });
                return Next::On;
            }
        };
        self.tell(&asked);
        let (listeners, ports): (Vec<Socket>, Vec<u16>) = listeners.into_iter().unzip();
        let awaited = Awaited { cookie: cookie.clone(), streams: spec.streams, sender: self.events.clone() };
        self.house.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, awaited);
        self.say(&FromServer::Prepared { spec: spec.clone(), notes, cookie: cookie.reveal(), ports });
        let sockets = (0..spec.streams).map(|_| None).collect();
        let deadline = Instant::now() + ATTACH;
        self.state = State::Attaching(Box::new(Attaching { spec, sockets, listeners, deadline }));
        Next::On
    }

    /// Data connections are no longer awaited.
    fn forget(&mut self) {
        self.house.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }

    /// Takes the first connection of each listener, which says that the client is there.
    fn accept(&mut self) -> Next {
        let State::Attaching(attaching) = &mut self.state else { return Next::On };
        for (listener, place) in attaching.listeners.iter().zip(&mut attaching.sockets) {
            if place.is_none()
                && let Ok((socket, from)) = listener.accept()
                && from.as_socket().is_some_and(|from| from.ip() == self.peer.ip())
                && socket.set_nonblocking(false).is_ok()
            {
                *place = Some(socket);
            }
        }
        self.start()
    }

    fn attach(&mut self, stream: u32, socket: impl FnOnce(&Spec) -> Result<Socket, traffic::Error>) -> Next {
        let State::Attaching(attaching) = &mut self.state else { return Next::On };
        let Some(place @ None) = attaching.sockets.get_mut(stream as usize) else { return Next::On };
        match socket(&attaching.spec) {
            Ok(socket) => *place = Some(socket),
            Err(error) => return self.fail(error.to_string()),
        }
        self.start()
    }

    /// Starts the threads when every stream is here.
    fn start(&mut self) -> Next {
        match &self.state {
            State::Attaching(attaching) if attaching.sockets.iter().all(Option::is_some) => {}
            _ => return Next::On,
        }
        let state = std::mem::replace(&mut self.state, State::Idle { since: Instant::now() });
        let State::Attaching(attaching) = state else { return Next::On };
        let Attaching { spec, sockets, listeners, .. } = *attaching;
        self.forget();
        let sockets: Vec<Socket> = sockets.into_iter().flatten().collect();
        let events = self.events.clone();
        let done = Arc::new(move || _ = events.send(Inbox::Done));
        let deadline = Instant::now() + spec.total() + LINGER;
        let sampler = JobSampler::new(spec.interval.0);
        let arrivals = Arrivals::from(self.peer.ip());
        let blocking = || listeners.iter().try_for_each(|listener| listener.set_nonblocking(false));
        let started = match blocking() {
            Err(error) => Err(error.to_string()),
            Ok(()) => {
                // Greetings that were sent again.
                let mut again = sockets.iter().filter(|_| spec.test.is_udp());
                again
                    .try_for_each(traffic::discard_queued)
                    .and_then(|()| Running::with_sockets(spec, Role::Server, sockets, listeners, done))
                    .map_err(|error| error.to_string())
            }
        };
        match started {
            Ok(running) => {
                self.state = State::Running(Box::new(Run { running, sampler, arrivals, deadline }));
                self.say(&FromServer::Ready);
                Next::On
            }
            Err(what) => self.fail(what),
        }
    }

    /// The threads have ended.
    fn report(&mut self) -> Next {
        if !matches!(self.state, State::Running(_)) {
            return Next::On;
        }
        let state = std::mem::replace(&mut self.state, State::Idle { since: Instant::now() });
        let State::Running(run) = state else { return Next::On };
        let Run { running, sampler, arrivals, .. } = *run;
        let spec = running.spec().clone();
        let test = spec.test;
        match running.collect() {
            Ok(mut side) => {
                sampler.close(&mut side);
                egress::tell(&spec, &mut side);
                arrivals.tell(&mut side);
                self.tests += 1;
                self.tell(&outcome(test, &side));
                self.say(&FromServer::Result { side });
                Next::On
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// Ends what runs. Threads that do not end in time are left behind: they wait in the kernel and hold nothing shared.
    fn stop(&mut self) {
        let State::Running(run) = &self.state else { return };
        run.running.stop();
        let deadline = Instant::now() + STOP;
        while let Ok(item) = self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if matches!(item, Inbox::Done) {
                return;
            }
        }
    }
}

fn outcome(test: Test, side: &Side) -> String {
    match test.is_rr() {
        true => format!("{test} done: {:.0} trans/s", side.units_per_second()),
        false => format!("{test} done: {:.2} Gbit/s", side.bits_per_second() / 1e9),
    }
}
