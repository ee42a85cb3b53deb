//! What the language says of Open vSwitch beyond ports: static flows, QoS, tunnels over IPv6. `ovs-ofctl` and `tc` are the oracle.

mod host_switch;
mod lab;

use lab::Lab;

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "tc"];

fn ofctl(lab: &Lab, folder: &str, bridge: &str, words: &str) -> String {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    lab.sh(&format!("ovs-ofctl -O OpenFlow13 --names {verb} unix:/run/netbench/{folder}/{bridge}.mgmt {rest}"))
}

const FLOWS: &str = r#"
name = "f"
[node.a]
[node.b]
[node.c]
[switch.s]
kind = "ovs"
fail_mode = "secure"
ports = ["a", "b", "c"]
flows = [
  { in_port = "a", output = "b" },
  { in_port = "b", eth_dst = "a", output = "a" },
  { priority = 40000, in_port = "a", eth_type = "ipv6", output = "drop" },
  { priority = 7, in_port = "c", eth_type = "arp", output = "normal" },
]
"#;

#[test]
fn flows_forward_what_they_say_and_nothing_else() {
    let Some(lab) = Lab::with("ovs-static", PROGRAMS) else { return };
    let before = lab.settled();
    let file = lab.file("f.toml", FLOWS);
    // `b` answers a broadcast of `a` to `a` alone, so that the declared path is proved through the flows.
    lab.netbench(&["topo", "apply", &file]).ok().says("MTU 1500 proved a");
    let dump = ofctl(&lab, "f/ovs-fabric", "s", "dump-flows");
    for line in [
        "in_port=\"a-0\" actions=output:\"b-0\"",
        "priority=40000,ipv6,in_port=\"a-0\" actions=drop",
        "priority=7,arp,in_port=\"c-0\" actions=NORMAL",
    ] {
        assert!(dump.contains(line), "{line} in\n{dump}");
    }
    assert!(dump.contains("actions=output:\"a-0\""), "{dump}");
    lab.netbench(&["topo", "verify", &file]).ok();
    let asked = |from: &str, to: &str| {
        let send = format!("(echo x >/dev/udp/{to}/9) 2>/dev/null; sleep 0.3; ip neigh show {to}");
        lab.sh(&format!("ip netns exec nb-f-{from} bash -c '{send}'"))
    };
    assert!(asked("a", "198.18.0.2").contains("lladdr"), "a reaches b");
    assert!(!asked("c", "198.18.0.1").contains("lladdr"), "no flow lets an answer out to c");

    let deleted = "del-flows --strict 'priority=40000,ipv6,in_port=a-0'";
    ofctl(&lab, "f/ovs-fabric", "s", deleted);
    let missing = "bridge s: flow `priority=40000,in_port=a-0,dl_type=0x86dd actions=drop` is missing";
    lab.netbench(&["topo", "verify", &file]).exits(1).says(missing);
    lab.netbench(&["topo", "apply", &file]).ok();
    assert!(ofctl(&lab, "f/ovs-fabric", "s", "dump-flows").contains("priority=40000"), "mended");

    // A flow of somebody else is neither seen as drift nor taken away.
    ofctl(&lab, "f/ovs-fabric", "s", "add-flow 'cookie=5,priority=9,in_port=c-0,actions=drop'");
    lab.netbench(&["topo", "verify", &file]).ok();
    let fewer = lab.file(
        "f.toml",
        &FLOWS.replace("  { priority = 7, in_port = \"c\", eth_type = \"arp\", output = \"normal\" },\n", ""),
    );
    lab.netbench(&["topo", "verify", &fewer]).exits(1).says("is not declared");
    lab.netbench(&["topo", "apply", &fewer]).ok();
    lab.netbench(&["topo", "destroy", "f"]).ok();
    lab.assert_as_before(&before, "destroy of a switch with flows");
}

#[test]
fn qos_is_a_queue_of_the_switch_and_a_ceiling() {
    let Some(lab) = Lab::with("ovs-qos", PROGRAMS) else { return };
    let before = lab.settled();
    let text = "name = \"q\"\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ovs\"\nports = [\"a\", { node = \"b\", qos = \"200mbit\" }]\n";
    let file = lab.file("q.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    let shown =
        lab.sh("ip netns exec nb-q-fabric tc -d qdisc show dev b-0; ip netns exec nb-q-fabric tc class show dev b-0");
    assert!(shown.contains("htb") && shown.contains("200Mbit"), "{shown}");
    lab.netbench(&["topo", "verify", &file]).ok();
    let args = ["run", &file, "--duration", "1s", "--rounds", "1", "--test", "tcp_stream", "--json"];
    let record = lab.netbench(&args).ok().json();
    let test = &record["flows"][0]["tests"][0];
    let ceiling = test["ceiling"].to_string();
    assert!(ceiling.contains("b-0"), "the ceiling is the switch's port: {test}");
    lab.netbench(&["topo", "destroy", "q"]).ok();

    // The same rate where a link ends in the switch: the switch keeps it, for it takes away what it did not make.
    let text = "name = \"q\"\n[node.a]\n[switch.s]\nkind = \"ovs\"\nports = [\"a\"]\n[node.b]\n[[link]]\nends = [{ at = \"s:up\", rate = \"300mbit\" }, \"b\"]\n";
    let file = lab.file("q.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    let shown = lab.sh("ip netns exec nb-q-fabric tc class show dev up");
    assert!(shown.contains("300Mbit"), "{shown}");
    lab.netbench(&["topo", "verify", &file]).ok();
    lab.netbench(&["topo", "destroy", "q"]).ok();
    lab.assert_as_before(&before, "destroy of switches with QoS");
}

/// The default is what is fastest, and `tso = false` works as well: TCP passes with either, and the plan says which it is.
#[test]
fn segmentation_offload_is_on_where_nothing_is_said_and_is_what_is_fast() {
    let Some(lab) = Lab::with("ovs-tso", &[PROGRAMS, &["ethtool"]].concat()) else { return };
    let before = lab.settled();
    let text = "name = \"NAME\"\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ovs\"\nports = [\"a\", \"b\"]\n";
    let files = [("on", ""), ("off", "tso = false\n")].map(|(name, key)| {
        lab.file(&format!("{name}.toml"), &text.replace("NAME", name).replace("ports", &format!("{key}ports")))
    });
    for (file, name, is_on) in [(&files[0], "on", true), (&files[1], "off", false)] {
        let plan = lab.netbench(&["topo", "plan", file]).ok();
        assert_eq!(plan.text().contains("segmentation offload on"), is_on, "{plan}");
        lab.netbench(&["topo", "apply", file]).ok();
        let told = lab.sh(&format!(
            "ovs-vsctl --db=unix:/run/netbench/{name}/ovs-fabric/db.sock get Open_vSwitch . other_config:userspace-tso-enable"
        ));
        assert_eq!(told.trim().trim_matches('"'), is_on.to_string());
        let features = lab.sh_in(&format!("nb-{name}-a"), "ethtool -k eth0");
        let checksum = if is_on { "tx-checksumming: on" } else { "tx-checksumming: off" };
        assert!(features.contains(checksum), "{features}");
    }
    let rate = |file: &str| {
        let args =
            ["run", file, "--test", "tcp_stream", "--duration", "300ms", "--rounds", "1", "--no-store", "--json"];
        let record = lab.netbench(&args).ok().json();
        record["flows"][0]["tests"][0]["rounds"][0]["headline"]
            .as_f64()
            .unwrap_or_else(|| panic!("a rate in {record:#}"))
    };
    // In turn, so that what slows the machine slows both; it was ten times on an idle machine.
    let mut ratios: Vec<f64> = (0..5).map(|_| rate(&files[0]) / rate(&files[1])).collect();
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[2] > 1.5, "{ratios:?}");
    for name in ["on", "off"] {
        lab.netbench(&["topo", "destroy", name]).ok();
    }
    lab.assert_as_before(&before, "destroy");
}

#[test]
fn tunnels_over_ipv6() {
    let Some(lab) = Lab::with("ovs-six", PROGRAMS) else { return };
    let before = lab.settled();
    for (kind, mtu) in [("vxlan", "8930"), ("geneve", "8930"), ("gre", "8938")] {
        let text = format!(
            "name = \"six\"\nmtu = 9000\nipv6 = true\n[node.a]\n[node.b]\n[host.ha]\n[host.hb]\n[[link]]\n\
             ends = [{{ at = \"ha:wire\", address = \"fd12::1/64\" }}, {{ at = \"hb:wire\", address = \"fd12::2/64\" }}]\n\
             [switch.left]\nkind = \"ovs\"\nhost = \"ha\"\nports = [\"a\"]\n\
             [switch.right]\nkind = \"ovs\"\nhost = \"hb\"\nports = [\"b\"]\n\
             [[tunnel]]\nkind = \"{kind}\"\nvni = 42\nends = [\"left\", \"right\"]\n"
        );
        let file = lab.file("six.toml", &text);
        lab.netbench(&["topo", "apply", &file]).ok().says(&format!("MTU {mtu} proved a"));
        lab.netbench(&["topo", "verify", &file]).ok();
        let args = ["run", &file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"];
        let record = lab.netbench(&args).ok().json();
        assert!(record["flows"][0]["tests"][0].to_string().contains("\"proved\""), "{kind}: {record}");
        lab.netbench(&["topo", "destroy", "six"]).ok();
    }
    lab.assert_as_before(&before, "destroy of tunnels over IPv6");
}

const SYSTEM: &str = r#"
name = "y"
fabric = "host"
[node.a]
[node.b]
[switch.y1]
kind = "ovs"
ovs = "system"
ports = ["a", { node = "b", qos = "1gbit" }]
"#;

#[test]
fn the_hosts_own_switch_is_used_and_left_as_it_was() {
    let Some(lab) = Lab::with("ovs-system", PROGRAMS) else { return };
    let file = lab.file("y.toml", SYSTEM);
    lab.netbench(&["topo", "apply", &file]).exits(5).says("runs no Open vSwitch").says("systemctl start");
    host_switch::start(&lab, "");
    let rows = || {
        lab.sh("for t in Bridge Port Interface QoS Queue; do ovs-vsctl --db=unix:/run/openvswitch/db.sock --columns=name,external_ids list $t 2>/dev/null \
                || ovs-vsctl --db=unix:/run/openvswitch/db.sock --columns=external_ids list $t; done; ovs-vsctl --db=unix:/run/openvswitch/db.sock get open . other_config")
    };
    let (before, theirs) = (lab.settled(), rows());
    lab.netbench(&["topo", "plan", &file]).ok();
    lab.netbench(&["topo", "apply", &file]).ok().says("MTU 1500 proved a");
    assert!(lab.sh("ovs-vsctl --db=unix:/run/openvswitch/db.sock list-ports y1").contains("a-0"));
    lab.netbench(&["topo", "verify", &file]).ok();
    lab.sh("ovs-vsctl --db=unix:/run/openvswitch/db.sock del-port a-0");
    lab.netbench(&["topo", "verify", &file]).exits(1).says("port a-0 is missing");
    lab.netbench(&["topo", "apply", &file]).ok();
    let record = lab.netbench(&["run", &file, "--duration", "300ms", "--rounds", "1", "--json"]).ok().json();
    assert!(
        record["switches"][0]["version"].as_str().is_some_and(|version| version.contains("Open vSwitch")),
        "{record}"
    );
    lab.netbench(&["topo", "destroy", "y"]).ok();
    lab.assert_as_before(&before, "destroy of a bridge in the host's own switch");
    assert_eq!(rows(), theirs, "rows of others are as they were");

    // Killed in the middle, then collected; also when the journal is lost.
    for at in 1..200 {
        let done = lab.netbench_with(("NETBENCH_CRASH_AT", &at.to_string()), &["topo", "apply", &file]);
        if done.code == Some(0) {
            lab.sh("rm -r /run/netbench/y");
            lab.netbench(&["topo", "gc"]).ok();
        } else {
            lab.netbench(&["topo", "destroy", "y"]).ok();
        }
        lab.assert_as_before(&before, &format!("a crash at point {at}"));
        assert_eq!(rows(), theirs, "after a crash at point {at}");
        if done.code == Some(0) {
            assert!(at > 5, "there are crash points");
            break;
        }
    }

    // A bridge of the same name that is somebody else's.
    lab.sh("ovs-vsctl --db=unix:/run/openvswitch/db.sock add-br y1 -- set bridge y1 datapath_type=netdev");
    let done = lab.netbench(&["topo", "apply", &file]);
    assert_ne!(done.code, Some(0));
    done.says("y1");
    assert!(lab.sh("ovs-vsctl --db=unix:/run/openvswitch/db.sock list-br").contains("y1"));
    lab.netbench(&["topo", "destroy", "y"]);
    assert!(lab.sh("ovs-vsctl --db=unix:/run/openvswitch/db.sock list-br").contains("y1"), "not ours, not touched");

    let tso =
        lab.file("t.toml", &SYSTEM.replace("ovs = \"system\"", "ovs = \"system\"\ntso = true").replace("y1", "y2"));
    lab.netbench(&["topo", "apply", &tso]).exits(5).says("userspace-tso-enable=true");
    host_switch::stop(&lab);
}

#[test]
fn bonds_carry_on_when_a_member_fails_and_are_proved_as_one() {
    let Some(lab) = Lab::with("ovs-bond", PROGRAMS) else { return };
    let before = lab.settled();
    for mode in ["active-backup", "balance-slb", "balance-tcp"] {
        let text = format!(
            "name = \"o\"\n[node.a]\n[node.b]\n[switch.left]\nkind = \"ovs\"\nports = [\"a\"]\n\
             [switch.right]\nkind = \"ovs\"\nports = [\"b\"]\n\
             [[link]]\nends = [\"left\", \"right\"]\nbond = \"{mode}\"\nmembers = 3\n"
        );
        let file = lab.file("o.toml", &text);
        lab.netbench(&["topo", "apply", &file]).ok().says("MTU 1500 proved a");
        let control = "/run/netbench/o/ovs-fabric/ovs-vswitchd.ctl";
        let shown = lab.sh(&format!("ovs-appctl -t {control} bond/show"));
        assert!(shown.contains(&format!("bond_mode: {mode}")), "{shown}");
        assert_eq!(shown.matches("member w").count(), 6, "three members at both ends: {shown}");
        lab.netbench(&["topo", "verify", &file]).ok();
        let run =
            || lab.netbench(&["run", &file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"]);
        let record = run().ok().json();
        assert!(record["flows"][0]["tests"][0].to_string().contains("\"proved\""), "{mode}: {record}");

        lab.sh("ip -n nb-o-fabric link set w0 down");
        lab.netbench(&["topo", "verify", &file]).exits(1).says("w0");
        let args = ["run", &file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"];
        lab.netbench(&args).ok();
        lab.netbench(&["topo", "verify", &file]).ok();
        lab.netbench(&["topo", "destroy", "o"]).ok();
    }
    lab.assert_as_before(&before, "destroy of bonds");
}
