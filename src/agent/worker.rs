//! The worker process: reads messages, runs jobs, reports. One control thread beside the data threads.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{
    frame::{self, FrameError},
    message::{BUILD, FromDriver, FromWorker, PROTOCOL},
};
use crate::{
    measured::{Interval, Side},
    traffic::{Client, Error, Running, Sample, Server},
};

/// Jobs a worker holds at a time.
const JOBS: usize = 64;
/// How often a job is looked at whose window has not opened.
const UNOPENED: Duration = Duration::from_millis(10);

enum Inbox {
    Message(Box<FromDriver>),
    Broken(FrameError),
    Closed,
    Done(u32),
}

enum Job {
    Server(Server),
    Client(Client),
    Running(Box<Run>),
}

struct Run {
    running: Running,
    sampler: Sampler,
    /// Of the direction back to the client.
    back: Sampler,
}

/// Serves the driver until it says goodbye or its pipe ends. Data threads that still run end with the process, so a caller
/// must exit after this. `greeted` is called once, before the answer to the driver's hello.
pub fn serve(input: impl Read + Send + 'static, output: impl Write, greeted: impl FnMut()) -> Result<(), FrameError> {
    let (sender, inbox) = channel();
    let events = sender.clone();
    std::thread::spawn(move || read_messages(input, &sender));
    let mut worker = Worker { output, events, jobs: BTreeMap::new(), greeted: false, on_hello: greeted };
    worker.run(&inbox)
}

fn read_messages(mut input: impl Read, inbox: &Sender<Inbox>) {
    loop {
        let (item, over) = match frame::read(&mut input) {
            Ok(Some(message)) => (Inbox::Message(Box::new(message)), false),
            Ok(None) => (Inbox::Closed, true),
            Err(error) => (Inbox::Broken(error), true),
        };
        if inbox.send(item).is_err() || over {
            return;
        }
    }
}

struct Worker<W, G> {
    output: W,
    events: Sender<Inbox>,
    jobs: BTreeMap<u32, Job>,
    greeted: bool,
    on_hello: G,
}

impl<W: Write, G: FnMut()> Worker<W, G> {
    fn run(&mut self, inbox: &Receiver<Inbox>) -> Result<(), FrameError> {
        loop {
            let item = match self.next_look() {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match item {
                Ok(Inbox::Closed) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Inbox::Message(message)) if *message == FromDriver::Bye => return Ok(()),
                Ok(Inbox::Message(message)) => {
                    if let Err((job, what)) = self.obey(*message) {
                        self.say(&FromWorker::Error { job, what })?;
                        if job.is_none() {
                            return Ok(());
                        }
                    }
                }
                Ok(Inbox::Broken(error)) => {
                    self.say(&FromWorker::Error { job: None, what: error.to_string() })?;
                    return Err(error);
                }
                Ok(Inbox::Done(job)) => self.report(job)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tell_progress()?;
        }
    }

    fn say(&mut self, message: &FromWorker) -> Result<(), FrameError> {
        frame::write(&mut self.output, message)
    }

    /// Until when to wait for messages, at most.
    fn next_look(&self) -> Option<Duration> {
        let now = Instant::now();
        let runs = self.jobs.values().filter_map(|job| if let Job::Running(run) = job { Some(run) } else { None });
        runs.map(|run| run.sampler.next_look.saturating_duration_since(now)).min()
    }

    fn tell_progress(&mut self) -> Result<(), FrameError> {
        let now = Instant::now();
        let mut news = Vec::new();
        for (&job, state) in &mut self.jobs {
            if let Job::Running(run) = state
                && run.sampler.next_look <= now
                && let Some(mut interval) = run.sampler.look(run.running.sample(), now)
            {
                // What is told is of both directions, which are booked each for itself.
                if let Some(back) = run.running.sample_back().and_then(|sample| run.back.look(sample, now)) {
                    interval.bytes += back.bytes;
                }
                news.push(FromWorker::Progress { job, interval });
            }
        }
        news.iter().try_for_each(|message| self.say(message))
    }

    /// Does as told. An error without a job ends the conversation.
    fn obey(&mut self, message: FromDriver) -> Result<(), (Option<u32>, String)> {
        if !self.greeted && !matches!(message, FromDriver::Hello { .. }) {
            return Err((None, "the first message was no hello".to_owned()));
        }
        let of = |job: u32| move |error: Error| (Some(job), error.to_string());
        let broken = |error: FrameError| (None, error.to_string());
        match message {
            FromDriver::Hello { protocol, build } => {
                if (protocol, &*build) != (PROTOCOL, BUILD) {
                    let what = format!(
                        "versions differ: this worker is netbench {BUILD} (protocol {PROTOCOL}), the driver {build} (protocol {protocol})"
                    );
                    return Err((None, what));
                }
                if !std::mem::replace(&mut self.greeted, true) {
                    (self.on_hello)();
                }
                self.say(&FromWorker::Hello { protocol: PROTOCOL, build: BUILD.to_owned(), pid: std::process::id() })
                    .map_err(broken)?;
            }
            FromDriver::PrepareServer { job, spec, address } => {
                self.vacant(job)?;
                let server = Server::bind(spec, address).map_err(of(job))?;
                let (ports, mac) = (server.ports().to_vec(), server.mac());
                self.jobs.insert(job, Job::Server(server));
                self.say(&FromWorker::Bound { job, ports, mac }).map_err(broken)?;
            }
            FromDriver::PrepareClient { job, spec, from, targets } => {
                self.vacant(job)?;
                let client = Client::connect(spec, from, &targets).map_err(of(job))?;
                let locals = client.locals().to_vec();
                self.jobs.insert(job, Job::Client(client));
                self.say(&FromWorker::Connected { job, locals }).map_err(broken)?;
            }
            FromDriver::Start { job, peers } => {
                let events = self.events.clone();
                let done = Arc::new(move || _ = events.send(Inbox::Done(job)));
                let running = match self.jobs.remove(&job) {
                    Some(Job::Server(server)) => server.start(&peers, done),
                    Some(Job::Client(client)) => client.start(done),
                    Some(running @ Job::Running(_)) => {
                        self.jobs.insert(job, running);
                        return Err((Some(job), format!("job {job} runs already")));
                    }
                    None => return Err((Some(job), format!("there is no job {job} to start"))),
                }
                .map_err(of(job))?;
                let [sampler, back] = [(); 2].map(|()| Sampler::new(running.spec().interval.0));
                self.jobs.insert(job, Job::Running(Box::new(Run { running, sampler, back })));
                self.say(&FromWorker::Started { job }).map_err(broken)?;
            }
            FromDriver::Finish { job, totals } => {
                // A job that ended by itself is no longer here, and needs no word.
                if let Some(Job::Running(run)) = self.jobs.get(&job) {
                    run.running.finish(&totals);
                }
            }
            FromDriver::End { job } => {
                if let Some(Job::Running(run)) = self.jobs.get(&job) {
                    run.running.end();
                }
            }
            FromDriver::Stop { job } => match self.jobs.get(&job) {
                Some(Job::Running(run)) => run.running.stop(),
                _ => _ = self.jobs.remove(&job),
            },
            FromDriver::Bye => {}
        }
        Ok(())
    }

    fn vacant(&self, job: u32) -> Result<(), (Option<u32>, String)> {
        match self.jobs.contains_key(&job) {
            true => Err((Some(job), format!("job {job} is there already"))),
            false if self.jobs.len() >= JOBS => Err((Some(job), format!("{JOBS} jobs at a time are the limit"))),
            false => Ok(()),
        }
    }

    fn report(&mut self, job: u32) -> Result<(), FrameError> {
        let Some(Job::Running(run)) = self.jobs.remove(&job) else { return Ok(()) };
        let Run { running, sampler, back } = *run;
        let message = match running.collect() {
            Ok(mut side) => {
                side.intervals = sampler.close_for(&side);
                if let Some(other) = &mut side.back {
                    other.intervals = back.close_for(other);
                }
                FromWorker::Result { job, side }
            }
            Err(error) => FromWorker::Error { job: Some(job), what: error.to_string() },
        };
        self.say(&message)
    }
}

/// Cuts a job's running counters into intervals whose sums are its totals.
struct Sampler {
    every: Duration,
    next_look: Instant,
    /// When the window opened (`CLOCK_MONOTONIC`, nanoseconds); 0 before.
    opened_ns: u64,
    /// Bytes and units told so far.
    told: (u64, u64),
    intervals: Vec<Interval>,
}

impl Sampler {
    fn new(every: Duration) -> Self {
        Self {
            every,
            next_look: Instant::now() + UNOPENED.min(every),
            opened_ns: 0,
            told: (0, 0),
            intervals: Vec::new(),
        }
    }

    fn look(&mut self, sample: Sample, now: Instant) -> Option<Interval> {
        if sample.opened_ns == 0 {
            self.next_look = now + UNOPENED.min(self.every);
            return None;
        }
        let age = Duration::from_nanos(sample.at_ns.saturating_sub(sample.opened_ns));
        let opened_now = self.opened_ns == 0;
        self.opened_ns = sample.opened_ns;
        // The grid of intervals is anchored at the opening, so that late looks do not add up.
        let next = self.every * (age.as_nanos() / self.every.as_nanos() + 1).min(u128::from(u32::MAX)) as u32;
        self.next_look = now + next.saturating_sub(age);
        if opened_now && age < self.every {
            return None;
        }
        let start_ns = self.intervals.last().map_or(0, |last| last.end_ns);
        let interval = Interval {
            start_ns,
            end_ns: (age.as_nanos() as u64).max(start_ns),
            bytes: sample.bytes.saturating_sub(self.told.0),
            units: sample.units.saturating_sub(self.told.1),
        };
        self.told = (sample.bytes.max(self.told.0), sample.units.max(self.told.1));
        self.intervals.push(interval);
        Some(interval)
    }

    /// The intervals of a side.
    fn close_for(self, side: &Side) -> Vec<Interval> {
        let longest = side.streams.iter().map(|s| s.elapsed_ns).max().unwrap_or(0);
        self.close(longest, side.bytes(), side.units())
    }

    /// The intervals of the whole window. A rest shorter than half an interval joins the one before; so does what was
    /// looked at after the window had closed.
    fn close(mut self, elapsed_ns: u64, bytes: u64, units: u64) -> Vec<Interval> {
        let mut rest = Interval {
            start_ns: self.intervals.last().map_or(0, |last| last.end_ns),
            end_ns: elapsed_ns,
            bytes: bytes.saturating_sub(self.told.0),
            units: units.saturating_sub(self.told.1),
        };
        let shortest = self.every.as_nanos() as u64 / 2;
        while let Some(last) = self.intervals.pop_if(|_| rest.start_ns + shortest > elapsed_ns) {
            rest.start_ns = last.start_ns;
            rest.bytes += last.bytes;
            rest.units += last.units;
        }
        if elapsed_ns > 0 {
            self.intervals.push(rest);
        }
        self.intervals
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_sum_to_the_totals(looks in prop::collection::vec((1u64..400_000_000, 0u64..1_000_000), 0..40), tail in 0u64..90_000_000, late in prop_oneof![Just(0u64), 0u64..900_000_000]) {
            let mut sampler = Sampler::new(Duration::from_millis(100));
            let (mut at_ns, mut bytes) = (1_000, 0);
            let now = Instant::now();
            for (step, more) in looks {
                at_ns += step;
                bytes += more;
                sampler.look(Sample { opened_ns: 1_000, at_ns, bytes, units: bytes / 7 }, now);
            }
            // The last byte may have come before the last looks.
            let elapsed = (at_ns - 1_000 + tail).saturating_sub(late);
            let intervals = sampler.close(elapsed, bytes + 11, bytes / 7 + 1);
            if elapsed > 0 {
                prop_assert_eq!(intervals.iter().map(|i| i.bytes).sum::<u64>(), bytes + 11);
                prop_assert_eq!(intervals.iter().map(|i| i.units).sum::<u64>(), bytes / 7 + 1);
                prop_assert_eq!(intervals[0].start_ns, 0);
                prop_assert_eq!(intervals.last().unwrap().end_ns, elapsed);
                prop_assert!(intervals.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
            }
        }
    }

    fn conversation(messages: &[FromDriver], tail: &[u8]) -> (Vec<FromWorker>, Result<(), FrameError>) {
        let mut input = Vec::new();
        messages.iter().for_each(|message| frame::write(&mut input, message).unwrap());
        input.extend(tail);
        let mut output = Vec::new();
        let outcome = serve(std::io::Cursor::new(input), &mut output, || {});
        let mut reader = &output[..];
        let mut said = Vec::new();
        while let Some(message) = frame::read(&mut reader).unwrap() {
            said.push(message);
        }
        (said, outcome)
    }

    fn hello() -> FromDriver {
        FromDriver::Hello { protocol: PROTOCOL, build: BUILD.to_owned() }
    }

    #[test]
    fn another_version_is_refused_in_words() {
        let (said, _) = conversation(&[FromDriver::Hello { protocol: 99, build: "7.0".into() }], b"");
        let [FromWorker::Error { job: None, what }] = &said[..] else { panic!("{said:?}") };
        assert!(what.contains("versions differ") && what.contains("7.0 (protocol 99)"), "{what}");
        let (said, _) = conversation(&[FromDriver::Stop { job: 1 }], b"");
        assert!(matches!(&said[..], [FromWorker::Error { job: None, .. }]), "{said:?}");
    }

    #[test]
    fn nonsense_is_answered_and_garbage_ends_the_talk() {
        let (said, outcome) =
            conversation(&[hello(), FromDriver::Start { job: 5, peers: vec![] }], b"\xff\xff\xff\xffxx");
        assert!(matches!(said[0], FromWorker::Hello { protocol: PROTOCOL, .. }));
        assert!(matches!(said[1], FromWorker::Error { job: Some(5), .. }));
        assert!(matches!(said[2], FromWorker::Error { job: None, .. }));
        assert!(matches!(outcome, Err(FrameError::Length(_))));
    }
}
