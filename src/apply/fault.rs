//! Crash points: the shipped binary can be told to die, to stand still, or to fail, at the k-th of them, so that what the tests
//! kill is what users run. Costs a relaxed load or two a point.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

static PASSED: AtomicU64 = AtomicU64::new(0);

fn ordered(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Passes a crash point; with `NETBENCH_CRASH_AT=k` the k-th one (from 1) is the end: SIGKILL, nothing is cleaned up. With
/// `NETBENCH_STOP_AT=k` it stops there as by SIGSTOP, until somebody sends SIGCONT.
pub fn point(_what: &'static str) {
    static CRASH_AT: OnceLock<Option<u64>> = OnceLock::new();
    static STOP_AT: OnceLock<Option<u64>> = OnceLock::new();
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if *CRASH_AT.get_or_init(|| ordered("NETBENCH_CRASH_AT")) == Some(passed) {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        // SIGKILL is delivered before the call returns to user space; this line is for the compiler.
        std::process::abort();
    }
    if *STOP_AT.get_or_init(|| ordered("NETBENCH_STOP_AT")) == Some(passed) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}

/// With `NETBENCH_FAIL_AT=k` the k-th step of a plan (from 1) fails as if the kernel had refused it.
pub fn step_fails(index: usize) -> bool {
    static FAIL_AT: OnceLock<Option<u64>> = OnceLock::new();
    *FAIL_AT.get_or_init(|| ordered("NETBENCH_FAIL_AT")) == Some(index as u64 + 1)
}
