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
pub mod show;
pub mod verify;

use clap::Subcommand;

use super::Exit;

/// Subcommands of `topo`.
#[derive(Debug, Subcommand)]
pub enum Topo {
    Check(check::Args),
    New(new::Args),
    Graph(graph::Args),
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
            Self::Check(args) => check::run(args),
            Self::New(args) => new::run(args),
            Self::Graph(args) => graph::run(args),
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
