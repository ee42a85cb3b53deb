//! How many rounds: so many, or as many as it takes.

use crate::{stats::sequential::Rule, units::Span};

/// What `--rounds` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounds {
    /// So many.
    Count(u32),
    /// As many as it takes.
    Auto,
}

/// `--rounds` and `--budget`.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct RoundsArgs {
    /// Rounds of each test, interleaved, or `auto`: five, and more until every median is known to ±2 %, for two minutes at most
    /// [default: the file's, or as auto, for eight seconds at most].
    #[arg(long, value_name = "N|auto", value_parser = parse)]
    rounds: Option<Rounds>,
    /// The time for all rounds, where their number is not said; the first five are run in any case.
    #[arg(long, value_name = "TIME")]
    budget: Option<Span>,
}

fn parse(text: &str) -> Result<Rounds, String> {
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(Rounds::Count(count)),
        _ if text == "auto" => Ok(Rounds::Auto),
        _ => Err("it is a number from 1 to 10000, or `auto`".to_owned()),
    }
}

impl RoundsArgs {
    /// Was anything said?
    pub fn is_any(&self) -> bool {
        self.rounds.is_some() || self.budget.is_some()
    }

    /// The number, where there is one.
    pub fn count(&self) -> Option<u32> {
        match self.rounds {
            Some(Rounds::Count(count)) => Some(count),
            Some(Rounds::Auto) | None => None,
        }
    }

    /// The rule that was asked for; `None` where nothing was, which leaves it to the file and the default.
    ///
    /// # Errors
    /// A budget beside a number.
    pub fn rule(&self) -> anyhow::Result<Option<Rule>> {
        match (self.rounds, self.budget) {
            (Some(Rounds::Count(_)), Some(_)) => {
                anyhow::bail!("--budget is for --rounds auto: a number of rounds decides itself how long they take")
            }
            (_, Some(budget)) => Ok(Some(Rule { budget_s: budget.0.as_secs_f64(), ..Rule::default() })),
            (Some(Rounds::Auto), None) => Ok(Some(Rule::default())),
            (Some(Rounds::Count(_)) | None, None) => Ok(None),
        }
    }
}
