//! The driver's side: starts workers, sends to them, and gets what they say through one channel, with deadlines.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{
    frame::{self, FrameError},
    message::{BUILD, FromDriver, FromWorker, PROTOCOL},
};

/// A worker must have said hello after this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// A worker must have gone after its pipe was closed for this long; then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// The end of a worker is heard at most so long after another one felt it in its sockets. Waited only where a test failed.
const ECHO: Duration = Duration::from_millis(300);
/// How much of a worker's stderr is kept, bytes.
const STDERR_KEPT: usize = 8 << 10;

/// What went wrong with a worker. Every variant names the namespace it was in.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It could not be started.
    #[error("start a worker in namespace {ns}: {source}")]
    Spawn {
        /// Namespace.
        ns: String,
        /// Why.
        source: io::Error,
    },
    /// It ended, or its pipe broke, before its time.
    #[error("the worker in namespace {ns} {how}{stderr}")]
    Died {
        /// Namespace.
        ns: String,
        /// Exit status, signal or the pipe's error.
        how: String,
        /// What it wrote to stderr, with a separator in front; may be empty.
        stderr: String,
    },
    /// It refused, or a job failed.
    #[error("the worker in namespace {ns}: {what}")]
    Refused {
        /// Namespace.
        ns: String,
        /// Its words.
        what: String,
    },
    /// It said nothing (or not what was waited for) in time.
    #[error("the worker in namespace {ns} did not {what} within {seconds} s")]
    Silent {
        /// Namespace.
        ns: String,
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },
}

/// Something a worker said, or that it is gone.
#[derive(Debug)]
pub enum Event {
    /// A message.
    Said(Box<FromWorker>),
    /// Nothing more comes: its pipe ended, cleanly or not.
    Gone(Option<FrameError>),
}

/// How to start a command inside a namespace, by the namespace's name.
pub type Spawn<'a> = Box<dyn FnMut(&str, &mut Command) -> io::Result<Child> + 'a>;

/// All workers of a run, one per namespace, started when first needed. Dropping it ends them all.
pub struct Workers<'a> {
    exe: PathBuf,
    spawn: Spawn<'a>,
    running: BTreeMap<String, Worker>,
    started: u64,
    sender: Sender<Heard>,
    events: Receiver<Heard>,
}

/// An event with its worker. The number tells a worker from an earlier one in the same namespace, whose end may be heard
/// only after its successor was started.
struct Heard {
    ns: String,
    number: u64,
    event: Event,
}

struct Worker {
    number: u64,
    child: Child,
    /// `None` once the driver has hung up.
    stdin: Option<ChildStdin>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl<'a> Workers<'a> {
    /// Workers of the executable `exe` (netbench itself; `std::env::current_exe` for a program that is).
    pub fn new(exe: PathBuf, spawn: impl FnMut(&str, &mut Command) -> io::Result<Child> + 'a) -> Self {
        let (sender, events) = channel();
        Self { exe, spawn: Box::new(spawn), running: BTreeMap::new(), started: 0, sender, events }
    }

    /// Makes sure that a worker runs in this namespace and speaks our version.
    pub fn ensure(&mut self, ns: &str) -> Result<(), AgentError> {
        if self.running.contains_key(ns) {
            return Ok(());
        }
        let mut command = Command::new(&self.exe);
        command.arg("agent").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C at the terminal is the driver's to handle, workers end when it hangs up.
        command.process_group(0);
        let failed = |source| AgentError::Spawn { ns: ns.to_owned(), source };
        let mut child = (self.spawn)(ns, &mut command).map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(io::Error::other("the spawner did not keep its pipes")));
        };
        let kept = Arc::new(Mutex::new(Vec::new()));
        self.started += 1;
        let number = self.started;
        let worker = Worker { number, child, stdin: Some(stdin), stderr: kept.clone() };
        self.running.insert(ns.to_owned(), worker);
        let (name, events) = (ns.to_owned(), self.sender.clone());
        std::thread::spawn(move || listen(stdout, &name, number, &events));
        std::thread::spawn(move || keep_tail(stderr, &kept));
        self.send(ns, &FromDriver::Hello { protocol: PROTOCOL, build: BUILD.to_owned() })?;
        self.expect(ns, HELLO_TIMEOUT, "say hello", |message| match message {
            FromWorker::Hello { protocol: PROTOCOL, build, .. } if build == BUILD => Some(()),
            _ => None,
        })
    }

    /// Sends a message to a worker that runs.
    pub fn send(&mut self, ns: &str, message: &FromDriver) -> Result<(), AgentError> {
        let Some(worker) = self.running.get_mut(ns) else {
            return Err(AgentError::Refused { ns: ns.to_owned(), what: "was not started".to_owned() });
        };
        let outcome = match &mut worker.stdin {
            Some(stdin) => frame::write(stdin, message),
            None => Err(FrameError::Pipe(io::ErrorKind::BrokenPipe.into())),
        };
        outcome.map_err(|error| match self.last_words(ns) {
            Some(Event::Said(message)) if matches!(*message, FromWorker::Error { .. }) => {
                self.dismiss(ns);
                let FromWorker::Error { what, .. } = *message else { unreachable!("matched above") };
                AgentError::Refused { ns: ns.to_owned(), what }
            }
            Some(Event::Gone(Some(broken))) => self.autopsy(ns, Some(broken)),
            _ => self.autopsy(ns, Some(error)),
        })
    }

    /// What a worker that no longer listens said at its end: that tells more than a broken pipe does.
    fn last_words(&mut self, ns: &str) -> Option<Event> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while let Ok(heard) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let (now, event) = (self.is_running(&heard), heard.event);
            let is_last = match &event {
                Event::Said(message) => matches!(**message, FromWorker::Error { .. }),
                Event::Gone(_) => true,
            };
            if now && heard.ns == ns && is_last {
                return Some(event);
            }
        }
        None
    }

    fn is_running(&self, heard: &Heard) -> bool {
        self.running.get(&heard.ns).is_some_and(|worker| worker.number == heard.number)
    }

    /// The next thing any worker says; `None` when nobody says anything before the deadline.
    /// A worker's death is an error.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<(String, FromWorker)>, AgentError> {
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                // Of a worker that was let go already.
                Ok(heard) if !self.is_running(&heard) => {}
                Ok(Heard { ns, event: Event::Said(message), .. }) => return Ok(Some((ns, *message))),
                Ok(Heard { ns, event: Event::Gone(error), .. }) => return Err(self.autopsy(&ns, error)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Waits for the message of one worker that `pick` wants. An error of any worker ends the wait; all else is passed over.
    pub fn expect<T>(
        &mut self,
        ns: &str,
        patience: Duration,
        what: &str,
        mut pick: impl FnMut(&FromWorker) -> Option<T>,
    ) -> Result<T, AgentError> {
        let deadline = Instant::now() + patience;
        while let Some((from, message)) = self.next(deadline)? {
            if let FromWorker::Error { what, .. } = message {
                return Err(self.refused(from, what));
            }
            if let Some(found) = pick(&message).filter(|_| from == ns) {
                return Ok(found);
            }
        }
        Err(AgentError::Silent { ns: ns.to_owned(), what: what.to_owned(), seconds: patience.as_secs() })
    }

    /// What a worker complained of; where another one died meanwhile, its death, of which the complaint (`Connection reset
    /// by peer`) is the echo.
    pub fn refused(&mut self, ns: String, what: String) -> AgentError {
        let deadline = Instant::now() + ECHO;
        let mut others = Vec::new();
        while let Ok(heard) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            match heard.event {
                Event::Gone(error) if heard.ns != ns && self.is_running(&heard) => {
                    return self.autopsy(&heard.ns, error);
                }
                event => others.push(Heard { event, ..heard }),
            }
        }
        // Nobody did: what was said meanwhile is still to be heard. The receiver is ours: this cannot fail.
        others.into_iter().for_each(|heard| _ = self.sender.send(heard));
        AgentError::Refused { ns, what }
    }

    /// Process ids of the workers, by namespace.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        self.running.iter().map(|(ns, worker)| (ns.clone(), worker.child.id())).collect()
    }

    /// Lets a worker go, for instance after an error: the next [`Workers::ensure`] starts a fresh one.
    pub fn dismiss(&mut self, ns: &str) {
        if let Some(mut worker) = self.running.remove(ns) {
            worker.stdin = None;
            reap(&mut worker.child, EXIT_TIMEOUT);
        }
    }

    /// Lets all workers go.
    pub fn dismiss_all(&mut self) {
        // All pipes first, so that they end side by side.
        self.running.values_mut().for_each(|worker| worker.stdin = None);
        let names: Vec<String> = self.running.keys().cloned().collect();
        names.iter().for_each(|ns| self.dismiss(ns));
    }

    /// What became of a worker that is gone.
    fn autopsy(&mut self, ns: &str, error: Option<FrameError>) -> AgentError {
        let Some(mut worker) = self.running.remove(ns) else {
            return AgentError::Died { ns: ns.to_owned(), how: "is gone".to_owned(), stderr: String::new() };
        };
        worker.stdin = None;
        let patience = if matches!(error, None | Some(FrameError::Pipe(_))) { EXIT_TIMEOUT } else { Duration::ZERO };
        let status = reap(&mut worker.child, patience);
        let mut how = status.map_or_else(|| "was killed, since it did not end".to_owned(), describe);
        if let Some(error) = error.filter(|error| !matches!(error, FrameError::Pipe(_))) {
            how = format!("sent something else than messages ({error}); it {how}");
        }
        // The thread that keeps stderr may need a moment after the end of the process.
        std::thread::sleep(Duration::from_millis(20));
        let kept =
            worker.stderr.lock().map(|kept| String::from_utf8_lossy(&kept).trim().to_owned()).unwrap_or_default();
        let stderr = if kept.is_empty() { kept } else { format!("; it wrote: {kept}") };
        AgentError::Died { ns: ns.to_owned(), how, stderr }
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        self.dismiss_all();
    }
}

fn listen(mut stdout: ChildStdout, ns: &str, number: u64, events: &Sender<Heard>) {
    loop {
        let event = match frame::read(&mut stdout) {
            Ok(Some(message)) => Event::Said(Box::new(message)),
            Ok(None) => Event::Gone(None),
            Err(error) => Event::Gone(Some(error)),
        };
        let over = matches!(event, Event::Gone(_));
        if events.send(Heard { ns: ns.to_owned(), number, event }).is_err() || over {
            return;
        }
    }
}

fn keep_tail(mut stderr: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut chunk) {
        let Ok(mut kept) = kept.lock() else { return };
        kept.extend_from_slice(&chunk[..count]);
        let excess = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..excess);
    }
}

/// Waits for the end of a process; kills it and says `None` when it takes longer.
fn reap(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
