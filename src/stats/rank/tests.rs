use proptest::prelude::*;

use super::*;

/// Smallest difference of `mann_whitney` for sets without ties in which U = `u`: the `u` lowest swaps are made in order.
fn sets_with(n: usize, m: usize, u: usize) -> (Vec<f64>, Vec<f64>) {
    // b_j lies above exactly `above` of 0..n.
    let mut rest = u;
    let mut b = Vec::new();
    for j in 0..m {
        let above = rest.min(n);
        rest -= above;
        b.push(above as f64 - 0.5 + j as f64 * 1e-6);
    }
    ((0..n).map(|i| i as f64).collect(), b)
}

/// Two-tailed critical values at 0.05 of Mann and Whitney's U, as in every textbook (Siegel & Castellan, table J; Zar, B.11): the
/// largest U that is significant.
#[test]
fn critical_values_agree_with_published_tables() {
    for (n, m, critical) in [
        (4, 4, 0),
        (3, 5, 0),
        (5, 5, 2),
        (5, 8, 6),
        (6, 6, 5),
        (7, 7, 8),
        (8, 8, 13),
        (9, 9, 17),
        (10, 10, 23),
        (12, 12, 37),
        (15, 15, 64),
        (20, 20, 127),
        (10, 20, 55),
    ] {
        let p = |u| {
            let (a, b) = sets_with(n, m, u);
            let test = mann_whitney(&a, &b).unwrap();
            assert_eq!((test.u, test.method), (u as f64, Method::Exact));
            test.p
        };
        assert!(p(critical) <= 0.05 && p(critical + 1) > 0.05, "{n} and {m}: {} {}", p(critical), p(critical + 1));
    }
}

/// The first table of Mann and Whitney, Annals of Mathematical Statistics 18 (1947): P(U ≤ u) for 5 and 5.
#[test]
fn probabilities_agree_with_mann_and_whitney() {
    for (u, one_sided) in [(0, 0.004), (1, 0.008), (2, 0.016), (3, 0.028), (4, 0.048), (5, 0.075), (6, 0.111)] {
        let (a, b) = sets_with(5, 5, u);
        assert!((mann_whitney(&a, &b).unwrap().p / 2.0 - one_sided).abs() < 5.1e-4, "U = {u}");
    }
}

/// Hollander & Wolfe, example 4.1 (permeability of human chorioamnion): U of 15 for 10 and 5, p = 0.2544, shift −0.305, and the interval
/// of R's wilcox.test.
#[test]
fn a_worked_example() {
    let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    let early = [1.15, 0.88, 0.90, 0.74, 1.21];
    let test = mann_whitney(&term, &early).unwrap();
    assert_eq!(test.u, 15.0);
    assert!((test.p - 0.2544).abs() < 1e-4, "{}", test.p);
    let shift = shift(&term, &early).unwrap();
    assert!((shift.estimate + 0.305).abs() < 1e-9);
    let interval = shift.interval.unwrap();
    assert!((interval.low + 0.76).abs() < 1e-9 && (interval.high - 0.15).abs() < 1e-9, "{interval:?}");
}

#[test]
fn ties_are_counted_out_too() {
    // Of the 20 ways to choose three of {1, 2, 2, 2, 3, 3} two lie as far out as {2, 3, 3}, with nothing as far below but {1, 2, 2}:
    // 3 ways each.
    let test = mann_whitney(&[1.0, 2.0, 2.0], &[2.0, 3.0, 3.0]).unwrap();
    assert_eq!((test.u, test.method), (8.0, Method::Exact));
    assert!((test.p - 6.0 / 20.0).abs() < 1e-12, "{}", test.p);
    let same = mann_whitney(&[5.0; 4], &[5.0; 4]).unwrap();
    assert_eq!((same.u, same.p), (8.0, 1.0));
    let many = mann_whitney(&[5.0; 40], &[5.0; 40]).unwrap();
    assert_eq!((many.p, many.method), (1.0, Method::Normal));
    assert_eq!(mann_whitney(&[0.0], &[-0.0]).unwrap().u, 0.5);
    assert_eq!(mann_whitney(&[], &[1.0]), None);
}

#[test]
fn exact_and_normal_meet() {
    let a: Vec<f64> = (0..25).map(|i| f64::from(i) * 1.0).collect();
    for offset in [0.3, 2.3, 5.3, 8.3] {
        let b: Vec<f64> = a.iter().map(|a| a + offset).collect();
        let test = mann_whitney(&a, &b).unwrap();
        let normal = approximate(25, 25, test.u, &[]);
        assert!((test.p - normal).abs() < 0.01, "{} and {normal}", test.p);
    }
}

#[test]
fn the_interval_of_many_is_near_that_of_few() {
    let (exact, near) = (outermost(25, 25).unwrap(), outermost(26, 25).unwrap());
    assert!(exact.0.abs_diff(near.0) <= 12 && near.1 >= 0.95 && near.1 < 0.96, "{exact:?} {near:?}");
    assert_eq!(outermost(3, 3), None);
    // Two of 70 ways to choose four of eight: 97.14 %.
    assert_eq!(outermost(4, 4), Some((1, 1.0 - 2.0 / 70.0)));
}

/// The share of all ways to part the samples in which U is at least as far from its mean, each part looked at by itself: U by
/// comparing pairs, no ranks.
fn by_every_way(a: &[f64], b: &[f64]) -> f64 {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let far = |chosen: u32| {
        let is_b = |at: &usize| chosen >> at & 1 == 1;
        let pair = |x: f64, y: f64| if y > x { 2 } else { i64::from(y == x) };
        let (of_b, of_a): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(is_b);
        let twice: i64 =
            of_b.iter().flat_map(|&j| of_a.iter().map(move |&i| (i, j))).map(|(i, j)| pair(all[i], all[j])).sum();
        (twice - (a.len() * b.len()) as i64).abs()
    };
    let ways: Vec<u32> = (0..1_u32 << all.len()).filter(|chosen| chosen.count_ones() as usize == b.len()).collect();
    let seen = far(((1 << b.len()) - 1) << a.len());
    ways.iter().filter(|chosen| far(**chosen) >= seen).count() as f64 / ways.len() as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p_with_ties_is_what_counting_every_way_gives(
        a in prop::collection::vec(0_i32..6, 1..7),
        b in prop::collection::vec(0_i32..6, 1..7),
    ) {
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        let b: Vec<f64> = b.into_iter().map(f64::from).collect();
        let test = mann_whitney(&a, &b).unwrap();
        prop_assert!((test.p - by_every_way(&a, &b)).abs() < 1e-12, "{} {}", test.p, by_every_way(&a, &b));
    }
}

proptest! {
    #[test]
    fn p_is_a_probability_and_does_not_care_for_the_order_of_the_sets(
        a in prop::collection::vec(-5_i32..20, 1..20),
        b in prop::collection::vec(-5_i32..20, 1..40),
    ) {
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        let b: Vec<f64> = b.into_iter().map(f64::from).collect();
        let (forth, back) = (mann_whitney(&a, &b).unwrap(), mann_whitney(&b, &a).unwrap());
        prop_assert!((0.0..=1.0).contains(&forth.p));
        prop_assert!((forth.p - back.p).abs() < 1e-9);
        prop_assert_eq!(forth.u + back.u, (a.len() * b.len()) as f64);
        let by_pairs: f64 = b.iter().flat_map(|b| a.iter().map(move |a| if b > a { 1.0 } else if b == a { 0.5 } else { 0.0 })).sum();
        prop_assert_eq!(forth.u, by_pairs);
    }

    #[test]
    fn only_the_order_of_samples_counts(
        a in prop::collection::vec(1_u32..1000, 2..12),
        b in prop::collection::vec(1_u32..1000, 2..12),
    ) {
        let plain = |set: &[u32]| set.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let bent = |set: &[u32]| set.iter().map(|&x| f64::from(x).powi(3) + 7.0).collect::<Vec<_>>();
        prop_assert_eq!(mann_whitney(&plain(&a), &plain(&b)), mann_whitney(&bent(&a), &bent(&b)));
    }

    #[test]
    fn a_shift_is_found(a in prop::collection::vec(0_i32..1000, 4..15), by in -500_i32..500) {
        let set: Vec<f64> = a.iter().map(|&x| f64::from(x)).collect();
        let moved: Vec<f64> = set.iter().map(|x| x + f64::from(by)).collect();
        let shift = shift(&set, &moved).unwrap();
        prop_assert_eq!(shift.estimate, f64::from(by));
        let interval = shift.interval.unwrap();
        prop_assert!(interval.low <= f64::from(by) && f64::from(by) <= interval.high && interval.coverage >= 0.95);
    }
}
