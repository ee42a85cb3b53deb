//! `netbench nic`: interfaces as hardware, with `ip` and `ethtool` as oracles; virtual ones here, an igb in tests/sriov.rs.

mod lab;
mod schema;

use lab::Lab;
use serde_json::Value;

const DEVICES: &str = "ip link add wire0 mtu 1400 numtxqueues 3 numrxqueues 2 type veth peer name wire1
                       ip link property add dev wire0 altname enp9s0f0
                       ip link set wire0 up; ip link set wire1 up; ip link add br1 type bridge";

fn of<'v>(list: &'v Value, name: &str) -> &'v Value {
    list.as_array().into_iter().flatten().find(|nic| nic["ifname"] == name).unwrap_or(&Value::Null)
}

#[test]
fn virtual_interfaces_are_described_as_ip_and_ethtool_do() {
    let Some(lab) = Lab::new("nic") else { return };
    lab.sh(DEVICES);
    // Hardware alone: there is none in a private namespace.
    lab.netbench(&["nic", "list"]).ok().says("--all");
    lab.netbench(&["nic", "list", "--all"]).ok().says("wire0").says("veth").says("br1");
    let done = lab.netbench(&["nic", "list", "--all", "--json"]).ok();
    let list = done.json();
    schema::conforms("nic-list", &list).expect("as its schema says");
    let wire = of(&list, "wire0");
    assert_eq!((&wire["kind"], &wire["driver"]), (&"veth".into(), &"veth".into()), "{wire}");
    assert_eq!((&wire["mtu"], &wire["up"], &wire["carrier"]), (&1400.into(), &true.into(), &true.into()), "{wire}");
    assert_eq!(wire["queues"], serde_json::json!({ "rx": 2, "tx": 3 }), "{wire}");
    assert_eq!((&wire["pci"], &wire["sriov"], &wire["speed_bits"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(wire["altnames"][0], "enp9s0f0");
    let mac = lab.sh("cat /sys/class/net/wire0/address");
    assert_eq!(wire["mac"], mac.trim());
    // Every offload as ethtool says it.
    let told = lab.sh("ethtool -k wire0");
    let mut compared = 0;
    for (name, offload) in wire["offloads"].as_object().expect("a table") {
        let Some(line) =
            told.lines().find(|line| line.trim().strip_prefix(name.as_str()).is_some_and(|l| l.starts_with(':')))
        else {
            continue;
        };
        let on = line.split(':').nth(1).is_some_and(|state| state.trim().starts_with("on"));
        assert_eq!(offload["on"], on, "{name}: {line}");
        assert_eq!(offload["changeable"], !line.contains("[fixed]"), "{name}: {line}");
        compared += 1;
    }
    assert!(compared > 20, "{told}");
}

#[test]
fn one_interface_is_found_by_any_name_and_by_anybody() {
    let Some(lab) = Lab::new("nic-show") else { return };
    lab.sh(DEVICES);
    for name in ["wire0", "enp9s0f0"] {
        lab.netbench(&["nic", "show", name]).ok().says("wire0, enp9s0f0").says("2 rx, 3 tx").says("offloads on");
    }
    let done = lab.netbench(&["nic", "show", "wire0", "--json"]).ok();
    schema::conforms("nic-show", &done.json()).expect("as its schema says");
    assert!(done.stdout.lines().count() > 10);
    let text = lab.netbench(&["nic", "show", "wire0"]).ok().stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    lab.netbench(&["nic", "list", "--all"]).ok().says("wire0").fits();
    lab.netbench(&["nic", "show", "nothing0"]).exits(2).says("nic list --all");
    let Some(done) = lab.netbench_as_user(&["nic", "list", "--all", "--json"]) else { return };
    assert!(done.ok().json().as_array().is_some_and(|list| !list.is_empty()));
}
