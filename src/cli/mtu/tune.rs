//! `netbench mtu tune`: which MTU is best on a path, and what a byte and a packet cost there.

use super::super::{
    Exit, data, declared,
    keep::KeepArgs,
    measure_args::MeasureArgs,
    sweep, talk,
    variants::{self, Bench},
};
use crate::{experiment::tune, record::sweep::TuneReport, report, stats::sequential::AT_LEAST, topology::variant, ui};

/// Apply several MTUs to the whole path, measure them in interleaved rounds, and name the best.
///
/// The file's `mtu` is varied and interfaces' own ones give way; tunnels follow with what their encapsulation leaves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file, or the name of a shipped one.
    file: String,
    /// MTUs, such as 1500,4000,9000; a range such as 1500..9000 takes four of it.
    #[arg(long, value_name = "MTUS", default_value = "1500..9000", value_parser = parse_mtus)]
    mtu: Mtus,
    #[command(flatten)]
    measure: MeasureArgs,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Mtus(Vec<u32>);

fn parse_mtus(text: &str) -> Result<Mtus, String> {
    let number = |word: &str| match word.trim().parse::<u32>() {
        Ok(mtu @ 68..=65535) => Ok(mtu),
        Ok(mtu) => Err(format!("{mtu} is no MTU: 68 to 65535 are")),
        Err(_) => Err(format!("`{word}` is no MTU; write 1500,9000 or 1500..9000")),
    };
    let mut mtus = match text.split_once("..") {
        Some((low, high)) => {
            let (low, high) = (number(low)?, number(high.trim_start_matches('='))?);
            if low >= high {
                return Err(format!("{text}: the first must be smaller"));
            }
            // Equal steps of 1/S, the axis on which costs lie on a line.
            let inverse = |part: f64| 1.0 / f64::from(low) + part * (1.0 / f64::from(high) - 1.0 / f64::from(low));
            let mut mtus: Vec<u32> = (0..4).map(|part| (1.0 / inverse(f64::from(part) / 3.0)).round() as u32).collect();
            (mtus[0], mtus[3]) = (low, high);
            mtus
        }
        None => text.split(',').map(number).collect::<Result<_, _>>()?,
    };
    mtus.dedup();
    let mut sorted = mtus.clone();
    sorted.sort_unstable();
    sorted.dedup();
    match (sorted.len(), mtus.len()) {
        (count, all) if count != all => Err(format!("{text}: an MTU stands there twice")),
        (2..=16, _) => Ok(Mtus(mtus)),
        (count, _) => Err(format!("{count} MTUs: between 2 and 16 can be compared")),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.measure.rounds < AT_LEAST {
        anyhow::bail!(
            "--rounds {}: the best MTU is named from {AT_LEAST} rounds on, for of fewer no difference could be told from chance",
            args.measure.rounds
        );
    }
    let is_rootless = variants::enter()?;
    let mut keeper = args.keep_it.open()?;
    let base = match declared::load(&args.file)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mtus = &args.mtu.0;
    let list: Vec<String> = mtus.iter().map(u32::to_string).collect();
    let axis = variant::parse_axis(&format!("mtu={}", list.join(",")))?;
    let text = variant::without_own_mtus(&base.text)?;
    let (variants, side_by_side) = match sweep::make(&base, &text, variant::combinations(&[axis])?, &args.measure)? {
        Ok(variants) => variants,
        Err(exit) => return Ok(exit),
    };
    let mut bench = Bench::start(variants, side_by_side, is_rootless)?;
    let outcome = bench.sweep(&base.desired.topology, args.measure.rule(), args.measure.seed());
    bench.end()?;
    let sweep = outcome?;
    let exit = sweep::exit(&sweep);
    let report = TuneReport { tuned: tune::tuned(&sweep, mtus), mtus: mtus.clone(), sweep };
    let kept = keeper.keep(&report);
    if args.json {
        data(&report)?;
    } else {
        ui::text::quiet_when_closed(|mut out| report::tune(&report, &mut out))?;
    }
    if let Some(kept) = kept {
        talk(&kept);
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_of_mtus() {
        assert_eq!(parse_mtus("1500,9000"), Ok(Mtus(vec![1500, 9000])));
        // Equal steps of the inverse.
        assert_eq!(parse_mtus("1500..9000"), Ok(Mtus(vec![1500, 2077, 3375, 9000])));
        for (wrong, why) in [
            ("1500", "between 2 and 16"),
            ("9000..1500", "smaller"),
            ("1500,x", "`x`"),
            ("1,2", "68"),
            ("1500,9000,1500", "twice"),
        ] {
            assert!(parse_mtus(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
