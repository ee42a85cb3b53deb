//! Pairs that run at the same time: every byte of each is accounted for, and hops are judged by the sum that crossed them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::Lab;
use serde_json::Value;

fn star(lab: &Lab, name: &str, nodes: &[&str]) -> String {
    let mut text = format!("name = \"{name}\"\n");
    nodes.iter().for_each(|node| text += &format!("[node.{node}]\n"));
    text += &format!("[switch.br1]\nkind = \"bridge\"\nports = {nodes:?}\n");
    lab.file(&format!("{name}.toml"), &text)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn number(value: &Value, key: &str) -> u64 {
    list(value).iter().map(|stream| stream[key].as_u64().unwrap()).sum()
}

#[test]
fn pairs_of_any_direction_run_at_the_same_time() {
    let Some(lab) = Lab::new("pairs") else { return };
    let before = lab.settled();
    let file = star(&lab, "pairs", &["a", "b", "c"]);
    let args = [
        "run",
        &file,
        "--pairs",
        "a:b,b:a,c:b",
        "--test",
        "tcp_stream,tcp_maerts",
        "--duration",
        "500ms",
        "--streams",
        "2",
    ];
    let record = lab.netbench(&[&args[..], &["--rounds", "2", "--json"]].concat()).ok().json();
    lab.assert_as_before(&before, "pairs");
    let flows = list(&record["flows"]);
    let names: Vec<String> = flows.iter().map(|f| format!("{}:{}", f["from"], f["to"]).replace('"', "")).collect();
    assert_eq!(names, ["a:b", "b:a", "c:b"]);
    for (position, sum) in list(&record["together"]).iter().enumerate() {
        assert_eq!((&sum["pairs"], &sum["streams"]), (&3.into(), &2.into()));
        for (i, round) in list(&sum["rounds"]).iter().enumerate() {
            let each = flows.iter().map(|f| f["tests"][position]["rounds"][i]["headline"].as_f64().unwrap());
            assert!((round["headline"].as_f64().unwrap() - each.sum::<f64>()).abs() < 1.0, "{round}");
            // They did run together, however busy the machine was.
            assert!(round["overlap"].as_f64().unwrap() > 0.3, "{round}");
        }
    }
    for flow in flows {
        for test in list(&flow["tests"]) {
            assert_eq!(test["verdict"]["valid"], true, "{}", test["verdict"]);
            for round in list(&test["rounds"]) {
                let reverse = test["test"] == "TCP_MAERTS";
                let (sender, receiver) = if reverse { ("server", "client") } else { ("client", "server") };
                let total = |side: &str| {
                    let streams = &round[side]["streams"];
                    number(streams, "bytes") + number(streams, "omitted_bytes")
                };
                assert_eq!(total(sender), total(receiver), "bytes of {flow}");
                assert_eq!(round["path"]["verdict"]["path"], "proved");
            }
        }
    }
    // What b's port carried is more than any one of the flows: a to b and c to b, at the same time.
    let round = &flows[0]["tests"][0]["rounds"][0];
    let last = list(&round["path"]["hops"]).last().unwrap().clone();
    let own = number(&round["server"]["streams"], "bytes");
    let other = number(&flows[2]["tests"][0]["rounds"][0]["server"]["streams"], "bytes");
    assert!(last["bytes"].as_u64().unwrap() >= own + other, "{last} for {own} and {other}");
    assert!(last["expected_bytes"][0].as_u64().unwrap() >= own + other, "{last}");
}

#[test]
fn all_pairs_of_every_test_and_the_report_has_each_and_the_sum() {
    let Some(lab) = Lab::new("pairs-all") else { return };
    let file = star(&lab, "all", &["a", "b", "c"]);
    let args = [
        "run",
        &file,
        "--all-pairs",
        "--rounds",
        "1",
        "--duration",
        "300ms",
        "--test",
        "tcp_stream,tcp_maerts,tcp_bidir,tcp_sendfile,tcp_crr,tcp_cc,udp_rr,tcp_rr,frame_stream",
    ];
    let done = lab.netbench(&args).ok();
    let done =
        done.says("6 pairs at the same time").says("in all").says("a → b").says("c → b").says("windows open for");
    let text = done.text();
    assert!(text.lines().filter(|line| line.contains(" → ")).count() >= 54, "{text}");
    let udp = [
        "run",
        &file,
        "--all-pairs",
        "--rounds",
        "1",
        "--duration",
        "300ms",
        "--test",
        "udp_stream",
        "--rate",
        "20mbit",
    ];
    let record = lab.netbench(&[&udp[..], &["--json"]].concat()).ok().json();
    assert_eq!(list(&record["flows"]).len(), 6);
    for flow in list(&record["flows"]) {
        let round = &flow["tests"][0]["rounds"][0];
        let seen = &round["server"]["streams"][0]["datagrams"];
        let figure = |key: &str| seen[key].as_u64().unwrap();
        assert_eq!(figure("received") + figure("lost"), figure("sent"));
        assert_eq!(round["client"]["streams"][0]["units"], seen["sent"]);
    }
}

/// Two pairs; the packets of one take a wire that is not on any path.
#[test]
fn one_pair_that_goes_astray_beside_another_is_named() {
    let Some(lab) = Lab::new("pairs-astray") else { return };
    let before = lab.settled();
    let file = lab.file(
        "astray.toml",
        "name = \"astray\"\n[node.a]\n[node.b]\n[node.c]\n[node.d]\n[switch.br1]\nkind = \"bridge\"\n\
         ports = [\"a\", \"b\", \"c\", \"d\"]\n[[link]]\nends = [\"a:side\", \"b:side\"]\n",
    );
    lab.netbench(&["topo", "apply", &file]).ok();
    let address = |node: &str| {
        let links = lab.json_in(&format!("nb-astray-{node}"), "ip -j -4 addr show dev eth0");
        links[0]["addr_info"][0]["local"].as_str().unwrap().to_owned()
    };
    for (ns, to) in [("a", address("b")), ("b", address("a"))] {
        let detour = format!("ip route add {to}/32 dev side table 100; ip rule add to {to}/32 lookup 100");
        lab.sh_in(&format!("nb-astray-{ns}"), &detour);
    }
    let args = ["run", &file, "--pairs", "a:b,c:d", "--test", "tcp_stream", "--rounds", "1", "--duration", "300ms"];
    lab.netbench(&args).exits(4).says("path not proved").says("a/side");
    lab.netbench(&["topo", "destroy", "astray"]).ok();
    lab.assert_as_before(&before, "a run that is not valid");
}

#[test]
fn what_is_too_much_or_senseless_is_said_before_anything_is_made() {
    let Some(lab) = Lab::new("pairs-refused") else { return };
    let before = lab.settled();
    let names: Vec<String> = (0..20).map(|i| format!("n{i}")).collect();
    let many = star(&lab, "many", &names.iter().map(String::as_str).collect::<Vec<_>>());
    lab.netbench(&["run", &many, "--all-pairs"])
        .exits(2)
        .says("20 nodes make 380 pairs, and 256 may run at the same time");
    let few = star(&lab, "few", &["a", "b"]);
    lab.netbench(&["run", &few, "--all-pairs", "--streams", "300"]).exits(2).says("are 600 streams, and 512 may run");
    lab.netbench(&["run", &few, "--pairs", "a:b,a:b"]).exits(2).says("twice");
    lab.netbench(&["run", &few, "--pairs", "a:a"]).exits(2).says("not to itself");
    lab.netbench(&["run", &few, "--pairs", "a:z"]).exits(2).says("no node of few");
    lab.netbench(&["run", &few, "--all-pairs", "--flow", "a:b"]).exits(2);
    lab.netbench(&["run", &few, "--all-pairs", "--profile", "10g"]).exits(2).says("one flow at a time");
    lab.assert_as_before(&before, "refused runs");
}
