//! What an error means for the exit code.

use std::io;

use super::Exit;
use crate::{
    apply::{ApplyError, journal::JournalError},
    experiment,
    kernel::{self, rootless},
    remote::RemoteError,
    store::StoreError,
};

/// The exit code of an error.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<ApplyError>() {
        return of_apply(error);
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return match error {
            StoreError::Foreign { .. } | StoreError::Newer { .. } | StoreError::Kind { .. } => Exit::Usage,
            StoreError::Damaged { .. } | StoreError::Shape { .. } => Exit::Corrupt,
            StoreError::Busy { .. } | StoreError::Io { .. } | StoreError::Sqlite { .. } => Exit::CannotHere,
        };
    }
    if let Some(error) = error.downcast_ref::<RemoteError>() {
        return if error.is_usage() { Exit::Usage } else { Exit::CannotHere };
    }
    // What is left is about what was typed, unless the machine said no.
    let cannot_here = match error.downcast_ref::<JournalError>() {
        Some(error) => !matches!(error, JournalError::Locked { .. }),
        None => {
            error.is::<CannotHere>()
                || error.is::<io::Error>()
                || error.is::<kernel::Error>()
                || error.is::<experiment::run::RunError>()
        }
    };
    if cannot_here { Exit::CannotHere } else { Exit::Usage }
}

fn of_apply(error: &ApplyError) -> Exit {
    match error {
        error if error.is_interrupt() => Exit::Interrupted,
        ApplyError::CleanupIncomplete(_) => Exit::CleanupIncomplete,
        ApplyError::Step { left, .. } | ApplyError::NotAsDeclared { left, .. } if !left.is_empty() => {
            Exit::CleanupIncomplete
        }
        ApplyError::NotAsDeclared { .. } => Exit::CheckFailed,
        ApplyError::Conflicts(_) | ApplyError::NicInUse { .. } | ApplyError::Journal(JournalError::Locked { .. }) => {
            Exit::Usage
        }
        ApplyError::Step { .. }
        | ApplyError::Kernel(_)
        | ApplyError::Ovs(_)
        | ApplyError::Journal(_)
        | ApplyError::NoNamespace { .. }
        | ApplyError::CannotHere(_)
        | ApplyError::Interrupted
        | ApplyError::Injected { .. } => Exit::CannotHere,
    }
}

/// This host cannot: which privilege, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CannotHere(pub String);

/// Refuses, with the capability and the reason, what only a privileged process can do.
pub fn require_privilege(what: &str) -> anyhow::Result<()> {
    use rustix::thread::CapabilitySet;
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "to make links and addresses"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "to make namespaces that outlive this process"),
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|(capability, ..)| !rootless::can(*capability))
        .map(|(_, name, why)| format!("{name} ({why})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{what} needs {}; run it as root, or use `netbench run`, which works in namespaces of its own without",
        missing.join(" and ")
    );
    Err(CannotHere(text).into())
}
