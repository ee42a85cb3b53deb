//! `netbench offload verify` on virtio-net: two NICs of a virtual machine on taps of one bridge, which pass on what the guest left
//! to its device. `scripts/vmlab test` runs this; elsewhere there are no such NICs that a test may use.

mod lab;

use lab::{Lab, skip, skip_to_lab};

/// Interfaces of the two NICs.
fn nics(lab: &Lab) -> Option<[String; 2]> {
    lab.try_sh("modprobe virtio_net");
    let text = lab.try_sh("ls -d /sys/bus/virtio/drivers/virtio_net/virtio*/net/*").stdout;
    let mut names = text.lines().filter_map(|line| line.rsplit('/').next()).map(str::to_owned);
    Some([names.next()?, names.next()?])
}

/// Nothing of it is wrong, and the tool does not say so by seeing nothing: each offload is seen at work, the merges that are allowed
/// are made, and what software would do in place of the card is kept out of what the card is judged by.
#[test]
fn virtio_over_taps_is_right_and_each_offload_is_seen_at_work() {
    if std::env::var_os("VMLAB").is_none() {
        return skip_to_lab("no virtio NICs that a test may use");
    }
    let Some(lab) = Lab::on_the_machine("virtio-offload") else { return };
    let Some(nics) = nics(&lab) else { return skip("root could make no taps for virtio NICs") };
    for name in &nics {
        lab.sh(&format!("ip link set {name} up"));
    }
    let [left, right] = nics;
    let file = lab.file(
        "t.toml",
        &format!(
            "name = \"t\"\n[nic.l]\nifname = \"{left}\"\ncable = \"r\"\n[nic.r]\nifname = \"{right}\"\n\
             [node.a]\nnic = \"l\"\n[node.b]\nnic = \"r\"\n"
        ),
    );
    let mut wrong = String::new();
    // What comes of a busy machine is gone at the next try; what stays is one.
    for _ in 0..2 {
        wrong = differences(&lab, &file);
        if wrong.is_empty() {
            return;
        }
        eprintln!("{wrong}");
    }
    panic!("{wrong}");
}

/// Verifies, and says what is not as it should be.
fn differences(lab: &Lab, file: &str) -> String {
    let only = "tx-checksum,tso,uso,gro,gro-hw,rss";
    let json = lab.netbench(&["offload", "verify", file, "--only", only, "--json"]).ok().json();
    let row = |device: &str, check: &str| {
        let rows = json["checks"].as_array().into_iter().flatten();
        let is_it =
            |row: &&serde_json::Value| row["check"] == check && (row["device"] == device || row["path"] == device);
        let row = rows.into_iter().find(is_it).unwrap_or_else(|| panic!("{device} {check}: {json:#}"));
        (row["verdict"].as_str().unwrap_or_default(), row["evidence"].as_str().unwrap_or_default())
    };
    let mut wrong = String::new();
    let mut expect = |device: &str, check: &str, verdict: &str, text: &str| {
        let (is, evidence) = row(device, check);
        if is != verdict || !evidence.contains(text) {
            wrong += &format!("{device} {check} is {is}, not {verdict} with `{text}`: {evidence}\n");
        }
    };
    for check in ["integrity", "rx-verification", "vlan", "merge-rules"] {
        expect("a -> b", check, "PASS", "");
    }
    for device in ["a/eth0", "b/eth0"] {
        expect(device, "tx-checksum", "PASS", "checksum left to do with it on, 0 with it off");
        // Its driver answers `qstats-get`.
        expect(device, "tx-checksum", "PASS", "; the device counted rx-packets ");
        expect(device, "tso", "PASS", "super-packets handed over with it on, 0 with it off");
        expect(device, "uso", "PASS", "super-packets handed over with it on, 0 with it off");
        expect(device, "gro", "PASS", "merged by 8 of 8 by which they may");
        expect(device, "gro-hw", "PASS", "packets merged on arrival with it on, 0 with it off");
        expect(device, "rss", "SKIP", "the device has one receive queue: there is nothing to spread over");
    }
    expect("all devices", "state", "PASS", "");
    wrong
}
