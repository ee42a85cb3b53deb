//! What a stream did in a piece of the window, and what the kernel said of its connection at the end of it.

use serde::{Deserialize, Serialize};

use super::TcpInfo;

/// The connections of a side at the end of an interval (`TCP_INFO`, read by the thread that also reads the counters, never by a
/// data thread). Of several streams: the sum of what adds up, the mean round trip, the least of the minima.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TcpInterval {
    /// Congestion windows, segments.
    pub cwnd: Option<u32>,
    /// Smoothed round trip, microseconds.
    pub rtt_us: Option<u32>,
    /// Smallest round trip the kernel has seen, microseconds.
    pub min_rtt_us: Option<u32>,
    /// Segments sent again in this interval; over all intervals they sum to the streams' figure.
    pub retransmits: Option<u32>,
    /// Most recent delivery rates, bytes per second.
    pub delivery_rate: Option<u64>,
}

impl TcpInterval {
    /// Several connections together. `retransmits` of the connections are counts since they were made, and sum up as they are.
    pub fn of<'i>(streams: impl Iterator<Item = &'i TcpInfo>) -> Self {
        let (mut sum, mut rtts) = (Self::default(), (0u64, 0u64));
        let add = |sum: Option<u32>, more: Option<u32>| match (sum, more) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            (sum, more) => sum.or(more),
        };
        for tcp in streams {
            sum.cwnd = add(sum.cwnd, tcp.snd_cwnd);
            sum.retransmits = add(sum.retransmits, tcp.retransmits);
            sum.min_rtt_us = [sum.min_rtt_us, tcp.min_rtt_us].into_iter().flatten().min();
            sum.delivery_rate = match (sum.delivery_rate, tcp.delivery_rate) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (sum, more) => sum.or(more),
            };
            if let Some(rtt) = tcp.rtt_us {
                rtts = (rtts.0 + u64::from(rtt), rtts.1 + 1);
            }
        }
        sum.rtt_us = rtts.0.checked_div(rtts.1).and_then(|mean| u32::try_from(mean).ok());
        sum
    }
}

/// One stream in the latest interval: told while a test runs, and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamInterval {
    /// Number of the stream.
    pub stream: u32,
    /// Payload bytes in it.
    pub bytes: u64,
    /// Datagrams or transactions in it.
    pub units: u64,
    /// Its connection.
    pub tcp: Option<TcpInterval>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_put_together() {
        let tcp = |cwnd, rtt, least, again, rate| TcpInfo {
            snd_cwnd: Some(cwnd),
            rtt_us: Some(rtt),
            min_rtt_us: least,
            retransmits: Some(again),
            delivery_rate: Some(rate),
            ..TcpInfo::default()
        };
        let all = [tcp(10, 100, Some(40), 1, 5), tcp(30, 300, None, 2, 6), TcpInfo::default()];
        let expected = TcpInterval {
            cwnd: Some(40),
            rtt_us: Some(200),
            min_rtt_us: Some(40),
            retransmits: Some(3),
            delivery_rate: Some(11),
        };
        assert_eq!(TcpInterval::of(all.iter()), expected);
        assert_eq!(TcpInterval::of([].iter()), TcpInterval::default());
    }
}
