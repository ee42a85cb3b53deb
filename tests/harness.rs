//! The harness itself: a world of its own, a dump that sees what it must, and nothing left behind.

mod lab;

use std::{
    io::{BufRead, BufReader},
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use lab::{Done, Lab};

#[test]
fn a_lab_is_a_world_of_its_own() {
    let Some(lab) = Lab::new("own-world") else { return };
    let links = lab.json("ip -j link show");
    assert_eq!(links.as_array().map(Vec::len), Some(1), "only lo: {links}");
    assert_eq!(lab.namespaces(), Vec::<String>::new());
    lab.file("hello.txt", "hello");
    assert_eq!(lab.sh("cat /mnt/hello.txt"), "hello");
    let help: Done = lab.netbench(&["--help"]);
    assert!(help.text().contains("netbench"), "{help}");
}

#[test]
fn the_dump_sees_every_kind_of_change_and_its_reversal() {
    let Some(lab) = Lab::new("dump") else { return };
    lab.sh("ip link add vx0 mtu 1500 type veth peer name vx1 && ip link set vx0 up && ip link set vx1 up");
    lab.sh("ip addr add 198.51.100.1/24 dev vx0 && ip netns add other && ip -n other link set lo up");
    let before = lab.settled();
    for (change, back) in [
        ("ip link set vx0 mtu 1400", "ip link set vx0 mtu 1500"),
        ("ip link set vx0 alias x", "ip link set vx0 alias ''"),
        ("ip link set vx0 group 7", "ip link set vx0 group 0"),
        ("ip link property add dev vx0 altname y", "ip link property del dev vx0 altname y"),
        ("ip addr add 198.51.100.2/24 dev vx0", "ip addr del 198.51.100.2/24 dev vx0"),
        ("ip route add 203.0.113.0/24 via 198.51.100.9", "ip route del 203.0.113.0/24"),
        ("ip route add 203.0.113.0/24 dev vx0 table 77", "ip route del 203.0.113.0/24 table 77"),
        ("ip rule add from 203.0.113.1 table 77", "ip rule del from 203.0.113.1 table 77"),
        ("bridge fdb add 02:00:00:00:00:99 dev vx0", "bridge fdb del 02:00:00:00:00:99 dev vx0"),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
        ("ip -n other link set lo mtu 9000", "ip -n other link set lo mtu 65536"),
        ("mkdir -p /run/netbench/x && touch /run/netbench/x/lock", "rm -r /run/netbench"),
        ("ip netns add third", "ip netns del third"),
    ] {
        lab.sh(change);
        assert_ne!(lab.dump(), before, "{change}");
        lab.sh(back);
        lab.assert_as_before(&before, back);
    }
}

#[test]
fn the_holder_ends_with_the_lab() {
    let Some(lab) = Lab::new("ends") else { return };
    let inode = lab.sh("readlink /proc/self/ns/net");
    drop(lab);
    let holders = std::fs::read_dir("/proc").expect("procfs").flatten().filter(|entry| {
        std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link.to_string_lossy() == inode.trim())
    });
    assert_eq!(holders.count(), 0);
}

/// Processes that see this file system under `/mnt`, by name.
fn within(world: u64) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
    let here = processes.filter(|path| std::fs::metadata(path.join("root/mnt")).is_ok_and(|at| at.dev() == world));
    here.filter_map(|path| Some(std::fs::read_to_string(path.join("comm")).ok()?.trim().to_owned())).collect()
}

/// A test that is killed, alone or with its process group as a test runner does, has nobody who could clean up: daemons of
/// its topologies end all the same. While it lives they outlive the netbench that started them.
#[test]
fn a_test_that_is_killed_leaves_no_daemon() {
    const VICTIM: &str = "NETBENCH_TEST_VICTIM";
    let name = "a_test_that_is_killed_leaves_no_daemon";
    if std::env::var_os(VICTIM).is_some() {
        let lab = Lab::new("victim").expect("the parent has made one");
        lab.netbench(&["topo", "apply", "ovs"]).ok();
        // Started and left there, as by a netbench without root.
        lab.sh("unshare -m sleep 1000 >/dev/null 2>&1 & ip netns exec nb-ovs-client sleep 1000 >/dev/null 2>&1 &");
        println!("\nworld {}", lab.sh("stat -c %d /mnt").trim());
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    if Lab::with("victims", &["ovs-vswitchd", "ovsdb-server"]).is_none() {
        return;
    }
    for group in [false, true] {
        let mut command = Command::new(std::env::current_exe().expect("its own path"));
        command.args(["--exact", name, "--nocapture"]).env(VICTIM, "1").process_group(0);
        let mut victim = command.stdout(Stdio::piped()).spawn().expect("a test binary starts");
        let mut lines = BufReader::new(victim.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let world = lines.find_map(|line| line.strip_prefix("world ")?.parse().ok()).expect("it comes that far");
        let count = |name: &str| within(world).iter().filter(|other| *other == name).count();
        let up = || (count("ovsdb-server"), count("ovs-vswitchd"), count("sleep")) == (1, 1, 2);
        assert!(lab::eventually(Duration::from_secs(10), up), "they are there: {:?}", within(world));
        let whom = if group { format!("-{}", victim.id()) } else { victim.id().to_string() };
        assert!(Command::new("kill").args(["-KILL", "--", &whom]).status().is_ok_and(|status| status.success()));
        victim.wait().expect("a child can be waited for");
        let gone = lab::eventually(Duration::from_secs(20), || within(world).is_empty());
        assert!(gone, "killed with its group: {group}; still there: {:?}", within(world));
    }
}

fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    lab::dump::sections(text, "self", &mut lines);
    lines
}

#[test]
fn what_changes_by_itself_is_left_out_of_the_dump_and_the_rest_kept() {
    let text = "@link\n[{\"ifindex\":2,\"ifname\":\"vx0\",\"mtu\":1500,\"altnames\":[\"b\",\"a\"],\
                \"linkinfo\":{\"info_data\":{\"gc_timer\":3,\"stp_state\":0}}}]\n";
    let one = lines(text);
    assert_eq!(one, lines(&text.replace(":2,", ":77,").replace("gc_timer\":3", "gc_timer\":9")));
    assert_ne!(one, lines(&text.replace("1500", "1400")));
    assert_ne!(one, lines(&text.replace("stp_state\":0", "stp_state\":1")));
    assert_ne!(one, lines(&text.replace("\"a\"", "\"c\"")));
    assert!(lines("@fdb\n[{\"mac\":\"02:00:00:00:00:01\",\"ifname\":\"vx0\",\"state\":\"\"}]\n").is_empty());
    assert_eq!(lines("@fdb\n[{\"mac\":\"02:00:00:00:00:01\",\"state\":\"permanent\"}]\n").len(), 1);
    let route = lines("@route6\n[{\"dst\":\"fe80::/64\",\"dev\":\"vx0\",\"flags\":[\"rt_trap\"]}]\n");
    assert_eq!(route, lines("@route6\n[{\"dst\":\"fe80::/64\",\"dev\":\"vx0\",\"flags\":[]}]\n"));
    assert_ne!(route, lines("@route6\n[{\"dst\":\"fe80::/64\",\"dev\":\"vx0\",\"flags\":[\"onlink\"]}]\n"));
}
