//! `netbench gen`, hidden: shell completions and man pages from the one definition of the command line.

use std::{io, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Generate what is shipped beside the program.
#[derive(Debug, Args)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Completions for a shell, to stdout.
    Completions {
        /// bash, zsh or fish (also elvish and powershell).
        shell: Shell,
    },
    /// Man pages, one a command, into a folder.
    Man {
        /// The folder; made where it is missing.
        dir: PathBuf,
    },
}

/// Runs `netbench gen`.
pub fn run(args: &Generate) -> anyhow::Result<Exit> {
    match &args.what {
        What::Completions { shell } => {
            // Into memory first: clap_complete panics on a pipe that was closed.
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut shown(), "netbench", &mut text);
            io::Write::write_all(&mut io::stdout(), &text).or_else(quiet_about_a_closed_pipe)?;
        }
        What::Man { dir } => {
            std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
            clap_mangen::generate_to(shown(), dir).with_context(|| format!("write man pages to {}", dir.display()))?;
        }
    }
    Ok(Exit::Ok)
}

/// The command line as users see it: `hide` keeps a command out of `--help`, but not out of completion scripts.
fn shown() -> clap::Command {
    let all = Cli::command();
    let visible = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown = clap::Command::new("netbench").version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    let shown = shown.about(all.get_about().cloned().unwrap_or_default());
    shown.args(all.get_arguments().cloned()).subcommands(visible).subcommand_required(true)
}

fn quiet_about_a_closed_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
