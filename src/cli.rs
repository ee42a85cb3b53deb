//! The command line: one file per command, each with its clap `Args` and `run(args) -> anyhow::Result<Exit>`.

mod agent;
mod declared;
mod explain;
mod generate;
mod outcome;
mod run;
mod topo;
mod tuning;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::ui::text::{data, print, table, talk};

/// How a command ended; the numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// A check or threshold failed, or drift was found.
    CheckFailed = 1,
    /// Usage or topology error.
    Usage = 2,
    /// Corrupt data or a broken offload.
    Corrupt = 3,
    /// The measurement is not valid.
    Invalid = 4,
    /// This host cannot: privilege, kernel, driver.
    CannotHere = 5,
    /// Something of ours is left.
    CleanupIncomplete = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Declared topologies, measured: throughput, latency, offloads and MTU of Linux bridges, Open vSwitch and SR-IOV.
#[derive(Debug, Parser)]
#[command(name = "netbench", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    /// Make, look at and remove topologies.
    #[command(subcommand)]
    Topo(topo::Topo),
    Explain(explain::Args),
    /// A worker process, for netbench's own use.
    #[command(hide = true)]
    Agent(agent::Args),
    #[command(name = "gen", hide = true)]
    Generate(generate::Generate),
}

impl Cli {
    /// Runs what was typed.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Topo(topo) => topo.run(),
            Command::Explain(args) => explain::run(&args),
            Command::Agent(args) => agent::run(args),
            Command::Generate(args) => generate::run(&args),
        }
    }

    /// The exit code that an error means.
    pub fn exit_of(error: &anyhow::Error) -> Exit {
        outcome::exit_of(error)
    }
}
