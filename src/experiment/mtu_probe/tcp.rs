//! TCP's own view of a path: what it announces, what it uses, and whether its data arrives.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    kernel::{self, Netns},
    record::mtu::MtuTcp,
    traffic::{SegmentSizes, segment_sizes},
};

/// Bytes that are sent each way: several segments of every MTU.
const BYTES: usize = 128 << 10;
/// How long a handshake or the data may take: a black hole costs this once each way.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Both directions: of the connection's client, and of its server. An error is one of connecting, in words.
pub fn view(from: (&Netns, IpAddr), to: (&Netns, IpAddr)) -> Result<Result<(MtuTcp, MtuTcp), String>, kernel::Error> {
    let listener = match to.0.within(|| TcpListener::bind(SocketAddr::new(to.1, 0)))? {
        Ok(listener) => listener,
        Err(error) => return Ok(Err(format!("listen on {}: {error}", to.1))),
    };
    let client = match listener.local_addr() {
        Ok(address) => from.0.within(|| connect(from.1, address))?,
        Err(error) => Err(error),
    };
    let both = client.and_then(|client| Ok((client, accept(&listener)?)));
    Ok(both.and_then(|(client, server)| exchange(&client, &server)).map_err(|error| format!("TCP: {error}")))
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    SockRef::from(listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener.accept()?.0)
}

fn exchange(client: &TcpStream, server: &TcpStream) -> io::Result<(MtuTcp, MtuTcp)> {
    for stream in [client, server] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    // What the handshake brought, before anything is learned from losses.
    let first = (sizes(client)?, sizes(server)?);
    let there = carry(client, server);
    let back = carry(server, client);
    let last = (sizes(client)?, sizes(server)?);
    let of = |carried| (carried, BYTES as u64);
    Ok((sender(first.0, first.1, last.0, of(there)), sender(first.1, first.0, last.1, of(back))))
}

fn sizes(stream: &TcpStream) -> io::Result<SegmentSizes> {
    let copy: Socket = stream.try_clone()?.into();
    segment_sizes(&copy).ok_or_else(|| io::Error::other("TCP_INFO is not there"))
}

/// What the sender of a direction makes of it: its sizes and its peer's before, its own after, bytes carried of those sent.
pub(super) fn sender(
    first: SegmentSizes,
    peer: SegmentSizes,
    last: SegmentSizes,
    (carried, sent): (u64, u64),
) -> MtuTcp {
    let stamps = |sizes: SegmentSizes| if sizes.timestamps { 12 } else { 0 };
    MtuTcp {
        snd_mss: last.snd_mss,
        pmtu: last.pmtu,
        // As it went in the SYN: the kernel's figure leaves out the time stamps of each segment.
        announced: first.announced + stamps(first),
        received: Some(first.snd_mss + stamps(first)),
        peer_announced: Some(peer.announced + stamps(peer)),
        sent,
        carried,
    }
}

/// Bytes that arrive, of those that are sent, before nothing comes any more.
fn carry(mut from: &TcpStream, mut to: &TcpStream) -> u64 {
    std::thread::scope(|scope| {
        scope.spawn(move || from.write_all(&vec![0x5a; BYTES]));
        let (mut buffer, mut carried) = (vec![0; BYTES], 0);
        while carried < BYTES {
            match to.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => carried += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        carried as u64
    })
}
