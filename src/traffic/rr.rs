//! TCP_RR and UDP_RR: one request, one response, the next request. Closed loop: a slow answer delays the next question.

use std::{
    io::{ErrorKind, Read},
    net::Shutdown,
    time::Duration,
};

use hdrhistogram::Histogram;
use socket2::Socket;

use super::{
    Error,
    clock::now_ns,
    job::{Ended, Lane},
    os,
    socket::{POLL, is_pause, tcp_info},
};

/// Latencies above are recorded as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// A datagram request without an answer is sent again after this.
const RETRY: Duration = Duration::from_millis(200);
/// The same in nanoseconds.
pub const LOST_NS: u64 = RETRY.as_nanos() as u64;
/// For how long a stream has stood still, at least, when its thread is interrupted.
const STILL_NS: u64 = POLL.as_nanos() as u64;

/// An empty one.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid")
}

/// One client loop: `transact` does one transaction and says whether to go on. Each clock read ends one and begins the next.
pub fn drive(
    lane: &mut Lane<'_>,
    mut transact: impl FnMut(&mut Lane<'_>) -> Result<bool, Error>,
) -> Result<(u64, Histogram<u64>), Error> {
    let mut latencies = histogram();
    let received = lane.spec.response.0;
    let mut before = now_ns();
    let warm = before + lane.spec.omit.0.as_nanos() as u64;
    while before < warm && !lane.control.ending() {
        if transact(lane)? {
            lane.tally.add(received, 1);
        }
        before = now_ns();
    }
    lane.tally.open(before);
    let opened = before;
    let until = opened + lane.spec.duration.0.as_nanos() as u64;
    while before < until && lane.tally.units < lane.most() && !lane.control.ending() {
        let answered = transact(lane)?;
        let now = now_ns();
        if answered {
            latencies.saturating_record(now - before);
            lane.tally.add(received, 1);
        }
        before = now;
    }
    Ok((before - opened, latencies))
}

/// A spinning thread's socket answers at once, and is asked again and again.
pub fn spin(lane: &Lane<'_>) -> Result<(), Error> {
    match lane.spec.tuning.spin {
        true => lane.socket.set_nonblocking(true).map_err(os("set O_NONBLOCK of stream", lane.stream)),
        false => Ok(()),
    }
}

/// A wait without an end of its own costs no timer; [`nudge`](super::nudge) interrupts it.
pub fn wait_for_ever(lane: &Lane<'_>) -> Result<(), Error> {
    lane.socket.set_read_timeout(None).map_err(os("clear SO_RCVTIMEO of stream", lane.stream))
}

/// TCP_RR's client.
pub fn tcp_client(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    let request = vec![0x5a; lane.spec.length.0 as usize];
    let mut response = vec![0; lane.spec.response.0 as usize];
    let before = tcp_info(lane.socket).retransmits;
    let outcome = drive(lane, |lane| {
        let answered =
            write_all(lane, lane.socket, &request)? && read_all(lane, lane.socket, &mut response)? == Took::All;
        if answered || lane.control.stopped() {
            Ok(answered)
        } else {
            Err(lane.failed("the server closed the connection"))
        }
    });
    let (elapsed_ns, latencies) = outcome?;
    let mut tcp = tcp_info(lane.socket);
    tcp.retransmits = tcp.retransmits.zip(before).map(|(after, before)| after.saturating_sub(before));
    let _ = lane.socket.shutdown(Shutdown::Write);
    Ok(Ended { elapsed_ns, tcp: Some(tcp), latency: Some(latencies.into()), ..Ended::default() })
}

/// TCP_RR's server: answers until the client closes. Its window opens with the first request after the warm-up.
pub fn tcp_server(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    let mut request = vec![0; lane.spec.length.0 as usize];
    let response = vec![0xa5; lane.spec.response.0 as usize];
    let mut window = ServerWindow::new(lane);
    loop {
        let served = match read_all(lane, lane.socket, &mut request) {
            Ok(Took::All) => write_all(lane, lane.socket, &response),
            Ok(Took::Nothing) => break,
            Err(error) => Err(error),
        };
        match served {
            Ok(true) => window.count(lane, 1),
            Ok(false) => break,
            // A client with a schedule beyond its means leaves what it did not get an answer to in time. One that died is
            // missed by whoever started it.
            Err(_) if lane.spec.transactions.is_some() && window.has_served() => break,
            Err(error) => return Err(error),
        }
    }
    let _ = lane.socket.shutdown(Shutdown::Write);
    Ok(Ended { elapsed_ns: window.elapsed(lane), tcp: Some(tcp_info(lane.socket)), ..Ended::default() })
}

/// A server's window: from its first transaction plus the warm-up, to its last.
pub struct ServerWindow {
    omit: u64,
    opens: Option<u64>,
    last: u64,
}

impl ServerWindow {
    /// Not open yet.
    pub fn new(lane: &Lane<'_>) -> Self {
        Self { omit: lane.spec.omit.0.as_nanos() as u64, opens: None, last: 0 }
    }

    /// So many transactions are done.
    #[inline]
    pub fn count(&mut self, lane: &mut Lane<'_>, transactions: u64) {
        self.last = now_ns();
        let opens = *self.opens.get_or_insert(self.last + self.omit);
        if !lane.tally.is_open() && self.last >= opens {
            lane.tally.open(self.last);
        }
        lane.tally.add(lane.spec.length.0 * transactions, transactions);
    }

    /// Was there a transaction?
    pub fn has_served(&self) -> bool {
        self.opens.is_some()
    }

    /// Its length.
    pub fn elapsed(&self, lane: &Lane<'_>) -> u64 {
        if lane.tally.is_open() { self.last - lane.tally.opened_ns } else { 0 }
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// All of it.
    All,
    /// The other end closed between two transactions, or the job was stopped.
    Nothing,
}

/// False when the job was stopped.
pub fn write_all(lane: &mut Lane<'_>, socket: &Socket, mut bytes: &[u8]) -> Result<bool, Error> {
    while !bytes.is_empty() {
        lane.tally.calls += 1;
        match socket.send(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if is_pause(&error) => {}
            Err(_) if lane.control.stopped() => return Ok(false),
            Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
        }
    }
    Ok(true)
}

/// Reads the whole buffer.
pub fn read_all(lane: &mut Lane<'_>, socket: &Socket, buffer: &mut [u8]) -> Result<Took, Error> {
    let (mut filled, mut stream) = (0, socket);
    while filled < buffer.len() {
        lane.tally.calls += 1;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 || lane.control.stopped() => return Ok(Took::Nothing),
            Ok(0) => return Err(lane.failed("the other end closed in the middle of a message")),
            Ok(received) => filled += received,
            Err(error) if is_pause(&error) && !lane.control.stopped() => {}
            Err(_) if lane.control.stopped() => return Ok(Took::Nothing),
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
    }
    Ok(Took::All)
}

/// UDP_RR's client. A request without an answer is sent again, unchanged, for as long as the window lasts; the latency of
/// such a transaction counts from its first request.
pub fn udp_client(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    wait_for_ever(lane)?;
    let mut request = vec![0x5a; lane.spec.length.0 as usize];
    let mut response = vec![0; lane.spec.response.0 as usize + 1];
    let marked = 8.min(request.len()).min(response.len() - 1);
    let (mut number, mut retries) = (0u64, 0);
    let give_up = now_ns() + lane.spec.total().as_nanos() as u64;
    let (elapsed_ns, latencies) = drive(lane, |lane| {
        number += 1;
        // As many low bytes of the number as fit mark the request; the server sends them back.
        request[..marked].copy_from_slice(&number.to_le_bytes()[..marked]);
        exchange(lane, &request, &mut response, marked, give_up, &mut retries)
    })?;
    Ok(Ended { elapsed_ns, retries: Some(retries), latency: Some(latencies.into()), ..Ended::default() })
}

/// One transaction; false when the window ended without an answer.
fn exchange(
    lane: &mut Lane<'_>,
    request: &[u8],
    response: &mut [u8],
    marked: usize,
    give_up: u64,
    retries: &mut u64,
) -> Result<bool, Error> {
    let mut stream = lane.socket;
    loop {
        lane.tally.calls += 1;
        let sent = lane.socket.send(request);
        match &sent {
            Ok(_) => {}
            Err(error) if is_lost(error) => std::thread::sleep(POLL),
            Err(error) => return Err(unreachable(lane, error)),
        }
        // Read only when a wait is interrupted, or by a thread that spins: a transaction needs no clock of its own here.
        let mut lost_at = lane.spec.tuning.spin.then(|| now_ns() + LOST_NS);
        while sent.is_ok() {
            lane.tally.calls += 1;
            match stream.read(response) {
                // An answer to an earlier request that was sent twice is passed over.
                Ok(length) if length == response.len() - 1 && response[..marked] == request[..marked] => {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) if is_pause(&error) && !lane.control.ending() => {
                    let now = now_ns();
                    if now >= *lost_at.get_or_insert(now + LOST_NS - STILL_NS) {
                        break;
                    }
                }
                Err(error) if is_lost(&error) => break,
                Err(error) => return Err(unreachable(lane, &error)),
            }
        }
        if lane.control.ending() || now_ns() >= give_up {
            return Ok(false);
        }
        *retries += 1;
    }
}

/// No answer, or one of a router (or of our own neighbour table) that may change its mind: a lost request, not an end.
pub fn is_lost(error: &std::io::Error) -> bool {
    use ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
    is_pause(error)
        || error.raw_os_error() == Some(libc::ENOBUFS)
        || matches!(error.kind(), HostUnreachable | NetworkUnreachable | NetworkDown)
}

fn unreachable(lane: &Lane<'_>, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::ConnectionRefused => lane.failed("the server is gone (port unreachable)"),
        _ => lane.failed(error),
    }
}

/// UDP_RR's server: answers until it is told that the client is done.
pub fn udp_server(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    wait_for_ever(lane)?;
    let mut request = vec![0; lane.spec.length.0 as usize];
    let mut response = vec![0xa5; lane.spec.response.0 as usize];
    let marked = 8.min(request.len()).min(response.len());
    let mut window = ServerWindow::new(lane);
    let mut stream = lane.socket;
    while !lane.control.stopped() && lane.control.finished(lane.stream).is_none() {
        lane.tally.calls += 1;
        match stream.read(&mut request) {
            Ok(length) if length == request.len() => {
                response[..marked].copy_from_slice(&request[..marked]);
                lane.tally.calls += 1;
                // A response that cannot go is a lost one: the client asks again.
                if lane.socket.send(&response).is_ok() {
                    window.count(lane, 1);
                }
            }
            Ok(_) => {}
            Err(error) if is_pause(&error) || error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
    }
    Ok(Ended { elapsed_ns: window.elapsed(lane), ..Ended::default() })
}
