//! `netbench run`: apply, prove, measure, report, destroy.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::thread::CapabilitySet;

use super::{
    Exit, declared,
    declared::Loaded,
    iperf3::Format,
    keep::KeepArgs,
    outcome::CannotHere,
    rates::{self, RateArgs},
    talk,
};
use crate::{
    agent::Workers,
    apply::{self, ApplyError, destroy, interrupt, journal::StateRoot, prove, world::World},
    experiment::{
        self, drivers,
        evidence::Seen,
        options::{Asked, Options},
    },
    facts::OvsFacts,
    kernel::{self, ethtool, rootless},
    measured::{ReceiveMode, SendMode, Test},
    plan::{
        desired::{FlowPath, LinkRef, NsId},
        proof::SettingProof,
    },
    record::{MtuProof, RunRecord, TopologyRef},
    report,
    topology::model::{Attach, Node, Topology},
    ui::{self, Display},
    units::{BitRate, ByteSize, CpuList, Span, stable_hash},
};

/// Make a topology, prove it, measure it, report, and remove it again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// Tests, separated by commas: tcp_stream, tcp_maerts, tcp_bidir, tcp_sendfile, udp_stream, frame_stream, tcp_rr, udp_rr, tcp_crr, tcp_cc [default:
    /// tcp_stream,tcp_rr].
    #[arg(long, value_name = "TESTS", value_parser = parse_tests)]
    test: Option<TestList>,
    /// Length of one round, such as 3s or 100ms [default: the file's, or 500ms].
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    #[command(flatten)]
    ends: super::ends::EndArgs,
    #[command(flatten)]
    rounds: super::rounds::RoundsArgs,
    /// Warm-up before each round, left out of every figure.
    #[arg(long, value_name = "TIME")]
    omit: Option<Span>,
    /// Parallel streams [default: 1].
    #[arg(long, value_name = "N")]
    streams: Option<u32>,
    /// Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1].
    #[arg(long, value_name = "SIZE")]
    length: Option<ByteSize>,
    /// Bytes of a response.
    #[arg(long, value_name = "SIZE")]
    response: Option<ByteSize>,
    /// Rate of each stream, such as 5gbit, or requests on a schedule, such as 20000/s; without it as fast as it goes.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    rate: Option<Rate>,
    /// SO_SNDBUF and SO_RCVBUF to ask for.
    #[arg(long, value_name = "SIZE")]
    socket_buffer: Option<ByteSize>,
    /// How streams send: write, sendfile, zerocopy, splice or uring (TCP), write, mmsg or gso (UDP). Frames: write, mmsg or ring.
    #[arg(long, value_name = "MODE")]
    send: Option<SendMode>,
    /// How they receive: recv, trunc or splice (nothing is copied), zerocopy (pages are mapped) or uring (TCP), recv, mmsg or gro (UDP).
    #[arg(long, value_name = "MODE")]
    recv: Option<ReceiveMode>,
    /// `auto` chooses what --send and --recv leave open by a short measurement; it may choose not to copy the payload.
    #[arg(long, value_name = "HOW", default_value = "usual", hide_default_value = true)]
    io: Io,
    #[command(flatten)]
    rates: RateArgs,
    #[command(flatten)]
    placement: super::placement::PlacementArgs,
    #[command(flatten)]
    load: super::load::LoadArgs,
    #[command(flatten)]
    tuning: super::tuning::TuningArgs,
    #[command(flatten)]
    pairs: super::pairs::PairArgs,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Leave the topology up afterwards.
    #[arg(long)]
    keep: bool,
    /// Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it.
    #[arg(long)]
    live: bool,
    /// Print the record as JSON.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print: text, json (the record), or iperf3, as `iperf3 -J` does (one document a round of a stream test).
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// What `--io` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Io {
    /// Each test's usual way: both sides copy.
    Usual,
    /// The fastest, measured.
    Auto,
}

/// What `--rate` takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// Payload bits, for streams.
    Bits(BitRate),
    /// Requests in a second.
    Requests(u64),
}

pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.strip_suffix("/s").map(str::parse::<u64>) {
        Some(Ok(count @ 1..)) => Ok(Rate::Requests(count)),
        _ => text.parse().map(Rate::Bits).map_err(|error| format!("{error}; requests per second are written 20000/s")),
    }
}

/// What `--test` takes.
#[derive(Debug, Clone)]
pub struct TestList(pub Vec<Test>);

/// Reads `--test`.
pub fn parse_tests(text: &str) -> Result<TestList, String> {
    Test::parse_list(text).map(TestList).map_err(|error| error.to_string())
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    // First of all: a user namespace can only be entered while there is a single thread.
    let is_rootless = !rootless::can(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
    if is_rootless {
        if args.keep {
            return Err(CannotHere(
                "--keep needs CAP_SYS_ADMIN: without root the topology lives in namespaces that end with this process"
                    .to_owned(),
            )
            .into());
        }
        rootless::enter().map_err(ApplyError::from)?;
    }
    let mut keeper = args.keep_it.open()?;
    let interrupt = interrupt::watch();
    let format = if args.json { Format::Json } else { args.format.unwrap_or_default() };
    let mut loaded = match declared::load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if is_rootless {
        refuse_foreign(&loaded.topology)?;
    }
    let mut options = options(&args, &loaded)?;
    let flows = args.pairs.flows(&loaded, options.streams)?;
    options.together = args.pairs.together();
    if let Some(profile) = options.profile.filter(|_| options.together) {
        bail!(
            "--profile {profile} judges one flow at a time: pairs that run together share the path's rate; leave one of the two out"
        );
    }
    if flows.is_empty() {
        talk("error: the topology declares no flow and has fewer than two nodes; name one with --flow from:to");
        return Ok(Exit::Usage);
    }
    for path in &flows {
        options.check(std::slice::from_ref(&path.flow))?;
    }
    let root = StateRoot::from_environment();
    let was_up = root.read(&loaded.desired.topology)?.is_some_and(|history| history.is_up());
    if let Some(profile) = args.rates.profile.filter(|_| args.rates.emulate) {
        if was_up || args.keep {
            bail!(
                "--emulate changes the topology for this run only: {}",
                if was_up { "it is up already, `netbench topo destroy` it first" } else { "leave out --keep" }
            );
        }
        rates::emulate(&mut loaded.desired, &flows, profile)?;
    }
    let mut line = if args.live { Display::live(super::signals()) } else { Display::default() };
    line.say(&format!("applying {}", loaded.desired.topology));
    let (world, applied) = apply::apply(loaded.for_now(), &root)?;
    let mut record = new_record(&loaded, is_rootless);
    if applied.collected {
        record.warnings.push(declared::collected(&record.topology.name));
    }
    record.manifest =
        Some(experiment::manifest::read(&world, &loaded.desired, &flows, &loaded.text, &record.command, &options.cpus));
    let carried = apply::ovs::before(&world, &loaded.desired, &flows);
    let measured = rates::known(&world, &loaded.desired).map_err(anyhow::Error::from).and_then(|known| {
        if let Some(profile) = options.profile {
            record.warnings.extend(rates::check(profile, &flows, &known)?);
        }
        options.rates = known;
        super::pacing::settle(&mut options.tuning, &options.tests, &world, &flows)?;
        prove::carrier(&world, &loaded.desired)?;
        line.say("proving what switches and NICs were told");
        record.settings = prove::enforcement(&world, &loaded.desired)?;
        record.warnings.extend(record.settings.iter().filter(|proof| proof.is_finding()).map(SettingProof::text));
        measure(&mut record, &world, &flows, &options, &mut line, &interrupt)
    });
    line.clear();
    record.switches = apply::ovs::evidence(&world, &loaded.desired, &carried);
    record.warnings.extend(record.switches.iter().flat_map(OvsFacts::differences));
    let ended = apply::ovs::ended(&world, &loaded.desired);
    record.warnings.extend(ended.iter().map(|ns| {
        format!("the Open vSwitch in {ns} ended while this was measured: the figures say nothing; `netbench topo apply` starts it again")
    }));
    drop(world);
    let cleaned = match (applied.stays, args.keep) {
        (true, _) => Ok(()),
        (false, true) => apply::hand_over(&loaded.desired.topology, &root),
        (false, false) => destroy::destroy(&loaded.desired.topology, &root).map(drop),
    };
    if measured.is_ok() || record.flows.iter().any(|flow| flow.tests.iter().any(|test| !test.rounds.is_empty())) {
        let kept = keeper.keep(&record);
        ui::text::quiet_when_closed(|mut out| match format {
            Format::Json => report::json(&record, &mut out),
            Format::Iperf3 => report::iperf3::documents(&record, &mut out),
            Format::Text => report::text(&record, &mut out),
        })?;
        if let Some(kept) = kept {
            talk(&kept);
        }
    }
    if format == Format::Text && (args.keep || applied.stays) {
        talk(&format!(
            "{} stays up ({} steps were needed); `netbench topo destroy {0}` removes it",
            loaded.desired.topology,
            applied.steps.len()
        ));
    }
    cleaned?;
    if !ended.is_empty() {
        if let Err(error) = measured {
            talk(&format!("error: {error:#}"));
        }
        let names: Vec<&str> = ended.iter().map(|ns| ns.0.as_str()).collect();
        talk(&format!("error: the Open vSwitch in {} ended while this was measured", names.join(", ")));
        return Ok(Exit::Invalid);
    }
    measured?;
    Ok(match (record.interrupted, record.is_valid()) {
        (true, _) => Exit::Interrupted,
        (false, _) if record.is_corrupt() => Exit::Corrupt,
        (false, false) => Exit::Invalid,
        (false, true) if record.has_failed() => Exit::CheckFailed,
        (false, true) => Exit::Ok,
    })
}

/// Without root only namespaces of our own exist.
pub fn refuse_foreign(topology: &Topology) -> anyhow::Result<()> {
    let outside = topology.nodes.iter().find(|node| !matches!(node.attach, None | Some(Attach::This)));
    if let Some(node) = outside {
        let text = format!(
            "node `{}` attaches to an existing namespace, which needs CAP_SYS_ADMIN there; run it as root",
            node.name
        );
        return Err(CannotHere(text).into());
    }
    if let Some(nic) = topology.nics.iter().find(|nic| nic.ifname.is_some() || nic.pci.is_some()) {
        let text = format!(
            "nic `{}` is a device of this host, and borrowing it needs CAP_NET_ADMIN; run it as root",
            nic.name
        );
        return Err(CannotHere(text).into());
    }
    Ok(())
}

fn options(args: &Args, loaded: &Loaded) -> anyhow::Result<Options> {
    let asked = Asked {
        tests: args.test.clone().map(|list| list.0),
        duration: args.duration,
        amounts: args.ends.amounts(),
        rounds: args.rounds.count(),
        rule: args.rounds.rule()?,
        omit: args.omit,
        interval: None,
        streams: args.streams,
        length: args.length,
        response: args.response,
        rate: args.rate.and_then(|rate| if let Rate::Bits(bits) = rate { Some(bits) } else { None }),
        transactions: args.rate.and_then(|rate| if let Rate::Requests(count) = rate { Some(count) } else { None }),
        burst: args.load.burst.unwrap_or(0),
        verify: args.load.verify,
        under: args.load.under,
        frame_size: args.load.frame_size,
        socket_buffer: args.socket_buffer,
        send: args.send,
        receive: args.recv,
        io_auto: args.io == Io::Auto,
        tuning: args.tuning.tuning(),
    };
    let mut asked = asked;
    if let Some(profile) = args.rates.profile {
        let file = &loaded.topology.test;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        asked.streams = asked.streams.or(file.streams).or(Some(profile.streams(cpus)));
        // Both directions, and slow start is no part of a line rate.
        asked.tests = asked.tests.or_else(|| file.tests.is_empty().then(|| vec![Test::TcpStream, Test::TcpMaerts]));
        asked.omit = asked.omit.or_else(|| (!asked.amounts.is_any()).then_some(Span(Duration::from_millis(500))));
    }
    let mut options = Options::merge(asked, &loaded.topology.test)?;
    options.profile = args.rates.profile;
    if args.live {
        options.look_on();
    }
    options.cpu_topology = kernel::cpus::topology();
    options.placed = args.placement.placed(&options.cpu_topology)?;
    for node in &loaded.topology.nodes {
        let near = node.numa.as_deref().map(|word| numa_cpus(node, word, &loaded.topology)).transpose()?;
        // Said CPUs win over a NUMA node's.
        if let Some(cpus) = node.cpus.clone().or(near) {
            options.cpus.insert(node.name.clone(), cpus);
        }
    }
    Ok(options)
}

/// The CPUs of `numa = "nic"` or of a numbered node.
fn numa_cpus(node: &Node, word: &str, topology: &Topology) -> anyhow::Result<CpuList> {
    let what = || format!("node `{}`, numa = \"{word}\"", node.name);
    if word != "nic" {
        let number = word.parse().with_context(what)?;
        return kernel::numa::cpus_of(number).map_err(ApplyError::from).with_context(what);
    }
    let named = node.nic.as_ref().map(|port| &port.nic);
    let nic = named.and_then(|name| topology.nics.iter().find(|nic| nic.name == *name));
    let ifname = nic.and_then(|nic| nic.ifname.as_ref());
    match ifname.and_then(kernel::numa::node_of) {
        Some(number) => kernel::numa::cpus_of(number).map_err(ApplyError::from).with_context(what),
        None => Err(CannotHere(format!(
            "{}: the host does not say which NUMA node its NIC is near; name the CPUs with `cpus`",
            what()
        ))
        .into()),
    }
}

fn new_record(loaded: &Loaded, is_rootless: bool) -> RunRecord {
    let hash = format!("{:016x}", stable_hash(&[&loaded.text]));
    let topology = TopologyRef { name: loaded.desired.topology.clone(), hash };
    let mut record = RunRecord::new(jiff::Timestamp::now(), std::env::args().collect(), topology, kernel::machine());
    record.rootless = is_rootless;
    record
}

fn measure(
    record: &mut RunRecord,
    world: &World,
    flows: &[FlowPath],
    options: &Options,
    line: &mut Display,
    interrupt: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    line.say("proving the MTU of every path");
    for proof in prove::paths(world, flows)? {
        if !proof.holds() {
            record.warnings.push(proof.text());
        }
        record.proofs.push(MtuProof {
            from: proof.from.clone(),
            to: proof.to.clone(),
            mtu: proof.mtu,
            holds: proof.holds(),
            text: proof.text(),
        });
    }
    let quiet = prove::quiet_point(world)?;
    record.quiet_ms = quiet.waited_ms;
    if !quiet.reached {
        record.warnings.push(format!(
            "the kernel did not become quiet within {:.1} s after the topology was made: others' changes of links disturb this measurement",
            quiet.waited_ms / 1e3
        ));
    }
    let exe = std::env::current_exe().context("find the path of this program")?;
    let mut workers =
        Workers::new(exe, |ns, command| world.get(&NsId::new(ns)).map_err(std::io::Error::other)?.spawn(command));
    let mut snapshot = || counters(world, flows);
    let began = Instant::now();
    experiment::run(
        record,
        flows,
        options,
        &mut workers,
        &mut snapshot,
        &mut |progress| line.show(progress),
        interrupt,
    )?;
    record.elapsed_s = began.elapsed().as_secs_f64();
    Ok(())
}

/// The counters of every interface of every namespace of the topology, and those of the drivers on these paths.
pub fn counters(world: &World, flows: &[FlowPath]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for (id, ns) in world.handles() {
        for (name, counters) in kernel::counters(ns).map_err(|error| error.to_string())? {
            seen.links.insert(LinkRef { ns: id.clone(), name }, counters);
        }
    }
    for hop in flows.iter().flat_map(|path| &path.hops) {
        if seen.drivers.contains_key(&hop.at) {
            continue;
        }
        // The kernel's counters are the proof; where a driver does not tell, there are those alone.
        let told = world.get(&hop.at.ns).ok().and_then(|ns| ethtool::statistics(ns, &hop.at.name).ok());
        let told = told.unwrap_or_default().into_iter().filter(|(name, _)| drivers::tell_of_trouble(name)).collect();
        seen.drivers.insert(hop.at.clone(), told);
    }
    Ok(seen)
}
