//! A router between: what it forwards is held against what it sends and receives itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod model_nic;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use cables::Lab;
use model_nic::{Fault, ModelNic};
use netbench::{
    apply::{features::Loans, journal::StateRoot, world::World},
    experiment::offload::{Target, drive, forward, lro},
    kernel::Netns,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Flow,
};

/// client/eth0 - router/west by a veth pair, router/eth0 - server/eth0 by a model card.
struct Routed {
    world: World,
    _nic: ModelNic,
    _router: Holder,
    _lab: Lab,
}

/// A process that holds a namespace; it ends with this value.
struct Holder(Child);

impl Holder {
    fn new(lab: &Lab) -> Self {
        let mut third = lab.command("client");
        third.args(["unshare", "-n", "--", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let mut holder = Self(third.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn routed(fault: Fault) -> Option<Routed> {
    let lab = Lab::new(0)?;
    let router = Holder::new(&lab);
    let inside = |words: &str| {
        let pid = router.0.id().to_string();
        let done = lab.command("client").args(["nsenter", "-t", &pid, "-n", "sh", "-ec", words]).output().unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let of = |ns: &str| match ns {
        "router" => Netns::of_pid(router.0.id(), ns).unwrap(),
        ns => Netns::of_pid(lab.pid(ns), ns).unwrap(),
    };
    let nic = match ModelNic::new(&of("router"), &of("server"), fault) {
        Ok(nic) => nic,
        Err(error) => {
            cables::skip(&format!("no TAP device: {error}"));
            return None;
        }
    };
    lab.ip("client", &format!("link add eth0 type veth peer name west netns {}", router.0.id()));
    lab.ip("client", "addr add 198.18.1.1/24 dev eth0");
    lab.ip("client", "link set eth0 up");
    inside(
        "ip addr add 198.18.1.254/24 dev west; ip link set west up; ip addr add 198.18.2.254/24 dev eth0
         ip link set eth0 up; sysctl -qw net.ipv4.ip_forward=1; ethtool -K west gro on",
    );
    lab.ip("server", "addr add 198.18.2.1/24 dev eth0");
    lab.ip("server", "link set eth0 up");
    lab.ip("client", "route add default via 198.18.1.254");
    lab.ip("server", "route add default via 198.18.2.254");
    let mut world = World::new("routed");
    for ns in ["client", "router", "server"] {
        world.insert(NsId::new(ns), of(ns));
    }
    Some(Routed { world, _nic: nic, _router: router, _lab: lab })
}

fn hop(ns: &str, name: &str, direction: Direction) -> Hop {
    let at = LinkRef { ns: NsId::new(ns), name: name.parse().unwrap() };
    Hop { at, direction, mtu: 1500, overhead: 0, beside: Vec::new() }
}

fn target(from: (&str, &str), to: (&str, &str), hops: Vec<Hop>) -> Target {
    let addresses = (from.1.parse().unwrap(), to.1.parse().unwrap());
    let flow =
        Flow { from: from.0.into(), to: to.0.into(), from_address: addresses.0, to_address: addresses.1, mtu: 1500 };
    let path = FlowPath { flow, from_ns: NsId::new(from.0), to_ns: NsId::new(to.0), hops };
    Target { path, addresses: vec![addresses], userspace_ovs: BTreeSet::new(), tunnels: Default::default() }
}

/// The rows of both directions.
fn rows(routed: &Routed) -> [OffloadCheck; 2] {
    let near = vec![hop("client", "eth0", Direction::Tx), hop("router", "west", Direction::Rx)];
    let far = vec![hop("router", "eth0", Direction::Tx), hop("server", "eth0", Direction::Rx)];
    let (client, server) = (("client", "198.18.1.1"), ("server", "198.18.2.1"));
    let whole = target(client, server, [near.clone(), far.clone()].concat());
    let parts = [target(client, ("router", "198.18.1.254"), near), target(("router", "198.18.2.254"), server, far)];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forward-{}", std::process::id()));
    let root = StateRoot(folder.join(format!("{:?}", std::thread::current().id())));
    let store = root.lock("routed").unwrap();
    let mut loans = Loans::new(&store);
    let rows =
        [false, true].map(|reversed| forward::compare(&routed.world, &whole, &parts, reversed, 1, &mut loans).unwrap());
    store.remove().unwrap();
    rows
}

#[test]
fn a_right_card_passes_forwarded_and_local_traffic_alike() {
    let Some(routed) = routed(Fault::None) else { return };
    for (row, path) in rows(&routed).iter().zip(["client -> server", "server -> client"]) {
        assert!(!row.verdict.is_broken() && row.path == path, "{row:#?}");
        let texts = ["forwarded and local traffic are right", "router", " Mb/s", "ratio "];
        assert!(texts.iter().all(|text| row.evidence.contains(text)), "{row:#?}");
    }
}

/// Host-local tests of such a card pass.
#[test]
fn a_card_that_spoils_what_is_forwarded_is_named() {
    let Some(routed) = routed(Fault::ForwardedGso) else { return };
    let [there, back] = rows(&routed);
    assert_eq!((there.verdict, there.device.as_deref()), (OffloadVerdict::Corrupt, Some("router/eth0")), "{there:#?}");
    let texts = [
        "only forwarded traffic fails: wrong checksum",
        "first seen between router/eth0 and server/eth0",
        "what its routers send themselves is right",
        " at best",
    ];
    assert!(texts.iter().all(|text| there.evidence.contains(text)), "{there:#?}");
    assert!(there.cure.is_some_and(|cure| cure.contains("gro off")));
    assert!(!back.verdict.is_broken(), "{back:#?}");
}

#[test]
fn a_card_that_spoils_everything_is_no_matter_of_forwarding() {
    let Some(routed) = routed(Fault::WrongChecksum) else { return };
    let [there, _] = rows(&routed);
    assert_eq!(there.verdict, OffloadVerdict::Inconclusive, "{there:#?}");
    assert!(there.evidence.starts_with("local traffic fails as well (router -> server)"), "{there:#?}");
}

/// The kernel switches LRO off where an interface begins to pass packets on, as a router's or as the port of a bridge; on again,
/// it is a fault. What ends packets itself may have it.
#[test]
fn lro_is_off_where_packets_are_passed_on_or_it_is_named() {
    let Some(lab) = Lab::new(0) else { return };
    if std::env::var_os("VMLAB").is_some() {
        Command::new("modprobe").args(["-a", "bonding", "bridge"]).status().unwrap();
    }
    let sh = |words: &str| lab.command("client").args(["sh", "-c", words]).output().unwrap();
    // A bond without members has what a driver of each kind could have.
    let made = sh("ip link add bond0 type bond && ip link set bond0 up && ethtool -K bond0 lro on && ethtool -k bond0");
    if !String::from_utf8_lossy(&made.stdout).contains("large-receive-offload: on\n") {
        cables::skip_to_lab("the kernel has no bonds, or none with LRO");
        return;
    }
    let rows = || {
        let hops = vec![hop("client", "bond0", Direction::Tx), hop("server", "lo", Direction::Rx)];
        let targets = [target(("client", "198.18.1.1"), ("server", "198.18.2.1"), hops)];
        let mut world = World::new("lro");
        for ns in ["client", "server"] {
            world.insert(NsId::new(ns), Netns::of_pid(lab.pid(ns), ns).unwrap());
        }
        let features = drive::features(&world, &targets).unwrap();
        lro::rows(&world, &targets, &features).unwrap()
    };
    assert_eq!(rows(), [], "its packets end here");
    assert!(sh("sysctl -qw net.ipv4.ip_forward=1").status.success());
    let [row] = &rows()[..] else { panic!("one row: {:#?}", rows()) };
    assert_eq!(row.verdict, OffloadVerdict::Pass, "{row:#?}");
    let text = "rx-lro is off, as it must be: client/bond0 is an interface of a router (ipv4 forwarding)";
    assert_eq!(row.evidence, text);
    assert!(sh("ethtool -K bond0 lro on").status.success());
    let [row] = &rows()[..] else { panic!("one row: {:#?}", rows()) };
    assert_eq!((row.verdict, row.device.as_deref()), (OffloadVerdict::Corrupt, Some("client/bond0")), "{row:#?}");
    assert_eq!(row.cure.as_deref(), Some("in client: `ethtool -K bond0 lro off`"));
    assert!(sh("ip link add br0 type bridge && ip link set bond0 master br0").status.success());
    let [row] = &rows()[..] else { panic!("one row: {:#?}", rows()) };
    assert_eq!(row.verdict, OffloadVerdict::Pass, "{row:#?}");
    assert_eq!(row.evidence, "rx-lro is off, as it must be: client/bond0 is a port of br0");
}
