//! Versioned result types: what `--json` prints and what is kept. The schema is checked in as
//! `docs/json/run.schema.json`.
//!
//! Figures are as measured, with their unit in the field's name; what a reader may want to compute (medians, intervals) is
//! in the summaries.

pub mod amount;
mod beside;
pub mod compare;
pub mod history;
pub mod kept;
mod losses;
pub mod manifest;
pub mod mtu;
mod offload;
mod path;
mod placement;
pub mod sweep;
mod together;

use serde::{Deserialize, Serialize};

pub use self::{
    beside::{Directions, LoadedRound, LoadedSummary, OtherWay, UnderLoad, Unit},
    losses::{LossPlace, LossShare},
    offload::{BisectRecord, OFFLOAD_SCHEMA_VERSION, OffloadCheck, OffloadRecord, OffloadVerdict, Trial},
    path::{HopEvidence, PathEvidence, PathVerdict, StrayEvidence},
    placement::{LanePlace, Policy, Relation},
    together::{TogetherRecord, TogetherRound},
};

use crate::{
    facts::{Machine, OvsFacts},
    measured::{Latency, ReceiveMode, Schedule, SendMode, Side, Test, Tuning},
    plan::{ceiling::RateSource, proof::SettingProof},
    stats::{
        Spread,
        sequential::{Rule, Stop},
        warning::Warning,
    },
    units::{BitRate, ByteSize, CpuList, Span},
};

/// Version of the shape below. A field may be added without a new number; one that goes or changes its sense takes one.
pub const SCHEMA_VERSION: u32 = 1;

/// One run of `netbench run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunRecord {
    /// [`SCHEMA_VERSION`]
    pub schema_version: u32,
    /// Version of netbench.
    pub netbench: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// What was measured on.
    pub topology: TopologyRef,
    /// Ran without root, in namespaces of an own user namespace.
    pub rootless: bool,
    /// The machine; of `netbench stream` the client's.
    pub machine: Machine,
    /// `netbench stream`: the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerRecord>,
    /// The MTU of every path, proved with packets before the measurement.
    pub proofs: Vec<MtuProof>,
    /// What switches and NICs were told (VLANs, settings of virtual functions), tried with frames before the measurement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingProof>,
    /// How long the kernel took to become quiet after the topology was made, milliseconds.
    pub quiet_ms: f64,
    /// Length of the measurement, seconds.
    pub elapsed_s: f64,
    /// By flow, in order of declaration.
    pub flows: Vec<FlowRecord>,
    /// Tests whose flows ran at the same time, with their sums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<TogetherRecord>,
    /// In what it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<manifest::Manifest>,
    /// Where no number of rounds was said: the rule, and what ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequential: Option<Sequential>,
    /// Each Open vSwitch that the traffic went through, as it was right after the measurement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<OvsFacts>,
    /// What a reader should know before trusting the figures.
    pub warnings: Vec<String>,
    /// Ended early by Ctrl-C: later rounds are missing.
    pub interrupted: bool,
}

impl RunRecord {
    /// A record without results yet.
    pub fn new(started: jiff::Timestamp, command: Vec<String>, topology: TopologyRef, machine: Machine) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            netbench: env!("CARGO_PKG_VERSION").to_owned(),
            started: format!("{started:.0}"),
            command,
            topology,
            rootless: false,
            machine,
            peer: None,
            proofs: Vec::new(),
            settings: Vec::new(),
            quiet_ms: 0.0,
            elapsed_s: 0.0,
            flows: Vec::new(),
            together: Vec::new(),
            manifest: None,
            sequential: None,
            switches: Vec::new(),
            warnings: Vec::new(),
            interrupted: false,
        }
    }

    /// Did a test miss what its profile asks for?
    pub fn has_failed(&self) -> bool {
        let ceilings = self.flows.iter().flat_map(|flow| &flow.tests).filter_map(|test| test.ceiling.as_ref());
        ceilings.into_iter().any(|ceiling| ceiling.pass == Some(false))
    }

    /// Did payload come otherwise than it was sent?
    pub fn is_corrupt(&self) -> bool {
        let tests = self.flows.iter().flat_map(|flow| &flow.tests);
        let loads = tests.clone().filter_map(|test| test.under.as_ref()).flat_map(|under| &under.rounds);
        let loads = loads.flat_map(|round| [&round.load_client, &round.load_server]);
        let sides = tests.flat_map(|test| &test.rounds).flat_map(|round| [&round.client, &round.server]);
        sides
            .chain(loads)
            .flat_map(Side::both_ways)
            .any(|stream| stream.verified.as_ref().is_some_and(|seen| seen.corrupt > 0))
    }

    /// May every figure be believed, and is there one?
    pub fn is_valid(&self) -> bool {
        self.proofs.iter().all(|proof| proof.holds)
            && self.flows.iter().flat_map(|flow| &flow.tests).all(|test| test.verdict.valid)
    }
}

/// The server of `netbench stream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PeerRecord {
    /// Address and port.
    pub address: String,
    /// Its version of netbench.
    pub netbench: String,
    /// Version of the protocol that both spoke.
    pub protocol: u8,
    /// Its machine.
    pub machine: Machine,
}

/// How the number of rounds came about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sequential {
    /// The rule.
    pub rule: Rule,
    /// Why it ended; absent when it was interrupted.
    pub stopped: Option<Stop>,
}

/// A path whose MTU was probed: packets with DF of exactly the MTU must arrive, longer ones must not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MtuProof {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Declared MTU, bytes of the IP packet.
    pub mtu: u32,
    /// Did it hold both ways?
    pub holds: bool,
    /// What was seen, in a line.
    pub text: String,
}

/// A topology by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TopologyRef {
    /// Name.
    pub name: String,
    /// Hash of the source text, hexadecimal.
    pub hash: String,
}

impl TopologyRef {
    /// The name where there is none, as between two hosts.
    pub const NONE: &str = "no topology";

    /// No topology.
    pub fn none() -> Self {
        Self { name: Self::NONE.to_owned(), hash: String::new() }
    }
}

/// A pair of nodes and what was measured between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FlowRecord {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Address the client binds.
    pub from_address: String,
    /// Address the client connects to.
    pub to_address: String,
    /// Largest IP packet the path carries, bytes; 0 when not known.
    pub mtu: u32,
    /// Every test, in order.
    pub tests: Vec<TestRecord>,
}

/// A test of a flow over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TestRecord {
    /// Which.
    pub test: Test,
    /// As asked for.
    pub settings: Settings,
    /// What `--io auto` tried and chose; the settings are the chosen ones.
    #[serde(default)]
    pub io_probe: Option<IoProbe>,
    /// The CPUs that each stream got, in the last round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<LanePlace>,
    /// Every round, in order of time. A round that failed has no figures and says why in the verdict.
    pub rounds: Vec<RoundRecord>,
    /// The headline over all rounds; absent when none ended.
    pub summary: Option<Summary>,
    /// The same requests beside a stream (`--under`), in rounds between those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<UnderLoad>,
    /// May the figures be believed?
    pub verdict: Verdict,
    /// Why the figures may not come again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The most that the path can carry; absent where no link of it has a known rate, and for request/response tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
}

/// The goodput ceiling of a path, and how near a test came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ceiling {
    /// The interface that bounds, `namespace/interface`.
    pub at: String,
    /// What sets its rate.
    pub source: RateSource,
    /// That rate. A shaper's is of frames from their Ethernet header on, a port's of the wire with preamble, check sequence and gap.
    pub rate: BitRate,
    /// Payload bytes of a full packet.
    pub payload_bytes: u64,
    /// Bytes that it takes of the rate.
    pub wire_bytes: u64,
    /// Payload bits per second, at most.
    pub bits_per_second: f64,
    /// What was achieved: median over the rounds of all payload over the longest window.
    pub achieved: f64,
    /// `--profile`, if it was given.
    pub profile: Option<String>,
    /// With a profile: was enough of the ceiling reached?
    pub pass: Option<bool>,
}

impl Ceiling {
    /// Achieved over possible, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.bits_per_second > 0.0 { self.achieved / self.bits_per_second } else { 0.0 }
    }
}

/// Ways to send and receive, measured shortly before the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IoProbe {
    /// The fastest, or the plain way where no other is clearly faster.
    pub chosen: IoTry,
    /// All, the plain one first.
    pub tried: Vec<IoTry>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IoTry {
    /// How it sent.
    pub send: SendMode,
    /// How it received.
    pub receive: ReceiveMode,
    /// With this `SO_RCVLOWAT`.
    pub rcvlowat: Option<i32>,
    /// Its goodput, payload bits per second: the median of its tries; of a way that was left out before those, of its looks.
    pub bits_per_second: f64,
}

/// What was asked of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Settings {
    /// Measured window of each round.
    pub duration: Span,
    /// Warm-up before it, in no figure.
    pub omit: Span,
    /// Parallel streams.
    pub streams: u32,
    /// Block, datagram or request.
    pub length: ByteSize,
    /// Nobody said the length of a block: each sender of a byte stream took whole segments of its connection instead, as many as it
    /// holds (`io.block` of the stream).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_segments: bool,
    /// Response.
    pub response: ByteSize,
    /// Rate of each stream.
    pub rate: Option<BitRate>,
    /// What ended each stream: bytes of a byte stream, datagrams, frames or transactions; the duration was then the longest it might take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// Transactions of each stream in a second, on a schedule.
    pub transactions: Option<u64>,
    /// Requests that each stream kept in flight beside the first.
    #[serde(default)]
    pub burst: u32,
    /// Seed of the payload that was made and checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<u64>,
    /// How the sender of a stream shall send.
    pub send: SendMode,
    /// How its receiver shall receive.
    pub receive: ReceiveMode,
    /// Socket options.
    pub tuning: Tuning,
    /// CPUs of the client's data threads.
    pub client_cpus: Option<CpuList>,
    /// CPUs of the server's.
    pub server_cpus: Option<CpuList>,
    /// How far apart the CPUs of a stream's two ends were asked to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Policy>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoundRecord {
    /// Number, from 1.
    pub round: u32,
    /// The headline figure, in the test's unit.
    pub headline: f64,
    /// The client: sender of a stream.
    pub client: Side,
    /// The server: receiver of a stream.
    pub server: Side,
    /// Did the bytes take the declared path?
    pub path: PathEvidence,
    /// Datagrams that were lost, warm-up included, each charged to a place; they sum to the loss (UDP_STREAM).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossShare>,
    /// What kept it from going faster (streams, and requests on a schedule that was not kept).
    #[serde(default)]
    pub bottleneck: Option<Bottleneck>,
    /// From the server to the client, of a test in both directions; `path` and `bottleneck` above are of the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_way: Option<OtherWay>,
}

/// The headline of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Unit of `headline`.
    pub unit: Unit,
    /// Receiver's goodput, or transactions per second, over the rounds.
    pub headline: Spread,
    /// Of a test in both directions: each for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<Directions>,
    /// Segments sent again, over all rounds (TCP).
    pub retransmits: Option<u64>,
    /// Datagrams, over all rounds (UDP_STREAM).
    pub datagrams: Option<DatagramSummary>,
    /// Median over the rounds of each figure (request/response; `count` is the sum, `min` and `max` are the extremes).
    pub latency: Option<Latency>,
    /// On a schedule: likewise without the correction, from the time at which each request really went.
    #[serde(default)]
    pub uncorrected: Option<Latency>,
    /// What became of the schedule, over all rounds.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// UDP_RR: requests sent again, over all rounds.
    pub retries: Option<u64>,
    /// What sending cost (streams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_cost: Option<SideCost>,
    /// What receiving cost (streams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver_cost: Option<SideCost>,
    /// Most recent delivery rate of the sender's connections, median over the rounds, bits per second (byte streams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<f64>,
    /// RFC 6349 (byte streams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc6349: Option<Rfc6349>,
}

/// What kept a stream from going faster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Bottleneck {
    /// What.
    pub limit: Limit,
    /// What says so.
    pub evidence: String,
    /// Why it may be another: what ran beside took the CPUs meanwhile. Absent where nothing speaks against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<String>,
}

impl Bottleneck {
    /// What says so, and what speaks against it.
    pub fn text(&self) -> String {
        match &self.inconclusive {
            Some(why) => format!("{}; inconclusive: {why}", self.evidence),
            None => self.evidence.clone(),
        }
    }
}

/// Where a stream meets its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The rate that was asked for.
    AskedRate,
    /// The CPU of the sending thread.
    SenderCpu,
    /// The sender did not have data to send.
    SenderApp,
    /// The send buffer.
    SendBuffer,
    /// The receive buffer, and the window it allows.
    ReceiveWindow,
    /// The CPU of the receiving thread.
    ReceiverCpu,
    /// The receiving thread did not read.
    ReceiverApp,
    /// The line rate of a port, or of the shaper that stands for one.
    WireRate,
    /// The load generator: it could not keep the schedule that it was given.
    Generator,
    /// Receive processing of a CPU.
    Softirq,
    /// A queueing discipline dropped packets.
    QdiscDrops,
    /// Drops counted by interfaces of the path.
    PathDrops,
    /// Loss on the way.
    Congestion,
    /// The rate of the path: a queue, a shaper, a wire.
    Path,
}

impl Limit {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::AskedRate => "the asked rate",
            Self::SenderCpu => "sender CPU",
            Self::SenderApp => "sender application",
            Self::SendBuffer => "send buffer",
            Self::ReceiveWindow => "receive window",
            Self::ReceiverCpu => "receiver CPU",
            Self::ReceiverApp => "receiver application",
            Self::WireRate => "the wire's rate",
            Self::Generator => "the generator itself",
            Self::Softirq => "softirq",
            Self::QdiscDrops => "drops of a queueing discipline",
            Self::PathDrops => "drops on the path",
            Self::Congestion => "congestion (loss)",
            Self::Path => "the path's rate",
        }
    }
}

/// Datagrams over all rounds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DatagramSummary {
    /// Sent.
    pub sent: u64,
    /// Never received.
    pub lost: u64,
    /// Of those, dropped by the receiving socket because its buffer was full (at most; it counts warm-up too).
    pub socket_drops: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Came again.
    pub duplicates: u64,
    /// Median jitter, nanoseconds.
    pub jitter_ns: u64,
    /// The loss of all rounds by place, warm-ups included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossShare>,
}

/// What a side of a stream cost, over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SideCost {
    /// Time of the data threads in user space for a byte, nanoseconds.
    pub user_ns_per_byte: f64,
    /// In the kernel.
    pub system_ns_per_byte: f64,
    /// netperf's service demand: both, microseconds for a KiB. Softirqs that run elsewhere are not in it.
    pub service_demand_us_per_kib: f64,
    /// Share of their time that the CPUs on which the threads ended spent in softirq, 0 to 1, whoever for.
    pub softirq: Option<f64>,
}

/// The figures of RFC 6349, over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Rfc6349 {
    /// TCP transfer time ratio: the time that the transfer took over the time it would take at the path's ceiling. Absent
    /// where no link has a known rate.
    pub transfer_time_ratio: Option<f64>,
    /// TCP efficiency: bytes that did not have to be sent again, percent of all sent.
    pub efficiency_percent: f64,
    /// Buffer delay: how much longer than the least the round trip was, percent.
    pub buffer_delay_percent: Option<f64>,
}

/// Whether a result may be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verdict {
    /// It may.
    pub valid: bool,
    /// Why not; empty when valid.
    pub reasons: Vec<String>,
}
