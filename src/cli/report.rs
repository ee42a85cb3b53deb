//! `netbench report`: what is kept as a page of HTML.

use std::path::PathBuf;

use anyhow::Context;

use super::{
    Exit, print,
    stored::{StoreArgs, load},
    talk,
};
use crate::{
    report::html,
    store::{Filter, Store},
};

/// Write what is kept as one self-contained HTML page.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A number, `last`, `last~1`, or a file that a command wrote with `--json`.
    #[arg(default_value = "last")]
    run: String,
    /// The file to write; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Outcomes of the same kind and topology in the history, at most.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    history: u32,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let named = load(&args.run, &args.store)?;
    let document = named.record.document();
    let filter = Filter {
        topology: Some(document.topology().to_owned()),
        kind: Some(document.kind()),
        limit: args.history,
        ..Filter::default()
    };
    // A record of a file needs no store.
    let path = args.store.path().ok().flatten();
    let store = path.map(|path| Store::open_existing(&path)).transpose()?.flatten();
    let mut history = store.map(|store| store.list(&filter)).transpose()?.unwrap_or_default();
    history.reverse();
    let page = html::page(&named.record, named.run, &history);
    if args.output.as_os_str() == "-" {
        print(&page)?;
    } else {
        std::fs::write(&args.output, page).with_context(|| format!("write {}", args.output.display()))?;
        talk(&format!("{} written to {}", named.label, args.output.display()));
    }
    Ok(Exit::Ok)
}
