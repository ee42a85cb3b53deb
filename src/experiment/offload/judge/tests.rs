use super::*;
use crate::experiment::offload::checks::GROUPS;

fn streams(right: u64, failed: Option<&str>) -> Probed {
    let stream = Stream { family: 4, sent: 100, right, failed: failed.map(str::to_owned), ..Stream::default() };
    Probed { complete: true, streams: vec![stream], ..Probed::default() }
}

#[test]
fn accepted_corruption_is_named_and_refused_corruption_is_right() {
    let crafted = |delivered, verified| Crafted {
        good: (12, 12),
        bad: (12, delivered),
        bad_seen: 12,
        bad_verified: verified,
        tagged: 12,
        segments: Merges { kept_apart: 40, mergeable: (7, 7), ..Merges::default() },
        datagrams: Merges { kept_apart: 9, mergeable: (2, 2), ..Merges::default() },
        waited: true,
        ..Crafted::default()
    };
    let with = |crafted| Probed { crafted: Some(crafted), ..streams(100, None) };
    let rows = whole("a -> b", &with(crafted(0, 0)));
    assert!(rows.iter().all(|row| row.verdict == OffloadVerdict::Pass), "{rows:?}");
    let of = |merges: Merges| {
        [
            ("merge-rules", Crafted { segments: merges.clone(), ..crafted(0, 0) }),
            ("merge-rules-udp", Crafted { datagrams: merges, ..crafted(0, 0) }),
        ]
    };
    for (merges, verdict) in [
        // No packet was seen; what merges nothing proves nothing; what must stay apart was merged.
        (Merges::default(), OffloadVerdict::Inconclusive),
        (Merges { kept_apart: 9, mergeable: (7, 0), ..Merges::default() }, OffloadVerdict::Skip),
        (Merges { merged: vec!["a rule".into()], ..Merges::default() }, OffloadVerdict::Corrupt),
    ] {
        for (name, crafted) in of(merges) {
            let rows = whole("a -> b", &with(crafted));
            let rows: Vec<_> = rows.iter().filter(|row| row.check.starts_with("merge-rules")).collect();
            assert_eq!(rows.len(), 2);
            for row in rows {
                let expected = if row.check == name { verdict } else { OffloadVerdict::Pass };
                assert_eq!(row.verdict, expected, "{row:?}");
            }
        }
    }
    for (delivered, verified) in [(3, 0), (0, 3)] {
        let rows = whole("a -> b", &with(crafted(delivered, verified)));
        let row = rows.iter().find(|row| row.check == "rx-verification").unwrap();
        assert_eq!(row.verdict, OffloadVerdict::Corrupt);
        assert!(row.evidence.starts_with("corrupt frame marked as verified"), "{row:?}");
    }
}

#[test]
fn right_frames_that_are_refused_and_tagged_ones_that_are_lost_are_drops() {
    let crafted = || Crafted { good: (12, 12), bad: (12, 0), bad_seen: 12, tagged: 12, ..Crafted::default() };
    let with = |crafted| Probed { crafted: Some(crafted), ..streams(100, None) };
    let row = |crafted: Crafted, name: &str| {
        let rows = whole("a -> b", &with(crafted));
        rows.into_iter().find(|row| row.check == name).unwrap()
    };
    for (good, verdict) in [((12, 12), OffloadVerdict::Pass), ((12, 9), OffloadVerdict::Drop)] {
        assert_eq!(row(Crafted { good, ..crafted() }, "rx-verification").verdict, verdict);
    }
    // Wrong ones were seen there, so right ones came that far too.
    let refused = row(Crafted { good: (12, 0), ..crafted() }, "rx-verification");
    assert_eq!(refused.verdict, OffloadVerdict::Drop, "{refused:?}");
    let dead = Crafted { good: (12, 0), bad_seen: 0, ..crafted() };
    assert_eq!(row(dead, "rx-verification").verdict, OffloadVerdict::Inconclusive);
    let mut lossy = crafted();
    lossy.tags.add(Kind::Lost, || "a tagged frame".to_owned());
    let lost = row(lossy, "vlan");
    assert_eq!((lost.verdict, &*lost.evidence), (OffloadVerdict::Drop, "of 12 tagged frames 1 did not come"));
    // A feature with which none come, and without which all do.
    let group = GROUPS.iter().find(|group| group.name == "vlan-strip").unwrap();
    let at = LinkRef { ns: crate::plan::desired::NsId("b".into()), name: "eth0".parse().unwrap() };
    let features = [(group.features[0].to_owned(), true)].into();
    let check = Check { at, group, features, ..check() };
    let none = || with(Crafted { tagged: 0, ..crafted() });
    for (off, on, verdict, says) in [
        (with(crafted()), none(), OffloadVerdict::Drop, "only with it on: none of 12 tagged frames came"),
        (none(), with(crafted()), OffloadVerdict::Drop, "only with it off: none of 12 tagged frames came"),
        (none(), none(), OffloadVerdict::Skip, "do not get to this device"),
    ] {
        let row = feature(&check, "a -> b", &off, &on);
        assert_eq!(row.verdict, verdict, "{row:?}");
        assert!(row.evidence.contains(says), "{row:?}");
    }
}

#[test]
fn a_partial_checksum_behind_open_vswitch_names_it_and_its_cure() {
    let mut probed = streams(0, Some("connection timed out"));
    probed.comparison.findings.add(Kind::PartialChecksum, || "TCP".to_owned());
    probed.place_is_ovs = true;
    let row = &whole("a -> b", &probed)[0];
    assert_eq!(row.verdict, OffloadVerdict::Leak);
    assert!(row.cure.as_ref().unwrap().contains("userspace-tso-enable=true"), "{row:?}");
}

#[test]
fn nothing_arriving_is_a_drop() {
    let row = &whole("a -> b", &streams(0, Some("connection timed out")))[0];
    assert_eq!(row.verdict, OffloadVerdict::Drop);
}

/// What the receiver of the probe had no room for came all the same.
#[test]
fn datagrams_that_came_and_were_not_taken_are_no_drop() {
    let with = |right, unread| {
        let sent = Datagrams { family: 4, sent: 100, right, unread, ..Datagrams::default() };
        whole("a -> b", &Probed { datagrams: vec![sent], ..streams(100, None) })[0].verdict
    };
    assert_eq!(
        (with(100, 0), with(91, 9), with(91, 8)),
        (OffloadVerdict::Pass, OffloadVerdict::Pass, OffloadVerdict::Drop)
    );
}

fn check() -> Check {
    let group = GROUPS.iter().find(|group| group.name == "tx-checksum").unwrap();
    Check {
        at: LinkRef { ns: crate::plan::desired::NsId("a".into()), name: "eth0".parse().unwrap() },
        group,
        features: [("tx-checksum-ip-generic".to_owned(), true)].into(),
        tied: BTreeMap::new(),
        target: 0,
        reversed: false,
        hand: 0,
        wire: 1,
        quiet: Vec::new(),
        still: Vec::new(),
        may_fix_ids: true,
        skip: None,
    }
}

/// Both ends' devices are broken: with either of them mended nothing gets through.
#[test]
fn what_single_frames_show_is_charged_though_the_path_does_not_work_either_way() {
    let dead = |kinds: &[Kind], came: u64| {
        let mut probed = streams(0, Some("connection timed out"));
        kinds.iter().for_each(|kind| probed.comparison.findings.add(*kind, || "TCP seq 1".to_owned()));
        probed.comparison.came = came;
        probed
    };
    let row = feature(&check(), "a -> b", &dead(&[], 9), &dead(&[Kind::PartialChecksum], 9));
    assert_eq!(row.verdict, OffloadVerdict::Leak, "{row:?}");
    assert!(row.evidence.starts_with("only with it on: partial checksum leaked"), "{row:?}");
    assert!(row.evidence.ends_with("the path does not work either way"), "{row:?}");
    assert!(row.cure.as_ref().unwrap().contains("ethtool -K eth0 tx-checksum-ip-generic off"), "{row:?}");
    let row = feature(&check(), "a -> b", &dead(&[Kind::WrongChecksum], 9), &dead(&[], 9));
    assert_eq!(row.verdict, OffloadVerdict::Corrupt);
    assert!(row.cure.as_ref().unwrap().contains("tx-checksum-ip-generic on"), "{row:?}");
    // Not: what shows either way, what the broken path itself makes, and what nothing came to be compared with.
    for (off, on) in [
        (dead(&[Kind::PartialChecksum], 9), dead(&[Kind::PartialChecksum], 9)),
        (dead(&[], 9), dead(&[Kind::Lost, Kind::MissingSegment], 9)),
        (dead(&[], 0), dead(&[Kind::PartialChecksum], 9)),
    ] {
        let row = feature(&check(), "a -> b", &off, &on);
        assert_eq!((row.verdict, row.cure), (OffloadVerdict::Inconclusive, None), "{}", row.evidence);
    }
}

/// With it on the kernel hands over super-packets, with it off each segment by itself; where it does that either way, the device
/// needs no help for this tunnel.
#[test]
fn what_is_cut_in_parts_is_seen_by_the_super_packets_that_are_handed_over() {
    let group = GROUPS.iter().find(|group| group.name == GSO_PARTIAL).unwrap();
    let check = Check { group, features: [("tx-gso-partial".to_owned(), true)].into(), ..check() };
    let seen = |supers| {
        let mut probed = streams(100, None);
        probed.comparison.supers = supers;
        probed
    };
    for (off, on, verdict) in [
        (seen(0), seen(9), OffloadVerdict::Pass),
        (seen(9), seen(9), OffloadVerdict::Ineffective),
        (seen(0), seen(0), OffloadVerdict::Ineffective),
    ] {
        assert_eq!(feature(&check, "a -> b", &off, &on).verdict, verdict);
    }
    let mut wrong = seen(9);
    wrong.comparison.findings.add(Kind::WrongOuterIpId, || "0 for 1".to_owned());
    let row = feature(&check, "a -> b", &seen(0), &wrong);
    assert_eq!(row.verdict, OffloadVerdict::Corrupt);
    assert!(row.cure.is_some_and(|cure| cure.contains("ethtool -K eth0 tx-gso-partial off")));
}
