//! The ways in which a receiver of a byte stream takes what has come.

use std::{
    io::{self, ErrorKind, Read},
    mem::MaybeUninit,
    os::fd::AsFd,
};

use rustix::event::{PollFd, PollFlags, poll};
use socket2::Socket;

use super::{
    payload::Checker,
    pipes::Sink,
    spec::Spec,
    sys::{Mapping, ReceiveRing},
};
use crate::measured::{Mapped, ReceiveMode, StreamIo, Verified};

/// What a receiver that copies nothing takes at a time.
const DISCARD: usize = 4 << 20;
/// Address space for mapped pages.
const MAP: usize = 4 << 20;
/// After so many bytes of which not one could be mapped, none will be.
const TRIAL: u64 = 16 << 20;

/// How a receiver takes what has come.
pub enum Take {
    /// Into a buffer.
    Copy(Vec<u8>),
    /// Out of the queue and away; the buffer only says how much at most, and is never written.
    Discard(Vec<MaybeUninit<u8>>),
    /// Into a buffer, to be checked.
    Check(Checker),
    /// Through a pipe to nowhere.
    Splice(Sink),
    /// Whole pages by mapping them, the rest into a buffer.
    Map(Pages),
    /// By io_uring, into its buffers.
    Uring(ReceiveRing),
}

impl Take {
    /// As the job asks for; the reason when it is another way.
    pub fn new(spec: &Spec, stream: u32, socket: &Socket) -> (Self, Option<String>) {
        let length = spec.length.0 as usize;
        if let Some(seed) = spec.verify {
            return (Self::Check(Checker::new(seed, stream, length)), None);
        }
        let plain = || vec![0; length.max(Spec::BLOCK as usize)];
        let made = match spec.receive {
            ReceiveMode::Trunc => return (Self::Discard(vec![MaybeUninit::uninit(); DISCARD]), None),
            ReceiveMode::Splice => {
                Sink::new().map(Self::Splice).map_err(|error| format!("no pipe to nowhere: {error}"))
            }
            ReceiveMode::Zerocopy => match Mapping::new(socket.as_fd(), MAP) {
                Ok(mapping) => Ok(Self::Map(Pages {
                    mapping: Some(mapping),
                    buffer: plain(),
                    seen: Mapped::default(),
                    more_calls: 0,
                })),
                Err(error) => Err(format!("this kernel cannot map what a connection received ({error})")),
            },
            ReceiveMode::Uring => {
                ReceiveRing::new().map(Self::Uring).map_err(|error| format!("io_uring cannot be used here ({error})"))
            }
            _ => return (Self::Copy(plain()), None),
        };
        match made {
            Ok(take) => (take, None),
            Err(why) => (Self::Copy(plain()), Some(format!("{why}: received by recv"))),
        }
    }

    /// Waits for payload and takes (a part of) it; 0 at the end of the connection.
    #[inline]
    pub fn take(&mut self, mut socket: &Socket) -> io::Result<usize> {
        match self {
            Self::Copy(buffer) => socket.read(buffer),
            Self::Discard(buffer) => socket.recv_with_flags(buffer, libc::MSG_TRUNC),
            Self::Check(checker) => {
                let received = socket.read(checker.room())?;
                checker.took(received);
                Ok(received)
            }
            Self::Splice(sink) => sink.take(socket),
            Self::Map(pages) => pages.take(socket),
            Self::Uring(ring) => ring.receive(socket.as_fd()),
        }
    }

    /// System calls beyond one a turn.
    pub fn more_calls(&self) -> u64 {
        match self {
            Self::Splice(sink) => sink.more_calls,
            Self::Map(pages) => pages.more_calls,
            _ => 0,
        }
    }

    /// What came of the wish, and what the check brought, the last and incomplete block included.
    pub fn close(self, asked: ReceiveMode, fallback: Option<String>) -> (StreamIo, Option<Verified>) {
        let mut io = StreamIo { receive: Some(asked), payload_copied: Some(true), fallback, ..StreamIo::default() };
        if io.fallback.is_some() {
            io.receive = Some(ReceiveMode::Recv);
        }
        match self {
            Self::Discard(_) | Self::Splice(_) => io.payload_copied = Some(false),
            Self::Map(pages) => {
                io.payload_copied = Some(pages.seen.copied > 0);
                io.mapped = Some(pages.seen);
                if pages.mapping.is_none() {
                    io.receive = Some(ReceiveMode::Recv);
                    io.fallback = Some(format!(
                        "of the first {} MiB no page could be mapped (segments are not whole pages, or share pages): received by recv",
                        TRIAL >> 20
                    ));
                }
            }
            Self::Check(checker) => return (io, Some(checker.close())),
            Self::Copy(_) | Self::Uring(_) => {}
        }
        (io, None)
    }
}

/// A receiver that maps whole pages (`TCP_ZEROCOPY_RECEIVE`).
pub struct Pages {
    /// None once it is clear that nothing can be mapped.
    mapping: Option<Mapping>,
    buffer: Vec<u8>,
    seen: Mapped,
    more_calls: u64,
}

impl Pages {
    fn take(&mut self, mut socket: &Socket) -> io::Result<usize> {
        let Some(mapping) = &mut self.mapping else { return socket.read(&mut self.buffer) };
        let found = match mapping.receive(socket.as_fd()) {
            Ok(found) => found,
            // The end of the connection, which a read tells apart from a failure.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return self.copy(socket, usize::MAX),
            Err(error) => return Err(error),
        };
        self.seen.mapped += found.bytes as u64;
        if found.must_copy > 0 {
            return match self.copy(socket, found.must_copy) {
                Ok(copied) => Ok(found.bytes + copied),
                Err(_) if found.bytes > 0 => Ok(found.bytes),
                Err(error) => Err(error),
            };
        }
        if found.bytes > 0 {
            return Ok(found.bytes);
        }
        self.more_calls += 1;
        let mut wait = [PollFd::new(socket, PollFlags::IN | PollFlags::RDHUP)];
        let _ = poll(&mut wait, None);
        // Nothing more comes, or the job was stopped: a read says which.
        if wait[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return self.copy(socket, usize::MAX);
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Reads what cannot be mapped.
    fn copy(&mut self, mut socket: &Socket, most: usize) -> io::Result<usize> {
        self.more_calls += 1;
        let room = most.min(self.buffer.len());
        let copied = socket.read(&mut self.buffer[..room])?;
        self.seen.copied += copied as u64;
        if self.seen.mapped == 0 && self.seen.copied >= TRIAL {
            self.mapping = None;
        }
        Ok(copied)
    }
}
