//! Wakes threads that wait for a datagram which may never come.
//!
//! A receive timeout would do that as well, but costs a kernel timer for every wait: a tenth of what a small request takes
//! from end to end. Here one thread a job looks a few times a second which streams have stood still since it looked last, and
//! interrupts their call (`EINTR`); the data thread then decides itself whether something is lost or over.

use std::sync::{
    Arc,
    atomic::{AtomicI32, AtomicU64, Ordering::*},
};

use super::{counters::StreamCounters, socket::POLL, sys};

/// The data threads of a job, by kernel thread id; 0 for one that has not started or has ended.
#[derive(Debug)]
pub struct Sleepers(Box<[AtomicI32]>);

impl Sleepers {
    /// For so many streams.
    pub fn new(streams: usize) -> Self {
        Self((0..streams).map(|_| AtomicI32::new(0)).collect())
    }

    /// The calling thread is that of this stream, for as long as the guard lives.
    pub fn enter(&self, stream: usize) -> Awake<'_> {
        let slot = &self.0[stream];
        slot.store(sys::thread_id(), Release);
        Awake(slot)
    }
}

/// A thread that may be interrupted.
pub struct Awake<'a>(&'a AtomicI32);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

/// Starts the thread that looks. It ends by itself when `left`, the number of data threads that run, is zero.
///
/// # Errors
/// The handler of the signal cannot be installed, or the thread not started.
pub fn start(sleepers: Arc<Sleepers>, counters: Arc<[StreamCounters]>, left: Arc<AtomicU64>) -> std::io::Result<()> {
    sys::interruptible()?;
    std::thread::Builder::new().name("nudge".to_owned()).spawn(move || {
        let mut moves = vec![u64::MAX; counters.len()];
        while left.load(Acquire) > 0 {
            std::thread::sleep(POLL);
            for ((before, counters), thread) in moves.iter_mut().zip(counters.iter()).zip(&sleepers.0) {
                let now = counters.moves();
                // One that has not begun has stood still, too.
                if now == *before {
                    sys::interrupt(thread.load(Acquire));
                }
                *before = now;
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::UdpSocket,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_call_that_waits_for_ever_is_interrupted_and_one_that_moves_is_not() {
        let sleepers = Arc::new(Sleepers::new(2));
        let counters: Arc<[StreamCounters]> = (0..2).map(|_| StreamCounters::default()).collect();
        let left = Arc::new(AtomicU64::new(2));
        start(sleepers.clone(), counters.clone(), left.clone()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let _awake = sleepers.enter(0);
                let asked = Instant::now();
                assert_eq!(socket.recv(&mut [0; 1]).unwrap_err().kind(), ErrorKind::Interrupted);
                assert!(asked.elapsed() < Duration::from_secs(5));
                left.fetch_sub(1, AcqRel);
            });
            scope.spawn(|| {
                let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
                a.connect(b.local_addr().unwrap()).unwrap();
                let _awake = sleepers.enter(1);
                let until = Instant::now() + Duration::from_millis(300);
                let mut tally = crate::traffic::counters::Tally::new(&counters[1]);
                while Instant::now() < until {
                    a.send(&[1]).unwrap();
                    b.recv(&mut [0; 1]).unwrap();
                    tally.add(1, 1);
                }
                left.fetch_sub(1, AcqRel);
            });
        });
    }
}
