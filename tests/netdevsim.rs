//! What the 82576 of the lab lacks, on the kernel's own simulated NIC (netdevsim): link state and least rate of functions,
//! the modes of an embedded switch with representors, and ethtool's parameters, on a device of the kernel with `ip`,
//! `devlink` and `ethtool` as oracles. Its functions have no interfaces, so no traffic goes through them.
//!
//! `scripts/vmlab test` builds the module for the kernel of the lab and runs these there.

mod lab;
mod schema;

use lab::{After, Lab, PATIENCE, eventually, skip_to_lab};
use serde_json::Value;

const DEVICE: &str = "netdevsim/netdevsim10";
const FOLDER: &str = "/sys/bus/netdevsim/devices/netdevsim10";

/// A world with one simulated NIC of one port, which is up; gone with it.
struct World {
    lab: Lab,
    port: String,
}

impl World {
    fn new(name: &str) -> Option<Self> {
        if std::env::var_os("VMLAB").is_none() {
            skip_to_lab("netdevsim is tried in the lab alone");
            return None;
        }
        let lab = Lab::on_the_machine(name)?;
        lab.sh("modprobe netdevsim; mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; echo '10 1' > /sys/bus/netdevsim/new_device");
        let port = lab.sh(&format!("ls {FOLDER}/net")).trim().to_owned();
        // As a device is that was in another namespace once: its carrier is on until then.
        lab.sh(&format!(
            "ip netns add away; ip link set {port} up; ip link set {port} netns away; ip -n away link set {port} netns 1
             ip netns del away; ip link set {port} up"
        ));
        Some(Self { lab, port })
    }

    /// A topology in which the NIC has this much of functions, and no node has one.
    fn file(&self, keys: &str) -> String {
        let text = format!(
            "name = \"t\"\n[nic.pf]\nifname = \"{}\"\n{keys}\n[switch.vf]\nkind = \"sriov\"\nnic = \"pf\"\nports = []\n",
            self.port
        );
        self.lab.file("t.toml", &text)
    }

    fn vfs(&self) -> Value {
        self.lab.json(&format!("ip -j link show dev {}", self.port))[0]["vfinfo_list"].clone()
    }

    fn mode(&self) -> String {
        let shown = self.lab.json(&format!("devlink -j dev eswitch show {DEVICE}"));
        shown["dev"][DEVICE]["mode"].as_str().expect("a mode").to_owned()
    }

    /// Interfaces that stand for functions, by the names of their ports.
    fn representors(&self) -> Vec<String> {
        let links = self.lab.json("ip -j -d link show");
        let ports = links.as_array().into_iter().flatten().filter_map(|link| link["phys_port_name"].as_str());
        ports.filter(|port| port.starts_with("pf")).map(str::to_owned).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lab.try_sh("/mnt/netbench topo destroy --all; /mnt/netbench topo gc");
        }
        self.lab.try_sh("for id in 10 11; do echo $id > /sys/bus/netdevsim/del_device || true; done");
    }
}

/// All settings that there are, of functions that somebody else made: each comes back by itself, link state and least rate too.
#[test]
fn every_setting_of_a_function_comes_back() {
    let Some(world) = World::new("netdevsim-settings") else { return };
    let (lab, port) = (&world.lab, &world.port);
    lab.sh(&format!(
        "echo 2 > {FOLDER}/sriov_numvfs
         ip link set {port} vf 0 mac 02:00:00:00:00:77 vlan 5 qos 3
         ip link set {port} vf 0 min_tx_rate 10 max_tx_rate 100
         ip link set {port} vf 0 spoofchk off; ip link set {port} vf 0 trust on; ip link set {port} vf 0 state disable
         ip link set {port} vf 1 spoofchk on; ip link set {port} vf 1 trust off; ip link set {port} vf 1 state enable"
    ));
    let (before, vfs) = (lab.settled(), world.vfs());
    assert_eq!((&vfs[0]["rate"]["min_tx"], &vfs[0]["link_state"]), (&10.into(), &"disable".into()), "{vfs}");
    lab.netbench(&["topo", "apply", &world.file("vfs = 3")]).exits(2).says("takeover = true");
    lab.netbench(&["topo", "apply", &world.file("vfs = 5\ntakeover = true")]).exits(2).says("can have 4");
    lab.assert_as_before(&before, "refused");
    let file = world.file("vfs = 3\ntakeover = true");
    lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!(world.vfs().as_array().map(Vec::len), Some(3));
    lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    lab.netbench(&["topo", "verify", &file]).ok();
    // This driver remembers settings of functions that are gone; others forget them.
    lab.sh(&format!(
        "ip link set {port} vf 0 mac 02:00:00:00:00:01 vlan 0; ip link set {port} vf 0 min_tx_rate 0 max_tx_rate 0
         for vf in 0 1; do ip link set {port} vf $vf state auto; done
         ip link set {port} vf 0 spoofchk on; ip link set {port} vf 0 trust off; ip link set {port} vf 1 spoofchk off"
    ));
    lab.netbench(&["topo", "destroy", "t"]).ok();
    assert_eq!(world.vfs(), vfs);
    lab.assert_as_before(&before, "destroy");
    // They have no interface that a node could have.
    let port = lab.file(
        "p.toml",
        &format!(
            "name = \"p\"\n[nic.pf]\nifname = \"{port}\"\n[node.a]\n[node.b]\n\
             [switch.vf]\nkind = \"sriov\"\nnic = \"pf\"\nports = [{{ node = \"a\", min_rate = \"10mbit\" }}, \"b\"]\n"
        ),
    );
    lab.netbench(&["topo", "apply", &port]).exits(2).says("no PCI functions");
    lab.assert_as_before(&before, "refused ports");
}

/// Settings that the 82576 lacks (link state, least rate), and all others, of functions that no node has: set through the file,
/// held by the device (`ip` says so), never called enforced, and gone with what made them.
#[test]
fn settings_of_functions_that_no_node_has_are_set_held_and_given_back() {
    let Some(world) = World::new("netdevsim-functions") else { return };
    let (lab, port) = (&world.lab, &world.port);
    let whole = lab.settled();
    let functions = "functions = [\
        { vf = 0, vlan = 7, vlan_qos = 3, mac = \"02:00:00:00:00:0a\", rate = \"100mbit\", min_rate = \"10mbit\", \
          spoofchk = true, trust = true, link_state = \"disable\" }, \
        { vf = 1, rate = \"50mbit\", spoofchk = false, link_state = \"enable\" }]";
    let held = || {
        let vfs = world.vfs();
        let of = |vf: usize, key: &str| vfs[vf][key].clone();
        let rate = |vf: usize| (vfs[vf]["rate"]["min_tx"].clone(), vfs[vf]["rate"]["max_tx"].clone());
        let first = (of(0, "vlan_list")[0]["vlan"].clone(), of(0, "vlan_list")[0]["qos"].clone(), of(0, "address"));
        assert_eq!(first, (7.into(), 3.into(), "02:00:00:00:00:0a".into()), "{vfs}");
        assert_eq!((rate(0), rate(1)), ((10.into(), 100.into()), (0.into(), 50.into())), "{vfs}");
        assert_eq!(
            (of(0, "spoofchk"), of(0, "trust"), of(1, "spoofchk")),
            (true.into(), true.into(), false.into()),
            "{vfs}"
        );
        assert_eq!((of(0, "link_state"), of(1, "link_state")), ("disable".into(), "enable".into()), "{vfs}");
    };
    let keys = format!("vfs = 2\n{functions}");
    let file = world.file(&keys);
    lab.netbench(&["topo", "apply", &file]).ok();
    held();
    lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    // What somebody changed is named and mended.
    lab.sh(&format!("ip link set {port} vf 0 min_tx_rate 20 max_tx_rate 100; ip link set {port} vf 1 state auto"));
    let drift = lab.netbench(&["topo", "verify", &file]).exits(1);
    drift
        .says("min_tx_rate of virtual function 0 is 20, declared 10")
        .says("state of virtual function 1 is auto, declared enable");
    lab.netbench(&["topo", "apply", &file]).ok();
    held();
    // Held is not enforced.
    let proved = lab.netbench(&["topo", "verify", &file, "--prove", "--json"]).ok().json();
    let settings = proved["settings"].as_array().expect("settings");
    for word in ["min_tx_rate 10", "max_tx_rate 100", "state disable", "vlan 7 qos 3", "max_tx_rate 50", "state enable"]
    {
        let found = settings.iter().find(|one| one["setting"] == word).unwrap_or_else(|| panic!("{word}: {proved}"));
        assert_eq!(found["outcome"], "not_tested", "{found}");
    }
    lab.netbench(&["topo", "destroy", "t"]).ok();
    lab.assert_as_before(&whole, "destroy");

    // Of functions that somebody else made each setting comes back.
    lab.sh(&format!(
        "echo 2 > {FOLDER}/sriov_numvfs
         ip link set {port} vf 0 mac 02:00:00:00:00:77 vlan 5; ip link set {port} vf 0 min_tx_rate 1 max_tx_rate 900
         ip link set {port} vf 0 spoofchk off; ip link set {port} vf 0 trust off; ip link set {port} vf 0 state enable
         ip link set {port} vf 1 spoofchk on; ip link set {port} vf 1 min_tx_rate 0 max_tx_rate 0; ip link set {port} vf 1 state auto"
    ));
    let (before, vfs) = (lab.settled(), world.vfs());
    lab.netbench(&["topo", "apply", &file]).ok();
    held();
    lab.netbench(&["topo", "destroy", "t"]).ok();
    assert_eq!(world.vfs(), vfs);
    lab.assert_as_before(&before, "destroy of settings of somebody else's functions");

    // A driver that refuses: this one keeps no rates in switchdev mode. The error names it, and all is as it was.
    let refused = format!("{keys}\neswitch = \"switchdev\"");
    let done = lab.netbench(&["topo", "apply", &world.file(&refused)]).exits(5);
    done.says("set vf 0 min_tx_rate 10 max_tx_rate 100").says("has no such setting").says("nothing is left");
    assert_eq!((world.vfs(), world.mode().as_str()), (vfs, "legacy"));
    lab.assert_as_before(&before, "refused");
}

#[test]
fn an_embedded_switch_changes_its_mode_only_where_the_file_says_so() {
    let Some(world) = World::new("netdevsim-eswitch") else { return };
    let lab = &world.lab;
    let before = lab.settled();
    lab.netbench(&["topo", "apply", &world.file("vfs = 2")]).ok();
    assert_eq!((world.mode().as_str(), world.vfs().as_array().map(Vec::len)), ("legacy", Some(2)));
    assert_eq!(world.representors(), Vec::<String>::new());
    // The file says so, of functions that are there.
    let file = world.file("vfs = 2\neswitch = \"switchdev\"");
    lab.netbench(&["topo", "verify", &file]).exits(1).says("its eswitch is legacy, declared switchdev");
    lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!((world.mode().as_str(), world.representors()), ("switchdev", vec!["pf0vf0".into(), "pf0vf1".into()]));
    lab.netbench(&["topo", "verify", &file]).ok();
    let shown = lab.netbench(&["nic", "show", &world.port, "--json"]).ok().json();
    schema::conforms("nic-show", &shown).expect("as its schema says");
    let sriov = &shown["sriov"];
    assert_eq!((&sriov["eswitch"], &sriov["total"]), (&"switchdev".into(), &4.into()), "{shown}");
    assert_eq!((&shown["pci"], &shown["representor_of"]), (&Value::Null, &Value::Null), "{shown}");
    for (number, function) in sriov["functions"].as_array().expect("functions").iter().enumerate() {
        let name = function["representor"].as_str().expect("a representor");
        let port = lab.json(&format!("ip -j -d link show {name}"))[0]["phys_port_name"].clone();
        assert_eq!(port, format!("pf0vf{number}"), "{function}");
        lab.netbench(&["nic", "show", &world.port])
            .ok()
            .says("eswitch switchdev")
            .says(&format!("represented by {name}"));
        lab.netbench(&["nic", "show", name]).ok().says(&format!("pf0vf{number} of {DEVICE}"));
        let one = lab.netbench(&["nic", "show", name, "--json"]).ok().json();
        assert_eq!((&one["representor_of"]["nic"], &one["sriov"]), (&DEVICE.into(), &Value::Null), "{one}");
    }
    // Somebody changes it: seen, and mended.
    lab.sh(&format!("devlink dev eswitch set {DEVICE} mode legacy"));
    lab.netbench(&["topo", "verify", &file]).exits(1).says("eswitch");
    lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!(world.mode(), "switchdev");
    lab.netbench(&["topo", "destroy", "t"]).ok();
    assert_eq!(world.mode(), "legacy");
    lab.assert_as_before(&before, "destroy");
    // What somebody else switched stays as it is where the file is silent, and comes back where it is not.
    lab.sh(&format!("devlink dev eswitch set {DEVICE} mode switchdev"));
    let before = lab.settled();
    for keys in ["vfs = 1", "vfs = 1\neswitch = \"legacy\""] {
        lab.netbench(&["topo", "apply", &world.file(keys)]).ok();
        assert_eq!(world.mode(), if keys.contains("legacy") { "legacy" } else { "switchdev" });
        lab.netbench(&["topo", "destroy", "t"]).ok();
        assert_eq!(world.mode(), "switchdev", "{keys}");
        lab.assert_as_before(&before, keys);
    }
}

/// Which of the settings that the test declares a function has, in the order in which they must be set.
fn in_order(vf: &Value) -> [bool; 6] {
    [
        vf["vlan_list"][0]["vlan"] == 7,
        vf["address"] == "02:00:00:00:00:0a",
        vf["rate"]["max_tx"] == 100,
        vf["spoofchk"] == true,
        vf["trust"] == false,
        vf["link_state"] == "disable",
    ]
}

/// The settings of somebody else's functions come back at whatever point an apply is killed that sets them: by the
/// note on the NIC alone, and, by turns, by the journal, by a second apply, and by the note where an earlier apply had set others.
#[test]
fn settings_of_somebody_elses_functions_come_back_from_every_point() {
    let Some(world) = World::new("netdevsim-functions-killed") else { return };
    let (lab, port) = (&world.lab, &world.port);
    lab.sh(&format!(
        "echo 2 > {FOLDER}/sriov_numvfs
         ip link set {port} vf 0 mac 02:00:00:00:00:77 vlan 5 qos 3; ip link set {port} vf 0 min_tx_rate 1 max_tx_rate 900
         ip link set {port} vf 0 spoofchk off; ip link set {port} vf 0 trust on; ip link set {port} vf 0 state enable
         ip link set {port} vf 1 spoofchk on; ip link set {port} vf 1 trust off; ip link set {port} vf 1 state auto"
    ));
    let before = lab.settled();
    let (first, second) = (
        "{ vf = 0, vlan = 7, mac = \"02:00:00:00:00:0a\", rate = \"100mbit\", spoofchk = true",
        "{ vf = 1, link_state = \"disable\" }",
    );
    let file =
        world.file(&format!("vfs = 2\nfunctions = [{first}, trust = false, link_state = \"disable\" }}, {second}]"));
    let one = world.lab.file(
        "one.toml",
        &lab.read(&file).expect("it was written").replace(&format!(", {second}"), "").replace(", trust = false", ""),
    );
    // The kernel's own account of the port: settings of its functions, and the notes, which are alternative names.
    let told = || {
        lab.sh(&format!("ip -d link show dev {port}; cat {FOLDER}/sriov_numvfs; ls /run/netbench 2>/dev/null || true"))
    };
    let as_told = told();
    for k in 1.. {
        let mut survived = true;
        for (way, edit) in [
            (After::LoseStateAndCollect, false),
            [(After::Destroy, false), (After::ApplyAgain, false), (After::LoseStateAndCollect, true)][k % 3],
        ] {
            if edit {
                lab.netbench(&["topo", "apply", "--no-prove", &one]).ok();
            }
            survived &= lab.survives_killed_at(k, &["--no-prove", &file]);
            if !edit {
                // One after the other, in the order that drivers need.
                let done = in_order(&world.vfs()[0]);
                assert!(done.is_sorted_by(|before, after| before >= after), "killed at point {k}: {done:?}");
            }
            way.clean(lab, "t", &["--no-prove", &file], || assert_eq!(world.vfs()[1]["link_state"], "disable"));
            assert!(
                eventually(PATIENCE, || told() == as_told),
                "killed at point {k}, then {way:?}: {} {as_told}",
                told()
            );
        }
        if survived {
            assert!(k > 12, "the crash points were not reached: survived at {k}");
            lab.assert_as_before(&before, "after all crashes");
            return;
        }
    }
}

/// Whichever way is left to clean up: the journal, a second apply, or the mark on the NIC alone.
#[test]
fn a_change_of_mode_killed_at_every_point_is_taken_back() {
    let Some(world) = World::new("netdevsim-killed") else { return };
    let lab = &world.lab;
    let whole = lab.settled();
    let links = || lab.sh("ip -br link | awk '{ print $1, $3 }' | sort; ls /run/netbench 2>/dev/null || true");
    let (before, file) = (links(), world.file("vfs = 2\neswitch = \"switchdev\""));
    for k in 1.. {
        let mut survived = true;
        for way in [After::Destroy, After::ApplyAgain, After::LoseStateAndCollect] {
            survived &= lab.survives_killed_at(k, &["--no-prove", &file]);
            way.clean(lab, "t", &["--no-prove", &file], || assert_eq!(world.representors().len(), 2));
            let back = || (world.mode(), world.vfs(), lab.sh(&format!("cat {FOLDER}/sriov_numvfs")), links());
            let same = eventually(PATIENCE, || {
                let (mode, _, count, now) = back();
                mode == "legacy" && count.trim() == "0" && now == before
            });
            assert!(same, "killed at point {k}, then {way:?}: {:?}", back());
        }
        if survived {
            assert!(k > 5, "the crash points were not reached: survived at {k}");
            lab.assert_as_before(&whole, "after all crashes");
            return;
        }
    }
}

/// What a driver is told of a port, it holds: read back by netbench, and by ethtool.
#[test]
fn rings_channels_coalescing_and_features_of_a_port_are_set_and_come_back() {
    let Some(world) = World::new("netdevsim-ethtool") else { return };
    let lab = &world.lab;
    let before = lab.settled();
    let file = lab.file(
        "t.toml",
        &format!(
            "name = \"t\"\n[nic.pf]\nifname = \"{}\"\nrings = {{ rx = 1024, tx = 256 }}\nchannels = {{ combined = 1 }}\n\
             coalesce = {{ rx-usecs = 33, tx-frames = 7, adaptive-rx = 1 }}\noffload = {{ hw-tc-offload = true, vxlan-port = false }}\n\
             [node.a]\nnic = \"pf\"\n",
            world.port
        ),
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    lab.netbench(&["topo", "verify", &file]).ok();
    let said = lab.sh_in("nb-t-a", "ethtool -g eth0; ethtool -l eth0; ethtool -c eth0; ethtool -k eth0");
    let current = said.split("Current hardware settings:").collect::<Vec<_>>();
    let has = |text: &str, key: &str, value: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.any(|(name, held)| name.trim() == key && held.trim() == value)
    };
    assert!(has(current[1], "RX", "1024") && has(current[1], "TX", "256"), "{said}");
    assert!(has(current[2], "Combined", "1") && has(&said, "rx-usecs", "33") && has(&said, "tx-frames", "7"), "{said}");
    assert!(said.contains("Adaptive RX: on"), "{said}");
    assert!(has(&said, "hw-tc-offload", "on") && has(&said, "rx-udp_tunnel-port-offload", "off"), "{said}");
    // Wanted and in force are compared.
    lab.sh_in("nb-t-a", "ethtool -G eth0 rx 512; ethtool -C eth0 rx-usecs 1; ethtool -K eth0 hw-tc-offload off");
    let seen = lab.netbench(&["topo", "verify", &file]).exits(1);
    seen.says("rings.rx is 512").says("coalesce.rx-usecs is 1").says("hw-tc-offload");
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", &file]).ok();
    // What the driver refuses is an error that names it, and leaves nothing.
    lab.netbench(&["topo", "destroy", "t"]).ok();
    lab.assert_as_before(&before, "destroy");
    let text = lab.read("/mnt/t.toml").expect("the file");
    for (from, to, said) in [
        ("rx = 1024", "rx = 1000000", "rings.rx 1000000"),
        ("hw-tc-offload = true", "tso = false", "tx-tcp-segmentation stays on (the device has it fixed)"),
    ] {
        lab.netbench(&["topo", "apply", &lab.file("other.toml", &text.replace(from, to))]).exits(5).says(said);
        lab.assert_as_before(&before, to);
    }
}

/// Two hosts whose wire is two cards on a cable: what the cards were told of the tunnel over them is shown, and missed.
#[test]
fn a_card_that_was_not_told_a_tunnels_port_is_named() {
    let Some(world) = World::new("netdevsim-tunnel") else { return };
    let (lab, port) = (&world.lab, &world.port);
    lab.sh("echo '11 1' > /sys/bus/netdevsim/new_device");
    let other = lab.sh("ls /sys/bus/netdevsim/devices/netdevsim11/net").trim().to_owned();
    lab.sh(&format!(
        "ip link set {other} up; exec 5</proc/self/ns/net
         echo \"5:$(cat /sys/class/net/{port}/ifindex) 5:$(cat /sys/class/net/{other}/ifindex)\" > /sys/bus/netdevsim/link_device
         ip link set {port} down; ip link set {port} up"
    ));
    let before = lab.settled();
    // Nothing is told to a card without a tunnel.
    lab.netbench(&["nic", "show", port]).ok().says("tunnel ports").says("no vxlan port (0 of 4 entries)");
    let text = format!(
        "name = \"t\"\n[nic.l]\nifname = \"{port}\"\ncable = \"r\"\n[nic.r]\nifname = \"{other}\"\n[host.hl]\n[host.hr]\n\
         [node.a]\nhost = \"hl\"\n[node.b]\nhost = \"hr\"\n\
         [switch.left]\nkind = \"bridge\"\nhost = \"hl\"\nports = [\"a\"]\n\
         [switch.right]\nkind = \"bridge\"\nhost = \"hr\"\nports = [\"b\"]\n\
         [switch.down]\nkind = \"bridge\"\nhost = \"hl\"\nports = [\"hl\"]\nuplinks = [\"l\"]\n\
         [switch.up]\nkind = \"bridge\"\nhost = \"hr\"\nports = [\"hr\"]\nuplinks = [\"r\"]\n\
         [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n"
    );
    let file = lab.file("t.toml", &text);
    lab.netbench(&["topo", "apply", &file]).ok().says("MTU 1450 proved");
    let told = lab.sh_in("nb-t-hl", &format!("ethtool --show-tunnels {port}; /mnt/netbench nic show {port}"));
    assert!(told.contains("port 4789, vxlan") && told.contains("vxlan 4789 (1 of 4 entries)"), "{told}");
    let verdicts = || {
        let json = lab.netbench(&["offload", "verify", &file, "--only", "tunnel-ports", "--json"]).ok().json();
        let rows = json["checks"].as_array().expect("checks").clone();
        assert!(rows.iter().any(|row| row["check"] == "integrity" && row["verdict"] == "PASS"), "{json:#}");
        let row = |device: String| {
            let is = |row: &&Value| row["check"] == "tunnel-ports" && row["device"] == device;
            rows.iter().find(is).unwrap_or_else(|| panic!("{device}: {json:#}")).clone()
        };
        [row(format!("hl/{port}")), row(format!("hr/{other}"))]
    };
    let [left, right] = verdicts();
    for row in [&left, &right] {
        assert_eq!(row["verdict"], "PASS", "{row}");
        assert!(row["evidence"].as_str().is_some_and(|text| text.starts_with("it was told vxlan 4789")), "{row}");
    }
    // With the feature on and off, what comes in the tunnel comes right.
    let json = lab.netbench(&["offload", "verify", &file, "--only", "tunnel-rx", "--json"]).ok().json();
    for device in [format!("hl/{port}"), format!("hr/{other}")] {
        let is = |row: &&Value| row["check"] == "tunnel-rx" && row["device"] == device;
        let row = json["checks"].as_array().and_then(|rows| rows.iter().find(is));
        let row = row.unwrap_or_else(|| panic!("{device}: {json:#}"));
        assert_eq!(row["verdict"], "PASS", "{row:#}");
    }
    // Its driver refuses the port, once: the feature is on all the same.
    let feature = "rx-udp_tunnel-port-offload";
    let folder = "/sys/kernel/debug/netdevsim/netdevsim10/ports/0/udp_ports";
    lab.sh_in("nb-t-hl", &format!("ethtool -K {port} {feature} off"));
    lab.sh(&format!("echo 5 > {folder}/inject_error"));
    lab.sh_in("nb-t-hl", &format!("ethtool -K {port} {feature} on"));
    let [left, right] = verdicts();
    assert_eq!((&left["verdict"], &right["verdict"]), (&"NOT-ACTIVE".into(), &"PASS".into()), "{left} {right}");
    let text = left.to_string();
    assert!(text.contains("it does not hold vxlan 4789") && text.contains(&format!("ethtool -K {port}")), "{text}");
    // The cure that it names.
    lab.sh_in("nb-t-hl", &format!("ethtool -K {port} {feature} off; ethtool -K {port} {feature} on"));
    assert_eq!(verdicts()[0]["verdict"], "PASS");
    lab.sh_in("nb-t-hl", &format!("ethtool -K {port} {feature} off"));
    let [left, _] = verdicts();
    assert!(left["verdict"] == "SKIP" && left.to_string().contains("is off"), "{left}");
    lab.netbench(&["topo", "destroy", "t"]).ok();
    lab.assert_as_before(&before, "destroy");
}
