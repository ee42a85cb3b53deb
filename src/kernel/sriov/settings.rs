//! What a NIC does for its functions: `IFLA_VF_*`, set one by one in the order that drivers need, and read back.

use std::time::{Duration, Instant};

use crate::{
    kernel::{
        Result,
        error::Operation,
        link::{self, RTM_GETLINK, RTM_SETLINK},
        netlink::nla::{Writer, attributes, find, u32_at},
        netns::Netns,
        observe::{Wanted, observe},
    },
    plan::sriov::VfSet,
    topology::model::VfLinkState,
    units::{IfName, MacAddr},
};

const IFLA_VFINFO_LIST: u16 = 22;
const IFLA_VF_INFO: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_VF_MAC: u16 = 1;
const IFLA_VF_VLAN: u16 = 2;
const IFLA_VF_SPOOFCHK: u16 = 4;
const IFLA_VF_LINK_STATE: u16 = 5;
const IFLA_VF_RATE: u16 = 6;
const IFLA_VF_TRUST: u16 = 9;
/// `RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS`
const WITH_FUNCTIONS: u32 = 1 | 8;
/// `struct ifinfomsg`
const HEADER: usize = 16;
/// Some drivers (i40e) set a MAC by a message to firmware that is not done when the call returns.
const MAC_WITHIN: Duration = Duration::from_secs(2);
/// A copper port negotiates for up to four seconds, and longer on a machine that is busy elsewhere.
const LINK_WITHIN: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(100);

fn header(index: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// Settings of all functions of the NIC, by number.
///
/// # Errors
/// The NIC is not in this namespace.
pub fn read(ns: &Netns, name: &IfName) -> Result<Vec<VfSet>> {
    let operation = || Operation::of("read the virtual functions of", name, ns.label());
    let index = link::index(ns, name.as_str())?;
    let message = Writer::after(&header(index)).u32(IFLA_EXT_MASK, WITH_FUNCTIONS).finish();
    let answer = ns.route().request(RTM_GETLINK, 0, &message).map_err(|failure| operation().failed(failure))?;
    let body = answer.first().and_then(|body| body.get(HEADER..)).unwrap_or_default();
    let Some(list) = find(body, IFLA_VFINFO_LIST) else { return Ok(Vec::new()) };
    Ok(attributes(list).filter(|(kind, _)| *kind == IFLA_VF_INFO).map(|(_, info)| one(info)).collect())
}

/// A `struct ifla_vf_*` each: the function's number, then the value. All ones stand for what the driver does not tell.
fn one(info: &[u8]) -> VfSet {
    let value = |kind: u16, at: usize| find(info, kind).and_then(|value| u32_at(value, at));
    let flag = |kind: u16| value(kind, 4).filter(|&setting| setting != u32::MAX).map(|setting| setting != 0);
    let mac = find(info, IFLA_VF_MAC).and_then(|value| value.get(4..10)?.try_into().ok()).map(MacAddr);
    let vlan = value(IFLA_VF_VLAN, 4).zip(value(IFLA_VF_VLAN, 8));
    VfSet {
        vlan: vlan.map(|(vlan, qos)| (vlan as u16, qos as u8)),
        mac,
        rate: value(IFLA_VF_RATE, 4).zip(value(IFLA_VF_RATE, 8)),
        spoofchk: flag(IFLA_VF_SPOOFCHK),
        trust: flag(IFLA_VF_TRUST),
        link_state: match value(IFLA_VF_LINK_STATE, 4) {
            Some(0) => Some(VfLinkState::Auto),
            Some(1) => Some(VfLinkState::Enable),
            Some(2) => Some(VfLinkState::Disable),
            _ => None,
        },
    }
}

/// Sets a function, in the order VLAN, MAC, rate, spoof check, trust, link state, calling `between` before each; then
/// reads back and compares.
///
/// # Errors
/// The driver refuses a setting, or holds another value than it accepted.
pub fn set(ns: &Netns, name: &IfName, vf: u32, wanted: &VfSet, between: &mut dyn FnMut()) -> Result<()> {
    let index = link::index(ns, name.as_str())?;
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
    let mut requests: Vec<(&'static str, u16, Vec<u8>)> = Vec::new();
    if let Some((vlan, qos)) = wanted.vlan {
        requests.push(("vlan", IFLA_VF_VLAN, words(&[vf, u32::from(vlan), u32::from(qos)])));
    }
    if let Some(MacAddr(mac)) = wanted.mac {
        let mut value = words(&[vf]);
        value.extend(mac);
        value.resize(36, 0);
        requests.push(("mac", IFLA_VF_MAC, value));
    }
    if let Some((least, most)) = wanted.rate {
        requests.push(("rate", IFLA_VF_RATE, words(&[vf, least, most])));
    }
    requests.extend(wanted.spoofchk.map(|on| ("spoofchk", IFLA_VF_SPOOFCHK, words(&[vf, u32::from(on)]))));
    requests.extend(wanted.trust.map(|on| ("trust", IFLA_VF_TRUST, words(&[vf, u32::from(on)]))));
    requests.extend(wanted.link_state.map(|state| {
        let state = match state {
            VfLinkState::Auto => 0,
            VfLinkState::Enable => 1,
            VfLinkState::Disable => 2,
        };
        ("state", IFLA_VF_LINK_STATE, words(&[vf, state]))
    }));
    for (field, kind, value) in requests {
        between();
        let began = Instant::now();
        loop {
            let within = match kind {
                IFLA_VF_RATE if is_up_without_carrier(ns, name)? => LINK_WITHIN,
                IFLA_VF_MAC | IFLA_VF_RATE => MAC_WITHIN,
                _ => Duration::ZERO,
            };
            match request(ns, index, kind, &value) {
                Ok(()) => break,
                // The function resets: i40e answers so for a moment after it was made.
                Err(failure) if failure.errno() == Some(libc::EAGAIN) && began.elapsed() < within => {
                    std::thread::sleep(AGAIN_AFTER);
                }
                // Drivers compare a rate with the speed of the port, which has none until its link is up again: making
                // functions resets it (`igb_ndo_set_vf_bw()`).
                Err(failure)
                    if kind == IFLA_VF_RATE && failure.errno() == Some(libc::EINVAL) && began.elapsed() < within =>
                {
                    std::thread::sleep(AGAIN_AFTER);
                }
                Err(failure) => return Err(refused(ns, name, vf, field, wanted, failure)),
            }
        }
    }
    read_back(ns, name, vf, wanted)
}

/// Does the port wait for its link? One that is down has none to wait for.
fn is_up_without_carrier(ns: &Netns, name: &IfName) -> Result<bool> {
    let links = observe(ns, &Wanted::links_only())?.links;
    Ok(links.get(name).is_some_and(|link| link.up && !link.carrier))
}

fn request(ns: &Netns, index: u32, kind: u16, value: &[u8]) -> Result<(), crate::kernel::netlink::Failure> {
    let message = Writer::after(&header(index))
        .nest(IFLA_VFINFO_LIST, |list| {
            list.nest(IFLA_VF_INFO, |info| {
                info.put(kind, value);
            });
        })
        .finish();
    ns.route().request(RTM_SETLINK, 0, &message).map(|_| ())
}

fn refused(
    ns: &Netns,
    name: &IfName,
    vf: u32,
    field: &str,
    wanted: &VfSet,
    failure: crate::kernel::netlink::Failure,
) -> crate::kernel::Error {
    let is_of = |name: &str| name == field || (field == "rate" && name.ends_with("tx_rate"));
    let shown: Vec<String> =
        wanted.words().iter().filter(|(name, _)| is_of(name)).map(|(name, value)| format!("{name} {value}")).collect();
    let operation = Operation::on(format!("set vf {vf} {}", shown.join(" ")), name, ns.label());
    match failure.errno() {
        Some(libc::EOPNOTSUPP) => operation
            .conflict(format!("the driver of {name} has no such setting (EOPNOTSUPP); take it out of the file")),
        _ => operation.failed(failure),
    }
}

/// What was accepted must be what is held.
fn read_back(ns: &Netns, name: &IfName, vf: u32, wanted: &VfSet) -> Result<()> {
    let deadline = Instant::now() + MAC_WITHIN;
    loop {
        let now = read(ns, name)?.into_iter().nth(vf as usize).unwrap_or_default();
        let (missing, got) = wanted.against(&now);
        if missing == VfSet::default() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let got = got.words();
            let line = |(field, want): &(&str, String)| {
                let got = got.iter().find(|(name, _)| name == field).map_or("not reported", |(_, value)| value);
                format!("{field} is {got}, not {want}")
            };
            let differs: Vec<String> = missing.words().iter().map(line).collect();
            let operation = Operation::on(format!("set vf {vf}"), name, ns.label());
            return Err(
                operation.conflict(format!("the driver accepted it, and holds something else: {}", differs.join(", ")))
            );
        }
        std::thread::sleep(AGAIN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_does_not_tell_is_unknown() {
        let words = |values: &[u32]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
        let mut info = Writer::default();
        info.put(IFLA_VF_VLAN, &words(&[1, 100, 5]));
        info.put(IFLA_VF_RATE, &words(&[1, 0, 200]));
        info.put(IFLA_VF_SPOOFCHK, &words(&[1, 1]));
        info.put(IFLA_VF_TRUST, &words(&[1, u32::MAX]));
        info.put(IFLA_VF_LINK_STATE, &words(&[1, 2]));
        let set = one(&info.finish());
        assert_eq!((set.vlan, set.rate), (Some((100, 5)), Some((0, 200))));
        assert_eq!((set.spoofchk, set.trust, set.link_state), (Some(true), None, Some(VfLinkState::Disable)));
        assert_eq!(one(&[]), VfSet::default());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = one(&bytes);
        }
    }
}
