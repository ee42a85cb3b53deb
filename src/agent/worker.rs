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
    egress,
    frame::{self, FrameError},
    message::{BUILD, FromDriver, FromWorker, PROTOCOL},
};
use crate::traffic::{Client, Error, JobSampler, Running, Server};

/// Jobs a worker holds at a time.
const JOBS: usize = 512;

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
    sampler: JobSampler,
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
        runs.map(|run| run.sampler.next_look().saturating_duration_since(now)).min()
    }

    fn tell_progress(&mut self) -> Result<(), FrameError> {
        let now = Instant::now();
        let mut news = Vec::new();
        for (&job, state) in &mut self.jobs {
            if let Job::Running(run) = state
                && let Some((interval, streams)) = run.sampler.look(&run.running, now)
            {
                news.push(FromWorker::Progress { job, interval, streams });
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
                let sampler = JobSampler::new(running.spec().interval.0);
                self.jobs.insert(job, Job::Running(Box::new(Run { running, sampler })));
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
        let Run { running, sampler } = *run;
        let opened_ns = running.sample().opened_ns;
        let spec = running.spec().clone();
        let message = match running.collect() {
            Ok(mut side) => {
                sampler.close(&mut side);
                egress::tell(&spec, &mut side);
                FromWorker::Result { job, side, opened_ns }
            }
            Err(error) => FromWorker::Error { job: Some(job), what: error.to_string() },
        };
        self.say(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
