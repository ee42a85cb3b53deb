use proptest::prelude::*;

use super::*;
use crate::plan::desired::NsId;

fn flip(number: usize) -> Flip {
    let at = LinkRef { ns: NsId(format!("ns{}", number / 4)), name: "eth0".parse().unwrap() };
    Flip { at, feature: format!("feature-{number}"), on: number % 5 == 4 }
}

/// A path that is fast when the culprits are flipped, and slow otherwise.
fn search(count: usize, culprits: &[usize]) -> Bisector {
    let candidates: Vec<Flip> = (0..count).map(flip).collect();
    let culprits: Vec<Flip> = culprits.iter().map(|&number| flip(number)).collect();
    let mut machine = Bisector::new(5e9, candidates);
    let mut rate = None;
    for _ in 0..2000 {
        match machine.next(rate) {
            Action::Done => return machine,
            Action::Measure(flips) => {
                rate = Some(if culprits.iter().all(|culprit| flips.contains(culprit)) { 9e9 } else { 3e8 });
            }
        }
    }
    panic!("it does not end: {machine:?}");
}

#[test]
fn a_single_culprit_is_found_and_confirmed_with_few_measurements() {
    let machine = search(32, &[13]);
    assert_eq!(machine.culprits(), [flip(13)]);
    assert!(machine.is_confirmed());
    assert!(machine.trials().len() < 30, "{}", machine.trials().len());
    // A/B by turns at the end.
    let last: Vec<usize> = machine.trials().iter().rev().take(4).map(|(flips, _)| flips.len()).collect();
    assert_eq!(last, [0, 1, 0, 1]);
}

/// As a feature of both ends of a path of four devices.
#[test]
fn two_culprits_close_together_are_found_with_few_measurements() {
    let machine = search(48, &[0, 3]);
    assert_eq!(machine.culprits(), [flip(0), flip(3)]);
    assert!(machine.is_confirmed() && machine.trials().len() < 32, "{}", machine.trials().len());
    // None that failed was asked for again before the set was known.
    let searched = &machine.trials()[..machine.trials().len() - 2 * ROUNDS - 2];
    let failed: Vec<&Vec<Flip>> = searched.iter().filter(|(_, rate)| *rate < 5e9).map(|(flips, _)| flips).collect();
    assert!(failed.iter().enumerate().all(|(at, flips)| !failed[..at].contains(flips)), "{failed:?}");
}

/// One measurement of each set with the culprits fails by chance: what is found is the smallest all the same.
#[test]
fn a_bad_measurement_of_the_search_leaves_nothing_in_the_set_that_need_not_be() {
    let culprits = [flip(0), flip(3)];
    let found = search(48, &[0, 3]).trials().to_vec();
    let sets: Vec<&Vec<Flip>> = found.iter().filter(|(_, rate)| *rate > 5e9).map(|(flips, _)| flips).collect();
    for bad in &sets[1..] {
        let mut machine = Bisector::new(5e9, (0..48).map(flip).collect());
        let (mut action, mut failed) = (machine.next(None), false);
        while let Action::Measure(flips) = action {
            let chance = !failed && flips == **bad;
            failed |= chance;
            let helps = !chance && culprits.iter().all(|culprit| flips.contains(culprit));
            action = machine.next(Some(if helps { 9e9 } else { 0.0 }));
            assert!(machine.trials().len() < 200);
        }
        assert!(failed && machine.is_confirmed(), "{bad:?}");
        assert_eq!(machine.culprits(), culprits, "{bad:?}");
    }
}

#[test]
fn a_path_that_meets_the_goal_is_left_alone() {
    let mut machine = Bisector::new(5e9, vec![flip(0)]);
    assert_eq!(machine.next(None), Action::Measure(Vec::new()));
    assert_eq!(machine.next(Some(6e9)), Action::Done);
    assert_eq!((machine.outcome(), machine.culprits()), (Some(Outcome::MetAsFound), &[][..]));
}

#[test]
fn where_nothing_helps_it_is_said() {
    let mut machine = Bisector::new(5e9, (0..8).map(flip).collect());
    let mut action = machine.next(None);
    while action != Action::Done {
        action = machine.next(Some(1e9));
    }
    assert_eq!(machine.outcome(), Some(Outcome::NothingHelps));
    assert!(!machine.is_confirmed());
    let mut none = Bisector::new(5e9, Vec::new());
    assert_eq!(none.next(None), Action::Measure(Vec::new()));
    assert_eq!(none.next(Some(1e9)), Action::Done);
    assert_eq!(none.outcome(), Some(Outcome::NothingHelps));
}

#[test]
fn one_bad_measurement_of_the_set_is_repeated_and_two_are_not() {
    for (bad, confirmed) in [(vec![3], true), (vec![3, 4], false), (vec![3, 6], false)] {
        let mut machine = Bisector::new(5e9, vec![flip(0)]);
        let (mut action, mut count) = (machine.next(None), 0);
        while let Action::Measure(flips) = action {
            count += 1;
            let fast = flips.contains(&flip(0)) && !bad.contains(&count);
            action = machine.next(Some(if fast { 9e9 } else { 0.0 }));
        }
        assert_eq!((machine.is_confirmed(), machine.culprits()), (confirmed, &[flip(0)][..]), "{:?}", machine.trials());
    }
}

#[test]
fn a_result_that_does_not_repeat_is_not_confirmed() {
    let mut machine = Bisector::new(5e9, (0..3).map(flip).collect());
    let mut action = machine.next(None);
    let mut count = 0;
    while let Action::Measure(flips) = action {
        count += 1;
        // Fast by flipping feature 0 at first, slow whatever is done later.
        let fast = flips.contains(&flip(0)) && count < 4;
        action = machine.next(Some(if fast { 9e9 } else { 1e9 }));
    }
    assert!(machine.outcome().is_some() && !machine.is_confirmed());
}

proptest! {
    /// Whatever the culprits are, exactly they are found.
    #[test]
    fn the_culprits_are_found(count in 1..40usize, picks in prop::collection::btree_set(0..40usize, 1..4)) {
        let picks: Vec<usize> = picks.into_iter().filter(|pick| *pick < count).collect();
        prop_assume!(!picks.is_empty());
        let machine = search(count, &picks);
        let mut found: Vec<Flip> = machine.culprits().to_vec();
        found.sort();
        let mut expected: Vec<Flip> = picks.iter().map(|&pick| flip(pick)).collect();
        expected.sort();
        prop_assert_eq!(found, expected);
        prop_assert!(machine.is_confirmed());
    }
}
