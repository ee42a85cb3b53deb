//! netbench: a network performance lab that declares, proves, measures and removes.
//!
//! Modules in the order in which data flows through them; a module uses only what stands above it or beside it.
//! ARCHITECTURE.md draws the map.

pub mod packet;
pub mod units;

pub mod facts;
pub mod measured;
pub mod stats;
pub mod topology;

pub mod plan;

pub mod kernel;
pub mod ovs;

pub mod apply;

pub mod traffic;

pub mod agent;
pub mod remote;

pub mod record;
pub mod report;
pub mod store;

pub mod iperf;

pub mod experiment;

pub mod ui;

pub mod cli;
