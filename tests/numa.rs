//! `--numa` and `--placement` over several NUMA nodes: the threads run on the node that was asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::collections::BTreeMap;

use lab::{Done, Lab, skip_to_lab};
use serde_json::Value;

/// The CPUs of each node of this machine that has any, as sysfs lists them.
fn nodes() -> BTreeMap<u64, Vec<u64>> {
    let number = |name: &str, prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<u64>().ok());
    let names = |path: &str, prefix: &str| -> Vec<u64> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut all: Vec<u64> =
            entries.filter_map(|entry| number(&entry.file_name().to_string_lossy(), prefix)).collect();
        all.sort_unstable();
        all
    };
    let node = |n| (n, names(&format!("/sys/devices/system/node/node{n}"), "cpu"));
    names("/sys/devices/system/node", "node").into_iter().map(node).filter(|(_, cpus)| !cpus.is_empty()).collect()
}

fn run(lab: &Lab, args: &[&str]) -> Done {
    let usual = ["run", "veth", "--test", "tcp_stream", "--duration", "200ms", "--rounds", "1", "--streams", "2"];
    lab.netbench(&[&usual[..], args, &["--json"]].concat())
}

/// Where the kernel ran the streams of a side last.
fn ran(test: &Value, side: &str) -> Vec<u64> {
    let streams = test["rounds"][0][side]["streams"].as_array().unwrap();
    streams.iter().map(|stream| stream["cpu"]["last_cpu"].as_u64().unwrap()).collect()
}

#[test]
fn threads_run_on_the_nodes_that_were_asked_for() {
    let nodes = nodes();
    let Some((&first, &last)) = nodes.keys().next().zip(nodes.keys().last()).filter(|(first, last)| first != last)
    else {
        return skip_to_lab("this machine has one NUMA node");
    };
    let Some(lab) = Lab::new("numa") else { return };
    let test = |args: &[&str]| run(&lab, args).ok().json()["flows"][0]["tests"][0].clone();
    let on = |test: &Value, side: &str, node: u64| {
        let ran = ran(test, side);
        assert!(ran.iter().all(|cpu| nodes[&node].contains(cpu)), "{side} ran on {ran:?}, node {node} is {nodes:?}");
    };
    for (client, server) in [(first, last), (last, first), (last, last)] {
        let found = test(&["--numa", &format!("{client}/{server}")]);
        on(&found, "client", client);
        on(&found, "server", server);
        let places = found["placement"].as_array().unwrap();
        assert_eq!(places.len(), 2);
        for place in places {
            assert_eq!(place["pinned"], true);
            assert_eq!(place["relation"] == "other-node", client != server, "{place}");
        }
    }
    // As far apart as there is: the ends of each stream on two nodes.
    let found = test(&["--placement", "spread"]);
    for (client, server) in ran(&found, "client").into_iter().zip(ran(&found, "server")) {
        let of = |cpu: u64| nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map(|(node, _)| *node);
        assert_ne!(of(client), of(server), "CPU {client} → {server}");
    }
    assert!(found["placement"].as_array().unwrap().iter().all(|place| place["relation"] == "other-node"), "{found}");
    // Two CPUs of one node, where a node has two that share no core; else the reason.
    for (&node, cpus) in &nodes {
        let done = run(&lab, &["--numa", &node.to_string(), "--placement", "same-node"]);
        if done.code == Some(5) {
            done.says("--placement same-node: ").says("CPU");
            assert!(cpus.len() < 4, "node {node} has {cpus:?}");
            continue;
        }
        let found = done.ok().json()["flows"][0]["tests"][0].clone();
        on(&found, "client", node);
        on(&found, "server", node);
        assert!(found["placement"].as_array().unwrap().iter().all(|place| place["relation"] == "same-node"), "{found}");
        assert!(ran(&found, "client").iter().zip(ran(&found, "server")).all(|(client, server)| *client != server));
    }
    // What spread and same-node promise they keep within what is allowed; one node has no other.
    let text = run(&lab, &["--numa", &first.to_string(), "--placement", "spread"]);
    if let Some(0) = text.code {
        on(&text.json()["flows"][0]["tests"][0], "server", first);
    }
}
