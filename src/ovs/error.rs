//! What went wrong with Open vSwitch: what was asked, of which socket, and the daemon's own words.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::decode::DecodeError;

/// Errors of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of Open vSwitch is not on this machine.
    #[error(
        "{program} is not installed (looked in {searched}); install the package openvswitch-switch (Debian, Ubuntu) \
         or openvswitch (Fedora); its system service need not run"
    )]
    NotInstalled {
        /// Program or file.
        program: &'static str,
        /// Where it was looked for.
        searched: String,
    },
    /// The host runs no Open vSwitch.
    #[error(
        "`ovs = \"system\"`: this host runs no Open vSwitch (no db.sock in {searched}); start its service \
         (`systemctl start openvswitch-switch`), or leave `ovs` out"
    )]
    NoSystem {
        /// Where it was looked for.
        searched: String,
    },
    /// The host's Open vSwitch works in another network namespace.
    #[error(
        "`ovs = \"system\"`: the Open vSwitch of {path} works in another network namespace and cannot see ports \
         made here; run netbench in that one, or leave `ovs` out"
    )]
    SystemElsewhere {
        /// Socket of its database.
        path: PathBuf,
    },
    /// Segmentation offload is asked for and off in the host's Open vSwitch, whose configuration is not ours.
    #[error(
        "`tso = true`, and the host's Open vSwitch has it off, which netbench never changes: \
         `ovs-vsctl set Open_vSwitch . other_config:userspace-tso-enable=true`, restart it, or leave `tso` out"
    )]
    SystemTso,
    /// Nothing listens at the socket.
    #[error("connect to {what} at {path}: {source}{}", connect_hint(.source))]
    Connect {
        /// Which daemon.
        what: &'static str,
        /// Socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or process operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon closed the connection before it had answered.
    #[error("{path} closed the connection during {during}, {} (did the daemon end?)", got(*.received))]
    Closed {
        /// Socket.
        path: PathBuf,
        /// What was waited for.
        during: String,
        /// Bytes of an unfinished answer.
        received: usize,
    },
    /// No answer in time.
    #[error("{path} did not answer {during} within {after:?}")]
    Timeout {
        /// Socket.
        path: PathBuf,
        /// What was waited for.
        during: String,
        /// For how long.
        after: Duration,
    },
    /// `cur_cfg` stands still: the database took the change, the switch did not.
    #[error(
        "ovs-vswitchd did not carry out configuration {wanted} within {after:?} (cur_cfg is {reached}); \
         is it stopped, or stuck? its log is beside {path}"
    )]
    NotApplied {
        /// Socket of the database.
        path: PathBuf,
        /// `next_cfg` of the change.
        wanted: i64,
        /// What was carried out.
        reached: i64,
        /// For how long it was waited.
        after: Duration,
    },
    /// A daemon ended while something was asked of it.
    #[error(
        "{program} has ended{}; {}; what was tried: {cause}",
        last_words(.program, .database),
        cure(*.system)
    )]
    Ended {
        /// Program.
        program: &'static str,
        /// Socket of the database; the logs of a private one are beside it.
        database: PathBuf,
        /// Is it the host's own?
        system: bool,
        /// What came of that.
        cause: Box<Self>,
    },
    /// Bytes that are no message.
    #[error("{path} sent something that is no message: {source}")]
    Decode {
        /// Socket.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A message of an unexpected shape.
    #[error("{path} answered {during} with something unexpected: {why}")]
    Malformed {
        /// Socket.
        path: PathBuf,
        /// What was asked.
        during: String,
        /// What is wrong.
        why: String,
    },
    /// The call as a whole was refused.
    #[error("{path} refused {during}: {error}")]
    Refused {
        /// Socket.
        path: PathBuf,
        /// What was asked.
        during: String,
        /// Its words.
        error: String,
    },
    /// One operation of a transaction failed, and with it the whole.
    #[error("the database refused operation {number} of {total} ({operation}): {error}{}", details_text(.details))]
    Operation {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        total: usize,
        /// Its verb and table.
        operation: String,
        /// Error word (RFC 7047, section 3.1).
        error: String,
        /// Further words, may be empty.
        details: String,
    },
    /// All operations were fine, the commit was not.
    #[error("the database refused the transaction at its commit: {error}{}", details_text(.details))]
    Commit {
        /// Error word.
        error: String,
        /// Further words, may be empty.
        details: String,
    },
    /// A bridge of this name is somebody else's.
    #[error("Open vSwitch has a bridge `{bridge}` already that is not ours; rename yours, or remove that one")]
    BridgeTaken {
        /// Its name.
        bridge: String,
    },
    /// The switch carries out the configuration, but a port does not work.
    #[error("port {interface} of Open vSwitch bridge {bridge} does not work: {why}")]
    Port {
        /// Bridge.
        bridge: String,
        /// Interface.
        interface: String,
        /// The switch's own words.
        why: String,
    },
    /// A daemon did not come up.
    #[error("{program} did not start: {why}{}", details_text(.log))]
    Start {
        /// Program.
        program: &'static str,
        /// How it ended, or that it did not say it was ready.
        why: String,
        /// End of its log and of what it wrote to stderr.
        log: String,
    },
    /// A daemon would not end.
    #[error("{program} (process {pid}) does not end, not even by SIGKILL")]
    Stop {
        /// Program.
        program: String,
        /// Process id.
        pid: i32,
    },
    /// The switch refused a flow.
    #[error("bridge {bridge} refused a flow: OpenFlow error type {kind} code {code} ({meaning})")]
    Flow {
        /// Bridge.
        bridge: String,
        /// `ofp_error_msg.type`.
        kind: u16,
        /// `ofp_error_msg.code`.
        code: u16,
        /// In words, where known.
        meaning: &'static str,
    },
}

fn connect_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => " (is the daemon running?)",
        io::ErrorKind::PermissionDenied => " (root is needed)",
        _ => "",
    }
}

/// What to do about a daemon that has ended.
pub fn cure(system: bool) -> &'static str {
    if system {
        "start the host's Open vSwitch again (`systemctl restart openvswitch-switch`), then `netbench topo apply` \
         (or `netbench topo destroy`, which removes what its database still has)"
    } else {
        "the next `netbench topo apply` starts it again"
    }
}

/// The last line of its log, where it had time to write one: a daemon that was killed had not.
fn last_words(program: &str, database: &Path) -> String {
    let text = std::fs::read_to_string(database.with_file_name(format!("{program}.log"))).unwrap_or_default();
    let said = text.lines().rev().find(|line| line.contains("|EMER|") || line.contains("|ERR|"));
    said.map_or(String::new(), |line| format!(" (its log ends with: {line})"))
}

fn got(received: usize) -> String {
    if received == 0 { "before it answered".to_owned() } else { format!("{received} bytes into its answer") }
}

fn details_text(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!(": {details}") }
}
