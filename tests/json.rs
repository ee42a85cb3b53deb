//! What `--json` prints on the real kernel conforms to the checked-in schemas, with every command and every outcome.

mod lab;
mod schema;

use lab::{Done, Lab};

/// Fails unless this is JSON as `docs/json/NAME.schema.json` says.
#[track_caller]
fn is(name: &str, done: &Done) {
    if let Err(error) = schema::conforms(name, &done.json()) {
        panic!("{error}\n{done}");
    }
}

#[test]
fn every_topo_command() {
    let Some(lab) = Lab::new("json-topo") else { return };
    is("topo-check", &lab.netbench(&["topo", "check", "bridge", "--json"]).ok());
    let broken = lab.file("broken.toml", "name = \"x\"\nmut = 1\n");
    is("topo-check", &lab.netbench(&["topo", "check", &broken, "--json"]).exits(2));
    for shipped in netbench::topology::shipped::all() {
        is("topo-plan", &lab.netbench(&["topo", "plan", shipped.name, "--offline", "--json"]).ok());
    }
    is("topo-plan", &lab.netbench(&["topo", "plan", "bridge", "--json"]).ok());
    is("topo-list", &lab.netbench(&["topo", "list", "--json"]).ok());
    is("topo-apply", &lab.netbench(&["topo", "apply", "vxlan-kernel", "--json"]).ok());
    is("topo-apply", &lab.netbench(&["topo", "apply", "vxlan-kernel", "--json"]).ok());
    is("topo-show", &lab.netbench(&["topo", "show", "vxlan-kernel", "--json"]).ok());
    is("topo-show", &lab.netbench(&["topo", "graph", "vxlan-kernel", "--json"]).ok());
    is("topo-list", &lab.netbench(&["topo", "list", "--json"]).ok());
    is("topo-verify", &lab.netbench(&["topo", "verify", "vxlan-kernel", "--prove", "--json"]).ok());
    lab.sh_in("nb-vxlan-kernel-client", "ip link set eth0 mtu 1300");
    is("topo-verify", &lab.netbench(&["topo", "verify", "vxlan-kernel", "--json"]).exits(1));
    is("topo-destroy", &lab.netbench(&["topo", "destroy", "vxlan-kernel", "--json"]).ok());
    is("topo-destroy", &lab.netbench(&["topo", "destroy", "--all", "--json"]).ok());
    is("topo-gc", &lab.netbench(&["topo", "gc", "--json"]).ok());
}

#[test]
fn gc_of_what_a_crash_left() {
    let Some(lab) = Lab::new("json-gc") else { return };
    lab.netbench(&["topo", "apply", "veth"]).ok();
    lab.sh("rm -r /run/netbench");
    let done = lab.netbench(&["topo", "gc", "--json"]).ok();
    is("topo-gc", &done);
    assert_eq!(done.json()[0]["topology"], "veth", "{done}");
}

#[test]
fn run_with_every_test() {
    let Some(lab) = Lab::new("json-run") else { return };
    let tests = "tcp_stream,udp_stream,tcp_rr,udp_rr";
    is("run", &lab.netbench(&["run", "veth", "--test", tests, "--duration", "200ms", "--rounds", "1", "--json"]).ok());
    is("run", &lab.netbench(&["run", "baseline", "--duration", "200ms", "--rounds", "1", "--json"]).ok());
}
