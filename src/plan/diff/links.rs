//! Links made, and all that can be set on a living link.

use std::collections::{BTreeMap, HashSet};

use super::{Conflict, Diff};
use crate::{
    plan::{
        desired::{Link, LinkKind, LinkRef, Qdisc},
        features,
        observed::{LinkDetail, ObservedLink, ObservedQdisc},
        step::{LinkSet, Step},
    },
    topology::model::{Netem, Shaper, ShaperKind},
    units::{BitRate, IfName},
};

impl<'a> Diff<'a> {
    pub(super) fn links(&mut self) {
        let desired = self.desired;
        let mut made: HashSet<&LinkRef> = HashSet::new();
        let mut second_ends: HashSet<&LinkRef> = HashSet::new();
        for link in desired.links.iter().filter(|link| link.kind != LinkKind::OvsInternal) {
            let second = second_ends.contains(&link.at);
            if let LinkKind::Veth { peer } = &link.kind {
                second_ends.insert(peer);
            }
            if self.missing.contains(&link.at) && made.insert(&link.at) {
                self.make(link, &mut made);
            }
            // Right after its making: a child's MTU may need that of the device below it.
            self.settings(link, second);
        }
    }

    fn make(&mut self, link: &'a Link, made: &mut HashSet<&'a LinkRef>) {
        match &link.kind {
            LinkKind::Borrowed { ifname, .. } => self.take_nic(link, ifname),
            LinkKind::Vf(vf) => self.take_function(link, vf),
            LinkKind::Veth { peer } => {
                let second = self.declared.get(peer).copied().map(|peer| {
                    made.insert(&peer.at);
                    Box::new(peer.clone())
                });
                self.steps.push(Step::CreateLink { link: Box::new(link.clone()), peer: second });
            }
            _ => self.steps.push(Step::CreateLink { link: Box::new(link.clone()), peer: None }),
        }
    }

    fn take_nic(&mut self, link: &Link, ifname: &IfName) {
        match self.context.nics.and_then(|nics| nics.get(ifname.as_str())) {
            Some(state) => {
                let previous = Box::new(state.clone());
                self.steps.push(Step::TakeNic { to: link.at.clone(), previous });
            }
            None => self.conflicts.push(Conflict::NicMissing { ifname: ifname.clone() }),
        }
    }

    /// Everything that can be set on a living link.
    fn settings(&mut self, link: &Link, second: bool) {
        let fresh = self.missing.contains(&link.at);
        self.function_settings(link);
        let (set, previous) = match self.kept(&link.at) {
            Some(seen) => self.changed(link, seen),
            None => (fresh_set(link, second), LinkSet::default()),
        };
        if set != LinkSet::default() {
            self.steps.push(Step::SetLink { at: link.at.clone(), set, previous });
        }
        let seen = if fresh { None } else { self.seen(&link.at) };
        self.features(link, seen);
        self.qdisc(link, seen);
    }

    pub(super) fn changed(&self, link: &Link, seen: &ObservedLink) -> (LinkSet, LinkSet) {
        let (mut set, mut previous) = (LinkSet::default(), LinkSet::default());
        if let Some(mtu) = link.mtu.filter(|mtu| *mtu != seen.mtu) {
            (set.mtu, previous.mtu) = (Some(mtu), Some(seen.mtu));
        }
        if link.mac.is_some() && link.mac != seen.mac {
            (set.mac, previous.mac) = (link.mac, seen.mac);
        }
        if !seen.up {
            (set.up, previous.up) = (Some(true), Some(false));
        }
        let master = seen.master.and_then(|index| self.names.get(&(&link.at.ns, index)).map(|name| (*name).clone()));
        let master = master.filter(|name| !self.is_datapath_of(&link.at, name));
        // A master that is made again in this plan has lost its ports.
        let lost = master
            .as_ref()
            .is_some_and(|name| self.missing.contains(&LinkRef { ns: link.at.ns.clone(), name: name.clone() }));
        // A borrowed port that the file does not mention stays where it is.
        let foreign = link.master.is_none() && matches!(link.kind, LinkKind::Borrowed { .. } | LinkKind::Vf(_));
        // A bridge of ours that is no longer declared goes in this plan, and frees its ports.
        let freed = link.master.is_none()
            && master.as_ref().is_some_and(|name| {
                let at = LinkRef { ns: link.at.ns.clone(), name: name.clone() };
                !self.declared.contains_key(&at) && self.seen(&at).is_some_and(|seen| self.is_ours(&at, seen))
            });
        if (link.master != master || lost) && !foreign && !freed {
            (set.master, previous.master) = (Some(link.master.clone()), Some(master));
        }
        if link.vlan.is_some() && (link.vlan != seen.pvid || set.master.is_some()) {
            (set.pvid, previous.pvid) = (link.vlan, seen.pvid);
        }
        if let Some(size) = link.gso_max_size.filter(|size| *size != seen.gso_max_size) {
            (set.gso_max_size, previous.gso_max_size) = (Some(size), Some(seen.gso_max_size));
        }
        if let (
            LinkKind::Bridge { stp, vlan_filtering, multicast_snooping },
            LinkDetail::Bridge { stp: got_stp, vlan_filtering: got_filtering, multicast_snooping: got_snooping },
        ) = (&link.kind, &seen.detail)
        {
            if stp != got_stp {
                (set.stp, previous.stp) = (Some(*stp), Some(*got_stp));
            }
            if vlan_filtering != got_filtering {
                (set.vlan_filtering, previous.vlan_filtering) = (Some(*vlan_filtering), Some(*got_filtering));
            }
            if let Some(want) = multicast_snooping.filter(|want| want != got_snooping) {
                (set.multicast_snooping, previous.multicast_snooping) = (Some(want), Some(*got_snooping));
            }
        }
        (set, previous)
    }

    fn features(&mut self, link: &Link, seen: Option<&ObservedLink>) {
        let differs = |(name, on): &(&String, &bool)| {
            seen.is_none_or(|seen| {
                let fixed = seen.fixed_features.contains(*name) || !seen.features.contains_key(*name);
                let as_good = fixed && features::another_stands_for(name, **on, &seen.features);
                seen.features.get(*name) != Some(*on) && !as_good
            })
        };
        let asked: BTreeMap<_, _> =
            link.features.iter().filter(differs).map(|(name, on)| (name.clone(), *on)).collect();
        if !asked.is_empty() {
            let previous = seen.map(|seen| {
                let known = |name: &String| seen.features.get(name).map(|on| (name.clone(), *on));
                asked.keys().filter_map(known).collect()
            });
            let at = link.at.clone();
            self.steps.push(Step::SetFeatures { at, features: asked, previous: previous.unwrap_or_default() });
        }
        let differs = |(key, want): &(&String, &u32)| seen.is_none_or(|seen| seen.ethtool.get(*key) != Some(*want));
        let values: BTreeMap<_, _> = link.ethtool.iter().filter(differs).map(|(k, v)| (k.clone(), *v)).collect();
        if !values.is_empty() {
            let previous = seen.map(|seen| {
                let known = |key: &String| seen.ethtool.get(key).map(|value| (key.clone(), *value));
                values.keys().filter_map(known).collect()
            });
            self.steps.push(Step::SetEthtool { at: link.at.clone(), values, previous: previous.unwrap_or_default() });
        }
    }

    fn qdisc(&mut self, link: &Link, seen: Option<&ObservedLink>) {
        let got = seen.and_then(|seen| seen.qdisc.as_ref());
        let borrowed = matches!(link.kind, LinkKind::Borrowed { .. } | LinkKind::Vf(_));
        let as_declared = match (&link.qdisc, got) {
            (Some(want), Some(got)) => same_qdisc(want, got),
            (None, None) => true,
            (None, Some(_)) => borrowed || self.is_limited_by_ovs(&link.at),
            (Some(_), None) => false,
        };
        if !as_declared {
            let previous = got.and_then(as_qdisc);
            self.steps.push(Step::SetQdisc { at: link.at.clone(), qdisc: link.qdisc.clone(), previous });
        }
    }
}

/// What the creating message could not carry: a bridge's MTU does not stick then (`br_dev_newlink()` does not mark it
/// as set by the user), a veth peer cannot come up inside it, and a borrowed device is moved first.
fn fresh_set(link: &Link, second_end: bool) -> LinkSet {
    let mut set = LinkSet { gso_max_size: link.gso_max_size, pvid: link.vlan, ..LinkSet::default() };
    match &link.kind {
        LinkKind::Bridge { .. } => set.mtu = link.mtu,
        LinkKind::Veth { .. } if second_end => {
            set.up = Some(true);
            set.master = link.master.clone().map(Some);
        }
        LinkKind::Vf(_) => (set.mtu, set.up) = (link.mtu, Some(true)),
        LinkKind::Borrowed { .. } => {
            (set.mtu, set.mac, set.up) = (link.mtu, link.mac, Some(true));
            set.master = link.master.clone().map(Some);
        }
        LinkKind::Veth { .. }
        | LinkKind::Macvlan { .. }
        | LinkKind::Ipvlan { .. }
        | LinkKind::Vxlan(_)
        | LinkKind::OvsInternal => {}
    }
    set
}

fn same_qdisc(want: &Qdisc, got: &ObservedQdisc) -> bool {
    match want {
        Qdisc::Shaper(Shaper { rate, qdisc }) => {
            let kind = match qdisc {
                ShaperKind::Tbf => "tbf",
                ShaperKind::Htb => "htb",
            };
            got.kind == kind && got.rate_bytes == Some(rate.bytes_per_second())
        }
        Qdisc::Netem(Netem { delay, loss }) => {
            // netem keeps loss as a 32-bit fraction.
            let close = |want: f64| (want - got.loss.unwrap_or(0.0)).abs() < 1e-6;
            got.kind == "netem"
                && got.delay_ns.unwrap_or(0) == delay.map_or(0, |delay| delay.0.as_nanos() as u64)
                && close(loss.unwrap_or(0.0))
        }
    }
}

/// A qdisc that netbench could make again; others come back as the kernel's default.
fn as_qdisc(got: &ObservedQdisc) -> Option<Qdisc> {
    let shaper = |qdisc| {
        let rate = BitRate(got.rate_bytes?.saturating_mul(8));
        Some(Qdisc::Shaper(Shaper { rate, qdisc }))
    };
    match got.kind.as_str() {
        "tbf" => shaper(ShaperKind::Tbf),
        "htb" => shaper(ShaperKind::Htb),
        _ => None,
    }
}
