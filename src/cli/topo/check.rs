//! `netbench topo check`: all mistakes of a file, offline.

use super::{
    super::{Exit, data},
    output, say,
};
use crate::topology;

/// Check a topology file offline: all mistakes at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped topology
    #[arg(value_name = "FILE")]
    topology: String,
    /// Print mistakes and warnings as JSON to stdout
    #[arg(long)]
    json: bool,
}

/// Exit code 2 when there are errors; warnings alone are no failure.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let checked = topology::load(&args.topology);
    let report = match &checked {
        Ok(loaded) => &loaded.report,
        Err(report) => report,
    };
    let exit = if checked.is_ok() { Exit::Ok } else { Exit::Usage };
    if args.json {
        data(&output::Check {
            topology: checked.as_ref().ok().map(|loaded| loaded.topology.name.clone()),
            ok: checked.is_ok(),
            diagnostics: report.to_json(),
        })?;
        return Ok(exit);
    }
    say(report);
    if let Ok(loaded) = &checked {
        let topology = &loaded.topology;
        let flows = topology.flows.iter().map(|flow| format!("{} to {} (MTU {})", flow.from, flow.to, flow.mtu));
        let flows: Vec<String> = flows.take(4).collect();
        anstream::eprintln!(
            "{}: sound; {}, {}, {}; {}",
            topology.name,
            count(topology.nodes.len(), "node", "nodes"),
            count(topology.switches.len(), "switch", "switches"),
            count(topology.links.len(), "link", "links"),
            if flows.is_empty() { "no flow".to_owned() } else { flows.join(", ") }
        );
    }
    Ok(exit)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
