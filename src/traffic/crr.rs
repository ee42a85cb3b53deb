//! TCP_CRR and TCP_CC: a connection per transaction, with a request and a response or with nothing.
//!
//! The server closes first, so that TIME_WAIT is kept there and the client's ports are free again at once. A first
//! connection, made before the test, only says who the client is.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::Socket;

use super::{
    Error,
    job::{Ended, Lane},
    os,
    rr::{ServerWindow, Took, drive, read_all, write_all},
    socket::{self, POLL, is_pause},
};
use crate::measured::Test;

/// How long a client waits for the server to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects, asks, reads the answer and the end, closes; again.
pub fn client(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let (from, to) = ends(lane.socket)?;
    let asks = lane.spec.test == Test::TcpCrr;
    let request = vec![0x5a; lane.spec.length.0 as usize];
    let mut response = vec![0; lane.spec.response.0 as usize];
    let (elapsed_ns, latencies) = drive(lane, |lane| {
        lane.tally.calls += 4;
        let connection = socket::bound_to_address(lane.spec, from)?;
        connection.connect(&to.into()).map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => lane.failed("no local port is free: see net.ipv4.ip_local_port_range"),
            _ => lane.failed(format_args!("connect to {to}: {error}")),
        })?;
        connection.set_read_timeout(Some(CLOSE_TIMEOUT)).map_err(os("set SO_RCVTIMEO of stream", lane.stream))?;
        if asks
            && !(write_all(lane, &connection, &request)? && read_all(lane, &connection, &mut response)? == Took::All)
        {
            return if lane.control.stopped() { Ok(false) } else { Err(lane.failed("closed before the response")) };
        }
        lane.tally.calls += 1;
        match (&connection).read(&mut [0; 1]) {
            Ok(0) => Ok(true),
            Ok(_) => Err(lane.failed("the server sent more than a response")),
            Err(_) if lane.control.stopped() => Ok(false),
            Err(error) => Err(lane.failed(format_args!("wait for the server to close: {error}"))),
        }
    })?;
    Ok(Ended { elapsed_ns, latency: Some(latencies.into()), ..Ended::default() })
}

/// Accepts, reads the request, answers, closes; until it is told that the client is done.
pub fn server(lane: &mut Lane<'_>, listener: &Socket) -> Result<Ended, Error> {
    let asks = lane.spec.test == Test::TcpCrr;
    // Inherited by what is accepted.
    listener.set_read_timeout(Some(POLL)).map_err(os("set SO_RCVTIMEO of the listener of stream", lane.stream))?;
    let (_, client) = ends(lane.socket)?;
    let mut request = vec![0; lane.spec.length.0 as usize];
    let response = vec![0xa5; lane.spec.response.0 as usize];
    let mut window = ServerWindow::new(lane);
    while !lane.control.stopped() && lane.control.finished(lane.stream).is_none() {
        lane.tally.calls += 2;
        let (connection, from) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_pause(&error) || error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(lane.failed(format_args!("accept: {error}"))),
        };
        // A stranger is hung up on.
        if from.as_socket().is_none_or(|from| from.ip() != client.ip()) {
            continue;
        }
        let answered = !asks
            || (read_all(lane, &connection, &mut request)? == Took::All && write_all(lane, &connection, &response)?);
        // Before it is counted: the client's last transaction must not be told before ours.
        drop(connection);
        if answered {
            window.count(lane, 1);
        }
    }
    Ok(Ended { elapsed_ns: window.elapsed(lane), ..Ended::default() })
}

/// Own address, and the other end.
fn ends(socket: &Socket) -> Result<(IpAddr, SocketAddr), Error> {
    let peer = socket.peer_addr().map_err(os("read the peer of", "a connection"))?.as_socket();
    let peer = peer.ok_or_else(|| Error::Spec("a connection without an IP address".to_owned()))?;
    Ok((socket::local(socket)?.ip(), peer))
}
