//! What the traffic engine measured, as plain serialisable data. `traffic` fills it, `agent` carries it, `record` keeps it.
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC` differences unless a name says otherwise; bytes are payload bytes.

mod interval;
mod io;
mod late;
mod pacing;
mod verify;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::{
    interval::{StreamInterval, TcpInterval},
    io::{Mapped, ReceiveMode, SendMode, StreamIo, Tuning, Zerocopy},
    pacing::{Paced, Pacing, StreamPacer},
    verify::{Corruption, Verified},
};

/// Bytes of the frame check sequence, which the device puts at the end of each frame.
pub const CHECK_SEQUENCE: u64 = 4;

/// A test, by netperf's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Test {
    /// Client sends a byte stream as fast as it goes.
    TcpStream,
    /// The same, the other way: the server sends.
    TcpMaerts,
    /// Client and server send at once, over one connection.
    TcpBidir,
    /// TCP_STREAM by `sendfile`.
    TcpSendfile,
    /// Client sends numbered datagrams, unpaced or at a rate.
    UdpStream,
    /// Client sends numbered Ethernet frames past the network stack.
    FrameStream,
    /// One request, one response, over one connection; closed loop.
    TcpRr,
    /// The same over datagrams; a lost one is asked for again.
    UdpRr,
    /// Connect, one request, one response, close.
    TcpCrr,
    /// Connect and close.
    TcpCc,
}

impl Test {
    /// Every test, in the order in which they are listed to people.
    pub const ALL: [Self; 10] = [
        Self::TcpStream,
        Self::TcpMaerts,
        Self::TcpBidir,
        Self::TcpSendfile,
        Self::UdpStream,
        Self::FrameStream,
        Self::TcpRr,
        Self::UdpRr,
        Self::TcpCrr,
        Self::TcpCc,
    ];

    /// netperf's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpStream => "TCP_STREAM",
            Self::TcpMaerts => "TCP_MAERTS",
            Self::TcpBidir => "TCP_BIDIR",
            Self::TcpSendfile => "TCP_SENDFILE",
            Self::UdpStream => "UDP_STREAM",
            Self::FrameStream => "FRAME_STREAM",
            Self::TcpRr => "TCP_RR",
            Self::UdpRr => "UDP_RR",
            Self::TcpCrr => "TCP_CRR",
            Self::TcpCc => "TCP_CC",
        }
    }

    /// Is the result a latency and a transaction rate (and not a goodput)?
    pub fn is_rr(self) -> bool {
        matches!(self, Self::TcpRr | Self::UdpRr | Self::TcpCrr | Self::TcpCc)
    }

    /// Does every transaction have a connection of its own?
    pub fn is_per_connection(self) -> bool {
        matches!(self, Self::TcpCrr | Self::TcpCc)
    }

    /// Can its requests go on a schedule?
    pub fn has_schedule(self) -> bool {
        matches!(self, Self::TcpRr | Self::UdpRr)
    }

    /// Does the server send the stream?
    pub fn is_reverse(self) -> bool {
        self == Self::TcpMaerts
    }

    /// Does the client give the headline: the receiver of a stream, or who asks?
    pub fn is_judged_by_client(self) -> bool {
        self.is_rr() || self.is_reverse()
    }

    /// Does it run over UDP?
    pub fn is_udp(self) -> bool {
        matches!(self, Self::UdpStream | Self::UdpRr)
    }

    /// Does it send numbered messages one way, of which some may be lost?
    pub fn is_numbered(self) -> bool {
        matches!(self, Self::UdpStream | Self::FrameStream)
    }

    /// Has it no connection: datagrams or frames?
    pub fn is_connectionless(self) -> bool {
        self.is_udp() || self == Self::FrameStream
    }

    /// Do both ends send a stream at once?
    pub fn is_bidirectional(self) -> bool {
        self == Self::TcpBidir
    }

    /// Does it carry streams of bytes?
    pub fn is_byte_stream(self) -> bool {
        matches!(self, Self::TcpStream | Self::TcpMaerts | Self::TcpBidir | Self::TcpSendfile)
    }

    /// Can its payload be made so that the receiver knows what must come?
    pub fn can_verify(self) -> bool {
        matches!(self, Self::TcpStream | Self::TcpMaerts | Self::TcpBidir | Self::UdpStream)
    }

    /// Reads a comma-separated list, such as `tcp_stream,UDP_RR`; repeats are dropped.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UnknownTest> {
        let mut tests = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let test = name.parse()?;
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
        if tests.is_empty() { Err(UnknownTest::new(text)) } else { Ok(tests) }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Test {
    type Err = UnknownTest;
    fn from_str(text: &str) -> Result<Self, UnknownTest> {
        let canonical = text.trim().to_ascii_uppercase().replace('-', "_");
        Self::ALL.into_iter().find(|test| test.name() == canonical).ok_or_else(|| UnknownTest::new(text))
    }
}

/// A name that is no test's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a test{}; tests are {known}", .nearest.map(|t| format!(", did you mean `{}`?", t.name().to_ascii_lowercase())).unwrap_or_default())]
pub struct UnknownTest {
    /// What was written, made printable and short.
    pub name: String,
    /// The test it is likely to mean.
    pub nearest: Option<Test>,
    known: String,
}

impl UnknownTest {
    fn new(text: &str) -> Self {
        let canonical: String = text.trim().to_ascii_uppercase().replace('-', "_").chars().take(40).collect();
        let (distance, nearest) = Test::ALL
            .into_iter()
            .map(|test| (edit_distance(&canonical, test.name()), test))
            .min_by_key(|&(distance, _)| distance)
            .expect("ALL is not empty");
        Self {
            name: text.chars().take(40).collect::<String>().escape_debug().to_string(),
            nearest: (distance <= 3).then_some(nearest),
            known: Test::ALL.map(|test| test.name().to_ascii_lowercase()).join(", "),
        }
    }
}

/// Levenshtein's distance, for texts of some tens of characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What one side (all streams of one test at one worker) did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Side {
    /// Every stream, by its number.
    pub streams: Vec<Stream>,
    /// Consecutive intervals of the measured window over all streams; their bytes and units sum to the streams' totals.
    pub intervals: Vec<Interval>,
    /// Latency over all streams (request/response clients only). On a schedule: from the intended time of each request.
    pub latency: Option<Latency>,
    /// On a schedule: the latency from the time at which each request really went, which hides what waited to be sent.
    #[serde(default)]
    pub uncorrected: Option<Latency>,
    /// What every CPU of the machine did in the window; empty when it was too short to tell.
    #[serde(default)]
    pub cpus: Vec<CpuLoad>,
    /// The other direction of a test with two: what the server sends and the client receives. All else here is of the direction
    /// from client to server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Box<Side>>,
    /// Between plain hosts: packets that the devices received during the test by which the other end's arrive, each by its own count, others' among them.
    /// Absent where it cannot be told (a veth, a tunnel), and where a topology says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<u64>,
}

impl Side {
    /// Payload bytes in the window, over all streams.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|s| s.bytes).sum()
    }
    /// Payload bytes of warm-up and window together.
    pub fn all_bytes(&self) -> u64 {
        self.streams.iter().map(|s| s.bytes + s.omitted_bytes).sum()
    }
    /// Its streams, and those of the other direction.
    pub fn both_ways(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().chain(self.back.iter().flat_map(|back| &back.streams))
    }
    /// Datagrams or transactions in the window, over all streams (0 for byte streams).
    pub fn units(&self) -> u64 {
        self.streams.iter().map(|s| s.units).sum()
    }
    /// Datagrams or transactions of warm-up and window together.
    pub fn all_units(&self) -> u64 {
        self.streams.iter().map(|s| s.units + s.omitted_units).sum()
    }
    /// Payload bits per second: the sum of each stream's own rate over its own window.
    pub fn bits_per_second(&self) -> f64 {
        self.streams.iter().map(|s| per_second(s.bytes as f64 * 8.0, s.judged_ns())).sum()
    }
    /// Datagrams or transactions per second, summed likewise.
    pub fn units_per_second(&self) -> f64 {
        self.streams.iter().map(|s| per_second(s.units as f64, s.elapsed_ns)).sum()
    }
}

fn per_second(amount: f64, nanos: u64) -> f64 {
    if nanos == 0 { 0.0 } else { amount * 1e9 / nanos as f64 }
}

/// One end of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stream {
    /// Number of the stream, the same at both ends.
    pub stream: u32,
    /// Own address and port.
    pub local: String,
    /// The other end's.
    pub peer: String,
    /// Payload bytes sent or received in the measured window (a client of a request/response test: received).
    pub bytes: u64,
    /// Payload bytes of the warm-up before it.
    pub omitted_bytes: u64,
    /// Datagrams, or transactions, in the window; 0 for a byte stream. At a datagram receiver: distinct ones.
    pub units: u64,
    /// The same in the warm-up.
    pub omitted_units: u64,
    /// Length of the window. Sender: first send to return of the last. Receiver: first byte to last byte.
    pub elapsed_ns: u64,
    /// System calls of the data loop, warm-up included.
    pub calls: u64,
    /// How payload was moved (streams only).
    #[serde(default)]
    pub io: Option<StreamIo>,
    /// What the data thread cost, and where it ran.
    pub cpu: ThreadCpu,
    /// Socket options in force at the end, read back.
    pub socket: SocketFacts,
    /// The kernel's account of the connection (TCP only).
    pub tcp: Option<TcpInfo>,
    /// What became of the datagrams (receivers of UDP_STREAM only).
    pub datagrams: Option<Datagrams>,
    /// What the check of the payload brought (`--verify`); at a sender: what was made to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What became of the schedule (request/response clients at a set rate).
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Requests that got no answer in time and were sent again (UDP_RR clients only).
    pub retries: Option<u64>,
}

impl Stream {
    /// The time over which its rate is judged: the window, and what it opened late.
    pub fn judged_ns(&self) -> u64 {
        self.elapsed_ns + self.io.as_ref().and_then(|io| io.late_ns).unwrap_or(0)
    }
}

/// Cost of a data thread (`getrusage(RUSAGE_THREAD)`) from the opening of its window to its end, and its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ThreadCpu {
    /// Time in user space.
    pub user_ns: u64,
    /// Time in the kernel on behalf of this thread (softirqs that run elsewhere are not in it).
    pub system_ns: u64,
    /// Time in which it was ready to run and another had its CPU (`/proc/thread-self/schedstat`).
    #[serde(default)]
    pub waiting_ns: Option<u64>,
    /// CPUs the thread was pinned to, read back from the kernel; absent when not pinned.
    pub pinned: Option<crate::units::CpuList>,
    /// CPU it ended on.
    pub last_cpu: Option<u32>,
}

/// What a CPU did in the window, whoever it was for: shares of its time, and its backlog's counters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CpuLoad {
    /// Number.
    pub cpu: u32,
    /// In user space.
    pub user: f64,
    /// In the kernel for a thread.
    pub system: f64,
    /// In soft interrupts: receiving, mostly.
    pub softirq: f64,
    /// In hard interrupts.
    pub irq: f64,
    /// Idle, or waiting for a disk.
    pub idle: f64,
    /// Taken by the hypervisor.
    pub steal: f64,
    /// Packets that it received, of whichever interface and program (`softnet_stat`); one that passes a VLAN or a tunnel counts again.
    #[serde(default)]
    pub softnet_processed: u64,
    /// Packets dropped since the backlog was full (`softnet_stat`).
    pub softnet_dropped: u64,
    /// Times its softirq had to stop with work left.
    pub softnet_squeezed: u64,
    /// Its frequency at the end of the window, MHz, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mhz: Option<f64>,
}

/// Effective socket options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SocketFacts {
    /// `SO_SNDBUF` as the kernel keeps it (twice what was asked), bytes.
    pub sndbuf: u64,
    /// `SO_RCVBUF`, likewise.
    pub rcvbuf: u64,
    /// `TCP_MAXSEG`, bytes.
    pub mss: Option<u32>,
    /// `TCP_CONGESTION`.
    pub congestion: Option<String>,
    /// `TCP_NODELAY`.
    pub nodelay: Option<bool>,
    /// Differentiated services code point of what it sends.
    #[serde(default)]
    pub dscp: Option<u8>,
    /// Flow label of what it sends (IPv6, where one was asked for); at the server of a TCP test it is the one that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_label: Option<u32>,
    /// `SO_INCOMING_CPU`: the CPU that last did the receive processing of this socket.
    #[serde(default)]
    pub incoming_cpu: Option<u32>,
    /// `SO_INCOMING_NAPI_ID`: the receive queue that last fed it; absent where no NAPI instance has a number (veth without XDP,
    /// loopback).
    #[serde(default)]
    pub napi_id: Option<u32>,
}

/// Parts of `struct tcp_info`. A field that this kernel does not report is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TcpInfo {
    /// Segments sent again in the window.
    pub retransmits: Option<u32>,
    /// Bytes sent again since the connection was made.
    pub bytes_retransmitted: Option<u64>,
    /// Smoothed round trip, microseconds.
    pub rtt_us: Option<u32>,
    /// Its variation, microseconds.
    pub rttvar_us: Option<u32>,
    /// Smallest round trip seen by the kernel, microseconds.
    pub min_rtt_us: Option<u32>,
    /// Congestion window, segments.
    pub snd_cwnd: Option<u32>,
    /// Segment size towards the peer, bytes.
    pub snd_mss: Option<u32>,
    /// Path MTU the kernel believes in, bytes.
    pub pmtu: Option<u32>,
    /// Largest reordering seen, segments.
    pub reordering: Option<u32>,
    /// Most recent delivery rate, bytes per second.
    pub delivery_rate: Option<u64>,
    /// Segments sent.
    pub segs_out: Option<u32>,
    /// Time with data in flight, microseconds; at the sender of a stream this and the next two are of the window.
    pub busy_us: Option<u64>,
    /// Of which limited by the receiver's window, microseconds.
    pub rwnd_limited_us: Option<u64>,
    /// Of which limited by the send buffer, microseconds.
    pub sndbuf_limited_us: Option<u64>,
}

/// What a receiver of numbered datagrams saw. `received + lost` is the number sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Datagrams {
    /// Sent, by the sender's own count.
    pub sent: u64,
    /// Distinct datagrams received.
    pub received: u64,
    /// Sent and never received.
    pub lost: u64,
    /// Of the received: those that came after one sent later (RFC 4737).
    pub reordered: u64,
    /// Received again.
    pub duplicates: u64,
    /// So late that the window of seen numbers had moved on: neither distinct nor duplicate can be said.
    pub beyond_window: u64,
    /// Dropped by this socket because its buffer was full (`sk_drops`), warm-up included. The kernel counts a bundle of
    /// datagrams once; here it counts as the largest bundle that came, so with bundles this is an upper bound.
    pub socket_drops: Option<u64>,
    /// RFC 3550 interarrival jitter at the end, taken once a receive call.
    pub jitter_ns: u64,
    /// Datagrams too short to carry a number.
    pub malformed: u64,
}

/// Requests at a set rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Schedule {
    /// Due in the window.
    pub requests: u64,
    /// Of those, sent later than the next one was due, or not at all: this end could not keep the schedule.
    pub missed: u64,
    /// Without an answer a second after the window, those not sent among them.
    pub unanswered: u64,
}

/// A piece of the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interval {
    /// From, since the start of the window.
    pub start_ns: u64,
    /// To.
    pub end_ns: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Datagrams or transactions.
    pub units: u64,
    /// The connections at its end (TCP, but for one connection a transaction).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpInterval>,
}

impl Interval {
    /// Payload bits per second.
    pub fn bits_per_second(&self) -> f64 {
        per_second(self.bytes as f64 * 8.0, self.end_ns - self.start_ns)
    }
    /// Datagrams or transactions per second.
    pub fn units_per_second(&self) -> f64 {
        per_second(self.units as f64, self.end_ns - self.start_ns)
    }
}

/// Percentiles of an HDR histogram with three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Latency {
    /// Transactions recorded.
    pub count: u64,
    /// Smallest.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p99_9_ns: u64,
    /// 99.99th percentile.
    pub p99_99_ns: u64,
    /// 99.999th percentile.
    #[serde(default)]
    pub p99_999_ns: u64,
    /// Largest.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_names_are_forgiving_in_case_and_precise_in_error() {
        assert_eq!(Test::parse_list("tcp_stream, UDP-RR,TCP_STREAM").unwrap(), [Test::TcpStream, Test::UdpRr]);
        assert_eq!(serde_json::to_string(&Test::TcpRr).unwrap(), "\"TCP_RR\"");
        for test in Test::ALL {
            assert_eq!(serde_json::to_string(&test).unwrap(), format!("\"{test}\""));
            assert_eq!(test.name().to_ascii_lowercase().parse::<Test>().unwrap(), test);
        }
        let error = Test::parse_list("tcp_steam").unwrap_err().to_string();
        assert!(error.starts_with("`tcp_steam` is not a test, did you mean `tcp_stream`?"), "{error}");
        assert_eq!("quantum".parse::<Test>().unwrap_err().nearest, None);
        assert!(Test::parse_list(" , ").is_err());
        assert!("\u{1b}[31m".repeat(999).parse::<Test>().unwrap_err().to_string().is_ascii());
    }

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("TCP_RR", "TCP_RR"), 0);
    }
}
