//! What a moment may have spoilt, so that the probe is to be made again.

use super::{Check, Evidence, OffloadVerdict, Probed, faults};

/// What may have been lost by chance, where nothing was seen that only a fault can do: frames that did not come, streams that broke,
/// checksum errors that a counter alone tells of.
pub fn loss(probed: &Probed) -> Option<String> {
    let faults = faults(probed);
    let counted = usize::from(probed.checksum_errors > 0);
    let certain = faults.iter().filter(|fault| fault.verdict != OffloadVerdict::Drop).count() > counted;
    faults.first().filter(|_| !certain).map(|fault| fault.text.clone())
}

/// Was something that belongs to the probe not sent at all?
pub fn is_unsent(probed: &Probed) -> bool {
    probed.crafted.as_ref().is_some_and(|crafted| crafted.failed.is_some())
}

/// Does a probe with the feature on show nothing of it?
pub fn shows_nothing(check: &Check, probed: &Probed) -> bool {
    let merges = probed.crafted.as_ref().is_some_and(|crafted| crafted.segments.mergeable.1 > 0);
    evidence(check, probed).is_some_and(|(count, _)| count == 0) && !merges
}

/// How often what shows that a feature works was seen, and what that is.
pub fn evidence(check: &Check, probed: &Probed) -> Option<(u64, &'static str)> {
    match check.group.evidence {
        Evidence::Partial => Some((probed.comparison.partial, "frames handed over with their checksum left to do")),
        Evidence::Supers => Some((probed.comparison.supers, "super-packets handed over")),
        Evidence::Merged => Some((probed.comparison.merged, "packets merged on arrival")),
        Evidence::Bytes => None,
    }
}
