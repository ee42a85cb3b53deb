//! Flows: who talks to whom, the way packets take there and back, and the largest packet that way carries.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    ops::Range,
};

use ipnet::IpNet;

use super::{Code, Diagnostic, Draft, Medium, Owner, Thing, routes};
use crate::topology::model::{Attach, Flow, MacvlanMode, Route};

/// MTU of the kernel's loopback device.
const LOOPBACK_MTU: u32 = 65_536;
/// Routers on a path, at most.
const MAX_HOPS: usize = 64;

/// A flow by its nodes, not yet followed.
pub struct Wanted {
    from: usize,
    to: usize,
    span: Range<usize>,
    /// Written in the file, not the default.
    declared: bool,
}

/// The declared flows, or the one between the first two nodes.
pub fn wanted(draft: &mut Draft<'_>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for flow in &draft.file.flow {
        let ends = [&flow.value.from, &flow.value.to];
        let found = ends.map(|end| draft.names.find(&end.value, &end.span, &["node"]));
        match found {
            [Ok(Thing::Node(a)), Ok(Thing::Node(b))] if a == b => {
                let message = format!("a flow from `{}` to itself", ends[0].value.escape_debug());
                draft.error(Code::FlowToItself, &ends[1].span, message);
            }
            [Ok(Thing::Node(from)), Ok(Thing::Node(to))] => {
                wanted.push(Wanted { from, to, span: flow.span.clone(), declared: true });
            }
            [a, b] => {
                for diagnostic in [a.err(), b.err()].into_iter().flatten() {
                    draft.report(*diagnostic);
                }
            }
        }
    }
    if draft.file.flow.is_empty() && draft.nodes.len() >= 2 {
        wanted.push(Wanted { from: 0, to: 1, span: draft.names.nodes[0].span.clone(), declared: false });
    }
    wanted
}

/// Follows the packets of every flow.
pub fn resolve(draft: &mut Draft<'_>, wanted: Vec<Wanted>) {
    let map = Map::new(draft);
    for Wanted { from, to, span, declared } in wanted {
        match flow(draft, &map, from, to) {
            Ok(flow) => draft.flows.push(flow),
            Err(mistake) => {
                let mut diagnostic = Diagnostic::error(mistake.code, span, mistake.message);
                diagnostic.help = mistake.help;
                if !declared {
                    diagnostic
                        .help
                        .push("without a `[[flow]]` the first two nodes of the file talk to each other".into());
                }
                draft.report(diagnostic);
            }
        }
    }
}

struct Mistake {
    code: Code,
    message: String,
    help: Vec<String>,
}

/// Lookups that every path needs.
struct Map {
    owned: HashMap<Owner, Vec<usize>>,
    on_segment: HashMap<usize, Vec<usize>>,
    holder: HashMap<IpAddr, usize>,
}

impl Map {
    fn new(draft: &Draft<'_>) -> Self {
        let mut on_segment: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut holder = HashMap::new();
        for (index, iface) in draft.ifaces.iter().enumerate() {
            if !matches!(iface.owner, Owner::Switch(_)) {
                on_segment.entry(draft.segments.find(iface.point)).or_default().push(index);
            }
            holder.extend(iface.settings.addresses.iter().map(|net| (net.addr(), index)));
        }
        Self { owned: routes::by_owner(draft), on_segment, holder }
    }

    fn owned(&self, owner: Owner) -> &[usize] {
        self.owned.get(&owner).map(Vec::as_slice).unwrap_or_default()
    }
}

fn flow(draft: &Draft<'_>, map: &Map, from: usize, to: usize) -> Result<Flow, Mistake> {
    let names = [from, to].map(|node| draft.names.nodes[node].name.clone());
    if map.owned(Owner::Node(from)).is_empty() || map.owned(Owner::Node(to)).is_empty() {
        return outside(draft, map, from, to, names);
    }
    let Some(path) = shortest(draft, map, from, to) else {
        let message = format!("nothing joins `{}` and `{}`", names[0], names[1]);
        return Err(Mistake { code: Code::NoPath, message, help: vec![apart(draft, map, from, to)] });
    };
    let Some(to_address) = draft.ifaces[path.last].first_address().map(|net| net.addr()) else {
        let message = format!("`{}` has no address", names[1]);
        return Err(Mistake { code: Code::NoPath, message, help: Vec::new() });
    };
    let there = walk(draft, map, from, to, to_address, &path)?;
    let from_address = draft.ifaces[there.first].address_of_family(to_address.is_ipv4()).map(|net| net.addr());
    let Some(from_address) = from_address else {
        let message = format!("`{}` has no address of the family of {to_address}", names[0]);
        return Err(Mistake { code: Code::NoPath, message, help: Vec::new() });
    };
    let back_path = shortest(draft, map, to, from).unwrap_or(path);
    let back = walk(draft, map, to, from, from_address, &back_path)?;
    let [from, to] = names;
    Ok(Flow { from, to, from_address, to_address, mtu: there.mtu.min(back.mtu) })
}

/// Why two nodes do not reach each other, said as a way out.
fn apart(draft: &Draft<'_>, map: &Map, from: usize, to: usize) -> String {
    let of = |node: usize| map.owned(Owner::Node(node)).iter().map(|&iface| (draft.ifaces[iface].medium, iface));
    let shared = of(from).find_map(|(medium, a)| of(to).find(|(other, _)| *other == medium).map(|(_, b)| (a, b)));
    match shared {
        Some((a, _)) if isolated(draft, a) => {
            "children of a macvlan in this `mode` reach each other only through a switch outside; `mode = \"bridge\"` joins them".into()
        }
        Some((a, b)) if draft.ifaces[a].vlan != draft.ifaces[b].vlan => "they are in different VLANs of one switch".into(),
        _ => "put both on one switch, or a node with `forward = true` between them".into(),
    }
}

/// A flow of which one end has no interface of ours: over loopback, or through what is there already.
fn outside(draft: &Draft<'_>, map: &Map, from: usize, to: usize, names: [String; 2]) -> Result<Flow, Mistake> {
    let loopback: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::LOCALHOST, 8));
    let address = |node: usize| {
        let parts = &draft.nodes[node];
        let ours = map.owned(Owner::Node(node)).first().and_then(|&iface| draft.ifaces[iface].first_address());
        let written = parts.addresses.first().copied();
        let own_loopback = (parts.attach == Some(Attach::This)).then_some(loopback);
        ours.or(written).or(own_loopback).filter(|_| parts.attach.is_some())
    };
    for (node, name) in [from, to].into_iter().zip(&names) {
        let ours = !map.owned(Owner::Node(node)).is_empty();
        if ours
            || address(node).is_some()
                && map.owned(Owner::Node(from)).is_empty() == map.owned(Owner::Node(to)).is_empty()
        {
            continue;
        }
        let (message, help) = match draft.nodes[node].attach {
            Some(_) if address(node).is_none() => {
                (format!("the address of `{name}` is not known"), "write its `address`, or put it on a switch")
            }
            _ => (format!("`{name}` is on no switch and no wire"), "put it in the `ports` of a switch"),
        };
        return Err(Mistake { code: Code::NoPath, message, help: vec![help.into()] });
    }
    let both_here = [from, to].iter().all(|&node| draft.nodes[node].attach == Some(Attach::This));
    let (Some(a), Some(b)) = (address(from), address(to)) else {
        return Err(Mistake { code: Code::NoPath, message: "no address".into(), help: Vec::new() });
    };
    let mtu = if both_here { LOOPBACK_MTU } else { draft.wire_mtu() };
    let [from, to] = names;
    Ok(Flow { from, to, from_address: a.addr(), to_address: b.addr(), mtu })
}

/// The way with the fewest routers, whether or not these have routes.
struct Path {
    /// The interface of the destination that it ends at.
    last: usize,
    /// The first router on it.
    router: Option<Owner>,
}

fn shortest(draft: &Draft<'_>, map: &Map, from: usize, to: usize) -> Option<Path> {
    let (start, goal) = (Owner::Node(from), Owner::Node(to));
    let mut queue: VecDeque<(Owner, Option<Owner>)> = VecDeque::from([(start, None)]);
    let mut seen: HashSet<Owner> = HashSet::from([start]);
    let mut seen_segments: HashSet<usize> = HashSet::new();
    while let Some((at, router)) = queue.pop_front() {
        for &out in map.owned(at) {
            let segment = draft.segments.find(draft.ifaces[out].point);
            let private = isolated(draft, out);
            if !private && !seen_segments.insert(segment) {
                continue;
            }
            for &other in map.on_segment.get(&segment).map(Vec::as_slice).unwrap_or_default() {
                let owner = draft.ifaces[other].owner;
                if private && isolated(draft, other) && same_medium(draft, out, other) {
                    continue;
                }
                if owner == goal {
                    return Some(Path { last: other, router });
                }
                if seen.insert(owner) {
                    queue.push_back((owner, router.or(Some(owner))));
                }
            }
        }
    }
    None
}

/// Is the interface a macvlan child that its siblings cannot reach?
fn isolated(draft: &Draft<'_>, iface: usize) -> bool {
    match draft.ifaces[iface].medium {
        Medium::Port(switch) => {
            let parts = &draft.switches[switch];
            let stand_in = parts.nic.is_some_and(|nic| {
                let (_, nic) = draft.names.nics[nic];
                nic.ifname.is_none() && nic.pci.is_none()
            });
            parts.nic.is_some() && (parts.mode == MacvlanMode::Private || (parts.mode == MacvlanMode::Vepa && stand_in))
        }
        _ => false,
    }
}

fn same_medium(draft: &Draft<'_>, a: usize, b: usize) -> bool {
    draft.ifaces[a].medium == draft.ifaces[b].medium
}

/// What following the routes of each namespace gave.
struct Walk {
    /// The interface by which the first packet leaves.
    first: usize,
    mtu: u32,
}

fn walk(draft: &Draft<'_>, map: &Map, from: usize, to: usize, target: IpAddr, path: &Path) -> Result<Walk, Mistake> {
    let (start, goal) = (Owner::Node(from), Owner::Node(to));
    let mut at = start;
    let mut found: Option<Walk> = None;
    for _ in 0..MAX_HOPS {
        if at != start && !space(draft, at).forwards() {
            let name = draft.owner_name(at);
            let help = match at {
                Owner::Node(_) => format!("set `forward = true` on `[node.{name}]`"),
                _ => format!("set `sysctl = {{ \"net.ipv4.ip_forward\" = 1 }}` on `[host.{name}]`"),
            };
            let message = format!("packets for {target} reach `{name}`, which does not forward them");
            return Err(Mistake { code: Code::NoRoute, message, help: vec![help] });
        }
        let Some((out, next)) = next_hop(draft, map, at, target) else {
            return Err(no_route(draft, at, goal, target, (at == start).then_some(path.router).flatten()));
        };
        let holder = map.holder.get(&next).copied();
        let segment = draft.segments.find(draft.ifaces[out].point);
        let reached = holder.filter(|&iface| draft.segments.find(draft.ifaces[iface].point) == segment);
        let Some(reached) = reached else {
            let message = format!(
                "`{}` sends packets for {target} to {next}, where nobody has that address",
                draft.owner_name(at)
            );
            return Err(Mistake { code: Code::NoRoute, message, help: Vec::new() });
        };
        let mtu = draft.ifaces[out].settings.mtu.min(draft.ifaces[reached].settings.mtu).min(medium_mtu(draft, out));
        let mtu = mtu.min(medium_mtu(draft, reached));
        let walk = found.get_or_insert(Walk { first: out, mtu });
        walk.mtu = walk.mtu.min(mtu);
        at = draft.ifaces[reached].owner;
        if at == goal {
            return found.ok_or_else(|| no_route(draft, at, goal, target, None));
        }
    }
    let message = format!("routes for {target} lead in a circle");
    Err(Mistake { code: Code::NoRoute, message, help: Vec::new() })
}

fn medium_mtu(draft: &Draft<'_>, iface: usize) -> u32 {
    match draft.ifaces[iface].medium {
        Medium::Port(switch) | Medium::Device(switch) => draft.switches[switch].mtu,
        Medium::Nic(nic) => draft.nic_mtu[nic],
        Medium::Wire(_) => u32::MAX,
    }
}

fn space<'d>(draft: &'d Draft<'_>, owner: Owner) -> &'d super::nodes::NamespaceParts {
    match owner {
        Owner::Host(host) => &draft.hosts[host],
        Owner::Node(node) => &draft.nodes[node].space,
        Owner::Switch(_) => unreachable!("paths lead through nodes and hosts only"),
    }
}

/// Longest prefix first: the interface a packet leaves by and the address it is sent to.
fn next_hop(draft: &Draft<'_>, map: &Map, at: Owner, target: IpAddr) -> Option<(usize, IpAddr)> {
    let mine = map.owned(at);
    let mut best: Option<(u8, usize, IpAddr)> = None;
    let mut offer = |prefix: u8, iface: usize, next: IpAddr| {
        if best.is_none_or(|(length, ..)| prefix > length) {
            best = Some((prefix, iface, next));
        }
    };
    for &iface in mine {
        for net in draft.ifaces[iface].settings.addresses.iter().filter(|net| net.contains(&target)) {
            offer(net.prefix_len(), iface, target);
        }
    }
    for Route { to, via, dev } in space(draft, at).routes.iter().filter(|route| route.to.contains(&target)) {
        let next = via.unwrap_or(target);
        let out = mine.iter().copied().find(|&iface| match dev {
            Some(dev) => draft.ifaces[iface].ifname.as_ref() == Some(dev),
            None => draft.ifaces[iface].settings.addresses.iter().any(|net| net.contains(&next)),
        });
        if let Some(out) = out {
            offer(to.prefix_len(), out, next);
        }
    }
    best.map(|(_, iface, next)| (iface, next))
}

fn no_route(draft: &Draft<'_>, at: Owner, goal: Owner, target: IpAddr, router: Option<Owner>) -> Mistake {
    let name = draft.owner_name(at);
    let message = format!("`{name}` has no route to {target} of `{}`", draft.owner_name(goal));
    let help = match router {
        Some(router) => format!("write `routes = [\"default via {}\"]` on `{name}`", draft.owner_name(router)),
        None => format!("give `{name}` a route: `routes = [\"{} via GATEWAY\"]`", draft.owner_name(goal)),
    };
    Mistake { code: Code::NoRoute, message, help: vec![help] }
}
