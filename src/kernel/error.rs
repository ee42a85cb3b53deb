//! What went wrong: operation, object, namespace, errno and the kernel's own words.

use std::{fmt, io, time::Duration};

use super::netlink::Failure;

/// What was being done, to what, where. Its `Display` is the first half of every message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    verb: String,
    object: String,
    netns: String,
}

impl Operation {
    /// `set mtu 9000 on vx0 in netns c1`
    pub fn on(verb: impl Into<String>, object: impl fmt::Display, netns: &str) -> Self {
        Self { verb: verb.into(), object: format!("on {object}"), netns: netns.into() }
    }

    /// `create bridge br1 in netns fabric`
    pub fn of(verb: impl Into<String>, object: impl fmt::Display, netns: &str) -> Self {
        Self { verb: verb.into(), object: object.to_string(), netns: netns.into() }
    }

    /// `open /run/netns/x`: no namespace of its own.
    pub fn plain(verb: impl Into<String>, object: impl fmt::Display) -> Self {
        Self { verb: verb.into(), object: object.to_string(), netns: String::new() }
    }

    /// What the transport met, as an error of this operation.
    pub fn failed(self, failure: Failure) -> Error {
        let operation = Box::new(self);
        match failure {
            Failure::Kernel { errno, extack } => Error::of_errno(operation, errno, extack),
            Failure::Io(error) => match error.raw_os_error() {
                Some(errno) => Error::of_errno(operation, errno, None),
                None => Error::Malformed { operation, detail: error.to_string() },
            },
            Failure::Overrun => Error::Overrun { operation },
            Failure::Torn { tries } => Error::Torn { operation, tries },
            Failure::Timeout(after) => Error::Timeout { operation, after },
            Failure::Malformed(detail) => Error::Malformed { operation, detail },
        }
    }

    /// A system call's error.
    pub fn io(self, error: impl Into<io::Error>) -> Error {
        self.failed(Failure::Io(error.into()))
    }

    /// Something of someone else's, or in a state that forbids the operation.
    pub fn conflict(self, why: impl Into<String>) -> Error {
        Error::Conflict { operation: Box::new(self), why: why.into() }
    }

    /// The kernel lacks a feature.
    pub fn unsupported(self, what: &'static str, errno: i32) -> Error {
        Error::Unsupported { operation: Box::new(self), what, errno }
    }

    /// An answer that makes no sense.
    pub fn malformed(self, detail: impl fmt::Display) -> Error {
        Error::Malformed { operation: Box::new(self), detail: detail.to_string() }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verb)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if !self.netns.is_empty() {
            write!(f, " in netns {}", self.netns)?;
        }
        Ok(())
    }
}

/// An operation on the kernel that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{operation}: {}{}", strerror(*.errno), kernel_says(.extack))]
    Refused {
        /// What was tried.
        operation: Box<Operation>,
        /// errno, positive.
        errno: i32,
        /// Text of the extended acknowledgement.
        extack: Option<String>,
    },
    /// A capability is missing.
    #[error("{operation}: {}{}; it needs {capability} over this namespace", strerror(*.errno), kernel_says(.extack))]
    Privilege {
        /// What was tried.
        operation: Box<Operation>,
        /// The capability, such as `CAP_NET_ADMIN`.
        capability: &'static str,
        /// EPERM or EACCES.
        errno: i32,
        /// Text of the extended acknowledgement.
        extack: Option<String>,
    },
    /// The kernel was built without something.
    #[error("{operation}: {}: this kernel lacks {what}", strerror(*.errno))]
    Unsupported {
        /// What was tried.
        operation: Box<Operation>,
        /// What is missing, such as `CONFIG_NET_SCH_NETEM`.
        what: &'static str,
        /// The errno that told.
        errno: i32,
    },
    /// Answers were lost: the receive buffer ran over (ENOBUFS).
    #[error("{operation}: the netlink receive buffer ran over and answers were lost (ENOBUFS)")]
    Overrun {
        /// What was tried.
        operation: Box<Operation>,
    },
    /// Every dump was torn by changes made meanwhile.
    #[error("{operation}: the state changed during each of {tries} dumps (NLM_F_DUMP_INTR)")]
    Torn {
        /// What was tried.
        operation: Box<Operation>,
        /// How often.
        tries: u32,
    },
    /// No answer.
    #[error("{operation}: no answer within {after:?}")]
    Timeout {
        /// What was tried.
        operation: Box<Operation>,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that could not be read.
    #[error("{operation}: unexpected answer: {detail}")]
    Malformed {
        /// What was tried.
        operation: Box<Operation>,
        /// What was odd.
        detail: String,
    },
    /// Refused by netbench, since it would touch what is not its own or what is not there.
    #[error("{operation}: {why}")]
    Conflict {
        /// What was tried.
        operation: Box<Operation>,
        /// Why not.
        why: String,
    },
}

impl Error {
    fn of_errno(operation: Box<Operation>, errno: i32, extack: Option<String>) -> Self {
        match errno {
            libc::EPERM | libc::EACCES => {
                let capability = if operation.netns.is_empty() { "CAP_SYS_ADMIN" } else { "CAP_NET_ADMIN" };
                Self::Privilege { operation, capability, errno, extack }
            }
            _ => Self::Refused { operation, errno, extack },
        }
    }

    /// The errno behind it, positive, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } | Self::Privilege { errno, .. } | Self::Unsupported { errno, .. } => {
                Some(*errno)
            }
            Self::Overrun { .. } => Some(libc::ENOBUFS),
            Self::Timeout { .. } => Some(libc::ETIMEDOUT),
            Self::Torn { .. } | Self::Malformed { .. } | Self::Conflict { .. } => None,
        }
    }

    /// The kernel's extended acknowledgement.
    pub fn extack(&self) -> Option<&str> {
        match self {
            Self::Refused { extack, .. } | Self::Privilege { extack, .. } => extack.as_deref(),
            _ => None,
        }
    }

    /// Says that the object of a deletion is not there: ENODEV (link), ENOENT (fdb, qdisc, file), ESRCH (route),
    /// EADDRNOTAVAIL (address).
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// Says that the object of a creation is there already (EEXIST).
    pub fn is_present(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// The C library's text, without Rust's ` (os error 22)`.
pub(crate) fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn kernel_says(extack: &Option<String>) -> String {
    extack.as_ref().map_or_else(String::new, |text| format!(" (kernel: {text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_operation_object_namespace_errno_and_the_kernels_words() {
        let failure = Failure::Kernel { errno: libc::EINVAL, extack: Some("mtu greater than device maximum".into()) };
        let error = Operation::on("set mtu 9000", "vx0", "c1").failed(failure);
        assert_eq!(
            error.to_string(),
            "set mtu 9000 on vx0 in netns c1: Invalid argument (kernel: mtu greater than device maximum)"
        );
        assert_eq!(error.errno(), Some(libc::EINVAL));
        let error =
            Operation::of("create bridge", "br1", "self").failed(Failure::Kernel { errno: libc::EPERM, extack: None });
        assert_eq!(
            error.to_string(),
            "create bridge br1 in netns self: Operation not permitted; it needs CAP_NET_ADMIN over this namespace"
        );
    }
}
