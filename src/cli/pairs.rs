//! Who talks to whom: the declared flows, `--flow`, `--pairs`, `--all-pairs`.

use anyhow::{Context, bail};

use super::declared::Loaded;
use crate::{
    plan::{
        desired::{FlowPath, NsId},
        path::Network,
    },
    topology::model::Attach,
};

/// Pairs that may run at the same time.
const PAIRS: usize = 256;
/// Streams of all of them: each is a thread and a socket at both ends.
const STREAMS: usize = 512;

/// Options of pairs on the command line.
#[derive(Debug, clap::Args)]
pub struct PairArgs {
    /// Who talks to whom, instead of the declared flows; may be repeated.
    #[arg(long, value_name = "FROM:TO")]
    flow: Vec<String>,
    /// Pairs that run at the same time, such as a:b,b:a,c:d, each with --streams streams; the report has each and the sum.
    #[arg(long, value_name = "FROM:TO,…", value_delimiter = ',', conflicts_with = "flow")]
    pairs: Vec<String>,
    /// The same with every node to every other, both ways.
    #[arg(long, conflicts_with_all = ["flow", "pairs"])]
    all_pairs: bool,
}

impl PairArgs {
    /// Do the flows run at the same time?
    pub fn together(&self) -> bool {
        self.all_pairs || !self.pairs.is_empty()
    }

    /// The flows, with the way each must take.
    pub fn flows(&self, loaded: &Loaded, streams: u32) -> anyhow::Result<Vec<FlowPath>> {
        let (option, named) = match (&self.flow[..], &self.pairs[..]) {
            _ if self.all_pairs => ("--all-pairs", self.every(loaded)?),
            ([], []) => return Ok(loaded.desired.flows.clone()),
            ([], pairs) => ("--pairs", split("--pairs", pairs)?),
            (flows, _) => ("--flow", split("--flow", flows)?),
        };
        if self.together() {
            within_limits(option, named.len(), streams as usize)?;
            let mut seen = std::collections::BTreeSet::new();
            if let Some((from, to)) = named.iter().find(|pair| !seen.insert(*pair)) {
                bail!("{option} names {from}:{to} twice; --streams gives a pair more streams");
            }
        }
        between(option, &named, loaded)
    }

    fn every(&self, loaded: &Loaded) -> anyhow::Result<Vec<(String, String)>> {
        let names: Vec<&String> = loaded.topology.nodes.iter().map(|node| &node.name).collect();
        let count = names.len() * names.len().saturating_sub(1);
        if count > PAIRS {
            bail!(
                "--all-pairs: {} nodes make {count} pairs, and {PAIRS} may run at the same time: name some with --pairs",
                names.len()
            );
        }
        let others = |from: &&String| {
            let from = (*from).clone();
            names.iter().filter(|to| ***to != from).map(|to| (from.clone(), (*to).clone())).collect::<Vec<_>>()
        };
        Ok(names.iter().flat_map(others).collect())
    }
}

/// The declared flows, or those that an option names.
pub fn named(option: &str, texts: &[String], loaded: &Loaded) -> anyhow::Result<Vec<FlowPath>> {
    if texts.is_empty() { Ok(loaded.desired.flows.clone()) } else { between(option, &split(option, texts)?, loaded) }
}

fn between(option: &str, named: &[(String, String)], loaded: &Loaded) -> anyhow::Result<Vec<FlowPath>> {
    let network = Network::new(&loaded.desired);
    let one = |(from, to): &(String, String)| -> anyhow::Result<FlowPath> {
        let declared = loaded.desired.flows.iter().find(|path| path.flow.from == *from && path.flow.to == *to);
        match declared {
            Some(path) => Ok(path.clone()),
            None => {
                let (near, far) = (node(option, from, loaded)?, node(option, to, loaded)?);
                network.between((from, &near), (to, &far)).with_context(|| format!("{option} {from}:{to}"))
            }
        }
    };
    named.iter().map(one).collect()
}

fn within_limits(option: &str, pairs: usize, streams: usize) -> anyhow::Result<()> {
    if pairs > PAIRS {
        bail!("{option}: {pairs} pairs, and {PAIRS} may run at the same time: name fewer");
    }
    if pairs * streams > STREAMS {
        bail!(
            "{option}: {pairs} pairs × {streams} streams are {} streams, and {STREAMS} may run at the same time: take fewer --streams or pairs",
            pairs * streams
        );
    }
    Ok(())
}

fn split(option: &str, texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let one = |text: &String| {
        let Some((from, to)) = text.trim().split_once(':') else { bail!("{option} {text}: write it as FROM:TO") };
        if from == to {
            bail!("{option} {text}: a node talks to another node, not to itself");
        }
        Ok((from.to_owned(), to.to_owned()))
    };
    texts.iter().map(one).collect()
}

/// The namespace of a node.
fn node(option: &str, name: &str, loaded: &Loaded) -> anyhow::Result<NsId> {
    match loaded.topology.nodes.iter().find(|node| node.name == name) {
        Some(node) if node.attach == Some(Attach::This) => Ok(NsId::new(NsId::SELF)),
        Some(_) => Ok(NsId::new(name)),
        None => {
            let names: Vec<&str> = loaded.topology.nodes.iter().map(|node| node.name.as_str()).take(20).collect();
            bail!("{option} names `{name}`, which is no node of {}; it has {}", loaded.topology.name, names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_with_what_to_do() {
        within_limits("--pairs", 256, 2).unwrap();
        let said = |pairs, streams| within_limits("--pairs", pairs, streams).unwrap_err().to_string();
        assert_eq!(said(257, 1), "--pairs: 257 pairs, and 256 may run at the same time: name fewer");
        assert!(said(100, 6).contains("are 600 streams, and 512 may run"));
    }
}
