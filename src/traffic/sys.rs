//! The engine's unsafe code, and nothing else: batched datagram calls, raw socket options, per-thread usage.

mod batch;
mod errors;
mod mapping;
mod packet;
#[cfg_attr(not(feature = "io_uring"), path = "sys/no_uring.rs")]
mod uring;

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

pub use self::{
    batch::Batch,
    errors::next_completion,
    mapping::Mapping,
    packet::{TxRing, accept_words, bind_packet, interface_of},
    uring::{ReceiveRing, SendRing},
};

/// Reads a socket option into `buffer`; how many bytes the kernel filled.
pub fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `buffer`; the kernel writes at most that much.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, buffer.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 { Ok((length as usize).min(buffer.len())) } else { Err(io::Error::last_os_error()) }
}

/// Sets a socket option from the bytes of its value.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// User and system time of the calling thread, nanoseconds.
pub fn thread_usage() -> (u64, u64) {
    // SAFETY: an all-zero rusage is valid, and the call fills one.
    let usage = unsafe {
        let mut usage = mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    let nanos = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
    (nanos(usage.ru_utime), nanos(usage.ru_stime))
}

/// Bytes that a connection's peer has not acknowledged, its own end among them (`SIOCOUTQ`).
pub fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, which lives through the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(u64::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: the call has no argument and cannot fail.
    unsafe { libc::gettid() }
}

/// Makes [`interrupt`] end a blocked call with `EINTR`, once for the process: `SIGURG`, which nobody else uses and which does
/// nothing where no handler is, gets a handler that does nothing, without `SA_RESTART`.
pub fn interruptible() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    static INSTALLED: std::sync::OnceLock<Result<(), i32>> = std::sync::OnceLock::new();
    let install = || {
        // SAFETY: an all-zero sigaction is valid (no flags, empty mask); the handler touches nothing.
        let result = unsafe {
            let mut action = mem::zeroed::<libc::sigaction>();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
    };
    INSTALLED.get_or_init(install).map_err(io::Error::from_raw_os_error)
}

/// Interrupts the blocked call of a thread of this process; one that is gone, or 0, is passed over.
pub fn interrupt(thread: i32) {
    if thread > 0 {
        // SAFETY: plain numbers; a thread that is gone is ESRCH, and another one of this process that has got its number
        // since has the same handler.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGURG) };
    }
}

/// `send` with `MSG_ZEROCOPY`. The kernel keeps hold of the block's pages until it says so by [`next_completion`]: bytes
/// changed before that may go out changed.
pub fn send_zerocopy(fd: BorrowedFd<'_>, block: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_ZEROCOPY | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length describe `block`, whose pages the kernel pins and only reads.
    let sent = unsafe { libc::send(fd.as_raw_fd(), block.as_ptr().cast(), block.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_thread_knows_what_it_cost() {
        let before = thread_usage();
        let mut x = 1u64;
        while thread_usage().0 + thread_usage().1 <= before.0 + before.1 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(get_option(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd(), 1, 12345, &mut [0; 4]).is_err());
    }
}
