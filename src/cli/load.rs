//! Options of what the tests do, beyond length and rate.

/// What requests and payload are made of.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Requests kept in flight beside the first, pipelined (tcp_rr, udp_rr).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub burst: Option<u32>,
}
