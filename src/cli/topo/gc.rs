//! `netbench topo gc`: finds what crashed commands left, by marks alone where the state is lost.

use super::super::{Exit, outcome::require_privilege};
use crate::apply::{
    destroy::{collect, orphans},
    journal::StateRoot,
};

/// Remove what interrupted commands left; topologies that are up stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_privilege("topo gc")?;
    let root = StateRoot::from_environment();
    super::destroy::remove(&orphans(&root)?, &root, args.json, collect)
}
