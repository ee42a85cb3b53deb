//! Which features break or matters a path: delta debugging (ddmin, Zeller and Hildebrandt 2002) over the set of features that
//! can be flipped, then each of the set that is left confirmed by A/B. Pure: it is told rates and asks for measurements.

use std::collections::{BTreeMap, VecDeque};

use super::checks::{Features, GROUPS, Group, MANGLE_ID, Target};
use crate::plan::desired::LinkRef;

/// A feature to be asked for the other value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    /// The device.
    pub at: LinkRef,
    /// The feature's kernel name.
    pub feature: String,
    /// What it is asked to be.
    pub on: bool,
}

impl std::fmt::Display for Flip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.at, self.feature, if self.on { "on" } else { "off" })
    }
}

/// The flips of each device.
pub fn by_device(flips: &[Flip]) -> BTreeMap<LinkRef, BTreeMap<String, bool>> {
    let mut devices: BTreeMap<LinkRef, BTreeMap<String, bool>> = BTreeMap::new();
    for flip in flips {
        devices.entry(flip.at.clone()).or_default().insert(flip.feature.clone(), flip.on);
    }
    devices
}

/// Everything that can be flipped on the targets' devices. The same feature of all devices stands together: where a path is
/// broken it is so at both ends as a rule, and halves that part the two of them do not help.
pub fn candidates(targets: &[Target], features: &Features) -> Vec<Flip> {
    let mut flips = Vec::new();
    let matters = |group: &&Group| group.untried.is_none() && group.features != [MANGLE_ID];
    for name in GROUPS.iter().filter(matters).flat_map(|group| group.features) {
        for at in targets.iter().flat_map(|target| &target.path.hops).map(|hop| &hop.at) {
            let known = features.get(at).and_then(|known| known.get(*name));
            if let Some(feature) = known.filter(|feature| feature.changeable) {
                let flip = Flip { at: at.clone(), feature: (*name).to_owned(), on: !feature.wanted };
                if !flips.contains(&flip) {
                    flips.push(flip);
                }
            }
        }
    }
    flips
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Measure with these flipped, all else as found.
    Measure(Vec<Flip>),
    /// It is known.
    Done,
}

/// What came of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The path meets the goal as it is.
    MetAsFound,
    /// The culprits are known.
    Found,
    /// No set that was tried meets the goal.
    NothingHelps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// As found; all that are on off; then all that are off on; then all flipped.
    Sets(VecDeque<Vec<Flip>>),
    /// Parts, or what is left without each, of the smallest set known.
    Reduce {
        parts: usize,
        next: usize,
    },
    /// A/B: with and without, by turns.
    Confirm {
        round: usize,
    },
    /// Each culprit alone taken back: does the goal fail again?
    Each {
        next: usize,
    },
    Done(Outcome),
}

/// Rounds of A/B.
const ROUNDS: usize = 2;

/// The machine.
#[derive(Debug)]
pub struct Bisector {
    goal: f64,
    phase: Phase,
    set: Vec<Flip>,
    asked: Option<Vec<Flip>>,
    trials: Vec<(Vec<Flip>, f64)>,
    confirmed: bool,
    /// A measurement with the set was repeated.
    repeated: bool,
}

impl Bisector {
    /// A search for a set of these flips that gets at least `goal` (payload bits per second).
    pub fn new(goal: f64, candidates: Vec<Flip>) -> Self {
        let (on, off): (Vec<Flip>, Vec<Flip>) = candidates.iter().cloned().partition(|flip| flip.on);
        let sets = [off, on, candidates].into_iter().filter(|set| !set.is_empty()).collect::<Vec<_>>();
        let mut once: VecDeque<Vec<Flip>> = VecDeque::new();
        for set in sets {
            if !once.contains(&set) {
                once.push_back(set);
            }
        }
        Self {
            goal,
            phase: Phase::Sets(once),
            set: Vec::new(),
            asked: None,
            trials: Vec::new(),
            confirmed: true,
            repeated: false,
        }
    }

    /// Every measurement so far.
    pub fn trials(&self) -> &[(Vec<Flip>, f64)] {
        &self.trials
    }

    /// What came of it; `None` before the end.
    pub fn outcome(&self) -> Option<Outcome> {
        if let Phase::Done(outcome) = self.phase { Some(outcome) } else { None }
    }

    /// The smallest set that meets the goal.
    pub fn culprits(&self) -> &[Flip] {
        if self.outcome() == Some(Outcome::Found) { &self.set } else { &[] }
    }

    /// Did A/B confirm the set, and that none of it can be left out?
    pub fn is_confirmed(&self) -> bool {
        self.outcome() == Some(Outcome::Found) && self.confirmed
    }

    /// What is under way, in words.
    pub fn doing(&self) -> String {
        let what = match &self.phase {
            Phase::Sets(_) => "looking for a set that helps".to_owned(),
            Phase::Reduce { .. } => format!("reducing {} features", self.set.len()),
            Phase::Confirm { .. } | Phase::Each { .. } => format!("confirming {}", self.set.len()),
            Phase::Done(_) => "done".to_owned(),
        };
        format!("{what} ({} measured)", self.trials.len())
    }

    fn met(&self, rate: f64) -> bool {
        rate >= self.goal
    }

    /// Takes in the rate of the last measurement (none at the beginning) and says the next.
    pub fn next(&mut self, rate: Option<f64>) -> Action {
        if let (Some(rate), Some(asked)) = (rate, self.asked.take()) {
            self.trials.push((asked.clone(), rate));
            self.take(&asked, self.met(rate));
        }
        match self.wanted() {
            Some(flips) => {
                self.asked = Some(flips.clone());
                Action::Measure(flips)
            }
            None => Action::Done,
        }
    }

    fn take(&mut self, asked: &[Flip], met: bool) {
        match &mut self.phase {
            Phase::Sets(_) if asked.is_empty() && met => self.phase = Phase::Done(Outcome::MetAsFound),
            Phase::Sets(_) if asked.is_empty() => {}
            Phase::Sets(_) if met => {
                self.set = asked.to_vec();
                self.phase = Phase::Reduce { parts: 2, next: 0 };
            }
            Phase::Sets(_) => {}
            Phase::Reduce { parts, .. } if met => {
                let was_part = asked.len() <= self.set.len().div_ceil(*parts);
                let fewer = if was_part { 2 } else { (*parts - 1).max(2) };
                self.set = asked.to_vec();
                self.phase = Phase::Reduce { parts: fewer, next: 0 };
            }
            Phase::Reduce { next, .. } => *next += 1,
            // Once may be chance: a busy machine lets a connection wait.
            Phase::Confirm { round } if *round % 2 == 0 && !met && !self.repeated => self.repeated = true,
            Phase::Confirm { round } => {
                // Even: with the set; odd: as found.
                self.confirmed &= met == (*round % 2 == 0);
                *round += 1;
            }
            // It goes without this one: a measurement of the search was bad. What is left is smaller, and has to be confirmed itself.
            Phase::Each { .. } if met => {
                self.set = asked.to_vec();
                (self.phase, self.confirmed, self.repeated) = (Phase::Confirm { round: 0 }, true, false);
            }
            Phase::Each { next } => *next += 1,
            Phase::Done(_) => {}
        }
    }

    /// What to measure now, going on to later phases where one has nothing more to ask.
    fn wanted(&mut self) -> Option<Vec<Flip>> {
        loop {
            match &mut self.phase {
                Phase::Done(_) => return None,
                Phase::Sets(_) if self.trials.is_empty() => return Some(Vec::new()),
                Phase::Sets(sets) => match sets.pop_front() {
                    Some(set) => return Some(set),
                    None => self.phase = Phase::Done(Outcome::NothingHelps),
                },
                Phase::Reduce { parts, next } => {
                    let (count, at) = (*parts, *next);
                    if self.set.len() < 2 {
                        self.phase = Phase::Confirm { round: 0 };
                        continue;
                    }
                    if let Some(candidate) = part(&self.set, count, at) {
                        // What did not help before is not asked again.
                        let is_known = |(flips, rate): &(Vec<Flip>, f64)| *flips == candidate && *rate < self.goal;
                        if self.trials.iter().any(is_known) {
                            self.phase = Phase::Reduce { parts: count, next: at + 1 };
                            continue;
                        }
                        return Some(candidate);
                    }
                    // Neither a part nor what is left without one will do: finer, until each stands alone.
                    self.phase = if count >= self.set.len() {
                        Phase::Confirm { round: 0 }
                    } else {
                        Phase::Reduce { parts: (count * 2).min(self.set.len()), next: 0 }
                    };
                }
                Phase::Confirm { round } if *round < 2 * ROUNDS => {
                    return Some(if *round % 2 == 0 { self.set.clone() } else { Vec::new() });
                }
                Phase::Confirm { .. } => self.phase = Phase::Each { next: 0 },
                Phase::Each { next } => {
                    // A set of one was confirmed by the A/B already.
                    let at = *next;
                    if self.set.len() < 2 || at >= self.set.len() {
                        self.phase = Phase::Done(Outcome::Found);
                        continue;
                    }
                    let all = self.set.iter().enumerate();
                    return Some(all.filter(|(other, _)| *other != at).map(|(_, flip)| flip.clone()).collect());
                }
            }
        }
    }
}

/// The `at`-th candidate of a division: first the parts, then what is left without each; `None` behind the last.
fn part(set: &[Flip], parts: usize, at: usize) -> Option<Vec<Flip>> {
    let size = set.len().div_ceil(parts);
    let chunks: Vec<&[Flip]> = set.chunks(size).collect();
    if at < chunks.len() {
        return Some(chunks[at].to_vec());
    }
    // With two parts the one is what is left without the other.
    let without = at - chunks.len();
    if chunks.len() < 3 || without >= chunks.len() {
        return None;
    }
    let rest = chunks.iter().enumerate().filter(|(index, _)| *index != without);
    Some(rest.flat_map(|(_, chunk)| chunk.iter().cloned()).collect())
}

#[cfg(test)]
mod tests;
