//! `netbench topo show`: one topology that is up.

use super::{
    super::{Exit, data, declared, print},
    output,
};
use crate::apply::journal::StateRoot;

/// Show a topology that is up: namespaces, interfaces, paths.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology that is up, or a topology file.
    topology: String,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let desired = match declared::desired_of(&args.topology, &StateRoot::from_environment())? {
        Ok(desired) => desired,
        Err(exit) => return Ok(exit),
    };
    if args.json {
        data(&output::Show::new(&desired))?;
        return Ok(Exit::Ok);
    }
    let mut text = format!("{}: {}\n\n", desired.topology, super::apply::summary(&desired));
    for ns in output::namespaces(&desired) {
        text.push_str(&format!("{:<16} {}\n", ns.role, ns.place));
    }
    text.push('\n');
    text.push_str(&super::plan::interfaces(&desired));
    print(&text)?;
    Ok(Exit::Ok)
}
