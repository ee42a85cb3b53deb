//! A socket's error queue (`IP_RECVERR`, `IPV6_RECVERR`): what the own stack or a router says of a packet, and who says it.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
};

/// One entry of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketError {
    /// The errno that it means.
    pub errno: i32,
    /// Who says so.
    pub origin: Origin,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// With EMSGSIZE the MTU that would do.
    pub info: u32,
    /// The sender of the ICMP message.
    pub offender: Option<IpAddr>,
}

/// Where an error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The own stack.
    Local,
    /// ICMP or ICMPv6.
    Icmp,
    /// Something else (time stamps, zero copy).
    Other,
}

/// `struct sock_extended_err` of include/uapi/linux/errqueue.h; the offender's address follows it.
const ERROR: usize = 16;
const HEADER: usize = size_of::<libc::cmsghdr>();

#[repr(C, align(8))]
struct Control([u8; 512]);

/// The next entry, without waiting; `None` when the queue is empty.
pub fn next_error(socket: impl AsFd) -> io::Result<Option<SocketError>> {
    let mut control = Control([0; 512]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message = unsafe { mem::zeroed::<libc::msghdr>() };
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the message has no payload buffer, and its control buffer is `control` with its length.
    let outcome = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    if outcome < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    #[allow(clippy::unnecessary_cast, reason = "musl has 32 bits here, glibc the width of a pointer")]
    let told = (message.msg_controllen as usize).min(512);
    Ok(Some(parse(&control.0[..told])))
}

/// Looks through the control messages for the one that is an error; what is not understood counts as `Other`.
fn parse(mut control: &[u8]) -> SocketError {
    let none = SocketError { errno: 0, origin: Origin::Other, kind: 0, code: 0, info: 0, offender: None };
    while control.len() >= HEADER {
        let length =
            control.get(..size_of::<usize>()).and_then(|bytes| bytes.try_into().ok()).map(usize::from_ne_bytes);
        let word = |at: usize| control.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        let Some(length) = length.filter(|length| (HEADER..=control.len()).contains(length)) else { return none };
        let is_error = matches!(
            (word(HEADER - 8), word(HEADER - 4)),
            (Some(libc::IPPROTO_IP), Some(libc::IP_RECVERR)) | (Some(libc::IPPROTO_IPV6), Some(libc::IPV6_RECVERR))
        );
        if is_error && length >= HEADER + ERROR {
            return entry(&control[HEADER..length]);
        }
        control = control.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    none
}

fn entry(data: &[u8]) -> SocketError {
    let word = |at: usize| [data[at], data[at + 1], data[at + 2], data[at + 3]];
    let origin = match data[4] {
        1 => Origin::Local,
        2 | 3 => Origin::Icmp,
        _ => Origin::Other,
    };
    let address = &data[ERROR..];
    let family = address.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes).map(i32::from);
    // `struct sockaddr_in` has the address at 4, `struct sockaddr_in6` at 8.
    let offender = match family {
        Some(libc::AF_INET) => {
            address.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(|b| Ipv4Addr::from(b).into())
        }
        Some(libc::AF_INET6) => {
            address.get(8..24).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(|b| Ipv6Addr::from(b).into())
        }
        _ => None,
    };
    let offender = offender.filter(|_| origin == Origin::Icmp);
    SocketError {
        errno: i32::from_ne_bytes(word(0)),
        origin,
        kind: data[5],
        code: data[6],
        info: u32::from_ne_bytes(word(8)),
        offender,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_and_rubbish_is_not() {
        let mut data = vec![0; ERROR + 16];
        data[..4].copy_from_slice(&libc::EMSGSIZE.to_ne_bytes());
        (data[4], data[5], data[6]) = (2, 3, 4);
        data[8..12].copy_from_slice(&1400u32.to_ne_bytes());
        data[ERROR..ERROR + 2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        data[ERROR + 4..ERROR + 8].copy_from_slice(&[198, 18, 0, 1]);
        let mut control = (HEADER + data.len()).to_ne_bytes().to_vec();
        control.extend(libc::IPPROTO_IP.to_ne_bytes());
        control.extend(libc::IP_RECVERR.to_ne_bytes());
        control.extend(&data);
        let read = parse(&control);
        assert_eq!((read.errno, read.origin, read.kind, read.code), (libc::EMSGSIZE, Origin::Icmp, 3, 4));
        assert_eq!((read.info, read.offender), (1400, Some("198.18.0.1".parse().unwrap())));
        for cut in 0..control.len() {
            parse(&control[..cut]);
        }
    }
}
