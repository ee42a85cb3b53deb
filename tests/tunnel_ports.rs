//! `tunnel-rx`: a device that looks into VXLAN knows the port, or it does not look: netdevsim has a table of such ports, and two of
//! its devices make a wire. `scripts/vmlab test` builds the module for the kernel of the lab and runs this there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "the namespaces come with the other half of it")]

mod cables;
#[path = "lab/skip.rs"]
mod skip;

use std::{collections::BTreeSet, path::Path, process::Command, sync::atomic::AtomicBool};

use cables::Lab;
use netbench::{
    apply::{features::Loans, journal::StateRoot, world::World},
    experiment::offload::{Target, drive},
    kernel::Netns,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Flow,
};

/// Runs a script in the first namespace of the machine.
#[track_caller]
fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Wire {
    lab: Lab,
}

impl Wire {
    /// Two simulated devices on one wire, as `eth0` of both namespaces, with VXLAN over them.
    fn new() -> Self {
        let lab = Lab::new(0).unwrap();
        sh("modprobe -a netdevsim vxlan
            cd /sys/bus/netdevsim; echo '10 1' >new_device; echo '11 1' >new_device
            index() { cat devices/netdevsim$1/net/*/ifindex; }
            exec 7</proc/self/ns/net; echo \"7:$(index 10) 7:$(index 11)\" >link_device");
        for (ns, device, host, far) in [("client", 10, 1, 2), ("server", 11, 2, 1)] {
            let name = sh(&format!("ls /sys/bus/netdevsim/devices/netdevsim{device}/net"));
            sh(&format!("ip link set {} netns {} name eth0", name.trim(), lab.pid(ns)));
            for words in [
                format!("addr add 198.18.0.{host}/24 dev eth0"),
                "link set eth0 up".to_owned(),
                format!(
                    "link add vx0 type vxlan id 42 local 198.18.0.{host} remote 198.18.0.{far} dev eth0 dstport 4789"
                ),
                "link set vx0 mtu 1450".to_owned(),
                format!("addr add 198.18.9.{host}/24 dev vx0"),
                "link set vx0 up".to_owned(),
            ] {
                lab.ip(ns, &words);
            }
        }
        Self { lab }
    }

    fn target(&self) -> (World, Target) {
        let hop = |ns: &str, name: &str, direction, overhead| Hop {
            at: LinkRef { ns: NsId::new(ns), name: name.parse().unwrap() },
            direction,
            mtu: if name == "vx0" { 1450 } else { 1500 },
            overhead,
            beside: Vec::new(),
        };
        let hops = vec![
            hop("client", "vx0", Direction::Tx, 0),
            hop("client", "eth0", Direction::Tx, 50),
            hop("server", "eth0", Direction::Rx, 50),
            hop("server", "vx0", Direction::Rx, 0),
        ];
        let (from, to) = ("198.18.9.1".parse().unwrap(), "198.18.9.2".parse().unwrap());
        let flow = Flow { from: "client".into(), to: "server".into(), from_address: from, to_address: to, mtu: 1450 };
        let path = FlowPath { flow, from_ns: NsId::new("client"), to_ns: NsId::new("server"), hops };
        let mut world = World::new("ports");
        for ns in ["client", "server"] {
            world.insert(NsId::new(ns), Netns::of_pid(self.lab.pid(ns), ns).unwrap());
        }
        (world, Target { path, addresses: vec![(from, to)], userspace_ovs: BTreeSet::new() })
    }

    /// The row of the receiving device.
    fn verified(&self) -> OffloadCheck {
        let (world, target) = self.target();
        let root = StateRoot(Path::new("/run").join("netbench-tunnel-ports"));
        let store = root.lock("ports").unwrap();
        let only = ["tunnel-rx".to_owned()].into();
        let never = AtomicBool::new(false);
        let verified = drive::verify(&world, &[target], &only, 1, Loans::new(&store), &never, &mut |_| {}).unwrap();
        assert!(verified.left.is_empty(), "{:?}", verified.left);
        store.remove().unwrap();
        let is_it = |row: &&OffloadCheck| row.check == "tunnel-rx" && row.device.as_deref() == Some("server/eth0");
        let row = verified.checks.iter().find(is_it);
        row.unwrap_or_else(|| panic!("no tunnel-rx: {:#?}", verified.checks)).clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ =
            Command::new("sh").args(["-c", "cd /sys/bus/netdevsim; echo 10 >del_device; echo 11 >del_device"]).status();
    }
}

#[test]
fn a_device_that_knows_the_port_of_a_tunnel_is_right_and_one_that_does_not_is_named() {
    if std::env::var_os("VMLAB").is_none() {
        return skip::skip_to_lab("netdevsim is tried in the lab alone");
    }
    let wire = Wire::new();
    let row = wire.verified();
    assert_eq!(row.verdict, OffloadVerdict::Pass, "{row:?}");
    assert!(row.evidence.contains("the device's table of tunnel ports has 4789"), "{row:?}");
    assert_eq!(row.features, ["rx-udp_tunnel-port-offload"]);
    // The table is full of others: the device refuses what comes later.
    let debug = "/sys/kernel/debug/netdevsim/netdevsim11/ports/0";
    wire.lab.ip("server", "link set vx0 down");
    sh(&format!("mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; ls {debug}"));
    for number in 0..8 {
        wire.lab
            .ip("server", &format!("link add other{number} type vxlan id {} dstport {}", 100 + number, 5000 + number));
        wire.lab.ip("server", &format!("link set other{number} up"));
    }
    wire.lab.ip("server", "link set vx0 up");
    let row = wire.verified();
    assert_eq!(row.verdict, OffloadVerdict::NotActive, "{row:?}");
    assert!(row.evidence.contains("the device's table of tunnel ports lacks 4789"), "{row:?}");
    assert!(row.cure.is_some_and(|cure| cure.contains("fewer tunnel ports")));
}
