//! The receiver of UDP_STREAM.

use std::{
    io::{ErrorKind, Read},
    os::fd::AsFd,
};

use socket2::Socket;

use super::{PROBE, WARM_UP, jitter::Jitter};
use crate::{
    measured::{Datagrams, ReceiveMode, StreamIo, Test},
    traffic::{
        Error,
        clock::now_ns,
        frames,
        job::{Ended, Lane, SenderTotals},
        os,
        payload::DatagramChecker,
        sequence::SequenceWindow,
        socket::{POLL, drops, is_pause},
        spec::DATAGRAM_HEADER,
        sys::{self, Batch},
    },
};

/// After the sender is done: silence for this long means that the rest is lost.
const QUIET_NS: u64 = 300_000_000;
/// Messages of a call.
const MESSAGES: usize = 64;
/// Room of a message that may be a bundle.
const BUNDLE: usize = 64 << 10;
/// Datagrams that a call should bring: bundles are taken in smaller numbers, so that their bytes stay in the cache.
const WANTED: usize = 256;

/// What the datagrams told.
struct Books {
    window: SequenceWindow,
    jitter: Jitter,
    malformed: u64,
    checker: Option<DatagramChecker>,
    /// Bytes in front of a number.
    offset: usize,
    /// When the last datagram of the window came.
    last: u64,
}

/// Receives until the sender's last datagram has come, or nothing has come for a while after the sender ended.
pub fn receive(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let mut io = StreamIo { receive: Some(lane.spec.receive), payload_copied: Some(true), ..StreamIo::default() };
    let length = lane.spec.length.0 as usize;
    if lane.spec.receive == ReceiveMode::Gro
        && let Err(error) = sys::set_option(lane.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &1i32.to_ne_bytes())
    {
        io.receive = Some(ReceiveMode::Mmsg);
        io.fallback =
            Some(format!("this kernel has no UDP_GRO ({error}): received by recvmmsg, one datagram per message"));
    }
    let mut batch = match io.receive {
        Some(ReceiveMode::Gro) => Batch::new(MESSAGES, BUNDLE),
        Some(ReceiveMode::Mmsg) => Batch::new(MESSAGES, length),
        _ => Batch::new(1, length),
    };
    let (mut bundle, mut largest) = (1, 1);
    let checker = lane.spec.verify.map(|seed| DatagramChecker::new(seed, lane.stream, DATAGRAM_HEADER, length));
    let offset = if lane.spec.test == Test::FrameStream { frames::HEADER } else { 0 };
    let mut books =
        Books { window: SequenceWindow::default(), jitter: Jitter::default(), malformed: 0, checker, offset, last: 0 };
    let (mut heard, mut totals) = (now_ns(), None);
    let mut socket = lane.socket;
    loop {
        if totals.is_none() {
            totals = lane.control.finished(lane.stream);
        }
        if let Some(SenderTotals { sent, .. }) = totals
            && (books.window.received >= sent || now_ns().saturating_sub(heard) > QUIET_NS)
        {
            break;
        }
        if lane.control.stopped() {
            break;
        }
        lane.tally.calls += 1;
        let outcome = match io.receive {
            Some(ReceiveMode::Recv) => socket.read(batch.slot(0)).map(Err),
            _ => batch.receive(lane.socket.as_fd(), (WANTED / bundle).max(4)).map(Ok),
        };
        let now = now_ns();
        match outcome {
            Ok(Err(length)) => books.take(lane, &batch.slot(0)[..length], length.max(1), now),
            Ok(Ok(count)) => {
                let mut datagrams = 0;
                for i in 0..count {
                    let (bytes, segment) = batch.received(i);
                    let here = bytes.len().div_ceil(segment);
                    datagrams += here;
                    largest = here.max(largest);
                    books.take(lane, bytes, segment, now);
                }
                bundle = (datagrams / count.max(1)).max(1);
            }
            // The sender's namespace may already be without its socket; what was sent is still to be counted.
            Err(error) if is_pause(&error) || error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
        heard = now;
    }
    io.segments = (largest > 1).then_some(largest as u32);
    Ok(books.close(lane, totals, io))
}

impl Books {
    /// Books the datagrams of a message.
    #[inline]
    fn take(&mut self, lane: &mut Lane<'_>, message: &[u8], segment: usize, now: u64) {
        let (mut bytes, mut count, mut newest) = (0, 0, None);
        for datagram in message.chunks(segment) {
            let Some((number, stamp)) = datagram.get(self.offset..).and_then(split) else {
                self.malformed += 1;
                continue;
            };
            // A corrupt one is lost: its number cannot be believed.
            if let Some(checker) = &mut self.checker
                && number != PROBE
                && !checker.check(datagram)
            {
                continue;
            }
            if number & WARM_UP != 0 {
                if number != PROBE && !lane.tally.is_open() {
                    lane.tally.add(datagram.len() as u64, 1);
                }
                continue;
            }
            if !lane.tally.is_open() {
                lane.tally.open(now);
            }
            if self.window.observe(number) {
                bytes += datagram.len() as u64;
                count += 1;
            }
            newest = Some(stamp);
        }
        if let Some(stamp) = newest {
            lane.tally.add(bytes, count);
            self.last = now;
            self.jitter.observe(now, stamp);
        }
    }

    fn close(self, lane: &Lane<'_>, totals: Option<SenderTotals>, io: StreamIo) -> Ended {
        let window = self.window;
        let sent = totals.map_or(window.received, |totals| totals.sent);
        // A window is never shorter than the sender's: a few datagrams at a low rate have fewer gaps than datagrams.
        let own = self.last.saturating_sub(lane.tally.opened_ns);
        let elapsed_ns = if lane.tally.is_open() { own.max(totals.map_or(0, |totals| totals.elapsed_ns)) } else { 0 };
        let datagrams = Datagrams {
            sent,
            received: window.received,
            lost: window.lost(sent),
            reordered: window.reordered,
            duplicates: window.duplicates,
            beyond_window: window.beyond_window,
            // The kernel counts a bundle once; it is charged in full.
            socket_drops: drops(lane.socket).map(|count| count * u64::from(io.segments.unwrap_or(1))),
            jitter_ns: self.jitter.nanos(),
            malformed: self.malformed,
        };
        let verified = self.checker.map(DatagramChecker::close);
        Ended { elapsed_ns, datagrams: Some(datagrams), io: Some(io), verified, ..Ended::default() }
    }
}

/// Number and stamp of a datagram long enough for both.
#[inline]
fn split(datagram: &[u8]) -> Option<(u64, u64)> {
    let header: &[u8; DATAGRAM_HEADER] = datagram.first_chunk()?;
    let (number, stamp) = header.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), u64::from_le_bytes(*stamp.first_chunk()?)))
}

/// Throws away what arrived before the socket was connected: it may be from anybody.
pub fn discard_queued(socket: &Socket) -> Result<(), Error> {
    socket.set_nonblocking(true).map_err(os("set O_NONBLOCK of", "a datagram socket"))?;
    while socket.recv(&mut [std::mem::MaybeUninit::uninit(); 1]).is_ok() {}
    socket.set_nonblocking(false).map_err(os("clear O_NONBLOCK of", "a datagram socket"))?;
    socket.set_read_timeout(Some(POLL)).map_err(os("set SO_RCVTIMEO of", "a datagram socket"))
}
