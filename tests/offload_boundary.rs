//! The boundary of a path's MTU: what is as large passes; what is larger is refused or dropped where it is counted, and
//! whatever else becomes of it is named.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cables;
mod model_nic;

use std::collections::BTreeSet;

use cables::Lab;
use model_nic::{Fault, ModelNic};
use netbench::{
    apply::world::World,
    experiment::offload::{Target, boundary},
    kernel::Netns,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Flow,
};

fn open(lab: &Lab, ns: &str) -> Netns {
    Netns::of_pid(lab.pid(ns), ns).unwrap()
}

/// The rows of a path from client to server by one device each, of MTU 1500.
fn rows(lab: &Lab) -> [OffloadCheck; 2] {
    let hop = |ns: &str, direction| Hop {
        at: LinkRef { ns: NsId::new(ns), name: "eth0".parse().unwrap() },
        direction,
        mtu: 1500,
        overhead: 0,
        beside: Vec::new(),
    };
    let (from, to) = ("198.18.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap());
    let flow = Flow { from: "client".into(), to: "server".into(), from_address: from, to_address: to, mtu: 1500 };
    let hops = vec![hop("client", Direction::Tx), hop("server", Direction::Rx)];
    let path = FlowPath { flow, from_ns: NsId::new("client"), to_ns: NsId::new("server"), hops };
    let addresses = vec![(from, to), ("fd00:0::1".parse().unwrap(), "fd00:0::2".parse().unwrap())];
    let target = Target { path, addresses, userspace_ovs: BTreeSet::new(), tunnels: Default::default() };
    let mut world = World::new("boundary");
    for ns in ["client", "server"] {
        world.insert(NsId::new(ns), open(lab, ns));
    }
    boundary::rows(&world, &[target]).unwrap().try_into().unwrap()
}

/// A card of this MTU.
fn card(lab: &Lab, mtu: u32, faults: (Fault, Fault)) -> Option<ModelNic> {
    let nic = match ModelNic::both_ways(&open(lab, "client"), &open(lab, "server"), faults) {
        Ok(nic) => nic,
        Err(error) => {
            cables::skip(&format!("no TAP device: {error}"));
            return None;
        }
    };
    for (ns, host) in [("client", 1), ("server", 2)] {
        lab.ip(ns, &format!("link set eth0 mtu {mtu}"));
        lab.ip(ns, &format!("addr add 198.18.0.{host}/24 dev eth0"));
        lab.ip(ns, &format!("addr add fd00:0::{host}/64 dev eth0 nodad"));
        lab.ip(ns, "link set eth0 up");
    }
    Some(nic)
}

#[track_caller]
fn says(row: &OffloadCheck, verdict: OffloadVerdict, device: Option<&str>, texts: &[&str]) {
    assert_eq!((row.verdict, row.device.as_deref()), (verdict, device), "{row:#?}");
    assert!(texts.iter().all(|text| row.evidence.contains(text)), "{row:#?}");
    assert_eq!(row.cure.is_some(), verdict.is_broken(), "{row:#?}");
}

#[test]
fn the_senders_own_interface_refuses_what_is_larger() {
    let Some(lab) = Lab::new(0) else { return };
    let Some(_nic) = card(&lab, 1500, (Fault::None, Fault::None)) else { return };
    let [there, back] = rows(&lab);
    let sizes = "IPv4 and IPv6: packets of 1491, 1499, 1500 bytes arrive; 1501, 1505, 1509 are refused";
    says(&there, OffloadVerdict::Pass, None, &[sizes, "own interface client/eth0 (EMSGSIZE)"]);
    says(&back, OffloadVerdict::Pass, None, &[sizes, "own interface server/eth0 (EMSGSIZE)"]);
}

#[test]
fn a_card_that_takes_less_than_it_should_is_a_black_hole() {
    let Some(lab) = Lab::new(0) else { return };
    let Some(_nic) = card(&lab, 1500, (Fault::Vanish(1495), Fault::None)) else { return };
    let [there, back] = rows(&lab);
    let text = "packets of 1499 bytes vanish between client/eth0 and server/eth0";
    says(&there, OffloadVerdict::Blackhole, Some("server/eth0"), &[text, "no counter says so"]);
    says(&back, OffloadVerdict::Pass, None, &["1500 bytes arrive"]);
}

#[test]
fn a_black_hole_on_the_way_back_is_found_there() {
    let Some(lab) = Lab::new(0) else { return };
    let Some(_nic) = card(&lab, 1500, (Fault::None, Fault::Vanish(1300))) else { return };
    let [there, back] = rows(&lab);
    says(&there, OffloadVerdict::Pass, None, &["1500 bytes arrive"]);
    let text = "packets of 1491 bytes vanish between server/eth0 and client/eth0";
    says(&back, OffloadVerdict::Blackhole, Some("client/eth0"), &[text]);
}

#[test]
fn a_card_that_delivers_more_is_named() {
    let Some(lab) = Lab::new(0) else { return };
    let Some(_nic) = card(&lab, 2000, (Fault::None, Fault::Vanish(1504))) else { return };
    let [there, back] = rows(&lab);
    says(&there, OffloadVerdict::Leak, None, &["a packet of 1509 bytes was delivered, 9 more than the declared MTU"]);
    // Four bytes more pass, as by whoever keeps room for a tag; beyond them it drops and does not count.
    let text = "packets of 1509 bytes vanish between server/eth0 and client/eth0";
    says(&back, OffloadVerdict::Drop, Some("client/eth0"), &[text, "no counter says so"]);
}

#[test]
fn a_veth_whose_peer_takes_less_counts_what_it_drops() {
    let Some(lab) = Lab::new(1) else { return };
    lab.ip("server", "link set eth0 mtu 1500");
    let [there, back] = rows(&lab);
    let counted = ["1491, 1499, 1500 bytes arrive", "1505, 1509 are dropped: of 24 packets client/eth0 counted"];
    says(&there, OffloadVerdict::Pass, None, &counted);
    says(&back, OffloadVerdict::Pass, None, &["refused by the sender's own interface server/eth0 (EMSGSIZE)"]);
}
