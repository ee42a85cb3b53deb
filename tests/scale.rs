//! Many nodes on one bridge: a hundred, the 1023 that the kernel's port ids allow, and the one that they do not.

mod lab;

use lab::Lab;

/// `count` nodes and a client on one bridge.
fn many(name: &str, count: usize) -> String {
    format!(
        "name = \"{name}\"\n[node.client]\n[node.n]\ncount = {count}\n\
         [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"n*\"]\n"
    )
}

#[test]
fn a_hundred_nodes() {
    let Some(lab) = Lab::new("hundred") else { return };
    let before = lab.settled();
    let file = lab.file("many.toml", &many("many", 99));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", &file]).ok();
    assert_eq!(lab.namespaces().len(), 101, "a hundred nodes and the fabric");
    assert_eq!(lab.netbench(&["topo", "apply", &file, "--json"]).ok().json()["steps"], 0);
    lab.netbench(&["topo", "destroy", "many"]).ok();
    lab.assert_as_before(&before, "a hundred nodes");
}

#[test]
fn all_the_ports_that_a_bridge_has() {
    let Some(lab) = Lab::new("ports") else { return };
    let before = lab.settled();
    let file = lab.file("many.toml", &many("many", 1022));
    lab.netbench(&["topo", "apply", &file]).ok();
    let ports = lab.sh_in("nb-many-fabric", "ip -o link show master br1 | wc -l");
    assert_eq!(ports.trim(), "1023");
    lab.netbench(&["topo", "destroy", "many"]).ok();
    lab.assert_as_before(&before, "1023 ports");
}

#[test]
fn one_port_more_is_refused_with_the_way_out() {
    let Some(lab) = Lab::new("too-many") else { return };
    let before = lab.settled();
    let file = lab.file("many.toml", &many("many", 1023));
    lab.netbench(&["topo", "check", &file]).exits(2).says("1023").says("ovs");
    lab.netbench(&["topo", "apply", &file]).exits(2).says("ovs");
    lab.assert_as_before(&before, "1024 ports");
}

#[test]
fn the_shipped_scale_topology() {
    let Some(lab) = Lab::new("scale") else { return };
    let before = lab.settled();
    lab.netbench(&["topo", "apply", "scale"]).ok();
    lab.netbench(&["topo", "verify", "scale"]).ok();
    lab.netbench(&["topo", "destroy", "scale"]).ok();
    lab.assert_as_before(&before, "scale");
}
