//! iperf3's protocol in both roles: a server that stock clients test against, a client that drives stock servers.
//!
//! [`wire`], [`params`] and [`results`] are the codec, without a socket; [`client`] and [`server`] walk through a test;
//! the data is moved by `traffic`'s guest streams.

pub mod client;
mod control;
mod course;
pub mod error_number;
pub mod params;
pub mod results;
pub mod server;
mod streams;
pub mod wire;

use std::{io, net::SocketAddr};

use self::error_number::meaning;
use crate::traffic;

/// The release whose behavior this is held to by tests.
pub const RELEASE: &str = "3.12";
/// The port of iperf3.
pub const PORT: u16 = 5201;

/// What ends a test early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{operation} {object}: {source}")]
    Os {
        /// The call.
        operation: &'static str,
        /// Its object.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Nothing answers.
    #[error(
        "connect to {peer}: {source}; is `iperf3 -s` or `netbench serve --iperf3` running there, and the port open?"
    )]
    Connect {
        /// Where.
        peer: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The server has another test.
    #[error("{peer} is busy with another test: an iperf3 server does one at a time; try again when it has ended")]
    Busy {
        /// The server.
        peer: SocketAddr,
    },
    /// The peer does not do this test.
    #[error("{peer} refused the test: {} (iperf3 error {number}{})", meaning(*number), errno_text(*errno))]
    Refused {
        /// The peer.
        peer: SocketAddr,
        /// iperf3's number.
        number: i32,
        /// The system's number there; 0 is none.
        errno: i32,
    },
    /// The test is not done here.
    #[error("the test that {peer} asks for is refused: {refusal}")]
    Refusing {
        /// The client.
        peer: SocketAddr,
        /// Why.
        refusal: error_number::Refusal,
    },
    /// The other end was told to end.
    #[error("{peer} ended the test before its time")]
    Terminated {
        /// The peer.
        peer: SocketAddr,
    },
    /// The other end went away.
    #[error("{peer} closed the control connection in the middle of the test")]
    Closed {
        /// The peer.
        peer: SocketAddr,
    },
    /// The other end says nothing.
    #[error("{peer} has said nothing for too long")]
    Silent {
        /// The peer.
        peer: SocketAddr,
    },
    /// A stream of datagrams could not be opened.
    #[error("{peer} answers no hello over UDP: is the UDP port open on the way, as the TCP port is?")]
    Hello {
        /// The peer.
        peer: SocketAddr,
    },
    /// That is no iperf3.
    #[error("{peer} does not speak iperf3's protocol: {what}")]
    Foreign {
        /// The peer.
        peer: SocketAddr,
        /// What it said.
        what: String,
    },
    /// A data stream failed.
    #[error(transparent)]
    Stream(#[from] traffic::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

fn errno_text(errno: i32) -> String {
    if errno == 0 { String::new() } else { format!("; {}", io::Error::from_raw_os_error(errno)) }
}

/// Wraps a failed call.
fn os(operation: &'static str, object: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Error {
    let object = object.to_string();
    move |source| Error::Os { operation, object, source }
}
