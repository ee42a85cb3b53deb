//! Threads that change their namespace, so that no caller has to.
//!
//! `fork` would be unsafe in a threaded process, and a thread per namespace costs more than one that is reused.

use std::{
    any::Any,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, OnceLock, mpsc},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::{Result, error::Operation};

type Job = Box<dyn FnOnce() + Send>;

/// Moves the calling thread into a network namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

/// Runs `work` on a fresh thread inside a namespace.
pub(super) fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().spawn_scoped(scope, || {
            enter(namespace)?;
            Ok(work())
        })?;
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs `work`, which may leave its thread in any network namespace, on the process's one namespace thread.
///
/// After each job the thread goes home: it must not keep alive the last namespace it was in.
pub(super) fn on_worker<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    static WORKER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let gone = || Operation::plain("run", "the namespace thread");
    if WORKER.get().is_none() {
        let sender = start().map_err(|error| gone().io(error))?;
        let _ = WORKER.set(Mutex::new(sender));
    }
    let worker = WORKER.get().ok_or_else(|| gone().conflict("it did not start"))?;
    let (reply, answer) = mpsc::sync_channel::<Result<Result<T>, Box<dyn Any + Send>>>(1);
    let job: Job = Box::new(move || {
        let _ = reply.send(catch_unwind(AssertUnwindSafe(work)));
    });
    let sender = worker.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    sender.send(job).map_err(|_| gone().conflict("it has ended"))?;
    match answer.recv() {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(gone().conflict("it has ended")),
    }
}

fn start() -> io::Result<mpsc::Sender<Job>> {
    let home = File::open(super::OWN)?;
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name("netns".into()).spawn(move || {
        for job in jobs {
            job();
            if enter(home.as_fd()).is_err() {
                // Every job enters the namespace it needs; staying only keeps the last one alive a little longer.
                continue;
            }
        }
    })?;
    Ok(sender)
}
