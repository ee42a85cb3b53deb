//! `netbench topo schema`: the JSON schema of topology files.

use super::{super::print, Exit};
use crate::topology;

/// Print the JSON schema of topology files, for editors.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints to stdout.
pub fn run(_: &Args) -> anyhow::Result<Exit> {
    print(&topology::schema::json())?;
    Ok(Exit::Ok)
}
