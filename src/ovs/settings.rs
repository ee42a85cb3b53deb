//! `other_config` of a switch: what it says and what that does to figures. Read only; the one write is to a private switch,
//! to have it tell its statistics at once.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{Result, bridge::rows, client::Client};
use crate::facts::OvsSetting;

const ANSWER: Duration = Duration::from_secs(10);
/// How often the switch writes statistics into the database, in milliseconds; less is not taken
/// (`run_stats_update()`, vswitchd/bridge.c).
const LEAST_INTERVAL: u64 = 5_000;
/// Its key.
const INTERVAL: &str = "stats-update-interval";

/// What keys mean for a measurement (ovs-vswitchd.conf.db(5)).
const MEANINGS: [(&str, &str); 24] = [
    ("userspace-tso-enable", "segmentation offload through the userspace datapath"),
    ("hw-offload", "flows are handed to tc, and to hardware where a device takes them"),
    ("tc-policy", "where flows in tc may go: none (both), skip_sw (hardware only), skip_hw (never hardware)"),
    ("n-offload-threads", "threads that hand flows to hardware"),
    ("max-idle", "ms after which a datapath flow that nothing uses is dropped; the next packet waits for the daemon"),
    ("max-revalidator", "ms at most between two looks at the datapath flows"),
    ("min-revalidate-pps", "packets per second above which a flow is kept without a look"),
    ("flow-limit", "most datapath flows; beyond it each packet of a new one goes through the daemon"),
    ("n-handler-threads", "threads that handle packets without a datapath flow"),
    ("n-revalidator-threads", "threads that look after datapath flows"),
    ("pmd-cpu-mask", "CPUs that poll ports of the userspace datapath, and are busy all the time"),
    ("pmd-auto-lb", "queues move between polling threads while traffic runs"),
    ("pmd-maxsleep", "µs that an idle polling thread sleeps, which packets wait"),
    ("pmd-sleep-max", "µs that an idle polling thread sleeps, which packets wait"),
    ("pmd-perf-metrics", "polling threads measure themselves, at some cost"),
    ("dpdk-init", "DPDK is on: its ports bypass the kernel"),
    ("dpdk-lcore-mask", "CPUs of DPDK's other threads"),
    ("dpdk-socket-mem", "huge pages of DPDK by NUMA node"),
    ("emc-insert-inv-prob", "one in so many new flows enters the exact match cache; 0: none does"),
    ("smc-enable", "the signature match cache is on"),
    ("tx-flush-interval", "µs that packets may wait for a larger batch"),
    ("vlan-limit", "most VLAN tags that are looked at"),
    ("flow-restore-wait", "nothing is forwarded by flows until somebody takes this away"),
    (INTERVAL, "ms between two writes of statistics into the database"),
];

/// All keys that are set, in order.
pub fn read(database: &Path) -> Result<Vec<OvsSetting>> {
    Ok(settings(&other_config(&mut Client::connect(database)?)?))
}

fn other_config(client: &mut Client) -> Result<Value> {
    let select = json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["other_config"]});
    let found = client.transact(&[select], ANSWER)?;
    Ok(rows(&found[0]).next().map_or(Value::Null, |row| row["other_config"].clone()))
}

fn settings(config: &Value) -> Vec<OvsSetting> {
    let pairs = config.get(1).and_then(Value::as_array).into_iter().flatten();
    let one = |pair: &Value| {
        let key = pair.get(0)?.as_str()?;
        let meaning = MEANINGS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| (*meaning).to_owned());
        Some(OvsSetting { key: key.to_owned(), value: pair.get(1)?.as_str()?.to_owned(), meaning })
    };
    let mut all: Vec<OvsSetting> = pairs.filter_map(one).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// How long the switch may take to write its statistics again.
pub fn statistics_interval(settings: &[OvsSetting]) -> Duration {
    let set = settings.iter().find(|one| one.key == INTERVAL).and_then(|one| one.value.parse().ok());
    Duration::from_millis(set.unwrap_or(LEAST_INTERVAL).max(LEAST_INTERVAL))
}

/// Has a switch of ours write its statistics now: a new interval starts a new one. [`rest`] takes it back.
pub fn hurry(database: &Path) -> Result<()> {
    change(database, &json!([["other_config", "insert", ["map", [[INTERVAL, (LEAST_INTERVAL + 1).to_string()]]]]]))
}

/// Takes back what [`hurry`] set.
pub fn rest(database: &Path) -> Result<()> {
    change(database, &json!([["other_config", "delete", ["set", [INTERVAL]]]]))
}

fn change(database: &Path, mutations: &Value) -> Result<()> {
    let mutate = json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations});
    Client::connect(database)?.transact(&[mutate], ANSWER).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_with_what_they_do_and_unknown_ones_without() {
        let config = json!(["map", [["zz", "1"], ["hw-offload", "true"], ["stats-update-interval", "100"]]]);
        let found = settings(&config);
        let keys: Vec<&str> = found.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["hw-offload", "stats-update-interval", "zz"]);
        assert!(found[0].meaning.as_deref().is_some_and(|text| text.contains("hardware")), "{found:?}");
        assert_eq!(found[2].meaning, None);
        assert_eq!(statistics_interval(&found), Duration::from_secs(5), "less is not taken");
        assert_eq!(statistics_interval(&[]), Duration::from_secs(5));
        assert!(settings(&Value::Null).is_empty());
    }
}
