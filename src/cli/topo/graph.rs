//! `netbench topo graph`: a picture of a topology.

use super::{
    super::{data, print},
    Exit, load, output,
};
use crate::{
    plan::lower::lower,
    topology::graph::{self, Format},
};

/// Draw a topology as Mermaid, Graphviz or SVG.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped topology
    #[arg(value_name = "FILE")]
    topology: String,
    /// What to draw for
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
    /// Print what would be drawn as JSON, in the shape of `topo show`
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// Prints to stdout.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(loaded) = load(&args.topology) else { return Ok(Exit::Usage) };
    if args.json {
        data(&output::Show::new(&lower(&loaded.topology)?))?;
        return Ok(Exit::Ok);
    }
    print(&graph::render(&loaded.topology, args.format))?;
    Ok(Exit::Ok)
}
