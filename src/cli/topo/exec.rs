//! `netbench topo exec`: a command inside a node.

use std::{os::unix::process::CommandExt, process::Command};

use super::super::{Exit, declared, outcome::require_privilege, talk};
use crate::{
    apply::{journal::StateRoot, world::World},
    plan::desired::{NsId, NsOrigin},
};

/// Run a command in the namespace of a node, host or the fabric.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology that is up, or a topology file.
    topology: String,
    /// A node, a host, or `fabric`.
    node: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command; on success this process becomes it.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_privilege("topo exec")?;
    let desired = match declared::desired_of(&args.topology, &StateRoot::from_environment())? {
        Ok(desired) => desired,
        Err(exit) => return Ok(exit),
    };
    let id = NsId::new(&*args.node);
    let Some(ns) = desired.namespace(&id) else {
        let names: Vec<&str> = desired.namespaces.iter().map(|ns| ns.id.0.as_str()).collect();
        talk(&format!("error: `{}` has no node `{}`; it has {}", desired.topology, args.node, names.join(", ")));
        return Ok(Exit::Usage);
    };
    let mut world = World::new(&desired.topology);
    if !world.open(ns)? {
        talk(&format!("error: the namespace of {id} is not there; `netbench topo apply` makes it"));
        return Ok(Exit::CannotHere);
    }
    let name = match &ns.origin {
        NsOrigin::Own(name) => Some(name.as_str()),
        _ => None,
    };
    world.get(&id)?.enter_for_exec(name)?;
    let error = Command::new(&args.command[0]).args(&args.command[1..]).exec();
    talk(&format!("error: cannot run `{}` in {id}: {error}", args.command[0]));
    Ok(Exit::Usage)
}
