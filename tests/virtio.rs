//! `netbench offload verify` on virtio-net: two NICs of a virtual machine on taps of one bridge, which pass on what the guest left
//! to its device. `scripts/vmlab test` runs this; elsewhere there are no such NICs that a test may use.

mod lab;

use lab::{Lab, skip, skip_to_lab, verdicts};

/// Interfaces of the two NICs.
fn nics(lab: &Lab) -> Option<[String; 2]> {
    lab.try_sh("modprobe virtio_net");
    let text = lab.try_sh("ls -d /sys/bus/virtio/drivers/virtio_net/virtio*/net/*").stdout;
    let mut names = text.lines().filter_map(|line| line.rsplit('/').next()).map(str::to_owned);
    Some([names.next()?, names.next()?])
}

/// Both NICs, each with these keys, in nodes `a` and `b`.
fn wired(name: &str, keys: &str) -> Option<(Lab, String)> {
    if std::env::var_os("VMLAB").is_none() {
        skip_to_lab("no virtio NICs that a test may use");
        return None;
    }
    let lab = Lab::on_the_machine(name)?;
    let Some(nics) = nics(&lab) else {
        skip("the machine has no virtio NICs: their taps take root on the host");
        return None;
    };
    for name in &nics {
        lab.sh(&format!("ip link set {name} up"));
    }
    let [left, right] = nics;
    let text = format!(
        "name = \"t\"\n[nic.l]\nifname = \"{left}\"\ncable = \"r\"\n{keys}\n[nic.r]\nifname = \"{right}\"\n{keys}\n\
         [node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n"
    );
    let file = lab.file("t.toml", &text);
    Some((lab, file))
}

/// Nothing of it is wrong, and the tool does not say so by seeing nothing: each offload is seen at work, the merges that are allowed
/// are made, and what software would do in place of the card is kept out of what the card is judged by.
#[test]
fn virtio_over_taps_is_right_and_each_offload_is_seen_at_work() {
    let Some((lab, file)) = wired("virtio-offload", "") else { return };
    let wrong = differences(&lab, &file);
    assert!(wrong.is_empty(), "{wrong}");
}

/// Its driver lets the key be read: where each connection must come in is computed, and seen.
#[test]
fn virtio_of_two_queues_spreads_by_its_toeplitz_hash() {
    let Some((lab, file)) = wired("virtio-rss", "channels = { combined = 2 }") else { return };
    let json = lab.netbench(&["offload", "verify", &file, "--only", "rss", "--json"]).ok().json();
    let rows = json["checks"].as_array().into_iter().flatten().filter(|row| row["check"] == "rss");
    let rows: Vec<(&str, &str)> = rows
        .map(|row| (row["verdict"].as_str().unwrap_or_default(), row["evidence"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(rows.len(), 2, "{json:#}");
    for (verdict, evidence) in rows {
        assert!(evidence.starts_with("64 connections came by 2 of the 2 queues"), "{evidence}");
        assert!(evidence.ends_with("each by the one that its Toeplitz hash chooses"), "{evidence}");
        assert_eq!(verdict, "PASS");
    }
}

/// Every verdict of either end.
const VERDICTS: &str = "\
{x} -> {y} PASS integrity, merge-rules, merge-rules-udp, mtu, rx-checksum-edges, rx-verification, tx-checksum-edges, uso-edges, vlan
{x}/eth0 INEFFECTIVE vlan-filter
{x}/eth0 PASS gro, gro-hw, gso, tso, tso-mangleid, tx-checksum, uso
{x}/eth0 SKIP rss, rx-checksum, tso6
";

/// Verifies, and says what is not as it should be.
fn differences(lab: &Lab, file: &str) -> String {
    let expected = verdicts::both(["a", "b"], VERDICTS) + "all devices PASS state\n";
    let json = verdicts::verify(lab, file, &expected, 0);
    let row = |device: &str, check: &str| {
        let rows = json["checks"].as_array().into_iter().flatten();
        let is_it =
            |row: &&serde_json::Value| row["check"] == check && (row["device"] == device || row["path"] == device);
        let row = rows.into_iter().find(is_it).unwrap_or_else(|| panic!("{device} {check}: {json:#}"));
        (row["verdict"].as_str().unwrap_or_default(), row["evidence"].as_str().unwrap_or_default())
    };
    let mut wrong = verdicts::differences(&json, &expected);
    let mut expect = |device: &str, check: &str, verdict: &str, text: &str| {
        let (is, evidence) = row(device, check);
        if is != verdict || !evidence.contains(text) {
            wrong += &format!("{device} {check} is {is}, not {verdict} with `{text}`: {evidence}\n");
        }
    };
    for device in ["a/eth0", "b/eth0"] {
        expect(device, "tx-checksum", "PASS", "checksum left to do with it on, 0 with it off");
        // Its driver answers `qstats-get`.
        expect(device, "tx-checksum", "PASS", "; the device counted rx-packets ");
        expect(device, "tso", "PASS", "super-packets handed over with it on, 0 with it off");
        expect(device, "uso", "PASS", "super-packets handed over with it on, 0 with it off");
        expect(device, "gro", "PASS", "merged by 8 of 8 by which they may");
        expect(device, "gro-hw", "PASS", "packets merged on arrival with it on, 0 with it off");
        // QEMU's device says that it filters, and does not.
        let seen = "nobody asked for 12 came with the filter on, 12 while the port was promiscuous";
        expect(device, "vlan-filter", "INEFFECTIVE", seen);
        expect(device, "rss", "SKIP", "the device has one receive queue: there is nothing to spread over");
    }
    wrong
}
