//! Who reaches whom without a router: segments by union of switches (per VLAN), wires, NICs, cables and tunnels; and loops.

use std::collections::HashMap;

use super::{Code, Draft, Thing};
use crate::topology::ast::Kind;

/// Something that frames cross as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A switch, in one VLAN (1 where none is said).
    Switch(usize, u16),
    /// A wire between two namespaces.
    Link(usize),
    /// A NIC.
    Nic(usize),
    /// Whatever real NICs without a declared cable are plugged into.
    Outside,
}

/// Union-find over [`Point`]s, with their switches for MTU and loops.
#[derive(Debug, Default)]
pub struct Segments {
    points: HashMap<Point, usize>,
    parent: Vec<usize>,
    /// Union of whole switches and NICs, VLANs aside.
    pub layer2: Union,
}

impl Segments {
    /// The number of a point.
    pub fn point(&mut self, point: Point) -> usize {
        *self.points.entry(point).or_insert_with(|| {
            self.parent.push(self.parent.len());
            self.parent.len() - 1
        })
    }

    /// Joins two points.
    pub fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// The segment of a point.
    pub fn find(&self, point: usize) -> usize {
        find(&self.parent, point)
    }
}

/// A plain union-find.
#[derive(Debug, Default)]
pub struct Union {
    parent: Vec<usize>,
}

impl Union {
    /// `count` things, each alone.
    pub fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    /// The set of a thing.
    pub fn find(&self, thing: usize) -> usize {
        find(&self.parent, thing)
    }

    /// Joins two; false when they were joined already.
    pub fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
        a != b
    }
}

fn find(parent: &[usize], mut at: usize) -> usize {
    while parent[at] != at {
        at = parent[at];
    }
    at
}

/// Joins what cables, NICs, tunnels and links between switches join, and reports loops.
pub fn join(draft: &mut Draft<'_>) {
    let (switches, nics) = (draft.switches.len(), draft.names.nics.len());
    let mut layer2 = Union::new(switches + nics);
    for nic in 0..nics {
        let (_, declared) = draft.names.nics[nic];
        let cable = declared.cable.as_ref().and_then(|cable| draft.names.get(&cable.value));
        let claimed = draft.names.nics.iter().any(|(_, other)| {
            other.cable.as_ref().is_some_and(|cable| draft.names.get(&cable.value) == Some(Thing::Nic(nic)))
        });
        let point = draft.segments.point(Point::Nic(nic));
        if let Some(Thing::Nic(other)) = cable {
            let other_point = draft.segments.point(Point::Nic(other));
            draft.segments.union(point, other_point);
            layer2.join(switches + nic, switches + other);
        } else if !claimed && (declared.ifname.is_some() || declared.pci.is_some()) {
            let outside = draft.segments.point(Point::Outside);
            draft.segments.union(point, outside);
        }
    }
    for switch in 0..switches {
        let parts = &draft.switches[switch];
        for nic in parts.nic.into_iter().chain(parts.uplinks.clone()) {
            let (a, b) = (draft.segments.point(Point::Switch(switch, 1)), draft.segments.point(Point::Nic(nic)));
            draft.segments.union(a, b);
            if !layer2.join(switch, switches + nic) {
                let (_, declared) = draft.names.switches[switch];
                let uplink = declared.uplinks.iter().find(|uplink| uplink.value == draft.names.nics[nic].0.value);
                let span = uplink.map_or(&draft.names.switches[switch].0.span, |uplink| &uplink.span).clone();
                report_loop(draft, &layer2, switch, &span);
            }
        }
    }
    super::sriov::join_functions(draft);
    for index in 0..draft.file.link.len() {
        let Some([a, b]) = draft.links[index] else { continue };
        if let (super::Owner::Switch(a), super::Owner::Switch(b)) = (draft.ifaces[a].owner, draft.ifaces[b].owner)
            && !layer2.join(a, b)
        {
            let span = draft.file.link[index].span.clone();
            report_loop(draft, &layer2, a, &span);
        }
    }
    for index in 0..draft.file.tunnel.len() {
        let tunnel = &draft.file.tunnel[index];
        let ends: Vec<usize> = tunnel
            .value
            .ends
            .iter()
            .filter_map(|end| match draft.names.get(&end.value) {
                Some(Thing::Switch(switch)) => Some(switch),
                _ => None,
            })
            .collect();
        let [a, b] = ends[..] else { continue };
        let points = [a, b].map(|switch| draft.segments.point(Point::Switch(switch, 1)));
        draft.segments.union(points[0], points[1]);
        if a != b && !layer2.join(a, b) {
            report_loop(draft, &layer2, a, &tunnel.span);
        }
    }
    draft.segments.layer2 = layer2;
}

fn report_loop(draft: &mut Draft<'_>, layer2: &Union, member: usize, span: &std::ops::Range<usize>) {
    let set = layer2.find(member);
    let ring: Vec<usize> = (0..draft.switches.len()).filter(|&switch| layer2.find(switch) == set).collect();
    // A rapid spanning tree speaks the slow one with who knows no other (IEEE 802.1D-2004, 17.4).
    let rapid = |switch: usize| draft.switches[switch].ovs.as_ref().is_some_and(|ovs| ovs.rstp);
    if ring.iter().all(|&switch| draft.switches[switch].options.stp || rapid(switch)) {
        return;
    }
    let all_ovs = ring.iter().all(|&switch| draft.switches[switch].kind == Kind::Ovs);
    let key = if all_ovs { "rstp" } else { "stp" };
    let names: Vec<String> = ring.iter().map(|&s| format!("`{}`", draft.names.switches[s].0.value)).collect();
    let shown = names.len().min(6);
    let more = if names.len() > shown { " and others" } else { "" };
    let message = format!("this closes a loop through {}{more}", names[..shown].join(", "));
    let help = format!("remove it, or set `{key} = true` on every one of them");
    draft.error(Code::Loop, span, message).help.push(help);
}
