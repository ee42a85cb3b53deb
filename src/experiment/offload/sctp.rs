//! `tx-checksum-sctp`: SCTP's CRC32c, left to a device. `PACKET_VNET_HDR` cannot ask for it, so it takes an association of the
//! kernel's own SCTP, where that has one.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    checks::{Features, Target, Way},
    judge::switch,
};
use crate::{
    apply::{ApplyError, features::Loans, world::World},
    kernel::{
        Netns,
        capture::{Bounds, Capture},
    },
    packet::{
        Frame, parse,
        sctp::{Crc, PROTOCOL, crc},
    },
    plan::desired::{Direction, LinkRef},
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the check.
pub const NAME: &str = "tx-checksum-sctp";
const FEATURE: &str = "tx-checksum-sctp";
/// Messages of an association, one at a time: more at once would be put into super-packets, of which a capture says nothing.
const MESSAGES: usize = 24;
const WITHIN: Duration = Duration::from_millis(800);
/// How often an association is made that breaks, or of which nothing is seen.
const TRIES: u32 = 3;

/// Packets by what their checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Right.
    pub right: u32,
    /// Left to do, and said so.
    pub left: u32,
    /// Zero, and nobody says that it is to be done.
    pub undone: u32,
    /// Wrong.
    pub wrong: u32,
}

/// What was seen with the feature off, or on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// As handed to the device.
    pub handed: Counted,
    /// As they came at the next one.
    pub came: Counted,
    /// Bytes that arrived and were right.
    pub right: u64,
    /// Of so many.
    pub sent: u64,
    /// Why the association ended early.
    pub failed: Option<String>,
}

/// Rows of the devices on the way that can be told to do it.
///
/// # Errors
/// A device, a namespace or a packet socket could not be reached, or a device does not switch back.
pub fn rows(
    world: &World,
    targets: &[Target],
    features: &Features,
    loans: &mut Loans,
) -> Result<Vec<OffloadCheck>, ApplyError> {
    let (mut rows, mut done) = (Vec::new(), BTreeSet::new());
    for way in targets.iter().flat_map(|target| [target.way(false), target.way(true)]) {
        for at in 0..way.hops.len().saturating_sub(1) {
            let device = &way.hops[at].at;
            let Some(feature) = features.get(device).and_then(|known| known.get(FEATURE)) else { continue };
            let is_sender = way.hops[at].direction == Direction::Tx;
            if !is_sender || !(feature.active || feature.changeable) || !done.insert(device.clone()) {
                continue;
            }
            if let Err(error) = socket(way.addresses[0].0) {
                // Said once: it is so for all of them.
                let why = format!("the kernel has no SCTP ({error}): `modprobe sctp` where it is a module");
                rows.push(OffloadCheck { device: None, ..row(&way, device, OffloadVerdict::Skip, why) });
                return Ok(rows);
            }
            if feature.changeable {
                rows.push(compared(world, &way, at, feature.wanted, loans)?);
            } else {
                let why = "in force and fixed: the device does not let it be switched";
                rows.push(row(&way, device, OffloadVerdict::Skip, why.to_owned()));
            }
        }
    }
    Ok(rows)
}

fn row(way: &Way, device: &LinkRef, verdict: OffloadVerdict, evidence: String) -> OffloadCheck {
    OffloadCheck {
        device: Some(device.to_string()),
        features: vec![FEATURE.to_owned()],
        ..OffloadCheck::new(&way.text, NAME, verdict, evidence)
    }
}

fn compared(world: &World, way: &Way, at: usize, wanted: bool, loans: &mut Loans) -> Result<OffloadCheck, ApplyError> {
    let device = &way.hops[at].at;
    let mut seen = Vec::new();
    for on in [false, true] {
        if let Err(error) = loans.set(world, device, &[(FEATURE.to_owned(), on)].into()) {
            let asked = if on { "on" } else { "off" };
            return Ok(row(way, device, OffloadVerdict::NotActive, format!("asked for {asked}: {error}")));
        }
        let mut probed = probe(world, way, at)?;
        for _ in 1..TRIES {
            if !is_spoilt(&probed) {
                break;
            }
            probed = probe(world, way, at)?;
        }
        seen.push(probed);
    }
    loans.set(world, device, &[(FEATURE.to_owned(), wanted)].into())?;
    let (verdict, evidence, off_helps) = judge(&seen[0], &seen[1]);
    let mut row = row(way, device, verdict, evidence);
    row.cure = off_helps.then(|| switch(device, &[(FEATURE.to_owned(), true)].into(), false));
    Ok(row)
}

/// May a moment have spoilt it? What ended early while no wrong checksum was seen, or was not seen at all.
fn is_spoilt(seen: &Seen) -> bool {
    let is_short = seen.failed.is_some() || seen.right < seen.sent;
    let is_blind = [seen.handed, seen.came].contains(&Counted::default());
    seen.came.undone + seen.came.wrong == 0 && (is_short || is_blind)
}

/// A verdict, its evidence, and whether switching it off helps.
pub fn judge(off: &Seen, on: &Seen) -> (OffloadVerdict, String, bool) {
    let fails = |seen: &Seen| seen.failed.is_some() || seen.right < seen.sent;
    let bad = |seen: &Seen| seen.came.undone + seen.came.wrong;
    let packets = |counted: Counted| counted.right + counted.left + counted.undone + counted.wrong;
    let arrived = format!("{} of {} bytes arrived", on.right, on.sent);
    let why = on.failed.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    if bad(on) > 0 && bad(off) == 0 {
        let (verdict, what) = match on.came.wrong {
            0 => (OffloadVerdict::Leak, "left undone"),
            _ => (OffloadVerdict::Corrupt, "wrong"),
        };
        let text = format!(
            "only with it on: the CRC32c of {} of {} packets is {what}; {arrived}{why}",
            bad(on),
            packets(on.came)
        );
        return (verdict, text, true);
    }
    if bad(off) > 0 {
        let text =
            format!("with it off as well the CRC32c of {} packets is not right: it is not this device's", bad(off));
        return (OffloadVerdict::Inconclusive, text, false);
    }
    if fails(on) {
        return match fails(off) {
            false => (OffloadVerdict::Drop, format!("only with it on: {arrived}{why}"), true),
            true => {
                (OffloadVerdict::Inconclusive, format!("SCTP does not pass with it off either: {arrived}{why}"), false)
            }
        };
    }
    if off.handed.left > 0 {
        let text = format!("{} packets were left to it while it was off", off.handed.left);
        return (OffloadVerdict::NotActive, text, false);
    }
    if packets(on.handed) == 0 || packets(on.came) == 0 {
        return (OffloadVerdict::Inconclusive, "no packet of SCTP was seen on its way".to_owned(), false);
    }
    if on.handed.left == 0 {
        return (OffloadVerdict::Ineffective, format!("nothing was left to it; {arrived}"), false);
    }
    let text = format!(
        "{} checksums left to it, {} of {} packets came with a right one, {} with the word that it is to be done; {} bytes of SCTP right",
        on.handed.left,
        on.came.right,
        packets(on.came),
        on.came.left,
        on.right
    );
    (OffloadVerdict::Pass, text, false)
}

/// An association along a way, seen at a device and at the next one.
fn probe(world: &World, way: &Way, at: usize) -> Result<Seen, ApplyError> {
    let (source, destination) = way.addresses[0];
    let capture = |at: usize| -> Result<Capture, ApplyError> {
        let hop = &way.hops[at].at;
        Ok(Capture::start(world.get(&hop.ns)?, &hop.name, Bounds::default())?)
    };
    let (hand, wire) = (capture(at)?, capture(at + 1)?);
    let ends = ((world.get(&way.from)?, source), (world.get(&way.to)?, destination));
    let (sent, right, failed) = associate(ends.0, ends.1);
    let count = |frames: &[Frame], outgoing: bool| {
        let mut counted = Counted::default();
        for frame in frames.iter().filter(|frame| frame.outgoing == outgoing) {
            let layers = parse(&frame.bytes);
            let is_ours = layers
                .innermost()
                .network
                .as_ref()
                .is_some_and(|network| (network.from, network.to) == (source, destination));
            match crc(frame).filter(|_| is_ours) {
                Some(Crc::Right) => counted.right += 1,
                Some(Crc::Left) => counted.left += 1,
                Some(Crc::Undone) => counted.undone += 1,
                Some(Crc::Wrong) => counted.wrong += 1,
                None => {}
            }
        }
        counted
    };
    let is_sender = |at: usize| way.hops[at].direction == Direction::Tx;
    let (handed, came) = (hand.finish(), wire.finish());
    let (handed, came) = (count(&handed.frames, is_sender(at)), count(&came.frames, is_sender(at + 1)));
    Ok(Seen { handed, came, right, sent, failed })
}

fn socket(address: IpAddr) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::STREAM, Some(Protocol::from(i32::from(PROTOCOL))))
}

fn inside<T: Send>(ns: &Netns, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    ns.within(work).map_err(io::Error::other)?
}

/// Bytes sent, bytes that arrived and were right, and why it ended early.
fn associate(from: (&Netns, IpAddr), to: (&Netns, IpAddr)) -> (u64, u64, Option<String>) {
    let (mut sent, mut right) = (0, 0);
    let outcome = (|| {
        let listener = inside(to.0, || {
            let listener = socket(to.1)?;
            listener.bind(&SocketAddr::new(to.1, 0).into())?;
            listener.listen(1)?;
            listener.set_read_timeout(Some(WITHIN))?;
            Ok(listener)
        })?;
        let at = listener.local_addr()?;
        let mut client = inside(from.0, || {
            let client = socket(from.1)?;
            client.bind(&SocketAddr::new(from.1, 0).into())?;
            client.connect_timeout(&at, WITHIN)?;
            Ok(client)
        })?;
        let (mut server, _) = listener.accept()?;
        server.set_read_timeout(Some(WITHIN))?;
        client.set_write_timeout(Some(WITHIN))?;
        for number in 0..MESSAGES {
            let message: Vec<u8> = (0..40 + number * 37).map(|byte| (byte * 7 + number * 13) as u8).collect();
            sent += message.len() as u64;
            client.write_all(&message)?;
            let mut came = vec![0; message.len()];
            server.read_exact(&mut came)?;
            right += came.iter().zip(&message).filter(|(came, sent)| came == sent).count() as u64;
        }
        Ok::<(), io::Error>(())
    })();
    (sent, right, outcome.err().map(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(handed: Counted, came: Counted) -> Seen {
        Seen { handed, came, right: 1000, sent: 1000, failed: None }
    }

    #[test]
    fn each_fault_has_its_verdict() {
        let right = Counted { right: 30, ..Counted::default() };
        let left = Counted { left: 30, ..Counted::default() };
        let off = seen(right, right);
        let verdict = |on: &Seen| judge(&off, on).0;
        assert_eq!(verdict(&seen(left, right)), OffloadVerdict::Pass);
        assert_eq!(verdict(&seen(left, left)), OffloadVerdict::Pass, "passed on with the word, as a veth does");
        assert_eq!(verdict(&seen(right, right)), OffloadVerdict::Ineffective);
        let undone = Seen { right: 0, failed: Some("timed out".into()), ..seen(left, Counted { undone: 3, ..right }) };
        let (verdict_of, text, helps) = judge(&off, &undone);
        assert!(
            verdict_of == OffloadVerdict::Leak && helps && text.contains("3 of 33 packets is left undone"),
            "{text}"
        );
        assert_eq!(verdict(&seen(left, Counted { wrong: 1, ..right })), OffloadVerdict::Corrupt);
        let lost = Seen { right: 10, ..seen(left, right) };
        assert_eq!(verdict(&lost), OffloadVerdict::Drop);
        assert_eq!(judge(&lost, &lost).0, OffloadVerdict::Inconclusive);
        assert_eq!(judge(&undone, &undone).0, OffloadVerdict::Inconclusive);
        assert_eq!(judge(&seen(left, right), &seen(left, right)).0, OffloadVerdict::NotActive);
        assert_eq!(verdict(&seen(Counted::default(), Counted::default())), OffloadVerdict::Inconclusive);
    }
}
