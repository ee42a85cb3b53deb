//! `netbench history`: what is kept.

use super::{Exit, data, print, stored::StoreArgs, table, talk};
use crate::{
    record::{
        TopologyRef,
        history::{Past, PastResult},
        kept::Kind,
    },
    report::quantity::{cut, headline},
    store::{Filter, Store},
};

/// List what is kept, the latest last.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this topology only.
    #[arg(long, value_name = "NAME")]
    topology: Option<String>,
    /// Of this kind only: run, sweep, overhead, mtu-probe, mtu-tune, search, offload-verify or offload-bisect.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
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
        kind: args.kind,
        before: None,
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
        talk("nothing is kept that fits; `netbench run` and the other commands that measure keep what they find");
        return Ok(Exit::Ok);
    }
    print(&listing(&runs))?;
    Ok(Exit::Ok)
}

/// A row a result of a run; what is no run has one row with its kind and its answer. At most 80 columns.
fn listing(runs: &[Past]) -> String {
    let header = ["run", "started", "topology", "flow", "test", "median", "±"].map(str::to_owned);
    let has_row = |run: &Past| run.kind == Kind::Run && !run.results.is_empty();
    // The answers lie across the last four columns, which only runs make wide.
    let rows: Vec<[String; 7]> = runs
        .iter()
        .flat_map(|run| match has_row(run) {
            true => run.results.iter().map(|result| row(run, result)).collect(),
            false => vec![head(run, [String::new(), String::new(), String::new(), String::new()])],
        })
        .collect();
    let table = table(&header, &rows);
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    let behind = header[..3].iter().enumerate().map(|(i, name)| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or(0) + 2
    });
    let behind: usize = behind.sum();
    for run in runs {
        for line in lines.by_ref().take(if has_row(run) { run.results.len() } else { 1 }) {
            let what = if run.headline.is_empty() { "no figure" } else { &run.headline };
            match has_row(run) {
                true => text.push_str(line),
                false => text.push_str(&cut(&format!("{line:<behind$}{}: {what}", run.kind), 80)),
            }
            text.push('\n');
        }
    }
    text
}

fn row(run: &Past, result: &PastResult) -> [String; 7] {
    let half = result.interval.filter(|_| result.median != 0.0);
    let half = half.map(|i| format!("{:.1} %", (i.high - i.low) / 2.0 / result.median * 100.0));
    head(
        run,
        [
            cut(&format!("{}→{}", result.from, result.to), 14),
            result.test.name().to_owned(),
            headline(result.median, result.unit),
            half.unwrap_or_default(),
        ],
    )
}

/// A row with its first three cells.
fn head(run: &Past, rest: [String; 4]) -> [String; 7] {
    let number = if run.valid { run.run.to_string() } else { format!("{}!", run.run) };
    let started = run.started.get(5..16).unwrap_or(&run.started).replace('T', " ");
    let [flow, test, median, half] = rest;
    let topology = if run.topology == TopologyRef::NONE { "-".to_owned() } else { cut(&run.topology, 10) };
    [number, started, topology, flow, test, median, half]
}
