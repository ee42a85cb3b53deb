//! Options of what the tests do, beyond length and rate.

use crate::measured::Test;

/// What requests and payload are made of.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Requests kept in flight beside the first, pipelined (tcp_rr, udp_rr).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub burst: Option<u32>,
    /// Check the payload: streams of blocks or datagrams made from a seed, each with its CRC32C; exit 3 when one is corrupt.
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub verify: Option<u64>,
    /// frame_stream: bytes of a frame, its check sequence among them, 64 to 9018 [default: 64].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=9018))]
    pub frame_size: Option<u32>,
    /// Measure the latency of requests idle and, in rounds between, beside this stream: tcp_stream, tcp_maerts, tcp_bidir or
    /// udp_stream.
    #[arg(long, value_name = "TEST")]
    pub under: Option<Test>,
}
