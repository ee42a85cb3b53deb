//! How a sender of datagrams keeps its rate.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Test;

/// What keeps the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// The first that this host can: `fq`, `timer`, `spin`.
    Auto,
    /// `SO_MAX_PACING_RATE`: the fq queueing discipline of the egress device spaces what the sender hands over.
    Fq,
    /// The sender sleeps until the next datagram is due.
    Timer,
    /// It looks at the clock until then, and takes a whole CPU.
    Spin,
}

impl Pacing {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Fq, Self::Timer, Self::Spin];

    /// May it keep the rate of this test? A byte stream is paced by the kernel.
    pub fn fits(self, test: Test) -> bool {
        test == Test::UdpStream || (test.is_byte_stream() && matches!(self, Self::Fq | Self::Auto))
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fq => "fq",
            Self::Timer => "timer",
            Self::Spin => "spin",
        }
    }
}

impl fmt::Display for Pacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Pacing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| format!("it is one of {names}"))
    }
}

/// What spaces the segments of a TCP stream with `SO_MAX_PACING_RATE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamPacer {
    /// The fq queueing discipline of the egress device.
    Fq,
    /// TCP's own timer, since there is no fq.
    Tcp,
}

/// How evenly a sender with a rate really sent, without its warm-up. A gap lies between two datagrams that follow each other,
/// at the sender's calls: what one call hands over has gaps of 0. With `fq` the kernel spaces them after that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Paced {
    /// What kept the rate; never `auto`.
    pub by: Option<Pacing>,
    /// Why `auto` chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The gap that the rate asks for, nanoseconds.
    pub asked_ns: u64,
    /// Median of the gaps, nanoseconds, as the next two.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Largest.
    pub max_ns: u64,
    /// The smallest bucket, in datagrams, with which a policer at the rate asked for passes all that was sent.
    pub largest_burst: u64,
    /// Most datagrams that a late sender makes up for.
    pub burst_limit: u64,
    /// Datagrams that were due beyond that and were never sent.
    pub missed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for way in Pacing::ALL {
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        assert_eq!("htb".parse::<Pacing>(), Err("it is one of auto, fq, timer, spin".to_owned()));
    }
}
