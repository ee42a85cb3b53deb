//! `netbench offload`: verify, bisect, restore.

mod bisect;
mod restore;
mod verify;

use std::sync::{Arc, atomic::AtomicBool};

use clap::Subcommand;
use rustix::thread::CapabilitySet;

use super::{Exit, declared, declared::Loaded, keep::KeepArgs, outcome::CannotHere, pairs, run, talk};
use crate::{
    apply::{
        self, ApplyError, destroy,
        features::Loans,
        interrupt,
        journal::{StateRoot, Store},
        prove,
        world::World,
    },
    experiment::{
        self,
        offload::{Target, bundles, drive, ecn, edges, flow_offload, forward, lro, sctp, spread, tunnel_ports, vlan},
    },
    kernel::rootless,
    record::{TopologyRef, manifest::Manifest},
    ui::ProgressLine,
    units::stable_hash,
};

/// Subcommands of `offload`.
#[derive(Debug, Subcommand)]
pub enum Offload {
    Verify(verify::Args),
    Bisect(bisect::Args),
    Restore(restore::Args),
}

impl Offload {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Verify(args) => verify::run(&args),
            Self::Bisect(args) => bisect::run(&args),
            Self::Restore(args) => restore::run(&args),
        }
    }
}

/// A topology that is up, with its lock held: nobody changes it meanwhile.
struct Session {
    loaded: Loaded,
    targets: Vec<Target>,
    world: World,
    store: Store,
    line: ProgressLine,
    interrupt: Arc<AtomicBool>,
    rootless: bool,
    was_up: bool,
    root: StateRoot,
}

impl Session {
    /// Makes the topology unless it is up already; a mistake of the person's is the exit code.
    fn begin(file: &str, flow: &[String]) -> anyhow::Result<Result<Self, Exit>> {
        // First of all: a user namespace can only be entered while there is a single thread.
        let rootless = !rootless::can(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
        if rootless {
            rootless::enter().map_err(ApplyError::from)?;
        }
        let interrupt = interrupt::watch();
        let loaded = match declared::load(file)? {
            Ok(loaded) => loaded,
            Err(exit) => return Ok(Err(exit)),
        };
        if rootless {
            run::refuse_foreign(&loaded.topology)?;
        }
        let flows: Vec<_> =
            pairs::named("--flow", flow, &loaded)?.into_iter().filter(|path| path.hops.len() > 1).collect();
        if flows.is_empty() {
            talk("error: the topology has no flow that crosses interfaces; name one with --flow from:to");
            return Ok(Err(Exit::Usage));
        }
        let targets = drive::targets(&loaded.desired, &flows);
        let root = StateRoot::from_environment();
        let was_up = root.read(&loaded.desired.topology)?.is_some_and(|history| history.is_up());
        let mut line = ProgressLine::default();
        line.say(&format!("applying {}", loaded.desired.topology));
        // What is up is verified as it is: an apply would mend what somebody wants to know about.
        let mut world = if was_up {
            apply::restore_features(&loaded.desired.topology, &root)?;
            World::new(&loaded.desired.topology)
        } else {
            let (world, applied) = apply::apply(loaded.for_now(), &root)?;
            if applied.collected {
                talk(&declared::collected(&loaded.desired.topology));
            }
            world
        };
        for ns in &loaded.desired.namespaces {
            if !world.open(ns)? {
                return Err(ApplyError::NoNamespace { ns: ns.id.clone() }.into());
            }
        }
        line.say("waiting for the ports");
        prove::carrier(&world, &loaded.desired)?;
        let store = root.lock(&loaded.desired.topology)?;
        Ok(Ok(Self { loaded, targets, world, store, line, interrupt, rootless, was_up, root }))
    }

    fn loans(&self) -> Loans {
        Loans::new(&self.store)
    }

    /// In what it is measured, before anything is switched.
    fn manifest(&self) -> Manifest {
        let flows: Vec<_> = self.targets.iter().map(|target| target.path.clone()).collect();
        let command: Vec<String> = std::env::args().collect();
        let Loaded { desired, text, .. } = &self.loaded;
        experiment::manifest::read(&self.world, desired, &flows, text, &command, &Default::default())
    }

    fn topology(&self) -> TopologyRef {
        let hash = format!("{:016x}", stable_hash(&[&self.loaded.text]));
        TopologyRef { name: self.loaded.desired.topology.clone(), hash }
    }

    /// Removes what was made.
    fn end(mut self) -> Result<(), ApplyError> {
        self.line.clear();
        let name = self.loaded.desired.topology.clone();
        let (root, keep) = (self.root.clone(), self.was_up);
        drop(self);
        if keep {
            return Ok(());
        }
        destroy::destroy(&name, &root).map(drop)
    }
}

/// Why nothing can be captured here, where it is that.
fn in_words(error: ApplyError) -> anyhow::Error {
    match &error {
        ApplyError::Kernel(kernel) if kernel.errno() == Some(libc::EPERM) => {
            CannotHere(format!("{error}: capturing frames needs CAP_NET_RAW; run it as root")).into()
        }
        _ => error.into(),
    }
}

/// Names that `--only` takes.
fn check_names(only: &[String]) -> Result<(), String> {
    let groups = crate::experiment::offload::checks::GROUPS.iter().map(|group| group.name);
    let known: Vec<&str> = groups
        .chain([spread::NAME, tunnel_ports::NAME, flow_offload::NAME, forward::NAME, lro::NAME, vlan::FILTER])
        .chain(edges::NAMES)
        .chain([bundles::NAME, ecn::NAME, sctp::NAME])
        .collect();
    match only.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("--only {name}: there is no such check; there are {}", known.join(", "))),
        None => Ok(()),
    }
}
