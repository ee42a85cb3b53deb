//! The control socket of a daemon (what `ovs-appctl` talks to): text commands over JSON-RPC.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{Error, Result, client::Client};

/// Runs a command of the daemon behind `socket` and returns its text.
pub fn command(socket: &Path, name: &str, arguments: &[&str], patience: Duration) -> Result<String> {
    let mut client = Client::connect_to("the control socket", socket)?;
    match client.call(name, Value::from(arguments.to_vec()), patience)? {
        Value::String(text) => Ok(text),
        other => Err(client.malformed(name, format!("a result that is no text: {other}"))),
    }
}

/// Asks the daemon to end. It closes the connection rather than answer, so only a refusal is an error.
pub fn exit(socket: &Path, patience: Duration) -> Result<()> {
    match command(socket, "exit", &[], patience) {
        Ok(_) | Err(Error::Closed { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the switch says of the flows in its datapath.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct DatapathFlows {
    /// All of them.
    pub flows: usize,
    /// Those that were handed to tc (`dpctl/dump-flows type=tc`).
    pub tc: usize,
    /// Those that hardware does (`dpctl/dump-flows type=offloaded`).
    pub offloaded: usize,
}

/// Counts datapath flows, how many of them tc has, and how many hardware does.
pub fn datapath_flows(socket: &Path, patience: Duration) -> Result<DatapathFlows> {
    let count = |text: String| text.lines().filter(|line| line.contains("actions:")).count();
    let flows = count(command(socket, "dpctl/dump-flows", &[], patience)?);
    let tc = count(command(socket, "dpctl/dump-flows", &["type=tc"], patience)?);
    let offloaded = count(command(socket, "dpctl/dump-flows", &["type=offloaded"], patience)?);
    Ok(DatapathFlows { flows, tc, offloaded })
}

/// Events since the start that are not zero, by name (`coverage/show`).
pub fn coverage(socket: &Path, patience: Duration) -> Result<std::collections::BTreeMap<String, u64>> {
    let text = command(socket, "coverage/show", &[], patience)?;
    // `name  0.0/sec  0.000/sec  0.0000/sec   total: 12`
    let line = |line: &str| {
        let (name, total) = (line.split_whitespace().next()?, line.rsplit_once("total:")?.1);
        Some((name.to_owned(), total.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}
