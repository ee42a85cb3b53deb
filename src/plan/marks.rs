//! How netbench knows its own: marks on namespaces and links, and who may therefore be removed.

use super::observed::{ObservedLink, ObservedNs};
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
        assert!(altname(&"t".repeat(32), "name").len() <= 127);
    }
}
