//! The kernel module against a real kernel, in namespaces of the test's own, with `ip`, `tc` and `bridge` as oracles.
//!
//! Every test first puts its thread into fresh network and mount namespaces with a tmpfs on /run: nothing of the
//! machine's network is touched. nextest runs each test in a process of its own.

#![allow(clippy::unwrap_used)]

#[path = "kernel/support.rs"]
mod support;

#[path = "kernel/core.rs"]
mod core;

#[path = "kernel/device.rs"]
mod device;

#[path = "kernel/path.rs"]
mod path;
