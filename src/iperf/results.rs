//! What both ends tell each other after a test.

use serde_json::{Map, Value, json};

use super::params::{stream_id, whole};

/// One end's figures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// CPU time over elapsed time, percent: total, user, system.
    pub cpu: [f64; 3],
    /// Does a sender here know its retransmits? Nothing when this end only receives.
    pub sender_has_retransmits: Option<bool>,
    /// Congestion control in force.
    pub congestion: Option<String>,
    /// The server's report, when the client asked for it: text, or a document.
    pub server_output: Option<Value>,
    /// By stream, in the order of connections.
    pub streams: Vec<StreamResult>,
}

/// One stream, as one end has it: what it sent, or what it received.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StreamResult {
    /// Payload in the window, without the warm-up.
    pub bytes: u64,
    /// Segments sent again, where that is known.
    pub retransmits: Option<u64>,
    /// Jitter, seconds.
    pub jitter: f64,
    /// Datagrams lost by iperf3's rule, the warm-up included.
    pub errors: i64,
    /// Of those, in the warm-up.
    pub omitted_errors: i64,
    /// Highest number, the warm-up included.
    pub packets: i64,
    /// Of those, in the warm-up.
    pub omitted_packets: i64,
    /// Length of the window, seconds.
    pub end_time: f64,
}

impl Results {
    /// As it is sent.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (key, value) in ["cpu_util_total", "cpu_util_user", "cpu_util_system"].into_iter().zip(self.cpu) {
            map.insert(key.to_owned(), json!(value));
        }
        let has = self.sender_has_retransmits.map_or(-1, i32::from);
        map.insert("sender_has_retransmits".to_owned(), json!(has));
        if let Some(name) = &self.congestion {
            map.insert("congestion_used".to_owned(), json!(name));
        }
        if let Some(output) = &self.server_output {
            let key = if output.is_string() { "server_output_text" } else { "server_output_json" };
            map.insert(key.to_owned(), output.clone());
        }
        let streams: Vec<Value> = self.streams.iter().enumerate().map(|(i, stream)| stream.to_json(i)).collect();
        map.insert("streams".to_owned(), json!(streams));
        Value::Object(map)
    }

    /// Reads the peer's, for `connections` streams; a stream that it does not mention has zeros. Nothing when it is no
    /// object with a list of streams.
    pub fn from_json(value: &Value, connections: usize) -> Option<Self> {
        let map = value.as_object()?;
        let told = map.get("streams")?.as_array()?;
        let number = |key: &str| map.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let mut streams = vec![StreamResult::default(); connections];
        for (i, stream) in streams.iter_mut().enumerate() {
            let mine = |told: &&Map<String, Value>| whole(told, "id") == Some(stream_id(i));
            if let Some(told) = told.iter().filter_map(Value::as_object).find(mine) {
                *stream = StreamResult::from_json(told);
            }
        }
        let output = map.get("server_output_json").or_else(|| map.get("server_output_text"));
        Some(Self {
            cpu: [number("cpu_util_total"), number("cpu_util_user"), number("cpu_util_system")],
            sender_has_retransmits: match map.get("sender_has_retransmits").and_then(Value::as_i64) {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            congestion: map.get("congestion_used").and_then(Value::as_str).map(str::to_owned),
            server_output: output.cloned(),
            streams,
        })
    }
}

impl StreamResult {
    fn to_json(self, i: usize) -> Value {
        // 3.12 writes -1 as the largest u64, and every release reads a plain -1.
        let retransmits = self.retransmits.map_or(json!(-1), |count| json!(count));
        json!({
            "id": stream_id(i),
            "bytes": self.bytes,
            "retransmits": retransmits,
            "jitter": self.jitter,
            "errors": self.errors,
            "omitted_errors": self.omitted_errors,
            "packets": self.packets,
            "omitted_packets": self.omitted_packets,
            "start_time": 0,
            "end_time": self.end_time,
        })
    }

    fn from_json(map: &Map<String, Value>) -> Self {
        let signed = |key: &str| map.get(key).and_then(Value::as_f64).map_or(0, |number| number as i64);
        let float = |key: &str| map.get(key).and_then(Value::as_f64).filter(|n| *n >= 0.0).unwrap_or(0.0);
        Self {
            bytes: whole(map, "bytes").unwrap_or(0),
            retransmits: whole(map, "retransmits").filter(|&count| count < 1 << 63),
            jitter: float("jitter"),
            errors: signed("errors"),
            omitted_errors: signed("omitted_errors"),
            packets: signed("packets"),
            omitted_packets: signed("omitted_packets"),
            end_time: float("end_time"),
        }
    }

    /// Datagrams of the window.
    pub fn window_packets(&self) -> u64 {
        self.packets.saturating_sub(self.omitted_packets).max(0) as u64
    }

    /// Datagrams lost in the window.
    pub fn window_errors(&self) -> i64 {
        self.errors.saturating_sub(self.omitted_errors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_told_is_what_is_heard(
            figures in prop::collection::vec((0..1u64 << 52, proptest::option::of(0..1u64 << 40), 0..1i64 << 40, 0..1i64 << 40), 1..20),
            congestion in proptest::option::of("[a-z]{1,9}"),
        ) {
            let streams: Vec<StreamResult> = figures
                .into_iter()
                .map(|(bytes, retransmits, errors, packets)| StreamResult {
                    bytes, retransmits, errors, packets, jitter: 0.25, end_time: 1.5, omitted_packets: packets / 3, omitted_errors: errors / 2,
                })
                .collect();
            let results = Results { cpu: [1.5, 0.5, 1.0], sender_has_retransmits: Some(true), congestion, server_output: None, streams };
            let text = results.to_json().to_string();
            let back = Results::from_json(&serde_json::from_str(&text).unwrap(), results.streams.len()).unwrap();
            prop_assert_eq!(back, results);
        }
    }

    #[test]
    fn a_captured_receiver_is_understood() {
        let text = r#"{"cpu_util_total":0.4,"cpu_util_user":0.4,"cpu_util_system":0,"sender_has_retransmits":-1,"streams":[
            {"id":1,"bytes":1277952,"retransmits":18446744073709551615,"jitter":6.308e-06,"errors":0,"packets":39,"start_time":0,
            "end_time":1.001959157}]}"#;
        let results = Results::from_json(&serde_json::from_str(text).unwrap(), 2).unwrap();
        let stream = results.streams[0];
        assert_eq!((stream.bytes, stream.retransmits, stream.packets), (1_277_952, None, 39));
        assert_eq!((results.sender_has_retransmits, results.streams[1]), (None, StreamResult::default()));
        for odd in ["[]", "{}", r#"{"streams":7}"#] {
            assert_eq!(Results::from_json(&serde_json::from_str(odd).unwrap(), 1), None, "{odd}");
        }
    }
}
