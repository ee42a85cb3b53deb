//! `netbench history`: the runs that are kept.

use super::{Exit, data, print, stored::StoreArgs, table, talk};
use crate::{
    record::history::{Past, PastResult},
    report::quantity::{cut, headline},
    store::{Filter, Store},
};

/// List the runs that are kept, the latest last.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this topology only.
    #[arg(long, value_name = "NAME")]
    topology: Option<String>,
    /// Of the same topology, machine, devices, offloads and version as this run only: a fingerprint that --json shows.
    #[arg(long, value_name = "HASH")]
    fingerprint: Option<String>,
    /// Begun then or later, such as 2026-11 or 2026-11-24T10:00.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many, the latest.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let filter = Filter {
        topology: args.topology.clone(),
        fingerprint: args.fingerprint.clone(),
        since: args.since.clone(),
        limit: args.limit,
    };
    let store = args.store.path()?.map(|path| Store::open_existing(&path)).transpose()?.flatten();
    let mut runs = store.map(|store| store.list(&filter)).transpose()?.unwrap_or_default();
    runs.reverse();
    if args.json {
        data(&runs)?;
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        talk("no run is kept that fits; `netbench run` and `netbench stream` keep each of theirs");
        return Ok(Exit::Ok);
    }
    let header = ["run", "started", "topology", "flow", "test", "median", "±"].map(str::to_owned);
    let rows: Vec<_> = runs.iter().flat_map(|run| run.results.iter().map(move |result| row(run, result))).collect();
    print(&table(&header, &rows))?;
    Ok(Exit::Ok)
}

fn row(run: &Past, result: &PastResult) -> [String; 7] {
    let half = result.interval.filter(|_| result.median != 0.0);
    let half = half.map(|i| format!("{:.1} %", (i.high - i.low) / 2.0 / result.median * 100.0));
    let number = if run.valid { run.run.to_string() } else { format!("{}!", run.run) };
    [
        number,
        run.started.get(5..16).unwrap_or(&run.started).replace('T', " "),
        cut(&run.topology, 11),
        cut(&format!("{}→{}", result.from, result.to), 14),
        result.test.name().to_owned(),
        headline(result.median, result.unit),
        half.unwrap_or_default(),
    ]
}
