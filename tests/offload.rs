//! `netbench offload` on the real kernel: what is right passes, a real fault is named with its cure, everything is put back.

mod lab;
mod schema;

use lab::{Done, Lab};

/// Features of every interface of every namespace of a topology, as ethtool says, and how long it waits.
fn features(lab: &Lab, topology: &str) -> String {
    let script = "for f in /sys/class/net/*; do ethtool -k ${f##*/} 2>/dev/null
                  cat $f/gro_flush_timeout $f/napi_defer_hard_irqs; done";
    let own = lab.namespaces().into_iter().filter(|name| name.starts_with(&format!("nb-{topology}-")));
    own.map(|name| format!("{name}\n{}", lab.sh_in(&name, &format!("mount -t sysfs none /sys; {script}")))).collect()
}

/// The record, held to its schema.
#[track_caller]
fn record(done: &Done) -> serde_json::Value {
    let json = done.json();
    if let Err(error) = schema::conforms("offload-verify", &json) {
        panic!("{error}\n{done}");
    }
    json
}

fn verdicts<'j>(json: &'j serde_json::Value, check: &str) -> Vec<(&'j str, &'j str)> {
    let rows = json["checks"].as_array().expect("checks").iter().filter(|row| row["check"] == check);
    rows.map(|row| (row["device"].as_str().unwrap_or("path"), row["verdict"].as_str().expect("a verdict"))).collect()
}

/// What is right passes at the first try, however busy the machine is.
#[track_caller]
fn verified(lab: &Lab, args: &[&str]) -> Done {
    lab.netbench(&[&["offload", "verify"], args].concat()).ok()
}

#[test]
fn paths_of_the_kernel_are_right() {
    are_right("offload-right", &["veth", "bridge", "macvlan"]);
}

#[test]
fn paths_over_routers_and_tunnels_of_the_kernel_are_right() {
    are_right("offload-far", &["vxlan-kernel", "routed"]);
}

#[track_caller]
fn are_right(name: &str, topologies: &[&str]) {
    let Some(lab) = Lab::new(name) else { return };
    for topology in topologies {
        let json = record(&verified(&lab, &[topology, "--json"]));
        for check in ["integrity", "mtu", "state"] {
            let rows = verdicts(&json, check);
            assert!(
                !rows.is_empty() && rows.iter().all(|(_, verdict)| *verdict == "PASS"),
                "{topology} {check} {json:#}"
            );
        }
        if *topology == "veth" || *topology == "bridge" {
            let checks = json["checks"].as_array().expect("checks");
            let state = checks.iter().find(|check| check["check"] == "state").expect("it is there");
            let said = state["evidence"].as_str().expect("a text");
            // Without checksums a device cannot segment: nobody asked for that, and it came back.
            assert!(
                said.contains("tx-checksum-ip-generic off made") && said.contains("tx-tcp-segmentation off"),
                "{said}"
            );
        }
        let tso = verdicts(&json, "tso");
        // In force at a macvlan, and not to be switched there.
        let expected = if *topology == "macvlan" { "SKIP" } else { "PASS" };
        assert!(tso.iter().any(|(_, verdict)| *verdict == expected), "{topology}: {json:#}");
        // The router of one of them has addresses of its own, so that there is local traffic to compare with.
        let forwarded = verdicts(&json, "forwarded");
        assert_eq!(forwarded.len(), if *topology == "routed" { 2 } else { 0 }, "{topology}: {json:#}");
        assert!(!forwarded.iter().any(|(_, verdict)| ["CORRUPT", "DROP", "LEAK"].contains(verdict)), "{json:#}");
        let tags = "48 tagged frames came with their tags (802.1Q, 802.1Q with DEI, 802.1ad, 802.1ad around 802.1Q)";
        assert!(["routed", "macvlan"].contains(topology) || json.to_string().contains(tags), "{topology}: {json:#}");
        for check in ["tx-checksum-edges", "rx-checksum-edges", "uso-edges"] {
            let rows = verdicts(&json, check);
            assert!(rows.len() == 2 && rows.iter().all(|(_, verdict)| *verdict == "PASS"), "{topology}: {json:#}");
        }
        let marks = verdicts(&json, "tunnel-ecn");
        assert_eq!(marks.len(), if *topology == "vxlan-kernel" { 2 } else { 0 }, "{topology}: {json:#}");
        assert!(marks.iter().all(|(_, verdict)| *verdict == "PASS"), "{topology}: {json:#}");
        if *topology == "vxlan-kernel" {
            // No device of the kernel's own cuts in parts.
            let parts = verdicts(&json, "tunnel-gso-partial");
            assert!(!parts.is_empty() && parts.iter().all(|(_, verdict)| *verdict == "SKIP"), "{json:#}");
            assert!(json.to_string().contains("the device has no tx-gso-partial"), "{json:#}");
            // Within the tunnel, under an outer header that is right.
            assert!(json.to_string().contains("IPv4 with a wrong UDP checksum (Udp.InCsumErrors)"), "{json:#}");
        }
        for check in ["mtu", "integrity", "rx-verification", "merge-rules", "merge-rules-udp"] {
            let is_it = |row: &&serde_json::Value, path: &str| row["check"] == check && row["path"] == path;
            let rows = json["checks"].as_array().expect("checks");
            for path in ["client -> server", "server -> client"] {
                assert!(rows.iter().any(|row| is_it(&row, path)), "{topology}: {check} {path}: {json:#}");
            }
        }
        let seconds = json["elapsed_s"].as_f64().expect("a time");
        eprintln!("{topology}: {} checks in {seconds:.1} s", json["checks"].as_array().map_or(0, Vec::len));
    }
    assert!(lab.namespaces().is_empty());
}

/// Packets of the declared MTU vanish at a port without a word or a counter; on their way back a veth drops and counts them.
#[test]
fn a_port_of_a_bridge_that_is_smaller_is_a_black_hole() {
    let Some(lab) = Lab::new("offload-mtu") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    lab.sh_in("nb-bridge-fabric", "ip link set server-0 mtu 1500");
    let done = lab.netbench(&["offload", "verify", "bridge", "--only", "rss"]).exits(3).says("BLACKHOLE");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
    let json = record(&lab.netbench(&["offload", "verify", "bridge", "--only", "rss", "--json"]).exits(3));
    let rows = json["checks"].as_array().expect("checks").iter();
    let rows: Vec<&serde_json::Value> = rows.filter(|row| row["check"] == "mtu").collect();
    let evidence = |row: &serde_json::Value| row["evidence"].as_str().unwrap_or_default().to_owned();
    let [there, back] = rows[..] else { panic!("{json:#}") };
    assert_eq!((&there["verdict"], &there["path"]), (&"BLACKHOLE".into(), &"client -> server".into()), "{json:#}");
    assert_eq!(there["device"], "fabric/server-0", "{json:#}");
    assert!(evidence(there).contains("vanish at the port fabric/server-0 (MTU 1500)"), "{json:#}");
    // With br_netfilter the bridge counts it, without it nobody does.
    let counted = ["no counter says so", "fabric counted 24 packets that it could not forward (FragFails)"];
    assert!(counted.iter().any(|text| evidence(there).contains(text)), "{json:#}");
    assert_eq!(there["cure"], "in fabric: `ip link set server-0 mtu 9000`", "{json:#}");
    assert_eq!((&back["verdict"], &back["path"]), (&"BLACKHOLE".into(), &"server -> client".into()), "{json:#}");
    assert!(evidence(back).contains("server/eth0 counted 24 drops"), "{json:#}");
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

/// The hosts of two bridges have an interface of their own on them: theirs is the local traffic.
#[test]
fn what_a_host_forwards_by_its_bridge_is_held_against_its_own_traffic() {
    let Some(lab) = Lab::new("offload-host") else { return };
    let text = "name = \"t\"\n[host.a]\n[host.b]\n[node.client]\nhost = \"a\"\n[node.server]\nhost = \"b\"\n\
                [switch.left]\nkind = \"bridge\"\nhost = \"a\"\nports = [\"client\", \"a\"]\n\
                [switch.right]\nkind = \"bridge\"\nhost = \"b\"\nports = [\"server\", \"b\"]\n\
                [[link]]\nends = [\"left\", \"right\"]\n[[flow]]\nfrom = \"client\"\nto = \"server\"\n";
    let file = lab.file("host.toml", text);
    let json = record(&verified(&lab, &[&file, "--only", "forwarded", "--json"]));
    let rows = json["checks"].as_array().expect("checks").iter().filter(|row| row["check"] == "forwarded");
    let said: Vec<&str> = rows.filter_map(|row| row["evidence"].as_str()).collect();
    assert_eq!(said.len(), 2, "{json:#}");
    for part in ["client -> a ", "a -> server ", "client -> b ", "b -> server "] {
        assert!(said[0].starts_with("forwarded and local traffic are right") && said[0].contains(part), "{json:#}");
    }
}

/// A router says which packets are too large for its next link; where its word is lost on the way, its counter tells.
#[test]
fn a_router_refuses_what_is_larger_or_counts_it() {
    let Some(lab) = Lab::new("offload-icmp") else { return };
    let text = "name = \"small\"\n[node.client]\nroutes = [\"default via router\"]\n[node.router]\nforward = true\n\
                [node.server]\nroutes = [\"default via router\"]\n\
                [[link]]\nends = [\"client\", \"router:west\"]\nmtu = 9000\n\
                [[link]]\nends = [\"router:east\", \"server\"]\nmtu = 1500\n[[flow]]\nfrom = \"client\"\nto = \"server\"\n";
    let file = lab.file("small.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    let evidence = || {
        let json = record(&verified(&lab, &[&file, "--only", "rss", "--json"]));
        let rows = json["checks"].as_array().expect("checks");
        let row = rows.iter().find(|row| row["check"] == "mtu" && row["path"] == "client -> server");
        let row = row.unwrap_or_else(|| panic!("{json:#}"));
        assert_eq!(row["verdict"], "PASS", "{row:#}");
        row["evidence"].as_str().unwrap_or_default().to_owned()
    };
    let address = |node: &str, device: &str| {
        let shown = lab.json_in(&format!("nb-small-{node}"), &format!("ip -j -4 addr show dev {device}"));
        shown[0]["addr_info"][0]["local"].as_str().expect("an address").to_owned()
    };
    let said = evidence();
    let aloud = format!("1501, 1505, 1509 are refused by router/west ({}) (ICMP, MTU 1500)", address("router", "west"));
    assert!(said.contains("1491, 1499, 1500 bytes arrive") && said.contains(&aloud), "{said}");
    // What the router itself sends to the client is lost.
    let client = address("client", "eth0");
    lab.sh_in("nb-small-router", &format!("ip rule add iif lo to {client} blackhole pref 10"));
    let said = evidence();
    let counted = "1501, 1505, 1509 are dropped: of 24 packets router counted 24 packets that it could not forward";
    assert!(said.contains(counted), "{said}");
    lab.netbench(&["topo", "destroy", "small"]).ok();
}

#[test]
fn the_text_fits_a_terminal_and_works_without_root() {
    let Some(lab) = Lab::new("offload-text") else { return };
    let done = verified(&lab, &["veth", "--only", "tso"]).says("tso").says("integrity").says("PASS");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
    lab.netbench(&["offload", "verify", "veth", "--only", "tsoo"]).exits(2).says("there is no such check");
    let Some(done) = lab.netbench_as_user(&["offload", "verify", "veth", "--only", "tso"]) else { return };
    assert!(matches!(done.code, Some(0)), "{done}");
}

#[test]
fn killed_at_any_point_the_features_come_back() {
    let Some(lab) = Lab::with("offload-killed", &["ethtool"]) else { return };
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let before = features(&lab, "veth");
    assert!(before.contains("tcp-segmentation-offload"), "{before}");
    let mut changed = 0;
    for point in [1, 2, 3, 4, 6, 9, 13] {
        let at = point.to_string();
        let done = lab.netbench_with(("NETBENCH_CRASH_AT", &at), &["offload", "verify", "veth", "--only", "tso,gro"]);
        assert_eq!(done.signal, Some(9), "{done}");
        changed += usize::from(features(&lab, "veth") != before);
        // Each way back, by turns.
        match point % 3 {
            0 => drop(lab.netbench(&["offload", "restore", "veth"]).ok()),
            1 => drop(lab.netbench(&["topo", "apply", "veth"]).ok()),
            _ => drop(lab.netbench(&["offload", "verify", "veth", "--only", "tso6"])),
        }
        assert_eq!(features(&lab, "veth"), before, "killed at point {point}");
    }
    assert!(changed > 0, "some crash left something switched");
    lab.netbench(&["topo", "destroy", "veth"]).ok();
    assert!(lab.try_sh("test ! -e /run/netbench").code == Some(0), "no state is left");
}

#[test]
fn interrupted_everything_is_put_back() {
    let Some(lab) = Lab::with("offload-stopped", &["ethtool"]) else { return };
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let before = features(&lab, "veth");
    let running = lab.background(lab.netbench_command(&["offload", "verify", "veth"]));
    std::thread::sleep(std::time::Duration::from_millis(600));
    running.signal("-INT");
    let done = running.wait("offload verify, interrupted");
    assert!(matches!(done.code, Some(130 | 0)), "{done}");
    assert_eq!(features(&lab, "veth"), before);
    lab.netbench(&["topo", "destroy", "veth"]).ok();
}

/// While segments are on their way that may be merged and must not be, the receiving device waits for more: the kernel's own
/// merging follows the table of rules to the letter. It merges all that may be merged, which shows that the check sees
/// merges, and nothing else. Switched off, nothing is merged and nothing is proved.
#[test]
fn the_kernel_merges_by_the_rules() {
    let Some(lab) = Lab::with("offload-rules", &["ethtool"]) else { return };
    let text =
        "name = \"rules\"\nipv6 = true\n[node.client]\n[node.server]\n[[link]]\nends = [\"client\", \"server\"]\n";
    let file = lab.file("rules.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    let before = features(&lab, "rules");
    let mut said = String::new();
    let all = lab::eventually(std::time::Duration::from_secs(30), || {
        let json = record(&lab.netbench(&["offload", "verify", &file, "--only", "gro", "--json"]));
        let row = |check: &str| {
            let rows = json["checks"].as_array().into_iter().flatten();
            let is_it = |row: &&serde_json::Value| {
                row["check"] == check && (row["device"].is_null() || row["device"] == "server/eth0")
            };
            let row = rows.into_iter().find(is_it).unwrap_or_else(|| panic!("no {check}: {json:#}"));
            (row["verdict"].as_str().unwrap_or_default(), row["evidence"].as_str().unwrap_or_default())
        };
        let (verdict, evidence) = row("merge-rules");
        assert_eq!(verdict, "SKIP", "a veth merges nothing as it is: {json:#}");
        assert!(evidence.starts_with("nothing is merged on this path as it is: "), "{evidence}");
        let (verdict, evidence) = row("gro");
        assert_eq!(verdict, "PASS", "{json:#}");
        said = evidence.to_owned();
        let datagrams =
            "; of datagrams 16 rules kept by which packets stay apart; merged by 4 of 4 by which they may; ";
        said.starts_with("43 rules kept by which packets stay apart; merged by 13 of 13 by which they may")
            && said.contains(datagrams)
    });
    assert!(all, "{said}");
    assert_eq!(features(&lab, "rules"), before);
    lab.netbench(&["topo", "destroy", "rules"]).ok();
}

/// Trains of datagrams that ports of a bridge put together come out as they were sent; merges are seen, and nothing is left switched.
#[test]
fn datagrams_that_ports_put_together_come_out_as_they_were_sent() {
    let Some(lab) = Lab::with("offload-trains", &["ethtool"]) else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    let before = features(&lab, "bridge");
    let mut said = String::new();
    let merged = lab::eventually(std::time::Duration::from_secs(60), || {
        let only = "udp-gro-forwarding,gro-list";
        let json = record(&verified(&lab, &["bridge", "--only", only, "--json"]));
        let rows = json["checks"].as_array().expect("checks").iter();
        let of = |row: &&serde_json::Value| only.split(',').any(|name| row["check"] == name);
        let rows: Vec<&serde_json::Value> = rows.filter(of).collect();
        let devices: Vec<&str> = rows.iter().filter_map(|row| row["device"].as_str()).collect();
        // Not of the ends, where packets are not passed on.
        assert_eq!(devices, ["fabric/client-0", "fabric/client-0", "fabric/server-0", "fabric/server-0"], "{json:#}");
        said = format!("{rows:#?}");
        rows.iter().all(|row| {
            let text = row["evidence"].as_str().unwrap_or_default();
            row["verdict"] == "PASS" && text.contains("packets merged on arrival with it on, 0 with it off; ")
        })
    });
    assert!(merged, "{said}");
    assert_eq!(features(&lab, "bridge"), before);
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

/// Cut by the kernel, the same bytes cost both ends several times the CPU time: even a busy machine shows it, since threads are
/// charged for what they do themselves. A veth has no receive-side scaling, and that is said.
#[test]
fn what_segmentation_saves_is_stated_with_its_interval() {
    let Some(lab) = Lab::new("offload-cpu") else { return };
    let mut said = String::new();
    let stated = lab::eventually(std::time::Duration::from_secs(30), || {
        let json = record(&lab.netbench(&["offload", "verify", "veth", "--only", "tso", "--json"]).ok());
        said = format!("{json:#}");
        let rows = json["checks"].as_array().expect("checks");
        let row = rows.iter().find(|row| row["check"] == "tso-cpu" && row["device"] == "client/eth0");
        let row = row.unwrap_or_else(|| panic!("no tso-cpu: {said}"));
        let evidence = row["evidence"].as_str().unwrap_or_default();
        row["verdict"] == "PASS" && evidence.starts_with("saves ") && evidence.contains(" % of CPU time (95 %: ")
    });
    assert!(stated, "{said}");
    // A bundle of datagrams costs less than each by itself. Checksums are a matter of a few percent: stated, whichever way.
    let stated = lab::eventually(std::time::Duration::from_secs(30), || {
        let json = record(&verified(&lab, &["veth", "--only", "tx-checksum,uso", "--json"]));
        said = format!("{json:#}");
        let rows = json["checks"].as_array().expect("checks");
        let is_it = |row: &&serde_json::Value, check: &str| row["check"] == check && row["device"] == "client/eth0";
        let row =
            |check: &str| rows.iter().find(|row| is_it(row, check)).unwrap_or_else(|| panic!("no {check}: {said}"));
        let sums = row("tx-checksum-cpu")["evidence"].as_str().unwrap_or_default();
        assert!(
            sums.contains("with it off, with tx-tcp-segmentation, tx-tcp6-segmentation off; 6 rounds each"),
            "{said}"
        );
        row("uso-cpu")["verdict"] == "PASS"
    });
    assert!(stated, "{said}");
    let json = record(&lab.netbench(&["offload", "verify", "veth", "--only", "rss", "--json"]).ok());
    assert_eq!(verdicts(&json, "rss"), [("server/eth0", "SKIP"), ("client/eth0", "SKIP")], "{json:#}");
    assert!(json.to_string().contains("the device has no receive-side scaling"), "{json:#}");
}

/// A topology with VXLAN over one family, IPv4 and IPv6 within, and outer checksums or none.
fn vxlan(outer: &str, sums: &str) -> String {
    format!(
        "name = \"t\"\nipv6 = true\nmtu = 1600\n[host.a]\n[host.b]\n[node.client]\nhost = \"a\"\n[node.server]\nhost = \"b\"\n\
         [switch.left]\nkind = \"bridge\"\nhost = \"a\"\nports = [\"client\"]\n\
         [switch.right]\nkind = \"bridge\"\nhost = \"b\"\nports = [\"server\"]\n\
         [[link]]\nends = {outer}\n\
         [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n{sums}\n"
    )
}

/// VXLAN of the kernel over IPv4 and IPv6, both families within, with outer checksums and without: cut, summed and taken out
/// rightly, and the evidence says which of them it was.
#[test]
fn vxlan_of_the_kernel_is_right_in_each_cell_of_the_matrix() {
    let Some(lab) = Lab::new("offload-vxlan") else { return };
    let four = r#"["a:wire", "b:wire"]"#;
    let six = r#"[{ at = "a:wire", address = "fd00:9::1/64" }, { at = "b:wire", address = "fd00:9::2/64" }]"#;
    for (outer, sums, text) in [
        (four, "udp_checksum = false", "over IPv4 without outer checksums"),
        (four, "udp_checksum = true", "over IPv4 with outer checksums"),
        (six, "udp6_zero_checksum = true", "over IPv6 without outer checksums"),
        (six, "udp6_zero_checksum = false", "over IPv6 with outer checksums"),
    ] {
        let file = lab.file("vxlan.toml", &vxlan(outer, sums));
        let only = "tunnel-tso,tunnel-tso6,tunnel-uso,tunnel-rx,tx-checksum";
        let json = record(&verified(&lab, &[&file, "--only", only, "--json"]));
        let rows = json["checks"].as_array().expect("checks");
        for check in ["tunnel-tso", "tunnel-tso6", "tunnel-uso", "tx-checksum"] {
            let is_it = |row: &&serde_json::Value| row["check"] == check && row["device"] == "a/wire";
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("{text}: no {check}: {json:#}"));
            assert_eq!(row["verdict"], "PASS", "{text}: {json:#}");
            assert!(row["evidence"].as_str().is_some_and(|evidence| evidence.contains(text)), "{text}: {row:#}");
        }
        let integrity = verdicts(&json, "integrity");
        assert!(integrity.iter().all(|(_, verdict)| *verdict == "PASS"), "{text}: {json:#}");
    }
}

const OVS: &str = r#"
name = "leak"
[node.client]
[node.server]
[switch.br1]
kind = "ovs"
tso = false
ports = ["client", "server"]
"#;

/// Open vSwitch in user space without `userspace-tso-enable` passes on what a veth left to its device.
#[test]
fn open_vswitch_in_user_space_that_leaks_partial_checksums_is_named_with_its_cure() {
    let Some(lab) = Lab::with("offload-ovs", &["ethtool", "ovs-vswitchd", "ovsdb-server"]) else { return };
    let file = lab.file("leak.toml", OVS);
    let done = lab.netbench(&["topo", "apply", &file]);
    assert_eq!(done.code, Some(0), "{done}");
    for node in ["client", "server"] {
        lab.sh_in(&format!("nb-leak-{node}"), "ethtool -K eth0 tx on");
    }
    let done = lab.netbench(&["offload", "verify", &file, "--only", "tx-checksum"]).exits(3);
    let done = done.says("LEAK").says("userspace-tso-enable=true");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
    let json = record(&lab.netbench(&["offload", "verify", &file, "--only", "tx-checksum", "--json"]).exits(3));
    assert_eq!(verdicts(&json, "integrity")[0].1, "LEAK", "{json:#}");
    assert!(json.to_string().contains("partial checksum leaked"), "{json:#}");
    // It keeps tags, priority and order, and not DEI: that is the switch's, and no fault of a device.
    let tags = json["checks"].as_array().expect("checks").iter().find(|row| row["check"] == "vlan").expect("a row");
    let text = tags["evidence"].as_str().unwrap_or_default();
    assert!(tags["verdict"] == "PASS" && text.contains("which Open vSwitch in user space does not keep"), "{tags:#}");

    // The search finds both ends' checksums, and nothing else.
    let done = lab.netbench(&["offload", "bisect", &file, "--goal", "goodput>20M"]);
    let done = done.exits(3).says("confirmed by A/B").says("ethtool -K eth0").says("TransmitChecksumOffload=no");
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{done}");
    let json = lab.netbench(&["offload", "bisect", &file, "--goal", "goodput>20M", "--json"]).exits(3).json();
    if let Err(error) = schema::conforms("offload-bisect", &json) {
        panic!("{error}");
    }
    let trials = json["trials"].as_array().map_or(0, Vec::len);
    // About 30 where nothing disturbs; one that a busy machine spoils is measured again.
    assert!(trials < 100, "each of {trials} measurements waits half a second where nothing passes");
    let culprits: Vec<&str> =
        json["culprits"].as_array().expect("culprits").iter().filter_map(|c| c.as_str()).collect();
    assert_eq!(culprits, ["client/eth0 tx-checksum-ip-generic off", "server/eth0 tx-checksum-ip-generic off"]);
    lab.netbench(&["topo", "destroy", "leak"]).ok();
}

/// What the shipped topology `ovs` does with Open vSwitch 3.1, which nobody made: bundles of datagrams are lost, and super-packets leave
/// with segments of the port's MTU, not of the sender's size.
#[test]
fn open_vswitch_with_segmentation_in_user_space_is_seen_to_cut_by_its_own_mtu() {
    let Some(lab) = Lab::with("offload-ovs-tso", &["ovs-vswitchd", "ovsdb-server"]) else { return };
    if !lab.sh("ovs-vswitchd --version").contains(" 3.1.") {
        return lab::skip("another version of Open vSwitch than 3.1: it is not known what it does");
    }
    let json = record(&lab.netbench(&["offload", "verify", "ovs", "--only", "uso", "--json"]).exits(3));
    let checks = json["checks"].as_array().expect("checks");
    let paths: Vec<&serde_json::Value> = checks.iter().filter(|row| row["check"] == "integrity").collect();
    assert_eq!(paths.len(), 2, "{json:#}");
    for row in paths {
        let text = row["evidence"].as_str().unwrap_or_default();
        assert!(row["verdict"] == "CORRUPT" && text.contains("packets merged that must stay apart"), "{row:#}");
        assert!(text.contains("sent as 1000") && text.contains("between fabric/"), "{row:#}");
    }
    for node in ["client/eth0", "server/eth0"] {
        let row = checks.iter().find(|row| row["check"] == "uso" && row["device"] == node).expect("a row");
        assert_eq!(row["verdict"], "DROP", "{row:#}");
        assert!(row["cure"].as_str().is_some_and(|cure| cure.contains("tx-udp-segmentation off")), "{row:#}");
    }
}

/// It forgets into how many datagrams a bundle is to be cut: what fits the MTU arrives as one, all else is dropped. With the cure
/// that is named all arrive as they were sent.
#[test]
fn open_vswitch_in_user_space_that_forgets_where_to_cut_bundles_is_named_with_its_cure() {
    let Some(lab) = Lab::with("offload-ovs-uso", &["ethtool", "ovs-vswitchd", "ovsdb-server"]) else { return };
    if !lab.sh("ovs-vswitchd --version").contains(" 3.1.") {
        return lab::skip("another version of Open vSwitch than 3.1: it is not known what it does");
    }
    lab.netbench(&["topo", "apply", "ovs"]).ok();
    let verified = || lab.netbench(&["offload", "verify", "ovs", "--only", "uso-edges", "--json"]);
    let rows = |done: &Done| {
        let json = record(done);
        let all = json["checks"].as_array().expect("checks").iter();
        all.filter(|row| row["check"] == "uso-edges").cloned().collect::<Vec<serde_json::Value>>()
    };
    let bad = rows(&verified().exits(3));
    assert_eq!(bad.len(), 2, "{bad:#?}");
    for (row, node) in bad.iter().zip(["client", "server"]) {
        let text = row["evidence"].as_str().unwrap_or_default();
        assert!(row["verdict"] == "CORRUPT" && text.contains("packets merged that must stay apart"), "{row:#}");
        assert!(text.contains("datagram 1 of 64 came with 64 bytes, 1 were sent"), "{row:#}");
        assert!(text.contains("first seen between fabric/"), "{row:#}");
        let cure = row["cure"].as_str().unwrap_or_default();
        assert!(cure.starts_with("Open vSwitch in user space forgets where to cut bundles"), "{row:#}");
        let line = format!("in {node}: `ethtool -K eth0 tx-udp-segmentation off`");
        assert!(cure.ends_with(&line), "{row:#}");
        lab.sh_in(&format!("nb-ovs-{node}"), "ethtool -K eth0 tx-udp-segmentation off");
    }
    let good = rows(&verified());
    assert!(good.len() == 2 && good.iter().all(|row| row["verdict"] == "PASS"), "{good:#?}");
    lab.netbench(&["topo", "destroy", "ovs"]).ok();
}

/// The kernel's GRO passes the last segment of what a packet socket sent ahead of the others: only where it is the kernel that
/// cuts behind Open vSwitch's port, which only the check itself has it do, or somebody who switched TSO off there.
#[test]
fn segments_that_gro_passes_ahead_behind_a_user_space_switch_are_explained() {
    let Some(lab) = Lab::with("offload-ovs-gro", &["ovs-vswitchd", "ovsdb-server"]) else { return };
    if !lab.sh("ovs-vswitchd --version").contains(" 3.1.") {
        return lab::skip("another version of Open vSwitch than 3.1: it is not known what it does");
    }
    let rows = || {
        let json = record(&lab.netbench(&["offload", "verify", "ovs", "--only", "gro", "--json"]).exits(3));
        let rows = json["checks"].as_array().expect("checks").clone();
        ["client/eth0", "server/eth0"]
            .map(|node| rows.iter().find(|row| row["check"] == "gro" && row["device"] == node).expect("a row").clone())
    };
    lab.netbench(&["topo", "apply", "ovs"]).ok();
    for row in rows() {
        let text = row["evidence"].as_str().unwrap_or_default();
        assert!(row["verdict"] == "INCONCLUSIVE" && text.contains("segments reordered"), "{row:#}");
        assert!(text.contains("packet socket") && text.contains("not so on the path as it is"), "{row:#}");
        assert!(row["cure"].as_str().is_some_and(|cure| cure.contains("tx-tcp-segmentation on")), "{row:#}");
    }
    // As somebody has it who switched it off.
    lab.sh_in("nb-ovs-fabric", "ethtool -K client-0 tso off; ethtool -K server-0 tso off");
    for row in rows() {
        let text = row["evidence"].as_str().unwrap_or_default();
        assert!(row["verdict"] == "CORRUPT" && text.contains("segments reordered"), "{row:#}");
        assert!(text.contains("packet socket"), "{row:#}");
        assert!(row["cure"].as_str().is_some_and(|cure| cure.contains("-0 tso on")), "{row:#}");
    }
    lab.netbench(&["topo", "destroy", "ovs"]).ok();
}

/// A feature that no probe can show stands in the table all the same, and the row says why.
#[test]
fn what_cannot_be_tried_is_said_with_its_reason() {
    let Some(lab) = Lab::with("offload-untried", &["ethtool"]) else { return };
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let known = lab.sh_in("nb-veth-client", "ethtool -k eth0");
    let json = record(&verified(&lab, &["veth", "--only", "tso-accecn,ntuple", "--json"]));
    lab.netbench(&["topo", "destroy", "veth"]).ok();
    let has = |feature: &str| known.lines().any(|line| line.contains(feature) && !line.contains("off [fixed]"));
    let both = [("client/eth0", "SKIP"), ("server/eth0", "SKIP")];
    let expected = |feature: &str| if has(feature) { &both[..] } else { &[] };
    assert_eq!(verdicts(&json, "tso-accecn"), expected("tx-tcp-accecn-segmentation"), "{json:#}");
    assert_eq!(verdicts(&json, "ntuple"), expected("ntuple-filters"), "{json:#}");
    let why = "only the kernel's own TCP with accurate ECN (tcp_ecn=3) makes such super-packets";
    assert_eq!(json.to_string().contains(why), has("tx-tcp-accecn-segmentation"), "{json:#}");
}

/// An association of the kernel's own leaves its CRC32c to devices; where there is no SCTP that is said, once.
#[test]
fn checksums_of_sctp_are_left_to_devices_or_it_is_said_that_there_is_no_sctp() {
    let Some(lab) = Lab::new("offload-sctp") else { return };
    if std::env::var_os("VMLAB").is_some() {
        lab.sh("modprobe sctp");
    }
    let json = record(&lab.netbench(&["offload", "verify", "veth", "--only", "tx-checksum-sctp", "--json"]).ok());
    let rows: Vec<&serde_json::Value> =
        json["checks"].as_array().expect("checks").iter().filter(|row| row["check"] == "tx-checksum-sctp").collect();
    if rows[0]["verdict"] == "SKIP" {
        assert!(
            rows.len() == 1 && rows[0]["evidence"].as_str().is_some_and(|text| text.contains("modprobe sctp")),
            "{json:#}"
        );
        return lab::skip_to_lab("the kernel has no SCTP");
    }
    let mut devices: Vec<&str> = rows.iter().filter_map(|row| row["device"].as_str()).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["client/eth0", "server/eth0"], "{json:#}");
    for row in rows {
        let text = row["evidence"].as_str().unwrap_or_default();
        assert!(row["verdict"] == "PASS" && text.contains("checksums left to it"), "{row:#}");
        // 24 messages of 40 bytes, and 37 more each.
        assert!(text.ends_with("11172 bytes of SCTP right"), "{row:#}");
    }
}

#[test]
fn a_path_that_meets_the_goal_has_nothing_to_find() {
    let Some(lab) = Lab::new("offload-bisect") else { return };
    lab.netbench(&["offload", "bisect", "veth", "--goal", "goodput>1M"]).ok().says("there is nothing to find");
    let done = lab.netbench(&["offload", "bisect", "veth", "--goal", "5G"]);
    done.exits(2).says("goodput>5G");
}
