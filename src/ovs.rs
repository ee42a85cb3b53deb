//! The only module that speaks to Open vSwitch: its database, its flow tables, its control sockets, its daemons.
//!
//! No `ovs-vsctl` and no `ovs-ofctl`: a whole topology is one transaction, and errors keep the database's own words.

mod bond;
pub mod bridge;
pub mod client;
pub mod daemon;
pub mod decode;
pub mod error;
pub mod flows;
pub mod observe;
pub mod openflow;
mod process;
pub mod sentry;
pub mod settings;
pub mod system;
pub mod unixctl;
mod wire;

pub use error::Error;

/// Result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
