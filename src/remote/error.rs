//! What can go wrong between two hosts, with what to do about it.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use super::message::Refusal;
use crate::traffic;

/// Why a test with a remote server brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The name has no address.
    #[error("find the address of {host}: {error}")]
    Resolve {
        /// As it was typed.
        host: String,
        /// The resolver's words.
        error: io::Error,
    },
    /// No connection.
    #[error("connect to {at}: {}", connecting(.error, .at))]
    Connect {
        /// The server.
        at: SocketAddr,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Something else listens there.
    #[error("{at} does not speak netbench's protocol ({what}): is another program listening there?")]
    Stranger {
        /// The server.
        at: SocketAddr,
        /// What came instead.
        what: String,
    },
    /// The server hung up at the greeting.
    #[error("{at} refuses: {what}{}", hint(*.refusal))]
    Refused {
        /// The server.
        at: SocketAddr,
        /// Of what kind.
        refusal: Refusal,
        /// Its words.
        what: String,
    },
    /// The server does not allow this test.
    #[error("the server does not allow this: {0}")]
    Declined(String),
    /// The server's side failed.
    #[error("the server: {0}")]
    Failed(String),
    /// The server went away.
    #[error("the server {at} vanished while {during}: {what}")]
    Vanished {
        /// The server.
        at: SocketAddr,
        /// What was being done.
        during: &'static str,
        /// How it was noticed.
        what: String,
    },
    /// The server said nothing in time.
    #[error("the server {at} did not {what} within {seconds} s{}", .hint.as_deref().unwrap_or_default())]
    Silent {
        /// The server.
        at: SocketAddr,
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
        /// What it may be, with a separator in front.
        hint: Option<String>,
    },
    /// Our own side failed.
    #[error("this side: {0}")]
    Here(#[from] traffic::Error),
    /// The kernel refused a packet of ours.
    #[error("this side: {0}")]
    Kernel(#[from] crate::kernel::Error),
    /// Ctrl-C before there was anything to count.
    #[error("interrupted")]
    Interrupted,
}

impl RemoteError {
    /// Can the same connection do another test?
    pub fn leaves_the_connection(&self) -> bool {
        matches!(self, Self::Declined(_))
    }

    /// Is it about what was typed, rather than about hosts and networks?
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::Token, .. } | Self::Declined(_))
    }
}

fn connecting(error: &io::Error, at: &SocketAddr) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens there; start `netbench serve --bind {}` on that host (without --bind it listens on loopback only)",
                at.ip()
            )
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
            "no answer within {} s: the host is down, or a firewall drops what goes to TCP port {}",
            super::client::CONNECT.as_secs(),
            at.port()
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("{error}: see `ip route get {}`", at.ip())
        }
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "the other end hung up at once: it has no seat left, or is no netbench server".to_owned()
        }
        _ => error.to_string(),
    }
}

fn hint(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Token => "; give the token that `netbench serve` printed with --token or NETBENCH_TOKEN",
        Refusal::Version => "; install the same version on both hosts",
        Refusal::Busy => "; try again later",
        Refusal::Other => "",
    }
}
