//! `netbench mtu probe`: every row of the classification, provoked on the real kernel and named with evidence and cure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;
mod schema;
mod serving;

use lab::{Done, Lab};
use serde_json::Value;
use serving::{Serve, TOKEN, within};

/// Probes and checks the report against its schema.
#[track_caller]
fn probe(lab: &Lab, args: &[&str], code: i32) -> Value {
    let done = lab.netbench(&[&["mtu", "probe"], args, &["--json"]].concat()).exits(code);
    conforms(&done);
    done.json()
}

#[track_caller]
fn conforms(done: &Done) {
    if let Err(error) = schema::conforms("mtu-probe", &done.json()) {
        panic!("{error}\n{done}");
    }
}

/// The finding of this verdict in a direction, or the test fails.
#[track_caller]
fn finding<'v>(report: &'v Value, direction: usize, verdict: &str) -> &'v Value {
    let findings = report["directions"][direction]["findings"].as_array().expect("findings");
    findings
        .iter()
        .find(|finding| finding["verdict"] == verdict)
        .unwrap_or_else(|| panic!("no {verdict} in {report:#}"))
}

const ROUTED: &str = "name = \"routed\"\n[node.client]\nroutes = [\"default via router\"]\n[node.router]\nforward = true\n\
    [node.server]\nroutes = [\"default via router\"]\n[[link]]\nends = [\"client\", \"router:west\"]\n\
    [[link]]\nends = [\"router:east\", \"server\"]\n[[flow]]\nfrom = \"client\"\nto = \"server\"\n";

#[test]
fn as_declared_over_a_bridge_a_tunnel_and_a_router() {
    let Some(lab) = Lab::new("mtu-declared") else { return };
    let before = lab.settled();
    for (name, mtu) in [("bridge", 9000), ("vxlan-kernel", 8950), ("routed", 1500), ("macvlan", 1500)] {
        let report = probe(&lab, &[name], 0);
        assert_eq!(report["ok"], true, "{report:#}");
        for direction in 0..2 {
            finding(&report, direction, "as_declared");
            let direction = &report["directions"][direction];
            assert_eq!(direction["declared"], mtu, "{name}: {report:#}");
            assert_eq!(direction["tcp"]["carried"], direction["tcp"]["sent"], "{report:#}");
        }
    }
    lab.assert_as_before(&before, "a probe");
    lab.netbench(&["mtu", "probe", "bridge"]).ok().says("AS DECLARED").says("client → server").says("TCP: MSS 8948");
}

#[test]
fn ipv6_too() {
    let Some(lab) = Lab::new("mtu-ipv6") else { return };
    let file = lab.file(
        "six.toml",
        "name = \"six\"\nipv6 = true\nmtu = 4000\n[node.client]\naddress = [\"fd00:1::1/64\"]\n[node.server]\naddress = [\"fd00:1::2/64\"]\n\
         [switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n",
    );
    let report = probe(&lab, &[&file], 0);
    assert_eq!(report["directions"][0]["to_address"], "fd00:1::2", "{report:#}");
    finding(&report, 0, "as_declared");
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh_in("nb-six-fabric", "ip link set server-0 mtu 1600");
    let report = probe(&lab, &["six"], 1);
    assert_eq!(finding(&report, 0, "bridge_port")["at"], "fabric/server-0", "{report:#}");
    lab.netbench(&["topo", "destroy", "six"]).ok();
}

#[test]
fn the_senders_own_interface_is_named() {
    let Some(lab) = Lab::new("mtu-local") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    lab.sh_in("nb-bridge-client", "ip link set eth0 mtu 1400");
    let report = probe(&lab, &["bridge"], 1);
    let local = finding(&report, 0, "local_mtu");
    assert_eq!(local["at"], "client/eth0", "{report:#}");
    lab.netbench(&["mtu", "probe", "bridge"]).exits(1).says("client/eth0").fits();
    assert_eq!(local["fix"][0], "ip -n nb-bridge-client link set eth0 mtu 9000", "{report:#}");
    assert_eq!(report["directions"][0]["largest"], 1400, "{report:#}");
    // Probing what is up changes nothing, and its cure cures.
    lab.sh("ip -n nb-bridge-client link set eth0 mtu 9000");
    probe(&lab, &["bridge"], 0);
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

#[test]
fn a_veth_pair_that_differs_is_named() {
    let Some(lab) = Lab::new("mtu-veth") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    lab.sh_in("nb-bridge-server", "ip link set eth0 mtu 1500");
    let report = probe(&lab, &["bridge"], 1);
    let seen = finding(&report, 0, "veth_mismatch");
    assert_eq!(seen["at"], "server/eth0", "{report:#}");
    assert!(seen["evidence"].to_string().contains("fabric/server-0 dropped 24"), "{report:#}");
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    // Seen by the sender itself: its device says ENOBUFS.
    lab.sh_in("nb-bridge-fabric", "ip link set client-0 mtu 1500");
    let report = probe(&lab, &["bridge"], 1);
    let seen = finding(&report, 0, "veth_mismatch");
    assert_eq!(seen["at"], "fabric/client-0", "{report:#}");
    assert!(seen["evidence"].to_string().contains("ENOBUFS"), "{report:#}");
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

#[test]
fn a_port_of_a_bridge_that_is_smaller_is_named() {
    let Some(lab) = Lab::new("mtu-port") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    lab.sh_in("nb-bridge-fabric", "ip link set server-0 mtu 1500");
    let done = lab.netbench(&["mtu", "probe", "bridge"]).exits(1);
    done.says("BLACKHOLE: BRIDGE PORT")
        .says("fabric/server-0 has MTU 1500")
        .says("server-0 mtu 9000")
        .says("tcp_mtu_probing");
    let report = probe(&lab, &["bridge"], 1);
    assert_eq!(finding(&report, 0, "bridge_port")["at"], "fabric/server-0", "{report:#}");
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

#[test]
fn a_router_that_says_too_big_is_named() {
    let Some(lab) = Lab::new("mtu-icmp") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh_in("nb-routed-router", "ip link set east mtu 1400");
    lab.sh_in("nb-routed-server", "ip link set eth0 mtu 1400");
    let report = probe(&lab, &[&file], 1);
    let seen = finding(&report, 0, "icmp_too_big");
    assert_eq!(seen["at"], "router/east", "{report:#}");
    assert!(seen["text"].as_str().is_some_and(|text| text.contains("router/west (198.18.")), "{report:#}");
    assert_eq!(report["directions"][0]["largest"], 1400, "{report:#}");
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

/// What the router itself sends to the client is lost, what it forwards is not: its ICMP messages are filtered.
fn filter_icmp(lab: &Lab) {
    let client = lab.json_in("nb-routed-client", "ip -j -4 addr show dev eth0");
    let address = client[0]["addr_info"][0]["local"].as_str().expect("an address").to_owned();
    lab.sh_in("nb-routed-router", &format!("ip rule add iif lo to {address} blackhole pref 10"));
}

#[test]
fn a_black_hole_without_icmp_is_placed() {
    let Some(lab) = Lab::new("mtu-blackhole") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh_in("nb-routed-router", "ip link set east mtu 1400");
    lab.sh_in("nb-routed-server", "ip link set eth0 mtu 1400");
    filter_icmp(&lab);
    let report = probe(&lab, &[&file], 1);
    let seen = finding(&report, 0, "blackhole");
    assert_eq!(seen["at"], "router/east", "{report:#}");
    assert!(seen["evidence"].to_string().contains("ICMP is filtered"), "{report:#}");
    // TCP learns from the peer's MSS here; nothing stalls.
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

/// One node, a router, a bridge, another node, all of MTU 4000, but for the bridge's port towards the other, which takes 1500 and says
/// nothing of what is larger.
fn behind_a_router(lab: &Lab, name: &str, [near, far]: [&str; 2]) {
    let text = format!(
        "name = \"{name}\"\nmtu = 4000\n[node.{near}]\naddress = [\"198.18.1.1/24\"]\nroutes = [\"default via 198.18.1.2\"]\n\
         [node.router]\nforward = true\n[node.{far}]\naddress = [\"198.18.2.1/24\"]\nroutes = [\"default via 198.18.2.2\"]\n\
         [[link]]\nends = [\"{near}\", {{ at = \"router:west\", address = [\"198.18.1.2/24\"] }}]\n\
         [switch.br1]\nkind = \"bridge\"\nports = [\"{far}\", {{ node = \"router\", address = [\"198.18.2.2/24\"] }}]\n",
    );
    let file = lab.file(&format!("{name}.toml"), &text);
    lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
    lab.sh_in(&format!("nb-{name}-fabric"), &format!("ip link set {far}-0 mtu 1500"));
}

#[test]
fn a_black_hole_towards_a_host_is_placed_by_ttl() {
    let Some(lab) = Lab::new("mtu-ttl") else { return };
    behind_a_router(&lab, "far", ["client", "server"]);
    let mut command = lab.command("nsenter");
    command.args(["--net=/run/netns/nb-far-client", "--", lab::NETBENCH, "mtu", "probe", "198.18.2.1", "--json"]);
    let done = lab.background(command).wait("mtu probe of a host").exits(1);
    conforms(&done);
    let report = done.json();
    let seen = finding(&report, 0, "blackhole");
    assert_eq!(seen["at"], "behind 198.18.1.2", "{report:#}");
    assert_eq!(report["directions"][0]["largest"], 1500, "{report:#}");
    lab.netbench(&["topo", "destroy", "far"]).ok();
}

/// The same on the way back from a host that serves: it is that host's packets whose time to live ends.
#[test]
fn a_black_hole_on_the_way_back_is_placed_by_ttl() {
    let Some(lab) = Lab::new("mtu-ttl-back") else { return };
    behind_a_router(&lab, "back", ["server", "client"]);
    let serve = Serve::inside(&lab, "nb-back-server", &["--bind", "198.18.1.1"]);
    let port = serve.port.to_string();
    let args = ["mtu", "probe", "198.18.1.1", "--port", &port, "--json"];
    let done = lab.background(within(&lab, "nb-back-client", &args)).wait("mtu probe of a server").exits(1);
    conforms(&done);
    let report = done.json();
    assert_eq!(report["directions"][1]["largest"], 1500, "{report:#}");
    let seen = finding(&report, 1, "blackhole");
    assert_eq!(seen["at"], "behind 198.18.1.2", "{report:#}");
    drop(serve);
    lab.netbench(&["topo", "destroy", "back"]).ok();
}

#[test]
fn a_host_is_probed_from_here() {
    let Some(lab) = Lab::new("mtu-host") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    let server = lab.json_in("nb-routed-server", "ip -j -4 addr show dev eth0");
    let address = server[0]["addr_info"][0]["local"].as_str().expect("an address").to_owned();
    let from_client = |code: i32| {
        let mut command = lab.command("nsenter");
        command.args(["--net=/run/netns/nb-routed-client", "--", lab::NETBENCH, "mtu", "probe", &address, "--json"]);
        let done = lab.background(command).wait("mtu probe of a host").exits(code);
        conforms(&done);
        done.json()
    };
    let report = from_client(0);
    assert_eq!(report["directions"][0]["largest"], 1500, "{report:#}");
    finding(&report, 0, "measured");
    lab.sh_in("nb-routed-router", "ip link set east mtu 1400");
    lab.sh_in("nb-routed-server", "ip link set eth0 mtu 1400");
    // Loud: a fact of the path, and no fault where nothing is declared.
    let report = from_client(0);
    finding(&report, 0, "icmp_too_big");
    assert_eq!(report["directions"][0]["largest"], 1400, "{report:#}");
    filter_icmp(&lab);
    let report = from_client(1);
    finding(&report, 0, "blackhole");
    lab.netbench(&["topo", "destroy", "routed"]).ok();
    lab.netbench(&["mtu", "probe", "no-such-host.invalid"]).exits(2).says("no host of this name");
}

/// The address of eth0 in a namespace of `routed`.
fn address(lab: &Lab, node: &str, family: &str) -> String {
    let link = lab.json_in(&format!("nb-routed-{node}"), &format!("ip -j {family} addr show dev eth0 scope global"));
    link[0]["addr_info"][0]["local"].as_str().expect("an address").to_owned()
}

/// With a server of ours there each packet is seen at its other end: the two ways are told apart.
#[test]
fn a_host_that_serves_is_probed_both_ways() {
    let Some(lab) = Lab::new("mtu-served") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    let (here, there) = (address(&lab, "client", "-4"), address(&lab, "server", "-4"));
    let serve = Serve::inside(&lab, "nb-routed-server", &["--bind", &there]);
    let port = serve.port.to_string();
    let from_client = |args: &[&str], code: i32| {
        let args = [&["mtu", "probe", &there], args].concat();
        lab.background(within(&lab, "nb-routed-client", &args)).wait("mtu probe of a server").exits(code)
    };
    let both = |code: i32| {
        let done = from_client(&["--port", &port, "--json"], code);
        conforms(&done);
        let report = done.json();
        assert_eq!(report["directions"].as_array().map(Vec::len), Some(2), "{report:#}");
        for (at, ends) in [("here", there.as_str()), (there.as_str(), "here")].iter().enumerate() {
            let direction = &report["directions"][at];
            assert_eq!((&direction["from"], &direction["to"]), (&ends.0.into(), &ends.1.into()), "{report:#}");
            assert_eq!(direction["means"], "receiver", "{report:#}");
        }
        report
    };
    let report = both(0);
    for direction in 0..2 {
        finding(&report, direction, "measured");
        let direction = &report["directions"][direction];
        assert_eq!(direction["largest"], 1500, "{report:#}");
        assert_eq!(
            (&direction["tcp"]["carried"], &direction["tcp"]["snd_mss"]),
            (&131_072.into(), &1448.into()),
            "{report:#}"
        );
    }
    // Only the way back is narrow, and the router says so to the server.
    lab.sh_in("nb-routed-router", &format!("ip route add {here}/32 dev west mtu lock 1300"));
    let report = both(0);
    assert_eq!(report["directions"][0]["largest"], 1500, "{report:#}");
    assert_eq!(report["directions"][1]["largest"], 1300, "{report:#}");
    finding(&report, 0, "measured");
    finding(&report, 1, "icmp_too_big");
    // And without a word, since what the router itself sends to the server is lost.
    lab.sh_in("nb-routed-router", &format!("ip rule add iif lo to {there} blackhole pref 10"));
    lab.sh_in("nb-routed-server", "ip route flush cache");
    let report = both(1);
    assert_eq!(report["directions"][0]["ok"], true, "{report:#}");
    assert_eq!(report["directions"][1]["largest"], 1300, "{report:#}");
    finding(&report, 1, "blackhole");
    finding(&report, 1, "tcp_stalls");
    // What a person reads, and what keeps others out.
    from_client(&["--token", TOKEN, "--port", &port], 1).says("here → ").says("→ here").says("BLACKHOLE");
    from_client(&["--token", "another-token-than-its", "--port", &port], 2).says("refuses").says("--token");
    from_client(&["--port", "9"], 5).says("nothing listens there");
    lab.netbench(&["mtu", "probe", &file, "--port", "9"]).exits(2).says("is a topology");
    let done = lab.netbench(&["mtu", "probe", "no-such-host.invalid", "--port", "9"]).exits(2);
    done.says("no host of the name no-such-host.invalid is known");
    serve.waits_to_say("single packets");
    drop(serve);
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

/// Segments of loopback are bound to half of a window, which nobody on the way did.
#[test]
fn loopback_clamps_nothing() {
    let serve = Serve::here(&["--once"]);
    let (port, mut command) = (serve.port.to_string(), std::process::Command::new(lab::NETBENCH));
    command.args(["mtu", "probe", "127.0.0.1", "--port", &port, "--no-store", "--json"]).env("NETBENCH_TOKEN", TOKEN);
    let report = serving::done(command).ok().json();
    let all = report["directions"].as_array().expect("directions").iter();
    let verdicts: Vec<&serde_json::Value> =
        all.flat_map(|way| way["findings"].as_array().expect("findings")).map(|finding| &finding["verdict"]).collect();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| **verdict != "mss_clamp"), "{report:#}");
}

/// A server sends no more and no larger packets than its bounds allow, and a client of its own is served afterwards.
#[test]
fn a_server_keeps_its_bounds_for_single_packets() {
    let serve = Serve::here(&["--max-length", "2k", "--once"]);
    let (port, mut command) = (serve.port.to_string(), std::process::Command::new(lab::NETBENCH));
    command.args(["mtu", "probe", "127.0.0.1", "--port", &port, "--no-store"]).env("NETBENCH_TOKEN", TOKEN);
    serving::done(command).exits(5).says("--max-length of the server");
}

#[test]
fn fragments_of_a_tunnel_are_seen() {
    let Some(lab) = Lab::new("mtu-fragments") else { return };
    lab.netbench(&["topo", "apply", "vxlan-kernel"]).ok();
    for host in ["a", "b"] {
        lab.sh_in(&format!("nb-vxlan-kernel-{host}"), "ip link set wire mtu 4000");
    }
    let report = probe(&lab, &["vxlan-kernel"], 1);
    let seen = finding(&report, 0, "fragmentation");
    assert_eq!(seen["at"], "a", "{report:#}");
    assert!(seen["evidence"].to_string().contains("FragCreates +"), "{report:#}");
    assert!(seen["fix"].to_string().contains("3950 inside the tunnel"), "{report:#}");
    lab.netbench(&["topo", "destroy", "vxlan-kernel"]).ok();
}

/// With DF on its outer packets a tunnel refuses instead, in the name of the packets' target.
#[test]
fn a_tunnel_that_may_not_fragment_is_named() {
    let Some(lab) = Lab::new("mtu-tunnel-df") else { return };
    lab.netbench(&["topo", "apply", "vxlan-kernel"]).ok();
    for host in ["a", "b"] {
        let script = "ip link set wire mtu 4000; ip link set vx0 type vxlan id 42 df set";
        lab.sh_in(&format!("nb-vxlan-kernel-{host}"), script);
    }
    let report = probe(&lab, &["vxlan-kernel"], 1);
    let seen = finding(&report, 0, "icmp_too_big");
    assert!(seen["text"].as_str().is_some_and(|text| text.starts_with("the tunnel over a/wire")), "{report:#}");
    assert_eq!(report["directions"][0]["largest"], 3950, "{report:#}");
    lab.netbench(&["topo", "destroy", "vxlan-kernel"]).ok();
}

/// Both ends announce what their own interfaces take, the router between takes less, and what it says of it is lost.
#[test]
fn tcp_that_connects_and_stalls_is_seen() {
    let Some(lab) = Lab::new("mtu-stall") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh_in("nb-routed-router", "ip link set east mtu 1400");
    filter_icmp(&lab);
    let report = probe(&lab, &[&file], 1);
    assert_eq!(finding(&report, 0, "blackhole")["at"], "router/east", "{report:#}");
    let seen = finding(&report, 0, "tcp_stalls");
    assert!(seen["fix"].to_string().contains("tcp_mtu_probing=1"), "{report:#}");
    assert_eq!(finding(&report, 1, "veth_mismatch")["fault"], true, "{report:#}");
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

#[test]
fn a_clamped_mss_and_a_route_with_an_mtu_are_seen() {
    let Some(lab) = Lab::with("mtu-clamp", &["iptables-legacy"]) else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    let clamp = "iptables-legacy -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 900";
    lab.sh_in("nb-routed-router", clamp);
    let report = probe(&lab, &[&file], 1);
    for direction in 0..2 {
        finding(&report, direction, "as_declared");
        let seen = finding(&report, direction, "mss_clamp");
        assert!(seen["text"].as_str().is_some_and(|text| text.contains("1460") && text.contains("900")), "{report:#}");
    }
    lab.sh_in("nb-routed-router", "iptables-legacy -t mangle -F FORWARD");
    lab.sh_in("nb-routed-client", "ip route change $(ip route show default) mtu 1300");
    let report = probe(&lab, &[&file], 1);
    finding(&report, 0, "tcp_path_mtu");
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

#[test]
fn more_than_declared_and_nothing_at_all() {
    let Some(lab) = Lab::new("mtu-more") else { return };
    let file = lab.file("routed.toml", ROUTED);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh_in("nb-routed-client", "ip link set eth0 mtu 2000");
    lab.sh_in("nb-routed-router", "ip link set west mtu 2000; ip link set east mtu 2000");
    lab.sh_in("nb-routed-server", "ip link set eth0 mtu 2000");
    let report = probe(&lab, &[&file], 1);
    finding(&report, 0, "larger");
    lab.sh_in("nb-routed-router", "sysctl -qw net.ipv4.ip_forward=0");
    let report = probe(&lab, &[&file], 1);
    finding(&report, 0, "unreachable");
    lab.netbench(&["topo", "destroy", "routed"]).ok();
}

#[test]
fn an_ordinary_user_probes_a_file() {
    let Some(lab) = Lab::new("mtu-user") else { return };
    let Some(done) = lab.netbench_as_user(&["mtu", "probe", "bridge", "--json"]) else { return };
    conforms(&done.clone().ok());
    assert_eq!(done.json()["ok"], true, "{done}");
    let Some(done) = lab.netbench_as_user(&["mtu", "probe", "127.0.0.1"]) else { return };
    done.ok().says("MTU 65535");
}
