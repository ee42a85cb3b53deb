//! Which CPUs the two ends of each stream get: a policy on the CPUs of a machine. Pure.

use std::collections::BTreeMap;

use crate::{
    facts::{CpuPlace, CpuTopology},
    measured::{Side, Stream},
    record::{LanePlace, Policy, Relation},
};

/// The policy cannot be had on these CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--placement {policy}: {why}")]
pub struct Impossible {
    /// What was asked for.
    pub policy: Policy,
    why: String,
}

/// Every pair of CPUs (client's, server's) that a policy gives, each CPU of a side once, in the order in which streams take
/// them. More streams than pairs share them in turn.
///
/// # Errors
/// No two CPUs stand as the policy asks.
pub fn pairs(policy: Policy, topology: &CpuTopology) -> Result<Vec<(usize, usize)>, Impossible> {
    let pairs = match policy {
        Policy::SameCore => cores_first(&topology.cpus).into_iter().map(|cpu| (cpu, cpu)).collect(),
        Policy::Sibling => siblings(topology),
        Policy::SameNode => same_node(topology),
        Policy::Spread => spread(topology),
    };
    if pairs.is_empty() { Err(Impossible { policy, why: why_not(policy, topology) }) } else { Ok(pairs) }
}

/// By core, the CPUs of each in order.
fn cores(cpus: &[CpuPlace]) -> Vec<Vec<usize>> {
    let mut cores: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    cpus.iter().for_each(|place| cores.entry(place.core).or_default().push(place.cpu));
    cores.into_values().collect()
}

/// By node.
fn nodes(topology: &CpuTopology) -> Vec<Vec<CpuPlace>> {
    let mut nodes: BTreeMap<u32, Vec<CpuPlace>> = BTreeMap::new();
    topology.cpus.iter().for_each(|place| nodes.entry(place.node).or_default().push(*place));
    nodes.into_values().collect()
}

/// The first thread of every core, then the second of every core, and so on.
fn cores_first(cpus: &[CpuPlace]) -> Vec<usize> {
    let cores = cores(cpus);
    let threads = cores.iter().map(Vec::len).max().unwrap_or(0);
    (0..threads).flat_map(|thread| cores.iter().filter_map(move |core| core.get(thread).copied())).collect()
}

fn siblings(topology: &CpuTopology) -> Vec<(usize, usize)> {
    let two = |core: Vec<usize>| core.chunks_exact(2).map(|two| (two[0], two[1])).collect::<Vec<_>>();
    cores(&topology.cpus).into_iter().flat_map(two).collect()
}

/// Two cores side by side; their first threads before their second ones.
fn same_node(topology: &CpuTopology) -> Vec<(usize, usize)> {
    let mut by_thread: Vec<Vec<(usize, usize)>> = Vec::new();
    for node in nodes(topology) {
        for two in cores(&node).chunks_exact(2) {
            for (thread, (&a, &b)) in two[0].iter().zip(&two[1]).enumerate() {
                by_thread.resize(by_thread.len().max(thread + 1), Vec::new());
                by_thread[thread].push((a, b));
            }
        }
    }
    by_thread.concat()
}

/// The first half of the nodes (or, with one node, of the cores; with one core, of its threads) is the clients', the second
/// the servers'.
fn spread(topology: &CpuTopology) -> Vec<(usize, usize)> {
    let nodes = nodes(topology);
    let mut parts: Vec<Vec<CpuPlace>> = nodes;
    if parts.len() < 2 {
        let by_core = cores(&topology.cpus);
        let of = |core: &Vec<usize>| core.iter().filter_map(|&cpu| topology.place_of(cpu)).collect();
        parts = by_core.iter().map(of).collect();
    }
    if parts.len() < 2 {
        parts = topology.cpus.iter().map(|&place| vec![place]).collect();
    }
    let half = parts.len() / 2;
    // With an odd number the one in the middle stays free.
    let (near, far) = (parts[..half].concat(), parts[parts.len() - half..].concat());
    cores_first(&near).into_iter().zip(cores_first(&far)).collect()
}

fn why_not(policy: Policy, topology: &CpuTopology) -> String {
    let there = match topology.cpus.len() {
        0 => return "none of the CPUs asked for is one this process may use".to_owned(),
        1 => "there is one CPU to use".to_owned(),
        count => format!("there are {count} CPUs to use"),
    };
    match policy {
        Policy::SameCore => there,
        Policy::Sibling => format!("{there}, and no two of them are threads of one core; try same-node or same-core"),
        Policy::SameNode => {
            format!("{there}, and no two of them are cores of one NUMA node; try same-core, or other CPUs")
        }
        Policy::Spread => format!("{there}; try same-core, or more CPUs"),
    }
}

/// How far apart two CPUs are; `None` when one is not of this topology.
pub fn relation(topology: &CpuTopology, a: usize, b: usize) -> Option<Relation> {
    let (a, b) = (topology.place_of(a)?, topology.place_of(b)?);
    Some(match () {
        () if a.cpu == b.cpu => Relation::SameCpu,
        () if a.core == b.core => Relation::Sibling,
        () if a.node == b.node => Relation::SameNode,
        () => Relation::OtherNode,
    })
}

/// What the streams of a round got.
pub fn got(topology: &CpuTopology, client: &Side, server: &Side, is_reverse: bool) -> Vec<LanePlace> {
    let alone = |stream: &Stream| match stream.cpu.pinned.as_ref().map(|cpus| &cpus.0[..]) {
        Some(&[cpu]) => u32::try_from(cpu).ok(),
        _ => None,
    };
    let lane = |(client, server): (&Stream, &Stream)| {
        let pinned = alone(client).zip(alone(server));
        let (client_cpu, server_cpu) = pinned.or(client.cpu.last_cpu.zip(server.cpu.last_cpu))?;
        let receiver = if is_reverse { client } else { server };
        Some(LanePlace {
            stream: client.stream,
            client_cpu,
            server_cpu,
            pinned: pinned.is_some(),
            relation: relation(topology, client_cpu as usize, server_cpu as usize),
            incoming_cpu: receiver.socket.incoming_cpu,
            napi_id: receiver.socket.napi_id,
        })
    };
    client.streams.iter().zip(&server.streams).filter_map(lane).collect()
}

#[cfg(test)]
#[path = "placement/tests.rs"]
mod tests;
