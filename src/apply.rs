//! Runs plans: journal first, execute, verify, prove; roll back, destroy, recover.

pub mod destroy;
pub mod execute;
pub mod fault;
pub mod features;
pub mod interrupt;
pub mod journal;
pub mod ovs;
pub mod owner;
pub mod prove;
pub mod sriov;
pub mod world;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

pub use interrupt::interrupted;

use self::{
    execute::Executor,
    journal::{History, JournalError, Record, StateRoot, Store},
    owner::Owner,
    world::World,
};
use crate::{
    kernel,
    plan::{
        desired::{Desired, NsId},
        diff::{self, Conflict, Context},
        step::Step,
    },
};

/// Errors of apply, verify and destroy.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Open vSwitch refused.
    #[error(transparent)]
    Ovs(#[from] crate::ovs::Error),
    /// The state folder failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Things of somebody else are in the way; nothing was changed.
    #[error("{}", lines(.0))]
    Conflicts(Vec<Conflict>),
    /// A role without an open namespace: it was deleted under us.
    #[error("the namespace of {ns} is not there (was it deleted by somebody?)")]
    NoNamespace {
        /// Its role.
        ns: NsId,
    },
    /// A NIC that this machine lives by.
    #[error("nic {ifname}: {why}; netbench does not take it away from the host")]
    NicInUse {
        /// Kernel name.
        ifname: String,
        /// What hangs on it.
        why: &'static str,
    },
    /// A step failed and the plan was taken back.
    #[error("step {number} of {total} ({step}) failed: {cause}{}", rollback_text(.left))]
    Step {
        /// Which one, from 1.
        number: usize,
        /// Of how many.
        total: usize,
        /// What it was.
        step: String,
        /// Why it failed.
        cause: Box<ApplyError>,
        /// What could not be taken back.
        left: Vec<String>,
    },
    /// The kernel took every step and still holds something else.
    #[error("the kernel does not hold what was applied:\n  {}{}", .drift.join("\n  "), rollback_text(.left))]
    NotAsDeclared {
        /// Differences.
        drift: Vec<String>,
        /// What could not be taken back.
        left: Vec<String>,
    },
    /// Something of ours is left.
    #[error("clean-up is incomplete:\n  {}", .0.join("\n  "))]
    CleanupIncomplete(Vec<String>),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A failure that a test asked for.
    #[error("failed on request (NETBENCH_FAIL_AT) at: {step}")]
    Injected {
        /// The step.
        step: String,
    },
    /// Namespaces cannot be made here.
    #[error("{0}")]
    CannotHere(String),
}

fn lines(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(Conflict::to_string).collect::<Vec<_>>().join("\n")
}

fn rollback_text(left: &[String]) -> String {
    match left {
        [] => "; rolled back, nothing is left".to_owned(),
        left => format!("; rolling back left:\n  {}", left.join("\n  ")),
    }
}

impl ApplyError {
    /// Was this Ctrl-C, at whatever depth?
    pub fn is_interrupt(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Step { cause, .. } => cause.is_interrupt(),
            _ => false,
        }
    }
}

/// What an apply did.
#[derive(Debug)]
pub struct Applied {
    /// Steps carried out; empty when there was nothing to do.
    pub steps: Vec<Step>,
    /// Does it stay when this process ends? A temporary one that was up already does.
    pub stays: bool,
    /// Was something removed first that a killed command had made for its own time?
    pub collected: bool,
    /// From lock to verified.
    pub elapsed: Duration,
}

/// A desired state with where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// The state.
    pub desired: &'a Desired,
    /// The file or shipped name, as given.
    pub source: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Shall it live and die with this process, unless it is up already? Whoever says so destroys it or hands it over
    /// ([`hand_over`]); after SIGKILL `topo gc` or the next apply removes it.
    pub temporary: bool,
}

/// The steps that an apply would take now; nothing is changed and nothing is locked.
pub fn plan(desired: &Desired, root: &StateRoot) -> Result<Vec<Step>, ApplyError> {
    let history = root.read(&desired.topology)?.unwrap_or_default();
    difference(&mut World::new(&desired.topology), desired, &history)
}

/// The differences between what is declared and what is there, one sentence each; empty when there are none.
pub fn verify(desired: &Desired, root: &StateRoot) -> Result<Vec<String>, ApplyError> {
    Ok(plan(desired, root)?.iter().map(Step::drift).collect())
}

fn difference(world: &mut World, desired: &Desired, history: &History) -> Result<Vec<Step>, ApplyError> {
    let before = history.known();
    let observed = world.observe(desired, before.as_ref())?;
    let nics = world.nics(desired)?;
    let taken = history.taken();
    let context = Context { before: before.as_ref(), nics: Some(&nics), taken: Some(&taken) };
    diff::diff(desired, &observed, context).map_err(ApplyError::Conflicts)
}

/// Brings the kernel to the declared state and verifies it; on any failure takes back what it did.
pub fn apply(declared: Declared<'_>, root: &StateRoot) -> Result<(World, Applied), ApplyError> {
    let started = Instant::now();
    let store = root.lock(&declared.desired.topology)?;
    match apply_locked(declared, &store) {
        Ok((world, applied)) => Ok((world, Applied { elapsed: started.elapsed(), ..applied })),
        Err(error) => {
            // Where nothing was ever announced, nothing was made: the folder need not stay.
            if store.history().is_ok_and(|history| history.intents.is_empty()) {
                let _ = store.remove();
            }
            Err(error)
        }
    }
}

fn apply_locked(declared: Declared<'_>, store: &Store) -> Result<(World, Applied), ApplyError> {
    let desired = declared.desired;
    store.refuse_others(&desired.topology)?;
    let collected = destroy::collect_abandoned(&desired.topology, store)?;
    let history = store.history()?;
    let temporary = declared.temporary && !history.is_up();
    let before = history.known();
    let mut world = World::new(&desired.topology);
    put_features_back(&mut world, store, before.as_ref())?;
    let steps = difference(&mut world, desired, &history)?;
    for step in &steps {
        refuse_lifeline(step)?;
        if matches!(step, Step::StartOvs(daemon) if daemon.system) {
            // It only looks whether the host's own can be used: better before anything is made.
            ovs::step(&world, step)?;
        }
    }
    let unchanged = history.committed.as_ref() == Some(desired) && !history.unfinished;
    let applied = |steps| Applied { steps, stays: !temporary, collected, elapsed: Duration::ZERO };
    if steps.is_empty() && unchanged && history.temporary == temporary {
        return Ok((world, applied(steps)));
    }
    if temporary && store.owner()? != Owner::This {
        owner::take(store.folder())?;
    }
    store.append(&Record::Intent {
        version: journal::VERSION,
        source: declared.source.to_owned(),
        desired: Box::new(desired.clone()),
        steps: steps.clone(),
        temporary,
    })?;
    fault::point("intent on disk");
    store.keep_source(declared.text)?;
    let own = own_roles(desired, before.as_ref());
    let outcome = Executor::new(&mut world, own.clone()).run(&steps);
    if let Err((begun, cause)) = outcome {
        let left = roll_back(world, store, &history, &steps[..begun]);
        let interrupted = cause.is_interrupt();
        if interrupted && left.is_empty() {
            return Err(ApplyError::Interrupted);
        }
        let step = steps[begun.max(1) - 1].to_string();
        let (number, total) = (begun, steps.len());
        return Err(ApplyError::Step { number, total, step, cause: Box::new(cause), left });
    }
    let mut drift: Vec<String> = match difference(&mut world, desired, &store.history()?) {
        Ok(rest) => rest.iter().map(Step::drift).collect(),
        Err(error) => vec![error.to_string()],
    };
    if !drift.is_empty() {
        drift.splice(0..0, ovs::fallen(desired));
    }
    if drift.is_empty() && history.committed.is_some() {
        drift.extend(forget_neighbours(&world, desired).err().map(|error| error.to_string()));
    }
    if !drift.is_empty() {
        let left = roll_back(world, store, &history, &steps);
        return Err(ApplyError::NotAsDeclared { drift, left });
    }
    store.append(&Record::Commit)?;
    fault::point("committed");
    let foreign = foreign_steps(&history, &steps, desired);
    store.compact(declared.source, desired, foreign, temporary)?;
    Ok((world, applied(steps)))
}

/// Makes a temporary topology of this process one that stays.
///
/// # Errors
/// Another netbench works on it, or its state folder cannot be written.
pub fn hand_over(topology: &str, root: &StateRoot) -> Result<(), ApplyError> {
    let store = root.lock(topology)?;
    store.refuse_others(topology)?;
    let history = store.history()?;
    if let Some(committed) = &history.committed {
        store.compact(&history.source, committed, history.steps().cloned().collect(), false)?;
    }
    owner::release(store.folder());
    Ok(())
}

/// What stays may have learned the MACs of what was changed, and would believe them for half a minute.
fn forget_neighbours(world: &World, desired: &Desired) -> Result<(), ApplyError> {
    for ns in desired.namespaces.iter().filter(|ns| ns.origin.is_own()) {
        kernel::link::forget_neighbours(world.get(&ns.id)?)?;
    }
    Ok(())
}

/// Takes up what `offload verify` left when it was killed.
fn put_features_back(world: &mut World, store: &Store, known: Option<&Desired>) -> Result<(), ApplyError> {
    let Some(known) = known.filter(|_| features::are_noted(store)) else { return Ok(()) };
    for ns in &known.namespaces {
        // A namespace that cannot be opened is said by the difference that comes next.
        let _ = world.open(ns);
    }
    let left = features::give_back(store, world)?;
    if left.is_empty() { Ok(()) } else { Err(ApplyError::CleanupIncomplete(left)) }
}

/// Puts back the features that a killed `offload verify` or `offload bisect` left switched, and opens the topology's
/// namespaces; `false` where there was nothing to put back.
///
/// # Errors
/// Another netbench works on the topology, or a feature cannot be put back.
pub fn restore_features(topology: &str, root: &StateRoot) -> Result<bool, ApplyError> {
    let store = root.lock(topology)?;
    let noted = features::are_noted(&store);
    put_features_back(&mut World::new(topology), &store, store.history()?.known().as_ref())?;
    Ok(noted)
}

/// Which roles are namespaces of ours, now or before.
fn own_roles(desired: &Desired, before: Option<&Desired>) -> HashMap<NsId, bool> {
    let all = before.into_iter().flat_map(|before| &before.namespaces).chain(&desired.namespaces);
    all.map(|ns| (ns.id.clone(), ns.origin.is_own())).collect()
}

/// Steps whose undo matters after the namespaces of ours are gone: in other people's namespaces, and borrowed devices.
fn foreign_steps(history: &History, steps: &[Step], desired: &Desired) -> Vec<Step> {
    let known = history.known();
    let own = own_roles(desired, known.as_ref());
    let foreign = |step: &&Step| step.is_loan() || !own.get(step.ns()).copied().unwrap_or(false);
    history.steps().chain(steps).filter(foreign).cloned().collect()
}

/// A NIC that carries the default route or the session of whoever is typing is never moved.
fn refuse_lifeline(step: &Step) -> Result<(), ApplyError> {
    let this = kernel::netns::Netns::current(NsId::SELF)?;
    let ifname = match step {
        Step::TakeNic { previous, .. } => previous.ifname.parse().ok(),
        // Making functions resets the port of many NICs.
        Step::SetVfs { change, .. } => kernel::sriov::interface(&this, &change.pci)?.map(|row| row.name),
        _ => None,
    };
    let Some(ifname) = ifname else { return Ok(()) };
    let refuse = |why| Err(ApplyError::NicInUse { ifname: ifname.to_string(), why });
    if kernel::nic::carries_default_route(&this, &ifname)? {
        return refuse("it carries the default route");
    }
    if kernel::nic::carries_ssh_session(&this, &ifname)? {
        return refuse("it carries this ssh session");
    }
    Ok(())
}

/// Takes back the steps that were begun; returns what could not be. A topology that was not there before goes as a
/// whole, which is faster than step by step.
fn roll_back(mut world: World, store: &Store, history: &History, begun: &[Step]) -> Vec<String> {
    let mut left = Vec::new();
    let Some(committed) = history.committed.clone() else {
        drop(world);
        match store.history() {
            Ok(now) => left.extend(destroy::remove_all(&now).into_iter().flat_map(|gone| gone.problems)),
            Err(error) => left.push(error.to_string()),
        }
        if left.is_empty()
            && let Err(error) = store.clear()
        {
            left.push(error.to_string());
        }
        return left;
    };
    let now = store.history().unwrap_or_default();
    let own = own_roles(&committed, now.known().as_ref());
    {
        let mut executor = Executor::undoing(&mut world, own.clone());
        for step in begun.iter().rev() {
            if let Err(error) = executor.undo(step) {
                left.push(format!("undo of `{step}`: {error}"));
            }
        }
    }
    // Whatever the undos missed, the last committed state is a declared one like any other.
    let mut world = World::new(&committed.topology);
    let repaired = difference(&mut world, &committed, &now)
        .and_then(|steps| Executor::new(&mut world, own).run(&steps).map_err(|(_, error)| error));
    match repaired {
        Ok(()) if history.unfinished => {}
        Ok(()) => {
            left.clear();
            if let Err(error) = store.append(&Record::RolledBack) {
                left.push(error.to_string());
            }
        }
        Err(error) => left.push(error.to_string()),
    }
    left
}
