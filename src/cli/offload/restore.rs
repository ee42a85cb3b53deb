//! `netbench offload restore`: what a killed `verify` or `bisect` left switched is put back.

use super::{
    super::{declared, outcome::require_privilege},
    Exit, talk,
};
use crate::apply::{self, journal::StateRoot};

/// Put the features back that a killed `offload verify` or `offload bisect` left switched.
///
/// `topo apply`, `topo destroy` and the next `offload verify` of the topology do the same by themselves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology that is up, or a topology file.
    topology: String,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    require_privilege("offload restore")?;
    let root = StateRoot::from_environment();
    let name = match declared::name_of(&args.topology)? {
        Ok(name) => name,
        Err(exit) => return Ok(exit),
    };
    let up = root.read(&name)?.is_some();
    let restored = up && apply::restore_features(&name, &root)?;
    talk(&match restored {
        true => format!("{name}: every feature is as it was before"),
        false => format!("{name}: nothing was left switched"),
    });
    Ok(Exit::Ok)
}
