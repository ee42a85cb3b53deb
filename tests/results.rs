//! From a run to everything that is made of it afterwards: history, show, compare, export.

mod lab;

use lab::Lab;
use serde_json::Value;

fn run(lab: &Lab, more: &[&str]) {
    let args = ["run", "bridge", "--test", "tcp_rr", "--duration", "100ms"];
    let done = lab.netbench(&[&args, more].concat());
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn runs_are_kept_listed_shown_compared_and_exported() {
    let Some(lab) = Lab::new("results") else { return };
    let none = lab.netbench(&["history"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "{none}");
    let none = lab.netbench(&["show"]);
    assert!(none.code == Some(2) && none.stderr.contains("no run is kept yet"), "{none}");

    run(&lab, &["--rounds", "4"]);
    run(&lab, &["--rounds", "4"]);
    run(&lab, &["--rounds", "1", "--no-store"]);
    let history = lab.netbench(&["history"]);
    assert_eq!((history.code, history.stdout.lines().count()), (Some(0), 3), "two runs and a header: {history}");
    assert!(history.stdout.lines().all(|line| line.chars().count() <= 80), "{history}");
    let listed: Value = serde_json::from_str(&lab.netbench(&["history", "--json"]).stdout).expect("it is there");
    assert_eq!((&listed[0]["run"], &listed[1]["run"]), (&1.into(), &2.into()));
    assert_eq!(listed[0]["fingerprint"], listed[1]["fingerprint"]);
    assert_eq!(lab.netbench(&["history", "--limit", "1", "--json"]).stdout.matches("\"run\":").count(), 1);

    let shown = lab.netbench(&["show", "last~1"]);
    assert!(shown.code == Some(0) && shown.stdout.contains("TCP_RR"), "{shown}");
    let record: Value = serde_json::from_str(&lab.netbench(&["show", "2", "--json"]).stdout).expect("it is there");
    let manifest = &record["manifest"];
    assert!(manifest["topology"].as_str().expect("it is there").contains("name ="), "{manifest}");
    assert!(manifest["rerun"].as_str().expect("it is there").contains(" run bridge "));
    let hops = manifest["hops"].as_array().expect("it is there");
    assert!(hops.len() >= 2 && hops.iter().all(|hop| hop["mtu"].as_u64() > Some(0)), "{manifest}");
    // Read in the node's own namespace: the host has no interface of that name, or another one.
    let at = |at: &str| hops.iter().find(|hop| hop["at"] == at).expect("it is on the path");
    let client = at("client/eth0");
    assert_eq!((&client["driver"], &client["driver_version"]), (&"veth".into(), &"1.0".into()), "{client}");
    assert!(hops.iter().any(|hop| hop["active"].as_array().is_some_and(|active| !active.is_empty())), "{manifest}");
    let sysctls = manifest["sysctls"].as_object().expect("it is there");
    assert!(sysctls.values().any(|keys| keys["net.ipv4.tcp_rmem"].is_string()), "{manifest}");
    assert!(lab.netbench(&["show", "3"]).stderr.contains("no run 3"));

    // Equal surroundings: whatever the figures say, it is 0 or 1, and every line fits.
    let compared = lab.netbench(&["compare"]);
    assert!(matches!(compared.code, Some(0 | 1)) && compared.stdout.contains("trans/s"), "{compared}");
    assert!(compared.stdout.lines().all(|line| line.chars().count() <= 80), "{compared}");
    let same = lab.netbench(&["compare", "1", "1"]);
    assert!(same.code == Some(0) && same.stdout.contains('~') && !same.stdout.contains("worse"), "{same}");

    // A file is as good as a number; ten times slower is a regression; other surroundings are refused.
    let mut slower = record.clone();
    for round in slower["flows"][0]["tests"][0]["rounds"].as_array_mut().expect("it is there") {
        round["headline"] = (round["headline"].as_f64().expect("it is there") / 10.0).into();
    }
    let slower_file = lab.file("slower.json", &slower.to_string());
    let worse = lab.netbench(&["compare", "2", &slower_file]);
    assert!(worse.code == Some(1) && worse.stdout.contains("worse"), "{worse}");
    let better = lab.netbench(&["compare", &slower_file, "2", "--json"]);
    assert_eq!(better.code, Some(0), "{better}");
    let better: Value = serde_json::from_str(&better.stdout).expect("it is there");
    assert_eq!(better["figures"][0]["comparison"]["verdict"], "better");
    slower["machine"]["kernel"] = "2.6.32".into();
    let elsewhere = lab.file("elsewhere.json", &slower.to_string());
    let refused = lab.netbench(&["compare", "2", &elsewhere]);
    assert!(refused.code == Some(2) && refused.stderr.contains("kernel differ"), "{refused}");
    assert_eq!(lab.netbench(&["compare", "2", &elsewhere, "--force"]).code, Some(1));

    export(&lab);
}

fn export(lab: &Lab) {
    let as_format = |format: &str| {
        let done = lab.netbench(&["export", "1", "last", "--format", format]);
        assert_eq!(done.code, Some(0), "{done}");
        done.stdout
    };
    let jsonl = as_format("jsonl");
    assert_eq!(jsonl.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 2);
    let csv = as_format("csv");
    let columns = |line: &str| line.split(',').count();
    assert_eq!(csv.lines().count(), 9, "a header and four rounds of two runs");
    assert!(csv.lines().all(|line| columns(line) == columns(csv.lines().next().expect("it is there"))), "{csv}");
    assert_eq!(as_format("markdown").matches("TCP\\_RR").count(), 2);
    let junit = as_format("junit");
    assert_eq!((junit.matches("<testcase ").count(), junit.matches("</testcase>").count()), (2, 2), "{junit}");
    let metrics = as_format("openmetrics");
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("netbench_transactions_per_second{topology=\"bridge\""));
    let influx = as_format("influx");
    assert_eq!(influx.lines().filter(|line| line.starts_with("netbench,topology=bridge,")).count(), 8, "{influx}");
    assert_eq!(lab.netbench(&["export", "1", "2", "--format", "json"]).code, Some(2));
    assert_eq!(lab.netbench(&["export", "--format", "yaml"]).code, Some(2));
}

#[test]
fn rounds_are_as_many_as_it_takes() {
    let Some(lab) = Lab::new("auto") else { return };
    let args =
        ["run", "bridge", "--test", "tcp_rr", "--duration", "50ms", "--rounds", "auto", "--budget", "3s", "--json"];
    let done = lab.netbench(&args);
    assert_eq!(done.code, Some(0), "{done}");
    let record: Value = serde_json::from_str(&done.stdout).expect("it is there");
    let rounds = record["flows"][0]["tests"][0]["rounds"].as_array().expect("it is there").len();
    assert!((5..=100).contains(&rounds), "{rounds}");
    let stopped = record["sequential"]["stopped"].as_str().expect("it is there");
    assert!(["steady", "budget", "rounds"].contains(&stopped), "{stopped}");
    let summary = &record["flows"][0]["tests"][0]["summary"]["headline"];
    let (low, high) = (
        summary["interval"]["low"].as_f64().expect("it is there"),
        summary["interval"]["high"].as_f64().expect("it is there"),
    );
    let half = (high - low) / 2.0 / summary["median"].as_f64().expect("it is there");
    let warned = done.stdout.contains("not_steady");
    assert_eq!(half > 0.02, warned, "half width {half}, stopped: {stopped}");
    let wrong = lab.netbench(&["run", "bridge", "--rounds", "3", "--budget", "3s"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--rounds auto"), "{wrong}");
}

/// Each fact of an interface against what `ip`, `tc` and `ethtool` say of it.
#[test]
fn the_manifest_says_what_the_tools_say() {
    let Some(lab) = Lab::with("manifest", &["ethtool"]) else { return };
    let file = lab.file(
        "shaped.toml",
        "name = \"shaped\"\nmtu = 3000\n[node.a]\nsysctl = { \"net.ipv4.tcp_sack\" = \"0\" }\n[node.b]\n[[link]]\nends = [\"a\", \"b\"]\nrate = \"1gbit\"\n",
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    let of = |node: &str| lab.namespaces().into_iter().find(|name| name.ends_with(node)).expect("it is up");
    // Without scatter and gather, segmentation is asked for and cannot be.
    lab.sh(&format!("ip netns exec {} ethtool -K eth0 sg off", of("a")));
    let args = ["run", &file, "--test", "tcp_rr", "--duration", "50ms", "--rounds", "1", "--json"];
    let record = lab.netbench(&args).ok().json();
    let manifest = &record["manifest"];
    assert!(manifest.get("missing").is_none(), "{manifest:#}");
    let hops = manifest["hops"].as_array().expect("hops");
    assert_eq!(hops.len(), 2, "{manifest:#}");
    for (node, hop) in ["a", "b"].into_iter().zip(hops) {
        let ns = of(node);
        assert_eq!(hop["at"], format!("{node}/eth0"));
        let link = &lab.json_in(&ns, "ip -j -d link show dev eth0")[0];
        assert_eq!((&hop["mtu"], &hop["mtu_wanted"]), (&link["mtu"], &3000.into()), "{hop:#}");
        assert_eq!((&hop["kind"], &hop["gso_max_size"]), (&"veth".into(), &link["gso_max_size"]), "{hop:#}");
        assert_eq!(hop["qdisc"], link["qdisc"], "{hop:#}");
        let driver = lab.sh(&format!("ip netns exec {ns} ethtool -i eth0"));
        let said =
            |key: &str| driver.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned();
        assert_eq!(hop["driver"], said("driver:"), "{hop:#}\n{driver}");
        let features = lab.sh(&format!("ip netns exec {ns} ethtool -k eth0"));
        let listed = |fits: &dyn Fn(&str) -> bool| -> Vec<String> {
            let all = features.lines().filter_map(|line| line.trim().split_once(": "));
            let fitting =
                all.filter(|(name, state)| (name.starts_with("tx-") || name.starts_with("rx-")) && fits(state));
            let mut names: Vec<String> = fitting.map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        };
        // What ethtool calls by its old names, the kernel names otherwise: those are of the same state under other names.
        let old = ["rx-checksumming", "tx-checksumming", "tx-vlan-offload", "rx-vlan-offload"];
        let without =
            |names: Vec<String>| names.into_iter().filter(|name| !old.contains(&name.as_str())).collect::<Vec<_>>();
        let kernels = |key: &str| -> Vec<String> {
            let names = hop[key].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned));
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let asked = without(listed(&|state| state.contains("[requested on]")));
        let unknown = |key: &str, seen: &[String]| -> Vec<String> {
            let known = kernels(key);
            seen.iter().filter(|name| !known.contains(name)).cloned().collect()
        };
        assert_eq!(unknown("wanted_inactive", &asked), Vec::<String>::new(), "{hop:#}\n{features}");
        assert_eq!(asked.is_empty(), node == "b", "{features}");
        let active = without(listed(&|state| state.starts_with("on")));
        assert!(active.len() > 3, "{features}");
        assert_eq!(unknown("active", &active), Vec::<String>::new(), "{hop:#}\n{features}");
    }
    assert_eq!(manifest["sysctls"]["a"]["net.ipv4.tcp_sack"], "0", "{manifest:#}");
    assert_ne!(manifest["sysctls"]["b"]["net.ipv4.tcp_sack"], "0", "{manifest:#}");
    lab.netbench(&["topo", "destroy", "shaped"]).ok();
}

/// Five rounds at the least, and no more than there is time for; a number, of the file too, is what it says.
#[test]
fn without_a_number_there_are_at_least_five_rounds() {
    let Some(lab) = Lab::new("usual-rounds") else { return };
    let rounds = |args: &[&str]| -> (usize, Value) {
        let done = lab.netbench(&[args, &["--test", "tcp_rr", "--duration", "50ms", "--json"]].concat()).ok();
        let record = done.json();
        let rounds = record["flows"][0]["tests"][0]["rounds"].as_array().map_or(0, Vec::len);
        (rounds, record["sequential"].clone())
    };
    let (usual, rule) = rounds(&["run", "veth"]);
    assert!(usual >= 5, "{usual} rounds, {rule}");
    assert_eq!((&rule["rule"]["at_least"], &rule["rule"]["budget_s"]), (&5.into(), &8.0.into()), "{rule}");
    assert!(["steady", "budget", "rounds"].contains(&rule["stopped"].as_str().unwrap_or_default()), "{rule}");
    // No time beyond the five.
    let (least, rule) = rounds(&["run", "veth", "--budget", "1ms"]);
    assert_eq!(least, 5, "{rule}");
    assert_eq!(rounds(&["run", "veth", "--rounds", "2"]), (2, Value::Null));
    let file = lab.file(
        "three.toml",
        "name = \"three\"\n[test]\nrounds = 3\n[node.a]\n[node.b]\n[[link]]\nends = [\"a\", \"b\"]\n",
    );
    assert_eq!(rounds(&["run", &file]), (3, Value::Null));
    let (asked, rule) = rounds(&["run", &file, "--budget", "1ms"]);
    assert_eq!(asked, 5, "what is asked for is above the file: {rule}");
}

#[test]
fn a_store_that_cannot_be_used_is_said_before_anything_is_made() {
    let Some(lab) = Lab::new("no-store") else { return };
    let notes = lab.file("notes.txt", "my notes");
    let refused = lab.netbench(&["run", "bridge", "--store", &notes]);
    assert!(refused.code == Some(2) && refused.stderr.contains("not a store of netbench"), "{refused}");
    assert_eq!(lab.read(&notes).expect("it is there"), "my notes");
    let short = ["run", "bridge", "--test", "tcp_rr", "--rounds", "1", "--duration", "50ms"];
    let said = lab.netbench_with(("NETBENCH_STORE", &notes), &short);
    assert!(said.code == Some(0) && said.stderr.contains("will not be kept"), "{said}");
    assert_eq!(lab.read(&notes).expect("it is there"), "my notes");
    let off = lab.netbench_with(("NETBENCH_STORE", ""), &short);
    assert!(off.code == Some(0) && !off.stderr.contains("kept"), "{off}");
}
