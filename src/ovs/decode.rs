//! JSON values back to back, without length or separator, as RFC 7047 sends them: split anywhere, of any size.

use serde_json::Value;

/// A message may be this long: a dump of 65 thousand ports is a tenth of it.
const LONGEST: usize = 512 << 20;
/// RFC 7047 messages are a handful deep; a deeper one would only be there to exhaust the stack.
const DEEPEST: usize = 120;

/// Bytes that are no stream of JSON objects.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Something else than white space between two objects.
    #[error("byte {0:#04x} where a JSON object should begin")]
    NoObject(u8),
    /// Brackets that do not match, or a value that is no JSON.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Too long or too deep.
    #[error("a message of more than {0}")]
    TooLarge(&'static str),
}

/// Cuts a byte stream into JSON objects. Each byte is looked at once, so a reply of any size costs linear time.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the current message begins.
    start: usize,
    /// How far it was looked at.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Decoder {
    /// Takes in what the socket gave.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was given out is dropped now and not with each message, which would move the rest each time.
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of a message that is not whole yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole message; `None` until more is fed.
    pub fn next_message(&mut self) -> Result<Option<Value>, DecodeError> {
        while self.seen < self.buffer.len() {
            let byte = self.buffer[self.seen];
            self.seen += 1;
            if self.depth == 0 {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => self.start = self.seen,
                    b'{' => (self.start, self.depth) = (self.seen - 1, 1),
                    other => return Err(DecodeError::NoObject(other)),
                }
                continue;
            }
            if self.look(byte)? {
                let message = &self.buffer[self.start..self.seen];
                let value = serde_json::from_slice(message)?;
                self.start = self.seen;
                return Ok(Some(value));
            }
        }
        if self.pending() > LONGEST { Err(DecodeError::TooLarge("512 MiB")) } else { Ok(None) }
    }

    /// One byte inside an object; true when it closes the outermost one.
    fn look(&mut self, byte: u8) -> Result<bool, DecodeError> {
        match (self.in_string, byte) {
            (true, _) if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (_, b'"') => self.in_string = !self.in_string,
            (false, b'{' | b'[') => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(DecodeError::TooLarge("120 levels"));
                }
            }
            (false, b'}' | b']') => self.depth -= 1,
            _ => {}
        }
        Ok(self.depth == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Value> {
        std::iter::from_fn(|| decoder.next_message().expect("valid")).collect()
    }

    #[test]
    fn braces_and_quotes_in_strings_do_not_count() {
        let mut decoder = Decoder::default();
        let tricky = json!({"a": "}\"{[\\", "b": ["]", {"c": "\\\""}]});
        decoder.feed(format!(" \n{tricky}{tricky}\t").as_bytes());
        assert_eq!(all(&mut decoder), [tricky.clone(), tricky]);
        assert_eq!(decoder.pending(), 0);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for bytes in [&b"x"[..], b"[1]", b"{]", b"{\"a\":tru}", b"{}garbage"] {
            let mut decoder = Decoder::default();
            decoder.feed(bytes);
            let outcome = (0..3).find_map(|_| decoder.next_message().err());
            assert!(outcome.is_some(), "{}", String::from_utf8_lossy(bytes));
        }
        let mut deep = Decoder::default();
        deep.feed(&b"{\"a\":".repeat(200));
        assert!(matches!(deep.next_message(), Err(DecodeError::TooLarge(_))));
    }

    #[test]
    fn a_reply_of_ten_megabytes_in_small_pieces_is_read_in_linear_time() {
        let row = json!({"name": "x".repeat(60), "options": ["map", [["key", "42"]]]});
        let reply = json!({"id": 1, "result": vec![row; 80_000], "error": null});
        let bytes = reply.to_string().into_bytes();
        assert!(bytes.len() > 8 << 20);
        let mut decoder = Decoder::default();
        let mut got = None;
        for piece in bytes.chunks(1000) {
            decoder.feed(piece);
            got = got.or(decoder.next_message().expect("valid"));
        }
        assert_eq!(got, Some(reply));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            values in prop::collection::vec(prop::collection::btree_map(".*", value(), 0..4).prop_map(|m| json!(m)), 0..6),
            cuts in prop::collection::vec(1usize..40, 1..60),
        ) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_string().into_bytes()).collect();
            let (mut decoder, mut got, mut rest) = (Decoder::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                decoder.feed(piece);
                got.extend(all(&mut decoder));
                rest = tail;
            }
            prop_assert_eq!(got, values);
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn any_bytes_end_in_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            for _ in 0..=bytes.len() {
                match decoder.next_message() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}
