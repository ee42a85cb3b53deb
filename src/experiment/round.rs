//! One round: server bound, client connected, counters read, traffic, counters read again.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::evidence::Counters;
use crate::{
    agent::{
        AgentError, Workers,
        message::{FromDriver, FromWorker},
    },
    measured::{Interval, Side, Stream},
    plan::desired::FlowPath,
    traffic::{FrameEnds, SenderTotals, Spec},
};

/// For a step of the preparation, beyond what the worker's own time-outs take.
const PREPARE: Duration = Duration::from_secs(10);
/// Beyond the length of the test, for its end: the sender waits up to 20 s for a slow path to drain.
const LINGER: Duration = Duration::from_secs(25);
/// How often the interrupt flag is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a round brought.
pub struct Measured {
    /// The client's account.
    pub client: Side,
    /// The server's.
    pub server: Side,
    /// Counters before the first byte.
    pub before: Counters,
    /// And after the last.
    pub after: Counters,
    /// Client and server of the stream beside it.
    pub load: Option<(Side, Side)>,
}

impl Measured {
    /// Did the measured window bring nothing at all?
    pub fn is_empty(&self) -> bool {
        let streams = || self.client.streams.iter().chain(&self.server.streams);
        let sides = [&self.client, &self.server];
        sides.iter().any(|side| side.streams.iter().all(|s| s.bytes == 0 && s.units == 0))
            || streams().all(|stream| stream.elapsed_ns == 0)
    }
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

/// Both sides' jobs of one round.
pub struct Round<'r> {
    /// The flow.
    pub path: &'r FlowPath,
    /// The client's job.
    pub client: Spec,
    /// The server's: the same but for its CPUs.
    pub server: Spec,
    /// A number not used before with these workers; the next three are used too.
    pub job: u32,
    /// Client's and server's job of a stream that runs beside it, from before its first request to after its last.
    pub load: Option<(Spec, Spec)>,
}

/// The two jobs of a test, and what they brought so far.
struct Pair<'r> {
    client: &'r Spec,
    server: &'r Spec,
    client_job: u32,
    server_job: u32,
    sides: (Option<Side>, Option<Side>),
}

impl<'r> Pair<'r> {
    fn new(client: &'r Spec, server: &'r Spec, job: u32) -> Self {
        Self { client, server, client_job: job, server_job: job + 1, sides: (None, None) }
    }

    /// The job whose account is the headline.
    fn headline_job(&self) -> u32 {
        if self.client.test.is_judged_by_client() { self.client_job } else { self.server_job }
    }

    /// Keeps a result of one of its jobs. A client's says what the server is to be told: its job, and what was sent.
    fn take(&mut self, job: u32, side: Side) -> Option<(u32, Vec<SenderTotals>)> {
        if job == self.server_job {
            self.sides.1 = Some(side);
            return None;
        }
        let totals = |s: &Stream| SenderTotals { sent: s.units, elapsed_ns: s.elapsed_ns };
        let totals = (job == self.client_job).then(|| side.streams.iter().map(totals).collect())?;
        self.sides.0 = Some(side);
        Some((self.server_job, totals))
    }

    fn is_done(&self) -> bool {
        self.sides.0.is_some() && self.sides.1.is_some()
    }
}

impl Round<'_> {
    /// Runs it. Each interval of the headline side is told; the flag ends the window early and in good order.
    /// After an error both workers are let go, so that nothing of the round lives on.
    pub fn run(
        &self,
        workers: &mut Workers<'_>,
        snapshot: &mut dyn FnMut() -> Result<Counters, String>,
        tell: &mut dyn FnMut(&Interval),
        interrupt: &AtomicBool,
    ) -> Result<Measured, RoundError> {
        let outcome = self.measure(workers, snapshot, tell, interrupt);
        if outcome.is_err() {
            workers.dismiss(&self.path.from_ns.0);
            workers.dismiss(&self.path.to_ns.0);
        }
        outcome
    }

    fn measure(
        &self,
        workers: &mut Workers<'_>,
        snapshot: &mut dyn FnMut() -> Result<Counters, String>,
        tell: &mut dyn FnMut(&Interval),
        interrupt: &AtomicBool,
    ) -> Result<Measured, RoundError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        workers.ensure(server_ns)?;
        workers.ensure(client_ns)?;
        let mut test = Pair::new(&self.client, &self.server, self.job);
        let mut load = self.load.as_ref().map(|(client, server)| Pair::new(client, server, self.job + 2));
        for pair in [Some(&test), load.as_ref()].into_iter().flatten() {
            let peers = self.connect(workers, pair)?;
            workers.send(server_ns, &FromDriver::Start { job: pair.server_job, peers })?;
            workers.expect(server_ns, PREPARE, "accept the streams", |message| match message {
                FromWorker::Started { job } if *job == pair.server_job => Some(()),
                _ => None,
            })?;
        }
        let before = snapshot().map_err(RoundError::Counters)?;
        if let Some(load) = &load {
            workers.send(client_ns, &FromDriver::Start { job: load.client_job, peers: Vec::new() })?;
            let by = if load.client.test.is_judged_by_client() { client_ns } else { server_ns };
            // The first interval of its window is over: it runs as it will.
            workers.expect(by, PREPARE + load.client.omit.0, "carry the load", |message| match message {
                FromWorker::Progress { job, .. } if *job == load.headline_job() => Some(()),
                _ => None,
            })?;
        }
        workers.send(client_ns, &FromDriver::Start { job: test.client_job, peers: Vec::new() })?;
        self.wait(workers, &mut test, load.as_mut(), tell, interrupt)?;
        let after = snapshot().map_err(RoundError::Counters)?;
        let sides = |pair: Pair<'_>| pair.sides.0.zip(pair.sides.1);
        let missing = || AgentError::Refused { ns: client_ns.clone(), what: "gave no result".to_owned() };
        let (client, server) = sides(test).ok_or_else(missing)?;
        Ok(Measured { client, server, before, after, load: load.and_then(sides) })
    }

    /// Binds, connects; the client's addresses.
    fn connect(&self, workers: &mut Workers<'_>, pair: &Pair<'_>) -> Result<Vec<SocketAddr>, AgentError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        let Pair { client_job, server_job, .. } = *pair;
        let flow = &self.path.flow;
        // Frames of another round, or of anybody else, are none of this one's.
        let token = std::process::id() ^ self.job.rotate_left(16) ^ pair.client_job;
        let named = |spec: &Spec, peer| Spec { frames: FrameEnds { token, peer, source: None }, ..spec.clone() };
        let prepare =
            FromDriver::PrepareServer { job: server_job, spec: named(pair.server, None), address: flow.to_address };
        workers.send(server_ns, &prepare)?;
        let (ports, mac) = workers.expect(server_ns, PREPARE, "bind", |message| match message {
            FromWorker::Bound { job, ports, mac } if *job == server_job => Some((ports.clone(), *mac)),
            _ => None,
        })?;
        let targets = ports.iter().map(|&port| SocketAddr::new(flow.to_address, port)).collect();
        let prepare = FromDriver::PrepareClient {
            job: client_job,
            spec: named(pair.client, mac),
            from: flow.from_address,
            targets,
        };
        workers.send(client_ns, &prepare)?;
        // Streams connect one after the other, each with its own time-out.
        workers.expect(client_ns, PREPARE * 2, "connect", |message| match message {
            FromWorker::Connected { job, locals } if *job == client_job => Some(locals.clone()),
            _ => None,
        })
    }

    /// Until every job has given its result. The stream beside a test ends when the test has.
    fn wait(
        &self,
        workers: &mut Workers<'_>,
        test: &mut Pair<'_>,
        mut load: Option<&mut Pair<'_>>,
        tell: &mut dyn FnMut(&Interval),
        interrupt: &AtomicBool,
    ) -> Result<(), AgentError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        let headline_job = test.headline_job();
        let patience = self.client.total() + LINGER * if load.is_some() { 2 } else { 1 };
        let deadline = Instant::now() + patience;
        let mut ending = false;
        while Instant::now() < deadline {
            if !ending && interrupt.load(Relaxed) {
                ending = true;
                end(workers, self, test)?;
            }
            match workers.next(deadline.min(Instant::now() + LOOK))? {
                Some((_, FromWorker::Progress { job, interval })) if job == headline_job => tell(&interval),
                Some((_, FromWorker::Result { job, side })) => {
                    let is_the_tests = job == test.client_job || job == test.server_job;
                    if let Some((job, totals)) = test.take(job, side.clone()) {
                        workers.send(server_ns, &FromDriver::Finish { job, totals })?;
                    }
                    if let Some((job, totals)) = load.as_deref_mut().and_then(|load| load.take(job, side)) {
                        workers.send(server_ns, &FromDriver::Finish { job, totals })?;
                    }
                    if let Some(load) = load.as_deref().filter(|_| is_the_tests && test.is_done()) {
                        end(workers, self, load)?;
                    }
                }
                Some((ns, FromWorker::Error { what, .. })) => return Err(AgentError::Refused { ns, what }),
                _ => {}
            }
            if test.is_done() && load.as_deref().is_none_or(Pair::is_done) {
                return Ok(());
            }
        }
        let late = if test.sides.0.is_none() { client_ns } else { server_ns };
        Err(AgentError::Silent { ns: late.clone(), what: "give its result".to_owned(), seconds: patience.as_secs() })
    }
}

/// To the side that sends; the other takes no notice.
fn end(workers: &mut Workers<'_>, round: &Round<'_>, pair: &Pair<'_>) -> Result<(), AgentError> {
    workers.send(&round.path.from_ns.0, &FromDriver::End { job: pair.client_job })?;
    workers.send(&round.path.to_ns.0, &FromDriver::End { job: pair.server_job })
}
