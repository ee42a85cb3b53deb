//! Does a card spread what it receives over its queues as its table says?

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{kernel::ethtool::Rss, packet::toeplitz::toeplitz, record::OffloadVerdict};

/// Name of the check.
pub const NAME: &str = "rss";
/// Connections of a check: that so many take one of two queues by chance does not happen.
pub const FLOWS: usize = 64;

/// A connection and by which queue's NAPI its packets came (`SO_INCOMING_NAPI_ID`; 0 where nobody knows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// The kernel's number of the NAPI instance.
    pub napi: u32,
}

/// Why a device cannot be judged.
pub fn skip(rss: Option<&Rss>, queues: u32) -> Option<String> {
    match rss {
        None => Some("the device has no receive-side scaling".to_owned()),
        Some(_) if queues == 1 => Some("the device has one receive queue: there is nothing to spread over".to_owned()),
        Some(rss) if rss.indirection.is_empty() => Some("the device has no indirection table".to_owned()),
        Some(rss) if named(rss).len() == 1 => Some("the indirection table names one queue".to_owned()),
        Some(_) => None,
    }
}

fn named(rss: &Rss) -> BTreeSet<u32> {
    rss.indirection.iter().copied().collect()
}

/// A verdict, its evidence, and whether the cure is another choice of fields to hash.
pub fn judge(rss: &Rss, seen: &[Seen]) -> (OffloadVerdict, String, bool) {
    let queues = named(rss).len();
    let mut by_napi: BTreeMap<u32, usize> = BTreeMap::new();
    for flow in seen.iter().filter(|flow| flow.napi != 0) {
        *by_napi.entry(flow.napi).or_default() += 1;
    }
    if by_napi.is_empty() {
        let why = "the kernel does not say by which queue packets of this device came".to_owned();
        return (OffloadVerdict::Inconclusive, why, false);
    }
    let counts: Vec<String> = by_napi.values().map(ToString::to_string).collect();
    let (count, used) = (by_napi.values().sum::<usize>(), by_napi.len());
    let text = format!(
        "{count} connections came by {used} of the {queues} queues of the indirection table ({})",
        counts.join(" + ")
    );
    if used == 1 {
        return (OffloadVerdict::Ineffective, format!("{text}: nothing is spread"), true);
    }
    if used > queues {
        return (OffloadVerdict::NotActive, format!("{text}: more than it names"), false);
    }
    let Some(key) = rss.key.as_deref().filter(|_| rss.is_toeplitz == Some(true)) else {
        let why = "which one each should take is not known: the driver does not let its key be read";
        return (OffloadVerdict::Pass, format!("{text}; {why}"), false);
    };
    let queue = |flow: &Seen| {
        let hash = toeplitz(key, flow.from, flow.to)?;
        rss.indirection.get(hash as usize % rss.indirection.len()).copied()
    };
    // A queue is known by its number, its packets by their NAPI: whichever a queue has most of is its own.
    let mut pairs: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
    for flow in seen.iter().filter(|flow| flow.napi != 0) {
        let Some(queue) = queue(flow) else { continue };
        *pairs.entry(queue).or_default().entry(flow.napi).or_default() += 1;
    }
    let own: Vec<(u32, usize)> = pairs
        .values()
        .filter_map(|napis| napis.iter().max_by_key(|(_, count)| **count).map(|(napi, count)| (*napi, *count)))
        .collect();
    let right: usize = own.iter().map(|(_, count)| count).sum();
    let distinct: BTreeSet<u32> = own.iter().map(|(napi, _)| *napi).collect();
    if right == count && distinct.len() == own.len() {
        return (OffloadVerdict::Pass, format!("{text}, each by the one that its Toeplitz hash chooses"), false);
    }
    let why = format!("{text}, but only {right} of them by one that the Toeplitz hash and the table choose");
    (OffloadVerdict::NotActive, why, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rss() -> Rss {
        let key = (0..40).map(|at: u8| at.wrapping_mul(37) ^ 0x5a).collect();
        Rss { is_toeplitz: Some(true), indirection: (0..128).map(|at| at % 4).collect(), key: Some(key) }
    }

    fn flows(napi: impl Fn(u32) -> u32) -> Vec<Seen> {
        let to = "198.18.0.2:5000".parse().unwrap();
        let flow = |at: u16| {
            let from = SocketAddr::new("198.18.0.1".parse().unwrap(), 40_000 + at * 7);
            let hash = toeplitz(rss().key.as_deref().unwrap(), from, to).unwrap();
            Seen { from, to, napi: napi(rss().indirection[hash as usize % 128]) }
        };
        (0..FLOWS as u16).map(flow).collect()
    }

    #[test]
    fn queues_as_the_hash_chooses_are_right_and_others_are_not() {
        let (verdict, text, _) = judge(&rss(), &flows(|queue| 8193 + queue));
        assert_eq!(verdict, OffloadVerdict::Pass, "{text}");
        assert!(text.starts_with("64 connections came by 4 of the 4 queues"), "{text}");
        assert!(text.ends_with("each by the one that its Toeplitz hash chooses"), "{text}");
        // Another key than it says: the queues are all used, and not as they should.
        let other = Rss { key: Some((1..=40).collect()), ..rss() };
        let (verdict, text, _) = judge(&other, &flows(|queue| 8193 + queue));
        assert_eq!(verdict, OffloadVerdict::NotActive, "{text}");
        // Two queues in one.
        let (verdict, ..) = judge(&rss(), &flows(|queue| 8193 + queue % 2));
        assert_eq!(verdict, OffloadVerdict::NotActive);
        let (verdict, text, hash) = judge(&rss(), &flows(|_| 8193));
        assert_eq!((verdict, hash), (OffloadVerdict::Ineffective, true), "{text}");
        let hidden = Rss { key: None, ..rss() };
        let (verdict, text, _) = judge(&hidden, &flows(|queue| 8193 + queue));
        assert!(verdict == OffloadVerdict::Pass && text.contains("does not let its key be read"), "{text}");
        let two = Rss { indirection: vec![0, 1], ..hidden };
        assert_eq!(judge(&two, &flows(|queue| 8193 + queue)).0, OffloadVerdict::NotActive, "more than it names");
        assert_eq!(judge(&rss(), &flows(|_| 0)).0, OffloadVerdict::Inconclusive);
    }

    #[test]
    fn why_it_cannot_be_judged() {
        assert!(skip(None, 4).is_some_and(|why| why.contains("no receive-side scaling")));
        assert!(skip(Some(&rss()), 1).is_some_and(|why| why.contains("one receive queue")));
        assert!(
            skip(Some(&Rss { indirection: vec![2; 128], ..rss() }), 4).is_some_and(|why| why.contains("one queue"))
        );
        assert_eq!(skip(Some(&rss()), 4), None);
    }
}
