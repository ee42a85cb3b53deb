//! Runs plans: journal first, execute, verify, prove; roll back, destroy, recover.

pub mod fault;
pub mod journal;
