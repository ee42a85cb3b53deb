//! What a file may say of namespaces and interfaces, on the real kernel, with `ip`, `tc`, `ethtool` and `bridge` as
//! oracles: existing namespaces, offloads, shapers, CPUs, sysctls, IPv6, static forwarding.

mod lab;

use lab::{Lab, also_in_lab, skip_to_lab};
use serde_json::Value;

/// Two nodes on a bridge with these port tables and this much before them.
fn bridge(name: &str, before: &str, client: &str, server: &str) -> String {
    format!(
        "name = \"{name}\"\n{before}\n[node.client]\n[node.server]\n[switch.br1]\nkind = \"bridge\"\n\
         ports = [{{ node = \"client\"{client} }}, {{ node = \"server\"{server} }}]\n"
    )
}

fn up_and_down(lab: &Lab, text: &str, name: &str, look: impl FnOnce(&Lab)) {
    let before = lab.settled();
    let file = lab.file("t.toml", text);
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    lab.netbench(&["topo", "verify", name]).ok();
    look(lab);
    lab.netbench(&["topo", "destroy", name]).ok();
    lab.assert_as_before(&before, name);
}

#[test]
fn an_existing_namespace_is_used_and_left_as_it_was() {
    let Some(lab) = Lab::new("attach-path") else { return };
    lab.sh("ip netns add web && ip -n web link set lo up && ip -n web link add mine type bridge");
    let text =
        bridge("attach-path", "", "", "").replace("[node.server]", "[node.server]\nattach = \"netns:/run/netns/web\"");
    up_and_down(&lab, &text, "attach-path", |lab| {
        let links = lab.json_in("web", "ip -j -d link show nb0");
        assert_eq!(links[0]["mtu"], 1500, "{links}");
        assert!(links[0]["ifalias"].as_str().is_some_and(|alias| alias.contains("attach-path")), "{links}");
        lab.netbench(&["run", "/mnt/t.toml", "--duration", "200ms", "--test", "tcp_stream"]).ok().says("path proved");
        lab.netbench(&["topo", "exec", "attach-path", "server", "--", "ip", "link", "show", "mine"]).ok();
    });
    // Without the journal the marks are enough.
    let before = lab.settled();
    lab.netbench(&["topo", "apply", "/mnt/t.toml"]).ok();
    lab.sh("rm -rf /run/netbench");
    lab.netbench(&["topo", "gc"]).ok();
    lab.assert_as_before(&before, "gc beside an attached namespace");
}

#[test]
fn the_namespace_of_a_process_is_used() {
    let Some(lab) = Lab::new("attach-pid") else { return };
    lab.sh("ip netns add other");
    let mut command = lab.command("nsenter");
    command.args(["--net=/run/netns/other", "--", "sleep", "60"]);
    let sleeper = lab.background(command);
    let comm = format!("/proc/{}/comm", sleeper.id());
    let sleeps = || std::fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "sleep");
    assert!(lab::eventually(lab::PATIENCE, sleeps), "the process is in the namespace");
    let attach = format!("[node.server]\nattach = \"pid:{}\"", sleeper.id());
    let text = bridge("attach-pid", "", "", "").replace("[node.server]", &attach);
    up_and_down(&lab, &text, "attach-pid", |lab| {
        assert_eq!(lab.json_in("other", "ip -j link show nb0")[0]["operstate"], "UP");
    });
}

#[test]
fn a_container_needs_an_engine_that_answers() {
    let Some(lab) = Lab::new("attach-docker") else { return };
    let before = lab.settled();
    let text = bridge("c", "", "", "").replace("[node.server]", "[node.server]\nattach = \"docker:web\"");
    let file = lab.file("t.toml", &text);
    lab.netbench(&["topo", "apply", &file]).exits(5).says("docker.sock");
    lab.netbench(&["topo", "check", &file]).ok();
    lab.assert_as_before(&before, "no engine");
}

#[test]
fn a_running_container_is_found_over_its_engines_socket() {
    let Some(lab) = Lab::with("container", &["python3"]) else { return };
    lab.sh("ip netns add inner");
    let mut command = lab.command("nsenter");
    command.args(["--net=/run/netns/inner", "--", "sleep", "60"]);
    let container = lab.background(command);
    let comm = format!("/proc/{}/comm", container.id());
    let sleeps = || std::fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "sleep");
    assert!(lab::eventually(lab::PATIENCE, sleeps), "the container runs");
    // What an engine answers, cut to what matters; no engine runs in a test.
    let engine = format!(
        "import socket, os\n\
         s = socket.socket(socket.AF_UNIX); s.bind('/run/docker.sock'); s.listen()\n\
         open('/mnt/ready', 'w').close()\n\
         for _ in range(20):\n\
         \x20 c, _ = s.accept(); request = c.recv(4096).decode()\n\
         \x20 body = '{{\"Id\":\"0\",\"State\":{{\"Running\":true,\"Pid\":{}}}}}' if '/web/' in request else '{{\"message\":\"No such container\"}}'\n\
         \x20 status = '200 OK' if '/web/' in request else '404 Not Found'\n\
         \x20 c.sendall(f'HTTP/1.1 {{status}}\\r\\nContent-Length: {{len(body)}}\\r\\n\\r\\n{{body}}'.encode()); c.close()\n",
        container.id()
    );
    lab.file("engine.py", &engine);
    let mut command = lab.command("python3");
    command.arg("/mnt/engine.py");
    let engine = lab.background(command);
    assert!(lab::eventually(lab::PATIENCE, || lab.read("/mnt/ready").is_ok()), "the engine answers");
    let text = bridge("web", "", "", "").replace("[node.server]", "[node.server]\nattach = \"docker:web\"");
    let file = lab.file("t.toml", &text);
    lab.netbench(&["topo", "apply", &file]).ok();
    assert_eq!(lab.json_in("inner", "ip -j link show nb0")[0]["operstate"], "UP");
    lab.netbench(&["topo", "verify", "web"]).ok();
    lab.netbench(&["topo", "destroy", "web"]).ok();
    let other = lab.file("other.toml", &text.replace("docker:web", "docker:nobody"));
    lab.netbench(&["topo", "apply", &other]).exits(5).says("nobody");
    drop(engine);
}

#[test]
fn a_device_of_the_host_under_macvlans_gets_its_settings_back() {
    let Some(lab) = Lab::new("lower") else { return };
    lab.sh("ip link add up0 type veth peer name up1 && ip link set up0 mtu 1400 up && ip link set up1 up");
    lab.sh("ip addr add 203.0.113.1/24 dev up0 && ip route add 192.0.2.0/24 via 203.0.113.9");
    // A device of the machine that is called as those in the nodes will be: Linux before 6.15 looks there for the name.
    lab.sh("ip link add eth0 type veth peer name eth1");
    let text = "name = \"lower\"\nmtu = 1500\n[nic.up]\nifname = \"up0\"\n[node.client]\n[node.server]\n\
                [switch.mv]\nkind = \"macvlan\"\nnic = \"up\"\nmode = \"bridge\"\nports = [\"client\", \"server\"]\n";
    up_and_down(&lab, text, "lower", |lab| {
        assert_eq!(lab.json("ip -j link show up0")[0]["mtu"], 1500);
        assert_eq!(lab.json_in("nb-lower-client", "ip -j -d link show eth0")[0]["linkinfo"]["info_kind"], "macvlan");
        lab.netbench(&["run", "/mnt/t.toml", "--duration", "200ms", "--test", "tcp_rr"]).ok().says("path proved");
    });
    also_in_lab();
}

/// What a machine has of its own below a topology: bonds as uplinks, of which any member may carry the traffic, VLANs of
/// them as ports of nodes.
#[test]
fn bonds_and_vlans_of_the_machine_carry_a_topology() {
    let Some(lab) = Lab::new("bonds") else { return };
    lab.try_sh("modprobe -a bonding 8021q");
    if lab.try_sh("ip link add probe type bond && ip link del probe").code != Some(0) {
        skip_to_lab("the kernel has no bonds");
        return;
    }
    lab.sh(
        "rmmod bonding 2>/dev/null || true; modprobe bonding max_bonds=0 2>/dev/null || true
         ip link add up0 type veth peer name up1; ip link add up2 type veth peer name up3
         for bond in 0 1; do ip link add bond$bond type bond mode active-backup miimon 50; done
         ip link set up0 master bond0; ip link set up2 master bond0; ip link set up1 master bond1; ip link set up3 master bond1
         for bond in 0 1; do
             ip link set bond$bond up; ip link add link bond$bond name bond$bond.7 type vlan id 7; ip link set bond$bond.7 up
         done",
    );
    let nics = "[nic.l]\nifname = \"bond0\"\ncable = \"r\"\n[nic.r]\nifname = \"bond1\"\n";
    let bridges = format!(
        "name = \"t\"\nfabric = \"host\"\n{nics}[node.a]\n[node.b]\n\
         [switch.one]\nkind = \"bridge\"\nports = [\"a\"]\nuplinks = [\"l\"]\n\
         [switch.two]\nkind = \"bridge\"\nports = [\"b\"]\nuplinks = [\"r\"]\n"
    );
    let nodes = format!("name = \"t\"\n{nics}[node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n");
    let vlans = nodes.replace("\"bond0\"", "\"bond0.7\"").replace("\"bond1\"", "\"bond1.7\"");
    let run = |file: &str| {
        let args = ["run", file, "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"];
        let path = lab.netbench(&args).ok().json()["flows"][0]["tests"][0]["rounds"][0]["path"].clone();
        assert_eq!(path["verdict"]["path"], "proved", "{path}");
        path
    };
    let before = lab.settled();
    let path = run(&lab.file("bridges.toml", &bridges));
    assert!(path.to_string().contains("self/bond0"), "the bond is a hop: {path}");
    lab.assert_as_before(&before, "bonds as uplinks");
    run(&lab.file("vlans.toml", &vlans));
    lab.assert_as_before(&before, "VLANs in nodes");
    // The kernel keeps a bond where it was made.
    let refused = lab.netbench(&["topo", "apply", &lab.file("nodes.toml", &nodes)]);
    assert!(refused.code == Some(5) || refused.code == Some(1), "{refused}");
    refused.says("bond0").says("nothing is left");
    lab.assert_as_before(&before, "bonds in nodes");
    // The member that carried is gone; the other one carries.
    lab.sh("ip link set up0 down");
    run(&lab.file("bridges.toml", &bridges));
}

/// Two hosts, each with its own interface on a bridge of its own that has a real port as its uplink; a tunnel over that.
#[test]
fn a_bridge_with_a_real_uplink_carries_its_own_host() {
    let Some(lab) = Lab::new("uplinks") else { return };
    lab.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    let text = "name = \"t\"\n[nic.l]\nifname = \"up0\"\ncable = \"r\"\n[nic.r]\nifname = \"up1\"\n[host.hl]\n[host.hr]\n\
         [node.a]\nhost = \"hl\"\n[node.b]\nhost = \"hr\"\n\
         [switch.left]\nkind = \"bridge\"\nhost = \"hl\"\nports = [\"a\"]\n\
         [switch.right]\nkind = \"bridge\"\nhost = \"hr\"\nports = [\"b\"]\n\
         [switch.down]\nkind = \"bridge\"\nhost = \"hl\"\nports = [\"hl\"]\nuplinks = [\"l\"]\n\
         [switch.up]\nkind = \"bridge\"\nhost = \"hr\"\nports = [\"hr\"]\nuplinks = [\"r\"]\n\
         [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n";
    up_and_down(&lab, text, "t", |lab| {
        // A bridge in the host's namespace answers for the host's address otherwise, and traffic misses the declared port.
        assert_eq!(lab.sh_in("nb-t-hr", "sysctl -n net.ipv4.conf.all.arp_ignore").trim(), "1");
        let args = ["run", "/mnt/t.toml", "--keep", "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream"];
        lab.netbench(&args).ok().says("path proved");
        let port = lab.json_in("nb-t-hl", "ip -j link show up0");
        assert_eq!(port[0]["master"], "down", "{port}");
    });
}

#[test]
fn offloads_are_switched_and_seen() {
    let Some(lab) = Lab::with("offload", &["ethtool"]) else { return };
    // What the device has fixed of a group (a veth's IPv4-only checksums) is no obstacle to the rest of it.
    let text = bridge("offload", "", ", offload = { tso = false, gro = true }", ", offload = { tx = true, rx = true }");
    up_and_down(&lab, &text, "offload", |lab| {
        let shown = lab.sh_in("nb-offload-client", "ethtool -k eth0");
        let of = |name: &str| shown.lines().find(|line| line.trim().starts_with(name)).unwrap_or("").to_owned();
        assert!(of("tcp-segmentation-offload:").contains("off"), "{shown}");
        assert!(of("generic-receive-offload:").contains("on"), "{shown}");
        let other = lab.sh_in("nb-offload-server", "ethtool -k eth0");
        assert!(other.contains("tcp-segmentation-offload: on"), "the other end is as the kernel made it: {other}");
        lab.sh_in("nb-offload-client", "ethtool -K eth0 gro off");
        lab.netbench(&["topo", "verify", "offload"]).exits(1).says("rx-gro");
        lab.netbench(&["topo", "apply", "/mnt/t.toml"]).ok();
        lab.netbench(&["topo", "verify", "offload"]).ok();
    });
}

#[test]
fn an_offload_that_the_device_has_fixed_is_refused_and_rolled_back() {
    let Some(lab) = Lab::with("fixed", &["ethtool"]) else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("fixed", "", ", offload = { lro = true }", ""));
    lab.netbench(&["topo", "apply", &file]).exits(5).says("rx-lro stays off (the device has it fixed)");
    lab.assert_as_before(&before, "an offload that cannot be");
}

#[test]
fn shapers_hold_rates_that_32_bits_do_not() {
    let Some(lab) = Lab::with("rate", &["tc"]) else { return };
    let text = bridge("rate", "", ", rate = \"40gbit\"", ", rate = \"2.5gbit\", shaper = \"htb\"");
    up_and_down(&lab, &text, "rate", |lab| {
        // `tc -s` in bytes a second: 40 Gbit/s is 5,000,000,000 B/s, more than 32 bits hold.
        let client = lab.json_in("nb-rate-client", "tc -j qdisc show dev eth0 root");
        assert_eq!((&client[0]["kind"], &client[0]["options"]["rate"]), (&"tbf".into(), &5_000_000_000_u64.into()));
        let server = lab.sh_in("nb-rate-server", "tc class show dev eth0"); // this tc has no JSON for htb's classes
        assert!(server.contains("class htb 1:1") && server.contains("rate 2500Mbit ceil 2500Mbit"), "{server}");
    });
    let before = lab.settled();
    let slow = lab.file("slow.toml", &bridge("slow", "", ", rate = \"100mbit\"", ""));
    let done =
        lab.netbench(&["run", &slow, "--duration", "1s", "--rounds", "1", "--test", "tcp_stream", "--json"]).ok();
    let bits = done.json()["flows"][0]["tests"][0]["rounds"][0]["headline"].as_f64().unwrap_or(0.0);
    assert!((5e7..1.4e8).contains(&bits), "shaped to 100 Mbit/s: {bits}");
    lab.assert_as_before(&before, "a shaped run");
}

#[test]
fn an_impairment_needs_netem_and_says_so() {
    let Some(lab) = Lab::with("netem", &["tc"]) else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("netem", "", ", delay = \"5ms\", loss = \"1%\"", ""));
    let done = lab.netbench(&["topo", "apply", &file]);
    if done.code == Some(0) {
        let shown = lab.json_in("nb-netem-client", "tc -j qdisc show dev eth0 root");
        assert_eq!(shown[0]["kind"], "netem", "{shown}");
        lab.netbench(&["topo", "verify", "netem"]).ok();
        lab.netbench(&["topo", "destroy", "netem"]).ok();
        // What it does: one way of a round trip takes 20 ms longer, a fifth of the datagrams is lost.
        let round = |end: &str, test: &[&str]| {
            let file = lab.file("t.toml", &bridge("netem", "", end, ""));
            let args = [&["run", &file, "--rounds", "1", "--json", "--test"], test].concat();
            lab.netbench(&args).ok().json()["flows"][0]["tests"][0]["rounds"][0].clone()
        };
        let rate = |end: &str| round(end, &["udp_rr", "--duration", "1s"])["headline"].as_f64().unwrap_or_default();
        let (quick, slow) = (rate(""), rate(", delay = \"20ms\""));
        assert!(quick > slow && (1.0..=50.0).contains(&slow), "requests a second: {quick}, with the delay {slow}");
        // Slowly: a receiver that gets no CPU for a fifth of a second loses nothing.
        let lossy = round(", loss = \"20%\"", &["udp_stream", "--rate", "5mbit", "--duration", "2s"]);
        let told = &lossy["server"]["streams"][0]["datagrams"];
        let count = |key: &str| told[key].as_f64().unwrap_or_default();
        let lost = count("lost") / count("sent");
        assert!(count("sent") > 500.0 && (0.1..0.3).contains(&lost), "a fifth of the datagrams is lost: {told}");
    } else {
        done.exits(5).says("CONFIG_NET_SCH_NETEM");
        also_in_lab();
    }
    lab.assert_as_before(&before, "netem or its absence");
    let both = lab.file("both.toml", &bridge("both", "", ", delay = \"5ms\", rate = \"1gbit\"", ""));
    lab.netbench(&["topo", "apply", &both]).exits(2).says("rate");
    lab.assert_as_before(&before, "one root qdisc");
}

#[test]
fn cpus_are_pinned_and_recorded() {
    let Some(lab) = Lab::new("cpus") else { return };
    let text = bridge("cpus", "", "", "").replace("[node.server]", "[node.server]\ncpus = \"0\"");
    let file = lab.file("t.toml", &text);
    let done = lab.netbench(&["run", &file, "--duration", "200ms", "--rounds", "1", "--test", "tcp_rr", "--json"]).ok();
    let test = &done.json()["flows"][0]["tests"][0];
    assert_eq!(test["settings"]["server_cpus"], "0", "{test}");
    assert_eq!(test["settings"]["client_cpus"], Value::Null, "{test}");
}

#[test]
fn numa_means_the_cpus_that_are_near() {
    let Some(lab) = Lab::new("numa") else { return };
    let text =
        |numa: &str| bridge("numa", "", "", "").replace("[node.server]", &format!("[node.server]\nnuma = {numa}"));
    let of =
        |file: &str| lab.netbench(&["run", file, "--duration", "100ms", "--rounds", "1", "--test", "tcp_rr", "--json"]);
    let near = lab.sh("cat /sys/devices/system/node/node0/cpulist 2>/dev/null || true");
    let zero = lab.file("zero.toml", &text("0"));
    if near.trim().is_empty() {
        of(&zero).exits(5).says("NUMA node 0");
    } else {
        assert_eq!(of(&zero).ok().json()["flows"][0]["tests"][0]["settings"]["server_cpus"], near.trim());
    }
    let far = lab.file("far.toml", &text("4000"));
    of(&far).exits(5).says("NUMA node 4000");
    let virtual_nic = lab.file("nic.toml", &text("\"nic\""));
    of(&virtual_nic).exits(2).says("without a `nic`");
    let passthrough = "name = \"numa\"\n[nic.left]\ncable = \"right\"\n[nic.right]\n[node.client]\nnic = \"left\"\nnuma = \"nic\"\n\
                       [node.server]\nnic = \"right\"\n";
    of(&lab.file("standin.toml", passthrough)).exits(5).says("`cpus`");
}

#[test]
fn sysctls_and_ipv6() {
    let Some(lab) = Lab::new("six") else { return };
    let text = bridge("six", "ipv6 = true", "", "").replace(
        "[node.server]",
        "sysctl = { \"net.ipv4.tcp_rmem\" = \"4096 131072 16777216\", \"net.ipv4.conf.eth0.rp_filter\" = \"2\" }\n[node.server]",
    );
    up_and_down(&lab, &text, "six", |lab| {
        let words =
            lab.sh_in("nb-six-client", "cat /proc/sys/net/ipv4/tcp_rmem /proc/sys/net/ipv4/conf/eth0/rp_filter");
        assert_eq!(words.split_whitespace().collect::<Vec<_>>(), ["4096", "131072", "16777216", "2"]);
        let addresses = lab.sh_in("nb-six-client", "ip -6 addr show dev eth0");
        assert!(addresses.contains("inet6 2001:2::1/64") && !addresses.contains("tentative"), "{addresses}");
        lab.sh_in("nb-six-client", "sysctl -qw net.ipv4.tcp_rmem='4096 131072 6291456'");
        lab.netbench(&["topo", "verify", "six"]).exits(1).says("tcp_rmem");
    });
}

#[test]
fn flows_over_ipv6_alone_are_proved_and_measured() {
    let Some(lab) = Lab::new("v6") else { return };
    let before = lab.settled();
    let text =
        bridge("v6", "mtu = 9000\nipv6 = true", ", address = \"2001:2:0:9::1/64\"", ", address = \"2001:2:0:9::2/64\"");
    let file = lab.file("t.toml", &text);
    let tests = "tcp_stream,udp_stream,tcp_rr,udp_rr";
    let done = lab.netbench(&["run", &file, "--duration", "200ms", "--rounds", "1", "--test", tests, "--json"]).ok();
    let record = done.json();
    assert_eq!(record["proofs"][0]["holds"], true, "{}", record["proofs"]);
    assert_eq!(record["flows"][0]["to_address"], "2001:2:0:9::2");
    for test in record["flows"][0]["tests"].as_array().into_iter().flatten() {
        assert_eq!(test["rounds"][0]["path"]["verdict"]["path"], "proved", "{test}");
    }
    lab.assert_as_before(&before, "IPv6 alone");
}

#[test]
fn a_tunnel_with_static_forwarding_does_not_learn() {
    let Some(lab) = Lab::with("static-fdb", &["bridge"]) else { return };
    let text = "name = \"static-fdb\"\nmtu = 9000\n[host.a]\n[host.b]\n[node.client]\nhost = \"a\"\n[node.server]\nhost = \"b\"\n\
                [switch.left]\nkind = \"bridge\"\nhost = \"a\"\nports = [\"client\"]\n\
                [switch.right]\nkind = \"bridge\"\nhost = \"b\"\nports = [\"server\"]\n\
                [[link]]\nends = [\"a:wire\", \"b:wire\"]\n\
                [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\nfdb = \"static\"\nlearning = false\n\
                udp_checksum = false\ngbp = true\n";
    up_and_down(&lab, text, "static-fdb", |lab| {
        let shown = lab.json_in("nb-static-fdb-a", "ip -j -d link show vx0");
        let data = &shown[0]["linkinfo"]["info_data"];
        assert_eq!((&data["learning"], &data["udp_csum"], &data["gbp"]), (&false.into(), &false.into(), &true.into()));
        let mac =
            lab.json_in("nb-static-fdb-server", "ip -j link show eth0")[0]["address"].as_str().unwrap_or("").to_owned();
        let entries = lab.sh_in("nb-static-fdb-a", "bridge fdb show dev vx0");
        let ours =
            |line: &str| line.starts_with(&mac) && line.contains("dst 198.18.") && line.contains("self permanent");
        assert!(entries.lines().any(ours), "{entries}");
        lab.netbench(&["topo", "verify", "static-fdb", "--prove"]).ok().says("MTU 8950 proved");
    });
}

#[test]
fn vlans_on_a_bridge_or_the_option_that_is_missing() {
    let Some(lab) = Lab::new("vlan") else { return };
    let before = lab.settled();
    let text = bridge("vlan", "[node.stranger]\n", ", vlan = 7", ", vlan = 7")
        .replace("kind = \"bridge\"", "kind = \"bridge\"\nvlan_filtering = true")
        .replace("ports = [", "ports = [{ node = \"stranger\", vlan = 8 }, ");
    let text = text + "[[flow]]\nfrom = \"client\"\nto = \"server\"\n";
    let file = lab.file("t.toml", &text);
    let done = lab.netbench(&["topo", "apply", &file]);
    if done.code == Some(0) {
        let shown = lab.json_in("nb-vlan-fabric", "bridge -j vlan show dev client-0");
        assert_eq!(shown[0]["vlans"][0]["vlan"], 7, "{shown}");
        let proved = lab.netbench(&["topo", "verify", "vlan", "--prove", "--json"]).ok().json();
        let outcomes: Vec<_> = proved["settings"].as_array().expect("settings").iter().map(|s| &s["outcome"]).collect();
        assert_eq!(outcomes, ["not_tested", "enforced", "enforced"], "the stranger is alone in its VLAN: {proved}");
        lab.netbench(&["topo", "destroy", "vlan"]).ok();
    } else {
        done.exits(5).says("CONFIG_BRIDGE_VLAN_FILTERING");
        also_in_lab();
    }
    lab.assert_as_before(&before, "VLANs");
}

#[test]
fn ipvlan_in_every_mode_or_the_option_that_is_missing() {
    let Some(lab) = Lab::new("ipvlan") else { return };
    let before = lab.settled();
    let text = "name = \"ipvlan\"\n[nic.up]\n[node.a]\n[node.b]\n[switch.s]\nkind = \"ipvlan\"\nnic = \"up\"\n\
                ports = [\"a\", \"b\"]\n";
    for mode in ["l2", "l3", "l3s"] {
        let file = lab.file("t.toml", &text.replace("nic = \"up\"", &format!("nic = \"up\"\nmode = \"{mode}\"")));
        let done = lab.netbench(&["topo", "apply", &file]);
        if done.code != Some(0) {
            done.exits(5).says("CONFIG_IPVLAN").says("nothing is left");
            also_in_lab();
            break;
        }
        // The mode is the NIC's: that of the last edit holds for all children.
        let shown = lab.json_in("nb-ipvlan-a", "ip -j -d link show dev eth0");
        assert_eq!(shown[0]["linkinfo"]["info_data"]["mode"], mode, "{shown}");
        lab.netbench(&["topo", "verify", "ipvlan", "--prove"]).ok();
        let args = ["run", &file, "--keep", "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"];
        let record = lab.netbench(&args).ok().json();
        assert_eq!(record["flows"][0]["tests"][0]["rounds"][0]["path"]["verdict"]["path"], "proved", "{record}");
        lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
    }
    lab.netbench(&["topo", "destroy", "ipvlan"]);
    lab.assert_as_before(&before, "ipvlan or its absence");
}

#[test]
fn geneve_and_gre_between_bridges_or_the_option_that_is_missing() {
    let Some(lab) = Lab::new("tunnels") else { return };
    if std::env::var_os("VMLAB").is_some() {
        // GRE's modules put devices of their own into every namespace.
        lab.sh("modprobe -a geneve ip_gre ip6_gre");
    }
    let before = lab.settled();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/vxlan-kernel.toml"));
    let text = text.expect("shipped").replace("name = \"vxlan-kernel\"", "name = \"t\"");
    let six = text.replace(
        "ends = [\"a:wire\", \"b:wire\"]",
        "ends = [{ at = \"a:wire\", address = \"2001:db8::1/64\" }, { at = \"b:wire\", address = \"2001:db8::2/64\" }]",
    );
    let six = six.replace("mtu = 9000\n", "mtu = 9000\nipv6 = true\n");
    assert!(six.contains("2001:db8::2/64") && six.contains("ipv6"), "the shipped file has changed: {six}");
    for (kind, option, over_six, over_four) in
        [("geneve", "CONFIG_GENEVE", "8930", "8950"), ("gre", "GRE (and CONFIG_NET_IPGRE_DEMUX)", "8938", "8958")]
    {
        for (text, mtu) in [(&six, over_six), (&text, over_four)] {
            let file = lab.file("t.toml", &text.replace("kind = \"vxlan\"", &format!("kind = \"{kind}\"")));
            let done = lab.netbench(&["topo", "apply", &file]);
            if done.code != Some(0) {
                done.exits(5).says(option).says("nothing is left");
                also_in_lab();
                continue;
            }
            done.says(&format!("MTU {mtu} proved"));
            lab.netbench(&["topo", "verify", "t"]).ok();
            let args =
                ["run", &file, "--keep", "--duration", "300ms", "--rounds", "1", "--test", "tcp_stream", "--json"];
            let path = lab.netbench(&args).ok().json()["flows"][0]["tests"][0]["rounds"][0]["path"].clone();
            assert_eq!(path["verdict"]["path"], "proved", "{path}");
            assert!(path["hops"].to_string().contains("\"a/vx0\""), "the device is a hop of it: {path}");
            lab.netbench(&["topo", "apply", &file]).ok().says("nothing to do");
            // Somebody else's change of what a living device cannot change back.
            lab.sh_in("nb-t-a", "ip link set vx0 down; ip link del vx0");
            lab.netbench(&["topo", "verify", "t"]).exits(1).says("vx0");
            lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        }
        lab.netbench(&["topo", "destroy", "t"]);
        lab.assert_as_before(&before, kind);
    }
}
