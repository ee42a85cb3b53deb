use super::*;

const AT: &str = "a/eth0";

fn probe(arrived: &[(&str, u32, Option<u16>, bool)]) -> ProbeSeen {
    let one = |&(at, frames, tag, within): &(&str, u32, Option<u16>, bool)| ArrivedAt {
        at: at.to_owned(),
        frames,
        vlan: tag.map(|tci| tci & 0xfff),
        priority: tag.map(|tci| (tci >> 13) as u8),
        within,
    };
    let arrived = arrived.iter().map(one).collect();
    ProbeSeen { what: "frames".into(), sent: 10, refused: None, arrived, bits_per_second: None }
}

fn nothing() -> ProbeSeen {
    probe(&[])
}

#[test]
fn a_vlan_is_proved_by_what_arrives_and_what_does_not() {
    let out = probe(&[("self/pf", 10, Some(3 << 13 | 7), true)]);
    let inside = probe(&[(AT, 10, None, true)]);
    let (held, text) = isolated(Some(3), &out, 1, Some(&inside), &[&nothing(), &nothing()], AT);
    assert_eq!(held, Enforcement::Enforced, "{text}");
    assert!(text.contains("10 of 10: 10 at self/pf with tag 7") && text.contains("0 of 20 of others"), "{text}");
    // The mutations of it that a NIC could do.
    let all = |priority, out: &ProbeSeen, inside: &ProbeSeen, outside: &ProbeSeen| {
        isolated(priority, out, 1, Some(inside), &[outside], AT)
    };
    let untagged = probe(&[("self/pf", 10, None, false)]);
    let (verdict, text) = all(Some(3), &untagged, &inside, &nothing());
    assert_eq!((verdict, text.contains("without a tag")), (Enforcement::NotEnforced, true), "{text}");
    let (verdict, text) = all(Some(0), &out, &inside, &nothing());
    assert_eq!((verdict, text.contains("priority 3, not 0")), (Enforcement::NotEnforced, true), "{text}");
    let (verdict, text) = all(Some(3), &out, &inside, &probe(&[(AT, 4, None, false)]));
    assert_eq!((verdict, text.contains("4 of 10 frames arrived")), (Enforcement::NotEnforced, true), "{text}");
    let (verdict, text) = all(Some(3), &out, &probe(&[(AT, 9, Some(7), true)]), &nothing());
    assert_eq!((verdict, text.contains("still on")), (Enforcement::NotEnforced, true), "{text}");
    // Nothing arrives anywhere: silence is no proof.
    assert_eq!(all(Some(3), &nothing(), &nothing(), &nothing()).0, Enforcement::NotTested);
    assert_eq!(isolated(None, &nothing(), 1, None, &[], AT).0, Enforcement::NotTested);
    let among = probe(&[("b/eth0", 10, None, true)]);
    assert_eq!(isolated(None, &among, 0, Some(&inside), &[], AT).0, Enforcement::NotTested, "nobody is outside");
}

#[test]
fn a_forged_source_passes_or_does_not() {
    let (own, passed) = (probe(&[("b/eth0", 10, None, true)]), probe(&[("b/eth0", 10, None, true)]));
    assert_eq!(spoof_checked(true, &own, &nothing()).0, Enforcement::Enforced);
    assert_eq!(spoof_checked(true, &own, &passed).0, Enforcement::NotEnforced);
    assert_eq!(spoof_checked(false, &own, &passed).0, Enforcement::Enforced);
    assert_eq!(spoof_checked(false, &own, &nothing()).0, Enforcement::NotEnforced);
    assert_eq!(spoof_checked(true, &nothing(), &nothing()).0, Enforcement::NotTested);
}

#[test]
fn trust_is_what_is_granted() {
    let (came, not) = (probe(&[(AT, 10, None, true)]), nothing());
    let one = |before, while_asked| [Privilege { name: "promiscuous mode", before, while_asked, lasting: false }];
    assert_eq!(trusted(true, Some(&came), &one(&not, &came), AT).0, Enforcement::Enforced);
    assert_eq!(trusted(true, Some(&came), &one(&not, &not), AT).0, Enforcement::NotEnforced);
    assert_eq!(trusted(false, Some(&came), &one(&not, &not), AT).0, Enforcement::Enforced);
    assert_eq!(trusted(false, Some(&came), &one(&not, &came), AT).0, Enforcement::NotEnforced);
    assert_eq!(trusted(true, Some(&came), &one(&came, &came), AT).0, Enforcement::NotTested, "nothing is filtered");
    let both = [one(&came, &came)[0], one(&not, &not)[0]];
    assert_eq!(
        trusted(true, Some(&came), &both, AT).0,
        Enforcement::NotTested,
        "one is open to all, the other nobody asked for"
    );
    let again = Privilege { lasting: true, ..one(&came, &came)[0] };
    assert_eq!(
        trusted(true, Some(&came), &[one(&not, &not)[0], again], AT).0,
        Enforcement::Enforced,
        "granted earlier"
    );
    assert_eq!(trusted(false, Some(&came), &[one(&not, &not)[0], again], AT).0, Enforcement::NotEnforced, "and kept");
    assert_eq!(trusted(false, None, &one(&not, &not), AT).0, Enforcement::NotTested);
}

#[test]
fn a_limit_is_proved_beside_somebody_without_it() {
    let verdict = |arrived: &[f64], unlimited: &[f64]| limited(100.0, arrived, unlimited).0;
    assert_eq!(verdict(&[98.0, 97.0, 99.0], &[900.0, 500.0, 800.0]), Enforcement::Enforced);
    assert_eq!(verdict(&[300.0, 310.0, 80.0], &[300.0, 310.0, 90.0]), Enforcement::NotEnforced);
    assert_eq!(
        verdict(&[96.0, 408.0, 90.0], &[251.0, 378.0, 250.0]),
        Enforcement::NotTested,
        "a machine that is busy now and then"
    );
    assert_eq!(verdict(&[98.0, 97.0, 99.0], &[900.0, 99.0, 800.0]), Enforcement::NotTested, "the machine is no faster");
    assert_eq!(verdict(&[98.0, 97.0, 99.0], &[]), Enforcement::NotTested);
    assert_eq!(verdict(&[30.0, 31.0, 29.0], &[900.0, 900.0, 900.0]), Enforcement::NotTested);
    assert_eq!(verdict(&[0.0, 0.0, 0.0], &[900.0, 900.0, 900.0]), Enforcement::NotTested);
}

#[test]
fn a_cut_link_is_silent_while_others_talk() {
    let (came, not) = (probe(&[(AT, 10, None, true)]), nothing());
    assert_eq!(cut(false, &not, Some(&not), true, AT).0, Enforcement::Enforced);
    assert_eq!(cut(true, &not, Some(&not), true, AT).0, Enforcement::NotEnforced);
    assert_eq!(cut(false, &not, Some(&came), true, AT).0, Enforcement::NotEnforced);
    assert_eq!(cut(false, &came, Some(&not), true, AT).0, Enforcement::NotEnforced);
    assert_eq!(cut(false, &not, Some(&not), false, AT).0, Enforcement::NotTested);
    // What arrives at another whose name ends alike does not arrive here.
    let elsewhere = probe(&[(&format!("a{AT}"), 10, None, true)]);
    assert_eq!(cut(false, &not, Some(&elsewhere), true, AT).0, Enforcement::Enforced);
}
