//! The load engine: one pinned, blocking thread per stream, ends decided in that thread, counters on their own cache lines.
//!
//! A job has two sides. A [`Server`] is bound and says its ports, a [`Client`] connects to them and says its own addresses,
//! the server starts with those addresses (nobody else gets in), the client starts, and both give a [`Side`] back. Who has
//! connected sockets already begins with [`Running::with_sockets`].
//!
//! [`Side`]: crate::measured::Side

mod burst;
mod clock;
mod counters;
mod cpus;
mod crr;
mod frames;
pub mod guest;
mod job;
mod nudge;
mod open_loop;
mod payload;
mod pipes;
mod rr;
mod sampler;
mod sequence;
mod socket;
mod spec;
mod sys;
mod tcp_receive;
mod tcp_send;
mod tcp_stream;
mod udp_stream;

pub use self::{
    counters::{Sample, StreamSample},
    cpus::{Snapshot as CpuSnapshot, backlog_drops},
    job::{Client, Done, Role, Running, SenderTotals, Server},
    sampler::JobSampler,
    sequence::SequenceWindow,
    socket::{SegmentSizes, drops, segment_sizes, tcp_info},
    socket::{adopt, datagrams, listener, path_mtu},
    spec::{FrameEnds, Limits, Spec},
    udp_stream::discard_queued,
};

#[cfg(test)]
pub use self::spec::example as spec_example;

/// What can go wrong with a job: the operation, what it was done to, and the system's text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{operation} {object}: {source}")]
    Os {
        /// The call.
        operation: &'static str,
        /// Its object.
        object: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The job as asked for makes no sense or passes a limit.
    #[error("{0}")]
    Spec(String),
    /// The other end did something that ends the test.
    #[error("stream {stream}: {what}")]
    Peer {
        /// Number of the stream.
        stream: u32,
        /// What happened.
        what: String,
    },
}

/// Wraps a failed call. Nothing is put in words unless it failed: some calls are made for each transaction.
fn os(operation: &'static str, object: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Os { operation, object: object.to_string(), source }
}
