//! Frames as they were captured, and what is wrong with them: parsing, checksums and segments of our own. Pure.
//!
//! Input is what AF_PACKET gives with `PACKET_VNET_HDR` and `PACKET_AUXDATA`; nothing here opens a socket. Bytes come from a
//! wire and may be anything: every offset is checked, no input panics.

pub mod checksum;
pub mod compare;
pub mod craft;
pub mod finding;
pub mod frame;
pub mod headers;
pub mod merging;
pub mod odd;
pub mod parse;
pub mod sctp;
pub mod segments;
pub mod toeplitz;

pub use compare::{Comparison, Limits, compare};
pub use finding::{Finding, Findings, Kind};
pub use frame::{Frame, Tag, VnetHeader};
pub use parse::{Layers, parse};
