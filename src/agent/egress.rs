//! What spaces the segments of a sender with a rate, looked up where it sends: in the namespace of this process.

use std::net::{IpAddr, SocketAddr};

use crate::{
    kernel::{self, Netns},
    measured::{Pacing, Side, StreamPacer},
    traffic::Spec,
};

/// The fq queueing discipline.
const FQ: &str = "fq";

/// What to do where fq is missing.
pub const INSTEAD: &str = "for datagrams take timer, spin or auto, for a TCP stream leave --pacing out: with --rate it spaces itself; or give that device \
fq (`tc qdisc replace dev DEVICE root fq`, needs CONFIG_NET_SCH_FQ), loopback too";

/// The job of an end that sends to this address: `--pacing fq` is held to what is there, `auto` takes it where it is.
///
/// # Errors
/// `fq` was asked for and is not there: which device has what instead.
pub fn settled(spec: &Spec, to: IpAddr) -> Result<Spec, String> {
    let mut spec = spec.clone();
    let Some(asked @ (Pacing::Fq | Pacing::Auto)) = spec.tuning.pacer else { return Ok(spec) };
    match without_fq(to) {
        None => spec.tuning.pacer = Some(Pacing::Fq),
        Some(lacks) if asked == Pacing::Fq => return Err(lacks),
        Some(_) => {}
    }
    Ok(spec)
}

/// Why what is sent to this address is not spaced by fq; none where it is.
pub fn without_fq(to: IpAddr) -> Option<String> {
    match Netns::current("here").and_then(|ns| kernel::egress(&ns, to)) {
        Ok(Some(egress)) if egress.qdisc == FQ => None,
        Ok(Some(egress)) => Some(format!("{} has the queueing discipline {}", egress.device, egress.qdisc)),
        Ok(None) => Some(format!("no device leads to {to}")),
        Err(error) => Some(error.to_string()),
    }
}

/// Says of every sender of a byte stream with a rate what spaces its segments: TCP does it itself until its first segment meets fq.
pub fn tell(spec: &Spec, side: &mut Side) {
    if !spec.test.is_byte_stream() || spec.tuning.pacing.or(spec.rate).is_none() {
        return;
    }
    let senders = side.streams.iter().filter(|stream| stream.io.as_ref().is_some_and(|io| io.send.is_some()));
    // All go to one host.
    let peer = senders.filter_map(|stream| stream.peer.parse::<SocketAddr>().ok()).next();
    let by = peer.map(|peer| if without_fq(peer.ip()).is_none() { StreamPacer::Fq } else { StreamPacer::Tcp });
    for io in side.streams.iter_mut().filter_map(|stream| stream.io.as_mut()).filter(|io| io.send.is_some()) {
        io.paced_by = by;
    }
    if let Some(back) = &mut side.back {
        tell(spec, back);
    }
}
