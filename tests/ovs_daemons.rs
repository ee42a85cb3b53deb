//! Daemons of Open vSwitch that end in the middle of an apply: it stands still at its k-th crash point (`NETBENCH_STOP_AT`),
//! a daemon is killed, and it goes on, for every k.

mod host_switch;
mod lab;

use std::time::Duration;

use lab::{Background, Done, Dump, Lab, eventually};

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl"];
const PATIENCE: Duration = Duration::from_secs(60);
/// More crash points than the topology has.
const AT_MOST: usize = 100;

const PRIVATE: &str = "name = \"y\"\n[node.a]\n[node.b]\n[switch.y1]\nkind = \"ovs\"\nports = [\"a\", \"b\"]\n";

/// Where a process is: `T` where it stands still; nothing where it has ended. One whose first thread is a zombie lives on as long as it has
/// others: its pid file stays locked.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = text.rsplit_once(") ")?.1.chars().next()?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    (!matches!(state, 'Z' | 'X') || threads > 1).then_some(state)
}

/// An apply that stands still at its k-th crash point, or has come to its end before it.
fn stopped_at(lab: &Lab, k: usize, file: &str) -> Background {
    let mut command = lab.netbench_command(&["topo", "apply", file]);
    command.env("NETBENCH_STOP_AT", k.to_string());
    let apply = lab.background(command);
    assert!(eventually(PATIENCE, || matches!(state(apply.id()), None | Some('T'))), "point {k} is not reached");
    apply
}

/// Kills the daemon with this pid file; false where it does not run.
fn kill(lab: &Lab, pid_file: &str) -> bool {
    let Some(pid) = lab.read(pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else { return false };
    if state(pid).is_none() || lab.try_sh(&format!("kill -KILL {pid}")).code != Some(0) {
        return false;
    }
    assert!(eventually(PATIENCE, || state(pid).is_none()), "a killed daemon ends");
    true
}

/// What must be said of an apply that lost a daemon: which one, and what to do.
fn named(done: &Done, program: &str, cure: &str, k: usize) {
    assert!(done.code.is_some_and(|code| code != 0), "point {k}: it does not pass for done\n{done}");
    assert!(!done.stderr.contains("panicked at"), "{done}");
    for text in [&format!("{program} "), "has ended", cure] {
        assert!(done.text().contains(text), "point {k}: `{text}`\n{done}");
    }
}

fn private(name: &str, program: &str) {
    let Some(lab) = Lab::with(name, PROGRAMS) else { return };
    let before = lab.settled();
    let file = lab.file("y.toml", PRIVATE);
    let (mut killed, mut committed) = (0, 0);
    for k in 1..=AT_MOST {
        let apply = stopped_at(&lab, k, &file);
        let Some(_) = state(apply.id()) else {
            apply.wait("the last apply").ok();
            lab.netbench(&["topo", "destroy", "y"]).ok();
            // Start, bridges, what is read of them, and the rest of the steps.
            assert!(killed > 4 && committed > 0, "{killed} points with a daemon, {committed} after the commit");
            return;
        };
        let died = kill(&lab, &format!("/run/netbench/y/ovs-fabric/{program}.pid"));
        apply.signal("-CONT");
        let done = apply.wait("topo apply");
        if !died {
            done.ok();
            lab.netbench(&["topo", "destroy", "y"]).ok();
            continue;
        }
        killed += 1;
        named(&done, program, "`netbench topo apply` starts it again", k);
        if done.text().contains("verified") {
            // It was done before the daemon ended: nothing is taken back, and the next apply mends it.
            committed += 1;
        } else {
            assert!(done.text().contains("nothing is left"), "point {k}: {done}");
            lab.assert_as_before(&before, &format!("rolled back at point {k}"));
        }
        lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        lab.netbench(&["topo", "destroy", "y"]).ok();
        lab.assert_as_before(&before, &format!("destroyed after point {k}"));
    }
    panic!("it never came to its end");
}

#[test]
fn the_switch_killed_at_every_step() {
    private("ovs-killed-switch", "ovs-vswitchd");
}

#[test]
fn the_database_killed_at_every_step() {
    private("ovs-killed-database", "ovsdb-server");
}

fn of_the_host(name: &str, program: &str) {
    let Some(lab) = Lab::with(name, PROGRAMS) else { return };
    // A name without the process id, so that what is there before can be compared with what is there after.
    let socket = "--unixctl=/run/openvswitch/ovs-vswitchd.ctl";
    host_switch::start_with(&lab, "", socket);
    let file = lab.file("y.toml", host_switch::TOPOLOGY);
    let before = lab.settled();
    let rows = || host_switch::vsctl(&lab, "list-br") + &host_switch::vsctl(&lab, "--columns=name list interface");
    let theirs = rows();
    let as_before = |before: &Dump, what: &str| {
        lab.assert_as_before(before, what);
        assert_eq!(rows(), theirs, "{what}");
    };
    let mut left = 0;
    for k in 1..=AT_MOST {
        let apply = stopped_at(&lab, k, &file);
        let Some(_) = state(apply.id()) else {
            apply.wait("the last apply").ok();
            lab.netbench(&["topo", "destroy", "y"]).ok();
            as_before(&before, "the last destroy");
            assert!(k > 10, "the crash points were not reached: {k}");
            assert!(program == "ovs-vswitchd" || left > 0, "its database had something of ours at some point");
            host_switch::stop(&lab);
            return;
        };
        assert!(kill(&lab, &format!("/run/openvswitch/{program}.pid")), "point {k}: it runs");
        apply.signal("-CONT");
        let done = apply.wait("topo apply");
        named(&done, program, "start the host's Open vSwitch again", k);
        let committed = done.text().contains("verified");
        if program == "ovs-vswitchd" && !committed {
            // What it kept for us is out of its database although it cannot look.
            assert_eq!(host_switch::vsctl(&lab, "list-br").trim(), "theirs", "point {k}: {done}");
            assert!(!done.text().contains("rolling back left"), "point {k}: {done}");
        }
        if program == "ovsdb-server" {
            // As a restart of the service does; a switch that goes on tries its database less and less often.
            assert!(kill(&lab, "/run/openvswitch/ovs-vswitchd.pid"), "the switch outlives its database");
            host_switch::start_daemon(&lab, program, "");
        }
        host_switch::start_daemon(&lab, "ovs-vswitchd", socket);
        if committed || done.text().contains("rolling back left") {
            left += 1;
            lab.netbench(&["topo", "destroy", "y"]).ok();
        }
        as_before(&before, &format!("the host's daemon runs again after point {k}"));
        lab.netbench(&["topo", "apply", &file]).ok().says("proved");
        lab.netbench(&["topo", "destroy", "y"]).ok();
        as_before(&before, &format!("destroyed after point {k}"));
    }
    panic!("it never came to its end");
}

#[test]
fn the_hosts_switch_killed_at_every_step() {
    of_the_host("ovs-killed-host-switch", "ovs-vswitchd");
}

#[test]
fn the_hosts_database_killed_at_every_step() {
    of_the_host("ovs-killed-host-database", "ovsdb-server");
}

/// An apply that follows at once finds a daemon that is about to end, or just has: its pid file is locked, its taps are held, its
/// sockets are there until the kernel has closed them.
#[test]
fn a_daemon_killed_and_an_apply_at_once() {
    let Some(lab) = Lab::with("ovs-killed-at-once", PROGRAMS) else { return };
    let before = lab.settled();
    lab.netbench(&["topo", "apply", "vxlan"]).ok();
    for round in 0..5 {
        for program in ["ovs-vswitchd", "ovsdb-server", "ovs*"] {
            let killed = lab
                .sh(&format!("cd /run/netbench/vxlan; pids=$(cat ovs-*/{program}.pid); kill -KILL $pids; echo $pids"));
            let done = lab.netbench(&["topo", "apply", "vxlan"]);
            assert!(done.code == Some(0), "round {round}, {program}: {done}");
            done.says("MTU 8950 proved");
            let now = lab.sh("cat /run/netbench/vxlan/ovs-*/*.pid");
            assert_eq!(now.split_whitespace().count(), 4, "two daemons on each of two hosts");
            let old: Vec<&str> = killed.split_whitespace().collect();
            assert!(!now.split_whitespace().any(|pid| old.contains(&pid)), "started again: {old:?} and {now}");
        }
    }
    lab.netbench(&["topo", "destroy", "vxlan"]).ok();
    lab.assert_as_before(&before, "destroy");
}
