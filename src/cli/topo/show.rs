//! `netbench topo show`: one topology that is up.

use serde_json::json;

use super::super::{Exit, data, declared, print};
use crate::{
    apply::{journal::StateRoot, world::netns_path},
    plan::desired::NsOrigin,
};

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
        data(&json!(desired))?;
        return Ok(Exit::Ok);
    }
    let mut text = format!("{}: {}\n\n", desired.topology, super::apply::summary(&desired));
    for ns in &desired.namespaces {
        let place = match &ns.origin {
            NsOrigin::Own(name) => netns_path(name).display().to_string(),
            NsOrigin::This => "where netbench was started".to_owned(),
            NsOrigin::Path(path) => path.display().to_string(),
            NsOrigin::Pid(pid) => format!("process {pid}"),
            NsOrigin::Container { engine, name } => format!("{engine} container {name}"),
        };
        text.push_str(&format!("{:<16} {place}\n", ns.id));
    }
    text.push_str(&super::plan::interfaces(&desired));
    print(&text)?;
    Ok(Exit::Ok)
}
