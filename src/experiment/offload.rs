//! Are the offloads of a path right? Each feature of each device is switched off and on, and what was handed to the device
//! is held against what came out of it.
//!
//! [`machine`] decides what is done next and never does it; [`drive`] does it.

pub mod bisect;
pub mod boundary;
pub mod bundles;
pub mod checks;
pub mod drive;
pub mod ecn;
pub mod edges;
pub mod flow_offload;
pub mod forward;
pub mod judge;
mod links;
pub mod lro;
pub mod machine;
pub mod persist;
pub mod sctp;
pub mod spread;
mod state;
pub mod suite;
pub mod supers;
pub mod traffic;
pub mod tunnel_ports;
pub mod vlan;

pub use checks::{Check, Target};
pub use machine::{Action, Sample, Verifier};
