use proptest::prelude::*;

use super::*;

/// Nodes × cores × threads, numbered as Linux does on x86: all first threads, then all second ones.
fn machine(nodes: usize, cores: usize, threads: usize) -> CpuTopology {
    let all = nodes * cores;
    let place = |cpu: usize| CpuPlace { node: (cpu % all / cores) as u32, core: cpu % all, cpu };
    CpuTopology { cpus: (0..all * threads).map(place).collect() }
}

#[test]
fn a_table_of_machines() {
    let two_nodes = machine(2, 2, 2);
    type Case<'c> = (Policy, CpuTopology, &'c [(usize, usize)]);
    let cases: [Case<'_>; 11] = [
        (Policy::SameCore, machine(1, 2, 1), &[(0, 0), (1, 1)]),
        (Policy::SameCore, machine(1, 2, 2), &[(0, 0), (1, 1), (2, 2), (3, 3)]),
        (Policy::Sibling, machine(1, 2, 2), &[(0, 2), (1, 3)]),
        (Policy::SameNode, machine(1, 2, 1), &[(0, 1)]),
        (Policy::SameNode, two_nodes.clone(), &[(0, 1), (2, 3), (4, 5), (6, 7)]),
        (Policy::Spread, machine(1, 4, 1), &[(0, 2), (1, 3)]),
        (Policy::Spread, machine(1, 3, 1), &[(0, 2)]),
        (Policy::Spread, two_nodes.clone(), &[(0, 2), (1, 3), (4, 6), (5, 7)]),
        (Policy::Spread, machine(1, 1, 2), &[(0, 1)]),
        (Policy::SameNode, two_nodes.only(|place| place.node == 1), &[(2, 3), (6, 7)]),
        (Policy::Sibling, two_nodes.only(|place| [1, 3, 5].contains(&place.cpu)), &[(1, 5)]),
    ];
    for (i, (policy, machine, expected)) in cases.into_iter().enumerate() {
        assert_eq!(pairs(policy, &machine).unwrap(), expected, "case {i}: {policy}");
    }
}

#[test]
fn what_cannot_be_says_why() {
    let said = |policy, machine: &CpuTopology| pairs(policy, machine).unwrap_err().to_string();
    let text = said(Policy::Sibling, &machine(1, 2, 1));
    assert_eq!(
        text,
        "--placement sibling: there are 2 CPUs to use, and no two of them are threads of one core; try same-node or same-core"
    );
    assert!(said(Policy::Spread, &machine(1, 1, 1)).contains("there is one CPU to use"));
    assert!(said(Policy::SameNode, &machine(2, 1, 1)).contains("no two of them are cores of one NUMA node"));
    assert!(said(Policy::SameCore, &CpuTopology::default()).contains("none of the CPUs"));
}

proptest! {
    /// Invented machines, from which any CPUs may be missing: what is given is what was asked for.
    #[test]
    fn pairs_stand_as_asked(nodes in 1usize..4, cores in 1usize..5, threads in 1usize..4, missing in prop::collection::vec(any::<bool>(), 64)) {
        let machine = machine(nodes, cores, threads).only(|place| !missing[place.cpu % 64]);
        let several_nodes = machine.cpus.iter().any(|place| place.node != machine.cpus[0].node);
        let several_cores = machine.cpus.iter().any(|place| place.core != machine.cpus[0].core);
        for policy in Policy::ALL {
            let Ok(pairs) = pairs(policy, &machine) else {
                prop_assert!(policy != Policy::Spread || machine.cpus.len() < 2);
                prop_assert!(policy != Policy::SameCore || machine.cpus.is_empty());
                continue;
            };
            for &(client, server) in &pairs {
                let relation = relation(&machine, client, server);
                let right = match policy {
                    Policy::SameCore => Some(Relation::SameCpu),
                    Policy::Sibling => Some(Relation::Sibling),
                    Policy::SameNode => Some(Relation::SameNode),
                    Policy::Spread if several_nodes => Some(Relation::OtherNode),
                    Policy::Spread if several_cores => Some(Relation::SameNode),
                    Policy::Spread => Some(Relation::Sibling),
                };
                prop_assert_eq!(relation, right, "{} gave {} and {}", policy, client, server);
            }
            // No CPU serves two streams before all have one.
            let mut used: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
            if policy != Policy::SameCore {
                used.extend(pairs.iter().map(|pair| pair.1));
            }
            let count = used.len();
            used.sort_unstable();
            used.dedup();
            prop_assert_eq!(used.len(), count);
        }
    }
}
