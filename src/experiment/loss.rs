//! Lost datagrams, each charged to a place: a queueing discipline, an interface, the backlog of a CPU, the receiving socket,
//! or none of them. Pure. The charges of a round sum to its loss, exactly.
//!
//! The sending socket loses nothing: what it refuses (`EAGAIN`, `ENOBUFS`) the sender sends again under the same number.
//!
//! A place is charged what it counted, and never more than is left to explain. The surest go first: the socket's own count,
//! then queues in the order of the path; then the backlog, whose counter is the whole machine's; then interfaces, which count
//! a full backlog or a peer's refusal once more. The kernel counts a bundle of datagrams (GSO, GRO) once, so with bundles a
//! count stands for up to that many datagrams and the charge is an upper bound.

use crate::{
    measured::{Datagrams, Side},
    record::{HopEvidence, LossPlace, LossShare},
};

/// Charges the loss of a round, warm-up included; empty when nothing was lost.
pub fn charge(sender: &Side, receiver: &Side, hops: &[HopEvidence]) -> Vec<LossShare> {
    let lost = sender.all_units().saturating_sub(receiver.all_units());
    let bundle = |side: &Side| {
        let segments = side.streams.iter().filter_map(|stream| stream.io.as_ref()?.segments);
        segments.max().map_or(1, u64::from)
    };
    let (sent_in, came_in) = (bundle(sender), bundle(receiver));
    let seen = || receiver.streams.iter().filter_map(|stream| stream.datagrams.as_ref());
    let in_socket: u64 = seen().filter_map(|seen: &Datagrams| seen.socket_drops).sum();
    // Both sides saw the same CPUs, in windows of almost the same length.
    let backlog = |side: &Side| side.cpus.iter().map(|cpu| cpu.softnet_dropped).sum::<u64>();
    let backlog = backlog(receiver).max(backlog(sender));
    let mut books = Books { left: lost, shares: Vec::new() };
    // The socket's count has its bundles in it already.
    books.charge(LossPlace::ReceivingSocket, None, in_socket, in_socket, came_in > 1);
    for hop in hops.iter().filter(|hop| hop.direction == "tx") {
        let most = hop.qdisc_dropped.saturating_mul(sent_in);
        books.charge(LossPlace::Qdisc, Some(&hop.at), hop.qdisc_dropped, most, sent_in > 1);
    }
    books.charge(LossPlace::Backlog, None, backlog, backlog.saturating_mul(sent_in), sent_in > 1);
    for hop in hops {
        let most = hop.dropped.saturating_mul(sent_in);
        books.charge(LossPlace::Interface, Some(&hop.at), hop.dropped, most, sent_in > 1);
    }
    let left = books.left;
    books.charge(LossPlace::Unexplained, None, left, left, false);
    books.shares
}

struct Books {
    left: u64,
    shares: Vec<LossShare>,
}

impl Books {
    fn charge(&mut self, place: LossPlace, at: Option<&String>, counted: u64, most: u64, at_most: bool) {
        let datagrams = most.min(self.left);
        self.left -= datagrams;
        if datagrams > 0 {
            self.shares.push(LossShare { place, at: at.cloned(), datagrams, counted, at_most });
        }
    }
}

/// Adds the charges of rounds, place by place.
pub fn sum<'s>(shares: impl Iterator<Item = &'s LossShare>) -> Vec<LossShare> {
    let mut sums: Vec<LossShare> = Vec::new();
    for share in shares {
        match sums.iter_mut().find(|sum| sum.place == share.place && sum.at == share.at) {
            Some(sum) => {
                sum.datagrams += share.datagrams;
                sum.counted += share.counted;
                sum.at_most |= share.at_most;
            }
            None => sums.push(share.clone()),
        }
    }
    sums
}

#[cfg(test)]
#[path = "loss/tests.rs"]
mod tests;
