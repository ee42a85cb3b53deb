//! The control connection: nothing is waited for without an end.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::{
    Error,
    wire::{self, State},
};

/// How often a wait looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// A control connection.
pub struct Control<'a> {
    stream: TcpStream,
    peer: SocketAddr,
    stop: &'a AtomicBool,
}

impl<'a> Control<'a> {
    /// Takes a connection over. `stop` ends every wait.
    pub fn new(stream: TcpStream, stop: &'a AtomicBool) -> Result<Self, Error> {
        let failed = |source| Error::Os { operation: "set up the control connection", object: String::new(), source };
        let peer = stream.peer_addr().map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(false).map_err(failed)?;
        stream.set_read_timeout(Some(LOOK)).map_err(failed)?;
        stream.set_write_timeout(Some(LOOK)).map_err(failed)?;
        Ok(Self { stream, peer, stop })
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// This end.
    pub fn local(&self) -> Result<SocketAddr, Error> {
        self.stream.local_addr().map_err(|error| self.failed("read the address of", error))
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Shall everything end?
    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        match source.kind() {
            _ if self.stopped() => Error::Interrupted,
            ErrorKind::TimedOut => Error::Silent { peer: self.peer },
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Error::Closed { peer: self.peer }
            }
            ErrorKind::InvalidData => Error::Foreign { peer: self.peer, what: source.to_string() },
            _ => Error::Os { operation, object: format!("the control connection with {}", self.peer), source },
        }
    }

    fn patient(&self, within: Duration) -> Patient<'_> {
        Patient { stream: &self.stream, stop: self.stop, deadline: Instant::now() + within }
    }

    /// Sends bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut patient = self.patient(Duration::from_secs(10));
        patient.write_all(bytes).map_err(|error| self.failed("write to", error))
    }

    /// Sends a state.
    pub fn say(&self, state: State) -> Result<(), Error> {
        self.send(&[state.byte()])
    }

    /// Sends a value.
    pub fn tell(&self, value: &Value) -> Result<(), Error> {
        self.send(&wire::frame(value))
    }

    /// Reads exactly so many bytes.
    pub fn read(&self, bytes: &mut [u8], within: Duration) -> Result<(), Error> {
        self.patient(within).read_exact(bytes).map_err(|error| self.failed("read from", error))
    }

    /// Reads a value.
    pub fn hear(&self, most: usize, within: Duration) -> Result<Value, Error> {
        wire::read_frame(&mut self.patient(within), most).map_err(|error| self.failed("read from", error))
    }

    /// Reads a state. What ends a test, in any of its ways, is an error.
    pub fn state(&self, within: Duration) -> Result<State, Error> {
        let mut byte = [0];
        self.read(&mut byte, within)?;
        match State::of(byte[0]) {
            Some(State::AccessDenied) => Err(Error::Busy { peer: self.peer }),
            Some(State::ServerError) => {
                // An old server may close before both numbers are out.
                let mut numbers = [[0; 4]; 2];
                for number in &mut numbers {
                    if self.read(number, Duration::from_secs(1)).is_err() {
                        break;
                    }
                }
                let [number, errno] = numbers.map(i32::from_be_bytes);
                Err(Error::Refused { peer: self.peer, number, errno })
            }
            Some(State::ServerTerminate | State::ClientTerminate) => Err(Error::Terminated { peer: self.peer }),
            Some(state) => Ok(state),
            None => Err(Error::Foreign {
                peer: self.peer,
                what: format!("byte {} where a state of a test is due", byte[0] as i8),
            }),
        }
    }

    /// Waits for one state and takes no other.
    pub fn expect(&self, wanted: State, within: Duration) -> Result<(), Error> {
        match self.state(within)? {
            state if state == wanted => Ok(()),
            state => Err(Error::Foreign { peer: self.peer, what: format!("{state:?} where {wanted:?} is due") }),
        }
    }

    /// Is there something to read, or the end, within this time?
    pub fn is_ready(&self, within: Duration) -> bool {
        let wait = Timespec { tv_sec: within.as_secs() as _, tv_nsec: within.subsec_nanos() as _ };
        poll(&mut [PollFd::new(&self.stream.as_fd(), PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
    }

    /// Says that no more comes, and waits a moment for the other end to do so too.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut patient = self.patient(Duration::from_secs(1));
        while matches!(patient.read(&mut [0; 64]), Ok(1..)) {}
    }
}

/// A stream that is waited for until a deadline, and no longer.
struct Patient<'a> {
    stream: &'a TcpStream,
    stop: &'a AtomicBool,
    deadline: Instant,
}

impl Patient<'_> {
    fn again<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match call() {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
                {
                    if self.stop.load(Relaxed) || Instant::now() >= self.deadline {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                other => return other,
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A peer that drips bytes must not outlast the deadline either.
        if Instant::now() >= self.deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        self.again(|| (&*self.stream).read(buffer))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.again(|| (&*self.stream).write(buffer))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
