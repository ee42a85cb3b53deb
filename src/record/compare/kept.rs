//! Two outcomes of the same kind: variants by their figures, answers by what they say.

use super::{Compared, ComparedAnswer, Comparisons, Figure, runs};
use crate::{
    record::{
        OffloadCheck, OffloadRecord, OffloadVerdict, Unit,
        kept::{Kept, badness},
        mtu::{MtuDirection, MtuReport},
        sweep::{Figure as Round, SearchReport, SweepReport},
    },
    stats::compare::{Verdict, compare},
};

/// Compares B with A.
///
/// # Errors
/// They are of different kinds, or of one that cannot be compared; in words.
pub fn kept(a: &Kept, b: &Kept, effect: Option<f64>) -> Result<Comparisons, String> {
    if a.kind() != b.kind() {
        return Err(format!(
            "A is `{}` and B `{}`: only outcomes of the same kind can be compared",
            a.kind(),
            b.kind()
        ));
    }
    match (a, b) {
        (Kept::Run(a), Kept::Run(b)) => Ok(runs(a, b, effect)),
        (Kept::MtuProbe(a), Kept::MtuProbe(b)) => Ok(probes(a, b)),
        (Kept::Search(a), Kept::Search(b)) => searches(a, b, effect),
        (Kept::OffloadVerify(a), Kept::OffloadVerify(b)) => Ok(verifications(a, b)),
        _ => match (a.sweep(), b.sweep()) {
            (Some(a), Some(b)) => Ok(sweeps(a, b, effect)),
            _ => Err(format!(
                "a {} ends with a set of features and has no figure to compare; `netbench show` shows each",
                a.kind()
            )),
        },
    }
}

/// A figure of a round, where it has one.
type Pick = fn(&Round) -> Option<f64>;

/// Variant by variant; a variant counts as the same if its label is.
fn sweeps(a: &SweepReport, b: &SweepReport, effect: Option<f64>) -> Comparisons {
    let mut all = Comparisons::default();
    let label = |sweep: &SweepReport, number: u32| {
        sweep.variants.get(number as usize - 1).map_or_else(String::new, |variant| variant.label.clone())
    };
    let mut matched = Vec::new();
    for result in &a.results {
        let is_same = |r: &&crate::record::sweep::SweepResult| {
            (&r.from, &r.to, r.test) == (&result.from, &result.to, result.test)
        };
        let other = b.results.iter().find(is_same);
        for cell in &result.cells {
            let variant = label(a, cell.variant);
            let found = other.and_then(|other| other.cells.iter().find(|cell| label(b, cell.variant) == variant));
            let Some(theirs) = found else {
                all.unmatched.push(format!("A: {variant}, {} {} → {}", result.test, result.from, result.to));
                continue;
            };
            matched.push((result.from.clone(), result.to.clone(), result.test, variant.clone()));
            let headline = match Unit::of(result.test) {
                Unit::TransactionsPerSecond => Figure::Transactions,
                Unit::BitsPerSecond | Unit::FramesPerSecond => Figure::Goodput,
            };
            let p99: Pick = |round| round.p99_us.map(|us| us * 1e3);
            let figures: [(Figure, Pick); 3] =
                [(headline, |round| Some(round.headline)), (Figure::P99, p99), (Figure::Cpu, |round| round.cpu_ns)];
            for (figure, pick) in figures {
                let samples = |rounds: &[Round]| rounds.iter().filter_map(pick).collect::<Vec<f64>>();
                let found = compare(&samples(&cell.rounds), &samples(&theirs.rounds), figure.criterion(effect));
                all.figures.extend(found.map(|comparison| Compared {
                    variant: Some(variant.clone()),
                    from: result.from.clone(),
                    to: result.to.clone(),
                    test: result.test,
                    figure,
                    comparison,
                }));
            }
        }
    }
    for result in &b.results {
        for cell in &result.cells {
            let key = (result.from.clone(), result.to.clone(), result.test, label(b, cell.variant));
            if !matched.contains(&key) {
                all.unmatched.push(format!("B: {}, {} {} → {}", key.3, result.test, result.from, result.to));
            }
        }
    }
    all
}

/// Check by check. What passed and of which nothing can be said any more is worse: whoever relies on the exit code relies on the check.
fn verifications(a: &OffloadRecord, b: &OffloadRecord) -> Comparisons {
    let mut all = Comparisons::default();
    let name = |check: &OffloadCheck| match &check.device {
        Some(device) => format!("{device}: {} ({})", check.check, check.path),
        None => format!("{}: {}", check.path, check.check),
    };
    let same = |a: &OffloadCheck, b: &OffloadCheck| {
        (&a.path, &a.device, &a.check, &a.features) == (&b.path, &b.device, &b.check, &b.features)
    };
    let says = |verdict: OffloadVerdict| badness(verdict) != badness(OffloadVerdict::Skip);
    for check in &a.checks {
        let Some(other) = b.checks.iter().find(|other| same(check, other)) else {
            all.unmatched.push(format!("A: {}", name(check)));
            continue;
        };
        let verdict = match (badness(check.verdict), badness(other.verdict)) {
            // Of a fault that can no longer be looked for nobody knows whether it is still there; nor since when one is there
            // that was not looked for, unless it breaks something now.
            _ if !says(other.verdict) && check.verdict != OffloadVerdict::Pass => Verdict::NoDifference,
            (1, 2) => Verdict::NoDifference,
            (before, now) if now > before => Verdict::Worse,
            (before, now) if now < before => Verdict::Better,
            _ => Verdict::NoDifference,
        };
        all.answers.push(ComparedAnswer {
            what: name(check),
            a: check.verdict.text().to_owned(),
            b: other.verdict.text().to_owned(),
            verdict,
        });
    }
    let lone = b.checks.iter().filter(|check| !a.checks.iter().any(|other| same(check, other)));
    all.unmatched.extend(lone.map(|check| format!("B: {}", name(check))));
    all
}

fn probes(a: &MtuReport, b: &MtuReport) -> Comparisons {
    let mut all = Comparisons::default();
    let name = |direction: &MtuDirection| format!("{} → {}", direction.from, direction.to);
    let said = |direction: &MtuDirection| {
        let mtu = direction.largest.map_or_else(|| "nothing passes".to_owned(), |mtu| format!("MTU {mtu}"));
        match direction.findings.iter().find(|finding| finding.fault) {
            Some(fault) => format!("{mtu}, {}", fault.verdict.word()),
            None => mtu,
        }
    };
    for direction in &a.directions {
        let Some(other) = b.directions.iter().find(|other| name(other) == name(direction)) else {
            all.unmatched.push(format!("A: {}", name(direction)));
            continue;
        };
        let order = |direction: &MtuDirection| (direction.ok, direction.largest.unwrap_or(0));
        let verdict = match order(other).cmp(&order(direction)) {
            std::cmp::Ordering::Less => Verdict::Worse,
            std::cmp::Ordering::Equal => Verdict::NoDifference,
            std::cmp::Ordering::Greater => Verdict::Better,
        };
        all.answers.push(ComparedAnswer { what: name(direction), a: said(direction), b: said(other), verdict });
    }
    let lone = b.directions.iter().filter(|direction| !a.directions.iter().any(|other| name(other) == name(direction)));
    all.unmatched.extend(lone.map(|direction| format!("B: {}", name(direction))));
    all
}

/// The answer of a search lies between two bounds: two answers differ if these lie apart, and by as much as matters.
fn searches(a: &SearchReport, b: &SearchReport, effect: Option<f64>) -> Result<Comparisons, String> {
    let asked = |s: &SearchReport| (s.from.clone(), s.to.clone(), s.test, s.max_loss, s.max_p99_us);
    if asked(a) != asked(b) {
        return Err("the two searches have different flows, tests or limits".to_owned());
    }
    let bounds = |s: &SearchReport| (s.lower.unwrap_or(0.0), s.upper.unwrap_or(f64::INFINITY));
    let ((low_a, high_a), (low_b, high_b)) = (bounds(a), bounds(b));
    let least = effect.unwrap_or(Figure::Goodput.criterion(None).minimum_effect);
    let matters = low_a == 0.0 || (low_b - low_a).abs() / low_a >= least;
    let verdict = match () {
        () if matters && high_b <= low_a => Verdict::Worse,
        () if matters && low_b >= high_a => Verdict::Better,
        () => Verdict::NoDifference,
    };
    let said = |s: &SearchReport| match (s.lower, s.upper) {
        (None, _) => "none meets the limits".to_owned(),
        (Some(lower), None) => format!("{} or more", s.unit.amount(lower)),
        (Some(lower), Some(upper)) => format!("{} to {}", s.unit.amount(lower), s.unit.amount(upper)),
    };
    let what = format!("{} {} → {}: highest rate", a.test, a.from, a.to);
    Ok(Comparisons {
        answers: vec![ComparedAnswer { what, a: said(a), b: said(b), verdict }],
        ..Comparisons::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{facts::Machine, record::TopologyRef};

    fn verification(verdicts: &[(&str, OffloadVerdict)]) -> OffloadRecord {
        let check = |&(name, verdict): &(&str, OffloadVerdict)| OffloadCheck {
            path: "a -> b".into(),
            device: Some("a/eth0".into()),
            check: name.into(),
            features: Vec::new(),
            verdict,
            evidence: String::new(),
            findings: Vec::new(),
            cure: None,
        };
        OffloadRecord {
            schema_version: 1,
            netbench: "0".into(),
            started: "2026-11-22T10:00:00Z".into(),
            command: Vec::new(),
            topology: TopologyRef { name: "t".into(), hash: "0".into() },
            kernel: "6".into(),
            machine: Machine::default(),
            manifest: None,
            rootless: false,
            seed: 1,
            elapsed_s: 1.0,
            checks: verdicts.iter().map(check).collect(),
            left: Vec::new(),
            interrupted: false,
        }
    }

    #[test]
    fn what_passed_and_now_does_not_is_a_regression() {
        use OffloadVerdict::{Corrupt, Inconclusive, Leak, NotActive, Pass, Skip};
        let verdict = |before, now| {
            verifications(&verification(&[("tso", before)]), &verification(&[("tso", now)])).answers[0].verdict
        };
        for (before, now, expected) in [
            (Pass, Pass, Verdict::NoDifference),
            (Pass, Corrupt, Verdict::Worse),
            (Pass, NotActive, Verdict::Worse),
            (NotActive, Leak, Verdict::Worse),
            (Leak, Corrupt, Verdict::NoDifference),
            (Leak, Pass, Verdict::Better),
            (Pass, Inconclusive, Verdict::Worse),
            (Pass, Skip, Verdict::Worse),
            (Skip, Pass, Verdict::Better),
            (Skip, NotActive, Verdict::NoDifference),
            (Skip, Leak, Verdict::Worse),
            (Leak, Inconclusive, Verdict::NoDifference),
            (NotActive, Skip, Verdict::NoDifference),
            (Skip, Inconclusive, Verdict::NoDifference),
        ] {
            assert_eq!(verdict(before, now), expected, "{before:?} {now:?}");
        }
        let found = verifications(&verification(&[("tso", Pass)]), &verification(&[("gro", Pass)]));
        assert_eq!(found.unmatched, ["A: a/eth0: tso (a -> b)", "B: a/eth0: gro (a -> b)"]);
    }

    #[test]
    fn kinds_do_not_mix() {
        let one = Kept::OffloadVerify(Box::new(verification(&[])));
        let run = crate::record::RunRecord::new(
            "2026-11-22T10:00:00Z".parse().unwrap(),
            vec![],
            TopologyRef { name: "t".into(), hash: "0".into() },
            Machine::default(),
        );
        let error = kept(&one, &Kept::Run(Box::new(run)), None).unwrap_err();
        assert!(error.contains("A is `offload-verify` and B `run`"), "{error}");
    }
}
