//! ethtool's short feature words and the kernel features they stand for.

use std::collections::BTreeMap;

/// Short word -> kernel names (`netdev_features_strings[]` in net/ethtool/common.c), as `ethtool -K` groups them.
const GROUPS: &[(&str, &[&str])] = &[
    ("rx", &["rx-checksum"]),
    (
        "tx",
        &["tx-checksum-ipv4", "tx-checksum-ip-generic", "tx-checksum-ipv6", "tx-checksum-fcoe-crc", "tx-checksum-sctp"],
    ),
    ("sg", &["tx-scatter-gather", "tx-scatter-gather-fraglist"]),
    (
        "tso",
        &["tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation"],
    ),
    ("gso", &["tx-generic-segmentation"]),
    ("gro", &["rx-gro"]),
    ("lro", &["rx-lro"]),
    ("uso", &["tx-udp-segmentation"]),
    ("rxvlan", &["rx-vlan-hw-parse"]),
    ("txvlan", &["tx-vlan-hw-insert"]),
    ("ntuple", &["rx-ntuple-filter"]),
    ("rxhash", &["rx-hashing"]),
    ("gro-hw", &["rx-gro-hw"]),
    ("gro-list", &["rx-gro-list"]),
    ("udp-gro", &["rx-udp-gro-forwarding"]),
    ("vxlan-tso", &["tx-udp_tnl-segmentation"]),
    ("vxlan-csum-tso", &["tx-udp_tnl-csum-segmentation"]),
    ("vxlan-port", &["rx-udp_tunnel-port-offload"]),
];

/// Long words of `ethtool -k`'s listing that name a group.
const ALIASES: &[(&str, &str)] = &[
    ("rx-checksumming", "rx"),
    ("tx-checksumming", "tx"),
    ("scatter-gather", "sg"),
    ("tcp-segmentation-offload", "tso"),
    ("generic-segmentation-offload", "gso"),
    ("generic-receive-offload", "gro"),
    ("large-receive-offload", "lro"),
    ("rx-vlan-offload", "rxvlan"),
    ("tx-vlan-offload", "txvlan"),
    ("receive-hashing", "rxhash"),
];

/// The kernel features that a word of the file stands for; a word that is no group stands for itself.
pub fn kernel_names(word: &str) -> Vec<&str> {
    let short = ALIASES.iter().find(|(long, _)| *long == word).map_or(word, |(_, short)| short);
    match GROUPS.iter().find(|(name, _)| *name == short) {
        Some((_, names)) => names.to_vec(),
        None => vec![word],
    }
}

/// Is another feature of the same group as asked? A device has some of a group fixed (a veth cannot checksum IPv4 alone,
/// it does all protocols), and then the group is as asked when those that it can switch are, as with `ethtool -K`. One that
/// is fixed on is not off, whatever the others are.
pub fn another_stands_for(name: &str, on: bool, in_force: &BTreeMap<String, bool>) -> bool {
    let groups = GROUPS.iter().filter(|(_, names)| names.contains(&name));
    let mut others = groups.flat_map(|(_, names)| names.iter()).filter(|other| **other != name);
    (on || in_force.get(name) != Some(&true)) && others.any(|other| in_force.get(*other) == Some(&on))
}

/// All words of a table as kernel features.
pub fn expand(words: &BTreeMap<String, bool>) -> BTreeMap<String, bool> {
    let groups_first = |word: &&String| usize::from(kernel_names(word).len() == 1);
    let mut order: Vec<&String> = words.keys().collect();
    order.sort_by_key(groups_first); // a single feature named beside its group wins
    let mut features = BTreeMap::new();
    for word in order {
        for name in kernel_names(word) {
            features.insert(name.to_owned(), words[word]);
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_expand_and_single_features_win() {
        let words = BTreeMap::from([("tso".to_owned(), true), ("tx-tcp6-segmentation".to_owned(), false)]);
        let features = expand(&words);
        assert!(features["tx-tcp-segmentation"]);
        assert!(!features["tx-tcp6-segmentation"]);
        assert_eq!(kernel_names("generic-receive-offload"), ["rx-gro"]);
        assert_eq!(kernel_names("tx-nocache-copy"), ["tx-nocache-copy"]);
        let in_force = BTreeMap::from([("tx-checksum-ip-generic".to_owned(), true)]);
        assert!(another_stands_for("tx-checksum-ipv4", true, &in_force));
        assert!(!another_stands_for("tx-checksum-ipv4", false, &in_force));
        assert!(!another_stands_for("rx-lro", true, &in_force));
        let fixed =
            BTreeMap::from([("tx-tcp-segmentation".to_owned(), true), ("tx-tcp6-segmentation".to_owned(), false)]);
        assert!(!another_stands_for("tx-tcp-segmentation", false, &fixed));
        assert!(another_stands_for("tx-tcp-ecn-segmentation", false, &fixed));
    }
}
