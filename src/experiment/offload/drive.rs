//! Carries out what the machines ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    bisect::{self, Bisector},
    bundles,
    checks::{self, Features, Suite, Target, Tunnels, Way},
    ecn, edges,
    links::Links,
    lro,
    machine::{Action, Order, Sample, Verifier},
    sctp, spread, state, suite,
    traffic::{Between, connections, goodput, stream},
    tunnel_ports, vlan,
};
use crate::{
    apply::{
        ApplyError,
        features::{Loans, put_back_one},
        world::World,
    },
    kernel::ethtool,
    plan::desired::{Desired, FlowPath, LinkKind, LinkRef, NsId},
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Datapath,
};

/// Datagrams of the probe of a whole path: enough to meet a loss of one in a thousand twice.
const COUNTED: u32 = 2_200;
/// How often connections are opened where one of them fails.
const TRIES: u32 = 3;
/// Length of a measurement of `bisect`.
const MEASURE: Duration = Duration::from_millis(300);

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Every check but the last.
    pub checks: Vec<OffloadCheck>,
    /// The last one: is everything as it was before? Of what ended early there is none.
    pub state: Option<OffloadCheck>,
    /// What is not as it was before.
    pub left: Vec<String>,
    /// Ended early.
    pub interrupted: bool,
}

/// The flows as targets: with the addresses of the other family where both ends have one, and what is known of the
/// switches between.
pub fn targets(desired: &Desired, flows: &[FlowPath]) -> Vec<Target> {
    let ports = desired.ovs.iter().flat_map(|ovs| {
        let user = ovs.bridges.iter().filter(|bridge| bridge.datapath == Datapath::User);
        let interfaces = user.flat_map(|bridge| bridge.ports.iter()).flat_map(|port| port.interfaces.iter());
        interfaces.map(|interface| LinkRef { ns: ovs.daemon.ns.clone(), name: interface.name.clone() })
    });
    let userspace_ovs: BTreeSet<LinkRef> = ports.collect();
    let tunnels = tunnels(desired);
    let others = |at: Option<&LinkRef>, known: IpAddr| -> Option<IpAddr> {
        let link = desired.link(at?)?;
        link.addresses.iter().map(|net| net.addr()).find(|other| other.is_ipv4() != known.is_ipv4())
    };
    let target = |path: &FlowPath| {
        let (from, to) = (path.flow.from_address, path.flow.to_address);
        let mut addresses = vec![(from, to)];
        let holder = |ns: &NsId, address: IpAddr| {
            let holds = |link: &&crate::plan::desired::Link| {
                link.at.ns == *ns && link.addresses.iter().any(|net| net.addr() == address)
            };
            desired.links.iter().find(holds).map(|link| link.at.clone())
        };
        let (near, far) = (holder(&path.from_ns, from), holder(&path.to_ns, to));
        addresses.extend(others(near.as_ref(), from).zip(others(far.as_ref(), to)));
        Target { path: path.clone(), addresses, userspace_ovs: userspace_ovs.clone(), tunnels: tunnels.clone() }
    };
    flows.iter().map(target).collect()
}

/// Tunnels over UDP of each namespace.
fn tunnels(desired: &Desired) -> BTreeMap<NsId, Tunnels> {
    let mut all: BTreeMap<NsId, Tunnels> = BTreeMap::new();
    let mut add = |ns: &NsId, kind: &str, port: u16, userspace: bool| {
        if port != 0 {
            let of = all.entry(ns.clone()).or_default();
            of.ports.insert((kind.to_owned(), port));
            of.userspace |= userspace;
        }
    };
    for link in &desired.links {
        match &link.kind {
            LinkKind::Vxlan(vxlan) => add(&link.at.ns, "vxlan", vxlan.port, false),
            LinkKind::Tunnel(tunnel) => add(&link.at.ns, tunnel.kind.word(), tunnel.port, false),
            _ => {}
        }
    }
    for ovs in &desired.ovs {
        for bridge in &ovs.bridges {
            let interfaces = bridge.ports.iter().flat_map(|port| &port.interfaces);
            for tunnel in interfaces.filter_map(|interface| interface.tunnel.as_ref()) {
                add(&ovs.daemon.ns, tunnel.kind.word(), tunnel.port, bridge.datapath == Datapath::User);
            }
        }
    }
    all
}

/// Features of every device of the targets.
pub fn features(world: &World, targets: &[Target]) -> Result<Features, ApplyError> {
    let mut all = Features::new();
    for hop in targets.iter().flat_map(|target| &target.path.hops) {
        if !all.contains_key(&hop.at) {
            all.insert(hop.at.clone(), ethtool::features(world.get(&hop.at.ns)?, &hop.at.name)?);
        }
    }
    Ok(all)
}

fn wanted(features: &Features) -> BTreeMap<LinkRef, BTreeMap<String, bool>> {
    let of = |known: &BTreeMap<String, ethtool::Feature>| {
        known.iter().map(|(name, feature)| (name.clone(), feature.wanted)).collect()
    };
    features.iter().map(|(at, known)| (at.clone(), of(known))).collect()
}

/// Verifies the offloads of the targets' paths. `say` is told what is under way.
///
/// # Errors
/// A device, a namespace or a packet socket could not be reached; what was switched is put back all the same.
pub fn verify(
    world: &World,
    targets: &[Target],
    only: &BTreeSet<String>,
    seed: u64,
    loans: Loans,
    interrupt: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Verified, ApplyError> {
    let before = features(world, targets)?;
    let at_first = state::Before::read(world, targets, &before)?;
    let links = Links::read(world, targets)?;
    let mut along = BTreeSet::new();
    // As found: switching the feature has the driver asked again.
    let told = match only.is_empty() || only.contains(tunnel_ports::NAME) {
        true => told_of_tunnels(world, targets, &before)?,
        false => Vec::new(),
    };
    let mut orders = Vec::new();
    for (number, target) in targets.iter().enumerate() {
        for reversed in [false, true] {
            let suite =
                Suite { tcp: true, datagrams: COUNTED, segmented: true, crafted: true, merging: true, supers: true };
            let order = Order { target: number, reversed, suite, between: None, family: None };
            orders.push((order, target.way(reversed).text));
        }
    }
    let planned = checks::plan(targets, &before, only);
    let text = |check: &checks::Check| targets[check.target].way(check.reversed).text;
    let planned = planned.into_iter().map(|check| (check.clone(), text(&check))).collect();
    let mut machine = Verifier::new(orders, planned, wanted(&before));
    let mut loans = loans;
    let mut outcome = Ok(());
    let mut sample = Sample::Begin;
    let mut interrupted = false;
    loop {
        if interrupt.load(Relaxed) && !interrupted {
            (sample, interrupted) = (Sample::Interrupted, true);
        }
        let action = machine.next(sample);
        say(&machine.doing());
        sample = match action {
            Action::Finish => break,
            Action::Set(at, asked) => {
                let set = loans.set(world, &at, &asked);
                links.wait(world);
                along.extend(set.iter().filter_map(|others| state::along(&at, &asked, others)));
                Sample::Set(set.map_err(|error| error.to_string()))
            }
            Action::PutBack(at, asked) => {
                let done = put_back_one(world, &at, &asked);
                links.wait(world);
                Sample::Set(done.map(|()| Vec::new()).map_err(|error| error.to_string()))
            }
            Action::Measure(order) => match suite::cost(world, targets, &order, seed) {
                Ok(cost) => Sample::Measured(cost),
                Err(error) => {
                    outcome = Err(error);
                    Sample::Interrupted
                }
            },
            Action::Probe(order) => match suite::probe(world, targets, &order, seed, &mut loans) {
                Ok(probed) => Sample::Probed(Box::new(probed)),
                Err(error) => {
                    // Everything is put back before the error is told.
                    outcome = Err(error);
                    Sample::Interrupted
                }
            },
        };
    }
    let mut spreads = Vec::new();
    if !interrupted && outcome.is_ok() && (only.is_empty() || only.contains(spread::NAME)) {
        let mut done = BTreeSet::new();
        for way in targets.iter().flat_map(|target| [target.way(false), target.way(true)]) {
            if way.hops.last().is_some_and(|hop| done.insert(hop.at.clone())) {
                say(&format!("{} {}", way.text, spread::NAME));
                match spread_of(world, &way) {
                    Ok(row) => spreads.push(row),
                    // Everything is put back before the error is told.
                    Err(error) => outcome = Err(error),
                }
            }
        }
    }
    if !interrupted && outcome.is_ok() {
        match of_devices(world, targets, only, &before, &mut loans) {
            Ok(rows) => spreads.extend(rows),
            Err(error) => outcome = Err(error),
        }
    }
    spreads.extend(told);
    let mut left = loans.end(world);
    let now = at_first.compared(world, targets);
    left.extend(now.left);
    let mut checks = machine.into_rows();
    checks.extend(spreads);
    outcome?;
    let state = (!interrupted).then(|| at_first.row(&left, &now.moved, &along));
    Ok(Verified { checks, state, left, interrupted })
}

/// What devices do as they are found (filters of tags, LRO where packets are passed on), and what takes the kernel's own SCTP.
fn of_devices(
    world: &World,
    targets: &[Target],
    only: &BTreeSet<String>,
    features: &Features,
    loans: &mut Loans,
) -> Result<Vec<OffloadCheck>, ApplyError> {
    let is_wanted = |name: &str| only.is_empty() || only.contains(name);
    let mut rows = if is_wanted(vlan::FILTER) { vlan::filters(world, targets, features)? } else { Vec::new() };
    if is_wanted(lro::NAME) {
        rows.extend(lro::rows(world, targets, features)?);
    }
    if is_wanted(sctp::NAME) {
        rows.extend(sctp::rows(world, targets, features, loans)?);
    }
    rows.extend(edges::rows(world, targets, only)?);
    if is_wanted(bundles::NAME) {
        rows.extend(bundles::rows(world, targets)?);
    }
    if is_wanted(ecn::NAME) {
        rows.extend(ecn::rows(world, targets)?);
    }
    Ok(rows)
}

/// Receive-side scaling of the device where a way ends.
fn spread_of(world: &World, way: &Way) -> Result<OffloadCheck, ApplyError> {
    let at = &way.hops[way.hops.len() - 1].at;
    let ns = world.get(&at.ns)?;
    let mut row = OffloadCheck {
        device: Some(at.to_string()),
        ..OffloadCheck::new(&way.text, spread::NAME, OffloadVerdict::Skip, "")
    };
    let channels = ethtool::parameters(ns, &at.name)?;
    let count = |key: &str| channels.get(key).copied().unwrap_or_default();
    let rss = ethtool::rss(ns, &at.name)?;
    if let Some(why) = spread::skip(rss.as_ref(), count("channels.combined") + count("channels.rx")) {
        row.evidence = why;
        return Ok(row);
    }
    let between = ends(world, way)?;
    let mut seen = connections(between, spread::FLOWS);
    for _ in 1..TRIES {
        if seen.is_ok() {
            break;
        }
        seen = connections(between, spread::FLOWS);
    }
    match (rss, seen) {
        (Some(rss), Ok(seen)) => {
            let (verdict, evidence, other_fields) = spread::judge(&rss, &seen);
            (row.verdict, row.evidence) = (verdict, evidence);
            let family = if way.addresses[0].0.is_ipv4() { "tcp4" } else { "tcp6" };
            let line = format!("in {}: `ethtool -N {} rx-flow-hash {family} sdfn`", at.ns, at.name);
            row.cure = other_fields.then(|| format!("have ports hashed as well: {line}"));
        }
        (_, Err(error)) => {
            (row.verdict, row.evidence) = (OffloadVerdict::Inconclusive, format!("connections: {error}"));
        }
        (None, _) => {}
    }
    Ok(row)
}

/// Whether each device below a tunnel was told the tunnel's port, of those that look into tunnels.
fn told_of_tunnels(world: &World, targets: &[Target], features: &Features) -> Result<Vec<OffloadCheck>, ApplyError> {
    let (mut rows, mut done) = (Vec::new(), BTreeSet::new());
    for target in targets {
        for hop in target.path.hops.iter().filter(|hop| hop.overhead > 0) {
            let Some(tunnels) = target.tunnels.get(&hop.at.ns) else { continue };
            if !done.insert(hop.at.clone()) {
                continue;
            }
            let Some(tables) = ethtool::tunnel_ports(world.get(&hop.at.ns)?, &hop.at.name)? else { continue };
            let known = features.get(&hop.at).and_then(|known| known.get(tunnel_ports::FEATURE));
            let on = known.is_some_and(|feature| feature.active);
            let (verdict, evidence, again) = tunnel_ports::judge(&tables, &tunnels.ports, tunnels.userspace, on);
            let (ns, name, feature) = (&hop.at.ns, &hop.at.name, tunnel_ports::FEATURE);
            rows.push(OffloadCheck {
                device: Some(hop.at.to_string()),
                features: vec![feature.to_owned()],
                cure: again.then(|| {
                    format!("have the driver asked again, in {ns}: `ethtool -K {name} {feature} off`, then `on`")
                }),
                ..OffloadCheck::new(&target.way(false).text, tunnel_ports::NAME, verdict, evidence)
            });
        }
    }
    Ok(rows)
}

/// What a search found.
#[derive(Debug)]
pub struct Bisected {
    /// The machine at its end.
    pub machine: Bisector,
    /// What is not as it was before.
    pub left: Vec<String>,
    /// Ended early.
    pub interrupted: bool,
}

/// Looks for the smallest set of features whose flip meets the goal on the first target's path.
///
/// # Errors
/// As [`verify`].
pub fn bisect(
    world: &World,
    targets: &[Target],
    goal: f64,
    seed: u64,
    loans: Loans,
    interrupt: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Bisected, ApplyError> {
    let before = features(world, targets)?;
    let links = Links::read(world, targets)?;
    let mut machine = Bisector::new(goal, bisect::candidates(targets, &before));
    let mut loans = loans;
    let (mut outcome, mut interrupted) = (Ok(()), false);
    let mut sample = None;
    while let bisect::Action::Measure(flipped) = machine.next(sample) {
        if interrupt.load(Relaxed) {
            interrupted = true;
            break;
        }
        say(&machine.doing());
        let set = switch(world, &mut loans, &before, &flipped);
        links.wait(world);
        let measured = match set {
            // A combination that a device refuses does not meet the goal.
            Err(_) => Ok(0.0),
            Ok(()) => measure(world, &targets[0], seed),
        };
        let put_back = bisect::by_device(&flipped)
            .iter()
            .map(|(at, asked)| put_back_one(world, at, &asked.iter().map(|(name, on)| (name.clone(), !on)).collect()))
            .collect::<Result<Vec<()>, _>>();
        links.wait(world);
        match measured.and_then(|rate| put_back.map(|_| rate)) {
            Ok(rate) => sample = Some(rate),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let mut left = loans.end(world);
    left.extend(state::residue(world, targets, &before));
    outcome?;
    Ok(Bisected { machine, left, interrupted })
}

fn switch(world: &World, loans: &mut Loans, before: &Features, flipped: &[bisect::Flip]) -> Result<(), ApplyError> {
    let mut first = Ok(());
    for (at, asked) in bisect::by_device(flipped) {
        if before.contains_key(&at)
            && let Err(error) = loans.set(world, &at, &asked)
        {
            // The others are set all the same: what counts is whether the path gets better.
            first = first.and(Err(error));
        }
    }
    // Something that it depends on is off as well: that is as asked.
    if flipped.len() > 1 { Ok(()) } else { first }
}

/// A short stream along a target's path, so that the switches on it have flows; whether all of it came.
///
/// # Errors
/// A namespace is not there.
pub fn traffic(world: &World, target: &Target, seed: u64) -> Result<bool, ApplyError> {
    const BYTES: u64 = 64 << 10;
    Ok(stream(ends(world, &target.way(false))?, BYTES, seed).0.right == BYTES)
}

fn measure(world: &World, target: &Target, seed: u64) -> Result<f64, ApplyError> {
    Ok(goodput(ends(world, &target.way(false))?, MEASURE, seed))
}

/// The ends of a way, by its first addresses.
fn ends<'w>(world: &'w World, way: &Way) -> Result<Between<'w>, ApplyError> {
    let (source, destination) = way.addresses[0];
    Ok(Between { from: (world.get(&way.from)?, source), to: (world.get(&way.to)?, destination) })
}
