//! TCP_STREAM: blocks one way, ended by the sender's clock, timed by the receiver's bytes.

use std::{
    io::{ErrorKind, Read},
    mem::MaybeUninit,
    net::Shutdown,
    os::fd::AsFd,
    time::Duration,
};

use rustix::io::ioctl_fionread;

use super::{
    Error,
    clock::now_ns,
    job::{Ended, Lane},
    os,
    payload::Maker,
    socket::{is_pause, out_of_order, tcp_info},
    sys,
    tcp_receive::Take,
    tcp_send::Push,
};

/// How often a sender that is blocked by the receiver looks at its clock.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a sender waits for the receiver to have read everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Larger segments are those of loopback. They are limited to half of the peer's window, which has hardly opened yet, so that no
/// multiple is known.
const LARGEST_SEGMENT: u64 = 16 << 10;
/// Bytes that the kernel puts into one super-packet at most: 64 KiB (`GSO_LEGACY_MAX_SIZE`) less room for headers
/// (`MAX_TCP_HEADER`, up to 320) and one.
const SUPER_PACKET: u64 = (64 << 10) - 321;

/// How often the server of both directions looks whether the first byte has come.
const BEGUN: Duration = Duration::from_micros(500);

/// Sends until the window's end, then waits until the receiver has all.
pub fn send(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    lane.socket.set_write_timeout(Some(SEND_TIMEOUT)).map_err(os("set SO_SNDTIMEO of stream", lane.stream))?;
    let block = block(lane);
    let (mut push, mut io) = match lane.spec.verify {
        Some(seed) => Push::verified(Maker::new(seed, lane.stream, block)),
        None => Push::new(lane.spec.send, block, lane.socket),
    };
    // A server that sends waits for the client's word, which comes when the counters of the path have been read.
    if lane.spec.test.is_reverse() && !matches!((&*lane.socket).read(&mut [0; 1]), Ok(1)) {
        return if lane.control.stopped() {
            Ok(Ended::default())
        } else {
            Err(lane.failed("the receiver never began"))
        };
    }
    // And so does the server of both directions: until the first byte of the other.
    while lane.is_back && !lane.control.has_begun(lane.other()) {
        if lane.control.stopped() {
            return Ok(Ended::default());
        }
        std::thread::sleep(BEGUN);
    }
    let start = now_ns();
    let omit = lane.spec.omit.0.as_nanos() as u64;
    if omit > 0 {
        pump(lane, &mut push, start + omit, u64::MAX)?;
    }
    let before = tcp_info(lane.socket);
    let opened = now_ns();
    lane.tally.open(opened);
    let ended = pump(lane, &mut push, opened + lane.spec.duration.0.as_nanos() as u64, lane.most())?;
    let mut tcp = tcp_info(lane.socket);
    io.drained_ns = drain(lane).map(|drained| drained - opened);
    let verified = push.made();
    lane.tally.calls += push.more_calls();
    io.zerocopy = push.close(lane.socket);
    // What was in flight at the end may have been sent again since.
    let drained = tcp_info(lane.socket);
    let retransmitted = drained.retransmits.max(tcp.retransmits);
    tcp.bytes_retransmitted = drained.bytes_retransmitted.max(tcp.bytes_retransmitted);
    tcp.retransmits = retransmitted.zip(before.retransmits).map(|(after, before)| after.saturating_sub(before));
    for (time, then) in [
        (&mut tcp.busy_us, before.busy_us),
        (&mut tcp.rwnd_limited_us, before.rwnd_limited_us),
        (&mut tcp.sndbuf_limited_us, before.sndbuf_limited_us),
    ] {
        *time = time.zip(then).map(|(after, before)| after.saturating_sub(before));
    }
    Ok(Ended { elapsed_ns: ended - opened, tcp: Some(tcp), io: Some(io), verified, ..Ended::default() })
}

/// Bytes of a block: what was said, else whole segments of this connection.
fn block(lane: &Lane<'_>) -> usize {
    let length = lane.spec.length.0;
    let mss = if lane.spec.whole_segments { tcp_info(lane.socket).snd_mss } else { None };
    whole_segments(length, mss.unwrap_or(0).into()) as usize
}

/// As many bytes of at most `most` as whole segments of one super-packet hold: what is left of a block waits for an acknowledgement
/// by Nagle's rule (RFC 896).
fn whole_segments(most: u64, mss: u64) -> u64 {
    if !(1..=LARGEST_SEGMENT.min(most)).contains(&mss) {
        return most;
    }
    let most = most.min(SUPER_PACKET);
    most - most % mss
}

/// The hot loop: one send and one clock read per block, until the time is over or nothing of `left` bytes is. Returns the time at
/// which the last send returned.
fn pump(lane: &mut Lane<'_>, push: &mut Push, until: u64, mut left: u64) -> Result<u64, Error> {
    loop {
        lane.tally.calls += 1;
        match push.push_at_most(lane.socket, usize::try_from(left).unwrap_or(usize::MAX)) {
            Ok(sent) => {
                lane.tally.add(sent as u64, 0);
                left -= sent as u64;
            }
            Err(error) if is_pause(&error) => {}
            Err(_) if lane.control.stopped() => return Ok(now_ns()),
            Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
        }
        let now = now_ns();
        if left == 0 || now >= until || lane.control.ending() {
            return Ok(now);
        }
    }
}

/// Says that no more comes and waits for the receiver to close; when it had.
fn drain(lane: &Lane<'_>) -> Option<u64> {
    let _ = lane.socket.shutdown(Shutdown::Write);
    if lane.spec.test.is_bidirectional() {
        return drain_to_peer(lane);
    }
    let _ = lane.socket.set_read_timeout(Some(SEND_TIMEOUT));
    let deadline = now_ns() + DRAIN_TIMEOUT.as_nanos() as u64;
    while !lane.control.stopped() && now_ns() < deadline {
        match (&*lane.socket).read(&mut [0; 1]) {
            Ok(0) => return Some(now_ns()),
            Err(error) if is_pause(&error) => {}
            _ => return None,
        }
    }
    None
}

/// Another thread reads this connection: waits until the peer has acknowledged all; when it had. The other end of the stream says by
/// itself when its thread has read the last byte.
fn drain_to_peer(lane: &Lane<'_>) -> Option<u64> {
    let deadline = now_ns() + DRAIN_TIMEOUT.as_nanos() as u64;
    while !lane.control.stopped() && now_ns() < deadline {
        match sys::unacknowledged(lane.socket.as_fd()) {
            Ok(1..) => std::thread::sleep(BEGUN),
            outcome => return outcome.is_ok().then(now_ns),
        }
    }
    None
}

/// Receives until the sender closes. The window runs from the first byte (after the warm-up) to the last.
pub fn receive(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let (mut take, fallback) = Take::new(lane.spec, lane.stream, lane.socket);
    if lane.spec.test.is_reverse() {
        lane.socket.send(&[1]).map_err(|error| lane.failed(format_args!("begin: {error}")))?;
    }
    // Without taking anything, so that the clock starts before the first byte is counted.
    let first = lane.socket.peek(&mut [MaybeUninit::uninit(); 1]);
    match first {
        Ok(1..) => {}
        Ok(_) if lane.control.stopped() => return Ok(Ended::default()),
        Ok(_) => return Err(lane.failed("closed by the sender before the first byte")),
        Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
    }
    lane.control.begin(lane.stream);
    if let Some(lowat) = lane.spec.tuning.rcvlowat {
        // After the first byte: a thread that waits for fewer bytes than the mark is not woken.
        sys::set_option(lane.socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, &lowat.to_ne_bytes())
            .map_err(os("set SO_RCVLOWAT of stream", lane.stream))?;
    }
    let start = now_ns();
    let omit = lane.spec.omit.0.as_nanos() as u64;
    if omit > 0 {
        drink(lane, &mut take, start + omit)?;
    }
    let holes = out_of_order(lane.socket);
    let queued = ioctl_fionread(lane.socket).ok();
    let opened = now_ns();
    lane.tally.open(opened);
    let (last, unread) = drink(lane, &mut take, u64::MAX)?;
    if !lane.spec.test.is_bidirectional() {
        let _ = lane.socket.shutdown(Shutdown::Write);
    }
    let tcp = Some(tcp_info(lane.socket));
    lane.tally.calls += take.more_calls();
    let (mut io, verified) = take.close(lane.spec.receive, fallback);
    // What waited behind a hole comes to be readable all at once, too: nobody left it unread.
    let told_apart = lane.spec.tuning.rcvlowat.is_none() && holes == out_of_order(lane.socket);
    io.unread_ns = told_apart.then_some(unread);
    io.queued = queued;
    Ok(Ended { elapsed_ns: last.saturating_sub(opened), tcp, io: Some(io), verified, ..Ended::default() })
}

/// A pause of a reader that is told, nanoseconds: no thread that is woken begins so late on an idle CPU.
const PAUSE: u64 = 5_000_000;
/// What comes in one piece, at most. A reader that waits takes the first that comes; where more lies there, it did not wait.
const PIECE: usize = 64 << 10;

/// The hot loop: one receive and one clock read per turn. Returns the time of the last byte, and how long payload lay unread.
fn drink(lane: &mut Lane<'_>, take: &mut Take, until: u64) -> Result<(u64, u64), Error> {
    let (mut last, mut unread) = (now_ns(), 0);
    loop {
        lane.tally.calls += 1;
        match take.take(lane.socket) {
            Ok(0) => return Ok((last, unread)),
            Ok(received) => {
                let now = now_ns();
                if received > PIECE && now - last >= PAUSE {
                    unread += now - last;
                }
                last = now;
                lane.tally.add(received as u64, 0);
                if last >= until {
                    return Ok((last, unread));
                }
            }
            Err(error) if is_pause(&error) => {}
            Err(_) if lane.control.stopped() => return Ok((last, unread)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(lane.failed("the sender was lost (connection reset)"));
            }
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::whole_segments;

    #[test]
    fn a_block_is_as_many_whole_segments_as_a_super_packet_holds() {
        const MOST: u64 = 128 << 10;
        assert_eq!(whole_segments(MOST, 8948), 7 * 8948);
        assert_eq!(whole_segments(MOST, 1448), 45 * 1448);
        assert_eq!(whole_segments(MOST, 8192), 7 * 8192, "eight leave no room for headers");
        assert_eq!(whole_segments(20_000, 8948), 2 * 8948);
        assert_eq!([0, 32741, 65483].map(|mss| whole_segments(MOST, mss)), [MOST; 3], "unknown, and loopback's");
        assert_eq!(whole_segments(100, 1448), 100);
    }
}
