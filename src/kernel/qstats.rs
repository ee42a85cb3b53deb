//! What a device counts of the work that it took over, by the `netdev` family of generic netlink (`qstats-get`).
//!
//! Numbers are those of include/uapi/linux/netdev.h. Few drivers answer, and each counts what it can: nothing may rest on it.

use std::collections::BTreeMap;

use super::{
    Result,
    error::Operation,
    link,
    netlink::{
        Failure,
        nla::{Writer, find, u32_at, u64_at},
    },
    netns::Netns,
};
use crate::units::IfName;

/// `NETDEV_CMD_QSTATS_GET`
const QSTATS_GET: u8 = 12;
/// `NETDEV_A_QSTATS_IFINDEX`
const IFINDEX: u16 = 1;
/// Packets, and what became of checksums and segments, by the names of the kernel's netdev.yaml.
const COUNTERS: [(&str, u16); 16] = [
    ("rx-packets", 8),
    ("tx-packets", 10),
    ("rx-hw-drops", 13),
    ("rx-hw-drop-overruns", 14),
    ("rx-csum-complete", 15),
    ("rx-csum-unnecessary", 16),
    ("rx-csum-none", 17),
    ("rx-csum-bad", 18),
    ("rx-hw-gro-packets", 19),
    ("rx-hw-gro-wire-packets", 21),
    ("tx-hw-drops", 24),
    ("tx-hw-drop-errors", 25),
    ("tx-csum-none", 26),
    ("tx-needs-csum", 27),
    ("tx-hw-gso-packets", 28),
    ("tx-hw-gso-wire-packets", 30),
];

/// The counters of a device; none where its driver, or a kernel before 6.9, has none of them.
///
/// # Errors
/// The link is not there.
pub fn qstats(ns: &Netns, name: &IfName) -> Result<BTreeMap<&'static str, u64>> {
    let index = link::index(ns, name.as_str())?;
    match ask(ns, index) {
        Ok(counters) => Ok(counters),
        // Neither the family nor the command, or not of this device.
        Err(failure) if matches!(failure.errno(), Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EINVAL)) => {
            Ok(BTreeMap::new())
        }
        Err(failure) => Err(Operation::of("read the counters of", name, ns.label()).failed(failure)),
    }
}

fn ask(ns: &Netns, index: u32) -> Result<BTreeMap<&'static str, u64>, Failure> {
    const GENL_ID_CTRL: u16 = 16;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    let mut socket = ns.generic()?;
    let message = Writer::after(&[CTRL_CMD_GETFAMILY, 1, 0, 0]).text(2, "netdev").finish();
    let answer = socket.request(GENL_ID_CTRL, 0, &message)?;
    let family =
        answer.first().and_then(|body| find(body.get(4..)?, 1)?.first_chunk().copied().map(u16::from_ne_bytes));
    let family = family.ok_or_else(|| Failure::Malformed("no number of the family netdev".into()))?;
    // Asked for one device; kernels before 6.10 tell of all.
    let message = Writer::after(&[QSTATS_GET, 1, 0, 0]).u32(IFINDEX, index).finish();
    let mut counters = BTreeMap::new();
    for body in socket.dump(family, &message)? {
        let Some(attributes) = body.get(4..) else { continue };
        if find(attributes, IFINDEX).and_then(|value| u32_at(value, 0)) == Some(index) {
            counters.extend(read(attributes));
        }
    }
    Ok(counters)
}

fn read(attributes: &[u8]) -> BTreeMap<&'static str, u64> {
    // An unsigned number that takes 4 bytes where they are enough (`nla_put_uint()`).
    let value = |bytes: &[u8]| match bytes.len() {
        4 => u32_at(bytes, 0).map(u64::from),
        _ => u64_at(bytes, 0),
    };
    COUNTERS.iter().filter_map(|(name, kind)| Some((*name, find(attributes, *kind).and_then(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_widths_are_read_and_others_left_out() {
        let mut writer = Writer::after(&[]);
        let bytes = writer.u32(IFINDEX, 7).u32(8, 99).u32(9, 5).u32(27, 12).u64(28, 5 << 32).finish();
        assert_eq!(
            read(&bytes),
            BTreeMap::from([("rx-packets", 99), ("tx-needs-csum", 12), ("tx-hw-gso-packets", 5 << 32)])
        );
    }
}
