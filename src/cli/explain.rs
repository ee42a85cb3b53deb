//! `netbench explain NB012`: what a code means and how to mend it; without a code, all of them in a line each.

use super::{Exit, print};
use crate::topology::{self, diagnostic::Code};

/// Explain the code of a mistake, such as NB012.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code, such as NB012; all are listed without one
    code: Option<String>,
    /// Print the whole reference page (docs/errors.md)
    #[arg(long, hide = true, conflicts_with = "code")]
    markdown: bool,
}

/// Prints to stdout; an unknown code is a usage error.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let text = match &args.code {
        _ if args.markdown => topology::reference(),
        None => Code::ALL.iter().map(|code| format!("{code}  {}\n", code.title())).collect(),
        Some(code) => {
            let code: Code = code.parse().map_err(anyhow::Error::msg)?;
            format!("{code}: {}\n\n{}\n", code.title(), code.explanation())
        }
    };
    print(&text)?;
    Ok(Exit::Ok)
}
