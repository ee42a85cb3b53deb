//! Features for every boot: systemd's .link file where it has a word for them, a udev rule where it has none. Pure.

use std::collections::BTreeMap;

/// systemd.link(5): kernel feature to key of `[Link]`.
const KEYS: &[(&str, &str)] = &[
    ("rx-checksum", "ReceiveChecksumOffload"),
    ("tx-checksum-ip-generic", "TransmitChecksumOffload"),
    ("tx-checksum-ipv4", "TransmitChecksumOffload"),
    ("tx-checksum-ipv6", "TransmitChecksumOffload"),
    ("tx-tcp-segmentation", "TCPSegmentationOffload"),
    ("tx-tcp6-segmentation", "TCP6SegmentationOffload"),
    ("tx-generic-segmentation", "GenericSegmentationOffload"),
    ("tx-gso-partial", "PartialGenericSegmentationOffload"),
    ("rx-gro", "GenericReceiveOffload"),
    ("rx-gro-hw", "GenericReceiveOffloadHardware"),
    ("rx-lro", "LargeReceiveOffload"),
    ("rx-vlan-hw-parse", "ReceiveVLANCTAGHardwareAcceleration"),
    ("tx-vlan-hw-insert", "TransmitVLANCTAGHardwareAcceleration"),
    ("rx-vlan-filter", "ReceiveVLANCTAGFilter"),
    ("tx-vlan-stag-hw-insert", "TransmitVLANSTAGHardwareAcceleration"),
    ("rx-ntuple-filter", "NTupleFilter"),
];

/// The text of what sets these features of a device at every boot.
pub fn persistent(device: &str, features: &BTreeMap<String, bool>) -> String {
    let key = |name: &str| KEYS.iter().find(|(feature, _)| *feature == name).map(|(_, key)| *key);
    let mut keys = BTreeMap::new();
    let mut rest = Vec::new();
    for (name, on) in features {
        match key(name) {
            Some(key) => drop(keys.insert(key, *on)),
            None => rest.push(format!("{name} {}", if *on { "on" } else { "off" })),
        }
    }
    let mut text = String::new();
    if !keys.is_empty() {
        text += &format!("# /etc/systemd/network/10-{device}.link\n[Match]\nOriginalName={device}\n\n[Link]\n");
        for (key, on) in keys {
            text += &format!("{key}={}\n", if on { "yes" } else { "no" });
        }
    }
    if !rest.is_empty() {
        text += &format!(
            "# /etc/udev/rules.d/80-{device}.rules (systemd.link has no word for these)\nACTION==\"add\", SUBSYSTEM==\"net\", NAME==\"{device}\", RUN+=\"/usr/sbin/ethtool -K {device} {}\"\n",
            rest.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::persistent;

    #[test]
    fn a_feature_with_a_key_is_a_link_file_and_one_without_a_udev_rule() {
        let features = [("tx-tcp-segmentation".to_owned(), false), ("tx-udp-segmentation".to_owned(), true)].into();
        let text = persistent("eth0", &features);
        assert!(text.contains("OriginalName=eth0\n\n[Link]\nTCPSegmentationOffload=no\n"), "{text}");
        assert!(text.contains("/usr/sbin/ethtool -K eth0 tx-udp-segmentation on\""), "{text}");
    }
}
