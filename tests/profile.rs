//! `--profile` and `--emulate` on the real kernel: what passes, what fails, what has no line rate, and what is left behind.

mod lab;

use lab::Lab;

#[test]
fn an_emulated_line_is_filled_and_gone_afterwards() {
    let Some(lab) = Lab::new("profile-pass") else { return };
    let before = lab.settled();
    let done = lab.netbench(&["run", "veth", "--profile", "1g", "--emulate", "--duration", "700ms", "--json"]).ok();
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
    let text = lab.netbench(&["run", "veth", "--profile", "1g", "--emulate", "--rounds", "1"]).ok();
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
