//! Windows of receivers that opened late.
//!
//! A receiver of a byte stream opens its window when its thread takes the first byte. A thread that gets its CPU late finds payload
//! of before its window in the socket, and that counts as if it had come in it: bytes of a second in half of one.

use super::{Side, Stream};

impl Side {
    /// Makes up for windows of this receiver that opened late, by what the sender saw.
    pub fn make_up(&mut self, sender: &Self) {
        for (stream, sender) in self.streams.iter_mut().zip(&sender.streams) {
            stream.make_up(sender);
        }
    }
}

impl Stream {
    fn make_up(&mut self, sender: &Self) {
        let drained_ns = sender.io.as_ref().and_then(|io| io.drained_ns);
        let Some((io, drained_ns)) = self.io.as_mut().zip(drained_ns) else { return };
        let tcp = sender.tcp.as_ref();
        // The first byte came half a round trip after it was sent; that all was read was seen half of one later.
        let rtt_ns = u64::from(tcp.and_then(|tcp| tcp.min_rtt_us).unwrap_or(0)) * 1000;
        let missing = drained_ns.saturating_sub(rtt_ns).saturating_sub(self.elapsed_ns);
        let queued = io.queued.unwrap_or(0).min(self.bytes);
        if missing == 0 || queued == 0 {
            return;
        }
        // While nobody read, the window may have been full: the sender knows how long.
        let stalled = tcp.and_then(|tcp| tcp.rwnd_limited_us).unwrap_or(0).saturating_mul(1000);
        // What lay there came at the rate of the rest. Where all of it did, the quotient is no number of nanoseconds.
        let took = self.elapsed_ns as f64 * queued as f64 / (self.bytes - queued) as f64;
        let explained = if self.omitted_bytes == 0 {
            took + stalled as f64
        } else if stalled * 2 >= sender.elapsed_ns {
            // A reader that is the slower end finds its socket full at every moment.
            return;
        } else {
            took
        };
        io.late_ns = Some(if explained < missing as f64 { explained as u64 } else { missing });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{SocketFacts, StreamIo, TcpInfo, ThreadCpu};

    const MS: u64 = 1_000_000;

    fn stream(bytes: u64, elapsed_ns: u64, io: StreamIo) -> Stream {
        Stream {
            stream: 0,
            local: "198.18.0.1:1".to_owned(),
            peer: "198.18.0.2:1".to_owned(),
            bytes,
            omitted_bytes: 0,
            units: 0,
            omitted_units: 0,
            elapsed_ns,
            calls: 0,
            io: Some(io),
            cpu: ThreadCpu::default(),
            socket: SocketFacts::default(),
            tcp: None,
            datagrams: None,
            verified: None,
            schedule: None,
            retries: None,
        }
    }

    /// A second of a megabyte, seen to be read 1,010 ms after the window opened, over a round trip of 10 ms; the receiver's window was
    /// full for so long.
    fn sender(stalled_ms: u64) -> Stream {
        let io = StreamIo { drained_ns: Some(1010 * MS), ..StreamIo::default() };
        let rwnd_limited_us = Some(stalled_ms * 1000);
        let tcp = TcpInfo { min_rtt_us: Some(10_000), rwnd_limited_us, ..TcpInfo::default() };
        Stream { tcp: Some(tcp), ..stream(1_000_000, 1000 * MS, io) }
    }

    fn late(elapsed_ms: u64, queued: Option<u64>, omitted_bytes: u64, stalled_ms: u64) -> Option<u64> {
        let io = StreamIo { queued, ..StreamIo::default() };
        let mut receiver = Stream { omitted_bytes, ..stream(1_000_000, elapsed_ms * MS, io) };
        receiver.make_up(&sender(stalled_ms));
        receiver.io.unwrap().late_ns.map(|nanos| nanos / MS)
    }

    #[test]
    fn what_is_missing_is_made_up_for_when_payload_lay_there() {
        // Half of the bytes lay there: they took as long as the other half.
        assert_eq!([0, 1].map(|omitted| late(480, Some(500_000), omitted, 0)), [Some(480); 2]);
        // No more than is missing.
        assert_eq!(late(700, Some(500_000), 1, 0), Some(300));
        assert_eq!(late(0, Some(2_000_000), 1, 0), Some(1000), "all of it lay there");
        // Only a tenth did, and then the window was full.
        assert_eq!(late(630, Some(100_000), 0, 200), Some(270));
        assert_eq!(late(600, Some(100_000), 0, 900), Some(400));
    }

    #[test]
    fn a_window_that_is_whole_or_found_little_is_left_as_it_is() {
        for (elapsed_ms, queued) in [(1000, Some(100_000)), (1200, Some(100_000)), (600, Some(0)), (600, None)] {
            assert_eq!(late(elapsed_ms, queued, 0, 0), None, "{elapsed_ms} {queued:?}");
        }
        assert_eq!(late(800, Some(1_000), 0, 0), Some(0), "the end was seen late: the first segment says nothing");
        assert_eq!(late(900, Some(500_000), 1, 900), None, "a slow reader finds its socket full always");
        let mut receiver = stream(10, MS, StreamIo { queued: Some(5), ..StreamIo::default() });
        receiver.make_up(&Stream { io: None, ..sender(0) });
        assert_eq!(receiver.judged_ns(), MS, "nobody saw the end");
    }
}
