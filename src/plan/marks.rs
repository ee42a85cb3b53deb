//! How netbench knows its own: marks on namespaces and links, and who may therefore be removed.

use super::{
    observed::{ObservedLink, ObservedNs},
    step::NicState,
};
use crate::units::stable_hash;

/// First word of every alias of ours.
const WORD: &str = "netbench";

/// The alias of `lo` in a namespace of ours, and of links of ours in somebody else's namespace.
pub fn alias(topology: &str, role: &str) -> String {
    format!("{WORD}:{topology}:{role}")
}

/// The topology and role that an alias names, if it is one of ours.
pub fn parse_alias(alias: &str) -> Option<(&str, &str)> {
    let (word, rest) = alias.split_once(':')?;
    let (topology, role) = rest.split_once(':')?;
    (word == WORD && !topology.is_empty()).then_some((topology, role))
}

/// `IFLA_GROUP` of every link of a topology: one message deletes them all. `0x4e42` is "NB".
pub fn group(topology: &str) -> u32 {
    0x4e42_0000 | (stable_hash(&[topology]) & 0xffff) as u32
}

/// The group that links of a topology are put in to be deleted together. `0x4e43` is next to [`group`]'s `0x4e42`.
pub fn scratch_group(topology: &str) -> u32 {
    group(topology) + 0x1_0000
}

/// The alias of a borrowed device: enough to give it back when the journal is lost. At most 255 bytes (IFALIASZ).
pub fn nic_alias(topology: &str, nic: &NicState) -> String {
    let mac = nic.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let state = if nic.up { "up" } else { "down" };
    alias(topology, &format!("nic/{}/{}/{state}/{mac}", nic.ifname, nic.mtu))
}

/// What [`nic_alias`] wrote, as far as it goes.
pub fn parse_nic_alias(alias: &str) -> Option<NicState> {
    let (_, role) = parse_alias(alias)?;
    let mut parts = role.strip_prefix("nic/")?.split('/');
    Some(NicState {
        ifname: parts.next()?.to_owned(),
        mtu: parts.next()?.parse().ok()?,
        up: parts.next()? == "up",
        mac: parts.next().and_then(|mac| mac.parse().ok()),
        ..NicState::default()
    })
}

/// An alternative name: unique in a namespace, so that setting it is an atomic claim.
pub fn altname(topology: &str, name: &str) -> String {
    format!("nb-{topology}-{:08x}", stable_hash(&[topology, name]) as u32)
}

/// Did this topology make the namespace?
pub fn owns_ns(topology: &str, ns: &ObservedNs) -> bool {
    ns.mark.as_deref().and_then(parse_alias).is_some_and(|(owner, _)| owner == topology)
}

/// Did this topology make the link? In a namespace of ours the group is enough; elsewhere the group may be somebody
/// else's number too, and the alias decides.
pub fn owns_link(topology: &str, own_ns: bool, link: &ObservedLink) -> bool {
    let grouped = link.group == group(topology);
    let named = link.alias.as_deref().and_then(parse_alias).is_some_and(|(owner, _)| owner == topology);
    if own_ns { grouped || named } else { grouped && named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip_and_strangers_are_not_ours() {
        assert_eq!(parse_alias(&alias("bridge", "client")), Some(("bridge", "client")));
        assert_eq!(parse_alias("netbench"), None);
        assert_eq!(parse_alias("uplink to rack 7"), None);
        assert_eq!(group("bridge") >> 16, 0x4e42);
        let stranger = ObservedLink { group: group("bridge"), ..ObservedLink::default() };
        assert!(!owns_link("bridge", false, &stranger));
        let ours = ObservedLink { alias: Some(alias("bridge", "client-0")), ..stranger };
        assert!(owns_link("bridge", false, &ours));
        assert!(!owns_link("other", false, &ours));
        let nic = NicState { ifname: "enp3s0".into(), mtu: 9000, up: true, ..NicState::default() };
        assert_eq!(parse_nic_alias(&nic_alias("bridge", &nic)), Some(nic));
        assert!(altname(&"t".repeat(32), "name").len() <= 127);
    }
}
