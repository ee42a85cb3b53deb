//! The topology language: TOML in, a resolved [`model::Topology`] out, with every mistake found on the way.

pub mod model;
