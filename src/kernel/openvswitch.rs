//! The kernel module openvswitch: what a daemon that was killed leaves of its datapath.

use super::{
    Result,
    error::Operation,
    netlink::{Failure, generic},
    netns::Netns,
};

/// `IFLA_INFO_KIND` of a datapath's own device and of the internal ports of its bridges.
pub const KIND: &str = "openvswitch";
/// The one datapath that ovs-vswitchd makes in a namespace (`dpif_netlink_enumerate()`, lib/dpif-netlink.c), by its device.
pub const DATAPATH: &str = "ovs-system";
/// `OVS_DP_CMD_DEL` and `OVS_DATAPATH_VERSION` of include/uapi/linux/openvswitch.h
const DELETE: (u8, u8) = (2, 2);

/// Removes the datapath whose device has this index, with its internal ports and tunnel ports; other ports are set free.
///
/// # Errors
/// The kernel refuses it (EPERM without CAP_NET_ADMIN). One that is gone already is no error.
pub fn delete_datapath(ns: &Netns, index: u32) -> Result<()> {
    let delete = || {
        let mut socket = ns.generic()?;
        let family = generic::family(&mut socket, "ovs_datapath")?;
        // `struct genlmsghdr`, then `struct ovs_header`.
        let mut message = vec![DELETE.0, DELETE.1, 0, 0];
        message.extend(index.to_ne_bytes());
        socket.request(family, 0, &message)
    };
    match delete() {
        Ok(_) => Ok(()),
        Err(failure) if matches!(failure.errno(), Some(libc::ENODEV | libc::ENOENT)) => Ok(()),
        Err(failure) => Err(failed(ns, failure)),
    }
}

fn failed(ns: &Netns, failure: Failure) -> super::Error {
    Operation::of("remove datapath", DATAPATH, ns.label()).failed(failure)
}
