//! `netbench mtu`: what a path carries, and which MTU is best.

mod probe;
mod tune;

use clap::Subcommand;

use super::Exit;

/// Subcommands of `mtu`.
#[derive(Debug, Subcommand)]
pub enum Mtu {
    Probe(probe::Args),
    Tune(Box<tune::Args>),
}

impl Mtu {
    /// Runs what was typed.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Probe(args) => probe::run(&args),
            Self::Tune(args) => tune::run(&args),
        }
    }
}
