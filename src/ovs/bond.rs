//! Bonds: they carry nothing until LACP has agreed with the other end.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Error, Result, unixctl};
use crate::plan::ovs::OvsBridge;

/// LACP agrees within two exchanges, one a second when fast.
const AGREED: Duration = Duration::from_secs(10);
/// The switch answers at once.
const ANSWER: Duration = Duration::from_secs(5);

/// Waits until every member of every bond is enabled.
pub fn wait(database: &Path, bridges: &[OvsBridge]) -> Result<()> {
    let ports = bridges.iter().flat_map(|bridge| bridge.ports.iter().map(move |port| (bridge, port)));
    let bonds: Vec<_> = ports.filter(|(_, port)| port.bond.is_some()).collect();
    if bonds.is_empty() {
        return Ok(());
    }
    let control = control(database);
    let deadline = Instant::now() + AGREED;
    for (bridge, port) in bonds {
        loop {
            let shown = unixctl::command(&control, "bond/show", &[port.name.as_str()], ANSWER)?;
            let waiting = port.interfaces.iter().find(|member| !is_enabled(&shown, member.name.as_str()));
            let Some(member) = waiting else { break };
            if Instant::now() > deadline {
                return Err(Error::Port {
                    bridge: bridge.name.to_string(),
                    interface: member.name.to_string(),
                    why: format!("LACP did not agree with the other end of the bond within {AGREED:?}"),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// `member w0: enabled`; `slave` before Open vSwitch 2.14.
fn is_enabled(shown: &str, member: &str) -> bool {
    let line = |word: &str| format!("{word} {member}: enabled");
    shown.lines().any(|text| text.trim() == line("member") || text.trim() == line("slave"))
}

/// The control socket of the switch whose database this is: ours have no process id in its name.
fn control(database: &Path) -> PathBuf {
    let own = database.with_file_name("ovs-vswitchd.ctl");
    if own.exists() {
        return own;
    }
    super::system::System::find().ok().and_then(|system| system.control()).unwrap_or(own)
}
