//! Where IPsec transforms the packets the kernel takes no bundles (`UDP_SEGMENT`): what the engine does then, and what it says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, require_root, skip_to_lab};
use netbench::{measured::SendMode, record::RunRecord};

/// ESP for all datagrams between the two nodes; false where the kernel has none.
fn secured(lab: &Lab, client: &str, server: &str) -> bool {
    let key = "0x0102030405060708090a0b0c0d0e0f1011121314";
    [client, server].iter().all(|ns| {
        let here = *ns == client;
        [("198.18.0.1", "198.18.0.2", "0x101"), ("198.18.0.2", "198.18.0.1", "0x102")].iter().all(|(src, dst, spi)| {
            let way = if here == (*src == "198.18.0.1") { "out" } else { "in" };
            let state =
                format!("src {src} dst {dst} proto esp spi {spi} mode transport aead 'rfc4106(gcm(aes))' {key} 128");
            let policy =
                format!("src {src} dst {dst} proto udp dir {way} tmpl src {src} dst {dst} proto esp mode transport");
            lab.try_sh(&format!("ip -n {ns} xfrm state add {state} && ip -n {ns} xfrm policy add {policy}")).code
                == Some(0)
        })
    })
}

#[test]
fn bundles_that_the_kernel_refuses_are_sent_as_single_datagrams_and_it_is_said() {
    let Some(lab) = Lab::new("ipsec") else { return };
    if !require_root("a topology that stays up") {
        return;
    }
    lab.netbench(&["topo", "apply", "veth"]).ok();
    let client = lab.namespaces().into_iter().find(|name| name.ends_with("client")).unwrap();
    let args = ["run", "veth", "--test", "udp_stream", "--length", "1200", "--rate", "20mbit", "--duration", "500ms"];
    let args = [&args[..], &["--rounds", "1", "--no-store"]].concat();
    let sent = |what: &str, code: i32| {
        let done = lab.netbench(&[&args[..], &["--json"]].concat()).exits(code);
        let record: RunRecord = serde_json::from_str(&done.stdout).unwrap();
        let verdict = &record.flows[0].tests[0].verdict;
        assert!(verdict.valid, "{what}: {verdict:?}");
        let round = &record.flows[0].tests[0].rounds[0];
        assert!(round.server.all_units() > 0, "{what}: nothing arrived");
        let io = round.client.streams[0].io.clone().unwrap();
        (io, record.warnings)
    };
    let (io, _) = sent("plain", 0);
    assert_eq!((io.send, &io.fallback), (Some(SendMode::Gso), &None), "without IPsec bundles are taken");
    if !secured(&lab, &client, &client.replace("client", "server")) {
        lab.netbench(&["topo", "destroy", "veth"]).ok();
        return skip_to_lab("this kernel has no ESP (CONFIG_INET_ESP)");
    }
    // ESP takes of each packet: the declared MTU is not proved any more, and the test is valid.
    let (io, warnings) = sent("ESP", 4);
    assert_eq!(io.send, Some(SendMode::Mmsg), "{io:?}");
    let why = io.fallback.unwrap();
    assert!(why.contains("EIO: ") && why.contains("IPsec transforms the packets"), "{why}");
    assert!(why.ends_with("sent by sendmmsg, one datagram per message"), "{why}");
    assert!(warnings.iter().any(|warning| warning.contains(&why)), "{warnings:?}");
    let done = lab.netbench(&args).exits(4).says("sent by mmsg");
    let said = done.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("IPsec transforms the packets): sent by sendmmsg, one datagram per message"), "{done}");
    // The kernel did transform them: none of its counters of failures rose, and its state counted them.
    let counted =
        lab.sh(&format!("ip -n {client} -s xfrm state get src 198.18.0.1 dst 198.18.0.2 proto esp spi 0x101"));
    assert!(counted.contains("(bytes)") && !counted.contains(" 0(packets)"), "{counted}");
    lab.netbench(&["topo", "destroy", "veth"]).ok();
}
