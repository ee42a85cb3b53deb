//! The driver of `netbench stream`: the same rounds as a run's, between this host and a server that nobody declared.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use super::{
    live::{self, Looked, Looker},
    options::Options,
    round::{Ends, Told},
    run::{self, Progress, Step},
    summary,
};
use crate::{
    agent::egress,
    measured::{Interval, StreamInterval},
    plan::desired::{FlowPath, NsId},
    record::{PathVerdict, PeerRecord, RunRecord, Sequential},
    remote::{Connection, End, Outcome, RemoteError, Secret, Tell},
    topology::model::Flow,
    traffic::Spec,
    units::CpuList,
};

/// Where a server is, and what it asks for.
#[derive(Debug, Clone)]
pub struct Target {
    /// As it was typed.
    pub name: String,
    /// Its addresses, the best first.
    pub addresses: Vec<SocketAddr>,
    /// What it wants to hear.
    pub token: Secret,
    /// Name of this host.
    pub here: String,
    /// CPUs of this side's data threads.
    pub cpus: Option<CpuList>,
}

/// Measures all tests into `record`, round by round; a failed round is said in its test's verdict and the run goes on.
///
/// # Errors
/// The server cannot be reached, or does not let us in.
pub fn run(
    record: &mut RunRecord,
    target: &Target,
    options: &mut Options,
    progress: &mut dyn FnMut(Progress<'_>),
    interrupt: &AtomicBool,
) -> Result<(), RemoteError> {
    let open = || Connection::open(&target.addresses, &target.token);
    let mut connection = Some(open()?);
    let Some(first) = &connection else { return Ok(()) };
    record.peer = Some(PeerRecord {
        address: first.server.to_string(),
        netbench: first.netbench.clone(),
        protocol: first.protocol,
        machine: first.machine.clone(),
    });
    let path = path(target, first);
    options.cpus = target.cpus.iter().map(|cpus| (path.flow.from.clone(), cpus.clone())).collect();
    record.flows = vec![run::flow_record(&path, options)];
    record.sequential = options.rule.map(|rule| Sequential { rule, stopped: None });
    let (least, most) = options.all_rounds();
    let (mut number, began) = (0, Instant::now());
    'rounds: for round in 1..=most {
        let of = least.max(round).saturating_mul(options.tests.len() as u32);
        for (position, &test) in options.tests.iter().enumerate() {
            number += 1;
            if interrupt.load(Relaxed) {
                break 'rounds;
            }
            let result = &mut record.flows[0].tests[position];
            if !result.verdict.reasons.is_empty() && result.rounds.len() < (round - 1) as usize {
                continue;
            }
            let spec = options.job(test, &path);
            let (from, to) = (&*path.flow.from, &*path.flow.to);
            let step = Step { number, of, from, to, pairs: 1, test, round, seconds: spec.total().as_secs_f64() };
            progress(Progress::Begin(step));
            let mut looker = options.live.then(Looker::default);
            let mut next = Instant::now() + live::EVERY;
            let mut tell = |end: End, interval: &Interval, streams: &[StreamInterval]| {
                let is_headline = test.is_judged_by_client() == (end == End::Client);
                let is_sender = test.is_reverse() == (end == End::Server);
                let told = Told { lane: 0, nodes: (from, to), is_headline, is_sender, interval, streams };
                progress(Progress::Told(step, told));
                if is_headline {
                    progress(Progress::Interval(step, interval));
                }
                // Of the way between the hosts nothing is known; the CPUs are those of this one.
                if let Some(looker) = looker.as_mut().filter(|_| Instant::now() >= next) {
                    next = Instant::now() + live::EVERY;
                    progress(Progress::Seen(step, &Looked { hops: Vec::new(), cpus: looker.cpus() }));
                }
            };
            // After a failure the next test begins afresh.
            let outcome = match connection.take().map_or_else(open, Ok) {
                Err(error) => Err(error),
                Ok(mut there) => {
                    let outcome = measure(&mut there, &spec, target, &mut tell, interrupt);
                    if outcome.as_ref().err().is_none_or(RemoteError::leaves_the_connection) {
                        connection = Some(there);
                    }
                    outcome
                }
            };
            match outcome {
                Ok(Outcome { client, server, notes }) => {
                    let ends = Ends::new(test, client, server, [0; 2]);
                    // Ctrl-C fell into the warm-up: a window that never opened is not a round.
                    if !(interrupt.load(Relaxed) && ends.is_empty()) {
                        run::book_uncounted(result, round, &path, &spec, options, ends);
                        if let Some(booked) = result.rounds.last_mut() {
                            booked.path.verdict = PathVerdict::NoTopology;
                        }
                    }
                    for note in notes {
                        let warning = format!("{test}: the server says: {note}");
                        if !record.warnings.contains(&warning) {
                            record.warnings.push(warning);
                        }
                    }
                }
                Err(RemoteError::Interrupted) => {}
                Err(error) => result.verdict.reasons.push(format!("round {round}: {error}")),
            }
            summary::refresh(result);
        }
        if run::is_enough(record, began) {
            break;
        }
    }
    if let Some(connection) = connection {
        connection.close();
    }
    record.interrupted = interrupt.load(Relaxed);
    run::conclude(record);
    Ok(())
}

fn measure(
    connection: &mut Connection,
    spec: &Spec,
    target: &Target,
    tell: Tell<'_>,
    interrupt: &AtomicBool,
) -> Result<Outcome, RemoteError> {
    let sends = !spec.test.is_reverse();
    let here =
        if sends { egress::settled(spec, connection.server.ip()).map_err(RemoteError::Failed)? } else { spec.clone() };
    let here = Spec { cpus: target.cpus.as_ref().map(|cpus| cpus.0.clone()), ..here };
    connection.run(&here, spec, tell, interrupt)
}

/// The way to the server: two ends, and nothing known between them.
fn path(target: &Target, connection: &Connection) -> FlowPath {
    let flow = Flow {
        from: target.here.clone(),
        to: target.name.clone(),
        from_address: connection.local.ip(),
        to_address: connection.server.ip(),
        mtu: connection.path_mtu().unwrap_or(0),
    };
    FlowPath { flow, from_ns: NsId::new("here"), to_ns: NsId::new("there"), hops: Vec::new() }
}
