//! Sockets whose packets are never fragmented and never shortened by what the kernel remembers of the path.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use crate::kernel::netlink::sys::set_int_option;

/// How a datagram went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It left.
    Gone,
    /// EMSGSIZE from the own stack.
    TooLarge,
}

/// A socket bound to `address` in the calling thread's namespace. `IP_PMTUDISC_PROBE` sets DF and ignores the cached
/// path MTU, so that only the interface's own MTU can refuse.
pub(super) fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
    match address {
        IpAddr::V4(_) => set_int_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?,
        IpAddr::V6(_) => {
            set_int_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
            set_int_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
        }
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends; what the network says of an earlier packet (ICMP errors) is no error of this one.
pub(super) fn send(socket: &UdpSocket, payload: &[u8]) -> io::Result<Sent> {
    for _ in 0..4 {
        match socket.send(payload) {
            Ok(_) => return Ok(Sent::Gone),
            Err(error) => match error.raw_os_error() {
                Some(libc::EMSGSIZE) => return Ok(Sent::TooLarge),
                Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EINTR) => {}
                Some(libc::EAGAIN | libc::ENOBUFS) => return Ok(Sent::Gone),
                _ => return Err(error),
            },
        }
    }
    Ok(Sent::Gone)
}

/// One datagram, if one is there.
pub(super) fn receive(socket: &UdpSocket) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}
