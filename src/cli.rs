//! The command line: one file per command, each with its clap `Args` and `run(args) -> anyhow::Result<Exit>`.

mod agent;
mod compare;
mod declared;
mod ends;
mod explain;
mod export;
mod generate;
mod history;
mod iperf3;
mod keep;
mod load;
mod measure_args;
mod mtu;
mod nic;
mod offload;
mod outcome;
mod overhead;
mod pacing;
mod pairs;
mod placement;
mod rates;
mod report;
mod rounds;
mod run;
mod search;
mod serve;
mod show;
mod stored;
mod stream;
mod sweep;
mod topo;
mod tuning;
mod variants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    apply::interrupt,
    ui::{
        live::Signals,
        text::{data, print, table, talk},
    },
};

/// Signals as the live view meets them.
fn signals() -> Signals {
    Signals { flag: interrupt::watch(), defer: interrupt::defer, resume: interrupt::resume }
}

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

/// Declares a network in a TOML file, builds it on the Linux kernel, proves it, measures it, and removes it.
#[derive(Debug, Parser)]
#[command(name = "netbench", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a check failed: drift, an MTU that is not as declared, a regression
  2    a mistake on the command line or in the topology
  3    corrupt data or a broken offload
  4    the measurement is not valid
  5    this host cannot: privilege, kernel, file
  6    clean-up is incomplete
  130  interrupted

Start with `netbench run bridge`; `netbench topo new --list` names the other shipped topologies.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    History(history::Args),
    Show(show::Args),
    Compare(compare::Args),
    Export(export::Args),
    Report(report::Args),
    /// Make, look at and remove topologies.
    #[command(subcommand)]
    Topo(topo::Topo),
    /// Look at the network interfaces of this host as hardware.
    #[command(subcommand)]
    Nic(nic::Nic),
    /// Find what a path carries, and which MTU is best.
    #[command(subcommand)]
    Mtu(mtu::Mtu),
    Sweep(Box<sweep::Args>),
    Overhead(Box<overhead::Args>),
    Search(Box<search::Args>),
    Serve(serve::Args),
    Stream(Box<stream::Args>),
    /// Are the offloads of a path right, and which of them breaks it?
    #[command(subcommand)]
    Offload(offload::Offload),
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
            Command::History(args) => history::run(&args),
            Command::Show(args) => show::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Topo(topo) => topo.run(),
            Command::Nic(nic) => nic.run(),
            Command::Mtu(mtu) => mtu.run(),
            Command::Sweep(args) => sweep::run(&args),
            Command::Overhead(args) => overhead::run(&args),
            Command::Search(args) => search::run(&args),
            Command::Serve(args) => serve::run(args),
            Command::Stream(args) => stream::run(*args),
            Command::Offload(offload) => offload.run(),
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
