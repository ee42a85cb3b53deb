//! `TCP_ZEROCOPY_RECEIVE`: pages of what a connection received, mapped instead of copied.

use std::{
    ffi::c_void,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
};

/// `struct tcp_zerocopy_receive` (include/uapi/linux/tcp.h) up to its flags; the kernel takes any known length.
#[derive(Default)]
#[repr(C)]
struct Request {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
}

/// What a look at the connection brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// Bytes in whole pages that are mapped now, and gone from the queue.
    pub bytes: usize,
    /// Bytes that come next and cannot be mapped: they must be read.
    pub must_copy: usize,
}

/// Address space of a connection, into which the kernel maps the pages that it received. What the next call maps takes the place of
/// what the last one did.
pub struct Mapping {
    address: NonNull<c_void>,
    size: usize,
}

// SAFETY: the address space is this value's alone, and nothing reads it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Address space for so many bytes of this connection, whole pages.
    ///
    /// # Errors
    /// The kernel cannot map connections of this kind.
    pub fn new(fd: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; it holds no page yet.
        let map = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        let map = if ptr::eq(map, libc::MAP_FAILED) { None } else { NonNull::new(map) };
        Ok(Self { address: map.ok_or_else(io::Error::last_os_error)?, size })
    }

    /// Maps what has come, without waiting.
    ///
    /// # Errors
    /// Those of the socket; the end of the connection is `EIO`.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<Mapped> {
        const TCP_ZEROCOPY_RECEIVE: i32 = 35;
        let mut request =
            Request { address: self.address.as_ptr() as u64, length: self.size as u32, ..Request::default() };
        let mut length = mem::size_of::<Request>() as libc::socklen_t;
        // SAFETY: pointer and length describe `request`, of which the kernel reads and writes at most that much; the address in it is
        // that of our mapping, to which no reference exists.
        let result = unsafe {
            let value = (&raw mut request).cast();
            libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, value, &raw mut length)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        if request.err != 0 && request.length == 0 && request.recv_skip_hint == 0 {
            return Err(io::Error::from_raw_os_error(request.err.saturating_abs()));
        }
        Ok(Mapped { bytes: request.length as usize, must_copy: request.recv_skip_hint as usize })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is as it was made, and no reference to it exists.
        unsafe { libc::munmap(self.address.as_ptr(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn what_cannot_be_mapped_is_said_and_an_end_is_an_error() {
        assert_eq!(size_of::<Request>(), 40);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let mut mapping = Mapping::new(receiver.as_fd(), 1 << 20).unwrap();
        assert_eq!(mapping.receive(receiver.as_fd()).unwrap(), Mapped { bytes: 0, must_copy: 0 });
        sender.write_all(&[7; 100]).unwrap();
        receiver.peek(&mut [0; 1]).unwrap();
        assert_eq!(mapping.receive(receiver.as_fd()).unwrap(), Mapped { bytes: 0, must_copy: 100 });
        std::io::Read::read_exact(&mut &receiver, &mut [0; 100]).unwrap();
        drop(sender);
        receiver.peek(&mut [0; 1]).unwrap();
        assert_eq!(mapping.receive(receiver.as_fd()).unwrap_err().raw_os_error(), Some(libc::EIO));
        // Only connections can be mapped.
        assert!(Mapping::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().as_fd(), 4096).is_err());
    }
}
