//! NUMA: which CPUs are near a node, and which node a device is near. The machine's sysfs, not a namespace's.

use std::{fs, path::Path};

use super::{Result, error::Operation};
use crate::units::{CpuList, IfName};

/// CPUs of a NUMA node.
///
/// # Errors
/// No such node, or a list that cannot be read.
pub fn cpus_of(node: u32) -> Result<CpuList> {
    let path = format!("/sys/devices/system/node/node{node}/cpulist");
    let operation = || Operation::plain("read the CPUs of NUMA node", node);
    let text = fs::read_to_string(&path).map_err(|error| operation().io(error))?;
    text.trim().parse().map_err(|error| operation().malformed(error))
}

/// The NUMA node of a network device; `None` for virtual devices and where the firmware does not say (-1).
pub fn node_of(ifname: &IfName) -> Option<u32> {
    let path = Path::new("/sys/class/net").join(ifname.as_str()).join("device/numa_node");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_zero_has_cpus_and_loopback_has_no_node() {
        if Path::new("/sys/devices/system/node/node0").exists() {
            assert!(!cpus_of(0).unwrap().0.is_empty());
        }
        let error = cpus_of(4_000_000).unwrap_err().to_string();
        assert!(error.contains("NUMA node 4000000"), "{error}");
        assert_eq!(node_of(&"lo".parse().unwrap()), None);
    }
}
