//! The highest load that meets the limits, by many short trials (the idea of MLRsearch, RFC 9971). Pure.
//!
//! RFC 2544 asks for a single trial without any loss, and so finds where the machine once hiccuped. Here a load is judged by several
//! trials, of which a share may be bad; the search halves the space between the highest load that is known to fit and the lowest that
//! is known not to.

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Loads between which it is looked for.
    pub range: (f64, f64),
    /// Trials at a load that count.
    pub trials: u32,
    /// Share of them that may be bad, 0 to 1.
    pub exceed_ratio: f64,
    /// Width of the answer over its upper end that is good enough.
    pub precision: f64,
    /// Trials in all.
    pub at_most: u32,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Load that the generator really offered.
    pub offered: f64,
    /// What arrived, in the same unit.
    pub arrived: f64,
    /// Does it meet the limits?
    pub good: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Offer this load.
    Trial {
        /// In the unit of the goal.
        load: f64,
    },
    /// It is known.
    Done(Outcome),
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The bounds are near enough to each other.
    Found,
    /// Even the highest load fits.
    AtMaximum,
    /// The generator cannot offer more.
    Generator,
    /// Not even the lowest load fits.
    NoneFits,
    /// The trials are used up.
    Trials,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Highest load that fits.
    pub lower: Option<f64>,
    /// Lowest load that does not.
    pub upper: Option<f64>,
    /// What arrived at the highest load that fits, in all but the share of its trials that may be bad.
    pub conditional: Option<f64>,
    /// Why it is over.
    pub end: End,
}

/// A generator that offers less than this of what it was asked for has reached its own limit.
const OFFERED: f64 = 0.97;

/// The trials at one load.
#[derive(Debug, Clone)]
struct Load {
    load: f64,
    trials: Vec<Trial>,
}

/// The search.
#[derive(Debug, Clone)]
pub struct RateSearch {
    goal: Goal,
    loads: Vec<Load>,
    load: f64,
    count: u32,
    lower: Option<f64>,
    upper: Option<f64>,
    /// The most that the generator can offer.
    generator: Option<f64>,
    /// Trials in succession that offered less than they were asked for, and the most that they did.
    starved: u32,
    most_offered: f64,
    /// How far to step down or up while only one bound is known, over the bound.
    step: f64,
}

/// First step from the load that the first trial points to.
const STEP: f64 = 0.02;

impl RateSearch {
    /// A search that begins at the top of the range.
    pub fn new(goal: Goal) -> Self {
        let load = goal.range.1;
        Self {
            goal,
            loads: Vec::new(),
            load,
            count: 0,
            lower: None,
            upper: None,
            generator: None,
            starved: 0,
            most_offered: 0.0,
            step: STEP,
        }
    }

    /// Learns what came of the last trial (`None` at first) and says what to do.
    pub fn next(&mut self, trial: Option<Trial>) -> Action {
        if let Some(trial) = trial {
            self.learn(trial);
        }
        if let Some(end) = self.end() {
            return Action::Done(self.outcome(end));
        }
        self.count += 1;
        Action::Trial { load: self.load }
    }

    fn learn(&mut self, trial: Trial) {
        let asked = self.load;
        if trial.offered < asked * OFFERED {
            // Once may be chance: the trial says nothing of this load. Every time is the generator's limit.
            self.starved += 1;
            self.most_offered = self.most_offered.max(trial.offered);
            if self.starved < self.goal.trials {
                return;
            }
            let most = self.most_offered.max(self.goal.range.0);
            (self.generator, self.goal.range.1, self.load) = (Some(most), most, most);
            (self.starved, self.most_offered) = (0, 0.0);
            return;
        }
        (self.starved, self.most_offered) = (0, 0.0);
        let load = self.load;
        let index = match self.loads.iter().position(|known| known.load == load) {
            Some(index) => index,
            None => {
                self.loads.push(Load { load, trials: Vec::new() });
                self.loads.len() - 1
            }
        };
        self.loads[index].trials.push(trial);
        let fits = self.judge(&self.loads[index]);
        match fits {
            // Not decided: again.
            None => return,
            Some(true) => self.lower = Some(self.lower.map_or(load, |lower: f64| lower.max(load))),
            Some(false) => self.upper = Some(self.upper.map_or(load, |upper: f64| upper.min(load))),
        }
        // A load below one that does not fit is believed more than the one above it: trials are noisy, curves are not.
        if let (Some(lower), Some(upper)) = (self.lower, self.upper)
            && lower >= upper
        {
            self.lower = self
                .loads
                .iter()
                .filter(|l| l.load < upper && self.judge(l) == Some(true))
                .map(|l| l.load)
                .reduce(f64::max);
        }
        self.load = self.choose(trial).clamp(self.goal.range.0, self.goal.range.1);
    }

    /// Does a load fit? Known as soon as the trials that are left cannot change it.
    fn judge(&self, load: &Load) -> Option<bool> {
        let bad = load.trials.iter().filter(|trial| !trial.good).count() as f64;
        let good = load.trials.len() as f64 - bad;
        let allowed = (f64::from(self.goal.trials) * self.goal.exceed_ratio).floor();
        if bad > allowed {
            return Some(false);
        }
        (good >= f64::from(self.goal.trials) - allowed).then_some(true)
    }

    fn choose(&mut self, last: Trial) -> f64 {
        let (least, most) = self.goal.range;
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) => (lower + upper) / 2.0,
            // Above its means a device still forwards what it can: that is near the answer.
            (None, Some(upper)) => {
                let first = self.loads.len() == 1 && last.arrived > least && last.arrived < upper;
                let next = if first { last.arrived } else { upper * (1.0 - self.step) };
                if !first {
                    self.step = (self.step * 2.0).min(0.5);
                }
                next.max(least)
            }
            (Some(lower), None) => {
                let next = lower * (1.0 + self.step);
                self.step *= 2.0;
                next.min(most)
            }
            (None, None) => self.load,
        }
    }

    fn end(&self) -> Option<End> {
        let (least, most) = self.goal.range;
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) if (upper - lower) <= upper * self.goal.precision => Some(End::Found),
            (Some(lower), None) if lower >= most && self.generator.is_some() => Some(End::Generator),
            (Some(lower), None) if lower >= most => Some(End::AtMaximum),
            (None, Some(upper)) if upper <= least => Some(End::NoneFits),
            _ => (self.count >= self.goal.at_most).then_some(End::Trials),
        }
    }

    fn outcome(&self, end: End) -> Outcome {
        let at = self.lower.and_then(|lower| self.loads.iter().find(|load| load.load == lower));
        let conditional = at.and_then(|load| {
            let mut arrived: Vec<f64> = load.trials.iter().map(|trial| trial.arrived).collect();
            arrived.sort_by(f64::total_cmp);
            // All but the share that may be bad arrive at least so much.
            let skip = (arrived.len() as f64 * self.goal.exceed_ratio).floor() as usize;
            arrived.get(skip.min(arrived.len().saturating_sub(1))).copied()
        });
        Outcome { lower: self.lower, upper: self.upper, conditional, end }
    }
}

#[cfg(test)]
#[path = "rate_search/tests.rs"]
mod tests;
