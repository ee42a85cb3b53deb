//! A record for readers: terminal text, JSON, a page of HTML, other tools' formats.

mod comparison;
pub mod export;
pub mod html;
pub mod iperf3;
mod mtu;
pub mod offload;
pub mod quantity;
mod text;
pub mod wrap;

use std::io::{self, Write};

pub use self::{comparison::comparison, export::export, mtu::mtu, text::text};
use crate::record::RunRecord;

/// The record itself, as JSON that ends with a newline.
pub fn json(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, record)?;
    writeln!(out)
}
