//! `netbench sweep`: variants of a topology, compared.

use super::{
    Exit, data,
    declared::{self, Loaded},
    keep::KeepArgs,
    measure_args::MeasureArgs,
    outcome::CannotHere,
    talk,
    variants::{self, Bench, Variant},
};
use crate::{
    plan::lower::lower,
    record::sweep::SweepReport,
    report,
    topology::{
        self,
        source::Source,
        variant::{self, Axis, Setting},
    },
    ui,
};

/// Vary any keys of a topology, measure all variants in interleaved rounds, and compare.
///
/// Each variant is made under a name of its own and all of them are removed at the end. The first one is what the others are
/// compared with: `~` stands where no difference can be told, or none that matters (5 %).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// A key of the file with the values that it takes, such as mtu=1500,9000 or switch.br1.kind=bridge,ovs or test.streams=1,4;
    /// repeated: all combinations.
    #[arg(long = "set", value_name = "KEY=VALUE,…", required = true)]
    set: Vec<String>,
    #[command(flatten)]
    measure: MeasureArgs,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let is_rootless = variants::enter()?;
    let mut keeper = args.keep_it.open()?;
    let axes = args.set.iter().map(|text| variant::parse_axis(text)).collect::<Result<Vec<Axis>, _>>()?;
    let combinations = variant::combinations(&axes)?;
    let base = match declared::load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let (variants, side_by_side) = match make(&base, &base.text, combinations, &args.measure)? {
        Ok(variants) => variants,
        Err(exit) => return Ok(exit),
    };
    let mut bench = Bench::start(variants, side_by_side, is_rootless)?;
    let outcome = bench.sweep(&base.desired.topology, args.measure.rule(), args.measure.seed());
    bench.end()?;
    let report = outcome?;
    let kept = keeper.keep(&report);
    if args.json {
        data(&report)?;
    } else {
        ui::text::quiet_when_closed(|mut out| report::sweep(&report, &mut out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    Ok(exit(&report))
}

/// What a sweep's outcome means.
pub fn exit(report: &SweepReport) -> Exit {
    let doubtful = report.results.iter().flat_map(|result| &result.cells).any(|cell| !cell.doubts.is_empty());
    let failed = report.variants.iter().any(|variant| variant.failed.is_some());
    match (report.interrupted, doubtful || failed || report.results.is_empty()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Invalid,
        (false, false) => Exit::Ok,
    }
}

/// The variants of a file, each read and checked; and whether they can stand side by side.
pub fn make(
    base: &Loaded,
    text: &str,
    combinations: Vec<Vec<Setting>>,
    measure: &MeasureArgs,
) -> anyhow::Result<Result<(Vec<Variant>, bool), Exit>> {
    let side_by_side = !variants::is_exclusive(&base.topology);
    // A name has at most 32 bytes.
    let stem: String = base.desired.topology.chars().take(26).collect();
    let mut made = Vec::new();
    for (number, settings) in combinations.iter().enumerate() {
        let label = label(settings);
        let name = if side_by_side { format!("{stem}-v{}", number + 1) } else { base.desired.topology.clone() };
        let text = variant::text(text, &name, settings)?;
        let loaded = match topology::check(Source::new(format!("{} with {label}", base.source), text)) {
            Ok(loaded) => loaded,
            Err(report) => {
                super::topo::say(&report);
                talk(&format!("error: with {label} the file is no topology any more"));
                return Ok(Err(Exit::Usage));
            }
        };
        super::topo::say(&loaded.report);
        if side_by_side && variants::is_exclusive(&loaded.topology) {
            return Err(CannotHere(format!("{label} takes a device or namespace that there is one of")).into());
        }
        let desired = lower(&loaded.topology)?;
        let options = measure.options(&loaded.topology.test)?;
        let loaded =
            Loaded { topology: loaded.topology, desired, source: base.source.clone(), text: loaded.report.source.text };
        made.push(Variant::new(label, loaded, options, &measure.flow)?);
    }
    Ok(Ok((made, side_by_side)))
}

fn label(settings: &[Setting]) -> String {
    settings.iter().map(|setting| format!("{}={}", setting.key, setting.text)).collect::<Vec<_>>().join(" ")
}
