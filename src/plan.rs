//! `(Topology, Observed) -> Plan`: which state is wanted, how it differs, and the steps between, as data.

pub mod ceiling;
pub mod desired;
pub mod diff;
pub mod features;
pub mod lower;
pub mod marks;
pub mod observed;
pub mod ovs;
pub mod path;
pub mod proof;
pub mod sriov;
pub mod step;
pub mod text;
