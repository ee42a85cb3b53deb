//! A small blocking netlink transport: one request, its answers, its acknowledgement.
//!
//! It sends bytes, so that messages the typed codec lacks (ethtool, qdiscs) go the same way as those it has. Requests
//! are not pipelined: RTNL is taken for each message, so only system calls would be saved, and the kernel drops
//! acknowledgements that do not fit the receive buffer.

pub mod generic;
pub mod nla;
pub(crate) mod packet;
mod parse;
pub mod socket_errors;
pub(crate) mod sys;

use std::{
    cell::RefCell,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use netlink_packet_core::Emitable;
use netlink_sys::SocketAddr;
use rustix::net::{RecvFlags, SendFlags, sockopt};

pub use parse::Failure;
use parse::{Answer, read_datagram};

/// How long an answer may take. RTNL can be held for a quarter of a second by a big namespace clean-up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often a torn dump is repeated.
const DUMP_TRIES: u32 = 16;
/// A dump's datagram is 32 KiB at most (`netlink_dump()` in net/netlink/af_netlink.c); a single big reply (a NIC with
/// many VFs) can be larger.
const RECEIVE_BUFFER: usize = 128 << 10;

/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub const ACK: u16 = 0x4;
/// `NLM_F_REPLACE`, of requests that make things.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_ROOT | NLM_F_MATCH`, of requests that read.
pub const DUMP: u16 = 0x300;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; RECEIVE_BUFFER]);
}

/// A netlink socket, connected to the kernel.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    port: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Absent before Linux 4.12, 4.2 and 4.20: without them the errors are terser and dumps unfiltered.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0, port })
    }

    /// Sends a request and waits for its acknowledgement; returns the bodies of the answers before it.
    pub fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        Ok(self.exchange(kind, REQUEST | ACK | flags, body)?.bodies)
    }

    /// As [`Socket::request`], with a typed body.
    pub fn send(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<Vec<Vec<u8>>, Failure> {
        self.request(kind, flags, &bytes(body))
    }

    /// Reads a whole table. A dump that was torn by a change meanwhile is repeated.
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        until_whole(|| self.exchange(kind, REQUEST | DUMP, body))
    }

    fn exchange(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Answer, Failure> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let message = frame(kind, flags, self.sequence, body);
        rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, &message, SendFlags::empty()))
            .map_err(|errno| Failure::Io(errno.into()))?;
        let mut answer = Answer::default();
        let deadline = Instant::now() + ANSWER_WITHIN;
        BUFFER.with_borrow_mut(|buffer| {
            while !answer.complete {
                let received = rustix::io::retry_on_intr(|| {
                    rustix::net::recv(self.socket.as_fd(), &mut buffer[..], RecvFlags::TRUNC)
                });
                let (kept, length) = match received {
                    Ok(lengths) => lengths,
                    Err(rustix::io::Errno::NOBUFS) => return Err(Failure::Overrun),
                    Err(rustix::io::Errno::AGAIN) => return Err(Failure::Timeout(ANSWER_WITHIN)),
                    Err(errno) => return Err(Failure::Io(errno.into())),
                };
                if length > kept {
                    return Err(Failure::Malformed(format!("a datagram of {length} bytes was cut at {kept}")));
                }
                read_datagram(&buffer[..kept], self.sequence, self.port, &mut answer)?;
                if Instant::now() > deadline {
                    return Err(Failure::Timeout(ANSWER_WITHIN));
                }
            }
            Ok(())
        })?;
        Ok(answer)
    }
}

/// Asks again while the answer is torn (`NLM_F_DUMP_INTR`): something changed while the kernel went through its list,
/// and entries may be missing or there twice.
fn until_whole(mut ask: impl FnMut() -> Result<Answer, Failure>) -> Result<Vec<Vec<u8>>, Failure> {
    for _ in 0..DUMP_TRIES {
        let answer = ask()?;
        if !answer.torn {
            return Ok(answer.bodies);
        }
    }
    Err(Failure::Torn { tries: DUMP_TRIES })
}

/// The wire form of a typed message body.
pub fn bytes(body: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; body.buffer_len()];
    body.emit(&mut bytes);
    bytes
}

/// `struct nlmsghdr` and body.
fn frame(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = 16 + body.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_dump_is_asked_for_again_and_never_taken() {
        let mut asked = 0;
        let mut torn_twice = || {
            asked += 1;
            Ok(Answer { bodies: vec![vec![asked]], torn: asked < 3, complete: true })
        };
        assert_eq!(until_whole(&mut torn_twice).unwrap(), [[3]]);
        let mut asked = 0;
        let ever_torn = || {
            asked += 1;
            Ok(Answer { bodies: vec![vec![1]], torn: true, complete: true })
        };
        assert!(matches!(until_whole(ever_torn), Err(Failure::Torn { tries: DUMP_TRIES })));
        assert_eq!(asked, DUMP_TRIES);
    }
}
