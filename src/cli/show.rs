//! `netbench show`: an outcome again, as it was reported.

use std::io::{self, Write};

use super::{
    Exit, data,
    stored::{StoreArgs, load},
};
use crate::{record::kept::Kept, report, ui};

/// Show what is kept, as the command that measured it did.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A number, `last`, `last~1`, or a file that a command wrote with `--json`.
    #[arg(default_value = "last")]
    run: String,
    /// Print it as JSON, as the command did with `--json`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let named = load(&args.run, &args.store)?;
    match args.json {
        true => data(&named.record)?,
        false => ui::text::quiet_when_closed(|mut out| text(&named.record, &mut out))?,
    }
    Ok(Exit::Ok)
}

/// As the command that measured it prints it.
fn text(kept: &Kept, out: &mut impl Write) -> io::Result<()> {
    match kept {
        Kept::Run(record) => report::text(record, out),
        Kept::Sweep(found) => report::sweep(found, out),
        Kept::Overhead(found) => report::overhead(found, out),
        Kept::MtuProbe(found) => report::mtu(found, out),
        Kept::MtuTune(found) => report::tune(found, out),
        Kept::Search(found) => report::search(found, out),
        Kept::OffloadVerify(record) => report::offload::verify(record, out),
        Kept::OffloadBisect(record) => report::offload::bisect(record, out),
    }
}
