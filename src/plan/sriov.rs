//! SR-IOV as data: how many virtual functions a NIC has, and what it does for each.

use serde::{Deserialize, Serialize};

use super::desired::LinkRef;
use crate::{
    topology::model::{Eswitch, VfLinkState},
    units::MacAddr,
};

/// A NIC whose virtual functions are ports of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pf {
    /// Where its own interface is while the topology stands.
    pub at: LinkRef,
    /// PCI address, or `BUS/DEVICE` of another bus.
    pub pci: String,
    /// Virtual functions wanted.
    pub vfs: u32,
    /// Just as many; otherwise more that are there already serve as well.
    pub exact: bool,
    /// May those that somebody else made go?
    pub takeover: bool,
    /// Mode of the embedded switch; `None` leaves it as found.
    pub eswitch: Option<Eswitch>,
    /// What it does for functions that no node has, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<(u32, VfSet)>,
}

/// Settings of a virtual function, made through its NIC; `None` leaves one alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VfSet {
    /// VLAN and 802.1p priority of the tag that the NIC adds and removes; VLAN 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<(u16, u8)>,
    /// MAC; all zero takes an assigned one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Guaranteed and largest rate in Mbit/s; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<(u32, u32)>,
    /// Drop frames with another source MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoofchk: Option<bool>,
    /// May it change its MAC, be promiscuous?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<bool>,
    /// Its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_state: Option<VfLinkState>,
}

impl VfSet {
    /// Of what is wanted, that which differs from `got`; and what `got` has in these places.
    pub fn against(&self, got: &VfSet) -> (VfSet, VfSet) {
        fn field<T: Copy + PartialEq>(want: Option<T>, got: Option<T>) -> (Option<T>, Option<T>) {
            if want.is_some() && want != got { (want, got) } else { (None, None) }
        }
        let (vlan, mac) = (field(self.vlan, got.vlan), field(self.mac, got.mac));
        let (rate, spoofchk) = (field(self.rate, got.rate), field(self.spoofchk, got.spoofchk));
        let (trust, link_state) = (field(self.trust, got.trust), field(self.link_state, got.link_state));
        let side = |first: bool| {
            fn pick<T>(pair: (Option<T>, Option<T>), first: bool) -> Option<T> {
                if first { pair.0 } else { pair.1 }
            }
            VfSet {
                vlan: pick(vlan, first),
                mac: pick(mac, first),
                rate: pick(rate, first),
                spoofchk: pick(spoofchk, first),
                trust: pick(trust, first),
                link_state: pick(link_state, first),
            }
        };
        (side(true), side(false))
    }

    /// What is said here, and of `other` what is not.
    pub fn or(&self, other: &VfSet) -> VfSet {
        VfSet {
            vlan: self.vlan.or(other.vlan),
            mac: self.mac.or(other.mac),
            rate: self.rate.or(other.rate),
            spoofchk: self.spoofchk.or(other.spoofchk),
            trust: self.trust.or(other.trust),
            link_state: self.link_state.or(other.link_state),
        }
    }

    /// (field, value) of all that is set, in ip-link(8)'s words and in the order in which drivers need them.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
        let mut words = Vec::new();
        if let Some((vlan, qos)) = self.vlan {
            let qos = if qos == 0 { String::new() } else { format!(" qos {qos}") };
            words.push(("vlan", format!("{vlan}{qos}")));
        }
        words.extend(self.mac.map(|mac| ("mac", mac.to_string())));
        if let Some((least, most)) = self.rate {
            if least > 0 {
                words.push(("min_tx_rate", least.to_string()));
            }
            words.push(("max_tx_rate", most.to_string()));
        }
        words.extend(self.spoofchk.map(|on| ("spoofchk", on_off(on))));
        words.extend(self.trust.map(|on| ("trust", on_off(on))));
        words.extend(self.link_state.map(|state| ("state", format!("{state:?}").to_lowercase())));
        words
    }
}

/// A change of the virtual functions of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PfChange {
    /// PCI address.
    pub pci: String,
    /// How many there shall be.
    pub vfs: u32,
    /// How many there were.
    pub previous: u32,
    /// Settings of those that there were and that somebody else had made: set again when they are made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<VfSet>,
    /// `sriov_drivers_autoprobe`, which is never left changed.
    pub autoprobe: bool,
    /// Is this the way back? The functions then get their drivers as the kernel does it, and the mark goes.
    #[serde(default)]
    pub back: bool,
    /// Mode of the embedded switch after the change, and before; the same where the file says nothing, since some drivers go
    /// back to legacy when functions go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eswitch: Option<(Eswitch, Eswitch)>,
}

impl PfChange {
    /// The change that takes this one back.
    pub fn undo(&self) -> Self {
        Self {
            vfs: self.previous,
            previous: self.vfs,
            back: !self.back,
            eswitch: self.eswitch.map(|(to, from)| (from, to)),
            ..self.clone()
        }
    }
}

/// A NIC as read back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedPf {
    /// `sriov_numvfs`.
    pub vfs: u32,
    /// `sriov_totalvfs`; 0 where the NIC has no SR-IOV.
    pub total: u32,
    /// `sriov_drivers_autoprobe`.
    pub autoprobe: bool,
    /// Mode of the embedded switch, where devlink tells.
    pub eswitch: Option<Eswitch>,
    /// The topology that changed it, by the mark on the NIC.
    pub owner: Option<String>,
    /// Did the topology make the functions? It may have changed the mode of the embedded switch alone.
    pub made: bool,
    /// The functions, by number.
    pub functions: Vec<ObservedVf>,
}

/// A virtual function as read back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ObservedVf {
    /// PCI address.
    pub pci: String,
    /// Driver it is bound to: `vfio-pci` where a virtual machine or DPDK has it.
    pub driver: Option<String>,
    /// Settings as the NIC reports them.
    pub set: VfSet,
}
