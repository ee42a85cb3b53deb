//! Network namespaces: a handle, and how to make, find, enter and remove them.

mod exec;
mod named;
mod thread;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    process::{Child, Command},
    sync::{Mutex, MutexGuard, OnceLock},
};

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rustix::thread::UnshareFlags;

pub use named::{Holder, NamedNs, holders, inode, list, of_processes, remove};
use thread::on_worker;

use super::{
    Error, Result,
    error::Operation,
    netlink::{Failure, Socket, nla, sys},
};

/// The calling thread's namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// `RTM_SETLINK`
const RTM_SETLINK: u16 = 19;
/// `NSFS_MAGIC` of include/uapi/linux/magic.h
const NSFS: u64 = 0x6e73_6673;

/// An open namespace: it lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    label: String,
    file: File,
    inode: u64,
    route: Mutex<Socket>,
    generic: OnceLock<Mutex<Socket>>,
}

impl Netns {
    /// Makes a namespace and binds it to `path`, which must not exist.
    ///
    /// It appears there last: sysctls are set, `lo` carries `mark` as its alias and is up, so what can be seen is
    /// always marked. `label` is the role that errors name.
    pub fn create(path: &Path, label: &str, mark: &str, sysctl: &BTreeMap<String, String>) -> Result<Self> {
        let operation = || Operation::plain("create namespace", path.display());
        raise_open_files();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| operation().io(error))?;
        }
        let (label, mark, sysctl, place) = (label.to_owned(), mark.to_owned(), sysctl.clone(), path.to_owned());
        on_worker(move || {
            let operation = || Operation::plain("create namespace", place.display());
            sys::unshare(UnshareFlags::NEWNET).map_err(|error| operation().io(error))?;
            let this = Self::here(&label)?;
            for (key, value) in &sysctl {
                write_sysctl(key, value).map_err(|error| sysctl_failed(key, value, &label, error))?;
            }
            this.bring_up_loopback(&mark)?;
            named::bind(Path::new(OWN), &place).map_err(|error| operation().io(error))?;
            Ok(this)
        })
    }

    /// Opens a namespace by a path such as `/run/netns/NAME`.
    pub fn open(path: &Path, label: &str) -> Result<Self> {
        let operation = || Operation::plain("open namespace", path.display());
        let file = File::open(path).map_err(|error| operation().io(error))?;
        let kind = rustix::fs::fstatfs(&file).map_err(|errno| operation().io(errno))?.f_type as u64;
        if kind != NSFS {
            return Err(operation().conflict("it is no namespace (nothing is mounted there)"));
        }
        Self::of_file(file, label)
    }

    /// Opens the namespace of a process.
    pub fn of_pid(pid: u32, label: &str) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let file = File::open(&path).map_err(|error| Operation::plain("open namespace of process", pid).io(error))?;
        Self::of_file(file, label)
    }

    /// The namespace of the calling thread.
    pub fn current(label: &str) -> Result<Self> {
        Self::here(label)
    }

    fn of_file(file: File, label: &str) -> Result<Self> {
        raise_open_files();
        let (label, inner) = (label.to_owned(), file);
        on_worker(move || {
            thread::enter(inner.as_fd()).map_err(|error| Operation::plain("enter netns", &label).io(error))?;
            Self::here(&label)
        })
    }

    fn here(label: &str) -> Result<Self> {
        let failed = |error: io::Error| Operation::of("open a netlink socket", "", label).io(error);
        let file = File::open(OWN).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let route = Mutex::new(Socket::open(NETLINK_ROUTE).map_err(failed)?);
        Ok(Self { label: label.into(), file, inode, route, generic: OnceLock::new() })
    }

    fn bring_up_loopback(&self, mark: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        // `lo` is the first device of every namespace (`loopback_net_init()`).
        message.header.index = 1;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfAlias(mark.to_owned()));
        self.route()
            .send(RTM_SETLINK, 0, &message)
            .map_err(|failure| Operation::on("set up and mark", "lo", &self.label).failed(failure))?;
        Ok(())
    }

    /// The role that errors name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The inode of the namespace: its identity while it lives.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The namespace's descriptor, for `IFLA_NET_NS_FD`.
    pub(super) fn fd(&self) -> &File {
        &self.file
    }

    /// The number that this namespace gives to another (`RTM_GETNSID`); `None` where it gives none, as long as nothing here leads
    /// there.
    pub fn number_of(&self, other: &Self) -> Result<Option<i32>> {
        /// `RTM_GETNSID`, `NETNSA_NSID`, `NETNSA_FD` of include/uapi/linux/{rtnetlink,net_namespace}.h
        const ASK: (u16, u16, u16) = (90, 1, 3);
        let body = nla::Writer::after(&[0; 4]).u32(ASK.2, other.file.as_raw_fd().cast_unsigned()).finish();
        let operation = || Operation::plain("ask for the number of a namespace in", &self.label);
        let answers = self.route().request(ASK.0, 0, &body).map_err(|failure| operation().failed(failure))?;
        let number = |body: &Vec<u8>| nla::u32_at(nla::find(body.get(4..)?, ASK.1)?, 0).map(u32::cast_signed);
        Ok(answers.iter().find_map(number).filter(|&number| number >= 0))
    }

    /// The rtnetlink socket inside.
    pub(super) fn route(&self) -> MutexGuard<'_, Socket> {
        // A panic elsewhere cannot leave a socket in a state worse than a late answer, which is passed over.
        self.route.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The generic netlink socket inside, opened when first asked for.
    pub(super) fn generic(&self) -> Result<MutexGuard<'_, Socket>, Failure> {
        if self.generic.get().is_none() {
            let socket = self
                .within(|| Socket::open(NETLINK_GENERIC))
                .map_err(|error| Failure::Malformed(error.to_string()))?
                .map_err(Failure::Io)?;
            let _ = self.generic.set(Mutex::new(socket));
        }
        let socket = self.generic.get().ok_or_else(|| Failure::Malformed("no generic netlink socket".into()))?;
        Ok(socket.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Runs `work` on a thread inside the namespace; the caller's own namespace stays.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::inside(self.file.as_fd(), work).map_err(|error| Operation::plain("enter netns", &self.label).io(error))
    }

    /// Starts a process inside the namespace.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        thread::inside(self.file.as_fd(), || command.spawn())?
    }

    /// Puts the calling thread, which should be the process's only one and about to `exec`, inside, as
    /// `ip netns exec` does: a mount namespace of its own, `/sys` of this namespace, and the files of
    /// `/etc/netns/NAME` over those of `/etc`.
    pub fn enter_for_exec(&self, name: Option<&str>) -> Result<()> {
        thread::enter(self.file.as_fd())
            .map_err(io::Error::from)
            .and_then(|()| exec::own_mounts(name))
            .map_err(|error| Operation::plain("enter netns", format!("{} for a command", self.label)).io(error))
    }

    /// Reads a sysctl inside; `None` where the kernel has no such key.
    pub fn sysctl(&self, key: &str) -> Result<Option<String>> {
        match self.within(|| std::fs::read_to_string(sysctl_path(key)))? {
            Ok(value) => Ok(Some(value.trim_end().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Operation::of(format!("read sysctl {key}"), "", &self.label).io(error)),
        }
    }

    /// Writes a sysctl inside.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.within(|| write_sysctl(key, value))?.map_err(|error| sysctl_failed(key, value, &self.label, error))
    }

    /// Reads several sysctls in one visit; keys the kernel does not have are left out.
    pub fn sysctls<'k>(&self, keys: impl IntoIterator<Item = &'k str> + Send) -> Result<BTreeMap<String, String>> {
        self.within(|| {
            let read = |key: &str| {
                let value = std::fs::read_to_string(sysctl_path(key)).ok()?;
                Some((key.to_owned(), value.trim_end().to_owned()))
            };
            keys.into_iter().filter_map(read).collect()
        })
    }
}

fn sysctl_failed(key: &str, value: &str, label: &str, error: io::Error) -> Error {
    let operation = Operation::of(format!("set sysctl {key}={value}"), "", label);
    // `tcp_set_default_congestion_control()`: outside the initial namespace only what is not restricted, root or not.
    if key == "net.ipv4.tcp_congestion_control" && error.raw_os_error() == Some(libc::EPERM) {
        let list = "net.ipv4.tcp_allowed_congestion_control of the machine";
        return operation.conflict(format!("{error}: a namespace may choose only what {list} lists"));
    }
    operation.io(error)
}

fn write_sysctl(key: &str, value: &str) -> io::Result<()> {
    std::fs::write(sysctl_path(key), value)
}

/// `/proc/sys` path of a dotted key. As sysctl(8) has it, `/` stands for the dot of an interface's name
/// (`net.ipv4.conf.eth0/1.forwarding`), and a key whose first separator is `/` is a path already.
fn sysctl_path(key: &str) -> String {
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
    let swap = |c: char| match c {
        '.' if !slashes => '/',
        '/' if !slashes => '.',
        c => c,
    };
    format!("/proc/sys/{}", key.chars().map(swap).collect::<String>())
}

/// A namespace costs two descriptors or three; the usual soft limit of 1024 would end at 400 nodes.
fn raise_open_files() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Where it cannot be raised, opening says so in its turn.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    });
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn sysctl_keys_are_paths_with_dots() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "/proc/sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "/proc/sys/net/ipv4/conf/eth0.1/forwarding");
    }
}
