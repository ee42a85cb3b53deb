//! The shapes that `--json` prints, with their JSON schemas. They are an interface: fields are added, never renamed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    apply::{destroy::Removed, prove::MtuProof, world::netns_path},
    facts::OvsSetting,
    plan::{
        desired::{Desired, NsOrigin},
        proof::SettingProof,
        step::Step,
        text::kind_word,
    },
    record::{
        BisectRecord, OffloadRecord, RunRecord,
        mtu::MtuReport,
        sweep::{OverheadReport, SearchReport, SweepReport, TuneReport},
    },
    topology::diagnostic::JsonDiagnostic,
};

/// `topo check --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check {
    /// Name of the topology, when it is sound.
    pub topology: Option<String>,
    /// Sound, warnings aside?
    pub ok: bool,
    /// Mistakes and warnings in order of place.
    pub diagnostics: Vec<JsonDiagnostic>,
}

/// `topo plan --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Plan {
    /// Name of the topology.
    pub topology: String,
    /// What an apply would do, in order.
    pub steps: Vec<PlannedStep>,
    /// Every interface, as it will be.
    pub interfaces: Vec<Interface>,
    /// Every declared flow with the way it must take.
    pub paths: Vec<Path>,
}

/// One step of a plan.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlannedStep {
    /// Namespace it acts in, by role.
    pub netns: String,
    /// What it does, in a line.
    pub text: String,
    /// What takes it back, in a line; null where the value before is not known.
    pub undo: Option<String>,
}

/// `topo show --json` and `topo graph --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Show {
    /// Name of the topology.
    pub topology: String,
    /// Namespaces by role.
    pub namespaces: Vec<Namespace>,
    /// Every interface.
    pub interfaces: Vec<Interface>,
    /// Every declared flow with the way it must take.
    pub paths: Vec<Path>,
    /// Its Open vSwitches as they are set now, in `topo show` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub switches: Vec<Switch>,
}

/// An Open vSwitch that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Switch {
    /// Namespace it runs in, by role.
    pub netns: String,
    /// Is it the host's own, which is read and never changed?
    pub system: bool,
    /// All of `other_config` of its database.
    pub settings: Vec<OvsSetting>,
    /// Why it could not be read; null where it was.
    pub error: Option<String>,
}

/// A namespace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Namespace {
    /// Node, host, `fabric`, or `self` for the one netbench was started in.
    pub role: String,
    /// Where it is: a path, a process, a container.
    pub place: String,
    /// Was it made by netbench?
    pub own: bool,
}

/// An interface.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Interface {
    /// Namespace, by role.
    pub netns: String,
    /// Kernel name.
    pub name: String,
    /// `bridge`, `veth`, `macvlan`, `ipvlan`, `vxlan`, `geneve`, `gre`, `borrowed`.
    pub kind: String,
    /// MTU in bytes; null where it is left as found.
    pub mtu: Option<u32>,
    /// MAC; null where it is the kernel's choice or the device's own.
    pub mac: Option<String>,
    /// Bridge it is a port of.
    pub master: Option<String>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
}

/// A declared flow.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Path {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Largest IP packet that the path carries, bytes.
    pub mtu: u32,
    /// Interfaces in order from client to server, `netns/name`.
    pub hops: Vec<String>,
}

/// `topo apply --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Apply {
    /// Name of the topology.
    pub topology: String,
    /// How many steps were carried out; 0 when there was nothing to do.
    pub steps: usize,
    /// What was done, in order.
    pub actions: Vec<String>,
    /// From the lock to the last read-back, milliseconds.
    pub elapsed_ms: f64,
    /// Everything was read back and is as declared.
    pub verified: bool,
    /// The MTU of every declared path, proved with packets.
    pub proofs: Vec<Proof>,
}

/// A proof of a path's MTU.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Proof {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Declared MTU, bytes.
    pub mtu: u32,
    /// Did packets of exactly the MTU arrive both ways, and none above?
    pub holds: bool,
    /// What was seen, in a line.
    pub text: String,
}

/// `topo verify --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verify {
    /// Name of the topology.
    pub topology: String,
    /// Every difference, in a line; empty when all is as declared.
    pub drift: Vec<String>,
    /// With `--prove`: the MTU of every declared path.
    pub proofs: Vec<Proof>,
    /// With `--prove`: what switches and NICs were told (VLANs, settings of virtual functions), tried with frames.
    pub settings: Vec<SettingProof>,
}

/// An element of `topo list --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Name of the topology.
    pub name: String,
    /// `up`; `in use` by a command that will remove it; `abandoned` by one that was killed; `unfinished` or `unreadable`.
    pub state: String,
    /// What it consists of.
    pub what: String,
    /// The file or shipped name it was applied from.
    pub source: String,
}

/// An element of `topo destroy --json` and `topo gc --json`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Destroyed {
    /// Name of the topology.
    pub topology: String,
    /// Namespaces removed.
    pub namespaces: Vec<String>,
    /// Links deleted explicitly.
    pub links: usize,
    /// Namespaces that a process still holds.
    pub pinned: Vec<Pinned>,
    /// Why it is incomplete.
    pub error: Option<String>,
    /// Process id of a netbench that uses it, for which it was left alone.
    pub in_use: Option<String>,
}

/// A namespace that lives on after its removal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pinned {
    /// Its file name.
    pub netns: String,
    /// The process in it.
    pub pid: u32,
    /// Its command.
    pub command: String,
}

/// Name and schema of every shape that a command prints with `--json`.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("run", schemars::schema_for!(RunRecord)),
        ("mtu-tune", schemars::schema_for!(TuneReport)),
        ("sweep", schemars::schema_for!(SweepReport)),
        ("overhead", schemars::schema_for!(OverheadReport)),
        ("search", schemars::schema_for!(SearchReport)),
        ("mtu-probe", schemars::schema_for!(MtuReport)),
        ("offload-verify", schemars::schema_for!(OffloadRecord)),
        ("offload-bisect", schemars::schema_for!(BisectRecord)),
        ("topo-check", schemars::schema_for!(Check)),
        ("topo-plan", schemars::schema_for!(Plan)),
        ("topo-show", schemars::schema_for!(Show)),
        ("topo-apply", schemars::schema_for!(Apply)),
        ("topo-verify", schemars::schema_for!(Verify)),
        ("topo-list", schemars::schema_for!(Vec<Listed>)),
        ("topo-destroy", schemars::schema_for!(Vec<Destroyed>)),
        ("nic-list", schemars::schema_for!(Vec<crate::facts::nic::Nic>)),
        ("nic-show", schemars::schema_for!(crate::facts::nic::Nic)),
        ("topo-gc", schemars::schema_for!(Vec<Destroyed>)),
    ]
}

impl From<&Step> for PlannedStep {
    fn from(step: &Step) -> Self {
        let undo = step.undo().map(|undo| undo.to_string());
        Self { netns: step.ns().0.clone(), text: step.to_string(), undo }
    }
}

impl From<&MtuProof> for Proof {
    fn from(proof: &MtuProof) -> Self {
        let (from, to) = (proof.from.clone(), proof.to.clone());
        Self { from, to, mtu: proof.mtu, holds: proof.holds(), text: proof.text() }
    }
}

impl Show {
    /// A desired state for readers.
    pub fn new(desired: &Desired) -> Self {
        Self {
            topology: desired.topology.clone(),
            namespaces: namespaces(desired),
            interfaces: interfaces(desired),
            paths: paths(desired),
            switches: Vec::new(),
        }
    }
}

impl Destroyed {
    /// What a removal did.
    pub fn new(topology: &str, removed: Removed) -> Self {
        let pinned = removed.pinned.into_iter().map(|(netns, pid, command)| Pinned { netns, pid, command });
        Self {
            topology: topology.to_owned(),
            namespaces: removed.namespaces,
            links: removed.links,
            pinned: pinned.collect(),
            error: None,
            in_use: removed.in_use,
        }
    }
}

/// The namespaces of a desired state.
pub fn namespaces(desired: &Desired) -> Vec<Namespace> {
    let place = |origin: &NsOrigin| match origin {
        NsOrigin::Own(name) => netns_path(name).display().to_string(),
        NsOrigin::This => "where netbench was started".to_owned(),
        NsOrigin::Path(path) => path.display().to_string(),
        NsOrigin::Pid(pid) => format!("process {pid}"),
        NsOrigin::Container { engine, name } => format!("{engine} container {name}"),
    };
    let shown = |ns: &crate::plan::desired::Ns| Namespace {
        role: ns.id.0.clone(),
        place: place(&ns.origin),
        own: ns.origin.is_own(),
    };
    desired.namespaces.iter().map(shown).collect()
}

/// The interfaces of a desired state.
pub fn interfaces(desired: &Desired) -> Vec<Interface> {
    let shown = |link: &crate::plan::desired::Link| Interface {
        netns: link.at.ns.0.clone(),
        name: link.at.name.to_string(),
        kind: kind_word(link).to_owned(),
        mtu: link.mtu,
        mac: link.mac.map(|mac| mac.to_string()),
        master: link.master.as_ref().map(ToString::to_string),
        addresses: link.addresses.iter().map(ToString::to_string).collect(),
    };
    desired.links.iter().map(shown).collect()
}

/// The flows of a desired state.
pub fn paths(desired: &Desired) -> Vec<Path> {
    let shown = |path: &crate::plan::desired::FlowPath| Path {
        from: path.flow.from.clone(),
        to: path.flow.to.clone(),
        mtu: path.flow.mtu,
        hops: path.hops.iter().map(|hop| hop.at.to_string()).collect(),
    };
    desired.flows.iter().map(shown).collect()
}
