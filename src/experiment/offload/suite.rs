//! Carries out a probe: captures, traffic, crafted frames, counters.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::{
    checks::{Target, Way},
    judge::{Crafted, Probed, is_broken},
    machine::Order,
    supers,
    traffic::{Between, Pair, checksum_errors, cpu_cost, cpu_cost_of_bundles, stream},
    vlan,
};
use crate::{
    apply::{ApplyError, features::Loans, world::World},
    experiment::drivers::{Drivers, risen, tell_of_trouble},
    kernel::{
        Netns,
        capture::{Bounds, Capture, Captured, Injector},
        error::Operation,
        ethtool, napi, qstats,
    },
    packet::{
        Frame, Limits, VnetHeader, compare,
        craft::{Ends, marked_payload, spoil_checksum},
        headers,
        merging::{self, May, Outcome, Rule, outcome},
        parse,
        segments::{Flow, flow_of, marked},
    },
    plan::desired::{Hop, LinkRef},
    traffic::backlog_drops,
};

/// Bytes of a stream: several super-packets.
const STREAM: u64 = 256 << 10;
/// Bytes of a measurement of CPU time.
const MEASURED: u64 = 4 << 20;
/// Numbers of crafted datagrams; the wrong ones stand behind the right ones.
const GOOD: u32 = 1 << 24;
const BAD: u32 = 2 << 24;
const EACH: u32 = 12;
/// How long a datagram that goes out is waited for.
const TEMPLATE_WITHIN: Duration = Duration::from_secs(2);
/// How often each pair of segments that may or may not be merged is sent.
const ROUNDS: u16 = 2;
/// How long the receiving device waits for more meanwhile: what may be merged is to be merged. Software merges only what
/// comes in one batch otherwise.
const WAIT: Duration = Duration::from_millis(10);
/// Empty polls before it gives up: so many waits may pass.
const POLLS: u64 = 10;
/// Segments that are sent at a time, then two waits pass: a device of 256 descriptors holds them all.
const AT_A_TIME: usize = 64;

/// Carries out an order.
pub fn probe(
    world: &World,
    targets: &[Target],
    order: &Order,
    seed: u64,
    loans: &mut Loans,
) -> Result<Probed, ApplyError> {
    let target = &targets[order.target];
    let way = target.way(order.reversed);
    let places: Vec<usize> = match order.between {
        Some((hand, wire)) => [0, hand, wire].into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
        None => (0..way.hops.len()).collect(),
    };
    let mut probed = Probed { complete: true, ..Probed::default() };
    let (from, to) = (world.get(&way.from)?, world.get(&way.to)?);
    let (errors, backlog) = (checksum_errors(to), backlog_drops());
    let counted = counters(world, &way, order)?;
    let told = drivers(world, &way, &places)?;
    let captures = start(world, &way.hops, &places)?;
    let (ports, pairs) = on_one_cpu(|| send(&way, (from, to), order, seed, &mut probed))?;
    let captured = finish(captures);
    look(target, &way, order, &captured, true, &|flow| ports.contains(&flow.to.1), &mut probed);
    if order.suite.supers {
        let (outgoing, _) = frames(&way, &captured, 0);
        let is_of = |frame: &Frame, from_ipv4| {
            flow_of(&parse(&frame.bytes))
                .is_some_and(|flow| ports.contains(&flow.to.1) && flow.from.0.is_ipv4() == from_ipv4)
        };
        let template = |ipv4| outgoing.iter().find(|frame| is_of(frame, ipv4)).and_then(Ends::of);
        let templates: Vec<Ends> = [true, false].into_iter().filter_map(template).collect();
        supers::probe(world, target, &way, order, &templates, &mut probed)?;
    }
    probed.checksum_errors = checksum_errors(to).saturating_sub(errors);
    // Where the machine itself dropped packets, of whatever traffic, what is missing says nothing of the path: once more.
    probed.complete &= backlog_drops() == backlog || !is_broken(&probed);
    probed.counted = counters(world, &way, order)?;
    for (at, counters) in &mut probed.counted {
        let before = |name: &str| counted.get(at).and_then(|before| before.get(name)).copied().unwrap_or_default();
        counters.iter_mut().for_each(|(name, count)| *count = count.saturating_sub(before(name)));
    }
    let told_then = drivers(world, &way, &places)?;
    probed.drivers = rose(&told, &told_then);
    if order.suite.crafted || order.suite.merging {
        let (outgoing, _) = frames(&way, &captured, 0);
        let (wire, mut result) = (order.between.map_or(way.hops.len() - 1, |(_, wire)| wire), Crafted::default());
        match pairs.first().map(|pair| (pair, ends_of(&outgoing, pair))) {
            Some((pair, Some(ends))) => {
                if order.suite.crafted {
                    crafted(world, &way, order, (pair, ends), &mut result)?;
                    let between = order.between.unwrap_or((0, way.hops.len() - 1));
                    vlan::tags(world, &way, between, (pair, ends), &target.userspace_ovs, &mut result)?;
                }
                if order.suite.merging {
                    let all: Vec<Ends> = pairs.iter().filter_map(|pair| ends_of(&outgoing, pair)).collect();
                    pairs.iter().for_each(|pair| pair.put_together(true));
                    let merged = merging(world, &way, wire, &all, loans, &mut result);
                    pairs.iter().for_each(|pair| pair.put_together(false));
                    merged?;
                }
            }
            Some((_, None)) => {
                let why = "no datagram was seen on its way out: there is no template for crafted frames";
                result.failed = Some(why.to_owned());
            }
            None => result.failed = Some("no datagram socket could be opened".to_owned()),
        }
        result.drivers = rose(&told_then, &drivers(world, &way, &places)?);
        probed.crafted = Some(result);
    }
    Ok(probed)
}

/// CPU time a byte, in nanoseconds, of a transfer in the order's direction; why there is none.
///
/// # Errors
/// A namespace is not there.
pub fn cost(world: &World, targets: &[Target], order: &Order, seed: u64) -> Result<Result<f64, String>, ApplyError> {
    let way = targets[order.target].way(order.reversed);
    let (from, to) = (world.get(&way.from)?, world.get(&way.to)?);
    let wanted = |address: &std::net::IpAddr| order.family.is_none_or(|only| (only == 4) == address.is_ipv4());
    let Some(&(source, destination)) = way.addresses.iter().find(|(source, _)| wanted(source)) else {
        return Ok(Err("the path has no address of that family".to_owned()));
    };
    let between = Between { from: (from, source), to: (to, destination) };
    let bundles = order.suite.segmented && !order.suite.tcp;
    let measured = on_one_cpu(|| match bundles {
        true => cpu_cost_of_bundles(between, MEASURED, segment(&way)),
        false => cpu_cost(between, MEASURED, seed),
    })?;
    Ok(measured.map_err(|error| error.to_string()))
}

/// Does `work` where it, the threads that it starts, and the kernel's work for both are on one CPU. A veth receives on the CPU
/// that sent (`netif_rx()`): where sender and receiver are on two, data and the data that an acknowledgement releases go by
/// two backlogs and come in another order than they were sent in, with no device to blame.
pub(super) fn on_one_cpu<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ApplyError> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            let mut one = CpuSet::new();
            one.set(sched_getcpu());
            sched_setaffinity(None, &one).map(|()| work())
        });
        let done = pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(done.map_err(|error| Operation::plain("keep the traffic of a probe on", "one CPU").io(error))?)
    })
}

type Counters = BTreeMap<LinkRef, BTreeMap<&'static str, u64>>;

/// What the two devices of an order count by themselves; nothing of a whole path.
fn counters(world: &World, way: &Way, order: &Order) -> Result<Counters, ApplyError> {
    let Some((hand, wire)) = order.between else { return Ok(Counters::new()) };
    let of = |hop: usize| {
        let at = &way.hops[hop].at;
        Ok((at.clone(), qstats::qstats(world.get(&at.ns)?, &at.name)?))
    };
    [hand, wire].into_iter().map(of).collect()
}

/// Drops and errors of which the drivers of these hops tell (`ethtool -S`), as far as they tell anything.
fn drivers(world: &World, way: &Way, places: &[usize]) -> Result<Drivers, ApplyError> {
    let of = |place: &usize| {
        let at = &way.hops[*place].at;
        let all = ethtool::statistics(world.get(&at.ns)?, &at.name).unwrap_or_default();
        Ok((at.clone(), all.into_iter().filter(|(name, _)| tell_of_trouble(name)).collect()))
    };
    places.iter().map(of).collect()
}

/// What rose of it, by interfaces of which something did.
fn rose(before: &Drivers, after: &Drivers) -> Drivers {
    let each = after.keys().map(|at| (at.clone(), risen(at, before, after)));
    each.filter(|(_, all)| !all.is_empty()).collect()
}

/// Bytes of the longest datagram of a way.
fn longest(way: &Way) -> usize {
    (way.mtu as usize).clamp(1280, 16_000) - 48
}

/// Bytes of each datagram of a bundle.
fn segment(way: &Way) -> usize {
    (longest(way) - 20).min(1200)
}

/// The streams and datagrams of a probe; the ports that they went to, and the sockets that are still open.
fn send(
    way: &Way,
    (from, to): (&Netns, &Netns),
    order: &Order,
    seed: u64,
    probed: &mut Probed,
) -> (BTreeSet<u16>, Vec<Pair>) {
    let mut ports = BTreeSet::new();
    let mut pairs = Vec::new();
    let wanted = |family: bool| order.family.is_none_or(|only| (only == 4) == family);
    for &(source, destination) in way.addresses.iter().filter(|(source, _)| wanted(source.is_ipv4())) {
        let between = Between { from: (from, source), to: (to, destination) };
        if order.suite.tcp {
            let (result, port) = stream(between, STREAM, seed);
            ports.insert(port);
            probed.streams.push(result);
        }
        if order.suite.datagrams == 0 && !order.suite.segmented {
            continue;
        }
        let Ok(pair) = Pair::open(between) else { continue };
        ports.insert(pair.ports().1);
        if order.suite.datagrams > 0 {
            // The family that the flow is declared in bears the long count.
            let count = if probed.datagrams.is_empty() { order.suite.datagrams } else { order.suite.datagrams.min(48) };
            probed.datagrams.push(pair.datagrams(count, longest(way), 0));
        }
        if order.suite.segmented {
            probed.datagrams.push(pair.segmented(6, segment(way), 1 << 20));
        }
        pairs.push(pair);
    }
    (ports, pairs)
}

pub(super) fn start(world: &World, hops: &[Hop], places: &[usize]) -> Result<BTreeMap<usize, Capture>, ApplyError> {
    let mut captures = BTreeMap::new();
    for &place in places {
        let at: &LinkRef = &hops[place].at;
        captures.insert(place, Capture::start(world.get(&at.ns)?, &at.name, Bounds::default())?);
    }
    Ok(captures)
}

pub(super) fn finish(captures: BTreeMap<usize, Capture>) -> BTreeMap<usize, Captured> {
    captures.into_iter().map(|(place, capture)| (place, capture.finish())).collect()
}

/// Frames that travel in the direction of the way at a hop.
pub(super) fn frames(way: &Way, captured: &BTreeMap<usize, Captured>, place: usize) -> (Vec<Frame>, bool) {
    let outgoing = way.hops[place].direction == crate::plan::desired::Direction::Tx;
    let Some(all) = captured.get(&place) else { return (Vec::new(), false) };
    (all.frames.iter().filter(|frame| frame.outgoing == outgoing).cloned().collect(), all.is_complete())
}

/// The ends of the first datagram of this pair among frames that go out.
fn ends_of(outgoing: &[Frame], pair: &Pair) -> Option<Ends> {
    let is_of_it = |frame: &&Frame| {
        flow_of(&parse(&frame.bytes)).is_some_and(|flow| flow.protocol == 17 && flow.to.1 == pair.ports().1)
    };
    outgoing.iter().find(is_of_it).and_then(Ends::of)
}

/// The ends of a datagram of this pair as it goes out: where none is seen, one is sent again for up to [`TEMPLATE_WITHIN`], as a
/// device may take a moment to have its carrier back after a change.
///
/// # Errors
/// A device or a packet socket could not be reached.
pub(super) fn template(world: &World, way: &Way, pair: &Pair) -> Result<Option<Ends>, ApplyError> {
    let deadline = Instant::now() + TEMPLATE_WITHIN;
    loop {
        let captures = start(world, &way.hops, &[0])?;
        pair.datagrams(2, 64, 0);
        let (outgoing, _) = frames(way, &finish(captures), 0);
        let ends = ends_of(&outgoing, pair);
        if ends.is_some() || Instant::now() >= deadline {
            return Ok(ends);
        }
    }
}

pub(super) fn look(
    target: &Target,
    way: &Way,
    order: &Order,
    captured: &BTreeMap<usize, Captured>,
    arrived: bool,
    wanted: &dyn Fn(&Flow) -> bool,
    probed: &mut Probed,
) {
    let limits = |place: usize, complete| Limits {
        mtu: match way.hops[place].mtu {
            0 => 65_535,
            mtu => mtu as usize,
        },
        complete: complete && arrived,
    };
    if let Some((hand, wire)) = order.between {
        let ((handed, whole), (came, all)) = (frames(way, captured, hand), frames(way, captured, wire));
        probed.complete = whole && all;
        probed.comparison = compare(&handed, &came, limits(wire, probed.complete), wanted);
        if !probed.comparison.findings.is_empty() {
            located(target, way, (hand, wire), probed);
        }
        return;
    }
    let (handed, whole) = frames(way, captured, 0);
    probed.complete = whole;
    for place in 1..way.hops.len() {
        let (came, all) = frames(way, captured, place);
        probed.complete &= all;
        let mut seen = compare(&handed, &came, limits(place, whole && all), wanted);
        if way.hops[place - 1].overhead > 0 && way.hops[place].overhead > 0 {
            let (before, _) = frames(way, captured, place - 1);
            headers::outer(&before, &came, wanted, &mut seen.findings);
        }
        let before = probed.comparison.findings.worst().map(|worst| worst.kind);
        if place == 1 {
            probed.comparison = seen;
        } else {
            let new = seen.findings.without(&probed.comparison.findings);
            probed.comparison.findings.merge(&new);
            (probed.comparison.came, probed.comparison.merged) = (seen.came, seen.merged);
        }
        // The place is that of the worst: what else a busy path shows may have begun before it.
        let worst = if place == 1 { None } else { before };
        if probed.comparison.findings.worst().map(|worst| worst.kind) != worst {
            located(target, way, (place - 1, place), probed);
        }
    }
}

fn located(target: &Target, way: &Way, (before, behind): (usize, usize), probed: &mut Probed) {
    let (before, behind) = (&way.hops[before].at, &way.hops[behind].at);
    let is_port = |at: &LinkRef| target.userspace_ovs.contains(at);
    // A port's far end is where its packets show first.
    probed.place_is_ovs = is_port(before) || is_port(behind);
    probed.place = Some((before.clone(), behind.clone()));
}

/// Frames of our own making: right and wrong checksums.
fn crafted(
    world: &World,
    way: &Way,
    order: &Order,
    (pair, ends): (&Pair, Ends),
    result: &mut Crafted,
) -> Result<(), ApplyError> {
    let first = &way.hops[0].at;
    let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
    let wire = order.between.map_or(way.hops.len() - 1, |(_, wire)| wire);
    let captures = start(world, &way.hops, &[wire])?;
    let plain = VnetHeader::default();
    for number in 0..EACH {
        let length = 40 + number as usize * 7;
        injector.send(plain, &ends.udp(&marked_payload(GOOD + number, length)))?;
        let mut wrong = ends.udp(&marked_payload(BAD + number, length));
        spoil_checksum(&mut wrong);
        injector.send(plain, &wrong)?;
    }
    let numbers: BTreeSet<u32> = pair.numbers(EACH as usize).into_iter().collect();
    let count = |from: u32| numbers.range(from..from + EACH).count() as u64;
    (result.good, result.bad) = ((u64::from(EACH), count(GOOD)), (u64::from(EACH), count(BAD)));
    let (came, _) = frames(way, &finish(captures), wire);
    let number_of = |frame: &Frame| {
        let layers = parse(&frame.bytes);
        let payload = layers.innermost().transport.as_ref().map(|transport| transport.payload.clone())?;
        marked(frame.bytes.get(payload)?)
    };
    let tunnelled = way.hops[..=wire].iter().any(|hop| hop.overhead > 0);
    for frame in &came {
        if number_of(frame).is_some_and(|number| (BAD..BAD + EACH).contains(&number)) {
            result.bad_seen += 1;
            result.bad_verified += u64::from(frame.claimed_valid() && !tunnelled);
        }
    }
    Ok(())
}

/// Segments that may and must not be merged, while the receiving device waits for more.
fn merging(
    world: &World,
    way: &Way,
    wire: usize,
    templates: &[Ends],
    loans: &mut Loans,
    result: &mut Crafted,
) -> Result<(), ApplyError> {
    let (first, at) = (&way.hops[0].at, &way.hops[wire].at);
    let longest = |ends: &Ends| (way.mtu as usize).clamp(576, 16_000) - if ends.from.is_ipv4() { 40 } else { 60 };
    let of_round = |ends: &Ends, round| [merging::rules(ends, round, longest(ends)), merging::datagrams(ends, round)];
    let rules: Vec<Rule> =
        templates.iter().flat_map(|ends| (0..ROUNDS).flat_map(|round| of_round(ends, round))).flatten().collect();
    let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
    let mut captures = start(world, &way.hops, &[wire])?;
    captures.values_mut().for_each(|capture| capture.everything());
    let asked = [(napi::GRO_FLUSH_TIMEOUT, WAIT.as_nanos() as u64), (napi::DEFER_HARD_IRQS, POLLS)];
    match loans.wait(world, at, &asked.map(|(key, value)| (key.to_owned(), value)).into()) {
        Ok(()) => result.waited = true,
        // A kernel or a container without these, or without root (the kernel asks for CAP_NET_ADMIN of the machine): it
        // merges what it gets together all the same.
        Err(ApplyError::Kernel(_)) => {}
        Err(error) => return Err(error),
    }
    let mut sent = 0;
    // From one CPU: another one may send by another queue, and what comes by two is not merged.
    let outcome = on_one_cpu(|| {
        rules.iter().try_for_each(|rule| {
            if sent + rule.frames.len() > AT_A_TIME {
                std::thread::sleep(WAIT * 2);
                sent = 0;
            }
            sent += rule.frames.len();
            rule.frames.iter().try_for_each(|frame| injector.send(VnetHeader::default(), frame))
        })
    });
    std::thread::sleep(WAIT * 2);
    if result.waited {
        loans.wait_no_longer(world, at)?;
    }
    outcome??;
    // What it holds comes with the next poll.
    std::thread::sleep(WAIT * 2);
    let captured = finish(captures);
    let (came, complete) = frames(way, &captured, wire);
    merges(&rules, &came, complete, result);
    Ok(())
}

/// What of each rule was kept; some are sent several times.
fn merges(rules: &[Rule], came: &[Frame], complete: bool, result: &mut Crafted) {
    let mut outcomes: BTreeMap<&str, Vec<(&Rule, Outcome)>> = BTreeMap::new();
    for rule in rules {
        outcomes.entry(&rule.name).or_default().push((rule, outcome(rule, came, complete)));
    }
    for (name, seen) in outcomes {
        let was = |wanted: Outcome| seen.iter().filter(move |(_, outcome)| *outcome == wanted).count();
        let (rule, merged) = (seen[0].0, was(Outcome::Merged));
        if was(Outcome::Nothing) == seen.len() {
            continue;
        }
        let of = if rule.datagrams { &mut result.datagrams } else { &mut result.segments };
        // An ACK that is gone may have been lost: once says nothing.
        let bare = rule.payloads.iter().any(Vec::is_empty);
        let is_merged = if bare { merged == seen.len() } else { merged > 0 };
        if was(Outcome::Spoiled) > 0 {
            let how =
                if rule.datagrams { "without a word of where each ends" } else { "with other bytes than were sent" };
            of.merged.push(format!("{name}, {how}"));
        } else if rule.may == May::Not && is_merged {
            of.merged.push(name.to_owned());
        }
        match rule.may {
            May::Merge => {
                of.mergeable.0 += 1;
                of.mergeable.1 += u64::from(is_merged);
            }
            May::Not => of.kept_apart += u64::from(!is_merged),
        }
    }
}
