//! Segments out of order that are no fault of the device by itself: the kernel's GRO and packet sockets.

use super::{Check, Kind, OffloadCheck, OffloadVerdict, Probed, switch};

/// Between a port of an Open vSwitch in user space and the device behind it segments come out of order where the port
/// leaves cutting to the kernel.
///
/// Open vSwitch sends by a packet socket. The kernel cuts its super-packet in software and leaves the socket with the last
/// segment only (`skb_segment`); GRO takes segments of different sockets for different flows (`gro_list_prepare`, since
/// Linux 5.15), and passes the last one, which has PSH, ahead of those that it holds. A port that cuts by itself
/// (`tx-tcp-segmentation`) hands over the super-packet whole.
///
/// Where the feature was on before this check switched it off, the path as it is does not do that: nothing is said against
/// it. Where it is off, that it is is the fault.
pub fn ahead_of_those_held(check: &Check, on: &Probed, row: &mut OffloadCheck) {
    let reordered = on.comparison.findings.worst().is_some_and(|worst| worst.kind == Kind::Reordered);
    let Some((port, _)) = on.place.as_ref().filter(|_| reordered && on.place_is_ovs && check.group.name == "gro")
    else {
        return;
    };
    let own: std::collections::BTreeMap<_, _> =
        check.quiet.iter().filter(|(at, _)| at == port).flat_map(|(_, features)| features.clone()).collect();
    const WHY: &str =
        "Open vSwitch sends by a packet socket, whose last segment is to GRO another flow than those before it";
    if own.is_empty() {
        row.evidence += &format!("; {WHY}, where the port before leaves the cutting to the kernel");
        row.cure = Some(format!("in {}: `ethtool -K {} tso on`", port.ns, port.name));
    } else {
        row.verdict = OffloadVerdict::Inconclusive;
        row.evidence = format!(
            "with {port} not cutting, as only this check has it: {}; {WHY}; not so on the path as it is",
            row.evidence.trim_start_matches("only with it on: ")
        );
        row.cure = Some(format!(
            "leave it as it is: {}",
            switch(port, &own.keys().map(|name| (name.clone(), true)).collect(), true)
        ));
    }
}
