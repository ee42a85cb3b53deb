//! Requests on a schedule, whatever the answers do: latency from the *intended* time of each request.
//!
//! In a closed loop a slow answer delays the next question, so that a stall of a second is one bad sample instead of the
//! thousands that users would have seen (coordinated omission). Here it is all of them. What the same run would have said
//! without the correction, from the time at which each request really went, is kept beside it.

use std::{collections::VecDeque, os::fd::AsFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{
    Error,
    clock::now_ns,
    job::{Ended, Histograms, Lane},
    rr::{histogram, is_lost},
    socket::tcp_info,
};
use crate::measured::Schedule;

/// How long the answers to the last requests are waited for.
const LINGER_NS: u64 = 1_000_000_000;

/// Requests under way at most.
const UNDER_WAY: usize = 1 << 16;

/// A request under way.
#[derive(Clone, Copy)]
struct Asked {
    number: u64,
    intended: u64,
    sent: u64,
    answered: bool,
}

/// The client of TCP_RR and UDP_RR at a set rate; the server is the same as in the closed loop.
pub fn client(lane: &mut Lane<'_>, per_second: u64) -> Result<Ended, Error> {
    // 50 µs of slack would be in every latency.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let retransmits = if lane.spec.test.is_udp() { None } else { tcp_info(lane.socket).retransmits };
    let start = now_ns();
    let opened = start + lane.spec.omit.0.as_nanos() as u64;
    let mut under_way = UnderWay::new(lane, opened);
    let at = |number: u64| {
        start + u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(per_second)).unwrap_or(u64::MAX >> 1)
    };
    // How many are due before a time.
    let due_before =
        |time: u64| (u128::from(time.saturating_sub(start)) * u128::from(per_second)).div_ceil(1_000_000_000) as u64;
    // An amount ends the schedule when the one after its last would be due.
    let last = due_before(opened).saturating_add(lane.most());
    let until = (opened + lane.spec.duration.0.as_nanos() as u64).min(at(last));
    // A schedule far beyond what this end can send is left where it is then, not caught up with for minutes.
    let give_up = until + LINGER_NS;
    let mut number = 0;
    loop {
        let mut now = now_ns();
        open_when_due(lane, opened, now);
        while at(number) <= now && at(number) < until && now < give_up && !lane.control.ending() {
            let intended = at(number);
            if !under_way.ask(lane, number, intended, give_up)? {
                break;
            }
            let missed = now_ns() > at(number + 1);
            under_way.account.missed += u64::from(missed && intended >= opened);
            number += 1;
            // A reply is not left waiting while the schedule is caught up with.
            if missed {
                under_way.take(lane)?;
            }
            now = now_ns();
            open_when_due(lane, opened, now);
        }
        let took = under_way.take(lane)?;
        let late = now_ns() >= give_up;
        let over = at(number) >= until || late || lane.control.ending();
        if lane.control.stopped() || (over && (under_way.queue.is_empty() || late)) {
            break;
        }
        if !took && !lane.spec.tuning.spin {
            let next = if over { give_up } else { at(number) };
            wait(lane, PollFlags::IN, next.saturating_sub(now_ns()));
        }
    }
    if !lane.tally.is_open() {
        lane.tally.open(opened);
    }
    let mut account = under_way.account;
    let unsent = due_before(until.min(now_ns())).saturating_sub(number.max(due_before(opened)));
    account.requests += unsent;
    account.missed += unsent;
    account.unanswered = under_way.queue.iter().filter(|asked| !asked.answered && asked.intended >= opened).count()
        as u64
        + under_way.given_up
        + unsent;
    // What was sent or answered after the window's end took until then: it is no higher rate.
    let end = if unsent > 0 { now_ns() } else { now_ns().min(until).max(under_way.last_answer) };
    let elapsed_ns = end.saturating_sub(opened);
    let tcp = (!lane.spec.test.is_udp()).then(|| {
        let mut tcp = tcp_info(lane.socket);
        tcp.retransmits = tcp.retransmits.zip(retransmits).map(|(after, before)| after.saturating_sub(before));
        let _ = lane.socket.shutdown(std::net::Shutdown::Write);
        tcp
    });
    let latency = Some(Histograms { main: under_way.corrected, uncorrected: Some(under_way.uncorrected) });
    let retries = lane.spec.test.is_udp().then_some(0);
    Ok(Ended { elapsed_ns, tcp, latency, retries, schedule: Some(account), ..Ended::default() })
}

fn open_when_due(lane: &mut Lane<'_>, opened: u64, now: u64) {
    if !lane.tally.is_open() && now >= opened {
        lane.tally.open(now);
    }
}

fn wait(lane: &mut Lane<'_>, what: PollFlags, nanos: u64) {
    let time = Timespec { tv_sec: (nanos / 1_000_000_000) as _, tv_nsec: (nanos % 1_000_000_000) as _ };
    lane.tally.calls += 1;
    let _ = poll(&mut [PollFd::new(lane.socket, what)], Some(&time));
}

/// Requests under way, oldest first, and what became of the others.
struct UnderWay {
    opened: u64,
    request: Vec<u8>,
    response: Vec<u8>,
    /// Bytes of an incomplete response (TCP).
    partial: usize,
    queue: VecDeque<Asked>,
    corrected: hdrhistogram::Histogram<u64>,
    uncorrected: hdrhistogram::Histogram<u64>,
    account: Schedule,
    given_up: u64,
    /// When the last answer of the window came; 0 before.
    last_answer: u64,
}

impl UnderWay {
    fn new(lane: &Lane<'_>, opened: u64) -> Self {
        let spec = lane.spec;
        let room = if spec.test.is_udp() { spec.response.0 as usize + 1 } else { (spec.response.0 as usize).max(4096) };
        Self {
            opened,
            request: vec![0x5a; spec.length.0 as usize],
            response: vec![0; room],
            partial: 0,
            queue: VecDeque::with_capacity(UNDER_WAY),
            corrected: histogram(),
            uncorrected: histogram(),
            account: Schedule::default(),
            given_up: 0,
            last_answer: 0,
        }
    }

    /// Sends a request; `false` when it could not go in time or the job was stopped.
    fn ask(&mut self, lane: &mut Lane<'_>, number: u64, intended: u64, give_up: u64) -> Result<bool, Error> {
        let sent = now_ns();
        if lane.spec.test.is_udp() {
            self.request[..8].copy_from_slice(&number.to_le_bytes());
            lane.tally.calls += 1;
            match lane.socket.send(&self.request) {
                Ok(_) => {}
                Err(error) if is_lost(&error) => {}
                Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
            }
            // Memory is bounded: what so many later ones have overtaken is given up.
            if self.queue.len() == UNDER_WAY
                && let Some(oldest) = self.queue.pop_front()
            {
                self.given_up += u64::from(!oldest.answered && oldest.intended >= self.opened);
            }
        } else if !self.write(lane, give_up)? {
            return Ok(false);
        }
        self.account.requests += u64::from(intended >= self.opened);
        self.queue.push_back(Asked { number, intended, sent, answered: false });
        Ok(true)
    }

    /// Sends a request over a connection, and takes answers while there is no room for it: two ends that both only write
    /// would wait for each other. Answers come in order, so none under way can be given up.
    fn write(&mut self, lane: &mut Lane<'_>, give_up: u64) -> Result<bool, Error> {
        let mut done = 0;
        while done < self.request.len() {
            if self.queue.len() < UNDER_WAY || done > 0 {
                lane.tally.calls += 1;
                match send(lane.socket.as_fd(), &self.request[done..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(sent) => {
                        done += sent;
                        continue;
                    }
                    Err(error) if super::socket::is_pause(&error.into()) => {}
                    Err(_) if lane.control.stopped() => return Ok(false),
                    Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
                }
            }
            if lane.control.stopped() || now_ns() >= give_up {
                return Ok(false);
            }
            if !self.take(lane)? && !lane.spec.tuning.spin {
                let room = self.queue.len() < UNDER_WAY;
                let what = if room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                // Not for longer: the job may be stopped meanwhile.
                wait(lane, what, 10_000_000);
            }
        }
        Ok(true)
    }

    /// Takes what answers are there; was there one?
    fn take(&mut self, lane: &mut Lane<'_>) -> Result<bool, Error> {
        let mut any = false;
        loop {
            lane.tally.calls += 1;
            let received = recv(lane.socket.as_fd(), &mut self.response[..], RecvFlags::DONTWAIT);
            let length = match received.map(|(length, _)| length).map_err(std::io::Error::from) {
                Ok(0) if !lane.spec.test.is_udp() => {
                    return if lane.control.stopped() {
                        Ok(any)
                    } else {
                        Err(lane.failed("the server closed the connection"))
                    };
                }
                Ok(length) => length,
                Err(error) if super::socket::is_pause(&error) => return Ok(any),
                Err(error) if lane.spec.test.is_udp() && is_lost(&error) => return Ok(any),
                Err(_) if lane.control.stopped() => return Ok(any),
                Err(error) => return Err(lane.failed(format_args!("receive: {error}"))),
            };
            any = true;
            let now = now_ns();
            if lane.spec.test.is_udp() {
                self.datagram(lane, length, now);
            } else {
                let whole = lane.spec.response.0 as usize;
                self.partial += length;
                while self.partial >= whole {
                    self.partial -= whole;
                    if let Some(asked) = self.queue.pop_front() {
                        self.book(lane, asked, now);
                    }
                }
            }
        }
    }

    fn datagram(&mut self, lane: &mut Lane<'_>, length: usize, now: u64) {
        if length < 8 {
            return;
        }
        let number =
            u64::from_le_bytes(*self.response.first_chunk().expect("responses of this test have 8 bytes and more"));
        let Some(first) = self.queue.front().map(|asked| asked.number) else { return };
        let found = number.checked_sub(first).and_then(|at| self.queue.get_mut(usize::try_from(at).ok()?));
        if let Some(asked) = found.filter(|asked| !asked.answered) {
            asked.answered = true;
            let asked = *asked;
            self.book(lane, asked, now);
        }
        while self.queue.front().is_some_and(|asked| asked.answered) {
            self.queue.pop_front();
        }
    }

    fn book(&mut self, lane: &mut Lane<'_>, asked: Asked, now: u64) {
        if asked.intended < self.opened {
            lane.tally.omitted_bytes += lane.spec.response.0;
            lane.tally.omitted_units += 1;
            return;
        }
        if !lane.tally.is_open() {
            lane.tally.open(now);
        }
        self.last_answer = now;
        self.corrected.saturating_record(now - asked.intended);
        self.uncorrected.saturating_record(now.saturating_sub(asked.sent));
        lane.tally.add(lane.spec.response.0, 1);
    }
}
