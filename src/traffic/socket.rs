//! Sockets as the engine wants them, and what the kernel made of the wish.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, os, spec::Spec, sys, udp_stream};
use crate::{
    measured::{Pacing, SocketFacts, TcpInfo, Test},
    units::ByteSize,
};

/// Waiting for a peer to answer a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a blocked datagram thread looks whether it shall end.
pub const POLL: Duration = Duration::from_millis(50);
/// Receive buffer asked for a datagram stream: one scheduling hiccup of 1 ms at 30 Gbit/s fits.
const UDP_BUFFER: ByteSize = ByteSize(4 << 20);

/// A socket bound to a free port of an address.
pub fn bound(spec: &Spec, address: IpAddr) -> Result<Socket, Error> {
    let at = SocketAddr::new(address, 0);
    let socket = opened(spec, at)?;
    socket.bind(&at.into()).map_err(os("bind", at))?;
    Ok(socket)
}

/// A listener at a free port of an address, for a job whose transactions each have a connection.
pub fn listener(spec: &Spec, address: IpAddr) -> Result<Socket, Error> {
    let socket = bound(spec, address)?;
    socket.listen(128).map_err(os("listen at", address))?;
    Ok(socket)
}

/// A socket for datagrams with one peer, at a port that this process has bound already: all its sockets there have
/// `SO_REUSEPORT`, and the kernel gives the peer's datagrams to the one that is connected to it. What other peers sent while
/// it was not yet connected is thrown away.
pub fn datagrams(spec: &Spec, local: SocketAddr, peer: SocketAddr) -> Result<Socket, Error> {
    let socket = opened(spec, local)?;
    socket.set_reuse_port(true).map_err(os("set SO_REUSEPORT of", local))?;
    socket.bind(&local.into()).map_err(os("bind", local))?;
    connect(spec, &socket, peer)?;
    udp_stream::discard_queued(&socket)?;
    Ok(socket)
}

/// Gives a connection that somebody else's listener accepted the options of a job.
pub fn adopt(spec: &Spec, socket: &Socket) -> Result<(), Error> {
    let at = local(socket)?;
    socket.set_nonblocking(false).map_err(os("clear O_NONBLOCK of", at))?;
    buffers(socket, at, spec)?;
    tune(socket, at, spec)
}

/// Not bound yet, with every option of the job.
fn opened(spec: &Spec, at: SocketAddr) -> Result<Socket, Error> {
    let (kind, protocol) =
        if spec.test.is_udp() { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol)).map_err(os("open a socket for", at))?;
    buffers(&socket, at, spec)?;
    if spec.test.is_udp() {
        socket.set_read_timeout(Some(POLL)).map_err(os("set SO_RCVTIMEO of", at))?;
        fragmenting(&socket, at, spec.dont_fragment)?;
    }
    tune(&socket, at, spec)?;
    Ok(socket)
}

fn buffers(socket: &Socket, at: SocketAddr, spec: &Spec) -> Result<(), Error> {
    // Before connect and listen, since the window scale is settled in the handshake (tcp(7)). The kernel caps silently at
    // rmem_max and wmem_max; the value in force is read back into the result.
    let usual = spec.socket_buffer.or((spec.test == Test::UdpStream).then_some(UDP_BUFFER));
    if let Some(size) = spec.tuning.rcvbuf.or(usual) {
        // CAP_NET_ADMIN may pass that cap for what it receives: a datagram receiver loses nothing to a hiccup then.
        let value = i32::try_from(size.0).unwrap_or(i32::MAX).to_ne_bytes();
        if sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value).is_err() {
            socket.set_recv_buffer_size(size.0 as usize).map_err(os("set SO_RCVBUF of", at))?;
        }
    }
    if let Some(size) = spec.tuning.sndbuf.or(usual) {
        socket.set_send_buffer_size(size.0 as usize).map_err(os("set SO_SNDBUF of", at))?;
    }
    Ok(())
}

/// A socket for one connection of many: bound to an address only, its port is chosen when it connects, so that all ports
/// serve every destination.
pub fn bound_to_address(spec: &Spec, address: IpAddr) -> Result<Socket, Error> {
    let at = SocketAddr::new(address, 0);
    let socket =
        Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).map_err(os("open a socket for", at))?;
    tune(&socket, at, spec)?;
    sys::set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32.to_ne_bytes())
        .map_err(os("set IP_BIND_ADDRESS_NO_PORT of", at))?;
    socket.bind(&at.into()).map_err(os("bind", at))?;
    Ok(socket)
}

/// The options of [`Tuning`](crate::measured::Tuning). A refusal is an error: a result must not say what was not in force.
fn tune(socket: &Socket, at: SocketAddr, spec: &Spec) -> Result<(), Error> {
    let tuning = &spec.tuning;
    let set = |name: &'static str, level, option, value: &[u8]| {
        sys::set_option(socket.as_fd(), level, option, value).map_err(os(name, at))
    };
    if let Some(dscp) = tuning.dscp {
        let (level, option) = match at {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        set("set the DSCP of", level, option, &(i32::from(dscp) << 2).to_ne_bytes())?;
    }
    if let Some(micros) = tuning.busy_poll {
        set("set SO_BUSY_POLL of", libc::SOL_SOCKET, libc::SO_BUSY_POLL, &(micros as i32).to_ne_bytes())?;
    }
    // TCP paces itself by this, with or without the fq qdisc (since 4.13); for datagrams only fq does.
    if let Some(rate) = tuning.pacing.or(spec.rate.filter(|_| spec.test.is_byte_stream())) {
        let rate = rate.bytes_per_second().to_ne_bytes();
        set("set SO_MAX_PACING_RATE of", libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate)?;
    } else if let Some(rate) = spec.rate.filter(|_| tuning.pacer == Some(Pacing::Fq)) {
        let rate = on_the_wire(rate.bytes_per_second(), spec.length.0, at.is_ipv6()).to_ne_bytes();
        set("set SO_MAX_PACING_RATE of", libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate)?;
    }
    if spec.test.is_udp() {
        return Ok(());
    }
    if tuning.nodelay.unwrap_or(spec.test.is_rr()) {
        socket.set_tcp_nodelay(true).map_err(os("set TCP_NODELAY of", at))?;
    }
    if let Some(mss) = tuning.mss {
        set("set TCP_MAXSEG of", libc::IPPROTO_TCP, libc::TCP_MAXSEG, &(mss as i32).to_ne_bytes())?;
    }
    if let Some(name) = &tuning.congestion {
        sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_bytes()).map_err(os(
            "set TCP_CONGESTION",
            format_args!("{name} (is it in net.ipv4.tcp_available_congestion_control?) of {at}"),
        ))?;
    }
    Ok(())
}

/// The rate that fq is to be asked for, for so much payload: it counts what a device gets, Ethernet header included. A hundredth
/// more, since the sender keeps the average, and a queue that only just drains would grow with each late datagram.
fn on_the_wire(rate: u64, length: u64, is_ipv6: bool) -> u64 {
    let headers = 14 + if is_ipv6 { 40 } else { 20 } + 8;
    let rate = u128::from(rate) * u128::from(length + headers) * 101 / (u128::from(length.max(1)) * 100);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn fragmenting(socket: &Socket, at: SocketAddr, never: bool) -> Result<(), Error> {
    let (level, name) = match at {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    // IP_PMTUDISC_* and IPV6_PMTUDISC_* have the same values.
    let value = if never { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
    sys::set_option(socket.as_fd(), level, name, &value.to_ne_bytes()).map_err(os("set IP_MTU_DISCOVER of", at))
}

/// Connects, with a limit in time; over IPv6 with the flow label that was asked for.
pub fn connect(spec: &Spec, socket: &Socket, to: SocketAddr) -> Result<(), Error> {
    let mut target = to;
    if let (SocketAddr::V6(target), Some(label)) = (&mut target, spec.tuning.flow_label) {
        flow_label::lease(socket, *target.ip(), label).map_err(os("lease a flow label towards", to))?;
        target.set_flowinfo(label.to_be());
    }
    socket.connect_timeout(&target.into(), CONNECT_TIMEOUT).map_err(os("connect to", to))
}

/// A listener whose connections answer with the label that comes, where this host allows that.
pub fn reflect_flow_label(spec: &Spec, socket: &Socket) -> Result<(), Error> {
    let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    if spec.tuning.flow_label.is_none() || !is_ipv6 {
        return Ok(());
    }
    match flow_label::reflect(socket) {
        // `net.ipv6.flowlabel_consistency` forbids it; the label in force, if any, is in the result.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome.map_err(os("reflect flow labels at", "the listener")),
    }
}

/// `IPV6_FLOWLABEL_MGR`: a label that a socket sends is leased from the kernel first (include/uapi/linux/in6.h).
mod flow_label {
    use super::*;

    const IPV6_FLOWLABEL_MGR: i32 = 32;
    const IPV6_FLOWINFO_SEND: i32 = 33;
    /// `struct in6_flowlabel_req`.
    const SIZE: usize = 32;
    const ACTION_GET: u8 = 0;
    const SHARE_ANY: u8 = 255;
    const CREATE: u16 = 1;
    const REFLECT: u16 = 4;

    fn request(to: Ipv6Addr, label: u32, flags: u16) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..16].copy_from_slice(&to.octets());
        bytes[16..20].copy_from_slice(&label.to_be_bytes());
        (bytes[20], bytes[21]) = (ACTION_GET, SHARE_ANY);
        bytes[22..24].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    pub fn lease(socket: &Socket, to: Ipv6Addr, label: u32) -> io::Result<()> {
        let set = |option, value: &[u8]| sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, option, value);
        set(IPV6_FLOWLABEL_MGR, &request(to, label, CREATE))?;
        set(IPV6_FLOWINFO_SEND, &1i32.to_ne_bytes())
    }

    pub fn reflect(socket: &Socket) -> io::Result<()> {
        let value = request(Ipv6Addr::UNSPECIFIED, 0, REFLECT);
        sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &value)
    }

    pub fn in_force(socket: &Socket) -> Option<u32> {
        let mut bytes = [0; SIZE];
        sys::get_option(socket.as_fd(), libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &mut bytes).ok()?;
        let label = u32::from_be_bytes(super::field(&bytes, 16)?) & 0xf_ffff;
        (label != 0).then_some(label)
    }
}

/// Own address of a socket.
pub fn local(socket: &Socket) -> Result<SocketAddr, Error> {
    let address = socket.local_addr().map_err(os("read the address of", "a socket"))?;
    address.as_socket().ok_or_else(|| Error::Spec("a socket without an IP address".to_owned()))
}

/// Both addresses, as text; `?` for one that is not known (any more).
pub fn names(socket: &Socket) -> (String, String) {
    let text = |address: io::Result<socket2::SockAddr>| {
        address.ok().and_then(|a| a.as_socket()).map_or_else(|| "?".to_owned(), |a| a.to_string())
    };
    (text(socket.local_addr()), text(socket.peer_addr()))
}

/// Reads the options in force.
pub fn facts(socket: &Socket, tcp: bool) -> SocketFacts {
    let mut facts = SocketFacts {
        sndbuf: socket.send_buffer_size().unwrap_or(0) as u64,
        rcvbuf: socket.recv_buffer_size().unwrap_or(0) as u64,
        ..SocketFacts::default()
    };
    let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    let (level, option) =
        if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
    let mut value = [0; 4];
    if sys::get_option(socket.as_fd(), level, option, &mut value).is_ok_and(|length| length == 4) {
        facts.dscp = Some((i32::from_ne_bytes(value) >> 2) as u8 & 63);
    }
    facts.flow_label = if is_ipv6 { flow_label::in_force(socket) } else { None };
    let number = |option| {
        let mut value = [0; 4];
        let length = sys::get_option(socket.as_fd(), libc::SOL_SOCKET, option, &mut value).ok()?;
        (length == 4).then(|| i32::from_ne_bytes(value))
    };
    // -1 says that nothing has come yet; NAPI numbers begin above the number of CPUs, 0 is none.
    facts.incoming_cpu = number(libc::SO_INCOMING_CPU).and_then(|cpu| u32::try_from(cpu).ok());
    facts.napi_id = number(libc::SO_INCOMING_NAPI_ID).and_then(|id| u32::try_from(id).ok()).filter(|&id| id > 0);
    if tcp {
        facts.mss = socket.tcp_mss().ok();
        facts.nodelay = socket.tcp_nodelay().ok();
        let mut name = [0; 16];
        facts.congestion = sys::get_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, &mut name)
            .ok()
            .map(|length| String::from_utf8_lossy(&name[..length]).trim_end_matches('\0').to_owned());
    }
    facts
}

/// Datagrams this socket dropped: `SK_MEMINFO_DROPS` of `SO_MEMINFO`.
///
/// `SO_RXQ_OVFL` gives the same counter, but only along with a later datagram, so that drops at the end are never told.
pub fn drops(socket: &Socket) -> Option<u64> {
    const SO_MEMINFO: i32 = 55;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut values = [0; 4 * 16];
    let length = sys::get_option(socket.as_fd(), libc::SOL_SOCKET, SO_MEMINFO, &mut values).ok()?;
    field(&values[..length], SK_MEMINFO_DROPS * 4).map(|bytes| u64::from(u32::from_ne_bytes(bytes)))
}

/// Reads `struct tcp_info` by the offsets of include/uapi/linux/tcp.h, which only ever grows at its end.
///
/// `retransmits` is the count since the connection was made; the caller takes the difference.
pub fn tcp_info(socket: &Socket) -> TcpInfo {
    let mut bytes = [0; 512];
    let length = sys::get_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).unwrap_or(0);
    parse_tcp_info(&bytes[..length])
}

/// Packets that came out of order since the connection was made (`tcpi_rcv_ooopack`, since Linux 5.5).
pub fn out_of_order(socket: &Socket) -> Option<u32> {
    let mut bytes = [0; 512];
    let length = sys::get_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).ok()?;
    field(&bytes[..length], 224).map(u32::from_ne_bytes)
}

/// The segment sizes of a connection, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentSizes {
    /// What it sends at most in a segment.
    pub snd_mss: u32,
    /// What it told its peer to send at most.
    pub announced: u32,
    /// Path MTU it believes in.
    pub pmtu: u32,
    /// Time stamps are in use: 12 bytes of each segment.
    pub timestamps: bool,
}

/// Reads them; `None` where the socket is no TCP connection.
pub fn segment_sizes(socket: &Socket) -> Option<SegmentSizes> {
    let mut bytes = [0; 512];
    let length = sys::get_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).ok()?;
    let u32_at = |offset| field(&bytes[..length], offset).map(u32::from_ne_bytes);
    Some(SegmentSizes {
        snd_mss: u32_at(16)?,
        announced: u32_at(84)?,
        pmtu: u32_at(60)?,
        timestamps: bytes[5] & 1 != 0,
    })
}

/// The longest packet that the kernel believes a connection's path to carry, bytes; `None` when it does not say.
pub fn path_mtu(socket: &Socket) -> Option<u32> {
    tcp_info(socket).pmtu.filter(|&mtu| mtu > 0)
}

fn parse_tcp_info(bytes: &[u8]) -> TcpInfo {
    let u32_at = |offset| field(bytes, offset).map(u32::from_ne_bytes);
    let u64_at = |offset| field(bytes, offset).map(u64::from_ne_bytes);
    TcpInfo {
        snd_mss: u32_at(16),
        pmtu: u32_at(60),
        rtt_us: u32_at(68),
        rttvar_us: u32_at(72),
        snd_cwnd: u32_at(80),
        reordering: u32_at(88),
        retransmits: u32_at(100),
        segs_out: u32_at(136),
        // ~0 says that none was measured.
        min_rtt_us: u32_at(148).filter(|&rtt| rtt != u32::MAX),
        delivery_rate: u64_at(160),
        busy_us: u64_at(168),
        rwnd_limited_us: u64_at(176),
        sndbuf_limited_us: u64_at(184),
        bytes_retransmitted: u64_at(208),
    }
}

/// The bytes of a field, when the kernel filled them.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

/// Did the call only run out of its time-out, or was it interrupted?
pub fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernels_shorter_tcp_info_leaves_fields_absent() {
        let mut bytes = [0u8; 160];
        bytes[68..72].copy_from_slice(&123u32.to_ne_bytes());
        bytes[100..104].copy_from_slice(&7u32.to_ne_bytes());
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        let info = parse_tcp_info(&bytes);
        assert_eq!((info.rtt_us, info.retransmits, info.min_rtt_us), (Some(123), Some(7), None));
        assert_eq!((info.delivery_rate, info.busy_us), (None, None));
        assert_eq!(parse_tcp_info(&bytes[..103]).retransmits, None);
        assert_eq!(parse_tcp_info(&[]), TcpInfo::default());
    }

    /// Offsets against the C library's structure, as far as that one goes.
    #[test]
    fn offsets_are_those_of_the_c_structure() {
        use std::mem::offset_of;
        assert_eq!(offset_of!(libc::tcp_info, tcpi_snd_mss), 16);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_pmtu), 60);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), 68);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_rttvar), 72);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_snd_cwnd), 80);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_reordering), 88);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_total_retrans), 100);
    }
}
