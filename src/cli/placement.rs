//! `--cpus`, `--numa`, `--placement`: where the data threads of a run go.

use std::str::FromStr;

use anyhow::bail;

use super::outcome::CannotHere;
use crate::{
    apply::ApplyError,
    experiment::{options::Placed, placement},
    facts::CpuTopology,
    kernel,
    record::Policy,
    units::CpuList,
};

/// Options of CPUs on the command line; they win over the file's.
#[derive(Debug, clap::Args)]
pub struct PlacementArgs {
    /// CPUs of the data threads, such as 0,1 for both sides or 0-3/4-7 for client and server; stream by stream in turn.
    #[arg(long, value_name = "CPUS[/CPUS]")]
    pub cpus: Option<Sides<CpuList>>,
    /// Their CPUs are those of a NUMA node, such as 0, or 0/1 for client and server.
    #[arg(long, value_name = "NODE[/NODE]", conflicts_with = "cpus")]
    pub numa: Option<Sides<u32>>,
    /// How far apart the two ends of a stream run: same-core, sibling (two threads of a core), same-node, or spread (two
    /// NUMA nodes, or as far as there is). Chosen among the CPUs of --cpus or --numa, if given.
    #[arg(long, value_name = "POLICY")]
    pub placement: Option<Policy>,
}

/// A value for both sides, or one for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides<T> {
    client: T,
    server: T,
}

impl<T: FromStr + Clone> FromStr for Sides<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| text.trim().parse::<T>().map_err(|error| error.to_string());
        match text.split_once('/') {
            Some((client, server)) => Ok(Self { client: one(client)?, server: one(server)? }),
            None => one(text).map(|both| Self { client: both.clone(), server: both }),
        }
    }
}

impl PlacementArgs {
    /// What was asked for, on the CPUs of this host. Fails when they are not there, or do not stand as the policy asks.
    pub fn placed(&self, topology: &CpuTopology) -> anyhow::Result<Placed> {
        let asked = match (&self.cpus, &self.numa) {
            (Some(sides), _) => {
                let option = "--cpus";
                Some((self.present(option, &sides.client, topology)?, self.present(option, &sides.server, topology)?))
            }
            (None, Some(sides)) => {
                let cpus = |node| -> anyhow::Result<Vec<usize>> {
                    let all = kernel::numa::cpus_of(node).map_err(ApplyError::from)?;
                    let here = topology.only(|place| all.0.contains(&place.cpu)).numbers();
                    if here.is_empty() {
                        let text = format!("--numa {node}: this process may use none of its CPUs ({all})");
                        return Err(CannotHere(text).into());
                    }
                    Ok(here)
                };
                Some((cpus(sides.client)?, cpus(sides.server)?))
            }
            (None, None) => None,
        };
        match (self.placement, asked) {
            (None, None) => Ok(Placed::ByFile),
            (None, Some((client, server))) => Ok(Placed::Sides(client, server)),
            (Some(_), Some((client, server))) if client != server => {
                bail!(
                    "--placement chooses both ends among the same CPUs: give one list of CPUs or one node with it, not two"
                )
            }
            (Some(policy), among) => {
                let may = topology.only(|place| among.as_ref().is_none_or(|(cpus, _)| cpus.contains(&place.cpu)));
                let pairs = placement::pairs(policy, &may).map_err(|error| CannotHere(error.to_string()))?;
                Ok(Placed::Pairs(policy, pairs))
            }
        }
    }

    fn present(&self, option: &str, cpus: &CpuList, topology: &CpuTopology) -> anyhow::Result<Vec<usize>> {
        match cpus.0.iter().find(|&&cpu| topology.place_of(cpu).is_none()) {
            None => Ok(cpus.0.clone()),
            Some(cpu) => {
                let may = CpuList(topology.numbers());
                Err(CannotHere(format!(
                    "{option} {cpus}: CPU {cpu} is none that this process may use; those are {may}"
                ))
                .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::CpuPlace;

    fn args(cpus: Option<&str>, placement: Option<Policy>) -> PlacementArgs {
        PlacementArgs { cpus: cpus.map(|text| text.parse().unwrap()), numa: None, placement }
    }

    #[test]
    fn sides_and_policies_are_resolved_on_the_cpus_there_are() {
        let topology = CpuTopology { cpus: (0..4).map(|cpu| CpuPlace { node: 0, core: cpu % 2, cpu }).collect() };
        let placed = |cpus, policy| args(cpus, policy).placed(&topology);
        assert_eq!(placed(None, None).unwrap(), Placed::ByFile);
        assert_eq!(placed(Some("0,1"), None).unwrap(), Placed::Sides(vec![0, 1], vec![0, 1]));
        assert_eq!(placed(Some("0/2-3"), None).unwrap(), Placed::Sides(vec![0], vec![2, 3]));
        let sibling = Some(Policy::Sibling);
        assert_eq!(placed(Some("1,3"), sibling).unwrap(), Placed::Pairs(Policy::Sibling, vec![(1, 3)]));
        let error = placed(Some("0,1"), sibling).unwrap_err();
        assert!(error.is::<CannotHere>() && error.to_string().contains("no two of them are threads"), "{error}");
        let error = placed(Some("9"), None).unwrap_err();
        assert!(
            error.is::<CannotHere>()
                && error.to_string().ends_with("CPU 9 is none that this process may use; those are 0-3")
        );
        assert!(!placed(Some("0/1"), sibling).unwrap_err().is::<CannotHere>());
        assert!("0/x".parse::<Sides<u32>>().is_err());
    }
}
