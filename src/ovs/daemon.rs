//! A private Open vSwitch: ovsdb-server and ovs-vswitchd of our own, with a folder of their own, inside a namespace.
//!
//! They outlive netbench, as links do. A daemon is known by its command line (the run folder stands in it), never by a
//! pid file alone: that may name a process that came later.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::{
    Error, Result,
    client::Client,
    process::{self, DATABASE_SERVER, PROGRAMS, Process},
    sentry::Sentry,
    unixctl,
};

/// Until a daemon says that it is ready.
const START: Duration = Duration::from_secs(60);
/// Until a daemon that was asked to end has ended; then it is made to.
const ASKED: Duration = Duration::from_millis(500);
/// Until the kernel has closed the sockets of a thousand ports.
const KILLED: Duration = Duration::from_secs(60);

/// Where the programs are when `PATH` does not name them.
const USUAL: [&str; 5] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/lib/openvswitch-switch"];
/// Where the database's schema is, by distribution.
const SCHEMAS: [&str; 3] = [
    "/usr/share/openvswitch/vswitch.ovsschema",
    "/usr/local/share/openvswitch/vswitch.ovsschema",
    "/opt/openvswitch/share/openvswitch/vswitch.ovsschema",
];

/// How a daemon is started inside its namespace.
pub type Spawn<'a> = &'a mut dyn FnMut(&mut Command) -> io::Result<Child>;

/// The folder of one private Open vSwitch.
#[derive(Debug, Clone)]
pub struct Instance {
    folder: PathBuf,
}

impl Instance {
    /// The one in this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Its run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database's socket.
    pub fn database(&self) -> PathBuf {
        self.folder.join("db.sock")
    }

    /// The switch's control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.join("ovs-vswitchd.ctl")
    }

    /// The OpenFlow socket of a bridge.
    pub fn management(&self, bridge: &str) -> PathBuf {
        self.folder.join(format!("{bridge}.mgmt"))
    }

    /// Do both daemons run?
    pub fn is_running(&self) -> bool {
        let found = process::of_folder(&self.folder);
        PROGRAMS.iter().all(|program| found.iter().any(|process| process.program == *program && !process.is_ending()))
    }

    /// Do both daemons run in this network namespace (by inode)? They may have outlived another one of the same name.
    pub fn is_running_in(&self, netns: u64) -> bool {
        let found = process::of_folder(&self.folder);
        let here = |process: &Process| process.netns() == Some(netns) && !process.is_ending();
        PROGRAMS.iter().all(|program| found.iter().any(|process| process.program == *program && here(process)))
    }

    /// Process ids of its daemons.
    pub fn pids(&self) -> Vec<(i32, &'static str)> {
        process::of_folder(&self.folder).iter().map(|process| (process.pid, process.program)).collect()
    }

    /// Starts both daemons in the network namespace of this inode, where `spawn` leads; where they run there already, nothing happens. What half a start left is cleared away first.
    pub fn start(&self, netns: u64, tso: bool, spawn: Spawn<'_>) -> Result<()> {
        if self.is_running_in(netns) && Client::connect(&self.database()).is_ok() {
            return Ok(());
        }
        let programs = Programs::find()?;
        self.stop()?;
        let failed = |operation| move |source| Error::Io { operation, path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(failed("create"))?;
        let file = self.folder.join("conf.db");
        let mut tool = Command::new(&programs.tool);
        tool.arg("create").arg(&file).arg(&programs.schema);
        self.run("ovsdb-tool", tool, spawn, &|| false)?;
        let mut server = self.daemon("ovsdb-server", &programs.server);
        server.arg(&file).arg(format!("--remote=punix:{}", self.database().display()));
        self.run("ovsdb-server", server, spawn, &|| false)?;
        let sentry = Sentry::at(&self.database(), &self.control(), false);
        // That the switch is not there yet is no news.
        let has_ended = || sentry.ended() == Some(DATABASE_SERVER);
        let started = self.start_switch(&programs, tso, spawn, &has_ended);
        started.map_err(|error| if has_ended() { sentry.blame(error) } else { error })
    }

    /// `gone` says that the database has ended, for which a switch waits for ever.
    fn start_switch(&self, programs: &Programs, tso: bool, spawn: Spawn<'_>, gone: &dyn Fn() -> bool) -> Result<()> {
        let row = json!({
            "other_config": ["map", [["userspace-tso-enable", tso.to_string()]]],
            "external_ids": ["map", [[super::bridge::ID, self.folder.display().to_string()]]],
        });
        // Before the switch looks: it reads this once.
        Client::connect(&self.database())?
            .transact(&[json!({"op": "insert", "table": "Open_vSwitch", "row": row})], START)?;
        let mut switch = self.daemon("ovs-vswitchd", &programs.switch);
        switch.arg(format!("unix:{}", self.database().display()));
        self.run("ovs-vswitchd", switch, spawn, gone)
    }

    fn daemon(&self, name: &str, program: &Path) -> Command {
        let file = |suffix: &str| self.folder.join(format!("{name}.{suffix}")).display().to_string();
        let mut command = Command::new(program);
        command
            .args(["--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off"])
            .arg(format!("--pidfile={}", file("pid")))
            .arg(format!("--unixctl={}", file("ctl")))
            .arg(format!("--log-file={}", file("log")));
        command
    }

    /// Runs a program that ends when it has done its work; a daemon that detaches ends when it is ready.
    fn run(&self, name: &'static str, mut command: Command, spawn: Spawn<'_>, gone: &dyn Fn() -> bool) -> Result<()> {
        let complaints = self.folder.join(format!("{name}.err"));
        let failed = |operation| {
            let path = complaints.clone();
            move |source| Error::Io { operation, path, source }
        };
        let stderr = fs::File::create(&complaints).map_err(failed("create"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).current_dir("/");
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, &self.folder);
        }
        // A group of its own: Ctrl-C at the terminal is netbench's to handle.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let start = |why: String| Error::Start { program: name, why, log: self.last_words(name) };
        let mut child = spawn(&mut command).map_err(|error| start(error.to_string()))?;
        let deadline = Instant::now() + START;
        let mut pause = Duration::from_micros(500);
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(Some(status)) => return Err(start(format!("it ended with {status}"))),
                Ok(None) if gone() => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(start("its database has ended".to_owned()));
                }
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(10));
                }
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(start(format!("it was not ready within {START:?}")));
                }
                Err(error) => return Err(start(error.to_string())),
            }
        }
        fs::remove_file(&complaints).map_err(failed("remove"))
    }

    /// What a daemon wrote last.
    fn last_words(&self, name: &str) -> String {
        let tail = |suffix: &str| {
            let text = fs::read_to_string(self.folder.join(format!("{name}.{suffix}"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(3)..].join("; ")
        };
        [tail("err"), tail("log")].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// Ends both daemons and removes the folder; true where there was something. The switch is not asked to take its
    /// ports away one by one, which costs 14 ms each: they end with it.
    pub fn stop(&self) -> Result<bool> {
        let found = process::of_folder(&self.folder);
        let was_there = !found.is_empty() || self.folder.exists();
        for process in &found {
            end(process)?;
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { operation: "remove", path: self.folder.clone(), source: error })
            }
            _ => Ok(was_there),
        }
    }
}

/// Asks, then makes a daemon end.
fn end(process: &Process) -> Result<()> {
    let control = process.folder.join(format!("{}.ctl", process.program));
    // A daemon that is stopped or stuck does not answer; what matters is whether it ends.
    let asked = unixctl::exit(&control, ASKED).is_ok() && process.ends_within(ASKED);
    if asked {
        return Ok(());
    }
    end_by_signal(process)
}

fn end_by_signal(process: &Process) -> Result<()> {
    process.signal(Signal::TERM);
    if process.ends_within(ASKED) {
        return Ok(());
    }
    process.signal(Signal::KILL);
    if process.ends_within(KILLED) {
        return Ok(());
    }
    Err(Error::Stop { program: process.program.to_owned(), pid: process.pid })
}

/// Run folders, somewhere below `root`, of daemons that run.
pub fn running_below(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = process::below(root).into_iter().map(|process| process.folder).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Ends the daemons, below `root`, of runs without root that were killed; how many there were. Their control sockets are
/// out of reach, and the same path may mean another daemon's here.
///
/// # Errors
/// One does not end, or belongs to another user.
pub fn end_deserted(root: &Path) -> Result<usize> {
    let found = process::deserted(root);
    for process in &found {
        end_by_signal(process)?;
    }
    Ok(found.len())
}

/// The programs of an installed Open vSwitch.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `ovsdb-server`
    pub server: PathBuf,
    /// `ovs-vswitchd`
    pub switch: PathBuf,
    /// `ovsdb-tool`
    pub tool: PathBuf,
    /// `vswitch.ovsschema`
    pub schema: PathBuf,
}

impl Programs {
    /// Looks for them on `PATH` and in the usual places.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(USUAL.iter().map(PathBuf::from));
        let find = |program: &'static str| {
            let found = folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file());
            found.ok_or_else(|| Error::NotInstalled { program, searched: format!("PATH, {}", USUAL.join(", ")) })
        };
        let (server, switch, tool) = (find("ovsdb-server")?, find("ovs-vswitchd")?, find("ovsdb-tool")?);
        let schema = SCHEMAS.iter().map(PathBuf::from).find(|file| file.is_file());
        let missing = || Error::NotInstalled { program: "vswitch.ovsschema", searched: SCHEMAS.join(", ") };
        Ok(Self { server, switch, tool, schema: schema.ok_or_else(missing)? })
    }
}
