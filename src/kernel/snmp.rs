//! The protocol counters of a namespace (`/proc/net/snmp`, `/proc/net/netstat`, `/proc/net/snmp6`).

use std::{collections::BTreeMap, fs};

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

/// Every counter: those of `snmp` and `netstat` as `Ip.InHdrErrors`, those of `snmp6` as `Ip6InHdrErrors`.
pub fn counters(ns: &Netns) -> Result<BTreeMap<String, u64>> {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (v4, more, v6) = ns.within(|| (read("snmp"), read("netstat"), read("snmp6")))?;
    let v4 = v4.map_err(|error| Operation::of("read", "/proc/net/snmp", ns.label()).io(error))?;
    Ok(named(&[&v4, &more.unwrap_or_default()], &v6.unwrap_or_default()))
}

fn named(tables: &[&str], v6: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for table in tables {
        let mut lines = table.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split_whitespace();
            let of = names.next().unwrap_or_default().trim_end_matches(':');
            let pairs = names.zip(values.split_whitespace().skip(1));
            all.extend(pairs.filter_map(|(name, value)| Some((format!("{of}.{name}"), value.parse().ok()?))));
        }
    }
    let rows = v6.lines().filter_map(|row| row.split_once(char::is_whitespace));
    all.extend(rows.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))));
    all
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
    fn each_counter_has_its_name() {
        let v4 = "Ip: Forwarding InHdrErrors\nIp: 1 3\nUdp: InDatagrams InCsumErrors\nUdp: 7 4\n";
        let more = "TcpExt: SyncookiesSent\nTcpExt: 5\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 6\n";
        let all = named(&[v4, more], "Ip6InReceives \t 7\nIp6InTruncatedPkts\t2\n");
        for (name, value) in
            [("Ip.InHdrErrors", 3), ("Udp.InCsumErrors", 4), ("IpExt.InTruncatedPkts", 6), ("Ip6InTruncatedPkts", 2)]
        {
            assert_eq!(all.get(name), Some(&value), "{name}");
        }
    }

    #[test]
    fn both_families_are_added() {
        let v4 = "Ip: Forwarding ReasmOKs FragOKs FragCreates FragFails\nIp: 1 3 9 4 6\nIcmp: InMsgs\nIcmp: 1\n";
        let v6 = "Ip6InReceives \t 7\nIp6ReasmOKs\t2\nIp6FragCreates\t1\nIp6FragFails 2\n";
        assert_eq!(parse(v4, v6), Fragments { created: 5, reassembled: 5, refused: 8 });
        assert_eq!(parse("", ""), Fragments::default());
    }
}
