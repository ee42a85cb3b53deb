//! Sockets as another tool's parameters want them.

use std::{net::SocketAddr, os::fd::AsFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::traffic::{Error, os, sys};

/// Receive buffer asked for datagrams when nothing else is: one scheduling hiccup of 1 ms at 30 Gbit/s fits.
const UDP_BUFFER: u32 = 4 << 20;

/// Options to be set before the socket is bound, connected or listened on.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Datagrams.
    pub udp: bool,
    /// `SO_SNDBUF` and `SO_RCVBUF`, bytes.
    pub window: Option<u32>,
    /// `TCP_MAXSEG`.
    pub mss: Option<u32>,
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `TCP_CONGESTION`.
    pub congestion: Option<String>,
    /// Type of service.
    pub tos: Option<u8>,
    /// `SO_MAX_PACING_RATE`, bits per second.
    pub fqrate: Option<u64>,
    /// Datagrams are not to be fragmented.
    pub dont_fragment: bool,
}

/// A socket with these options, bound to `at`; a port of 0 is any.
pub fn open(wish: &Wish, at: SocketAddr) -> Result<Socket, Error> {
    let (kind, protocol) = if wish.udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol)).map_err(os("open a socket for", at))?;
    // iperf3's streams of datagrams share a port: each is connected, and the next is bound beside it.
    socket.set_reuse_address(true).map_err(os("set SO_REUSEADDR of", at))?;
    if at.is_ipv6() {
        socket.set_only_v6(true).map_err(os("set IPV6_V6ONLY of", at))?;
    }
    if wish.udp {
        socket.set_read_timeout(Some(super::LOOK)).map_err(os("set SO_RCVTIMEO of", at))?;
    }
    set(&socket, wish, at)?;
    socket.bind(&at.into()).map_err(os("bind", at))?;
    Ok(socket)
}

/// Sets the options on a socket of this address.
pub fn set(socket: &Socket, wish: &Wish, at: SocketAddr) -> Result<(), Error> {
    let option = |name: &'static str, level, option, value: &[u8]| {
        sys::set_option(socket.as_fd(), level, option, value).map_err(os(name, at))
    };
    let window = wish.window.or(wish.udp.then_some(UDP_BUFFER));
    if let Some(size) = window {
        let asked = i32::try_from(size).unwrap_or(i32::MAX);
        if option("", libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &asked.to_ne_bytes()).is_err() {
            option("set SO_RCVBUF of", libc::SOL_SOCKET, libc::SO_RCVBUF, &asked.to_ne_bytes())?;
        }
        option("set SO_SNDBUF of", libc::SOL_SOCKET, libc::SO_SNDBUF, &asked.to_ne_bytes())?;
    }
    if let Some(tos) = wish.tos {
        let value = i32::from(tos).to_ne_bytes();
        // A socket of both families has both; the one that does not apply is refused and does not matter.
        let four = option("set IP_TOS of", libc::IPPROTO_IP, libc::IP_TOS, &value);
        let six = option("set IPV6_TCLASS of", libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value);
        if at.is_ipv4() { four? } else { six? }
    }
    if let Some(rate) = wish.fqrate {
        let bytes = (rate / 8).to_ne_bytes();
        option("set SO_MAX_PACING_RATE of", libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &bytes)?;
    }
    if wish.udp {
        if wish.dont_fragment {
            let value = libc::IP_PMTUDISC_DO.to_ne_bytes();
            let four = option("set IP_MTU_DISCOVER of", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &value);
            let six = option("set IPV6_MTU_DISCOVER of", libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &value);
            if at.is_ipv4() { four? } else { six? }
        }
        return Ok(());
    }
    if wish.nodelay {
        socket.set_tcp_nodelay(true).map_err(os("set TCP_NODELAY of", at))?;
    }
    if let Some(mss) = wish.mss {
        option("set TCP_MAXSEG of", libc::IPPROTO_TCP, libc::TCP_MAXSEG, &(mss as i32).to_ne_bytes())?;
    }
    if let Some(name) = &wish.congestion {
        sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes()).map_err(os(
            "set TCP_CONGESTION",
            format_args!("{name} (is it in net.ipv4.tcp_available_congestion_control?) of {at}"),
        ))?;
    }
    Ok(())
}

/// Own address.
pub fn local(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket().map(plain)
}

/// The other end's.
pub fn peer(socket: &Socket) -> Option<SocketAddr> {
    socket.peer_addr().ok()?.as_socket().map(plain)
}

/// An IPv4 address that a socket of both families wraps.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
