//! SIGKILL between any two steps: whatever was there, `destroy` (and, separately, a new `apply` and then `destroy`)
//! leaves the world exactly as it was. The program kills itself at its k-th crash point, for every k until it survives.

mod lab;

use lab::{After, Dump, Lab, SIGKILL, require};

/// More crash points than any of these topologies has; a run that never survives is a bug of its own.
const AT_MOST: usize = 500;

const BRIDGE: &str = "name = \"crash\"\nmtu = 9000\n[node.client]\n[node.server]\n\
                      [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n";

const VXLAN: &str = "name = \"crash\"\n[host.a]\n[host.b]\n[node.client]\nhost = \"a\"\n[node.server]\nhost = \"b\"\n\
                     [switch.left]\nkind = \"bridge\"\nhost = \"a\"\nports = [\"client\"]\n\
                     [switch.right]\nkind = \"bridge\"\nhost = \"b\"\nports = [\"server\"]\n\
                     [[link]]\nends = [\"a:wire\", \"b:wire\"]\n\
                     [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n";

/// Two hosts with an Open vSwitch each, VXLAN between them.
fn ovs() -> String {
    VXLAN.replace("bridge", "ovs")
}

/// Both ends of a cable that the machine already has, in use: address, route, alias, alternative name, group.
const PASSTHROUGH: &str = "name = \"crash\"\n[nic.left]\nifname = \"left0\"\n[nic.right]\nifname = \"right0\"\n\
                           [node.client]\nnic = \"left\"\n[node.server]\nnic = \"right\"\n";

const CABLE: &str = "ip link add left0 mtu 1600 type veth peer name right0 mtu 1600
    ip link set left0 alias 'rack 7' group 42
    ip link property add dev left0 altname enp9s0f0 altname uplink
    ip addr add 203.0.113.1/24 dev left0
    ip link set left0 up
    ip link set right0 up
    ip route add 192.0.2.0/24 via 203.0.113.254 metric 77
    ip route add 100.64.0.0/16 dev left0 table 200
    ip addr add 203.0.113.2/24 dev right0";

/// The same cable between two bridges.
const UPLINKS: &str = "name = \"crash\"\n[nic.left]\nifname = \"left0\"\ncable = \"right\"\n[nic.right]\n\
                       ifname = \"right0\"\n[node.client]\n[node.server]\n\
                       [switch.one]\nkind = \"bridge\"\nports = [\"client\"]\nuplinks = [\"left\"]\n\
                       [switch.two]\nkind = \"bridge\"\nports = [\"server\"]\nuplinks = [\"right\"]\n";

fn at_every_step(name: &str, setup: &str, topology: &str, after: After) {
    let Some(lab) = Lab::new(name) else { return };
    let file = lab.file("crash.toml", topology);
    let before = settled(&lab, setup);
    for k in 1..=AT_MOST {
        let survived = lab.survives_killed_at(k, &[&file]);
        after.clean(&lab, "crash", &[&file], || {});
        lab.assert_as_before(&before, &format!("killed at step {k}"));
        if survived {
            assert!(k > 5, "the crash points were not reached: survived at {k}");
            return;
        }
    }
    panic!("still crashing after {AT_MOST} steps");
}

fn settled(lab: &Lab, setup: &str) -> Dump {
    lab.sh(setup);
    lab.settled()
}

#[test]
fn bridge_apply_then_destroy() {
    at_every_step("bridge-destroy", "", BRIDGE, After::Destroy);
}

#[test]
fn bridge_apply_then_apply() {
    at_every_step("bridge-apply", "", BRIDGE, After::ApplyAgain);
}

#[test]
fn bridge_state_lost_then_gc() {
    at_every_step("bridge-gc", "", BRIDGE, After::LoseStateAndCollect);
}

#[test]
fn bridge_in_the_host_then_destroy() {
    at_every_step("bridge-host", "", &BRIDGE.replace("mtu =", "fabric = \"host\"\nmtu ="), After::Destroy);
}

#[test]
fn bridge_in_the_host_state_lost_then_gc() {
    let host = BRIDGE.replace("mtu =", "fabric = \"host\"\nmtu =");
    at_every_step("bridge-host-gc", "", &host, After::LoseStateAndCollect);
}

#[test]
fn bridge_in_the_host_state_lost_then_destroy() {
    let host = BRIDGE.replace("mtu =", "fabric = \"host\"\nmtu =");
    at_every_step("bridge-host-lost", "", &host, After::LoseStateAndDestroy);
}

/// A wire between two namespaces of somebody else: neither of its ends goes with one of ours.
#[test]
fn wire_between_attached_namespaces_state_lost_then_gc() {
    let attached = |name: &str| format!("attach = \"netns:/run/netns/{name}\"");
    let text = format!(
        "name = \"crash\"\n[node.client]\n{}\n[node.server]\n{}\n[[link]]\nends = [\"client\", \"server\"]\n",
        attached("one"),
        attached("two")
    );
    at_every_step("wire-attached-gc", "ip netns add one; ip netns add two", &text, After::LoseStateAndCollect);
}

#[test]
fn vxlan_apply_then_destroy() {
    at_every_step("vxlan-destroy", "", VXLAN, After::Destroy);
}

#[test]
fn vxlan_apply_then_apply() {
    at_every_step("vxlan-apply", "", VXLAN, After::ApplyAgain);
}

#[test]
fn borrowed_devices_are_given_back_by_destroy() {
    at_every_step("borrowed-destroy", CABLE, PASSTHROUGH, After::Destroy);
}

#[test]
fn uplinks_are_given_back_by_destroy() {
    at_every_step("uplinks-destroy", CABLE, UPLINKS, After::Destroy);
}

#[test]
fn uplinks_of_bridges_in_the_host_are_given_back_after_a_second_apply() {
    let text = UPLINKS.replace("[nic.left]", "fabric = \"host\"\n[nic.left]");
    at_every_step("uplinks-host", CABLE, &text, After::ApplyAgain);
}

#[test]
fn borrowed_devices_are_given_back_after_a_second_apply() {
    at_every_step("borrowed-apply", CABLE, PASSTHROUGH, After::ApplyAgain);
}

/// What has no room in an alias (routes, group, names) needs the journal; addresses do not.
#[test]
fn addresses_of_borrowed_devices_come_back_without_the_journal() {
    let Some(lab) = Lab::new("borrowed-addresses") else { return };
    lab.sh("ip link add left0 mtu 1600 type veth peer name right0 mtu 1600
            ip link set left0 up; ip link set right0 up
            ip addr add 203.0.113.1/24 dev left0; ip addr add 192.0.2.9/32 dev left0
            ip addr add 2001:db8::7/64 dev left0 nodad; ip addr add 203.0.113.2/24 dev right0");
    let before = lab.settled();
    for topology in [PASSTHROUGH.to_owned(), UPLINKS.to_owned()] {
        let file = lab.file("crash.toml", &topology);
        lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
        lab.sh("rm -rf /run/netbench");
        lab.netbench(&["topo", "gc"]).ok();
        lab.assert_as_before(&before, "collected without a journal");
    }
}

#[test]
fn ovs_apply_then_destroy() {
    if require(&["ovs-vswitchd"]) {
        at_every_step("ovs-destroy", "", &ovs(), After::Destroy);
    }
}

#[test]
fn ovs_apply_then_apply() {
    if require(&["ovs-vswitchd"]) {
        at_every_step("ovs-apply", "", &ovs(), After::ApplyAgain);
    }
}

#[test]
fn ovs_state_lost_then_gc() {
    if require(&["ovs-vswitchd"]) {
        at_every_step("ovs-gc", "", &ovs(), After::LoseStateAndCollect);
    }
}

/// Destroy itself is killed at every step; the next one finishes.
fn destroy_at_every_step(name: &str, setup: &str, topology: &str) {
    let Some(lab) = Lab::new(name) else { return };
    let file = lab.file("crash.toml", topology);
    let before = settled(&lab, setup);
    for k in 1..=AT_MOST {
        lab.netbench(&["topo", "apply", &file]).ok();
        let crashed = lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &["topo", "destroy", "crash"]);
        let survived = crashed.signal != Some(SIGKILL);
        if survived {
            crashed.ok();
        } else {
            // The kill may come after the last change; then there is nothing left to be named.
            let second = lab.netbench(&["topo", "destroy", "crash"]);
            assert!(matches!(second.code, Some(0 | 2)), "{second}");
        }
        lab.assert_as_before(&before, &format!("destroy killed at step {k}"));
        if survived {
            assert!(k > 1, "the crash points of destroy were not reached");
            return;
        }
    }
    panic!("still crashing after {AT_MOST} steps");
}

#[test]
fn bridge_destroy_killed() {
    destroy_at_every_step("bridge-destroy-killed", "", BRIDGE);
}

#[test]
fn vxlan_destroy_killed() {
    destroy_at_every_step("vxlan-destroy-killed", "", VXLAN);
}

#[test]
fn borrowed_destroy_killed() {
    destroy_at_every_step("borrowed-destroy-killed", CABLE, PASSTHROUGH);
}

#[test]
fn ovs_destroy_killed() {
    if require(&["ovs-vswitchd"]) {
        destroy_at_every_step("ovs-destroy-killed", "", &ovs());
    }
}

/// A step that fails, at every step: rolled back by the same command, without a crash.
fn failing_at_every_step(name: &str, setup: &str, topology: &str) {
    let Some(lab) = Lab::new(name) else { return };
    let file = lab.file("crash.toml", topology);
    let before = settled(&lab, setup);
    for k in 1..=AT_MOST {
        let done = lab.netbench_with(("NETBENCH_FAIL_AT", &k.to_string()), &["topo", "apply", &file]);
        assert!(done.signal.is_none() && !done.stderr.contains("panicked at"), "{done}");
        if done.code == Some(0) {
            assert!(k > 5, "the failures were not injected: {done}");
            lab.netbench(&["topo", "destroy", "crash"]).ok();
            lab.assert_as_before(&before, "destroy");
            return;
        }
        lab.assert_as_before(&before, &format!("step {k} failed and was rolled back"));
    }
    panic!("still failing after {AT_MOST} steps");
}

#[test]
fn bridge_step_fails() {
    failing_at_every_step("bridge-fails", "", BRIDGE);
}

#[test]
fn vxlan_step_fails() {
    failing_at_every_step("vxlan-fails", "", VXLAN);
}

#[test]
fn borrowed_step_fails() {
    failing_at_every_step("borrowed-fails", CABLE, PASSTHROUGH);
}

#[test]
fn ovs_step_fails() {
    if require(&["ovs-vswitchd"]) {
        failing_at_every_step("ovs-fails", "", &ovs());
    }
}

/// An edit of a standing topology is killed at every step: a new apply brings the edited state, destroy leaves nothing.
#[test]
fn an_edit_killed_at_every_step() {
    let Some(lab) = Lab::new("edit-killed") else { return };
    let before = settled(&lab, "");
    let edited =
        BRIDGE.replace("9000", "4000").replace("[node.server]", "[node.third]").replace("\"server\"]", "\"third\"]");
    for k in 1..=AT_MOST {
        let file = lab.file("crash.toml", BRIDGE);
        lab.netbench(&["topo", "apply", &file]).ok();
        lab.file("crash.toml", &edited);
        let crashed = lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &["topo", "apply", &file]);
        let survived = crashed.signal != Some(SIGKILL);
        lab.netbench(&["topo", "apply", &file]).ok();
        lab.netbench(&["topo", "verify", &file]).ok();
        lab.netbench(&["topo", "destroy", "crash"]).ok();
        lab.assert_as_before(&before, &format!("edit killed at step {k}"));
        if survived {
            crashed.ok();
            return;
        }
    }
    panic!("still crashing after {AT_MOST} steps");
}
