//! `--io auto`: which way of sending and receiving is fastest on this path, by a short measurement of each.
//!
//! First the ways to receive, with the usual way to send; then the ways to send, with the best of those, and two pairs of which each
//! half alone gains little or does not work. All are tried once; those that are far behind then are left out, the others are
//! tried again, in turn, and the median counts; on a machine where tries differ those that are close are tried more often. Another
//! way must be faster than the plain one by more than that is worth: so what is chosen is never below 95 % of the best that was
//! found (docs/performance.md).

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

/// Window of a try.
const WINDOW: Duration = Duration::from_millis(200);
/// Warm-up of a try.
const WARM_UP: Duration = Duration::from_millis(50);
/// Tries of a way that is not left out.
const PASSES: usize = 3;
/// More of them where tries of the same way differ by more than a share, of the ways that are close to the fastest.
const MORE: usize = 4;
const NOISY: f64 = 0.1;
const CLOSE: f64 = 0.9;
/// A way that got less than this share of the best so far is left out. The plain one never is.
const HOPELESS: f64 = 0.6;
/// By how much another way must be faster than the plain one of its stage.
const CLEARLY: f64 = 1.05;
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
    let mut tried = Vec::new();
    let mut best = usual;
    for stage in stages(test, fixed) {
        let mut ways: Vec<IoTry> = Vec::new();
        for way in stage.iter().map(|change| change(best)).filter(|way| way.fits(test)) {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        let figures =
            tries(ways.len(), |number| (!around.interrupt.load(Relaxed)).then(|| around.measure(ways[number])))?;
        for (way, figure) in ways.iter_mut().zip(figures) {
            way.bits_per_second = figure;
        }
        best = choose(&ways).unwrap_or(best);
        tried.extend(ways);
    }
    (!tried.is_empty()).then_some(IoProbe { chosen: best, tried })
}

/// Tries ways in turn, again and again; the median of each, and nothing once a try fails to come.
fn tries(ways: usize, mut measure: impl FnMut(usize) -> Option<f64>) -> Option<Vec<f64>> {
    let mut figures = vec![Vec::with_capacity(PASSES + MORE); ways];
    for pass in 0..PASSES + MORE {
        for way in worth_a_try(&figures, pass) {
            figures[way].push(measure(way)?);
        }
    }
    Some(figures.iter().map(|figures| stats::median(figures).unwrap_or(0.0)).collect())
}

/// The ways to try in a pass: first all that are not far behind, then, where tries of the same way differ, those that are close.
fn worth_a_try(figures: &[Vec<f64>], pass: usize) -> Vec<usize> {
    let medians: Vec<f64> = figures.iter().map(|figures| stats::median(figures).unwrap_or(0.0)).collect();
    let fastest = medians.iter().copied().fold(0.0, f64::max);
    let within = |share: f64| -> Vec<usize> {
        (0..medians.len()).filter(|&way| way == 0 || medians[way] >= fastest * share).collect()
    };
    if pass < PASSES {
        return within(HOPELESS);
    }
    let is_noisy = |way: &usize| {
        let (least, most) = figures[*way].iter().fold((f64::MAX, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        most - least > NOISY * medians[*way]
    };
    let close = within(CLOSE);
    if close.len() > 1 && close.iter().any(is_noisy) { close } else { Vec::new() }
}

/// The fastest, when it is clearly faster than the first; the first otherwise.
fn choose(ways: &[IoTry]) -> Option<IoTry> {
    let first = ways.first()?;
    let fastest = ways.iter().max_by(|a, b| a.bits_per_second.total_cmp(&b.bits_per_second))?;
    let clearly = fastest.bits_per_second > first.bits_per_second * CLEARLY;
    Some(if clearly { *fastest } else { *first })
}

type Change = fn(IoTry) -> IoTry;

fn stages(test: Test, fixed: Fixed) -> Vec<Vec<Change>> {
    let receive: Vec<Change> = match test {
        Test::FrameStream => Vec::new(),
        Test::UdpStream => {
            vec![|t| IoTry { receive: ReceiveMode::Gro, ..t }, |t| IoTry { receive: ReceiveMode::Mmsg, ..t }]
        }
        _ => vec![
            |t| IoTry { receive: ReceiveMode::Recv, ..t },
            |t| IoTry { receive: ReceiveMode::Trunc, ..t },
            |t| IoTry { receive: ReceiveMode::Trunc, rcvlowat: t.rcvlowat.or(Some(MARK)), ..t },
            |t| IoTry { receive: ReceiveMode::Splice, ..t },
            |t| IoTry { receive: ReceiveMode::Uring, ..t },
        ],
    };
    let mut send: Vec<Change> = match test {
        Test::FrameStream => vec![|t| IoTry { send: SendMode::Ring, ..t }, |t| IoTry { send: SendMode::Mmsg, ..t }],
        Test::UdpStream => vec![|t| IoTry { send: SendMode::Gso, ..t }, |t| IoTry { send: SendMode::Mmsg, ..t }],
        _ => vec![
            |t| IoTry { send: SendMode::Write, ..t },
            |t| IoTry { send: SendMode::Sendfile, ..t },
            |t| IoTry { send: SendMode::Zerocopy, ..t },
            |t| IoTry { send: SendMode::Splice, ..t },
            |t| IoTry { send: SendMode::Uring, ..t },
        ],
    };
    if test.is_byte_stream() && !fixed.receive {
        // Only pages that are sent by reference arrive as pages that can be mapped.
        send.push(|t| IoTry { send: SendMode::Splice, receive: ReceiveMode::Zerocopy, ..t });
        // Neither end copies: each of the two alone gains less than chance does, and would not be taken (docs/performance.md).
        let neither = |t: IoTry| IoTry {
            send: SendMode::Splice,
            receive: ReceiveMode::Trunc,
            rcvlowat: t.rcvlowat.or(Some(MARK)),
            ..t
        };
        send.push(neither);
    }
    let mut stages = Vec::new();
    if !fixed.receive && !receive.is_empty() {
        stages.push(receive);
    }
    if !fixed.send && test != Test::TcpSendfile {
        stages.push(send);
    }
    stages
}

impl IoTry {
    fn fits(&self, test: Test) -> bool {
        let built = cfg!(feature = "io_uring") || (self.send != SendMode::Uring && self.receive != ReceiveMode::Uring);
        built && self.send.fits(test) && self.receive.fits(test)
    }

    /// Sets a job up so.
    pub fn apply(&self, spec: &mut Spec) {
        spec.send = self.send;
        spec.receive = self.receive;
        spec.tuning.rcvlowat = self.rcvlowat;
    }
}

impl Around<'_, '_> {
    /// Goodput of a way; nothing when it failed.
    fn measure(&mut self, way: IoTry) -> f64 {
        let short = |spec: &Spec| {
            let (duration, omit, interval) = (Span(WINDOW), Span(WARM_UP), Span(WINDOW));
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
        assert_eq!(choose(&[plain, way(SendMode::Sendfile, 10.4)]), Some(plain));
        let fast = way(SendMode::Zerocopy, 10.6);
        assert_eq!(choose(&[plain, fast, way(SendMode::Sendfile, 10.4)]), Some(fast));
        assert_eq!(choose(&[]), None);
    }

    /// Chooses among ways of these speeds, each try of which is off by up to this share; how good the choice was, and the tries it took.
    fn chosen(speeds: &[f64], noise: f64, seed: u64) -> (f64, usize) {
        let (mut state, mut count) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, 0);
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let measured = tries(speeds.len(), |way| {
            count += 1;
            // The sum of three is no bell, and near enough to one.
            let off = (0..3).map(|_| random() * 2.0 - 1.0).sum::<f64>() / 3.0;
            Some(speeds[way] * (1.0 + noise * off))
        });
        let ways: Vec<IoTry> = measured.unwrap().into_iter().map(|figure| way(SendMode::Write, figure)).collect();
        let best = choose(&ways).unwrap();
        let at = ways.iter().position(|way| *way == best).unwrap();
        (speeds[at] / speeds.iter().copied().fold(0.0, f64::max), count)
    }

    #[test]
    fn noise_takes_more_tries_and_seldom_a_slow_way() {
        let speeds = [16.8, 19.5, 19.0, 17.5, 15.0, 9.2];
        let of = |noise: f64| {
            let all: Vec<(f64, usize)> = (1..=1000).map(|seed| chosen(&speeds, noise, seed)).collect();
            let good = all.iter().filter(|(share, _)| *share >= 0.95).count();
            (good, all.iter().map(|(_, tries)| tries).sum::<usize>() / all.len())
        };
        // The sixth is tried once. Tries that agree need no more.
        assert_eq!(of(0.0), (1000, 16));
        assert_eq!(of(0.05).0, 1000);
        let (good, tries) = of(0.25);
        assert!(good >= 950, "{good} of 1000");
        assert!((20..=31).contains(&tries), "{tries}");
        assert_eq!(tries_until(2), None, "a try that does not come ends it");
    }

    fn tries_until(last: usize) -> Option<Vec<f64>> {
        let mut count = 0;
        tries(3, |_| {
            count += 1;
            (count <= last).then_some(1.0)
        })
    }

    #[test]
    fn what_was_asked_for_is_not_tried_otherwise() {
        let both = Fixed { send: true, receive: true };
        assert!(stages(Test::TcpStream, both).is_empty());
        assert_eq!(stages(Test::TcpSendfile, Fixed::default()).len(), 1);
        assert_eq!(stages(Test::UdpStream, Fixed { send: true, receive: false }).len(), 1);
    }
}
