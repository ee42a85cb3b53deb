//! Qdiscs, ethtool, borrowed devices.

use std::collections::BTreeMap;

use netbench::{
    kernel::{
        self, Wanted,
        capture::{Bounds, Capture, Injector},
        ethtool, link, nic, qdisc,
    },
    packet::VnetHeader,
    plan::{desired::Qdisc, observed::ObservedNs, step::NicState},
    topology::model::{Netem, Shaper, ShaperKind},
    units::IfName,
};

use crate::support::*;

fn observed(ns: &kernel::Netns) -> ObservedNs {
    kernel::observe(ns, &Wanted::default()).unwrap()
}

#[test]
fn shapers_are_set_read_back_and_removed() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "eth0"), (&b, "eth0"), 9000);
    let eth0 = name("eth0");
    assert_eq!(observed(&a).links[&eth0].qdisc, None);
    for (kind, name, rate) in [
        (ShaperKind::Tbf, "tbf", "10gbit"),
        (ShaperKind::Tbf, "tbf", "40gbit"),
        (ShaperKind::Htb, "htb", "100gbit"),
        (ShaperKind::Htb, "htb", "5mbit"),
        (ShaperKind::Tbf, "tbf", "100mbit"),
    ] {
        let shaper = Shaper { rate: rate.parse().unwrap(), qdisc: kind };
        if let Err(error) = qdisc::set(&a, &eth0, Some(&Qdisc::Shaper(shaper))) {
            let option = format!("CONFIG_NET_SCH_{}", name.to_uppercase());
            also_in_lab();
            assert!(
                matches!(error, kernel::Error::Unsupported { .. }) && error.to_string().contains(&option),
                "{error}"
            );
            continue;
        }
        let seen = observed(&a).links[&eth0].qdisc.clone().unwrap();
        assert_eq!((seen.kind.as_str(), seen.rate_bytes), (name, Some(shaper.rate.bytes_per_second())), "{rate}");
        let shown = run(&a, "tc qdisc show dev eth0") + &run(&a, "tc class show dev eth0");
        let printed = format!("rate {}{}", &rate[..rate.len() - 4], capital(&rate[rate.len() - 4..]));
        assert!(shown.contains(&printed), "{printed}: {shown}");
    }
    qdisc::set(&a, &eth0, None).unwrap();
    qdisc::set(&a, &eth0, None).unwrap();
    assert_eq!(observed(&a).links[&eth0].qdisc, None);
}

fn capital(unit: &str) -> String {
    unit[..1].to_uppercase() + &unit[1..]
}

#[test]
fn netem_is_set_or_its_absence_is_named() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "eth0"), (&b, "eth0"), 1500);
    let netem = Netem { delay: Some("10ms".parse().unwrap()), loss: Some(0.01) };
    match qdisc::set(&a, &name("eth0"), Some(&Qdisc::Netem(netem))) {
        Ok(()) => {
            let seen = observed(&a).links[&name("eth0")].qdisc.clone().unwrap();
            assert_eq!((seen.kind.as_str(), seen.delay_ns), ("netem", Some(10_000_000)));
            assert!((seen.loss.unwrap() - 0.01).abs() < 1e-6);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("set netem (delay 10ms, loss 1%) on eth0 in netns a"), "{text}");
            assert!(text.contains("CONFIG_NET_SCH_NETEM"), "{text}");
            also_in_lab();
        }
    }
}

#[test]
fn features_are_switched_and_a_refusal_is_an_error() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "eth0"), (&b, "eth0"), 1500);
    let eth0 = name("eth0");
    let features = ethtool::features(&a, &eth0).unwrap();
    assert!(features["tx-tcp-segmentation"].active && features["tx-tcp-segmentation"].changeable);
    let off: BTreeMap<String, bool> = ["tso", "gro"]
        .iter()
        .flat_map(|short| ethtool::applicable(short, &features))
        .map(|name| (name, false))
        .collect();
    assert!(off.len() >= 4, "{off:?}");
    ethtool::set_features(&a, &eth0, &off).unwrap();
    let shown = &oracle(&a, "ethtool --json -k eth0")[0];
    assert_eq!(
        (&shown["tx-tcp-segmentation"]["active"], &shown["rx-gro"]["active"]),
        (&false.into(), &serde_json::Value::Null)
    );
    let wanted = Wanted { features: [eth0.clone()].into(), ethtool: [eth0.clone()].into(), ..Wanted::default() };
    let seen = kernel::observe(&a, &wanted).unwrap();
    assert!(off.keys().all(|name| !seen.links[&eth0].features[name]));

    let fixed = features.iter().find(|(_, feature)| !feature.changeable && !feature.active).unwrap().0;
    let error = ethtool::set_features(&a, &eth0, &BTreeMap::from([(fixed.clone(), true)])).unwrap_err();
    assert!(error.to_string().contains("the device has it fixed"), "{error}");
    let error = ethtool::set_features(&a, &eth0, &BTreeMap::from([("tx-nonsense".into(), true)])).unwrap_err();
    assert_eq!(error.extack(), Some("bit name not found"), "{error}");
    let chain = BTreeMap::from([("tx-scatter-gather".into(), false), ("tx-tcp-segmentation".into(), true)]);
    let error = ethtool::set_features(&a, &eth0, &chain).unwrap_err();
    assert!(error.to_string().contains("something it depends on is off"), "{error}");

    let channels = ethtool::parameters(&a, &eth0).unwrap();
    assert_eq!(channels["channels.rx"], 1, "{channels:?}");
    ethtool::set_parameters(&a, &eth0, &BTreeMap::from([("channels.rx".into(), 1)])).unwrap();
    assert!(ethtool::set_parameters(&a, &eth0, &BTreeMap::from([("channels.rx".into(), 4000)])).is_err());
    assert!(ethtool::set_parameters(&a, &eth0, &BTreeMap::from([("rings.colour".into(), 1)])).is_err());
}

/// A veth that plays a physical NIC: enslaved or with addresses and routes, alias, altname, group, odd MTU.
fn machine(home: &kernel::Netns, far: &kernel::Netns) -> NicState {
    veth((home, "phy0"), (far, "far"), 4000);
    for line in [
        "ip link set phy0 address 02:00:00:00:00:77 mtu 3000 alias uplink group 5",
        "ip link property add dev phy0 altname enp1s0",
        "ip link property add dev phy0 altname eth9",
        "ip link set phy0 up",
        "ip addr add 10.9.0.1/24 dev phy0",
        "ip addr add 10.9.0.3/24 dev phy0",
        "ip addr add fd00::1/64 dev phy0 nodad",
        "ip route add 10.20.0.0/16 via 10.9.0.2 metric 50",
        "ip route add default via 10.9.0.2 src 10.9.0.3",
        "ip route add 10.30.0.0/16 dev phy0 table 100",
        "ip -6 route add fd01::/64 via fd00::2 dev phy0",
    ] {
        run(home, line);
    }
    run(far, "ip link set far up");
    nic::state(home, &name("phy0")).unwrap()
}

fn unchanged(home: &kernel::Netns, before: &NicState) {
    let mut after = nic::state(home, &name("phy0")).unwrap();
    after.index = before.index;
    after.altnames.sort();
    let mut before = before.clone();
    before.altnames.sort();
    assert_eq!(after, before);
}

#[test]
fn a_borrowed_device_comes_back_exactly_as_it_was() {
    if !isolated() {
        return;
    }
    let (home, far, node) = (namespace("home"), namespace("far"), namespace("node"));
    let before = machine(&home, &far);
    assert_eq!((before.mtu, before.group, before.alias.as_deref()), (3000, 5, Some("uplink")));
    assert_eq!((before.addresses.len(), before.routes.len()), (3, 4), "{before:?}");
    let eth9: IfName = name("eth9");
    assert!(nic::carries_default_route(&home, &name("phy0")).unwrap());
    assert!(!nic::carries_default_route(&home, &name("lo")).unwrap());
    // SAFETY: the test is the process's only user of the environment.
    unsafe { std::env::set_var("SSH_CONNECTION", "10.20.1.1 50000 10.9.0.1 22") };
    assert!(nic::carries_ssh_session(&home, &name("phy0")).unwrap());
    assert!(!nic::carries_ssh_session(&far, &name("far")).unwrap());

    for _ in 0..2 {
        nic::take(&home, &before, &node, &eth9, "netbench:t orig=phy0").unwrap();
    }
    let taken = observed(&node).links[&eth9].clone();
    assert_eq!((taken.alias.as_deref(), taken.up), (Some("netbench:t orig=phy0"), false));
    assert!(!observed(&home).links.contains_key(&name("phy0")));
    run(&node, "ip link set eth9 address 02:00:00:00:00:88 mtu 1400");
    run(&node, "ip link set eth9 up");
    for _ in 0..2 {
        nic::give_back(&node, &eth9, &home, &before).unwrap();
        unchanged(&home, &before);
    }
    // Half done: at home, but renamed and bare.
    for line in ["ip link set phy0 down", "ip addr flush dev phy0", "ip link set phy0 name odd alias x mtu 1500"] {
        run(&home, line);
    }
    nic::give_back(&node, &eth9, &home, &before).unwrap();
    unchanged(&home, &before);
}

#[test]
fn a_borrowed_port_returns_to_its_bridge_and_may_stay_in_its_namespace() {
    if !isolated() {
        return;
    }
    let (home, far, node) = (namespace("home"), namespace("far"), namespace("node"));
    veth((&home, "phy0"), (&far, "far"), 1500);
    link::create(&home, &bridge(&home, "br0"), None, &link::Marks::default(), None, &|_| {}).unwrap();
    run(&home, "ip link set phy0 master br0");
    run(&home, "ip addr add 10.9.0.1/24 dev br0");
    run(&home, "ip route add default via 10.9.0.2");
    assert!(nic::carries_default_route(&home, &name("phy0")).unwrap());
    let before = nic::state(&home, &name("phy0")).unwrap();
    assert_eq!(before.master.as_deref(), Some("br0"));
    for to in [&node, &home] {
        nic::take(&home, &before, to, &name("up0"), "netbench:t").unwrap();
        assert_eq!(observed(to).links[&name("up0")].master, None);
        nic::give_back(to, &name("up0"), &home, &before).unwrap();
        unchanged(&home, &before);
    }
    assert!(
        nic::take(&far, &NicState { ifname: "none".into(), ..NicState::default() }, &node, &name("x"), "m")
            .unwrap_err()
            .is_absent()
    );
    assert_eq!(nic::by_pci("ffff:ff:ff.7"), None);
    assert_eq!(nic::by_pci("../../.."), None);
}

/// A port filters frames that are not for it. A capture that asks for everything has it promiscuous, and no longer than it lasts.
#[test]
fn a_capture_of_everything_ends_with_the_capture() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "eth0"), (&b, "eth0"), 1500);
    let promiscuity = || run(&b, "ip -d link show dev eth0").contains(" promiscuity 1 ");
    let mut capture = Capture::start(&b, &name("eth0"), Bounds::default()).unwrap();
    assert!(!promiscuity());
    capture.everything();
    assert!(promiscuity());
    let injector = Injector::open(&a, &name("eth0")).unwrap();
    let frame = [&[2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[7; 50]].concat();
    injector.send(VnetHeader::default(), &frame).unwrap();
    let captured = capture.finish();
    assert!(captured.is_complete());
    assert_eq!(captured.frames.iter().filter(|seen| seen.bytes == frame && !seen.outgoing).count(), 1);
    assert!(!promiscuity());
}
