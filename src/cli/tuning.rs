//! Options of sockets on the command line.

use crate::{
    measured::{Pacing, Tuning},
    units::{BitRate, ByteSize},
};

/// Socket options of a test.
#[derive(Debug, clap::Args)]
pub struct TuningArgs {
    /// TCP_MAXSEG, bytes.
    #[arg(short = 'M', long, value_name = "BYTES")]
    mss: Option<u32>,
    /// TCP congestion control, such as cubic or bbr.
    #[arg(short = 'C', long, value_name = "NAME")]
    congestion: Option<String>,
    /// Differentiated services code point of what is sent, 0 to 63.
    #[arg(long, value_name = "N")]
    dscp: Option<u8>,
    /// IPv6 flow label of what is sent, 1 to 0xfffff; over IPv4 there is none.
    #[arg(long, value_name = "LABEL", value_parser = flow_label)]
    flow_label: Option<u32>,
    /// TCP_NODELAY for streams too.
    #[arg(long)]
    nodelay: bool,
    /// SO_MAX_PACING_RATE of each socket (datagrams: honoured by the fq qdisc only).
    #[arg(long, value_name = "RATE")]
    pacing_rate: Option<BitRate>,
    /// Streams with a rate: what keeps it, fq (the egress device's queueing discipline) or auto, and for udp_stream timer or
    /// spin too; what did, and the gaps of datagrams, are reported.
    #[arg(long, value_name = "HOW")]
    pacing: Option<Pacing>,
    /// SO_RCVLOWAT: a receiver of a byte stream sleeps until that much is there.
    #[arg(long, value_name = "SIZE")]
    recv_lowat: Option<ByteSize>,
    /// SO_SNDBUF of the sockets, over --socket-buffer.
    #[arg(long, value_name = "SIZE")]
    sndbuf: Option<ByteSize>,
    /// SO_RCVBUF of the sockets, over --socket-buffer.
    #[arg(long, value_name = "SIZE")]
    rcvbuf: Option<ByteSize>,
    /// SO_BUSY_POLL, microseconds (raising it needs CAP_NET_ADMIN).
    #[arg(long, value_name = "MICROSECONDS")]
    busy_poll: Option<u32>,
    /// Frames go to the device past its queueing discipline.
    #[arg(long)]
    qdisc_bypass: bool,
    /// Request/response threads never sleep in a receive.
    #[arg(long)]
    spin: bool,
}

impl TuningArgs {
    /// As the engine takes them.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            mss: self.mss,
            congestion: self.congestion.clone(),
            dscp: self.dscp,
            flow_label: self.flow_label,
            nodelay: self.nodelay.then_some(true),
            pacing: self.pacing_rate,
            pacer: self.pacing,
            rcvlowat: self.recv_lowat.map(|size| i32::try_from(size.0).unwrap_or(i32::MAX)),
            sndbuf: self.sndbuf,
            rcvbuf: self.rcvbuf,
            busy_poll: self.busy_poll,
            qdisc_bypass: self.qdisc_bypass,
            spin: self.spin,
        }
    }
}

/// A number, decimal or hexadecimal.
fn flow_label(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let label = number.ok().filter(|label| (1..=0xf_ffff).contains(label));
    label.ok_or_else(|| "a flow label is 1 to 0xfffff".to_owned())
}
