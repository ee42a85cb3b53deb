//! `netbench topo new`: a shipped topology as a file to edit.

use super::{super::print, Exit, say};
use crate::topology::{self, shipped};

/// Print a shipped topology, as a file to edit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shipped topology to print
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// List the shipped topologies
    #[arg(long)]
    list: bool,
}

/// Prints to stdout.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let text = match args.name.as_deref().filter(|_| !args.list) {
        None => shipped::all().iter().map(|shipped| format!("{:<14}{}\n", shipped.name, shipped.summary())).collect(),
        Some(name) => match shipped::find(name) {
            Some(shipped) => shipped.text.to_owned(),
            None => {
                say(&topology::unknown(name));
                return Ok(Exit::Usage);
            }
        },
    };
    print(&text)?;
    Ok(Exit::Ok)
}
