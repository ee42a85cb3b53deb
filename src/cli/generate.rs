//! `netbench gen`, hidden: shell completions and man pages from the one definition of the command line, JSON schemas from
//! the types that are printed.

use std::{fs, io, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::{Cli, Exit, topo::output};

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
    /// The JSON schema of what each command prints with `--json`, into a folder.
    Schemas {
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
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
            clap_mangen::generate_to(shown(), dir).with_context(|| format!("write man pages to {}", dir.display()))?;
        }
        What::Schemas { dir } => {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
            for (name, schema) in output::schemas() {
                let path = dir.join(format!("{name}.schema.json"));
                let text = serde_json::to_string_pretty(&schema)? + "\n";
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            }
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
    let shown = shown.after_help(all.get_after_help().cloned().unwrap_or_default());
    shown.args(all.get_arguments().cloned()).subcommands(visible).subcommand_required(true)
}

fn quiet_about_a_closed_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
