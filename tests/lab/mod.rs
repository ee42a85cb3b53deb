//! A private world for one test: network and mount namespaces of its own, held by a process that ends with the test.
//!
//! As root the world is made by `unshare -n -m`, as an ordinary user by `unshare -Urnm`; either way the machine's own
//! links, namespaces and `/run` are out of reach. The holder reads a pipe whose other end the test has: however the
//! test ends, the pipe closes, the holder ends what still runs inside and then itself, and the kernel removes everything
//! that was made there. It is in a process group of its own, since a test runner kills that of the test.
#![allow(dead_code, reason = "each test binary uses a part of the harness")]

pub mod dump;
mod killed;
mod skip;
pub mod verdicts;

use std::{
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub use dump::Dump;
#[allow(unused_imports, reason = "each test binary uses a part of the harness")]
pub use killed::{After, SIGKILL};
#[allow(unused_imports, reason = "each test binary uses a part of the harness")]
pub use skip::{also_in_lab, skip, skip_to_lab};

/// The program under test.
pub const NETBENCH: &str = env!("CARGO_BIN_EXE_netbench");

/// Where the lab keeps files of the test: a tmpfs that only the lab sees. The program is bound there too, so that an
/// ordinary user reaches it even where the clone lies below a closed home directory.
const SHARE: &str = "/mnt";

/// How long a state is waited for that must come: only a test that fails takes that long. Emulated, on a machine with other
/// work, what takes a second takes ten.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the namespace is given before the test starts: a `/run` and `/sys` of its own and a loopback that is up, as on
/// a booted machine.
const SETUP: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /mnt
touch /mnt/netbench
mount --bind "$1" /mnt/netbench
mount -t sysfs sysfs /sys 2>/dev/null || true
ip link set lo up
echo ready
cat >/dev/null
# Daemons, and namespaces of netbench's own that came out of this one: all see the same file system there.
world=$(stat -c %d /mnt)
for round in 1 2 3 4 5 6 7 8 9 10; do
    ended=
    for seen in $(stat -c '%d:%n' /proc/[0-9]*/root/mnt 2>/dev/null); do
        pid=${seen#*:/proc/} pid=${pid%%/*}
        [ "${seen%%:*}" = "$world" ] && [ "$pid" != $$ ] && kill -KILL "$pid" 2>/dev/null && ended=1
    done
    [ -n "$ended" ] || break
done
"#;

/// A private world; dropped, it is gone.
pub struct Lab {
    holder: Child,
    rootless: bool,
}

impl Lab {
    /// A new world, or `None` (said, counted, and a failure when strict) where this machine allows none.
    pub fn new(name: &str) -> Option<Self> {
        Self::with(name, &[])
    }

    /// The machine's own network, with a `/run` of its own: for devices that no private namespace has.
    pub fn on_the_machine(name: &str) -> Option<Self> {
        if !require_root("devices are taken from the machine itself") {
            return None;
        }
        Self::start(name, &["-m"], false)
    }

    /// The same, for a test that also needs these programs.
    pub fn with(name: &str, programs: &[&str]) -> Option<Self> {
        let needed: Vec<&str> = ["ip", "tc", "bridge", "unshare", "nsenter"].iter().chain(programs).copied().collect();
        if !require(&needed) {
            return None;
        }
        let rootless = !is_root();
        Self::start(name, if rootless { &["-U", "-r", "-n", "-m"][..] } else { &["-n", "-m"] }, rootless)
    }

    fn start(name: &str, apart: &[&str], rootless: bool) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(apart);
        command.args(["--propagation", "private", "sh", "-c", SETUP, name, NETBENCH]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let mut holder = command.spawn().expect("unshare was found a moment ago");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the holder's pipe is readable");
        let lab = Self { holder, rootless };
        if line.trim() == "ready" {
            return Some(lab);
        }
        let why = lab.end();
        skip(&format!("no private namespaces for `{name}`: {}", why.trim()));
        None
    }

    /// Stops the holder and returns what it complained about.
    fn end(mut self) -> String {
        drop(self.holder.stdin.take());
        let mut text = String::new();
        if let Some(mut stderr) = self.holder.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut text).ok();
        }
        text
    }

    /// Is this world inside a user namespace?
    pub fn is_rootless(&self) -> bool {
        self.rootless
    }

    /// A command that starts inside, with `/` as its folder and no netbench variables from outside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-n", "-m"]);
        if self.rootless {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .env("NO_COLOR", "1")
            .env("NETBENCH_STORE", format!("{SHARE}/runs.db"))
            .env_remove("NETBENCH_STRICT")
            .env_remove("NETBENCH_STATE_DIR");
        command
    }

    /// netbench inside, not started yet: for variables and for what runs beside the test.
    pub fn netbench_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(NETBENCH);
        command.args(args);
        command
    }

    /// Runs netbench inside to its end.
    pub fn netbench(&self, args: &[&str]) -> Done {
        Done::of(&mut self.netbench_command(args), &format!("netbench {}", args.join(" ")))
    }

    /// Runs netbench inside with one variable set, such as `NETBENCH_CRASH_AT`.
    pub fn netbench_with(&self, variable: (&str, &str), args: &[&str]) -> Done {
        let label = format!("{}={} netbench {}", variable.0, variable.1, args.join(" "));
        Done::of(self.netbench_command(args).env(variable.0, variable.1), &label)
    }

    /// netbench as an ordinary user: inside as `nobody` when the test is root, otherwise as the user who tests.
    pub fn netbench_as_user(&self, args: &[&str]) -> Option<Done> {
        let label = format!("(as an ordinary user) netbench {}", args.join(" "));
        if self.rootless {
            return Some(Done::of(
                Command::new(NETBENCH).args(args).stdin(Stdio::null()).env("NO_COLOR", "1").env("NETBENCH_STORE", ""),
                &label,
            ));
        }
        if !require(&["setpriv"]) {
            return None;
        }
        let mut command = self.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(format!("{SHARE}/netbench")).args(args);
        command
            .env("NETBENCH_STORE", "")
            .env("HOME", "/nonexistent")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_STATE_HOME");
        Some(Done::of(&mut command, &label))
    }

    /// Runs a shell script inside; fails the test when it fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let done = self.try_sh(script);
        assert!(done.code == Some(0), "{done}");
        done.stdout
    }

    /// Runs a shell script inside, whatever comes of it.
    pub fn try_sh(&self, script: &str) -> Done {
        Done::of(self.command("sh").args(["-ec", script]), script)
    }

    /// Runs a shell script in a named namespace of the lab.
    #[track_caller]
    pub fn sh_in(&self, netns: &str, script: &str) -> String {
        let mut command = self.command("nsenter");
        command.arg(format!("--net=/run/netns/{netns}")).args(["--", "sh", "-ec", script]);
        let done = Done::of(&mut command, &format!("[{netns}] {script}"));
        assert!(done.code == Some(0), "{done}");
        done.stdout
    }

    /// Runs a command that prints JSON, such as `ip -j link`.
    #[track_caller]
    pub fn json(&self, script: &str) -> Value {
        parse_json(&self.sh(script), script)
    }

    /// The same in a named namespace of the lab.
    #[track_caller]
    pub fn json_in(&self, netns: &str, script: &str) -> Value {
        parse_json(&self.sh_in(netns, script), script)
    }

    /// ifindex of every link of a named namespace.
    #[track_caller]
    pub fn indexes(&self, netns: &str) -> Vec<(String, u64)> {
        let links = self.json_in(netns, "ip -j link show");
        let pair = |link: &Value| Some((link["ifname"].as_str()?.to_owned(), link["ifindex"].as_u64()?));
        links.as_array().into_iter().flatten().filter_map(pair).collect()
    }

    /// Names of the namespaces under `/run/netns`.
    pub fn namespaces(&self) -> Vec<String> {
        self.sh("ls /run/netns 2>/dev/null || true").lines().map(str::to_owned).collect()
    }

    /// Writes a file that is seen inside only and returns its path there.
    pub fn file(&self, name: &str, text: &str) -> String {
        let inside = format!("{SHARE}/{name}");
        let outside = PathBuf::from(format!("/proc/{}/root{inside}", self.holder.id()));
        std::fs::write(&outside, text).unwrap_or_else(|error| panic!("write {}: {error}", outside.display()));
        inside
    }

    /// Reads a file as it is seen inside.
    pub fn read(&self, path: impl AsRef<Path>) -> std::io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/root{}", self.holder.id(), path.as_ref().display()))
    }

    /// Starts a command inside that goes on while the test does, and ends with it.
    pub fn background(&self, mut command: Command) -> Background {
        Background(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsenter starts"))
    }

    /// Everything of the network state that can be read, in a form that can be compared.
    pub fn dump(&self) -> Dump {
        Dump::take(self)
    }

    /// The dump of a world that stands still: carriers are up and no address of IPv6 waits for its duplicate address
    /// detection any more, which adds routes up to two seconds after a link came up.
    #[track_caller]
    pub fn settled(&self) -> Dump {
        let mut before = self.dump();
        let still = eventually(PATIENCE, || {
            let tentative = self.sh("ip -6 addr show tentative");
            let last = std::mem::replace(&mut before, self.dump());
            tentative.trim().is_empty() && last == before
        });
        assert!(still, "the world before the test does not stand still\n{before}");
        before
    }

    /// Waits until the world is as it was; fails with the difference when it is not within a minute.
    ///
    /// A deadline and not an instant: the kernel finishes namespaces in a worker, and operational states follow
    /// administrative ones up to a second later (linkwatch).
    #[track_caller]
    pub fn assert_as_before(&self, before: &Dump, what: &str) {
        let mut now = self.dump();
        let same = eventually(PATIENCE, || {
            now = self.dump();
            now == *before
        });
        assert!(same, "{what}: the world is not as it was (-: missing, +: new)\n{}", before.difference(&now));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        if !eventually(Duration::from_secs(20), || matches!(self.holder.try_wait(), Ok(Some(_)))) {
            self.holder.kill().ok();
            self.holder.wait().ok();
        }
    }
}

/// A process beside the test; dropped, it is killed.
pub struct Background(pub Child);

impl Background {
    /// Its process id; `nsenter` executes in place, so it is the program's own.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Waits for its end.
    pub fn wait(mut self, what: &str) -> Done {
        let stdout = drain(self.0.stdout.take().expect("piped"));
        let stderr = drain(self.0.stderr.take().expect("piped"));
        let status = self.0.wait().expect("a child can be waited for");
        let stdout = stdout.join().expect("the reader does not panic");
        let stderr = stderr.join().expect("the reader does not panic");
        Done::from_output(Output { status, stdout, stderr }, what)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was run.
    pub what: String,
    /// Exit code.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

impl Done {
    fn of(command: &mut Command, what: &str) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
        Self::from_output(output, what)
    }

    fn from_output(output: Output, what: &str) -> Self {
        Self {
            what: what.to_owned(),
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Exit code 0, or the test fails with all that was said.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// This exit code, or the test fails with all that was said. A panic of the program never passes.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}\n{self}");
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// All of it, data and talk.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Data or talk contains this text, whatever the case; or the test fails.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.text().to_lowercase().contains(&text.to_lowercase()), "`{text}` was not said\n{self}");
        self
    }

    /// No line of what it printed is wider than a terminal of 80 columns.
    #[track_caller]
    pub fn fits(self) -> Self {
        let wide = self.stdout.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "wider than 80 columns\n{self}");
        self
    }

    /// One of these texts is in data or talk.
    #[track_caller]
    pub fn says_one_of(self, texts: &[&str]) -> Self {
        let said = self.text().to_lowercase();
        assert!(texts.iter().any(|text| said.contains(&text.to_lowercase())), "none of {texts:?} was said\n{self}");
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        parse_json(&self.stdout, &self.to_string())
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, code, signal, stdout, stderr } = self;
        write!(f, "$ {what}\n(exit code {code:?}, signal {signal:?})\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

#[track_caller]
fn parse_json(text: &str, what: &str) -> Value {
    // `ip -j` prints nothing at all, not `[]`, for some empty lists.
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}\n{what}\n{text}"))
}

/// Are these programs here? Says which is not; a failure when strict.
pub fn require(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().filter(|program| !has_program(program)).copied().collect();
    if !missing.is_empty() {
        skip(&format!("{} not installed", missing.join(", ")));
    }
    missing.is_empty()
}

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(name).exists())
}

/// Is the test root in the machine's own user namespace?
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

/// Root only: for what no user namespace allows. Skips with the reason otherwise.
pub fn require_root(why: &str) -> bool {
    if !is_root() {
        skip(&format!("needs root: {why}"));
    }
    is_root()
}

/// Polls until true or the deadline has passed; true if it became true.
pub fn eventually(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
