//! `netbench stream`: one connection to a server, and tests over it.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::{
    arrivals::Arrivals,
    error::RemoteError,
    greeting::{Greeting, Purpose, Secret},
    message::{FromClient, FromServer},
    talk::{Heard, Talk, how},
};
use crate::{
    agent::{
        egress,
        frame::{self, FrameError},
    },
    facts::Machine,
    measured::{Interval, Side, StreamInterval},
    traffic::{self, Client, JobSampler, Running, SenderTotals, Spec},
};

/// Waiting for a server to answer a connect.
pub const CONNECT: Duration = Duration::from_secs(5);
/// Waiting for its welcome, and for each step of the preparation.
const ANSWER: Duration = Duration::from_secs(10);
/// Streams of datagrams say who they are again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// Beyond the length of a test, for its end.
const LINGER: Duration = Duration::from_secs(35);
/// For threads that were told to stop.
const STOP: Duration = Duration::from_secs(3);
/// How often the interrupt flag is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Hears each interval of an end and of its streams: of the server's, or of our own.
pub type Tell<'t> = &'t mut dyn FnMut(End, &Interval, &[StreamInterval]);

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Ours.
    Client,
    /// The other.
    Server,
}

pub mod path;

enum Inbox {
    Control(Heard<FromServer>),
    Done,
}

/// A server that has let us in.
pub struct Connection {
    talk: Talk,
    events: Sender<Inbox>,
    inbox: Receiver<Inbox>,
    /// The server.
    pub server: SocketAddr,
    /// Own address.
    pub local: SocketAddr,
    /// Protocol that both speak.
    pub protocol: u8,
    /// Version of the server's netbench.
    pub netbench: String,
    /// The server's machine.
    pub machine: Machine,
}

/// What a test brought.
#[derive(Debug)]
pub struct Outcome {
    /// Own account.
    pub client: Side,
    /// The server's.
    pub server: Side,
    /// What the server did otherwise than asked.
    pub notes: Vec<String>,
}

impl Connection {
    /// Connects to the first of these addresses that answers, and says the token.
    pub fn open(addresses: &[SocketAddr], token: &Secret) -> Result<Self, RemoteError> {
        let mut last = None;
        for &at in addresses {
            match TcpStream::connect_timeout(&at, CONNECT) {
                Ok(socket) => return Self::greet(socket, at, token),
                Err(error) => last = Some(RemoteError::Connect { at, error }),
            }
        }
        let none = || RemoteError::Resolve { host: "nothing".to_owned(), error: io::ErrorKind::NotFound.into() };
        Err(last.unwrap_or_else(none))
    }

    fn greet(socket: TcpStream, at: SocketAddr, token: &Secret) -> Result<Self, RemoteError> {
        let failed = |error| RemoteError::Connect { at, error };
        let local = socket.local_addr().map_err(failed)?;
        let mut talk = Talk::new(socket).map_err(failed)?;
        let greeting = Greeting::new(Purpose::Control, token.clone()).encode();
        talk.socket().write_all(&greeting).map_err(failed)?;
        let (protocol, netbench, machine) = match talk.hear(ANSWER, frame::LONGEST) {
            Ok(Some(FromServer::Welcome { protocol, netbench, machine })) => (protocol, netbench, machine),
            Ok(Some(FromServer::Refused { refusal, what })) => return Err(RemoteError::Refused { at, refusal, what }),
            Ok(Some(_)) => return Err(RemoteError::Stranger { at, what: "it began with another message".to_owned() }),
            Ok(None) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Err(FrameError::Pipe(error)) if error.kind() == io::ErrorKind::TimedOut => {
                let hint =
                    Some(": something accepts connections there and does not speak netbench's protocol".to_owned());
                return Err(RemoteError::Silent { at, what: "greet", seconds: ANSWER.as_secs(), hint });
            }
            Err(FrameError::Pipe(error)) => return Err(failed(error)),
            Err(error) => return Err(RemoteError::Stranger { at, what: error.to_string() }),
        };
        let (events, inbox) = channel();
        talk.listen(frame::LONGEST, events.clone(), Inbox::Control).map_err(failed)?;
        Ok(Self { talk, events, inbox, server: at, local, protocol, netbench, machine })
    }

    /// Longest packet that the kernel believes the path to carry; `None` when it does not say.
    pub fn path_mtu(&self) -> Option<u32> {
        traffic::path_mtu(&SockRef::from(self.talk.socket()))
    }

    /// Runs a test: `here` is this side's job, `there` the server's, the same but for what concerns one host. Each interval of
    /// either end is told; the flag ends the window early and in good order.
    pub fn run(
        &mut self,
        here: &Spec,
        there: &Spec,
        tell: Tell<'_>,
        interrupt: &AtomicBool,
    ) -> Result<Outcome, RemoteError> {
        self.say(&FromClient::Prepare { spec: there.clone() }, "preparing")?;
        let (notes, cookie, ports) = self.expect("prepare", None, interrupt, |message| match message {
            FromServer::Prepared { notes, cookie, ports, .. } => Some((notes, cookie, ports)),
            _ => None,
        })?;
        let cookie = Secret::from_text(&cookie)
            .map_err(|what| RemoteError::Stranger { at: self.server, what: format!("its cookie: {what}") })?;
        let target = |stream: u32| match ports.get(stream as usize) {
            Some(&port) => SocketAddr::new(self.server.ip(), port),
            None => self.server,
        };
        let targets: Vec<SocketAddr> = (0..here.streams).map(target).collect();
        let client = Client::connect(here.clone(), self.local.ip(), &targets)?;
        let greetings: Vec<Greeting> =
            (0..here.streams).map(|stream| Greeting::new(Purpose::Data { stream }, cookie.clone())).collect();
        if !here.test.is_udp() && ports.is_empty() {
            for (mut socket, greeting) in client.sockets().iter().zip(&greetings) {
                let failed = |error| RemoteError::Connect { at: self.server, error };
                socket.write_all(&greeting.encode()).map_err(failed)?;
            }
        }
        let mut greet = || {
            for (socket, greeting) in client.sockets().iter().zip(&greetings) {
                // Lost ones are sent again.
                let _ = socket.send(&greeting.encode_datagram());
            }
        };
        let greet: Option<&mut dyn FnMut()> = here.test.is_udp().then_some(&mut greet);
        let arrivals = Arrivals::from(self.server.ip());
        self.expect("say that it is ready", greet, interrupt, |message| {
            matches!(message, FromServer::Ready).then_some(())
        })?;
        let events = self.events.clone();
        let running = client.start(Arc::new(move || _ = events.send(Inbox::Done)))?;
        let (mut client, server) = self.wait(running, here, tell, interrupt)?;
        arrivals.tell(&mut client);
        Ok(Outcome { client, server, notes })
    }

    fn say(&mut self, message: &FromClient, during: &'static str) -> Result<(), RemoteError> {
        let at = self.server;
        self.talk.say(message).map_err(|error| match self.last_words() {
            Some(what) => RemoteError::Failed(what),
            None => RemoteError::Vanished { at, during, what: how(&error) },
        })
    }

    /// What the server said at its end: that tells more than a broken pipe does.
    fn last_words(&self) -> Option<String> {
        while let Ok(item) = self.inbox.recv_timeout(LOOK) {
            match item {
                Inbox::Control(Heard::Said(message)) => {
                    if let FromServer::Failed { what } = *message {
                        return Some(what);
                    }
                }
                Inbox::Done => {}
                Inbox::Control(_) => return None,
            }
        }
        None
    }

    /// Waits for the message that `pick` wants; meanwhile does something again and again.
    fn expect<T>(
        &mut self,
        what: &'static str,
        again: Option<&mut dyn FnMut()>,
        interrupt: &AtomicBool,
        pick: impl FnMut(FromServer) -> Option<T>,
    ) -> Result<T, RemoteError> {
        self.expect_within(ANSWER + AGAIN, what, again, interrupt, pick)
    }

    fn expect_within<T>(
        &mut self,
        patience: Duration,
        what: &'static str,
        mut again: Option<&mut dyn FnMut()>,
        interrupt: &AtomicBool,
        mut pick: impl FnMut(FromServer) -> Option<T>,
    ) -> Result<T, RemoteError> {
        let deadline = Instant::now() + patience;
        let mut next = Instant::now();
        while Instant::now() < deadline {
            if interrupt.load(Relaxed) {
                return Err(RemoteError::Interrupted);
            }
            if let Some(again) = again.as_mut().filter(|_| Instant::now() >= next) {
                again();
                next = Instant::now() + AGAIN;
            }
            match self.inbox.recv_timeout(AGAIN) {
                Ok(Inbox::Control(Heard::Said(message))) => match *message {
                    FromServer::Declined { what } => return Err(RemoteError::Declined(what)),
                    FromServer::Failed { what } => {
                        let silent =
                            again.is_some() && (what.contains("did not connect") || what.contains("no datagram"));
                        return Err(if silent { self.silent_datagrams() } else { RemoteError::Failed(what) });
                    }
                    message => {
                        if let Some(found) = pick(message) {
                            return Ok(found);
                        }
                    }
                },
                Ok(Inbox::Control(heard)) => return Err(self.vanished("preparing", heard)),
                Ok(Inbox::Done) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if again.is_some() {
            return Err(self.silent_datagrams());
        }
        Err(RemoteError::Silent { at: self.server, what, seconds: patience.as_secs(), hint: None })
    }

    fn silent_datagrams(&self) -> RemoteError {
        let hint =
            format!(": TCP gets through and UDP does not; does a firewall drop UDP to port {}?", self.server.port());
        RemoteError::Silent { at: self.server, what: "get a datagram", seconds: ANSWER.as_secs(), hint: Some(hint) }
    }

    fn vanished(&self, during: &'static str, heard: Heard<FromServer>) -> RemoteError {
        let what = match heard {
            Heard::Broken(error) => how(&error),
            _ => "it hung up".to_owned(),
        };
        RemoteError::Vanished { at: self.server, during, what }
    }

    fn wait(
        &mut self,
        running: Running,
        spec: &Spec,
        tell: Tell<'_>,
        interrupt: &AtomicBool,
    ) -> Result<(Side, Side), RemoteError> {
        let mut sampler = Some(JobSampler::new(spec.interval.0));
        let mut running = Some(running);
        let deadline = Instant::now() + spec.total() + LINGER;
        let (mut client, mut server, mut ending) = (None, None, false);
        let failed = loop {
            if let Some(sides) = take_both(&mut client, &mut server) {
                return Ok(sides);
            }
            let now = Instant::now();
            if now >= deadline {
                let what = if client.is_none() { "let our streams end" } else { "give its result" };
                break RemoteError::Silent {
                    at: self.server,
                    what,
                    seconds: (spec.total() + LINGER).as_secs(),
                    hint: None,
                };
            }
            if !ending && interrupt.load(Relaxed) {
                ending = true;
                if let Some(running) = &running {
                    running.end();
                }
                if let Err(error) = self.say(&FromClient::End, "testing") {
                    break error;
                }
            }
            let mut patience = LOOK;
            if let (Some(sampler), Some(running)) = (&mut sampler, &running) {
                if let Some((interval, streams)) = sampler.look(running, now) {
                    tell(End::Client, &interval, &streams);
                }
                patience = patience.min(sampler.next_look().saturating_duration_since(now));
            }
            match self.inbox.recv_timeout(patience) {
                Ok(Inbox::Done) => {
                    let (Some(running), Some(sampler)) = (running.take(), sampler.take()) else { continue };
                    match running.collect() {
                        Ok(mut side) => {
                            sampler.close(&mut side);
                            egress::tell(spec, &mut side);
                            let total =
                                |s: &crate::measured::Stream| SenderTotals { sent: s.units, elapsed_ns: s.elapsed_ns };
                            let totals = side.streams.iter().map(total).collect();
                            client = Some(side);
                            if let Err(error) = self.say(&FromClient::Finish { totals }, "testing") {
                                break error;
                            }
                        }
                        // Our stream broke: why is better known by the control connection.
                        Err(error) => break self.why(error),
                    }
                }
                Ok(Inbox::Control(Heard::Said(message))) => match *message {
                    FromServer::Progress { interval, streams } => tell(End::Server, &interval, &streams),
                    FromServer::Result { side } => server = Some(side),
                    FromServer::Failed { what } => break RemoteError::Failed(what),
                    _ => {}
                },
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Inbox::Control(heard)) => break self.vanished("testing", heard),
                Err(RecvTimeoutError::Disconnected) => break self.vanished("testing", Heard::Closed),
            }
        };
        if let Some(running) = running {
            running.stop();
            let deadline = Instant::now() + STOP;
            while let Ok(item) = self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                if matches!(item, Inbox::Done) {
                    break;
                }
            }
        }
        Err(failed)
    }

    /// The reason behind a stream that broke.
    fn why(&mut self, error: traffic::Error) -> RemoteError {
        let deadline = Instant::now() + STOP;
        while let Ok(item) = self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            match item {
                Inbox::Control(Heard::Said(message)) => match *message {
                    FromServer::Failed { what } => return RemoteError::Failed(what),
                    FromServer::Result { .. } => return RemoteError::Here(error),
                    _ => {}
                },
                Inbox::Control(heard) => return self.vanished("testing", heard),
                Inbox::Done => {}
            }
        }
        let _ = self.talk.say(&FromClient::Stop);
        RemoteError::Here(error)
    }

    /// Says goodbye.
    pub fn close(mut self) {
        let _ = self.talk.say(&FromClient::Bye);
    }
}

fn take_both(client: &mut Option<Side>, server: &mut Option<Side>) -> Option<(Side, Side)> {
    match (&client, &server) {
        (Some(_), Some(_)) => client.take().zip(server.take()),
        _ => None,
    }
}
