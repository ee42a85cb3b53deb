//! `netbench topo list`: the topologies that are up.

use super::{
    super::{Exit, data, print, table, talk},
    output,
};
use crate::apply::{journal::StateRoot, owner::Owner};

/// List the topologies that are up, and those that an interrupted command left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let root = StateRoot::from_environment();
    let mut rows = Vec::new();
    for name in root.topologies()? {
        let row = match root.read(&name) {
            Ok(Some(history)) => {
                let state = match (history.temporary, root.owner(&name)?) {
                    (true, Owner::Nobody) => "abandoned",
                    (true, _) => "in use",
                    (false, _) if history.unfinished => "unfinished",
                    (false, _) => "up",
                };
                let desired = history.committed.as_ref().or(history.intents.last().map(|(desired, _)| desired));
                let what = desired.map(super::apply::summary).unwrap_or_default();
                [name, state.to_owned(), what, history.source]
            }
            Ok(None) => [name, "unfinished".to_owned(), String::new(), String::new()],
            Err(error) => [name, "unreadable".to_owned(), error.to_string(), String::new()],
        };
        rows.push(row);
    }
    if args.json {
        let listed = |[name, state, what, source]: [String; 4]| output::Listed { name, state, what, source };
        data(&rows.into_iter().map(listed).collect::<Vec<_>>())?;
    } else if rows.is_empty() {
        talk("no topology is up");
    } else {
        print(&table(&["topology", "state", "what", "from"].map(str::to_owned), &rows))?;
    }
    Ok(Exit::Ok)
}
