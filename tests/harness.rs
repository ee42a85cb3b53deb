//! The harness itself: a world of its own, a dump that sees what it must, and nothing left behind.

mod lab;

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
}
