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
    measured::{Interval, Side},
    plan::desired::FlowPath,
    traffic::{SenderTotals, Spec},
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
    /// A number not used before with these workers; the next one is used too.
    pub job: u32,
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
        let (client_job, server_job) = (self.job, self.job + 1);
        workers.ensure(server_ns)?;
        workers.ensure(client_ns)?;
        let peers = self.connect(workers)?;
        workers.send(server_ns, &FromDriver::Start { job: server_job, peers })?;
        workers.expect(server_ns, PREPARE, "accept the streams", |message| match message {
            FromWorker::Started { job } if *job == server_job => Some(()),
            _ => None,
        })?;
        let before = snapshot().map_err(RoundError::Counters)?;
        workers.send(client_ns, &FromDriver::Start { job: client_job, peers: Vec::new() })?;
        let (client, server) = self.wait(workers, tell, interrupt)?;
        let after = snapshot().map_err(RoundError::Counters)?;
        Ok(Measured { client, server, before, after })
    }

    /// Binds, connects; the client's addresses.
    fn connect(&self, workers: &mut Workers<'_>) -> Result<Vec<SocketAddr>, AgentError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        let (client_job, server_job) = (self.job, self.job + 1);
        let flow = &self.path.flow;
        let prepare =
            FromDriver::PrepareServer { job: server_job, spec: self.server.clone(), address: flow.to_address };
        workers.send(server_ns, &prepare)?;
        let ports = workers.expect(server_ns, PREPARE, "bind", |message| match message {
            FromWorker::Bound { job, ports } if *job == server_job => Some(ports.clone()),
            _ => None,
        })?;
        let targets = ports.iter().map(|&port| SocketAddr::new(flow.to_address, port)).collect();
        let prepare =
            FromDriver::PrepareClient { job: client_job, spec: self.client.clone(), from: flow.from_address, targets };
        workers.send(client_ns, &prepare)?;
        // Streams connect one after the other, each with its own time-out.
        workers.expect(client_ns, PREPARE * 2, "connect", |message| match message {
            FromWorker::Connected { job, locals } if *job == client_job => Some(locals.clone()),
            _ => None,
        })
    }

    fn wait(
        &self,
        workers: &mut Workers<'_>,
        tell: &mut dyn FnMut(&Interval),
        interrupt: &AtomicBool,
    ) -> Result<(Side, Side), AgentError> {
        let (client_ns, server_ns) = (&self.path.from_ns.0, &self.path.to_ns.0);
        let (client_job, server_job) = (self.job, self.job + 1);
        let headline_job = if self.client.test.is_judged_by_client() { client_job } else { server_job };
        let patience = self.client.total() + LINGER;
        let deadline = Instant::now() + patience;
        let (mut client, mut server, mut ending) = (None, None, false);
        while Instant::now() < deadline {
            if !ending && interrupt.load(Relaxed) {
                ending = true;
                // To the side that sends; the other takes no notice.
                workers.send(client_ns, &FromDriver::End { job: client_job })?;
                workers.send(server_ns, &FromDriver::End { job: server_job })?;
            }
            match workers.next(deadline.min(Instant::now() + LOOK))? {
                Some((_, FromWorker::Progress { job, interval, .. })) if job == headline_job => tell(&interval),
                Some((_, FromWorker::Result { job, side })) if job == client_job => {
                    let totals =
                        side.streams.iter().map(|s| SenderTotals { sent: s.units, elapsed_ns: s.elapsed_ns }).collect();
                    workers.send(server_ns, &FromDriver::Finish { job: server_job, totals })?;
                    client = Some(side);
                }
                Some((_, FromWorker::Result { job, side })) if job == server_job => server = Some(side),
                Some((ns, FromWorker::Error { what, .. })) => return Err(AgentError::Refused { ns, what }),
                _ => {}
            }
            if let (Some(_), Some(_)) = (&client, &server)
                && let Some(sides) = client.take().zip(server.take())
            {
                return Ok(sides);
            }
        }
        let late = if client.is_none() { client_ns } else { server_ns };
        Err(AgentError::Silent { ns: late.clone(), what: "give its result".to_owned(), seconds: patience.as_secs() })
    }
}
