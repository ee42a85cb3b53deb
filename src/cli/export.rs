//! `netbench export`: runs for other tools.

use anyhow::bail;

use super::{
    Exit,
    stored::{StoreArgs, load},
};
use crate::{report, report::export::Format, ui};

/// Write runs for other tools.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers, `last`, `last~1`, or files that `run --json` wrote.
    #[arg(default_value = "last")]
    run: Vec<String>,
    /// json, jsonl, csv, markdown, junit, openmetrics, influx or iperf3.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.format == Format::Json && args.run.len() > 1 {
        bail!("--format json writes one run; for several there is jsonl");
    }
    let mut runs = Vec::new();
    for name in &args.run {
        let named = load(name, &args.store)?;
        runs.push((named.run, named.record));
    }
    ui::text::quiet_when_closed(|mut out| report::export(args.format, &runs, &mut out))?;
    Ok(Exit::Ok)
}
