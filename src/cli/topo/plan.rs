//! `netbench topo plan`: what an apply would do.

use std::collections::BTreeMap;

use super::{
    super::{Exit, data, declared, outcome::require_privilege, print, talk},
    output,
};
use crate::{
    apply::{self, journal::StateRoot},
    plan::{
        desired::{Desired, LinkKind, NsId},
        diff::{self, Context},
        observed::{Observed, ObservedLink, ObservedNs},
        sriov::ObservedPf,
        step::{NicState, Step},
    },
};

/// Show what an apply would do, in order, with the addresses and MTU of every interface.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
    /// Plan for a host where nothing of the topology exists, without looking at this one.
    #[arg(long)]
    offline: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let load = if args.offline { declared::load_offline } else { declared::load };
    let loaded = match load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let desired = &loaded.desired;
    let blind = args.offline || require_privilege("topo plan").is_err();
    let steps = if blind {
        if !args.offline {
            talk(
                "note: without privilege the namespaces of this host cannot be read; this is the plan for an empty one",
            );
        }
        offline(desired)?
    } else {
        apply::plan(desired, &StateRoot::from_environment())?
    };
    if args.json {
        data(&output::Plan {
            topology: desired.topology.clone(),
            steps: steps.iter().map(output::PlannedStep::from).collect(),
            interfaces: output::interfaces(desired),
            paths: output::paths(desired),
        })?;
    } else {
        print(&as_text(desired, &steps))?;
    }
    Ok(Exit::Ok)
}

/// The plan for a host on which nothing of the topology exists.
pub fn offline(desired: &Desired) -> anyhow::Result<Vec<Step>> {
    let mut observed = Observed::default();
    for ns in desired.namespaces.iter().filter(|ns| !ns.origin.is_own()) {
        observed.namespaces.insert(ns.id.clone(), ObservedNs::default());
    }
    // Real devices are taken for what the file says of them.
    let mut nics = BTreeMap::new();
    for link in &desired.links {
        if let LinkKind::Borrowed { ifname, .. } = &link.kind {
            nics.insert(ifname.to_string(), NicState { ifname: ifname.to_string(), ..NicState::default() });
            if link.at.ns.0 == NsId::SELF
                && let Some(this) = observed.namespaces.get_mut(&link.at.ns)
            {
                this.links.insert(link.at.name.clone(), ObservedLink::default());
            }
        }
    }
    for pf in &desired.sriov {
        let seen = ObservedPf { total: pf.vfs, autoprobe: true, eswitch: pf.eswitch, ..ObservedPf::default() };
        observed.sriov.insert(pf.pci.clone(), seen);
    }
    let context = Context { nics: Some(&nics), ..Context::default() };
    diff::diff(desired, &observed, context).map_err(|conflicts| crate::apply::ApplyError::Conflicts(conflicts).into())
}

fn as_text(desired: &Desired, steps: &[Step]) -> String {
    let mut text = format!("{}: {} steps\n", desired.topology, steps.len());
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("{:>5}  {step}\n", index + 1));
    }
    text.push_str(&interfaces(desired));
    for path in &desired.flows {
        text.push_str(&format!("\n{} → {} at MTU {}:", path.flow.from, path.flow.to, path.flow.mtu));
        for hop in &path.hops {
            text.push_str(&format!(" {}", hop.at));
        }
        text.push('\n');
    }
    text
}

/// A table of every interface with kind, MTU and addresses.
pub fn interfaces(desired: &Desired) -> String {
    let row = |i: output::Interface| {
        let mtu = i.mtu.map_or("as found".to_owned(), |mtu| mtu.to_string());
        [format!("{}/{}", i.netns, i.name), i.kind, mtu, i.addresses.join(" ")]
    };
    let rows: Vec<[String; 4]> = output::interfaces(desired).into_iter().map(row).collect();
    let header = ["interface", "kind", "mtu", "addresses"].map(str::to_owned);
    super::super::table(&header, &rows)
}
