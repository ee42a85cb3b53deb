//! Opening the data streams of a test, at either end.

use std::{
    io::{ErrorKind, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{
    Error,
    control::Control,
    error_number::{self as number, Refusal},
    os,
    params::Params,
    wire::{self, Cookie},
};
use crate::{
    measured::SendMode,
    traffic::guest::{self, GuestSpec, Numbers, Wish},
    units::BitRate,
};

/// How long an end waits for the next stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a hello is waited for before it is said again: it may have been lost, and iperf3's is said once only.
const HELLO_AGAIN: Duration = Duration::from_secs(2);
/// Blocks where nothing is said of them.
pub const TCP_BLOCK: u32 = 128 << 10;
/// Datagrams likewise.
pub const DATAGRAM: u32 = 1460;

fn wish(params: &Params) -> Wish {
    Wish {
        udp: params.udp,
        window: params.window,
        mss: params.mss,
        nodelay: params.nodelay,
        congestion: params.congestion.clone(),
        tos: params.tos,
        fqrate: params.fqrate,
        dont_fragment: params.dont_fragment,
    }
}

/// What each stream does at this end.
pub fn specs(params: &Params, server: bool) -> Vec<GuestSpec> {
    let length = match (params.len, params.udp) {
        (0, true) => DATAGRAM,
        (0, false) => TCP_BLOCK,
        (len, _) => len,
    };
    let share = |all: u64, i: usize| {
        let (n, i) = (u64::from(params.parallel), i as u64 % u64::from(params.parallel));
        all / n + u64::from(i < all % n)
    };
    let numbers = if params.udp_counters_64bit { Numbers::Long } else { Numbers::Short };
    (0..params.connections())
        .map(|i| {
            // A server that sends is ended by its client. Only bytes that arrive for certain, and no warm-up whose ends may
            // differ, let it stop by itself where the client must come to its number.
            let by_amount = !server || (!params.udp && params.omit == 0);
            let bytes = match (params.num, params.blockcount) {
                (0, 0) => None,
                (0, blocks) => Some(share(blocks, i) * u64::from(length)),
                (bytes, _) => Some(share(bytes, i)),
            };
            GuestSpec {
                sends: params.client_sends(i) != server,
                udp: params.udp.then_some(numbers),
                length: length as usize,
                omit: Duration::from_secs(params.omit),
                time: (!server && params.time > 0).then(|| Duration::from_secs(params.time)),
                bytes: bytes.filter(|_| by_amount),
                rate: params.bandwidth.map(BitRate),
                send: if params.zerocopy && !params.udp { SendMode::Sendfile } else { SendMode::Write },
                discard: params.skip_rx_copy,
            }
        })
        .collect()
}

/// Connects every stream to a server.
pub fn connect(params: &Params, control: &Control<'_>, cookie: &Cookie) -> Result<Vec<Socket>, Error> {
    let to = control.peer();
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let wish = wish(params);
    (0..params.connections())
        .map(|_| {
            if control.stopped() {
                return Err(Error::Interrupted);
            }
            let socket = guest::open(&wish, SocketAddr::new(any, 0))?;
            if params.udp {
                socket.connect(&to.into()).map_err(os("connect a stream to", to))?;
                return greet(socket, control);
            }
            socket.connect_timeout(&to.into(), STREAM_TIMEOUT).map_err(os("connect a stream to", to))?;
            let mut stream = TcpStream::from(socket);
            stream.write_all(cookie).map_err(os("send the cookie of a stream to", to))?;
            Ok(stream.into())
        })
        .collect()
}

/// Says hello until there is an answer, or data, or an end.
fn greet(socket: Socket, control: &Control<'_>) -> Result<Socket, Error> {
    let to = control.peer();
    let socket = UdpSocket::from(socket);
    let deadline = Instant::now() + STREAM_TIMEOUT;
    let mut again = Instant::now();
    let mut buffer = [0; 64];
    loop {
        let now = Instant::now();
        if control.stopped() {
            return Err(Error::Interrupted);
        }
        if control.is_ready(Duration::ZERO) {
            // Whatever the server says before its streams are there is the end of the test.
            let state = control.state(Duration::from_secs(1))?;
            return Err(Error::Foreign { peer: to, what: format!("{state:?} before the streams are there") });
        }
        if now >= deadline {
            return Err(Error::Hello { peer: to });
        }
        if now >= again {
            again = now + HELLO_AGAIN;
            socket.send(wire::HELLO).map_err(os("send a hello to", to))?;
        }
        match socket.recv(&mut buffer) {
            // Data may overtake the reply.
            Ok(length) if wire::is_hello_reply(&buffer[..length]) || length >= 12 => return Ok(socket.into()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(os("receive the answer to a hello from", to)(error)),
        }
    }
}

/// The socket at which a server waits for the first hello. It must be there before the client is told to create streams.
pub fn datagram_listener(params: &Params, control: &Control<'_>) -> Result<Option<Socket>, Error> {
    params.udp.then(|| Ok(guest::open(&wish(params), control.local()?)?)).transpose()
}

/// Takes every stream of a client; TCP ones come from the acceptor, which has read their cookies.
pub fn accept(
    params: &Params,
    control: &Control<'_>,
    from: &Receiver<TcpStream>,
    mut listener: Option<Socket>,
) -> Result<Vec<Socket>, Error> {
    let wish = wish(params);
    let mut streams = Vec::with_capacity(params.connections());
    while streams.len() < params.connections() {
        let deadline = Instant::now() + STREAM_TIMEOUT;
        let socket = match listener.take() {
            Some(first) => {
                let (socket, from, reply) = hello(first, control, deadline)?;
                // The next hello must find a socket when the client has the answer to this one.
                let next = streams.len() + 1 < params.connections();
                listener = next.then(|| guest::open(&wish, control.local()?).map_err(Error::from)).transpose()?;
                socket.send(reply).map_err(os("answer the hello of", from))?;
                socket.into()
            }
            None => {
                let socket = Socket::from(handed(control, from, deadline)?);
                guest::set(&socket, &wish, control.local()?).map_err(|error| refusing(control, &error))?;
                socket
            }
        };
        streams.push(socket);
    }
    Ok(streams)
}

fn refusing(control: &Control<'_>, error: &crate::traffic::Error) -> Error {
    let what = error.to_string();
    let number = if what.contains("TCP_CONGESTION") { number::CONGESTION } else { number::STREAM_ACCEPT };
    Error::Refusing { peer: control.peer(), refusal: Refusal::new(number, what) }
}

fn too_late(control: &Control<'_>) -> Error {
    let what = format!("its next stream did not come within {} s", STREAM_TIMEOUT.as_secs());
    Error::Refusing { peer: control.peer(), refusal: Refusal::new(number::STREAM_ACCEPT, what) }
}

/// Is the test over before it began?
fn given_up(control: &Control<'_>) -> Result<(), Error> {
    if control.stopped() {
        return Err(Error::Interrupted);
    }
    if control.is_ready(Duration::ZERO) {
        let state = control.state(Duration::from_secs(1))?;
        return Err(Error::Foreign { peer: control.peer(), what: format!("{state:?} before the streams are there") });
    }
    Ok(())
}

fn handed(control: &Control<'_>, from: &Receiver<TcpStream>, deadline: Instant) -> Result<TcpStream, Error> {
    loop {
        match from.recv_timeout(Duration::from_millis(20)) {
            Ok(stream) => {
                stream.set_nonblocking(false).map_err(os("set up a stream of", control.peer()))?;
                return Ok(stream);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Interrupted),
            Err(RecvTimeoutError::Timeout) => {
                given_up(control)?;
                if Instant::now() >= deadline {
                    return Err(too_late(control));
                }
            }
        }
    }
}

/// Waits for a hello of this client, and of nobody else, and gives the socket to it.
fn hello(
    socket: Socket,
    control: &Control<'_>,
    deadline: Instant,
) -> Result<(UdpSocket, SocketAddr, &'static [u8; 4]), Error> {
    let socket = UdpSocket::from(socket);
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let ours = from.ip().to_canonical() == control.peer().ip().to_canonical();
                if ours && wire::is_hello(&buffer[..length]) {
                    socket.connect(from).map_err(os("connect a stream to", from))?;
                    return Ok((socket, from, wire::hello_reply(&buffer[..length])));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(os("receive the hello of", control.peer())(error)),
        }
        given_up(control)?;
        if Instant::now() >= deadline {
            return Err(too_late(control));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_number() {
        let params = Params { parallel: 3, num: 100, ..Params::default() };
        let shares: Vec<_> = specs(&params, false).iter().map(|spec| spec.bytes.unwrap()).collect();
        assert_eq!(shares, [34, 33, 33]);
        let params = Params { parallel: 2, blockcount: 5, len: 10, bidirectional: true, ..Params::default() };
        let shares: Vec<_> = specs(&params, false).iter().map(|spec| (spec.sends, spec.bytes.unwrap())).collect();
        assert_eq!(shares, [(true, 30), (true, 20), (false, 30), (false, 20)]);
        let at_the_server: Vec<_> = specs(&params, true).iter().map(|spec| spec.sends).collect();
        assert_eq!(at_the_server, [false, false, true, true]);
    }
}
