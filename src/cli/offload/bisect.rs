//! `netbench offload bisect`: the smallest set of features that breaks or slows a path.

use super::{super::data, Exit, KeepArgs, Session, in_words, talk};
use crate::{
    experiment::offload::{
        bisect::{Flip, Outcome, by_device},
        drive,
        persist::persistent,
    },
    kernel,
    record::{BisectRecord, OFFLOAD_SCHEMA_VERSION, Trial},
    report,
    ui::text::quiet_when_closed,
    units::BitRate,
};

/// Find the smallest set of offloads whose flip makes a path meet a goal; exit 3 where there is one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one. One that is up is used as it is.
    topology: String,
    /// The goal, such as `goodput>5G` (payload bits per second over TCP).
    #[arg(long, value_name = "GOAL", value_parser = parse_goal)]
    goal: Goal,
    /// Who talks to whom, instead of the first declared flow.
    #[arg(long, value_name = "FROM:TO")]
    flow: Option<String>,
    /// Seed of every payload [default: 1].
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    seed: u64,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
}

/// Payload bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Goal(f64);

fn parse_goal(text: &str) -> Result<Goal, String> {
    let wrong = || format!("{text:?} is no goal; write it as 'goodput>5G' or 'goodput>800mbit'");
    let rate = text.strip_prefix("goodput").ok_or_else(wrong)?.trim();
    let rate = rate.strip_prefix('>').ok_or_else(wrong)?.trim_start_matches('=').trim();
    let short = [("G", "gbit"), ("M", "mbit"), ("K", "kbit"), ("k", "kbit")];
    let long = short.iter().find_map(|(short, long)| Some(format!("{}{long}", rate.strip_suffix(short)?)));
    match long.as_deref().unwrap_or(rate).parse::<BitRate>() {
        Ok(rate) if rate.0 > 0 => Ok(Goal(rate.0 as f64)),
        _ => Err(wrong()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let flow: Vec<String> = args.flow.iter().cloned().collect();
    let mut keeper = args.keep_it.open()?;
    let mut session = match Session::begin(&args.topology, &flow)? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    session.targets.truncate(1);
    let manifest = session.manifest();
    let (topology, loans, line) = (session.topology(), session.loans(), &mut session.line);
    let say = &mut |text: &str| line.say(text);
    let started = format!("{:.0}", jiff::Timestamp::now());
    let goal = args.goal.0;
    let found = drive::bisect(&session.world, &session.targets, goal, args.seed, loans, &session.interrupt, say);
    let cleaned = session.end();
    let found = found.map_err(in_words)?;
    let machine = &found.machine;
    let words = |flips: &[Flip]| flips.iter().map(ToString::to_string).collect::<Vec<_>>();
    let devices = by_device(machine.culprits());
    let command = |(at, features): (&crate::plan::desired::LinkRef, &std::collections::BTreeMap<String, bool>)| {
        let list: Vec<String> =
            features.iter().map(|(name, on)| format!("{name} {}", if *on { "on" } else { "off" })).collect();
        format!("ethtool -K {} {}  # in {}", at.name, list.join(" "), at.ns)
    };
    let record = BisectRecord {
        schema_version: OFFLOAD_SCHEMA_VERSION,
        netbench: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        command: std::env::args().collect(),
        topology,
        machine: kernel::machine(),
        manifest: Some(manifest),
        goal,
        met_as_found: machine.outcome() == Some(Outcome::MetAsFound),
        culprits: words(machine.culprits()),
        confirmed: machine.is_confirmed(),
        commands: devices.iter().map(command).collect(),
        persistent: devices.iter().map(|(at, features)| persistent(at.name.as_str(), features)).collect(),
        trials: machine
            .trials()
            .iter()
            .map(|(flips, goodput)| Trial { flipped: words(flips), goodput: *goodput, met: *goodput >= goal })
            .collect(),
        left: found.left.clone(),
        interrupted: found.interrupted,
    };
    let kept = keeper.keep(&record);
    if args.json {
        data(&record)?;
    } else {
        quiet_when_closed(|out| report::offload::bisect(&record, out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    cleaned?;
    for left in &found.left {
        talk(&format!("error: {left}"));
    }
    Ok(match machine.outcome() {
        _ if !found.left.is_empty() => Exit::CleanupIncomplete,
        _ if found.interrupted => Exit::Interrupted,
        Some(Outcome::MetAsFound) => Exit::Ok,
        Some(Outcome::Found) if machine.is_confirmed() => Exit::Corrupt,
        Some(Outcome::Found) => Exit::Invalid,
        _ => Exit::CheckFailed,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_goal;

    #[test]
    fn goals_are_rates_with_a_word() {
        assert_eq!(parse_goal("goodput>5G").unwrap().0, 5e9);
        assert_eq!(parse_goal("goodput >= 800mbit").unwrap().0, 8e8);
        for wrong in ["goodput<5G", "5G", "goodput>", "goodput>0G", "loss>5G"] {
            assert!(parse_goal(wrong).unwrap_err().contains("goodput>5G"), "{wrong}");
        }
    }
}
