//! MTU proofs, the quiet point, commands inside.

use std::time::{Duration, Instant};

use netbench::{
    kernel::{
        Netns,
        df_probe::{Larger, Path, prove},
        link, quiet,
    },
    plan::step::LinkSet,
};

use crate::support::*;

fn addressed(ns: &Netns, ifname: &str, address: &str) {
    link::add_address(ns, &name(ifname), address.parse().unwrap()).unwrap();
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3)
}

/// a/eth0 - br1 - b/eth0, all at `mtu`.
fn bridged(mtu: u32) -> (Netns, Netns, Netns) {
    let (fabric, a, b) = (namespace("fabric"), namespace("a"), namespace("b"));
    link::create(&fabric, &bridge(&fabric, "br1"), None, &link::Marks::default(), None, &|_| {}).unwrap();
    let set = LinkSet { mtu: Some(mtu), ..LinkSet::default() };
    link::set(&fabric, &name("br1"), &set).unwrap();
    for (ns, port, address) in [(&a, "p1", "10.9.0.1/24"), (&b, "p2", "10.9.0.2/24")] {
        veth((&fabric, port), (ns, "eth0"), mtu);
        let set = LinkSet { master: Some(Some(name("br1"))), ..LinkSet::default() };
        link::set(&fabric, &name(port), &set).unwrap();
        addressed(ns, "eth0", address);
    }
    (fabric, a, b)
}

#[test]
fn the_mtu_of_a_path_is_proved_both_ways() {
    if !isolated() {
        return;
    }
    let (_fabric, a, b) = bridged(9000);
    addressed(&a, "eth0", "fd00::1/64");
    addressed(&b, "eth0", "fd00::2/64");
    let v4 = Path { from: (&a, "10.9.0.1".parse().unwrap()), to: (&b, "10.9.0.2".parse().unwrap()), mtu: 9000 };
    let v6 = Path { from: (&a, "fd00::1".parse().unwrap()), to: (&b, "fd00::2".parse().unwrap()), mtu: 9000 };
    let started = Instant::now();
    let proofs = prove(&[v4, v6], soon()).unwrap();
    eprintln!("two paths proved in {:?}: {proofs:?}", started.elapsed());
    for proof in proofs {
        for direction in [proof.forward, proof.backward] {
            assert!(direction.is_proved(), "{direction:?}");
            assert_eq!(direction.larger, Larger::LocalEmsgsize);
            assert!(direction.one_way.is_some());
        }
    }
    // Declared smaller than it is: the larger packet arrives.
    let proof = prove(&[Path { mtu: 8000, ..v4 }], soon()).unwrap()[0];
    assert!(proof.forward.arrived_at_mtu && proof.forward.larger == Larger::Arrived && !proof.forward.is_proved());
    // Also when it is larger by less than what forwarding keeps for a VLAN tag.
    let proof = prove(&[Path { mtu: 8998, ..v4 }], soon()).unwrap()[0];
    assert!(proof.forward.arrived_at_mtu && proof.forward.larger == Larger::Arrived && !proof.forward.is_proved());
    // Declared larger than the interface.
    let proof = prove(&[Path { mtu: 9001, ..v4 }], soon()).unwrap()[0];
    assert!(proof.forward.refused_at_mtu && !proof.forward.is_proved());
}

#[test]
fn a_small_port_in_the_middle_is_found() {
    if !isolated() {
        return;
    }
    let (fabric, a, b) = bridged(9000);
    link::set(&fabric, &name("p2"), &LinkSet { mtu: Some(1500), ..LinkSet::default() }).unwrap();
    let path = Path { from: (&a, "10.9.0.1".parse().unwrap()), to: (&b, "10.9.0.2".parse().unwrap()), mtu: 9000 };
    let proof = prove(&[path], soon()).unwrap()[0];
    assert!(!proof.forward.arrived_at_mtu && !proof.forward.refused_at_mtu, "{proof:?}");
    let proof = prove(&[Path { mtu: 1500, ..path }], soon()).unwrap()[0];
    assert_eq!((proof.forward.arrived_at_mtu, proof.forward.larger), (true, Larger::NotArrived), "{proof:?}");
    assert!(prove(&[Path { mtu: 10, ..path }], soon()).is_err());
}

#[test]
fn the_kernel_becomes_quiet() {
    if !isolated() {
        return;
    }
    let ns = namespace("a");
    let report = quiet::wait(&ns, soon()).unwrap();
    assert!(report.samples >= 3, "{report:?}");
}

#[test]
fn a_command_runs_inside_with_its_own_sys() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "only-in-a"), (&b, "eth0"), 1500);
    let names = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            a.enter_for_exec(Some("a")).unwrap();
            std::fs::read_dir("/sys/class/net").unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()
        });
        inside.join().unwrap()
    });
    assert!(names.contains(&"only-in-a".into()), "{names:?}");
    assert!(run(&a, "ip link show").contains("only-in-a"));
}
