//! Payload through pipes: pages that change hands by `splice` and `tee`, without a copy into or out of this process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe, splice, tee};
use socket2::Socket;

/// What a receiver's pipe holds, if it may: the most that an ordinary user may ask for.
const ROOM: usize = 1 << 20;

/// A pipe with room for so many bytes, or less where no more is allowed; the read end, the write end, and its room.
fn roomy(bytes: usize) -> io::Result<(OwnedFd, OwnedFd, usize)> {
    let (read, write) = pipe()?;
    if fcntl_getpipe_size(&write)? < bytes {
        // A limit of the user's: then with what it has.
        let _ = fcntl_setpipe_size(&write, bytes);
    }
    let room = fcntl_getpipe_size(&write)?;
    Ok((read, write, room))
}

/// A block whose pages stay in one pipe, and go through another to the socket again and again.
pub struct Source {
    kept: OwnedFd,
    /// Open, so that the pipe never ends.
    _kept_open: OwnedFd,
    way_out: OwnedFd,
    way_in: OwnedFd,
    length: usize,
    /// Bytes on the way.
    inside: usize,
    /// System calls beyond one a push.
    pub more_calls: u64,
}

impl Source {
    /// With this block, or its beginning where pipes are shorter.
    ///
    /// # Errors
    /// No pipe could be made.
    pub fn new(block: &[u8]) -> io::Result<Self> {
        let ((kept, write, room), (way_out, way_in, way_room)) = (roomy(block.len())?, roomy(block.len())?);
        let length = block.len().min(room).min(way_room);
        let mut write = File::from(write);
        // It fits, so nothing waits.
        write.write_all(&block[..length])?;
        Ok(Self { kept, _kept_open: write.into(), way_out, way_in, length, inside: 0, more_calls: 0 })
    }

    /// Bytes of the block.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Sends at most so many bytes.
    ///
    /// # Errors
    /// Those of the socket.
    #[inline]
    pub fn push(&mut self, socket: &Socket, most: usize) -> io::Result<usize> {
        if self.inside == 0 {
            self.more_calls += 1;
            self.inside = tee(&self.kept, &self.way_in, most.min(self.length), SpliceFlags::empty())?;
        }
        let sent = splice(&self.way_out, None, socket, None, self.inside.min(most), SpliceFlags::MOVE)?;
        self.inside -= sent;
        Ok(sent)
    }
}

/// A way from a socket to nowhere.
pub struct Sink {
    out: OwnedFd,
    into: OwnedFd,
    null: File,
    room: usize,
    /// System calls beyond one a turn.
    pub more_calls: u64,
}

impl Sink {
    /// # Errors
    /// No pipe could be made, or `/dev/null` could not be opened.
    pub fn new() -> io::Result<Self> {
        let (out, into, room) = roomy(ROOM)?;
        Ok(Self { out, into, null: OpenOptions::new().write(true).open("/dev/null")?, room, more_calls: 0 })
    }

    /// Waits for payload and throws away what has come; 0 at the end of the connection.
    ///
    /// # Errors
    /// Those of the socket.
    #[inline]
    pub fn take(&mut self, socket: &Socket) -> io::Result<usize> {
        let taken = splice(socket, None, &self.into, None, self.room, SpliceFlags::MOVE)?;
        let mut left = taken;
        while left > 0 {
            self.more_calls += 1;
            left -= splice(&self.out, None, &self.null, None, left, SpliceFlags::MOVE)?;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_block_goes_again_and_again_and_what_is_asked_for_is_what_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = Socket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        let block: Vec<u8> = (0..30_000u32).map(|i| (i * 7) as u8).collect();
        let mut source = Source::new(&block).unwrap();
        for most in [30_000, 7, 29_993, usize::MAX, 1] {
            let wanted = most.min(30_000);
            let mut sent = 0;
            while sent < wanted {
                sent += source.push(&sender, wanted - sent).unwrap();
            }
            let mut bytes = vec![0; wanted];
            io::Read::read_exact(&mut receiver, &mut bytes).unwrap();
            assert_eq!(bytes, block[..wanted], "a block begins with each push that follows a whole one");
        }
        let (receiver, mut sink) = (Socket::from(receiver), Sink::new().unwrap());
        sender.send(&block).unwrap();
        let mut taken = 0;
        while taken < block.len() {
            taken += sink.take(&receiver).unwrap();
        }
        drop(sender);
        assert_eq!((taken, sink.take(&receiver).unwrap()), (block.len(), 0));
    }
}
