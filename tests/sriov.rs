//! SR-IOV on a real NIC: functions made, set, taken, used, and given back, whatever happens in between.
//!
//! `scripts/vmlab test` runs these in a machine that has two such NICs (Intel 82576, emulated by QEMU, driven by the
//! kernel's own igb and igbvf). Elsewhere they are skipped, unless `NETBENCH_SRIOV=PCI,PCI` gives them two NICs on one wire
//! that nobody else uses.

mod lab;

use std::time::Duration;

use lab::{Dump, Lab, eventually, skip_to_lab, verdicts};
use serde_json::Value;

const SIGKILL: i32 = 9;

/// A world with two SR-IOV NICs, by PCI address, both up.
struct World {
    lab: Lab,
    nics: [String; 2],
}

fn nics() -> Option<[String; 2]> {
    let text = match std::env::var("NETBENCH_SRIOV") {
        Ok(text) => text,
        Err(_) if std::env::var_os("VMLAB").is_some() => "0000:01:00.0,0000:02:00.0".to_owned(),
        Err(_) => return None,
    };
    let (first, second) = text.split_once(',')?;
    Some([first.to_owned(), second.to_owned()])
}

impl World {
    fn new(name: &str) -> Option<Self> {
        let Some(nics) = nics() else {
            skip_to_lab("no SR-IOV NICs that a test may use (NETBENCH_SRIOV)");
            return None;
        };
        let world = Self { lab: Lab::on_the_machine(name)?, nics };
        for nic in 0..2 {
            let name = world.pf(nic);
            world.lab.sh(&format!("ip link set {name} down; ip addr flush dev {name}; ip link set {name} up"));
        }
        let up = eventually(Duration::from_secs(30), || {
            [0, 1].iter().all(|&nic| {
                world.lab.read(format!("/sys/class/net/{}/carrier", world.pf(nic))).is_ok_and(|c| c.trim() == "1")
            })
        });
        assert!(up, "the NICs have no carrier");
        Some(world)
    }

    /// Interface of a NIC.
    fn pf(&self, nic: usize) -> String {
        self.lab.sh(&format!("ls /sys/bus/pci/devices/{}/net", self.nics[nic])).trim().to_owned()
    }

    /// A file with the addresses of the NICs put in for `PF0` and `PF1`.
    fn file(&self, text: &str) -> String {
        self.lab.file("t.toml", &text.replace("PF0", &self.nics[0]).replace("PF1", &self.nics[1]))
    }

    fn vfs(&self, nic: usize) -> Value {
        let all = self.lab.json(&format!("ip -j link show dev {}", self.pf(nic)));
        all[0]["vfinfo_list"].clone()
    }

    /// What `ip` and sysfs say of the NICs and of what belongs to netbench: a part of the whole dump that takes a tenth
    /// of the time, for loops.
    fn quick(&self) -> String {
        let text = self.lab.sh(
            "ip -br link; ip -br addr; ip route show table all; ip -d link show; for f in /run/netns/* /run/netbench/*; do [ ! -e $f ] || echo $f; done
             for f in /sys/bus/pci/devices/*/sriov_numvfs; do
                 echo $f $(cat $f) $(cat ${f%numvfs}drivers_autoprobe)
                 for v in ${f%/sriov_numvfs}/virtfn*; do [ ! -e $v ] || echo $v $(basename $(readlink $v/driver)); done
             done",
        );
        // Indexes, and with them the order, are the kernel's choice.
        let mut lines: Vec<&str> =
            text.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit())).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[track_caller]
    fn assert_quick(&self, before: &str, what: &str) {
        let mut now = String::new();
        let same = eventually(Duration::from_secs(20), || {
            now = self.quick();
            now == before
        });
        assert!(same, "{what}: not as before\n--- before\n{before}\n--- now\n{now}");
    }

    fn settled(&self) -> Dump {
        self.lab.settled()
    }
}

/// The machine outlives a test that failed: the next one finds it clean.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lab.try_sh(
                "unset NETBENCH_CRASH_AT; netbench=/mnt/netbench; $netbench topo destroy --all; $netbench topo gc",
            );
            for nic in &self.nics {
                self.lab.try_sh(&format!("echo 0 > /sys/bus/pci/devices/{nic}/sriov_numvfs; echo 1 > /sys/bus/pci/devices/{nic}/sriov_drivers_autoprobe"));
            }
        }
    }
}

const PAIR: &str = "name = \"t\"\n[nic.pf]\npci = \"PF0\"\n[node.a]\n[node.b]\n\
                    [switch.vf]\nkind = \"sriov\"\nnic = \"pf\"\nports = [\"a\", \"b\"]\n";

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
    stream(&world, &file);
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

/// What this NIC accepts, tried with frames: what it does not do is found, and what it does is not called broken.
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
    let outcome = |at: &str, setting: &str| {
        let found = settings.iter().find(|proof| proof["at"] == at && proof["setting"] == setting);
        found.unwrap_or_else(|| panic!("{setting} of {at} in {proved}"))["outcome"].as_str().expect("text").to_owned()
    };
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
        assert_ne!(outcome("c/eth0", "max_tx_rate 20"), "enforced", "{proved}");
        let done =
            world.lab.netbench(&["run", &file, "--test", "tcp_rr", "--duration", "300ms", "--rounds", "1", "--json"]);
        let warnings = done.json()["warnings"].to_string();
        assert!(warnings.contains("a/eth0: spoofchk on accepted, NOT enforced"), "{warnings}");
    }
    // The NIC lets in no more than before.
    world.lab.netbench(&["topo", "verify", &file]).ok();
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
    world.lab.assert_as_before(&before, "destroy");
}

/// The lab's own NICs, whose faults are known.
fn nics_are_emulated() -> bool {
    std::env::var_os("NETBENCH_SRIOV").is_none()
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
    let inside = eventually(Duration::from_secs(10), || {
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

/// How a crash is cleaned up after.
#[derive(Debug, Clone, Copy)]
enum After {
    Destroy,
    ApplyAgain,
    LoseStateAndCollect,
}

const WAYS: [After; 3] = [After::Destroy, After::ApplyAgain, After::LoseStateAndCollect];

fn crash_at_every_point(name: &str, setup: &str, teardown: &str) {
    let Some(world) = World::new(name) else { return };
    let nic = world.nics[0].clone();
    let place = |script: &str| script.replace("NIC", &nic).replace("PF", &world.pf(0));
    let clean = world.settled();
    world.lab.sh(&place(setup));
    let whole = world.settled();
    let before = world.quick();
    let file = world.file(&PAIR.replace(
        "[\"a\", \"b\"]",
        "[{ node = \"a\", vlan = 7, mac = \"02:00:00:00:07:01\" }, { node = \"b\", vlan = 7 }]",
    ));
    for k in 1.. {
        let crashed =
            world.lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &["topo", "apply", "--no-prove", &file]);
        let survived = crashed.signal != Some(SIGKILL);
        if survived {
            crashed.ok();
        }
        // Each point with one of the ways by turns: all of them at all points would take an hour of emulation.
        let way = WAYS[k % 3];
        match way {
            After::Destroy => {
                let done = world.lab.netbench(&["topo", "destroy", "t"]);
                assert!(matches!(done.code, Some(0 | 2)), "{done}");
            }
            After::ApplyAgain => {
                world.lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
                world.lab.netbench(&["topo", "destroy", "t"]).ok();
            }
            After::LoseStateAndCollect => {
                world.lab.sh("rm -rf /run/netbench");
                world.lab.netbench(&["topo", "gc"]).ok();
            }
        }
        world.assert_quick(&before, &format!("killed at point {k}, then {way:?}"));
        if survived {
            assert!(k > 15, "the crash points were not reached: survived at {k}");
            world.lab.assert_as_before(&whole, "after all crashes");
            world.lab.sh(&place(teardown));
            world.lab.assert_as_before(&clean, "the end");
            eprintln!("{name}: {k} points");
            return;
        }
    }
}

#[test]
fn killed_at_every_point_of_an_apply_that_makes_functions() {
    crash_at_every_point("sriov-crash-made", "", "");
}

#[test]
fn killed_at_every_point_of_an_apply_that_uses_functions_of_somebody_else() {
    crash_at_every_point(
        "sriov-crash-used",
        "echo 2 > /sys/bus/pci/devices/NIC/sriov_numvfs; ip link set PF vf 1 vlan 5",
        "echo 0 > /sys/bus/pci/devices/NIC/sriov_numvfs",
    );
}

/// Destroy is killed as well.
#[test]
fn a_destroy_killed_at_every_point_is_taken_up_again() {
    let Some(world) = World::new("sriov-destroy-killed") else { return };
    let whole = world.settled();
    let before = world.quick();
    let file = world.file(PAIR);
    for k in 1.. {
        world.lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
        let crashed = world.lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &["topo", "destroy", "t"]);
        let survived = crashed.signal != Some(SIGKILL);
        if survived {
            crashed.ok();
        } else {
            let second = world.lab.netbench(&["topo", "destroy", "t"]);
            assert!(matches!(second.code, Some(0 | 2)), "{second}");
        }
        world.assert_quick(&before, &format!("destroy killed at point {k}"));
        if survived {
            assert!(k > 5, "the crash points were not reached: survived at {k}");
            world.lab.assert_as_before(&whole, "the end");
            return;
        }
    }
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

/// A step that fails is rolled back by the same command.
#[test]
fn a_step_that_fails_is_rolled_back() {
    let Some(world) = World::new("sriov-fails") else { return };
    let whole = world.settled();
    let before = world.quick();
    let file = world.file(PAIR);
    for k in (1..).step_by(2) {
        let done =
            world.lab.netbench_with(("NETBENCH_FAIL_AT", &k.to_string()), &["topo", "apply", "--no-prove", &file]);
        assert!(done.signal.is_none(), "{done}");
        if done.code == Some(0) {
            world.lab.netbench(&["topo", "destroy", "t"]).ok();
            world.lab.assert_as_before(&whole, "the end");
            return;
        }
        world.assert_quick(&before, &format!("step {k} failed"));
    }
}

#[test]
fn a_nic_with_functions_is_described() {
    let Some(world) = World::new("sriov-nic") else { return };
    let nic = &world.nics[0];
    world.lab.sh(&format!("echo 2 > /sys/bus/pci/devices/{nic}/sriov_numvfs; ip link set {} vf 1 vlan 9", world.pf(0)));
    let carrier = format!("/sys/class/net/{}/carrier", world.pf(0));
    let up = || world.lab.read(&carrier).is_ok_and(|carrier| carrier.trim() == "1");
    assert!(eventually(Duration::from_secs(30), up), "making functions resets the port, and it comes up again");
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

/// Verdict, features and findings of a device's check.
fn verdict<'j>(json: &'j Value, device: &str, check: &str) -> (&'j str, String) {
    let is = |row: &&Value| row["check"] == check && (row["device"] == device || row["path"] == device);
    let row = json["checks"].as_array().and_then(|rows| rows.iter().find(is));
    let row = row.unwrap_or_else(|| panic!("{device} {check}: {json:#}"));
    (row["verdict"].as_str().unwrap_or_default(), row.to_string())
}

/// Every verdict of a port of the emulated 82576.
const PORT: &str = "\
{x} -> {y} CORRUPT uso-edges
{x} -> {y} LEAK integrity
{x} -> {y} PASS merge-rules, mtu, rx-checksum-edges, rx-verification, tx-checksum-edges, vlan
{x}/eth0 CORRUPT tso, tx-checksum
{x}/eth0 INCONCLUSIVE tso-mangleid
{x}/eth0 LEAK uso
{x}/eth0 PASS gro, gso, rss, rx-checksum, vlan-filter, vlan-insert, vlan-strip
{x}/eth0 SKIP tso6
";

/// Every verdict of one of its functions.
const FUNCTION: &str = "\
{x} -> {y} PASS integrity, merge-rules, mtu, rx-checksum-edges, rx-verification, tx-checksum-edges, uso-edges, vlan
{x}/eth0 CORRUPT tso, tx-checksum
{x}/eth0 INCONCLUSIVE tso-mangleid
{x}/eth0 PASS gro, gso, rx-checksum
{x}/eth0 SKIP rss, tso6, vlan-filter, vlan-insert, vlan-strip
";

#[track_caller]
fn all_verdicts(json: &Value, of_each: &str) {
    let expected = verdicts::both(["a", "b"], of_each) + "all devices PASS state\n";
    let wrong = verdicts::differences(json, &expected);
    assert!(wrong.is_empty(), "{wrong}\n{json:#}");
}

/// The emulated 82576 takes datagrams in bundles (`UDP_SEGMENT`) for one datagram to be fragmented, and keeps no PSH of what it
/// cuts. All else of the port is right; the driver ties VLAN insertion to stripping.
#[test]
fn a_port_that_sends_bundles_of_datagrams_as_fragments_is_named() {
    let Some(world) = World::new("sriov-offload") else { return };
    let file = world.file(
        "name = \"t\"\n[nic.l]\npci = \"PF0\"\ncable = \"r\"\nchannels = { combined = 2 }\n\
         [nic.r]\npci = \"PF1\"\nchannels = { combined = 2 }\n[node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n",
    );
    let json = world.lab.netbench(&["offload", "verify", &file, "--json"]).exits(3).json();
    all_verdicts(&json, PORT);
    for device in ["a/eth0", "b/eth0"] {
        // With checksums on the kernel leaves the cutting to it as well, and it clears PSH of the last segment too.
        for check in ["tx-checksum", "tso"] {
            let (word, row) = verdict(&json, device, check);
            assert!(word == "CORRUPT" && row.contains("only with it on: TCP flags changed"), "{row}");
        }
        let (word, row) = verdict(&json, device, "uso");
        assert!(word == "LEAK" && row.contains("\"fragmented\""), "{row}");
        assert!(row.contains("ethtool -K eth0 tx-udp-segmentation off"), "{row}");
        let (word, row) = verdict(&json, device, "vlan-insert");
        assert!(word == "PASS" && row.contains("rx-vlan-hw-parse"), "{row}");
        // What its driver counted of the wrong checksums that were sent on purpose.
        let (_, row) = verdict(&json, device, "rx-checksum");
        assert!(row.contains("_csum_err 12 with it on, 0 with it off"), "{row}");
        let (word, row) = verdict(&json, device, "vlan-filter");
        assert!(
            word == "PASS" && row.contains("0 came with the filter on, 12 while the port was promiscuous"),
            "{row}"
        );
        // Its driver does not tell the key: that both queues are used is all there is to see.
        let (word, row) = verdict(&json, device, "rss");
        assert!(word == "PASS" && row.contains("64 connections came by 2 of the 2 queues"), "{row}");
    }
    let (word, row) = verdict(&json, "a -> b", "uso-edges");
    assert!(word == "CORRUPT" && row.contains("first seen between a/eth0 and b/eth0"), "{row}");
    let (word, row) = verdict(&json, "all devices", "state");
    assert!(word == "PASS" && row.contains("interrupts go to the CPUs that they went to"), "{row}");
}

/// Its receiver takes packets that are longer than its own MTU, where somebody sends them.
#[test]
fn a_port_that_receives_more_than_its_mtu_is_named() {
    let Some(world) = World::new("sriov-offload-mtu") else { return };
    let file = world.file(
        "name = \"t\"\n[nic.l]\npci = \"PF0\"\ncable = \"r\"\n[nic.r]\npci = \"PF1\"\n\
         [node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n",
    );
    world.lab.netbench(&["topo", "apply", &file]).ok();
    world.lab.sh_in("nb-t-a", "ip link set eth0 mtu 4000");
    let json = world.lab.netbench(&["offload", "verify", &file, "--only", "lro", "--json"]).exits(3).json();
    let (word, row) = verdict(&json, "a -> b", "mtu");
    assert!(word == "LEAK" && row.contains("1509 bytes was delivered, 9 more than the declared MTU"), "{row}");
    assert_eq!(verdict(&json, "b -> a", "mtu").0, "PASS", "{json:#}");
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
}

/// Functions of one card as they are, without a tunnel: both ways, each end.
#[test]
fn plain_functions_are_right_both_ways() {
    let Some(world) = World::new("sriov-offload-plain") else { return };
    let json = world.lab.netbench(&["offload", "verify", &world.file(PAIR), "--json"]);
    if nics_are_emulated() {
        let json = json.exits(3).json();
        all_verdicts(&json, FUNCTION);
        let (_, row) = verdict(&json, "a/eth0", "rx-checksum");
        assert!(row.contains("rx_csum_offload_errors 12 with it on, 0 with it off"), "{row}");
        return;
    }
    let json = json.ok().json();
    for check in ["mtu", "integrity", "rx-verification", "vlan", "merge-rules"] {
        for path in ["a -> b", "b -> a"] {
            assert_eq!(verdict(&json, path, check).0, "PASS", "{json:#}");
        }
    }
}

/// Every verdict of a path over a tunnel over them.
const TUNNEL_OVER_FUNCTIONS: &str = "\
{x} -> {y} LEAK integrity, tx-checksum-edges
{x} -> {y} PASS merge-rules, rx-checksum-edges, rx-verification, vlan
{x}/eth0 BLACKHOLE mtu
";

/// It leaves the checksum of a packet within a tunnel undone, and makes the outer one right: nothing gets through VXLAN over
/// its functions, and the tunnel is not what is to blame.
#[test]
fn functions_that_leave_checksums_within_a_tunnel_undone_are_named() {
    let Some(world) = World::new("sriov-offload-vxlan") else { return };
    let file = world.file(
        "name = \"t\"\n[nic.pf]\npci = \"PF0\"\n[host.l]\n[host.r]\n[node.a]\nhost = \"l\"\n[node.b]\nhost = \"r\"\n\
         [switch.left]\nkind = \"bridge\"\nhost = \"l\"\nports = [\"a\"]\n\
         [switch.right]\nkind = \"bridge\"\nhost = \"r\"\nports = [\"b\"]\n\
         [switch.wire]\nkind = \"sriov\"\nnic = \"pf\"\nports = [\"l\", \"r\"]\n\
         [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n",
    );
    let only = "tx-checksum,tx-checksum-edges,rx-checksum-edges";
    let json = world.lab.netbench(&["offload", "verify", &file, "--only", only, "--json"]).exits(3).json();
    let lines: Vec<String> = verdicts::table(&json).lines().map(str::to_owned).collect();
    for line in verdicts::both(["a", "b"], TUNNEL_OVER_FUNCTIONS).lines() {
        assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:#?}");
    }
    for device in ["l/eth0", "r/eth0"] {
        let (word, row) = verdict(&json, device, "tx-checksum");
        assert!(word == "LEAK" && row.contains("\"partial_checksum\""), "{row}");
    }
    for device in ["l/vx0", "r/vx0"] {
        assert!(!["CORRUPT", "LEAK", "DROP"].contains(&verdict(&json, device, "tx-checksum").0), "{json:#}");
    }
    let (word, row) = verdict(&json, "a -> b", "integrity");
    assert!(word == "LEAK" && row.contains("between l/eth0 and r/eth0"), "{row}");
}
