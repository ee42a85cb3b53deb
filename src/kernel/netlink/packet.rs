//! The unsafe calls of AF_PACKET: `bind` to an interface, `recvmsg` with auxiliary data, `sendto`, memberships.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// `PACKET_AUXDATA` of a frame: `struct tpacket_auxdata`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Auxdata {
    /// `TP_STATUS_*`
    pub status: u32,
    /// Length on the wire.
    pub length: u32,
    /// `tp_vlan_tci`
    pub tci: u16,
    /// `tp_vlan_tpid`
    pub tpid: u16,
}

/// What was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Bytes written to the buffer, the virtio header included.
    pub bytes: usize,
    /// Auxiliary data.
    pub auxdata: Auxdata,
    /// `PACKET_OUTGOING`?
    pub outgoing: bool,
}

fn result(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as i32;
    address
}

/// A raw packet socket that sees nothing until it is bound: protocol 0.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the new descriptor is owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(result(libc::socket(libc::AF_PACKET, flags, 0))?)) }
}

/// Binds to an interface; from here on all its frames come when `all`, none otherwise.
pub(crate) fn bind(socket: impl AsFd, index: u32, all: bool) -> io::Result<()> {
    let address = address(index, if all { libc::ETH_P_ALL as u16 } else { 0 });
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`, which lives through the call.
    result(unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(())
}

/// One frame; `WouldBlock` where none waits.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    // Room for one control message of 20 bytes, aligned as cmsghdr must be.
    let mut control = [0_u64; 16];
    let mut from = address(0, 0);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer of the message describes a live buffer of the length that stands beside it.
    let bytes = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
    let mut auxdata = Auxdata::default();
    // SAFETY: the kernel has written well-formed control messages within `control` and set their total length; CMSG_*
    // stay within it. The data is read unaligned and only where its length is that of the structure.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let wanted = size_of::<libc::tpacket_auxdata>();
            let fits = (*header).cmsg_len as usize >= libc::CMSG_LEN(wanted as u32) as usize;
            if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA && fits {
                let data: libc::tpacket_auxdata =
                    libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                auxdata = Auxdata {
                    status: data.tp_status,
                    length: data.tp_len,
                    tci: data.tp_vlan_tci,
                    tpid: data.tp_vlan_tpid,
                };
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received { bytes: bytes.min(buffer.len()), auxdata, outgoing: from.sll_pkttype == 4 })
}

/// Sends what the buffer holds by the interface that the socket is bound to.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `bytes`, which the kernel only reads.
    let sent =
        unsafe { libc::send(socket.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `PACKET_STATISTICS`: frames seen and frames dropped since the last call.
pub(crate) fn statistics(socket: impl AsFd) -> io::Result<(u32, u32)> {
    // SAFETY: an all-zero tpacket_stats is valid; pointer and length describe it.
    let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: as above.
    result(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut length,
        )
    })?;
    Ok((stats.tp_packets, stats.tp_drops))
}

/// What an interface lets in besides frames to itself, for as long as the socket is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Everything (`PACKET_MR_PROMISC`).
    Promiscuous,
    /// Every group (`PACKET_MR_ALLMULTI`).
    AllMulticast,
    /// Another unicast address of its own (`PACKET_MR_UNICAST`).
    Address([u8; 6]),
}

/// Joins; the kernel leaves when the socket is closed, also by the death of the process (`packet_flush_mclist()`).
pub(crate) fn join(socket: impl AsFd, index: u32, membership: Membership) -> io::Result<()> {
    // SAFETY: an all-zero packet_mreq is valid.
    let mut request: libc::packet_mreq = unsafe { mem::zeroed() };
    request.mr_ifindex = index as i32;
    request.mr_type = match membership {
        Membership::Promiscuous => libc::PACKET_MR_PROMISC,
        Membership::AllMulticast => libc::PACKET_MR_ALLMULTI,
        Membership::Address(address) => {
            request.mr_alen = 6;
            request.mr_address[..6].copy_from_slice(&address);
            libc::PACKET_MR_UNICAST
        }
    } as u16;
    // SAFETY: pointer and length describe `request`, which lives through the call; the descriptor is borrowed.
    result(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    })?;
    Ok(())
}
