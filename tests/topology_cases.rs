//! A folder of mistakes: `tests/topology/NAME/topology.toml` and what is said about it, `expect.txt`.
//!
//! `UPDATE=1` writes the expectations anew; read the difference before you commit it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use netbench::topology::{
    self,
    diagnostic::Code,
    model::{EndAt, PortSettings, Topology},
    source::Source,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/topology")
}

/// Every case by name, with the report it gives (or the resolved topology's outline, when it is sound).
fn cases() -> Vec<(String, String, BTreeSet<Code>)> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder()).expect("a case") {
        let name = entry.expect("a case").file_name().into_string().expect("a case");
        let text = fs::read_to_string(folder().join(&name).join("topology.toml")).expect("a case");
        let (report, said) = match topology::check(Source::new("topology.toml", text)) {
            Ok(loaded) => (loaded.report, outline(&loaded.topology)),
            Err(report) => (*report, String::new()),
        };
        let codes = report.diagnostics.iter().map(|d| d.code).collect();
        cases.push((name, format!("{}{said}", report.render(false)), codes));
    }
    cases.sort();
    cases
}

/// A sound topology in a line for each interface (the first eight of a switch), tunnel and flow.
fn outline(topology: &Topology) -> String {
    let mut out = format!("sound: {}\n", topology.name);
    let port = |place: &str, name: &dyn std::fmt::Display, settings: &PortSettings| {
        let addresses: Vec<String> = settings.addresses.iter().map(ToString::to_string).collect();
        format!("{place} {name} MTU {} {}", settings.mtu, addresses.join(" ")).trim_end().to_owned()
    };
    for switch in &topology.switches {
        out += &format!("{} {:?} MTU {} {:?}\n", switch.name, switch.kind, switch.mtu, switch.addresses);
        for at in switch.ports.iter().take(8) {
            out += &format!(
                "  {}{}\n",
                port(&at.node, &at.ifname, &at.settings),
                at.vlan.map_or(String::new(), |v| format!(" VLAN {v}"))
            );
        }
    }
    for link in &topology.links {
        let [a, b] = link.ends.each_ref().map(|end| {
            let (EndAt::Node(place) | EndAt::Host(place) | EndAt::Switch(place)) = &end.at;
            port(place, &end.ifname, &end.settings)
        });
        out += &format!("{a} = {b}\n");
    }
    for tunnel in &topology.tunnels {
        let [a, b] = tunnel
            .ends
            .each_ref()
            .map(|end| format!("{} {} MTU {} {} by {}", end.switch, end.ifname, end.mtu, end.local, end.dev));
        out += &format!("vni {} port {}: {a} = {b}\n", tunnel.vni, tunnel.port);
    }
    for node in topology.nodes.iter().filter(|node| !(node.routes.is_empty() && node.sysctl.is_empty())) {
        let routes: Vec<String> =
            node.routes.iter().map(|r| format!("{} via {:?} dev {:?}", r.to, r.via, r.dev)).collect();
        out += &format!("{}: {} {:?}\n", node.name, routes.join(", "), node.sysctl);
    }
    for flow in &topology.flows {
        out +=
            &format!("flow {} {} to {} {} MTU {}\n", flow.from, flow.from_address, flow.to, flow.to_address, flow.mtu);
    }
    out
}

#[test]
fn mistakes_are_reported_as_expected() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (name, said, _) in cases() {
        let path = folder().join(&name).join("expect.txt");
        if update {
            fs::write(&path, &said).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != said {
            wrong.push(format!("--- {name}: expected\n{expected}\n+++ {name}: said\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} cases differ; UPDATE=1 rewrites them", wrong.join("\n"), wrong.len());
}

/// These are about the file as a whole; `files_that_cannot_be_used` has them.
const ABOUT_FILES: [Code; 3] = [Code::Unreadable, Code::UnknownTopology, Code::TooLarge];

#[test]
fn every_code_has_a_case() {
    let seen: BTreeSet<Code> = cases().into_iter().flat_map(|(.., codes)| codes).chain(ABOUT_FILES).collect();
    let missing: Vec<String> =
        Code::ALL.iter().filter(|code| !seen.contains(code)).map(|code| format!("{code} {}", code.title())).collect();
    assert!(missing.is_empty(), "without a case: {missing:#?}");
}

#[test]
fn files_that_cannot_be_used() {
    let folder = tempdir();
    let large = folder.join("large.toml");
    fs::write(&large, "# x\n".repeat(2_700_000)).unwrap();
    let binary = folder.join("binary.toml");
    fs::write(&binary, b"name = \"x\"\n\xff\xfe").unwrap();
    let started = std::time::Instant::now();
    for (argument, code, says) in [
        (large.to_str().unwrap(), Code::TooLarge, "1 MiB"),
        (binary.to_str().unwrap(), Code::Unreadable, "line 2"),
        ("/nowhere/x.toml", Code::Unreadable, "No such file"),
        ("/", Code::Unreadable, "directory"),
        ("brigde", Code::UnknownTopology, "did you mean `bridge`?"),
        ("a\u{1b}[31mb", Code::UnknownTopology, "\\u{1b}"),
    ] {
        let report = topology::load(argument).expect_err("a mistake");
        assert_eq!(report.diagnostics[0].code, code, "{argument}");
        let text = report.render(false);
        assert!(text.contains(says), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert!(started.elapsed().as_secs() < 2, "a large file is refused at once");
    fs::remove_dir_all(folder).unwrap();
}

fn tempdir() -> PathBuf {
    let path = std::env::temp_dir().join(format!("netbench-topology-cases-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a temporary folder");
    path
}

#[test]
fn json_has_places() {
    let report =
        topology::check(Source::new("t.toml", "name = \"x\"\nmtu = 9000\ncolour = 1\n")).expect_err("a mistake");
    let json = serde_json::to_value(report.to_json()).unwrap();
    assert_eq!(json[0]["code"], "NB005");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["line"], 3);
    assert_eq!(json[0]["column"], 1);
    assert_eq!(json[0]["file"], "t.toml");
}
