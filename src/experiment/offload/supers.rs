//! Super-packets of our own making: with ECN, FIN, time stamps and identifications that TCP does not send at the moment when it
//! is looked at.

use super::{
    checks::{Target, Way},
    judge::Probed,
    machine::Order,
    suite::{finish, look, on_one_cpu, start},
    traffic::{Between, Pair},
};
use crate::{
    apply::{ApplyError, world::World},
    kernel::capture::Injector,
    packet::{
        VnetHeader,
        craft::{Ends, TcpFields, fill, left_to_do, marked_payload},
        frame::{GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP},
        segments::Flow,
    },
};

/// Ports of connections that do not exist: the receiver's kernel refuses what comes there.
const FROM_PORT: u16 = 50_097;
const TO_PORT: u16 = 50_098;
/// Full segments of a super-packet; a short one follows them.
const SEGMENTS: usize = 5;
/// Number of the datagram that comes behind them.
const BEHIND: u32 = 4 << 24;
/// Numbers of the datagrams of a super-packet.
const NUMBERS: u32 = 5 << 24;
/// Time stamps (RFC 7323) with two no-operations before them.
const STAMPED: &[u8] = &[1, 1, 8, 10, 0, 1, 2, 3, 0, 4, 5, 6];
/// DSCP AF11 and ECT(0), ECT(1), CE.
const ECT0: u8 = 0x2a;
const ECT1: u8 = 0x29;
const CE: u8 = 0x2b;

/// Sends super-packets of the kinds that the order is about, and adds what is seen of them to `probed`. `templates` are the ends
/// of each family.
pub fn probe(
    world: &World,
    target: &Target,
    way: &Way,
    order: &Order,
    templates: &[Ends],
    probed: &mut Probed,
) -> Result<(), ApplyError> {
    let first = &way.hops[0].at;
    let (from, to) = (world.get(&way.from)?, world.get(&way.to)?);
    let injector = Injector::open(world.get(&first.ns)?, &first.name)?;
    for ends in templates {
        let Ok(pair) = Pair::open(Between { from: (from, ends.from.ip()), to: (to, ends.to.ip()) }) else { continue };
        let places: Vec<usize> = match order.between {
            Some((hand, wire)) => {
                if hand == 0 {
                    vec![0, wire]
                } else {
                    vec![0, hand, wire]
                }
            }
            None => (0..way.hops.len()).collect(),
        };
        let captures = start(world, &way.hops, &places)?;
        let arrived = on_one_cpu(|| {
            for (vnet, bytes) in of(ends, order, (way.mtu as usize).clamp(576, 1100) - 100) {
                // A kernel that does not know the kind refuses it: there is nothing to be judged then.
                let _ = injector.send(vnet, &bytes);
            }
            pair.passes(BEHIND)
        })?;
        let captured = finish(captures);
        let mut own = Probed::default();
        let is_ours = |flow: &Flow| (flow.from.1, flow.to.1) == (FROM_PORT, TO_PORT);
        look(target, way, order, &captured, arrived, &is_ours, &mut own);
        // Where what was sent behind them did not come, the streams tell what is lost.
        probed.complete &= own.complete || !arrived;
        let (all, seen) = (&mut probed.comparison, own.comparison);
        all.findings.merge(&seen.findings);
        (all.supers, all.partial) = (all.supers + seen.supers, all.partial + seen.partial);
        all.stayed += seen.stayed;
        (all.handed, all.came) = (all.handed + seen.handed, all.came + seen.came);
        if probed.place.is_none() {
            (probed.place, probed.place_is_ovs) = (own.place, own.place_is_ovs);
        }
    }
    Ok(())
}

/// The super-packets of an order in one family, of segments of `size` bytes.
fn of(ends: &Ends, order: &Order, size: usize) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut ends = *ends;
    ends.from.set_port(FROM_PORT);
    ends.to.set_port(TO_PORT);
    let length = SEGMENTS * size + size / 3;
    let mut all = Vec::new();
    let mut add = |kind: u8, mut bytes: Vec<u8>, payload: usize| {
        let Some(vnet) = left_to_do(&mut bytes) else { return };
        let hdr_len = (bytes.len() - payload) as u16;
        all.push((VnetHeader { gso_type: kind, gso_size: size as u16, hdr_len, ..vnet }, bytes));
    };
    if order.suite.tcp {
        let kind = if ends.from.is_ipv4() { GSO_TCP4 } else { GSO_TCP6 };
        let (ecn, plain) = (0xd9, 0x18);
        let base = TcpFields { options: STAMPED, label: 0x54321, ..TcpFields::default() };
        let variants = [
            // All flags that belong on one segment, with ECN of RFC 3168.
            (kind | GSO_ECN, TcpFields { flags: ecn, tos: ECT0, id: 0x1000, ..base }),
            // It may be fragmented: its identifications count up, here over the end of the numbers.
            (kind, TcpFields { flags: plain, tos: CE, id: 0xfffd, fragment: 0, ..base }),
        ];
        for (number, (kind, fields)) in variants.into_iter().enumerate() {
            let seq = 0xffff_f000_u32.wrapping_add(number as u32 * 0x10_0000);
            let mut payload = vec![0; length];
            fill(&mut payload, u64::from(seq), 0);
            add(kind, ends.tcp(TcpFields { seq, ..fields }, &payload), length);
        }
    }
    if order.suite.segmented {
        let lengths = std::iter::repeat_n(size, SEGMENTS).chain([size / 3]);
        let payload: Vec<u8> =
            lengths.enumerate().flat_map(|(at, length)| marked_payload(NUMBERS + at as u32, length)).collect();
        let fields = TcpFields { tos: ECT1, id: 0x2000, fragment: 0, label: 0x12345, ..TcpFields::default() };
        add(GSO_UDP, ends.udp_with(fields, &payload), length);
    }
    all
}
