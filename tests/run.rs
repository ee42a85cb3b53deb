//! `netbench run` on the real kernel: a topology goes up, is proved, measured, reported and gone.

mod lab;

use lab::{Done, Lab};
use serde_json::Value;

/// Runs a topology and returns its record; the world is as before afterwards.
fn record(lab: &Lab, args: &[&str]) -> Value {
    let before = lab.settled();
    let done = lab.netbench(&[&["run"], args, &["--json"]].concat()).ok();
    lab.assert_as_before(&before, &done.what);
    done.json()
}

/// Every number under a key of this name, wherever it stands.
fn numbers(value: &Value, key: &str) -> Vec<f64> {
    let mut found = Vec::new();
    visit(value, &mut |name, value| {
        if name == key {
            found.extend(value.as_f64());
        }
    });
    found
}

fn visit(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            see(name, value);
            visit(value, see);
        }),
        Value::Array(list) => list.iter().for_each(|value| visit(value, see)),
        _ => {}
    }
}

#[test]
fn bridge_is_proved_and_measured() {
    let Some(lab) = Lab::new("run-bridge") else { return };
    let record = record(&lab, &["bridge", "--duration", "300ms"]);
    let text = record.to_string();
    assert!(text.contains("tcp_stream"), "{record}");
    assert!(text.contains("br1") && text.contains("client-0"), "the hops of the path are in the record: {record}");
    assert!(numbers(&record, "rx_bytes").iter().any(|&bytes| bytes > 1e6), "counters saw the traffic: {record}");
}

#[test]
fn veth_with_every_test() {
    let Some(lab) = Lab::new("run-veth") else { return };
    let tests = "tcp_stream,udp_stream,tcp_rr,udp_rr";
    let record = record(&lab, &["veth", "--test", tests, "--duration", "300ms"]);
    for test in tests.split(',') {
        assert!(record.to_string().contains(test), "{test}: {record}");
    }
}

#[test]
fn baseline_is_the_bare_host() {
    let Some(lab) = Lab::new("run-baseline") else { return };
    record(&lab, &["baseline", "--duration", "300ms"]);
}

#[test]
fn every_shipped_topology_runs() {
    for name in ["macvlan", "vxlan-kernel", "routed", "passthrough"] {
        let Some(lab) = Lab::new(name) else { return };
        record(&lab, &[name, "--duration", "200ms", "--test", "tcp_stream"]);
    }
}

#[test]
fn the_text_says_what_was_measured_and_that_the_path_was_proved() {
    let Some(lab) = Lab::new("run-text") else { return };
    let done = lab.netbench(&["run", "bridge", "--duration", "300ms"]).ok();
    done.says("bridge").says("9000").says_one_of(&["Gbit/s", "Mbit/s"]).says("path");
}

#[test]
fn an_ordinary_user_runs_it_too() {
    let Some(lab) = Lab::new("run-user") else { return };
    let before = lab.settled();
    let Some(done) = lab.netbench_as_user(&["run", "bridge", "--duration", "300ms"]) else { return };
    done.ok().says("rootless");
    lab.assert_as_before(&before, "a rootless run");
    let Some(done) = lab.netbench_as_user(&["run", "bridge", "--duration", "300ms", "--json"]) else { return };
    assert!(done.ok().json().to_string().contains("rootless"));
}

#[test]
fn traffic_that_goes_another_way_is_not_a_result() {
    let Some(lab) = Lab::new("run-detour") else { return };
    let before = lab.settled();
    // The declared path is the bridge; the client's first packet leaves by a second wire that the file does not name
    // for the flow, because a host route there is more specific.
    let file = lab.file(
        "detour.toml",
        "name = \"detour\"\n[node.client]\nroutes = [{ to = \"198.18.0.2/32\", dev = \"side\" }]\n\
         [node.server]\nroutes = [{ to = \"198.18.0.1/32\", dev = \"side\" }]\n\
         [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n\
         [[link]]\nends = [\"client:side\", \"server:side\"]\n",
    );
    let done = lab.netbench(&["run", &file, "--duration", "300ms"]);
    assert!(lab.netbench(&["topo", "check", &file]).code == Some(0), "the file itself is valid\n{done}");
    done.exits(4).says("path");
    lab.assert_as_before(&before, "a run that is not valid");
}

#[test]
fn keep_leaves_the_topology_up() {
    let Some(lab) = Lab::new("run-keep") else { return };
    let before = lab.settled();
    lab.netbench(&["run", "bridge", "--duration", "200ms", "--keep"]).ok();
    lab.netbench(&["topo", "verify", "bridge"]).ok();
    lab.netbench(&["run", "bridge", "--duration", "200ms", "--keep"]).ok();
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
    lab.assert_as_before(&before, "keep, then destroy");
}

#[test]
fn a_broken_pipe_is_quiet() {
    let Some(lab) = Lab::new("run-pipe") else { return };
    let script = "\"$0\" topo plan bridge | head -n 1; \"$0\" topo plan scale | true";
    let mut command = lab.command("sh");
    command.args(["-c", script, lab::NETBENCH]);
    let done: Done = lab.background(command).wait("netbench | head");
    assert!(!done.stderr.contains("panicked") && !done.stderr.to_lowercase().contains("broken pipe"), "{done}");
}
