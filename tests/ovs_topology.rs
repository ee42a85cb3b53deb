//! Topologies with Open vSwitch through the program: made, proved, measured, damaged, repaired, removed.

mod lab;

use lab::{Lab, PATIENCE, eventually};

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl"];

/// The daemons of a lab's topologies that run, as `pid name`.
fn daemons(lab: &Lab, topology: &str) -> Vec<(String, String)> {
    // Defunct ones have no command line; those of other labs have their files elsewhere.
    let script = format!(
        "for f in /run/netbench/{topology}/ovs-*/*.pid; do [ -e \"$f\" ] && echo \"$(cat $f) $(basename $f .pid)\"; done; true"
    );
    let pair = |line: &str| line.split_once(' ').map(|(pid, name)| (pid.to_owned(), name.to_owned()));
    lab.sh(&script).lines().filter_map(pair).collect()
}

fn kill(lab: &Lab, topology: &str, program: &str, signal: &str) {
    let found = daemons(lab, topology);
    let (pid, _) = found.iter().find(|(_, name)| name == program).expect("it runs");
    lab.sh(&format!("kill {signal} {pid}"));
}

fn vsctl(lab: &Lab, folder: &str, arguments: &str) -> String {
    lab.sh(&format!("ovs-vsctl --timeout=10 --db=unix:/run/netbench/{folder}/db.sock {arguments}"))
}

#[test]
fn every_shipped_one_is_proved_measured_and_removed() {
    let Some(lab) = Lab::with("ovs-shipped", PROGRAMS) else { return };
    let before = lab.settled();
    for name in ["ovs", "vxlan", "ovs-vlan"] {
        let args = ["run", name, "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream,tcp_rr", "--json"];
        let record = lab.netbench(&args).ok().json();
        for flow in record["flows"].as_array().expect("flows") {
            for test in flow["tests"].as_array().expect("tests") {
                assert!(test.to_string().contains("\"proved\""), "{name}: {test}");
            }
        }
        if name == "vxlan" {
            tunnels_carried_the_transactions(&record);
        }
        lab.assert_as_before(&before, name);
    }
}

/// The switch counted packets both ways at both ends. (How many is its own business: its userspace datapath tells them to
/// the port when flows are looked at again, up to half a second later, and version 3.1 tells those that leave twice.)
fn tunnels_carried_the_transactions(record: &serde_json::Value) {
    for switch in 0..2 {
        let tunnel = &record["switches"][switch]["tunnels"][0];
        for key in ["tx_packets", "rx_packets", "tx_bytes", "rx_bytes"] {
            assert!(tunnel["counters"][key].as_u64() > Some(0), "{key} of {tunnel}");
        }
    }
}

#[test]
fn geneve_and_gre_take_their_share_of_the_mtu() {
    let Some(lab) = Lab::with("ovs-tunnels", PROGRAMS) else { return };
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/vxlan.toml")).expect("shipped");
    for (kind, mtu) in [("geneve", "8950"), ("gre", "8958")] {
        let file = lab.file("t.toml", &text.replace("kind = \"vxlan\"", &format!("kind = \"{kind}\"")));
        lab.netbench(&["topo", "apply", &file]).ok().says(&format!("MTU {mtu} proved"));
        let options = vsctl(&lab, "vxlan/ovs-a", &format!("--columns=options find interface type={kind}"));
        assert!(options.contains("key=\"42\""), "{options}");
        let name = vsctl(&lab, "vxlan/ovs-a", &format!("--bare --columns=name find interface type={kind}"));
        vsctl(&lab, "vxlan/ovs-a", &format!("set interface {} options:key=9", name.trim()));
        lab.netbench(&["topo", "verify", &file]).exits(1).says(&format!("tunnel is {kind} key 9"));
        lab.netbench(&["topo", "apply", &file]).ok().says(&format!("MTU {mtu} proved"));
        lab.netbench(&["topo", "verify", &file]).ok();
        lab.netbench(&["topo", "destroy", "vxlan"]).ok();
    }
}

#[test]
fn a_row_that_somebody_changed_is_named_and_mended() {
    let Some(lab) = Lab::with("ovs-drift", PROGRAMS) else { return };
    lab.netbench(&["topo", "apply", "ovs-vlan"]).ok();
    vsctl(&lab, "ovs-vlan/ovs-fabric", "set port red-a-0 tag=300");
    lab.netbench(&["topo", "verify", "ovs-vlan"]).exits(1).says("port red-a-0: tag is 300, declared 100");
    lab.netbench(&["topo", "apply", "ovs-vlan"]).ok();
    assert_eq!(vsctl(&lab, "ovs-vlan/ovs-fabric", "get port red-a-0 tag").trim(), "100");
    vsctl(&lab, "ovs-vlan/ovs-fabric", "del-port blue-b-0 -- add-br theirs -- set bridge theirs datapath_type=netdev");
    lab.netbench(&["topo", "verify", "ovs-vlan"]).exits(1).says("port blue-b-0 is missing");
    lab.netbench(&["topo", "apply", "ovs-vlan"]).ok();
    assert!(vsctl(&lab, "ovs-vlan/ovs-fabric", "list-br").contains("theirs"), "not ours, not touched");
    lab.netbench(&["topo", "verify", "ovs-vlan"]).ok();
    lab.netbench(&["topo", "destroy", "ovs-vlan"]).ok();
}

/// Every column that netbench writes is read back: what somebody sets there is named, and set again.
#[test]
fn each_column_that_somebody_changed_is_named_and_mended() {
    let Some(lab) = Lab::with("ovs-columns", PROGRAMS) else { return };
    let before = lab.settled();
    let file = lab.file(
        "c.toml",
        "name = \"c\"\n[node.a]\n[node.b]\n[switch.left]\nkind = \"ovs\"\nports = [{ node = \"a\", qos = \"100mbit\" }]\n\
         [switch.right]\nkind = \"ovs\"\nports = [\"b\"]\n\
         [[link]]\nends = [\"left\", \"right\"]\nbond = \"active-backup\"\n",
    );
    lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    let vsctl = |arguments: &str| vsctl(&lab, "c/ovs-fabric", arguments);
    for (column, value, named) in [
        ("bridge left fail_mode", "secure", "bridge left: fail_mode is secure, declared standalone"),
        ("bridge left rstp_enable", "true", "bridge left: rstp is true, declared false"),
        ("bridge right stp_enable", "true", "bridge right: stp is true, declared false"),
        ("interface left mtu_request", "1400", "mtu is 1400, declared 1500"),
        ("interface a-0 mtu_request", "1400", "port a-0: mtu_request is 1400, declared 1500"),
        ("port a-0 qos", "[]", "port a-0: rate is none, declared 100mbit"),
        ("qos QOS other_config:max-rate", "5000000", "port a-0: rate is 5mbit, declared 100mbit"),
        ("port b-0 trunks", "5", "port b-0: trunks is [5], declared []"),
        ("port b-0 tag", "5", "port b-0: tag is 5, declared none"),
        ("port BOND bond_mode", "balance-slb", "bond mode is balance-slb, declared active-backup"),
    ] {
        let found = |table: &str, filter: &str| {
            let text = vsctl(&format!("--bare --columns=_uuid find {table} {filter}"));
            text.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let column =
            column.replace("QOS", &found("qos", "")).replace("BOND", &found("port", "bond_mode=active-backup"));
        vsctl(&format!(
            "set {} {}={value}",
            column.rsplit_once(' ').expect("a row").0,
            column.rsplit_once(' ').expect("a column").1
        ));
        lab.netbench(&["topo", "verify", &file]).exits(1).says(named);
        lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        lab.netbench(&["topo", "verify", &file]).ok();
    }
    lab.netbench(&["topo", "destroy", "c"]).ok();
    lab.assert_as_before(&before, "destroy");
}

#[test]
fn vlans_are_tried_with_frames_and_a_leak_is_a_finding() {
    let Some(lab) = Lab::with("ovs-leak", PROGRAMS) else { return };
    lab.netbench(&["topo", "apply", "ovs-vlan"]).ok();
    let proved = lab.netbench(&["topo", "verify", "ovs-vlan", "--prove", "--json"]).ok().json();
    let settings = proved["settings"].as_array().expect("settings").clone();
    assert_eq!(settings.len(), 4, "{proved}");
    for setting in &settings {
        assert_eq!(setting["outcome"], "enforced", "{setting}");
        // What must arrive did, at the other end in the VLAN and nowhere else.
        let frames: Vec<u64> = (setting["probes"].as_array().expect("probes").iter())
            .map(|probe| probe["sent"].as_u64().unwrap_or(0))
            .collect();
        assert_eq!(frames, [10, 10, 10, 10], "{setting}");
    }
    // Every row is as declared, and yet one port's frames go to another VLAN as well.
    let bridge = "unix:/run/netbench/ovs-vlan/ovs-fabric/br1.mgmt";
    lab.sh(&format!("ovs-ofctl add-flow {bridge} 'priority=9,in_port=red-a-0,actions=output:blue-a-0,normal'"));
    lab.netbench(&["topo", "verify", "ovs-vlan"]).ok();
    let leak = lab.netbench(&["topo", "verify", "ovs-vlan", "--prove"]).exits(1);
    assert!(
        leak.stdout.contains(
            "red-a/eth0: vlan 100 accepted, NOT enforced: its frames leave the VLAN: 10 of 10 arrived at blue-a/eth0"
        ),
        "{leak}"
    );
    // The figure may be refused (4): a hop of the other flow counts as well.
    let done = lab.netbench(&["run", "ovs-vlan", "--duration", "300ms", "--rounds", "1", "--test", "tcp_rr", "--json"]);
    assert!(matches!(done.code, Some(0 | 4)), "{done}");
    let record = done.json();
    assert!(record["warnings"].to_string().contains("red-a/eth0: vlan 100 accepted, NOT enforced"), "{record}");
    assert_eq!(record["settings"][0]["outcome"], "not_enforced", "{record}");
    lab.netbench(&["topo", "destroy", "ovs-vlan"]).ok();
}

#[test]
fn an_edit_changes_the_switch_and_leaves_nothing_behind() {
    let Some(lab) = Lab::with("ovs-edit", PROGRAMS) else { return };
    let before = lab.settled();
    let text = "name = \"e\"\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ovs\"\nports = [\"a\", \"b\"]\n";
    for text in [
        text.to_owned(),
        text.replace("ports", "tso = false\nports"),
        text.replace("[node.b]", "[node.b]\n[node.c]").replace("\"b\"]", "\"b\", \"c\"]"),
        text.replace("\"ovs\"", "\"bridge\""),
        text.to_owned(),
        text.replace("name = \"e\"", "name = \"e\"\nmtu = 9000"),
    ] {
        let file = lab.file("e.toml", &text);
        lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        lab.netbench(&["topo", "verify", &file]).ok();
    }
    lab.netbench(&["topo", "destroy", "e"]).ok();
    lab.assert_as_before(&before, "edits, then destroy");
}

#[test]
fn daemons_that_die_are_named_and_started_again() {
    let Some(lab) = Lab::with("ovs-die", PROGRAMS) else { return };
    let before = lab.settled();
    lab.netbench(&["topo", "apply", "vxlan"]).ok();
    for program in ["ovs-vswitchd", "ovsdb-server"] {
        kill(&lab, "vxlan", program, "-KILL");
        let seen = eventually(PATIENCE, || lab.netbench(&["topo", "verify", "vxlan"]).code == Some(1));
        assert!(seen, "{program} is missed");
        lab.netbench(&["topo", "verify", "vxlan"]).exits(1).says("a: Open vSwitch does not run");
        lab.netbench(&["topo", "apply", "vxlan"]).ok().says("MTU 8950 proved");
    }
    lab.netbench(&["topo", "destroy", "vxlan"]).ok();
    lab.assert_as_before(&before, "destroy");
}

#[test]
fn daemons_of_a_killed_run_without_root_are_found_by_gc() {
    let Some(lab) = Lab::with("ovs-deserted", &[PROGRAMS, &["setpriv"]].concat()) else { return };
    // The path says which daemons are this test's: the run's own `/run` is out of sight.
    let state = format!("/run/deserted-{}", std::process::id());
    let as_user = |args: &[&str]| {
        let mut command =
            if lab.is_rootless() { std::process::Command::new(lab::NETBENCH) } else { lab.command("setpriv") };
        if !lab.is_rootless() {
            command.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--",
                "/mnt/netbench",
            ]);
        }
        command.args(args).env("NETBENCH_STATE_DIR", &state).env("NETBENCH_STORE", "").env("HOME", "/nonexistent");
        command
    };
    let daemons = || {
        lab.sh(&format!("grep -lsa -- --[p]idfile={state}/ /proc/[0-9]*/cmdline || true")).matches("cmdline").count()
    };
    let run = lab.background(as_user(&["run", "ovs", "--test", "tcp_rr", "--duration", "100s", "--rounds", "1"]));
    assert!(eventually(PATIENCE, || daemons() == 2), "it starts: {} run", daemons());
    // While it lives nobody ends them.
    let alive = lab.background(as_user(&["topo", "gc"])).wait("gc beside a living run");
    assert!(alive.code == Some(5) && daemons() == 2, "{alive}");
    run.signal("-KILL");
    run.wait("run ovs");
    let gc = || lab.background(as_user(&["topo", "gc"])).wait("gc");
    // Its workers end first, a moment later.
    let mut done = gc();
    eventually(PATIENCE, || {
        if done.code != Some(0) {
            done = gc();
        }
        done.code == Some(0)
    });
    done.ok().says("ended 2 daemons of Open vSwitch");
    assert_eq!(daemons(), 0);
}

#[test]
fn a_switch_killed_under_traffic_is_no_result_and_the_next_apply_mends_it() {
    let Some(lab) = Lab::with("ovs-under-traffic", PROGRAMS) else { return };
    let before = lab.settled();
    let args = ["run", "ovs", "--duration", "4s", "--rounds", "1", "--test", "tcp_stream", "--keep"];
    let run = lab.background(lab.netbench_command(&args));
    assert!(eventually(PATIENCE, || daemons(&lab, "ovs").len() == 2), "it starts");
    let busy = || {
        lab.sh("cat /sys/class/net/lo/statistics/rx_bytes; nsenter --net=/run/netns/nb-ovs-server cat /proc/net/dev")
    };
    let bytes = |text: String| {
        let line = text.lines().find(|line| line.contains("eth0:")).map(str::to_owned).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    assert!(eventually(PATIENCE, || bytes(busy()) > 10_000_000), "traffic runs");
    kill(&lab, "ovs", "ovs-vswitchd", "-KILL");
    let done = run.wait("run ovs");
    assert!(done.code != Some(0), "a switch that died is no result\n{done}");
    assert!(!done.stderr.contains("panicked at"), "{done}");
    lab.netbench(&["topo", "verify", "ovs"]).exits(1).says("Open vSwitch does not run");
    lab.netbench(&["topo", "apply", "ovs"]).ok().says("MTU 9000 proved");
    lab.netbench(&["topo", "destroy", "ovs"]).ok();
    lab.assert_as_before(&before, "destroy");
}

#[test]
fn a_switch_that_stands_still_is_given_up_and_rolled_back() {
    let Some(lab) = Lab::with("ovs-still", PROGRAMS) else { return };
    let before = lab.settled();
    let text = "name = \"e\"\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ovs\"\nports = [\"a\", \"b\"]\n";
    let file = lab.file("e.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    kill(&lab, "e", "ovs-vswitchd", "-STOP");
    lab.file("e.toml", &format!("{text}fail_mode = \"secure\"\n"));
    let done = lab.netbench(&["topo", "apply", &file]);
    assert!(done.code != Some(0), "{done}");
    done.says("did not carry out configuration");
    lab.netbench(&["topo", "destroy", "e"]).ok();
    lab.assert_as_before(&before, "destroy of a switch that stands still");
}

#[test]
fn without_open_vswitch_nothing_is_made_and_the_package_is_named() {
    let Some(lab) = Lab::with("ovs-absent", PROGRAMS) else { return };
    let before = lab.settled();
    lab.sh("mount --bind /dev/null \"$(readlink -f \"$(command -v ovs-vswitchd || echo /usr/sbin/ovs-vswitchd)\")\"");
    let done = lab.netbench(&["run", "ovs", "--duration", "300ms"]).exits(5);
    done.says("ovs-vswitchd is not installed").says("openvswitch-switch (Debian, Ubuntu)").says("openvswitch (Fedora)");
    lab.sh("umount \"$(readlink -f /usr/sbin/ovs-vswitchd)\"");
    lab.assert_as_before(&before, "a refused run");
}

#[test]
fn eleven_hundred_ports_on_one_switch() {
    let Some(lab) = Lab::with("ovs-scale", PROGRAMS) else { return };
    let before = lab.settled();
    lab.netbench(&["topo", "apply", "ovs-scale"]).ok().says("MTU 1500 proved c0");
    assert_eq!(vsctl(&lab, "ovs-scale/ovs-fabric", "list-ports br1").lines().count(), 1100);
    lab.netbench(&["topo", "destroy", "ovs-scale"]).ok();
    lab.assert_as_before(&before, "destroy of 1100 ports");
}
