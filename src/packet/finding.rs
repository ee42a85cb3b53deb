//! What can be wrong with frames.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The kinds of faults that a wire shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A checksum that was left to a device, and that no device did.
    PartialChecksum,
    /// A wrong TCP or UDP checksum outside tunnels.
    WrongChecksum,
    /// A UDP checksum of zero, which says that there is none, where it is to be ffff.
    ZeroChecksum,
    /// A wrong checksum of the tunnel's UDP.
    WrongOuterChecksum,
    /// A wrong checksum within the tunnel.
    WrongInnerChecksum,
    /// A wrong sum of an IPv4 header.
    WrongHeaderChecksum,
    /// A payload that is not the one handed over.
    PayloadChanged,
    /// "Verified" was said of a frame whose checksum is wrong.
    ValidOnCorrupt,
    /// A frame larger than the MTU that does not say how it is to be cut.
    Oversize,
    /// A segment of a super-packet that did not come.
    MissingSegment,
    /// The same segment more often than it was sent.
    Duplicated,
    /// Segments in another order.
    Reordered,
    /// Segments whose IPv4 identification neither counts up nor stays.
    WrongIpId,
    /// PSH on segments before the last.
    PushOnEach,
    /// Packets were put together that must stay apart.
    OverMerged,
    /// A VLAN tag that is gone.
    TagLost,
    /// A VLAN tag with another number, or one more.
    TagChanged,
    /// Two VLAN tags in another order.
    TagOrder,
    /// A VLAN tag of another protocol: 802.1Q for 802.1ad, or the other way round.
    TagProtocol,
    /// A VLAN tag with another priority.
    TagPriority,
    /// A VLAN tag that may be dropped first (DEI), or may not, unlike before.
    TagDei,
    /// A frame that was handed over and did not come.
    Lost,
    /// IP fragments of what was sent whole.
    Fragmented,
    /// A header whose length is not that of what follows it.
    WrongLength,
    /// FIN on segments before the last.
    FinOnEach,
    /// CWR on segments behind the first.
    CwrOnEach,
    /// Other TCP flags than were handed over.
    FlagsChanged,
    /// Other TCP options than were handed over.
    OptionsChanged,
    /// Another traffic class or flow label.
    HeaderChanged,
    /// Another number of the tunnel.
    VniChanged,
    /// Another source port of the tunnel's UDP.
    OuterPort,
    /// Outer IPv4 identifications that neither count up nor stay.
    WrongOuterIpId,
    /// Other addresses, destination port or traffic class around a tunnel's packet.
    OuterChanged,
}

impl Kind {
    /// What to call it in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::PartialChecksum => "partial checksum leaked",
            Self::WrongChecksum => "wrong checksum",
            Self::ZeroChecksum => "UDP checksum 0 instead of ffff",
            Self::WrongOuterChecksum => "wrong outer checksum",
            Self::WrongInnerChecksum => "wrong inner checksum",
            Self::WrongHeaderChecksum => "wrong IPv4 header checksum",
            Self::PayloadChanged => "payload changed",
            Self::ValidOnCorrupt => "corrupt frame marked as verified",
            Self::Oversize => "frame larger than the MTU",
            Self::MissingSegment => "segment missing",
            Self::Duplicated => "segment duplicated",
            Self::Reordered => "segments reordered",
            Self::WrongIpId => "wrong IP-ID",
            Self::PushOnEach => "PSH on each segment",
            Self::OverMerged => "packets merged that must stay apart",
            Self::TagLost => "VLAN tag lost",
            Self::TagChanged => "VLAN tag changed",
            Self::TagOrder => "VLAN tags swapped",
            Self::TagProtocol => "VLAN protocol changed",
            Self::TagPriority => "VLAN priority changed",
            Self::TagDei => "VLAN DEI changed",
            Self::Lost => "frame dropped",
            Self::Fragmented => "packet fragmented",
            Self::WrongLength => "wrong length in a header",
            Self::FinOnEach => "FIN before the last segment",
            Self::CwrOnEach => "CWR behind the first segment",
            Self::FlagsChanged => "TCP flags changed",
            Self::OptionsChanged => "TCP options changed",
            Self::HeaderChanged => "traffic class or flow label changed",
            Self::VniChanged => "tunnel number changed",
            Self::OuterPort => "outer source port changed",
            Self::WrongOuterIpId => "wrong outer IP-ID",
            Self::OuterChanged => "outer header changed",
        }
    }
}

impl Kind {
    /// Is it about VLAN tags?
    pub fn is_of_tag(self) -> bool {
        matches!(
            self,
            Self::TagLost | Self::TagChanged | Self::TagOrder | Self::TagProtocol | Self::TagPriority | Self::TagDei
        )
    }
}

/// A kind of fault, how often it was seen, and the first case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How often.
    pub count: u64,
    /// The first case, in words.
    pub example: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}×): {}", self.kind.text(), self.count, self.example)
    }
}

/// Findings by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings(BTreeMap<Kind, Finding>);

impl Findings {
    /// Counts one; `example` is asked for the first only.
    pub fn add(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        self.0.entry(kind).or_insert_with(|| Finding { kind, count: 0, example: example() }).count += 1;
    }

    /// Adds those of another account.
    pub fn merge(&mut self, other: &Self) {
        for finding in other.0.values() {
            self.0.entry(finding.kind).or_insert_with(|| Finding { count: 0, ..finding.clone() }).count +=
                finding.count;
        }
    }

    /// Was this seen?
    pub fn has(&self, kind: Kind) -> bool {
        self.0.contains_key(&kind)
    }

    /// All, the worst first.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.values()
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the other account does not have.
    pub fn without(&self, other: &Self) -> Self {
        let only = |(kind, _): &(&Kind, &Finding)| !other.has(**kind);
        Self(self.0.iter().filter(only).map(|(kind, finding)| (*kind, finding.clone())).collect())
    }

    /// The worst.
    pub fn worst(&self) -> Option<&Finding> {
        self.0.values().next()
    }

    /// Counts what was found of `rare` as `usual` where that was found so many times as often.
    pub fn count_among(&mut self, rare: Kind, usual: Kind, times: u64) {
        let count = |kind| self.0.get(&kind).map_or(0, |found| found.count);
        let (few, many) = (count(rare), count(usual));
        if few > 0 && few * times <= many {
            self.remove(rare);
            self.0.entry(usual).and_modify(|found| found.count += few);
        }
    }

    /// Leaves out a kind.
    pub fn remove(&mut self, kind: Kind) -> Option<Finding> {
        self.0.remove(&kind)
    }
}
