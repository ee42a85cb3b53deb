//! SR-IOV in a resolved topology.

use serde::{Deserialize, Serialize};

use crate::units::MacAddr;

/// A virtual function as the port of a switch. `None` leaves a setting as the driver made it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VfPort {
    /// Its number, from 0.
    pub index: u32,
    /// 802.1p priority of the VLAN's tag.
    pub qos: u8,
    /// Most that it sends, in Mbit/s.
    pub max_rate: Option<u32>,
    /// What it is guaranteed, in Mbit/s.
    pub min_rate: Option<u32>,
    /// Are frames with another source MAC dropped?
    pub spoofchk: Option<bool>,
    /// May it change its MAC and be promiscuous?
    pub trust: Option<bool>,
    /// Its link.
    pub link_state: Option<VfLinkState>,
}

/// Link of a virtual function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VfLinkState {
    /// Follows the port.
    Auto,
    /// Up whatever the port is.
    Enable,
    /// Down.
    Disable,
}

/// Mode of a NIC's embedded switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Eswitch {
    /// It switches by MAC and VLAN by itself.
    Legacy,
    /// Each virtual function has a representor, and the host says what is switched.
    Switchdev,
}

/// Settings of a virtual function that no node has. `None` leaves a setting as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FreeVf {
    /// VLAN.
    pub vlan: Option<u16>,
    /// MAC.
    pub mac: Option<MacAddr>,
    /// The rest, with its number.
    pub port: VfPort,
}

/// What a NIC is to have of virtual functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SriovNic {
    /// How many.
    pub vfs: u32,
    /// Just as many; otherwise more that are there already serve as well.
    pub exact: bool,
    /// May those that somebody else made go?
    pub takeover: bool,
    /// Mode of the embedded switch; `None` leaves it as found.
    pub eswitch: Option<Eswitch>,
    /// What it does for functions that no node has.
    #[serde(default)]
    pub functions: Vec<FreeVf>,
}
