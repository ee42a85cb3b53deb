//! `netbench topo`: the commands that make, look at and remove topologies.

pub mod apply;
pub mod check;
pub mod destroy;
pub mod exec;
pub mod gc;
pub mod graph;
pub mod list;
pub mod new;
pub mod output;
pub mod plan;
pub mod schema;
pub mod show;
pub mod verify;

use clap::Subcommand;

use super::Exit;
use crate::topology::{self, Loaded, diagnostic::Report};

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
pub fn say(report: &Report) {
    if !report.diagnostics.is_empty() {
        anstream::eprint!("{}", report.render(true));
    }
}

/// Subcommands of `topo`.
#[derive(Debug, Subcommand)]
pub enum Topo {
    Check(check::Args),
    New(new::Args),
    Graph(graph::Args),
    Schema(schema::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Verify(verify::Args),
    Show(show::Args),
    List(list::Args),
    Exec(exec::Args),
    Destroy(destroy::Args),
    Gc(gc::Args),
}

impl Topo {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Check(args) => check::run(&args),
            Self::New(args) => new::run(&args),
            Self::Graph(args) => graph::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Plan(args) => plan::run(args),
            Self::Apply(args) => apply::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Show(args) => show::run(args),
            Self::List(args) => list::run(args),
            Self::Exec(args) => exec::run(args),
            Self::Destroy(args) => destroy::run(args),
            Self::Gc(args) => gc::run(args),
        }
    }
}
