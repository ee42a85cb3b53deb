//! `netbench topo graph`: a picture of a topology.

use super::{super::print, Exit, load};
use crate::topology::graph::{self, Format};

/// Draw a topology as Mermaid, Graphviz or SVG.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped topology
    #[arg(value_name = "FILE")]
    topology: String,
    /// What to draw for
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

/// Prints to stdout.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(loaded) = load(&args.topology) else { return Ok(Exit::Usage) };
    print(&graph::render(&loaded.topology, args.format))?;
    Ok(Exit::Ok)
}
