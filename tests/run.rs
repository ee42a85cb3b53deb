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
    assert!(text.to_lowercase().contains("tcp_stream"), "{record}");
    let path = &record["flows"][0]["tests"][0]["rounds"][0]["path"];
    assert_eq!(path["verdict"]["path"], "proved", "{path}");
    let hops: Vec<&str> = path["hops"].as_array().into_iter().flatten().filter_map(|hop| hop["at"].as_str()).collect();
    assert_eq!(hops, ["client/eth0", "fabric/client-0", "fabric/server-0", "server/eth0"]);
    assert!(numbers(path, "bytes").iter().all(|&bytes| bytes > 1e6), "every hop saw the traffic: {path}");
    assert_eq!(record["proofs"][0]["holds"], true, "{}", record["proofs"]);
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
    let file = lab.file(
        "detour.toml",
        "name = \"detour\"\n[node.client]\n[node.server]\n\
         [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n\
         [[link]]\nends = [\"client:side\", \"server:side\"]\n",
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    // A policy rule is nothing that a topology declares: the kernel now sends the flow over the second wire.
    for (ns, to) in [("client", "198.18.0.2"), ("server", "198.18.0.1")] {
        let detour = format!("ip route add {to}/32 dev side table 100; ip rule add to {to}/32 lookup 100");
        lab.sh_in(&format!("nb-detour-{ns}"), &detour);
    }
    lab.netbench(&["topo", "verify", "detour"]).ok();
    let done = lab.netbench(&["run", &file, "--duration", "300ms"]).exits(4);
    done.says("path not proved").says("client/side");
    lab.netbench(&["topo", "destroy", "detour"]).ok();
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
