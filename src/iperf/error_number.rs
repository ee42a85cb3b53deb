//! iperf3's numbers for what goes wrong, as far as they are said or met here, and what they mean in words.

use std::fmt;

/// Number of streams.
pub const STREAMS: i32 = 6;
/// Size of a block.
pub const BLOCK_SIZE: i32 = 7;
/// Size of a socket buffer.
pub const BUFFER: i32 = 8;
/// Segment size.
pub const MSS: i32 = 10;
/// Warm-up.
pub const OMIT: i32 = 12;
/// No SCTP.
pub const NO_SCTP: i32 = 13;
/// Size of a datagram.
pub const UDP_BLOCK_SIZE: i32 = 20;
/// Type of service.
pub const TOS: i32 = 21;
/// Longer than the server allows.
pub const DURATION: i32 = 37;
/// A control message that nobody knows.
pub const MESSAGE: i32 = 110;
/// The parameters could not be read.
pub const RECEIVE_PARAMETERS: i32 = 114;
/// The congestion control could not be set.
pub const CONGESTION: i32 = 134;
/// The client did not identify itself rightly.
pub const AUTHENTICATION: i32 = 142;
/// The test did not end when it should have.
pub const DURATION_EXPIRED: i32 = 160;
/// A data stream could not be taken.
pub const STREAM_ACCEPT: i32 = 204;

/// A test that is not done, with iperf3's number for the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// iperf3's number.
    pub number: i32,
    /// In words.
    pub what: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(number: i32, what: impl fmt::Display) -> Self {
        Self { number, what: what.to_string() }
    }
}

/// What a peer's number means.
pub fn meaning(number: i32) -> &'static str {
    match number {
        STREAMS => "the number of streams is not allowed",
        BLOCK_SIZE => "the block size is not allowed",
        BUFFER => "the socket buffer is too large",
        MSS | 123 => "the segment size is not allowed",
        OMIT => "the warm-up is too long",
        NO_SCTP => "it has no SCTP",
        15 => "the burst is not allowed",
        UDP_BLOCK_SIZE => "the datagram size is not allowed",
        TOS => "the type of service is not allowed",
        27 => "the rate is over the server's limit",
        DURATION => "the test is longer than the server allows",
        103 | 104 => "the control connection could not be made",
        106 => "the cookie could not be read",
        107 | 108 => "the control connection failed",
        109 => "the control connection was closed",
        MESSAGE => "a control message was not understood",
        113 | RECEIVE_PARAMETERS => "the parameters could not be exchanged",
        115..=117 => "the results could not be exchanged",
        119 => "the client ended the test",
        120 => "the server ended the test",
        121 => "the server is busy with another test",
        124 | 130 | 141 => "the socket buffer could not be set",
        132 => "the CPU affinity could not be set",
        CONGESTION => "the congestion control could not be set",
        140 => "the pacing rate could not be set",
        AUTHENTICATION => "the server asks for user and password",
        144 => "nothing was received for too long",
        145 => "don't-fragment could not be set",
        DURATION_EXPIRED => "the test did not end in time",
        200..=202 => "a stream could not be opened",
        203 => "a stream could not connect",
        STREAM_ACCEPT => "a stream could not be accepted",
        205 => "writing to a stream failed",
        206 => "reading from a stream failed",
        207 => "a stream was closed",
        _ => "a reason that is not known here",
    }
}
