//! The `netbench` program: parses, runs, turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use netbench::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            Cli::exit_of(&error).into()
        }
    }
}
