//! Packet sockets: binding, filter, and the ring of frames to be sent.

use std::{
    ffi::c_void,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering::*},
};

use super::set_option;

/// Number and hardware address of the interface that has an address.
pub fn interface_of(address: IpAddr) -> io::Result<Option<(i32, [u8; 6])>> {
    let mut first = ptr::null_mut();
    // SAFETY: on success the call gives a list that is freed below.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut named, mut links) = (None, Vec::new());
    let mut at = first;
    while let Some(entry) = NonNull::new(at) {
        // SAFETY: every entry of the list lives until it is freed.
        let entry = unsafe { entry.as_ref() };
        // SAFETY: a name is a C string, an address a structure of its family; both live as long as the entry.
        unsafe {
            let name = std::ffi::CStr::from_ptr(entry.ifa_name).to_owned();
            if let Some(socket_address) = NonNull::new(entry.ifa_addr) {
                match i32::from(socket_address.as_ref().sa_family) {
                    libc::AF_PACKET => {
                        let link = socket_address.cast::<libc::sockaddr_ll>().read_unaligned();
                        let [a, b, c, d, e, f, ..] = link.sll_addr;
                        links.push((name, link.sll_ifindex, [a, b, c, d, e, f]));
                    }
                    family if ip_of(family, socket_address) == Some(address) => named = Some(name),
                    _ => {}
                }
            }
        }
        at = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is freed once; nothing of it is kept.
    unsafe { libc::freeifaddrs(first) };
    Ok(links.into_iter().find(|(name, ..)| Some(name) == named.as_ref()).map(|(_, index, mac)| (index, mac)))
}

/// The address in a socket address of this family.
///
/// # Safety
/// The pointer is to a socket address of the family.
unsafe fn ip_of(family: i32, address: NonNull<libc::sockaddr>) -> Option<IpAddr> {
    match family {
        libc::AF_INET => {
            // SAFETY: as the caller promised.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as the caller promised.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Binds a packet socket to an interface; of what comes in it gets frames of this EtherType, of 0 none.
pub fn bind_packet(fd: BorrowedFd<'_>, index: i32, ether_type: u16) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address = unsafe { mem::zeroed::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`, which the kernel only reads.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets in only packets that have these big-endian words at these offsets.
pub fn accept_words(fd: BorrowedFd<'_>, words: [(u32, u32); 2]) -> io::Result<()> {
    // include/uapi/linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let [first, second] = words;
    let mut program = [
        step(LOAD, 0, 0, first.0),
        step(EQUAL, 0, 3, first.1),
        step(LOAD, 0, 0, second.0),
        step(EQUAL, 0, 1, second.1),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the structure and the program it points to live through the call, which copies both.
    let result = unsafe {
        let value = (&raw const filter).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of the shared memory, about.
const MEMORY: usize = 4 << 20;
/// Memory is given in blocks of so much, or of a frame's room.
const BLOCK: usize = 64 << 10;
/// `TPACKET_ALIGN(sizeof(struct tpacket2_hdr))`: where a frame to be sent begins in its room.
const DATA: usize = 32;
/// States of a room (include/uapi/linux/if_packet.h).
const AVAILABLE: u32 = 0;
const SEND_REQUEST: u32 = 1;

/// `PACKET_TX_RING`: frames in memory that is shared with the kernel.
pub struct TxRing {
    map: NonNull<u8>,
    size: usize,
    room: usize,
    count: usize,
    length: usize,
    next: usize,
}

// SAFETY: the mapping is this value's alone; the kernel's side of it is reached through atomics.
unsafe impl Send for TxRing {}

impl TxRing {
    /// Room for frames of `length` bytes that begin with `prefix`.
    pub fn new(fd: BorrowedFd<'_>, length: usize, prefix: &[u8]) -> io::Result<Self> {
        const PACKET_VERSION: i32 = 10;
        const PACKET_TX_RING: i32 = 13;
        const TPACKET_V2: i32 = 1;
        let room = (DATA + length).next_power_of_two();
        let (block, count) = (BLOCK.max(room), MEMORY / room);
        set_option(fd, libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2.to_ne_bytes())?;
        // struct tpacket_req: block size, blocks, frame size, frames.
        let mut request = [0; 16];
        let fields = [block, count * room / block, room, count];
        for (bytes, field) in request.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&(field as u32).to_ne_bytes());
        }
        set_option(fd, libc::SOL_PACKET, PACKET_TX_RING, &request)?;
        let size = count * room;
        // SAFETY: a new mapping of the whole ring, at an address of the kernel's choice.
        let map = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), size, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        let map = if ptr::eq(map, libc::MAP_FAILED) { None } else { NonNull::new(map.cast::<u8>()) };
        let map = map.ok_or_else(io::Error::last_os_error)?;
        let mut ring = Self { map, size, room, count, length, next: 0 };
        for i in 0..count {
            let frame = ring.frame(i);
            // Not zeros: a page of zeros may be shared or compressed on the way.
            frame.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at.wrapping_mul(167) >> 2) as u8);
            frame[..prefix.len()].copy_from_slice(prefix);
        }
        Ok(ring)
    }

    fn status(&self, i: usize) -> &AtomicU32 {
        // SAFETY: `tp_status` is the first word of the room, aligned to 16, and lives as long as the mapping.
        unsafe { &*self.map.as_ptr().add(i * self.room).cast::<AtomicU32>() }
    }

    /// The bytes of a frame that is ours.
    fn frame(&mut self, i: usize) -> &mut [u8] {
        // SAFETY: within the room, and `&mut self` excludes another reference; the kernel only reads it, and only while its
        // state is another than available.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(i * self.room + DATA), self.length) }
    }

    /// Lets `fill` change the next frame and gives it to the kernel; false when there is no room.
    #[inline]
    pub fn write(&mut self, fill: impl FnOnce(&mut [u8])) -> bool {
        let i = self.next;
        if self.status(i).load(Acquire) != AVAILABLE {
            return false;
        }
        fill(self.frame(i));
        // SAFETY: `tp_len` is the second word of the room, which is ours until the state says otherwise.
        unsafe { self.map.as_ptr().add(i * self.room + 4).cast::<u32>().write(self.length as u32) };
        self.status(i).store(SEND_REQUEST, Release);
        self.next = if i + 1 == self.count { 0 } else { i + 1 };
        true
    }

    /// Has the kernel sent all?
    pub fn is_empty(&self) -> bool {
        (0..self.count).all(|i| self.status(i).load(Acquire) == AVAILABLE)
    }

    /// Has the kernel send what is there; at once, or with waiting until it is gone.
    pub fn kick(&self, fd: BorrowedFd<'_>, at_once: bool) -> io::Result<()> {
        let flags = if at_once { libc::MSG_DONTWAIT } else { 0 };
        // SAFETY: no buffer and no address: the frames are in the ring.
        let sent = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null::<c_void>(), 0, flags, ptr::null(), 0) };
        if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for TxRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is as it was made, and no reference to it is left.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_by_its_address() {
        let (index, mac) = interface_of("127.0.0.1".parse().unwrap()).unwrap().unwrap();
        assert!(index > 0);
        assert_eq!(mac, [0; 6]);
        assert_eq!(interface_of("192.0.2.77".parse().unwrap()).unwrap(), None);
    }
}
