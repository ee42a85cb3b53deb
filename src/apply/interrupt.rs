//! Ctrl-C: the first asks, the second ends at once.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

static WATCH: OnceLock<Watch> = OnceLock::new();

struct Watch {
    /// One has come.
    flag: Arc<AtomicBool>,
    /// The next one ends the process.
    last: Arc<AtomicBool>,
    /// What sets `last`; none while that is deferred.
    arming: Mutex<Vec<SigId>>,
}

/// From now on SIGINT, SIGTERM and SIGHUP set a flag instead of killing; a second one exits with 130.
pub fn watch() -> Arc<AtomicBool> {
    let watch = WATCH.get_or_init(|| {
        let (flag, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for signal in SIGNALS {
            // The shutdown handler stands first: it acts only when an earlier signal armed it.
            let exit = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&last));
            let set = signal_hook::flag::register(signal, Arc::clone(&flag));
            debug_assert!(exit.is_ok() && set.is_ok(), "these signals can be caught");
        }
        Watch { flag, arming: Mutex::new(arm(&last)), last }
    });
    Arc::clone(&watch.flag)
}

fn arm(last: &Arc<AtomicBool>) -> Vec<SigId> {
    SIGNALS.iter().filter_map(|&signal| signal_hook::flag::register(signal, Arc::clone(last)).ok()).collect()
}

/// Signals only ask, however many come, until [`resume`]: for as long as the terminal must be given back before the end.
pub fn defer() {
    if let Some(watch) = WATCH.get() {
        let ids = std::mem::take(&mut *watch.arming.lock().unwrap_or_else(PoisonError::into_inner));
        ids.into_iter().for_each(|id| _ = signal_hook::low_level::unregister(id));
        watch.last.store(false, Ordering::SeqCst);
    }
}

/// The next signal after one that has come ends the process again.
pub fn resume() {
    if let Some(watch) = WATCH.get() {
        let mut arming = watch.arming.lock().unwrap_or_else(PoisonError::into_inner);
        if arming.is_empty() {
            *arming = arm(&watch.last);
            if watch.flag.load(Ordering::SeqCst) {
                watch.last.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// Has one come?
pub fn interrupted() -> bool {
    WATCH.get().is_some_and(|watch| watch.flag.load(Ordering::Relaxed))
}
