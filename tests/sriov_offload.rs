//! `netbench offload verify` on a real NIC (see sriov.rs) and its functions: the faults of the emulated 82576 are named.

mod lab;
mod sriov_nics;

use lab::{Lab, verdicts};
use serde_json::Value;
use sriov_nics::{PAIR, World, nics_are_emulated};

/// Verdict, features and findings of a device's check.
fn verdict<'j>(json: &'j Value, device: &str, check: &str) -> (&'j str, String) {
    let is = |row: &&Value| row["check"] == check && (row["device"] == device || row["path"] == device);
    let row = json["checks"].as_array().and_then(|rows| rows.iter().find(is));
    let row = row.unwrap_or_else(|| panic!("{device} {check}: {json:#}"));
    (row["verdict"].as_str().unwrap_or_default(), row.to_string())
}

/// Every verdict of a port of the emulated 82576.
const PORT: &str = "\
{x} -> {y} CORRUPT uso-edges
{x} -> {y} LEAK integrity
{x} -> {y} PASS merge-rules, merge-rules-udp, mtu, rx-checksum-edges, rx-verification, tx-checksum-edges, vlan
{x}/eth0 CORRUPT tso, tx-checksum
{x}/eth0 INCONCLUSIVE tso-mangleid
{x}/eth0 LEAK uso
{x}/eth0 PASS gro, gso, rss, rx-checksum, tx-checksum-sctp, vlan-filter, vlan-insert, vlan-strip
{x}/eth0 SKIP tso6
";

/// Every verdict of one of its functions.
const FUNCTION: &str = "\
{x} -> {y} PASS integrity, merge-rules, merge-rules-udp, mtu, rx-checksum-edges, rx-verification, tx-checksum-edges, uso-edges, vlan
{x}/eth0 CORRUPT tso, tx-checksum
{x}/eth0 INCONCLUSIVE tso-mangleid
{x}/eth0 PASS gro, gso, rx-checksum, tx-checksum-sctp
{x}/eth0 SKIP rss, tso6, vlan-filter, vlan-insert, vlan-strip
";

/// What `offload verify` of a file says, after it was held against the table of each end.
#[track_caller]
fn all_verdicts(lab: &Lab, file: &str, of_each: &str) -> Value {
    let expected = verdicts::both(["a", "b"], of_each) + "all devices PASS state\n";
    let json = verdicts::verify(lab, file, &expected, 3);
    let wrong = verdicts::differences(&json, &expected);
    assert!(wrong.is_empty(), "{wrong}\n{json:#}");
    json
}

/// The emulated 82576 takes datagrams in bundles (`UDP_SEGMENT`) for one datagram to be fragmented, and keeps no PSH of what it
/// cuts. All else of the port is right; the driver ties VLAN insertion to stripping.
#[test]
fn a_port_that_sends_bundles_of_datagrams_as_fragments_is_named() {
    let Some(world) = World::new("sriov-offload") else { return };
    world.lab.try_sh("modprobe sctp");
    let file = world.file(
        "name = \"t\"\n[nic.l]\npci = \"PF0\"\ncable = \"r\"\nchannels = { combined = 2 }\n\
         [nic.r]\npci = \"PF1\"\nchannels = { combined = 2 }\n[node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n",
    );
    let json = all_verdicts(&world.lab, &file, PORT);
    for device in ["a/eth0", "b/eth0"] {
        // With checksums on the kernel leaves the cutting to it as well, and it clears PSH of the last segment too.
        for check in ["tx-checksum", "tso"] {
            let (word, row) = verdict(&json, device, check);
            assert!(word == "CORRUPT" && row.contains("only with it on: TCP flags changed"), "{row}");
        }
        let (word, row) = verdict(&json, device, "uso");
        assert!(word == "LEAK" && row.contains("\"fragmented\""), "{row}");
        assert!(row.contains("ethtool -K eth0 tx-udp-segmentation off"), "{row}");
        let (word, row) = verdict(&json, device, "vlan-insert");
        assert!(word == "PASS" && row.contains("rx-vlan-hw-parse"), "{row}");
        // What its driver counted of the wrong checksums that were sent on purpose.
        let (_, row) = verdict(&json, device, "rx-checksum");
        assert!(row.contains("_csum_err 12 with it on, 0 with it off"), "{row}");
        let (word, row) = verdict(&json, device, "vlan-filter");
        assert!(
            word == "PASS" && row.contains("0 came with the filter on, 12 while the port was promiscuous"),
            "{row}"
        );
        // Its driver does not tell the key: that both queues are used is all there is to see.
        let (word, row) = verdict(&json, device, "rss");
        assert!(word == "PASS" && row.contains("64 connections came by 2 of the 2 queues"), "{row}");
    }
    let (word, row) = verdict(&json, "a -> b", "uso-edges");
    assert!(word == "CORRUPT" && row.contains("first seen between a/eth0 and b/eth0"), "{row}");
    let (word, row) = verdict(&json, "all devices", "state");
    assert!(word == "PASS" && row.contains("interrupts go to the CPUs that they went to"), "{row}");
}

/// Its receiver takes packets that are longer than its own MTU, where somebody sends them.
#[test]
fn a_port_that_receives_more_than_its_mtu_is_named() {
    let Some(world) = World::new("sriov-offload-mtu") else { return };
    let file = world.file(
        "name = \"t\"\n[nic.l]\npci = \"PF0\"\ncable = \"r\"\n[nic.r]\npci = \"PF1\"\n\
         [node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n",
    );
    world.lab.netbench(&["topo", "apply", &file]).ok();
    world.lab.sh_in("nb-t-a", "ip link set eth0 mtu 4000");
    let json = world.lab.netbench(&["offload", "verify", &file, "--only", "lro", "--json"]).exits(3).json();
    let (word, row) = verdict(&json, "a -> b", "mtu");
    assert!(word == "LEAK" && row.contains("1509 bytes was delivered, 9 more than the declared MTU"), "{row}");
    assert_eq!(verdict(&json, "b -> a", "mtu").0, "PASS", "{json:#}");
    world.lab.netbench(&["topo", "destroy", "t"]).ok();
}

/// Functions of one card as they are, without a tunnel: both ways, each end.
#[test]
fn plain_functions_are_right_both_ways() {
    let Some(world) = World::new("sriov-offload-plain") else { return };
    world.lab.try_sh("modprobe sctp");
    let file = world.file(PAIR);
    if nics_are_emulated() {
        let json = all_verdicts(&world.lab, &file, FUNCTION);
        let (_, row) = verdict(&json, "a/eth0", "rx-checksum");
        assert!(row.contains("rx_csum_offload_errors 12 with it on, 0 with it off"), "{row}");
        return;
    }
    let json = world.lab.netbench(&["offload", "verify", &file, "--json"]).ok().json();
    for check in ["mtu", "integrity", "rx-verification", "vlan", "merge-rules"] {
        for path in ["a -> b", "b -> a"] {
            assert_eq!(verdict(&json, path, check).0, "PASS", "{json:#}");
        }
    }
}

/// Every verdict of a path over a tunnel over them.
const TUNNEL_OVER_FUNCTIONS: &str = "\
{x} -> {y} LEAK integrity, tx-checksum-edges
{x} -> {y} PASS merge-rules, rx-checksum-edges, rx-verification, vlan
{x}/eth0 BLACKHOLE mtu
";

/// It leaves the checksum of a packet within a tunnel undone, and makes the outer one right: nothing gets through VXLAN over
/// its functions, and the tunnel is not what is to blame.
#[test]
fn functions_that_leave_checksums_within_a_tunnel_undone_are_named() {
    let Some(world) = World::new("sriov-offload-vxlan") else { return };
    let file = world.file(
        "name = \"t\"\n[nic.pf]\npci = \"PF0\"\n[host.l]\n[host.r]\n[node.a]\nhost = \"l\"\n[node.b]\nhost = \"r\"\n\
         [switch.left]\nkind = \"bridge\"\nhost = \"l\"\nports = [\"a\"]\n\
         [switch.right]\nkind = \"bridge\"\nhost = \"r\"\nports = [\"b\"]\n\
         [switch.wire]\nkind = \"sriov\"\nnic = \"pf\"\nports = [\"l\", \"r\"]\n\
         [[tunnel]]\nkind = \"vxlan\"\nvni = 42\nends = [\"left\", \"right\"]\n",
    );
    let only = "tx-checksum,tx-checksum-edges,rx-checksum-edges";
    let json = world.lab.netbench(&["offload", "verify", &file, "--only", only, "--json"]).exits(3).json();
    let lines: Vec<String> = verdicts::table(&json).lines().map(str::to_owned).collect();
    for line in verdicts::both(["a", "b"], TUNNEL_OVER_FUNCTIONS).lines() {
        assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:#?}");
    }
    for device in ["l/eth0", "r/eth0"] {
        let (word, row) = verdict(&json, device, "tx-checksum");
        assert!(word == "LEAK" && row.contains("\"partial_checksum\""), "{row}");
    }
    for device in ["l/vx0", "r/vx0"] {
        assert!(!["CORRUPT", "LEAK", "DROP"].contains(&verdict(&json, device, "tx-checksum").0), "{json:#}");
    }
    let (word, row) = verdict(&json, "a -> b", "integrity");
    assert!(word == "LEAK" && row.contains("between l/eth0 and r/eth0"), "{row}");
}
