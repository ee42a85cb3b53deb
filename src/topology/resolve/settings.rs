//! The settings of an interface: text to quantities.

use std::{collections::BTreeMap, fmt, net::IpAddr, ops::Range, str::FromStr};

use ipnet::IpNet;

use super::{Code, Draft, Text};
use crate::{
    topology::{
        ast::{OneOrMany, Ordered, Settings},
        model::{Netem, PortSettings, Shaper, ShaperKind},
        suggest::nearest,
    },
    units::Span,
};

/// Parses a quantity, or reports why not.
pub fn parsed<T: FromStr>(draft: &mut Draft<'_>, text: &Text) -> Option<T>
where
    T::Err: fmt::Display,
{
    text.value.parse().map_err(|error: T::Err| draft.error(Code::Malformed, &text.span, error.to_string())).ok()
}

/// Everything but MTU and addresses, which depend on what is around.
pub fn resolve(draft: &mut Draft<'_>, settings: &Settings) -> PortSettings {
    let rate = settings.rate.as_ref().and_then(|text| parsed(draft, text));
    if let (None, Some(shaper)) = (&settings.rate, &settings.shaper) {
        draft.error(Code::Conflict, &shaper.span, "`shaper` without a `rate` does nothing");
    }
    let qdisc = settings.shaper.as_ref().map_or(ShaperKind::Tbf, |shaper| shaper.value);
    let delay: Option<Span> = settings.delay.as_ref().and_then(|text| parsed(draft, text));
    let loss = settings.loss.as_ref().and_then(|text| loss(draft, text));
    if let (Some(rate), true) = (&settings.rate, settings.delay.is_some() || settings.loss.is_some()) {
        let message = "`rate` does not go together with `delay` or `loss` on one interface";
        let help = "an interface has one root qdisc: put them on the two ends of the wire, or on different ports";
        draft.error(Code::Conflict, &rate.span, message).help.push(help.into());
    }
    PortSettings {
        mac: settings.mac.as_ref().and_then(|text| parsed(draft, text)),
        addresses: Vec::new(),
        mtu: 0,
        rate: rate.map(|rate| Shaper { rate, qdisc }),
        netem: (delay.is_some() || loss.is_some()).then_some(Netem { delay, loss }),
        offload: features(draft, settings.offload.as_ref()),
        rings: table(draft, settings.rings.as_ref(), &["rx", "tx", "rx-mini", "rx-jumbo"], "rings"),
        channels: table(draft, settings.channels.as_ref(), &["rx", "tx", "combined", "other"], "channels"),
        coalesce: table(draft, settings.coalesce.as_ref(), &COALESCE, "coalesce"),
        gso_max_size: settings.gso_max_size.as_ref().map(|size| size.value),
    }
}

/// ethtool's coalescing parameters.
const COALESCE: [&str; 22] = [
    "adaptive-rx",
    "adaptive-tx",
    "rx-usecs",
    "rx-frames",
    "rx-usecs-irq",
    "rx-frames-irq",
    "tx-usecs",
    "tx-frames",
    "tx-usecs-irq",
    "tx-frames-irq",
    "stats-block-usecs",
    "pkt-rate-low",
    "rx-usecs-low",
    "rx-frames-low",
    "tx-usecs-low",
    "tx-frames-low",
    "pkt-rate-high",
    "rx-usecs-high",
    "rx-frames-high",
    "tx-usecs-high",
    "tx-frames-high",
    "sample-interval",
];

fn table(
    draft: &mut Draft<'_>,
    entries: Option<&Ordered<u32>>,
    known: &[&'static str],
    of: &str,
) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for (key, value) in entries.into_iter().flat_map(Ordered::iter) {
        if known.contains(&key.value.as_str()) {
            all.insert(key.value.clone(), *value);
            continue;
        }
        let message = format!("unknown key `{}` in `{of}`", key.value.escape_debug());
        let near = nearest(&key.value, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        draft.error(Code::UnknownKey, &key.span, message).note = near;
    }
    all
}

fn features(draft: &mut Draft<'_>, entries: Option<&Ordered<bool>>) -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for (key, on) in entries.into_iter().flat_map(Ordered::iter) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if key.value.is_empty() || !key.value.bytes().all(plain) {
            let message = format!("`{}` cannot be the name of an offload", key.value.escape_debug());
            let help = "names are as in `ethtool -k`: `tso`, `gro`, `tx-checksum-ip-generic`";
            draft.error(Code::Malformed, &key.span, message).help.push(help.into());
        } else {
            all.insert(key.value.clone(), *on);
        }
    }
    all
}

/// `0.1%` as a share of 1.
fn loss(draft: &mut Draft<'_>, text: &Text) -> Option<f64> {
    let number = text.value.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(percent) if (0.0..=100.0).contains(&percent) => Some(percent / 100.0),
        _ => {
            let message = format!("`{}` is not a loss", text.value.escape_debug());
            let help = "write a percentage from 0% to 100%, such as `0.1%`";
            draft.error(Code::Malformed, &text.span, message).help.push(help.into());
            None
        }
    }
}

/// Addresses with their places, those that cannot be an interface's reported.
/// `loopback` admits those of the loopback device.
pub fn addresses(draft: &mut Draft<'_>, list: Option<&OneOrMany>, loopback: bool) -> Vec<(IpNet, Range<usize>)> {
    let mut all = Vec::new();
    for text in list.into_iter().flat_map(|list| &list.0) {
        let shown = text.value.escape_debug().to_string();
        match text.value.parse::<IpNet>() {
            Ok(net) => match unusable(&net).filter(|_| !(loopback && net.addr().is_loopback())) {
                None if net.addr().is_ipv6() && !draft.ipv6() => {
                    let message = format!("`{shown}` is an IPv6 address, and IPv6 is off");
                    let help = "write `ipv6 = true` at the top of the file";
                    draft.error(Code::Conflict, &text.span, message).help.push(help.into());
                }
                None => all.push((net, text.span.clone())),
                Some(why) => {
                    draft.error(Code::BadAddress, &text.span, format!("`{shown}` cannot be an interface's: {why}"));
                }
            },
            Err(_) => {
                let diagnostic = draft.error(Code::BadAddress, &text.span, format!("`{shown}` is not an address"));
                if let Ok(address) = text.value.parse::<IpAddr>() {
                    diagnostic.message = format!("`{shown}` has no prefix length");
                    let prefix = if address.is_ipv4() { 24 } else { 64 };
                    diagnostic.note = Some(format!("did you mean `{address}/{prefix}`?"));
                } else {
                    diagnostic.help.push("write address and prefix length, such as `192.0.2.1/24`".into());
                }
            }
        }
    }
    all
}

fn unusable(net: &IpNet) -> Option<&'static str> {
    let address = net.addr();
    if address.is_unspecified() {
        return Some("it is the unspecified address");
    }
    if address.is_multicast() {
        return Some("it is a multicast address");
    }
    if address.is_loopback() {
        return Some("it is a loopback address");
    }
    let IpNet::V4(v4) = net else { return None };
    let (network, broadcast) = (v4.network() == v4.addr(), v4.broadcast() == v4.addr());
    match v4.prefix_len() {
        31 | 32 => None,
        _ if network => Some("it is the address of the network itself"),
        _ if broadcast => Some("it is the broadcast address of its network"),
        _ => None,
    }
}
