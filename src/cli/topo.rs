//! `netbench topo …`: everything about a topology but measuring it.

mod check;
mod graph;
mod new;
mod schema;

use anstream::eprint;
use clap::Subcommand;

use super::Exit;
use crate::topology::{self, Loaded, diagnostic::Report};

/// Arguments of `netbench topo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a topology without touching anything: all mistakes at once
    Check(check::Args),
    /// Print a shipped topology, to be edited
    New(new::Args),
    /// Draw a topology
    Graph(graph::Args),
    /// Print the JSON schema of topology files, for editors
    Schema(schema::Args),
}

/// Runs what was typed.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::New(args) => new::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Schema(args) => schema::run(&args),
    }
}

/// Loads a topology and says on stderr what is wrong with it; `None` when it has errors (exit code 2).
pub fn load(argument: &str) -> Option<Loaded> {
    match topology::load(argument) {
        Ok(loaded) => {
            say(&loaded.report);
            Some(loaded)
        }
        Err(report) => {
            say(&report);
            None
        }
    }
}

/// Prints mistakes and warnings to stderr; anstream drops the colours where nobody sees them.
fn say(report: &Report) {
    if !report.diagnostics.is_empty() {
        eprint!("{}", report.render(true));
    }
}
