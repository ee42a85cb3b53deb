//! Requests on a schedule, whatever the answers do: latency from the *intended* time of each request.
//!
//! In a closed loop a slow answer delays the next question, so that a stall of a second is one bad sample instead of the
//! thousands that users would have seen (coordinated omission). Here it is all of them. What the same run would have said
//! without the correction, from the time at which each request really went, is kept beside it.

use std::{collections::VecDeque, os::fd::AsFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};

use super::{
    Error,
    clock::now_ns,
    job::{Ended, Histograms, Lane},
    rr::{histogram, is_lost, write_all},
    socket::tcp_info,
};
use crate::measured::Schedule;

/// How long the answers to the last requests are waited for.
const LINGER_NS: u64 = 1_000_000_000;

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
    let until = opened + lane.spec.duration.0.as_nanos() as u64;
    let mut under_way = UnderWay::new(lane, opened);
    let at = |number: u64| start + (u128::from(number) * 1_000_000_000 / u128::from(per_second)) as u64;
    let mut number = 0;
    loop {
        let mut now = now_ns();
        if !lane.tally.is_open() && now >= opened {
            lane.tally.open(now);
        }
        while at(number) <= now && at(number) < until && !lane.control.ending() {
            let intended = at(number);
            under_way.ask(lane, number, intended)?;
            let missed = now_ns() > at(number + 1);
            under_way.account.missed += u64::from(missed && intended >= opened);
            number += 1;
            // A reply is not left waiting while the schedule is caught up with.
            if missed {
                under_way.take(lane)?;
            }
            now = now_ns();
        }
        let took = under_way.take(lane)?;
        let over = at(number) >= until || lane.control.ending();
        if lane.control.stopped() || (over && (under_way.queue.is_empty() || now_ns() >= until + LINGER_NS)) {
            break;
        }
        if !took && !lane.spec.tuning.spin {
            let next = if over { until + LINGER_NS } else { at(number) };
            wait(lane, next.saturating_sub(now_ns()));
        }
    }
    if !lane.tally.is_open() {
        lane.tally.open(opened);
    }
    let mut account = under_way.account;
    account.unanswered = under_way.queue.iter().filter(|asked| !asked.answered && asked.intended >= opened).count()
        as u64
        + under_way.given_up;
    let elapsed_ns = now_ns().min(until).saturating_sub(opened);
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

fn wait(lane: &mut Lane<'_>, nanos: u64) {
    let time = Timespec { tv_sec: (nanos / 1_000_000_000) as _, tv_nsec: (nanos % 1_000_000_000) as _ };
    lane.tally.calls += 1;
    let _ = poll(&mut [PollFd::new(lane.socket, PollFlags::IN)], Some(&time));
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
            queue: VecDeque::with_capacity(1 << 16),
            corrected: histogram(),
            uncorrected: histogram(),
            account: Schedule::default(),
            given_up: 0,
        }
    }

    fn ask(&mut self, lane: &mut Lane<'_>, number: u64, intended: u64) -> Result<(), Error> {
        let sent = now_ns();
        if lane.spec.test.is_udp() {
            self.request[..8].copy_from_slice(&number.to_le_bytes());
            lane.tally.calls += 1;
            match lane.socket.send(&self.request) {
                Ok(_) => {}
                Err(error) if is_lost(&error) => {}
                Err(error) => return Err(lane.failed(format_args!("send: {error}"))),
            }
        } else if !write_all(lane, lane.socket, &self.request)? {
            return Ok(());
        }
        self.account.requests += u64::from(intended >= self.opened);
        // Memory is bounded: what a second's worth and more has not answered is given up.
        if self.queue.len() == 1 << 16
            && let Some(oldest) = self.queue.pop_front()
        {
            self.given_up += u64::from(!oldest.answered && oldest.intended >= self.opened);
        }
        self.queue.push_back(Asked { number, intended, sent, answered: false });
        Ok(())
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
        self.corrected.saturating_record(now - asked.intended);
        self.uncorrected.saturating_record(now.saturating_sub(asked.sent));
        lane.tally.add(lane.spec.response.0, 1);
    }
}
