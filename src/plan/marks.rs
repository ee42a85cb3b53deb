//! How netbench knows its own: marks on namespaces and links, and who may therefore be removed.

use super::{
    desired::LinkRef,
    observed::{ObservedLink, ObservedNs},
    sriov::VfSet,
    step::{NicState, VfState},
};
use crate::{
    topology::model::{Eswitch, VfLinkState},
    units::stable_hash,
};

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

/// What a link in somebody else's namespace is called until it is marked. With the group it is known as ours before it can
/// carry an alias.
pub fn passing_name(at: &LinkRef) -> String {
    format!("nb{:013x}", stable_hash(&[at.ns.0.as_str(), at.name.as_str()]) >> 12)
}

/// Is a link one that was never marked, of the topologies with this group ([`group`])?
pub fn is_passing(name: &str, link: &ObservedLink) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let shaped = name.strip_prefix("nb").is_some_and(|rest| rest.len() == 13 && rest.chars().all(is_hex));
    shaped && link.alias.is_none() && link.altnames.is_empty() && link.group >> 16 == group("") >> 16
}

/// Most bytes of an alias with addresses: of 255 (IFALIASZ less one, `include/uapi/linux/if.h`) a mark of its functions
/// around it ([`pf_alias`]) needs some.
const ROOM: usize = 180;

/// The alias of a borrowed device: enough to give it back when the journal is lost, with as many of its addresses as it has
/// room for. At most 255 bytes.
pub fn nic_alias(topology: &str, nic: &NicState) -> String {
    let mac = nic.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let state = if nic.up { "up" } else { "down" };
    let vf = nic.vf.as_ref().map(function).unwrap_or_default();
    let mut text = alias(topology, &format!("nic/{}/{}/{state}/{mac}{vf}", nic.ifname, nic.mtu));
    if nic.vf.is_some() {
        return text;
    }
    let mut before = "/at/";
    for address in &nic.addresses {
        let word = format!("{before}{}~{}", address.addr(), address.prefix_len());
        if text.len() + word.len() <= ROOM {
            text += &word;
            before = ",";
        }
    }
    text
}

/// What [`nic_alias`] wrote, as far as it goes.
pub fn parse_nic_alias(alias: &str) -> Option<NicState> {
    let (_, role) = parse_alias(alias)?;
    let role = role.strip_prefix("nic/")?;
    let (role, addresses) = role.split_once("/at/").unwrap_or((role, ""));
    let mut parts = role.split('/');
    let addresses = addresses.split(',').filter_map(|address| address.replace('~', "/").parse().ok());
    Some(NicState {
        addresses: addresses.collect(),
        ifname: parts.next()?.to_owned(),
        mtu: parts.next()?.parse().ok()?,
        up: parts.next()? == "up",
        mac: parts.next().and_then(|mac| mac.parse().ok()),
        vf: parse_function(parts),
        ..NicState::default()
    })
}

/// `/vf/PF/NUMBER/BOUND` and what was set before, as [`settings`] has it.
fn function(vf: &VfState) -> String {
    let head = format!("/vf/{}/{}/{}", vf.pf, vf.index, u8::from(vf.bound));
    match &vf.before {
        Some(before) => format!("{head}/{}", settings(before).join("/")),
        None => head,
    }
}

/// `VLAN.QOS`, MAC, `MIN.MAX`, SPOOFCHK, TRUST, STATE; `-` where that is not known or not changed.
fn settings(set: &VfSet) -> [String; 6] {
    fn word<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
        value.map_or_else(|| "-".into(), text)
    }
    let flag = |on: bool| u8::from(on).to_string();
    [
        word(set.vlan, |(vlan, qos)| format!("{vlan}.{qos}")),
        word(set.mac, |mac| mac.to_string()),
        word(set.rate, |(least, most)| format!("{least}.{most}")),
        word(set.spoofchk, flag),
        word(set.trust, flag),
        word(set.link_state, |state| (state as u8).to_string()),
    ]
}

fn parse_settings([vlan, mac, rate, spoofchk, trust, state]: [&str; 6]) -> VfSet {
    VfSet {
        vlan: vlan.split_once('.').and_then(|(vlan, qos)| Some((vlan.parse().ok()?, qos.parse().ok()?))),
        mac: mac.parse().ok(),
        rate: rate.split_once('.').and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?))),
        spoofchk: spoofchk.parse::<u8>().ok().map(|on| on != 0),
        trust: trust.parse::<u8>().ok().map(|on| on != 0),
        link_state: match state {
            "0" => Some(VfLinkState::Auto),
            "1" => Some(VfLinkState::Enable),
            "2" => Some(VfLinkState::Disable),
            _ => None,
        },
    }
}

fn parse_function<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<VfState> {
    parts.next().filter(|word| *word == "vf")?;
    let (pf, index, bound) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()? == "1");
    let rest: Vec<&str> = parts.collect();
    let before = rest.try_into().ok().map(parse_settings);
    Some(VfState { pf, index, bound, before, set: VfSet::default() })
}

/// An alternative name of a NIC: what it did for a function of somebody else before a topology set it. It fits the 127 bytes of
/// one (`ALTIFNAMSIZ`), and there may be one for each function, for which the alias has no room.
pub fn function_note(topology: &str, index: u32, before: &VfSet) -> String {
    format!("nb-{topology}-vf_{index}_{}", settings(before).join("_").replace(':', "."))
}

/// The topology, the function and what it was, of [`function_note`].
pub fn parse_function_note(text: &str) -> Option<(&str, u32, VfSet)> {
    let mut parts: Vec<&str> = text.rsplitn(8, '_').collect();
    parts.reverse();
    let [head, index, vlan, mac, rate, spoofchk, trust, state] = parts.try_into().ok()?;
    let topology = head.strip_prefix("nb-")?.strip_suffix("-vf")?;
    let mac = mac.replace('.', ":");
    Some((topology, index.parse().ok()?, parse_settings([vlan, &mac, rate, spoofchk, trust, state])))
}

/// What the mark on a NIC says whose virtual functions a topology made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PfMark {
    /// The topology.
    pub topology: String,
    /// `sriov_numvfs` before.
    pub vfs: u32,
    /// `sriov_drivers_autoprobe` before.
    pub autoprobe: bool,
    /// Mode of the embedded switch before, where the topology changes it.
    pub eswitch: Option<Eswitch>,
    /// The alias to be given back.
    pub alias: Option<String>,
}

/// The alias of a NIC whose virtual functions a topology made. A NIC that is borrowed as well keeps that mark in front.
pub fn pf_alias(mark: &PfMark) -> String {
    let mode = match mark.eswitch {
        None => "",
        Some(Eswitch::Legacy) => ".legacy",
        Some(Eswitch::Switchdev) => ".switchdev",
    };
    let own = format!("pf/{}/{}{mode}", mark.vfs, u8::from(mark.autoprobe));
    match &mark.alias {
        Some(before) if parse_nic_alias(before).is_some() => format!("{before}/{own}"),
        // A long one is cut with the rest of the alias (IFALIASZ); the journal has it whole.
        Some(before) => {
            let full = alias(&mark.topology, &format!("{own}/{before}"));
            full.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 255).map(|(_, c)| c).collect()
        }
        None => alias(&mark.topology, &own),
    }
}

/// What [`pf_alias`] wrote.
pub fn parse_pf_alias(text: &str) -> Option<PfMark> {
    let (topology, role) = parse_alias(text)?;
    let (before, own) = match role.strip_prefix("pf/") {
        Some(own) => (None, own),
        None => role.rsplit_once("/pf/").map(|(before, own)| (Some(alias(topology, before)), own))?,
    };
    let mut parts = own.splitn(3, '/');
    let (vfs, flags) = (parts.next()?.parse().ok()?, parts.next()?);
    let (autoprobe, mode) = flags.split_once('.').unwrap_or((flags, ""));
    Some(PfMark {
        topology: topology.to_owned(),
        vfs,
        autoprobe: autoprobe == "1",
        eswitch: match mode {
            "legacy" => Some(Eswitch::Legacy),
            "switchdev" => Some(Eswitch::Switchdev),
            _ => None,
        },
        alias: before.or_else(|| parts.next().map(str::to_owned)),
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
        assert_eq!(parse_nic_alias(&nic_alias("bridge", &nic)), Some(nic.clone()));
        // As many addresses as there is room for, and a mark of its functions around them.
        let addresses = (1..20).map(|n| format!("2001:db8:1234:5678:9abc:def0:1234:{n:x}/64").parse().unwrap());
        let nic = NicState { addresses: addresses.collect(), mac: "02:00:00:00:00:01".parse().ok(), ..nic };
        let text = nic_alias(&"t".repeat(32), &nic);
        let parsed = parse_nic_alias(&text).unwrap();
        assert!((2..5).contains(&parsed.addresses.len()) && nic.addresses.starts_with(&parsed.addresses), "{text}");
        let eswitch = Some(Eswitch::Switchdev);
        let mark = PfMark { topology: "t".repeat(32), vfs: 255, autoprobe: true, eswitch, alias: Some(text) };
        assert!(pf_alias(&mark).len() <= 255, "{}", pf_alias(&mark));
        let nic = NicState { addresses: parsed.addresses[..1].to_vec(), ..nic };
        assert_eq!(parse_nic_alias(&nic_alias("bridge", &nic)), Some(nic));
        let before = VfSet { vlan: Some((7, 1)), mac: "02:00:00:00:00:01".parse().ok(), ..VfSet::default() };
        let vf =
            VfState { pf: "0000:01:00.0".into(), index: 3, before: Some(before), bound: true, ..VfState::default() };
        let nic = NicState { ifname: "enp3s0v3".into(), mtu: 1500, vf: Some(vf), ..NicState::default() };
        assert_eq!(parse_nic_alias(&nic_alias("bridge", &nic)), Some(nic.clone()));
        let borrowed = nic_alias("bridge", &nic);
        for before in [None, Some("rack 7/2".to_owned()), Some(borrowed)] {
            for eswitch in [None, Some(Eswitch::Legacy)] {
                let alias = before.clone();
                let mark = PfMark { topology: "bridge".into(), vfs: 4, autoprobe: true, eswitch, alias };
                let text = pf_alias(&mark);
                assert_eq!(parse_pf_alias(&text), Some(mark), "{text}");
                assert!(text.len() <= 255, "{text}");
            }
        }
        assert_eq!(parse_pf_alias("uplink to rack 7"), None);
        let all = VfSet {
            vlan: Some((4094, 7)),
            mac: "fe:dc:ba:98:76:54".parse().ok(),
            rate: Some((u32::MAX, u32::MAX)),
            spoofchk: Some(true),
            trust: Some(false),
            link_state: Some(VfLinkState::Disable),
        };
        for before in [all, VfSet { trust: Some(true), ..VfSet::default() }] {
            let topology = "t_-x".repeat(8);
            let text = function_note(&topology, 255, &before);
            assert_eq!(parse_function_note(&text), Some((&*topology, 255, before)), "{text}");
            assert!(text.len() <= 127 && !text.contains(['/', ':', ' ']), "{text}");
        }
        assert_eq!(parse_function_note(&altname("bridge", "client-0")), None);
        assert!(altname(&"t".repeat(32), "name").len() <= 127);
    }
}
