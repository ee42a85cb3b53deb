//! `netbench search`: the highest rate that meets the limits.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    Exit, data, declared,
    keep::KeepArgs,
    talk,
    variants::{self, Bench, Variant},
};
use crate::{
    experiment::{
        options::{Asked, Options},
        profile,
        rate_search::{Action, End, Goal, RateSearch, Trial},
    },
    kernel,
    measured::Test,
    record::{
        self, RoundRecord, RunRecord, Unit,
        sweep::{SearchEnd, SearchReport, TrialRecord},
    },
    report, ui,
    units::{BitRate, ByteSize, Span},
};

/// Find the highest rate that meets limits of loss and latency, by many short trials (the idea of MLRsearch, RFC 9971).
///
/// A load is judged by several trials, of which a share may be bad, and not by a single one as in RFC 2544.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// Share of datagrams or requests that may be lost, such as 0.01%.
    #[arg(long, value_name = "SHARE", default_value = "0.01%", value_parser = parse_share)]
    max_loss: f64,
    /// Largest p99 of the latency, such as 200us; for requests on a schedule (--test udp_rr or tcp_rr).
    #[arg(long, value_name = "TIME")]
    p99: Option<Span>,
    /// udp_stream (a rate in bits), or udp_rr or tcp_rr (requests in a second) [default: udp_rr with --p99, or udp_stream].
    #[arg(long, value_name = "TEST")]
    test: Option<Test>,
    /// Highest rate of interest, such as 10gbit or 50000/s [default: what the path allows, or what the generator can do].
    #[arg(long, value_name = "RATE", value_parser = parse_load)]
    max: Option<f64>,
    /// Lowest rate of interest [default: a thousandth of the highest].
    #[arg(long, value_name = "RATE", value_parser = parse_load)]
    min: Option<f64>,
    /// Length of a trial.
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    duration: Span,
    /// Warm-up before each trial, which fills queues.
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    omit: Span,
    /// Trials at a load.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    trials: u32,
    /// Share of the trials at a load that may be bad.
    #[arg(long, value_name = "SHARE", default_value = "50%", value_parser = parse_share)]
    exceed: f64,
    /// Width of the answer at which the search ends.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = parse_share)]
    precision: f64,
    /// Parallel streams.
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: u32,
    /// Bytes of a datagram or request.
    #[arg(long, value_name = "SIZE")]
    length: Option<ByteSize>,
    /// Who talks to whom, instead of the first declared flow.
    #[arg(long, value_name = "FROM:TO")]
    flow: Option<String>,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let (number, over) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&(share / over)) => Ok(share / over),
        _ => Err(format!("`{text}` is no share: write 0.01% or 0.0001")),
    }
}

/// Bits or requests per second, as a number: which of them is the test's matter.
fn parse_load(text: &str) -> Result<f64, String> {
    if let Some(count) = text.strip_suffix("/s") {
        let wrong = || format!("`{text}` is no rate: write 20000/s");
        return count.parse::<f64>().ok().filter(|count| *count >= 1.0).ok_or_else(wrong);
    }
    text.parse::<BitRate>()
        .map(|rate| rate.bits_per_second() as f64)
        .map_err(|error| format!("{error}; requests per second are written 20000/s"))
}

/// Most trials of a search, whatever the noise.
const TRIALS: u32 = 150;
/// Arriving less than was offered, by more than this, means that a queue is growing even where nothing is lost yet.
const QUEUE: f64 = 0.02;
/// Above the path's ceiling, so that the upper bound is found and not assumed.
const BEYOND: f64 = 1.1;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let test = args.test.unwrap_or(if args.p99.is_some() { Test::UdpRr } else { Test::UdpStream });
    if !matches!(test, Test::UdpStream | Test::UdpRr | Test::TcpRr) {
        bail!("--test {test}: a rate can be searched with udp_stream, udp_rr and tcp_rr");
    }
    if test == Test::UdpStream && args.p99.is_some() {
        bail!("--p99 is a limit of requests: use --test udp_rr or tcp_rr");
    }
    let is_rootless = variants::enter()?;
    let mut keeper = args.keep_it.open()?;
    let loaded = match declared::load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let asked = Asked {
        tests: Some(vec![test]),
        duration: Some(args.duration),
        omit: Some(args.omit),
        rounds: Some(1),
        streams: Some(args.streams),
        length: args.length,
        ..Asked::default()
    };
    let options = Options::merge(asked, &loaded.topology.test)?;
    let flows: Vec<String> = args.flow.clone().into_iter().collect();
    let name = loaded.desired.topology.clone();
    let mut variant = Variant::new(name.clone(), loaded, options, &flows)?;
    variant.flows.truncate(1);
    let mut bench = Bench::start(vec![variant], true, is_rootless)?;
    let outcome = search(&mut bench, args, test, is_rootless);
    bench.end()?;
    let report = outcome?;
    let kept = keeper.keep(&report);
    if args.json {
        data(&report)?;
    } else {
        ui::text::quiet_when_closed(|mut out| report::search(&report, &mut out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    Ok(match report.ended {
        _ if report.interrupted => Exit::Interrupted,
        SearchEnd::NoneFits => Exit::CheckFailed,
        SearchEnd::Trials => Exit::Invalid,
        _ => Exit::Ok,
    })
}

fn search(bench: &mut Bench, args: &Args, test: Test, rootless: bool) -> anyhow::Result<SearchReport> {
    let started = jiff::Timestamp::now();
    let streams = f64::from(args.streams);
    let flow = bench.variants[0].flows[0].clone();
    let options = bench.variants[0].options.clone();
    let ceiling = match test {
        Test::UdpStream => {
            profile::bound(&flow, &options.rates, &options.spec(test, &flow.flow), None).map(|bound| bound.goodput())
        }
        _ => None,
    };
    let most = match (args.max, ceiling) {
        (Some(max), _) => max,
        (None, Some(ceiling)) => ceiling * BEYOND,
        (None, None) => {
            bench.say("how much the generator can offer");
            let record = bench.measure(0, &options)?.record;
            let round = round(&record)?;
            match test {
                Test::UdpStream => round.client.bits_per_second(),
                // One at a time; a schedule has several under way.
                _ => round.headline * 4.0,
            }
        }
    };
    let least = args.min.unwrap_or(most / 1000.0).max(streams);
    if least >= most {
        bail!("--min {least:.0} is not below the highest rate, {most:.0}");
    }
    let goal = Goal {
        range: (least, most),
        trials: args.trials,
        exceed_ratio: args.exceed,
        precision: args.precision.max(1e-4),
        at_most: TRIALS,
    };
    let (mut search, mut trial, mut trials) = (RateSearch::new(goal), None, Vec::new());
    let (began, mut warnings) = (Instant::now(), Vec::new());
    let outcome = loop {
        let load = match search.next(trial.take()) {
            Action::Trial { load } => load,
            Action::Done(outcome) => break Some(outcome),
        };
        if bench.interrupt.load(Relaxed) {
            break None;
        }
        let mut options = options.clone();
        match test {
            Test::UdpStream => options.rate = Some(BitRate((load / streams).max(1.0) as u64)),
            _ => options.transactions = Some((load / streams).max(1.0) as u64),
        }
        let record = bench.measure(0, &options)?.record;
        if bench.interrupt.load(Relaxed) {
            break None;
        }
        let seen = judge(round(&record)?, test, load, args)?;
        for reason in record.flows.iter().flat_map(|f| &f.tests).flat_map(|t| &t.verdict.reasons) {
            let reason = reason.trim_start_matches("round 1: ").to_owned();
            if !warnings.contains(&reason) {
                warnings.push(reason);
            }
        }
        trials.push(seen);
        trial = Some(Trial { offered: seen.offered, arrived: seen.arrived, good: seen.good });
    };
    Ok(SearchReport {
        schema_version: record::SCHEMA_VERSION,
        netbench: env!("CARGO_PKG_VERSION").to_owned(),
        started: format!("{started:.0}"),
        command: std::env::args().collect(),
        topology: bench.variants[0].label.clone(),
        machine: kernel::machine(),
        rootless,
        manifest: bench.variants[0].manifest().cloned(),
        from: flow.flow.from.clone(),
        to: flow.flow.to.clone(),
        test,
        unit: Unit::of(test),
        duration: args.duration,
        max_loss: args.max_loss,
        max_p99_us: args.p99.map(|Span(p99)| p99.as_secs_f64() * 1e6),
        exceed_ratio: args.exceed,
        precision: args.precision,
        lower: outcome.and_then(|outcome| outcome.lower),
        upper: outcome.and_then(|outcome| outcome.upper),
        conditional: outcome.and_then(|outcome| outcome.conditional),
        ceiling: ceiling.map(|ceiling| BitRate(ceiling as u64)),
        ended: match outcome.map(|outcome| outcome.end) {
            Some(End::Found) => SearchEnd::Found,
            Some(End::AtMaximum) => SearchEnd::AtMaximum,
            Some(End::Generator) => SearchEnd::Generator,
            Some(End::NoneFits) => SearchEnd::NoneFits,
            Some(End::Trials) | None => SearchEnd::Trials,
        },
        trials,
        elapsed_s: began.elapsed().as_secs_f64(),
        warnings,
        interrupted: outcome.is_none(),
    })
}

fn round(record: &RunRecord) -> anyhow::Result<&RoundRecord> {
    let test = record.flows.first().and_then(|flow| flow.tests.first()).context("nothing was measured")?;
    test.rounds.first().with_context(|| format!("a trial brought nothing: {}", test.verdict.reasons.join("; ")))
}

fn judge(round: &RoundRecord, test: Test, load: f64, args: &Args) -> anyhow::Result<TrialRecord> {
    let (offered, arrived, loss) = if test == Test::UdpStream {
        let seen = || round.server.streams.iter().filter_map(|stream| stream.datagrams.as_ref());
        let (sent, lost) = seen().fold((0, 0), |(sent, lost), seen| (sent + seen.sent, lost + seen.lost));
        let loss = if sent > 0 { lost as f64 / sent as f64 } else { 1.0 };
        (round.client.bits_per_second(), round.server.bits_per_second(), loss)
    } else {
        let schedules = || round.client.streams.iter().filter_map(|stream| stream.schedule);
        let (asked, missed, unanswered) =
            schedules().fold((0, 0, 0), |(a, m, u), s| (a + s.requests, m + s.missed, u + s.unanswered));
        let done = round.client.units_per_second();
        let share = |part: u64| if asked > 0 { part as f64 / asked as f64 } else { 1.0 };
        // What went late was offered later: the generator's limit, as long as it is not the answer that was waited for.
        // What was answered was offered for certain, also where all places under way are taken and the schedule starves.
        ((load * (1.0 - share(missed))).max(done.min(load)), done, share(unanswered))
    };
    let p99_us = round.client.latency.filter(|_| test.is_rr()).map(|latency| latency.p99_ns as f64 / 1e3);
    let in_time = match (args.p99, p99_us) {
        (Some(Span(limit)), Some(p99)) => Duration::from_secs_f64(p99 / 1e6) <= limit,
        _ => true,
    };
    let kept = test != Test::UdpStream || arrived >= offered * (1.0 - args.max_loss - QUEUE);
    Ok(TrialRecord { load, offered, arrived, loss, p99_us, good: loss <= args.max_loss && in_time && kept })
}
