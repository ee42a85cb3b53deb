//! Two SR-IOV NICs that a test may use: in the lab (Intel 82576, emulated by QEMU, driven by the kernel's own igb and igbvf),
//! or those of `NETBENCH_SRIOV=PCI,PCI`, which are on one wire and nobody else's.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::Value;

use super::lab::{Dump, Lab, PATIENCE, eventually, skip_to_lab};

/// A world with two SR-IOV NICs, by PCI address, both up.
pub struct World {
    pub lab: Lab,
    pub nics: [String; 2],
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
    pub fn new(name: &str) -> Option<Self> {
        let Some(nics) = nics() else {
            skip_to_lab("no SR-IOV NICs that a test may use (NETBENCH_SRIOV)");
            return None;
        };
        let world = Self { lab: Lab::on_the_machine(name)?, nics };
        for nic in 0..2 {
            let name = world.pf(nic);
            world.lab.sh(&format!("ip link set {name} down; ip addr flush dev {name}; ip link set {name} up"));
        }
        let up = eventually(PATIENCE, || {
            [0, 1].iter().all(|&nic| {
                world.lab.read(format!("/sys/class/net/{}/carrier", world.pf(nic))).is_ok_and(|c| c.trim() == "1")
            })
        });
        assert!(up, "the NICs have no carrier");
        Some(world)
    }

    /// Interface of a NIC.
    pub fn pf(&self, nic: usize) -> String {
        self.lab.sh(&format!("ls /sys/bus/pci/devices/{}/net", self.nics[nic])).trim().to_owned()
    }

    /// A file with the addresses of the NICs put in for `PF0` and `PF1`.
    pub fn file(&self, text: &str) -> String {
        self.lab.file("t.toml", &text.replace("PF0", &self.nics[0]).replace("PF1", &self.nics[1]))
    }

    pub fn vfs(&self, nic: usize) -> Value {
        let all = self.lab.json(&format!("ip -j link show dev {}", self.pf(nic)));
        all[0]["vfinfo_list"].clone()
    }

    pub fn settled(&self) -> Dump {
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

/// Two nodes with a function each of the first NIC.
pub const PAIR: &str = "name = \"t\"\n[nic.pf]\npci = \"PF0\"\n[node.a]\n[node.b]\n\
                    [switch.vf]\nkind = \"sriov\"\nnic = \"pf\"\nports = [\"a\", \"b\"]\n";

/// The lab's own NICs, whose faults are known.
pub fn nics_are_emulated() -> bool {
    std::env::var_os("NETBENCH_SRIOV").is_none()
}
