//! ethtool's short names for features.

use std::collections::BTreeMap;

use super::Feature;

/// `ethtool -K`'s names and what they stand for (`off_flag_def` in ethtool's common.c), newer bits added.
const SHORT: [(&str, &[&str]); 14] = [
    ("rx", &["rx-checksum"]),
    (
        "tx",
        &["tx-checksum-ipv4", "tx-checksum-ip-generic", "tx-checksum-ipv6", "tx-checksum-fcoe-crc", "tx-checksum-sctp"],
    ),
    ("sg", &["tx-scatter-gather", "tx-scatter-gather-fraglist"]),
    (
        "tso",
        &[
            "tx-tcp-segmentation",
            "tx-tcp-ecn-segmentation",
            "tx-tcp-mangleid-segmentation",
            "tx-tcp6-segmentation",
            "tx-tcp-accecn-segmentation",
        ],
    ),
    ("ufo", &["tx-udp-fragmentation"]),
    ("uso", &["tx-udp-segmentation"]),
    ("gso", &["tx-generic-segmentation"]),
    ("gro", &["rx-gro"]),
    ("lro", &["rx-lro"]),
    ("rxvlan", &["rx-vlan-hw-parse"]),
    ("txvlan", &["tx-vlan-hw-insert"]),
    ("ntuple", &["rx-ntuple-filter"]),
    ("rxhash", &["rx-hashing"]),
    ("highdma", &["highdma"]),
];

/// Kernel names that a short name may stand for; a name that is no short one stands for itself.
///
/// Which of them a device has is another matter: see [`applicable`].
pub fn expand(short: &str) -> Vec<String> {
    match SHORT.iter().find(|(name, _)| *name == short) {
        Some((_, names)) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => vec![short.to_owned()],
    }
}

/// Kernel names that a short name stands for on a device: those that it can switch. A device without any is asked for
/// those it knows, so that the refusal names them.
pub fn applicable(short: &str, features: &BTreeMap<String, Feature>) -> Vec<String> {
    let known: Vec<String> = match expand(short) {
        one if one.len() == 1 => one,
        many => many.into_iter().filter(|name| features.contains_key(name)).collect(),
    };
    let can_switch = |name: &String| features.get(name).is_some_and(|feature| feature.changeable);
    let switchable: Vec<String> = known.iter().filter(|name| can_switch(name)).cloned().collect();
    if switchable.is_empty() { known } else { switchable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_expand_and_others_stay() {
        assert_eq!(expand("gro"), ["rx-gro"]);
        assert!(expand("tso").contains(&"tx-tcp6-segmentation".to_owned()));
        assert_eq!(expand("rx-gro-list"), ["rx-gro-list"]);
        let on = Feature { active: true, wanted: true, changeable: true };
        let features = BTreeMap::from([
            ("tx-checksum-ipv4".to_owned(), Feature::default()),
            ("tx-checksum-ip-generic".into(), on),
        ]);
        assert_eq!(applicable("tx", &features), ["tx-checksum-ip-generic"]);
        assert_eq!(applicable("gro", &features), ["rx-gro"]);
    }
}
