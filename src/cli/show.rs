//! `netbench show`: a run again, as it was reported.

use super::{
    Exit,
    stored::{StoreArgs, load},
};
use crate::{report, ui};

/// Show a run that is kept, as `run` reported it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A number, `last`, `last~1`, or a file that `run --json` wrote.
    #[arg(default_value = "last")]
    run: String,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let named = load(&args.run, &args.store)?;
    ui::text::quiet_when_closed(|mut out| match args.json {
        true => report::json(&named.record, &mut out),
        false => report::text(&named.record, &mut out),
    })?;
    Ok(Exit::Ok)
}
