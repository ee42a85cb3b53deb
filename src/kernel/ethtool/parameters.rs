//! Rings, channels and interrupt coalescing.

use std::collections::BTreeMap;

use super::call;
use crate::{
    kernel::{
        Result,
        error::Operation,
        netlink::nla::{Writer, find, u32_at},
        netns::Netns,
    },
    units::IfName,
};

/// A command pair and its parameters: key, attribute, is it 8 bits wide?
struct Group {
    name: &'static str,
    get: u8,
    set: u8,
    parameters: &'static [(&'static str, u16, bool)],
}

const GROUPS: [Group; 3] = [
    Group {
        name: "rings",
        get: 15,
        set: 16,
        parameters: &[
            ("rings.rx", 6, false),
            ("rings.rx-mini", 7, false),
            ("rings.rx-jumbo", 8, false),
            ("rings.tx", 9, false),
        ],
    },
    Group {
        name: "channels",
        get: 17,
        set: 18,
        parameters: &[
            ("channels.rx", 6, false),
            ("channels.tx", 7, false),
            ("channels.other", 8, false),
            ("channels.combined", 9, false),
        ],
    },
    Group {
        name: "coalesce",
        get: 19,
        set: 20,
        parameters: &[
            ("coalesce.rx-usecs", 2, false),
            ("coalesce.rx-frames", 3, false),
            ("coalesce.rx-usecs-irq", 4, false),
            ("coalesce.rx-frames-irq", 5, false),
            ("coalesce.tx-usecs", 6, false),
            ("coalesce.tx-frames", 7, false),
            ("coalesce.tx-usecs-irq", 8, false),
            ("coalesce.tx-frames-irq", 9, false),
            ("coalesce.stats-block-usecs", 10, false),
            ("coalesce.adaptive-rx", 11, true),
            ("coalesce.adaptive-tx", 12, true),
        ],
    },
];

/// Rings, channels and coalescing of a link; a device that has none of a group has none of its keys here.
pub fn parameters(ns: &Netns, name: &IfName) -> Result<BTreeMap<String, u32>> {
    let mut found = BTreeMap::new();
    for group in &GROUPS {
        let answer = match call(ns, group.get, name, 0, |_| {}) {
            Ok(answer) => answer,
            Err(failure) if failure.errno() == Some(libc::EOPNOTSUPP) => continue,
            Err(failure) => {
                return Err(Operation::of(format!("read {} of", group.name), name, ns.label()).failed(failure));
            }
        };
        for &(key, attribute, byte) in group.parameters {
            let Some(value) = find(&answer, attribute) else { continue };
            let value = if byte { value.first().copied().map(u32::from) } else { u32_at(value, 0) };
            found.extend(value.map(|value| (key.to_owned(), value)));
        }
    }
    Ok(found)
}

/// Sets rings, channels and coalescing, and reads them back: a value that the driver changed is an error.
pub fn set_parameters(ns: &Netns, name: &IfName, values: &BTreeMap<String, u32>) -> Result<()> {
    let operation = |asked: &BTreeMap<&str, u32>| {
        let list: Vec<String> = asked.iter().map(|(key, value)| format!("{key} {value}")).collect();
        Operation::on(format!("set {}", list.join(", ")), name, ns.label())
    };
    let known = |key: &str| GROUPS.iter().any(|group| group.parameters.iter().any(|(name, ..)| *name == key));
    if let Some(key) = values.keys().find(|key| !known(key)) {
        return Err(Operation::on(format!("set {key}"), name, ns.label()).conflict("there is no such parameter"));
    }
    for group in &GROUPS {
        let asked: BTreeMap<&str, u32> =
            group.parameters.iter().filter_map(|&(key, ..)| Some((key, *values.get(key)?))).collect();
        if asked.is_empty() {
            continue;
        }
        let fill = |message: &mut Writer| {
            for &(key, attribute, byte) in group.parameters {
                match asked.get(key) {
                    Some(&value) if byte => message.u8(attribute, u8::from(value != 0)),
                    Some(&value) => message.u32(attribute, value),
                    None => message,
                };
            }
        };
        call(ns, group.set, name, 0, fill).map_err(|failure| operation(&asked).failed(failure))?;
    }
    let now = parameters(ns, name)?;
    let changed: Vec<String> = values
        .iter()
        .filter(|(key, value)| now.get(*key) != Some(value))
        .map(|(key, value)| match now.get(key) {
            Some(now) => format!("{key} is {now}, not {value}"),
            None => format!("{key} is not known to the driver"),
        })
        .collect();
    let all = values.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    if changed.is_empty() { Ok(()) } else { Err(operation(&all).conflict(changed.join(", "))) }
}
