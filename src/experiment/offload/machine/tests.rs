use std::collections::BTreeSet;

use super::*;
use crate::{
    experiment::offload::{
        checks::{Features, Target, plan},
        judge::{Datagrams, Stream},
    },
    kernel::ethtool::Feature,
    packet::Kind,
    plan::desired::{Direction, FlowPath, Hop, NsId},
    record::OffloadVerdict,
    topology::model::Flow,
};

fn link(ns: &str) -> LinkRef {
    LinkRef { ns: NsId(ns.into()), name: "eth0".parse().unwrap() }
}

fn target() -> Target {
    let hop = |ns, direction| Hop { at: link(ns), direction, mtu: 1500, overhead: 0, beside: Vec::new() };
    let path = FlowPath {
        flow: Flow {
            from: "client".into(),
            to: "server".into(),
            from_address: "198.18.0.1".parse().unwrap(),
            to_address: "198.18.0.2".parse().unwrap(),
            mtu: 1500,
        },
        from_ns: NsId("client".into()),
        to_ns: NsId("server".into()),
        hops: vec![hop("client", Direction::Tx), hop("server", Direction::Rx)],
    };
    let addresses = vec![(path.flow.from_address, path.flow.to_address)];
    Target { path, addresses, userspace_ovs: BTreeSet::new(), tunnels: BTreeMap::new() }
}

fn features() -> Features {
    let on = Feature { active: true, wanted: true, changeable: true };
    let fixed = Feature { changeable: false, ..on };
    let off = Feature { active: false, wanted: false, ..on };
    let of = [
        ("tx-checksum-ip-generic", on),
        ("tx-tcp-segmentation", on),
        ("tx-tcp6-segmentation", on),
        ("rx-gro", off),
        ("rx-checksum", fixed),
        ("tx-vlan-hw-insert", on),
        ("rx-vlan-hw-parse", on),
        ("tx-tcp-accecn-segmentation", on),
        ("rx-ntuple-filter", off),
    ];
    let of: BTreeMap<String, Feature> = of.map(|(name, feature)| (name.to_owned(), feature)).into();
    [(link("client"), of.clone()), (link("server"), of)].into()
}

/// A kernel of two devices, and a fault that shows while a feature is on.
struct Model {
    now: BTreeMap<LinkRef, BTreeMap<String, bool>>,
    faulty: Option<(LinkRef, &'static str, Kind)>,
    refuse: Option<&'static str>,
    /// Features that the driver switches only together.
    tied: [&'static str; 2],
    gaps: u32,
    probes: u32,
    time: u64,
    measured: u32,
    /// Measurements that break.
    breaks_at: std::ops::Range<u32>,
    saves: bool,
    /// What a moment does to probes, and to which of them.
    moment: fn(&mut Probed),
    moments: Vec<u32>,
}

impl Model {
    fn new() -> Self {
        let wanted = |known: &BTreeMap<String, Feature>| known.iter().map(|(n, f)| (n.clone(), f.wanted)).collect();
        let now = features().iter().map(|(at, known)| (at.clone(), wanted(known))).collect();
        Self {
            now,
            faulty: None,
            refuse: None,
            tied: [""; 2],
            gaps: 0,
            probes: 0,
            time: 0,
            measured: 0,
            breaks_at: 0..0,
            saves: true,
            moment: |_| {},
            moments: Vec::new(),
        }
    }

    fn set(&mut self, at: &LinkRef, asked: &BTreeMap<String, bool>) -> Sample {
        self.time += 1;
        if self.refuse.is_some_and(|name| asked.get(name) == Some(&false)) {
            return Sample::Set(Err("the driver refused".to_owned()));
        }
        let [one, other] = self.tied.map(|name| asked.get(name));
        if one != other {
            return Sample::Set(Err("asked for on, stays off".to_owned()));
        }
        self.now.get_mut(at).unwrap().extend(asked.clone());
        Sample::Set(Ok(Vec::new()))
    }

    fn probe(&mut self) -> Sample {
        (self.time, self.probes) = (self.time + 20, self.probes + 1);
        let mut probed = Probed { complete: self.gaps == 0, ..Probed::default() };
        self.gaps = self.gaps.saturating_sub(1);
        probed.streams = vec![Stream { family: 4, sent: 1000, right: 1000, ..Stream::default() }];
        probed.datagrams = vec![Datagrams { family: 4, sent: 8, right: 8, ..Datagrams::default() }];
        let on = |name: &str| self.now[&link("client")][name];
        probed.comparison.supers = u64::from(on("tx-tcp-segmentation")) * 4;
        probed.comparison.partial = u64::from(on("tx-checksum-ip-generic")) * 40;
        probed.comparison.merged = 3;
        if let Some((at, feature, kind)) = &self.faulty
            && self.now[at][*feature]
        {
            probed.comparison.findings.add(*kind, || "an example".to_owned());
        }
        if self.moments.contains(&self.probes) {
            (self.moment)(&mut probed);
        }
        Sample::Probed(Box::new(probed))
    }

    /// A super-packet costs less a byte; what drifts drifts slowly.
    fn measure(&mut self) -> Sample {
        (self.time, self.measured) = (self.time + 10, self.measured + 1);
        if self.breaks_at.contains(&self.measured) {
            return Sample::Measured(Err("connection reset".to_owned()));
        }
        let on = |name: &str| self.now[&link("client")][name];
        let cut = if on("tx-tcp-segmentation") && self.saves { 0.2 } else { 0.6 };
        let cost = cut + if on("tx-checksum-ip-generic") { 0.0 } else { 0.2 };
        Sample::Measured(Ok(cost * (1.0 + f64::from(self.measured) / 100.0)))
    }

    fn run(&mut self, stop_at: Option<u32>) -> Vec<OffloadCheck> {
        let targets = [target()];
        let planned = plan(&targets, &features(), &BTreeSet::new());
        let planned = planned.into_iter().map(|check| (check, "client -> server".to_owned())).collect();
        let order = Order { target: 0, reversed: false, suite: Suite::default(), between: None, family: None };
        let before = self.now.clone();
        let mut machine = Verifier::new(vec![(order, "client -> server".to_owned())], planned, before.clone());
        let mut sample = Sample::Begin;
        for step in 0..1000 {
            if stop_at == Some(step) {
                sample = Sample::Interrupted;
            }
            sample = match machine.next(sample) {
                Action::Finish => {
                    assert_eq!(self.now, before, "everything is put back");
                    return machine.into_rows();
                }
                Action::Set(at, asked) => self.set(&at, &asked),
                Action::PutBack(at, asked) => {
                    self.now.get_mut(&at).unwrap().extend(asked);
                    Sample::Set(Ok(Vec::new()))
                }
                Action::Probe(_) => self.probe(),
                Action::Measure(_) => self.measure(),
            };
        }
        panic!("it does not end");
    }
}

fn verdict(rows: &[OffloadCheck], device: &str, check: &str) -> OffloadVerdict {
    let is = |row: &&OffloadCheck| row.check == check && row.device.as_deref() == Some(device);
    rows.iter().find(is).unwrap_or_else(|| panic!("{device} {check} in {rows:?}")).verdict
}

#[test]
fn a_path_without_fault_passes_and_is_put_back() {
    let mut model = Model::new();
    let rows = model.run(None);
    for check in ["tx-checksum", "tso"] {
        assert_eq!(verdict(&rows, "client/eth0", check), OffloadVerdict::Pass, "{rows:?}");
    }
    assert_eq!(verdict(&rows, "client/eth0", "tso6"), OffloadVerdict::Skip);
    assert_eq!(verdict(&rows, "server/eth0", "rx-checksum"), OffloadVerdict::Skip);
    assert_eq!(rows[0].check, "integrity");
    // In virtual time: 20 ms a probe, 1 ms a switch.
    assert!(model.time < 1300, "{}", model.time);
}

#[test]
fn a_fault_is_charged_to_the_feature_that_causes_it() {
    for (kind, expected) in [
        (Kind::PartialChecksum, OffloadVerdict::Leak),
        (Kind::WrongChecksum, OffloadVerdict::Corrupt),
        (Kind::Lost, OffloadVerdict::Drop),
    ] {
        let mut model = Model::new();
        model.faulty = Some((link("client"), "tx-tcp-segmentation", kind));
        let rows = model.run(None);
        assert_eq!(verdict(&rows, "client/eth0", "tso"), expected, "{rows:?}");
        assert_eq!(verdict(&rows, "client/eth0", "tx-checksum"), OffloadVerdict::Inconclusive);
        assert_eq!(rows[0].verdict, expected);
        let tso = rows.iter().find(|row| row.check == "tso").unwrap();
        assert!(tso.cure.as_ref().unwrap().contains("ethtool -K eth0 tx-tcp-segmentation off"), "{tso:?}");
    }
}

#[test]
fn a_refused_switch_is_not_active_and_gaps_are_tried_again() {
    let mut model = Model::new();
    model.refuse = Some("tx-tcp-segmentation");
    assert_eq!(verdict(&model.run(None), "client/eth0", "tso"), OffloadVerdict::NotActive);
    let mut model = Model::new();
    let without = {
        model.run(None);
        model.probes
    };
    let mut model = Model { gaps: 2, ..Model::new() };
    let rows = model.run(None);
    assert_eq!((model.probes, rows[0].verdict), (without + 2, OffloadVerdict::Pass));
}

#[test]
fn what_is_not_tried_is_said_with_its_reason() {
    let rows = Model::new().run(None);
    for device in ["client/eth0", "server/eth0"] {
        for (check, feature, why) in [
            ("tso-accecn", "tx-tcp-accecn-segmentation", "accurate ECN (tcp_ecn=3)"),
            ("ntuple", "rx-ntuple-filter", "the tool sets none"),
        ] {
            let is = |row: &&OffloadCheck| row.check == check && row.device.as_deref() == Some(device);
            let row = rows.iter().find(is).unwrap_or_else(|| panic!("{device} {check} in {rows:?}"));
            assert_eq!((row.verdict, row.features.as_slice()), (OffloadVerdict::Skip, &[feature.to_owned()][..]));
            assert!(row.evidence.contains(why), "{row:?}");
        }
    }
}

/// What a busy machine may do to a probe is no verdict: the probe is made again. What happens each time is one.
#[test]
fn a_probe_that_a_moment_spoilt_is_made_again() {
    let usual = {
        let mut model = Model::new();
        model.run(None);
        model.probes
    };
    let lost: fn(&mut Probed) = |probed| {
        probed.streams[0] = Stream { right: 10, failed: Some("nothing more".into()), ..probed.streams[0].clone() };
    };
    let unsent: fn(&mut Probed) = |probed| {
        probed.crafted = Some(judge::Crafted { failed: Some("no template".into()), ..Default::default() });
    };
    let unseen: fn(&mut Probed) = |probed| (probed.comparison.supers, probed.comparison.partial) = (0, 0);
    let counted: fn(&mut Probed) = |probed| probed.checksum_errors = 2;
    use OffloadVerdict::{Corrupt, Drop, Inconclusive, Ineffective, Pass};
    // The first probe is of the whole path, the second and third are of tx-checksum off and on.
    for (moment, first, told, each_time) in [
        (lost, 1, true, Drop),
        (lost, 2, true, Drop),
        (lost, 3, true, Drop),
        (unsent, 1, false, Pass),
        (unseen, 3, false, Ineffective),
        (counted, 1, true, Corrupt),
        (counted, 3, true, Corrupt),
    ] {
        let spoilt = |times: u32| {
            let mut model = Model { moment, moments: (first..first + times).collect(), ..Model::new() };
            (model.run(None), model.probes)
        };
        // A whole path that lost something once has to pass twice.
        let (rows, probes) = spoilt(if first == 1 && told { 1 } else { 2 });
        assert_eq!((probes, rows[0].verdict), (usual + 2, Pass), "{rows:?}");
        assert_eq!(verdict(&rows, "client/eth0", "tx-checksum"), Pass, "{rows:?}");
        let is_told = rows.iter().any(|row| row.evidence.contains("; at an earlier try, and not again: "));
        assert_eq!(is_told, told, "{rows:?}");
        let (rows, probes) = spoilt(3);
        let concerned = if first == 1 { rows[0].verdict } else { verdict(&rows, "client/eth0", "tx-checksum") };
        assert_eq!((probes, concerned), (usual + 2, each_time), "{rows:?}");
    }
    // A path that loses now and then is not cleared by a try in which it did not.
    for (moments, expected) in [(vec![1, 2], Drop), (vec![1, 3], Drop), (vec![1], Pass), (vec![2], Pass)] {
        let mut model = Model { moment: lost, moments, ..Model::new() };
        assert_eq!(model.run(None)[0].verdict, expected);
    }
    // The path is broken as found, and a loss with tso off does not hide that it is right then.
    for (until, expected) in [(5, Corrupt), (1000, Inconclusive)] {
        let faulty = Some((link("client"), "tx-tcp-segmentation", Kind::WrongChecksum));
        let mut model = Model { moment: lost, moments: (4..until).collect(), faulty, ..Model::new() };
        let rows = model.run(None);
        assert_eq!(verdict(&rows, "client/eth0", "tso"), expected, "{rows:?}");
    }
    // Where the path is broken as found, its features' probes are not repeated for that.
    let mut model = Model { moment: lost, moments: (1..1000).collect(), ..Model::new() };
    let rows = model.run(None);
    assert_eq!((model.probes, rows[0].verdict), (usual + 2, Drop));
}

#[test]
fn what_a_feature_saves_is_measured_by_turns_and_what_saves_nothing_is_called_so() {
    let mut model = Model::new();
    let rows = model.run(None);
    let row = rows.iter().find(|row| row.check == "tso-cpu").unwrap();
    assert_eq!((row.verdict, row.features.as_slice()), (OffloadVerdict::Pass, &["tx-tcp-segmentation".to_owned()][..]));
    assert!(row.evidence.starts_with("saves 67 % of CPU time (95 %: 6"), "{row:?}");
    assert!(row.evidence.ends_with("6 rounds each by turns, p 0.002"), "{row:?}");
    assert!(rows.iter().all(|row| row.check != "tso6-cpu"), "what was skipped saves nothing");
    // What checksums save is theirs alone: a device without them does not segment either.
    let row = rows.iter().find(|row| row.check == "tx-checksum-cpu").unwrap();
    assert!(row.evidence.starts_with("saves 25 % of CPU time"), "{row:?}");
    assert!(row.evidence.contains(", with tx-tcp-segmentation, tx-tcp6-segmentation off; 6 rounds"), "{row:?}");
    let row = |model: &mut Model| model.run(None).into_iter().find(|row| row.check == "tso-cpu").unwrap();
    let idle = row(&mut Model { saves: false, ..Model::new() });
    assert_eq!(idle.verdict, OffloadVerdict::Ineffective, "{idle:?}");
    assert!(idle.evidence.starts_with("saves no CPU time (may well be chance): 0."), "{idle:?}");
    let once = row(&mut Model { breaks_at: 17..19, ..Model::new() });
    assert_eq!(once.verdict, OffloadVerdict::Pass, "tried again: {once:?}");
    let broken = row(&mut Model { breaks_at: 17..20, ..Model::new() });
    assert_eq!(broken.verdict, OffloadVerdict::Inconclusive, "{broken:?}");
    assert!(broken.evidence.ends_with("connection reset"), "{broken:?}");
    for step in 0..130 {
        Model::new().run(Some(step));
    }
}

/// `igb_fix_features()`: inserting follows stripping.
#[test]
fn features_that_a_driver_ties_are_switched_together() {
    let vlan = ["tx-vlan-hw-insert", "rx-vlan-hw-parse"];
    let features = |rows: &[OffloadCheck], check: &str| {
        rows.iter().find(|row| row.check == check).map(|row| row.features.clone()).unwrap()
    };
    let rows = Model::new().run(None);
    assert_eq!(features(&rows, "vlan-insert"), ["tx-vlan-hw-insert"], "apart where that can be");
    let rows = Model { tied: vlan, ..Model::new() }.run(None);
    for check in ["vlan-insert", "vlan-strip"] {
        let device = if check == "vlan-insert" { "client/eth0" } else { "server/eth0" };
        assert_ne!(verdict(&rows, device, check), OffloadVerdict::NotActive, "{rows:?}");
        assert_eq!(features(&rows, check), ["rx-vlan-hw-parse", "tx-vlan-hw-insert"]);
    }
    // Tied to something else still: said, and not asked for without end.
    let rows = Model { tied: ["tx-vlan-hw-insert", "rx-gro"], ..Model::new() }.run(None);
    assert_eq!(verdict(&rows, "client/eth0", "vlan-insert"), OffloadVerdict::NotActive);
    for step in 0..60 {
        Model { tied: vlan, ..Model::new() }.run(Some(step));
    }
}

#[test]
fn stopped_at_any_step_everything_is_put_back() {
    for step in 0..60 {
        Model::new().run(Some(step));
    }
}
