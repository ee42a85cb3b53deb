//! Bridges as transactions: everything in one, refused as a whole when a name is somebody else's, removed by marks.

use std::{path::Path, time::Duration};

use serde_json::{Map, Value, json};

use super::{Error, Result, client::Client, observe::InterfaceState, process::SWITCH, sentry::Sentry};
use crate::plan::ovs::{OvsBridge, OvsInterface, OvsPort, OvsTunnel};

/// `external_ids` key with the topology's name, on every row of ours.
pub const TOPOLOGY: &str = "netbench-topo";
/// `external_ids` key with what the row is there.
pub const ID: &str = "netbench-id";

/// The database answers at once.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the switch may take over a change of so many ports: on a small idle machine a thousand take two seconds to
/// make and sixteen to remove.
fn patience(ports: usize) -> Duration {
    ANSWER + Duration::from_millis(50) * u32::try_from(ports).unwrap_or(u32::MAX / 100)
}

/// The operations that make these bridges, as one transaction.
pub fn creation(topology: &str, bridges: &[OvsBridge]) -> Vec<Value> {
    let mut batch = Batch { topology, operations: Vec::new(), rows: 0 };
    for bridge in bridges {
        // Atomic: a bridge of this name that appeared a moment ago fails the transaction as a whole.
        batch.operations.push(json!({
            "op": "wait", "timeout": 0, "table": "Bridge", "columns": ["name"], "until": "==", "rows": [],
            "where": [["name", "==", bridge.name.as_str()]],
        }));
    }
    let mut made = Vec::new();
    for bridge in bridges {
        made.push(batch.bridge(bridge));
    }
    let mut operations = batch.operations;
    operations.push(json!({
        "op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["bridges", "insert", set(made)]],
    }));
    operations.extend(next_cfg());
    operations
}

/// The operations that remove bridges of this topology: ports let go of their QoS first, which nothing collects.
/// `names` limits it to some bridges; QoS and queues go only where all do.
pub fn removal(topology: &str, bridges: &[(String, String)], ports: &[String], all: bool) -> Vec<Value> {
    let mut operations: Vec<Value> = ports.iter().map(|name| json!({
        "op": "update", "table": "Port", "where": [["name", "==", name], ours(topology)], "row": {"qos": set([])},
    })).collect();
    let rows = bridges.iter().map(|(_, uuid)| json!(["uuid", uuid]));
    operations.push(json!({
        "op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["bridges", "delete", set(rows)]],
    }));
    if all {
        for table in ["QoS", "Queue"] {
            operations.push(json!({"op": "delete", "table": table, "where": [ours(topology)]}));
        }
    } else {
        for (name, _) in bridges {
            let mark = json!(["external_ids", "includes", ["map", [[TOPOLOGY, topology], ["netbench-bridge", name]]]]);
            for table in ["QoS", "Queue"] {
                operations.push(json!({"op": "delete", "table": table, "where": [mark]}));
            }
        }
    }
    operations.extend(next_cfg());
    operations
}

/// Who looks after the daemons while something is asked of them, and is told how far it is.
#[derive(Clone, Copy)]
pub struct Watch<'w> {
    /// Have they ended?
    pub sentry: &'w Sentry,
    /// Passed between two parts of the work.
    pub point: &'w dyn Fn(&'static str),
}

fn blame(watch: Option<Watch<'_>>, error: Error) -> Error {
    match watch {
        Some(watch) => watch.sentry.blame(error),
        None => error,
    }
}

fn point(watch: Option<Watch<'_>>, what: &'static str) {
    if let Some(watch) = watch {
        (watch.point)(what);
    }
}

/// Makes bridges, waits for the switch to have done it, and requires every port to work.
pub fn create(database: &Path, topology: &str, bridges: &[OvsBridge], watch: Option<Watch<'_>>) -> Result<()> {
    let done = create_watched(database, topology, bridges, watch);
    done.map_err(|error| blame(watch, error))
}

fn create_watched(database: &Path, topology: &str, bridges: &[OvsBridge], watch: Option<Watch<'_>>) -> Result<()> {
    let mut client = Client::connect(database)?;
    let outcome = client.transact(&creation(topology, bridges), ANSWER);
    let results = outcome.map_err(|error| match error {
        Error::Operation { number, ref operation, .. } if operation.starts_with("wait") => {
            match bridges.get(number - 1) {
                Some(bridge) => Error::BridgeTaken { bridge: bridge.name.to_string() },
                None => error,
            }
        }
        error => error,
    })?;
    let count = bridges.iter().map(|bridge| bridge.ports.len()).sum();
    point(watch, "bridges in the database");
    client.wait_applied(wanted(&client, &results)?, patience(count), &|| has_ended(watch))?;
    point(watch, "bridges in the switch");
    let states = require_ports(&mut client, bridges).map_err(|error| with_log(error, database))?;
    super::bond::wait(database, bridges)?;
    point(watch, "before the flows of bridges");
    bridges.iter().try_for_each(|bridge| super::flows::add(database, topology, bridge, &states))
}

fn has_ended(watch: Option<Watch<'_>>) -> bool {
    watch.is_some_and(|watch| watch.sentry.ended().is_some())
}

/// Removes the named bridges (all of the topology without names) where they are ours; what is gone is fine. Returns their
/// names. From a switch that has ended they are gone once its database lets go of them.
pub fn delete(
    database: &Path,
    topology: &str,
    names: Option<&[&str]>,
    watch: Option<Watch<'_>>,
) -> Result<Vec<String>> {
    let done = delete_watched(database, topology, names, watch);
    done.map_err(|error| blame(watch, error))
}

fn delete_watched(
    database: &Path,
    topology: &str,
    names: Option<&[&str]>,
    watch: Option<Watch<'_>>,
) -> Result<Vec<String>> {
    let mut client = Client::connect(database)?;
    let found = client.transact(
        &[
            json!({"op": "select", "table": "Bridge", "where": [ours(topology)], "columns": ["name", "_uuid"]}),
            json!({"op": "select", "table": "Port", "where": [ours(topology)], "columns": ["name", "external_ids"]}),
        ],
        ANSWER,
    )?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let wanted_name = |name: &str| names.is_none_or(|names| names.contains(&name));
    let bridges: Vec<(String, String)> = rows(&found[0])
        .map(|row| (text(row, "name"), row["_uuid"][1].as_str().unwrap_or_default().to_owned()))
        .filter(|(name, _)| wanted_name(name))
        .collect();
    if bridges.is_empty() {
        return Ok(Vec::new());
    }
    let ports: Vec<String> = rows(&found[1])
        .filter(|row| map_entry(&row["external_ids"], "netbench-bridge").is_none_or(wanted_name))
        .map(|row| text(row, "name"))
        .collect();
    let results = client.transact(&removal(topology, &bridges, &ports, names.is_none()), ANSWER)?;
    point(watch, "bridges out of the database");
    let applied = client.wait_applied(wanted(&client, &results)?, patience(ports.len()), &|| has_ended(watch));
    match (applied, watch.and_then(|watch| watch.sentry.ended())) {
        (Err(_), Some(SWITCH)) => {}
        (applied, _) => applied?,
    }
    Ok(bridges.into_iter().map(|(name, _)| name).collect())
}

/// Where the database says nothing of why a port does not work, the switch's log does: it is beside the database.
fn with_log(error: Error, database: &Path) -> Error {
    let Error::Port { bridge, interface, why } = error else { return error };
    let text = std::fs::read_to_string(database.with_file_name("ovs-vswitchd.log")).unwrap_or_default();
    // `2026-11-22T23:10:36.348Z|00011|netdev_linux|WARN|opening "/dev/net/tun" failed: Permission denied`
    let said = text.lines().find_map(|line| line.split_once("|WARN|").or(line.split_once("|ERR|")));
    let why = said.map_or(why.clone(), |(_, said)| format!("{why}; ovs-vswitchd says: {said}"));
    Error::Port { bridge, interface, why }
}

/// `cur_cfg` advancing says that the switch looked at the configuration; a device that is missing shows here only.
fn require_ports(client: &mut Client, bridges: &[OvsBridge]) -> Result<Vec<InterfaceState>> {
    let states = super::observe::interfaces(client)?;
    for bridge in bridges {
        let own = bridge.name.as_str();
        let declared = bridge.ports.iter().flat_map(|port| &port.interfaces).map(|interface| interface.name.as_str());
        for name in declared.chain([own]) {
            let why = match states.iter().find(|state| state.name == name) {
                Some(state) => state.fault(),
                None => Some("its row is gone".to_owned()),
            };
            if let Some(why) = why {
                return Err(Error::Port { bridge: own.to_owned(), interface: name.to_owned(), why });
            }
        }
    }
    Ok(states)
}

/// `next_cfg` of a transaction that ended with [`next_cfg`].
fn wanted(client: &Client, results: &[Value]) -> Result<i64> {
    let number = results.iter().rev().find_map(|result| result["rows"][0]["next_cfg"].as_i64());
    number.ok_or_else(|| client.malformed("transact", "no next_cfg in the answer".to_owned()))
}

fn next_cfg() -> [Value; 2] {
    [
        json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}),
    ]
}

/// The condition that a row is this topology's.
pub(super) fn ours(topology: &str) -> Value {
    json!(["external_ids", "includes", ["map", [[TOPOLOGY, topology]]]])
}

pub(super) fn rows(result: &Value) -> impl Iterator<Item = &Value> {
    result["rows"].as_array().into_iter().flatten()
}

/// The value of a key in a `["map", [[key, value], …]]`.
pub(super) fn map_entry<'v>(map: &'v Value, key: &str) -> Option<&'v str> {
    let pairs = map.get(1)?.as_array()?;
    pairs.iter().find(|pair| pair[0] == key)?.get(1)?.as_str()
}

fn set(members: impl IntoIterator<Item = Value>) -> Value {
    json!(["set", members.into_iter().collect::<Vec<_>>()])
}

fn map(entries: &[(&str, String)]) -> Value {
    json!(["map", entries.iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>()])
}

struct Batch<'a> {
    topology: &'a str,
    operations: Vec<Value>,
    rows: usize,
}

impl Batch<'_> {
    /// Inserts a row with our marks and returns its name within the transaction.
    fn insert(&mut self, table: &str, bridge: &str, id: &str, mut row: Map<String, Value>) -> Value {
        let name = format!("r{}", self.rows);
        self.rows += 1;
        let marks = [(TOPOLOGY, self.topology.to_owned()), (ID, id.to_owned()), ("netbench-bridge", bridge.to_owned())];
        row.insert("external_ids".into(), map(&marks));
        self.operations.push(json!({"op": "insert", "table": table, "uuid-name": name, "row": row}));
        json!(["named-uuid", name])
    }

    fn bridge(&mut self, bridge: &OvsBridge) -> Value {
        let name = bridge.name.as_str();
        let internal = object(json!({"name": name, "type": "internal", "mtu_request": bridge.mtu}));
        let internal = self.insert("Interface", name, name, internal);
        let mut ports = vec![self.insert("Port", name, name, object(json!({"name": name, "interfaces": internal})))];
        for port in &bridge.ports {
            ports.push(self.port(name, port));
        }
        let mut other_config = vec![];
        if let Some(mac) = bridge.mac {
            other_config.push(("hwaddr", mac.to_string()));
        }
        let row = object(json!({
            "name": name,
            "datapath_type": bridge.datapath.word(),
            "fail_mode": bridge.fail_mode.word(),
            "rstp_enable": bridge.rstp,
            "stp_enable": bridge.stp,
            "other_config": map(&other_config),
            "ports": set(ports),
        }));
        self.insert("Bridge", name, name, row)
    }

    fn port(&mut self, bridge: &str, port: &OvsPort) -> Value {
        let interfaces: Vec<Value> = port.interfaces.iter().map(|one| self.interface(bridge, one)).collect();
        let mut row = object(json!({"name": port.name.as_str(), "interfaces": set(interfaces)}));
        if let Some(tag) = port.tag {
            row.insert("tag".into(), tag.into());
        }
        if !port.trunks.is_empty() {
            // With `tag` alone a port is an access port and `trunks` says nothing (ovs-vswitchd.conf.db(5)).
            if port.tag.is_some() {
                row.insert("vlan_mode".into(), "native-untagged".into());
            }
            row.insert("trunks".into(), set(port.trunks.iter().map(|vlan| Value::from(*vlan))));
        }
        if let Some(mode) = port.bond {
            row.insert("bond_mode".into(), mode.word().into());
            // Without it each end chooses for itself which member is the active one, and drops what comes by the others.
            row.insert("lacp".into(), "active".into());
            row.insert("other_config".into(), map(&[("lacp-time", "fast".to_owned())]));
        }
        if let Some(rate) = port.rate {
            let limit = [("max-rate", rate.0.to_string())];
            let id = format!("{}/queue", port.name);
            let queue = self.insert("Queue", bridge, &id, object(json!({"other_config": map(&limit)})));
            let qos = object(json!({
                "type": "linux-htb", "other_config": map(&limit), "queues": ["map", [[0, queue]]],
            }));
            let qos = self.insert("QoS", bridge, &format!("{}/qos", port.name), qos);
            row.insert("qos".into(), qos);
        }
        self.insert("Port", bridge, port.name.as_str(), row)
    }

    fn interface(&mut self, bridge: &str, interface: &OvsInterface) -> Value {
        let name = interface.name.as_str();
        let mut row = object(json!({"name": name}));
        if let Some(mtu) = interface.mtu {
            row.insert("mtu_request".into(), mtu.into());
        }
        if let Some(tunnel) = &interface.tunnel {
            row.insert("type".into(), tunnel.kind.word().into());
            row.insert("options".into(), map(&options(tunnel)));
        }
        self.insert("Interface", bridge, name, row)
    }
}

/// A tunnel's `options`.
fn options(tunnel: &OvsTunnel) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("local_ip", tunnel.local.to_string()),
        ("remote_ip", tunnel.remote.to_string()),
        ("key", tunnel.key.to_string()),
    ];
    if tunnel.port > 0 {
        options.push(("dst_port", tunnel.port.to_string()));
    }
    if let Some(on) = tunnel.checksum {
        options.push(("csum", on.to_string()));
    }
    options
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::model::{Datapath, FailMode, TunnelKind};

    fn bridge() -> OvsBridge {
        let vxlan = OvsTunnel {
            kind: TunnelKind::Vxlan,
            local: "192.0.2.1".parse().unwrap(),
            remote: "192.0.2.2".parse().unwrap(),
            key: 42,
            port: 4789,
            checksum: Some(false),
        };
        let mut client = OvsPort::of("client-0".parse().unwrap(), 8950);
        (client.tag, client.rate) = (Some(100), Some(crate::units::BitRate(1_000_000_000)));
        let mut tunnel = OvsPort::of("vx0".parse().unwrap(), 0);
        tunnel.interfaces[0].tunnel = Some(vxlan);
        OvsBridge {
            name: "left".parse().unwrap(),
            datapath: Datapath::User,
            fail_mode: FailMode::Standalone,
            rstp: false,
            stp: false,
            mtu: 8950,
            mac: None,
            ports: vec![client, tunnel],
            flows: Vec::new(),
        }
    }

    #[test]
    fn every_row_carries_our_marks_and_the_wait_stands_first() {
        let operations = creation("vxlan", &[bridge()]);
        assert_eq!(operations[0]["op"], "wait");
        let inserts: Vec<&Value> = operations.iter().filter(|operation| operation["op"] == "insert").collect();
        // Three interfaces, three ports, a queue, a QoS and the bridge.
        assert_eq!(inserts.len(), 9);
        for insert in inserts {
            assert_eq!(map_entry(&insert["row"]["external_ids"], TOPOLOGY), Some("vxlan"), "{insert}");
        }
        let tunnel = operations.iter().find(|operation| operation["row"]["type"] == "vxlan").unwrap();
        assert_eq!(map_entry(&tunnel["row"]["options"], "key"), Some("42"));
        assert_eq!(map_entry(&tunnel["row"]["options"], "csum"), Some("false"));
    }

    #[test]
    fn ports_let_go_of_qos_before_anything_is_deleted() {
        let operations = removal("vxlan", &[("left".into(), "u".into())], &["client-0".into()], true);
        let order: Vec<_> = operations.iter().map(|o| format!("{} {}", o["op"], o["table"]).replace('"', "")).collect();
        let expected = [
            "update Port",
            "mutate Open_vSwitch",
            "delete QoS",
            "delete Queue",
            "mutate Open_vSwitch",
            "select Open_vSwitch",
        ];
        assert_eq!(order, expected);
    }
}
