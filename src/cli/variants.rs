//! Several networks that are compared: made, measured in interleaved rounds, and removed, whatever comes.
//!
//! They stand side by side under names of their own, so that each is applied once. Where a file takes things that there is one of
//! (a NIC, a namespace of somebody else), each is applied in its turn, by the planner's difference.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::thread::CapabilitySet;

use super::{declared::Loaded, rates, run};
use crate::{
    agent::Workers,
    apply::{self, ApplyError, destroy, interrupt, journal::StateRoot, prove, world::World},
    experiment::{
        self,
        interleave::{Action, Interleave, Sample},
        options::Options,
    },
    kernel::{self, rootless},
    plan::{
        desired::{FlowPath, NsId},
        proof::SettingProof,
    },
    record::{
        self, RoundRecord, RunRecord, TopologyRef,
        manifest::Manifest,
        sweep::{Figure, SweepCell, SweepReport, SweepResult, VariantRecord},
    },
    stats::{
        self,
        compare::{Criterion, compare},
        sequential::Rule,
    },
    topology::model::{Attach, Topology},
    ui::Display,
    units::stable_hash,
};

/// Enters a user namespace where privileges are missing; must be called before there is a second thread. Says whether it did.
pub fn enter() -> anyhow::Result<bool> {
    let is_rootless = !rootless::can(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
    if is_rootless {
        rootless::enter().map_err(ApplyError::from)?;
    }
    Ok(is_rootless)
}

/// One of the networks.
pub struct Variant {
    /// What readers see.
    pub label: String,
    /// The file.
    pub loaded: Loaded,
    /// What is run in it.
    pub options: Options,
    /// On which flows.
    pub flows: Vec<FlowPath>,
    /// The others go on without it where it cannot be made.
    pub optional: bool,
    world: Option<World>,
    record: VariantRecord,
}

impl Variant {
    /// A variant that is not made yet.
    pub fn new(label: String, loaded: Loaded, options: Options, flows: &[String]) -> anyhow::Result<Self> {
        let flows = super::pairs::named("--flow", flows, &loaded)?;
        if flows.is_empty() {
            bail!("{label}: the topology declares no flow and has fewer than two nodes; name one with --flow from:to");
        }
        for path in &flows {
            options.check(std::slice::from_ref(&path.flow))?;
        }
        let record = VariantRecord {
            label: label.clone(),
            topology: loaded.desired.topology.clone(),
            hash: format!("{:016x}", stable_hash(&[&loaded.text])),
            apply_ms: 0.0,
            failed: None,
            manifest: None,
        };
        Ok(Self { label, loaded, options, flows, optional: false, world: None, record })
    }
}

impl Variant {
    /// In what it was last measured.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.record.manifest.as_ref()
    }
}

/// Does it take what there is one of?
pub fn is_exclusive(topology: &Topology) -> bool {
    topology.nics.iter().any(|nic| nic.ifname.is_some() || nic.pci.is_some())
        || topology.nodes.iter().any(|node| !matches!(node.attach, None | Some(Attach::This)))
}

/// The networks at work.
pub struct Bench {
    /// All of them.
    pub variants: Vec<Variant>,
    root: StateRoot,
    side_by_side: bool,
    rootless: bool,
    current: Option<usize>,
    began: Instant,
    traffic: Duration,
    warnings: Vec<String>,
    /// Set by Ctrl-C.
    pub interrupt: Arc<AtomicBool>,
    line: Display,
}

/// What a measurement of a variant brought.
pub struct Measured {
    /// One round of every flow and test.
    pub record: RunRecord,
}

impl Bench {
    /// Makes them all, or nothing.
    pub fn start(variants: Vec<Variant>, side_by_side: bool, rootless: bool) -> anyhow::Result<Self> {
        let interrupt = interrupt::watch();
        let live = variants.iter().any(|variant| variant.options.live);
        let mut bench = Self {
            variants,
            root: StateRoot::from_environment(),
            side_by_side,
            rootless,
            current: None,
            began: Instant::now(),
            traffic: Duration::ZERO,
            warnings: Vec::new(),
            interrupt,
            line: if live { Display::live(super::signals()) } else { Display::default() },
        };
        for variant in &bench.variants {
            if rootless {
                run::refuse_foreign(&variant.loaded.topology)?;
            }
            let name = &variant.loaded.desired.topology;
            if bench.root.read(name)?.is_some_and(|history| history.is_up()) {
                bail!(
                    "a topology named {name} is up, and this would change and remove it: `netbench topo destroy {name}` first"
                );
            }
        }
        if side_by_side {
            for at in 0..bench.variants.len() {
                let Err(error) = bench.make(at) else { continue };
                let interrupted = error.downcast_ref().is_some_and(ApplyError::is_interrupt);
                if bench.variants[at].optional && !interrupted {
                    let what = format!("{}: {error:#}", bench.variants[at].label);
                    bench.warnings.push(format!("left out: {what}"));
                    bench.variants[at].record.failed = Some(what);
                } else {
                    bench.end().context("clean up after a variant that could not be made")?;
                    return Err(error);
                }
            }
        }
        Ok(bench)
    }

    /// Applies a variant and waits until the kernel has digested it.
    fn make(&mut self, at: usize) -> anyhow::Result<()> {
        let variant = &mut self.variants[at];
        self.line.say(&format!("applying {}", variant.label));
        let began = Instant::now();
        let Loaded { desired, text, .. } = &variant.loaded;
        let (world, applied) =
            apply::apply(variant.loaded.for_now(), &self.root).with_context(|| variant.label.clone())?;
        if applied.collected {
            self.warnings.push(super::declared::collected(&desired.topology));
        }
        variant.options.rates = rates::known(&world, desired)?;
        for proof in prove::paths(&world, &variant.flows)? {
            if !proof.holds() {
                self.warnings.push(format!("{}: {}", variant.label, proof.text()));
            }
        }
        // What is applied in turn is made again each round; a NIC does not change its mind.
        if variant.record.manifest.is_none() {
            let findings = prove::enforcement(&world, desired)?.into_iter().filter(SettingProof::is_finding);
            self.warnings.extend(findings.map(|proof| format!("{}: {}", variant.label, proof.text())));
        }
        let quiet = prove::quiet_point(&world)?;
        if !quiet.reached {
            self.warnings.push(format!("{}: the kernel did not become quiet before the measurement", variant.label));
        }
        let command: Vec<String> = std::env::args().collect();
        let read = experiment::manifest::read(&world, desired, &variant.flows, text, &command, &variant.options.cpus);
        variant.record.manifest = Some(read);
        variant.world = Some(world);
        variant.record.apply_ms = variant.record.apply_ms.max(began.elapsed().as_secs_f64() * 1e3);
        self.current = Some(at);
        Ok(())
    }

    /// One round of every flow and test of a variant, with fresh connections.
    pub fn measure(&mut self, at: usize, options: &Options) -> anyhow::Result<Measured> {
        if !self.side_by_side && self.current != Some(at) {
            if let Some(before) = self.current {
                self.variants[before].world = None;
            }
            self.make(at)?;
        }
        let variant = &self.variants[at];
        let world = variant.world.as_ref().context("the variant is not up")?;
        let mut options = options.clone();
        (options.rounds, options.rates) = (1, variant.options.rates.clone());
        let topology = TopologyRef { name: variant.record.topology.clone(), hash: variant.record.hash.clone() };
        let mut record = RunRecord::new(jiff::Timestamp::now(), Vec::new(), topology, Default::default());
        let exe = std::env::current_exe().context("find the path of this program")?;
        let mut workers =
            Workers::new(exe, |ns, command| world.get(&NsId::new(ns)).map_err(std::io::Error::other)?.spawn(command));
        let mut snapshot = || run::counters(world, &variant.flows);
        let line = &mut self.line;
        experiment::run(
            &mut record,
            &variant.flows,
            &options,
            &mut workers,
            &mut snapshot,
            &mut |progress| line.show(progress),
            &self.interrupt,
        )?;
        let jobs = variant.flows.len() * options.tests.len();
        self.traffic += (options.duration.0 + options.omit.0) * jobs as u32;
        Ok(Measured { record })
    }

    /// Measures all variants in interleaved rounds.
    pub fn sweep(&mut self, name: &str, rule: Rule, seed: u64) -> anyhow::Result<SweepReport> {
        let started = jiff::Timestamp::now();
        let mut gathered: Vec<Vec<RunRecord>> = self.variants.iter().map(|_| Vec::new()).collect();
        let mut order = Interleave::new(self.variants.len(), rule, seed);
        let (mut sample, mut rounds, first) = (None, 0, Instant::now());
        let stopped = loop {
            let (variant, round) = match order.next(sample.take()) {
                Action::Measure { variant, round } => (variant, round),
                Action::Done(stop) => break Some(stop),
            };
            if self.interrupt.load(Relaxed) {
                break None;
            }
            rounds = round;
            let options = self.variants[variant].options.clone();
            let figures = match self.measure(variant, &options) {
                Ok(Measured { record }) => {
                    let figures = headlines(&record);
                    gathered[variant].push(record);
                    figures
                }
                Err(error) => {
                    self.variants[variant].record.failed.get_or_insert(format!("{error:#}"));
                    Vec::new()
                }
            };
            sample = Some(Sample { figures, spent_s: first.elapsed().as_secs_f64() });
        };
        self.line.clear();
        let interrupted = self.interrupt.load(Relaxed);
        Ok(SweepReport {
            schema_version: record::SCHEMA_VERSION,
            netbench: env!("CARGO_PKG_VERSION").to_owned(),
            started: format!("{started:.0}"),
            command: std::env::args().collect(),
            topology: name.to_owned(),
            machine: kernel::machine(),
            rootless: self.rootless,
            side_by_side: self.side_by_side,
            variants: self.variants.iter().map(|variant| variant.record.clone()).collect(),
            rounds,
            stopped,
            duration: self.variants.first().map_or(crate::units::Span(Duration::ZERO), |v| v.options.duration),
            seed,
            elapsed_s: self.began.elapsed().as_secs_f64(),
            traffic_s: self.traffic.as_secs_f64(),
            results: results(&gathered),
            warnings: std::mem::take(&mut self.warnings),
            interrupted,
        })
    }

    /// Says something on the progress line.
    pub fn say(&mut self, text: &str) {
        self.line.say(text);
    }

    /// Removes everything. Goes on past errors; the first one is told.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.line.say("removing");
        let mut names: Vec<String> = Vec::new();
        for variant in &mut self.variants {
            variant.world = None;
            if !names.contains(&variant.record.topology) {
                names.push(variant.record.topology.clone());
            }
        }
        let mut first = None;
        for name in names {
            if let Err(error) = destroy::destroy(&name, &self.root) {
                first = first.or(Some(error));
            }
        }
        self.line.clear();
        first.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn headlines(record: &RunRecord) -> Vec<f64> {
    let tests = record.flows.iter().flat_map(|flow| &flow.tests);
    tests.flat_map(|test| &test.rounds).map(|round| round.headline).collect()
}

/// The rounds of all variants, sorted by flow and test.
fn results(gathered: &[Vec<RunRecord>]) -> Vec<SweepResult> {
    let mut results: Vec<SweepResult> = Vec::new();
    for (at, records) in gathered.iter().enumerate() {
        for flow in records.iter().flat_map(|record| &record.flows) {
            for test in &flow.tests {
                let Some(summary) = &test.summary else { continue };
                let found = |r: &SweepResult| r.from == flow.from && r.to == flow.to && r.test == test.test;
                let index = results.iter().position(found).unwrap_or_else(|| {
                    let (from, to) = (flow.from.clone(), flow.to.clone());
                    results.push(SweepResult { from, to, test: test.test, unit: summary.unit, cells: Vec::new() });
                    results.len() - 1
                });
                let cells = &mut results[index].cells;
                let variant = at as u32 + 1;
                if cells.last().is_none_or(|cell| cell.variant != variant) {
                    cells.push(SweepCell {
                        variant,
                        mtu: flow.mtu,
                        rounds: Vec::new(),
                        headline: summary.headline,
                        cpu_ns: None,
                        p99_us: None,
                        ceiling: test.ceiling.as_ref().map(|ceiling| ceiling.bits_per_second),
                        against_first: None,
                        doubts: Vec::new(),
                    });
                }
                if let Some(cell) = cells.last_mut() {
                    cell.rounds.extend(test.rounds.iter().map(|round| figure(test.test.is_rr(), round)));
                    cell.doubts.extend(test.verdict.reasons.iter().cloned());
                }
            }
        }
    }
    for cell in results.iter_mut().flat_map(|result| &mut result.cells) {
        finish(cell);
    }
    for result in &mut results {
        let first: Vec<f64> = result.cells.first().map(samples).unwrap_or_default();
        for cell in result.cells.iter_mut().skip(1) {
            cell.against_first = compare(&first, &samples(cell), Criterion::THROUGHPUT);
        }
    }
    results
}

/// The headlines of a cell's rounds.
pub fn samples(cell: &SweepCell) -> Vec<f64> {
    cell.rounds.iter().map(|round| round.headline).collect()
}

fn finish(cell: &mut SweepCell) {
    if let Some(spread) = stats::spread(&samples(cell)) {
        cell.headline = spread;
    }
    let all = |pick: fn(&Figure) -> Option<f64>| cell.rounds.iter().filter_map(pick).collect::<Vec<f64>>();
    let (cpu, p99) = (stats::spread(&all(|figure| figure.cpu_ns)), stats::median(&all(|figure| figure.p99_us)));
    (cell.cpu_ns, cell.p99_us) = (cpu, p99);
    cell.doubts.dedup();
}

fn figure(is_rr: bool, round: &RoundRecord) -> Figure {
    let streams = || round.client.streams.iter().chain(&round.server.streams);
    let cpu: u64 = streams().map(|stream| stream.cpu.user_ns + stream.cpu.system_ns).sum();
    let done: u64 = if is_rr {
        round.client.streams.iter().map(|stream| stream.units).sum()
    } else {
        // Both ends count the same bytes; of datagrams the receiver's.
        let sum = |streams: &[crate::measured::Stream]| streams.iter().map(|stream| stream.bytes).sum::<u64>();
        sum(&round.client.streams).min(sum(&round.server.streams))
    };
    let hop = round.path.hops.first().filter(|hop| hop.packets > 0);
    Figure {
        headline: round.headline,
        cpu_ns: (done > 0).then(|| cpu as f64 / done as f64),
        bytes_per_packet: hop.map(|hop| hop.bytes as f64 / hop.packets as f64),
        p99_us: round.client.latency.map(|latency| latency.p99_ns as f64 / 1e3),
    }
}
