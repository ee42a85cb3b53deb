//! Which CPU is where: cores and NUMA nodes, as plain data.

use serde::{Deserialize, Serialize};

/// The place of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CpuPlace {
    /// NUMA node.
    pub node: u32,
    /// Its core, named by the lowest CPU of it: with SMT two or more CPUs share one.
    pub core: usize,
    /// Number.
    pub cpu: usize,
}

/// All CPUs on which a process may run, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuTopology {
    /// Every CPU once.
    pub cpus: Vec<CpuPlace>,
}

impl CpuTopology {
    /// Where a CPU is; `None` when it is not one of these.
    pub fn place_of(&self, cpu: usize) -> Option<CpuPlace> {
        self.cpus.iter().find(|place| place.cpu == cpu).copied()
    }

    /// Only those of the CPUs that `keep` accepts.
    pub fn only(&self, keep: impl Fn(&CpuPlace) -> bool) -> Self {
        Self { cpus: self.cpus.iter().copied().filter(|place| keep(place)).collect() }
    }

    /// Numbers of all CPUs.
    pub fn numbers(&self) -> Vec<usize> {
        self.cpus.iter().map(|place| place.cpu).collect()
    }
}
