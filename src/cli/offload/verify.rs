//! `netbench offload verify`: each feature off and on, with evidence from the wire.

use std::time::Instant;

use super::{super::data, Exit, KeepArgs, Session, check_names, in_words, talk};
use crate::{
    apply,
    experiment::offload::{boundary, drive, flow_offload, forward},
    kernel,
    record::{OFFLOAD_SCHEMA_VERSION, OffloadCheck, OffloadRecord, OffloadVerdict},
    report,
    topology::model::Datapath,
    ui::text::quiet_when_closed,
};

/// How often a switch is asked that has no flow.
const TRIES: u32 = 3;

/// Switch each offload of each device of a path off and on, and hold what was handed to the device against what came out
/// of it; exit 3 where an offload is broken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one. One that is up is used as it is.
    topology: String,
    /// Who talks to whom, instead of the declared flows; may be repeated.
    #[arg(long, value_name = "FROM:TO")]
    flow: Vec<String>,
    /// Only these checks of devices, separated by commas, such as tso,gro.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    only: Vec<String>,
    /// Seed of every payload [default: 1].
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    seed: u64,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Err(error) = check_names(&args.only) {
        talk(&format!("error: {error}"));
        return Ok(Exit::Usage);
    }
    let mut keeper = args.keep_it.open()?;
    let mut session = match Session::begin(&args.topology, &args.flow)? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let mut record = OffloadRecord {
        schema_version: OFFLOAD_SCHEMA_VERSION,
        netbench: env!("CARGO_PKG_VERSION").to_owned(),
        started: format!("{:.0}", jiff::Timestamp::now()),
        command: std::env::args().collect(),
        topology: session.topology(),
        kernel: kernel::machine().kernel,
        machine: kernel::machine(),
        manifest: Some(session.manifest()),
        rootless: session.rootless,
        seed: args.seed,
        elapsed_s: 0.0,
        checks: Vec::new(),
        left: Vec::new(),
        interrupted: false,
    };
    let outcome = verify(&mut session, args, &mut record);
    let cleaned = session.end();
    if outcome.is_ok() {
        let kept = keeper.keep(&record);
        if args.json {
            data(&record)?;
        } else {
            quiet_when_closed(|out| report::offload::verify(&record, out))?;
        }
        if let Some(kept) = kept {
            talk(&kept);
        }
    }
    outcome?;
    cleaned?;
    Ok(match &record {
        record if !record.left.is_empty() => Exit::CleanupIncomplete,
        record if record.interrupted => Exit::Interrupted,
        record if record.is_broken() => Exit::Corrupt,
        _ => Exit::Ok,
    })
}

fn verify(session: &mut Session, args: &Args, record: &mut OffloadRecord) -> anyhow::Result<()> {
    let began = Instant::now();
    session.line.say("proving the MTU of every path");
    record.checks = boundary::rows(&session.world, &session.targets)?;
    if args.only.is_empty() || args.only.iter().any(|name| name == forward::NAME) {
        session.line.say("forwarded against local traffic");
        let (desired, mut loans) = (&session.loaded.desired, session.loans());
        let rows = forward::rows(&session.world, &session.targets, desired, args.seed, &mut loans);
        record.checks.extend(rows.map_err(in_words)?);
    }
    let only = args.only.iter().cloned().collect();
    let (loans, line) = (session.loans(), &mut session.line);
    let say = &mut |text: &str| line.say(&format!("verifying {text}"));
    let verified = drive::verify(&session.world, &session.targets, &only, args.seed, loans, &session.interrupt, say);
    let verified = verified.map_err(in_words)?;
    record.checks.extend(verified.checks);
    (record.left, record.interrupted) = (verified.left, verified.interrupted);
    if !record.interrupted && (args.only.is_empty() || args.only.iter().any(|name| name == flow_offload::NAME)) {
        record.checks.extend(flows(session, args.seed));
    }
    record.checks.extend(verified.state);
    record.elapsed_s = began.elapsed().as_secs_f64();
    Ok(())
}

/// What becomes of the flows of each Open vSwitch that could have hardware do them. Those of the probes are there yet, or were
/// forgotten on a busy machine (after 10 s): then there are new ones.
fn flows(session: &Session, seed: u64) -> Vec<OffloadCheck> {
    let is_empty = |rows: &[OffloadCheck]| rows.iter().any(|row| row.verdict == OffloadVerdict::Inconclusive);
    let mut rows = flows_now(session);
    for _ in 1..TRIES {
        if !is_empty(&rows) {
            break;
        }
        for target in &session.targets {
            // What does not pass leaves flows as well.
            let _ = drive::traffic(&session.world, target, seed);
        }
        rows = flows_now(session);
    }
    rows
}

fn flows_now(session: &Session) -> Vec<OffloadCheck> {
    let desired = &session.loaded.desired;
    let of_kernel = |netns: &str| {
        let mut own = desired.ovs.iter().filter(|ovs| ovs.daemon.ns.0 == netns).flat_map(|ovs| &ovs.bridges);
        own.any(|bridge| bridge.datapath == Datapath::Kernel)
    };
    let switches = apply::ovs::evidence(&session.world, desired, &apply::ovs::Before::default());
    switches.iter().filter(|switch| switch.hw_offload || of_kernel(&switch.netns)).map(flow_offload::row).collect()
}
