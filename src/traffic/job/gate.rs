//! Where the threads of a job wait for each other.

use std::sync::{Condvar, Mutex, PoisonError};

/// Opens when all have come, or is given up when one cannot come: a plain barrier would keep the others for ever.
#[derive(Debug)]
pub struct Gate {
    /// Who is still to come; `None` once it was given up.
    missing: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Gate {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Self { missing: Mutex::new(Some(threads)), changed: Condvar::new() }
    }

    /// Waits for the others; false when the gate was given up.
    pub fn pass(&self) -> bool {
        // A thread that panicked while it held the lock left nothing half done.
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.map(|count| count.saturating_sub(1));
        self.changed.notify_all();
        while missing.is_some_and(|count| count > 0) {
            missing = self.changed.wait(missing).unwrap_or_else(PoisonError::into_inner);
        }
        missing.is_some()
    }

    /// Not all will come: lets everybody go.
    pub fn give_up(&self) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn all_pass_or_all_are_let_go() {
        for given_up in [false, true] {
            let gate = Arc::new(Gate::new(3));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let gate = gate.clone();
                    std::thread::spawn(move || gate.pass())
                })
                .collect();
            if given_up {
                gate.give_up();
            }
            assert_eq!(gate.pass(), !given_up);
            assert!(threads.into_iter().all(|thread| thread.join().unwrap() != given_up));
        }
    }
}
