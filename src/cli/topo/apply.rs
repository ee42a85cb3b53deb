//! `netbench topo apply`: makes a topology and keeps it.

use super::{
    super::{Exit, data, declared, outcome::require_privilege, talk},
    output,
};
use crate::{
    apply::{self, Declared, interrupt, journal::StateRoot, prove},
    plan::{desired::Desired, step::Step, text::kind_word},
};

/// Make a topology; a second time, change only what differs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// Do not send the packets that prove the MTU of every declared path.
    #[arg(long)]
    no_prove: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_privilege("topo apply")?;
    interrupt::watch();
    let loaded = match declared::load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let desired = &loaded.desired;
    let declared = Declared { desired, source: &loaded.source, text: &loaded.text, temporary: false };
    let (world, applied) = apply::apply(declared, &StateRoot::from_environment())?;
    if applied.collected {
        talk(&super::super::declared::collected(&desired.topology));
    }
    let proofs = if args.no_prove { Vec::new() } else { prove::mtu(&world, desired)? };
    let fallen = apply::ovs::fallen(desired);
    let proved = proofs.iter().all(prove::MtuProof::holds) && fallen.is_empty();
    let elapsed_ms = applied.elapsed.as_secs_f64() * 1e3;
    if args.json {
        data(&output::Apply {
            topology: desired.topology.clone(),
            steps: applied.steps.len(),
            actions: applied.steps.iter().map(Step::to_string).collect(),
            elapsed_ms,
            verified: true,
            proofs: proofs.iter().map(output::Proof::from).collect(),
        })?;
    } else {
        let what = summary(desired);
        match applied.steps.len() {
            0 => talk(&format!("{}: {what}; nothing to do, all is as declared ({elapsed_ms:.0} ms)", desired.topology)),
            n => talk(&format!("{}: {what}; {} in {elapsed_ms:.0} ms; verified", desired.topology, plural(n, "step"))),
        }
        for proof in &proofs {
            talk(&proof.text());
        }
    }
    for text in &fallen {
        talk(&format!("error: {text}"));
    }
    Ok(if proved { Exit::Ok } else { Exit::CheckFailed })
}

/// `3 namespaces, 1 bridge, 2 veth pairs`.
pub fn summary(desired: &Desired) -> String {
    let own = desired.namespaces.iter().filter(|ns| ns.origin.is_own()).count();
    let mut parts = vec![plural(own, "namespace")];
    for kind in ["bridge", "macvlan", "ipvlan", "vxlan", "geneve", "gre", "borrowed", "vf", "veth"] {
        let count = desired.links.iter().filter(|link| kind_word(link) == kind).count();
        match (kind, count) {
            (_, 0) => {}
            ("veth", ends) => parts.push(plural(ends / 2, "veth pair")),
            ("vf", n) => parts.push(plural(n, "virtual function")),
            ("borrowed", n) => parts.push(plural(n, "borrowed NIC")),
            ("gre", n) => parts.push(plural(n, "GRE device")),
            ("geneve", n) => parts.push(plural(n, "Geneve device")),
            (kind, n) => parts.push(plural(n, kind)),
        }
    }
    parts.join(", ")
}

/// `1 step`, `2 steps`.
pub fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
