use super::*;

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
        ..Crafted::default()
    };
    let with = |crafted| Probed { crafted: Some(crafted), ..streams(100, None) };
    let rows = whole("a -> b", &with(crafted(0, 0)));
    assert!(rows.iter().all(|row| row.verdict == OffloadVerdict::Pass), "{rows:?}");
    for (delivered, verified) in [(3, 0), (0, 3)] {
        let rows = whole("a -> b", &with(crafted(delivered, verified)));
        let row = rows.iter().find(|row| row.check == "rx-verification").unwrap();
        assert_eq!(row.verdict, OffloadVerdict::Corrupt);
        assert!(row.evidence.starts_with("corrupt frame marked as verified"), "{row:?}");
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
