//! A network interface as hardware: what it is, where it is plugged in, and what it can do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::{BitRate, MacAddr};

/// An interface. What its driver does not tell is null.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Nic {
    /// Kernel name.
    pub ifname: String,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Kind of a virtual device (`veth`, `bridge`); null for hardware.
    pub kind: Option<String>,
    /// Driver.
    pub driver: Option<String>,
    /// Version of its firmware.
    pub firmware: Option<String>,
    /// MAC.
    pub mac: Option<MacAddr>,
    /// MTU in bytes, and the largest it takes.
    pub mtu: u32,
    /// Largest MTU; null where the driver does not say.
    pub max_mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// Has a carrier.
    pub carrier: bool,
    /// Link speed in bit/s, of hardware with a carrier.
    pub speed_bits: Option<u64>,
    /// Its place on the PCI bus.
    pub pci: Option<Pci>,
    /// NUMA node; null where the firmware does not say.
    pub numa: Option<u32>,
    /// SR-IOV, where it is a NIC that can.
    pub sriov: Option<Sriov>,
    /// Where it is a virtual function: PCI address of its NIC.
    pub function_of: Option<String>,
    /// Where it stands for a function on the embedded switch of a NIC (switchdev): that function.
    #[serde(default)]
    pub representor_of: Option<Represented>,
    /// Offloads by ethtool's name: in force or not, and whether that can be changed.
    pub offloads: BTreeMap<String, Offload>,
    /// Rings, channels and coalescing by ethtool's name.
    pub parameters: BTreeMap<String, u32>,
    /// Queues.
    pub queues: Queues,
    /// Its interrupts.
    pub irqs: Vec<Irq>,
    /// PTP hardware clock (`/dev/ptpN`).
    pub ptp_clock: Option<u32>,
    /// Tables of UDP ports by which tunnels come, of a device that looks into tunnels.
    #[serde(default)]
    pub tunnel_tables: Vec<TunnelTable>,
    /// Of which bridge of the host's own Open vSwitch it is a port, and how that is set; null where it is none, where its
    /// database may not be read, and in a list.
    #[serde(default)]
    pub open_vswitch: Option<SwitchPort>,
}

/// A port of the host's own Open vSwitch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SwitchPort {
    /// The bridge.
    pub bridge: String,
    /// All of `other_config` of the switch.
    pub settings: Vec<super::OvsSetting>,
}

/// A table of UDP ports of a device: packets that come by one of them are a tunnel's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TunnelTable {
    /// Entries that it has room for.
    pub size: u32,
    /// Tunnels that it is for: `vxlan`, `geneve`, `vxlan-gpe`.
    pub kinds: Vec<String>,
    /// What the device was told.
    pub ports: Vec<TunnelPort>,
}

/// A UDP port of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TunnelPort {
    /// UDP port.
    pub port: u16,
    /// Tunnel.
    pub kind: String,
}

impl std::fmt::Display for TunnelTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(|port| format!("{} {}", port.kind, port.port)).collect();
        let held = if ports.is_empty() { format!("no {} port", self.kinds.join(" or ")) } else { ports.join(", ") };
        write!(f, "{held} ({} of {} entries)", self.ports.len(), self.size)
    }
}

/// A place on the PCI bus.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pci {
    /// Address, such as `0000:01:00.0`.
    pub address: String,
    /// `vendor:device` in hexadecimal.
    pub id: String,
    /// Transfers a second and lane, in GT/s, as trained.
    pub gigatransfers: Option<f64>,
    /// Lanes, as trained.
    pub lanes: Option<u32>,
    /// Most of both that the device can.
    pub max_gigatransfers: Option<f64>,
    /// Most lanes.
    pub max_lanes: Option<u32>,
    /// What the link carries each way in bit/s, line coding taken off; packet headers take a further 5 to 20 %.
    pub bits_per_second: Option<u64>,
}

/// SR-IOV of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sriov {
    /// Most virtual functions.
    pub total: u32,
    /// Those that there are.
    pub functions: Vec<Function>,
    /// Are drivers bound to new ones by themselves?
    pub autoprobe: bool,
    /// Mode of the embedded switch, where devlink tells.
    pub eswitch: Option<String>,
}

/// What an interface stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Represented {
    /// The NIC: its PCI address, or `BUS/DEVICE` of another bus.
    pub nic: String,
    /// Name of the port on the NIC's embedded switch: `pf0vf1`.
    pub port: String,
}

/// A virtual function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Function {
    /// PCI address; empty where it is no PCI function.
    pub address: String,
    /// Driver: `vfio-pci` where a virtual machine or DPDK has it.
    pub driver: Option<String>,
    /// Interface, where it is in this namespace.
    pub ifname: Option<String>,
    /// Interface that stands for it on the embedded switch, where that is in this namespace.
    #[serde(default)]
    pub representor: Option<String>,
    /// What its NIC does for it, in ip-link(8)'s words.
    pub settings: BTreeMap<String, String>,
}

/// An offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Offload {
    /// In force.
    pub on: bool,
    /// Can it be switched?
    pub changeable: bool,
}

/// Queues of the kernel for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Queues {
    /// Receive queues.
    pub rx: u32,
    /// Transmit queues.
    pub tx: u32,
}

/// An interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Irq {
    /// Number in `/proc/interrupts`.
    pub number: u32,
    /// CPUs that take it now (`effective_affinity_list`).
    pub cpus: String,
    /// How often it came, over all CPUs.
    pub count: u64,
}

impl Pci {
    /// Bits a second that a link carries each way: 8b/10b below 8 GT/s, 128b/130b to 32, flits of 242 in 256 bytes above
    /// (PCI Express Base Specification, sections 4.2 and 4.2.3).
    pub fn rate(gigatransfers: f64, lanes: u32) -> BitRate {
        let coding = match gigatransfers {
            g if g < 8.0 => 8.0 / 10.0,
            g if g <= 32.0 => 128.0 / 130.0,
            _ => 242.0 / 256.0,
        };
        BitRate((gigatransfers * 1e9 * f64::from(lanes) * coding) as u64)
    }
}

impl Nic {
    /// Does its place on the bus carry less than its line?
    pub fn is_starved(&self) -> bool {
        let bus = self.pci.as_ref().and_then(|pci| pci.bits_per_second);
        self.speed_bits.zip(bus).is_some_and(|(line, bus)| line > bus)
    }

    /// CPUs that take its interrupts, each once, in order.
    pub fn irq_cpus(&self) -> Vec<u32> {
        let mut cpus: Vec<u32> = self
            .irqs
            .iter()
            .filter_map(|irq| irq.cpus.parse::<crate::units::CpuList>().ok())
            .flat_map(|list| list.0.into_iter().map(|cpu| cpu as u32).collect::<Vec<_>>())
            .collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_link_carries_what_its_coding_leaves() {
        assert_eq!(Pci::rate(2.5, 4).0, 8_000_000_000);
        assert_eq!(Pci::rate(8.0, 8).0 / 1_000_000, 63_015);
        assert_eq!(Pci::rate(16.0, 16).0 / 1_000_000, 252_061);
    }

    #[test]
    fn a_line_faster_than_its_bus_is_told() {
        let pci = Pci { bits_per_second: Some(8_000_000_000), ..Pci::default() };
        let mut nic = Nic { speed_bits: Some(10_000_000_000), pci: Some(pci), ..Nic::default() };
        assert!(nic.is_starved());
        nic.speed_bits = Some(1_000_000_000);
        assert!(!nic.is_starved());
    }
}
