//! How a device spreads what it receives over its queues.

use super::call;
use crate::{
    kernel::{
        Result,
        error::Operation,
        netlink::nla::{find, u32_at},
        netns::Netns,
    },
    units::IfName,
};

/// `ETHTOOL_MSG_RSS_GET`
const RSS_GET: u8 = 38;
/// `ETH_RSS_HASH_TOP`
const TOEPLITZ: u32 = 1;

/// Receive-side scaling of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rss {
    /// Is the hash Toeplitz's? `None` where the driver does not say.
    pub is_toeplitz: Option<bool>,
    /// Queue of each remainder of the hash; empty where the device has no table.
    pub indirection: Vec<u32>,
    /// The key, where the driver lets it be read.
    pub key: Option<Vec<u8>>,
}

/// What the device says; `None` where it has no receive-side scaling, or the kernel does not tell (before 6.3).
///
/// # Errors
/// The link is not there.
pub fn rss(ns: &Netns, name: &IfName) -> Result<Option<Rss>> {
    match call(ns, RSS_GET, name, 0, |_| {}) {
        // ETHTOOL_A_RSS_HFUNC (3), INDIR (4), HKEY (5)
        Ok(answer) => Ok(Some(Rss {
            is_toeplitz: find(&answer, 3).and_then(|value| u32_at(value, 0)).map(|function| function == TOEPLITZ),
            indirection: find(&answer, 4)
                .unwrap_or_default()
                .chunks_exact(4)
                .filter_map(|entry| u32_at(entry, 0))
                .collect(),
            key: find(&answer, 5).filter(|key| !key.is_empty()).map(<[u8]>::to_vec),
        })),
        Err(failure) if matches!(failure.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(None),
        Err(failure) => Err(Operation::of("read the receive-side scaling of", name, ns.label()).failed(failure)),
    }
}
