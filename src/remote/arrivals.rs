//! What arrived here while a test ran, by the devices that lead to the other end: no more than that can have been the flow's.

use std::net::IpAddr;

use crate::{
    kernel::{self, Netns},
    measured::Side,
};

/// What had arrived when the test began.
#[derive(Debug)]
pub struct Arrivals {
    from: IpAddr,
    before: Option<u64>,
}

impl Arrivals {
    /// Counts what has arrived from now on; before the first packet of the test.
    pub fn from(peer: IpAddr) -> Self {
        Self { from: peer, before: count(peer) }
    }

    /// Says it of this end, both ways.
    pub fn tell(&self, side: &mut Side) {
        let since = self.before.zip(count(self.from)).map(|(before, now)| now.saturating_sub(before));
        side.arrived = since;
        if let Some(back) = &mut side.back {
            back.arrived = since;
        }
    }
}

/// Where it cannot be told there is less evidence.
fn count(from: IpAddr) -> Option<u64> {
    Netns::current("here").and_then(|ns| kernel::arrived(&ns, from)).ok().flatten()
}
