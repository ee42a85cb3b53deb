//! `sweep`, `mtu tune`, `overhead` and `search` on the real kernel: what they print, what they refuse, and that nothing is left.

mod lab;
mod schema;

use lab::{Done, Lab};
use serde_json::Value;

/// JSON of a command, held to its schema; the world is as before afterwards.
#[track_caller]
fn json(lab: &Lab, name: &str, args: &[&str]) -> Value {
    let before = lab.settled();
    let done = lab.netbench(&[args, &["--json"]].concat()).ok();
    conforms(name, &done);
    lab.assert_as_before(&before, &done.what);
    done.json()
}

#[track_caller]
fn conforms(name: &str, done: &Done) {
    if let Err(error) = schema::conforms(name, &done.json()) {
        panic!("{error}\n{done}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn all_combinations_are_measured_round_by_round() {
    let Some(lab) = Lab::new("sweep") else { return };
    let args = [
        "sweep",
        "bridge",
        "--set",
        "mtu=1500,9000",
        "--set",
        "switch.br1.kind=bridge,macvlan",
        "--set",
        "test.streams=1,2",
    ];
    let report = json(&lab, "sweep", &[&args[..], &["--duration", "60ms", "--rounds", "5", "--seed", "7"]].concat());
    let variants = list(&report["variants"]);
    assert_eq!(variants.len(), 8, "{report:#}");
    assert_eq!(variants[0]["label"], "mtu=1500 switch.br1.kind=bridge test.streams=1");
    let result = &report["results"][0];
    let cells = list(&result["cells"]);
    assert_eq!(cells.len(), 8, "{report:#}");
    for (at, cell) in cells.iter().enumerate() {
        assert_eq!(list(&cell["rounds"]).len(), 5, "{report:#}");
        assert_eq!(cell["mtu"], if at < 4 { 1500 } else { 9000 }, "{report:#}");
        assert_eq!(cell["against_first"].is_null(), at == 0, "{report:#}");
    }
    // Under a second a variant over the traffic itself, on a machine that is not busy; here it is only bounded.
    let (elapsed, traffic) = (report["elapsed_s"].as_f64().unwrap_or(0.0), report["traffic_s"].as_f64().unwrap_or(0.0));
    assert!(elapsed - traffic < 60.0, "{elapsed} s, of which traffic {traffic} s");
}

/// The kinds of a switch against each other, each at two MTUs and two numbers of streams.
#[test]
fn bridge_open_vswitch_and_macvlan_stand_side_by_side() {
    let Some(lab) = Lab::with("sweep-kinds", &["ovs-vswitchd", "ovsdb-server"]) else { return };
    let sets = ["switch.br1.kind=bridge,ovs,macvlan", "mtu=1500,9000", "test.streams=1,4"];
    let set: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let args = [&["sweep", "bridge"], &set[..], &["--duration", "60ms", "--test", "tcp_stream,tcp_rr"]].concat();
    let report = json(&lab, "sweep", &args);
    let labels: Vec<&str> = list(&report["variants"]).iter().filter_map(|variant| variant["label"].as_str()).collect();
    assert_eq!((labels.len(), labels[4]), (12, "switch.br1.kind=ovs mtu=1500 test.streams=1"), "{report:#}");
    let failed: Vec<&Value> = list(&report["variants"]).iter().filter(|variant| !variant["failed"].is_null()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(list(&report["results"]).len(), 2, "{report:#}");
    for result in list(&report["results"]) {
        let cells = list(&result["cells"]);
        assert_eq!(cells.len(), 12, "{result:#}");
        for (at, cell) in cells.iter().enumerate() {
            assert_eq!(list(&cell["rounds"]).len(), 5, "{cell:#}");
            assert_eq!(cell["doubts"], serde_json::json!([]), "{} has figures that are not valid", labels[at]);
        }
    }
}

#[test]
fn the_table_fits_and_says_what_it_compares() {
    let Some(lab) = Lab::new("sweep-text") else { return };
    let args = ["sweep", "veth", "--set", "mtu=1500,9000", "--test", "tcp_rr,tcp_stream", "--duration", "60ms"];
    let done = lab.netbench(&args).ok();
    done.clone().says("mtu=9000").says("TCP_RR").says("trans/s").says("against the first").says("Mann-Whitney");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
}

#[test]
fn slips_are_refused_before_anything_is_made() {
    let Some(lab) = Lab::new("sweep-slips") else { return };
    let before = lab.settled();
    let sweep = |set: &[&str]| lab.netbench(&[&["sweep", "bridge"], set].concat()).exits(2);
    sweep(&["--set", "switch.br2.kind=ovs"]).says("did you mean `br1`?");
    sweep(&["--set", "switch.br1.kind=bridg"]).says("did you mean `bridge`?");
    sweep(&["--set", "switch.br1.knid=ovs"]).says("did you mean `kind`?");
    sweep(&["--set", "mtu=10"]).says("mtu=10");
    sweep(&["--set", "mtu"]).says("KEY=VALUE");
    sweep(&["--set", "mtu=1500", "--set", "mtu=9000"]).says("set twice");
    sweep(&["--set", "test.tests=tcp_steam"]).says("test.tests");
    sweep(&["--set", "mtu=1500", "--flow", "client:nobody"]).says("nobody");
    let many = format!("mtu={}", (1000..1070).map(|mtu| mtu.to_string()).collect::<Vec<_>>().join(","));
    sweep(&["--set", &many]).says("70 variants");
    sweep(&[]).says("--set");
    lab.assert_as_before(&before, "refusals");
}

#[test]
fn an_interrupt_leaves_nothing() {
    let Some(lab) = Lab::new("sweep-interrupt") else { return };
    let before = lab.settled();
    let args = ["sweep", "bridge", "--set", "mtu=1500,9000", "--duration", "300ms", "--rounds", "100", "--json"];
    let running = lab.background(lab.netbench_command(&args));
    let up = lab::eventually(std::time::Duration::from_secs(30), || lab.namespaces().len() >= 6);
    assert!(up, "both variants stand side by side: {:?}", lab.namespaces());
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.signal("-INT");
    let done = running.wait("an interrupted sweep").exits(130);
    conforms("sweep", &done);
    assert_eq!(done.json()["interrupted"], true, "{done}");
    lab.assert_as_before(&before, "an interrupted sweep");
}

#[test]
fn what_there_is_one_of_is_applied_in_turn() {
    let Some(lab) = Lab::new("sweep-turn") else { return };
    lab.sh("ip link add nic0 type veth peer name nic1; ip link set nic0 up; ip link set nic1 up");
    let file = lab.file(
        "borrowed.toml",
        "name = \"borrowed\"\n[nic.left]\nifname = \"nic0\"\ncable = \"right\"\n[nic.right]\nifname = \"nic1\"\ncable = \"left\"\n\
         [node.client]\nnic = \"left\"\n[node.server]\nnic = \"right\"\n",
    );
    let report =
        json(&lab, "sweep", &["sweep", &file, "--set", "mtu=1500,3000", "--duration", "60ms", "--rounds", "3"]);
    assert_eq!(report["side_by_side"], false, "{report:#}");
    let cells = list(&report["results"][0]["cells"]);
    assert_eq!((cells.len(), &cells[1]["mtu"]), (2, &Value::from(3000)), "{report:#}");
}

#[test]
fn tune_measures_every_mtu_and_puts_everything_back() {
    let Some(lab) = Lab::new("tune") else { return };
    lab.netbench(&["topo", "apply", "vxlan-kernel"]).ok();
    // What is up stays as it is: the variants have names of their own.
    let report = json(&lab, "mtu-tune", &["mtu", "tune", "vxlan-kernel", "--mtu", "1500..9000", "--duration", "60ms"]);
    assert_eq!(report["mtus"], serde_json::json!([1500, 2077, 3375, 9000]), "{report:#}");
    let cells = list(&report["sweep"]["results"][0]["cells"]);
    let mtus: Vec<u64> = cells.iter().filter_map(|cell| cell["mtu"].as_u64()).collect();
    assert_eq!(mtus, [1450, 2027, 3325, 8950], "tunnels follow");
    let tuned = &report["tuned"][0];
    assert!(tuned["fit"].is_object() != tuned["no_fit"].is_string(), "{report:#}");
    assert!(tuned["best"].is_number(), "{report:#}");
    lab.netbench(&["topo", "verify", "vxlan-kernel"]).ok();
    lab.netbench(&["topo", "destroy", "vxlan-kernel"]).ok();
    let done =
        lab.netbench(&["mtu", "tune", "veth", "--mtu", "1500,9000", "--duration", "60ms", "--test", "udp_stream"]).ok();
    done.clone().says_one_of(&["best: MTU", "no difference"]).says("CPU ns/B");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
    lab.netbench(&["mtu", "tune", "veth", "--mtu", "9000..1500"]).exits(2);
    lab.netbench(&["mtu", "tune", "veth", "--rounds", "4"]).exits(2).says("from 5 rounds on");
}

#[test]
fn without_segmentation_offload_a_packet_has_its_cost() {
    let Some(lab) = Lab::new("tune-fit") else { return };
    let file = lab.file(
        "plain.toml",
        "name = \"plain\"\n[node.client]\n[node.server]\n[[link]]\nends = [\"client\", \"server\"]\noffload = { tso = false }\n",
    );
    let args = ["mtu", "tune", &file, "--mtu", "1500,4000,9000", "--duration", "100ms"];
    let report = json(&lab, "mtu-tune", &args);
    let fit = &report["tuned"][0]["fit"];
    // How much is the machine's matter, and today's.
    assert!(fit["b_ns_per_packet"].is_number() && fit["r_squared"].is_number(), "{report:#}");
    let sizes: Vec<f64> = list(&fit["points"]).iter().filter_map(|point| point["bytes_per_packet"].as_f64()).collect();
    assert!(sizes[0] < 1600.0 && sizes[2] > 8000.0, "{report:#}");
}

#[test]
fn overhead_has_a_layer_for_each_thing_added() {
    let Some(lab) = Lab::new("overhead") else { return };
    let report = json(&lab, "overhead", &["overhead", "--duration", "60ms", "--rounds", "4"]);
    let waterfalls = list(&report["waterfalls"]);
    assert_eq!(waterfalls.len(), 2, "{report:#}");
    for waterfall in waterfalls {
        let layers = list(&waterfall["layers"]);
        let names: Vec<&str> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
        assert_eq!(names[..4], ["bare host", "+ namespace, veth", "+ bridge", "+ VXLAN"], "{report:#}");
        // What the layers add sums to what the last one takes.
        let added: f64 = layers.iter().filter_map(|layer| layer["added_ns"].as_f64()).sum();
        let last = layers.last().and_then(|layer| layer["time_ns"].as_f64()).unwrap_or(0.0);
        assert!((added - last).abs() <= last * 1e-9, "{report:#}");
    }
    // Open vSwitch is the last one where it is installed, and under strict tests it is.
    let with_ovs = lab.try_sh("command -v ovs-vswitchd ovsdb-server").code == Some(0);
    assert!(with_ovs || std::env::var_os("NETBENCH_STRICT").is_none(), "Open vSwitch is not installed");
    for waterfall in waterfalls.iter().filter(|_| with_ovs) {
        let last = list(&waterfall["layers"]).last().expect("there are layers");
        assert!(last["name"].as_str().is_some_and(|name| name.contains("Open vSwitch")), "{last:#}");
        assert!(last["time_ns"].as_f64().is_some_and(|time| time > 0.0), "{last:#}");
        assert!(last["against_previous"].is_object() && last["against_bare"].is_object(), "{last:#}");
    }
    let done = lab.netbench(&["overhead", "--duration", "60ms", "--rounds", "2", "--test", "tcp_rr"]).ok();
    done.clone().says("bare host").says("█");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
}

const SHAPED: &str = "name = \"shaped\"\n[node.client]\n[node.server]\n[[link]]\nends = [\"client\", \"server\"]\nrate = \"50mbit\"\n\
    [[flow]]\nfrom = \"client\"\nto = \"server\"\n";

#[test]
fn search_finds_the_rate_of_a_shaper() {
    let Some(lab) = Lab::new("search") else { return };
    let file = lab.file("shaped.toml", SHAPED);
    let mut last = Value::Null;
    // Other load on the machine moves single trials; the whole search is repeated before it is called wrong.
    for _ in 0..4 {
        last = json(&lab, "search", &["search", &file, "--trials", "3", "--duration", "300ms", "--precision", "2%"]);
        // 1472 bytes of 1514, which is what a shaper counts; a full bucket lets a short trial have some more.
        let share = last["conditional"].as_f64().unwrap_or(0.0) / (50e6 * 1472.0 / 1514.0);
        if last["ended"] == "found" && (0.93..=1.05).contains(&share) {
            return;
        }
    }
    panic!("not within 7 % of the shaper's rate: {last:#}");
}

/// Far more than can be had is asked for first, and all places under way are taken at once: what is answered all the same is where
/// it goes on.
#[test]
fn search_of_requests_ends_near_what_can_be_had() {
    let Some(lab) = Lab::new("search-requests") else { return };
    let args = ["search", "veth", "--test", "udp_rr", "--duration", "60ms", "--max-loss", "1%", "--p99", "200ms"];
    let report = json(&lab, "search", &args);
    let trials = list(&report["trials"]);
    let most = trials.iter().filter_map(|trial| trial["arrived"].as_f64()).fold(0.0, f64::max);
    assert!(trials.iter().all(|trial| trial["offered"].as_f64() > Some(0.0)), "{report:#}");
    let lower = report["lower"].as_f64().expect("some load fits");
    assert!(lower > most / 20.0, "{lower} of {most}: {report:#}");
}

#[test]
fn search_refuses_what_it_cannot_do() {
    let Some(lab) = Lab::new("search-refuse") else { return };
    lab.netbench(&["search", "veth", "--test", "tcp_stream"]).exits(2).says("udp_stream");
    lab.netbench(&["search", "veth", "--test", "udp_stream", "--p99", "200us"]).exits(2).says("udp_rr");
    lab.netbench(&["search", "veth", "--max-loss", "200%"]).exits(2).says("0.01%");
    let args = ["search", "veth", "--p99", "1s", "--max", "500/s", "--trials", "1", "--duration", "100ms"];
    let done = lab.netbench(&args).ok();
    done.clone().says("UDP_RR").says("trans/s");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
}

#[test]
fn an_ordinary_user_compares_too() {
    let Some(lab) = Lab::new("sweep-user") else { return };
    let args = ["sweep", "veth", "--set", "mtu=1500,9000", "--duration", "60ms", "--rounds", "2"];
    let Some(done) = lab.netbench_as_user(&args) else { return };
    done.ok().says("mtu=9000");
}
