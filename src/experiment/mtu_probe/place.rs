//! Where packets stay: counters of every hop around a burst of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    apply::{ApplyError, world::World},
    facts::LinkCounters,
    kernel::{
        self,
        path_probe::Prober,
        snmp::{self, Fragments},
    },
    plan::desired::{Direction, Hop, LinkRef, NsId},
};

/// Packets of a burst: far above what neighbour discovery and the like leave in counters meanwhile.
pub const BURST: u32 = 24;
/// Counters that stood still this long, after the sender's own interface has counted the burst, will not move any more.
const STILL: Duration = Duration::from_millis(30);
/// They are waited for at most this long: what takes packets from the interface may have to wait for a CPU.
const AT_MOST: Duration = Duration::from_secs(1);

/// A hop after a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopSeen {
    /// The interface, direction and overhead.
    pub hop: Hop,
    /// Its MTU as the kernel has it.
    pub mtu: u32,
    /// Is it a port of a bridge?
    pub is_port: bool,
    /// Packets of the burst that it counted.
    pub counted: u64,
    /// Packets that it says it dropped, or that were errors.
    pub dropped: u64,
}

/// What a burst left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Hop by hop.
    pub hops: Vec<HopSeen>,
    /// By namespace on the way.
    pub fragments: BTreeMap<NsId, Fragments>,
}

type Counters = BTreeMap<LinkRef, LinkCounters>;

/// Sends a burst of packets of `size` bytes, with DF or without, and reads what it left in the counters.
pub fn trace(world: &World, hops: &[Hop], prober: &mut Prober, size: u32, df: bool) -> Result<Trace, ApplyError> {
    let mut namespaces: Vec<&NsId> = hops.iter().map(|hop| &hop.at.ns).collect();
    namespaces.dedup();
    namespaces.sort();
    namespaces.dedup();
    let (before, fragments) = (counters(world, &namespaces)?, fragments(world, &namespaces)?);
    if df {
        prober.burst(size, BURST)?
    } else {
        prober.burst_without_df(size, BURST)?
    }
    let is_out = |now: &Counters| {
        let since = |at: &LinkRef| Some(now.get(at)?.since(before.get(at)?));
        let first = hops.first().and_then(|hop| since(&hop.at));
        first.is_none_or(|first| first.tx_packets + first.tx_dropped + first.tx_errors >= u64::from(BURST))
    };
    let mut after = counters(world, &namespaces)?;
    let until = Instant::now() + AT_MOST;
    loop {
        std::thread::sleep(STILL);
        let now = counters(world, &namespaces)?;
        if now == after && is_out(&now) || Instant::now() >= until {
            break;
        }
        after = now;
    }
    prober.drain()?;
    let now = self::fragments(world, &namespaces)?;
    let delta = |ns: &NsId| Fragments {
        created: now[ns].created.saturating_sub(fragments[ns].created),
        reassembled: now[ns].reassembled.saturating_sub(fragments[ns].reassembled),
        refused: now[ns].refused.saturating_sub(fragments[ns].refused),
    };
    let mut links = BTreeMap::new();
    for ns in &namespaces {
        let seen = kernel::observe(world.get(ns)?, &kernel::Wanted::links_only())?;
        links.extend(seen.links.into_iter().map(|(name, link)| (LinkRef { ns: (*ns).clone(), name }, link)));
    }
    let seen = |hop: &Hop| {
        let (before, after) = (before.get(&hop.at).copied(), after.get(&hop.at).copied());
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let since = after.since(&before);
        // A card counts a frame that is too long for it as an error.
        let (counted, dropped) = match hop.direction {
            Direction::Tx => (since.tx_packets, since.tx_dropped + since.tx_errors),
            Direction::Rx => (since.rx_packets, since.rx_dropped + since.rx_errors),
        };
        let link = links.get(&hop.at);
        let (mtu, is_port) = link.map_or((hop.mtu, false), |link| (link.mtu, link.master.is_some()));
        HopSeen { hop: hop.clone(), mtu, is_port, counted, dropped }
    };
    Ok(Trace {
        hops: hops.iter().map(seen).collect(),
        fragments: namespaces.iter().map(|&ns| (ns.clone(), delta(ns))).collect(),
    })
}

fn counters(world: &World, namespaces: &[&NsId]) -> Result<Counters, ApplyError> {
    let mut all = Counters::new();
    for &id in namespaces {
        for (name, counters) in kernel::counters(world.get(id)?)? {
            all.insert(LinkRef { ns: id.clone(), name }, counters);
        }
    }
    Ok(all)
}

fn fragments(world: &World, namespaces: &[&NsId]) -> Result<BTreeMap<NsId, Fragments>, ApplyError> {
    namespaces.iter().map(|&id| Ok((id.clone(), snmp::fragments(world.get(id)?)?))).collect()
}
