//! What driver and worker say to each other. The first message of each side is its hello.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    measured::{Interval, Side, StreamInterval},
    traffic::{SenderTotals, Spec},
    units::MacAddr,
};

/// Version of this protocol; both sides must have the same.
pub const PROTOCOL: u32 = 3;

/// Version of this build; both sides must have the same, since results are compared to the field.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Driver to worker. `job` is a number of the driver's choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromDriver {
    /// First of all.
    Hello {
        /// [`PROTOCOL`]
        protocol: u32,
        /// [`BUILD`]
        build: String,
    },
    /// Bind the server side of a job; answered by [`FromWorker::Bound`].
    PrepareServer {
        /// New job.
        job: u32,
        /// What to do.
        spec: Spec,
        /// Address to bind.
        address: IpAddr,
    },
    /// Connect the client side; answered by [`FromWorker::Connected`].
    PrepareClient {
        /// New job.
        job: u32,
        /// What to do.
        spec: Spec,
        /// Address to bind.
        from: IpAddr,
        /// Where each stream goes.
        targets: Vec<SocketAddr>,
    },
    /// Start a prepared job; answered by [`FromWorker::Started`], later by [`FromWorker::Result`].
    Start {
        /// Which.
        job: u32,
        /// For a server: the address of each stream's client. Nobody else gets in.
        peers: Vec<SocketAddr>,
    },
    /// To a server: the client is done, and this is what each stream sent.
    Finish {
        /// Which.
        job: u32,
        /// By stream.
        totals: Vec<SenderTotals>,
    },
    /// To a client: end the window now, in good order, and give the result.
    End {
        /// Which.
        job: u32,
    },
    /// Break a job off, wherever it waits; it still says what it has.
    Stop {
        /// Which.
        job: u32,
    },
    /// End the process.
    Bye,
}

/// Worker to driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(
    clippy::large_enum_variant,
    reason = "one result a job: its size is of no weight, a box would be in every match"
)]
pub enum FromWorker {
    /// Answer to the driver's hello.
    Hello {
        /// [`PROTOCOL`]
        protocol: u32,
        /// [`BUILD`]
        build: String,
        /// Process id, in the worker's own pid namespace.
        pid: u32,
    },
    /// The server side is bound.
    Bound {
        /// Which.
        job: u32,
        /// Port of each stream.
        ports: Vec<u16>,
        /// Of frames: the hardware address they are to be sent to.
        mac: Option<MacAddr>,
    },
    /// The client side is connected.
    Connected {
        /// Which.
        job: u32,
        /// Own address of each stream.
        locals: Vec<SocketAddr>,
    },
    /// The data threads run.
    Started {
        /// Which.
        job: u32,
    },
    /// An interval is over.
    Progress {
        /// Which.
        job: u32,
        /// What happened in it.
        interval: Interval,
        /// And in each stream.
        streams: Vec<StreamInterval>,
    },
    /// A job is over.
    Result {
        /// Which.
        job: u32,
        /// What it measured.
        side: Side,
        /// When the first of its streams opened its window (`CLOCK_MONOTONIC`, nanoseconds); 0 when none did.
        opened_ns: u64,
    },
    /// A job (or, without one, the conversation) failed.
    Error {
        /// Which.
        job: Option<u32>,
        /// Why.
        what: String,
    },
}
