//! Ctrl-C: the first asks, the second ends at once.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP set a flag instead of killing; a second one exits with 130.
pub fn watch() -> Arc<AtomicBool> {
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The shutdown handler stands first: it acts only when the flag was set by an earlier signal.
            let exit = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag));
            let set = signal_hook::flag::register(signal, Arc::clone(&flag));
            debug_assert!(exit.is_ok() && set.is_ok(), "these signals can be caught");
        }
        flag
    })
    .clone()
}

/// Has one come?
pub fn interrupted() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
