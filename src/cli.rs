//! The command line: one file per command, each with its clap `Args` and `run(args) -> anyhow::Result<Exit>`.

mod explain;
mod topo;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

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
    /// Check, draw and copy topologies
    Topo(topo::Args),
    /// Explain a code such as NB012, or list all codes
    Explain(explain::Args),
}

impl Cli {
    /// Runs what was typed.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Topo(args) => topo::run(args),
            Command::Explain(args) => explain::run(&args),
        }
    }
}

/// Writes data to stdout; a reader that has gone away is no error.
fn print_data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
