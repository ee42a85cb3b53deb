//! Single packets between two hosts that both speak: how large one may be, each way (`mtu probe HOST --port`).
//!
//! The packets are datagrams with DF between one socket of each end; that of the server has the server's port, and is opened when
//! the client's first datagrams say a cookie. Everything else is asked and told over the control connection: what arrived, what
//! the sender's own stack or a router said against it, and, at the end, what TCP carries each way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{kernel::path_probe::Sample, traffic::SegmentSizes};

/// Bytes of what TCP carries in one message; four each way.
pub const FILLER: usize = 32 << 10;
/// How many make what is carried one way.
pub const FILLERS: usize = 4;
/// Packets that a client may have sent to it.
pub const MOST: u32 = 1000;
/// Longest that a server waits for a packet.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Client to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathOrder {
    /// Packets are to be sent; answered by [`PathAnswer::Opened`], and by [`PathAnswer::Ready`] once a datagram has said the cookie.
    Open,
    /// Send one; answered by [`PathAnswer::Sent`].
    Send {
        /// Bytes of the IP packet.
        size: u32,
        /// Its time to live; the usual one where there is none (since protocol 3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<u8>,
    },
    /// What was said against the last one; answered by [`PathAnswer::Sent`].
    Objection {
        /// Its size.
        size: u32,
    },
    /// Wait for one of the client's; answered by [`PathAnswer::Arrived`].
    Arrived {
        /// Its size.
        size: u32,
        /// For how long, milliseconds.
        wait_ms: u32,
    },
    /// Bytes for TCP to carry; answered by [`PathAnswer::Carried`].
    Carry {
        /// As many as it has.
        filler: String,
    },
    /// Have TCP carry [`FILLER`] bytes back; answered by [`PathAnswer::Filler`].
    CarryBack,
    /// No more packets.
    Close,
}

/// Server to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathAnswer {
    /// The client's datagrams shall say this.
    Opened {
        /// The cookie.
        cookie: String,
        /// Segment sizes of the control connection at the server.
        sizes: Option<SegmentSizes>,
    },
    /// One came.
    Ready,
    /// It was sent, or was not.
    Sent {
        /// What is said against it.
        against: Option<Sample>,
    },
    /// It came, or did not in time.
    Arrived {
        /// Which.
        arrived: bool,
    },
    /// Filler came.
    Carried {
        /// Bytes.
        bytes: u64,
        /// Segment sizes, now.
        sizes: Option<SegmentSizes>,
    },
    /// Filler.
    Filler {
        /// [`FILLER`] bytes.
        filler: String,
    },
}
