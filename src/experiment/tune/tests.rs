//! Advice from figures that are made up, so that what is right is known.

use super::*;
use crate::{
    measured::Test,
    record::{Unit, sweep::Figure},
    stats::spread,
};

/// One variant for each MTU, with these headlines in its rounds.
fn result(test: Test, of: &[(u32, [f64; 5])], cost: impl Fn(u32) -> Option<(f64, f64)>) -> (SweepResult, Vec<u32>) {
    let cell = |(at, (mtu, headlines)): (usize, &(u32, [f64; 5]))| SweepCell {
        variant: at as u32 + 1,
        // As a tunnel leaves it: the advice is in the MTU that was set.
        mtu: mtu - 50,
        rounds: headlines
            .iter()
            .map(|&headline| Figure {
                headline,
                cpu_ns: cost(*mtu).map(|(_, cpu)| cpu),
                bytes_per_packet: cost(*mtu).map(|(size, _)| size),
                p99_us: None,
            })
            .collect(),
        headline: spread(headlines).expect("there are rounds"),
        cpu_ns: None,
        p99_us: None,
        ceiling: None,
        against_first: None,
        doubts: Vec::new(),
    };
    let unit = if test.is_rr() { Unit::TransactionsPerSecond } else { Unit::BitsPerSecond };
    let cells = of.iter().enumerate().map(cell).collect();
    let result = SweepResult { from: "a".into(), to: "b".into(), test, unit, cells };
    (result, of.iter().map(|(mtu, _)| *mtu).collect())
}

fn advice(of: &[(u32, [f64; 5])]) -> Tuned {
    let (result, mtus) = result(Test::UdpStream, of, |_| None);
    one(&result, &mtus).expect("there are figures")
}

/// Rounds around a middle.
fn around(middle: f64) -> [f64; 5] {
    [0.98, 0.99, 1.0, 1.01, 1.02].map(|part| part * middle)
}

#[test]
fn the_best_is_named_and_what_is_as_good() {
    let clear = advice(&[(1500, around(5e9)), (4000, around(9e9)), (9000, around(20e9))]);
    assert_eq!((clear.best, &clear.as_good[..], clear.no_difference), (9000, &[][..], false));
    assert!((clear.headline.median - 20e9).abs() < 1.0);
    // One per cent more is within the noise, and smaller than what matters.
    let near = advice(&[(1500, around(5e9)), (4000, around(20e9)), (9000, around(20.2e9))]);
    assert_eq!((near.best, &near.as_good[..], near.no_difference), (9000, &[4000][..], false));
    // The best need not be the largest.
    let middle = advice(&[(1500, around(5e9)), (4000, around(9e9)), (9000, around(4e9))]);
    assert_eq!((middle.best, &middle.as_good[..]), (4000, &[][..]));
}

#[test]
fn what_does_not_differ_is_called_so() {
    let same = advice(&[(1500, around(10e9)), (9000, around(10.1e9))]);
    assert!(same.no_difference && same.as_good == [1500] && same.best == 9000, "{same:?}");
    // A large difference of medians that rounds do not bear out.
    let noisy = advice(&[(1500, [1e9, 30e9, 2e9, 25e9, 10e9]), (9000, [2e9, 28e9, 14e9, 3e9, 40e9])]);
    assert!(noisy.no_difference, "{noisy:?}");
    // Real and too small to matter: 3 %, where every round is above every other.
    let small = advice(&[(1500, [1.0, 1.001, 1.002, 1.003, 1.004]), (9000, [1.03, 1.031, 1.032, 1.033, 1.034])]);
    assert!(small.no_difference, "{small:?}");
}

#[test]
fn a_byte_and_a_packet_have_their_costs_by_a_line() {
    // 0.2 ns a byte, 450 ns a packet.
    let cost = |mtu: u32| Some((f64::from(mtu - 52), 0.2 + 450.0 / f64::from(mtu - 52)));
    let of = [(1500, around(1.0)), (4000, around(1.0)), (9000, around(1.0))];
    let (streams, mtus) = result(Test::TcpStream, &of, cost);
    let fit = one(&streams, &mtus).and_then(|tuned| tuned.fit).expect("a line");
    assert!((fit.a_ns_per_byte - 0.2).abs() < 1e-9 && (fit.b_ns_per_packet - 450.0).abs() < 1e-6, "{fit:?}");
    assert!((fit.r_squared - 1.0).abs() < 1e-9 && fit.residual_ns < 1e-9, "{fit:?}");
    let points: Vec<u32> = fit.points.iter().map(|point| point.mtu).collect();
    assert_eq!(points, mtus);
    assert!(fit.points.iter().all(|point| (point.fitted - point.cpu_ns_per_byte).abs() < 1e-9), "{fit:?}");
}

#[test]
fn where_there_is_no_line_the_reason_is_said() {
    let of = [(1500, around(1.0)), (9000, around(1.0))];
    let why = |test, cost: &dyn Fn(u32) -> Option<(f64, f64)>| {
        let (result, mtus) = result(test, &of, cost);
        let tuned = one(&result, &mtus).expect("there are figures");
        assert!(tuned.fit.is_none(), "{tuned:?}");
        tuned.no_fit.expect("a reason")
    };
    assert!(why(Test::TcpRr, &|_| Some((1.0, 1.0))).contains("no cost a byte"));
    assert!(why(Test::TcpStream, &|_| None).contains("did not count"));
    // Super-packets of the same size at each MTU.
    assert!(why(Test::TcpStream, &|_| Some((64e3, 0.3))).contains("crossed with 64 KB at once"));
}
