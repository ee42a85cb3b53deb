//! What Open vSwitch itself says of a measurement: what its ports carried, by OpenFlow and by its database, and how it is set.

mod host_switch;
mod lab;

use lab::Lab;
use serde_json::Value;

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl"];

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Ports and tunnels of a switch of a record.
fn counted(switch: &Value) -> impl Iterator<Item = &Value> {
    list(&switch["ports"]).iter().chain(list(&switch["tunnels"]))
}

fn measure(lab: &Lab, file: &str, more: &[&str]) -> Value {
    let args = ["run", file, "--duration", "300ms", "--rounds", "2", "--test", "tcp_stream", "--json"];
    lab.netbench(&[&args, more].concat()).ok().json()
}

/// What the hops of all rounds counted at `at`, in bytes of the direction of the payload.
fn at_hop(record: &Value, at: &str) -> u64 {
    let rounds = list(&record["flows"][0]["tests"][0]["rounds"]);
    let hops = rounds.iter().flat_map(|round| list(&round["path"]["hops"]));
    hops.filter(|hop| hop["at"] == at).filter_map(|hop| hop["bytes"].as_u64()).sum()
}

#[test]
fn the_database_says_what_bridge_and_kernel_counted() {
    let Some(lab) = Lab::with("ovs-database", PROGRAMS) else { return };
    let record = measure(&lab, "vxlan", &["--keep"]);
    let switches = list(&record["switches"]);
    assert_eq!(switches.len(), 2, "{record}");
    for (switch, ports) in switches.iter().zip([["wire", "client-0"], ["wire", "server-0"]]) {
        let names: Vec<&str> = list(&switch["ports"]).iter().filter_map(|port| port["port"].as_str()).collect();
        assert_eq!(names, ports, "{switch}");
        assert_eq!(switch["tunnels"][0]["port"], "vx0", "{switch}");
        for port in counted(switch) {
            assert!(port["difference"].is_null(), "{port}");
            assert!(port["database"]["rx_packets"].as_u64() > Some(0), "{port}");
            for key in ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"] {
                assert!(port["database"][key].as_u64() <= port["counters"][key].as_u64(), "{key} of {port}");
            }
        }
    }
    // It was read after the measurement: all that the hops of the rounds counted is in it.
    let of = |switch: usize, port: usize, key: &str| switches[switch]["ports"][port]["database"][key].as_u64();
    for (at, seen) in [
        ("a/client-0", of(0, 1, "rx_bytes")),
        ("a/wire", of(0, 0, "tx_bytes")),
        ("b/wire", of(1, 0, "rx_bytes")),
        ("b/server-0", of(1, 1, "tx_bytes")),
    ] {
        let rounds = at_hop(&record, at);
        assert!(
            rounds > 100_000 && seen >= Some(rounds),
            "{at}: {rounds} bytes in the rounds, {seen:?} in the database"
        );
    }
    assert!(!record["warnings"].to_string().contains("in the database"), "{record}");
    // What was set to have it written at once is taken back.
    let set = lab.sh("ovs-vsctl --db=unix:/run/netbench/vxlan/ovs-a/db.sock get Open_vSwitch . other_config");
    assert_eq!(set.trim(), r#"{userspace-tso-enable="false"}"#);
    lab.netbench(&["topo", "destroy", "vxlan"]).ok();
}

#[test]
fn a_database_that_says_something_else_is_named() {
    let Some(lab) = Lab::with("ovs-stale", PROGRAMS) else { return };
    // It writes statistics when it starts, and long after the measurement.
    host_switch::start(&lab, "-- set Open_vSwitch . other_config:stats-update-interval=600000");
    let file = lab.file("y.toml", host_switch::TOPOLOGY);
    let record = measure(&lab, &file, &[]);
    let ports = list(&record["switches"][0]["ports"]);
    assert_eq!(ports.len(), 2, "{record}");
    for port in ports {
        let difference = port["difference"].as_str().unwrap_or_default();
        for text in ["in the database", "by its bridge", "by the kernel", "writes statistics every 600000 ms only"] {
            assert!(difference.contains(text), "{text}: {port}");
        }
    }
    assert!(record["warnings"].to_string().contains("port a-0: rx_packets is"), "{}", record["warnings"]);
    host_switch::stop(&lab);
}

/// How the host's own switch is set is told with what it does, and is its owner's business.
#[test]
fn settings_of_the_hosts_own_switch_are_told_and_never_changed() {
    let Some(lab) = Lab::with("ovs-settings", PROGRAMS) else { return };
    let told = [
        ("hw-offload", "true", "hardware"),
        ("tc-policy", "skip_hw", "tc"),
        ("max-idle", "20000", "dropped"),
        ("flow-limit", "5000", "daemon"),
        ("n-handler-threads", "1", "threads"),
        ("n-revalidator-threads", "1", "threads"),
        ("pmd-cpu-mask", "0x1", "CPUs"),
        ("dpdk-init", "false", "DPDK"),
        ("stats-update-interval", "5000", "statistics"),
        ("emc-insert-inv-prob", "0", "cache"),
        ("smc-enable", "true", "cache"),
        ("made-up", "7", "unknown to netbench"),
    ];
    let words: String = told.iter().map(|(key, value, _)| format!(" other_config:{key}={value}")).collect();
    lab.sh("ip link add name v0 type veth peer name v1");
    host_switch::start(&lab, &format!("-- set Open_vSwitch .{words} -- add-port theirs v0"));
    let file = lab.file("y.toml", host_switch::TOPOLOGY);
    lab.netbench(&["topo", "apply", &file]).ok();

    // The database is a log: whoever writes to it, with whatever effect, makes it longer.
    let log = || lab.sh("sha256sum /mnt/system/conf.db");
    let before = log();
    let nic = lab.netbench(&["nic", "show", "v0"]).ok().says("port of theirs of the host's own Open vSwitch");
    let shown = lab.netbench(&["topo", "show", "y"]).ok().says("the host's own");
    let run = lab.netbench(&["run", &file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_rr"]).ok();
    for (key, value, meaning) in told {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for done in [&nic, &shown, &run] {
            let said = words(&done.stdout);
            let setting = format!("other_config:{key}={value} (");
            let at = said.find(&setting).unwrap_or_else(|| panic!("{setting}\n{done}"));
            assert!(said[at..].split(')').next().is_some_and(|text| text.contains(meaning)), "{meaning}\n{done}");
        }
    }
    let record = measure(&lab, &file, &[]);
    let settings = list(&record["switches"][0]["settings"]);
    assert_eq!((settings.len(), &record["switches"][0]["system"]), (told.len(), &true.into()), "{record}");
    let json = lab.netbench(&["topo", "show", "y", "--json"]).ok().json();
    assert_eq!(list(&json["switches"][0]["settings"]), settings, "{json}");
    let json = lab.netbench(&["nic", "show", "v0", "--json"]).ok().json();
    assert_eq!(list(&json["open_vswitch"]["settings"]), settings, "{json}");
    lab.netbench(&["topo", "verify", &file]).ok();
    lab.netbench(&["topo", "plan", &file]).ok();
    assert_eq!(log(), before, "the database is byte for byte as it was");

    let set = || host_switch::vsctl(&lab, "get Open_vSwitch . other_config");
    let theirs = set();
    lab.netbench(&["topo", "destroy", "y"]).ok();
    lab.netbench(&["run", &file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_rr"]).ok();
    assert_eq!(set(), theirs, "what comes and goes is a bridge");
    host_switch::stop(&lab);
}
