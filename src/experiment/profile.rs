//! Profiles: a line rate to be reached, what is chosen for it, and when it counts as reached. Pure.

use std::fmt;

use crate::{
    measured::{Side, Stream, Test},
    plan::{
        ceiling::{self, Bound, Packet, RateSource, Rates},
        desired::FlowPath,
    },
    record::{Ceiling, TestRecord},
    stats,
    traffic::Spec,
    units::BitRate,
};

/// Share of the ceiling from which a profile is passed.
///
/// What is missing at a healthy link are acknowledgements, ARP and the edges of the window: less than 1 %. The rest of the
/// 5 % is room for the congestion control to probe; a link that has a fault is far below.
pub const PASS: f64 = 0.95;
/// Of the ceiling, what datagrams are sent at: above it, the excess would be lost by intention.
const DATAGRAMS: f64 = 0.99;

/// A line rate to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// As on the command line.
    pub name: &'static str,
    /// The line rate.
    pub line: BitRate,
    /// Streams that fill it on usual hardware: one core sends 15 to 40 Gbit/s.
    streams: u32,
}

impl Profile {
    /// All, slowest first.
    pub const ALL: [Self; 5] = [
        Self::new("1g", 1, 1),
        Self::new("10g", 10, 1),
        Self::new("25g", 25, 2),
        Self::new("40g", 40, 4),
        Self::new("100g", 100, 8),
    ];

    const fn new(name: &'static str, gigabits: u64, streams: u32) -> Self {
        Self { name, line: BitRate(gigabits * 1_000_000_000), streams }
    }

    /// Streams for a machine with so many CPUs: more threads than CPUs take turns and reach less.
    pub fn streams(&self, cpus: usize) -> u32 {
        self.streams.min(u32::try_from(cpus).unwrap_or(u32::MAX)).max(1)
    }

    /// What each of so many streams of datagrams sends at on this path: 99 % of its ceiling, shared.
    pub fn datagram_rate(&self, path: &FlowPath, rates: &Rates, length: u64, streams: u32) -> Option<BitRate> {
        let packet = Packet::udp(path.flow.mtu, path.flow.to_address, length);
        let bound = ceiling::of_path(path, rates, packet)?;
        Some(BitRate((bound.goodput() * DATAGRAMS / f64::from(streams.max(1))) as u64))
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|profile| profile.name.eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("`{}` is no profile; there are {}", text.escape_debug(), Self::names()))
    }
}

impl Profile {
    fn names() -> String {
        Self::ALL.map(|profile| profile.name).join(", ")
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The narrowest hop of a path for what a job sends; none for requests, which no rate bounds.
pub fn bound(path: &FlowPath, rates: &Rates, spec: &Spec, sender: Option<&Side>) -> Option<Bound> {
    let flow = &path.flow;
    let packet = match spec.test {
        Test::UdpStream => Packet::udp(flow.mtu, flow.to_address, spec.length.0),
        Test::FrameStream => return None,
        test if test.is_rr() => return None,
        _ => {
            let mss = sender.and_then(|side| side.streams.first()?.socket.mss);
            Packet::tcp(flow.mtu, flow.to_address, mss.or(spec.tuning.mss))
        }
    };
    if flow.mtu == 0 { None } else { ceiling::of_path(path, rates, packet) }
}

/// All payload of a side over its longest window, bits per second: unlike the sum of the streams' own rates it cannot be
/// more than what the path carried.
pub fn achieved(receiver: &Side) -> f64 {
    receiver.bytes() as f64 * 8e9 / longest(receiver).max(1) as f64
}

fn longest(side: &Side) -> u64 {
    side.streams.iter().map(Stream::judged_ns).max().unwrap_or(0)
}

/// A figure that the path cannot have carried: what is wrong with it.
pub fn impossible(bound: &Bound, receiver: &Side) -> Option<String> {
    let held = receiver.streams.iter().map(|stream| stream.socket.rcvbuf).sum();
    let (achieved, limit) = (achieved(receiver), bound.limit(longest(receiver) as f64 / 1e9, held));
    (achieved > limit).then(|| {
        format!(
            "{:.3} Gbit/s is more than {} at {} can carry ({:.3} Gbit/s of payload): the rate was not in force, or the clock is wrong",
            achieved / 1e9,
            bound.rate.rate,
            bound.at,
            bound.goodput() / 1e9
        )
    })
}

/// The ceiling that counts: a profile below the rate of the path asks for no more than its own line rate carries.
fn asked(bound: &Bound, profile: Option<Profile>) -> (BitRate, f64) {
    let rate = bound.rate.rate;
    let line = profile.map_or(rate, |profile| match bound.rate.source {
        RateSource::Port => profile.line,
        RateSource::Shaper => ceiling::emulated(profile.line, bound.wire.saturating_sub(14) as u32),
    });
    let line = line.min(rate);
    (line, bound.goodput() * line.0 as f64 / rate.0.max(1) as f64)
}

/// Brings the ceiling of a test up to date with its rounds.
pub fn refresh(test: &mut TestRecord, bound: &Bound, profile: Option<Profile>) {
    let reverse = test.test.is_reverse();
    let rounds = test.rounds.iter().map(|round| {
        let received = achieved(if reverse { &round.client } else { &round.server });
        // A link in both directions carries its ceiling each way: the slower one counts.
        round.client.back.as_deref().map_or(received, |back| received.min(achieved(back)))
    });
    let Some(achieved) = stats::median(&rounds.collect::<Vec<_>>()) else { return };
    let (rate, bits_per_second) = asked(bound, profile);
    let mut ceiling = Ceiling {
        at: bound.at.to_string(),
        source: bound.rate.source,
        rate,
        payload_bytes: bound.payload,
        wire_bytes: bound.wire,
        bits_per_second,
        achieved,
        profile: profile.map(|profile| profile.name.to_owned()),
        pass: None,
    };
    ceiling.pass = profile.map(|_| ceiling.share() >= PASS);
    test.ceiling = Some(ceiling);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_known_by_name_and_fit_the_machine() {
        assert_eq!("40G".parse::<Profile>().unwrap().line.0, 40_000_000_000);
        assert_eq!("12g".parse::<Profile>().unwrap_err(), "`12g` is no profile; there are 1g, 10g, 25g, 40g, 100g");
        let hundred: Profile = "100g".parse().unwrap();
        assert_eq!((hundred.streams(64), hundred.streams(2), hundred.streams(0)), (8, 2, 1));
    }
}
