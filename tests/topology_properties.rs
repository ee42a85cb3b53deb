//! Properties of the language: no text panics it, and no two interfaces get one address.

use std::{collections::HashSet, net::IpAddr};

use netbench::topology::{self, model::Topology, shipped, source::Source};
use proptest::prelude::*;

/// Checks a text and prints all that there is to print.
fn check(text: &str) -> Option<Topology> {
    match topology::check(Source::new("t.toml", text)) {
        Ok(loaded) => {
            let _ = loaded.report.render(true);
            Some(loaded.topology)
        }
        Err(report) => {
            assert!(report.has_errors());
            let _ = (report.render(false), report.to_json());
            None
        }
    }
}

fn addresses(topology: &Topology) -> Vec<IpAddr> {
    let ports =
        topology.switches.iter().flat_map(|switch| switch.ports.iter().flat_map(|port| &port.settings.addresses));
    let devices = topology.switches.iter().flat_map(|switch| &switch.addresses);
    let ends = topology.links.iter().flat_map(|link| link.ends.iter().flat_map(|end| &end.settings.addresses));
    let nics = topology.nodes.iter().filter_map(|node| node.nic.as_ref()).flat_map(|nic| &nic.settings.addresses);
    ports.chain(devices).chain(ends).chain(nics).map(|net| net.addr()).collect()
}

/// Words that a mutation puts somewhere: much of the language, and what breaks naive code.
const WORDS: [&str; 24] = [
    "\"",
    "[",
    "]]",
    "{",
    "}",
    "=",
    "\n",
    "\u{0}",
    "é",
    "9999999999999999999",
    "-1",
    "[[link]]\n",
    "[node.c]\ncount = 65536\n",
    "ends = [\"client\", \"server\"]\n",
    "\"*\"",
    "vlan = 5",
    "stp = true\n",
    "address = \"198.18.0.1/24\"\n",
    "mtu = 68\n",
    "'''",
    "\\u0007",
    "a.b.c.",
    "1979-05-27",
    "kind = \"ovs\"\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_mutated_file_panics(
        which in 0..shipped::all().len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..WORDS.len(), 0usize..12), 1..6),
    ) {
        let mut text: Vec<char> = shipped::all()[which].text.chars().collect();
        for (at, word, cut) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, WORDS[word].chars());
        }
        let text: String = text.into_iter().collect();
        if let Some(topology) = check(&text) {
            let all = addresses(&topology);
            let unique: HashSet<_> = all.iter().collect();
            prop_assert_eq!(all.len(), unique.len());
        }
    }

    #[test]
    fn addresses_are_unique_and_inside_their_subnets(
        counts in proptest::collection::vec(1usize..700, 1..5),
        written in proptest::option::of((0u8..4, 1u8..250)),
        ipv6 in any::<bool>(),
    ) {
        let mut text = format!("name = \"p\"\nipv6 = {ipv6}\n");
        for (index, count) in counts.iter().enumerate() {
            text.push_str(&format!("[node.n{index}x]\ncount = {count}\n[switch.s{index}]\nkind = \"bridge\"\nports = [\"n{index}x*\"]\n"));
        }
        if let Some((net, host)) = written {
            text.push_str(&format!("[node.w]\n[switch.sw]\nkind = \"bridge\"\nports = [{{ node = \"w\", address = \"198.18.{net}.{host}/24\" }}, \"n0x0\"]\n"));
        }
        text.push_str("[[flow]]\nfrom = \"n0x0\"\n");
        text.push_str(if counts[0] > 1 { "to = \"n0x1\"\n" } else { "to = \"n0x0\"\n" });
        match topology::check(Source::new("p.toml", text.clone())) {
            Ok(loaded) => {
                let all = addresses(&loaded.topology);
                let unique: HashSet<_> = all.iter().collect();
                prop_assert_eq!(all.len(), unique.len());
                let endpoints: usize = counts.iter().sum::<usize>() + if written.is_some() { 2 } else { 0 };
                prop_assert_eq!(all.len(), endpoints * if ipv6 { 2 } else { 1 });
                for switch in &loaded.topology.switches {
                    let first = switch.ports[0].settings.addresses[0].trunc();
                    for port in &switch.ports {
                        prop_assert_eq!(port.settings.addresses[0].trunc(), first);
                    }
                }
            }
            Err(report) => prop_assert!(counts[0] == 1, "{}", report),
        }
    }
}
