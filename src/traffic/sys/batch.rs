//! Buffers of many datagrams for one `sendmmsg` or `recvmmsg`, with the size of the segments in a message.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

/// Room for one `UDP_GRO` control message and whatever else a socket may be told to give.
const CONTROL: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Messages of equal room, one after the other in memory. Pages that no message touches are never made.
pub struct Batch {
    stride: usize,
    payload: NonNull<[u8]>,
    iovecs: NonNull<[libc::iovec]>,
    messages: NonNull<[libc::mmsghdr]>,
    controls: NonNull<[Control]>,
}

// SAFETY: all pointers are to heap blocks that this value alone owns.
unsafe impl Send for Batch {}

impl Batch {
    /// `count` messages of up to `stride` bytes, to and from the socket's connected address.
    pub fn new(count: usize, stride: usize) -> Self {
        assert!(count > 0 && stride > 0);
        let payload = leak(vec![0u8; count * stride].into_boxed_slice());
        let controls = leak(vec![Control([0; CONTROL]); count].into_boxed_slice());
        let base = payload.as_ptr().cast::<u8>();
        let iovec = |i: usize| libc::iovec { iov_base: base.wrapping_add(i * stride).cast(), iov_len: stride };
        let iovecs = leak((0..count).map(iovec).collect::<Box<[_]>>());
        let message = |i: usize| {
            // SAFETY: an all-zero mmsghdr is valid: null pointers and zero lengths.
            let mut message = unsafe { mem::zeroed::<libc::mmsghdr>() };
            message.msg_hdr.msg_iov = iovecs.as_ptr().cast::<libc::iovec>().wrapping_add(i);
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = leak((0..count).map(message).collect::<Box<[_]>>());
        Self { stride, payload, iovecs, messages, controls }
    }

    /// How many messages it has.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// The whole room of message `i`.
    #[inline]
    pub fn slot(&mut self, i: usize) -> &mut [u8] {
        // SAFETY: the block is live and its own; `&mut self` excludes a call in progress and any other reference.
        let payload = unsafe { self.payload.as_mut() };
        &mut payload[i * self.stride..][..self.stride]
    }

    /// How much of message `i` the next [`Batch::send`] sends.
    #[inline]
    pub fn set_len(&mut self, i: usize, length: usize) {
        assert!(length <= self.stride);
        // SAFETY: as in `slot`.
        let iovecs = unsafe { self.iovecs.as_mut() };
        iovecs[i].iov_len = length;
    }

    /// Sends messages `from..to`; how many of them went.
    pub fn send(&mut self, fd: BorrowedFd<'_>, from: usize, to: usize) -> io::Result<usize> {
        assert!(from < to && to <= self.count());
        // SAFETY: the range is in bounds; every pointer in the messages is to a block that lives as long as `self`, and
        // every iovec's length is within its slot.
        let sent = unsafe {
            let first = self.messages.as_ptr().cast::<libc::mmsghdr>().add(from);
            libc::sendmmsg(fd.as_raw_fd(), first, (to - from) as u32, libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for one message and takes what else is there, up to `most`.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let most = most.clamp(1, self.count());
        for i in 0..most {
            // SAFETY: both blocks are live and their own, and no call is in progress while `self` is borrowed.
            let (messages, controls) = unsafe { (self.messages.as_mut(), self.controls.as_mut()) };
            messages[i].msg_hdr.msg_control = (&raw mut controls[i]).cast();
            messages[i].msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: as in `send`; receiving buffers always have their whole slot, control buffers their whole room.
        let received = unsafe {
            let first = self.messages.as_ptr().cast::<libc::mmsghdr>();
            libc::recvmmsg(fd.as_raw_fd(), first, most as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Message `i` after [`Batch::receive`]: its bytes, and the size of the datagrams in it (the last may be shorter).
    #[inline]
    pub fn received(&mut self, i: usize) -> (&[u8], usize) {
        // SAFETY: as in `slot`; the kernel wrote `msg_len` and `msg_controllen`.
        let (message, control) = unsafe { (&self.messages.as_ref()[i], &self.controls.as_ref()[i]) };
        let length = (message.msg_len as usize).min(self.stride);
        #[allow(clippy::unnecessary_cast, reason = "musl has 32 bits here, glibc the width of a pointer")]
        let told = (message.msg_hdr.msg_controllen as usize).min(CONTROL);
        let segment = gro_size(&control.0[..told]).unwrap_or(length).max(1);
        (&self.slot(i)[..length], segment)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: each came from `leak` and is given back once.
        unsafe {
            drop(Box::from_raw(self.payload.as_ptr()));
            drop(Box::from_raw(self.iovecs.as_ptr()));
            drop(Box::from_raw(self.messages.as_ptr()));
            drop(Box::from_raw(self.controls.as_ptr()));
        }
    }
}

fn leak<T: ?Sized>(value: Box<T>) -> NonNull<T> {
    NonNull::from(Box::leak(value))
}

/// The value of the `UDP_GRO` control message, which the kernel gives only with a message of several datagrams.
#[inline]
fn gro_size(control: &[u8]) -> Option<usize> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    if control.len() < HEADER + 4 {
        return None;
    }
    // SAFETY: the bytes are as many as a cmsghdr has, and any bits are one.
    let header = unsafe { control.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    let is_gro = (header.cmsg_level, header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO);
    let value = i32::from_ne_bytes(control[HEADER..HEADER + 4].try_into().expect("four bytes"));
    is_gro.then_some(usize::try_from(value).ok()?)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;
    use crate::traffic::sys::set_option;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        (a, b)
    }

    #[test]
    fn structures_are_as_the_kernel_has_them() {
        assert_eq!((size_of::<Control>(), align_of::<Control>()), (CONTROL, 8));
        assert_eq!(size_of::<libc::iovec>(), 2 * size_of::<usize>());
        assert_eq!(mem::offset_of!(libc::mmsghdr, msg_len), size_of::<libc::msghdr>());
        #[cfg(target_pointer_width = "64")]
        assert_eq!((size_of::<libc::cmsghdr>(), size_of::<libc::mmsghdr>()), (16, 64));
    }

    #[test]
    fn a_batch_crosses_a_socket_pair_whole() {
        let (a, b) = pair();
        for length in [1, 17, 1400] {
            let (mut out, mut back) = (Batch::new(10, length), Batch::new(64, length));
            for i in 0..10 {
                out.slot(i).fill(i as u8);
            }
            assert_eq!(out.send(a.as_fd(), 2, 10).unwrap(), 8);
            assert_eq!(back.receive(b.as_fd(), 64).unwrap(), 8);
            for i in 0..8 {
                assert_eq!(back.received(i), (&vec![i as u8 + 2; length][..], length));
            }
        }
    }

    #[test]
    fn segments_of_a_message_come_with_their_size() {
        let (a, b) = pair();
        set_option(a.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &100i32.to_ne_bytes()).unwrap();
        set_option(b.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &1i32.to_ne_bytes()).unwrap();
        let (mut out, mut back) = (Batch::new(2, 1000), Batch::new(4, 65536));
        out.set_len(0, 350);
        out.set_len(1, 40);
        assert_eq!(out.send(a.as_fd(), 0, 2).unwrap(), 2);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let count = back.receive(b.as_fd(), 4).unwrap();
            for i in 0..count {
                let (bytes, segment) = back.received(i);
                seen.push((bytes.len(), segment));
            }
        }
        assert_eq!(seen, [(350, 100), (40, 40)]);
    }

    #[test]
    fn foreign_control_messages_are_passed_over() {
        assert_eq!(gro_size(&[]), None);
        assert_eq!(gro_size(&[0; 64]), None);
        assert_eq!(gro_size(&[0xff; 19]), None);
    }
}
