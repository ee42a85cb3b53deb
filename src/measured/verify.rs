//! What the check of payload brought.

use serde::{Deserialize, Serialize};

/// The payload of one end of a stream under `--verify`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verified {
    /// Blocks or datagrams that were made or checked, warm-up included.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the checked blocks: those that are not as they were sent.
    pub corrupt: u64,
    /// The first of them.
    pub first: Option<Corruption>,
    /// What making or checking a byte cost this end, nanoseconds, measured before the window with a block in the cache.
    pub ns_per_byte: f64,
}

/// Payload that is not as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Corruption {
    /// Number of the block or datagram.
    pub block: u64,
    /// First byte that differs, from the start of the stream (of the datagram), from 0.
    pub offset: u64,
    /// Bytes of the block that differ.
    pub differing: u64,
    /// Where the following bytes begin, counted like `offset`.
    pub shown_from: u64,
    /// What should have come, hexadecimal.
    pub expected: String,
    /// What came.
    pub found: String,
}

impl Corruption {
    /// In words: `byte 1234 (block 0): expected …, found …, 1 byte differs`.
    pub fn text(&self) -> String {
        let Self { block, offset, differing, shown_from, expected, found } = self;
        let bytes = if *differing == 1 { "byte differs" } else { "bytes differ" };
        format!(
            "byte {offset} (block {block}): from byte {shown_from} on expected {expected}, found {found}; {differing} {bytes} in the block"
        )
    }
}
