//! The kernel module openvswitch: what a daemon that was killed leaves of its datapath.

use super::{
    Result,
    error::Operation,
    netlink::{Failure, generic},
    netns::Netns,
};

/// `IFLA_INFO_KIND` of a datapath's own device and of the internal ports of its bridges.
const KIND: &str = "openvswitch";
/// The one datapath that ovs-vswitchd makes in a namespace (`dpif_netlink_enumerate()`, lib/dpif-netlink.c), by its device.
const DATAPATH: &str = "ovs-system";
/// `OVS_DP_CMD_DEL` and `OVS_DATAPATH_VERSION` of include/uapi/linux/openvswitch.h
const DELETE: (u8, u8) = (2, 2);

/// Devices that ovs-vswitchd makes for tunnels of the kernel's datapath, by `IFLA_INFO_KIND` and the beginning of their names
/// (`netdev_vport_get_dpif_port()`, lib/netdev-vport.c). The module does not know them for its own.
const TUNNELS: [(&str, &str); 4] =
    [("vxlan", "vxlan_sys_"), ("geneve", "genev_sys_"), ("gretap", "gre_sys"), ("ip6gretap", "ip6gre_sys")];

/// Is a link of this name and kind the device of a datapath?
pub fn is_datapath(name: &str, kind: &str) -> bool {
    kind == KIND && name == DATAPATH
}

/// Is a link of this name and kind the device of a datapath's tunnels?
pub fn is_tunnel(name: &str, kind: &str) -> bool {
    TUNNELS.iter().any(|(of, prefix)| kind == *of && name.starts_with(prefix))
}

const FAMILY: &str = "ovs_datapath";

/// Has the kernel load the module.
///
/// # Errors
/// It has none, nor is it built in.
pub fn require(ns: &Netns) -> Result<()> {
    let asked = ns.generic().and_then(|mut socket| generic::family(&mut socket, FAMILY));
    let operation = Operation::of("look for the kernel's datapath of", "Open vSwitch", ns.label());
    asked.map(|_| ()).map_err(|failure| match failure.errno() {
        Some(errno @ libc::ENOENT) => operation
            .unsupported("CONFIG_OPENVSWITCH (the module openvswitch); `datapath = \"user\"` needs no module", errno),
        _ => operation.failed(failure),
    })
}

/// Removes the datapath whose device has this index, with its internal ports; other ports are set free.
///
/// # Errors
/// The kernel refuses it (EPERM without CAP_NET_ADMIN). One that is gone already is no error.
pub fn delete_datapath(ns: &Netns, index: u32) -> Result<()> {
    let delete = || {
        let mut socket = ns.generic()?;
        let family = generic::family(&mut socket, FAMILY)?;
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
