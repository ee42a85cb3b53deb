//! Interfaces that take part in a proof by frames, and what they saw.

use crate::{
    apply::ApplyError,
    kernel::{
        frame_probe::{self, Case, Seen, Station},
        netns::Netns,
    },
    plan::{
        desired::LinkRef,
        proof::{ArrivedAt, ProbeSeen},
    },
    units::{IfName, MacAddr},
};

/// Broadcast.
pub const EVERYBODY: [u8; 6] = [0xff; 6];

/// What an interface sees of VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of them, with their tags: the NIC's own port.
    Trunk,
    /// One, without its tag; 0 is none.
    Member(u16),
}

/// An interface that takes part.
pub struct Spot<'a> {
    /// `namespace/interface`
    pub at: LinkRef,
    /// Where it is.
    pub ns: &'a Netns,
    /// Its name there now.
    pub name: IfName,
    /// Its MAC.
    pub mac: [u8; 6],
    /// What it sees.
    pub role: Role,
    /// What it hangs on: a NIC or a switch, by number.
    pub on: usize,
    /// Is its link up?
    pub carrier: bool,
}

impl<'a> Spot<'a> {
    /// By what was read of the link; `None` for one without a MAC.
    pub fn new(at: LinkRef, ns: &'a Netns, name: IfName, mac: Option<MacAddr>, role: Role, on: usize) -> Option<Self> {
        Some(Self { at, ns, name, mac: mac?.0, role, on, carrier: true })
    }

    /// Its VLAN.
    pub fn vlan(&self) -> Option<u16> {
        match self.role {
            Role::Trunk => None,
            Role::Member(vlan) => Some(vlan),
        }
    }
}

/// All of them with their sockets.
pub struct Field<'a> {
    /// The interfaces.
    pub spots: Vec<Spot<'a>>,
    /// Their sockets, in the same order.
    pub stations: Vec<Station>,
}

/// A kind of frame to be sent, and how it is called.
pub struct Probe {
    /// The frame.
    pub case: Case,
    /// Its description.
    pub what: String,
}

impl<'a> Field<'a> {
    /// Opens the sockets.
    pub fn open(spots: Vec<Spot<'a>>) -> Result<Self, ApplyError> {
        let nonce =
            std::process::id().rotate_left(16) ^ std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.subsec_nanos());
        let stations = spots.iter().map(|spot| Station::open(spot.ns, &spot.name, nonce)).collect::<Result<_, _>>()?;
        Ok(Self { spots, stations })
    }

    /// Lets everything in at the trunks while the answer lives.
    pub fn open_trunks(&self) -> Result<Vec<frame_probe::Joined>, ApplyError> {
        let trunks = self.spots.iter().zip(&self.stations).filter(|(spot, _)| spot.role == Role::Trunk);
        Ok(trunks.map(|(spot, station)| station.promiscuous(spot.ns)).collect::<Result<_, _>>()?)
    }

    /// A frame from `from` to everybody, with its own source MAC or another.
    pub fn broadcast(&self, from: usize, source: Option<[u8; 6]>) -> Probe {
        let own = self.spots[from].mac;
        let mac = source.unwrap_or(own);
        let whose = if source.is_some() { "forged source MAC" } else { "its own MAC" };
        let case = Case { from, to_mac: EVERYBODY, from_mac: mac, tci: None };
        Probe { case, what: format!("broadcast from {} with {whose} {}", self.spots[from].at, MacAddr(mac)) }
    }

    /// A frame from `from` to a MAC, with a tag or without.
    pub fn unicast(&self, from: usize, to_mac: [u8; 6], tci: Option<u16>) -> Probe {
        let spot = &self.spots[from];
        let tag = tci.map_or("without a tag".to_owned(), |tci| format!("with tag {}", tci & 0xfff));
        let home = spot.vlan().filter(|&vlan| vlan > 0).map_or(String::new(), |vlan| format!(" in VLAN {vlan}"));
        let what = format!("from {}{home} to {} {tag}", spot.at, MacAddr(to_mac));
        Probe { case: Case { from, to_mac, from_mac: spot.mac, tci }, what }
    }

    /// Sends all and listens everywhere.
    pub fn exchange(&self, probes: &[Probe]) -> Result<Vec<ProbeSeen>, ApplyError> {
        if crate::apply::interrupted() {
            return Err(ApplyError::Interrupted);
        }
        let cases: Vec<Case> = probes.iter().map(|probe| probe.case).collect();
        let seen = frame_probe::exchange(&self.stations, &cases)?;
        Ok(probes.iter().zip(seen).map(|(probe, seen)| self.shown(probe, seen)).collect())
    }

    fn shown(&self, probe: &Probe, seen: Seen) -> ProbeSeen {
        let from = &self.spots[probe.case.from];
        // The VLAN in which the frame travels: its sender's, or the tag that a trunk gave it.
        let vlan = from.vlan().unwrap_or_else(|| probe.case.tci.map_or(0, |tci| tci & 0xfff));
        let arrived = seen.arrived.iter().filter(|arrived| arrived.at != probe.case.from).map(|arrived| {
            let spot = &self.spots[arrived.at];
            let tag = arrived.tci.map(|tci| tci & 0xfff);
            ArrivedAt {
                at: spot.at.to_string(),
                frames: arrived.frames,
                vlan: tag,
                priority: arrived.tci.map(|tci| (tci >> 13) as u8),
                within: spot.vlan().unwrap_or_else(|| tag.unwrap_or(0)) == vlan,
            }
        });
        ProbeSeen {
            what: probe.what.clone(),
            sent: seen.sent,
            refused: seen.refused,
            arrived: arrived.collect(),
            bits_per_second: None,
        }
    }
}
