//! What Open vSwitch holds of a topology, and how its interfaces do, as plain data.

use std::{collections::HashMap, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    Error, Result,
    bridge::{map_entry, ours, rows},
    client::Client,
};
use crate::{
    facts::LinkCounters,
    plan::ovs::{ObservedOvs, OvsBridge, OvsInterface, OvsPort, OvsTunnel},
    topology::model::{BondMode, Datapath, FailMode, TunnelKind},
    units::BitRate,
};

/// Reading takes milliseconds; a database that needs longer is stuck.
const READ: Duration = Duration::from_secs(10);

/// How an interface does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Its number on the switch; -1 when it could not be added.
    pub ofport: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// MTU in force.
    pub mtu: Option<u32>,
    /// Its counters.
    pub counters: LinkCounters,
}

impl InterfaceState {
    /// Why it does not work, in the switch's words; `None` when it does.
    pub fn fault(&self) -> Option<String> {
        match (&self.error, self.ofport) {
            (Some(error), _) => Some(error.clone()),
            (None, Some(port)) if port >= 1 => None,
            (None, Some(port)) => Some(format!("its port number is {port}")),
            (None, None) => Some("it has no port number".to_owned()),
        }
    }
}

/// The states of all interfaces.
pub fn interfaces(client: &mut Client) -> Result<Vec<InterfaceState>> {
    let columns = json!(["name", "ofport", "error", "mtu", "statistics"]);
    let select = json!({"op": "select", "table": "Interface", "where": [], "columns": columns});
    let found = client.transact(&[select], READ)?;
    let state = |row: &Value| {
        let count = |key: &str| number_in(&row["statistics"], key);
        InterfaceState {
            name: row["name"].as_str().unwrap_or_default().to_owned(),
            // The internal port is 65534 (OFPP_LOCAL).
            ofport: row["ofport"].as_i64(),
            error: row["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned),
            mtu: row["mtu"].as_u64().and_then(|mtu| u32::try_from(mtu).ok()),
            counters: LinkCounters {
                rx_packets: count("rx_packets"),
                rx_bytes: count("rx_bytes"),
                tx_packets: count("tx_packets"),
                tx_bytes: count("tx_bytes"),
                rx_errors: count("rx_errors"),
                tx_errors: count("tx_errors"),
                rx_dropped: count("rx_dropped"),
                tx_dropped: count("tx_dropped"),
                ..LinkCounters::default()
            },
        }
    };
    Ok(rows(&found[0]).map(state).collect())
}

/// What a running Open vSwitch holds of a topology: its bridges and their ports sorted by name, the segmentation offload
/// that it was started with, and every interface that does not work.
pub fn read(database: &Path, topology: &str) -> Result<ObservedOvs> {
    let mut client = Client::connect(database)?;
    let all = |table: &str, columns: Value, own: bool| {
        let condition = if own { json!([ours(topology)]) } else { json!([]) };
        json!({"op": "select", "table": table, "where": condition, "columns": columns})
    };
    let found = client.transact(
        &[
            all(
                "Bridge",
                json!(["name", "datapath_type", "fail_mode", "rstp_enable", "stp_enable", "other_config", "ports"]),
                true,
            ),
            all("Port", json!(["_uuid", "name", "tag", "trunks", "bond_mode", "qos", "interfaces"]), false),
            all("Interface", json!(["_uuid", "name", "type", "mtu_request", "options"]), false),
            all("QoS", json!(["_uuid", "type", "other_config"]), true),
            all("Open_vSwitch", json!(["other_config"]), false),
        ],
        READ,
    )?;
    let tables = Tables { ports: by_uuid(&found[1]), interfaces: by_uuid(&found[2]), qos: by_uuid(&found[3]) };
    let mut bridges: Vec<OvsBridge> = rows(&found[0]).filter_map(|row| tables.bridge(row)).collect();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    let config = rows(&found[4]).next().map(|row| &row["other_config"]);
    let is_on = |name| config.and_then(|config| map_entry(config, name)) == Some("true");
    let (tso, hw_offload) = (is_on("userspace-tso-enable"), is_on("hw-offload"));
    let states = interfaces(&mut client)?;
    for bridge in &mut bridges {
        // A switch that stands still is told by what asks it to change something; its database still answers here.
        bridge.flows = match super::flows::read(database, topology, bridge.name.as_str(), &states) {
            Err(Error::Timeout { .. } | Error::Connect { .. } | Error::Closed { .. }) => Vec::new(),
            other => other?,
        };
    }
    let broken = states.iter().filter_map(|state| Some((state.name.clone(), state.fault()?))).collect();
    Ok(ObservedOvs { running: true, tso, hw_offload, bridges, broken })
}

struct Tables<'v> {
    ports: HashMap<&'v str, &'v Value>,
    interfaces: HashMap<&'v str, &'v Value>,
    qos: HashMap<&'v str, &'v Value>,
}

impl Tables<'_> {
    fn bridge(&self, row: &Value) -> Option<OvsBridge> {
        let name = row["name"].as_str()?;
        let mut bridge = OvsBridge {
            name: name.parse().ok()?,
            datapath: if row["datapath_type"] == "netdev" { Datapath::User } else { Datapath::Kernel },
            fail_mode: if row["fail_mode"] == "secure" { FailMode::Secure } else { FailMode::Standalone },
            rstp: row["rstp_enable"] == true,
            stp: row["stp_enable"] == true,
            mtu: 0,
            mac: map_entry(&row["other_config"], "hwaddr").and_then(|mac| mac.parse().ok()),
            ports: Vec::new(),
            flows: Vec::new(),
        };
        for uuid in uuids(&row["ports"]) {
            let Some(port) = self.ports.get(uuid).and_then(|row| self.port(row)) else { continue };
            if port.name == bridge.name {
                bridge.mtu = port.interfaces.first().and_then(|interface| interface.mtu).unwrap_or(0);
            } else {
                bridge.ports.push(port);
            }
        }
        bridge.ports.sort_by(|a, b| a.name.cmp(&b.name));
        Some(bridge)
    }

    fn port(&self, row: &Value) -> Option<OvsPort> {
        let mut interfaces: Vec<OvsInterface> =
            uuids(&row["interfaces"]).filter_map(|uuid| interface(self.interfaces.get(uuid)?)).collect();
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        let rate = uuids(&row["qos"]).find_map(|uuid| {
            let qos = self.qos.get(uuid)?;
            map_entry(&qos["other_config"], "max-rate")?.parse().ok().map(BitRate)
        });
        let bond = match row["bond_mode"].as_str() {
            Some("active-backup") => Some(BondMode::ActiveBackup),
            Some("balance-slb") => Some(BondMode::BalanceSlb),
            Some("balance-tcp") => Some(BondMode::BalanceTcp),
            _ => None,
        };
        Some(OvsPort {
            name: row["name"].as_str()?.parse().ok()?,
            tag: row["tag"].as_u64().and_then(|tag| u16::try_from(tag).ok()),
            trunks: numbers(&row["trunks"]),
            bond,
            rate,
            interfaces,
        })
    }
}

fn interface(row: &Value) -> Option<OvsInterface> {
    let options = &row["options"];
    let kind = match row["type"].as_str() {
        Some("vxlan") => Some(TunnelKind::Vxlan),
        Some("geneve") => Some(TunnelKind::Geneve),
        Some("gre") => Some(TunnelKind::Gre),
        _ => None,
    };
    let number = |key: &str| map_entry(options, key).and_then(|value| value.parse::<u32>().ok());
    let tunnel = kind.and_then(|kind| {
        Some(OvsTunnel {
            kind,
            local: map_entry(options, "local_ip")?.parse().ok()?,
            remote: map_entry(options, "remote_ip")?.parse().ok()?,
            key: number("key")?,
            port: number("dst_port").and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
            checksum: map_entry(options, "csum").map(|word| word == "true"),
        })
    });
    let mtu = row["mtu_request"].as_u64().and_then(|mtu| u32::try_from(mtu).ok());
    Some(OvsInterface { name: row["name"].as_str()?.parse().ok()?, mtu, tunnel })
}

fn by_uuid(result: &Value) -> HashMap<&str, &Value> {
    rows(result).filter_map(|row| Some((row["_uuid"][1].as_str()?, row))).collect()
}

/// The members of a set of references: `["uuid", x]` for one, `["set", [["uuid", x], …]]` else.
fn uuids(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match (value[0].as_str(), value[1].as_array()) {
        (Some("set"), Some(members)) => Box::new(members.iter().filter_map(|member| member[1].as_str())),
        (Some("uuid"), _) => Box::new(value[1].as_str().into_iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The members of a set of numbers, sorted: a bare number for one.
fn numbers(value: &Value) -> Vec<u16> {
    let one = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let mut all: Vec<u16> = match value[1].as_array() {
        Some(members) => members.iter().filter_map(one).collect(),
        None => one(value).into_iter().collect(),
    };
    all.sort_unstable();
    all
}

/// A number in a `["map", [[key, number], …]]`.
fn number_in(map: &Value, key: &str) -> u64 {
    let pairs = map[1].as_array();
    pairs.into_iter().flatten().find(|pair| pair[0] == key).and_then(|pair| pair[1].as_u64()).unwrap_or(0)
}
