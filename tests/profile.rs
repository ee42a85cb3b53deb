//! `--profile` and `--emulate` on the real kernel: what passes, what fails, what has no line rate, and what is left behind.

mod lab;

use std::time::Duration;

use lab::{Lab, eventually, require_root};

#[test]
fn an_emulated_line_is_filled_and_gone_afterwards() {
    let Some(lab) = Lab::new("profile-pass") else { return };
    let before = lab.settled();
    // Other programs may keep a round below; then it is said, and tried again.
    let passes = |args: &[&str], disturbed: &str| {
        let once = || lab.netbench(&[&["run", "veth", "--profile", "1g", "--emulate"], args].concat());
        let mut done = once();
        for _ in 0..5 {
            if done.code == Some(0) {
                break;
            }
            assert!(done.code == Some(1) && done.stdout.contains(disturbed), "{done}");
            done = once();
        }
        done.ok()
    };
    let done = passes(&["--duration", "700ms", "--json"], "\"inconclusive\": \"");
    lab.assert_as_before(&before, &done.what);
    let record = done.json();
    let tests = record["flows"][0]["tests"].as_array().cloned().unwrap_or_default();
    assert_eq!(tests.len(), 2, "both directions: {record}");
    for (test, at) in tests.iter().zip(["client/eth0", "server/eth0"]) {
        let ceiling = &test["ceiling"];
        assert_eq!((ceiling["at"].as_str(), &ceiling["pass"]), (Some(at), &true.into()), "{ceiling}");
        let most = ceiling["bits_per_second"].as_f64().unwrap_or_default();
        // 1 Gbit/s × 1448 / 1538
        assert!((most / 941_482_444.7 - 1.0).abs() < 1e-6, "{ceiling}");
        let achieved = ceiling["achieved"].as_f64().unwrap_or_default();
        assert!(achieved > 0.95 * most && achieved < 1.02 * most, "{ceiling}");
        // A machine that others use may keep it a little below full; then the verdict says so.
        let verdict = &test["rounds"][0]["bottleneck"];
        assert_eq!(verdict["limit"] == "wire_rate", verdict["inconclusive"].is_null(), "{verdict}");
    }
    let text = passes(&["--rounds", "1"], "inconclusive");
    text.says(" of 941.48 Mb/s (").says("%): PASS").says("the shaper at client/eth0");
}

#[test]
fn a_line_that_is_not_filled_fails_the_check() {
    let Some(lab) = Lab::new("profile-fail") else { return };
    let before = lab.settled();
    let run =
        ["run", "veth", "--profile", "1g", "--emulate", "--rate", "100mbit", "--rounds", "1", "--duration", "300ms"];
    let done = lab.netbench(&run).exits(1);
    done.says("%): FAIL").says("limited by the asked rate");
    lab.assert_as_before(&before, "a run that missed its profile");
}

#[test]
fn datagrams_of_a_profile_are_sent_at_what_the_line_carries() {
    let Some(lab) = Lab::new("profile-udp") else { return };
    let run = ["run", "veth", "--profile", "1g", "--emulate", "--test", "udp_stream", "--duration", "500ms", "--json"];
    let record = lab.netbench(&run).ok().json();
    let test = &record["flows"][0]["tests"][0];
    // 1 Gbit/s × 1472 / 1538 × 0.99
    assert_eq!(test["settings"]["rate"], "947516.254kbit", "{}", test["settings"]);
    assert_eq!(test["ceiling"]["pass"], true, "{}", test["ceiling"]);
}

#[test]
fn a_virtual_link_has_no_line_rate_and_nothing_is_invented() {
    let Some(lab) = Lab::new("profile-virtual") else { return };
    let done = lab.netbench(&["run", "bridge", "--profile", "10g", "--duration", "200ms", "--rounds", "1"]).ok();
    let done = done.says("are virtual").says("--emulate");
    assert!(!done.stdout.contains("PASS") && !done.stdout.contains("FAIL"), "{done}");
}

#[test]
fn a_declared_shaper_is_a_ceiling_and_too_slow_for_a_profile() {
    let Some(lab) = Lab::new("profile-declared") else { return };
    let before = lab.settled();
    let file = lab.file(
        "slow.toml",
        "name = \"slow\"\n[node.client]\n[node.server]\n\
         [[link]]\nends = [{ at = \"client\", rate = \"200mbit\" }, \"server\"]\n",
    );
    let args = ["run", &file, "--test", "tcp_stream", "--duration", "500ms", "--omit", "200ms", "--rounds", "1"];
    let done = lab.netbench(&args).ok();
    // 200 Mbit/s × 1448 / 1514: no line, so no preamble and no gap.
    let done = done.says(" of 191.28 Mb/s (");
    assert!(!done.stdout.contains("PASS"), "nothing was asked for: {done}");
    let slow = lab.netbench(&[&args[..], &["--profile", "10g"]].concat()).exits(2);
    slow.says("client/eth0, which the file shapes to 200mbit");
    let both = lab.netbench(&[&args[..], &["--profile", "10g", "--emulate"]].concat()).exits(2);
    both.says("client/eth0 has a rate or netem in the file already");
    lab.netbench(&["run", "baseline", "--profile", "10g", "--emulate"]).exits(2).says("no link of the topology");
    lab.netbench(&["run", "veth", "--emulate"]).exits(2).says("--profile");
    lab.netbench(&["run", "veth", "--profile", "10g", "--emulate", "--keep"]).exits(2).says("leave out --keep");
    lab.assert_as_before(&before, "refusals");
}

/// Somebody takes the shaper away while rounds run: what the plan says can be carried is no longer so, and what is above it is no
/// measurement.
#[test]
fn a_result_above_its_ceiling_is_no_measurement() {
    let Some(lab) = Lab::new("profile-above") else { return };
    if !require_root("the namespaces of a run without root have no names") {
        return;
    }
    let before = lab.settled();
    let file = lab.file(
        "slow.toml",
        "name = \"slow\"\n[node.client]\n[node.server]\n\
         [[link]]\nends = [{ at = \"client\", rate = \"20mbit\" }, \"server\"]\n",
    );
    let args = ["run", &file, "--test", "tcp_stream", "--duration", "3s", "--rounds", "1", "--socket-buffer", "64k"];
    let run = lab.background(lab.netbench_command(&args));
    let client = || lab.namespaces().into_iter().find(|name| name.ends_with("client"));
    let sent = |ns: &str| -> u64 {
        let shown = lab.try_sh(&format!("ip netns exec {ns} cat /sys/class/net/eth0/statistics/tx_bytes"));
        shown.stdout.trim().parse().unwrap_or(0)
    };
    let busy = eventually(Duration::from_secs(60), || client().is_some_and(|ns| sent(&ns) > 500_000));
    assert!(busy, "nothing is sent");
    let ns = client().unwrap_or_default();
    lab.sh(&format!("tc -n {ns} qdisc del dev eth0 root"));
    let done = run.wait("a run without its shaper").exits(4);
    let said = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("NOT VALID") && said.contains("is more than 20mbit at client/eth0 can carry"), "{done}");
    lab.assert_as_before(&before, "a run whose shaper was taken away");
}
