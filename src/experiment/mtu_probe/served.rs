//! A host that runs `netbench serve`: probed both ways, each packet seen at its other end.

use std::{net::IpAddr, sync::atomic::AtomicBool, time::Duration};

use super::{
    Known, Stop,
    classify::{Seen, classify},
    drive::{FOREIGN_WAIT, LARGEST, LEAST_WAIT, ProbeError, Walked, floor, interface, search, walked, walked_by},
    tcp,
};
use crate::{
    kernel::{
        self,
        path_probe::{Means, Prober, Sample},
    },
    plan::desired::NsId,
    record::mtu::{MtuDirection, MtuMeans, MtuTcp},
    remote::{
        Connection,
        client::path::{Carried, FarPath},
    },
};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// What was found one way.
struct Gathered {
    direction: MtuDirection,
    found: super::Found,
    walked: Walked,
}

/// Probes both ways between this host and a server that has let us in.
pub fn host(name: &str, connection: &mut Connection, interrupt: &AtomicBool) -> Result<[MtuDirection; 2], ProbeError> {
    let here = kernel::Netns::current(NsId::SELF)?;
    let (from, to) = (connection.local.ip(), connection.server.ip());
    let local = interface(&here, from);
    let guesses: Vec<u32> = local.iter().map(|(_, mtu)| *mtu).chain([1500, 9000]).collect();
    let mut path = connection.path(interrupt)?;
    let there = one(&mut path, Way::There, ("here", name), (from, to), guesses.clone(), interrupt)?;
    let back = one(&mut path, Way::Back, (name, "here"), (to, from), guesses, interrupt)?;
    let carried = match (there.found.largest, back.found.largest) {
        (Some(_), Some(_)) => path.carry()?,
        _ => [None, None],
    };
    let [forth, home] = carried.map(|carried| carried.map(view));
    Ok([conclude(there, forth, local), conclude(back, home, None)])
}

fn one(
    path: &mut FarPath<'_>,
    way: Way,
    names: (&str, &str),
    (from, to): (IpAddr, IpAddr),
    guesses: Vec<u32>,
    interrupt: &AtomicBool,
) -> Result<Gathered, ProbeError> {
    let known = Known { floor: floor(to), ceiling: LARGEST, declared: None, guesses };
    let probe = |size: u32, wait: Duration| -> Result<Sample, ProbeError> {
        Ok(match way {
            Way::There => path.there(size, wait)?,
            Way::Back => path.back(size, wait)?,
        })
    };
    let (found, after) = search(probe, known, (FOREIGN_WAIT, LEAST_WAIT), interrupt)?;
    let walked = match (found.largest, found.stopped) {
        (Some(largest), Some((size, Stop::Silence))) => {
            let sizes = (floor(to).min(largest), size);
            match way {
                Way::There => walked_by(&mut Prober::towards(to, Means::ClosedPort)?, sizes, interrupt)?,
                // Who is silent on the way back is found out by packets from there.
                Way::Back if !path.has_ttl() => (None, None),
                Way::Back => walked(|size, ttl| Ok(path.back_within(size, ttl, FOREIGN_WAIT)?), sizes, interrupt)?,
            }
        }
        _ => (None, None),
    };
    let direction = MtuDirection {
        from: names.0.to_owned(),
        to: names.1.to_owned(),
        from_address: from.to_string(),
        to_address: to.to_string(),
        declared: None,
        largest: found.largest,
        stopped_at: found.stopped.map(|(size, _)| size),
        means: MtuMeans::Receiver,
        packets: found.packets,
        after_us: after.map(|after| after.as_secs_f64() * 1e6),
        hops: Vec::new(),
        tcp: None,
        findings: Vec::new(),
        ok: false,
    };
    Ok(Gathered { direction, found, walked })
}

fn conclude(gathered: Gathered, tcp: Option<MtuTcp>, local: Option<(String, u32)>) -> MtuDirection {
    let Gathered { mut direction, found, walked: (routers, last_router) } = gathered;
    let target: Option<IpAddr> = direction.to_address.parse().ok();
    direction.findings = classify(&Seen {
        declared: None,
        found: &found,
        large: None,
        passing: None,
        local,
        target,
        offender: None,
        last_router,
        routers,
        tcp: tcp.as_ref(),
        ip_header: if target.is_some_and(|target| target.is_ipv6()) { 40 } else { 20 },
        desired: None,
    });
    direction.ok = direction.findings.iter().all(|finding| !finding.fault);
    direction.tcp = tcp;
    direction
}

fn view(carried: Carried) -> MtuTcp {
    let Carried { first, last, sent, carried } = carried;
    tcp::sender(first.0, first.1, last, (carried, sent))
}
