//! In what a run was measured: enough to judge it, to compare it with another, and to do it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RunRecord;
use crate::{
    facts::Machine,
    units::{CpuList, stable_hash},
};

/// All of it. A fact that could not be read is absent, and `missing` says why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Manifest {
    /// The topology file, whole.
    pub topology: String,
    /// A command line that does it again; the file must still be there.
    pub rerun: String,
    /// Interfaces that the flows cross, each once, in the order of the paths.
    pub hops: Vec<HopFacts>,
    /// sysctls in force, by namespace: those that the file sets and those that tune TCP.
    pub sysctls: BTreeMap<String, BTreeMap<String, String>>,
    /// CPUs to which the threads of a node were bound.
    pub placement: BTreeMap<String, CpuList>,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// An interface on a path, as it was right before the measurement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HopFacts {
    /// `namespace/interface`
    pub at: String,
    /// `veth`, `bridge`, `vxlan` …; empty for a device on a bus.
    pub kind: String,
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// MTU that the file asks for; 0 where it is left as found.
    pub mtu_wanted: u32,
    /// Driver, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Version of the driver; the kernel's release where the driver has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// Firmware, as the driver says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Root queueing discipline, when it is not the kernel's default for the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdisc: Option<String>,
    /// `gso_max_size`, bytes.
    pub gso_max_size: u32,
    /// Offloads (ethtool's kernel names) that are in force.
    pub active: Vec<String>,
    /// Asked for and not in force: something they depend on is off.
    pub wanted_inactive: Vec<String>,
    /// Off, and could be switched on.
    pub off: Vec<String>,
}

impl HopFacts {
    /// `veth`, `ixgbe 6.1.0, firmware 0x800003df`: the kind, and of a device on a bus its driver, version and firmware.
    pub fn device(&self) -> String {
        let Some(driver) = self.driver.as_ref().filter(|_| self.kind.is_empty()) else { return self.kind.clone() };
        let firmware = self.firmware.as_ref().map(|firmware| format!(", firmware {firmware}")).unwrap_or_default();
        let version = self.driver_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        format!("{driver}{version}{firmware}")
    }
}

/// What must be equal for two runs to be comparable, each part by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub Vec<(&'static str, String)>);

impl Fingerprint {
    /// Hexadecimal.
    pub fn hash(&self) -> String {
        let parts: Vec<&str> = self.0.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
        format!("{:016x}", stable_hash(&parts))
    }

    /// The parts that differ: name, ours, theirs.
    pub fn differences<'f>(&'f self, other: &'f Self) -> Vec<(&'static str, &'f str, &'f str)> {
        let pairs = self.0.iter().zip(&other.0).filter(|(a, b)| a != b);
        pairs.map(|((name, a), (_, b))| (*name, a.as_str(), b.as_str())).collect()
    }
}

impl RunRecord {
    /// Topology, machine, devices, offloads, MTUs and netbench's version.
    pub fn fingerprint(&self) -> Fingerprint {
        let manifests: Vec<_> = self.manifest.iter().map(|manifest| ("", manifest)).collect();
        let topology = format!("{} {}", self.topology.name, self.topology.hash);
        let mut all = surroundings(topology, &self.machine, &self.netbench, &manifests);
        if let Some(peer) = &self.peer {
            let Machine { hostname, kernel, cpus, cpu, .. } = &peer.machine;
            all.0.push(("server", format!("{hostname}: {kernel} {cpus} {cpu}, netbench {}", peer.netbench)));
        }
        all
    }
}

/// The fingerprint of what was measured in these manifests, each with the name of its variant, or an empty one.
pub fn surroundings(
    topology: String,
    machine: &Machine,
    netbench: &str,
    manifests: &[(&str, &Manifest)],
) -> Fingerprint {
    let hops = |said: &dyn Fn(&HopFacts) -> String| {
        let all = manifests.iter().flat_map(|(variant, manifest)| manifest.hops.iter().map(move |hop| (variant, hop)));
        let one = |(variant, hop): (&&str, &HopFacts)| match variant.is_empty() {
            true => format!("{}: {}", hop.at, said(hop)),
            false => format!("{variant} {}: {}", hop.at, said(hop)),
        };
        all.map(one).collect::<Vec<_>>().join("; ")
    };
    Fingerprint(vec![
        ("topology", topology),
        ("kernel", machine.kernel.clone()),
        ("CPUs", format!("{} {}{}", machine.cpus, machine.cpu, machine.governed())),
        ("netbench", netbench.to_owned()),
        ("MTU", hops(&|hop| hop.mtu.to_string())),
        ("devices", hops(&|hop| [hop.device(), hop.qdisc.clone().unwrap_or_default()].join(" ").trim().to_owned())),
        ("offloads", hops(&|hop| hop.active.join(" "))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopologyRef;

    #[test]
    fn an_offload_makes_another_fingerprint_and_a_time_does_not() {
        let record = |started: &str, active: &[&str]| {
            let mut record = RunRecord::new(
                started.parse().unwrap(),
                vec![],
                TopologyRef { name: "t".into(), hash: "1".into() },
                Machine::default(),
            );
            let active = active.iter().map(|&name| name.to_owned()).collect();
            let hop = HopFacts { at: "a/eth0".into(), mtu: 1500, active, ..HopFacts::default() };
            record.manifest = Some(Manifest { hops: vec![hop], ..Manifest::default() });
            record.fingerprint()
        };
        let plain = record("2026-11-22T10:00:00Z", &["rx-gro"]);
        assert_eq!(plain.hash(), record("2026-11-23T10:00:00Z", &["rx-gro"]).hash());
        let other = record("2026-11-22T10:00:00Z", &[]);
        assert_ne!(plain.hash(), other.hash());
        assert_eq!(plain.differences(&other), [("offloads", "a/eth0: rx-gro", "a/eth0: ")]);
    }
}
