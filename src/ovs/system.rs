//! The Open vSwitch that the host runs: found, looked at, used; never started, ended or configured.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{
    Error, Result,
    bridge::{TOPOLOGY, map_entry, rows},
    client::Client,
};

/// Where distributions have its sockets, `OVS_RUNDIR` aside.
const USUAL: [&str; 3] = ["/run/openvswitch", "/var/run/openvswitch", "/usr/local/var/run/openvswitch"];
/// A database that works answers at once.
const ANSWER: Duration = Duration::from_secs(10);

/// The host's own instance.
#[derive(Debug, Clone)]
pub struct System {
    folder: PathBuf,
}

impl System {
    /// The one whose database has its socket in the usual place.
    pub fn find() -> Result<Self> {
        let chosen = std::env::var_os("OVS_RUNDIR").map(PathBuf::from);
        let folders: Vec<PathBuf> = chosen.map_or_else(|| USUAL.iter().map(PathBuf::from).collect(), |one| vec![one]);
        let found = folders.iter().find(|folder| folder.join("db.sock").exists());
        let searched = || folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        found.map(|folder| Self { folder: folder.clone() }).ok_or_else(|| Error::NoSystem { searched: searched() })
    }

    /// The database's socket.
    pub fn database(&self) -> PathBuf {
        self.folder.join("db.sock")
    }

    /// The switch's control socket, whose name holds its process id; `None` where it does not run.
    pub fn control(&self) -> Option<PathBuf> {
        let is_control = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("ovs-vswitchd") && name.ends_with(".ctl")
        };
        let mut found: Vec<PathBuf> = fs::read_dir(&self.folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_control(path))
            .collect();
        let by_pid = self.pid().map(|pid| self.folder.join(format!("ovs-vswitchd.{pid}.ctl")));
        found.sort();
        by_pid.filter(|path| path.exists()).or(found.pop())
    }

    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join("ovs-vswitchd.pid")).ok()?.trim().parse().ok()
    }

    /// The inode of the network namespace that the switch works in; `None` where that cannot be seen.
    pub fn netns(&self) -> Option<u64> {
        let pid = self.pid()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let file = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
        (name.trim_end() == "ovs-vswitchd").then(|| file.ino())
    }

    /// Can it be used for ports in this namespace, with this segmentation offload?
    pub fn require(&self, netns: u64, tso: bool) -> Result<()> {
        if self.netns().is_some_and(|its| its != netns) {
            return Err(Error::SystemElsewhere { path: self.database() });
        }
        let mut client = Client::connect(&self.database())?;
        let select = json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["other_config"]});
        let found = client.transact(&[select], ANSWER)?;
        let config = rows(&found[0]).next().map(|row| &row["other_config"]);
        let on = config.and_then(|config| map_entry(config, "userspace-tso-enable")) == Some("true");
        if tso && !on { Err(Error::SystemTso) } else { Ok(()) }
    }

    /// The bridge that has this interface as a port.
    pub fn bridge_of(&self, ifname: &str) -> Result<Option<String>> {
        let mut client = Client::connect(&self.database())?;
        let holder = |table: &str, column: &str, uuid: &str| {
            let of = json!([[column, "includes", ["uuid", uuid]]]);
            json!({"op": "select", "table": table, "where": of, "columns": ["_uuid", "name"]})
        };
        let of_name = json!([["name", "==", ifname]]);
        let mut next = json!({"op": "select", "table": "Interface", "where": of_name, "columns": ["_uuid", "name"]});
        for (table, column) in [("Port", "interfaces"), ("Bridge", "ports")] {
            let found = client.transact(&[next], ANSWER)?;
            let uuid = rows(&found[0]).next().and_then(|row| row["_uuid"][1].as_str());
            let Some(uuid) = uuid else { return Ok(None) };
            next = holder(table, column, uuid);
        }
        let found = client.transact(&[next], ANSWER)?;
        Ok(rows(&found[0]).next().and_then(|row| Some(row["name"].as_str()?.to_owned())))
    }

    /// Topologies that have a bridge in it.
    pub fn topologies(&self) -> Result<Vec<String>> {
        let mut client = Client::connect(&self.database())?;
        let select = json!({"op": "select", "table": "Bridge", "where": [], "columns": ["external_ids"]});
        let found = client.transact(&[select], ANSWER)?;
        let name = |row: &serde_json::Value| map_entry(&row["external_ids"], TOPOLOGY).map(str::to_owned);
        let mut names: Vec<String> = rows(&found[0]).filter_map(name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}
