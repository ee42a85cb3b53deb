//! `netbench topo verify`: reads back and compares field by field.

use super::{
    super::{Exit, data, declared, outcome::require_privilege, print, talk},
    apply::plural,
    output,
};
use crate::{
    apply::{self, journal::StateRoot, prove, world::World},
    plan::proof::SettingProof,
};

/// Compare what is there with what is declared, field by field; exit 1 on drift.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology that is up, or a topology file.
    topology: String,
    /// Also prove with traffic: the MTU of every declared path, the VLANs of switches, and what NICs were told of their
    /// virtual functions; exit 1 on what does not hold.
    #[arg(long)]
    prove: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_privilege("topo verify")?;
    let root = StateRoot::from_environment();
    let desired = match declared::desired_of(&args.topology, &root)? {
        Ok(desired) => desired,
        Err(exit) => return Ok(exit),
    };
    let drift = apply::verify(&desired, &root)?;
    let (mut proofs, mut settings) = (Vec::new(), Vec::new());
    if args.prove && drift.is_empty() {
        let mut world = World::new(&desired.topology);
        world.observe(&desired, None)?;
        proofs = prove::mtu(&world, &desired)?;
        settings = prove::enforcement(&world, &desired)?;
    }
    let holds = proofs.iter().all(prove::MtuProof::holds) && !settings.iter().any(SettingProof::is_finding);
    if args.json {
        let proofs = proofs.iter().map(output::Proof::from).collect();
        data(&output::Verify { topology: desired.topology.clone(), drift: drift.clone(), proofs, settings })?;
    } else if drift.is_empty() {
        talk(&format!("{}: all is as declared", desired.topology));
        proofs.iter().for_each(|proof| talk(&proof.text()));
        let (findings, others): (Vec<_>, Vec<_>) = settings.iter().partition(|proof| proof.is_finding());
        others.into_iter().for_each(|proof| talk(&proof.text()));
        print(&findings.into_iter().map(|proof| proof.text() + "\n").collect::<String>())?;
    } else {
        print(&(drift.join("\n") + "\n"))?;
        let differences = plural(drift.len(), "difference");
        talk(&format!("{}: {differences}; `netbench topo apply` mends them", desired.topology));
    }
    Ok(if drift.is_empty() && holds { Exit::Ok } else { Exit::CheckFailed })
}
