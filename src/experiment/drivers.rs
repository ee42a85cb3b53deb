//! What drivers count for themselves (`ethtool -S`): each has its own names, and some drops stand nowhere else. Pure.

use std::collections::BTreeMap;

use crate::plan::desired::LinkRef;

/// Statistics by interface, those that [`tell_of_trouble`].
pub type Drivers = BTreeMap<LinkRef, BTreeMap<String, u64>>;

/// Parts of names of packets that went no further.
const LOSS: &[&str] =
    &["drop", "discard", "rx_missed", "no_buf", "nobuf", "out_of_buf", "overrun", "fifo_err", "no_desc", "nodesc"];
/// Parts of names of whatever else went wrong.
const TROUBLE: &[&str] = &["err", "crc", "bad", "fail", "timeout", "reject", "malformed"];

fn has(name: &str, parts: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    parts.iter().any(|part| name.contains(part))
}

/// Is it a count of drops or of errors, by its name?
pub fn tell_of_trouble(name: &str) -> bool {
    has(name, LOSS) || has(name, TROUBLE)
}

/// What of an interface rose.
pub fn risen(at: &LinkRef, before: &Drivers, after: &Drivers) -> BTreeMap<String, u64> {
    let Some(now) = after.get(at) else { return BTreeMap::new() };
    let then = |name: &String| before.get(at).and_then(|all| all.get(name)).copied().unwrap_or(0);
    let since = now.iter().map(|(name, &count)| (name.clone(), count.saturating_sub(then(name))));
    since.filter(|(_, more)| *more > 0).collect()
}

/// Packets that a driver says it dropped. The same packet may stand in several of its statistics, of its own, of a queue and of all: those of
/// the queues of one name are summed, and the largest counts.
pub fn dropped(risen: &BTreeMap<String, u64>) -> u64 {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in risen.iter().filter(|(name, _)| has(name, LOSS)) {
        let without_number: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
        *sums.entry(without_number).or_default() += count;
    }
    sums.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::NsId;

    #[test]
    fn names_of_many_drivers() {
        // igb, ixgbe, i40e, ice, mlx5, bnxt, ena, virtio_net, veth
        let lost = [
            "rx_missed_errors",
            "rx_no_buffer_count",
            "rx_queue_0_drops",
            "rx_fifo_errors",
            "rx_no_dma_resources_discard",
            "port.rx_discards",
            "rx_out_of_buffer",
            "rx_discards_phy",
            "[0]: rx_discard_pkts",
            "rx_overruns",
            "rx0_drops",
            "rx_queue_0_xdp_drops",
            "tx_dropped",
        ];
        for name in lost {
            assert!(has(name, LOSS) && tell_of_trouble(name), "{name}");
        }
        let trouble = ["tx_timeout_count", "rx_crc_errors_phy", "rx_csum_bad", "alloc_rx_buff_failed"];
        let nothing = [
            "rx_packets",
            "tx_bytes",
            "fdir_miss",
            "rx_cache_busy",
            "rx_queue_0_xdp_packets",
            "peer_ifindex",
            "tx_tcp_seg_good",
            "rx_pp_alloc_slow",
            "missed_irqs",
        ];
        assert!(trouble.iter().all(|name| tell_of_trouble(name) && !has(name, LOSS)));
        assert_eq!(nothing.iter().find(|name| tell_of_trouble(name)), None);
    }

    #[test]
    fn what_rose_is_told_and_queues_are_summed() {
        let at = LinkRef { ns: NsId("b".into()), name: "eth0".parse().unwrap() };
        let all = |counts: &[(&str, u64)]| {
            Drivers::from([(at.clone(), counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())])
        };
        let before = all(&[("rx_queue_0_drops", 5), ("rx_queue_1_drops", 7), ("tx_errors", 3)]);
        let after = all(&[("rx_queue_0_drops", 15), ("rx_queue_1_drops", 8), ("rx_drops", 10), ("tx_errors", 3)]);
        let rose = risen(&at, &before, &after);
        assert_eq!(rose.len(), 3, "{rose:?}");
        assert_eq!(dropped(&rose), 11, "the queues' together are more than the ten of the device");
        assert_eq!(dropped(&BTreeMap::from([("tx_errors".to_owned(), 9)])), 0, "an error is no drop by its name");
        // A device that was made again counts from nothing.
        assert!(risen(&at, &after, &all(&[("rx_drops", 2)])).is_empty());
    }
}
