//! The control connection: frames over TCP, each with a deadline for its end, and a peer that is gone is noticed.

use std::{
    io::{self, Read},
    net::{Shutdown, TcpStream},
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use socket2::{SockRef, TcpKeepalive};

use crate::agent::frame::{self, FrameError};

/// From the first byte of a frame to its last.
const FRAME: Duration = Duration::from_secs(5);
/// For a frame to be taken by the peer.
const TAKEN: Duration = Duration::from_secs(5);
/// A peer is gone after [`SILENCE`] of silence and [`PROBES`] probes, each [`PROBE`] after the other, without an answer;
/// or when what was sent to it was not acknowledged for as long.
const SILENCE: Duration = Duration::from_secs(4);
const PROBE: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;

/// One end of a control connection.
pub struct Talk {
    socket: TcpStream,
}

/// What the reader of a control connection hears.
#[derive(Debug)]
pub enum Heard<M> {
    /// A message.
    Said(Box<M>),
    /// The peer hung up between two messages.
    Closed,
    /// The connection broke, or what came was no message.
    Broken(FrameError),
}

impl Talk {
    /// Takes a connection over.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(TAKEN))?;
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE).with_retries(PROBES))?;
        options.set_tcp_user_timeout(Some(SILENCE + PROBE * PROBES))?;
        Ok(Self { socket })
    }

    /// The connection itself.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends a message.
    pub fn say(&mut self, message: &impl Serialize) -> Result<(), FrameError> {
        frame::write(&mut self.socket, message)
    }

    /// Waits for one message, all of it, for so long. A time-out is an error of the kind `TimedOut`.
    pub fn hear<M: DeserializeOwned>(&mut self, patience: Duration, longest: usize) -> Result<Option<M>, FrameError> {
        frame::read_within(&mut Patient { socket: &self.socket, deadline: Some(Instant::now() + patience) }, longest)
    }

    /// From now on a thread reads and passes on what it hears, as `wrap` makes it; it ends with the connection.
    pub fn listen<M: DeserializeOwned + 'static, T: Send + 'static>(
        &self,
        longest: usize,
        to: Sender<T>,
        wrap: impl Fn(Heard<M>) -> T + Send + 'static,
    ) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            loop {
                let heard = match frame::read_within(&mut Patient { socket: &socket, deadline: None }, longest) {
                    Ok(Some(message)) => Heard::Said(Box::new(message)),
                    Ok(None) => Heard::Closed,
                    Err(error) => Heard::Broken(error),
                };
                let over = !matches!(heard, Heard::Said(_));
                if to.send(wrap(heard)).is_err() || over {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Ends the reader's thread too; an error says that the connection is gone.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Reads with a deadline; without one it waits for the first byte for ever, and then no longer than [`FRAME`].
struct Patient<'s> {
    socket: &'s TcpStream,
    deadline: Option<Instant>,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(left)?;
        let count = self.socket.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        self.deadline.get_or_insert_with(|| Instant::now() + FRAME);
        Ok(count)
    }
}

/// How a connection ended, in words.
pub fn how(error: &FrameError) -> String {
    match error {
        FrameError::Pipe(error) if error.kind() == io::ErrorKind::TimedOut => {
            "nothing came from it, not even an acknowledgment: its host or the network between is down".to_owned()
        }
        FrameError::Pipe(error) => error.to_string(),
        FrameError::Truncated { .. } => "it hung up in the middle of a message".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener, sync::mpsc::channel};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_frame_that_comes_byte_by_byte_has_a_deadline() {
        let (mut slow, fast) = pair();
        let (sender, heard) = channel();
        let talk = Talk::new(fast).unwrap();
        talk.listen(1000, sender, |heard: Heard<u32>| heard).unwrap();
        let began = Instant::now();
        slow.write_all(&[0, 0, 0, 2, b'1']).unwrap();
        let Heard::Broken(FrameError::Pipe(error)) = heard.recv_timeout(FRAME * 4).unwrap() else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= FRAME);
    }

    #[test]
    fn an_idle_connection_is_kept_and_its_end_is_heard() {
        let (mut near, far) = pair();
        let (sender, heard) = channel();
        let talk = Talk::new(far).unwrap();
        talk.listen(1000, sender, |heard: Heard<u32>| heard).unwrap();
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err());
        near.write_all(b"\0\0\0\x0217").unwrap();
        assert!(matches!(heard.recv_timeout(FRAME).unwrap(), Heard::Said(number) if *number == 17));
        drop(near);
        assert!(matches!(heard.recv_timeout(FRAME).unwrap(), Heard::Closed));
    }
}
