//! SR-IOV on a real NIC: functions made, set, taken, used, and given back.
//!
//! `scripts/vmlab test` runs these in a machine that has two such NICs (Intel 82576, emulated by QEMU, driven by the
//! kernel's own igb and igbvf). Elsewhere they are skipped, unless `NETBENCH_SRIOV=PCI,PCI` gives them two NICs on one wire
//! that nobody else uses.

mod lab;
mod sriov_nics;

use lab::{PATIENCE, eventually};
use serde_json::Value;
use sriov_nics::{PAIR, World, nics_are_emulated};

/// Bytes arrive: a short stream by netbench itself.
#[track_caller]
fn stream(world: &World, file: &str) {
    let done =
        world.lab.netbench(&["run", file, "--test", "tcp_stream", "--duration", "1s", "--rounds", "1", "--json"]);
    assert!(matches!(done.code, Some(0 | 4)), "{done}");
    let text = done.stdout.replace(' ', "");
    assert!(text.contains("\"TCP_STREAM\"") || text.contains("tcp_stream"), "{done}");
}

#[test]
fn functions_of_one_nic_are_set_carry_traffic_and_go() {
    let Some(world) = World::new("sriov-one") else { return };
    let before = world.settled();
    let ports = "ports = [{ node = \"a\", vlan = 7, vlan_qos = 3, mac = \"02:00:00:00:07:01\", spoofchk = true, trust = true }, \
                 { node = \"b\", vlan = 7, rate = \"500mbit\", spoofchk = false }]\n";
    let file = world.file(&PAIR.replace("ports = [\"a\", \"b\"]\n", ports));
    world.lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    let vfs = world.vfs(0);
    assert_eq!(vfs.as_array().map(Vec::len), Some(2), "{vfs}");
    assert_eq!(vfs[0]["address"], "02:00:00:00:07:01");
    assert_eq!(vfs[0]["vlan_list"][0]["vlan"], 7, "{vfs}");
    assert_eq!(vfs[0]["vlan_list"][0]["qos"], 3, "{vfs}");
    assert_eq!((&vfs[0]["spoofchk"], &vfs[0]["trust"]), (&Value::Bool(true), &Value::Bool(true)), "{vfs}");
    assert_eq!(vfs[1]["spoofchk"], Value::Bool(false), "{vfs}");
    assert_eq!(vfs[1]["rate"]["max_tx"], 500, "{vfs}");
    let inside = world.lab.json_in("nb-t-a", "ip -j -d link show eth0");
    assert_eq!(inside[0]["address"], "02:00:00:00:07:01", "the driver has the MAC that the NIC assigned");
    world.lab.netbench(&["topo", "verify", &file]).ok();
    let again = world.lab.netbench(&["topo", "apply", &file]).ok();
    again.says("nothing to do");
    // What goes from one function to another the NIC switches itself: the other NIC, which takes all that there is, sees none of
    // it on the wire, and sees what is for everybody.
    world.lab.sh(&format!("ip link set {} promisc on", world.pf(1)));
    let seen = || {
        let text = world.lab.sh(&format!("cat /sys/class/net/{}/statistics/rx_packets", world.pf(1)));
        text.trim().parse::<u64>().expect("a number")
    };
    let at_first = seen();
    stream(&world, &file);
    let meanwhile = seen() - at_first;
    let everybody = || {
        world.lab.try_sh("ip netns exec nb-t-a bash -c 'echo >/dev/udp/198.18.0.200/9'"); // asks who that is
        seen() > at_first + meanwhile
    };
    assert!(eventually(PATIENCE, everybody), "no broadcast came out on the wire");
    assert!(meanwhile < 500, "{meanwhile} packets came out on the wire");
    world.lab.sh(&format!("ip link set {} promisc off", world.pf(1)));
    // Somebody changes a setting: seen, and mended.
    let pf = world.pf(0);
    world.lab.sh(&format!("ip link set {pf} vf 0 vlan 9"));
    world.lab.netbench(&["topo", "verify", &file]).exits(1).says("vlan of virtual function 0 is 9, declared 7");
    world.lab.netbench(&["topo", "apply", &file]).ok();
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
}

#[test]
fn a_function_reaches_its_own_port() {
    let Some(world) = World::new("sriov-port") else { return };
    let before = world.settled();
    let file = world.file(
        "name = \"t\"\n[nic.pf]\npci = \"PF0\"\n[node.a]\n[node.b]\nnic = \"pf\"\n\
         [switch.vf]\nkind = \"sriov\"\nnic = \"pf\"\nports = [\"a\"]\n",
    );
    world.lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    world.lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    stream(&world, &file);
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
}

#[test]
fn functions_of_two_nics_meet_on_the_wire_within_their_vlan() {
    let Some(world) = World::new("sriov-two") else { return };
    let before = world.settled();
    let file = world.file(
        "name = \"t\"\nmtu = 9000\n[nic.l]\npci = \"PF0\"\ncable = \"r\"\n[nic.r]\npci = \"PF1\"\n[node.a]\n[node.b]\n\
         [switch.vl]\nkind = \"sriov\"\nnic = \"l\"\nports = [{ node = \"a\", vlan = 100 }]\n\
         [switch.vr]\nkind = \"sriov\"\nnic = \"r\"\nports = [{ node = \"b\", vlan = 100 }]\n",
    );
    world.lab.netbench(&["topo", "apply", &file]).ok().says("MTU 9000 proved");
    stream(&world, &file);
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
}

/// What this NIC accepts, tried with frames: VLANs, forged sources, trust, a rate. (It refuses link states:
/// `settings_that_the_driver_refuses_are_named_and_rolled_back`.) What it does not do is found, and what it does is not called broken.
#[test]
fn settings_are_tried_with_frames() {
    let Some(world) = World::new("sriov-proof") else { return };
    let before = world.settled();
    let ports = "ports = [{ node = \"a\", vlan = 7, vlan_qos = 3, spoofchk = true, trust = true }, \
                 { node = \"b\", vlan = 7, spoofchk = false, trust = false }, { node = \"c\", vlan = 8, rate = \"20mbit\" }]\n";
    let file = world.file(&PAIR.replace("[node.b]", "[node.b]\n[node.c]").replace("ports = [\"a\", \"b\"]\n", ports));
    world.lab.netbench(&["topo", "apply", &file]).ok();
    let proved = world.lab.netbench(&["topo", "verify", &file, "--prove", "--json"]);
    let proved = if nics_are_emulated() { proved.exits(1) } else { proved }.json();
    let settings = proved["settings"].as_array().expect("settings");
    let found = |at: &str, setting: &str| {
        let found = settings.iter().find(|proof| proof["at"] == at && proof["setting"] == setting);
        found.unwrap_or_else(|| panic!("{setting} of {at} in {proved}"))
    };
    let outcome = |at: &str, setting: &str| found(at, setting)["outcome"].as_str().expect("text").to_owned();
    for (at, setting) in
        [("a/eth0", "vlan 7 qos 3"), ("b/eth0", "vlan 7"), ("c/eth0", "vlan 8"), ("b/eth0", "spoofchk off")]
    {
        assert_eq!(outcome(at, setting), "enforced", "{setting} of {at}: {proved}");
    }
    for (at, setting) in [("a/eth0", "trust on"), ("b/eth0", "trust off")] {
        assert_eq!(outcome(at, setting), "enforced", "{setting} of {at}: {proved}");
    }
    // QEMU's 82576 has neither a filter of source addresses nor a limit of rates; the machine may be too slow to show the latter.
    if nics_are_emulated() {
        assert_eq!(outcome("a/eth0", "spoofchk on"), "not_enforced", "{proved}");
        let rate = found("c/eth0", "max_tx_rate 20");
        assert_eq!(rate["outcome"], "not_enforced", "{rate}");
        // With figures: what was declared is 20, and each burst has what was measured.
        let measured = rate["probes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|probe| probe["what"].as_str().is_some_and(|what| what.contains("from c/eth0")));
        let mut measured: Vec<f64> = measured.filter_map(|probe| probe["bits_per_second"].as_f64()).collect();
        measured.sort_by(f64::total_cmp);
        assert!(measured.len() == 3 && measured[1] > 20e6 * 1.15, "{rate}");
        assert!(rate["evidence"].as_str().is_some_and(|said| said.contains("Mbit/s arrived")), "{rate}");
        let forged = found("a/eth0", "spoofchk on");
        assert!(forged["evidence"].as_str().is_some_and(|said| said.contains("10 of 10")), "{forged}");
        let done =
            world.lab.netbench(&["run", &file, "--test", "tcp_rr", "--duration", "300ms", "--rounds", "1", "--json"]);
        let warnings = done.json()["warnings"].to_string();
        for said in ["a/eth0: spoofchk on accepted, NOT enforced", "c/eth0: max_tx_rate 20 accepted, NOT enforced"] {
            assert!(warnings.contains(said), "{warnings}");
        }
    }
    // The NIC lets in no more than before.
    world.lab.netbench(&["topo", "verify", &file]).ok();
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
}

/// `ip netns del` while a function is inside: the kernel sends it home as it was set last.
#[test]
fn a_namespace_that_died_gives_its_function_back() {
    let Some(world) = World::new("sriov-died") else { return };
    let pf = world.pf(0);
    // Functions of somebody else, with settings that must come back. Their MACs are assigned before a driver reads them: one
    // that a driver makes up is another one each time it is bound.
    world.lab.sh(&format!(
        "cd /sys/bus/pci/devices/{0}; echo 0 > sriov_drivers_autoprobe; echo 2 > sriov_numvfs
         ip link set {pf} vf 0 mac 02:00:00:00:00:77; ip link set {pf} vf 1 mac 02:00:00:00:00:78; ip link set {pf} vf 1 vlan 33
         echo 1 > sriov_drivers_autoprobe
         for f in virtfn0 virtfn1; do basename $(readlink $f) > /sys/bus/pci/drivers_probe; done",
        world.nics[0]
    ));
    let back = || world.lab.sh(&format!("echo 0 > /sys/bus/pci/devices/{}/sriov_numvfs", world.nics[0]));
    let before = world.settled();
    let file = world.file(PAIR);
    world.lab.netbench(&["topo", "apply", &file]).ok();
    world.lab.sh("ip netns del nb-t-a");
    world.lab.netbench(&["topo", "verify", &file]).exits(1);
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroyed after the namespace died");
    // The same with a process inside that keeps the namespace alive, nameless.
    world.lab.netbench(&["topo", "apply", &file]).ok();
    let mut holder = world.lab.command("nsenter");
    holder.args(["--net=/run/netns/nb-t-a", "--", "sleep", "300"]);
    let holder = world.lab.background(holder);
    let inside = eventually(PATIENCE, || {
        world.lab.try_sh(&format!("[ $(readlink /proc/{}/ns/net) != $(readlink /proc/self/ns/net) ]", holder.id())).code
            == Some(0)
    });
    assert!(inside);
    world.lab.sh("ip netns del nb-t-a");
    let gone = world.lab.netbench(&["topo", "destroy", "t"]);
    assert!(matches!(gone.code, Some(0)), "{gone}");
    world.lab.assert_as_before(&before, "destroyed with a pinned namespace");
    drop(holder);
    back();
}

#[test]
fn functions_of_somebody_else_are_used_refused_or_replaced() {
    let Some(world) = World::new("sriov-others") else { return };
    let pf = world.pf(0);
    let clean = world.settled();
    world.lab.sh(&format!(
        "echo 2 > /sys/bus/pci/devices/{0}/sriov_numvfs
         ip link set {pf} vf 0 mac 02:00:00:00:00:77; ip link set {pf} vf 0 vlan 5 qos 2; ip link set {pf} vf 1 spoofchk off
         f=$(basename $(readlink /sys/bus/pci/devices/{0}/virtfn0))
         echo $f > /sys/bus/pci/drivers/igbvf/unbind; echo $f > /sys/bus/pci/drivers/igbvf/bind",
        world.nics[0]
    ));
    let before = world.settled();
    // As many as there are ports: used as they are.
    let file = world.file(PAIR);
    world.lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "used");
    // Another number: refused, or replaced where the file says so.
    let three = PAIR.replace("[node.a]", "vfs = 3\n[node.a]");
    let file = world.file(&three);
    world.lab.netbench(&["topo", "apply", &file]).exits(2).says("takeover = true");
    world.lab.assert_as_before(&before, "refused");
    let file = world.file(&three.replace("vfs = 3", "vfs = 3\ntakeover = true"));
    world.lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!(world.vfs(0).as_array().map(Vec::len), Some(3));
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    // The driver makes a MAC up for a function that has none assigned: a new one each time.
    let after = world.vfs(0);
    assert_eq!(after.as_array().map(Vec::len), Some(2), "{after}");
    assert_eq!((&after[0]["address"], &after[0]["vlan_list"][0]["vlan"]), (&"02:00:00:00:00:77".into(), &5.into()));
    assert_eq!(after[1]["spoofchk"], Value::Bool(false), "{after}");
    world.lab.sh(&format!("echo 0 > /sys/bus/pci/devices/{}/sriov_numvfs", world.nics[0]));
    world.lab.assert_as_before(&clean, "after takeover, and its owner's own end");
}

#[test]
fn what_the_machine_lives_by_and_what_a_guest_has_is_refused() {
    let Some(world) = World::new("sriov-refused") else { return };
    let (pf, before) = (world.pf(0), world.settled());
    let file = world.file(PAIR);
    world.lab.sh(&format!("ip addr add 192.0.2.1/24 dev {pf}; ip route add default via 192.0.2.254"));
    world.lab.netbench(&["topo", "apply", &file]).exits(2).says("default route");
    world.lab.sh("ip route del default");
    let ssh = ("SSH_CONNECTION", "192.0.2.9 1 192.0.2.1 22");
    world.lab.netbench_with(ssh, &["topo", "apply", &file]).exits(2).says("ssh session");
    world.lab.sh(&format!("ip addr del 192.0.2.1/24 dev {pf}"));
    world
        .lab
        .netbench(&["topo", "apply", &world.file(&PAIR.replace("[node.a]", "vfs = 200\n[node.a]"))])
        .exits(2)
        .says("can have 7");
    world
        .lab
        .netbench(&["topo", "apply", &world.file(&PAIR.replace("[node.a]", "eswitch = \"switchdev\"\n[node.a]"))])
        .exits(2)
        .says("devlink");
    // Accepted by nobody: igb knows no link state.
    let state = PAIR.replace("[\"a\", \"b\"]", "[{ node = \"a\", link_state = \"disable\" }, \"b\"]");
    world.lab.netbench(&["topo", "apply", &world.file(&state)]).exits(5).says("EOPNOTSUPP");
    world.lab.assert_as_before(&before, "refused");
    // A function in the hands of vfio-pci.
    let nic = &world.nics[0];
    let vfio = world.lab.try_sh(&format!(
        "modprobe vfio-pci
         echo 0 > /sys/bus/pci/devices/{nic}/sriov_drivers_autoprobe
         echo 2 > /sys/bus/pci/devices/{nic}/sriov_numvfs
         echo 1 > /sys/bus/pci/devices/{nic}/sriov_drivers_autoprobe
         f=$(basename $(readlink /sys/bus/pci/devices/{nic}/virtfn1))
         echo vfio-pci > /sys/bus/pci/devices/$f/driver_override
         echo $f > /sys/bus/pci/drivers/vfio-pci/bind"
    ));
    assert_eq!(vfio.code, Some(0), "{vfio}");
    let held = world.settled();
    world.lab.netbench(&["topo", "apply", &world.file(PAIR)]).exits(2).says("vfio-pci");
    world.lab.netbench(&["nic", "show", nic]).ok().says("vfio-pci, in no interface of this namespace");
    world.lab.assert_as_before(&held, "refused for vfio-pci");
    world.lab.sh(&format!("echo 0 > /sys/bus/pci/devices/{nic}/sriov_numvfs"));
    world.lab.assert_as_before(&before, "the end");
}

/// `sriov_drivers_autoprobe` 0 is the host's wish: functions that no node uses stay without a driver, and those of somebody
/// else go back without one.
#[test]
fn functions_without_drivers_go_back_without() {
    let Some(world) = World::new("sriov-unbound") else { return };
    let clean = world.settled();
    let folder = format!("/sys/bus/pci/devices/{}", world.nics[0]);
    world.lab.sh(&format!("echo 0 > {folder}/sriov_drivers_autoprobe; echo 3 > {folder}/sriov_numvfs"));
    let before = world.settled();
    let file = world.file(PAIR);
    world.lab.netbench(&["topo", "apply", &file]).ok().says("proved");
    assert_eq!(world.lab.sh(&format!("cat {folder}/sriov_drivers_autoprobe")).trim(), "0");
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
    world.lab.sh(&format!("echo 0 > {folder}/sriov_numvfs; echo 1 > {folder}/sriov_drivers_autoprobe"));
    world.lab.assert_as_before(&clean, "the end");
}

/// What this driver lacks, or the port cannot do, is an error that names the setting, and all is as it was.
#[test]
fn settings_that_the_driver_refuses_are_named_and_rolled_back() {
    let Some(world) = World::new("sriov-refused") else { return };
    if !nics_are_emulated() {
        return; // other drivers have other settings
    }
    let before = world.settled();
    for (keys, said) in [
        ("link_state = \"disable\"", "set vf 0 state disable"),
        ("min_rate = \"10mbit\", rate = \"100mbit\"", "set vf 0 min_tx_rate 10 max_tx_rate 100"),
    ] {
        let file = world.file(&PAIR.replace("\"a\", ", &format!("{{ node = \"a\", {keys} }}, ")));
        let done = world.lab.netbench(&["topo", "apply", &file]);
        assert!(done.code.is_some_and(|code| code != 0), "{keys}: {done}");
        done.says(said).says("nothing is left");
        world.lab.assert_as_before(&before, keys);
    }
}

#[test]
fn a_nic_with_functions_is_described() {
    let Some(world) = World::new("sriov-nic") else { return };
    let nic = &world.nics[0];
    world.lab.sh(&format!("echo 2 > /sys/bus/pci/devices/{nic}/sriov_numvfs; ip link set {} vf 1 vlan 9", world.pf(0)));
    let carrier = format!("/sys/class/net/{}/carrier", world.pf(0));
    let up = || world.lab.read(&carrier).is_ok_and(|carrier| carrier.trim() == "1");
    assert!(eventually(PATIENCE, up), "making functions resets the port, and it comes up again");
    let shown = world.lab.netbench(&["nic", "show", nic, "--json"]).ok().json();
    world.lab.netbench(&["nic", "show", nic]).ok().says("igb").says("2 of 7 functions").says("vlan 9").says("/dev/ptp");
    // As sysfs and procfs have it.
    let port = format!("/sys/class/net/{}/device", world.pf(0));
    let sh = |script: &str| world.lab.sh(&script.replace("PORT", &port)).trim().to_owned();
    let node: i64 = sh("cat PORT/numa_node").parse().expect("a number");
    assert_eq!(shown["numa"].as_i64().unwrap_or(-1), node, "{shown}");
    assert_eq!(format!("ptp{}", shown["ptp_clock"]), sh("ls PORT/ptp"), "{shown}");
    let (speed, lanes) = (sh("cut -d ' ' -f 1 PORT/current_link_speed"), sh("cat PORT/current_link_width"));
    assert_eq!(shown["pci"]["gigatransfers"].as_f64(), speed.parse().ok(), "{shown}");
    assert_eq!(shown["pci"]["lanes"].as_u64(), lanes.parse().ok(), "{shown}");
    let used = sh("for irq in $(ls PORT/msi_irqs | sort -n); do
                       ! grep -q \"^ *$irq:\" /proc/interrupts || echo $irq $(cat /proc/irq/$irq/effective_affinity_list)
                   done");
    let irqs = shown["irqs"].as_array().expect("interrupts").iter();
    let told: Vec<String> =
        irqs.map(|irq| format!("{} {}", irq["number"], irq["cpus"].as_str().unwrap_or_default())).collect();
    assert!(told.len() > 1, "one of the link, and of each queue: {shown}");
    assert_eq!(told, used.lines().collect::<Vec<_>>(), "{shown}");
    world.lab.netbench(&["nic", "show", nic]).ok().says(&format!("{} on ", told.len())).says(&format!("x{lanes}"));
    world.lab.netbench(&["nic", "list"]).ok().says("2 of 7").says(&format!("of {nic}")).says("igbvf");
    world.lab.sh(&format!("echo 0 > /sys/bus/pci/devices/{nic}/sriov_numvfs"));
    assert_eq!(
        (&shown["driver"], &shown["pci"]["address"], &shown["pci"]["id"]),
        (&"igb".into(), &(&**nic).into(), &"8086:10c9".into())
    );
    assert_eq!((&shown["sriov"]["total"], &shown["sriov"]["autoprobe"]), (&7.into(), &true.into()), "{shown}");
    assert_eq!(shown["sriov"]["functions"][1]["settings"]["vlan"], "9", "{shown}");
    assert_eq!(shown["sriov"]["functions"][0]["driver"], "igbvf", "{shown}");
    assert_eq!(shown["speed_bits"], 1_000_000_000, "{shown}");
    assert!(shown["firmware"].is_string() && shown["ptp_clock"].is_number(), "{shown}");
    assert!(shown["irqs"].as_array().is_some_and(|irqs| !irqs.is_empty()), "{shown}");
    assert!(shown["pci"]["bits_per_second"].as_u64().is_some_and(|bits| bits >= 2_000_000_000), "{shown}");
}
