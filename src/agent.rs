//! A worker process of netbench in the namespace where traffic shall begin or end, driven over its stdin and stdout.
//!
//! [`worker`] is the process itself (`netbench agent`), [`driver`] the side that starts and drives it, [`egress`] what paces it, [`frame`] and
//! [`message`] what they say to each other. A worker whose stdin ends stops everything and exits: no killed netbench leaves
//! one behind.

pub mod driver;
pub mod egress;
pub mod frame;
pub mod message;
pub mod worker;

pub use self::driver::{AgentError, Event, Workers};
