//! The socket's error queue, as far as `MSG_ZEROCOPY` uses it.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `SO_EE_ORIGIN_ZEROCOPY` of include/uapi/linux/errqueue.h.
const ORIGIN: u8 = 5;
/// `SO_EE_CODE_ZEROCOPY_COPIED`: done, but by copying.
const COPIED: u8 = 1;

/// A run of `MSG_ZEROCOPY` sends that the kernel is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// How many.
    pub sends: u64,
    /// They were copied after all.
    pub copied: bool,
}

/// `struct sock_extended_err`.
#[derive(Clone, Copy)]
#[repr(C)]
struct ExtendedError {
    errno: u32,
    origin: u8,
    _kind: u8,
    code: u8,
    _pad: u8,
    info: u32,
    data: u32,
}

#[repr(C, align(8))]
struct Control([u8; 128]);

/// The next entry of the error queue, without waiting; `None` when it is empty. Entries of another kind count as none sent.
pub fn next_completion(fd: BorrowedFd<'_>) -> io::Result<Option<Completion>> {
    let mut control = Control([0; 128]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message = unsafe { mem::zeroed::<libc::msghdr>() };
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message has no payload buffer, and its control buffer is `control` with its length.
    let outcome = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    if outcome < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    #[allow(clippy::unnecessary_cast, reason = "musl has 32 bits here, glibc the width of a pointer")]
    let told = (message.msg_controllen as usize).min(128);
    Ok(Some(completion(&control.0[..told])))
}

fn completion(control: &[u8]) -> Completion {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let none = Completion { sends: 0, copied: false };
    let Some(bytes) = control.get(HEADER..HEADER + size_of::<ExtendedError>()) else { return none };
    // SAFETY: the slice is as long as the structure, and any bits are one.
    let error = unsafe { bytes.as_ptr().cast::<ExtendedError>().read_unaligned() };
    if error.origin != ORIGIN || error.errno != 0 {
        return none;
    }
    // Both ends belong to the range; the numbers wrap around.
    let sends = u64::from(error.data.wrapping_sub(error.info)) + 1;
    Completion { sends, copied: error.code & COPIED != 0 }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;
    use crate::traffic::sys::{send_zerocopy, set_option};

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(size_of::<ExtendedError>(), 16);
        assert_eq!((mem::offset_of!(ExtendedError, origin), mem::offset_of!(ExtendedError, info)), (4, 8));
        assert_eq!(completion(&[]), Completion { sends: 0, copied: false });
    }

    #[test]
    fn every_send_is_reported_and_loopback_copies() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        set_option(sender.as_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1i32.to_ne_bytes()).unwrap();
        assert_eq!(next_completion(sender.as_fd()).unwrap(), None);
        let block = vec![7u8; 20_000];
        let sent: usize = (0..3).map(|_| send_zerocopy(sender.as_fd(), &block).unwrap()).sum();
        receiver.read_exact(&mut vec![0; sent]).unwrap();
        let (mut done, deadline) = (0, std::time::Instant::now() + std::time::Duration::from_secs(5));
        while done < 3 {
            if let Some(completion) = next_completion(sender.as_fd()).unwrap() {
                assert!(completion.copied);
                done += completion.sends;
            }
            assert!(std::time::Instant::now() < deadline);
        }
    }
}
