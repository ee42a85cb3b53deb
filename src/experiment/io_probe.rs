//! `--io auto`: which way of sending and receiving is fastest on this path, by a short measurement of each.
//!
//! Short looks at each way to send and at each to receive, the other end as usual, leave out what is hopeless, and end the search
//! where the path is the limit and all get the same. The pairs of all others are looked at, since what one end gains may need the
//! other. Those that are close to the fastest, and the plain one, are measured anew, in turn, and the median of that alone counts:
//! what made one of them the fastest was luck in part. On a machine where tries differ those that are close are tried more often.
//! Another way must be faster than the plain one by more than that is worth (docs/performance.md).

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    evidence::Seen,
    round::{self, Audience, Ends, Lane},
};
use crate::{
    agent::Workers,
    measured::{ReceiveMode, SendMode, Side, Test},
    plan::desired::FlowPath,
    record::{IoProbe, IoTry},
    stats,
    traffic::Spec,
    units::Span,
};

/// Window of a look, and of a try.
const LOOK: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(200);
/// Warm-up of either.
const WARM_UP: Duration = Duration::from_millis(40);
/// A way to send, or to receive, of which two looks got less than this share of the fastest is in no pair.
const HOPELESS: f64 = 0.6;
/// Where no way that works got less than this share of the fastest the path is the limit, and pairs are not looked at.
const LEVEL: f64 = 0.97;
/// Looks at a pair; the best counts, for what disturbs makes it slower. One that is further behind than this is left out.
const LOOKS: usize = 2;
const BEHIND: f64 = 0.85;
/// Ways that are measured anew, at most, and the plain one; each got at least this share of the fastest.
const FINALISTS: usize = 4;
const NEAR: f64 = 0.9;
/// Tries of each of them.
const PASSES: usize = 3;
/// More of them where tries of the same way differ by more than a share, of the ways that are close to the fastest.
const MORE: usize = 4;
const NOISY: f64 = 0.1;
const CLOSE: f64 = 0.95;
/// By how much another way must be faster than the plain one.
const CLEARLY: f64 = 1.02;
/// The mark at which a receiver that copies nothing is woken: it takes more at a time then (docs/performance.md).
const MARK: i32 = 64 << 10;

/// What may not be changed, since it was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed {
    /// The way to send.
    pub send: bool,
    /// The way to receive.
    pub receive: bool,
}

/// Everything a probe needs of the run around it.
pub struct Around<'a, 'w> {
    /// The flow.
    pub path: &'a FlowPath,
    /// Client's job, as it would run without the probe.
    pub client: Spec,
    /// Server's.
    pub server: Spec,
    /// The workers.
    pub workers: &'a mut Workers<'w>,
    /// The next free number of a job.
    pub job: &'a mut u32,
    /// Ends the probe early.
    pub interrupt: &'a AtomicBool,
}

/// Tries the ways that the test has; `None` when it has no choice. A way that fails is one that loses.
pub fn probe(mut around: Around<'_, '_>, fixed: Fixed) -> Option<IoProbe> {
    let test = around.client.test;
    if test.is_rr() {
        return None;
    }
    let usual = IoTry {
        send: around.client.send,
        receive: around.client.receive,
        rcvlowat: around.client.tuning.rcvlowat,
        bits_per_second: 0.0,
    };
    let choice = Choice::of(test, fixed, usual);
    search(&choice, |way, window| (!around.interrupt.load(Relaxed)).then(|| around.measure(way, window)))
}

/// The ways that are left open.
struct Choice {
    plain: IoTry,
    sends: Vec<SendMode>,
    receives: Vec<(ReceiveMode, Option<i32>)>,
}

impl Choice {
    fn of(test: Test, fixed: Fixed, plain: IoTry) -> Self {
        let mut sends = vec![plain.send];
        if !fixed.send && test != Test::TcpSendfile {
            sends.extend(match test {
                Test::FrameStream => &[SendMode::Ring, SendMode::Mmsg][..],
                Test::UdpStream => &[SendMode::Gso, SendMode::Mmsg],
                _ => &[SendMode::Write, SendMode::Sendfile, SendMode::Zerocopy, SendMode::Splice, SendMode::Uring],
            });
        }
        let asked = plain.rcvlowat;
        let mut receives = vec![(plain.receive, asked)];
        if !fixed.receive {
            receives.extend(match test {
                Test::FrameStream => Vec::new(),
                Test::UdpStream => vec![(ReceiveMode::Gro, asked), (ReceiveMode::Mmsg, asked)],
                _ => vec![
                    (ReceiveMode::Recv, asked),
                    (ReceiveMode::Trunc, asked),
                    (ReceiveMode::Trunc, asked.or(Some(MARK))),
                    (ReceiveMode::Splice, asked),
                    (ReceiveMode::Zerocopy, asked),
                    (ReceiveMode::Uring, asked),
                ],
            });
        }
        let has_uring = cfg!(feature = "io_uring");
        sends.retain(|send| send.fits(test) && (has_uring || *send != SendMode::Uring));
        receives.retain(|(receive, _)| receive.fits(test) && (has_uring || *receive != ReceiveMode::Uring));
        Self { plain, sends, receives }
    }

    /// The pairs of these that make sense: only pages that are sent by reference arrive as pages that can be mapped, so that other pairs
    /// are tried only where mapping was asked for.
    fn pairs(&self, keep: impl Fn(&IoTry) -> bool) -> Vec<IoTry> {
        let all = self.sends.iter().flat_map(|&send| {
            self.receives.iter().map(move |&(receive, rcvlowat)| IoTry { send, receive, rcvlowat, ..self.plain })
        });
        let is_mapping = |receive| receive == ReceiveMode::Zerocopy;
        let may_map = |way: &IoTry| way.send == SendMode::Splice || is_mapping(self.plain.receive);
        all.filter(|way| !is_mapping(way.receive) || may_map(way)).filter(keep).collect()
    }
}

/// A way, and what it got each time.
struct Way {
    way: IoTry,
    figures: Vec<f64>,
    is_finalist: bool,
}

impl Way {
    fn best(&self) -> f64 {
        self.figures.iter().copied().fold(0.0, f64::max)
    }

    fn median(&self) -> f64 {
        stats::median(&self.figures).unwrap_or(0.0)
    }

    /// Do tries of it differ by more than a share?
    fn is_noisy(&self) -> bool {
        let least = self.figures.iter().copied().fold(f64::MAX, f64::min);
        self.best() - least > NOISY * self.median()
    }
}

fn best(ways: &[Way]) -> f64 {
    ways.iter().map(Way::best).fold(0.0, f64::max)
}

/// Looks at ways that were not, until each has so many looks or is behind.
fn look(
    ways: &mut Vec<Way>,
    more: Vec<IoTry>,
    looks: usize,
    measure: &mut impl FnMut(IoTry, Duration) -> Option<f64>,
) -> Option<()> {
    for way in more {
        if !ways.iter().any(|known| known.way == way) {
            ways.push(Way { way, figures: Vec::with_capacity(PASSES + MORE), is_finalist: false });
        }
    }
    for look in 0..looks {
        for at in 0..ways.len() {
            if ways[at].figures.len() == look && (look == 0 || ways[at].best() >= best(ways) * BEHIND) {
                let figure = measure(ways[at].way, LOOK)?;
                ways[at].figures.push(figure);
            }
        }
    }
    Some(())
}

/// Tries the ways. Nothing once a measurement fails to come, or where there is no choice.
fn search(choice: &Choice, mut measure: impl FnMut(IoTry, Duration) -> Option<f64>) -> Option<IoProbe> {
    let plain = choice.plain;
    let received_as_usual = |way: &IoTry| (way.receive, way.rcvlowat) == (plain.receive, plain.rcvlowat);
    let mut ways = Vec::new();
    look(&mut ways, choice.pairs(|way| way.send == plain.send || received_as_usual(way)), 1, &mut measure)?;
    let fastest = best(&ways);
    // No choice, or a path that carries nothing: a round says why better than looks do.
    if ways.len() < 2 || fastest == 0.0 {
        return None;
    }
    let told = |way: &Way| IoTry { bits_per_second: way.median(), ..way.way };
    if ways[0].best() > 0.0 && ways.iter().map(Way::best).all(|got| got == 0.0 || got >= fastest * LEVEL) {
        return Some(IoProbe { chosen: told(&ways[0]), tried: ways.iter().map(told).collect() });
    }
    let least = fastest * HOPELESS;
    // One look may have fallen into a bad moment.
    for way in ways.iter_mut().filter(|way| way.best() < least) {
        let figure = measure(way.way, LOOK)?;
        way.figures.push(figure);
    }
    let is_hopeless =
        |alike: &dyn Fn(&IoTry) -> bool| ways.iter().any(|known| alike(&known.way) && known.best() < least);
    let pairs = choice.pairs(|way| {
        !is_hopeless(&|known| known.send == way.send && received_as_usual(known))
            && !is_hopeless(&|known| IoTry { send: way.send, ..*known } == *way && known.send == plain.send)
    });
    look(&mut ways, pairs, LOOKS, &mut measure)?;
    finals(&mut ways, measure)?;
    let finalists: Vec<IoTry> = ways.iter().filter(|way| way.is_finalist).map(told).collect();
    Some(IoProbe { chosen: choose(&finalists)?, tried: ways.iter().map(told).collect() })
}

/// Measures those that are close to the fastest anew, in turn, and the first, which is the plain one.
fn finals(ways: &mut [Way], mut measure: impl FnMut(IoTry, Duration) -> Option<f64>) -> Option<()> {
    let mut order: Vec<usize> = (0..ways.len()).collect();
    order.sort_by(|&a, &b| ways[b].best().total_cmp(&ways[a].best()));
    let least = best(ways) * NEAR;
    for (place, at) in order.into_iter().enumerate() {
        ways[at].is_finalist = at == 0 || (place < FINALISTS && ways[at].best() >= least);
    }
    let mut finalists: Vec<&mut Way> = ways.iter_mut().filter(|way| way.is_finalist).collect();
    finalists.iter_mut().for_each(|way| way.figures.clear());
    for pass in 0..PASSES + MORE {
        let fastest = finalists.iter().map(|way| way.median()).fold(0.0, f64::max);
        let close: Vec<bool> = finalists.iter().map(|way| pass < PASSES || way.median() >= fastest * CLOSE).collect();
        let mut noisy = finalists.iter().zip(&close).filter(|(_, close)| **close).map(|(way, _)| way.is_noisy());
        if pass >= PASSES && (close.iter().filter(|close| **close).count() < 2 || !noisy.any(|noisy| noisy)) {
            break;
        }
        for (way, _) in finalists.iter_mut().zip(close).filter(|(_, close)| *close) {
            let figure = measure(way.way, WINDOW)?;
            way.figures.push(figure);
        }
    }
    Some(())
}

/// The fastest, when it is clearly faster than the plain one, which is the first; the plain one otherwise.
fn choose(ways: &[IoTry]) -> Option<IoTry> {
    let first = ways.first()?;
    let fastest = ways.iter().max_by(|a, b| a.bits_per_second.total_cmp(&b.bits_per_second))?;
    let clearly = fastest.bits_per_second > first.bits_per_second * CLEARLY;
    Some(if clearly { *fastest } else { *first })
}

impl IoTry {
    /// Sets a job up so.
    pub fn apply(&self, spec: &mut Spec) {
        spec.send = self.send;
        spec.receive = self.receive;
        spec.tuning.rcvlowat = self.rcvlowat;
    }
}

impl Around<'_, '_> {
    /// Goodput of a way; nothing when it failed.
    fn measure(&mut self, way: IoTry, window: Duration) -> f64 {
        let short = |spec: &Spec| {
            let (duration, omit, interval) = (Span(window), Span(WARM_UP), Span(window));
            let mut spec = Spec { duration, omit, interval, amount: None, ..spec.clone() };
            way.apply(&mut spec);
            spec
        };
        *self.job += 2;
        let (client, server) = (short(&self.client), short(&self.server));
        let lane = Lane { path: self.path, client, server, job: *self.job, is_load: false };
        let mut nothing = || Ok(Seen::default());
        let nobody = Audience { hear: &mut |_| {}, looks: false };
        match round::run(&[lane], self.workers, &mut nothing, nobody, self.interrupt).map(|mut all| all.ends.remove(0))
        {
            // What fell back to the plain way is not another way.
            Ok(measured) if self.client.test.is_byte_stream() && fell_back(&measured) => 0.0,
            Ok(measured) if self.client.test.is_reverse() => measured.client.bits_per_second(),
            Ok(measured) => {
                let back = measured.client.back.as_deref().map_or(0.0, Side::bits_per_second);
                measured.server.bits_per_second() + back
            }
            Err(_) => 0.0,
        }
    }
}

fn fell_back(ends: &Ends) -> bool {
    let streams = ends.client.both_ways().chain(ends.server.both_ways());
    streams.filter_map(|stream| stream.io.as_ref()).any(|io| io.fallback.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(send: SendMode, gigabits: f64) -> IoTry {
        IoTry { send, receive: ReceiveMode::Recv, rcvlowat: None, bits_per_second: gigabits * 1e9 }
    }

    #[test]
    fn only_a_clear_win_is_chosen() {
        let plain = way(SendMode::Write, 10.0);
        assert_eq!(choose(&[plain, way(SendMode::Sendfile, 10.1)]), Some(plain));
        let fast = way(SendMode::Zerocopy, 10.3);
        assert_eq!(choose(&[plain, fast, way(SendMode::Sendfile, 10.2)]), Some(fast));
        assert_eq!(choose(&[]), None);
    }

    const USUAL: IoTry =
        IoTry { send: SendMode::Write, receive: ReceiveMode::Recv, rcvlowat: None, bits_per_second: 0.0 };

    fn open(test: Test) -> Choice {
        let plain = IoTry { send: SendMode::usual(test, 1500), receive: ReceiveMode::usual(test), ..USUAL };
        Choice::of(test, Fixed::default(), plain)
    }

    /// Gbit/s of a way on a veth of MTU 9000, of a machine at rest.
    fn speed(way: &IoTry) -> f64 {
        use {ReceiveMode as R, SendMode as S};
        match (way.send, way.receive, way.rcvlowat.is_some()) {
            (S::Zerocopy, ..) => 36.0,
            (S::Sendfile, ..) => 55.0,
            (S::Splice, R::Uring, _) => 75.0,
            (S::Splice, R::Splice | R::Recv, _) => 69.0,
            (S::Splice, R::Trunc, false) => 68.0,
            (S::Splice, R::Zerocopy, _) => 36.0,
            (S::Uring, R::Recv | R::Uring, _) => 66.0,
            (_, R::Recv, _) => 65.0,
            (_, R::Trunc, _) => 63.0,
            _ => 61.0,
        }
    }

    /// Chooses among those ways, each try of which is off by up to this share, and one in eight far too slow; how good the choice was, and
    /// the seconds it took.
    fn chosen(noise: f64, seed: u64) -> (f64, f64) {
        let (mut state, mut took) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, 0.0);
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let probe = search(&open(Test::TcpStream), |way, window| {
            took += (WARM_UP + window).as_secs_f64();
            // The sum of three is no bell, and near enough to one.
            let off = (0..3).map(|_| random() * 2.0 - 1.0).sum::<f64>() / 3.0;
            let slow = if noise > 0.0 && random() < 0.12 { 0.3 + 0.65 * random() } else { 1.0 };
            Some(speed(&way) * (1.0 + noise * off) * slow)
        });
        (speed(&probe.unwrap().chosen) / 75.0, took)
    }

    #[test]
    fn noise_takes_more_tries_and_seldom_a_slow_way() {
        // How many of 1000 are within 5 % of the best, their mean, and the seconds that a choice takes.
        let of = |noise: f64| {
            let all: Vec<(f64, f64)> = (1..=1000).map(|seed| chosen(noise, seed)).collect();
            let good = all.iter().filter(|(share, _)| *share >= 0.95).count();
            let mean = |pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).sum::<f64>() / 1000.0;
            (good, mean(|all| all.0), mean(|all| all.1))
        };
        let at_rest = of(0.0);
        assert!(at_rest.0 == 1000 && at_rest.1 > 0.999, "{at_rest:?}");
        let (little, much) = (of(0.05), of(0.25));
        assert!(little.0 >= 850 && little.1 > 0.985, "{little:?}");
        assert!(much.1 > 0.955, "{much:?}");
        assert!([at_rest, little, much].iter().all(|of| of.2 < 9.0), "{at_rest:?} {little:?} {much:?}");
    }

    #[test]
    fn a_try_that_does_not_come_ends_it() {
        let mut left = 30;
        let none = search(&open(Test::TcpStream), |way, _| {
            left -= 1;
            (left > 0).then_some(speed(&way))
        });
        assert_eq!((none, left), (None, 0));
    }

    #[test]
    fn what_was_asked_for_is_not_tried_otherwise() {
        let tried = |test, send, receive| {
            let choice = Choice::of(test, Fixed { send, receive }, open(test).plain);
            // Not level, and none hopeless.
            let figure = |way: IoTry| if way == choice.plain { 1.0 } else { 0.9 };
            search(&choice, |way, _| Some(figure(way))).map_or(Vec::new(), |probe| probe.tried)
        };
        assert_eq!(tried(Test::TcpStream, true, true), [], "no choice");
        let sends = tried(Test::TcpStream, false, true);
        assert!(sends.len() == 5 && sends.iter().all(|way| way.receive == ReceiveMode::Recv), "{sends:?}");
        let receives = tried(Test::TcpStream, true, false);
        assert!(receives.len() == 5 && receives.iter().all(|way| way.send == SendMode::Write), "{receives:?}");
        let level = search(&open(Test::TcpStream), |_, _| Some(1.0)).unwrap();
        assert_eq!(
            (level.chosen, level.tried.len()),
            (IoTry { bits_per_second: 1.0, ..USUAL }, 9),
            "the path is the limit"
        );
        assert_eq!(search(&open(Test::TcpStream), |_, _| Some(0.0)), None, "nothing gets through");
        let mapping = IoTry { receive: ReceiveMode::Zerocopy, ..USUAL };
        let probe = search(&Choice::of(Test::TcpStream, Fixed { send: false, receive: true }, mapping), |way, _| {
            Some(if way.send == SendMode::Splice { 1.0 } else { 0.0 })
        });
        assert_eq!(probe.unwrap().chosen.send, SendMode::Splice);
        assert!(tried(Test::TcpSendfile, false, false).iter().all(|way| way.send == SendMode::Sendfile));
        assert_eq!(tried(Test::TcpStream, false, false).len(), 26, "every pair, and one way to map pages");
        assert_eq!((tried(Test::UdpStream, false, false).len(), tried(Test::FrameStream, false, false).len()), (4, 2));
    }
}
