//! Bytes: as `tcp_stream`'s loops, without its handshakes.

use std::{
    io::{self, ErrorKind, Read},
    mem::MaybeUninit,
    sync::atomic::Ordering::Relaxed,
};

use socket2::Socket;

use super::{Ended, LOOK, Lane};
use crate::traffic::{
    Error,
    clock::{now_ns, sleep_until},
    os,
    socket::{is_pause, tcp_info},
    tcp_send::Push,
    udp_stream::Pace,
};

/// What a receiver that copies nothing takes at a time.
const DISCARD: usize = 4 << 20;
/// The least that a receiver takes at a time.
const TAKE: usize = 128 << 10;

/// Sends until its time or amount is over, or it is told to end.
pub fn send(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    lane.socket.set_write_timeout(Some(LOOK)).map_err(os("set SO_SNDTIMEO of", "a stream"))?;
    let length = lane.spec.length;
    let (mut push, io) = Push::new(lane.spec.send, length, lane.socket);
    let mut now = now_ns();
    let mut pace = lane.spec.rate.map(|rate| Pace::new(length as u64 * 8, rate.bits_per_second(), now));
    // What is left of the block that is under way: a paced sender counts whole blocks.
    let mut rest = length;
    let mut error = None;
    lane.turn(now);
    let mut until = lane.until();
    loop {
        let left = lane.left();
        if lane.control.ending() || now >= until || left == 0 {
            break;
        }
        if let Some(pace) = pace.as_mut().filter(|_| rest == length)
            && pace.due(now) == 0
        {
            sleep_until(pace.next_ns().min(until).min(now + LOOK.as_nanos() as u64));
        } else {
            lane.calls += 1;
            match push.push_at_most(lane.socket, rest.min(usize::try_from(left).unwrap_or(usize::MAX))) {
                Ok(sent) => {
                    lane.add(sent as u64);
                    if let Some(pace) = &mut pace {
                        rest -= sent;
                        if rest == 0 {
                            rest = length;
                            pace.sent(1);
                        }
                    }
                }
                Err(error) if is_pause(&error) => {}
                Err(_) if lane.control.ending() => break,
                Err(failed) => {
                    error = Some(format!("send: {failed}"));
                    break;
                }
            }
        }
        now = now_ns();
        if lane.now.opened_ns == 0 {
            lane.turn(now);
            until = lane.until();
        }
    }
    let omitted = lane.books.omitted_retransmits.load(Relaxed);
    let retransmits = tcp_info(lane.socket).retransmits.map(|all| u64::from(all).saturating_sub(omitted));
    Ok(Ended { at_ns: now, retransmits, fallback: io.fallback, error })
}

enum Take {
    Copy(Vec<u8>),
    Discard(Vec<MaybeUninit<u8>>),
}

impl Take {
    #[inline]
    fn take(&mut self, mut socket: &Socket) -> io::Result<usize> {
        match self {
            Self::Copy(buffer) => socket.read(buffer),
            Self::Discard(buffer) => socket.recv_with_flags(buffer, libc::MSG_TRUNC),
        }
    }
}

/// Receives until the sender closes, or until nothing more comes after the word that the test is over.
pub fn receive(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    lane.socket.set_read_timeout(Some(LOOK)).map_err(os("set SO_RCVTIMEO of", "a stream"))?;
    let mut take = match lane.spec.discard {
        true => Take::Discard(vec![MaybeUninit::uninit(); DISCARD]),
        false => Take::Copy(vec![0; lane.spec.length.max(TAKE)]),
    };
    let mut last = now_ns();
    lane.turn(last);
    let mut error = None;
    loop {
        lane.calls += 1;
        match take.take(lane.socket) {
            Ok(0) => break,
            Ok(received) => {
                last = now_ns();
                lane.turn(last);
                lane.add(received as u64);
                if lane.control.leave(last, last) {
                    break;
                }
            }
            Err(error) if is_pause(&error) => {
                let now = now_ns();
                lane.turn(now);
                if lane.control.stopped() || lane.control.leave(last, now) {
                    break;
                }
            }
            Err(_) if lane.control.stopped() => break,
            // The sender closed with something of ours unread: what it sent before that has come.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && lane.control.ending() => break,
            Err(failed) => {
                error = Some(format!("receive: {failed}"));
                break;
            }
        }
    }
    lane.turn(now_ns());
    Ok(Ended { at_ns: last.max(lane.now.opened_ns), error, ..Ended::default() })
}
