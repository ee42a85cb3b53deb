//! Which checks a path asks for. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    kernel::ethtool::Feature,
    plan::desired::{Direction, FlowPath, Hop, LinkRef, NsId},
};

/// Features of the devices of a path.
pub type Features = BTreeMap<LinkRef, BTreeMap<String, Feature>>;

/// A flow with the addresses of both families.
#[derive(Debug, Clone)]
pub struct Target {
    /// The way.
    pub path: FlowPath,
    /// Addresses of client and server by family, the flow's own first.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// Interfaces that are ports of an Open vSwitch in user space.
    pub userspace_ovs: BTreeSet<LinkRef>,
    /// Tunnels over UDP of each namespace.
    pub tunnels: BTreeMap<NsId, Tunnels>,
}

/// Tunnels over UDP that a namespace has: the devices beside them are told of their ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tunnels {
    /// Kind and port.
    pub ports: BTreeSet<(String, u16)>,
    /// Open vSwitch in user space has them, without a socket of the kernel.
    pub userspace: bool,
}

impl Target {
    /// The way in one direction, and its addresses: client to server, or the other way round.
    pub fn way(&self, reversed: bool) -> Way {
        let mut hops = self.path.hops.clone();
        let mut addresses = self.addresses.clone();
        let (mut from, mut to) = (self.path.from_ns.clone(), self.path.to_ns.clone());
        let (mut names, flow) = ((self.path.flow.from.clone(), self.path.flow.to.clone()), &self.path.flow);
        if reversed {
            hops.reverse();
            for hop in &mut hops {
                hop.direction = if hop.direction == Direction::Tx { Direction::Rx } else { Direction::Tx };
            }
            addresses.iter_mut().for_each(|pair| *pair = (pair.1, pair.0));
            (from, to) = (to, from);
            names = (names.1, names.0);
        }
        Way { hops, addresses, from, to, text: format!("{} -> {}", names.0, names.1), mtu: flow.mtu }
    }
}

/// A path in one direction.
#[derive(Debug, Clone)]
pub struct Way {
    /// Interfaces in order.
    pub hops: Vec<Hop>,
    /// (source, destination) by family.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// Namespace of the sender.
    pub from: NsId,
    /// Namespace of the receiver.
    pub to: NsId,
    /// `client -> server`
    pub text: String,
    /// MTU of the flow.
    pub mtu: u32,
}

/// What a probe sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Suite {
    /// TCP streams.
    pub tcp: bool,
    /// How many datagrams of all lengths, one after the other.
    pub datagrams: u32,
    /// Datagrams by `UDP_SEGMENT`.
    pub segmented: bool,
    /// Crafted frames: wrong checksums, tags.
    pub crafted: bool,
    /// Crafted segments that may and must not be merged.
    pub merging: bool,
    /// Crafted super-packets, of TCP where `tcp` is sent and of UDP where `segmented` is.
    pub supers: bool,
}

/// What is looked for, and by which evidence a feature is known to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Frames were handed over with their checksum left to do.
    Partial,
    /// Super-packets were handed over.
    Supers,
    /// Packets were put together.
    Merged,
    /// Right bytes are all there is to see.
    Bytes,
}

/// A kind of check.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Kernel features; those that the device has and can switch are switched together.
    pub features: &'static [&'static str],
    /// Does the device send the traffic, or receive it?
    pub direction: Direction,
    /// What is sent.
    pub suite: Suite,
    /// Which family, where it is about one.
    pub family: Option<u8>,
    /// What shows that it works.
    pub evidence: Evidence,
    /// Features of the sending device that must be off for this one to be seen.
    pub sender_off: &'static [&'static str],
    /// Features of the device itself that must be off for it.
    pub own_off: &'static [&'static str],
    /// Features of the device itself that must be on for it.
    pub own_on: &'static [&'static str],
    /// Of devices only that pass packets on.
    pub forwards: bool,
    /// Why it is not tried.
    pub untried: Option<&'static str>,
    /// What is to be said of a device that does not have it; nothing is said of others.
    pub lacks: Option<&'static str>,
    /// Features of the device itself that must be off for its saving to be its own.
    pub cpu_off: &'static [&'static str],
    /// Features that some drivers switch only together with these.
    pub tied: &'static [&'static str],
    /// Name of the row that says what CPU time it saves, where that is what it is for.
    pub cpu: Option<&'static str>,
}

const TCP: Suite = Suite { tcp: true, datagrams: 0, segmented: false, crafted: false, merging: false, supers: false };
const CUT: Suite = Suite { supers: true, ..TCP };
const CRAFTED: Suite = Suite { tcp: false, datagrams: 8, crafted: true, ..TCP };
const MERGING: Suite = Suite { datagrams: 8, merging: true, ..TCP };
/// Bundles of datagrams.
const BUNDLES: Suite = Suite { tcp: false, segmented: true, ..CUT };
/// Single datagrams of one size, one behind the other, where the sender's device cuts no bundles.
const TRAINS: Suite = Suite { tcp: false, segmented: true, ..TCP };
/// By which a device cuts only what lies within a tunnel, after the kernel has made the headers around it right for all segments.
pub const GSO_PARTIAL: &str = "tunnel-gso-partial";
/// By which a device may leave identifications as they are.
pub const MANGLE_ID: &str = "tx-tcp-mangleid-segmentation";
/// The first without outer checksums, the second with them.
const TUNNEL_TSO: &[&str] = &["tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"];
const USO: &[&str] = &["tx-udp-segmentation"];
const TSO: &[&str] = &["tx-tcp-segmentation", "tx-tcp6-segmentation"];

const fn group(
    name: &'static str,
    features: &'static [&'static str],
    direction: Direction,
    suite: Suite,
    evidence: Evidence,
) -> Group {
    Group {
        name,
        features,
        direction,
        suite,
        family: None,
        evidence,
        sender_off: &[],
        own_off: &[],
        own_on: &[],
        forwards: false,
        untried: None,
        lacks: None,
        cpu_off: &[],
        tied: &[],
        cpu: None,
    }
}

/// Every kind, in the order in which it is tried.
pub static GROUPS: &[Group] = &[
    Group {
        // Without checksums the kernel switches segmentation off as well (`netdev_fix_features()`).
        cpu: Some("tx-checksum-cpu"),
        cpu_off: TSO,
        ..group(
            "tx-checksum",
            &["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"],
            Direction::Tx,
            Suite { datagrams: 48, ..TCP },
            Evidence::Partial,
        )
    },
    Group {
        cpu: Some("tso-cpu"),
        family: Some(4),
        ..group("tso", &["tx-tcp-segmentation"], Direction::Tx, CUT, Evidence::Supers)
    },
    Group {
        cpu: Some("tso6-cpu"),
        family: Some(6),
        ..group("tso6", &["tx-tcp6-segmentation"], Direction::Tx, CUT, Evidence::Supers)
    },
    Group { family: Some(4), ..group("tso-mangleid", &[MANGLE_ID], Direction::Tx, CUT, Evidence::Bytes) },
    Group {
        untried: Some(
            "only the kernel's own TCP with accurate ECN (tcp_ecn=3) makes such super-packets: a packet socket's header has no word for them",
        ),
        ..group("tso-accecn", &["tx-tcp-accecn-segmentation"], Direction::Tx, CUT, Evidence::Supers)
    },
    Group {
        cpu: Some("gso-cpu"),
        sender_off: TSO,
        ..group("gso", &["tx-generic-segmentation"], Direction::Tx, CUT, Evidence::Bytes)
    },
    Group { cpu: Some("uso-cpu"), ..group("uso", &["tx-udp-segmentation"], Direction::Tx, BUNDLES, Evidence::Supers) },
    Group {
        cpu: Some("tunnel-tso-cpu"),
        family: Some(4),
        ..group("tunnel-tso", TUNNEL_TSO, Direction::Tx, CUT, Evidence::Supers)
    },
    Group {
        cpu: Some("tunnel-tso6-cpu"),
        family: Some(6),
        ..group("tunnel-tso6", TUNNEL_TSO, Direction::Tx, CUT, Evidence::Supers)
    },
    group("tunnel-uso", TUNNEL_TSO, Direction::Tx, BUNDLES, Evidence::Supers),
    Group {
        lacks: Some(
            "the device has no tx-gso-partial: it cuts what goes into a tunnel all by itself, or leaves it to the kernel",
        ),
        ..group(GSO_PARTIAL, &["tx-gso-partial"], Direction::Tx, CUT, Evidence::Supers)
    },
    Group {
        // `igb_fix_features()`: stripping and inserting are one.
        tied: &["rx-vlan-hw-parse"],
        ..group(
            "vlan-insert",
            &["tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"],
            Direction::Tx,
            CRAFTED,
            Evidence::Bytes,
        )
    },
    group("rx-checksum", &["rx-checksum"], Direction::Rx, CRAFTED, Evidence::Bytes),
    Group {
        cpu: Some("gro-cpu"),
        sender_off: TSO,
        ..group("gro", &["rx-gro"], Direction::Rx, MERGING, Evidence::Merged)
    },
    Group {
        sender_off: USO,
        own_on: &["rx-gro"],
        own_off: &["rx-gro-list"],
        forwards: true,
        ..group("udp-gro-forwarding", &["rx-udp-gro-forwarding"], Direction::Rx, TRAINS, Evidence::Merged)
    },
    Group {
        sender_off: USO,
        own_on: &["rx-gro"],
        forwards: true,
        ..group("gro-list", &["rx-gro-list"], Direction::Rx, TRAINS, Evidence::Merged)
    },
    Group {
        cpu: Some("lro-cpu"),
        own_off: &["rx-gro"],
        ..group("lro", &["rx-lro"], Direction::Rx, MERGING, Evidence::Merged)
    },
    Group {
        cpu: Some("gro-hw-cpu"),
        own_off: &["rx-gro"],
        ..group("gro-hw", &["rx-gro-hw"], Direction::Rx, MERGING, Evidence::Merged)
    },
    Group {
        tied: &["tx-vlan-hw-insert"],
        ..group("vlan-strip", &["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"], Direction::Rx, CRAFTED, Evidence::Bytes)
    },
    group("tunnel-rx", &["rx-udp_tunnel-port-offload"], Direction::Rx, TCP, Evidence::Bytes),
    Group {
        untried: Some("it only lets filters be set, by which the device sorts what it receives; the tool sets none"),
        ..group("ntuple", &["rx-ntuple-filter"], Direction::Rx, TCP, Evidence::Bytes)
    },
];

/// A feature group of a device, to be switched off and on.
#[derive(Debug, Clone)]
pub struct Check {
    /// The device.
    pub at: LinkRef,
    /// What is checked.
    pub group: &'static Group,
    /// Features to switch, with what they are asked to be now.
    pub features: BTreeMap<String, bool>,
    /// Features to switch along where the driver refuses otherwise, likewise.
    pub tied: BTreeMap<String, bool>,
    /// Number of the target.
    pub target: usize,
    /// Against the flow's direction?
    pub reversed: bool,
    /// Hop whose outgoing or earlier frames are what was handed over.
    pub hand: usize,
    /// Hop whose frames are what came.
    pub wire: usize,
    /// Features of other devices, or of this one, that must be off meanwhile.
    pub quiet: Vec<(LinkRef, BTreeMap<String, bool>)>,
    /// The same, while CPU time is measured.
    pub still: Vec<(LinkRef, BTreeMap<String, bool>)>,
    /// May it leave the identifications of segments as they are, as found? They are another's where it is not the first device.
    pub may_fix_ids: bool,
    /// Why it cannot be tried.
    pub skip: Option<String>,
}

/// Every check of the targets' devices; each device once, for the first flow that crosses it.
pub fn plan(targets: &[Target], features: &Features, only: &BTreeSet<String>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, target) in targets.iter().enumerate() {
        for hop in &target.path.hops {
            let known = features.get(&hop.at);
            for group in GROUPS {
                if !(only.is_empty() || only.contains(group.name)) || !seen.insert((hop.at.clone(), group.name)) {
                    continue;
                }
                let Some(known) = known else { continue };
                checks.extend(check(number, target, hop, group, known, features));
            }
        }
    }
    checks
}

fn check(
    number: usize,
    target: &Target,
    hop: &Hop,
    group: &'static Group,
    known: &BTreeMap<String, Feature>,
    features: &Features,
) -> Option<Check> {
    let is_tunnel = group.name.starts_with("tunnel");
    if is_tunnel && hop.overhead == 0 {
        return None;
    }
    let there: Vec<(&str, &Feature)> =
        group.features.iter().filter_map(|name| Some((*name, known.get(*name)?))).collect();
    let switchable = |names: &[&str]| {
        let there = names.iter().filter_map(|name| Some((*name, known.get(*name)?)));
        let changeable = there.filter(|(_, feature)| feature.changeable);
        changeable.map(|(name, feature)| (name.to_owned(), feature.wanted)).collect::<BTreeMap<String, bool>>()
    };
    let changeable = switchable(group.features);
    let in_force = there.iter().any(|(_, feature)| feature.active);
    let has = !changeable.is_empty() || in_force;
    if !has && group.lacks.is_none() {
        return None;
    }
    let reversed = hop.direction != group.direction;
    let way = target.way(reversed);
    let place = way.hops.iter().position(|other| other.at == hop.at)?;
    let (hand, wire) = match group.direction {
        Direction::Tx => (place, place + 1),
        Direction::Rx => (place.checked_sub(1)?, place),
    };
    let mut check = Check {
        at: hop.at.clone(),
        group,
        features: changeable,
        tied: switchable(group.tied),
        target: number,
        reversed,
        hand,
        wire,
        quiet: Vec::new(),
        still: off(&hop.at, group.cpu_off, features).into_iter().collect(),
        may_fix_ids: hand > 0 || known.get(MANGLE_ID).is_some_and(|feature| feature.active),
        skip: None,
    };
    if group.forwards && place + 1 == way.hops.len() {
        return None; // Packets end here.
    }
    if wire >= way.hops.len() {
        return None; // It sends to nobody of this path.
    }
    if check.features.is_empty() {
        check.skip = Some("in force and fixed: the device does not let it be switched".to_owned());
    }
    if let Some(family) = group.family
        && !way.addresses.iter().any(|(from, _)| from.is_ipv4() == (family == 4))
    {
        check.skip = Some(format!("the path has no IPv{family} address"));
    }
    if group.direction == Direction::Tx {
        // Merged again on arrival, the cut could not be seen.
        check.quiet.extend(off(&way.hops[wire].at, &["rx-gro", "rx-lro", "rx-gro-hw"], features));
        check.quiet.extend(off(&hop.at, group.sender_off, features));
    } else {
        check.quiet.extend(off(&way.hops[hand].at, group.sender_off, features));
    }
    check.quiet.extend(off(&hop.at, group.own_off, features));
    check.quiet.extend(to_be(&hop.at, group.own_on, true, features));
    if let Some(why) = group.untried.or(group.lacks.filter(|_| !has)) {
        check.skip = Some(why.to_owned());
    }
    Some(check)
}

/// Those of the features that are on and can be switched, to be off.
fn off(at: &LinkRef, names: &[&str], features: &Features) -> Option<(LinkRef, BTreeMap<String, bool>)> {
    to_be(at, names, false, features)
}

/// Those of the features that are otherwise and can be switched, to be so.
fn to_be(at: &LinkRef, names: &[&str], on: bool, features: &Features) -> Option<(LinkRef, BTreeMap<String, bool>)> {
    let known = features.get(at)?;
    let other = |name: &&&str| known.get(**name).is_some_and(|feature| feature.wanted != on && feature.changeable);
    let asked: BTreeMap<String, bool> = names.iter().filter(other).map(|name| ((*name).to_owned(), on)).collect();
    (!asked.is_empty()).then(|| (at.clone(), asked))
}
