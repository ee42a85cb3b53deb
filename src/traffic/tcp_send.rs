//! The ways in which a block of a byte stream is handed to the kernel.

use std::{fs::File, io, os::fd::AsFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create, sendfile},
};
use socket2::Socket;

use super::{payload::Maker, pipes::Source, sys};
use crate::measured::{SendMode, StreamIo, Verified, Zerocopy};

/// `MSG_ZEROCOPY` sends in flight before the error queue is read: far below what `optmem_max` allows.
const IN_FLIGHT: u64 = 16;
/// How long a sender without room for another `MSG_ZEROCOPY` notice waits at a time.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A block and how it goes.
pub enum Push {
    /// From memory, copied.
    Write(Vec<u8>),
    /// From a file in memory.
    Sendfile(File, usize),
    /// From memory, by reference.
    Zerocopy(Vec<u8>, Zerocopy),
    /// From a pipe that keeps the block's pages, by reference.
    Splice(Source),
    /// From memory, copied, several blocks a call.
    Uring(Box<sys::SendRing>),
    /// From memory, copied, and made anew for each block.
    Made(Maker),
}

impl Push {
    /// A block of `length` bytes to be sent so; `io` says what came of the wish.
    pub fn new(mode: SendMode, length: usize, socket: &Socket) -> (Self, StreamIo) {
        // Not zeros: a page of zeros may be shared or compressed on the way.
        let block: Vec<u8> = (0..length).map(|i| (i.wrapping_mul(167) >> 2) as u8).collect();
        let mut io = StreamIo { send: Some(mode), block: Some(length as u64), ..StreamIo::default() };
        let refused = |io: &mut StreamIo, what: &str, error: io::Error| {
            io.send = Some(SendMode::Write);
            io.fallback = Some(format!("{what} ({error}): sent by write"));
        };
        let push = match mode {
            SendMode::Sendfile => match file_of(&block) {
                Ok(file) => Self::Sendfile(file, length),
                Err(error) => {
                    refused(&mut io, "no file in memory could be made", error);
                    Self::Write(block)
                }
            },
            SendMode::Zerocopy => {
                let asked = sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1i32.to_ne_bytes());
                match asked {
                    Ok(()) => Self::Zerocopy(block, Zerocopy::default()),
                    Err(error) => {
                        refused(&mut io, "this kernel has no SO_ZEROCOPY", error);
                        Self::Write(block)
                    }
                }
            }
            SendMode::Splice => match Source::new(&block) {
                Ok(source) => {
                    io.block = Some(source.length() as u64);
                    Self::Splice(source)
                }
                Err(error) => {
                    refused(&mut io, "no pipe for the block could be made", error);
                    Self::Write(block)
                }
            },
            SendMode::Uring => match sys::SendRing::new(block.clone()) {
                Ok(ring) => Self::Uring(Box::new(ring)),
                Err(error) => {
                    refused(&mut io, "io_uring cannot be used here", error);
                    Self::Write(block)
                }
            },
            _ => Self::Write(block),
        };
        (push, io)
    }

    /// Blocks that the receiver can check.
    pub fn verified(maker: Maker) -> (Self, StreamIo) {
        let block = Some(maker.length() as u64);
        (Self::Made(maker), StreamIo { send: Some(SendMode::Write), block, ..StreamIo::default() })
    }

    /// What was made to be checked.
    pub fn made(&self) -> Option<Verified> {
        if let Self::Made(maker) = self { Some(maker.account()) } else { None }
    }

    /// System calls beyond one a push.
    pub fn more_calls(&self) -> u64 {
        if let Self::Splice(source) = self { source.more_calls } else { 0 }
    }

    /// Sends (a part of) the block, or several of them, at most so many bytes.
    #[inline]
    pub fn push_at_most(&mut self, socket: &Socket, most: usize) -> io::Result<usize> {
        match self {
            Self::Write(block) => socket.send(&block[..most.min(block.len())]),
            Self::Made(maker) => {
                let rest = maker.rest();
                let sent = socket.send(&rest[..most.min(rest.len())])?;
                maker.sent(sent);
                Ok(sent)
            }
            Self::Sendfile(file, length) => {
                let mut from = 0;
                sendfile(socket, &*file, Some(&mut from), most.min(*length)).map_err(io::Error::from)
            }
            Self::Splice(source) => source.push(socket, most),
            Self::Uring(ring) => ring.send(socket.as_fd(), most),
            Self::Zerocopy(block, account) => {
                if account.sends - account.completed >= IN_FLIGHT {
                    reap(socket, account)?;
                }
                match sys::send_zerocopy(socket.as_fd(), &block[..most.min(block.len())]) {
                    Ok(sent) => {
                        account.sends += 1;
                        Ok(sent)
                    }
                    // No memory for another notice: wait for those under way.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        wait(socket);
                        reap(socket, account)?;
                        Err(io::ErrorKind::Interrupted.into())
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Reads what notices are left, once the receiver has all.
    pub fn close(mut self, socket: &Socket) -> Option<Zerocopy> {
        let Self::Zerocopy(_, account) = &mut self else { return None };
        // All data is acknowledged, so notices can only be on their way through this kernel: a few looks are enough.
        for _ in 0..10 {
            if reap(socket, account).is_err() || account.completed >= account.sends {
                break;
            }
            wait(socket);
        }
        Some(*account)
    }
}

fn file_of(block: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("netbench-block", MemfdFlags::CLOEXEC)?);
    io::Write::write_all(&mut file, block)?;
    Ok(file)
}

/// A notice in the error queue is told as an error of the socket.
fn wait(socket: &Socket) {
    let _ = poll(&mut [PollFd::new(socket, PollFlags::ERR)], Some(&WAIT));
}

fn reap(socket: &Socket, account: &mut Zerocopy) -> io::Result<()> {
    while let Some(done) = sys::next_completion(socket.as_fd())? {
        account.completed += done.sends;
        if done.copied {
            account.copied += done.sends;
        }
    }
    Ok(())
}
