//! What ends a test instead of its time.

use crate::{experiment::amounts::Amounts, units::ByteSize};

/// Ends by an amount, of each stream.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct EndArgs {
    /// End each stream after so many bytes of payload, to the byte, such as 100m (stream --iperf3: all streams together); --duration is
    /// then the longest it may take [default then: 1m].
    #[arg(short = 'n', long, value_name = "SIZE", conflicts_with = "blocks")]
    pub bytes: Option<ByteSize>,
    /// End each stream after so many blocks of --length, datagrams or frames.
    #[arg(short = 'k', long, value_name = "N")]
    pub blocks: Option<ByteSize>,
    /// End each stream of requests after so many transactions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub transactions: Option<u64>,
}

impl EndArgs {
    /// As an experiment takes them.
    pub fn amounts(&self) -> Amounts {
        Amounts { bytes: self.bytes, blocks: self.blocks.map(|count| count.0), transactions: self.transactions }
    }
}
