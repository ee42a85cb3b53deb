//! The protocol counters of a namespace (`/proc/net/snmp`, `/proc/net/snmp6`), as far as fragments go.

use std::fs;

use super::{Result, error::Operation, netns::Netns};

/// Fragments of IPv4 and IPv6 together, since the namespace was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fragments {
    /// Fragments made (`FragCreates`).
    pub created: u64,
    /// Packets put together again (`ReasmOKs`).
    pub reassembled: u64,
    /// Packets that were too large and not to be cut (`FragFails`).
    pub refused: u64,
}

/// Reads them inside a namespace.
pub fn fragments(ns: &Netns) -> Result<Fragments> {
    // `/proc/net` is that of the process's first thread, wherever this one is.
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (v4, v6) = ns.within(|| (read("snmp"), read("snmp6")))?;
    let v4 = v4.map_err(|error| Operation::of("read", "/proc/net/snmp", ns.label()).io(error))?;
    // Without IPv6 there is no snmp6.
    Ok(parse(&v4, &v6.unwrap_or_default()))
}

fn parse(v4: &str, v6: &str) -> Fragments {
    let mut ip = v4.lines().filter_map(|line| line.strip_prefix("Ip:"));
    let (names, values) = (ip.next().unwrap_or_default(), ip.next().unwrap_or_default());
    let in_v4 = |name: &str| {
        let at = names.split_whitespace().position(|word| word == name)?;
        values.split_whitespace().nth(at)?.parse::<u64>().ok()
    };
    let in_v6 = |name: &str| {
        let mut rows = v6.lines().map(str::split_whitespace);
        rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.next()?.parse::<u64>().ok()).flatten())
    };
    let sum = |v4: &str, v6: &str| in_v4(v4).unwrap_or(0) + in_v6(v6).unwrap_or(0);
    Fragments {
        created: sum("FragCreates", "Ip6FragCreates"),
        reassembled: sum("ReasmOKs", "Ip6ReasmOKs"),
        refused: sum("FragFails", "Ip6FragFails"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_added() {
        let v4 = "Ip: Forwarding ReasmOKs FragOKs FragCreates FragFails\nIp: 1 3 9 4 6\nIcmp: InMsgs\nIcmp: 1\n";
        let v6 = "Ip6InReceives \t 7\nIp6ReasmOKs\t2\nIp6FragCreates\t1\nIp6FragFails 2\n";
        assert_eq!(parse(v4, v6), Fragments { created: 5, reassembled: 5, refused: 8 });
        assert_eq!(parse("", ""), Fragments::default());
    }
}
