//! Reading back: what a namespace holds.
//!
//! Messages are read attribute by attribute. The typed codec refuses a whole message for one attribute of a length it
//! does not know, as a newer kernel may send, and takes several times as long; there may be a thousand namespaces.

mod links;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
};

use super::{Result, error::Operation, netns::Netns};
use crate::{
    facts::Machine,
    plan::observed::ObservedNs,
    units::{IfName, MacAddr},
};

pub use links::{LinkRow, counters, group_members};
pub(super) use links::{is_representor, rows};
pub(super) use tables::{addresses, learned_neighbours, routes};

/// What to read. Links are always read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses.
    pub addresses: bool,
    /// Routes of the main table.
    pub routes: bool,
    /// Static forwarding entries of VXLAN devices.
    pub fdb: bool,
    /// Permanent neighbour entries; off unless asked.
    pub neighbours: bool,
    /// Root qdiscs other than the kernel's default ones.
    pub qdiscs: bool,
    /// sysctls by dotted key.
    pub sysctl: BTreeSet<String>,
    /// Links whose ethtool features are wanted.
    pub features: BTreeSet<IfName>,
    /// Links whose rings, channels and coalescing are wanted.
    pub ethtool: BTreeSet<IfName>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            addresses: true,
            routes: true,
            fdb: true,
            neighbours: false,
            qdiscs: true,
            sysctl: BTreeSet::new(),
            features: BTreeSet::new(),
            ethtool: BTreeSet::new(),
        }
    }
}

impl Wanted {
    /// Links alone, with their marks.
    pub fn links_only() -> Self {
        Self { addresses: false, routes: false, fdb: false, qdiscs: false, ..Self::default() }
    }
}

/// Kind of the root queueing discipline of an interface, such as `fq` or `noqueue`, and of `mq` that of its queues where they have
/// the same; none where there is no such interface.
pub fn root_qdisc(ns: &Netns, name: &IfName) -> Result<Option<String>> {
    let failed = |failure| Operation::of("read", "links", ns.label()).failed(failure);
    let Some(row) = rows(ns).map_err(failed)?.into_iter().find(|row| row.name == *name) else { return Ok(None) };
    super::qdisc::effective(ns, row.link.index, row.qdisc).map(Some).map_err(failed)
}

/// Reads a namespace. Tables that cannot hold anything (forwarding entries without a VXLAN device, say) are not read.
pub fn observe(ns: &Netns, wanted: &Wanted) -> Result<ObservedNs> {
    let failed = |what: &'static str| move |failure| Operation::of("read", what, ns.label()).failed(failure);
    let mut observed = ObservedNs { inode: ns.inode(), ..ObservedNs::default() };
    let rows = rows(ns).map_err(failed("links"))?;
    let names: BTreeMap<u32, IfName> = rows.iter().map(|row| (row.link.index, row.name.clone())).collect();
    observed.mark = rows.iter().find(|row| row.link.index == 1).and_then(|row| row.link.alias.clone());
    let filtering = rows.iter().any(LinkRow::filters_vlans);
    let vxlans: Vec<u32> = rows.iter().filter(|row| row.link.kind == "vxlan").map(|row| row.link.index).collect();
    let shaped = rows.iter().any(|row| !super::qdisc::is_default(&row.qdisc));
    for row in rows {
        observed.links.insert(row.name, row.link);
    }
    let mut ipv6 = true;
    if wanted.addresses {
        let addresses = addresses(ns).map_err(failed("addresses"))?;
        // With IPv6 switched off there is not even ::1.
        ipv6 = addresses.iter().any(|row| row.address.addr().is_ipv6());
        for row in addresses.iter().filter(|row| !row.is_link_local()) {
            if let Some(link) = names.get(&row.index).and_then(|name| observed.links.get_mut(name)) {
                link.addresses.push(row.address);
            }
        }
    }
    if wanted.routes {
        observed.routes = tables::main_routes(ns, ipv6).map_err(failed("routes"))?;
    }
    if filtering {
        for (index, pvid) in super::link::port_vlans(ns).map_err(failed("bridge VLANs"))? {
            if let Some(link) = names.get(&index).and_then(|name| observed.links.get_mut(name)) {
                link.pvid = Some(pvid);
            }
        }
    }
    if wanted.fdb {
        for index in vxlans {
            if let Some(name) = names.get(&index) {
                let entries = tables::static_fdb(ns, index).map_err(failed("forwarding entries"))?;
                observed.fdb.extend(entries.into_iter().map(|(mac, remote)| (name.clone(), mac, remote)));
            }
        }
    }
    if wanted.qdiscs && shaped {
        for (index, qdisc) in super::qdisc::roots(ns).map_err(failed("qdiscs"))? {
            if let Some(link) = names.get(&index).and_then(|name| observed.links.get_mut(name)) {
                link.qdisc = Some(qdisc);
            }
        }
    }
    for (name, link) in &mut observed.links {
        if wanted.features.contains(name) {
            let features = super::ethtool::features(ns, name)?;
            let fixed = features.iter().filter(|(_, feature)| !feature.changeable);
            link.fixed_features = fixed.map(|(name, _)| name.clone()).collect();
            link.features = features.into_iter().map(|(name, feature)| (name, feature.active)).collect();
        }
        if wanted.ethtool.contains(name) {
            link.ethtool = super::ethtool::parameters(ns, name)?;
        }
    }
    if wanted.neighbours {
        let entries = tables::permanent_neighbours(ns).map_err(failed("neighbours"))?.into_iter();
        let named = |(index, mac, at): (u32, MacAddr, IpAddr)| Some((names.get(&index)?.clone(), at, mac));
        observed.neighbours = entries.filter_map(named).collect();
    }
    if !wanted.sysctl.is_empty() {
        observed.sysctl = ns.sysctls(wanted.sysctl.iter().map(String::as_str))?;
    }
    Ok(observed)
}

/// The machine this runs on.
pub fn machine() -> Machine {
    let names = rustix::system::uname();
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // x86 has `model name`; arm64 has no name, only the implementer's numbers.
    let field = |key: &str| {
        let line = cpu_info.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = |line: &str| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok();
    Machine {
        hostname: names.nodename().to_string_lossy().into_owned(),
        kernel: names.release().to_string_lossy().into_owned(),
        cpu: field("model name").or_else(|| field("CPU part")).unwrap_or_default(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from).max(online_cpus()),
        memory_bytes: memory.lines().find_map(kilobytes).unwrap_or_default() * 1024,
        governor: super::cpus::governor(),
    }
}

/// Congestion controls that are ready: naming another, a privileged process has the kernel load a module.
pub fn congestion_controls() -> Vec<String> {
    let list = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

/// CPUs in `/sys/devices/system/cpu/online`, whatever this process is bound to.
fn online_cpus() -> usize {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    list.trim().parse::<crate::units::CpuList>().map_or(0, |cpus| cpus.0.len())
}
