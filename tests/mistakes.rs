//! The mistakes that people make: each ends with a message that says what to do, the right exit code, and a world that
//! was not touched.

mod lab;

use std::time::Duration;

use lab::{Lab, eventually};

#[test]
fn what_is_typed_wrong_ends_before_anything_is_made() {
    let Some(lab) = Lab::new("typed-wrong") else { return };
    let before = lab.settled();
    let wrong: &[(&[&str], &str)] = &[
        (&["run", "nofile.toml"], "cannot read nofile.toml"),
        (&["run", "brigde"], "did you mean `bridge`?"),
        (&["run", "/"], "is a directory"),
        (&["run", ""], "no shipped topology"),
        (&["run", "bridge", "--test", "tcp_steam"], "did you mean `tcp_stream`?"),
        (&["run", "bridge", "--test", ""], "tests are tcp_stream"),
        (&["run", "bridge", "--flow", "client"], "FROM:TO"),
        (&["run", "bridge", "--flow", "client:nobody"], "it has client, server"),
        (&["run", "bridge", "--flow", "client:client"], "not to itself"),
        (&["run", "bridge", "--rounds", "0"], "1 to 10000"),
        (&["run", "bridge", "--streams", "0"], "allowed are 1 to 256"),
        (&["run", "bridge", "--duration", "0s"], "longer than 0"),
        (&["run", "bridge", "--duration", "300h"], "7 days"),
        (&["run", "bridge", "--duration", "99999999999999h"], "such as `3s`"),
        (&["run", "bridge", "--duration", "soon"], "such as `3s`"),
        (&["run", "bridge", "--length", "0"], "allows 1 to"),
        (&["run", "bridge", "--length", "999gb"], "allows 1 to"),
        (&["run", "bridge", "--test", "udp_stream", "--length", "70000"], "65507"),
        (&["run", "bridge", "--rate", "0"], "such as `10gbit`"),
        (&["topo", "aply", "bridge"], "apply"),
        (&["topo", "apply", "brigde"], "did you mean `bridge`?"),
        (&["topo", "exec", "bridge", "client", "true"], "`netbench topo apply bridge` makes it"),
        (&["topo", "exec", "mine", "client", "true"], "netbench topo list"),
        (&["topo", "exec", "bridge", "client"], "<COMMAND>"),
        (&["topo", "show", "mine"], "no topology named `mine` is up"),
        (&["topo", "verify", "mine"], "no topology named `mine` is up"),
        (&["topo", "destroy"], "required"),
        (&["topo", "destroy", ""], "neither a file nor the name"),
        (&["topo", "destroy", "mine.toml"], "cannot read mine.toml"),
        (&["topo", "graph", "bridge", "--format", "png"], "mermaid"),
        (&["explain", "foo"], "NB012"),
        (&[], "Usage"),
    ];
    for (args, says) in wrong {
        lab.netbench(args).exits(2).says(says);
    }
    lab.assert_as_before(&before, "mistakes on the command line");
}

#[test]
fn what_is_not_text_is_refused_with_a_reason() {
    let Some(lab) = Lab::new("not-text") else { return };
    lab.sh("head -c 1000 /dev/zero | tr '\\0' '\\377' > /mnt/binary.toml; head -c 10000000 /dev/zero > /mnt/huge.toml");
    lab.netbench(&["run", "/mnt/binary.toml"]).exits(2).says("not UTF-8");
    lab.netbench(&["run", "/mnt/huge.toml"]).exits(2).says("NB003");
}

#[test]
fn exec_names_the_nodes_and_passes_the_exit_code_on() {
    let Some(lab) = Lab::new("exec") else { return };
    lab.netbench(&["topo", "apply", "bridge"]).ok();
    lab.netbench(&["topo", "exec", "bridge", "clinet", "--", "true"]).exits(2).says("fabric, client, server");
    lab.netbench(&["topo", "exec", "bridge", "client", "--", "no-such-program"]).exits(2).says("no-such-program");
    lab.netbench(&["topo", "exec", "bridge", "client", "--", "sh", "-c", "exit 7"]).exits(7);
    let done = lab.netbench(&["topo", "exec", "bridge", "client", "--", "ip", "-br", "addr"]).ok();
    assert!(done.stdout.contains("198.18.0.1/24"), "{done}");
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
}

#[test]
fn a_topology_that_is_up_stays_up_after_a_run() {
    let Some(lab) = Lab::new("already-up") else { return };
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let before = lab.settled();
    lab.netbench(&["run", "veth", "--duration", "100ms", "--rounds", "1"]).ok().says("stays up");
    lab.assert_as_before(&before, "a run of what was up");
    lab.netbench(&["topo", "destroy", "veth"]).ok();
}

#[test]
fn without_privilege_the_missing_capability_is_named() {
    let Some(lab) = Lab::new("no-privilege") else { return };
    for args in [
        &["topo", "apply", "bridge"][..],
        &["topo", "destroy", "bridge"],
        &["topo", "destroy", "--all"],
        &["topo", "verify", "bridge"],
        &["topo", "exec", "bridge", "client", "--", "true"],
        &["topo", "gc"],
    ] {
        let Some(done) = lab.netbench_as_user(args) else { return };
        done.exits(5).says("CAP_NET_ADMIN").says("CAP_SYS_ADMIN").says("netbench run");
    }
    let Some(done) = lab.netbench_as_user(&["run", "bridge", "--keep"]) else { return };
    done.exits(5).says("CAP_SYS_ADMIN");
    let Some(done) = lab.netbench_as_user(&["topo", "plan", "bridge"]) else { return };
    done.ok().says("note: without privilege");
}

#[test]
fn the_bare_host_is_measured_without_root_too() {
    let Some(lab) = Lab::new("baseline-user") else { return };
    let args = ["run", "baseline", "--duration", "100ms", "--rounds", "1"];
    let Some(done) = lab.netbench_as_user(&args) else { return };
    done.ok().says("rootless").says("TCP_STREAM");
}

#[test]
fn ctrl_c_prints_what_there_is_and_cleans_up() {
    let Some(lab) = Lab::new("ctrl-c") else { return };
    let before = lab.settled();
    // In the warm-up of the first round: there is nothing to print yet, and nothing is made up.
    let run = lab.background(lab.netbench_command(&["run", "bridge", "--omit", "30s", "--duration", "30s"]));
    assert!(eventually(Duration::from_secs(20), || lab.namespaces().len() == 3), "the topology goes up");
    run.signal("-INT");
    let done = run.wait("netbench run, Ctrl-C in the warm-up").exits(130).says("interrupted");
    assert!(!done.stdout.contains("NOT VALID"), "{done}");
    lab.assert_as_before(&before, &done.what);

    let run = lab.background(lab.netbench_command(&["run", "bridge", "--duration", "30s", "--json"]));
    let flows = || lab.try_sh("ip netns exec nb-bridge-server cat /sys/class/net/eth0/statistics/rx_bytes").stdout;
    let runs =
        eventually(Duration::from_secs(20), || flows().trim().parse().is_ok_and(|bytes: u64| bytes > 100_000_000));
    assert!(runs, "traffic flows");
    run.signal("-INT");
    let done = run.wait("netbench run, Ctrl-C in a window").exits(130);
    let record = done.json();
    assert_eq!(record["interrupted"], true, "{done}");
    assert!(record["flows"][0]["tests"][0]["rounds"][0]["headline"].as_f64().is_some_and(|bits| bits > 0.0), "{done}");
    lab.assert_as_before(&before, &done.what);
}

#[test]
fn a_full_disk_behind_stdout_is_an_error_of_this_host() {
    let Some(lab) = Lab::new("full") else { return };
    let before = lab.settled();
    for command in ["topo plan bridge", "topo check bridge --json", "run veth --duration 100ms --rounds 1 --json"] {
        let done = lab.try_sh(&format!("{} {command} > /dev/full", lab::NETBENCH)).exits(5);
        assert!(done.stderr.contains("No space left"), "{done}");
    }
    lab.assert_as_before(&before, "a full disk");
}

#[test]
fn attached_namespaces_are_measured_and_left_alone() {
    let Some(lab) = Lab::new("attached") else { return };
    lab.sh("ip netns add x; ip netns add y; ip link add v0 netns x type veth peer name v0 netns y
         for n in x y; do ip -n $n link set lo up; ip -n $n link set v0 up addrgenmode none; done
         ip -n x addr add 192.0.2.1/24 dev v0; ip -n y addr add 192.0.2.2/24 dev v0");
    let file = lab.file(
        "attached.toml",
        "name = \"attached\"\n[node.a]\nattach = \"netns:/run/netns/x\"\naddress = \"192.0.2.1/24\"\n\
         [node.b]\nattach = \"netns:/run/netns/y\"\naddress = \"192.0.2.2/24\"\n",
    );
    let before = lab.settled();
    lab.netbench(&["run", &file, "--duration", "100ms", "--rounds", "1"]).ok().says("no hop declared");
    lab.assert_as_before(&before, "a run between attached namespaces");
}
