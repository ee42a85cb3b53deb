//! What client and server say to each other over the control connection, after the greeting.

use serde::{Deserialize, Serialize};

use super::path::{PathAnswer, PathOrder};
use crate::{
    facts::Machine,
    measured::{Interval, Side, StreamInterval},
    traffic::{SenderTotals, Spec},
};

/// Longest message of a client, bytes: totals of all streams fit.
pub const LONGEST_OF_CLIENT: usize = 64 << 10;

/// Client to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a handful a test")]
pub enum FromClient {
    /// A test; answered by [`FromServer::Prepared`] or [`FromServer::Declined`].
    Prepare {
        /// What to do.
        spec: Spec,
    },
    /// The client's streams are done, and this is what each sent.
    Finish {
        /// By stream.
        totals: Vec<SenderTotals>,
    },
    /// End the window now, in good order, and give the result.
    End,
    /// Break the test off.
    Stop,
    /// Of single packets, for `mtu probe`.
    Path(PathOrder),
    /// No more tests.
    Bye,
}

/// Server to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromServer {
    /// The greeting was good.
    Welcome {
        /// The protocol of what follows.
        protocol: u8,
        /// Version of the server's netbench.
        netbench: String,
        /// The server's machine.
        machine: Machine,
    },
    /// The greeting was not good; the server hangs up.
    Refused {
        /// Of what kind.
        refusal: Refusal,
        /// Why, in words.
        what: String,
    },
    /// The test is within the server's bounds: connect its streams.
    Prepared {
        /// The job as the server runs it.
        spec: Spec,
        /// What was changed of what was asked, in words.
        notes: Vec<String>,
        /// Secret of the data connections.
        cookie: String,
        /// TCP_CRR, TCP_CC: the port of each stream.
        ports: Vec<u16>,
    },
    /// The test is not within the server's bounds.
    Declined {
        /// Why.
        what: String,
    },
    /// All streams are connected and the server's threads run.
    Ready,
    /// An interval is over.
    Progress {
        /// What happened in it.
        interval: Interval,
        /// And in each stream; a server of an earlier build does not say.
        #[serde(default)]
        streams: Vec<StreamInterval>,
    },
    /// The server's side of the test is over.
    Result {
        /// What it measured.
        side: Side,
    },
    /// Of single packets.
    Path(PathAnswer),
    /// It failed.
    Failed {
        /// Why.
        what: String,
    },
}

/// Why a server hangs up on a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No common protocol.
    Version,
    /// Not its token.
    Token,
    /// As many clients as it may have.
    Busy,
    /// Another reason, such as one of a later version.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::frame::{self, FrameError};

    fn read(bytes: &[u8]) -> Result<Option<FromClient>, FrameError> {
        frame::read_within(&mut &bytes[..], LONGEST_OF_CLIENT)
    }

    #[test]
    fn a_server_takes_no_long_message() {
        let totals = vec![SenderTotals { sent: u64::MAX, elapsed_ns: u64::MAX }; 256];
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &FromClient::Finish { totals: totals.clone() }).unwrap();
        assert_eq!(read(&bytes).unwrap(), Some(FromClient::Finish { totals }));
        let long = (LONGEST_OF_CLIENT as u32 + 1).to_be_bytes();
        assert!(matches!(read(&long), Err(FrameError::Length(_))));
    }

    #[test]
    fn a_refusal_of_a_later_version_is_understood() {
        let text = r#"{"refused":{"refusal":"bad_weather","what":"rain","more":1}}"#;
        let said: FromServer = serde_json::from_str(text).unwrap();
        assert_eq!(said, FromServer::Refused { refusal: Refusal::Other, what: "rain".into() });
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_json_of_a_client_panics(text in r#"\{"(prepare|finish|end|stop|path|bye)":[ -~]{0,100}\}"#) {
            let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
            bytes.extend(text.as_bytes());
            let _ = read(&bytes);
        }
    }
}
