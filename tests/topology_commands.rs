//! The commands about topologies: what goes to stdout, what to stderr, and the exit code.

use std::process::{Command, Output};

use netbench::topology::shipped;

fn netbench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netbench")).args(arguments).env("NO_COLOR", "1").output().expect("netbench starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("netbench prints UTF-8")
}

#[test]
fn a_sound_topology_is_talk_and_exit_code_0() {
    let out = netbench(&["topo", "check", "bridge"]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), ""));
    assert_eq!(text(&out.stderr), "bridge: sound; 2 nodes, 1 switch, 0 links; client to server (MTU 9000)\n");
}

#[test]
fn mistakes_are_exit_code_2_on_stderr_or_as_json_on_stdout() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topology/unknown-word/topology.toml");
    let out = netbench(&["topo", "check", file]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""));
    assert!(text(&out.stderr).contains("error[NB008]") && !text(&out.stderr).contains('\u{1b}'));

    let out = netbench(&["topo", "check", file, "--json"]);
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(2), ""));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["diagnostics"][0]["code"], "NB008");
    assert_eq!(json["diagnostics"][0]["line"], 2);
    assert_eq!(json["diagnostics"][0]["column"], 10);
}

#[test]
fn new_prints_the_shipped_file() {
    for shipped in shipped::all() {
        let out = netbench(&["topo", "new", shipped.name]);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), shipped.text));
    }
    let list = netbench(&["topo", "new", "--list"]);
    assert_eq!(text(&list.stdout).lines().count(), shipped::all().len());
    let unknown = netbench(&["topo", "new", "brigde"]);
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(2), ""));
    assert!(text(&unknown.stderr).contains("did you mean `bridge`?"));
}

#[test]
fn explain_knows_every_code() {
    assert!(text(&netbench(&["explain", "NB023"]).stdout).contains("1023 ports"));
    assert!(text(&netbench(&["explain"]).stdout).lines().count() > 40);
    assert_eq!(netbench(&["explain", "NB999"]).status.code(), Some(2));
}

#[test]
fn graphs_go_to_stdout() {
    for (format, start) in [("mermaid", "flowchart"), ("dot", "graph"), ("svg", "<svg")] {
        let out = netbench(&["topo", "graph", "vxlan-kernel", "--format", format]);
        assert_eq!(out.status.code(), Some(0));
        assert!(text(&out.stdout).starts_with(start) && out.stderr.is_empty());
    }
}

#[test]
fn a_broken_pipe_is_quiet() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netbench"))
        .args(["explain", "--markdown"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""));
}
