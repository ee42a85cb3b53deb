//! Was a card told by which UDP ports the tunnels come, that it is to look into? Pure.

use std::collections::BTreeSet;

use crate::{facts::nic::TunnelTable, record::OffloadVerdict};

/// Name of the check.
pub const NAME: &str = "tunnel-ports";
/// The feature by which the kernel tells a device.
pub const FEATURE: &str = "rx-udp_tunnel-port-offload";

/// A verdict, its evidence, and whether asking the driver again is the cure: `wanted` are kind and port of the tunnels of the
/// device's namespace, `userspace` says that Open vSwitch in user space has them, `on` that the feature is in force.
pub fn judge(
    tables: &[TunnelTable],
    wanted: &BTreeSet<(String, u16)>,
    userspace: bool,
    on: bool,
) -> (OffloadVerdict, String, bool) {
    let held = |kind: &str, port: u16| {
        tables.iter().flat_map(|table| &table.ports).any(|held| held.kind == kind && held.port == port)
    };
    let words = |list: &[&(String, u16)]| {
        list.iter().map(|(kind, port)| format!("{kind} {port}")).collect::<Vec<_>>().join(", ")
    };
    let told: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let told = told.join("; ");
    if !on {
        return (OffloadVerdict::Skip, format!("{FEATURE} is off: the device is told no port; it has {told}"), false);
    }
    let takes = |kind: &str| tables.iter().any(|table| table.kinds.iter().any(|known| known == kind));
    let (for_it, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|(kind, _)| takes(kind));
    if for_it.is_empty() {
        let why = format!("the device has no table for {}; it has {told}", words(&others));
        return (OffloadVerdict::Skip, why, false);
    }
    let missing: Vec<&(String, u16)> = for_it.iter().filter(|(kind, port)| !held(kind, *port)).copied().collect();
    if missing.is_empty() {
        return (OffloadVerdict::Pass, format!("it was told {}; {told}", words(&for_it)), false);
    }
    if userspace {
        let why = "Open vSwitch in user space opens no socket of the kernel that would tell it";
        return (OffloadVerdict::NotActive, format!("it does not hold {}: {why}; {told}", words(&missing)), false);
    }
    let full = |kind: &str| {
        let mut of_kind = tables.iter().filter(|table| table.kinds.iter().any(|known| known == kind));
        of_kind.all(|table| table.ports.len() >= table.size as usize)
    };
    let why = if missing.iter().all(|(kind, _)| full(kind)) {
        "the table is full"
    } else {
        "the driver refused it, or was not asked"
    };
    (OffloadVerdict::NotActive, format!("it does not hold {}: {why}; {told}", words(&missing)), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::nic::TunnelPort;

    fn table(size: u32, kind: &str, ports: &[u16]) -> TunnelTable {
        let port = |&port: &u16| TunnelPort { port, kind: kind.to_owned() };
        TunnelTable { size, kinds: vec![kind.to_owned()], ports: ports.iter().map(port).collect() }
    }

    #[test]
    fn a_port_that_the_device_was_not_told_is_named() {
        let wanted = [("vxlan".to_owned(), 4789)].into();
        let said = |tables: &[TunnelTable], userspace, on| judge(tables, &wanted, userspace, on);
        let (verdict, text, again) = said(&[table(4, "vxlan", &[4789])], false, true);
        assert_eq!((verdict, again), (OffloadVerdict::Pass, false), "{text}");
        assert_eq!(text, "it was told vxlan 4789; vxlan 4789 (1 of 4 entries)");
        let (verdict, text, again) = said(&[table(4, "vxlan", &[8472]), table(4, "geneve", &[4789])], false, true);
        assert_eq!((verdict, again), (OffloadVerdict::NotActive, true), "{text}");
        assert!(text.starts_with("it does not hold vxlan 4789: the driver refused"), "{text}");
        let (_, text, _) = said(&[table(1, "vxlan", &[8472])], false, true);
        assert!(text.contains("the table is full"), "{text}");
        let (verdict, text, again) = said(&[table(4, "vxlan", &[])], true, true);
        assert!(verdict == OffloadVerdict::NotActive && !again && text.contains("user space"), "{text}");
        assert_eq!(said(&[table(4, "geneve", &[])], false, true).0, OffloadVerdict::Skip);
        assert_eq!(said(&[table(4, "vxlan", &[])], false, false).0, OffloadVerdict::Skip);
    }
}
