//! `(Topology, Observed) -> Plan`: which state is wanted, how it differs, and the steps between, as data.

pub mod desired;
pub mod observed;
pub mod step;
