//! `netbench export`: what is kept, for other tools.

use anyhow::bail;

use super::{
    Exit,
    stored::{StoreArgs, load},
};
use crate::{
    record::kept::{Kept, Kind},
    report,
    report::export::Format,
    ui,
};

/// Write what is kept for other tools.
///
/// Runs have all formats; the other kinds have json, jsonl, csv and markdown, and those that judge something have junit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers, `last`, `last~1`, or files that a command wrote with `--json`.
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
    let mut all = Vec::new();
    for name in &args.run {
        let named = load(name, &args.store)?;
        all.push((named.run, named.record));
    }
    let first = all.first().map(|(_, kept)| kept.kind());
    if args.format != Format::Jsonl && all.iter().any(|(_, kept)| Some(kept.kind()) != first) {
        bail!("these are of different kinds, whose fields differ: export them one kind at a time, or as jsonl");
    }
    if let Some((_, kept)) = all.iter().find(|(_, kept)| !report::export::fits(args.format, kept.kind())) {
        let kind = kept.kind();
        bail!("{} is a format of runs; {kind} can be exported as {}", args.format, report::export::formats_of(kind));
    }
    ui::text::quiet_when_closed(|mut out| {
        if args.format == Format::Jsonl || first != Some(Kind::Run) {
            return report::export::others(args.format, &all, &mut out);
        }
        let runs: Vec<_> = all
            .into_iter()
            .filter_map(|(run, kept)| if let Kept::Run(record) = kept { Some((run, *record)) } else { None })
            .collect();
        report::export(args.format, &runs, &mut out)
    })?;
    Ok(Exit::Ok)
}
