//! The bytes of the control connection: a cookie, states of one byte, and JSON behind its length.

use std::io::{self, Read};

use serde_json::Value;

/// Bytes of a cookie, the zero at its end included.
pub const COOKIE: usize = 37;
/// The longest parameters that iperf3's server takes.
pub const PARAMETERS: usize = 8192;
/// The longest results that are taken here; iperf3 itself has no limit.
pub const RESULTS: usize = 4 << 20;

/// What names a test: its client makes it up, and every connection of the test begins with it.
pub type Cookie = [u8; COOKIE];

/// A cookie from 36 random bytes.
pub fn cookie(random: &[u8; COOKIE - 1]) -> Cookie {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut cookie = [0; COOKIE];
    for (letter, random) in cookie.iter_mut().zip(random) {
        *letter = LETTERS[usize::from(random % 32)];
    }
    cookie
}

/// A cookie as reports show it.
pub fn cookie_text(cookie: &Cookie) -> String {
    String::from_utf8_lossy(&cookie[..COOKIE - 1]).escape_debug().to_string()
}

/// What one end says to the other in a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum State {
    /// Streams are there; the test begins.
    TestStart = 1,
    /// Data flows.
    TestRunning = 2,
    /// The client's clock has run out.
    TestEnd = 4,
    /// The server waits for parameters.
    ParamExchange = 9,
    /// The server waits for streams.
    CreateStreams = 10,
    /// The server was told to end.
    ServerTerminate = 11,
    /// The client was told to end.
    ClientTerminate = 12,
    /// The server waits for results.
    ExchangeResults = 13,
    /// Results are exchanged.
    DisplayResults = 14,
    /// The client has all it wants.
    IperfDone = 16,
    /// Another test is under way.
    AccessDenied = -1,
    /// Two numbers follow: iperf3's and the system's.
    ServerError = -2,
}

impl State {
    const ALL: [Self; 12] = [
        Self::TestStart,
        Self::TestRunning,
        Self::TestEnd,
        Self::ParamExchange,
        Self::CreateStreams,
        Self::ServerTerminate,
        Self::ClientTerminate,
        Self::ExchangeResults,
        Self::DisplayResults,
        Self::IperfDone,
        Self::AccessDenied,
        Self::ServerError,
    ];

    /// The state that a byte stands for.
    pub fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.byte() == byte)
    }

    /// Its byte.
    pub fn byte(self) -> u8 {
        self as i8 as u8
    }
}

/// A value as it goes over the connection.
pub fn frame(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.into_bytes());
    bytes
}

/// Reads a value of at most so many bytes.
pub fn read_frame(from: &mut impl Read, most: usize) -> io::Result<Value> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        let text = format!("a message of {length} bytes is announced, and {most} is the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The reply to a hello that opens a stream of datagrams, in the hello's own dialect.
pub fn hello_reply(hello: &[u8]) -> &'static [u8; 4] {
    if hello == OLD_HELLO { OLD_REPLY } else { REPLY }
}

/// Does this open a stream of datagrams, in the dialect of any release?
pub fn is_hello(datagram: &[u8]) -> bool {
    datagram == HELLO || datagram == OLD_HELLO
}

/// Is this the answer to a hello?
pub fn is_hello_reply(datagram: &[u8]) -> bool {
    datagram == REPLY || datagram == OLD_REPLY
}

/// Opens a stream of datagrams.
pub const HELLO: &[u8; 4] = b"9876";
const REPLY: &[u8; 4] = b"6789";
/// 123456789 and 987654321, little-endian: releases before 3.11 or so.
const OLD_HELLO: &[u8; 4] = &123_456_789u32.to_le_bytes();
const OLD_REPLY: &[u8; 4] = &987_654_321u32.to_le_bytes();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back(text in ".*", number in any::<u64>()) {
            let value = serde_json::json!({ "text": text, "number": number });
            let bytes = frame(&value);
            prop_assert_eq!(read_frame(&mut &bytes[..], bytes.len()).unwrap(), value);
            prop_assert!(read_frame(&mut &bytes[..bytes.len() - 1], bytes.len()).is_err());
        }

        #[test]
        fn garbage_is_an_error_and_no_allocation(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_frame(&mut &bytes[..], PARAMETERS);
        }

        #[test]
        fn every_byte_is_a_state_or_none(byte in any::<u8>()) {
            prop_assert!(State::of(byte).is_none_or(|state| state.byte() == byte));
        }
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_anything_is_read() {
        let error = read_frame(&mut &b"\xff\xff\xff\xff"[..], PARAMETERS).unwrap_err().to_string();
        assert!(error.contains("4294967295 bytes") && error.contains("8192"), "{error}");
    }

    #[test]
    fn states_are_signed_bytes() {
        assert_eq!([State::AccessDenied, State::ServerError].map(State::byte), [0xff, 0xfe]);
        assert_eq!(State::of(14), Some(State::DisplayResults));
        assert_eq!((State::of(0), State::of(3)), (None, None));
    }

    #[test]
    fn cookies_are_of_the_alphabet() {
        let made = cookie(&std::array::from_fn(|i| (i * 7) as u8));
        assert_eq!(made[COOKIE - 1], 0);
        assert!(made[..COOKIE - 1].iter().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(b)));
        assert_eq!(cookie_text(&made).len(), 36);
        assert_eq!(cookie_text(&[0xff; COOKIE]).chars().filter(|c| c.is_control()).count(), 0);
    }

    #[test]
    fn hellos_of_both_dialects() {
        assert!(is_hello(b"9876") && is_hello(&[0x15, 0xcd, 0x5b, 0x07]) && !is_hello(b"98765"));
        assert_eq!(
            (hello_reply(b"9876"), hello_reply(&[0x15, 0xcd, 0x5b, 0x07])),
            (b"6789", &[0xb1, 0x68, 0xde, 0x3a])
        );
        assert!(is_hello_reply(b"6789") && is_hello_reply(&[0xb1, 0x68, 0xde, 0x3a]) && !is_hello_reply(b"9876"));
    }
}
