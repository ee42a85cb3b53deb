//! Namespaces, links, observation.

use std::{collections::BTreeSet, fs, time::Instant};

use netbench::{
    kernel::{
        self, Netns, Wanted,
        link::{self, Marks},
        netns,
    },
    plan::{
        desired::{FdbSpec, LinkKind, RouteSpec, Vxlan},
        observed::LinkDetail,
        step::LinkSet,
    },
    topology::model::MacvlanMode,
    units::MacAddr,
};

use crate::support::*;

#[test]
fn a_namespace_is_marked_listed_seen_by_ip_and_removed() {
    if !isolated() {
        return;
    }
    let ns = namespace("nb-a");
    let listed = netns::list(&path("")).unwrap();
    assert_eq!((listed.len(), listed[0].inode, listed[0].is_mount), (1, Some(ns.inode()), true));
    let lo = &oracle(&ns, "ip -j link show lo")[0];
    assert_eq!(lo["ifalias"], "netbench:t:nb-a");
    assert!(lo["flags"].as_array().unwrap().contains(&"UP".into()));
    let observed = kernel::observe(&ns, &Wanted::default()).unwrap();
    assert_eq!(observed.mark.as_deref(), Some("netbench:t:nb-a"));
    assert_eq!(Netns::open(&path("nb-a"), "again").unwrap().inode(), ns.inode());
    assert_eq!(Netns::of_pid(std::process::id(), "me").unwrap().label(), "me");
    let error = Netns::create(&path("nb-a"), "a", "m", &Default::default()).unwrap_err();
    assert!(error.is_present(), "{error}");

    let mut child = ns.spawn(std::process::Command::new("sleep").arg("60")).unwrap();
    assert!(netns::holders(&[ns.inode()].into()).iter().any(|holder| holder.pid == child.id()));
    child.kill().unwrap();
    child.wait().unwrap();

    fs::write(path("leftover"), "").unwrap();
    fs::write(path("precious"), "data").unwrap();
    assert!(Netns::open(&path("leftover"), "x").is_err());
    netns::remove(&path("leftover")).unwrap();
    let error = netns::remove(&path("precious")).unwrap_err();
    assert!(error.to_string().contains("not a namespace"), "{error}");
    fs::remove_file(path("precious")).unwrap();
    netns::remove(&path("nb-a")).unwrap();
    assert!(netns::remove(&path("nb-a")).unwrap_err().is_absent());
    assert!(netns::list(&path("")).unwrap().is_empty());
}

#[test]
fn sysctls_are_those_of_the_namespace() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    a.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
    assert_eq!(a.sysctl("net.ipv4.ip_forward").unwrap().as_deref(), Some("1"));
    assert_eq!(b.sysctl("net.ipv4.ip_forward").unwrap().as_deref(), Some("0"));
    assert_eq!(a.sysctl("net.ipv4.no_such_key").unwrap(), None);
    let error = a.set_sysctl("net.ipv4.ip_forward", "many").unwrap_err();
    assert!(error.to_string().starts_with("set sysctl net.ipv4.ip_forward=many"), "{error}");
    let wanted =
        Wanted { sysctl: BTreeSet::from(["net.ipv4.ip_forward".into(), "net.x.y".into()]), ..Wanted::default() };
    let observed = kernel::observe(&a, &wanted).unwrap();
    assert_eq!(observed.sysctl.into_iter().collect::<Vec<_>>(), [("net.ipv4.ip_forward".into(), "1".into())]);
}

#[test]
fn a_bridge_keeps_its_mtu_and_its_ports_are_made_in_place() {
    if !isolated() {
        return;
    }
    let (fabric, c1) = (namespace("fabric"), namespace("c1"));
    let marks = Marks { group: 0x4e42_0001, alias: Some("netbench:t".into()), altname: Some("nb-t-1".into()) };
    let mut br = bridge(&fabric, "br1");
    br.mtu = Some(9000);
    link::create(&fabric, &br, None, &marks, None, &|_| {}).unwrap();
    let mut near = link(&fabric, "p1", LinkKind::Veth { peer: at(&c1, "eth0") });
    let mut far = link(&c1, "eth0", LinkKind::Veth { peer: at(&fabric, "p1") });
    near.master = Some(name("br1"));
    near.mtu = Some(1500);
    far.mtu = Some(1500);
    far.mac = Some("02:00:00:00:00:01".parse().unwrap());
    let mtu = LinkSet { mtu: Some(9000), ..LinkSet::default() };
    link::set(&fabric, &name("br1"), &mtu).unwrap();
    let marks = Marks { altname: None, ..marks };
    link::create(&fabric, &near, Some((&c1, &far)), &marks, None, &|_| {}).unwrap();
    let up = LinkSet { up: Some(true), ..LinkSet::default() };
    link::set(&c1, &name("eth0"), &up).unwrap();

    let observed = kernel::observe(&fabric, &Wanted::default()).unwrap();
    let (br1, p1) = (&observed.links[&name("br1")], &observed.links[&name("p1")]);
    assert_eq!((br1.mtu, br1.up, br1.altnames.as_slice()), (9000, true, &["nb-t-1".to_owned()][..]));
    assert_eq!(br1.detail, LinkDetail::Bridge { stp: false, vlan_filtering: false, multicast_snooping: false });
    assert_eq!((p1.master, p1.group, p1.up, p1.carrier), (Some(br1.index), 0x4e42_0001, true, true));
    assert_eq!((p1.alias.as_deref(), p1.kind.as_str()), (Some("netbench:t"), "veth"));
    let far = &oracle(&c1, "ip -j -d link show eth0")[0];
    assert_eq!((&far["address"], &far["mtu"]), (&"02:00:00:00:00:01".into(), &1500.into()));
    assert_eq!((&far["group"], &far["operstate"]), (&0x4e42_0001.to_string().into(), &"UP".into()));

    let error = link::create(&fabric, &br, None, &marks, None, &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "create bridge br1 in netns fabric: File exists");
    let set = LinkSet { mtu: Some(70_000), ..LinkSet::default() };
    let error = link::set(&c1, &name("eth0"), &set).unwrap_err();
    assert_eq!(
        error.to_string(),
        "set mtu 70000 on eth0 in netns c1: Invalid argument (kernel: mtu greater than device maximum)"
    );
}

#[test]
fn links_are_set_renamed_and_moved() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    link::create(&a, &bridge(&a, "br1"), None, &Marks::default(), None, &|_| {}).unwrap();
    veth((&a, "p1"), (&b, "eth0"), 9000);
    let set = LinkSet {
        mtu: Some(4000),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        up: Some(false),
        master: Some(Some(name("br1"))),
        gso_max_size: Some(30_000),
        ..LinkSet::default()
    };
    link::set(&a, &name("p1"), &set).unwrap();
    let shown = &oracle(&a, "ip -j -d link show p1")[0];
    assert_eq!(
        (&shown["mtu"], &shown["master"], &shown["gso_max_size"]),
        (&4000.into(), &"br1".into(), &30_000.into())
    );
    assert_eq!((&shown["address"], &shown["operstate"]), (&"02:00:00:00:00:09".into(), &"DOWN".into()));
    link::set(&a, &name("p1"), &LinkSet { master: Some(None), ..LinkSet::default() }).unwrap();
    let set = LinkSet { stp: Some(true), multicast_snooping: Some(true), mtu: Some(1400), ..LinkSet::default() };
    link::set(&a, &name("br1"), &set).unwrap();
    let observed = kernel::observe(&a, &Wanted::default()).unwrap();
    assert_eq!(observed.links[&name("p1")].master, None);
    let br1 = &observed.links[&name("br1")];
    assert_eq!(br1.mtu, 1400);
    assert_eq!(br1.detail, LinkDetail::Bridge { stp: true, vlan_filtering: false, multicast_snooping: true });

    link::rename(&a, "p1", "renamed").unwrap();
    link::move_to(&a, "renamed", &b, "moved").unwrap();
    assert!(link::index(&a, "renamed").unwrap_err().is_absent());
    assert!(link::index(&b, "moved").unwrap() > 0);
}

#[test]
fn vlans_of_ports_replace_the_default_one_or_their_absence_is_named() {
    if !isolated() {
        return;
    }
    let ns = namespace("a");
    let kind = LinkKind::Bridge { stp: false, vlan_filtering: true, multicast_snooping: None };
    if let Err(error) = link::create(&ns, &link(&ns, "br1", kind), None, &Marks::default(), None, &|_| {}) {
        let text = error.to_string();
        assert!(matches!(error, kernel::Error::Unsupported { .. }), "{text}");
        assert!(text.contains("br1") && text.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{text}");
        also_in_lab();
        return;
    }
    veth((&ns, "p1"), (&ns, "p2"), 1500);
    for pvid in [10, 20] {
        let set = LinkSet { master: Some(Some(name("br1"))), pvid: Some(pvid), ..LinkSet::default() };
        link::set(&ns, &name("p1"), &set).unwrap();
        let vlans = oracle(&ns, "bridge -j vlan show dev p1");
        let vlans = vlans[0]["vlans"].as_array().unwrap();
        assert_eq!((vlans.len(), &vlans[0]["vlan"]), (1, &pvid.into()));
        let observed = kernel::observe(&ns, &Wanted::default()).unwrap();
        assert_eq!(observed.links[&name("p1")].pvid, Some(pvid));
    }
}

#[test]
fn macvlan_and_vxlan_are_made_as_declared() {
    if !isolated() {
        return;
    }
    let (host, c1) = (namespace("host"), namespace("c1"));
    veth((&host, "phy"), (&c1, "far"), 9000);
    let lower = link::index(&host, "phy").unwrap();
    let mut child = link(&c1, "eth0", LinkKind::Macvlan { lower: at(&host, "phy"), mode: MacvlanMode::Bridge });
    child.mtu = Some(8000);
    link::create(&c1, &child, None, &Marks::default(), Some((&host, lower)), &|_| {}).unwrap();
    let observed = kernel::observe(&c1, &Wanted::default()).unwrap();
    let eth0 = &observed.links[&name("eth0")];
    assert_eq!((eth0.mtu, eth0.up, eth0.link), (8000, true, Some(lower)));
    assert_eq!(eth0.detail, LinkDetail::Macvlan { mode: Some(MacvlanMode::Bridge) });

    link::add_address(&host, &name("phy"), "10.9.0.1/24".parse().unwrap()).unwrap();
    let spec = Vxlan {
        vni: 42,
        local: "10.9.0.1".parse().unwrap(),
        remote: "10.9.0.2".parse().unwrap(),
        port: 4789,
        dev: name("phy"),
        udp_checksum: Some(true),
        udp6_zero_checksum: Some(true),
        gbp: true,
        learning: Some(false),
    };
    let mut vx = link(&host, "vx0", LinkKind::Vxlan(spec));
    vx.mtu = Some(8950);
    link::create(&host, &vx, None, &Marks::default(), None, &|_| {}).unwrap();
    let entry = FdbSpec {
        at: at(&host, "vx0"),
        mac: "02:00:00:00:00:07".parse().unwrap(),
        remote: "10.9.0.3".parse().unwrap(),
    };
    link::add_fdb(&host, &entry).unwrap();
    assert!(link::add_fdb(&host, &entry).unwrap_err().is_present());
    let observed = kernel::observe(&host, &Wanted::default()).unwrap();
    assert_eq!(observed.fdb, [(name("vx0"), entry.mac, entry.remote)]);
    let shown = &oracle(&host, "ip -j -d link show vx0")[0]["linkinfo"]["info_data"];
    assert_eq!((&shown["id"], &shown["remote"], &shown["learning"]), (&42.into(), &"10.9.0.2".into(), &false.into()));
    match &observed.links[&name("vx0")].detail {
        LinkDetail::Vxlan { vni, local, port, dev, udp_checksum, udp6_zero_checksum, gbp, learning, .. } => {
            assert_eq!((*vni, *local, *port, *dev), (42, Some("10.9.0.1".parse().unwrap()), 4789, lower));
            assert_eq!((*udp_checksum, *udp6_zero_checksum, *gbp, *learning), (true, true, true, false));
        }
        other => panic!("{other:?}"),
    }
    link::delete_fdb(&host, &entry).unwrap();
    assert!(link::delete_fdb(&host, &entry).unwrap_err().is_absent());
    let set = LinkSet { mtu: Some(9000), ..LinkSet::default() };
    let error = link::set(&host, &name("vx0"), &set).unwrap_err();
    assert!(error.to_string().starts_with("set mtu 9000 on vx0 in netns host: Invalid argument"), "{error}");
}

#[test]
fn addresses_and_routes_come_and_go() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    veth((&a, "eth0"), (&b, "eth0"), 1500);
    let eth0 = name("eth0");
    for address in ["10.9.0.1/24", "10.9.0.9/24", "fd00::1/64"] {
        link::add_address(&a, &eth0, address.parse().unwrap()).unwrap();
        assert!(link::add_address(&a, &eth0, address.parse().unwrap()).unwrap_err().is_present());
    }
    let observed = kernel::observe(&a, &Wanted::default()).unwrap();
    let addresses: Vec<String> = observed.links[&eth0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.9.0.1/24", "10.9.0.9/24", "fd00::1/64"]);
    assert!(observed.routes.is_empty(), "{:?}", observed.routes);
    let route = |to: &str, via: Option<&str>, dev: Option<&str>| RouteSpec {
        ns: at(&a, "eth0").ns,
        to: to.parse().unwrap(),
        via: via.map(|via| via.parse().unwrap()),
        dev: dev.map(name),
    };
    let routes = [
        route("0.0.0.0/0", Some("10.9.0.2"), None),
        route("10.20.0.5/16", None, Some("eth0")),
        route("fd01::/64", Some("fd00::2"), Some("eth0")),
    ];
    for route in &routes {
        link::add_route(&a, route).unwrap();
        assert!(link::add_route(&a, route).unwrap_err().is_present());
    }
    let observed = kernel::observe(&a, &Wanted::default()).unwrap();
    let seen: Vec<String> =
        observed.routes.iter().map(|route| format!("{} {:?} {}", route.to, route.via, route.protocol)).collect();
    assert_eq!(seen, ["0.0.0.0/0 Some(10.9.0.2) 4", "10.20.0.0/16 None 4", "fd01::/64 Some(fd00::2) 4"]);
    assert_eq!(oracle(&a, "ip -j route show default")[0]["protocol"], "static");
    for route in &routes {
        link::delete_route(&a, route).unwrap();
        assert!(link::delete_route(&a, route).unwrap_err().is_absent());
    }
    link::delete_address(&a, &eth0, "fd00::1/64".parse().unwrap()).unwrap();
    assert!(link::delete_address(&a, &eth0, "fd00::1/64".parse().unwrap()).unwrap_err().is_absent());
}

#[test]
fn many_links_are_deleted_at_once_and_foreign_ones_are_not() {
    if !isolated() {
        return;
    }
    let (a, b) = (namespace("a"), namespace("b"));
    for number in 0..20 {
        veth((&a, &format!("p{number}")), (&b, &format!("q{number}")), 1500);
    }
    veth((&a, "foreign"), (&b, "other"), 1500);
    run(&a, "ip link set foreign group 7");
    let names: Vec<_> = (0..21).map(|number| name(&format!("p{number}"))).collect();
    let error = link::delete_many(&a, &names, 7).unwrap_err();
    assert!(error.to_string().contains("foreign"), "{error}");
    link::delete_many(&a, &names, 8).unwrap();
    let observed = kernel::observe(&a, &Wanted::default()).unwrap();
    assert_eq!(observed.links.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["foreign", "lo"]);
    assert!(link::delete_group(&a, 0).is_err());
    assert!(link::delete(&a, "p1").unwrap_err().is_absent());
    link::delete(&a, "foreign").unwrap();
}

#[test]
fn counters_count() {
    if !isolated() {
        return;
    }
    let ns = namespace("a");
    ns.within(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..6 {
            socket.send_to(b"counted", socket.local_addr().unwrap()).unwrap();
        }
    })
    .unwrap();
    let lo = kernel::counters(&ns).unwrap()[&name("lo")];
    assert_eq!((lo.rx_packets, lo.tx_packets), (6, 6));
    let shown = &oracle(&ns, "ip -j -s link show lo")[0]["stats64"]["rx"];
    assert_eq!(shown["bytes"], lo.rx_bytes);
    assert!(kernel::machine().cpus > 0 && kernel::machine().memory_bytes > 1 << 20);
}

#[test]
fn a_hundred_namespaces_are_observed_quickly() {
    if !isolated() {
        return;
    }
    let started = Instant::now();
    let all: Vec<Netns> = (0..100).map(|number| namespace(&format!("n{number}"))).collect();
    let made = started.elapsed();
    let started = Instant::now();
    for ns in &all {
        kernel::observe(ns, &Wanted::default()).unwrap();
    }
    eprintln!("100 namespaces made in {made:?}, observed in {:?}", started.elapsed());
}

/// Links come and go while others are dumped: every dump has each standing link exactly once.
#[test]
fn dumps_are_whole_while_links_change() {
    if !isolated() {
        return;
    }
    let ns = namespace("busy");
    for i in 0..150 {
        link::create(&ns, &bridge(&ns, &format!("stay{i}")), None, &Marks::default(), None, &|_| {}).unwrap();
    }
    let other = Netns::open(&path("busy"), "busy").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for i in 0..8 {
                    link::create(&other, &bridge(&other, &format!("go{i}")), None, &Marks::default(), None, &|_| {})
                        .unwrap();
                }
                (0..8).for_each(|i| link::delete(&other, &format!("go{i}")).unwrap());
            }
        });
        for _ in 0..100 {
            let dumped = kernel::observe(&ns, &Wanted::links_only());
            let standing = match &dumped {
                Ok(seen) => seen.links.keys().filter(|name| name.as_str().starts_with("stay")).count(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(standing, 150);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
