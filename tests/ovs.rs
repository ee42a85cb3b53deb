//! A real Open vSwitch: daemons of the test's own in a private namespace, `ovs-vsctl` and `ovs-ofctl` as the oracle.

mod lab;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use lab::{Lab, eventually};
use netbench::{
    ovs::{
        Error, bridge,
        client::Client,
        daemon::{Instance, running_below},
        observe,
        openflow::{self, Connection, Flow, Match, Output},
        unixctl,
    },
    plan::ovs::{OvsBridge, OvsPort, OvsTunnel},
    topology::model::{Datapath, FailMode, TunnelKind},
    units::BitRate,
};

const PATIENCE: Duration = Duration::from_secs(30);
const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl"];

/// A lab with an Open vSwitch in it.
struct Bench {
    lab: Lab,
    ovs: Instance,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        let lab = Lab::with(name, PROGRAMS)?;
        let folder = std::env::temp_dir().join(format!("netbench-{name}-{}", std::process::id()));
        let bench = Self { lab, ovs: Instance::at(folder) };
        bench.start().expect("Open vSwitch starts");
        Some(bench)
    }

    fn start(&self) -> Result<(), Error> {
        let netns = self.lab.sh("stat -L -c %i /proc/self/ns/net").trim().parse().expect("a number");
        self.ovs.start(netns, true, &mut |command| {
            let mut inside = self.lab.command(command.get_program());
            inside.args(command.get_args());
            inside.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
            inside.spawn()
        })
    }

    fn vsctl(&self, arguments: &str) -> String {
        let database = self.ovs.database();
        self.lab.sh(&format!("ovs-vsctl --timeout=10 --db=unix:{} {arguments}", database.display())).trim().to_owned()
    }

    fn veths(&self, names: &[&str]) {
        for name in names {
            self.lab.sh(&format!("ip link add {name} up type veth peer name far-{name}; ip link set far-{name} up"));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = self.ovs.stop() {
            eprintln!("the private Open vSwitch is left: {error}");
        }
    }
}

fn port(name: &str) -> OvsPort {
    OvsPort::of(name.parse().expect("a name"), 1500)
}

fn plain(name: &str, ports: Vec<OvsPort>) -> OvsBridge {
    OvsBridge {
        name: name.parse().expect("a name"),
        datapath: Datapath::User,
        fail_mode: FailMode::Standalone,
        rstp: false,
        stp: false,
        mtu: 1500,
        mac: None,
        ports,
        flows: Vec::new(),
    }
}

fn tunnel(name: &str, kind: TunnelKind, key: u32) -> OvsPort {
    let mut port = OvsPort::of(name.parse().expect("a name"), 0);
    let (local, remote) = ("192.0.2.1".parse().expect("an address"), "192.0.2.2".parse().expect("an address"));
    port.interfaces[0].tunnel = Some(OvsTunnel { kind, local, remote, key, port: kind.default_port(), checksum: None });
    port
}

/// All that the database can be told, in one transaction.
fn everything() -> Vec<OvsBridge> {
    let mut tagged = port("v1");
    (tagged.tag, tagged.rate) = (Some(100), Some(BitRate(50_000_000)));
    let mut trunk = port("v2");
    trunk.trunks = vec![10, 20];
    let mut left = plain("left", vec![tagged, trunk]);
    (left.rstp, left.mac) = (true, Some("02:00:00:00:00:0a".parse().expect("a MAC")));
    let tunnels = vec![
        tunnel("gen0", TunnelKind::Geneve, 7),
        tunnel("gre0", TunnelKind::Gre, 8),
        port("v3"),
        tunnel("vx0", TunnelKind::Vxlan, 42),
    ];
    let mut right = plain("right", tunnels);
    right.fail_mode = FailMode::Secure;
    vec![left, right]
}

#[test]
fn bridges_are_made_in_one_transaction_read_back_and_removed() {
    let Some(bench) = Bench::new("ovs-everything") else { return };
    bench.veths(&["v1", "v2", "v3"]);
    let database = bench.ovs.database();
    bench.vsctl("add-br theirs -- set bridge theirs datapath_type=netdev");
    let wanted = everything();
    bridge::create(&database, "t", &wanted, None).expect("bridges");
    assert_eq!(bench.vsctl("list-br"), "left\nright\ntheirs");
    assert_eq!(bench.vsctl("get port v1 tag"), "100");
    assert_eq!(bench.vsctl("get port v2 trunks"), "[10, 20]");
    assert_eq!(bench.vsctl("get interface vx0 options:key"), "\"42\"");
    assert_eq!(bench.vsctl("get bridge right fail_mode"), "secure");
    assert_eq!(bench.vsctl("get bridge left external_ids:netbench-topo"), "t");
    assert!(bench.lab.sh("tc class show dev v1").contains("htb"), "linux-htb is the kernel's htb");
    let seen = observe::read(&database, "t").expect("read back");
    assert_eq!(seen.bridges, wanted);
    assert!(seen.tso && seen.broken.is_empty(), "{:?}", seen.broken);
    assert!(observe::read(&database, "other").expect("read back").bridges.is_empty());

    assert_eq!(bridge::delete(&database, "other", None, None).expect("nothing"), [""; 0]);
    assert_eq!(bridge::delete(&database, "t", Some(&["left"]), None).expect("one"), ["left"]);
    assert_eq!(bench.vsctl("list-br"), "right\ntheirs");
    assert_eq!(bench.vsctl("--columns=_uuid list qos"), "");
    assert_eq!(bridge::delete(&database, "t", None, None).expect("the rest"), ["right"]);
    assert_eq!(bench.vsctl("list-br"), "theirs");
    assert_eq!(bench.vsctl("--columns=_uuid list queue"), "");
    assert_eq!(bench.vsctl("--columns=name list interface"), "name                : theirs");
}

#[test]
fn somebody_elses_bridge_is_never_touched() {
    let Some(bench) = Bench::new("ovs-foreign") else { return };
    bench.vsctl("add-br right -- set bridge right datapath_type=netdev");
    let error = bridge::create(&bench.ovs.database(), "t", &[plain("left", vec![]), plain("right", vec![])], None);
    let error = error.expect_err("the name is taken");
    assert!(matches!(&error, Error::BridgeTaken { bridge } if bridge == "right"), "{error}");
    assert_eq!(bench.vsctl("list-br"), "right", "all or nothing");
    bridge::delete(&bench.ovs.database(), "t", Some(&["right"]), None).expect("nothing to do");
    assert_eq!(bench.vsctl("list-br"), "right");
}

#[test]
fn a_port_without_a_device_is_an_error_although_the_database_took_it() {
    let Some(bench) = Bench::new("ovs-missing") else { return };
    let error =
        bridge::create(&bench.ovs.database(), "t", &[plain("br1", vec![port("nowhere")])], None).expect_err("no port");
    let text = error.to_string();
    assert!(matches!(error, Error::Port { .. }), "{text}");
    assert!(text.contains("nowhere") && text.contains("No such device"), "{text}");
    let seen = observe::read(&bench.ovs.database(), "t").expect("read back");
    assert_eq!(seen.broken[0].0, "nowhere");
}

#[test]
fn a_switch_that_stands_still_is_named() {
    let Some(bench) = Bench::new("ovs-stopped") else { return };
    let switch = bench.ovs.pids().iter().find(|(_, program)| *program == "ovs-vswitchd").expect("it runs").0;
    let signal = |signal: &str| assert!(Command::new("kill").args([signal, &switch.to_string()]).status().is_ok());
    signal("-STOP");
    let mut client = Client::connect(&bench.ovs.database()).expect("the database listens");
    client.transact(&bridge::creation("t", &[plain("br1", vec![])]), PATIENCE).expect("the database takes it");
    let error = client.wait_applied(1, Duration::from_millis(200), &|| false).expect_err("nobody carries it out");
    assert!(matches!(error, Error::NotApplied { wanted: 1, .. }), "{error}");
    let error =
        unixctl::command(&bench.ovs.control(), "version", &[], Duration::from_millis(100)).expect_err("stopped");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let started = Instant::now();
    assert!(bench.ovs.stop().expect("it ends all the same"));
    assert!(started.elapsed() < PATIENCE);
    assert!(bench.ovs.pids().is_empty());
}

#[test]
fn daemons_that_were_killed_are_started_again_and_leave_nothing() {
    let Some(bench) = Bench::new("ovs-killed") else { return };
    assert!(bench.ovs.is_running());
    bench.start().expect("a second start changes nothing");
    let before = bench.ovs.pids();
    let above = bench.ovs.folder().parent().map(PathBuf::from).expect("a parent");
    assert!(running_below(&above).contains(&bench.ovs.folder().to_owned()));
    for (pid, _) in &before {
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().is_ok());
    }
    assert!(eventually(PATIENCE, || bench.ovs.pids().is_empty()), "they are gone");
    assert!(!bench.ovs.is_running());
    bench.start().expect("a new start clears away what the kill left");
    assert!(bench.ovs.is_running());
    assert!(bench.ovs.pids().iter().all(|daemon| !before.contains(daemon)));
    // Without its folder a daemon is still found by what it was started with.
    std::fs::remove_dir_all(bench.ovs.folder()).expect("the folder");
    let left = bench.ovs.pids();
    drop(left);
    bench.start().expect("start again");
    assert!(bench.ovs.stop().expect("stop"));
    assert!(bench.ovs.pids().is_empty() && !bench.ovs.folder().exists());
    assert!(!bench.ovs.stop().expect("a second stop"));
}

/// A daemon whose first thread has ended alone has no command line and no namespaces of its own; its threads hold all the same.
#[test]
fn a_daemon_whose_first_thread_has_ended_runs_and_is_ended() {
    let Some(lab) = Lab::with("ovs-leader", &["python3"]) else { return };
    let ovs = Instance::at(std::env::temp_dir().join(format!("netbench-ovs-leader-{}", std::process::id())));
    let script = "import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(300,)).start()
ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)";
    lab.sh("for name in ovs-vswitchd ovsdb-server; do ln -s \"$(python3 -c 'import sys; print(sys.executable)')\" /mnt/$name; done");
    let start = |program: &str| {
        let mut command = lab.command(format!("/mnt/{program}"));
        command.args(["-c", script, &format!("--pidfile={}/{program}.pid", ovs.folder().display())]);
        lab.background(command)
    };
    let (switch, server) = (start("ovs-vswitchd"), start("ovsdb-server"));
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    let threads = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let alone = |pid: u32| state(pid) == Some('Z') && threads(pid) == 2;
    assert!(eventually(PATIENCE, || alone(switch.id()) && alone(server.id())), "the first threads end");
    std::fs::create_dir_all(ovs.folder()).expect("a folder");
    let netns: u64 = lab.sh("stat -L -c %i /proc/self/ns/net").trim().parse().expect("a number");
    assert!(ovs.is_running() && ovs.is_running_in(netns) && !ovs.is_running_in(netns + 1), "{:?}", ovs.pids());
    assert!(ovs.stop().expect("both end"));
    assert!(!ovs.is_running() && switch.wait("switch").signal.is_some() && server.wait("server").signal.is_some());
}

#[test]
fn flows_come_and_go_by_cookie() {
    let Some(bench) = Bench::new("ovs-flows") else { return };
    bench.veths(&["v1", "v2"]);
    bridge::create(&bench.ovs.database(), "t", &[plain("br1", vec![port("v1"), port("v2")])], None).expect("a bridge");
    let socket = bench.ovs.management("br1");
    let dump = || bench.lab.sh(&format!("ovs-ofctl -O OpenFlow13 --names dump-flows unix:{}", socket.display()));
    let mut connection = Connection::open(&socket, "br1", PATIENCE).expect("OpenFlow");
    let (mine, other) = (openflow::cookie("t"), openflow::cookie("other"));
    let number = |name: &str| bench.vsctl(&format!("get interface {name} ofport")).parse().expect("a number");
    let matches = Match { in_port: Some(number("v1")), eth_dst: Some([2, 0, 0, 0, 0, 1]), eth_type: Some(0x0800) };
    connection.add(mine, &[Flow { priority: 7, matches, output: Output::Port(number("v2")) }]).expect("a flow");
    connection.add(other, &[Flow { priority: 8, matches: Match::default(), output: Output::Drop }]).expect("a flow");
    let text = dump();
    assert!(text.contains(&format!("cookie={mine:#x}")), "{text}");
    assert!(text.contains("priority=7,ip,in_port=v1,dl_dst=02:00:00:00:00:01 actions=output:v2"), "{text}");
    assert!(text.contains("priority=8 actions=drop"), "{text}");
    connection.delete(mine).expect("deleted");
    let text = dump();
    assert!(!text.contains("priority=7") && text.contains("priority=8"), "{text}");
    assert!(text.contains("actions=NORMAL"), "the switch's own flow stays: {text}");
    let bad = Match { in_port: Some(0), ..Match::default() };
    let error = connection
        .add(mine, &[Flow { priority: 1, matches: bad, output: Output::Port(0xffff_fff0) }])
        .expect_err("no port");
    assert!(matches!(error, Error::Flow { .. }), "{error}");
    let flows = unixctl::datapath_flows(&bench.ovs.control(), PATIENCE).expect("flows");
    assert_eq!(flows.offloaded, 0);
    // The counters of events are gathered once a second.
    let counted = || !unixctl::coverage(&bench.ovs.control(), PATIENCE).expect("coverage").is_empty();
    assert!(eventually(PATIENCE, counted), "no event was counted");
}
