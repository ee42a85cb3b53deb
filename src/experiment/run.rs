//! The driver of `netbench run`: every flow × test × round, rounds outermost, so that a change of the machine's mood
//! during the run falls on all tests alike.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use super::{
    amounts, bottleneck,
    evidence::{Carried, Load, Seen, judge_all},
    io_probe::{self, Around, Fixed},
    live::{Looked, Looker},
    loss,
    options::Options,
    placement, profile,
    round::{self, Audience, Ends, Lane, Measured, News, RoundError, Told},
    summary, together, under_load,
};
use crate::{
    agent::{AgentError, Workers},
    measured::{Interval, Side, Test},
    plan::{
        ceiling::Bound,
        desired::{Direction, FlowPath},
    },
    record::{
        FlowRecord, HopEvidence, OtherWay, PathEvidence, PathVerdict, RoundRecord, RunRecord, Sequential, Settings,
        TestRecord, Verdict,
    },
    stats::{sequential::Stop, warning::Warning},
    traffic::Spec,
};

/// What is told while a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'p> {
    /// A round begins.
    Begin(Step<'p>),
    /// An interval of it is over, by the account of the side that gives the headline; of pairs that run together, their sum.
    Interval(Step<'p>, &'p Interval),
    /// The same of each end of each pair, with its streams.
    Told(Step<'p>, Told<'p>),
    /// The hops and the CPUs, several times a second (`Options::live`).
    Seen(Step<'p>, &'p Looked),
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
    /// How many pairs run at the same time; `from` and `to` are the first.
    pub pairs: usize,
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
    snapshot: &mut dyn FnMut() -> Result<Seen, String>,
    progress: &mut dyn FnMut(Progress<'_>),
    interrupt: &AtomicBool,
) -> Result<(), RunError> {
    let groups = groups(flows.len(), options);
    record.flows = flows.iter().map(|path| flow_record(path, options)).collect();
    let loaded = |test: Test| options.under.filter(|_| test.is_rr());
    let each: u32 = groups.iter().map(|&(_, test)| 1 + u32::from(loaded(test).is_some())).sum();
    record.sequential = options.rule.map(|rule| Sequential { rule, stopped: None });
    let (least, most) = options.all_rounds();
    let began = Instant::now();
    let (mut number, mut job) = (0, 0);
    for round in 1..=most {
        let of = least.max(round).saturating_mul(each);
        for (members, test) in &groups {
            number += 1;
            if interrupt.load(Relaxed) {
                record.interrupted = true;
                conclude(record);
                return Ok(());
            }
            let position = options.tests.iter().position(|t| t == test).unwrap_or_default();
            let failed =
                |result: &TestRecord| !result.verdict.reasons.is_empty() && result.rounds.len() < (round - 1) as usize;
            if members.iter().any(|&flow| failed(&record.flows[flow].tests[position])) {
                // A round of it failed without a figure; the next would too, and cost its time-outs.
                continue;
            }
            let first = &flows[members[0]];
            let seconds = options.job(*test, first).total().as_secs_f64();
            let (from, to, pairs) = (&*first.flow.from, &*first.flow.to, members.len());
            let step = Step { number, of, from, to, pairs, test: *test, round, seconds };
            progress(Progress::Begin(step));
            let mut lanes = Vec::with_capacity(pairs);
            for (place, &flow) in members.iter().enumerate() {
                let path = &flows[flow];
                let result = &mut record.flows[flow].tests[position];
                let spec = options.job(*test, path);
                let [on_client, on_server] = options.cpus_of(&path.flow, place * options.streams as usize);
                let mut client = Spec { cpus: on_client, ..spec.clone() };
                let mut server = Spec { cpus: on_server, ..spec };
                if options.io_auto && round == 1 {
                    // What is checked is made for each block and read.
                    let checked = client.verify.is_some() && !test.is_udp();
                    let (client, server) = (client.clone(), server.clone());
                    let around = Around { path, client, server, workers, job: &mut job, interrupt };
                    let fixed = Fixed {
                        send: options.send.is_some() || checked,
                        receive: options.receive.is_some() || checked,
                    };
                    result.io_probe = io_probe::probe(around, fixed);
                }
                if let Some(probe) = &result.io_probe {
                    probe.chosen.apply(&mut client);
                    probe.chosen.apply(&mut server);
                    let settings = &mut result.settings;
                    (settings.send, settings.receive) = (client.send, client.receive);
                    settings.tuning = client.tuning.clone();
                }
                job += 2;
                lanes.push(Lane { path, client, server, job, is_load: false });
            }
            let outcome = {
                let mut hear = teller(progress, step, &lanes[..pairs], options.live);
                let audience = Audience { hear: &mut hear, looks: options.live };
                round::run(&lanes, workers, snapshot, audience, interrupt)
            };
            match outcome {
                // Ctrl-C fell into the warm-up: a window that never opened is not a round.
                Ok(measured) if interrupt.load(Relaxed) && measured.ends.iter().any(Ends::is_empty) => {}
                Ok(measured) => {
                    let overlap = together::overlap(*test, &measured.ends);
                    book_all(record, (members, position), round, &lanes, options, measured);
                    if options.together {
                        together::book(&mut record.together, *test, round, &record.flows, overlap);
                    }
                }
                Err(RoundError::Agent(error @ AgentError::Spawn { .. })) => {
                    conclude(record);
                    return Err(RunError::Agent(error));
                }
                Err(RoundError::Counters(what)) => {
                    conclude(record);
                    return Err(RunError::Counters(what));
                }
                Err(RoundError::Agent(error)) => {
                    for &flow in members {
                        record.flows[flow].tests[position].verdict.reasons.push(format!("round {round}: {error}"));
                    }
                }
            }
            members.iter().for_each(|&flow| summary::refresh(&mut record.flows[flow].tests[position]));
            let Some(load) = loaded(*test).filter(|_| !interrupt.load(Relaxed)) else { continue };
            number += 1;
            let step = Step { number, ..step };
            progress(Progress::Begin(step));
            under_load::add(&mut lanes, load, options, &mut job);
            let outcome = {
                let mut hear = teller(progress, step, &lanes, options.live);
                let audience = Audience { hear: &mut hear, looks: options.live };
                round::run(&lanes, workers, snapshot, audience, interrupt)
            };
            match outcome {
                Ok(measured) if interrupt.load(Relaxed) && measured.ends.iter().any(Ends::is_empty) => {}
                Ok(measured) => {
                    let results = under_load::judged(&lanes, measured);
                    for (&flow, loaded) in members.iter().zip(results) {
                        under_load::book(&mut record.flows[flow].tests[position], load, round, loaded);
                    }
                }
                Err(RoundError::Agent(error @ AgentError::Spawn { .. })) => {
                    conclude(record);
                    return Err(RunError::Agent(error));
                }
                Err(RoundError::Counters(what)) => {
                    conclude(record);
                    return Err(RunError::Counters(what));
                }
                Err(RoundError::Agent(error)) => {
                    for &flow in members {
                        let reasons = &mut record.flows[flow].tests[position].verdict.reasons;
                        reasons.push(format!("round {round} under {load}: {error}"));
                    }
                }
            }
            members.iter().for_each(|&flow| summary::refresh(&mut record.flows[flow].tests[position]));
        }
        if is_enough(record, began) {
            break;
        }
    }
    record.interrupted = interrupt.load(Relaxed);
    conclude(record);
    Ok(())
}

/// Notes after a round why it was the last by the rule for their number, if it was.
pub(super) fn is_enough(record: &mut RunRecord, began: Instant) -> bool {
    let tests = record.flows.iter().flat_map(|flow| &flow.tests);
    let sets: Vec<Vec<f64>> = tests.map(|test| test.rounds.iter().map(|round| round.headline).collect()).collect();
    let Some(sequential) = &mut record.sequential else { return false };
    sequential.stopped = sequential.rule.stop(sets.iter().map(Vec::as_slice), began.elapsed().as_secs_f64());
    sequential.stopped.is_some()
}

/// What runs at a time: one flow with one test, or all flows with one.
fn groups(flows: usize, options: &Options) -> Vec<(Vec<usize>, Test)> {
    if options.together {
        return options.tests.iter().map(|&test| ((0..flows).collect(), test)).collect();
    }
    (0..flows).flat_map(|flow| options.tests.iter().map(move |&test| (vec![flow], test))).collect()
}

/// Passes on what the lanes of a round tell, for each interval of a headline the sum of all pairs, and what is seen on the way.
fn teller<'t>(
    progress: &'t mut dyn FnMut(Progress<'_>),
    step: Step<'t>,
    lanes: &'t [Lane<'t>],
    looks: bool,
) -> impl FnMut(News<'_>) + use<'t> {
    let mut latest: Vec<Option<Interval>> = vec![None; lanes.len()];
    // From now on: of a short round there may be one look only.
    let mut looker = looks.then(Looker::default);
    move |news| match news {
        News::Told(told) => {
            progress(Progress::Told(step, told));
            if told.is_headline && told.lane < latest.len() {
                latest[told.lane] = Some(*told.interval);
                progress(Progress::Interval(step, &sum(told.interval, &latest)));
            }
        }
        News::Seen(sight) => {
            let paths: Vec<_> = lanes.iter().map(|lane| (lane.path, lane.client.test.is_reverse())).collect();
            let looker = looker.get_or_insert_with(Looker::default);
            let looked = looker.look(&paths, (sight.began, sight.before), sight.now);
            progress(Progress::Seen(step, &looked));
        }
    }
}

/// The last interval with the rates of all pairs in it.
fn sum(last: &Interval, latest: &[Option<Interval>]) -> Interval {
    let seconds = (last.end_ns - last.start_ns) as f64 / 1e9;
    let all = || latest.iter().flatten();
    match latest {
        [_] => *last,
        _ => Interval {
            bytes: (all().map(Interval::bits_per_second).sum::<f64>() * seconds / 8.0) as u64,
            units: (all().map(Interval::units_per_second).sum::<f64>() * seconds) as u64,
            ..*last
        },
    }
}

pub(super) fn flow_record(path: &FlowPath, options: &Options) -> FlowRecord {
    let flow = &path.flow;
    let [client_cpus, server_cpus] = options.cpu_lists(flow);
    let test_record = |&test: &Test| {
        let spec = options.job(test, path);
        TestRecord {
            test,
            settings: Settings {
                duration: spec.duration,
                omit: spec.omit,
                streams: spec.streams,
                length: spec.length,
                whole_segments: spec.whole_segments,
                response: spec.response,
                rate: spec.rate,
                amount: spec.amount,
                transactions: spec.transactions,
                burst: spec.burst,
                verify: spec.verify,
                send: spec.send,
                receive: spec.receive,
                tuning: spec.tuning,
                client_cpus: client_cpus.clone(),
                server_cpus: server_cpus.clone(),
                placement: options.policy(),
            },
            io_probe: None,
            placement: Vec::new(),
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

/// What a flow carried, by its ends.
fn carried(path: &FlowPath, spec: &Spec, sender: &Side, receiver: &Side, client: &Side) -> Carried {
    if spec.test.is_rr() {
        // Over TCP many transactions can share a packet only if they are pipelined: in bursts, or on a schedule.
        let count = client.all_units();
        let pipelined = spec.transactions.is_some() || spec.burst > 0;
        return Carried::Transactions { count: if pipelined { count.min(1) } else { count } };
    }
    Carried::Stream {
        sent: sender.all_bytes() + resent(sender),
        received: receiver.all_bytes(),
        per_packet: if spec.test.is_connectionless() {
            spec.length.0.min(u64::from(path.flow.mtu.max(576)))
        } else {
            u64::from(sender.streams.first().and_then(|s| s.socket.mss).unwrap_or(536))
        },
    }
}

/// A flow of a round in the direction of its payload, and in the other where it has payload too.
struct Ways {
    path: FlowPath,
    carried: Carried,
    back: Option<(FlowPath, Carried)>,
}

impl Ways {
    fn new(path: &FlowPath, spec: &Spec, Ends { client, server, .. }: &Ends) -> Self {
        let is_reverse = spec.test.is_reverse();
        let (sender, receiver) = if is_reverse { (server, client) } else { (client, server) };
        let path = if is_reverse { backwards(path) } else { path.clone() };
        let other = server.back.as_deref().zip(client.back.as_deref());
        let back = other.map(|(sender, receiver)| (backwards(&path), carried(&path, spec, sender, receiver, client)));
        Self { carried: carried(&path, spec, sender, receiver, client), path, back }
    }

    fn there(&self) -> Load<'_> {
        Load { path: &self.path, carried: self.carried }
    }

    fn back(&self) -> Option<Load<'_>> {
        self.back.as_ref().map(|(path, carried)| Load { path, carried: *carried })
    }
}

/// Evidence of each flow, there and back.
fn evidence(ways: &[Ways], before: &Seen, after: &Seen) -> (Vec<PathEvidence>, Vec<Option<PathEvidence>>) {
    let loads: Vec<Load<'_>> = ways.iter().map(Ways::there).chain(ways.iter().filter_map(Ways::back)).collect();
    let mut there = judge_all(&loads, before, after);
    let mut others = there.split_off(ways.len()).into_iter();
    let back = ways.iter().map(|ways| ways.back.as_ref().and_then(|_| others.next())).collect();
    (there, back)
}

/// Judges a round of one flow or of many and adds it to their tests.
fn book_all(
    record: &mut RunRecord,
    (members, position): (&[usize], usize),
    round: u32,
    lanes: &[Lane<'_>],
    options: &Options,
    measured: Measured,
) {
    let Measured { ends, before, after } = measured;
    let ways: Vec<Ways> =
        lanes.iter().zip(&ends).map(|(lane, ends)| Ways::new(lane.path, &lane.client, ends)).collect();
    let (evidence, back) = evidence(&ways, &before, &after);
    let judged = evidence.iter().zip(back).zip(&ways);
    for (((&flow, lane), ends), ((own, back), ways)) in members.iter().zip(lanes).zip(ends).zip(judged) {
        let result = &mut record.flows[flow].tests[position];
        book(result, round, &ways.path, &lane.client, options, ends, (own.clone(), back));
        if let Some(booked) = result.rounds.last_mut().filter(|_| members.len() > 1) {
            together::soften(&mut booked.losses, own, &evidence);
        }
    }
}

/// Judges a round of a flow that ran alone and whose counters nobody read.
pub(super) fn book_uncounted(
    result: &mut TestRecord,
    round: u32,
    path: &FlowPath,
    spec: &Spec,
    options: &Options,
    ends: Ends,
) {
    let ways = [Ways::new(path, spec, &ends)];
    let (mut there, mut back) = evidence(&ways, &Seen::default(), &Seen::default());
    if let Some(evidence) = there.pop().zip(back.pop()) {
        book(result, round, &ways[0].path, spec, options, ends, evidence);
    }
}

/// Judges a round of a flow and adds it to its test. The path is in the direction of the payload.
fn book(
    result: &mut TestRecord,
    round: u32,
    path: &FlowPath,
    spec: &Spec,
    options: &Options,
    ends: Ends,
    (evidence, back): (PathEvidence, Option<PathEvidence>),
) {
    let Ends { client, server, .. } = ends;
    let (sender, receiver) = if spec.test.is_reverse() { (&server, &client) } else { (&client, &server) };
    let other_way = back.and_then(|evidence| other_way(path, spec, options, (&client, &server), evidence));
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
    result.placement = placement::got(&options.cpu_topology, &client, &server, spec.test.is_reverse());
    result.rounds.push(RoundRecord { round, headline, client, server, path: evidence, losses, bottleneck, other_way });
    if let Some(bound) = &bound {
        profile::refresh(result, bound, options.profile);
    }
}

/// The direction from the server to the client, of a test with two.
fn other_way(
    path: &FlowPath,
    spec: &Spec,
    options: &Options,
    (client, server): (&Side, &Side),
    evidence: PathEvidence,
) -> Option<OtherWay> {
    let (sender, receiver) = (server.back.as_deref()?, client.back.as_deref()?);
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
        received: (!evidence.hops.is_empty())
            .then(|| evidence.hops.iter().map(received).sum::<u64>() + evidence.below_packets),
        bound,
    }
}

/// Packets that an interface received during a round, of the flow in either direction.
fn received(hop: &HopEvidence) -> u64 {
    if hop.direction == "rx" { hop.packets } else { hop.reverse_packets }
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
            warnings.extend(amounts::warning((&flow.from, &flow.to), test).filter(|_| !record.interrupted));
            warnings.extend(
                summary::warnings(test).into_iter().map(|w| format!("{} {} → {}: {w}", test.test, flow.from, flow.to)),
            );
        }
    }
    warnings.extend(together::warnings(&record.together));
    record.warnings.extend(warnings);
}
