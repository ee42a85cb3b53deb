//! `netbench overhead`: what each layer between two programs costs.

use super::{
    Exit, data,
    declared::Loaded,
    keep::KeepArgs,
    measure_args::MeasureArgs,
    talk,
    variants::{self, Bench, Variant},
};
use crate::{
    experiment::waterfall,
    measured::Test,
    plan::lower::lower,
    record::sweep::OverheadReport,
    report,
    topology::{self, shipped, source::Source, variant},
    ui,
};

/// Measure the bare host, then with a namespace and veth, a bridge, VXLAN, Open vSwitch: what each layer costs.
///
/// All layers stand side by side and are measured in interleaved rounds. Open vSwitch is left out where it is not installed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MTU of the wires; a tunnel's inside has what is left.
    #[arg(long, value_name = "MTU", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(576..=9216))]
    mtu: u32,
    #[command(flatten)]
    measure: MeasureArgs,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// The layers by the shipped topology that has them.
const LAYERS: [(&str, &str, bool); 5] = [
    ("bare host", "baseline", false),
    ("+ namespace, veth", "veth", false),
    ("+ bridge", "bridge", false),
    ("+ VXLAN", "vxlan-kernel", false),
    ("+ Open vSwitch", "vxlan", true),
];

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let is_rootless = variants::enter()?;
    let mut keeper = args.keep_it.open()?;
    let mut measure = args.measure.clone();
    if measure.test.is_none() {
        measure.test = Some(super::run::TestList(vec![Test::TcpStream, Test::TcpRr]));
    }
    let mut variants = Vec::new();
    for (number, (label, name, optional)) in LAYERS.into_iter().enumerate() {
        let Some(shipped) = shipped::find(name) else { continue };
        let settings = variant::combinations(&[variant::parse_axis(&format!("mtu={}", args.mtu))?])?;
        let text = variant::text(shipped.text, &format!("overhead-v{}", number + 1), &settings[0])?;
        let loaded = match topology::check(Source::new(label, text)) {
            Ok(loaded) => loaded,
            Err(report) => {
                super::topo::say(&report);
                return Ok(Exit::Usage);
            }
        };
        let options = measure.options(&loaded.topology.test)?;
        let desired = lower(&loaded.topology)?;
        let loaded =
            Loaded { topology: loaded.topology, desired, source: name.to_owned(), text: loaded.report.source.text };
        let mut variant = Variant::new(label.to_owned(), loaded, options, &measure.flow)?;
        variant.optional = optional;
        variants.push(variant);
    }
    let mut bench = Bench::start(variants, true, is_rootless)?;
    let outcome = bench.sweep("overhead", measure.rule(), measure.seed());
    bench.end()?;
    let sweep = outcome?;
    let report = OverheadReport { waterfalls: waterfall::waterfalls(&sweep), sweep };
    let kept = keeper.keep(&report);
    if args.json {
        data(&report)?;
    } else {
        ui::text::quiet_when_closed(|mut out| report::overhead(&report, &mut out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    let cells = || report.sweep.results.iter().flat_map(|result| &result.cells);
    Ok(match (report.sweep.interrupted, cells().any(|cell| !cell.doubts.is_empty())) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Invalid,
        (false, false) if report.waterfalls.is_empty() => {
            talk("error: no layer could be measured");
            Exit::Invalid
        }
        (false, false) => Exit::Ok,
    })
}
