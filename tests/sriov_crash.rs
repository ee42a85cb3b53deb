//! SR-IOV on a real NIC (see sriov.rs), with SIGKILL at every point, a failure at every step: all is as it was.

mod lab;
mod sriov_nics;

use lab::{After, SIGKILL};
use sriov_nics::{PAIR, World};

const WAYS: [After; 3] = [After::Destroy, After::ApplyAgain, After::LoseStateAndCollect];

fn crash_at_every_point(name: &str, setup: &str, teardown: &str) {
    let Some(world) = World::new(name) else { return };
    let nic = world.nics[0].clone();
    let place = |script: &str| script.replace("NIC", &nic).replace("PF", &world.pf(0));
    let clean = world.settled();
    world.lab.sh(&place(setup));
    let before = world.settled();
    let file = world.file(&PAIR.replace(
        "[\"a\", \"b\"]",
        "[{ node = \"a\", vlan = 7, mac = \"02:00:00:00:07:01\" }, { node = \"b\", vlan = 7 }]",
    ));
    for k in 1.. {
        let survived = world.lab.survives_killed_at(k, &["--no-prove", &file]);
        // Each point with one of the ways by turns: making functions takes seconds of emulation. tests/netdevsim.rs has all of them at
        // all points.
        let way = WAYS[k % 3];
        way.clean(&world.lab, "t", &["--no-prove", &file], || {});
        world.lab.assert_as_before(&before, &format!("killed at point {k}, then {way:?}"));
        if survived {
            assert!(k > 15, "the crash points were not reached: survived at {k}");
            world.lab.sh(&place(teardown));
            world.lab.assert_as_before(&clean, "the end");
            eprintln!("{name}: {k} points");
            return;
        }
    }
}

#[test]
fn killed_at_every_point_of_an_apply_that_makes_functions() {
    crash_at_every_point("sriov-crash-made", "", "");
}

#[test]
fn killed_at_every_point_of_an_apply_that_uses_functions_of_somebody_else() {
    crash_at_every_point(
        "sriov-crash-used",
        "echo 2 > /sys/bus/pci/devices/NIC/sriov_numvfs; ip link set PF vf 1 vlan 5",
        "echo 0 > /sys/bus/pci/devices/NIC/sriov_numvfs",
    );
}

/// Destroy is killed as well.
#[test]
fn a_destroy_killed_at_every_point_is_taken_up_again() {
    let Some(world) = World::new("sriov-destroy-killed") else { return };
    let before = world.settled();
    let file = world.file(PAIR);
    for k in 1.. {
        world.lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
        let crashed = world.lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &["topo", "destroy", "t"]);
        let survived = crashed.signal != Some(SIGKILL);
        if survived {
            crashed.ok();
        } else {
            let second = world.lab.netbench(&["topo", "destroy", "t"]);
            assert!(matches!(second.code, Some(0 | 2)), "{second}");
        }
        world.lab.assert_as_before(&before, &format!("destroy killed at point {k}"));
        if survived {
            assert!(k > 5, "the crash points were not reached: survived at {k}");
            return;
        }
    }
}

/// A step that fails is rolled back by the same command.
#[test]
fn a_step_that_fails_is_rolled_back() {
    let Some(world) = World::new("sriov-fails") else { return };
    let before = world.settled();
    let file = world.file(PAIR);
    for k in (1..).step_by(2) {
        let done =
            world.lab.netbench_with(("NETBENCH_FAIL_AT", &k.to_string()), &["topo", "apply", "--no-prove", &file]);
        assert!(done.signal.is_none(), "{done}");
        if done.code == Some(0) {
            world.lab.netbench(&["topo", "destroy", "t"]).ok();
            return;
        }
        world.lab.assert_as_before(&before, &format!("step {k} failed"));
    }
}
