//! What makes rounds doubtful, with its cause and what to try next. Pure: whoever has the figures judges them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Standard deviation of the rounds over their mean from which they are called unsteady.
pub const UNSTEADY: f64 = 0.05;
/// Share of a CPU's time that its hypervisor may take before it is said.
pub const STEAL: f64 = 0.001;
/// Change of a CPU's frequency between rounds, over the highest, that is said.
pub const DRIFT: f64 = 0.05;
/// Share of a CPU's time in softirq from which it has no more to give.
pub const SOFTIRQ: f64 = 0.99;
/// Share of the requests that may go late before the generator is the limit.
pub const MISSED: f64 = 0.01;

/// A reason to doubt figures that are otherwise valid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", tag = "warning")]
pub enum Warning {
    /// The rounds differ more than rounds should.
    Unsteady {
        /// Sample standard deviation over the mean.
        cv: f64,
    },
    /// A hypervisor took time from the CPUs that served the test.
    Steal {
        /// The largest share of a CPU's time in a round, 0 to 1.
        share: f64,
    },
    /// A CPU did not run at the same frequency in all rounds.
    FrequencyDrift {
        /// Lowest, MHz.
        low_mhz: f64,
        /// Highest.
        high_mhz: f64,
    },
    /// A CPU did nothing but receive packets.
    SoftirqFull {
        /// Which.
        cpu: u32,
        /// Its largest share of a round in softirq, 0 to 1.
        share: f64,
    },
    /// The load generator, and not what it measures, was the limit.
    GeneratorLimited {
        /// Rounds in which it was.
        rounds: u32,
        /// Of so many.
        of: u32,
    },
    /// The rule for the number of rounds ended by its budget: the interval is wider than was asked for.
    NotSteady {
        /// Half width of the interval over the median.
        half_width: f64,
    },
}

impl Warning {
    /// The word for it in files, such as `unsteady`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unsteady { .. } => "unsteady",
            Self::Steal { .. } => "steal",
            Self::FrequencyDrift { .. } => "frequency_drift",
            Self::SoftirqFull { .. } => "softirq_full",
            Self::GeneratorLimited { .. } => "generator_limited",
            Self::NotSteady { .. } => "not_steady",
        }
    }

    /// What is likely behind it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unsteady { .. } => "other load, threads that move between CPUs, or a path with several states",
            Self::Steal { .. } => "other guests of the same host",
            Self::FrequencyDrift { .. } => "the frequency governor, turbo, or heat",
            Self::SoftirqFull { .. } => "one queue, and one CPU, serve all of the traffic",
            Self::GeneratorLimited { .. } => "this end cannot send or read as fast as it was asked to",
            Self::NotSteady { .. } => "the rounds differ, and the time for them is over",
        }
    }

    /// The flag, or the key of the topology, to try next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Unsteady { .. } => "cpus in the topology, --duration, --rounds auto",
            Self::Steal { .. } => "a quieter host, --rounds auto, or `compare` of interleaved runs",
            Self::FrequencyDrift { .. } => "the governor `performance`, --omit",
            Self::SoftirqFull { .. } => "--streams with RSS, RPS, or cpus in the topology",
            Self::GeneratorLimited { .. } => "a lower --rate, --spin, --streams, or cpus in the topology",
            Self::NotSteady { .. } => "--budget, --duration",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsteady { cv } => write!(f, "rounds differ by {:.0} % (CV)", cv * 100.0)?,
            Self::Steal { share } => write!(f, "{:.1} % of a CPU was stolen", share * 100.0)?,
            Self::FrequencyDrift { low_mhz, high_mhz } => {
                write!(f, "a CPU ran at {low_mhz:.0} to {high_mhz:.0} MHz")?;
            }
            Self::SoftirqFull { cpu, share } => write!(f, "CPU {cpu} spent {:.0} % in softirq", share * 100.0)?,
            Self::GeneratorLimited { rounds, of } => {
                write!(f, "the generator was the limit in {rounds} of {of} rounds")?;
            }
            Self::NotSteady { half_width } => {
                write!(f, "the median is known to ±{:.1} % only", half_width * 100.0)?;
            }
        }
        write!(f, ": {}; try {}", self.cause(), self.next())
    }
}

/// Unsteady rounds.
pub fn unsteady(cv: Option<f64>) -> Option<Warning> {
    cv.filter(|&cv| cv > UNSTEADY).map(|cv| Warning::Unsteady { cv })
}

/// The largest share that was stolen of a CPU in any round.
pub fn steal(shares: impl IntoIterator<Item = f64>) -> Option<Warning> {
    let share = shares.into_iter().fold(0.0, f64::max);
    (share > STEAL).then_some(Warning::Steal { share })
}

/// Frequencies of one CPU, MHz, over the rounds.
pub fn frequency_drift(mhz: impl IntoIterator<Item = f64>) -> Option<Warning> {
    let known = mhz.into_iter().filter(|mhz| *mhz > 0.0);
    let (low_mhz, high_mhz) = known.fold((f64::INFINITY, 0.0_f64), |(low, high), mhz| (low.min(mhz), high.max(mhz)));
    (low_mhz < high_mhz * (1.0 - DRIFT)).then_some(Warning::FrequencyDrift { low_mhz, high_mhz })
}

/// The CPU with the largest share of a round in softirq, of all (CPU, share).
pub fn softirq(loads: impl IntoIterator<Item = (u32, f64)>) -> Option<Warning> {
    let (cpu, share) = loads.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (share >= SOFTIRQ).then_some(Warning::SoftirqFull { cpu, share })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_threshold() {
        assert_eq!(unsteady(Some(0.05)), None);
        assert_eq!(unsteady(Some(0.051)), Some(Warning::Unsteady { cv: 0.051 }));
        assert_eq!(unsteady(None), None);
        assert_eq!(steal([0.0, 0.0]), None);
        assert_eq!(steal([0.0, 0.02, 0.01]), Some(Warning::Steal { share: 0.02 }));
        assert_eq!(frequency_drift([3000.0, 2900.0]), None);
        assert_eq!(frequency_drift([]), None);
        assert_eq!(
            frequency_drift([3000.0, 2000.0, 0.0]),
            Some(Warning::FrequencyDrift { low_mhz: 2000.0, high_mhz: 3000.0 })
        );
        assert_eq!(softirq([(0, 0.5), (1, 0.9)]), None);
        assert_eq!(softirq([(0, 0.5), (1, 0.995)]), Some(Warning::SoftirqFull { cpu: 1, share: 0.995 }));
    }

    #[test]
    fn each_says_cause_and_cure() {
        let text = Warning::Unsteady { cv: 0.123 }.to_string();
        assert!(text.starts_with("rounds differ by 12 % (CV): other load") && text.contains("; try cpus"), "{text}");
    }
}
