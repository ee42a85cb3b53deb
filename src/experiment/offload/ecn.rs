//! Marks of congestion around packets in a tunnel, at its end (RFC 6040): they go over to a packet that takes part in ECN, and a
//! packet that takes no part is dropped and counted.

use super::{
    checks::{Target, Way},
    edges::number_of,
    suite::{finish, frames, on_one_cpu, start},
    traffic::{Between, Pair},
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::{self, capture::Injector},
    packet::{
        Findings, Frame, Kind,
        checksum::{fold, sum},
        parse,
    },
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the row.
pub const NAME: &str = "tunnel-ecn";
/// Number of the datagram that takes part in ECN; of the one that does not; of one behind both.
const TAKES_PART: u32 = 8 << 24;
const TAKES_NONE: u32 = TAKES_PART + 1;
const BEHIND: u32 = TAKES_PART + 2;
const ECT0: u8 = 2;
const CE: u8 = 3;
/// How often what is missing is tried: a busy machine loses frames of its own.
const TRIES: u32 = 3;

/// What became of both, sent with a mark around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// 4 or 6, of the packets in the tunnel.
    pub family: u8,
    /// ECN of the first behind the tunnel, if it came.
    pub marked: Option<u8>,
    /// The second came.
    pub bare_came: bool,
    /// By how much the errors rose that the receiving end's interfaces counted.
    pub counted: u64,
}

/// The rows of both directions of each path with a tunnel.
///
/// # Errors
/// A namespace is not there, or a packet socket fails.
pub fn rows(world: &World, targets: &[Target]) -> Result<Vec<OffloadCheck>, ApplyError> {
    let mut rows = Vec::new();
    for way in targets.iter().flat_map(|target| [target.way(false), target.way(true)]) {
        let Some(place) = way.hops.iter().position(|hop| hop.overhead > 0) else { continue };
        let mut seen = Vec::new();
        for &(source, destination) in &way.addresses {
            let ends = Between { from: (world.get(&way.from)?, source), to: (world.get(&way.to)?, destination) };
            let Ok(pair) = Pair::open(ends) else { continue };
            for _ in 0..TRIES {
                let of = of_family(world, &way, place, &pair, if source.is_ipv4() { 4 } else { 6 })?;
                seen.extend(of);
                if of.is_some() {
                    break;
                }
            }
        }
        rows.push(judge(&way.text, &seen));
    }
    Ok(rows)
}

fn of_family(world: &World, way: &Way, place: usize, pair: &Pair, family: u8) -> Result<Option<Seen>, ApplyError> {
    let captures = start(world, &way.hops, &[place])?;
    for (class, number) in [(ECT0, TAKES_PART), (0, TAKES_NONE)] {
        if pair.class(class).is_err() || pair.datagrams(1, 64, number).right == 0 {
            return Ok(None);
        }
    }
    let (sent, _) = frames(way, &finish(captures), place);
    let of = |number: u32| sent.iter().find(|frame| number_of(frame) == Some(number)).and_then(with_mark);
    let (Some(part), Some(none)) = (of(TAKES_PART), of(TAKES_NONE)) else { return Ok(None) };
    let (at, last) = (&way.hops[place].at, way.hops.len() - 1);
    let injector = Injector::open(world.get(&at.ns)?, &at.name)?;
    let mut seen = Seen { family, marked: None, bare_came: false, counted: 0 };
    for _ in 0..TRIES {
        let before = errors(world, way)?;
        let captures = start(world, &way.hops, &[last])?;
        on_one_cpu(|| {
            let each = [&part, &none].into_iter().try_for_each(|frame| injector.send(frame.vnet, &frame.bytes));
            // What is behind them is there: so are they, or they never come.
            pair.datagrams(1, 64, BEHIND);
            each
        })??;
        let (came, _) = frames(way, &finish(captures), last);
        let class = |number: u32| {
            let frame = came.iter().find(|frame| number_of(frame) == Some(number))?;
            Some(parse(&frame.bytes).innermost().network.as_ref()?.tos & CE)
        };
        seen.marked = seen.marked.or(class(TAKES_PART));
        seen.bare_came |= class(TAKES_NONE).is_some();
        seen.counted = seen.counted.max(errors(world, way)?.saturating_sub(before));
        if seen.marked.is_some() && (seen.bare_came || seen.counted > 0) {
            break;
        }
    }
    Ok(Some(seen))
}

/// The frame with a mark of congestion in the header around its packet.
fn with_mark(frame: &Frame) -> Option<Frame> {
    let layers = parse(&frame.bytes);
    let network = layers.network.as_ref().filter(|_| layers.inner.is_some() && frame.is_whole())?;
    let (mut frame, start) = (frame.clone(), network.start);
    let end = layers.transport.as_ref()?.start;
    if network.from.is_ipv4() {
        frame.bytes[start + 1] |= CE;
        frame.bytes[start + 10..start + 12].fill(0);
        let header = !fold(sum(&frame.bytes[start..end]));
        frame.bytes[start + 10..start + 12].copy_from_slice(&header.to_be_bytes());
    } else {
        frame.bytes[start + 1] |= CE << 4;
    }
    Some(frame)
}

/// Errors that the interfaces of the namespace counted in which the tunnel ends.
fn errors(world: &World, way: &Way) -> Result<u64, ApplyError> {
    let Some(end) = way.hops.iter().rev().find(|hop| hop.overhead > 0) else { return Ok(0) };
    let all = kernel::counters(world.get(&end.at.ns)?)?;
    Ok(all.values().map(|counters| counters.rx_errors).sum())
}

/// From what was seen to a row.
pub fn judge(path: &str, seen: &[Seen]) -> OffloadCheck {
    let mut row = OffloadCheck::new(path, NAME, OffloadVerdict::Pass, "");
    let mut findings = Findings::default();
    for seen in seen {
        let family = seen.family;
        match seen.marked {
            Some(CE) => {}
            Some(ecn) => findings.add(Kind::OuterChanged, || {
                format!("a mark of congestion around IPv{family} is lost: ECN {ecn} came behind the tunnel, 3 is right")
            }),
            None => findings.add(Kind::Lost, || format!("IPv{family} that takes part in ECN, with a mark around it")),
        }
        if seen.bare_came {
            findings.add(Kind::OuterChanged, || {
                format!("IPv{family} that takes no part in ECN came out of a tunnel with a mark around it")
            });
        }
    }
    if seen.is_empty() {
        (row.verdict, row.evidence) =
            (OffloadVerdict::Inconclusive, "no datagram of this path was seen in a tunnel".to_owned());
    } else if let Some(worst) = findings.worst() {
        row.verdict = if worst.kind == Kind::Lost { OffloadVerdict::Drop } else { OffloadVerdict::Corrupt };
        row.evidence = worst.to_string();
        row.findings = findings.iter().cloned().collect();
        row.cure = Some(
            "what clears ECN between the tunnel's ends, or ends it without regard to RFC 6040, hides congestion from TCP: \
             have it keep the traffic class of outer headers"
                .to_owned(),
        );
    } else {
        let families: Vec<String> = seen.iter().map(|seen| format!("IPv{}", seen.family)).collect();
        row.evidence = format!(
            "{}: a mark of congestion goes over to a packet that takes part in ECN, one that does not is dropped",
            families.join(" and ")
        );
        if seen.iter().all(|seen| seen.counted > 0) {
            row.evidence += " and counted (rx_errors)";
        } else {
            row.verdict = OffloadVerdict::Inconclusive;
            row.evidence += ", and no interface counts it";
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_verdict() {
        let right = Seen { family: 4, marked: Some(CE), bare_came: false, counted: 1 };
        for (seen, verdict) in [
            (right, OffloadVerdict::Pass),
            (Seen { marked: Some(ECT0), ..right }, OffloadVerdict::Corrupt),
            (Seen { bare_came: true, ..right }, OffloadVerdict::Corrupt),
            (Seen { marked: None, ..right }, OffloadVerdict::Drop),
            (Seen { counted: 0, ..right }, OffloadVerdict::Inconclusive),
        ] {
            assert_eq!(judge("a -> b", &[right, seen]).verdict, verdict, "{seen:?}");
        }
        assert_eq!(judge("a -> b", &[]).verdict, OffloadVerdict::Inconclusive);
    }
}
