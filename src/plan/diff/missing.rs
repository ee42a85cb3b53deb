//! Which links do not exist, or cannot become what is declared while they live.

use super::{Conflict, Diff};
use crate::plan::{
    desired::{Link, LinkKind, LinkRef},
    observed::{LinkDetail, ObservedLink},
    text::kind_word,
};

impl Diff<'_> {
    pub(super) fn find_missing(&mut self) {
        let desired = self.desired;
        for link in &desired.links {
            let found = self.seen(&link.at);
            match (&link.kind, found) {
                // Made by Open vSwitch, which is looked at after this.
                (LinkKind::OvsInternal, _) => {}
                (LinkKind::Borrowed { .. }, Some(_)) => {}
                (LinkKind::Vf(vf), found) => self.find_function(link, vf, found),
                // An internal port of a switch that goes before.
                (_, Some(seen)) if self.is_internal_port(&link.at.ns, seen) => {
                    self.missing.insert(&link.at);
                }
                (_, Some(seen)) if !self.is_ours(&link.at, seen) => self.conflicts.push(Conflict::LinkTaken {
                    at: link.at.clone(),
                    kind: if seen.kind.is_empty() { "physical".into() } else { seen.kind.clone() },
                }),
                (_, Some(seen)) if self.same_device(link, seen) => {}
                _ => {
                    self.missing.insert(&link.at);
                }
            }
        }
        for link in &desired.links {
            let (LinkKind::Macvlan { lower, .. } | LinkKind::Ipvlan { lower, .. }) = &link.kind else { continue };
            // What is seen before anything is changed: to bring the device up first could not be taken back wholly.
            if let Some(master) = self.seen(lower).and_then(|below| below.master) {
                let master = self.names.get(&(&lower.ns, master)).map_or("?".into(), |name| name.to_string());
                let conflict = Conflict::LowerBusy { kind: kind_word(link), at: lower.clone(), master };
                if !self.conflicts.contains(&conflict) {
                    self.conflicts.push(conflict);
                }
            }
        }
        // A pair is made whole; a child goes with the device below it.
        loop {
            let more: Vec<&LinkRef> = desired
                .links
                .iter()
                .filter(|link| !self.missing.contains(&link.at))
                .filter(|link| match &link.kind {
                    LinkKind::Veth { peer } => self.missing.contains(peer),
                    LinkKind::Macvlan { lower, .. } | LinkKind::Ipvlan { lower, .. } => self.missing.contains(lower),
                    LinkKind::Vxlan(v) => {
                        self.missing.contains(&LinkRef { ns: link.at.ns.clone(), name: v.dev.clone() })
                    }
                    LinkKind::Bridge { .. } | LinkKind::OvsInternal | LinkKind::Vf(_) | LinkKind::Borrowed { .. } => {
                        false
                    }
                })
                .map(|link| &link.at)
                .collect();
            if more.is_empty() {
                return;
            }
            self.missing.extend(more);
        }
    }

    /// What cannot be changed on a living link is as declared.
    fn same_device(&self, link: &Link, seen: &ObservedLink) -> bool {
        match &link.kind {
            LinkKind::Bridge { .. } => seen.kind == "bridge",
            LinkKind::Veth { peer } => {
                seen.kind == "veth"
                    && self.seen(peer).is_some_and(|far| {
                        far.kind == "veth" && seen.link == Some(far.index) && far.link == Some(seen.index)
                    })
            }
            LinkKind::Macvlan { lower, mode } => {
                seen.kind == "macvlan"
                    && self.seen(lower).is_some_and(|lower| seen.link == Some(lower.index))
                    && seen.detail == LinkDetail::Macvlan { mode: Some(*mode) }
            }
            LinkKind::Ipvlan { lower, mode } => {
                seen.kind == "ipvlan"
                    && self.seen(lower).is_some_and(|lower| seen.link == Some(lower.index))
                    && seen.detail == LinkDetail::Ipvlan { mode: Some(*mode) }
            }
            LinkKind::Vxlan(want) => match &seen.detail {
                LinkDetail::Vxlan {
                    vni,
                    local,
                    remote,
                    port,
                    dev,
                    udp_checksum,
                    udp6_zero_checksum,
                    gbp,
                    learning,
                } => {
                    let below = LinkRef { ns: link.at.ns.clone(), name: want.dev.clone() };
                    *vni == want.vni
                        && *local == Some(want.local)
                        && *remote == Some(want.remote)
                        && *port == want.port
                        && self.seen(&below).is_some_and(|below| below.index == *dev)
                        && want.udp_checksum.is_none_or(|want| want == *udp_checksum)
                        && want.udp6_zero_checksum.is_none_or(|want| want == *udp6_zero_checksum)
                        && want.gbp == *gbp
                        && want.learning.is_none_or(|want| want == *learning)
                }
                _ => false,
            },
            LinkKind::OvsInternal | LinkKind::Vf(_) | LinkKind::Borrowed { .. } => true,
        }
    }
}
