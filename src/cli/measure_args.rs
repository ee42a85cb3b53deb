//! Options that the commands which compare variants have in common.

use std::time::Duration;

use crate::{
    experiment::options::{Asked, Options},
    measured::Test,
    stats::sequential::Rule,
    topology::model::TestDefaults,
    units::{ByteSize, Span},
};

/// What is measured, how long and how often.
#[derive(Debug, Clone, clap::Args)]
pub struct MeasureArgs {
    /// Tests, separated by commas [default: the file's, or tcp_stream].
    #[arg(long, value_name = "TESTS", value_parser = super::run::parse_tests)]
    pub test: Option<super::run::TestList>,
    /// Length of one round [default: the file's, or 500ms].
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Warm-up before each round, left out of every figure.
    #[arg(long, value_name = "TIME")]
    pub omit: Option<Span>,
    /// Rounds of every variant, interleaved in random order.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Go on after that many rounds until each median is known to 2 %, for at most this long.
    #[arg(long, value_name = "TIME")]
    pub budget: Option<Span>,
    /// Parallel streams [default: the file's, or 1].
    #[arg(long, value_name = "N")]
    pub streams: Option<u32>,
    /// Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1].
    #[arg(long, value_name = "SIZE")]
    pub length: Option<ByteSize>,
    /// Who talks to whom, instead of the declared flows; may be repeated.
    #[arg(long, value_name = "FROM:TO")]
    pub flow: Vec<String>,
    /// Watch it on the whole terminal: throughput, round trips and retransmits of each stream, CPUs, hops; `q` ends it.
    #[arg(long)]
    pub live: bool,
    /// Seed of the random order; the same one gives the same order.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl MeasureArgs {
    /// The options of a variant, over its file's.
    pub fn options(&self, file: &TestDefaults) -> anyhow::Result<Options> {
        let tests = self.test.clone().map(|list| list.0);
        let asked = Asked {
            tests: tests.or_else(|| file.tests.is_empty().then(|| vec![Test::TcpStream])),
            duration: self.duration.or(file.duration).or(Some(Span(Duration::from_millis(500)))),
            rounds: Some(1),
            omit: self.omit,
            streams: self.streams,
            length: self.length,
            ..Asked::default()
        };
        let mut options = Options::merge(asked, file)?;
        if self.live {
            options.look_on();
        }
        Ok(options)
    }

    /// When it is enough.
    pub fn rule(&self) -> Rule {
        match self.budget {
            Some(Span(budget)) => {
                Rule { at_least: self.rounds, at_most: 1000, budget_s: budget.as_secs_f64(), ..Rule::default() }
            }
            None => Rule { at_least: self.rounds, at_most: self.rounds, budget_s: f64::INFINITY, ..Rule::default() },
        }
    }

    /// The seed, or one of the clock.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64 % 1_000_000)
    }
}
