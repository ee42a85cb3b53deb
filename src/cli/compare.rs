//! `netbench compare`: is B better or worse than A?

use super::{
    Exit, data,
    stored::{StoreArgs, before, load},
    talk,
};
use crate::{record::compare, report, ui};

/// Compare two runs, round by round: a rank test, and a least difference that matters.
///
/// Sweeps, tunings and overheads are compared variant by variant, verifications of offloads check by check, probes by direction,
/// searches by their bounds. Exit code 1 says that B is worse in something.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to compare with: a number, `last~1`, or a file that a command wrote with `--json` [default: the one before B of the same
    /// kind and topology].
    a: Option<String>,
    /// The one in question [default: last].
    b: Option<String>,
    /// The least difference that matters, percent [default: 5, of CPU 10].
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    effect: Option<f64>,
    /// Compare them although topology, machine, devices, offloads or version differ.
    #[arg(long)]
    force: bool,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let value: f64 =
        text.trim_end_matches('%').parse().map_err(|_| "it is a number of percent, such as 5".to_owned())?;
    if (0.0..=1000.0).contains(&value) { Ok(value / 100.0) } else { Err("it is 0 to 1000 percent".to_owned()) }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let b = load(args.b.as_deref().unwrap_or("last"), &args.store)?;
    let a = match &args.a {
        Some(name) => load(name, &args.store)?,
        None => before(&b, &args.store)?,
    };
    let found = match compare::kept(&a.record, &b.record, args.effect) {
        Ok(found) => found,
        Err(error) => {
            talk(&format!("error: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let (ours, theirs) = (a.record.document().fingerprint(), b.record.document().fingerprint());
    let differences = ours.differences(&theirs);
    for (name, one, other) in &differences {
        talk(&format!("{name} differ:\n  A: {one}\n  B: {other}"));
    }
    if !differences.is_empty() && !args.force {
        talk(
            "error: these were measured in different surroundings, so that a difference says little; --force compares them all the same",
        );
        return Ok(Exit::Usage);
    }
    for named in [&a, &b].into_iter().filter(|named| !named.record.document().is_valid()) {
        talk(&format!("warning: not every figure of {} may be believed", named.label));
    }
    if found.figures.is_empty() && found.answers.is_empty() {
        talk("error: the two have nothing of the same flow in common");
        return Ok(Exit::Usage);
    }
    match args.json {
        true => data(&found)?,
        false => ui::text::quiet_when_closed(|mut out| report::comparison(&found, (&a.label, &b.label), &mut out))?,
    }
    Ok(if found.has_regression() { Exit::CheckFailed } else { Exit::Ok })
}
