//! The engine's unsafe code, and nothing else: batched datagram calls, raw socket options, per-thread usage.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

use super::spec::DATAGRAM_HEADER;

/// Messages of one `sendmmsg` or `recvmmsg` call.
pub const BATCH: usize = 64;

/// Buffers of a batch of datagrams: a header of its own for each, one payload area for all.
///
/// On the way out all datagrams carry the same bytes behind their header; on the way in the kernel copies each payload over
/// the one before. The copy is paid for in full, only the cache footprint is that of one datagram.
pub struct Batch {
    headers: NonNull<[[u8; DATAGRAM_HEADER]; BATCH]>,
    iovecs: NonNull<[[libc::iovec; 2]; BATCH]>,
    messages: NonNull<[libc::mmsghdr; BATCH]>,
    payload: NonNull<[u8]>,
}

// SAFETY: all four pointers are to heap blocks that this value alone owns.
unsafe impl Send for Batch {}

impl Batch {
    /// Buffers for datagrams of `length` bytes (at least the header's), on the sockets' connected addresses.
    pub fn new(length: usize) -> Self {
        let tail = length.saturating_sub(DATAGRAM_HEADER);
        let headers = leak(Box::new([[0; DATAGRAM_HEADER]; BATCH]));
        // Not zeros: a page of zeros may be shared or compressed on the way.
        let filler: Box<[u8]> = (0..tail).map(|i| (i.wrapping_mul(167) >> 2) as u8).collect();
        let payload = leak(filler);
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let iovecs = leak(Box::new([[empty; 2]; BATCH]));
        // SAFETY: an all-zero mmsghdr is valid: null pointers and zero lengths.
        let messages = leak(Box::new(unsafe { mem::zeroed::<[libc::mmsghdr; BATCH]>() }));
        for i in 0..BATCH {
            // SAFETY: i < BATCH, the blocks are live and nobody else knows them yet.
            unsafe {
                let pair = &raw mut (*iovecs.as_ptr())[i];
                (*pair)[0] =
                    libc::iovec { iov_base: (&raw mut (*headers.as_ptr())[i]).cast(), iov_len: DATAGRAM_HEADER };
                (*pair)[1] = libc::iovec { iov_base: payload.as_ptr().cast(), iov_len: tail };
                let header = &raw mut (*messages.as_ptr())[i].msg_hdr;
                (*header).msg_iov = pair.cast();
                (*header).msg_iovlen = if tail == 0 { 1 } else { 2 };
            }
        }
        Self { headers, iovecs, messages, payload }
    }

    /// The header of message `i`.
    #[inline]
    pub fn header(&mut self, i: usize) -> &mut [u8; DATAGRAM_HEADER] {
        assert!(i < BATCH);
        // SAFETY: in bounds; `&mut self` excludes a call in progress and any other reference.
        unsafe { &mut (*self.headers.as_ptr())[i] }
    }

    /// Bytes of message `i` after [`Batch::receive`].
    #[inline]
    pub fn received_len(&self, i: usize) -> usize {
        assert!(i < BATCH);
        // SAFETY: in bounds, and no call is in progress while `self` is borrowed.
        unsafe { (*self.messages.as_ptr())[i].msg_len as usize }
    }

    /// Sends messages `from..to`; how many of them went.
    pub fn send(&mut self, fd: BorrowedFd<'_>, from: usize, to: usize) -> io::Result<usize> {
        assert!(from < to && to <= BATCH);
        // SAFETY: the range is in bounds; every pointer in the messages is to a block that lives as long as `self`.
        let sent = unsafe {
            let first = self.messages.as_ptr().cast::<libc::mmsghdr>().add(from);
            libc::sendmmsg(fd.as_raw_fd(), first, (to - from) as u32, libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for one message and takes what else is there, up to [`BATCH`].
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: as in `send`; the iovecs' lengths are those of their blocks, and overlapping payloads are only bytes.
        let received = unsafe {
            let first = self.messages.as_ptr().cast::<libc::mmsghdr>();
            libc::recvmmsg(fd.as_raw_fd(), first, BATCH as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: each came from `leak` and is given back once.
        unsafe {
            drop(Box::from_raw(self.headers.as_ptr()));
            drop(Box::from_raw(self.iovecs.as_ptr()));
            drop(Box::from_raw(self.messages.as_ptr()));
            drop(Box::from_raw(self.payload.as_ptr()));
        }
    }
}

fn leak<T: ?Sized>(value: Box<T>) -> NonNull<T> {
    NonNull::from(Box::leak(value))
}

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

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_batch_crosses_a_socket_pair_whole() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        for length in [DATAGRAM_HEADER, 17, 1400] {
            let (mut out, mut back) = (Batch::new(length), Batch::new(length));
            for i in 0..10 {
                out.header(i)[0] = i as u8;
            }
            assert_eq!(out.send(a.as_fd(), 2, 10).unwrap(), 8);
            let got = back.receive(b.as_fd()).unwrap();
            assert_eq!(got, 8);
            for i in 0..got {
                assert_eq!((back.header(i)[0], back.received_len(i)), (i as u8 + 2, length));
            }
        }
    }

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
