//! What is around packets in tunnels.

use std::collections::BTreeSet;

use super::{Probed, place_text};
use crate::{
    packet::{Finding, Kind},
    record::{OffloadCheck, OffloadVerdict},
};

/// Faults of the headers of a tunnel.
const OUTER: [Kind; 6] = [
    Kind::WrongOuterChecksum,
    Kind::WrongLength,
    Kind::VniChanged,
    Kind::OuterPort,
    Kind::WrongOuterIpId,
    Kind::OuterChanged,
];

/// The headers around what came in a tunnel; nothing where nothing did.
pub fn headers(path: &str, probed: &Probed) -> Option<OffloadCheck> {
    let seen = &probed.comparison;
    if seen.around.is_empty() {
        return None;
    }
    let ports: BTreeSet<u16> = seen.entropy.values().copied().collect();
    let (flows, by) = (seen.entropy.len(), ports.len());
    let mut row = OffloadCheck::new(
        path,
        "tunnel-headers",
        OffloadVerdict::Pass,
        format!("each as it was handed over; {flows} flows came by {by} outer source ports"),
    );
    let wrong: Vec<Finding> = seen.findings.iter().filter(|finding| OUTER.contains(&finding.kind)).cloned().collect();
    if let Some(first) = wrong.first() {
        (row.verdict, row.evidence) = (OffloadVerdict::Corrupt, first.to_string());
        row.cure = Some(format!(
            "have the kernel cut what goes into the tunnel: `ethtool -K DEVICE tx-udp_tnl-segmentation off \
             tx-udp_tnl-csum-segmentation off`{}",
            place_text(probed)
        ));
        row.findings = wrong;
    } else if flows > 1 && by == 1 {
        // RFC 7348: the source port is to be a hash of the flow.
        row.verdict = OffloadVerdict::Ineffective;
        row.evidence =
            format!("all {flows} flows come by one outer source port: no card can spread them over its queues");
        row.cure = Some(
            "give the tunnel a range of source ports: `ip link add … type vxlan … srcport 32768 61000`".to_owned(),
        );
    }
    Some(row)
}
