//! `netbench topo list`: the topologies that are up.

use super::{
    super::{Exit, data, print, table, talk},
    output,
};
use crate::{
    apply::{journal::StateRoot, owner::Owner},
    report::quantity::cut,
};

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
        print(&table(&["topology", "state", "what", "from"].map(str::to_owned), &fitted(rows)))?;
    }
    Ok(Exit::Ok)
}

/// Rows of at most 80 columns; the JSON has all of it. Of a file's name its end tells most.
fn fitted(rows: Vec<[String; 4]>) -> Vec<[String; 4]> {
    let widest = |at: usize, name: &str| {
        let widths = rows.iter().map(|row| row[at].chars().count());
        widths.chain([name.len()]).max().unwrap_or_default()
    };
    let room = 80_usize.saturating_sub(widest(0, "topology") + widest(1, "state") + 6);
    let from = widest(3, "from").min(room.saturating_sub(widest(2, "what")).max(14));
    let row = |[name, state, what, source]: [String; 4]| {
        let gone = source.chars().count().saturating_sub(from);
        let source =
            if gone == 0 { source } else { ['…'].into_iter().chain(source.chars().skip(gone + 1)).collect() };
        [name, state, cut(&what, room.saturating_sub(from)), source]
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_is_cut_where_it_matters_least() {
        let row = |name: &str, what: &str, source: &str| [name.into(), "up".into(), what.into(), source.into()];
        let short = row("bridge", "3 namespaces, 1 bridge, 2 veth pairs", "bridge.toml");
        assert_eq!(fitted(vec![short.clone()])[0], short);
        let long =
            row(&"n".repeat(32), "400 namespaces, 12 bridges, 399 veth pairs, 3 tunnels", "/home/somebody/long/t.toml");
        let rows = fitted(vec![short, long]);
        assert_eq!(rows[1][3], "…y/long/t.toml");
        assert!(rows[1][2].starts_with("400 namespaces, 12 b") && rows[1][2].ends_with('…'), "{rows:?}");
        let lines = table(&["topology", "state", "what", "from"].map(str::to_owned), &rows);
        assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    }
}
