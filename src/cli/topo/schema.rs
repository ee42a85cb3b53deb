//! `netbench topo schema`: the JSON schema of topology files.

use super::{super::print, Exit};
use crate::topology;

/// Arguments of `netbench topo schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints to stdout.
pub fn run(_: &Args) -> anyhow::Result<Exit> {
    print(&topology::schema::json())?;
    Ok(Exit::Ok)
}
