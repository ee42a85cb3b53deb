//! The driver of `netbench run`: every flow × test × round, rounds outermost, so that a change of the machine's mood
//! during the run falls on all tests alike.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use super::{
    bottleneck,
    evidence::{Carried, Counters, judge},
    io_probe::{self, Around, Fixed},
    loss,
    options::Options,
    profile,
    round::{Measured, Round, RoundError},
    summary, under_load,
};
use crate::{
    agent::{AgentError, Workers},
    measured::{Interval, Side, Test},
    plan::{
        ceiling::Bound,
        desired::{Direction, FlowPath},
    },
    record::{
        FlowRecord, OtherWay, PathEvidence, PathVerdict, RoundRecord, RunRecord, Sequential, Settings, TestRecord,
        Verdict,
    },
    stats::{sequential::Stop, warning::Warning},
    traffic::Spec,
};

/// What is told while a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'p> {
    /// A round begins.
    Begin(Step<'p>),
    /// An interval of it is over, by the account of the side that gives the headline.
    Interval(Step<'p>, &'p Interval),
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub struct Step<'p> {
    /// Number of this round among all of the run, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// Client node.
    pub from: &'p str,
    /// Server node.
    pub to: &'p str,
    /// The test.
    pub test: Test,
    /// Its round, from 1.
    pub round: u32,
    /// Window and warm-up, seconds.
    pub seconds: f64,
}

/// Why a run could not go on. What was measured before is in the record.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A worker cannot be started at all.
    #[error(transparent)]
    Agent(AgentError),
    /// The interface counters could not be read: no path could be proved.
    #[error("read interface counters: {0}")]
    Counters(String),
}

/// Measures all flows into `record`, round by round; a failed round is said in its test's verdict and the run goes on.
///
/// `snapshot` reads the counters of every interface of every namespace of the topology. When `interrupt` becomes true the
/// running window ends early and counts, the rest is left out, and `record.interrupted` says so.
pub fn run(
    record: &mut RunRecord,
    flows: &[FlowPath],
    options: &Options,
    workers: &mut Workers<'_>,
    snapshot: &mut dyn FnMut() -> Result<Counters, String>,
    progress: &mut dyn FnMut(Progress<'_>),
    interrupt: &AtomicBool,
) -> Result<(), RunError> {
    let jobs: Vec<(usize, &FlowPath, Test)> =
        flows.iter().enumerate().flat_map(|(i, path)| options.tests.iter().map(move |&test| (i, path, test))).collect();
    record.flows = flows.iter().map(|path| flow_record(path, options)).collect();
    let loaded = |test: Test| options.under.filter(|_| test.is_rr());
    let each: u32 = jobs.iter().map(|&(_, _, test)| 1 + u32::from(loaded(test).is_some())).sum();
    record.sequential = options.rule.map(|rule| Sequential { rule, stopped: None });
    let (least, most) = options.rule.map_or((options.rounds, options.rounds), |rule| (rule.at_least, rule.at_most));
    let began = Instant::now();
    let (mut number, mut job) = (0, 0);
    for round in 1..=most {
        let of = least.max(round).saturating_mul(each);
        for &(flow, path, test) in &jobs {
            number += 1;
            if interrupt.load(Relaxed) {
                record.interrupted = true;
                conclude(record);
                return Ok(());
            }
            let position = options.tests.iter().position(|&t| t == test).unwrap_or_default();
            let result = &mut record.flows[flow].tests[position];
            if !result.verdict.reasons.is_empty() && result.rounds.len() < (round - 1) as usize {
                // A round of it failed without a figure; the next would too, and cost its time-outs.
                continue;
            }
            let (from, to) = (&*path.flow.from, &*path.flow.to);
            let mut spec = options.job(test, path);
            let step = Step { number, of, from, to, test, round, seconds: spec.total().as_secs_f64() };
            progress(Progress::Begin(step));
            let on = |node: &str| options.cpus.get(node).cloned();
            if options.io_auto && round == 1 {
                let (client, server) = (Spec { cpus: on(from), ..spec.clone() }, Spec { cpus: on(to), ..spec.clone() });
                let around = Around { path, client, server, workers, job: &mut job, interrupt };
                let fixed = {
                    // What is checked is made for each block and read.
                    let checked = spec.verify.is_some() && !test.is_udp();
                    Fixed { send: options.send.is_some() || checked, receive: options.receive.is_some() || checked }
                };
                result.io_probe = io_probe::probe(around, fixed);
            }
            if let Some(probe) = &result.io_probe {
                probe.chosen.apply(&mut spec);
                let settings = &mut result.settings;
                (settings.send, settings.receive, settings.tuning) = (spec.send, spec.receive, spec.tuning.clone());
            }
            job += 2;
            let attempt = Round {
                path,
                client: Spec { cpus: on(from), ..spec.clone() },
                server: Spec { cpus: on(to), ..spec.clone() },
                job,
                load: None,
            };
            let mut tell = |interval: &Interval| progress(Progress::Interval(step, interval));
            match attempt.run(workers, snapshot, &mut tell, interrupt) {
                // Ctrl-C fell into the warm-up: a window that never opened is not a round.
                Ok(measured) if interrupt.load(Relaxed) && measured.is_empty() => {}
                Ok(measured) => book(result, round, path, &spec, options, measured),
                Err(RoundError::Agent(error @ AgentError::Spawn { .. })) => {
                    conclude(record);
                    return Err(RunError::Agent(error));
                }
                Err(RoundError::Counters(what)) => {
                    conclude(record);
                    return Err(RunError::Counters(what));
                }
                Err(RoundError::Agent(error)) => result.verdict.reasons.push(format!("round {round}: {error}")),
            }
            summary::refresh(result);
            let Some(load) = loaded(test).filter(|_| !interrupt.load(Relaxed)) else { continue };
            number += 1;
            job += 4;
            let step = Step { number, ..step };
            progress(Progress::Begin(step));
            let beside = Some(under_load::jobs(load, &spec, path, options));
            let attempt = Round { job, load: beside, ..attempt };
            let mut tell = |interval: &Interval| progress(Progress::Interval(step, interval));
            match attempt.run(workers, snapshot, &mut tell, interrupt) {
                Ok(measured) if interrupt.load(Relaxed) && measured.is_empty() => {}
                Ok(measured) => under_load::book(result, load, round, path, measured),
                Err(RoundError::Counters(what)) => {
                    conclude(record);
                    return Err(RunError::Counters(what));
                }
                Err(RoundError::Agent(error)) => {
                    result.verdict.reasons.push(format!("round {round} under {load}: {error}"));
                }
            }
            job += 2;
            summary::refresh(result);
        }
        if let Some(sequential) = &mut record.sequential {
            let tests = record.flows.iter().flat_map(|flow| &flow.tests);
            let sets: Vec<Vec<f64>> = tests.map(|test| test.rounds.iter().map(|r| r.headline).collect()).collect();
            sequential.stopped = sequential.rule.stop(sets.iter().map(Vec::as_slice), began.elapsed().as_secs_f64());
            if sequential.stopped.is_some() {
                break;
            }
        }
    }
    record.interrupted = interrupt.load(Relaxed);
    conclude(record);
    Ok(())
}

pub(super) fn flow_record(path: &FlowPath, options: &Options) -> FlowRecord {
    let flow = &path.flow;
    let test_record = |&test: &Test| {
        let spec = options.job(test, path);
        TestRecord {
            test,
            settings: Settings {
                duration: spec.duration,
                omit: spec.omit,
                streams: spec.streams,
                length: spec.length,
                response: spec.response,
                rate: spec.rate,
                transactions: spec.transactions,
                burst: spec.burst,
                verify: spec.verify,
                send: spec.send,
                receive: spec.receive,
                tuning: spec.tuning,
                client_cpus: options.cpus.get(&flow.from).cloned(),
                server_cpus: options.cpus.get(&flow.to).cloned(),
            },
            io_probe: None,
            rounds: Vec::new(),
            summary: None,
            under: None,
            verdict: Verdict { valid: false, reasons: Vec::new() },
            warnings: Vec::new(),
            ceiling: None,
        }
    };
    FlowRecord {
        from: flow.from.clone(),
        to: flow.to.clone(),
        from_address: flow.from_address.to_string(),
        to_address: flow.to_address.to_string(),
        mtu: flow.mtu,
        tests: options.tests.iter().map(test_record).collect(),
    }
}

/// Judges a round and adds it to its test.
pub(super) fn book(
    result: &mut TestRecord,
    round: u32,
    path: &FlowPath,
    spec: &Spec,
    options: &Options,
    measured: Measured,
) {
    let Measured { client, server, before, after, load: _ } = measured;
    let other_way = other_way(path, spec, options, &client, &server, (&before, &after));
    let (sender, receiver) = if spec.test.is_reverse() { (&server, &client) } else { (&client, &server) };
    let carried = if spec.test.is_rr() {
        // Over TCP many transactions can share a packet only if they are pipelined: in bursts, or on a schedule.
        let count = client.all_units();
        Carried::Transactions {
            count: if spec.transactions.is_some() || spec.burst > 0 { count.min(1) } else { count },
        }
    } else {
        Carried::Stream {
            sent: sender.all_bytes() + resent(sender) + acknowledgements(client.back.as_deref()),
            received: receiver.all_bytes(),
            per_packet: if spec.test.is_connectionless() {
                spec.length.0.min(u64::from(path.flow.mtu.max(576)))
            } else {
                u64::from(sender.streams.first().and_then(|s| s.socket.mss).unwrap_or(536))
            },
        }
    };
    let reversed;
    let path = if spec.test.is_reverse() {
        reversed = backwards(path);
        &reversed
    } else {
        path
    };
    let evidence = judge(path, &before, &after, carried);
    let mut doubts = summary::doubts(spec.test, &client, &server);
    if let PathVerdict::NotProved { reason } = &evidence.verdict {
        doubts.insert(0, format!("path not proved: {reason}"));
    }
    doubts.extend(other_way.iter().filter_map(|back| match &back.path.verdict {
        PathVerdict::NotProved { reason } => Some(format!("path back not proved: {reason}")),
        _ => None,
    }));
    let bound = profile::bound(path, &options.rates, spec, Some(sender));
    doubts.extend(bound.as_ref().and_then(|bound| profile::impossible(bound, receiver)));
    doubts
        .extend(bound.as_ref().zip(client.back.as_deref()).and_then(|(bound, back)| profile::impossible(bound, back)));
    result.verdict.reasons.extend(doubts.into_iter().map(|doubt| format!("round {round}: {doubt}")));
    let headline = match spec.test {
        Test::FrameStream => receiver.units_per_second(),
        test if test.is_rr() => client.units_per_second(),
        _ => receiver.bits_per_second(),
    } + client.back.as_deref().map_or(0.0, Side::bits_per_second);
    let bottleneck = bottleneck::judge(&inputs(spec, sender, receiver, &evidence, bound.as_ref()));
    let losses = match spec.test {
        Test::UdpStream | Test::FrameStream => loss::charge(sender, receiver, &evidence.hops),
        _ => Vec::new(),
    };
    result.rounds.push(RoundRecord { round, headline, client, server, path: evidence, losses, bottleneck, other_way });
    if let Some(bound) = &bound {
        profile::refresh(result, bound, options.profile);
    }
}

/// Bytes of packets that only acknowledge what a side received, at most: one for each, of headers only.
fn acknowledgements(receiver: Option<&Side>) -> u64 {
    const HEADERS: u64 = 134;
    receiver.map_or(0, |side| side.all_bytes() / 500 * HEADERS)
}

/// The direction from the server to the client, of a test with two.
fn other_way(
    path: &FlowPath,
    spec: &Spec,
    options: &Options,
    client: &Side,
    server: &Side,
    (before, after): (&Counters, &Counters),
) -> Option<OtherWay> {
    let (sender, receiver) = (server.back.as_deref()?, client.back.as_deref()?);
    let carried = Carried::Stream {
        sent: sender.all_bytes() + resent(sender) + acknowledgements(Some(server)),
        received: receiver.all_bytes(),
        per_packet: u64::from(sender.streams.first().and_then(|s| s.socket.mss).unwrap_or(536)),
    };
    let evidence = judge(&backwards(path), before, after, carried);
    let bound = profile::bound(path, &options.rates, spec, Some(sender));
    let bottleneck = bottleneck::judge(&inputs(spec, sender, receiver, &evidence, bound.as_ref()));
    Some(OtherWay { path: evidence, bottleneck })
}

/// What is known of a round in one direction.
fn inputs<'i>(
    spec: &Spec,
    sender: &'i Side,
    receiver: &'i Side,
    evidence: &PathEvidence,
    bound: Option<&'i Bound>,
) -> bottleneck::Inputs<'i> {
    let asked = spec.tuning.pacing.or(spec.rate).map(|rate| rate.bits_per_second() as f64 * f64::from(spec.streams));
    bottleneck::Inputs {
        test: spec.test,
        sender,
        receiver,
        asked,
        rcvbuf_asked: spec.tuning.rcvbuf.or(spec.socket_buffer).is_some(),
        sndbuf_asked: spec.tuning.sndbuf.or(spec.socket_buffer).is_some(),
        dropped: evidence.hops.iter().map(|hop| hop.dropped).sum(),
        qdisc_dropped: evidence.hops.iter().filter(|hop| hop.direction == "tx").map(|hop| hop.qdisc_dropped).sum(),
        bound,
    }
}

/// The same path as what the server sends crosses it.
fn backwards(path: &FlowPath) -> FlowPath {
    let mut path = path.clone();
    for hop in &mut path.hops {
        hop.direction = match hop.direction {
            Direction::Tx => Direction::Rx,
            Direction::Rx => Direction::Tx,
        };
    }
    path
}

/// Payload bytes that TCP sent more than once.
fn resent(client: &Side) -> u64 {
    client.streams.iter().filter_map(|s| s.tcp.as_ref()?.bytes_retransmitted).sum()
}

/// Gives every test its final word and the record its warnings.
pub(super) fn conclude(record: &mut RunRecord) {
    let mut warnings = Vec::new();
    for flow in &mut record.flows {
        // Tests that Ctrl-C left without a round are no results.
        if record.interrupted {
            flow.tests.retain(|test| !test.rounds.is_empty() || !test.verdict.reasons.is_empty());
        }
        for test in &mut flow.tests {
            summary::refresh(test);
            let wide = record.sequential.filter(|sequential| sequential.stopped != Some(Stop::Steady));
            let half = test.summary.as_ref().and_then(|summary| summary.headline.half_width());
            let half = half.filter(|&half| wide.is_some_and(|sequential| half > sequential.rule.half_width));
            test.warnings.extend(half.map(|half_width| Warning::NotSteady { half_width }));
            warnings.extend(
                summary::warnings(test).into_iter().map(|w| format!("{} {} → {}: {w}", test.test, flow.from, flow.to)),
            );
        }
    }
    record.warnings.extend(warnings);
}
