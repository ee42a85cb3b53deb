//! How payload enters and leaves the kernel, by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Paced, Pacing, StreamPacer, Test};
use crate::units::{BitRate, ByteSize};

/// How a sender hands its payload over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendMode {
    /// One `send` per block or datagram; the kernel copies.
    Write,
    /// `sendfile` from memory: the kernel sends the pages of a file that stays in its cache.
    Sendfile,
    /// `MSG_ZEROCOPY`: the kernel sends the caller's pages, or says that it copied them after all.
    Zerocopy,
    /// `tee` and `splice`: the kernel sends the pages of a block that stays in a pipe.
    Splice,
    /// io_uring: several blocks a call, copied.
    Uring,
    /// Datagrams: many per message (`UDP_SEGMENT`), many messages per `sendmmsg`.
    Gso,
    /// Datagrams and frames: one per message, many messages per `sendmmsg`.
    Mmsg,
    /// Frames: written into memory shared with the kernel (`PACKET_TX_RING`), many per call.
    Ring,
}

/// How a receiver takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiveMode {
    /// One `recv` per turn, copied into the caller's buffer.
    Recv,
    /// `recv` with `MSG_TRUNC`: the kernel throws the payload away. Nothing is copied, and the result says so.
    Trunc,
    /// `splice` through a pipe to `/dev/null`. Nothing is copied, and the result says so.
    Splice,
    /// `TCP_ZEROCOPY_RECEIVE`: whole pages are mapped, the rest is copied; the result says how much.
    Zerocopy,
    /// io_uring: one receive that stays in force, into buffers of its own.
    Uring,
    /// Datagrams: many per message (`UDP_GRO`), many messages per `recvmmsg`.
    Gro,
    /// Datagrams: one per message, many messages per `recvmmsg`.
    Mmsg,
}

impl SendMode {
    /// Every mode.
    pub const ALL: [Self; 8] =
        [Self::Write, Self::Sendfile, Self::Zerocopy, Self::Splice, Self::Uring, Self::Gso, Self::Mmsg, Self::Ring];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sendfile => "sendfile",
            Self::Zerocopy => "zerocopy",
            Self::Splice => "splice",
            Self::Uring => "uring",
            Self::Gso => "gso",
            Self::Mmsg => "mmsg",
            Self::Ring => "ring",
        }
    }

    /// A frame up to so many bytes, a page, is one piece of memory for the kernel, which copies it faster than it takes pages of a ring.
    const PAGE: u64 = 4096;

    /// What a test does when nothing is asked for: both sides copy, datagrams go in bundles, and frames of `length` bytes as is faster
    /// (docs/performance.md).
    pub fn usual(test: Test, length: u64) -> Self {
        match test {
            Test::UdpStream => Self::Gso,
            Test::FrameStream if length <= Self::PAGE => Self::Mmsg,
            Test::FrameStream => Self::Ring,
            Test::TcpSendfile => Self::Sendfile,
            _ => Self::Write,
        }
    }

    /// Can this test send so?
    pub fn fits(self, test: Test) -> bool {
        match self {
            Self::Write => test != Test::TcpSendfile,
            Self::Sendfile => test.is_byte_stream(),
            Self::Zerocopy | Self::Splice | Self::Uring => test.is_byte_stream() && test != Test::TcpSendfile,
            Self::Gso => test == Test::UdpStream,
            Self::Mmsg => test.is_numbered(),
            Self::Ring => test == Test::FrameStream,
        }
    }
}

impl ReceiveMode {
    /// Every mode.
    pub const ALL: [Self; 7] =
        [Self::Recv, Self::Trunc, Self::Splice, Self::Zerocopy, Self::Uring, Self::Gro, Self::Mmsg];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recv => "recv",
            Self::Trunc => "trunc",
            Self::Splice => "splice",
            Self::Zerocopy => "zerocopy",
            Self::Uring => "uring",
            Self::Gro => "gro",
            Self::Mmsg => "mmsg",
        }
    }

    /// What a test does when nothing is asked for.
    pub fn usual(test: Test) -> Self {
        match test {
            Test::UdpStream => Self::Gro,
            Test::FrameStream => Self::Mmsg,
            _ => Self::Recv,
        }
    }

    /// Can this test receive so?
    pub fn fits(self, test: Test) -> bool {
        match self {
            Self::Recv => true,
            Self::Trunc | Self::Splice | Self::Zerocopy | Self::Uring => test.is_byte_stream(),
            Self::Gro => test == Test::UdpStream,
            Self::Mmsg => test.is_numbered(),
        }
    }
}

impl fmt::Display for SendMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for ReceiveMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SendMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| unknown(text, &Self::ALL.map(Self::name)))
    }
}

impl FromStr for ReceiveMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| unknown(text, &Self::ALL.map(Self::name)))
    }
}

fn unknown(text: &str, names: &[&str]) -> String {
    format!("`{}` is none of {}", text.chars().take(40).collect::<String>().escape_debug(), names.join(", "))
}

/// Socket options asked for; what is in force is in [`super::SocketFacts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tuning {
    /// `TCP_MAXSEG`, bytes.
    pub mss: Option<u32>,
    /// `TCP_CONGESTION`.
    pub congestion: Option<String>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
    /// IPv6 flow label, 1 to 0xfffff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_label: Option<u32>,
    /// `TCP_NODELAY`; request/response tests set it unless told otherwise.
    pub nodelay: Option<bool>,
    /// `SO_MAX_PACING_RATE` of each socket.
    pub pacing: Option<BitRate>,
    /// What keeps a sender of datagrams at its rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacer: Option<Pacing>,
    /// `SO_RCVLOWAT`: bytes below which a receiver of a byte stream sleeps on.
    pub rcvlowat: Option<i32>,
    /// `SO_SNDBUF`, bytes, over what is asked for both.
    pub sndbuf: Option<ByteSize>,
    /// `SO_RCVBUF`, likewise.
    pub rcvbuf: Option<ByteSize>,
    /// `SO_BUSY_POLL`, microseconds.
    pub busy_poll: Option<u32>,
    /// Frames go to the device past its queueing discipline (`PACKET_QDISC_BYPASS`).
    #[serde(default)]
    pub qdisc_bypass: bool,
    /// Never sleep in a receive: a request/response thread asks again and again.
    pub spin: bool,
}

impl Tuning {
    /// Refuses what no kernel takes.
    pub fn check(&self) -> Result<(), String> {
        if let Some(dscp) = self.dscp.filter(|&dscp| dscp > 63) {
            return Err(format!("DSCP {dscp}: allowed are 0 to 63"));
        }
        if let Some(label) = self.flow_label.filter(|label| !(1..=0xf_ffff).contains(label)) {
            return Err(format!("flow label {label:#x}: allowed are 1 to 0xfffff"));
        }
        if let Some(mss) = self.mss.filter(|mss| !(88..=32767).contains(mss)) {
            return Err(format!("MSS {mss}: the kernel takes 88 to 32767 bytes"));
        }
        let odd = |name: &&String| name.is_empty() || name.len() > 15 || !name.bytes().all(|b| b.is_ascii_graphic());
        if let Some(name) = self.congestion.as_ref().filter(odd) {
            return Err(format!("`{}` is no name of a congestion control", name.escape_debug()));
        }
        if self.sndbuf.max(self.rcvbuf).is_some_and(|size| size.0 > i32::MAX as u64) {
            return Err("socket buffers are below 2 GiB".to_owned());
        }
        if self.rcvlowat.is_some_and(|mark| mark < 1) || self.busy_poll.is_some_and(|us| us > 1_000_000) {
            return Err("SO_RCVLOWAT is at least 1 byte, SO_BUSY_POLL at most a second".to_owned());
        }
        Ok(())
    }
}

/// How one end of a stream really moved its payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StreamIo {
    /// How it sent (senders).
    pub send: Option<SendMode>,
    /// How it received (receivers).
    pub receive: Option<ReceiveMode>,
    /// Was the payload copied into the receiver's memory? Absent at a sender.
    pub payload_copied: Option<bool>,
    /// Why it is another mode than was asked for.
    pub fallback: Option<String>,
    /// Bytes of a block (senders of byte streams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// Datagrams in one message at most, when they were bundled.
    pub segments: Option<u32>,
    /// Nanoseconds in which a receiver of a byte stream did not read though payload lay in its socket: pauses that ended with more
    /// than comes in one piece. Absent with `SO_RCVLOWAT`, which lets it lie on purpose, and where packets came out of order: what
    /// waits behind a hole comes all at once, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_ns: Option<u64>,
    /// Bytes that lay in the socket of a receiver of a byte stream when its window opened: they are counted in it and came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Nanoseconds by which that window opened late: the time in which what lay there came at the rate of the rest, and without a
    /// warm-up that in which the sender found the window full; at most what the window is shorter than the sender's `drained_ns` less
    /// a round trip. The rate is over both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ns: Option<u64>,
    /// Nanoseconds from the opening of the window of a sender of a byte stream until its receiver had read all (with traffic both
    /// ways: had acknowledged all). Absent where that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_ns: Option<u64>,
    /// What became of `MSG_ZEROCOPY`.
    pub zerocopy: Option<Zerocopy>,
    /// What became of `TCP_ZEROCOPY_RECEIVE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<Mapped>,
    /// How evenly a sender of datagrams with a rate sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paced: Option<Paced>,
    /// What spaces the segments of a sender of a byte stream with a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paced_by: Option<StreamPacer>,
}

/// What a receiver by `TCP_ZEROCOPY_RECEIVE` got, warm-up included, until it gave up where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Mapped {
    /// Bytes in pages that were mapped.
    pub mapped: u64,
    /// Bytes that were copied, since they filled no page that could be mapped.
    pub copied: u64,
}

/// The kernel's own account of `MSG_ZEROCOPY` sends, from the socket's error queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Zerocopy {
    /// Sends asked to go without a copy.
    pub sends: u64,
    /// Of those, reported done.
    pub completed: u64,
    /// Of the completed, those that the kernel copied after all (on loopback and veth: all).
    pub copied: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for mode in SendMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
        for mode in ReceiveMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
        assert_eq!(
            "\u{1b}x".parse::<ReceiveMode>().unwrap_err(),
            "`\\u{1b}x` is none of recv, trunc, splice, zerocopy, uring, gro, mmsg"
        );
    }

    #[test]
    fn the_usual_modes_fit() {
        for test in Test::ALL {
            for length in [64, 9018] {
                assert!(SendMode::usual(test, length).fits(test), "{test} {length}");
            }
            assert!(ReceiveMode::usual(test).fits(test), "{test}");
        }
    }
}
