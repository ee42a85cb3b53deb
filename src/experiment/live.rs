//! What is looked at while a round runs, for who looks on: the hops of its flows and the CPUs of this machine. None of it is part
//! of a result.

use std::time::{Duration, Instant};

use super::evidence::Counters;
use crate::{
    measured::CpuLoad,
    plan::desired::{Direction, FlowPath},
    traffic::CpuSnapshot,
};

/// How often the hops are looked at; seldomer where reading them takes long.
pub const EVERY: Duration = Duration::from_millis(250);
/// A look may take this share of the time between two.
const SHARE: u32 = 20;

/// A hop of a flow at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HopNow {
    /// Namespace and interface.
    pub at: String,
    /// In the direction of the payload: sent by this interface (and not received).
    pub is_tx: bool,
    /// Bits per second since the last look, headers included.
    pub bits_per_second: f64,
    /// Packets dropped since the round began, by the interface and by its queueing discipline.
    pub dropped: u64,
}

/// What a look brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Looked {
    /// Hops of all flows, each once, in the order of the first flow that crosses it.
    pub hops: Vec<HopNow>,
    /// What every CPU did since the last look; empty when that was too short to tell.
    pub cpus: Vec<CpuLoad>,
}

/// Turns readings into what happened between them.
pub struct Looker {
    last: Option<(Instant, Counters)>,
    cpus: CpuSnapshot,
}

impl Default for Looker {
    fn default() -> Self {
        Self { last: None, cpus: CpuSnapshot::take() }
    }
}

impl Looker {
    /// Looks at the hops of these paths, each with whether its payload goes from server to client. `before` was read when the
    /// round began, at `began`.
    pub fn look(
        &mut self,
        paths: &[(&FlowPath, bool)],
        (began, before): (Instant, &Counters),
        now: &Counters,
    ) -> Looked {
        let at = Instant::now();
        let (then, last) = self.last.as_ref().map_or((began, before), |(then, last)| (*then, last));
        let seconds = at.duration_since(then).as_secs_f64().max(1e-3);
        let mut hops: Vec<HopNow> = Vec::new();
        for (path, is_reverse) in paths {
            for hop in &path.hops {
                let of = |counters: &Counters| counters.get(&hop.at).copied().unwrap_or_default();
                let is_tx = (hop.direction == Direction::Tx) != *is_reverse;
                let name = hop.at.to_string();
                if hops.iter().any(|other| other.at == name && other.is_tx == is_tx) {
                    continue;
                }
                let (recent, all) = (of(now).since(&of(last)), of(now).since(&of(before)));
                let bytes = if is_tx { recent.tx_bytes } else { recent.rx_bytes };
                hops.push(HopNow {
                    at: name,
                    is_tx,
                    bits_per_second: bytes as f64 * 8.0 / seconds,
                    dropped: all.rx_dropped + all.tx_dropped + all.rx_errors + all.tx_errors + all.qdisc_dropped,
                });
            }
        }
        self.last = Some((at, now.clone()));
        Looked { hops, cpus: self.cpus() }
    }

    /// The CPUs alone.
    pub fn cpus(&mut self) -> Vec<CpuLoad> {
        let now = CpuSnapshot::take();
        let loads = now.since(&self.cpus);
        self.cpus = now;
        loads
    }
}

/// When to look again after a look that took so long.
pub fn pause(took: Duration) -> Duration {
    EVERY.max(took.saturating_mul(SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::LinkCounters,
        plan::desired::{Hop, LinkRef, NsId},
        topology::model::Flow,
    };

    #[test]
    fn hops_are_told_in_the_direction_of_the_payload() {
        let link = |ns: &str, name: &str| LinkRef { ns: NsId::new(ns), name: name.parse().unwrap() };
        let hop = |at, direction| Hop { at, direction, mtu: 1500, overhead: 0, beside: Vec::new() };
        let nowhere = std::net::IpAddr::from([0, 0, 0, 0]);
        let flow = Flow { from: "a".into(), to: "b".into(), from_address: nowhere, to_address: nowhere, mtu: 1500 };
        let hops = vec![hop(link("a", "eth0"), Direction::Tx), hop(link("b", "eth0"), Direction::Rx)];
        let path = FlowPath { flow, from_ns: NsId::new("a"), to_ns: NsId::new("b"), hops };
        let counters = |tx: u64, rx: u64, qdisc: u64| {
            let a = LinkCounters { tx_bytes: tx, qdisc_dropped: qdisc, ..LinkCounters::default() };
            let b = LinkCounters { rx_bytes: rx, tx_bytes: 5, ..LinkCounters::default() };
            Counters::from([(link("a", "eth0"), a), (link("b", "eth0"), b)])
        };
        let began = Instant::now() - Duration::from_secs(1);
        let mut looker = Looker::default();
        let before = counters(100, 100, 3);
        let looked = looker.look(&[(&path, false), (&path, false)], (began, &before), &counters(1_000_100, 100, 7));
        assert_eq!(looked.hops.len(), 2, "each once: {looked:?}");
        assert!(looked.hops[0].is_tx && looked.hops[0].dropped == 4 && !looked.hops[1].is_tx);
        let rate = looked.hops[0].bits_per_second;
        assert!(rate > 1e6 && rate <= 8e6, "{rate}");
        // Drops are of the round, rates since the last look; the way back is seen from the other side.
        let looked = looker.look(&[(&path, true)], (began, &before), &counters(1_000_100, 100, 8));
        assert_eq!((looked.hops[0].is_tx, looked.hops[1].is_tx, looked.hops[0].dropped), (false, true, 5));
        assert_eq!(looked.hops[1].bits_per_second, 0.0);
    }

    #[test]
    fn slow_looks_are_seldom() {
        assert_eq!(pause(Duration::from_millis(1)), EVERY);
        assert_eq!(pause(Duration::from_millis(100)), Duration::from_secs(2));
    }
}
