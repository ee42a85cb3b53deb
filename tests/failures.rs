//! What goes wrong on real machines: rolled back, named with the kernel's text, foreign objects untouched.

mod lab;

use std::time::Duration;

use lab::{Lab, PATIENCE, eventually};

/// `[node.client] [node.server]` on a bridge, under this name.
fn bridge(name: &str) -> String {
    format!(
        "name = \"{name}\"\n[node.client]\n[node.server]\n[switch.br1]\nkind = \"bridge\"\nports = [\"client\", \"server\"]\n"
    )
}

/// The same with the bridge in the namespace that netbench was started in.
fn bridge_in_host(name: &str) -> String {
    bridge(name).replacen('\n', "\nfabric = \"host\"\n", 1)
}

#[test]
fn a_name_taken_by_a_foreign_link() {
    let Some(lab) = Lab::new("taken") else { return };
    lab.sh("ip link add br1 type dummy 2>/dev/null || ip link add br1 type bridge; ip link set br1 mtu 1400");
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge_in_host("taken"));
    let done = lab.netbench(&["topo", "apply", &file]).says("br1");
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "the name is taken");
    lab.netbench(&["topo", "gc"]);
    lab.netbench(&["topo", "destroy", "--all"]);
    lab.assert_as_before(&before, "gc and destroy --all leave a foreign link alone");
}

#[test]
fn macvlan_over_a_bridge_port_is_busy() {
    let Some(lab) = Lab::new("busy") else { return };
    lab.sh("ip link add up0 type veth peer name up1 && ip link add other type bridge && ip link set up0 master other");
    let before = lab.settled();
    let file = lab.file(
        "t.toml",
        "name = \"busy\"\n[nic.up]\nifname = \"up0\"\n[node.client]\n[node.server]\n\
         [switch.mv]\nkind = \"macvlan\"\nnic = \"up\"\nmode = \"bridge\"\nports = [\"client\", \"server\"]\n",
    );
    let done = lab.netbench(&["topo", "apply", &file]).says("up0");
    let done = done.says_one_of(&["busy", "bridge port", "receive handler", "master"]);
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "macvlan over a bridge port");
}

#[test]
fn a_foreign_namespace_under_our_name() {
    let Some(lab) = Lab::new("foreign-ns") else { return };
    lab.sh("ip netns add nb-foreign-client && ip -n nb-foreign-client link add keep type bridge");
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("foreign"));
    let done = lab.netbench(&["topo", "apply", &file]).says("nb-foreign-client");
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "a foreign namespace has our name");
    lab.netbench(&["topo", "destroy", "foreign"]);
    lab.netbench(&["topo", "gc"]);
    lab.assert_as_before(&before, "neither destroy nor gc touches it");
}

#[test]
fn a_foreign_link_with_our_group_survives() {
    let Some(lab) = Lab::new("group") else { return };
    let file = lab.file("t.toml", &bridge_in_host("group"));
    lab.netbench(&["topo", "apply", &file]).ok();
    let links = lab.json("ip -j -d link show");
    let groups = links.as_array().into_iter().flatten().filter(|link| link["ifalias"].is_string());
    let group = groups.filter_map(|link| link["group"].as_str()).find(|group| *group != "default");
    lab.netbench(&["topo", "destroy", "group"]).ok();

    // Without a group the rule holds by itself; the link is foreign all the same.
    let group = group.unwrap_or("7");
    lab.sh(&format!("ip link add foreign0 group {group} type veth peer name foreign1 group {group}"));
    lab.sh("ip link set foreign0 up && ip link set foreign1 up");
    let before = lab.settled();
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "destroy", "group"]).ok();
    lab.assert_as_before(&before, "a foreign link with our group number");
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("rm -rf /run/netbench");
    lab.netbench(&["topo", "gc"]).ok();
    lab.assert_as_before(&before, "gc and a foreign link with our group number");
}

#[test]
fn two_applies_of_one_topology_at_once() {
    let Some(lab) = Lab::new("twice") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("twice").replace("[switch", "[node.more]\ncount = 40\n[switch"));
    let first = lab.background(lab.netbench_command(&["topo", "apply", &file]));
    let pid = first.id().to_string();
    let second = lab.netbench(&["topo", "apply", &file]);
    // Either it waited (or came first) and all is well, or it was refused and says who has the topology.
    if second.code != Some(0) {
        second.says(&pid);
        first.wait("the first apply").ok();
    } else {
        first.wait("the first apply");
        lab.netbench(&["topo", "apply", &file]).ok();
    }
    lab.netbench(&["topo", "verify", &file]).ok();
    lab.netbench(&["topo", "destroy", "twice"]).ok();
    lab.assert_as_before(&before, "two applies at once");
}

#[test]
fn a_held_lock_names_its_holder() {
    let Some(lab) = Lab::with("lock", &["flock"]) else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("lock"));
    lab.netbench(&["topo", "apply", &file]).ok();
    // flock(2) as netbench takes it, with the pid that is written into the file.
    let script = "exec 9<>/run/netbench/lock/lock; flock -n 9 || exit 1; echo $$ >/run/netbench/lock/lock; \
                  touch /mnt/held; exec sleep 60";
    let mut command = lab.command("sh");
    command.args(["-ec", script]);
    let holder = lab.background(command);
    assert!(eventually(PATIENCE, || lab.read("/mnt/held").is_ok()), "the lock is held");
    let refused = lab.netbench(&["topo", "destroy", "lock"]).says(&holder.id().to_string());
    assert_ne!(refused.code, Some(0), "{refused}");
    drop(holder);
    lab.netbench(&["topo", "destroy", "lock"]).ok();
    lab.assert_as_before(&before, "a held lock");
}

#[test]
fn two_topologies_at_once() {
    let Some(lab) = Lab::new("two") else { return };
    let before = lab.settled();
    let names = ["two-a", "two-b", "two-c"];
    let files = names.map(|name| lab.file(&format!("{name}.toml"), &bridge(name)));
    let applies = files.each_ref().map(|file| lab.background(lab.netbench_command(&["topo", "apply", file])));
    for apply in applies {
        apply.wait("one of three applies").ok();
    }
    for name in names {
        lab.netbench(&["topo", "verify", name]).ok();
    }
    lab.netbench(&["topo", "destroy", "two-b"]).ok();
    lab.netbench(&["topo", "verify", "two-a"]).ok();
    let destroys = ["two-a", "two-c"].map(|name| lab.background(lab.netbench_command(&["topo", "destroy", name])));
    for destroy in destroys {
        destroy.wait("one of two destroys").ok();
    }
    lab.assert_as_before(&before, "two topologies");
}

#[test]
fn a_pinned_namespace_is_reported_and_its_links_are_gone() {
    let Some(lab) = Lab::new("pinned") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge_in_host("pinned"));
    lab.netbench(&["topo", "apply", &file]).ok();
    let mut command = lab.command("nsenter");
    command.args(["--net=/run/netns/nb-pinned-client", "--", "sleep", "60"]);
    let sleeper = lab.background(command);
    let inside = format!("/proc/{}/comm", sleeper.id());
    let sleeps = || std::fs::read_to_string(&inside).is_ok_and(|comm| comm.trim() == "sleep");
    assert!(eventually(PATIENCE, sleeps), "the process is in the namespace");
    let done = lab.netbench(&["topo", "destroy", "pinned"]).says(&sleeper.id().to_string());
    assert!(matches!(done.code, Some(0 | 6)), "{done}");
    lab.assert_as_before(&before, "the links are gone although the namespace is pinned");
    let enter = format!("nsenter -t {} -n ip -j link show", sleeper.id());
    let left = lab.json(&enter);
    let names: Vec<&str> = left.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    assert_eq!(names, ["lo"], "in the pinned namespace");
}

#[test]
fn a_namespace_pinned_by_an_orphan_socket() {
    let Some(lab) = Lab::with("orphan", &["python3"]) else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("orphan"));
    lab.netbench(&["topo", "apply", &file]).ok();
    // A sender killed with unsent data leaves a socket in FIN-WAIT-1, which holds the namespace for minutes.
    let sender = "import os, socket, threading\n\
                  s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname())\n\
                  a, _ = s.accept(); c.setblocking(False)\n\
                  try:\n  while True: c.send(b'x' * 65536)\n\
                  except BlockingIOError: pass\n\
                  os.system('ip link set lo down'); os.kill(os.getpid(), 9)\n";
    lab.file("sender.py", sender);
    let mut command = lab.command("nsenter");
    command.args(["--net=/run/netns/nb-orphan-client", "--", "python3", "/mnt/sender.py"]);
    lab.background(command).wait("a sender that is killed");
    let done = lab.netbench(&["topo", "destroy", "orphan"]);
    assert!(matches!(done.code, Some(0 | 6)), "{done}");
    lab.assert_as_before(&before, "links are deleted by hand, not by the namespace's end");
}

#[test]
fn a_read_only_state_folder() {
    let Some(lab) = Lab::new("read-only") else { return };
    lab.sh("mkdir -p /run/netbench && mount -t tmpfs -o ro tmpfs /run/netbench");
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("ro"));
    let done = lab.netbench(&["topo", "apply", &file]).says_one_of(&["read-only", "/run/netbench"]);
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "no journal, no change");
}

#[test]
fn a_full_disk_for_the_journal() {
    for blocks in [1, 2, 3, 4, 6, 8] {
        let Some(lab) = Lab::new("full") else { return };
        lab.sh(&format!(
            "mkdir -p /run/netbench && mount -t tmpfs -o mode=755,size={}k tmpfs /run/netbench",
            4 * blocks
        ));
        let before = lab.settled();
        let many = bridge("full")
            .replace("[switch", "[node.more]\ncount = 60\n[switch")
            .replace("\"server\"]", "\"server\", \"more*\"]");
        let file = lab.file("t.toml", &many);
        let done = lab.netbench(&["topo", "apply", &file]);
        assert!(!done.stderr.contains("panicked at") && done.signal.is_none(), "{done}");
        if done.code == Some(0) {
            lab.netbench(&["topo", "verify", "full"]).ok();
        } else {
            done.says_one_of(&["no space left", "space"]);
        }
        // What was journaled before the disk was full is cleaned up, whether at once or by destroy.
        lab.netbench(&["topo", "destroy", "full"]);
        lab.assert_as_before(&before, &format!("a journal of {blocks} blocks"));
    }
}

#[test]
fn a_torn_journal_line_is_no_obstacle() {
    let Some(lab) = Lab::new("torn") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("torn"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("printf '{\"step\":{\"create_ns\":' >>/run/netbench/torn/journal.jsonl");
    lab.netbench(&["topo", "destroy", "torn"]).ok();
    lab.assert_as_before(&before, "the last line of the journal is torn");
}

#[test]
fn a_journal_full_of_nonsense_is_an_error_and_gc_the_way_out() {
    let Some(lab) = Lab::new("nonsense") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("nonsense"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("head -c 4096 /dev/urandom >/run/netbench/nonsense/journal.jsonl");
    let done = lab.netbench(&["topo", "destroy", "nonsense"]);
    assert!(done.signal.is_none() && !done.stderr.contains("panicked at"), "{done}");
    lab.netbench(&["topo", "gc"]).ok();
    lab.assert_as_before(&before, "the marks are enough");
}

#[test]
fn a_namespace_deleted_under_us() {
    let Some(lab) = Lab::new("deleted") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("deleted"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("ip netns delete nb-deleted-client");
    lab.netbench(&["topo", "verify", "deleted"]).exits(1).says("client");
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.netbench(&["topo", "verify", "deleted"]).ok();
    lab.sh("ip netns delete nb-deleted-server && ip netns delete nb-deleted-fabric");
    lab.netbench(&["topo", "destroy", "deleted"]).ok();
    lab.assert_as_before(&before, "namespaces deleted under us");
}

#[test]
fn a_link_renamed_under_us() {
    let Some(lab) = Lab::new("renamed") else { return };
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge_in_host("renamed"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("ip link set br1 down && ip link set br1 name mine");
    lab.netbench(&["topo", "verify", "renamed"]).exits(1).says("br1");
    lab.netbench(&["topo", "destroy", "renamed"]);
    // Found by its mark, not by its name.
    lab.netbench(&["topo", "gc"]).ok();
    lab.assert_as_before(&before, "a link renamed under us");
}

#[test]
fn a_foreign_link_that_took_our_name_meanwhile_survives() {
    let Some(lab) = Lab::new("swapped") else { return };
    let file = lab.file("t.toml", &bridge_in_host("swapped"));
    lab.netbench(&["topo", "apply", &file]).ok();
    lab.sh("ip link delete br1 && ip link add br1 mtu 1400 type bridge");
    lab.netbench(&["topo", "destroy", "swapped"]);
    let links = lab.json("ip -j link show");
    let names: Vec<&str> = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    assert_eq!(names, ["lo", "br1"], "the foreign br1 and nothing else");
}

#[test]
fn a_borrowed_device_that_is_not_there() {
    let Some(lab) = Lab::new("no-nic") else { return };
    let before = lab.settled();
    let file = lab.file(
        "t.toml",
        "name = \"no-nic\"\n[nic.left]\nifname = \"nowhere0\"\n[nic.right]\nifname = \"nowhere1\"\n\
         [node.client]\nnic = \"left\"\n[node.server]\nnic = \"right\"\n",
    );
    let done = lab.netbench(&["topo", "apply", &file]).says("nowhere0");
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "a device that is not there");
}

#[test]
fn a_borrowed_device_with_the_default_route_is_refused() {
    let Some(lab) = Lab::new("default-route") else { return };
    lab.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    lab.sh("ip addr add 203.0.113.1/24 dev up0 && ip route add default via 203.0.113.254");
    let before = lab.settled();
    let file = lab.file(
        "t.toml",
        "name = \"dr\"\n[nic.left]\nifname = \"up0\"\n[nic.right]\nifname = \"up1\"\n\
         [node.client]\nnic = \"left\"\n[node.server]\nnic = \"right\"\n",
    );
    let done = lab.netbench(&["topo", "apply", &file]).says("default route");
    assert_ne!(done.code, Some(0), "{done}");
    lab.assert_as_before(&before, "a device with the default route");
}

#[test]
fn the_kernels_own_port_limit_is_rolled_back() {
    let Some(lab) = Lab::new("veto") else { return };
    // A veth peer cannot have an MTU over 65535; the check may see it first, or the kernel says it.
    let before = lab.settled();
    let file = lab.file("t.toml", &bridge("veto").replacen('\n', "\nmtu = 70000\n", 1));
    let done = lab.netbench(&["topo", "apply", &file]).says("mtu");
    assert!(matches!(done.code, Some(2 | 5)), "{done}");
    lab.assert_as_before(&before, "an MTU that no device takes");
}

#[test]
fn an_interrupt_in_the_middle_of_a_run() {
    for after in [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)] {
        let Some(lab) = Lab::new("interrupt") else { return };
        let before = lab.settled();
        let run = lab.background(lab.netbench_command(&["run", "bridge", "--duration", "30s"]));
        let started = || lab.namespaces().iter().any(|name| name.starts_with("nb-bridge"));
        assert!(eventually(PATIENCE, started), "the run did not start");
        std::thread::sleep(after);
        run.signal("-INT");
        run.wait("netbench run, interrupted").exits(130);
        lab.assert_as_before(&before, &format!("interrupted {after:?} after the first namespace"));
        assert!(workers(&lab).is_empty(), "no worker is left");
    }
}

#[test]
fn a_killed_run_leaves_no_worker_and_destroy_cleans_up() {
    let Some(lab) = Lab::new("killed") else { return };
    let before = lab.settled();
    let run = lab.background(lab.netbench_command(&["run", "bridge", "--duration", "30s"]));
    assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "the workers are started");
    run.signal("-KILL");
    run.wait("netbench run, killed");
    assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
    lab.assert_as_before(&before, "a killed run");
}

#[test]
fn an_ordinary_user_is_told_which_capability_is_needed() {
    let Some(lab) = Lab::new("no-root") else { return };
    let before = lab.settled();
    let Some(done) = lab.netbench_as_user(&["topo", "apply", "bridge"]) else { return };
    done.exits(5).says("CAP_");
    lab.assert_as_before(&before, "topo apply without root");
}

/// Processes in the lab's namespaces that are netbench, other than the one that a test waits for.
fn workers(lab: &Lab) -> Vec<String> {
    let script = "for ns in /run/netns/nb-*; do [ -e \"$ns\" ] && ip netns pids \"$(basename \"$ns\")\"; done; true";
    lab.try_sh(script).stdout.lines().map(str::to_owned).collect()
}
