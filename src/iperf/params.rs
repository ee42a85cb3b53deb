//! The parameters that an iperf3 client sends: one JSON object, of which old and new releases know different keys.
//!
//! Kept: a key of the wrong type is as good as absent; a `bandwidth` that is absent is no limit; a boolean is only ever sent
//! when it is true, since peers look at the presence of the key alone.

use serde_json::{Map, Value, json};

use super::error_number::{self as number, Refusal};

/// What iperf3 itself allows, and this implementation too.
pub struct Bounds;

impl Bounds {
    /// Streams of a direction.
    pub const PARALLEL: u64 = 128;
    /// Seconds of a test.
    pub const TIME: u64 = 86_400;
    /// Seconds of warm-up.
    pub const OMIT: u64 = 600;
    /// Bytes of a TCP block.
    pub const BLOCK: u64 = 1 << 20;
    /// Bytes of a datagram, at least: its header.
    pub const DATAGRAM_MIN: u64 = 16;
    /// Bytes of a datagram, at most.
    pub const DATAGRAM: u64 = 65_507;
    /// Bytes of a socket buffer.
    pub const WINDOW: u64 = 512 << 20;
    /// TCP segment.
    pub const MSS: u64 = 32_767;
}

/// A test as its client wants it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// Datagrams; otherwise TCP.
    pub udp: bool,
    /// Seconds of warm-up.
    pub omit: u64,
    /// Seconds; 0 when something else ends the test.
    pub time: u64,
    /// Bytes over all streams of a direction; 0 is no limit.
    pub num: u64,
    /// Blocks over all streams of a direction; 0 is no limit.
    pub blockcount: u64,
    /// TCP segment.
    pub mss: Option<u32>,
    /// `TCP_NODELAY` of the streams.
    pub nodelay: bool,
    /// Streams of a direction.
    pub parallel: u32,
    /// The server sends.
    pub reverse: bool,
    /// Both send.
    pub bidirectional: bool,
    /// Socket buffers, bytes.
    pub window: Option<u32>,
    /// Bytes of a block or datagram; 0 when not said.
    pub len: u32,
    /// Bits per second of each stream; none is as fast as it goes.
    pub bandwidth: Option<u64>,
    /// `SO_MAX_PACING_RATE`, bits per second.
    pub fqrate: Option<u64>,
    /// Type of service.
    pub tos: Option<u8>,
    /// Congestion control.
    pub congestion: Option<String>,
    /// Free text that reports repeat.
    pub title: Option<String>,
    /// Free text that reports repeat.
    pub extra_data: Option<String>,
    /// The client wants the server's report.
    pub get_server_output: bool,
    /// Numbers of datagrams have 64 bits.
    pub udp_counters_64bit: bool,
    /// Send by `sendfile`.
    pub zerocopy: bool,
    /// Datagrams must not be fragmented.
    pub dont_fragment: bool,
    /// Receive without copying.
    pub skip_rx_copy: bool,
    /// Who asks.
    pub client_version: String,
}

impl Params {
    /// As the client sends them.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert(if self.udp { "udp" } else { "tcp" }.to_owned(), json!(true));
        for (key, value) in [("omit", self.omit), ("time", self.time), ("num", self.num)] {
            map.insert(key.to_owned(), json!(value));
        }
        map.insert("blockcount".to_owned(), json!(self.blockcount));
        map.insert("parallel".to_owned(), json!(self.parallel));
        let numbers = [
            ("MSS", self.mss.map(u64::from)),
            ("window", self.window.map(u64::from)),
            ("len", (self.len > 0).then_some(u64::from(self.len))),
            ("bandwidth", self.bandwidth),
            ("fqrate", self.fqrate),
            ("TOS", self.tos.map(u64::from)),
        ];
        for (key, value) in numbers {
            value.filter(|value| *value > 0).map(|value| map.insert(key.to_owned(), json!(value)));
        }
        let flags = [("nodelay", self.nodelay), ("reverse", self.reverse), ("bidirectional", self.bidirectional)];
        for (key, _) in flags.into_iter().filter(|(_, on)| *on) {
            map.insert(key.to_owned(), json!(true));
        }
        let ones = [
            ("get_server_output", self.get_server_output),
            ("udp_counters_64bit", self.udp_counters_64bit),
            ("zerocopy", self.zerocopy),
            ("dont_fragment", self.dont_fragment),
            ("skip_rx_copy", self.skip_rx_copy),
        ];
        for (key, _) in ones.into_iter().filter(|(_, on)| *on) {
            map.insert(key.to_owned(), json!(1));
        }
        let texts = [("congestion", &self.congestion), ("title", &self.title), ("extra_data", &self.extra_data)];
        for (key, text) in texts {
            text.as_ref().map(|text| map.insert(key.to_owned(), json!(text)));
        }
        map.insert("client_version".to_owned(), json!(self.client_version));
        Value::Object(map)
    }

    /// Reads what a client sent; refuses what cannot be done, with iperf3's own number for it.
    pub fn from_json(value: &Value) -> Result<Self, Refusal> {
        let Some(map) = value.as_object() else {
            return Err(Refusal::new(number::RECEIVE_PARAMETERS, "the parameters are no JSON object"));
        };
        let params = Self {
            udp: flag(map, "udp"),
            omit: whole(map, "omit").unwrap_or(0),
            time: whole(map, "time").unwrap_or(0),
            num: whole(map, "num").unwrap_or(0),
            blockcount: whole(map, "blockcount").unwrap_or(0),
            mss: small(map, "MSS", Bounds::MSS, number::MSS)?,
            nodelay: flag(map, "nodelay"),
            parallel: small(map, "parallel", Bounds::PARALLEL, number::STREAMS)?.unwrap_or(1),
            reverse: flag(map, "reverse"),
            bidirectional: flag(map, "bidirectional"),
            window: small(map, "window", Bounds::WINDOW, number::BUFFER)?,
            len: small(map, "len", Bounds::BLOCK, number::BLOCK_SIZE)?.unwrap_or(0),
            bandwidth: whole(map, "bandwidth").filter(|&rate| rate > 0),
            fqrate: whole(map, "fqrate").filter(|&rate| rate > 0),
            tos: small(map, "TOS", 255, number::TOS)?.map(|tos| tos as u8),
            congestion: text(map, "congestion").filter(|name| !name.is_empty()),
            title: text(map, "title"),
            extra_data: text(map, "extra_data"),
            get_server_output: flag(map, "get_server_output"),
            udp_counters_64bit: flag(map, "udp_counters_64bit"),
            zerocopy: flag(map, "zerocopy"),
            dont_fragment: flag(map, "dont_fragment"),
            skip_rx_copy: flag(map, "skip_rx_copy"),
            client_version: text(map, "client_version").unwrap_or_default(),
        };
        if flag(map, "sctp") {
            return Err(Refusal::new(number::NO_SCTP, "SCTP is not spoken here"));
        }
        params.check().map(|()| params)
    }

    /// Refuses what iperf3 refuses.
    pub fn check(&self) -> Result<(), Refusal> {
        let no = |number, what: String| Err(Refusal::new(number, what));
        if self.parallel == 0 || u64::from(self.parallel) > Bounds::PARALLEL {
            return no(number::STREAMS, format!("{} streams: allowed are 1 to {}", self.parallel, Bounds::PARALLEL));
        }
        if self.omit > Bounds::OMIT {
            return no(number::OMIT, format!("omit {} s: at most {} s", self.omit, Bounds::OMIT));
        }
        if self.time > Bounds::TIME {
            return no(number::DURATION, format!("{} s: at most {} s", self.time, Bounds::TIME));
        }
        let len = u64::from(self.len);
        if self.udp && len != 0 && !(Bounds::DATAGRAM_MIN..=Bounds::DATAGRAM).contains(&len) {
            return no(
                number::UDP_BLOCK_SIZE,
                format!("datagrams of {len} bytes: allowed are {} to {}", Bounds::DATAGRAM_MIN, Bounds::DATAGRAM),
            );
        }
        if len > Bounds::BLOCK {
            return no(number::BLOCK_SIZE, format!("blocks of {len} bytes: at most {}", Bounds::BLOCK));
        }
        if let Some(name) = self.congestion.as_ref() {
            let odd = name.len() > 15 || !name.bytes().all(|byte| byte.is_ascii_graphic());
            if odd {
                return no(number::CONGESTION, "that is no name of a congestion control".to_owned());
            }
        }
        Ok(())
    }

    /// Data connections of the test.
    pub fn connections(&self) -> usize {
        self.parallel as usize * if self.bidirectional { 2 } else { 1 }
    }

    /// Does the client send on its `i`-th connection? In a test both ways its sending ones come first.
    pub fn client_sends(&self, i: usize) -> bool {
        if self.bidirectional { i < self.parallel as usize } else { !self.reverse }
    }
}

/// iperf3's numbers of streams: 1, 3, 4, 5 …
pub fn stream_id(i: usize) -> u64 {
    if i == 0 { 1 } else { i as u64 + 2 }
}

/// A whole number, from whatever kind of number it is written as; nothing from what is none or negative.
pub fn whole(map: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = map.get(key)?;
    // A cast from f64 saturates, and NaN cannot be written in JSON.
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

fn small(map: &Map<String, Value>, key: &str, most: u64, number: i32) -> Result<Option<u32>, Refusal> {
    match whole(map, key) {
        Some(value) if value > most => Err(Refusal::new(number, format!("`{key}` is {value}: at most {most}"))),
        value => Ok(value.and_then(|value| u32::try_from(value).ok())),
    }
}

/// On when it is `true` or a number that is not 0.
fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(|value| value.as_bool().unwrap_or_else(|| value.as_f64().is_some_and(|n| n != 0.0)))
}

fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn params()(
            (udp, nodelay, reverse, bidirectional, wide) in any::<(bool, bool, bool, bool, bool)>(),
            (zerocopy, dont_fragment, output) in any::<(bool, bool, bool)>(),
            (omit, time, num, blockcount) in (0..=600u64, 0..=86_400u64, 0..1u64 << 50, 0..1u64 << 40),
            parallel in 1..=128u32,
            len in 16..=65_507u32,
            mss in proptest::option::of(1..=32_767u32),
            window in proptest::option::of(1..=512u32 << 20),
            bandwidth in proptest::option::of(1..1u64 << 50),
            tos in proptest::option::of(1..=255u8),
            congestion in proptest::option::of("[a-z]{1,15}"),
            title in proptest::option::of(".*"),
        ) -> Params {
            Params {
                udp, nodelay, reverse, bidirectional, zerocopy, dont_fragment, omit, time, num, blockcount, parallel,
                len, mss, window, bandwidth, tos, congestion, title,
                get_server_output: output,
                udp_counters_64bit: wide,
                client_version: "3.12".to_owned(),
                ..Params::default()
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(params in params()) {
            let text = params.to_json().to_string();
            prop_assert!(!text.contains("false"), "the presence of a key is all that peers look at: {text}");
            prop_assert_eq!(Params::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), params);
        }

        #[test]
        fn any_object_is_read_or_refused(keys in prop::collection::vec(("(tcp|udp|omit|time|num|parallel|len|MSS|window|TOS|reverse|bandwidth|congestion)", prop_oneof![
            Just(json!(null)), Just(json!([])), Just(json!("x")), Just(json!(-1)), Just(json!(1e300)), any::<u64>().prop_map(|n| json!(n)), any::<bool>().prop_map(|b| json!(b)),
        ]), 0..8)) {
            let map: Map<String, Value> = keys.into_iter().collect();
            if let Ok(params) = Params::from_json(&Value::Object(map)) {
                prop_assert!(params.check().is_ok());
                prop_assert!(params.connections() <= 256);
            }
        }
    }

    #[test]
    fn a_captured_client_is_understood() {
        let text = r#"{"udp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":1,"len":32768,"bandwidth":10000000,
            "pacing_timer":1000,"gso":0,"gso_dg_size":0,"gso_bf_size":65507,"gro":0,"gro_bf_size":65507,
            "udp_counters_64bit":1,"client_version":"3.21+"}"#;
        let params = Params::from_json(&serde_json::from_str(text).unwrap()).unwrap();
        assert!(params.udp && params.udp_counters_64bit && !params.reverse);
        assert_eq!((params.len, params.bandwidth, params.time), (32768, Some(10_000_000), 1));
    }

    #[test]
    fn no_bandwidth_is_no_limit_and_false_is_off() {
        let read = |text: &str| Params::from_json(&serde_json::from_str(text).unwrap());
        let params = read(r#"{"udp":true,"time":1,"reverse":false,"parallel":"x"}"#).unwrap();
        assert_eq!((params.bandwidth, params.reverse, params.parallel), (None, false, 1));
        for (text, number) in [
            (r#"{"tcp":true,"parallel":0}"#, number::STREAMS),
            (r#"{"tcp":true,"parallel":129}"#, number::STREAMS),
            (r#"{"tcp":true,"omit":601}"#, number::OMIT),
            (r#"{"udp":true,"len":15}"#, number::UDP_BLOCK_SIZE),
            (r#"{"tcp":true,"len":1048577}"#, number::BLOCK_SIZE),
            (r#"{"tcp":true,"TOS":300}"#, number::TOS),
            (r#"{"tcp":true,"time":86401}"#, number::DURATION),
            (r#"{"tcp":true,"congestion":"a b"}"#, number::CONGESTION),
            (r#"{"sctp":true}"#, number::NO_SCTP),
            ("[1]", number::RECEIVE_PARAMETERS),
        ] {
            assert_eq!(read(text).unwrap_err().number, number, "{text}");
        }
    }

    #[test]
    fn the_second_stream_is_number_three() {
        assert_eq!([0, 1, 2, 3].map(stream_id), [1, 3, 4, 5]);
    }
}
