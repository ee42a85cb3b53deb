//! `netbench topo destroy`: removes what netbench made, and nothing else.

use super::{
    super::{Exit, data, declared, outcome::require_privilege, talk},
    apply::plural,
    output,
};
use crate::apply::{
    ApplyError,
    destroy::{self, Removed},
    journal::StateRoot,
};

/// Remove a topology: by name, by file, or all of ours.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology, or a topology file.
    #[arg(required_unless_present = "all")]
    topology: Option<String>,
    /// Remove every topology of ours.
    #[arg(long, conflicts_with = "topology")]
    all: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_privilege("topo destroy")?;
    let root = StateRoot::from_environment();
    let names = match &args.topology {
        Some(topology) => match declared::name_of(topology)? {
            Ok(name) => vec![name],
            Err(exit) => return Ok(exit),
        },
        None => {
            let mut names = root.topologies()?;
            names.extend(destroy::orphans(&root)?);
            names.sort();
            names.dedup();
            names
        }
    };
    let removal = if args.all { destroy::collect } else { destroy::destroy };
    remove(&names, &root, args.json, removal)
}

/// How one topology is removed.
type Removal = fn(&str, &StateRoot) -> Result<Option<Removed>, ApplyError>;

/// Removes the named topologies one after the other, past errors, and says what was done.
pub fn remove(names: &[String], root: &StateRoot, as_json: bool, removal: Removal) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    let mut first_error: Option<ApplyError> = None;
    let mut outcomes = Vec::new();
    for name in names {
        match removal(name, root) {
            Ok(removed) => {
                if removed.as_ref().is_some_and(|removed| !removed.pinned.is_empty()) {
                    exit = Exit::CleanupIncomplete;
                }
                if !as_json {
                    say(name, removed.as_ref());
                }
                outcomes.push(output::Destroyed::new(name, removed.unwrap_or_default()));
            }
            Err(error) => {
                talk(&format!("error: {name}: {error}"));
                let error_text = Some(error.to_string());
                outcomes
                    .push(output::Destroyed { error: error_text, ..output::Destroyed::new(name, Removed::default()) });
                first_error.get_or_insert(error);
            }
        }
    }
    if as_json {
        data(&outcomes)?;
    } else if names.is_empty() {
        talk("nothing of ours is here");
    }
    match first_error {
        Some(error) => Ok(super::super::outcome::exit_of(&error.into())),
        None => Ok(exit),
    }
}

fn say(name: &str, removed: Option<&Removed>) {
    let Some(removed) = removed else {
        talk(&format!("{name}: nothing of it is here"));
        return;
    };
    if let Some(holder) = &removed.in_use {
        talk(&format!("{name}: left alone, netbench process {holder} uses it"));
        return;
    }
    let (namespaces, links) = (plural(removed.namespaces.len(), "namespace"), plural(removed.links, "link"));
    talk(&format!("{name}: removed {namespaces}, {links} deleted first"));
    for (namespace, pid, command) in &removed.pinned {
        talk(&format!(
            "warning: {namespace}: its links are gone, but process {pid} ({command}) still holds the namespace; it goes when that ends"
        ));
    }
}
