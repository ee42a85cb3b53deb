//! What a command made for its own time goes with it: after SIGKILL at any moment `topo gc`, or the next command on the
//! same topology, leaves the world exactly as it was, and while the command lives nobody else touches it.

mod lab;

use lab::{Lab, PATIENCE, SIGKILL, eventually};

/// Each command that makes topologies for its own time, short.
const COMMANDS: &[(&str, &[&str])] = &[
    ("run", &["run", "bridge", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "1"]),
    ("sweep", &["sweep", "veth", "--set", "mtu=1500,3000", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "3"]),
    ("overhead", &["overhead", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "3"]),
    ("tune", &["mtu", "tune", "veth", "--mtu", "1500,3000", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "5"]),
    ("probe", &["mtu", "probe", "veth"]),
    ("offload", &["offload", "verify", "veth", "--only", "tso"]),
];

/// Workers in namespaces of ours; daemons of Open vSwitch live on until they are collected.
fn workers(lab: &Lab) -> Vec<String> {
    let script = "for ns in /run/netns/nb-*; do [ -e \"$ns\" ] && ip netns pids \"$(basename \"$ns\")\"; done; true";
    let is_worker = |pid: &&str| !lab.read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("ovs"));
    lab.try_sh(script).stdout.lines().filter(is_worker).map(str::to_owned).collect()
}

/// Kills a command at crash points that lie ever farther apart, until it survives; `gc` after each.
fn at_crash_points(command: &str) {
    let (_, args) = COMMANDS.iter().find(|(name, _)| *name == command).expect("it is in the table");
    let Some(lab) = Lab::new(&format!("abandoned-{command}")) else { return };
    let before = lab.settled();
    let (mut k, mut killed) = (1, 0);
    loop {
        let done = lab.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), args);
        if done.signal != Some(SIGKILL) {
            assert!(matches!(done.code, Some(0 | 4)), "{done}");
            break;
        }
        killed += 1;
        assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");
        lab.netbench(&["topo", "gc"]).ok();
        lab.assert_as_before(&before, &format!("{command} killed at point {k}"));
        assert!(lab.try_sh("ls /run/netbench").code != Some(0), "no state is left of {command} killed at point {k}");
        k += 1 + k / 4;
    }
    assert!(killed >= 8, "{command}: only {killed} crash points were reached");
    lab.assert_as_before(&before, command);
}

#[test]
fn a_killed_run() {
    at_crash_points("run");
}

#[test]
fn a_killed_sweep() {
    at_crash_points("sweep");
}

#[test]
fn a_killed_overhead() {
    at_crash_points("overhead");
}

#[test]
fn a_killed_mtu_tune() {
    at_crash_points("tune");
}

#[test]
fn a_killed_mtu_probe() {
    at_crash_points("probe");
}

#[test]
fn a_killed_offload_verify() {
    at_crash_points("offload");
}

/// In the middle of the measurement, when the journal says that all is well.
#[test]
fn killed_while_it_measures() {
    let Some(lab) = Lab::new("abandoned-measuring") else { return };
    let before = lab.settled();
    for (what, args) in &COMMANDS[..4] {
        let longer = args.iter().map(|arg| if *arg == "50ms" { "20s" } else { arg }).collect::<Vec<_>>();
        let running = lab.background(lab.netbench_command(&longer));
        assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "{what} measures");
        // While it lives it is nobody else's.
        lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
        lab.netbench(&["topo", "list"]).ok().says("in use");
        assert!(workers(&lab).len() >= 2, "{what} goes on");
        running.signal("-KILL");
        running.wait(what);
        lab.netbench(&["topo", "list"]).ok().says("abandoned");
        assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");
        lab.netbench(&["topo", "gc"]).ok().says("removed");
        lab.assert_as_before(&before, what);
    }
}

#[test]
fn a_living_run_is_not_touched_and_the_dead_one_beside_it_goes() {
    let Some(lab) = Lab::new("abandoned-beside") else { return };
    let before = lab.settled();
    let killed = lab.background(lab.netbench_command(&["run", "veth", "--test", "tcp_rr", "--duration", "20s"]));
    assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "it measures");
    killed.signal("-KILL");
    killed.wait("netbench run veth, killed");
    assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");

    let args = ["run", "bridge", "--test", "tcp_rr", "--duration", "8s", "--rounds", "1", "--json"];
    let living = lab.background(lab.netbench_command(&args));
    let pid = living.id().to_string();
    assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "it measures");
    let namespaces = || lab.namespaces().into_iter().filter(|name| name.starts_with("nb-bridge")).count();
    let standing = namespaces();

    let collected = lab.netbench(&["topo", "gc"]).ok().says("veth: removed");
    assert!(!collected.stderr.contains("bridge"), "{collected}");
    for refused in [&["topo", "destroy", "bridge"][..], &["topo", "apply", "bridge"], &["run", "bridge"]] {
        lab.netbench(refused).exits(2).says(&format!("in use by netbench process {pid}"));
    }
    lab.netbench(&["sweep", "bridge", "--set", "mtu=1500,3000", "--duration", "50ms"]).ok();
    lab.netbench(&["topo", "destroy", "--all"])
        .ok()
        .says(&format!("bridge: left alone, netbench process {pid} uses it"));
    // Also when its records are lost: what is left of them is the lock.
    lab.sh("rm /run/netbench/bridge/journal.jsonl");
    lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
    assert_eq!(namespaces(), standing, "nothing of it went");

    let record = living.wait("the living run").ok().json();
    let rounds = record["flows"][0]["tests"][0]["rounds"].as_array().map(Vec::len);
    assert_eq!(rounds, Some(1), "{record:#}");
    lab.assert_as_before(&before, "both runs");
}

#[test]
fn the_next_command_removes_what_a_killed_one_left() {
    let Some(lab) = Lab::new("abandoned-next") else { return };
    let before = lab.settled();
    for next in [
        &["run", "bridge", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "1"][..],
        &["mtu", "probe", "bridge"],
        &["topo", "apply", "bridge"],
    ] {
        let run = lab.background(lab.netbench_command(&["run", "bridge", "--test", "tcp_rr", "--duration", "20s"]));
        assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "it measures");
        run.signal("-KILL");
        run.wait("netbench run, killed");
        assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");
        let done = lab.netbench(next).ok();
        let text = format!("{}{}", done.stdout, done.stderr);
        assert!(text.contains("was killed had left its network"), "{done}");
        if next[0] == "topo" {
            // This one was made to stay.
            lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
            lab.netbench(&["topo", "list"]).ok().says(" up ");
            lab.netbench(&["topo", "destroy", "bridge"]).ok();
        }
        lab.assert_as_before(&before, &format!("{next:?}"));
    }
}

#[test]
fn keep_hands_over() {
    let Some(lab) = Lab::new("abandoned-keep") else { return };
    if lab.is_rootless() {
        return lab::skip("--keep needs namespaces that outlive the command, which only root has");
    }
    let before = lab.settled();
    let args = |time| ["run", "bridge", "--test", "tcp_rr", "--rounds", "1", "--keep", "--duration", time];
    lab.netbench(&args("50ms")).ok();
    lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
    lab.netbench(&["topo", "list"]).ok().says(" up ");
    lab.netbench(&["topo", "verify", "bridge"]).ok();
    // A run on what is up leaves it up, also when it is killed.
    let run = lab.background(lab.netbench_command(&["run", "bridge", "--test", "tcp_rr", "--duration", "20s"]));
    assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "it measures");
    run.signal("-KILL");
    run.wait("netbench run, killed");
    lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
    lab.netbench(&["topo", "verify", "bridge"]).ok();
    lab.netbench(&["topo", "destroy", "bridge"]).ok();
    lab.assert_as_before(&before, "a topology that was kept");
    // Killed before it could hand over.
    let run = lab.background(lab.netbench_command(&args("20s")));
    assert!(eventually(PATIENCE, || workers(&lab).len() >= 2), "it measures");
    run.signal("-KILL");
    run.wait("netbench run --keep, killed");
    assert!(eventually(PATIENCE, || workers(&lab).is_empty()), "workers end with their pipe");
    lab.netbench(&["topo", "gc"]).ok().says("bridge: removed");
    lab.assert_as_before(&before, "a run that was killed before it could hand over");
}
