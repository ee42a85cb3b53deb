//! What the report and the record of a run say, through the program: each figure that a result is of, and where the lost went.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::Lab;
use serde_json::Value;

/// The report of a run of a wire in one line: what is broken over several stands together.
fn report(lab: &Lab, args: &[&str]) -> String {
    let done = lab.netbench(&[&["run", "veth", "--rounds", "1", "--duration", "300ms"], args].concat()).ok();
    done.fits().stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first round of the only test of a record.
fn round(record: &Value) -> &Value {
    &record["flows"][0]["tests"][0]["rounds"][0]
}

#[test]
fn a_stream_has_its_cost_its_connection_and_the_figures_of_rfc_6349() {
    let Some(lab) = Lab::new("told-stream") else { return };
    let said = report(&lab, &["--test", "tcp_stream", "--streams", "2"]);
    for what in [
        " Gbit/s ",
        "retransmits ",
        " · rtt ",
        " (min ",
        " · cwnd ",
        "client CPU ",
        " user + ",
        "sender ",
        " ns/B (",
        " µs/KiB), its CPUs' softirq ",
        "receiver ",
        "TCP efficiency ",
        "buffer delay ",
        "delivery rate ",
        "limited by ",
    ] {
        assert!(said.contains(what), "no `{what}` in {said}");
    }
    // The third of the three takes a rate that the path is known to have.
    let file = lab.file(
        "paced.toml",
        "name = \"paced\"\n[node.client]\n[node.server]\n[[link]]\nends = [\"client\", \"server\"]\nrate = \"100mbit\"\n",
    );
    let args = ["run", &file, "--test", "tcp_stream", "--rounds", "1", "--duration", "500ms"];
    lab.netbench(&args).ok().says("transfer time ratio ").says("TCP efficiency ").says("buffer delay ");
}

#[test]
fn what_was_not_copied_or_copied_after_all_is_said() {
    let Some(lab) = Lab::new("told-copies") else { return };
    let said = report(&lab, &["--test", "tcp_stream", "--send", "zerocopy", "--recv", "trunc"]);
    for what in ["sent by zerocopy", "the kernel copied 100 % after all", "received by trunc", "payload not copied"] {
        assert!(said.contains(what), "no `{what}` in {said}");
    }
}

#[test]
fn requests_on_a_schedule_have_both_latencies_and_what_was_missed() {
    let Some(lab) = Lab::new("told-schedule") else { return };
    for test in ["tcp_rr", "udp_rr"] {
        let said = report(&lab, &["--test", test, "--rate", "1000/s"]);
        let (corrected, uncorrected) = said.split_once("uncorrected p50 ").unwrap_or_else(|| panic!("{said}"));
        assert!(corrected.contains(" p50 "), "{said}");
        for latencies in [corrected, uncorrected] {
            for what in ["p90 ", "p99 ", "p99.9 ", "p99.99 ", "p99.999 ", "max "] {
                assert!(latencies.contains(what), "no `{what}` in {latencies}");
            }
        }
        // All that was due is in one of the two.
        let (before, after) = said.split_once(" requests on schedule").unwrap_or_else(|| panic!("{said}"));
        let on_schedule: u64 = before.rsplit(' ').next().unwrap().parse().unwrap();
        let missed = after.split_once("missed ").unwrap_or_else(|| panic!("{said}")).1;
        assert_eq!(on_schedule + missed.split(' ').next().unwrap().parse::<u64>().unwrap(), 300, "{said}");
        assert!(said.contains("unanswered 0"), "{said}");
    }
}

/// Less than the mark wakes no reader: each call brings as much, but for one that a signal cut short because nothing had moved. Without it, and with
/// no packet longer than the MTU, calls bring half of that.
#[test]
fn a_reader_with_a_mark_is_woken_for_that_many_bytes() {
    let Some(lab) = Lab::new("told-lowat") else { return };
    let file = lab.file(
        "plain.toml",
        "name = \"plain\"\nmtu = 1500\n[node.client]\n[node.server]\n[[link]]\nends = [\"client\", \"server\"]\n\
         offload = { tso = false, gso = false, gro = false }\n[[flow]]\nfrom = \"client\"\nto = \"server\"\n",
    );
    for test in ["tcp_stream", "tcp_maerts"] {
        let args = ["run", &file, "--test", test, "--rate", "80mbit", "--recv-lowat", "128k", "--json"];
        // Where a busy machine holds up the sender, signals cut more of the calls.
        let best = (0..5).find_map(|_| {
            let record = lab.netbench(&[&args[..], &["--rounds", "1", "--duration", "1s"]].concat()).ok().json();
            let receiver = &round(&record)[if test == "tcp_maerts" { "client" } else { "server" }]["streams"][0];
            let (bytes, calls) = (receiver["bytes"].as_u64().unwrap(), receiver["calls"].as_u64().unwrap());
            assert!(bytes > 0 && calls > 0, "{receiver}");
            eprintln!("{test}: {calls} calls for {bytes} bytes");
            (bytes >= calls * 90_000).then_some(bytes)
        });
        assert!(best.is_some(), "{test}: calls for less than the mark");
    }
}

/// A queue in the middle of a path: not the sender's, not the receiver's.
#[test]
fn datagrams_lost_at_a_hop_are_charged_to_that_hop_to_the_last() {
    let Some(lab) = Lab::new("told-hop") else { return };
    let before = lab.settled();
    let file = lab.file(
        "middle.toml",
        "name = \"middle\"\nmtu = 1500\n[node.a]\nroutes = [\"default via r\"]\n[node.r]\nforward = true\n[node.b]\n\
         routes = [\"default via r\"]\n[[link]]\nends = [\"a\", \"r:west\"]\n[[link]]\n\
         ends = [{ at = \"r:east\", rate = \"20mbit\" }, \"b\"]\n[[flow]]\nfrom = \"a\"\nto = \"b\"\n",
    );
    let args = ["run", &file, "--test", "udp_stream", "--rate", "60mbit", "--send", "write", "--recv", "recv"];
    let more = ["--rounds", "1", "--duration", "1s", "--length", "1400", "--json"];
    let done = lab.netbench(&[&args[..], &more].concat());
    let record = done.json();
    let round = round(&record);
    let seen = &round["server"]["streams"][0]["datagrams"];
    let figure = |key: &str| seen[key].as_u64().unwrap();
    assert!(figure("lost") > 100 && figure("sent") == figure("received") + figure("lost"), "{seen}");
    let losses = round["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!((&losses[0]["place"], &losses[0]["at"]), (&"qdisc".into(), &"r/east".into()), "{losses:?}");
    assert_eq!(losses[0]["datagrams"].as_u64(), Some(figure("lost")), "{losses:?}");
    lab.assert_as_before(&before, "a run");
}
