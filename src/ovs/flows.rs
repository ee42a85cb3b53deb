//! Static flows of a bridge: ports by name on our side, by number on the switch's.

use std::{collections::HashMap, path::Path, time::Duration};

use super::{
    Error, Result,
    observe::InterfaceState,
    openflow::{Connection, Flow, Match, Output, cookie},
};
use crate::{
    facts::LinkCounters,
    plan::ovs::{OvsBridge, OvsFlow, OvsOutput},
    units::MacAddr,
};

/// The switch answers at once.
const ANSWER: Duration = Duration::from_secs(10);
/// When only looking.
const LOOK: Duration = Duration::from_secs(2);

/// Adds the declared flows of a bridge whose ports work.
pub fn add(database: &Path, topology: &str, bridge: &OvsBridge, states: &[InterfaceState]) -> Result<()> {
    if bridge.flows.is_empty() {
        return Ok(());
    }
    let number = |name: &str| {
        let state = states.iter().find(|state| state.name == name);
        let number = state.and_then(|state| u32::try_from(state.ofport?).ok());
        number.ok_or_else(|| Error::Port {
            bridge: bridge.name.to_string(),
            interface: name.to_owned(),
            why: "a flow names it, and it has no port number".to_owned(),
        })
    };
    let mut flows = Vec::with_capacity(bridge.flows.len());
    for flow in &bridge.flows {
        let in_port = flow.in_port.as_ref().map(|name| number(name.as_str())).transpose()?;
        let matches = Match { in_port, eth_dst: flow.eth_dst.map(|mac| mac.0), eth_type: flow.eth_type };
        let output = match &flow.output {
            OvsOutput::Port(name) => Output::Port(number(name.as_str())?),
            OvsOutput::Normal => Output::Normal,
            OvsOutput::Drop => Output::Drop,
        };
        flows.push(Flow { priority: flow.priority, matches, output });
    }
    open(database, bridge.name.as_str(), ANSWER)?.add(cookie(topology), &flows)
}

/// The topology's flows on a bridge, sorted. One that was changed into something that no declared flow can be is left out.
pub fn read(database: &Path, topology: &str, bridge: &str, states: &[InterfaceState]) -> Result<Vec<OvsFlow>> {
    let names: HashMap<u32, &str> =
        states.iter().filter_map(|state| Some((u32::try_from(state.ofport?).ok()?, state.name.as_str()))).collect();
    let name = |number: u32| names.get(&number)?.parse().ok();
    let mut found = Vec::new();
    for flow in open(database, bridge, LOOK)?.dump(cookie(topology))?.into_iter().filter_map(|dumped| dumped.flow) {
        let in_port = flow.matches.in_port.map(name);
        let output = match flow.output {
            Output::Port(number) => name(number).map(OvsOutput::Port),
            Output::Normal => Some(OvsOutput::Normal),
            Output::Drop => Some(OvsOutput::Drop),
        };
        let (Some(output), false) = (output, in_port == Some(None)) else { continue };
        found.push(OvsFlow {
            priority: flow.priority,
            in_port: in_port.flatten(),
            eth_dst: flow.matches.eth_dst.map(MacAddr),
            eth_type: flow.matches.eth_type,
            output,
        });
    }
    found.sort();
    Ok(found)
}

/// What the ports of a bridge carried, by name of their interfaces, with its own counters and at once: those of the database are
/// up to 5 s old.
pub fn ports(database: &Path, bridge: &str, states: &[InterfaceState]) -> Result<HashMap<String, LinkCounters>> {
    let counted: HashMap<u32, LinkCounters> = open(database, bridge, LOOK)?.ports()?.into_iter().collect();
    let one = |state: &InterfaceState| {
        let number = u32::try_from(state.ofport?).ok()?;
        Some((state.name.clone(), *counted.get(&number)?))
    };
    Ok(states.iter().filter_map(one).collect())
}

/// A bridge's management socket is beside the database.
fn open(database: &Path, bridge: &str, patience: Duration) -> Result<Connection> {
    Connection::open(&database.with_file_name(format!("{bridge}.mgmt")), bridge, patience)
}
