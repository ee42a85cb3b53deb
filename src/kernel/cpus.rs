//! Cores and NUMA nodes of the CPUs on which this process may run, from sysfs.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::thread::{CpuSet, sched_getaffinity};

use crate::{
    facts::{CpuPlace, CpuTopology},
    units::CpuList,
};

/// Reads it. Where sysfs does not say, a CPU is a core of its own and on node 0: no policy then finds a neighbor that is not
/// one.
pub fn topology() -> CpuTopology {
    let allowed = sched_getaffinity(None).ok();
    let may = |cpu: usize| cpu < CpuSet::MAX_CPU && allowed.as_ref().is_none_or(|set| set.is_set(cpu));
    read(Path::new("/sys/devices/system"), may)
}

fn read(system: &Path, may: impl Fn(usize) -> bool) -> CpuTopology {
    let list = |path: &str| -> Option<CpuList> { fs::read_to_string(system.join(path)).ok()?.trim().parse().ok() };
    let online = list("cpu/online").map_or_else(Vec::new, |cpus| cpus.0);
    let nodes: Vec<(u32, CpuList)> = list("node/online")
        .map_or_else(Vec::new, |nodes| nodes.0)
        .into_iter()
        .filter_map(|node| Some((u32::try_from(node).ok()?, list(&format!("node/node{node}/cpulist"))?)))
        .collect();
    let place = |cpu: usize| CpuPlace {
        node: nodes.iter().find(|(_, cpus)| cpus.0.contains(&cpu)).map_or(0, |&(node, _)| node),
        core: list(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"))
            .and_then(|siblings| siblings.0.first().copied())
            .unwrap_or(cpu),
        cpu,
    };
    CpuTopology { cpus: online.into_iter().filter(|&cpu| may(cpu)).map(place).collect() }
}

/// Governor of the frequencies (`cpufreq/scaling_governor`) of all CPUs, each name once, with commas between.
pub fn governor() -> Option<String> {
    governor_in(Path::new("/sys/devices/system/cpu"))
}

fn governor_in(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok());
    let read = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok();
    let names: BTreeSet<String> = entries.filter_map(read).map(|name| name.trim().to_owned()).collect();
    let text = names.into_iter().collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_read_and_an_invented_one_too() {
        assert!(!topology().cpus.is_empty());
        let system = std::env::temp_dir().join(format!("netbench-cpus-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = system.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("cpu/online", "0-3\n");
        write("node/online", "0-1\n");
        write("node/node0/cpulist", "0,2\n");
        write("node/node1/cpulist", "1,3\n");
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2")] {
            write(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
        }
        let found: Vec<_> =
            read(&system, |cpu| cpu != 1).cpus.iter().map(|place| (place.cpu, place.core, place.node)).collect();
        assert_eq!(governor_in(&system.join("cpu")), None, "this kernel sets no frequencies");
        for (cpu, name) in [(0, "schedutil\n"), (1, "performance\n"), (2, "schedutil\n")] {
            write(&format!("cpu/cpu{cpu}/cpufreq/scaling_governor"), name);
        }
        assert_eq!(governor_in(&system.join("cpu")).as_deref(), Some("performance, schedutil"));
        fs::remove_dir_all(&system).unwrap();
        assert_eq!(found, [(0, 0, 0), (2, 0, 0), (3, 3, 1)]);
    }
}
