//! One round of one flow or of many at a time: servers bound, clients connected, counters read, traffic, counters read again.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    evidence::{Counters, Seen},
    live,
};
use crate::{
    agent::{
        AgentError, Workers,
        message::{FromDriver, FromWorker},
    },
    measured::{Interval, Side, StreamInterval, Test},
    plan::desired::FlowPath,
    traffic::{FrameEnds, SenderTotals, Spec},
};

/// For a step of the preparation, beyond what the worker's own time-outs take.
const PREPARE: Duration = Duration::from_secs(10);
/// Beyond the length of the test, for its end: the sender waits up to 20 s for a slow path to drain.
const LINGER: Duration = Duration::from_secs(25);
/// How often the interrupt flag is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a flow brought.
pub struct Ends {
    /// The client's account.
    pub client: Side,
    /// The server's.
    pub server: Side,
    /// When the window of each opened (`CLOCK_MONOTONIC`, nanoseconds).
    pub opened_ns: [u64; 2],
}

impl Ends {
    /// What both ends of a test brought, with what a receiver that began late missed made up for.
    pub fn new(test: Test, mut client: Side, mut server: Side, opened_ns: [u64; 2]) -> Self {
        if test.is_byte_stream() {
            let (sender, receiver) = if test.is_reverse() { (&server, &mut client) } else { (&client, &mut server) };
            receiver.make_up(sender);
            if let Some((receiver, sender)) = client.back.as_deref_mut().zip(server.back.as_deref()) {
                receiver.make_up(sender);
            }
        }
        Self { client, server, opened_ns }
    }

    /// Did the measured window bring nothing at all?
    pub fn is_empty(&self) -> bool {
        let streams = || self.client.streams.iter().chain(&self.server.streams);
        let sides = [&self.client, &self.server];
        sides.iter().any(|side| side.streams.iter().all(|s| s.bytes == 0 && s.units == 0))
            || streams().all(|stream| stream.elapsed_ns == 0)
    }
}

/// What a round brought.
pub struct Measured {
    /// Every flow, in order.
    pub ends: Vec<Ends>,
    /// Counters before the first byte.
    pub before: Seen,
    /// And after the last.
    pub after: Seen,
}

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// A worker failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The interface counters could not be read.
    #[error("read interface counters: {0}")]
    Counters(String),
}

/// Both sides' jobs of one flow.
pub struct Lane<'r> {
    /// The flow.
    pub path: &'r FlowPath,
    /// The client's job.
    pub client: Spec,
    /// The server's: the same but for its CPUs.
    pub server: Spec,
    /// A number not used before with these workers; the next one is used too.
    pub job: u32,
    /// Runs from before the first request of the others to after their last, and is ended when they are done.
    pub is_load: bool,
}

/// An interval of one end of a flow, as it is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'t> {
    /// Which of the round's flows.
    pub lane: usize,
    /// Its nodes: client and server.
    pub nodes: (&'t str, &'t str),
    /// The end that gives the headline.
    pub is_headline: bool,
    /// The end that sends the stream (of requests: the client).
    pub is_sender: bool,
    /// All of its streams.
    pub interval: &'t Interval,
    /// Each of them.
    pub streams: &'t [StreamInterval],
}

/// The counters while a round runs.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'s> {
    /// When the round's traffic began.
    pub began: Instant,
    /// As they were then.
    pub before: &'s Counters,
    /// As they are.
    pub now: &'s Counters,
}

/// What is heard of a round while it runs.
#[derive(Debug, Clone, Copy)]
pub enum News<'n> {
    /// An interval of one end is over.
    Told(Told<'n>),
    /// The counters were looked at.
    Seen(Sight<'n>),
}

/// Hears the news.
pub struct Audience<'t> {
    /// Hears what is told.
    pub hear: &'t mut dyn FnMut(News<'_>),
    /// Wants the counters too, several times a second.
    pub looks: bool,
}

/// Reads the counters of every interface.
pub type Snapshot<'s> = &'s mut dyn FnMut() -> Result<Seen, String>;

/// Runs flows at the same time. Each interval is told, and the counters where the audience wants them; the flag ends the windows early and in good order.
/// After an error all workers of the round are let go, so that nothing of it lives on.
pub fn run(
    lanes: &[Lane<'_>],
    workers: &mut Workers<'_>,
    snapshot: Snapshot<'_>,
    audience: Audience<'_>,
    interrupt: &AtomicBool,
) -> Result<Measured, RoundError> {
    let outcome = measure(lanes, workers, snapshot, audience, interrupt);
    if outcome.is_err() {
        for lane in lanes {
            workers.dismiss(&lane.path.from_ns.0);
            workers.dismiss(&lane.path.to_ns.0);
        }
    }
    outcome
}

fn measure(
    lanes: &[Lane<'_>],
    workers: &mut Workers<'_>,
    snapshot: Snapshot<'_>,
    mut audience: Audience<'_>,
    interrupt: &AtomicBool,
) -> Result<Measured, RoundError> {
    let mut peers = Vec::with_capacity(lanes.len());
    for lane in lanes {
        workers.ensure(&lane.path.to_ns.0)?;
        workers.ensure(&lane.path.from_ns.0)?;
        peers.push(lane.connect(workers)?);
    }
    for (lane, peers) in lanes.iter().zip(peers) {
        let (server_ns, server_job) = (&lane.path.to_ns.0, lane.job + 1);
        workers.send(server_ns, &FromDriver::Start { job: server_job, peers })?;
        workers.expect(server_ns, PREPARE, "accept the streams", |message| match message {
            FromWorker::Started { job } if *job == server_job => Some(()),
            _ => None,
        })?;
    }
    let before = snapshot().map_err(RoundError::Counters)?;
    for lane in lanes.iter().filter(|lane| lane.is_load) {
        lane.carry(workers)?;
    }
    // Nothing has been sent yet by any of them; now all of them go, as fast as messages can be written.
    for lane in lanes.iter().filter(|lane| !lane.is_load) {
        workers.send(&lane.path.from_ns.0, &FromDriver::Start { job: lane.job, peers: Vec::new() })?;
    }
    let began = Instant::now();
    let mut next = began + live::EVERY;
    let looks = audience.looks;
    let mut meanwhile = |hear: &mut dyn FnMut(News<'_>)| {
        let now = Instant::now();
        if looks && now >= next {
            // What cannot be read now is read at the end, where it matters.
            if let Ok(seen) = snapshot() {
                hear(News::Seen(Sight { began, before: &before.links, now: &seen.links }));
            }
            next = Instant::now() + live::pause(now.elapsed());
        }
    };
    let ends = wait(lanes, workers, &mut audience, &mut meanwhile, interrupt)?;
    let after = snapshot().map_err(RoundError::Counters)?;
    Ok(Measured { ends, before, after })
}

/// Does what is due beside the waiting.
type Meanwhile<'m> = &'m mut dyn FnMut(&mut dyn FnMut(News<'_>));

fn wait(
    lanes: &[Lane<'_>],
    workers: &mut Workers<'_>,
    audience: &mut Audience<'_>,
    meanwhile: Meanwhile<'_>,
    interrupt: &AtomicBool,
) -> Result<Vec<Ends>, AgentError> {
    let longest = lanes.iter().filter(|lane| !lane.is_load).map(|lane| lane.client.total()).max();
    let has_load = lanes.iter().any(|lane| lane.is_load);
    let patience = longest.unwrap_or_default() + LINGER * if has_load { 2 } else { 1 };
    let deadline = Instant::now() + patience;
    let mut sides: Vec<[Option<(Side, u64)>; 2]> = lanes.iter().map(|_| [None, None]).collect();
    let (mut ending, mut unloading) = (false, false);
    // Which flow and which end a job is of: client 0, server 1.
    let of = |job: u32| {
        let lane = lanes.iter().position(|lane| job == lane.job || job == lane.job + 1)?;
        Some((lane, usize::from(job != lanes[lane].job)))
    };
    while Instant::now() < deadline {
        if !ending && interrupt.load(Relaxed) {
            ending = true;
            lanes.iter().filter(|lane| !lane.is_load).try_for_each(|lane| lane.end(workers))?;
        }
        meanwhile(audience.hear);
        match workers.next(deadline.min(Instant::now() + LOOK))? {
            Some((_, FromWorker::Progress { job, interval, streams })) => {
                if let Some((lane, end)) = of(job).filter(|&(lane, _)| !lanes[lane].is_load) {
                    let test = lanes[lane].client.test;
                    let is_headline = test.is_judged_by_client() == (end == 0);
                    let is_sender = test.is_reverse() == (end == 1);
                    let flow = &lanes[lane].path.flow;
                    let nodes = (&*flow.from, &*flow.to);
                    let told = Told { lane, nodes, is_headline, is_sender, interval: &interval, streams: &streams };
                    (audience.hear)(News::Told(told));
                }
            }
            Some((_, FromWorker::Result { job, side, opened_ns })) => {
                let Some((lane, end)) = of(job) else { continue };
                if end == 0 {
                    let totals =
                        side.streams.iter().map(|s| SenderTotals { sent: s.units, elapsed_ns: s.elapsed_ns }).collect();
                    let server_job = lanes[lane].job + 1;
                    workers.send(&lanes[lane].path.to_ns.0, &FromDriver::Finish { job: server_job, totals })?;
                }
                sides[lane][end] = Some((side, opened_ns));
            }
            Some((ns, FromWorker::Error { what, .. })) => return Err(workers.refused(ns, what)),
            _ => {}
        }
        let mut open = lanes.iter().zip(&sides).filter(|(_, sides)| sides.iter().any(Option::is_none));
        if !unloading && open.clone().all(|(lane, _)| lane.is_load) {
            unloading = true;
            open.clone().try_for_each(|(lane, _)| lane.end(workers))?;
        }
        if open.next().is_none() {
            let both = |(lane, [client, server]): (&Lane<'_>, [Option<(Side, u64)>; 2])| {
                let ((client, first), (server, second)) = (client?, server?);
                Some(Ends::new(lane.client.test, client, server, [first, second]))
            };
            return Ok(lanes.iter().zip(sides).filter_map(both).collect());
        }
    }
    let late = sides.iter().position(|sides| sides.iter().any(Option::is_none)).unwrap_or(0);
    let (path, client) = (lanes[late].path, &sides[late][0]);
    let ns = if client.is_none() { &path.from_ns.0 } else { &path.to_ns.0 };
    Err(AgentError::Silent { ns: ns.clone(), what: "give its result".to_owned(), seconds: patience.as_secs() })
}

impl Lane<'_> {
    /// Binds, connects; the client's addresses.
    fn connect(&self, workers: &mut Workers<'_>) -> Result<Vec<SocketAddr>, AgentError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        let (client_job, server_job) = (self.job, self.job + 1);
        let flow = &self.path.flow;
        // Frames of another round, or of anybody else, are none of this one's.
        let token = std::process::id() ^ self.job.rotate_left(16);
        let named = |spec: &Spec, peer| Spec { frames: FrameEnds { token, peer, source: None }, ..spec.clone() };
        let prepare =
            FromDriver::PrepareServer { job: server_job, spec: named(&self.server, None), address: flow.to_address };
        workers.send(server_ns, &prepare)?;
        let (ports, mac) = workers.expect(server_ns, PREPARE, "bind", |message| match message {
            FromWorker::Bound { job, ports, mac } if *job == server_job => Some((ports.clone(), *mac)),
            _ => None,
        })?;
        let targets = ports.iter().map(|&port| SocketAddr::new(flow.to_address, port)).collect();
        let spec = named(&self.client, mac);
        let prepare = FromDriver::PrepareClient { job: client_job, spec, from: flow.from_address, targets };
        workers.send(client_ns, &prepare)?;
        // Streams connect one after the other, each with its own time-out.
        workers.expect(client_ns, PREPARE * 2, "connect", |message| match message {
            FromWorker::Connected { job, locals } if *job == client_job => Some(locals.clone()),
            _ => None,
        })
    }

    /// Starts a stream that is a load, and waits until it is one.
    fn carry(&self, workers: &mut Workers<'_>) -> Result<(), AgentError> {
        workers.send(&self.path.from_ns.0, &FromDriver::Start { job: self.job, peers: Vec::new() })?;
        let (by, judge) = match self.client.test.is_judged_by_client() {
            true => (&self.path.from_ns.0, self.job),
            false => (&self.path.to_ns.0, self.job + 1),
        };
        // The first interval of its window is over: it runs as it will.
        workers.expect(by, PREPARE + self.client.omit.0, "carry the load", |message| match message {
            FromWorker::Progress { job, .. } if *job == judge => Some(()),
            _ => None,
        })
    }

    /// Ends it before its time. To the side that sends; the other takes no notice.
    fn end(&self, workers: &mut Workers<'_>) -> Result<(), AgentError> {
        workers.send(&self.path.from_ns.0, &FromDriver::End { job: self.job })?;
        workers.send(&self.path.to_ns.0, &FromDriver::End { job: self.job + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::profile,
        measured::{SocketFacts, Stream, StreamIo, ThreadCpu},
    };

    /// One stream of a megabyte in a second, as it is told by a sender, or by a receiver that began in the middle of it.
    fn side(is_sender: bool) -> Side {
        let (elapsed_ns, drained_ns, queued) =
            if is_sender { (1_000_000_000, Some(1_000_000_000), None) } else { (500_000_000, None, Some(500_000)) };
        let stream = Stream {
            stream: 0,
            local: "198.18.0.1:1".to_owned(),
            peer: "198.18.0.2:1".to_owned(),
            bytes: 1_000_000,
            omitted_bytes: 0,
            units: 0,
            omitted_units: 0,
            elapsed_ns,
            calls: 0,
            io: Some(StreamIo { drained_ns, queued, ..StreamIo::default() }),
            cpu: ThreadCpu::default(),
            socket: SocketFacts::default(),
            tcp: None,
            datagrams: None,
            verified: None,
            schedule: None,
            retries: None,
        };
        Side { streams: vec![stream], ..Side::default() }
    }

    #[test]
    fn whoever_receives_is_made_up_for_a_late_beginning() {
        let rate = |side: &Side| side.bits_per_second() / 1e6;
        assert!((rate(&side(false)) - 16.0).abs() < 1e-6, "as it was counted");
        let there = Ends::new(Test::TcpStream, side(true), side(false), [0; 2]);
        let here = Ends::new(Test::TcpMaerts, side(false), side(true), [0; 2]);
        let with_back = |is_sender: bool| Side { back: Some(Box::new(side(!is_sender))), ..side(is_sender) };
        let both = Ends::new(Test::TcpBidir, with_back(true), with_back(false), [0; 2]);
        let back = both.client.back.as_deref().unwrap();
        for receiver in [&there.server, &here.client, &both.server, back] {
            assert!((rate(receiver) - 8.0).abs() < 1e-6, "{receiver:?}");
            // And so is what is held against a ceiling.
            assert!((profile::achieved(receiver) / 1e6 - 8.0).abs() < 1e-6, "{receiver:?}");
        }
        let datagrams = Ends::new(Test::UdpStream, side(true), side(false), [0; 2]);
        assert!((rate(&datagrams.server) - 16.0).abs() < 1e-6, "its own receiver knows the sender's window");
    }
}
