//! `netbench topo show`: one topology that is up.

use super::{
    super::{Exit, data, declared, print},
    output,
};
use crate::{
    apply::{self, journal::StateRoot},
    plan::{desired::Desired, ovs::Ovs},
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
    let switches = switches(&desired);
    if args.json {
        data(&output::Show { switches, ..output::Show::new(&desired) })?;
        return Ok(Exit::Ok);
    }
    let mut text = format!("{}: {}\n\n", desired.topology, super::apply::summary(&desired));
    for ns in output::namespaces(&desired) {
        text.push_str(&format!("{:<16} {}\n", ns.role, ns.place));
    }
    text.push('\n');
    text.push_str(&super::plan::interfaces(&desired));
    for switch in &switches {
        let own = if switch.system { " (the host's own)" } else { "" };
        text.push_str(&format!("\nOpen vSwitch in {}{own}\n", switch.netns));
        let settings = switch.settings.iter().map(ToString::to_string);
        for line in settings.chain(switch.error.clone()) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}

/// How the topology's Open vSwitches are set now.
fn switches(desired: &Desired) -> Vec<output::Switch> {
    let one = |declared: &Ovs| {
        let (settings, error) = match apply::ovs::settings(&desired.topology, &declared.daemon.ns) {
            Ok(settings) => (settings, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        output::Switch { netns: declared.daemon.ns.0.clone(), system: declared.daemon.system, settings, error }
    };
    desired.ovs.iter().map(one).collect()
}
