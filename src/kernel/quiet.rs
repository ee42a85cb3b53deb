//! Waiting until the kernel has cleaned up.
//!
//! After many namespaces are dropped, the kernel works on for a while under RTNL: a trivial request of someone else
//! was seen to stall for 255 ms. A measurement that starts then measures the clean-up.

use std::time::{Duration, Instant};

use netlink_packet_route::link::LinkMessage;

use super::{Error, Result, error::Operation, link::RTM_SETLINK, netns::Netns};

/// An answer within this time is quiet.
const QUIET: Duration = Duration::from_millis(1);
/// So many in a row.
const IN_A_ROW: u32 = 3;
/// Time between two samples: without it three could fall between two batches of the clean-up.
const PAUSE: Duration = Duration::from_millis(2);

/// How the wait went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietReport {
    /// How long it took.
    pub waited: Duration,
    /// How often was asked.
    pub samples: u32,
    /// The slowest answer.
    pub slowest: Duration,
}

/// Asks for a change of `lo` that changes nothing until three answers in a row come within a millisecond.
pub fn wait(ns: &Netns, deadline: Instant) -> Result<QuietReport> {
    let started = Instant::now();
    let mut message = LinkMessage::default();
    // Neither flags nor attributes: it takes RTNL and returns (`do_setlink()` in net/core/rtnetlink.c).
    message.header.index = 1;
    let operation = || Operation::on("wait for the kernel to be quiet", "lo", ns.label());
    let (mut samples, mut row, mut slowest) = (0, 0, Duration::ZERO);
    loop {
        let asked = Instant::now();
        ns.route().send(RTM_SETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
        let took = asked.elapsed();
        samples += 1;
        slowest = slowest.max(took);
        row = if took < QUIET { row + 1 } else { 0 };
        if row == IN_A_ROW {
            return Ok(QuietReport { waited: started.elapsed(), samples, slowest });
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout { operation: Box::new(operation()), after: started.elapsed() });
        }
        std::thread::sleep(PAUSE);
    }
}
