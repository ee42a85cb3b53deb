//! `mtu probe`: the largest packet that passes, by packets; then who stops the larger ones, and what TCP makes of it.
//!
//! [`Search`] is the pure part: it says which size to send next and learns from what came of it. The driver is in `drive`.

pub mod classify;
pub mod drive;
pub mod place;
pub mod served;
mod tcp;

use std::net::IpAddr;

use crate::kernel::path_probe::Sample;

/// How often a size is sent before its loss counts: the first may be lost while neighbours are resolved.
const TRIES: u32 = 3;
/// Bytes above an MTU that forwarding may let pass: room for a VLAN tag (`is_skb_forwardable`).
pub const SLACK: u32 = 4;
/// Packets after which the search gives up; a bisection of 64 KiB by silence takes 48.
const PACKETS: u32 = 160;

/// What a search starts from, all in bytes of the IP packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Smallest size of interest: what every path must carry.
    pub floor: u32,
    /// Largest size of interest.
    pub ceiling: u32,
    /// What the topology declares.
    pub declared: Option<u32>,
    /// Sizes at which the answer may change: MTUs of interfaces.
    pub guesses: Vec<u32>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a packet of this size.
    Send {
        /// Bytes of the IP packet.
        size: u32,
    },
    /// It is known.
    Done(Found),
}

/// Why a larger packet does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The own stack refuses it.
    Local {
        /// What it says of its MTU.
        mtu: Option<u32>,
    },
    /// A router says so.
    Icmp {
        /// Who.
        offender: Option<IpAddr>,
        /// MTU that it names.
        mtu: u32,
    },
    /// The own device dropped it.
    NoBuffer,
    /// There is no way.
    Unreachable {
        /// Who says so.
        offender: Option<IpAddr>,
    },
    /// Nothing was heard.
    Silence,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Largest packet that arrived; `None` when none did.
    pub largest: Option<u32>,
    /// Smallest that did not, and why; `None` when all that were sent arrived.
    pub stopped: Option<(u32, Stop)>,
    /// Packets sent.
    pub packets: u32,
}

/// The search for the largest packet of one direction.
#[derive(Debug, Clone)]
pub struct Search {
    known: Known,
    size: u32,
    tries: u32,
    packets: u32,
    low: Option<u32>,
    high: Option<(u32, Stop)>,
}

impl Search {
    /// A search that knows nothing but where to look.
    pub fn new(known: Known) -> Self {
        Self { known, size: 0, tries: 0, packets: 0, low: None, high: None }
    }

    /// Learns what came of the last packet (`None` at first) and says what to do.
    pub fn next(&mut self, sample: Option<Sample>) -> Action {
        match sample {
            None => {}
            Some(Sample::Arrived { .. }) => self.arrived(),
            Some(Sample::Refused { mtu }) => self.stopped(Stop::Local { mtu }),
            Some(Sample::TooBig { offender, mtu }) => self.stopped(Stop::Icmp { offender, mtu }),
            // Silence may be chance; so may a neighbour that is just being resolved, and a full queue.
            Some(_) if self.tries < TRIES && self.packets < PACKETS => return self.send(self.size),
            Some(Sample::NoBuffer) => self.stopped(Stop::NoBuffer),
            Some(Sample::Unreachable { offender }) => self.stopped(Stop::Unreachable { offender }),
            Some(Sample::Lost | Sample::Expired { .. }) => self.stopped(Stop::Silence),
        }
        match self.choose() {
            Some(size) if self.packets < PACKETS => {
                self.tries = 0;
                self.send(size)
            }
            _ => Action::Done(Found { largest: self.low, stopped: self.high, packets: self.packets }),
        }
    }

    fn send(&mut self, size: u32) -> Action {
        (self.size, self.tries, self.packets) = (size, self.tries + 1, self.packets + 1);
        Action::Send { size }
    }

    fn arrived(&mut self) {
        self.low = self.low.max(Some(self.size));
        // What arrived contradicts a loss of something smaller.
        self.high = self.high.filter(|&(high, _)| high > self.size);
    }

    fn stopped(&mut self, why: Stop) {
        if self.high.is_none_or(|(high, _)| self.size < high) {
            self.high = Some((self.size, why));
        }
    }

    fn choose(&self) -> Option<u32> {
        let Known { floor, ceiling, declared, guesses } = &self.known;
        // Open interval in which the answer lies.
        let (low, high) = (self.low.unwrap_or(0), self.high.map_or(ceiling + 1, |(high, _)| high));
        let inside = |size: &u32| *size > low && *size < high && *size >= *floor;
        if let (Some(declared), Some(low)) = (declared, self.low) {
            // As declared, give or take the room for a tag: the exact byte is of no interest.
            if (*declared..=declared + SLACK).contains(&low) && high <= declared + SLACK + 1 {
                return None;
            }
        }
        let told = match self.high {
            Some((_, Stop::Icmp { mtu, .. } | Stop::Local { mtu: Some(mtu) })) => Some(mtu),
            _ => None,
        };
        let declared = declared.iter().flat_map(|&mtu| [mtu, mtu + SLACK + 1]);
        let told = told.into_iter().flat_map(|mtu| [mtu, mtu + 1]);
        // Is anything heard at all? Before any bisection, for without it each step costs its time-outs.
        let alive = self.low.is_none().then_some(*floor).filter(|_| self.high.is_some());
        let guesses = guesses.iter().flat_map(|&mtu| [mtu, mtu + 1, mtu + SLACK + 1]);
        let first = declared.chain(told).chain(alive).chain(guesses).find(inside);
        if let Some(size) = first {
            return Some(size);
        }
        if self.low.is_none() {
            // Not even the floor; or nothing was tried yet.
            return self.high.is_none().then_some(*floor);
        }
        (high - low > 1).then_some(low + (high - low) / 2).filter(inside)
    }
}

#[cfg(test)]
#[path = "mtu_probe/tests.rs"]
mod tests;
