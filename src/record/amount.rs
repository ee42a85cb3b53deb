//! What ended the streams of a test, in words.

use crate::{measured::Test, record::Settings, units::ByteSize};

/// An amount in the test's unit: `100m`, `5000 datagrams`.
pub fn text(test: Test, amount: u64) -> String {
    match test {
        Test::UdpStream => format!("{amount} datagrams"),
        Test::FrameStream => format!("{amount} frames"),
        test if test.is_rr() => format!("{amount} transactions"),
        _ => ByteSize(amount).to_string(),
    }
}

impl Settings {
    /// What a round of each stream was: `1s`, or `100m a stream`.
    pub fn window(&self, test: Test) -> String {
        match self.amount {
            Some(amount) => format!("{} a stream", text(test, amount)),
            None => self.duration.to_string(),
        }
    }
}
