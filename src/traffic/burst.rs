//! TCP_RR and UDP_RR with more than one request in flight (netperf's burst): a request goes out for every answer.
//!
//! Every transaction is timed by itself, from its own request to its own answer. When the window ends nothing new is asked
//! and what is under way is waited for, so that both ends count the same transactions; the window then ends with the last.

use std::{collections::VecDeque, io::Read, net::Shutdown, os::fd::AsFd};

use hdrhistogram::Histogram;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{
    Error,
    clock::now_ns,
    job::{Ended, Lane},
    rr::{LOST_NS, ServerWindow, histogram, is_lost, spin, wait_for_ever, write_all},
    socket::{POLL, is_pause, tcp_info},
};

/// How long the last answers of a connection are waited for: they come as long as there is a path.
const TCP_LINGER_NS: u64 = 20_000_000_000;
/// And those of datagrams, which may be lost again and again.
const UDP_LINGER_NS: u64 = 1_000_000_000;
/// Requests or responses that are handed over together have this many bytes at most, or are one.
const PACK: usize = 64 << 10;
/// How long a thread without room to write waits before it looks whether it shall end.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The client's window and its books.
struct Window {
    opened: u64,
    until: u64,
    give_up: u64,
    last: u64,
    /// Requests that may still be asked in it.
    left: u64,
    latencies: Histogram<u64>,
}

impl Window {
    fn new(lane: &Lane<'_>, start: u64, linger: u64) -> Self {
        let opened = start + lane.spec.omit.0.as_nanos() as u64;
        let until = opened + lane.spec.duration.0.as_nanos() as u64;
        Self { opened, until, give_up: until + linger, last: 0, left: lane.most(), latencies: histogram() }
    }

    /// May another request go?
    #[inline]
    fn is_open(&self, lane: &Lane<'_>, now: u64) -> bool {
        now < self.until && self.left > 0 && !lane.control.ending()
    }

    /// Takes so many requests, or as many as there may be, from the window's amount when they are asked in it.
    #[inline]
    fn ask(&mut self, now: u64, wanted: u64) -> u64 {
        if now < self.opened {
            return wanted;
        }
        let asked = wanted.min(self.left);
        self.left -= asked;
        asked
    }

    /// Opens the books when the warm-up is over.
    #[inline]
    fn open_when_due(&self, lane: &mut Lane<'_>, now: u64) {
        if now >= self.opened && !lane.tally.is_open() {
            lane.tally.open(self.opened);
        }
    }

    /// A transaction belongs to the window in which its request went.
    #[inline]
    fn book(&mut self, lane: &mut Lane<'_>, asked: u64, now: u64) {
        if asked < self.opened {
            lane.tally.omitted_bytes += lane.spec.response.0;
            lane.tally.omitted_units += 1;
            return;
        }
        self.open_when_due(lane, now);
        self.last = now;
        self.latencies.saturating_record(now - asked);
        lane.tally.add(lane.spec.response.0, 1);
    }

    /// Length of the window: to the last answer, or to its end when that is what there was to wait for.
    fn close(self, lane: &mut Lane<'_>) -> Ended {
        let now = now_ns();
        self.open_when_due(lane, now);
        let end = if self.last > 0 { self.last.max(now.min(self.until)) } else { now };
        let elapsed_ns = if lane.tally.is_open() { end.saturating_sub(self.opened) } else { 0 };
        Ended { elapsed_ns, latency: Some(self.latencies.into()), ..Ended::default() }
    }
}

/// TCP_RR's client: answers come in the order of the requests.
pub fn tcp_client(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    let in_flight = lane.spec.burst as usize + 1;
    let (asks, answers) = (lane.spec.length.0 as usize, lane.spec.response.0 as usize);
    let pack = (PACK / asks).clamp(1, in_flight);
    let requests = vec![0x5a; asks * pack];
    let mut buffer = vec![0; answers.max(PACK)];
    // A blocked thread is interrupted to look whether it shall end.
    wait_for_ever(lane)?;
    let before = tcp_info(lane.socket).retransmits;
    let mut under_way: VecDeque<u64> = VecDeque::with_capacity(in_flight);
    let start = now_ns();
    let mut window = Window::new(lane, start, TCP_LINGER_NS);
    let (mut now, mut unsent, mut partial) = (start, 0, 0);
    loop {
        window.open_when_due(lane, now);
        // As many requests together as there is room for; a begun one is always ended.
        if unsent == 0 && window.is_open(lane, now) {
            let due = (in_flight - under_way.len()).min(pack);
            let due = window.ask(now, due as u64) as usize;
            under_way.extend(std::iter::repeat_n(now, due));
            unsent = due * asks;
        }
        let mut has_room = true;
        if unsent > 0 {
            lane.tally.calls += 1;
            match send(
                lane.socket.as_fd(),
                &requests[requests.len() - unsent..],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => unsent -= sent,
                Err(error) if is_pause(&error.into()) => has_room = false,
                Err(_) if lane.control.stopped() => break,
                Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
            }
            if has_room && (unsent > 0 || under_way.len() < in_flight) && !lane.control.stopped() {
                continue;
            }
        }
        // Two ends that both only write would wait for each other: without room for a request, answers are taken.
        if !has_room && !lane.spec.tuning.spin {
            lane.tally.calls += 1;
            let _ = poll(&mut [PollFd::new(lane.socket, PollFlags::IN | PollFlags::OUT)], Some(&WAIT));
        }
        let waits = has_room && !lane.spec.tuning.spin;
        lane.tally.calls += 1;
        let flags = if waits { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        match recv(lane.socket.as_fd(), &mut buffer[..], flags).map(|(length, _)| length).map_err(std::io::Error::from)
        {
            Ok(0) if lane.control.stopped() => break,
            Ok(0) => return Err(lane.failed("the server closed the connection")),
            Ok(received) => {
                now = now_ns();
                partial += received;
                while partial >= answers {
                    partial -= answers;
                    let Some(asked) = under_way.pop_front() else {
                        return Err(lane.failed("the server answered more than it was asked"));
                    };
                    window.book(lane, asked, now);
                }
            }
            Err(error) if is_pause(&error) => now = now_ns(),
            Err(_) if lane.control.stopped() => break,
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
        let drained = under_way.is_empty() && unsent == 0;
        if lane.control.stopped() || !window.is_open(lane, now) && (drained || now >= window.give_up) {
            break;
        }
    }
    let mut ended = window.close(lane);
    let mut tcp = tcp_info(lane.socket);
    tcp.retransmits = tcp.retransmits.zip(before).map(|(after, before)| after.saturating_sub(before));
    let _ = lane.socket.shutdown(Shutdown::Write);
    ended.tcp = Some(tcp);
    Ok(ended)
}

/// TCP_RR's server: every whole request of what a read brought is answered, all with one write.
pub fn tcp_server(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    let (asks, answers) = (lane.spec.length.0 as usize, lane.spec.response.0 as usize);
    let pack = (PACK / answers).clamp(1, lane.spec.burst as usize + 1);
    let responses = vec![0xa5; answers * pack];
    let mut buffer = vec![0; asks.max(PACK)];
    let mut window = ServerWindow::new(lane);
    let mut partial = 0;
    'connection: loop {
        lane.tally.calls += 1;
        match (&*lane.socket).read(&mut buffer) {
            Ok(0) if partial == 0 || lane.control.stopped() => break,
            Ok(0) => return Err(lane.failed("the client closed in the middle of a request")),
            Ok(received) => {
                partial += received;
                let mut whole = partial / asks;
                partial %= asks;
                while whole > 0 {
                    let here = whole.min(pack);
                    if !write_all(lane, lane.socket, &responses[..here * answers])? {
                        break 'connection;
                    }
                    window.count(lane, here as u64);
                    whole -= here;
                }
            }
            Err(error) if is_pause(&error) && !lane.control.stopped() => {}
            Err(_) if lane.control.stopped() => break,
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        }
    }
    let _ = lane.socket.shutdown(Shutdown::Write);
    Ok(Ended { elapsed_ns: window.elapsed(lane), tcp: Some(tcp_info(lane.socket)), ..Ended::default() })
}

/// One of the requests that a datagram client keeps in flight.
#[derive(Clone, Copy)]
struct Slot {
    /// Its number; the number modulo the slots is the slot.
    number: u64,
    /// When it went first.
    asked: u64,
    /// When it went last.
    again: u64,
    waits: bool,
}

/// UDP_RR's client. Each of the requests in flight has a slot, which its answer names: a lost one holds up no other. It is
/// sent again, unchanged, for as long as the window lasts and a second more.
pub fn udp_client(lane: &mut Lane<'_>) -> Result<Ended, Error> {
    spin(lane)?;
    // When nothing more comes the thread is interrupted, and looks for what was lost.
    wait_for_ever(lane)?;
    let mut request = vec![0x5a; lane.spec.length.0 as usize];
    let mut response = vec![0; lane.spec.response.0 as usize + 1];
    let start = now_ns();
    let mut window = Window::new(lane, start, UDP_LINGER_NS);
    let slots = window.ask(start, u64::from(lane.spec.burst) + 1);
    let mut table: Vec<Slot> =
        (0..slots).map(|number| Slot { number, asked: start, again: start, waits: true }).collect();
    let (mut waiting, mut retries, mut looked) = (slots, 0, start);
    for number in 0..slots {
        ask(lane, &mut request, number)?;
    }
    loop {
        lane.tally.calls += 1;
        let now = match (&*lane.socket).read(&mut response) {
            Ok(length) => {
                let now = now_ns();
                window.open_when_due(lane, now);
                let number = response.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
                let slot = &mut table[(number % slots) as usize];
                // An answer to a request that was answered before is passed over.
                if length == response.len() - 1 && slot.waits && slot.number == number {
                    window.book(lane, slot.asked, now);
                    if window.is_open(lane, now) && window.ask(now, 1) == 1 {
                        *slot = Slot { number: number + slots, asked: now, again: now, waits: true };
                        ask(lane, &mut request, number + slots)?;
                    } else {
                        slot.waits = false;
                        waiting -= 1;
                    }
                }
                now
            }
            Err(error) if is_lost(&error) => now_ns(),
            Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
        };
        if now - looked >= POLL.as_nanos() as u64 {
            looked = now;
            window.open_when_due(lane, now);
            for slot in table.iter_mut().filter(|slot| slot.waits && now - slot.again >= LOST_NS) {
                slot.again = now;
                retries += 1;
                ask(lane, &mut request, slot.number)?;
            }
        }
        if lane.control.stopped() || !window.is_open(lane, now) && (waiting == 0 || now >= window.give_up) {
            break;
        }
    }
    Ok(Ended { retries: Some(retries), ..window.close(lane) })
}

/// Sends a request; one that cannot go now is a lost one.
fn ask(lane: &mut Lane<'_>, request: &mut [u8], number: u64) -> Result<(), Error> {
    request[..8].copy_from_slice(&number.to_le_bytes());
    lane.tally.calls += 1;
    match lane.socket.send(request) {
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => Ok(()),
        Err(error) => Err(lane.failed(format_args!("send: {error}"))),
    }
}
