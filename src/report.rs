//! A record for readers: terminal text and JSON.

pub mod iperf3;
mod text;

use std::io::{self, Write};

pub use self::text::text;
use crate::record::RunRecord;

/// The record itself, as JSON that ends with a newline.
pub fn json(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, record)?;
    writeln!(out)
}
