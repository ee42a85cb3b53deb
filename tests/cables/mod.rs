//! Two fresh namespaces, wired by the test with `ip`, that vanish with the test.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use netbench::{
    agent::Workers,
    experiment::evidence::Seen,
    facts::LinkCounters,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    topology::model::Flow,
};

#[path = "../lab/skip.rs"]
mod skip;

pub use skip::skip;
#[allow(unused_imports, reason = "each test file uses its part")]
pub use skip::skip_to_lab;

/// Namespaces `client` and `server`, each held by a process that ends with this value.
pub struct Lab {
    client: Child,
    server: Child,
    root: bool,
}

impl Lab {
    /// Both namespaces, joined by `pairs` veth pairs: eth0 has 198.18.0.1/24 and .2, eth1 198.18.1.1/24 and .2, and so on;
    /// IPv6 likewise in fd00:0::/64, fd00:1::/64.
    pub fn new(pairs: usize) -> Option<Self> {
        let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
        let user: &[&str] = if root { &[] } else { &["-Ur"] };
        let mut unshare = Command::new("unshare");
        unshare.args(user).arg("-n");
        let client = match hold(unshare) {
            Ok(child) => child,
            Err(error) => {
                skip(&format!("no namespace can be made here: {error}"));
                return None;
            }
        };
        let mut inner = enter(client.id(), root);
        inner.args(["unshare", "-n"]);
        let server = hold(inner).expect("a second namespace where a first was made");
        let lab = Self { client, server, root };
        for i in 0..pairs {
            let peer = lab.server.id().to_string();
            lab.ip("client", &format!("link add eth{i} mtu 9000 type veth peer name eth{i} mtu 9000 netns {peer}"));
            for (ns, host) in [("client", 1), ("server", 2)] {
                lab.ip(ns, &format!("addr add 198.18.{i}.{host}/24 dev eth{i}"));
                lab.ip(ns, &format!("addr add fd00:{i}::{host}/64 dev eth{i} nodad"));
                lab.ip(ns, &format!("link set eth{i} up"));
            }
        }
        Some(lab)
    }

    /// A command inside one of the namespaces; its arguments are added by the caller.
    pub fn command(&self, ns: &str) -> Command {
        let holder = if ns == "client" { &self.client } else { &self.server };
        enter(holder.id(), self.root)
    }

    /// Process that holds one of the namespaces.
    pub fn pid(&self, ns: &str) -> u32 {
        if ns == "client" { self.client.id() } else { self.server.id() }
    }

    /// Runs `ip` with these words.
    pub fn ip(&self, ns: &str, words: &str) -> Vec<u8> {
        let output = self.command(ns).arg("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs `tc` with these words; what it printed.
    pub fn tc(&self, ns: &str, words: &str) -> Vec<u8> {
        let output = self.command(ns).arg("tc").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "tc {words}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Workers of the built program in these namespaces.
    pub fn workers(&self) -> Workers<'_> {
        Workers::new(PathBuf::from(env!("CARGO_BIN_EXE_netbench")), |ns, command| {
            let mut inside = self.command(ns);
            inside.arg(command.get_program()).args(command.get_args());
            inside.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        })
    }

    /// Counters of all interfaces of both namespaces.
    pub fn counters(&self) -> Seen {
        let mut counters = BTreeMap::new();
        for ns in ["client", "server"] {
            let links: serde_json::Value = serde_json::from_slice(&self.ip(ns, "-j -s link show")).unwrap();
            for link in links.as_array().unwrap() {
                let read = |way: &str, field: &str| link["stats64"][way][field].as_u64().unwrap();
                let at = LinkRef { ns: NsId(ns.into()), name: link["ifname"].as_str().unwrap().parse().unwrap() };
                counters.insert(
                    at,
                    LinkCounters {
                        rx_packets: read("rx", "packets"),
                        rx_bytes: read("rx", "bytes"),
                        tx_packets: read("tx", "packets"),
                        tx_bytes: read("tx", "bytes"),
                        rx_errors: read("rx", "errors"),
                        tx_errors: read("tx", "errors"),
                        rx_dropped: read("rx", "dropped"),
                        tx_dropped: read("tx", "dropped"),
                        qdisc_dropped: self.qdisc_drops(ns, link["ifname"].as_str().unwrap()),
                        ..LinkCounters::default()
                    },
                );
            }
        }
        Seen { links: counters, ..Seen::default() }
    }

    /// What tc says of the root qdisc.
    fn qdisc_drops(&self, ns: &str, device: &str) -> u64 {
        let shown = self.tc(ns, &format!("-j -s qdisc show dev {device}"));
        let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
        let root = |qdisc: &&serde_json::Value| qdisc["root"] == true;
        shown.as_array().unwrap().iter().find(root).map_or(0, |qdisc| qdisc["drops"].as_u64().unwrap())
    }

    /// The flow client to server over the addresses of pair `i`, declared to cross eth0.
    pub fn flow(&self, i: usize, ipv6: bool) -> FlowPath {
        let address =
            |host| if ipv6 { format!("fd00:{i}::{host}") } else { format!("198.18.{i}.{host}") }.parse().unwrap();
        let hop = |ns: &str, direction| Hop {
            at: LinkRef { ns: NsId(ns.into()), name: "eth0".parse().unwrap() },
            direction,
            mtu: 9000,
            overhead: 0,
            beside: Vec::new(),
        };
        FlowPath {
            flow: Flow {
                from: "client".into(),
                to: "server".into(),
                from_address: address(1),
                to_address: address(2),
                mtu: 9000,
            },
            from_ns: NsId("client".into()),
            to_ns: NsId("server".into()),
            hops: vec![hop("client", Direction::Tx), hop("server", Direction::Rx)],
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for holder in [&mut self.server, &mut self.client] {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}

fn enter(pid: u32, root: bool) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-n"]);
    if !root {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.arg("--");
    command
}

/// Starts a process in the namespace that the command makes; it ends when its stdin is closed.
fn hold(mut unshare: Command) -> io::Result<Child> {
    unshare.args(["--", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
    let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
    if line == "ready\n" {
        Ok(child)
    } else {
        Err(io::Error::other(format!("the holder ended with {}", child.wait()?)))
    }
}
