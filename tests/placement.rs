//! `--cpus`, `--numa`, `--placement` on the real kernel: the threads run where it was asked, and the record says where.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::Lab;
use serde_json::Value;

/// A run of a wire with these options; its only test.
fn test(lab: &Lab, args: &[&str]) -> Value {
    let done = lab.netbench(
        &[&["run", "veth", "--test", "tcp_stream", "--duration", "200ms", "--rounds", "1"], args, &["--json"]].concat(),
    );
    done.ok().json()["flows"][0]["tests"][0].clone()
}

fn cpus(test: &Value, side: &str) -> Vec<(String, u64)> {
    let streams = test["rounds"][0][side]["streams"].as_array().unwrap();
    let one = |stream: &Value| {
        (stream["cpu"]["pinned"].as_str().unwrap_or("?").to_owned(), stream["cpu"]["last_cpu"].as_u64().unwrap())
    };
    streams.iter().map(one).collect()
}

/// CPUs that this process may use.
fn count() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn streams_take_the_cpus_of_their_side_in_turn() {
    if count() < 2 {
        return eprintln!("one CPU: there is no choice");
    }
    let Some(lab) = Lab::new("cpus-sides") else { return };
    let found = test(&lab, &["--cpus", "0/1", "--streams", "2"]);
    assert_eq!(cpus(&found, "client"), [("0".to_owned(), 0), ("0".to_owned(), 0)], "{found}");
    assert_eq!(cpus(&found, "server"), [("1".to_owned(), 1), ("1".to_owned(), 1)]);
    assert_eq!((&found["settings"]["client_cpus"], &found["settings"]["server_cpus"]), (&"0".into(), &"1".into()));
    let places = found["placement"].as_array().unwrap();
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|place| place["pinned"] == true && place["client_cpu"] == 0 && place["server_cpu"] == 1));
    // On a veth the sender's own CPU does the receive processing, and the kernel says so of the receiving socket.
    let incoming = &found["rounds"][0]["server"]["streams"][0]["socket"]["incoming_cpu"];
    assert!(incoming.as_u64().is_some_and(|cpu| (cpu as usize) < count()), "{found}");
    assert_eq!(&places[0]["incoming_cpu"], incoming);
    let both = test(&lab, &["--cpus", "1,0", "--streams", "2"]);
    assert_eq!(cpus(&both, "client"), cpus(&both, "server"));
}

#[test]
fn every_policy_is_kept_or_refused_with_its_reason() {
    let Some(lab) = Lab::new("cpus-policy") else { return };
    for (policy, relations) in [
        ("same-core", &["same-cpu"][..]),
        ("sibling", &["sibling"]),
        ("same-node", &["same-node"]),
        ("spread", &["other-node", "same-node", "sibling"]),
    ] {
        let done = lab.netbench(&[
            "run",
            "veth",
            "--test",
            "tcp_rr",
            "--duration",
            "100ms",
            "--rounds",
            "1",
            "--placement",
            policy,
            "--json",
        ]);
        if done.code == Some(5) {
            done.says(&format!("--placement {policy}: ")).says("CPU");
            assert!(policy != "same-core", "there is always a CPU");
            continue;
        }
        let record = done.ok().json();
        let test = &record["flows"][0]["tests"][0];
        assert_eq!(test["settings"]["placement"], policy);
        let place = &test["placement"][0];
        assert!(relations.contains(&place["relation"].as_str().unwrap()), "{policy}: {place}");
        assert_eq!(
            (&place["pinned"], place["client_cpu"] == place["server_cpu"]),
            (&true.into(), policy == "same-core")
        );
        let last = |side: &str| test["rounds"][0][side]["streams"][0]["cpu"]["last_cpu"].clone();
        assert_eq!([last("client"), last("server")], [place["client_cpu"].clone(), place["server_cpu"].clone()]);
    }
}

#[test]
fn the_report_prints_the_placement_got() {
    let Some(lab) = Lab::new("cpus-text") else { return };
    let done = lab.netbench(&[
        "run",
        "veth",
        "--test",
        "tcp_stream",
        "--duration",
        "100ms",
        "--rounds",
        "1",
        "--numa",
        "0",
        "--placement",
        "same-core",
    ]);
    done.ok().says("placement same-core: CPU 0 → 0 (same CPU)").says("receive processing on CPU");
}

#[test]
fn what_this_host_does_not_have_is_said_before_anything_is_made() {
    let Some(lab) = Lab::new("cpus-refused") else { return };
    let before = lab.settled();
    lab.netbench(&["run", "veth", "--cpus", "4000"]).exits(5).says("CPU 4000 is none that this process may use");
    lab.netbench(&["run", "veth", "--numa", "4000"]).exits(5).says("NUMA node 4000");
    lab.netbench(&["run", "veth", "--numa", "0/0", "--placement", "far"]).exits(2);
    lab.netbench(&["run", "veth", "--cpus", "fast"]).exits(2).says("CPU list");
    lab.netbench(&["run", "veth", "--placement", "near"]).exits(2).says("same-core, sibling, same-node, spread");
    lab.assert_as_before(&before, "refused runs");
}

/// Here no two CPUs may be threads of one core: the kernel's word for it is covered by another, and the threads run where that says.
#[test]
fn siblings_are_the_threads_of_one_core() {
    if count() < 2 {
        return eprintln!("one CPU: there is no choice");
    }
    let Some(lab) = Lab::new("cpus-sibling") else { return };
    let core = lab.file("siblings", "0-1\n");
    for cpu in 0..2 {
        lab.sh(&format!("mount --bind {core} /sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    }
    let found = test(&lab, &["--placement", "sibling", "--cpus", "0-1", "--streams", "2"]);
    let (client, server) = (cpus(&found, "client"), cpus(&found, "server"));
    for ((client, ran), (server, ran_there)) in client.iter().zip(&server) {
        assert!(*client == ran.to_string() && *server == ran_there.to_string() && ran != ran_there, "{found}");
    }
    let places = found["placement"].as_array().unwrap();
    assert!(places.len() == 2 && places.iter().all(|place| place["relation"] == "sibling"), "{found}");
    lab.netbench(&["run", "veth", "--placement", "same-node", "--cpus", "0-1"])
        .exits(5)
        .says("--placement same-node: ");
}
