//! What a job shall do, and the limits within which a worker agrees to do it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    measured::{ReceiveMode, SendMode, Test, Tuning},
    units::{BitRate, ByteSize, MacAddr, Span},
};

/// Bytes in front of each datagram of UDP_STREAM: sequence number and sender's clock.
pub const DATAGRAM_HEADER: usize = 16;

/// One job, as both sides get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The test.
    pub test: Test,
    /// Parallel streams, each with its thread and socket.
    pub streams: u32,
    /// Length of the measured window.
    pub duration: Span,
    /// Warm-up before it, left out of every figure.
    pub omit: Span,
    /// Length of the intervals in which progress is told.
    pub interval: Span,
    /// Bytes of a send (TCP_STREAM), of a datagram (UDP_STREAM) or of a request.
    pub length: ByteSize,
    /// Nobody said that length: the sender of a byte stream takes whole segments of its connection instead, as many as it holds.
    #[serde(default)]
    pub whole_segments: bool,
    /// Bytes of a response.
    pub response: ByteSize,
    /// Payload rate of each stream; none is as fast as it goes.
    pub rate: Option<BitRate>,
    /// What ends the window of each stream before its time: bytes of a byte stream (in each direction), datagrams or frames, or
    /// transactions. The sender stops exactly there; [`Spec::duration`] is then the longest it may take.
    #[serde(default)]
    pub amount: Option<u64>,
    /// Request/response: transactions of each stream in a second, on a schedule; none asks when the answer is there.
    pub transactions: Option<u64>,
    /// Request/response: requests kept in flight beside the first.
    pub burst: u32,
    /// Make the payload from this seed, and check it at the receiver.
    pub verify: Option<u64>,
    /// What to ask for as `SO_SNDBUF` and `SO_RCVBUF`; none leaves TCP to the kernel's tuning and asks 4 MiB for UDP.
    pub socket_buffer: Option<ByteSize>,
    /// CPUs of this side, in the order of the streams; stream i gets the (i mod n)-th, alone.
    pub cpus: Option<Vec<usize>>,
    /// Set the don't-fragment bit, so that a datagram too long for the path is an error here and no silent fragments.
    pub dont_fragment: bool,
    /// How the sender of a stream sends.
    pub send: SendMode,
    /// How its receiver receives.
    pub receive: ReceiveMode,
    /// Options of the sockets.
    pub tuning: Tuning,
    /// FRAME_STREAM: what its frames are known by.
    #[serde(default)]
    pub frames: FrameEnds,
}

/// What the frames of a job are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FrameEnds {
    /// In every frame of the job.
    pub token: u32,
    /// The receiver's hardware address; at the sender.
    pub peer: Option<MacAddr>,
    /// The sender's own, which it finds itself.
    pub source: Option<MacAddr>,
}

/// Limits of a job: a worker is driven by frames and must not be made to eat the machine.
pub struct Limits;

impl Limits {
    /// Parallel streams.
    pub const STREAMS: u32 = 256;
    /// A block of TCP_STREAM, a TCP request or response; as iperf3's, and every stream has a buffer of it.
    pub const BLOCK: u64 = 1 << 20;
    /// UDP payload over IPv4.
    pub const DATAGRAM: u64 = 65507;
    /// A frame from its first address to before its check sequence: 64 and 9018 bytes on the wire.
    pub const FRAME: (u64, u64) = (60, 9014);
    /// Transactions of a stream in a second.
    pub const TRANSACTIONS: u64 = 10_000_000;
    /// Requests in flight beside the first.
    pub const BURST: u32 = 65_535;
    /// Window and warm-up, each.
    pub const DURATION: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Datagrams or frames that a window may end after: the highest bit of a number is the warm-up's.
    pub const AMOUNT: u64 = 1 << 62;
    /// Intervals in a window: a result must fit its frame.
    pub const INTERVALS: u128 = 4096;
}

impl Spec {
    /// Length of one send where none is asked for: as iperf3, and enough that per-call cost vanishes.
    pub const BLOCK: u64 = 128 << 10;

    /// Bytes of a block or datagram that can be checked: room for numbers and a CRC.
    pub const CHECKED: u64 = 32;

    /// Refuses what is senseless or beyond the limits.
    pub fn validate(&self) -> Result<(), Error> {
        let no = |what: String| Err(Error::Spec(what));
        let (length, (shortest, longest)) = (
            self.length.0,
            match self.test {
                Test::FrameStream => (Limits::FRAME.0, Limits::FRAME.1),
                Test::UdpStream => (DATAGRAM_HEADER as u64, Limits::DATAGRAM),
                Test::UdpRr => (1, Limits::DATAGRAM),
                _ => (1, Limits::BLOCK),
            },
        );
        if self.streams == 0 || self.streams > Limits::STREAMS {
            return no(format!("{} streams: allowed are 1 to {}", self.streams, Limits::STREAMS));
        }
        if length < shortest || length > longest {
            return no(format!("length {length}: {} allows {shortest} to {longest} bytes", self.test));
        }
        if self.test.is_rr() && (self.response.0 == 0 || self.response.0 > longest) {
            return no(format!("response of {} bytes: {} allows 1 to {longest}", self.response.0, self.test));
        }
        if self.duration.0.is_zero() || self.duration.0 > Limits::DURATION || self.omit.0 > Limits::DURATION {
            return no(format!(
                "duration {}, omit {}: allowed are up to 7 days, and a duration longer than 0",
                self.duration, self.omit
            ));
        }
        if self.interval.0.is_zero() || self.duration.0.as_nanos() / self.interval.0.as_nanos() > Limits::INTERVALS {
            return no(format!(
                "{} in intervals of {}: at most {} intervals",
                self.duration,
                self.interval,
                Limits::INTERVALS
            ));
        }
        if let Some(amount) = self.amount {
            if amount == 0 || amount > Limits::AMOUNT {
                return no(format!("an end after {amount}: it is 1 at least and {} at most", Limits::AMOUNT));
            }
            if self.test.is_byte_stream() && !self.omit.0.is_zero() {
                let why = "a byte stream has no mark where the warm-up ends, so the receiver could not tell which bytes count";
                return no(format!("{} that ends after an amount takes no warm-up: {why}", self.test));
            }
        }
        if self.rate.is_some() && self.test.is_rr() {
            return no(format!("{} is a closed loop: it takes no rate", self.test));
        }
        if let Some(rate) = self.transactions {
            if !self.test.has_schedule() || rate == 0 || rate > Limits::TRANSACTIONS {
                let most = Limits::TRANSACTIONS;
                return no(format!("{rate} transactions/s: TCP_RR and UDP_RR take 1 to {most}"));
            }
            if self.test.is_udp() && self.length.0.min(self.response.0) < 8 {
                return no(
                    "datagrams on a schedule carry a number: request and response of 8 bytes at least".to_owned()
                );
            }
        }
        if self.verify.is_some() {
            if !self.test.can_verify() {
                return no(format!("{} has no payload that can be checked", self.test));
            }
            if length < Self::CHECKED {
                return no(format!("length {length}: what is checked has {} bytes at least", Self::CHECKED));
            }
            let copies = self.send == SendMode::Write && self.receive == ReceiveMode::Recv;
            if !self.test.is_udp() && !copies {
                let what = "checked payload is made for each block and read at the receiver";
                return no(format!("{what}: it goes by write and recv, not {} and {}", self.send, self.receive));
            }
        }
        if self.burst > 0 {
            if !self.test.has_schedule() || self.transactions.is_some() || self.burst > Limits::BURST {
                let most = Limits::BURST;
                return no(format!("a burst of {}: TCP_RR and UDP_RR without a rate take 1 to {most}", self.burst));
            }
            if self.test.is_udp() && self.length.0.min(self.response.0) < 8 {
                return no("datagrams in bursts carry a number: request and response of 8 bytes at least".to_owned());
            }
        }
        if !cfg!(feature = "io_uring") && (self.send == SendMode::Uring || self.receive == ReceiveMode::Uring) {
            let how = "cargo build --release --features io_uring";
            return no(format!(
                "this netbench was built without io_uring, which --send uring and --recv uring need: {how}"
            ));
        }
        if !self.send.fits(self.test) || !self.receive.fits(self.test) {
            return no(format!("{} cannot send by {} and receive by {}", self.test, self.send, self.receive));
        }
        if let Some(pacer) = self.tuning.pacer.filter(|pacer| !pacer.fits(self.test)) {
            return no(format!("{} is not paced by {pacer}", self.test));
        }
        if let Err(what) = self.tuning.check() {
            return no(what);
        }
        if self.cpus.as_ref().is_some_and(Vec::is_empty) {
            return no("an empty CPU list".to_owned());
        }
        if self.socket_buffer.is_some_and(|size| size.0 > i32::MAX as u64) {
            return no("socket buffers are below 2 GiB".to_owned());
        }
        Ok(())
    }

    /// The CPU of a stream.
    pub fn cpu_of(&self, stream: u32) -> Option<usize> {
        let cpus = self.cpus.as_ref()?;
        cpus.get(stream as usize % cpus.len().max(1)).copied()
    }

    /// Window and warm-up together.
    pub fn total(&self) -> Duration {
        self.duration.0 + self.omit.0
    }
}

/// A short job of this test.
#[cfg(test)]
/// A job that is over in a moment.
pub fn example(test: Test) -> Spec {
    let span = |millis| Span(Duration::from_millis(millis));
    Spec {
        test,
        streams: 1,
        duration: span(200),
        omit: span(0),
        interval: span(50),
        length: ByteSize(match test {
            test if test.is_byte_stream() => Spec::BLOCK,
            Test::UdpStream => 1400,
            Test::FrameStream => 60,
            _ => 1,
        }),
        whole_segments: false,
        response: ByteSize(1),
        rate: None,
        amount: None,
        transactions: None,
        burst: 0,
        verify: None,
        socket_buffer: None,
        cpus: None,
        dont_fragment: true,
        send: SendMode::usual(test, 1500),
        receive: ReceiveMode::usual(test),
        tuning: Tuning::default(),
        frames: FrameEnds::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept() {
        for test in Test::ALL {
            example(test).validate().unwrap();
        }
        type Break = fn(&mut Spec);
        let breaks: [Break; 15] = [
            |s| s.streams = 0,
            |s| s.streams = 257,
            |s| s.length = ByteSize(15),
            |s| s.length = ByteSize(65508),
            |s| s.duration = Span(Duration::ZERO),
            |s| s.interval = Span(Duration::from_nanos(1)),
            |s| s.cpus = Some(vec![]),
            |s| s.omit = Span(Duration::from_secs(1 << 30)),
            |s| s.send = SendMode::Zerocopy,
            |s| s.receive = ReceiveMode::Trunc,
            |s| s.tuning.dscp = Some(64),
            |s| s.burst = 1,
            |s| s.amount = Some(0),
            |s| s.amount = Some(u64::MAX),
            |s| (s.verify, s.length) = (Some(1), ByteSize(31)),
        ];
        for (i, break_it) in breaks.into_iter().enumerate() {
            let mut spec = example(Test::UdpStream);
            break_it(&mut spec);
            assert!(spec.validate().is_err(), "case {i}");
        }
    }

    #[test]
    fn a_byte_stream_with_an_amount_has_no_warm_up() {
        let omit = Span(Duration::from_millis(1));
        let spec = |test| Spec { amount: Some(5), omit, ..example(test) };
        let refused = spec(Test::TcpMaerts).validate().unwrap_err().to_string();
        assert!(refused.starts_with("TCP_MAERTS that ends after an amount takes no warm-up"), "{refused}");
        spec(Test::UdpStream).validate().unwrap();
        spec(Test::TcpRr).validate().unwrap();
    }

    #[test]
    fn streams_share_the_cpus_in_turn() {
        let spec = Spec { cpus: Some(vec![5, 2]), ..example(Test::TcpRr) };
        assert_eq!([0, 1, 2].map(|i| spec.cpu_of(i)), [Some(5), Some(2), Some(5)]);
    }
}
