//! What a node or host says about its namespace: attach, CPUs, sysctls; and the `[test]` table.

use std::{collections::BTreeMap, ops::Range};

use super::{Code, Draft, Located, Text, ast, settings};
use crate::{
    topology::{
        ast::{Ordered, Scalar},
        model::{Attach, Route, TestDefaults},
        suggest::nearest,
    },
    units::{CpuList, Span},
};

/// Tests that `[test] tests` may name.
pub const TESTS: [&str; 10] = [
    "tcp_stream",
    "tcp_maerts",
    "tcp_bidir",
    "tcp_sendfile",
    "udp_stream",
    "frame_stream",
    "tcp_rr",
    "udp_rr",
    "tcp_crr",
    "tcp_cc",
];

/// The sysctls that make a namespace a router.
pub const FORWARD_V4: &str = "net.ipv4.ip_forward";
const FORWARD_V6: &str = "net.ipv6.conf.all.forwarding";

/// What is the same for nodes and hosts.
#[derive(Debug, Clone, Default)]
pub struct NamespaceParts {
    pub sysctl: BTreeMap<String, String>,
    pub routes: Vec<Route>,
}

impl NamespaceParts {
    /// Does it pass packets on?
    pub fn forwards(&self) -> bool {
        [FORWARD_V4, FORWARD_V6].iter().any(|key| self.sysctl.get(*key).is_some_and(|value| value == "1"))
    }
}

/// A node but for its interfaces.
#[derive(Debug, Clone, Default)]
pub struct NodeParts {
    pub attach: Option<Attach>,
    pub cpus: Option<CpuList>,
    pub numa: Option<String>,
    /// Addresses for its first interface, from the node's own table.
    pub written: Vec<(ipnet::IpNet, Range<usize>)>,
    /// Addresses of a node without an interface of ours.
    pub addresses: Vec<ipnet::IpNet>,
    pub space: NamespaceParts,
}

/// Checks every node and host table once, however many nodes it declares.
pub fn check(draft: &mut Draft<'_>) {
    let file = draft.file;
    let mut of_table: Vec<NodeParts> = Vec::new();
    for (name, node) in file.node.iter() {
        let parts = node_parts(draft, name, node);
        of_table.push(parts);
    }
    let tables: Vec<*const ast::Node> = file.node.iter().map(|(_, node)| std::ptr::from_ref(node)).collect();
    let mut table = 0;
    for decl in &draft.names.nodes {
        while !std::ptr::eq(tables[table], decl.ast) {
            table += 1;
        }
        draft.nodes.push(of_table[table].clone());
    }
    for (_, host) in file.host.iter() {
        let sysctl = host.sysctl.as_ref().map(|table| sysctls(draft, table)).unwrap_or_default();
        draft.hosts.push(NamespaceParts { sysctl, routes: Vec::new() });
    }
}

fn node_parts(draft: &mut Draft<'_>, name: &Text, node: &ast::Node) -> NodeParts {
    let mut parts = NodeParts {
        attach: node.attach.as_ref().and_then(|text| attach(draft, text)),
        cpus: node.cpus.as_ref().and_then(|text| settings::parsed(draft, text)),
        written: match &node.count {
            None => settings::addresses(
                draft,
                node.address.as_ref(),
                node.attach.as_ref().is_some_and(|a| a.value == "self"),
            ),
            Some(_) => Vec::new(),
        },
        ..NodeParts::default()
    };
    if let Some(numa) = &node.numa {
        if numa.value.0 == "nic" || numa.value.0.parse::<u16>().is_ok() {
            parts.numa = Some(numa.value.0.clone());
        } else {
            draft.error(Code::Malformed, &numa.span, "`numa` is a node number or `nic`");
        }
        if numa.value.0 == "nic" && node.nic.is_none() {
            draft.error(Code::Conflict, &numa.span, "`numa = \"nic\"` on a node without a `nic`");
        }
    }
    if let Some(table) = &node.sysctl {
        parts.space.sysctl = sysctls(draft, table);
    }
    if let Some(host) = &node.host
        && let Err(diagnostic) = draft.names.find(&host.value, &host.span, &["host"])
    {
        draft.report(*diagnostic);
    }
    if let Some(forward) = &node.forward {
        let value = u8::from(forward.value).to_string();
        parts.space.sysctl.insert(FORWARD_V4.into(), value.clone());
        if draft.ipv6() {
            parts.space.sysctl.insert(FORWARD_V6.into(), value);
        }
    }
    conflicts(draft, name, node);
    parts
}

fn conflicts(draft: &mut Draft<'_>, name: &Text, node: &ast::Node) {
    let node_name = &name.value;
    if let Some(attach) = &node.attach {
        for (key, other) in [("host", &node.host), ("nic", &node.nic)] {
            if let Some(other) = other {
                let message = format!("node `{node_name}` has both `attach` and `{key}`");
                let label = (attach.span.clone(), "an existing namespace is where it is, with what it has".to_owned());
                draft.error(Code::Conflict, &other.span, message).labels.push(label);
            }
        }
    }
    let Some(count) = &node.count else { return };
    let lone = [("attach", &node.attach), ("nic", &node.nic)];
    let lone = lone.into_iter().filter_map(|(key, text)| text.as_ref().map(|text| (key, text.span.clone())));
    let address = node.address.as_ref().and_then(|list| list.0.first()).map(|text| ("address", text.span.clone()));
    for (key, span) in lone.chain(address).collect::<Vec<_>>() {
        let message = format!("`{key}` cannot be shared by the {} nodes of `{node_name}`", count.value);
        draft.error(Code::Conflict, &span, message).labels.push((count.span.clone(), "several nodes".into()));
    }
}

fn sysctls(draft: &mut Draft<'_>, table: &Ordered<Located<Scalar>>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (key, value) in table.iter() {
        let shown = key.value.escape_debug().to_string();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let whole = key.value.split('.').all(|part| !part.is_empty());
        if !key.value.starts_with("net.") || !whole || !key.value.bytes().all(plain) {
            let message = format!("`{shown}` is not a sysctl of a network namespace");
            draft.error(Code::BadSysctl, &key.span, message).help.push("only `net.*` keys, with dots".into());
        } else if value.value.0.is_empty() || value.value.0.chars().any(|c| c.is_control() && c != '\t') {
            draft.error(Code::Malformed, &value.span, format!("`{shown}` wants one line of text"));
        } else {
            all.insert(key.value.clone(), value.value.0.clone());
        }
    }
    all
}

/// Reads `docker:web`, `podman:db`, `pid:4711`, `netns:/run/netns/x`, `self`.
fn attach(draft: &mut Draft<'_>, text: &Text) -> Option<Attach> {
    let container = |name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(plain)
    };
    let parsed = match text.value.split_once(':') {
        None if text.value == "self" => Some(Attach::This),
        Some(("docker", name)) if container(name) => Some(Attach::Docker(name.to_owned())),
        Some(("podman", name)) if container(name) => Some(Attach::Podman(name.to_owned())),
        Some(("pid", number)) => number.parse().ok().filter(|&pid: &u32| pid > 0).map(Attach::Pid),
        Some(("netns", path)) if path.starts_with('/') && !path.chars().any(char::is_control) => {
            Some(Attach::Path(path.into()))
        }
        _ => None,
    };
    if parsed.is_none() {
        let message = format!("`{}` does not say what to attach to", text.value.escape_debug());
        let help = "write `docker:NAME`, `podman:NAME`, `pid:NUMBER`, `netns:/absolute/path` or `self`";
        draft.error(Code::BadAttach, &text.span, message).help.push(help.into());
    }
    parsed
}

/// The `[test]` table.
pub fn test_defaults(draft: &mut Draft<'_>) -> TestDefaults {
    let Some(test) = &draft.file.test else { return TestDefaults::default() };
    for name in &test.tests {
        if !TESTS.contains(&name.value.as_str()) {
            let message = format!("there is no test `{}`", name.value.escape_debug());
            let diagnostic = draft.error(Code::UnknownTest, &name.span, message);
            diagnostic.note = nearest(&name.value, TESTS).map(|near| format!("did you mean `{near}`?"));
            diagnostic.help.push(format!("the tests are {}", TESTS.map(|name| format!("`{name}`")).join(", ")));
        }
    }
    TestDefaults {
        tests: test.tests.iter().map(|name| name.value.clone()).collect(),
        duration: test.duration.as_ref().and_then(|text| settings::parsed::<Span>(draft, text)),
        rounds: test.rounds.as_ref().map(|rounds| rounds.value),
        streams: test.streams.as_ref().map(|streams| streams.value),
    }
}
