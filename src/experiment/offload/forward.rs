//! Forwarded against local traffic: what a router or a bridge's host on the way sends and receives itself, and what it passes on.
//!
//! Faults of offloads often show in forwarded packets alone: they come to the sending card in another form (put together by
//! the receiving one) than those of the host's own sockets.

use std::{net::IpAddr, time::Duration};

use super::{
    checks::{Suite, Target, Way},
    judge::{self, Probed},
    machine::Order,
    suite,
    traffic::{Between, goodput},
};
use crate::{
    apply::{ApplyError, features::Loans, world::World},
    plan::{
        desired::{Desired, Direction, FlowPath, Hop, NsId},
        path::Network,
    },
    record::{OffloadCheck, OffloadVerdict},
    topology::model::Flow,
};

/// Name of the check.
pub const NAME: &str = "forwarded";
const SUITE: Suite = Suite { tcp: true, datagrams: 48, segmented: true, crafted: false, merging: false, supers: false };
/// Measurements of each, by turns, and how often that is repeated where the forwarded traffic crawls.
const ROUNDS: usize = 3;
const REPEATS: usize = 3;
const MEASURE: Duration = Duration::from_millis(80);
/// How often a probe is made whose capture has gaps, or that finds a fault.
const TRIES: usize = 3;
/// Below this share of the slower local part forwarded traffic crawls, in each round.
const CRAWLS: f64 = 0.1;
/// At least this share is expected.
const EXPECTED: f64 = 0.5;

/// Rows of both directions of each path that a router forwards.
///
/// # Errors
/// A device, a namespace or a packet socket could not be reached.
pub fn rows(
    world: &World,
    targets: &[Target],
    desired: &Desired,
    seed: u64,
    loans: &mut Loans,
) -> Result<Vec<OffloadCheck>, ApplyError> {
    let network = Network::new(desired);
    let mut rows = Vec::new();
    for target in targets {
        let parts = parts(desired, &network, target);
        if !parts.is_empty() {
            for reversed in [false, true] {
                rows.push(compare(world, target, &parts, reversed, seed, loans)?);
            }
        }
    }
    Ok(rows)
}

/// The parts of a path that begin or end at a router of it, or at the host of a bridge, that has addresses of its own.
pub fn parts(desired: &Desired, network: &Network<'_>, target: &Target) -> Vec<Target> {
    let path = &target.path;
    let passes = |pair: &[Hop]| {
        let forwards = pair[0].direction == Direction::Rx && pair[1].direction == Direction::Tx;
        forwards && pair[0].at.ns == pair[1].at.ns && pair[0].at != pair[1].at
    };
    let between = path.hops.windows(2).enumerate().filter(|(_, pair)| passes(pair));
    let mut parts = Vec::new();
    for (at, pair) in between {
        let (router, before, behind) = (&pair[0].at.ns, &path.hops[..=at], &path.hops[at + 1..]);
        let addresses = || {
            let own = desired.links.iter().filter(|link| link.at.ns == *router).flat_map(|link| &link.addresses);
            own.map(|net| net.addr()).filter(|address| address.is_ipv4() == path.flow.to_address.is_ipv4())
        };
        // The host's own interface may be one more port of its bridge: its packets go by the same interfaces but for that.
        let same = |hops: &[Hop], others: &[Hop]| {
            hops.len() == others.len() && hops.iter().zip(others).all(|(hop, other)| hop.at == other.at)
        };
        let to_router = addresses().find_map(|address| {
            let hops = network.hops(&path.from_ns, address).ok()?;
            same(hops.get(..before.len())?, before).then_some((address, hops))
        });
        let from_router = network.hops(router, path.flow.to_address).ok().and_then(|hops| {
            let at = hops.len().checked_sub(behind.len())?;
            let comes_back = |address: &IpAddr| {
                let back = network.hops(&path.to_ns, *address).unwrap_or_default();
                back.first().is_some_and(|hop| Some(&hop.at) == behind.last().map(|last| &last.at))
            };
            same(&hops[at..], behind).then(|| Some((addresses().find(comes_back)?, hops.clone())))?
        });
        let (Some((near, to)), Some((far, from))) = (to_router, from_router) else { continue };
        let part = |hops: Vec<Hop>, from: (&NsId, &str, IpAddr), to: (&NsId, &str, IpAddr)| {
            let flow = Flow {
                from: from.1.to_owned(),
                to: to.1.to_owned(),
                from_address: from.2,
                to_address: to.2,
                mtu: path.flow.mtu,
            };
            let path = FlowPath { flow, from_ns: from.0.clone(), to_ns: to.0.clone(), hops };
            Target { path, addresses: vec![(from.2, to.2)], ..target.clone() }
        };
        let (client, server) = ((&path.from_ns, &*path.flow.from), (&path.to_ns, &*path.flow.to));
        parts.push(part(to, (client.0, client.1, path.flow.from_address), (router, &router.0, near)));
        parts.push(part(from, (router, &router.0, far), (server.0, server.1, path.flow.to_address)));
    }
    parts
}

/// Compares a path with its parts in one direction.
///
/// # Errors
/// A device, a namespace or a packet socket could not be reached.
pub fn compare(
    world: &World,
    target: &Target,
    parts: &[Target],
    reversed: bool,
    seed: u64,
    loans: &mut Loans,
) -> Result<OffloadCheck, ApplyError> {
    let all: Vec<Target> = std::iter::once(target).chain(parts).cloned().collect();
    let mut probed = Vec::new();
    for number in 0..all.len() {
        let order = Order { target: number, reversed, suite: SUITE, between: None, family: None };
        let mut seen = suite::probe(world, &all, &order, seed, loans)?;
        for _ in 1..TRIES {
            // What a busy machine loses once says nothing of a path.
            if seen.complete && !judge::is_broken(&seen) {
                break;
            }
            seen = suite::probe(world, &all, &order, seed, loans)?;
        }
        probed.push(seen);
    }
    let ways: Vec<Way> = all.iter().map(|target| target.way(reversed)).collect();
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    // Where it is broken its rate says little, and each round waits for what does not come.
    for _ in 0..if judge::is_broken(&probed[0]) { 1 } else { REPEATS } {
        for _ in 0..ROUNDS {
            rounds.push(ways.iter().map(|way| rate(world, way, seed)).collect::<Result<_, _>>()?);
        }
        if rounds.iter().filter_map(|round| share(round)).any(|share| share >= EXPECTED) {
            break;
        }
    }
    Ok(judge(&ways, &probed, &rounds))
}

fn rate(world: &World, way: &Way, seed: u64) -> Result<f64, ApplyError> {
    let (source, destination) = way.addresses[0];
    let between = Between { from: (world.get(&way.from)?, source), to: (world.get(&way.to)?, destination) };
    Ok(goodput(between, MEASURE, seed))
}

/// Forwarded against the slowest local part; nothing where a local one does not get anywhere.
fn share(round: &[f64]) -> Option<f64> {
    let slowest = round[1..].iter().copied().fold(f64::INFINITY, f64::min);
    (slowest > 0.0 && slowest.is_finite()).then(|| round[0] / slowest)
}

/// From what was seen of the whole way (the first) and its parts to the row.
pub fn judge(ways: &[Way], probed: &[Probed], rounds: &[Vec<f64>]) -> OffloadCheck {
    let mut row = OffloadCheck::new(&ways[0].text, NAME, OffloadVerdict::Pass, "");
    let best = |at: usize| rounds.iter().map(|round| round[at]).fold(0.0, f64::max);
    let most = rounds
        .iter()
        .filter_map(|round| share(round))
        .fold(None, |most: Option<f64>, share| Some(most.map_or(share, |most| most.max(share))));
    let local: Vec<String> = (1..ways.len()).map(|at| format!("{} {}", ways[at].text, rate_text(best(at)))).collect();
    let shares = most.map_or_else(|| "no ratio".to_owned(), |share| format!("ratio {share:.2}"));
    let figures = format!("forwarded {}, local {}, {shares} at best", rate_text(best(0)), local.join(" and "));
    let local_fault = ways.iter().zip(probed).skip(1).find_map(|(way, probed)| Some((way, judge::worst(probed)?)));
    let cure = "the form in which forwarded packets reach the sending card breaks it: switch off what its router's receiving \
                card puts together (`ethtool -K DEVICE gro off lro off`), or what the sending one cuts (`tso off`); \
                `netbench offload bisect` finds which";
    match (judge::worst(&probed[0]), local_fault) {
        (Some((verdict, text, findings)), None) => {
            let place = probed[0].place.as_ref();
            let seen = place.map_or_else(String::new, |(from, to)| format!(", first seen between {from} and {to}"));
            row.verdict = verdict;
            row.evidence = format!(
                "only forwarded traffic fails: {text}{seen}; what its routers send themselves is right; {figures}"
            );
            (row.findings, row.device) = (findings, place.map(|(from, _)| from.to_string()));
            row.cure = Some(cure.to_owned());
        }
        (Some((_, text, _)), Some((way, _))) => {
            row.verdict = OffloadVerdict::Inconclusive;
            row.evidence = format!("local traffic fails as well ({}): {text}; {figures}", way.text);
        }
        (None, Some((way, (_, text, _)))) => {
            row.verdict = OffloadVerdict::Inconclusive;
            row.evidence =
                format!("forwarded traffic is right, and local traffic {} is not: {text}; {figures}", way.text);
        }
        (None, None) => {
            row.evidence = format!("forwarded and local traffic are right; {figures}");
            match most {
                Some(share) if share >= EXPECTED => {}
                Some(share) if share < CRAWLS => {
                    row.verdict = OffloadVerdict::Drop;
                    row.evidence = format!("only forwarded traffic crawls; {figures}");
                    row.cure = Some(cure.to_owned());
                }
                _ => row.verdict = OffloadVerdict::Inconclusive,
            }
        }
    }
    row
}

fn rate_text(bits: f64) -> String {
    format!("{:.1} Mb/s", bits / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(text: &str) -> Way {
        let (from, to) = (NsId("a".into()), NsId("b".into()));
        Way { hops: Vec::new(), addresses: Vec::new(), from, to, text: text.into(), mtu: 1500 }
    }

    fn judged(broken: [bool; 3], rounds: &[[f64; 3]]) -> OffloadCheck {
        let ways = ["a -> b", "a -> r", "r -> b"].map(way);
        let errors = |broken| Probed { complete: true, checksum_errors: u64::from(broken), ..Probed::default() };
        let rounds: Vec<Vec<f64>> = rounds.iter().map(|round| round.to_vec()).collect();
        judge(&ways, &broken.map(errors), &rounds)
    }

    #[test]
    fn only_what_fails_when_forwarded_alone_is_charged_to_forwarding() {
        let fast = [[4e9, 6e9, 5e9]];
        let row = judged([false; 3], &fast);
        assert_eq!(row.verdict, OffloadVerdict::Pass);
        assert!(row.evidence.contains("ratio 0.80"), "{}", row.evidence);
        let row = judged([true, false, false], &fast);
        assert_eq!(row.verdict, OffloadVerdict::Corrupt);
        assert!(row.evidence.starts_with("only forwarded traffic fails: the receiver counted 1 checksum"), "{row:?}");
        for others in [[true, true, false], [true, false, true], [false, true, false]] {
            let row = judged(others, &fast);
            assert_eq!((row.verdict, row.cure), (OffloadVerdict::Inconclusive, None), "{}", row.evidence);
        }
    }

    #[test]
    fn crawling_is_a_fault_where_it_does_so_each_time() {
        let slow = [[2e6, 6e9, 5e9], [1e6, 6e9, 5e9]];
        assert_eq!(judged([false; 3], &slow).verdict, OffloadVerdict::Drop);
        let once = [slow[0], [1e9, 6e9, 5e9]];
        assert_eq!(judged([false; 3], &once).verdict, OffloadVerdict::Inconclusive);
        let starved = [slow[0], [4e9, 6e9, 5e9], [0.0, 0.0, 5e9]];
        assert_eq!(judged([false; 3], &starved).verdict, OffloadVerdict::Pass);
        assert_eq!(judged([false; 3], &[[0.0, 0.0, 0.0]]).verdict, OffloadVerdict::Inconclusive);
    }
}
