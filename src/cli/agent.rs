//! `netbench agent`: the worker process. Hidden: netbench starts it for itself.

use rustix::process::{Signal, set_parent_process_death_signal};

use super::Exit;
use crate::agent::worker;

/// Serves frames on stdin and stdout until stdin ends.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs until the driver hangs up.
pub fn run(_: Args) -> anyhow::Result<Exit> {
    // Should the driver's pipe be kept open by somebody else, its death ends us all the same. Not before its hello: the
    // signal follows the parent *thread* (prctl(2)), and the one that started us may live only until we run.
    let follow_parent = || _ = set_parent_process_death_signal(Some(Signal::KILL));
    let outcome = worker::serve(std::io::stdin(), std::io::stdout(), follow_parent);
    // Data threads may still be blocked in a call: nothing of theirs is worth waiting for.
    std::process::exit(match outcome {
        Ok(()) => i32::from(Exit::Ok as u8),
        Err(error) => {
            anstream::eprintln!("netbench agent: {error}");
            i32::from(Exit::Usage as u8)
        }
    })
}
