//! The only module that speaks netlink, ethtool, sysfs, `/proc` and namespaces.
//!
//! Everything works through a [`netns::Netns`] handle: a netlink socket belongs for life to the namespace in which
//! `socket()` ran, so a handle keeps one that was opened by a thread inside, and no caller ever changes its own
//! namespace.

pub mod error;
pub mod netlink;

pub mod ethtool;
pub mod link;
pub mod napi;
pub mod netns;
pub mod observe;
pub mod openvswitch;
pub mod qdisc;

pub mod cpus;
pub mod devlink;
pub mod nic;
pub mod numa;
pub mod sriov;

pub mod container;
pub mod rootless;

mod arrivals;
pub mod capture;
pub mod df_probe;
mod egress;
pub mod frame_probe;
pub mod path_probe;
pub mod qstats;
pub mod quiet;
pub mod snmp;

pub use arrivals::arrived;
pub use egress::{Egress, egress};
pub use error::Error;
pub use netns::Netns;
pub use observe::{Wanted, congestion_controls, counters, machine, observe, root_qdisc};

/// Results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
