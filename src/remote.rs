//! Traffic between plain hosts: `netbench serve` on one, `netbench stream` on the other, the engine on both.
//!
//! Everything a server needs of the network is one port number. A client opens a control connection to it (frames of JSON,
//! see [`message`]), and then the connections and datagrams of the test, each of which begins with a [`greeting`] that says by
//! a cookie where it belongs. Only TCP_CRR and TCP_CC have ports of their own, told over the control connection, since each
//! of their connections is a measured one and must not carry a byte more.
//!
//! Whoever connects waits in the `lobby`, which has a fixed number of seats and no patience, until it has said who it is;
//! only then is there a thread for it (`session`).

mod arrivals;
pub mod bounds;
pub mod client;
pub mod error;
pub mod greeting;
mod lobby;
pub mod message;
pub mod path;
pub mod server;
mod session;
mod talk;

pub use self::{
    bounds::Bounds,
    client::{Connection, End, Outcome, Tell},
    error::RemoteError,
    greeting::Secret,
    server::{Served, Server},
};

/// The port where none is said, TCP and UDP.
pub const PORT: u16 = 5210;
