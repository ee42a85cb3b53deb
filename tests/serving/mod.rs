//! A `netbench serve` beside the test, and what it says.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use netbench::record::RunRecord;

use crate::lab::{Done, Lab, NETBENCH, eventually};

/// The token of all servers of the tests.
pub const TOKEN: &str = "hark-who-goes-there";

/// A server; dropped, it is killed.
pub struct Serve {
    pub child: Child,
    pub port: u16,
    said: Arc<Mutex<Vec<String>>>,
}

impl Serve {
    /// Starts what the command says, with the tests' token, and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        command.env("NETBENCH_TOKEN", TOKEN);
        Self::start_as_it_is(command)
    }

    /// The same with the token that the command says, or that it makes.
    pub fn start_as_it_is(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = said.clone();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        let mut serve = Self { child, port: 0, said };
        let line = serve.waits_to_say("listening on ");
        let address = line.split_whitespace().nth(2).expect("an address");
        serve.port = address.rsplit(':').next().expect("a port").parse().expect("a number");
        serve
    }

    /// A server on the loopback of this machine, at a free port.
    pub fn here(args: &[&str]) -> Self {
        let mut command = Command::new(NETBENCH);
        command.args(["serve", "--port", "0"]).args(args);
        Self::start(command)
    }

    /// A server in a named namespace of a lab.
    pub fn inside(lab: &Lab, netns: &str, args: &[&str]) -> Self {
        Self::start(within(lab, netns, &[&["serve", "--port", "0"], args].concat()))
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub fn waits_to_say(&self, text: &str) -> String {
        let mut found = None;
        eventually(Duration::from_secs(30), || {
            found = self.said.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("`{text}` was not said:\n{}", self.said()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("it goes on:\n{}", self.said()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Number of its threads.
    pub fn threads(&self) -> usize {
        self.entries("task")
    }

    /// Number of its file descriptors.
    pub fn files(&self) -> usize {
        self.entries("fd")
    }

    fn entries(&self, folder: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{folder}", self.child.id())).map_or(0, Iterator::count)
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// netbench in a named namespace of a lab, not started yet.
pub fn within(lab: &Lab, netns: &str, args: &[&str]) -> Command {
    let mut command = lab.command("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).args(["--", NETBENCH]).args(args);
    command.env("NETBENCH_TOKEN", TOKEN);
    command
}

/// `netbench stream` on the loopback of this machine, with the token.
pub fn stream(port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(NETBENCH);
    command.args(["stream", "127.0.0.1", "--port", &port.to_string()]).args(args);
    command.env("NETBENCH_TOKEN", TOKEN).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn done(mut command: Command) -> Done {
    let what = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    Done {
        what,
        code: output.status.code(),
        signal: None,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The record that was printed.
#[track_caller]
pub fn record(done: &Done) -> RunRecord {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}\n{done}"))
}

/// Two namespaces, `near` and `far`, with a wire between them: 198.18.9.1 and .2, fd00:9::1 and ::2.
pub fn two_hosts(lab: &Lab) {
    lab.sh("ip netns add near; ip netns add far
         ip -n near link add wire type veth peer name wire netns far
         for n in near far; do ip -n $n link set lo up; ip -n $n link set wire up; done
         ip -n near addr add 198.18.9.1/24 dev wire; ip -n far addr add 198.18.9.2/24 dev wire
         ip -n near addr add fd00:9::1/64 dev wire nodad; ip -n far addr add fd00:9::2/64 dev wire nodad");
}
