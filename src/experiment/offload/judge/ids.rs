//! Identifications of IPv4 that stay: a device may leave them as they are only where it says so.

use super::{Check, Kind, Probed};
use crate::experiment::offload::checks::MANGLE_ID;

/// What was seen with the feature of the check off, or on: identifications that stay are wrong where the device does not say
/// that it leaves them (`tx-tcp-mangleid-segmentation`), though the segments must not be fragmented (RFC 6864 lets them).
pub fn held(check: &Check, probed: &Probed, on: bool) -> Probed {
    let mut probed = probed.clone();
    let may = if check.features.contains_key(MANGLE_ID) { check.hand > 0 || on } else { check.may_fix_ids };
    let stayed = probed.comparison.stayed;
    if !may && stayed > 0 {
        let text = || format!("of {stayed} super-packets they stay, and {MANGLE_ID} is off");
        probed.comparison.findings.add(Kind::WrongIpId, text);
    }
    probed
}
