//! `netbench mtu probe`: the largest packet that passes, both ways, and who stops the larger ones.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::atomic::AtomicBool,
};

use anyhow::{Context, bail};
use rustix::thread::CapabilitySet;

use super::super::{
    Exit, data, declared,
    keep::{KeepArgs, Keeper},
    outcome::CannotHere,
    serve::TOKEN,
    talk,
};
use crate::{
    apply::{
        self, ApplyError, destroy, interrupt,
        journal::{History, StateRoot},
        owner::Owner,
        world::World,
    },
    experiment::{
        self,
        mtu_probe::{
            drive::{self, ProbeError},
            served,
        },
    },
    kernel::{self, rootless},
    plan::{
        desired::{Desired, FlowPath, NsId, NsOrigin},
        path::Network,
    },
    record::{
        self,
        manifest::Manifest,
        mtu::{MtuDirection, MtuReport},
    },
    remote::{self, Connection, Secret},
    report, topology,
    ui::{self, ProgressLine},
};

/// Find the largest packet that passes, with packets, and name what stops larger ones; exit 1 when it is not as declared.
///
/// A topology is probed both ways between the ends of each flow. One that is up is probed as it is; a file that is not is made
/// and removed. A host is probed one way, from here; both ways where it runs `netbench serve` and --port or --token says so.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a topology that is up, a topology file, a shipped name; or a host, by name or address.
    #[arg(value_name = "TOPOLOGY|HOST")]
    target: String,
    /// A host that runs `netbench serve` on this port is probed both ways [default: 5210 where a token is given].
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The token that `netbench serve` printed there; NETBENCH_TOKEN in the environment does the same where --port is given.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Ends to probe instead of the declared flows; may be repeated.
    #[arg(long, value_name = "FROM:TO")]
    flow: Vec<String>,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Is it said how a server is reached?
    fn is_of_server(&self) -> bool {
        self.port.is_some() || self.token.is_some()
    }
}

/// What was meant by the argument.
enum Target {
    /// It is up: as it is declared there.
    Up(Box<Desired>),
    /// A file or shipped topology.
    File,
    Host(IpAddr),
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let started = format!("{:.0}", jiff::Timestamp::now());
    let root = StateRoot::from_environment();
    let target = target(args, &root)?;
    if let Target::Host(address) = target {
        if !args.flow.is_empty() {
            bail!("--flow names ends of a topology, and {} is a host", args.target);
        }
        let interrupt = interrupt::watch();
        let probed = match served(args, address)? {
            Some(mut connection) => served::host(&args.target, &mut connection, &interrupt).map(Vec::from),
            None => drive::host(&args.target, address, &interrupt).map(|direction| vec![direction]),
        };
        return match probed {
            Ok(directions) => finish(args, &started, (directions, None), args.keep_it.open()?),
            Err(error) => failed(error),
        };
    }
    if args.is_of_server() {
        bail!("--port and --token are for a host that runs `netbench serve`, and {} is a topology", args.target);
    }
    let is_rootless = !rootless::can(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
    if is_rootless {
        if let Target::Up(desired) = &target {
            let name = &desired.topology;
            let text = format!("{name} is up in namespaces of root's: probe it as root, or probe its file");
            return Err(CannotHere(text).into());
        }
        rootless::enter().map_err(ApplyError::from)?;
    }
    let keeper = args.keep_it.open()?;
    let interrupt = interrupt::watch();
    let mut line = ProgressLine::default();
    if let Target::Up(desired) = target {
        let flows = flows(&args.flow, &desired)?;
        let text = root.text(&desired.topology).unwrap_or_default();
        return match probe_up((&desired, &text), &flows, &mut line, &interrupt) {
            Ok(found) => finish(args, &started, found, keeper),
            Err(error) => failed(error),
        };
    }
    let loaded = match declared::load(&args.target)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if is_rootless {
        super::super::run::refuse_foreign(&loaded.topology)?;
    }
    let flows = flows(&args.flow, &loaded.desired)?;
    let name = &loaded.desired.topology;
    if root.read(name)?.is_some_and(|history| history.is_up()) {
        return match probe_up((&loaded.desired, &loaded.text), &flows, &mut line, &interrupt) {
            Ok(found) => finish(args, &started, found, keeper),
            Err(error) => failed(error),
        };
    }
    line.say(&format!("applying {name}"));
    let (world, applied) = apply::apply(loaded.for_now(), &root)?;
    if applied.collected {
        talk(&declared::collected(name));
    }
    let probed = probe_flows(&world, (&loaded.desired, &loaded.text), &flows, &mut line, &interrupt);
    line.clear();
    drop(world);
    let cleaned = destroy::destroy(name, &root);
    let exit = match probed {
        Ok(found) => finish(args, &started, found, keeper),
        Err(error) => failed(error),
    };
    cleaned?;
    exit
}

/// The server on a host, where there is said to be one.
fn served(args: &Args, address: IpAddr) -> anyhow::Result<Option<Connection>> {
    if args.port.is_none() && args.token.is_none() {
        return Ok(None);
    }
    let token = match args.token.clone().or_else(|| std::env::var(TOKEN).ok()) {
        Some(text) => Secret::from_text(&text).map_err(anyhow::Error::msg)?,
        None => Secret::NONE,
    };
    let at = SocketAddr::new(address, args.port.unwrap_or(remote::PORT));
    Ok(Some(Connection::open(&[at], &token)?))
}

fn target(args: &Args, root: &StateRoot) -> anyhow::Result<Target> {
    let argument = args.target.as_str();
    if let Ok(address) = argument.parse() {
        return Ok(Target::Host(address));
    }
    if declared::is_file(argument) {
        return Ok(Target::File);
    }
    let can_be_a_name = argument.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    // What a killed command left is not up: it is removed, and its file applied again.
    let is_there = |history: &History| !history.temporary || !matches!(root.owner(argument), Ok(Owner::Nobody));
    let up = if can_be_a_name { root.read(argument)?.filter(is_there) } else { None };
    if let Some(desired) = up.and_then(|history| history.committed) {
        return Ok(Target::Up(Box::new(desired)));
    }
    if topology::shipped::find(argument).is_some() || std::path::Path::new(argument).is_file() {
        return Ok(Target::File);
    }
    let found = (argument, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    match found {
        Some(address) => Ok(Target::Host(address.ip())),
        None if args.is_of_server() => bail!("no host of the name {argument} is known"),
        // Its message names what is shipped and what was meant.
        None => {
            talk(&format!("{argument} is no topology that is up, and no host of this name is known"));
            Ok(Target::File)
        }
    }
}

/// The declared flows, or those that were asked for, once each and without loopback.
fn flows(asked: &[String], desired: &Desired) -> anyhow::Result<Vec<FlowPath>> {
    let mut flows: Vec<FlowPath> = Vec::new();
    if asked.is_empty() {
        for path in desired.flows.iter().filter(|path| !path.flow.to_address.is_loopback()) {
            let (from, to) = (path.flow.from_address, path.flow.to_address);
            let same = |other: &FlowPath| {
                let flow = &other.flow;
                [(from, to), (to, from)].contains(&(flow.from_address, flow.to_address))
            };
            if !flows.iter().any(same) {
                flows.push(path.clone());
            }
        }
        if flows.is_empty() {
            bail!("{} declares no flow between two places; name one with --flow from:to", desired.topology);
        }
        return Ok(flows);
    }
    let network = Network::new(desired);
    let node = |name: &str| -> anyhow::Result<NsId> {
        let ids: Vec<&NsId> = desired.namespaces.iter().map(|ns| &ns.id).collect();
        match ids.iter().find(|id| id.0 == name) {
            Some(id) => Ok((*id).clone()),
            None => {
                let names: Vec<&str> = ids.iter().map(|id| id.0.as_str()).take(20).collect();
                bail!("--flow names `{name}`, which is no node of {}; it has {}", desired.topology, names.join(", "))
            }
        }
    };
    for text in asked {
        let Some((from, to)) = text.split_once(':') else { bail!("--flow {text}: write it as FROM:TO") };
        let declared = desired.flows.iter().find(|path| path.flow.from == from && path.flow.to == to);
        flows.push(match declared {
            Some(path) => path.clone(),
            None => {
                network.between((from, &node(from)?), (to, &node(to)?)).with_context(|| format!("--flow {text}"))?
            }
        });
    }
    Ok(flows)
}

/// What was found, and in what.
type Found = (Vec<MtuDirection>, Option<Manifest>);

fn command() -> Vec<String> {
    std::env::args().collect()
}

/// Of a topology that is up, nothing is changed: what differs from the file is what is looked for.
fn probe_up(
    (desired, text): (&Desired, &str),
    flows: &[FlowPath],
    line: &mut ProgressLine,
    interrupt: &AtomicBool,
) -> Result<Found, ProbeError> {
    let mut world = World::new(&desired.topology);
    for ns in &desired.namespaces {
        if !world.open(ns)? && matches!(ns.origin, NsOrigin::Own(_)) {
            return Err(ApplyError::NoNamespace { ns: ns.id.clone() }.into());
        }
    }
    let directions = probe_flows(&world, (desired, text), flows, line, interrupt);
    line.clear();
    directions
}

fn probe_flows(
    world: &World,
    (desired, text): (&Desired, &str),
    flows: &[FlowPath],
    line: &mut ProgressLine,
    interrupt: &AtomicBool,
) -> Result<Found, ProbeError> {
    let mut directions = Vec::new();
    for path in flows {
        line.say(&format!("probing {} ⇄ {}", path.flow.from, path.flow.to));
        directions.extend(drive::flow(world, desired, path, interrupt)?);
    }
    let manifest = experiment::manifest::read(world, desired, flows, text, &command(), &Default::default());
    Ok((directions, Some(manifest)))
}

fn failed(error: ProbeError) -> anyhow::Result<Exit> {
    match error {
        ProbeError::Interrupted => Ok(Exit::Interrupted),
        ProbeError::Apply(error) => Err(error.into()),
        ProbeError::Remote(error) => Err(error.into()),
    }
}

fn finish(args: &Args, started: &str, (directions, manifest): Found, mut keeper: Keeper) -> anyhow::Result<Exit> {
    let report = MtuReport {
        schema_version: record::SCHEMA_VERSION,
        netbench: env!("CARGO_PKG_VERSION").to_owned(),
        started: started.to_owned(),
        command: command(),
        machine: kernel::machine(),
        manifest,
        target: args.target.clone(),
        ok: directions.iter().all(|direction| direction.ok),
        directions,
    };
    let kept = keeper.keep(&report);
    if args.json {
        data(&report)?;
    } else {
        ui::text::quiet_when_closed(|mut out| report::mtu(&report, &mut out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    Ok(if report.ok { Exit::Ok } else { Exit::CheckFailed })
}
