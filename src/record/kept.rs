//! Everything that can be kept: the outcome of each command that measures, with what lists and comparisons need of it.

mod headline;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    BisectRecord, OffloadRecord, OffloadVerdict, RunRecord,
    history::{Past, PastResult},
    manifest::{Fingerprint, Manifest, surroundings},
    mtu::MtuReport,
    sweep::{OverheadReport, SearchReport, SweepReport, TuneReport},
};
use crate::facts::Machine;

/// Which command measured it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `run`, `stream`
    #[default]
    Run,
    /// `sweep`
    Sweep,
    /// `overhead`
    Overhead,
    /// `mtu probe`
    MtuProbe,
    /// `mtu tune`
    MtuTune,
    /// `search`
    Search,
    /// `offload verify`
    OffloadVerify,
    /// `offload bisect`
    OffloadBisect,
}

impl Kind {
    /// All, in the order in which they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Sweep,
        Self::Overhead,
        Self::MtuProbe,
        Self::MtuTune,
        Self::Search,
        Self::OffloadVerify,
        Self::OffloadBisect,
    ];

    /// `run`, `mtu-tune` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Sweep => "sweep",
            Self::Overhead => "overhead",
            Self::MtuProbe => "mtu-probe",
            Self::MtuTune => "mtu-tune",
            Self::Search => "search",
            Self::OffloadVerify => "offload-verify",
            Self::OffloadBisect => "offload-bisect",
        }
    }

    /// Does a comparison of two of them make sense?
    pub fn is_comparable(self) -> bool {
        self != Self::OffloadBisect
    }

    /// The kind of a document by the fields that only it has, for files that do not say it.
    pub fn of_document(document: &serde_json::Value) -> Option<Self> {
        let has = |key: &str| document.get(key).is_some();
        Some(match () {
            () if has("flows") => Self::Run,
            () if has("waterfalls") => Self::Overhead,
            () if has("tuned") => Self::MtuTune,
            () if has("variants") => Self::Sweep,
            () if has("directions") => Self::MtuProbe,
            () if has("checks") => Self::OffloadVerify,
            () if has("culprits") => Self::OffloadBisect,
            () if has("exceed_ratio") => Self::Search,
            () => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("it is one of {}", names()))
    }
}

/// What is asked of every outcome that is kept.
pub trait Document {
    /// Which command measured it.
    fn kind(&self) -> Kind;
    /// When it began, RFC 3339, UTC.
    fn started(&self) -> &str;
    /// Name of the topology, or of what was measured instead.
    fn topology(&self) -> &str;
    /// What must be equal to compare it with another.
    fn fingerprint(&self) -> Fingerprint;
    /// May its figures be believed?
    fn is_valid(&self) -> bool;
    /// The answer in some words; empty where the results say it.
    fn headline(&self) -> String;
    /// Medians, for lists and histories.
    fn results(&self) -> Vec<PastResult>;

    /// The line of the document that is number `run`.
    fn past(&self, run: i64) -> Past {
        Past {
            run,
            kind: self.kind(),
            started: self.started().to_owned(),
            topology: self.topology().to_owned(),
            fingerprint: self.fingerprint().hash(),
            valid: self.is_valid(),
            headline: self.headline(),
            results: self.results(),
        }
    }
}

/// An outcome of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// `run`, `stream`
    Run(Box<RunRecord>),
    /// `sweep`
    Sweep(Box<SweepReport>),
    /// `overhead`
    Overhead(Box<OverheadReport>),
    /// `mtu probe`
    MtuProbe(Box<MtuReport>),
    /// `mtu tune`
    MtuTune(Box<TuneReport>),
    /// `search`
    Search(Box<SearchReport>),
    /// `offload verify`
    OffloadVerify(Box<OffloadRecord>),
    /// `offload bisect`
    OffloadBisect(Box<BisectRecord>),
}

impl Kept {
    /// Reads what a command printed with `--json`.
    ///
    /// # Errors
    /// The text is not of this kind.
    pub fn parse(kind: Kind, text: &str) -> serde_json::Result<Self> {
        Ok(match kind {
            Kind::Run => Self::Run(serde_json::from_str(text)?),
            Kind::Sweep => Self::Sweep(serde_json::from_str(text)?),
            Kind::Overhead => Self::Overhead(serde_json::from_str(text)?),
            Kind::MtuProbe => Self::MtuProbe(serde_json::from_str(text)?),
            Kind::MtuTune => Self::MtuTune(serde_json::from_str(text)?),
            Kind::Search => Self::Search(serde_json::from_str(text)?),
            Kind::OffloadVerify => Self::OffloadVerify(serde_json::from_str(text)?),
            Kind::OffloadBisect => Self::OffloadBisect(serde_json::from_str(text)?),
        })
    }

    /// What all of them have in common.
    pub fn document(&self) -> &dyn Document {
        match self {
            Self::Run(record) => record.as_ref(),
            Self::Sweep(report) => report.as_ref(),
            Self::Overhead(report) => report.as_ref(),
            Self::MtuProbe(report) => report.as_ref(),
            Self::MtuTune(report) => report.as_ref(),
            Self::Search(report) => report.as_ref(),
            Self::OffloadVerify(record) => record.as_ref(),
            Self::OffloadBisect(record) => record.as_ref(),
        }
    }

    /// Which command measured it.
    pub fn kind(&self) -> Kind {
        self.document().kind()
    }

    /// The variants that were measured, of those kinds that have them.
    pub fn sweep(&self) -> Option<&SweepReport> {
        match self {
            Self::Sweep(report) => Some(report),
            Self::Overhead(report) => Some(&report.sweep),
            Self::MtuTune(report) => Some(&report.sweep),
            _ => None,
        }
    }

    /// In what it was measured, by variant; the name is empty where there are none.
    pub fn manifests(&self) -> Vec<(&str, &Manifest)> {
        match self {
            Self::Run(record) => record.manifest.iter().map(|manifest| ("", manifest)).collect(),
            Self::Search(report) => report.manifest.iter().map(|manifest| ("", manifest)).collect(),
            Self::MtuProbe(report) => report.manifest.iter().map(|manifest| ("", manifest)).collect(),
            Self::OffloadVerify(record) => record.manifest.iter().map(|manifest| ("", manifest)).collect(),
            Self::OffloadBisect(record) => record.manifest.iter().map(|manifest| ("", manifest)).collect(),
            Self::Sweep(_) | Self::Overhead(_) | Self::MtuTune(_) => self.sweep().map_or_else(Vec::new, |sweep| {
                let with = sweep.variants.iter().filter_map(|v| Some((v.label.as_str(), v.manifest.as_ref()?)));
                with.collect()
            }),
        }
    }

    /// The machine, the version of netbench and the command line.
    pub fn origin(&self) -> (&Machine, &str, &[String]) {
        match self {
            Self::Run(record) => (&record.machine, &record.netbench, &record.command),
            Self::Search(report) => (&report.machine, &report.netbench, &report.command),
            Self::MtuProbe(report) => (&report.machine, &report.netbench, &report.command),
            Self::OffloadVerify(record) => (&record.machine, &record.netbench, &record.command),
            Self::OffloadBisect(record) => (&record.machine, &record.netbench, &record.command),
            Self::Sweep(sweep) => (&sweep.machine, &sweep.netbench, &sweep.command),
            Self::Overhead(report) => (&report.sweep.machine, &report.sweep.netbench, &report.sweep.command),
            Self::MtuTune(report) => (&report.sweep.machine, &report.sweep.netbench, &report.sweep.command),
        }
    }
}

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Run(record) => record.serialize(serializer),
            Self::Sweep(report) => report.serialize(serializer),
            Self::Overhead(report) => report.serialize(serializer),
            Self::MtuProbe(report) => report.serialize(serializer),
            Self::MtuTune(report) => report.serialize(serializer),
            Self::Search(report) => report.serialize(serializer),
            Self::OffloadVerify(record) => record.serialize(serializer),
            Self::OffloadBisect(record) => record.serialize(serializer),
        }
    }
}

impl Document for RunRecord {
    fn kind(&self) -> Kind {
        Kind::Run
    }
    fn started(&self) -> &str {
        &self.started
    }
    fn topology(&self) -> &str {
        &self.topology.name
    }
    fn fingerprint(&self) -> Fingerprint {
        Self::fingerprint(self)
    }
    fn is_valid(&self) -> bool {
        Self::is_valid(self)
    }
    fn headline(&self) -> String {
        String::new()
    }
    fn results(&self) -> Vec<PastResult> {
        let tests = self.flows.iter().flat_map(|flow| flow.tests.iter().map(move |test| (flow, test)));
        let results = tests.filter_map(|(flow, test)| {
            let summary = test.summary.as_ref()?;
            Some(PastResult {
                variant: None,
                from: flow.from.clone(),
                to: flow.to.clone(),
                test: test.test,
                unit: summary.unit,
                median: summary.headline.median,
                interval: summary.headline.interval,
                rounds: summary.headline.samples,
            })
        });
        results.collect()
    }
}

/// The part that `sweep`, `mtu tune` and `overhead` share.
fn of_sweep(sweep: &SweepReport) -> (Fingerprint, bool, Vec<PastResult>) {
    let manifests = sweep.variants.iter().filter_map(|v| Some((v.label.as_str(), v.manifest.as_ref()?)));
    let hashes: Vec<String> = sweep.variants.iter().map(|v| format!("{} {}", v.label, v.hash)).collect();
    let topology = format!("{}: {}", sweep.topology, hashes.join("; "));
    let fingerprint = surroundings(topology, &sweep.machine, &sweep.netbench, &manifests.collect::<Vec<_>>());
    let cells = || sweep.results.iter().flat_map(|result| &result.cells);
    let valid = !sweep.interrupted && cells().next().is_some() && cells().all(|cell| cell.doubts.is_empty());
    let label = |number: u32| sweep.variants.get(number as usize - 1).map(|variant| variant.label.clone());
    let results = sweep.results.iter().flat_map(|result| {
        result.cells.iter().map(move |cell| PastResult {
            variant: label(cell.variant),
            from: result.from.clone(),
            to: result.to.clone(),
            test: result.test,
            unit: result.unit,
            median: cell.headline.median,
            interval: cell.headline.interval,
            rounds: cell.headline.samples,
        })
    });
    (fingerprint, valid, results.collect())
}

/// [`Document`] of what has a sweep in it.
macro_rules! swept {
    ($type:ty, $kind:expr, $self:ident => $sweep:expr, $headline:path) => {
        impl Document for $type {
            fn kind(&self) -> Kind {
                $kind
            }
            fn started(&self) -> &str {
                let $self = self;
                &$sweep.started
            }
            fn topology(&self) -> &str {
                let $self = self;
                &$sweep.topology
            }
            fn fingerprint(&self) -> Fingerprint {
                let $self = self;
                of_sweep(&$sweep).0
            }
            fn is_valid(&self) -> bool {
                let $self = self;
                of_sweep(&$sweep).1
            }
            fn headline(&self) -> String {
                $headline(self)
            }
            fn results(&self) -> Vec<PastResult> {
                let $self = self;
                of_sweep(&$sweep).2
            }
        }
    };
}

swept!(SweepReport, Kind::Sweep, report => report, headline::sweep);
swept!(TuneReport, Kind::MtuTune, report => report.sweep, headline::tune);
swept!(OverheadReport, Kind::Overhead, report => report.sweep, headline::overhead);

/// [`Document`] of what is an answer and no set of figures.
macro_rules! answer {
    ($type:ty, $kind:expr, $self:ident => $topology:expr, $hash:expr, $valid:expr, $headline:path) => {
        impl Document for $type {
            fn kind(&self) -> Kind {
                $kind
            }
            fn started(&self) -> &str {
                &self.started
            }
            fn topology(&self) -> &str {
                let $self = self;
                &$topology
            }
            fn fingerprint(&self) -> Fingerprint {
                let $self = self;
                let topology = format!("{} {}", $topology, $hash);
                let manifests: Vec<_> = self.manifest.iter().map(|manifest| ("", manifest)).collect();
                surroundings(topology, &self.machine, &self.netbench, &manifests)
            }
            fn is_valid(&self) -> bool {
                let $self = self;
                $valid
            }
            fn headline(&self) -> String {
                $headline(self)
            }
            fn results(&self) -> Vec<PastResult> {
                Vec::new()
            }
        }
    };
}

answer!(MtuReport, Kind::MtuProbe, it => it.target, "", !it.directions.is_empty(), headline::probe);
answer!(SearchReport, Kind::Search, it => it.topology, "", !it.interrupted, headline::search);
answer!(OffloadRecord, Kind::OffloadVerify, it => it.topology.name, it.topology.hash, it.left.is_empty() && !it.interrupted, headline::verify);
answer!(BisectRecord, Kind::OffloadBisect, it => it.topology.name, it.topology.hash, it.left.is_empty() && !it.interrupted, headline::bisect);

/// How bad a verdict is; a larger number is worse, and those that say nothing lie in between.
pub fn badness(verdict: OffloadVerdict) -> u8 {
    match verdict {
        OffloadVerdict::Pass => 0,
        OffloadVerdict::Skip | OffloadVerdict::Inconclusive => 1,
        OffloadVerdict::NotActive | OffloadVerdict::Ineffective => 2,
        OffloadVerdict::Drop | OffloadVerdict::Leak | OffloadVerdict::Corrupt | OffloadVerdict::Blackhole => 3,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_have_names_and_are_known_by_their_fields() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
        }
        assert!("sweeps".parse::<Kind>().unwrap_err().contains("mtu-tune"));
        assert_eq!(Kind::of_document(&json!({"flows": []})), Some(Kind::Run));
        assert_eq!(Kind::of_document(&json!({"trials": [], "culprits": []})), Some(Kind::OffloadBisect));
        assert_eq!(Kind::of_document(&json!({"trials": [], "exceed_ratio": 0.5})), Some(Kind::Search));
        assert_eq!(Kind::of_document(&json!({"a": 1})), None);
    }
}
