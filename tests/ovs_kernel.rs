//! Open vSwitch over the kernel's datapath. `scripts/vmlab test` runs these on Debian's kernel, which has the module; where
//! the kernel lacks it, the error says so.

mod lab;

use lab::{Lab, PATIENCE, SIGKILL, eventually, skip_to_lab};

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-appctl", "modprobe"];

/// Two nodes on one switch.
const SWITCH: &str = "name = \"k\"\nmtu = 9000\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ovs\"\ndatapath = \"kernel\"\n\
                      ports = [\"a\", \"b\"]\n";

/// The shipped file of two hosts, over the kernel's datapath.
fn two_hosts(kind: &str) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/vxlan.toml")).expect("shipped");
    let text = text.replace("kind = \"ovs\"", "kind = \"ovs\"\ndatapath = \"kernel\"");
    text.replace("kind = \"vxlan\"", &format!("kind = \"{kind}\""))
}

/// A lab whose kernel has the module. Tunnels' modules come first: ip_gre puts devices of its own into every namespace.
fn lab(name: &str) -> Option<Lab> {
    let lab = Lab::with(name, PROGRAMS)?;
    if std::env::var_os("VMLAB").is_some() {
        lab.sh("modprobe -a openvswitch vport-vxlan vport-geneve vport-gre");
    } else if lab.try_sh("modprobe openvswitch").code != Some(0) {
        skip_to_lab("the kernel has no module openvswitch");
        return None;
    }
    Some(lab)
}

fn daemon(topology: &str, host: &str, program: &str) -> String {
    format!("/run/netbench/{topology}/ovs-{host}/{program}")
}

#[test]
fn a_kernel_without_the_module_is_named() {
    let Some(lab) = Lab::with("ovs-no-module", PROGRAMS) else { return };
    if lab.try_sh("modprobe openvswitch").code == Some(0) {
        return;
    }
    let before = lab.settled();
    let file = lab.file("k.toml", SWITCH);
    let done = lab.netbench(&["topo", "apply", &file]).exits(5);
    done.says("CONFIG_OPENVSWITCH").says("`datapath = \"user\"` needs no module").says("nothing is left");
    lab.assert_as_before(&before, "refused");
}

#[test]
fn a_switch_carries_traffic_by_flows_of_the_kernel() {
    let Some(lab) = lab("ovs-kernel-switch") else { return };
    let before = lab.settled();
    let file = lab.file("k.toml", SWITCH);
    let args = ["run", &file, "--duration", "1s", "--rounds", "1", "--test", "tcp_stream,tcp_rr", "--keep", "--json"];
    let record = lab.netbench(&args).ok().json();
    for test in record["flows"][0]["tests"].as_array().expect("tests") {
        assert!(test.to_string().contains("\"proved\""), "{test}");
    }
    let switch = &record["switches"][0];
    assert!(switch["datapath_flows"].as_u64() > Some(0), "the kernel's flows are told: {switch}");
    // What netbench says is what the kernel's own datapath has.
    let control = daemon("k", "fabric", "ovs-vswitchd.ctl");
    assert!(lab.sh(&format!("ovs-appctl -t {control} dpif/show")).starts_with("system@ovs-system"), "of the kernel");
    assert!(lab.sh(&format!("ovs-appctl -t {control} dpctl/show")).contains("a-0"), "port of it");
    lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    lab.netbench(&["topo", "destroy", "k"]).ok();
    lab.assert_as_before(&before, "destroy");
}

/// Flows that were handed to tc and that no device took are named: the CPU does them, whatever the switch was told.
#[test]
fn flows_that_hardware_was_to_do_and_does_not_are_named() {
    let Some(lab) = lab("ovs-kernel-offload") else { return };
    let before = lab.settled();
    let file = lab.file("k.toml", SWITCH);
    lab.netbench(&["topo", "apply", &file]).ok();
    let row = || {
        let record = lab.netbench(&["offload", "verify", &file, "--only", "flow-offload", "--json"]).ok().json();
        let checks = record["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["check"] == "flow-offload").expect("the row")
    };
    let off = row();
    assert_eq!(off["verdict"], "SKIP", "{off}");
    let database = daemon("k", "fabric", "db.sock");
    lab.sh(&format!(
        "modprobe -a cls_flower act_mirred && ovs-vsctl --db=unix:{database} set Open_vSwitch . \
         other_config:hw-offload=true other_config:tc-policy=skip_hw"
    ));
    // Flows that are there stay where they are.
    lab.sh(&format!("ovs-appctl -t {} revalidator/purge", daemon("k", "fabric", "ovs-vswitchd.ctl")));
    let on = row();
    assert_eq!(on["verdict"], "NOT-ACTIVE", "{on}");
    let evidence = on["evidence"].as_str().expect("evidence");
    assert!(evidence.contains("were handed to tc, and none is in hardware"), "{on}");
    assert!(on["cure"].as_str().is_some_and(|cure| cure.contains("hw-tc-offload on")), "{on}");
    // The same in a run: what the switch says of itself.
    let record = lab.netbench(&["run", &file, "--duration", "500ms", "--rounds", "1", "--test", "tcp_rr", "--json"]);
    let switch = &record.ok().json()["switches"][0];
    assert_eq!((&switch["hw_offload"], switch["offloaded_flows"].as_u64()), (&true.into(), Some(0)), "{switch}");
    assert!(switch["tc_flows"].as_u64() > Some(0), "{switch}");
    lab.netbench(&["topo", "destroy", "k"]).ok();
    lab.assert_as_before(&before, "destroy");
}

#[test]
fn tunnels_carry_their_share_of_the_mtu_and_leave_with_their_daemon() {
    let Some(lab) = lab("ovs-kernel-tunnels") else { return };
    let before = lab.settled();
    for (kind, mtu) in [("vxlan", "8950"), ("geneve", "8950"), ("gre", "8958")] {
        let file = lab.file("t.toml", &two_hosts(kind));
        lab.netbench(&["topo", "apply", &file]).ok().says(&format!("MTU {mtu} proved"));
        lab.netbench(&["topo", "verify", &file]).ok();
        let args = ["run", &file, "--duration", "500ms", "--rounds", "1", "--test", "tcp_stream", "--keep", "--json"];
        let record = lab.netbench(&args).ok().json();
        for switch in 0..2 {
            let counters = &record["switches"][switch]["tunnels"][0]["counters"];
            assert!(counters["tx_packets"].as_u64() > Some(0), "{kind}: {}", record["switches"]);
            assert!(counters["rx_packets"].as_u64() > Some(0), "{kind}: {}", record["switches"]);
        }
        // A daemon that is killed leaves the module its datapath, with the tunnel's device.
        let pid = daemon("vxlan", "a", "ovs-vswitchd.pid");
        lab.sh(&format!("kill -KILL $(cat {pid})"));
        let missed = || lab.netbench(&["topo", "verify", "vxlan"]).code == Some(1);
        assert!(eventually(PATIENCE, missed), "{kind}: the daemon is missed");
        lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        lab.sh(&format!("kill -KILL $(cat {pid})"));
        // The kernel's own vxlan device wants the port that the datapath's device had.
        let bridges = lab.file("b.toml", &two_hosts("vxlan").replace("\"ovs\"\ndatapath = \"kernel\"", "\"bridge\""));
        lab.netbench(&["topo", "apply", &bridges]).ok().says("MTU 8950 proved");
        lab.netbench(&["topo", "verify", "vxlan"]).ok();
        lab.netbench(&["topo", "destroy", "vxlan"]).ok();
        lab.assert_as_before(&before, kind);
    }
}

#[test]
fn killed_at_any_step_nothing_is_left() {
    let Some(lab) = lab("ovs-kernel-crash") else { return };
    let before = lab.settled();
    let file = lab.file("k.toml", SWITCH);
    for k in 1..=100 {
        let at = k.to_string();
        let crashed = lab.netbench_with(("NETBENCH_CRASH_AT", &at), &["topo", "apply", "--no-prove", &file]);
        let survived = crashed.signal != Some(SIGKILL);
        if survived {
            crashed.ok();
        }
        if k % 3 == 0 {
            lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        }
        if k % 3 == 1 {
            lab.sh("rm -rf /run/netbench");
            lab.netbench(&["topo", "gc"]).ok();
        } else {
            lab.netbench(&["topo", "destroy", "k"]).ok();
        }
        lab.assert_as_before(&before, &format!("killed at step {k}"));
        if survived {
            assert!(k > 8, "the crash points were not reached: survived at {k}");
            return;
        }
    }
    panic!("it never survived");
}
