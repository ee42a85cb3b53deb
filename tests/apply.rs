//! `topo apply` on the real kernel: every shipped topology goes up, is idempotent, is repaired, changes only what
//! differs, and leaves nothing. `ip`, `tc` and `bridge` are the oracles.

mod lab;

use std::collections::BTreeMap;

use lab::Lab;
use serde_json::Value;

/// Every cycle: apply, apply again, verify, exec, list, show, the drifts, destroy, as before.
fn cycle(name: &str, drifts: &[Drift]) {
    let Some(lab) = Lab::new(name) else { return };
    let before = lab.dump();

    let first = lab.netbench(&["topo", "apply", name, "--json"]).ok().json();
    assert!(steps(&first) > 0, "{first}");
    let second = lab.netbench(&["topo", "apply", name, "--json"]).ok();
    assert_eq!(steps(&second.json()), 0, "a second apply does nothing\n{second}");
    lab.netbench(&["topo", "apply", name]).ok().says("nothing to do");
    lab.netbench(&["topo", "verify", name]).ok();

    lab.netbench(&["topo", "exec", name, "client", "--", "ip", "-br", "addr"]).ok().says("198.18.");
    lab.netbench(&["topo", "exec", name, "client", "--", "sh", "-c", "exit 7"]).exits(7);
    assert!(lab.netbench(&["topo", "list", "--json"]).ok().json().to_string().contains(&format!("\"{name}\"")));
    assert!(lab.netbench(&["topo", "show", name, "--json"]).ok().json().to_string().contains("client"));

    for drift in drifts {
        let ns = format!("nb-{name}-{}", drift.node);
        lab.sh_in(&ns, drift.make);
        lab.netbench(&["topo", "verify", name]).exits(1).says_one_of(drift.named);
        lab.netbench(&["topo", "verify", name, "--json"]).exits(1).json();
        let repair = lab.netbench(&["topo", "apply", name, "--json"]).ok();
        assert!(steps(&repair.json()) > 0, "{}\n{repair}", drift.make);
        lab.netbench(&["topo", "verify", name]).ok();
    }

    lab.netbench(&["topo", "destroy", name]).ok();
    lab.assert_as_before(&before, name);
    lab.netbench(&["topo", "destroy", name]).says(name);
}

/// A change behind netbench's back, and the words of which one must be in the report.
#[derive(Clone, Copy)]
struct Drift {
    node: &'static str,
    make: &'static str,
    named: &'static [&'static str],
}

const MTU: Drift = Drift { node: "client", make: "ip link set eth0 mtu 1400", named: &["mtu"] };
const NO_ADDRESS: Drift = Drift { node: "client", make: "ip addr flush dev eth0 scope global", named: &["address"] };
const DOWN: Drift = Drift { node: "server", make: "ip link set eth0 down", named: &["up", "down", "state"] };
const EXTRA: Drift =
    Drift { node: "server", make: "ip addr add 203.0.113.9/24 dev eth0", named: &["203.0.113.9", "address"] };
const NO_LINK: Drift = Drift { node: "client", make: "ip link delete eth0", named: &["eth0"] };

fn steps(json: &Value) -> u64 {
    json["steps"].as_u64().unwrap_or_else(|| panic!("`steps` is a number: {json}"))
}

#[test]
fn bridge() {
    let bridge = [
        Drift { node: "fabric", make: "ip link set br1 mtu 1500", named: &["mtu"] },
        Drift { node: "fabric", make: "ip link set client-0 nomaster", named: &["master"] },
        Drift { node: "fabric", make: "ip link set br1 type bridge stp_state 1", named: &["stp"] },
        Drift { node: "fabric", make: "ip link delete br1", named: &["br1"] },
    ];
    cycle("bridge", &[&[MTU, NO_ADDRESS, DOWN, EXTRA, NO_LINK][..], &bridge].concat());
}

#[test]
fn veth() {
    cycle("veth", &[MTU, NO_ADDRESS, DOWN, EXTRA, NO_LINK]);
}

#[test]
fn macvlan() {
    cycle("macvlan", &[MTU, NO_ADDRESS, DOWN, EXTRA, NO_LINK]);
}

#[test]
fn vxlan_kernel() {
    cycle("vxlan-kernel", &[MTU, NO_ADDRESS, DOWN, EXTRA, NO_LINK]);
}

#[test]
fn routed() {
    let router = [
        Drift { node: "client", make: "ip route delete $(ip route | grep -m 1 via)", named: &["route"] },
        Drift { node: "router", make: "echo 0 > /proc/sys/net/ipv4/ip_forward", named: &["ip_forward"] },
    ];
    cycle("routed", &[&[MTU, NO_ADDRESS, DOWN, EXTRA][..], &router].concat());
}

#[test]
fn passthrough() {
    cycle("passthrough", &[MTU, NO_ADDRESS, DOWN, EXTRA]);
}

#[test]
fn baseline_makes_nothing() {
    let Some(lab) = Lab::new("baseline") else { return };
    let before = lab.dump();
    lab.netbench(&["topo", "apply", "baseline"]).ok();
    lab.netbench(&["topo", "verify", "baseline"]).ok();
    lab.netbench(&["topo", "destroy", "baseline"]).ok();
    lab.assert_as_before(&before, "baseline");
}

#[test]
fn what_the_kernel_holds_is_what_was_declared() {
    let Some(lab) = Lab::new("bridge-oracle") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    let mut namespaces = lab.namespaces();
    namespaces.sort();
    assert_eq!(namespaces, ["nb-bridge-client", "nb-bridge-fabric", "nb-bridge-server"]);

    let fabric = by_name(&lab.json_in("nb-bridge-fabric", "ip -j -d link show"));
    assert_eq!(fabric["br1"]["mtu"], 9000, "given after creation, so that it stays: {}", fabric["br1"]);
    assert_eq!(fabric["br1"]["linkinfo"]["info_kind"], "bridge");
    for port in ["client-0", "server-0"] {
        assert_eq!(fabric[port]["master"], "br1", "{}", fabric[port]);
        assert_eq!(fabric[port]["mtu"], 9000);
        assert_eq!(fabric[port]["operstate"], "UP");
    }
    // The namespace is marked as ours on its lo; links in it need no mark of their own.
    assert!(fabric["lo"]["ifalias"].as_str().is_some_and(|alias| alias.starts_with("netbench:bridge:")));
    // A 1500 port joins: the bridge stays at 9000, because its MTU was set by hand.
    lab.sh_in(
        "nb-bridge-fabric",
        "ip link add small mtu 1500 type veth peer name other && ip link set small master br1",
    );
    assert_eq!(by_name(&lab.json_in("nb-bridge-fabric", "ip -j link show"))["br1"]["mtu"], 9000);
    lab.sh_in("nb-bridge-fabric", "ip link delete small");

    let client = by_name(&lab.json_in("nb-bridge-client", "ip -j -d addr show"));
    assert_eq!(client["eth0"]["mtu"], 9000);
    assert_eq!(client["lo"]["operstate"], "UNKNOWN", "lo is up: {}", client["lo"]);
    let families: Vec<&str> = client["eth0"]["addr_info"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|address| address["family"].as_str())
        .collect();
    assert_eq!(families, ["inet"], "IPv6 is off unless asked");
    lab.netbench(&["topo", "exec", "bridge", "client", "--", "ip", "link"]).ok().says("eth0");
    lab.netbench(&["topo", "destroy", "--all"]).ok();
}

#[test]
fn macvlan_children_are_made_in_place() {
    let Some(lab) = Lab::new("macvlan-oracle") else { return };
    lab.netbench(&["topo", "apply", "macvlan"]).ok();
    for node in ["client", "server"] {
        let links = by_name(&lab.json_in(&format!("nb-macvlan-{node}"), "ip -j -d link show"));
        assert_eq!(links["eth0"]["linkinfo"]["info_kind"], "macvlan", "{}", links["eth0"]);
        assert_eq!(links["eth0"]["linkinfo"]["info_data"]["mode"], "bridge");
    }
    lab.netbench(&["topo", "destroy", "macvlan"]).ok();
}

#[test]
fn the_overlay_loses_fifty_bytes() {
    let Some(lab) = Lab::new("vxlan-oracle") else { return };
    lab.netbench(&["topo", "apply", "vxlan-kernel"]).ok();
    let client = by_name(&lab.json_in("nb-vxlan-kernel-client", "ip -j link show"));
    let host = by_name(&lab.json_in("nb-vxlan-kernel-a", "ip -j -d link show"));
    let wire = host.values().find(|link| link["ifname"] == "wire").expect("the wire of host a");
    let inner = client["eth0"]["mtu"].as_u64().expect("an MTU");
    assert_eq!(inner + 50, wire["mtu"].as_u64().expect("an MTU"));
    assert!(host.values().any(|link| link["linkinfo"]["info_kind"] == "vxlan" && link["mtu"] == inner));
    lab.netbench(&["topo", "destroy", "vxlan-kernel"]).ok();
}

const TWO: &str = "name = \"edit\"\nmtu = 9000\n[node.client]\n[node.server]\n\
                   [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n";

#[test]
fn an_edited_file_changes_only_what_differs() {
    let Some(lab) = Lab::new("edit") else { return };
    let before = lab.dump();
    let file = lab.file("edit.toml", TWO);
    lab.netbench(&["topo", "apply", &file]).ok();
    let kept = |lab: &Lab| ["nb-edit-client", "nb-edit-server"].map(|ns| lab.indexes(ns));
    let fabric = |lab: &Lab| -> BTreeMap<String, u64> { lab.indexes("nb-edit-fabric").into_iter().collect() };
    let (nodes, ports) = (kept(&lab), fabric(&lab));

    lab.file(
        "edit.toml",
        &TWO.replace("[switch", "[node.third]\n[switch").replace("\"server\"]", "\"server\", \"third\"]"),
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", &file]).ok();
    assert_eq!(kept(&lab), nodes, "a node joined: the others keep their links");
    let grown = fabric(&lab);
    assert!(ports.iter().all(|(name, index)| grown.get(name) == Some(index)), "{ports:?} {grown:?}");
    assert!(grown.contains_key("third-0"), "{grown:?}");

    lab.file("edit.toml", &TWO.replace("9000", "4000"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", "edit"]).ok();
    assert_eq!(kept(&lab), nodes, "an MTU changed and a node left: the links stay");
    assert_eq!(fabric(&lab), ports);
    assert_eq!(by_name(&lab.json_in("nb-edit-client", "ip -j link show"))["eth0"]["mtu"], 4000);
    assert!(!lab.namespaces().contains(&"nb-edit-third".to_owned()));

    lab.file("edit.toml", &TWO.replace("[node.client]", "[node.client]\nsysctl = { \"net.ipv4.ip_forward\" = \"1\" }"));
    lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!(lab.sh_in("nb-edit-client", "cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert_eq!(kept(&lab), nodes);

    lab.file("edit.toml", &TWO.replace("name = \"edit\"", "name = \"edit\"\nipv6 = true"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", "edit"]).ok();
    assert_eq!(kept(&lab), nodes, "IPv6 came: the links stay");
    assert!(
        lab.sh_in("nb-edit-client", "ip -6 addr show dev eth0 scope global").contains("2001:2:"),
        "it has an address"
    );
    lab.file("edit.toml", TWO);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", "edit"]).ok();
    assert_eq!(lab.sh_in("nb-edit-client", "ip -6 addr show dev eth0").trim(), "", "and goes again");

    lab.netbench(&["topo", "destroy", "edit"]).ok();
    lab.assert_as_before(&before, "edit");
}

#[test]
fn a_changed_kind_of_switch_is_replaced() {
    let Some(lab) = Lab::new("kind") else { return };
    let before = lab.dump();
    let file = lab.file("kind.toml", &TWO.replace("edit", "kind"));
    lab.netbench(&["topo", "apply", &file]).ok();
    let macvlan =
        TWO.replace("edit", "kind").replace("kind = \"bridge\"", "kind = \"macvlan\"\nnic = \"up\"\nmode = \"bridge\"");
    lab.file("kind.toml", &macvlan.replace("[switch", "[nic.up]\n[switch"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", "kind"]).ok();
    let client = by_name(&lab.json_in("nb-kind-client", "ip -j -d link show"));
    assert_eq!(client["eth0"]["linkinfo"]["info_kind"], "macvlan");
    lab.netbench(&["topo", "destroy", "kind"]).ok();
    lab.assert_as_before(&before, "kind");
}

#[test]
fn an_address_that_moved_to_another_mac_is_found_at_once() {
    let Some(lab) = Lab::new("apply-neighbours") else { return };
    let text = "name = \"n\"\n[node.a]\n[node.b]\n[switch.s]\nkind = \"bridge\"\n\
                ports = [\"a\", { node = \"b\", mac = \"02:00:00:00:00:01\" }]\n";
    let file = lab.file("n.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    // A learned entry is believed for half a minute.
    lab.sh_in("nb-n-a", "ip neigh replace 198.18.0.2 lladdr 02:00:00:00:00:01 dev eth0 nud reachable");
    let file = lab.file("n.toml", &text.replace("00:01", "00:02"));
    lab.netbench(&["topo", "apply", &file]).ok().says("MTU 1500 proved");
    let entries = lab.sh_in("nb-n-a", "ip neigh");
    assert!(entries.contains("02:00:00:00:00:02") && !entries.contains("02:00:00:00:00:01"), "{entries}");
}

#[test]
fn a_plan_is_printed_without_touching_anything() {
    let Some(lab) = Lab::new("plan") else { return };
    let before = lab.dump();
    lab.netbench(&["topo", "plan", "bridge"]).ok().says("br1").says("9000").says("198.18.");
    lab.netbench(&["topo", "plan", "bridge", "--json"]).ok().json();
    lab.assert_as_before(&before, "topo plan");
}

/// Links of an `ip -j` list by name.
fn by_name(links: &Value) -> BTreeMap<String, Value> {
    let links = links.as_array().into_iter().flatten();
    links.filter_map(|link| Some((link["ifname"].as_str()?.to_owned(), link.clone()))).collect()
}
