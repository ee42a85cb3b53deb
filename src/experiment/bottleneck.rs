//! What kept a stream from going faster, with the evidence. A pure function; its truth is tested by faults of known kind
//! (tests/bottleneck.rs), and docs/bottleneck.md has the matrix.
//!
//! The kernel itself keeps the time in which a TCP sender had data and was held back, and by what (`tcpi_busy_time`,
//! `tcpi_rwnd_limited`, `tcpi_sndbuf_limited`, since 4.10). A closed window says that the receiver does not take the data; why
//! not is told by the receiver's thread: busy, waiting for its CPU, or neither.

use super::profile::achieved;
use crate::{
    measured::{CpuLoad, Side, Test},
    plan::ceiling::{Bound, RateSource},
    record::{Bottleneck, Limit},
};

/// A thread that runs, or waits to run, for this share of the window has no more to give.
const SATURATED: f64 = 0.85;
/// A thread that waits for its CPU for this share of the window has to share it, and is held back by that.
const STARVED: f64 = 0.3;
/// Share of the busy time from which a window or a buffer is the limit.
const HELD_BACK: f64 = 0.2;
/// Share of the busy time up to which a full window is what a lost segment makes of it.
const HOLES: f64 = 0.5;
/// Share of the window in which payload lay unread, from which the reader is the limit.
const UNREAD: f64 = 0.3;
/// Share of lost or resent payload from which loss is the limit.
const LOSSY: f64 = 0.0005;
/// Share of a CPU's time in softirq from which it has no more to give.
const SOFTIRQ: f64 = 0.85;
/// Share of the packets that a busy CPU received which are not of the flow, from which they may be what keeps it busy.
const FOREIGN: f64 = 0.2;
/// Of a ceiling: from here on the wire is full.
const FULL: f64 = 0.97;
/// Share of requests that went later than the next was due, from which the generator is the limit.
const MISSED: f64 = 0.01;
/// Of an asked rate: what a sender that keeps it reaches at least.
const KEPT: f64 = 0.93;

/// From here on a wait for a CPU, and what others used of one meanwhile, may have changed the verdict.
const DISTURBED: f64 = 0.1;
/// Where no more than this share of all CPUs was idle, threads of the kernel had to share one too.
const BUSY: f64 = 0.05;

/// What is known of a round.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'i> {
    /// The test.
    pub test: Test,
    /// Sender.
    pub sender: &'i Side,
    /// Receiver.
    pub receiver: &'i Side,
    /// Rate asked of all streams together, bits per second.
    pub asked: Option<f64>,
    /// A receive buffer was asked for.
    pub rcvbuf_asked: bool,
    /// A send buffer was asked for.
    pub sndbuf_asked: bool,
    /// Drops and errors that the interfaces of the path counted.
    pub dropped: u64,
    /// Packets that queueing disciplines on the way dropped.
    pub qdisc_dropped: u64,
    /// Packets that the interfaces of the path received, both ways, and those below them; none where no interface of it is known.
    pub received: Option<u64>,
    /// The narrowest place of the path with a known rate.
    pub bound: Option<&'i Bound>,
}

/// The verdict on a stream; none for request/response tests, which are limited by their round trip, unless they are on a
/// schedule that the client could not keep. It says so when what ran beside may have brought it about.
pub fn judge(inputs: &Inputs<'_>) -> Option<Bottleneck> {
    let mut found = limit(inputs)?;
    // What was reached was reached, whoever else ran.
    if !matches!(found.limit, Limit::AskedRate | Limit::WireRate) {
        found.inconclusive = crowded(inputs).or_else(|| disturbed(inputs));
    }
    Some(found)
}

/// What other programs, and other flows, did to the threads of this one. Their time is all time in user space but that of these data
/// threads: time in the kernel may be work for the flow. Where the ends are on two hosts the other's threads are taken off too: rather too few
/// are blamed than too many.
fn disturbed(inputs: &Inputs<'_>) -> Option<String> {
    let own = |side: &Side| side.streams.iter().map(|s| s.cpu.user_ns as f64 / s.elapsed_ns.max(1) as f64).sum::<f64>();
    let own = own(inputs.sender) + own(inputs.receiver);
    let sides = [("sender", inputs.sender), ("receiver", inputs.receiver)];
    let seen = sides.into_iter().filter(|(_, side)| !side.cpus.is_empty()).find_map(|(whose, side)| {
        let others = side.cpus.iter().map(|load| load.user).sum::<f64>() - own;
        let waiting = Thread::of(side).waiting;
        let idle = side.cpus.iter().map(|load| load.idle).sum::<f64>() / side.cpus.len() as f64;
        (others >= DISTURBED && (waiting >= DISTURBED || idle <= BUSY)).then_some((whose, others, waiting, idle))
    });
    seen.map(|(whose, others, waiting, idle)| {
        format!(
            "what ran beside this stream used {:.0} % of a CPU; the {whose}'s thread waited for one {:.0} % of the time, and {:.0} % of all CPUs was idle",
            others * 100.0,
            waiting * 100.0,
            idle * 100.0
        )
    })
}

/// Packets of others on the CPU that received most. Which of them are the flow's nobody counts, so at most as many as the interfaces of its
/// path received.
fn crowded(inputs: &Inputs<'_>) -> Option<String> {
    // Both ends may be on one machine.
    let ends = inputs.sender.arrived.zip(inputs.receiver.arrived).map(|(sender, receiver)| sender + receiver);
    let (load, own) = (hottest(inputs).filter(|load| load.softirq >= SOFTIRQ / 2.0)?, inputs.received.or(ends)?);
    let (all, foreign) = (load.softnet_processed, load.softnet_processed.saturating_sub(own));
    (foreign as f64 > all as f64 * FOREIGN).then(|| {
        let (cpu, softirq) = (load.cpu, load.softirq * 100.0);
        format!(
            "other traffic on CPU {cpu}, which spent {softirq:.0} % in softirq: of the {all} packets that it received at most {own} crossed the path of this flow"
        )
    })
}

fn limit(inputs: &Inputs<'_>) -> Option<Bottleneck> {
    if inputs.test.is_rr() {
        return schedule(inputs.sender);
    }
    if inputs.receiver.bytes() == 0 {
        return None;
    }
    let (sender, receiver) = (Thread::of(inputs.sender), Thread::of(inputs.receiver));
    if let Some(bound) = inputs.bound
        && achieved(inputs.receiver) >= bound.goodput() * FULL
    {
        let share = achieved(inputs.receiver) / bound.goodput() * 100.0;
        let what = match bound.rate.source {
            RateSource::Shaper => "shaper",
            RateSource::Port => "port",
        };
        let evidence = format!("{share:.1} % of what the {what} of {} at {} can carry", bound.rate.rate, bound.at);
        return Some(verdict(Limit::WireRate, evidence));
    }
    if let Some(asked) = inputs.asked
        && inputs.receiver.bits_per_second() >= asked * KEPT
    {
        let share = inputs.receiver.bits_per_second() / asked * 100.0;
        return Some(verdict(Limit::AskedRate, format!("{share:.0} % of the asked rate was kept")));
    }
    if let Some(found) = generator(inputs, sender) {
        return Some(found);
    }
    Some(match inputs.test {
        Test::UdpStream | Test::FrameStream => datagrams(inputs, sender, receiver),
        _ => bytes(inputs, sender, receiver),
    })
}

/// Requests that went too late.
fn schedule(client: &Side) -> Option<Bottleneck> {
    let schedules = || client.streams.iter().filter_map(|stream| stream.schedule);
    let requests: u64 = schedules().map(|schedule| schedule.requests).sum();
    let missed: u64 = schedules().map(|schedule| schedule.missed).sum();
    (missed as f64 > requests as f64 * MISSED).then(|| {
        let thread = Thread::of(client).text("its");
        let evidence = format!("{missed} of {requests} requests went later than the next was due, {thread}");
        verdict(Limit::Generator, evidence)
    })
}

/// A sender that was told a rate, did not put it on the socket, and had no time left to: what was measured is itself.
fn generator(inputs: &Inputs<'_>, sender: Thread) -> Option<Bottleneck> {
    let asked = inputs.asked.filter(|_| inputs.test.is_connectionless())?;
    let sent = inputs.sender.bits_per_second() / asked;
    (sent < KEPT && sender.exhausted()).then(|| {
        let evidence = format!("it sent {:.0} % of the asked rate, {}", sent * 100.0, sender.text("its"));
        verdict(Limit::Generator, evidence)
    })
}

fn verdict(limit: Limit, evidence: String) -> Bottleneck {
    Bottleneck { limit, evidence, inconclusive: None }
}

fn bytes(inputs: &Inputs<'_>, sender: Thread, receiver: Thread) -> Bottleneck {
    let held = Held::of(inputs.sender);
    // Whatever held back the little that there was to send. Loss does not empty a connection: it is busy while it sends again.
    if held.busy < 0.5 && !sender.exhausted() {
        let idle = (1.0 - held.busy) * 100.0;
        return verdict(Limit::SenderApp, format!("the connection had nothing to send {idle:.0} % of the time"));
    }
    let resent: u64 = tcp(inputs.sender).filter_map(|tcp| tcp.bytes_retransmitted).sum();
    let share = resent as f64 / inputs.sender.all_bytes().max(1) as f64;
    // What comes after a hole cannot be read yet and fills the window: the loss did that, not the reader.
    let behind_holes = share >= LOSSY && held.rwnd < HOLES && !inputs.rcvbuf_asked;
    if held.rwnd >= HELD_BACK && held.rwnd >= held.sndbuf && (!behind_holes || receiver.exhausted()) {
        let closed = format!("the receiver's window was full {:.0} % of the busy time", held.rwnd * 100.0);
        let (limit, why) = if receiver.starved() {
            (Limit::ReceiverCpu, format!("its thread waited for a CPU {:.0} % of the time", receiver.waiting * 100.0))
        } else if receiver.exhausted() && !inputs.rcvbuf_asked {
            (Limit::ReceiverCpu, receiver.text("its"))
        } else if inputs.rcvbuf_asked {
            (Limit::ReceiveWindow, "and its buffer was asked for".to_owned())
        } else {
            (Limit::ReceiverApp, format!("while {}: it did not read", receiver.text("its")))
        };
        return verdict(limit, format!("{closed}, {why}"));
    }
    // Its window need not fill for that: a congestion control that measures a rate settles at what it sees of such a reader.
    let unread = unread(inputs.receiver) - receiver.waiting;
    if unread >= UNREAD && !receiver.exhausted() {
        let (share, thread) = (unread * 100.0, receiver.text("its"));
        let evidence = format!("payload lay in its socket and was not read {share:.0} % of the time, while {thread}");
        return verdict(Limit::ReceiverApp, evidence);
    }
    if held.sndbuf >= HELD_BACK {
        let asked = if inputs.sndbuf_asked { ", which was asked for" } else { "" };
        let share = held.sndbuf * 100.0;
        return verdict(
            Limit::SendBuffer,
            format!("the send buffer{asked} was too small {share:.0} % of the busy time"),
        );
    }
    if let Some(found) = processors(inputs, sender, receiver) {
        return found;
    }
    if inputs.qdisc_dropped > 0 && share > 0.0 {
        let (dropped, percent) = (inputs.qdisc_dropped, share * 100.0);
        let evidence = format!("queueing disciplines dropped {dropped} packets, {percent:.2} % was sent again");
        return verdict(Limit::QdiscDrops, evidence);
    }
    if inputs.dropped > 0 && share > 0.0 {
        let dropped = inputs.dropped;
        return verdict(
            Limit::PathDrops,
            format!("interfaces dropped {dropped} packets, {:.2} % was sent again", share * 100.0),
        );
    }
    if share >= LOSSY {
        return verdict(Limit::Congestion, format!("{:.2} % was lost and sent again", share * 100.0));
    }
    if let Some((window, buffer)) = unused_window(inputs.sender).filter(|_| inputs.sndbuf_asked) {
        let evidence = format!("the congestion window allowed {window} bytes in flight, the send buffer {buffer}");
        return verdict(Limit::SendBuffer, evidence);
    }
    let queue = tcp(inputs.sender).find_map(|tcp| tcp.rtt_us.zip(tcp.min_rtt_us));
    let queue =
        queue.map(|(rtt, least)| format!(", round trip {rtt} µs of which {} µs in queues", rtt.saturating_sub(least)));
    verdict(
        Limit::Path,
        format!("both ends had time left and the congestion window was full{}", queue.unwrap_or_default()),
    )
}

fn datagrams(inputs: &Inputs<'_>, sender: Thread, receiver: Thread) -> Bottleneck {
    let seen = || inputs.receiver.streams.iter().filter_map(|stream| stream.datagrams.as_ref());
    let sent: u64 = seen().map(|seen| seen.sent).sum();
    let lost: u64 = seen().map(|seen| seen.lost).sum();
    let in_socket: u64 = seen().filter_map(|seen| seen.socket_drops).sum::<u64>().min(lost);
    let share = lost as f64 / sent.max(1) as f64;
    if share >= LOSSY && in_socket * 2 > lost {
        let lost = format!("{:.2} % was lost in the receiving socket", share * 100.0);
        let thread = receiver.text("its");
        // While a thread waits for its CPU its buffer fills.
        return if receiver.exhausted() || (receiver.waiting >= DISTURBED && !inputs.rcvbuf_asked) {
            verdict(Limit::ReceiverCpu, format!("{lost}, {thread}"))
        } else if inputs.rcvbuf_asked {
            verdict(Limit::ReceiveWindow, format!("{lost}, whose buffer was asked for; {thread}"))
        } else {
            verdict(Limit::ReceiverApp, format!("{lost}, {thread}"))
        };
    }
    if share >= LOSSY {
        let (percent, dropped, queued) = (share * 100.0, inputs.dropped, inputs.qdisc_dropped);
        if queued > dropped {
            let evidence = format!("{percent:.2} % was lost, queueing disciplines on the way dropped {queued} packets");
            return verdict(Limit::QdiscDrops, evidence);
        }
        // An interface counts as its own what the backlog of a CPU had no room for.
        let backlog: u64 = backlogs(inputs);
        if dropped > 0 && backlog * 2 >= dropped {
            let evidence = format!("{percent:.2} % was lost on the way, backlogs of CPUs dropped {backlog} packets");
            return verdict(Limit::Softirq, evidence);
        }
        let limit = if dropped > 0 { Limit::PathDrops } else { Limit::Congestion };
        return verdict(limit, format!("{percent:.2} % was lost on the way, interfaces counted {dropped} drops"));
    }
    processors(inputs, sender, receiver).unwrap_or_else(|| {
        verdict(Limit::Path, format!("no loss, and the sender was made to wait ({})", sender.text("its")))
    })
}

/// A data thread without time left, or a CPU that is full of receive work; then a thread that has to share its CPU and is held back by
/// that, whatever it could do, and receive work that has to.
fn processors(inputs: &Inputs<'_>, sender: Thread, receiver: Thread) -> Option<Bottleneck> {
    let (limit, thread) =
        if sender.wanted() >= receiver.wanted() { (Limit::SenderCpu, sender) } else { (Limit::ReceiverCpu, receiver) };
    let when = |found: bool| found.then(|| verdict(limit, thread.text("its")));
    when(thread.wanted() >= SATURATED)
        .or_else(|| softirq(inputs, false))
        .or_else(|| when(thread.starved()))
        .or_else(|| softirq(inputs, true))
}

/// Share of the window in which payload lay unread in the sockets of a receiver of byte streams: that of the worst of them.
fn unread(side: &Side) -> f64 {
    let share = |stream: &crate::measured::Stream| {
        Some(stream.io.as_ref()?.unread_ns? as f64 / stream.elapsed_ns.max(1) as f64)
    };
    side.streams.iter().filter_map(share).fold(0.0, f64::max)
}

/// Packets that the backlogs of the CPUs of both ends dropped; of one machine both ends tell the same.
fn backlogs(inputs: &Inputs<'_>) -> u64 {
    let sum = |side: &Side| side.cpus.iter().map(|load| load.softnet_dropped).sum::<u64>();
    sum(inputs.sender).max(sum(inputs.receiver))
}

/// The CPU that spent most of its time in softirq.
fn hottest<'i>(inputs: &Inputs<'i>) -> Option<&'i CpuLoad> {
    let loads = inputs.sender.cpus.iter().chain(&inputs.receiver.cpus);
    loads.max_by(|a, b| a.softirq.total_cmp(&b.softirq))
}

/// A CPU that did nothing but receive, or, where it had to share, most of what it did.
fn softirq(inputs: &Inputs<'_>, shared: bool) -> Option<Bottleneck> {
    let hottest = hottest(inputs)?;
    let dropped = hottest.softnet_dropped;
    // Half is enough where the backlog overflowed, or where the CPU had no time left: other programs took the rest.
    let short = shared && (dropped > 0 || hottest.idle <= BUSY);
    (hottest.softirq >= if short { SOFTIRQ / 2.0 } else { SOFTIRQ }).then(|| {
        let (cpu, share, idle) = (hottest.cpu, hottest.softirq * 100.0, hottest.idle * 100.0);
        verdict(
            Limit::Softirq,
            format!("CPU {cpu} spent {share:.0} % in softirq and was idle {idle:.0} %, its backlog dropped {dropped} packets"),
        )
    })
}

/// The busiest thread of a side, in shares of its window.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    running: f64,
    waiting: f64,
}

impl Thread {
    fn of(side: &Side) -> Self {
        let threads = side.streams.iter().map(|stream| {
            let share = |nanos: u64| nanos as f64 / stream.elapsed_ns.max(1) as f64;
            Self {
                running: share(stream.cpu.user_ns + stream.cpu.system_ns),
                waiting: share(stream.cpu.waiting_ns.unwrap_or(0)),
            }
        });
        threads.max_by(|a, b| a.wanted().total_cmp(&b.wanted())).unwrap_or_default()
    }

    /// How much of a CPU it would have taken.
    fn wanted(self) -> f64 {
        self.running + self.waiting
    }

    fn starved(self) -> bool {
        self.waiting >= STARVED
    }

    /// No time left, or it had to wait for what it got.
    fn exhausted(self) -> bool {
        self.wanted() >= SATURATED || self.starved()
    }

    fn text(self, whose: &str) -> String {
        let (running, waiting) = (self.running * 100.0, self.waiting * 100.0);
        format!("{whose} thread ran {running:.0} % and waited for a CPU {waiting:.0} % of the time")
    }
}

/// Shares of the time in which the connections of a sender had data in flight or to send.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Of the window.
    busy: f64,
    /// Of the busy time.
    rwnd: f64,
    sndbuf: f64,
}

impl Held {
    fn of(side: &Side) -> Self {
        let sum = |pick: fn(&crate::measured::TcpInfo) -> Option<u64>| tcp(side).filter_map(pick).sum::<u64>() as f64;
        let busy = sum(|tcp| tcp.busy_us);
        let window: u64 = side.streams.iter().map(|stream| stream.elapsed_ns / 1000).sum();
        let of_busy = |part: f64| if busy > 0.0 { part / busy } else { 0.0 };
        Self {
            busy: if window == 0 || busy == 0.0 { 1.0 } else { busy / window as f64 },
            rwnd: of_busy(sum(|tcp| tcp.rwnd_limited_us)),
            sndbuf: of_busy(sum(|tcp| tcp.sndbuf_limited_us)),
        }
    }
}

/// A congestion window larger than the whole send buffer can never be used: its bytes, and the buffer's. The kernel does not
/// count that time as limited by the buffer while acknowledgements come one by one.
fn unused_window(side: &Side) -> Option<(u64, u64)> {
    side.streams.iter().find_map(|stream| {
        let tcp = stream.tcp.as_ref()?;
        let window = u64::from(tcp.snd_cwnd?) * u64::from(tcp.snd_mss?);
        (window > stream.socket.sndbuf).then_some((window, stream.socket.sndbuf))
    })
}

fn tcp(side: &Side) -> impl Iterator<Item = &crate::measured::TcpInfo> {
    side.streams.iter().filter_map(|stream| stream.tcp.as_ref())
}

#[cfg(test)]
#[path = "bottleneck/tests.rs"]
mod tests;
