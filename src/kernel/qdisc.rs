//! Root qdiscs: tbf and htb shapers, netem; set, deleted, read back.
//!
//! Rates go as 64 bits (`TCA_*_RATE64`) always: 34 Gbit/s and more do not fit the 32-bit bytes per second of the older
//! structures.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Result,
    error::Operation,
    link,
    netlink::{
        CREATE, Failure, REPLACE,
        nla::{Writer, find, text, u32_at, u64_at},
    },
    netns::Netns,
};
use crate::{
    plan::{desired::Qdisc, observed::ObservedQdisc},
    topology::model::{Netem, Shaper, ShaperKind},
    units::IfName,
};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTCLASS: u16 = 40;
const RTM_GETTCLASS: u16 = 42;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `TC_H_ROOT`
const ROOT: u32 = u32::MAX;
/// Handle of our qdisc, `1:`, and of htb's class, `1:1`.
const HANDLE: u32 = 1 << 16;
const CLASS: u32 = HANDLE | 1;
/// `struct tcmsg`
const HEADER: usize = 20;
/// Nanoseconds in a tick of the packet scheduler (`PSCHED_SHIFT` 6 of include/net/pkt_sched.h), as /proc/net/psched
/// has told since Linux 2.6.31.
const TICK_NS: u64 = 64;
/// Root qdiscs that the kernel gives by itself.
const DEFAULTS: [&str; 7] = ["", "noqueue", "pfifo_fast", "fq_codel", "mq", "fq", "pfifo"];

/// Is a root qdisc of this kind the kernel's own choice?
pub(super) fn is_default(kind: &str) -> bool {
    DEFAULTS.contains(&kind)
}

/// Makes (or replaces) the root qdisc; `None` gives the kernel's default back.
pub fn set(ns: &Netns, name: &IfName, qdisc: Option<&Qdisc>) -> Result<()> {
    let index = link::index(ns, name.as_str())?;
    match qdisc {
        None => delete(ns, name, index),
        Some(Qdisc::Shaper(shaper)) if shaper.qdisc == ShaperKind::Tbf => {
            let options = tbf(shaper, mtu_of(ns, index));
            let verb = format!("set tbf {}", shaper.rate);
            send(ns, name, &verb, "CONFIG_NET_SCH_TBF", |ns| replace(ns, index, "tbf", &options))
        }
        Some(Qdisc::Shaper(shaper)) => {
            let class = htb_class(shaper, mtu_of(ns, index));
            let verb = format!("set htb {}", shaper.rate);
            send(ns, name, &verb, "CONFIG_NET_SCH_HTB", |ns| {
                // htb cannot be changed in place into another default class.
                match remove(ns, index) {
                    Err(failure) if !is_absent(&failure) => return Err(failure),
                    _ => replace(ns, index, "htb", &htb_root())?,
                }
                let mut message = Writer::after(&header(index, CLASS, HANDLE));
                message.text(TCA_KIND, "htb").put(TCA_OPTIONS, &class);
                ns.route().request(RTM_NEWTCLASS, CREATE | REPLACE, &message.finish()).map(drop)
            })
        }
        Some(Qdisc::Netem(netem)) => {
            let options = netem_options(netem);
            let verb = format!("set netem ({})", describe(netem));
            send(ns, name, &verb, "CONFIG_NET_SCH_NETEM", |ns| replace(ns, index, "netem", &options))
        }
    }
}

fn send(
    ns: &Netns,
    name: &IfName,
    verb: &str,
    config: &'static str,
    act: impl FnOnce(&Netns) -> Result<(), Failure>,
) -> Result<()> {
    act(ns).map_err(|failure| {
        let operation = Operation::on(verb, name, ns.label());
        match failure.errno() {
            // The kind is unknown (`qdisc_create()`: "Specified qdisc kind is unknown").
            Some(errno @ (libc::EOPNOTSUPP | libc::ENOENT)) => operation.unsupported(config, errno),
            _ => operation.failed(failure),
        }
    })
}

/// Deletes the root qdisc; that there is none of ours is no error.
fn delete(ns: &Netns, name: &IfName, index: u32) -> Result<()> {
    match remove(ns, index) {
        Err(failure) if !is_absent(&failure) => {
            Err(Operation::on("delete the root qdisc", name, ns.label()).failed(failure))
        }
        _ => Ok(()),
    }
}

/// ENOENT or EINVAL is what the kernel says to the deletion of a default qdisc (`tc_get_qdisc()`).
fn is_absent(failure: &Failure) -> bool {
    matches!(failure.errno(), Some(libc::ENOENT | libc::EINVAL))
}

fn remove(ns: &Netns, index: u32) -> Result<(), Failure> {
    ns.route().request(RTM_DELQDISC, 0, &header(index, 0, ROOT)).map(drop)
}

fn replace(ns: &Netns, index: u32, kind: &str, options: &[u8]) -> Result<(), Failure> {
    let mut message = Writer::after(&header(index, HANDLE, ROOT));
    message.text(TCA_KIND, kind).put(TCA_OPTIONS, options);
    let message = message.finish();
    match ns.route().request(RTM_NEWQDISC, CREATE | REPLACE, &message) {
        // "Invalid qdisc name: must match existing qdisc": another kind has our handle.
        Err(failure) if failure.errno() == Some(libc::EINVAL) => {}
        result => return result.map(drop),
    }
    match remove(ns, index) {
        Err(failure) if !is_absent(&failure) => Err(failure),
        _ => ns.route().request(RTM_NEWQDISC, CREATE | REPLACE, &message).map(drop),
    }
}

/// `struct tcmsg`: family, padding, ifindex, handle, parent, info.
fn header(index: u32, handle: u32, parent: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&handle.to_ne_bytes());
    bytes[12..16].copy_from_slice(&parent.to_ne_bytes());
    bytes
}

/// The device's MTU for the sizing of bursts; a jumbo frame where it cannot be read.
fn mtu_of(ns: &Netns, index: u32) -> u64 {
    let rows = super::observe::rows(ns).unwrap_or_default();
    rows.iter().find(|row| row.link.index == index).map_or(9000, |row| u64::from(row.link.mtu))
}

/// Bucket in bytes: what passes in 1 ms, so that a timer tick of HZ=1000 refills it, and no less than a GSO
/// super-packet, which would never pass a smaller bucket whole.
fn burst(rate: u64, mtu: u64) -> u64 {
    (rate / 1000).max(65_536 + mtu).min(u64::from(u32::MAX) / 2)
}

/// Time for `bytes` at `rate`, in scheduler ticks.
fn ticks(bytes: u64, rate: u64) -> u32 {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u32::try_from(nanos / u128::from(TICK_NS)).unwrap_or(u32::MAX)
}

/// `struct tc_ratespec`: cell_log, linklayer, overhead, cell_align, mpu, rate.
fn rate_spec(rate: u64) -> [u8; 12] {
    /// `TC_LINKLAYER_ETHERNET`: the kernel computes by itself and asks for no rate table.
    const ETHERNET: u8 = 1;
    let mut spec = [0; 12];
    spec[1] = ETHERNET;
    spec[8..].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}

/// `TCA_TBF_*`
fn tbf(shaper: &Shaper, mtu: u64) -> Vec<u8> {
    let rate = shaper.rate.bytes_per_second();
    let burst = burst(rate, mtu);
    // `struct tc_tbf_qopt`: rate, peakrate, limit, buffer, mtu. A queue of 50 ms or 100 packets beyond the bucket.
    let limit = u32::try_from(burst + (rate / 20).max(100 * mtu)).unwrap_or(u32::MAX);
    let mut parameters = rate_spec(rate).to_vec();
    parameters.extend([0; 12]);
    parameters.extend(limit.to_ne_bytes());
    parameters.extend(ticks(burst, rate).to_ne_bytes());
    parameters.extend(0u32.to_ne_bytes());
    debug_assert_eq!(parameters.len(), 36);
    let mut options = Writer::default();
    options.put(1, &parameters).u32(6, burst as u32).u64(4, rate);
    options.finish()
}

/// `TCA_HTB_INIT`, `struct tc_htb_glob`: version 3, rate2quantum 10, default class 1.
fn htb_root() -> Vec<u8> {
    let glob: Vec<u8> = [3u32, 10, 1, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    Writer::default().put(2, &glob).finish()
}

/// `TCA_HTB_*` of the one class.
fn htb_class(shaper: &Shaper, mtu: u64) -> Vec<u8> {
    let rate = shaper.rate.bytes_per_second();
    let buffer = ticks(burst(rate, mtu), rate);
    // `struct tc_htb_opt`: rate, ceil, buffer, cbuffer, quantum, level, prio. A quantum of its own, since
    // rate/rate2quantum is out of range at these rates and the kernel would complain.
    let mut parameters = rate_spec(rate).to_vec();
    parameters.extend(rate_spec(rate));
    for number in [buffer, buffer, 65_536 + mtu as u32, 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    debug_assert_eq!(parameters.len(), 44);
    let mut options = Writer::default();
    options.put(1, &parameters).u64(6, rate).u64(7, rate);
    options.finish()
}

fn describe(netem: &Netem) -> String {
    let delay = netem.delay.map(|delay| format!("delay {delay}"));
    let loss = netem.loss.map(|loss| format!("loss {}%", loss * 100.0));
    [delay, loss].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `struct tc_netem_qopt` (latency, limit, loss, gap, duplicate, jitter) and `TCA_NETEM_LATENCY64`.
fn netem_options(netem: &Netem) -> Vec<u8> {
    /// Packets: 100 ms of delay at 10 Gbit/s of 1500-byte packets are 83,000; the default of 1000 would be the bottleneck.
    const LIMIT: u32 = 200_000;
    let delay = netem.delay.map_or(0, |delay| u64::try_from(delay.0.as_nanos()).unwrap_or(u64::MAX));
    let loss = (netem.loss.unwrap_or(0.0).clamp(0.0, 1.0) * f64::from(u32::MAX)).round() as u32;
    let latency = u32::try_from(delay / TICK_NS).unwrap_or(u32::MAX);
    let mut options: Vec<u8> = [latency, LIMIT, loss, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    options.extend(Writer::default().put(10, &(delay as i64).to_ne_bytes()).finish());
    options
}

/// Root qdiscs of a namespace that are not the kernel's default ones, by ifindex.
pub(super) fn roots(ns: &Netns) -> Result<BTreeMap<u32, ObservedQdisc>, Failure> {
    let bodies = ns.route().dump(RTM_GETQDISC, &header(0, 0, 0))?;
    let mut found: BTreeMap<u32, ObservedQdisc> =
        bodies.iter().filter_map(|body| root(body)).filter(|(_, qdisc)| !is_default(&qdisc.kind)).collect();
    for (&index, qdisc) in found.iter_mut().filter(|(_, qdisc)| qdisc.kind == "htb") {
        let classes = ns.route().dump(RTM_GETTCLASS, &header(index, 0, 0))?;
        qdisc.rate_bytes = classes.iter().find_map(|body| class_rate(body));
    }
    Ok(found)
}

/// The kind that what leaves by a device meets: of `mq`, whose hardware queues have one each, that of all of them when they agree.
pub(super) fn effective(ns: &Netns, index: u32, root: String) -> Result<String, Failure> {
    if root != "mq" {
        return Ok(root);
    }
    let bodies = ns.route().dump(RTM_GETQDISC, &header(0, 0, 0))?;
    let kinds: BTreeSet<String> = bodies.iter().filter_map(|body| below_root(body, index)).collect();
    Ok(if kinds.len() == 1 { kinds.into_iter().next().unwrap_or(root) } else { root })
}

/// Kind of a qdisc of the device that hangs below another.
fn below_root(body: &[u8], index: u32) -> Option<String> {
    let is_below = u32_at(body, 4)? == index && u32_at(body, 12)? != ROOT;
    if is_below { Some(text(find(body.get(HEADER..)?, TCA_KIND)?)) } else { None }
}

/// Packets that the root qdiscs of a namespace dropped, by ifindex.
pub(super) fn drops(ns: &Netns) -> Result<BTreeMap<u32, u64>, Failure> {
    let bodies = ns.route().dump(RTM_GETQDISC, &header(0, 0, 0))?;
    Ok(bodies.iter().filter_map(|body| dropped(body)).collect())
}

/// `TCA_STATS2` with `TCA_STATS_QUEUE`, `struct gnet_stats_queue`: qlen, backlog, drops, requeues, overlimits.
fn dropped(body: &[u8]) -> Option<(u32, u64)> {
    const TCA_STATS2: u16 = 7;
    const TCA_STATS_QUEUE: u16 = 3;
    if u32_at(body, 12)? != ROOT {
        return None;
    }
    let queue = find(find(body.get(HEADER..)?, TCA_STATS2)?, TCA_STATS_QUEUE)?;
    Some((u32_at(body, 4)?, u64::from(u32_at(queue, 8)?)))
}

fn root(body: &[u8]) -> Option<(u32, ObservedQdisc)> {
    if u32_at(body, 12)? != ROOT {
        return None;
    }
    let rest = body.get(HEADER..)?;
    let mut qdisc = ObservedQdisc { kind: text(find(rest, TCA_KIND)?), ..ObservedQdisc::default() };
    let options = find(rest, TCA_OPTIONS).unwrap_or_default();
    match qdisc.kind.as_str() {
        "tbf" => {
            let rate32 = || find(options, 1).and_then(|parameters| u32_at(parameters, 8)).map(u64::from);
            qdisc.rate_bytes = find(options, 4).and_then(|rate| u64_at(rate, 0)).or_else(rate32);
        }
        "netem" => {
            let after = options.get(24..).unwrap_or_default();
            let ticks = || u32_at(options, 0).map(|latency| u64::from(latency) * TICK_NS);
            qdisc.delay_ns = find(after, 10).and_then(|nanos| u64_at(nanos, 0)).or_else(ticks);
            qdisc.loss = u32_at(options, 8).map(|loss| f64::from(loss) / f64::from(u32::MAX));
        }
        _ => {}
    }
    Some((u32_at(body, 4)?, qdisc))
}

fn class_rate(body: &[u8]) -> Option<u64> {
    let options = find(body.get(HEADER..)?, TCA_OPTIONS)?;
    let rate32 = || find(options, 1).and_then(|parameters| u32_at(parameters, 8)).map(u64::from);
    find(options, 6).and_then(|rate| u64_at(rate, 0)).or_else(rate32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_hold_a_super_packet_and_a_millisecond() {
        assert_eq!(burst(1_000_000, 1500), 67_036);
        assert_eq!(burst(5_000_000_000, 9000), 5_000_000);
        assert_eq!(ticks(5_000_000, 5_000_000_000), 15_625);
    }

    #[test]
    fn rates_beyond_32_bits_are_whole_in_the_message() {
        let shaper = Shaper { rate: "40gbit".parse().unwrap(), qdisc: ShaperKind::Tbf };
        let options = tbf(&shaper, 9000);
        assert_eq!(u64_at(find(&options, 4).unwrap(), 0), Some(5_000_000_000));
        assert_eq!(u32_at(find(&options, 1).unwrap(), 8), Some(u32::MAX));
    }
}
