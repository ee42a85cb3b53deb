//! `--io auto`: which way of sending and receiving is fastest on this path, by a short measurement of each.
//!
//! First the ways to receive, with the usual way to send; then the ways to send, with the best of those, and one pair that only
//! works together. All are tried once; those that are far behind then are left out, the others are tried again, in turn, and the
//! median counts. Another way must be faster than the plain one by more than that is worth: so what is chosen is never below 95 %
//! of the best that was found (docs/performance.md).

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    evidence::Counters,
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
        let mut ways: Vec<IoTry> = stage.iter().map(|change| change(best)).filter(|way| way.fits(test)).collect();
        ways.dedup();
        let mut figures = vec![Vec::with_capacity(PASSES); ways.len()];
        for _ in 0..PASSES {
            let first = ways.first().map_or(0.0, |way| way.bits_per_second);
            let fastest = ways.iter().map(|way| way.bits_per_second).fold(first, f64::max);
            for (number, (way, figures)) in ways.iter_mut().zip(&mut figures).enumerate() {
                if around.interrupt.load(Relaxed) {
                    return None;
                }
                if number == 0 || way.bits_per_second >= fastest * HOPELESS {
                    figures.push(around.measure(*way));
                }
            }
            for (way, figures) in ways.iter_mut().zip(&figures) {
                way.bits_per_second = stats::median(figures).unwrap_or(0.0);
            }
        }
        best = choose(&ways).unwrap_or(best);
        tried.extend(ways);
    }
    (!tried.is_empty()).then_some(IoProbe { chosen: best, tried })
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
        let mut nothing = || Ok(Counters::new());
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

    #[test]
    fn what_was_asked_for_is_not_tried_otherwise() {
        let both = Fixed { send: true, receive: true };
        assert!(stages(Test::TcpStream, both).is_empty());
        assert_eq!(stages(Test::TcpSendfile, Fixed::default()).len(), 1);
        assert_eq!(stages(Test::UdpStream, Fixed { send: true, receive: false }).len(), 1);
    }
}
