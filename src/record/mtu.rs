//! What `mtu probe` found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::facts::Machine;

/// `mtu probe --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MtuReport {
    /// [`super::SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began, RFC 3339, UTC.
    #[serde(default)]
    pub started: String,
    /// The command line.
    #[serde(default)]
    pub command: Vec<String>,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// In what it was measured, where the topology is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The topology or host, as given.
    pub target: String,
    /// Is every direction as declared, or, where nothing is declared, without a black hole?
    pub ok: bool,
    /// One way each.
    pub directions: Vec<MtuDirection>,
}

/// One direction of a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MtuDirection {
    /// Sending node, or `here`.
    pub from: String,
    /// Receiving node or host.
    pub to: String,
    /// Source address.
    pub from_address: String,
    /// Destination address.
    pub to_address: String,
    /// Declared MTU, bytes of the IP packet.
    pub declared: Option<u32>,
    /// Largest packet that arrived, bytes; absent when none did.
    pub largest: Option<u32>,
    /// Smallest packet that did not, bytes.
    pub stopped_at: Option<u32>,
    /// How arrival is known.
    pub means: MtuMeans,
    /// Packets that the search took.
    pub packets: u32,
    /// Time from sending until arrival of the largest packet was known, microseconds.
    pub after_us: Option<f64>,
    /// The interfaces on the way, where the topology is ours.
    pub hops: Vec<MtuHop>,
    /// TCP's own view.
    pub tcp: Option<MtuTcp>,
    /// What was found, the most important first.
    pub findings: Vec<MtuFinding>,
    /// No finding is a fault.
    pub ok: bool,
}

/// How the arrival of a packet is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MtuMeans {
    /// Seen by a socket at the other end.
    Receiver,
    /// An echo of the same size came back: both ways at once.
    Echo,
    /// "Port unreachable" came back.
    ClosedPort,
}

/// An interface on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MtuHop {
    /// Namespace and name.
    pub at: String,
    /// `tx` or `rx`
    pub direction: String,
    /// Its MTU now, bytes.
    pub mtu: u32,
    /// Bytes that encapsulation adds there.
    pub overhead: u32,
    /// Of the packets that were too large: how many it counted.
    pub counted: u64,
    /// Of those: how many it says it dropped.
    pub dropped: u64,
}

/// What TCP makes of the path, at the sender of this direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MtuTcp {
    /// Segment size that it uses, bytes, options not counted.
    pub snd_mss: u32,
    /// Path MTU that it believes in, bytes.
    pub pmtu: u32,
    /// MSS that it announced, bytes.
    pub announced: u32,
    /// MSS of the other end as it arrived here, at most, bytes, where both ends are known.
    pub received: Option<u32>,
    /// MSS that the other end announced, bytes, where both ends are known.
    pub peer_announced: Option<u32>,
    /// Bytes that were to be carried for a test.
    pub sent: u64,
    /// Bytes that arrived.
    pub carried: u64,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MtuFinding {
    /// What it is.
    pub verdict: MtuVerdict,
    /// Is it a fault of the path?
    pub fault: bool,
    /// In a sentence.
    pub text: String,
    /// The place, where it is known.
    pub at: Option<String>,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: Vec<String>,
}

/// The rows of the classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MtuVerdict {
    /// Packets of the declared size pass and none larger.
    AsDeclared,
    /// Nothing is declared; this is the path's MTU, and larger packets are refused loudly.
    Measured,
    /// The sender's own interface.
    LocalMtu,
    /// A router says that packets are too big: path MTU discovery works.
    IcmpTooBig,
    /// Larger packets vanish without a word.
    Blackhole,
    /// They vanish at a port of a bridge whose MTU is smaller.
    BridgePort,
    /// They vanish in a veth pair whose ends differ.
    VethMismatch,
    /// They pass, but the tunnel's packets are fragmented.
    Fragmentation,
    /// TCP's MSS is made smaller on the way.
    MssClamp,
    /// TCP believes in a smaller path MTU than there is: a route says so, or an old ICMP message.
    TcpPathMtu,
    /// TCP connects, and its data does not arrive.
    TcpStalls,
    /// The path carries more than is declared.
    Larger,
    /// Nothing passes at all.
    Unreachable,
}

impl MtuVerdict {
    /// The word in capitals that stands first in the text.
    pub fn word(self) -> &'static str {
        match self {
            Self::AsDeclared => "AS DECLARED",
            Self::Measured => "MEASURED",
            Self::LocalMtu => "LOCAL MTU",
            Self::IcmpTooBig => "ICMP TOO BIG",
            Self::Blackhole => "BLACKHOLE",
            Self::BridgePort => "BLACKHOLE: BRIDGE PORT",
            Self::VethMismatch => "BLACKHOLE: VETH MISMATCH",
            Self::Fragmentation => "FRAGMENTATION",
            Self::MssClamp => "MSS CLAMP",
            Self::TcpPathMtu => "TCP PATH MTU",
            Self::TcpStalls => "TCP STALLS",
            Self::Larger => "LARGER THAN DECLARED",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}
