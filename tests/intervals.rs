//! What TCP did from interval to interval, read from the kernel while streams run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::Lab;
use serde_json::Value;

fn test(lab: &Lab, args: &[&str]) -> Value {
    let done = lab.netbench(&[&["run", "veth", "--rounds", "1", "--json"], args].concat());
    done.ok().json()["flows"][0]["tests"][0].clone()
}

fn sum(list: &Value, number: impl Fn(&Value) -> Option<u64>) -> u64 {
    list.as_array().unwrap().iter().filter_map(number).sum()
}

#[test]
fn every_interval_has_the_connections_and_their_sums_are_the_totals() {
    let Some(lab) = Lab::new("intervals") else { return };
    for name in ["tcp_stream", "tcp_maerts"] {
        let test = test(&lab, &["--test", name, "--duration", "500ms", "--streams", "2", "--omit", "50ms"]);
        let sender = &test["rounds"][0][if name == "tcp_maerts" { "server" } else { "client" }];
        let intervals = sender["intervals"].as_array().unwrap();
        assert!(intervals.len() >= 5, "{sender}");
        for interval in intervals {
            let tcp = &interval["tcp"];
            for figure in ["cwnd", "rtt_us", "min_rtt_us", "retransmits"] {
                assert!(tcp[figure].is_u64(), "{figure} of {interval}");
            }
            // Two connections, each with a window of at least one segment.
            assert!(
                tcp["cwnd"].as_u64().unwrap() >= 2 && tcp["min_rtt_us"].as_u64() <= tcp["rtt_us"].as_u64(),
                "{tcp}"
            );
        }
        let streams = &sender["streams"];
        assert_eq!(
            sum(&sender["intervals"], |i| i["tcp"]["retransmits"].as_u64()),
            sum(streams, |s| s["tcp"]["retransmits"].as_u64())
        );
        assert_eq!(sum(&sender["intervals"], |i| i["bytes"].as_u64()), sum(streams, |s| s["bytes"].as_u64()));
        assert!(intervals.iter().any(|i| i["tcp"]["delivery_rate"].as_u64() > Some(1_000_000)), "{sender}");
    }
}

/// A filter that drops packets: TCP loses, and the intervals say when.
#[test]
fn loss_shows_in_the_intervals_and_adds_up() {
    let Some(lab) = Lab::with("intervals-loss", &["iptables-legacy"]) else { return };
    let file = lab.file(
        "narrow.toml",
        "name = \"narrow\"\n[node.a]\n[node.b]\n[[link]]\nends = [\"a:wire\", \"b:wire\"]\nmtu = 1500\n",
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    let filter = "env XTABLES_LOCKFILE=/dev/null iptables-legacy";
    lab.sh_in(
        "nb-narrow-b",
        &format!("{filter} -A INPUT -p tcp ! --syn -m statistic --mode nth --every 50 --packet 7 -j DROP"),
    );
    let done = lab.netbench(&["run", &file, "--test", "tcp_stream", "--duration", "1s", "--rounds", "1", "--json"]);
    let record = done.json();
    let sender = &record["flows"][0]["tests"][0]["rounds"][0]["client"];
    let total = sum(&sender["streams"], |s| s["tcp"]["retransmits"].as_u64());
    assert!(total > 0, "a filter dropped nothing: {record}");
    assert_eq!(sum(&sender["intervals"], |i| i["tcp"]["retransmits"].as_u64()), total);
    lab.netbench(&["topo", "destroy", "narrow"]).ok();
}

#[test]
fn datagrams_and_connections_by_the_transaction_have_none() {
    let Some(lab) = Lab::new("intervals-none") else { return };
    for name in ["udp_stream", "tcp_crr"] {
        let test = test(&lab, &["--test", name, "--duration", "200ms"]);
        assert!(test["rounds"][0]["client"]["intervals"].as_array().unwrap().iter().all(|i| i["tcp"].is_null()));
    }
}

#[test]
fn the_report_has_the_ranges() {
    let Some(lab) = Lab::new("intervals-text") else { return };
    let done = lab.netbench(&["run", "veth", "--test", "tcp_stream", "--rounds", "1", "--duration", "300ms"]);
    done.ok().says("by interval: cwnd ").says("delivery rate ");
}
