//! `netbench topo gc`: finds what crashed commands left, by marks alone where the state is lost.

use super::{
    super::{Exit, outcome::require_privilege, talk},
    apply::plural,
};
use crate::apply::{
    destroy::{collect, collect_unmarked, orphans},
    journal::StateRoot,
    ovs,
};

/// Remove what interrupted commands left; topologies that are up stay.
///
/// Needs root, but for the daemons of Open vSwitch that a `run` of your own without root left when it was killed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let root = StateRoot::from_environment();
    let ended = ovs::end_deserted(&root)?;
    if ended > 0 {
        let daemons = plural(ended, "daemon");
        talk(&format!("ended {daemons} of Open vSwitch, which a killed run without root had left"));
        if require_privilege("topo gc").is_err() {
            return Ok(Exit::Ok);
        }
    }
    require_privilege("topo gc")?;
    let exit = super::destroy::remove(&orphans(&root)?, &root, args.json, collect)?;
    let unmarked = collect_unmarked(&root)?;
    if unmarked > 0 {
        talk(&format!("removed {} that a killed command had not marked yet", plural(unmarked, "link")));
    }
    Ok(exit)
}
