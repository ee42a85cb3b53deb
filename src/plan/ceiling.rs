//! The most payload that a path can carry: line rate × payload of a packet / bytes that the packet takes on the wire.
//!
//! It stands beside `path`, since it is a statement about the desired state, known before anything is measured.
//!
//! A port of a NIC sends at its line rate, and each frame takes 24 bytes more of it than the kernel counts: preamble and
//! start delimiter 8, frame check sequence 4, gap 12. A shaper counts what the kernel counts, the frame from its Ethernet
//! header on; of a packet that is segmented later it counts every segment's headers (`qdisc_pkt_len_init()`).

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    desired::{Desired, Direction, FlowPath, Hop, LinkRef, Qdisc},
    ovs::Ovs,
};
use crate::units::{BitRate, IfName};

/// Ethernet header.
const ETHERNET: u64 = 14;
/// Preamble, start delimiter, frame check sequence and gap.
const LINE: u64 = 24;
/// Shortest frame without its check sequence.
const SHORTEST: u64 = 60;
const TCP: u64 = 20;
/// The timestamp option and its padding.
const TIMESTAMPS: u64 = 12;
const UDP: u64 = 8;
/// What a shaper with a bucket and the clocks of two processes may let a rate exceed by.
const TOLERANCE: f64 = 0.01;

/// What sets a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateSource {
    /// A declared tbf or htb.
    Shaper,
    /// The speed that a physical port says it has.
    Port,
}

/// A rate at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRate {
    /// Bits per second.
    pub rate: BitRate,
    /// Who says so.
    pub source: RateSource,
}

/// Interfaces with a known rate. A virtual link without a shaper has none.
pub type Rates = BTreeMap<LinkRef, LinkRate>;

/// The declared shapers.
pub fn shapers(desired: &Desired) -> Rates {
    let shaped = desired.links.iter().filter_map(|link| match &link.qdisc {
        Some(Qdisc::Shaper(shaper)) => {
            Some((link.at.clone(), LinkRate { rate: shaper.rate, source: RateSource::Shaper }))
        }
        _ => None,
    });
    shaped.chain(desired.ovs.iter().flat_map(limited_by_ovs)).collect()
}

/// Ports of an Open vSwitch with a rate: `linux-htb`, a shaper like the others.
fn limited_by_ovs(ovs: &Ovs) -> impl Iterator<Item = (LinkRef, LinkRate)> + '_ {
    let ports = ovs.bridges.iter().flat_map(|bridge| &bridge.ports);
    ports.filter_map(|port| Some((port, port.rate?))).flat_map(|(port, rate)| {
        let at = |name: &IfName| LinkRef { ns: ovs.daemon.ns.clone(), name: name.clone() };
        let rate = LinkRate { rate, source: RateSource::Shaper };
        port.interfaces.iter().map(move |interface| (at(&interface.name), rate))
    })
}

/// A full packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Bytes of it that are payload.
    pub payload: u64,
    /// Bytes of its IP packets, headers included.
    pub ip: u64,
    /// IP packets that it takes: more than one when a datagram is fragmented.
    pub packets: u64,
}

impl Packet {
    /// A full segment of TCP in a packet of `mtu` bytes; a smaller `mss` (as `TCP_MAXSEG` is read back: without options) makes
    /// a smaller packet. Timestamps are taken to be there unless the MSS leaves no room for them.
    pub fn tcp(mtu: u32, to: IpAddr, mss: Option<u32>) -> Self {
        let (mtu, headers) = (u64::from(mtu), ip_header(to) + TCP);
        let full = mtu.saturating_sub(headers + TIMESTAMPS);
        let plain = mss.is_some_and(|mss| u64::from(mss) > full);
        let options = if plain { 0 } else { TIMESTAMPS };
        let room = mtu.saturating_sub(headers + options);
        let payload = mss.map_or(room, |mss| u64::from(mss).min(room));
        Self { payload, ip: payload + headers + options, packets: 1 }
    }

    /// A datagram of `length` bytes on a path of this MTU.
    pub fn udp(mtu: u32, to: IpAddr, length: u64) -> Self {
        let (header, room) = (ip_header(to), u64::from(mtu));
        let whole = length + UDP + header;
        if whole <= room {
            return Self { payload: length, ip: whole, packets: 1 };
        }
        // Fragments hold multiples of 8 bytes; those of IPv6 have a header of 8 bytes more.
        let each = header + if to.is_ipv6() { 8 } else { 0 };
        let part = (room.saturating_sub(each) / 8 * 8).max(8);
        let packets = (length + UDP).div_ceil(part);
        Self { payload: length, ip: length + UDP + packets * each, packets }
    }

    /// Bytes of it on a hop: what `source` counts. `tag` is a VLAN tag that is really on the wire there.
    pub fn wire(&self, overhead: u32, tag: bool, source: RateSource) -> u64 {
        let frames = self.ip + self.packets * (u64::from(overhead) + ETHERNET + if tag { 4 } else { 0 });
        match source {
            RateSource::Shaper => frames,
            RateSource::Port => frames.max(self.packets * SHORTEST) + self.packets * LINE,
        }
    }
}

fn ip_header(to: IpAddr) -> u64 {
    if to.is_ipv4() { 20 } else { 40 }
}

/// The narrowest place of a path for a kind of packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Where.
    pub at: LinkRef,
    /// Its rate.
    pub rate: LinkRate,
    /// Payload bytes of a packet.
    pub payload: u64,
    /// Bytes that it takes of the rate.
    pub wire: u64,
    /// Bytes that encapsulation adds there.
    pub overhead: u32,
}

impl Bound {
    /// Payload bits per second, at most.
    pub fn goodput(&self) -> f64 {
        self.rate.rate.bits_per_second() as f64 * self.payload as f64 / self.wire.max(1) as f64
    }

    /// What a measurement may say at most before it is wrong, in a window of so many seconds, when the receiver's socket
    /// could hold so many bytes from before the window.
    ///
    /// A bucket may be full when the window opens. Kernels before 6.13 count the headers of a tunnelled packet's segments
    /// wrongly, so behind a shaper the tunnel's share is allowed.
    pub fn limit(&self, seconds: f64, held: u64) -> f64 {
        let bytes_per_second = self.rate.rate.bytes_per_second();
        let (bucket, tunnel) = match self.rate.source {
            RateSource::Shaper => ((bytes_per_second / 1000).max(128 << 10), f64::from(self.overhead)),
            RateSource::Port => (0, 0.0),
        };
        let slack = TOLERANCE + tunnel / self.wire.max(1) as f64;
        self.goodput() * (1.0 + slack) + (bucket + held) as f64 * 8.0 / seconds.max(1e-6)
    }
}

/// The narrowest hop of a path; `None` when none has a known rate. Members of a bond share the load in a way that is not
/// known, so that their rates bound nothing.
pub fn of_path(path: &FlowPath, rates: &Rates, packet: Packet) -> Option<Bound> {
    let bound = |hop: &Hop| {
        let rate = *rates.get(&hop.at).filter(|_| hop.beside.is_empty())?;
        // A shaper holds what leaves; a port has its speed both ways.
        let holds = rate.source == RateSource::Port || hop.direction == Direction::Tx;
        let wire = packet.wire(hop.overhead, false, rate.source);
        let (payload, overhead) = (packet.payload, hop.overhead);
        holds.then(|| Bound { at: hop.at.clone(), rate, payload, wire, overhead })
    };
    path.hops.iter().filter_map(bound).min_by(|a, b| a.goodput().total_cmp(&b.goodput()))
}

/// The rate to give a shaper so that full packets of `mtu` bytes pass as on a wire of this line rate.
pub fn emulated(line: BitRate, mtu: u32) -> BitRate {
    let frame = u64::from(mtu) + ETHERNET;
    BitRate((u128::from(line.0) * u128::from(frame) / u128::from(frame + LINE)) as u64)
}

#[cfg(test)]
#[path = "ceiling/tests.rs"]
mod tests;
