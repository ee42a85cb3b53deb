//! A record for readers: terminal text, JSON, a page of HTML, other tools' formats.

mod comparison;
mod drivers;
pub mod export;
pub mod html;
mod intervals;
pub mod iperf3;
mod moved;
mod mtu;
pub mod offload;
mod placement;
pub mod quantity;
mod search;
mod sweep;
mod switch;
mod text;
mod together;
pub mod wrap;

use std::io::{self, Write};

pub use self::{
    comparison::comparison,
    export::export,
    mtu::mtu,
    search::search,
    sweep::{overhead, sweep, tune},
    text::text,
};
use crate::record::RunRecord;

/// The record itself, as JSON that ends with a newline.
pub fn json(record: &RunRecord, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, record)?;
    writeln!(out)
}
