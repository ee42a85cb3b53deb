//! `netbench mtu`: what a path carries, and which MTU is best.

mod probe;

use clap::Subcommand;

use super::Exit;

/// Subcommands of `mtu`.
#[derive(Debug, Subcommand)]
pub enum Mtu {
    Probe(probe::Args),
}

impl Mtu {
    /// Runs what was typed.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Probe(args) => probe::run(&args),
        }
    }
}
