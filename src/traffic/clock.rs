//! The one clock of the engine: `CLOCK_MONOTONIC`, read without a system call through the vDSO.

use rustix::{
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec, clock_gettime},
};

/// Nanoseconds since the clock's start. Namespaces of one machine share it.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until then; returns at once when that is past, and early on a signal.
pub fn sleep_until(at_ns: u64) {
    let at = Timespec { tv_sec: (at_ns / 1_000_000_000) as _, tv_nsec: (at_ns % 1_000_000_000) as _ };
    // EINTR is the only failure possible here, and the caller looks at the clock anyway.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &at);
}
