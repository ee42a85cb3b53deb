//! What a byte cost, and the three figures of RFC 6349. Pure.
//!
//! The CPU time is that of the data threads, not of the whole machine as netperf's is: other programs do not change it. What
//! the kernel does in softirqs is charged to whoever it interrupts; the share of the CPUs that served the flow stands beside.

use crate::{
    measured::Side,
    record::{Rfc6349, SideCost, TestRecord},
    stats,
};

/// Figures of a test that come from its rounds' threads and connections.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// Of sending.
    pub sender: Option<SideCost>,
    /// Of receiving.
    pub receiver: Option<SideCost>,
    /// Bits per second.
    pub delivery_rate: Option<f64>,
    /// Byte streams.
    pub rfc6349: Option<Rfc6349>,
}

impl Costs {
    /// Of a stream test; nothing for requests and responses.
    pub fn of(test: &TestRecord) -> Self {
        if test.test.is_rr() {
            return Self::default();
        }
        let reverse = test.test.is_reverse();
        let pick = |server: bool| -> Vec<&Side> {
            test.rounds.iter().map(|round| if server { &round.server } else { &round.client }).collect()
        };
        let back = |server: bool| pick(server).into_iter().filter_map(|side| side.back.as_deref()).collect::<Vec<_>>();
        let (senders, receivers) = ([pick(reverse), back(true)].concat(), [pick(!reverse), back(false)].concat());
        let rates: Vec<f64> = senders.iter().filter_map(|side| delivery_rate(side)).collect();
        Self {
            sender: side(&senders),
            receiver: side(&receivers),
            delivery_rate: stats::median(&rates),
            rfc6349: if test.test.is_connectionless() { None } else { rfc6349(test, &senders) },
        }
    }
}

fn side(rounds: &[&Side]) -> Option<SideCost> {
    let streams = || rounds.iter().flat_map(|side| &side.streams);
    let bytes: u64 = streams().map(|stream| stream.bytes).sum();
    if bytes == 0 {
        return None;
    }
    let each = |nanos: u64| nanos as f64 / bytes as f64;
    let user_ns_per_byte = each(streams().map(|stream| stream.cpu.user_ns).sum());
    let system_ns_per_byte = each(streams().map(|stream| stream.cpu.system_ns).sum());
    Some(SideCost {
        user_ns_per_byte,
        system_ns_per_byte,
        // ns/B × 1024 B/KiB ÷ 1000 ns/µs
        service_demand_us_per_kib: (user_ns_per_byte + system_ns_per_byte) * 1.024,
        softirq: stats::median(&rounds.iter().filter_map(|side| softirq(side)).collect::<Vec<_>>()),
    })
}

/// Mean share in softirq of the CPUs on which the threads of a side ended.
fn softirq(side: &Side) -> Option<f64> {
    let mut served: Vec<u32> = side.streams.iter().filter_map(|stream| stream.cpu.last_cpu).collect();
    served.sort_unstable();
    served.dedup();
    let loads: Vec<f64> = side.cpus.iter().filter(|load| served.contains(&load.cpu)).map(|load| load.softirq).collect();
    (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64)
}

/// Of all connections together.
fn delivery_rate(side: &Side) -> Option<f64> {
    let rates = side.streams.iter().filter_map(|stream| stream.tcp.as_ref()?.delivery_rate);
    rates.map(|bytes| bytes as f64 * 8.0).reduce(|a, b| a + b)
}

fn rfc6349(test: &TestRecord, senders: &[&Side]) -> Option<Rfc6349> {
    let streams = || senders.iter().flat_map(|side| &side.streams);
    let fresh: u64 = streams().map(|stream| stream.bytes + stream.omitted_bytes).sum();
    let again: u64 = streams().filter_map(|stream| stream.tcp.as_ref()?.bytes_retransmitted).sum();
    if fresh == 0 {
        return None;
    }
    let delays = streams().filter_map(|stream| {
        let tcp = stream.tcp.as_ref()?;
        let (rtt, least) = (f64::from(tcp.rtt_us?), f64::from(tcp.min_rtt_us?));
        (least > 0.0).then(|| (rtt - least).max(0.0) / least * 100.0)
    });
    let ceiling = test.ceiling.as_ref().filter(|ceiling| ceiling.achieved > 0.0);
    Some(Rfc6349 {
        transfer_time_ratio: ceiling.map(|ceiling| ceiling.bits_per_second / ceiling.achieved),
        // What was sent is what arrived and what had to be sent again.
        efficiency_percent: fresh as f64 / (fresh + again) as f64 * 100.0,
        buffer_delay_percent: stats::median(&delays.collect::<Vec<_>>()),
    })
}

#[cfg(test)]
#[path = "cost/tests.rs"]
mod tests;
