//! The order of things in `offload verify`: a state machine that is told what happened and says what to do next. No clock,
//! no socket; whatever it asks to be set it asks to be put back before it finishes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    checks::{Check, Suite},
    judge::{self, Probed},
};
use crate::{
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
};

/// Measurements of CPU time with a feature on, and as many with it off, by turns.
const ROUNDS: u32 = 6;
/// How often a probe is made that a moment may have spoilt: its capture has gaps, something was lost or could not be sent, or what
/// was to be seen was not; and how often a measurement that failed.
const TRIES: u32 = 3;

/// What to send, and where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Number of the target.
    pub target: usize,
    /// Against the flow's direction?
    pub reversed: bool,
    /// What to send.
    pub suite: Suite,
    /// The two hops to compare; all of them when none is given.
    pub between: Option<(usize, usize)>,
    /// Only this family.
    pub family: Option<u8>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send and look.
    Probe(Order),
    /// Switch features; note their values before.
    Set(LinkRef, BTreeMap<String, bool>),
    /// Give features their values of before.
    PutBack(LinkRef, BTreeMap<String, bool>),
    /// Measure CPU time a byte.
    Measure(Order),
    /// All is done and put back.
    Finish,
}

/// What came of the last action.
#[derive(Debug, Clone)]
pub enum Sample {
    /// Nothing was done yet.
    Begin,
    /// A probe.
    Probed(Box<Probed>),
    /// A switch: what else changed by it, or why it did not happen.
    Set(Result<Vec<String>, String>),
    /// CPU time a byte, in nanoseconds, or why there is none.
    Measured(Result<f64, String>),
    /// The person wants to stop.
    Interrupted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Whole,
    Quiet(usize),
    Off,
    ProbeOff,
    On,
    ProbeOn,
    /// So many of the features are off that must be while CPU time is measured.
    Still(usize),
    /// So many measurements are made.
    Turn(u32),
    Measure(u32),
    PutBack,
    Finished,
}

/// On, off, off, on: what drifts meanwhile falls on both alike.
fn is_on(turn: u32) -> bool {
    matches!(turn % 4, 0 | 3)
}

/// The machine.
#[derive(Debug)]
pub struct Verifier {
    whole: VecDeque<(Order, String)>,
    checks: VecDeque<Check>,
    texts: Vec<String>,
    phase: Phase,
    tries: u32,
    /// What was set, with the values before, the last one last.
    changed: Vec<(LinkRef, BTreeMap<String, bool>)>,
    /// Values before, by device.
    before: BTreeMap<LinkRef, BTreeMap<String, bool>>,
    off: Option<Box<Probed>>,
    /// How often the feature was off and on so far.
    rounds: u32,
    /// What was lost at an earlier try of this check.
    earlier: Option<String>,
    /// The first probe of this whole path in which something was lost, and how many were without.
    lossy: Option<Box<Probed>>,
    clean: u32,
    /// Targets whose whole path is broken as found: their probes would be repeated for nothing.
    broken: BTreeSet<usize>,
    /// CPU times with the feature off, and on.
    costs: [Vec<f64>; 2],
    verdict_is_in: bool,
    stopping: bool,
    rows: Vec<OffloadCheck>,
}

impl Verifier {
    /// A machine for these checks. `whole` are the probes of whole paths that come first; `before` holds what every
    /// changeable feature is asked to be now; `texts` names each check's direction.
    pub fn new(
        whole: Vec<(Order, String)>,
        checks: Vec<(Check, String)>,
        before: BTreeMap<LinkRef, BTreeMap<String, bool>>,
    ) -> Self {
        let (checks, texts): (Vec<Check>, Vec<String>) = checks.into_iter().unzip();
        Self {
            whole: whole.into(),
            checks: checks.into(),
            texts: texts.into_iter().rev().collect(),
            phase: Phase::Whole,
            tries: 0,
            changed: Vec::new(),
            before,
            off: None,
            rounds: 0,
            earlier: None,
            lossy: None,
            clean: 0,
            broken: BTreeSet::new(),
            costs: [Vec::new(), Vec::new()],
            verdict_is_in: false,
            stopping: false,
            rows: Vec::new(),
        }
    }

    /// What was found so far.
    pub fn rows(&self) -> &[OffloadCheck] {
        &self.rows
    }

    /// What was found; more may be added by the driver.
    pub fn into_rows(self) -> Vec<OffloadCheck> {
        self.rows
    }

    /// What is under way, in words.
    pub fn doing(&self) -> String {
        match (self.phase, self.checks.front()) {
            (Phase::Whole, _) => "the whole path".to_owned(),
            (_, Some(check)) => format!("{} {}", check.at, check.group.name),
            _ => "the end".to_owned(),
        }
    }

    /// Takes in what came of the last action and says the next.
    pub fn next(&mut self, sample: Sample) -> Action {
        if let Sample::Interrupted = sample {
            self.stopping = true;
            self.whole.clear();
        } else if !self.stopping {
            self.take(sample);
        }
        self.action()
    }

    fn take(&mut self, sample: Sample) {
        match (self.phase, sample) {
            (Phase::Whole, Sample::Probed(probed)) => {
                if let Some(probed) = self.settled(probed)
                    && let Some((order, text)) = self.whole.pop_front()
                {
                    let mut rows = judge::whole(&text, &probed);
                    if let Some(integrity) = rows.first_mut() {
                        self.note_earlier(&probed, integrity);
                    }
                    self.rows.extend(rows);
                    if judge::is_broken(&probed) {
                        self.broken.insert(order.target);
                    }
                }
            }
            (Phase::Quiet(at), Sample::Set(Ok(_))) => self.phase = Phase::Quiet(at + 1),
            (Phase::Off, Sample::Set(Ok(_))) => self.phase = Phase::ProbeOff,
            (Phase::On, Sample::Set(Ok(_))) => self.phase = Phase::ProbeOn,
            (Phase::Quiet(_) | Phase::Off | Phase::On, Sample::Set(Err(why))) => self.refused(&why),
            (Phase::ProbeOff, Sample::Probed(probed)) if !self.again(&probed, Some(false)) => {
                (self.off, self.phase) = (Some(probed), Phase::On);
            }
            (Phase::ProbeOn, Sample::Probed(probed)) if !self.again(&probed, Some(true)) => self.conclude(&probed),
            (Phase::Still(at), Sample::Set(Ok(_))) => self.phase = Phase::Still(at + 1),
            (Phase::Turn(turn), Sample::Set(Ok(_))) => self.phase = Phase::Measure(turn),
            (Phase::Still(_) | Phase::Turn(_), Sample::Set(Err(why))) => self.economy(Err(&why)),
            (Phase::Measure(turn), Sample::Measured(Ok(cost))) => {
                self.costs[is_on(turn) as usize].push(cost);
                (self.phase, self.tries) = (Phase::Turn(turn + 1), 0);
                if turn + 1 == 2 * ROUNDS {
                    self.economy(Ok(()));
                }
            }
            (Phase::Measure(_), Sample::Measured(Err(why))) => {
                self.tries += 1;
                if self.tries >= TRIES {
                    self.economy(Err(&why));
                }
            }
            (Phase::PutBack, Sample::Set(Err(why))) => self.left(&why),
            _ => {}
        }
    }

    /// May a moment have spoilt the probe, of a whole path or of a feature that is off or on, and is there a try left?
    fn again(&mut self, probed: &Probed, on: Option<bool>) -> bool {
        let check = self.checks.front().filter(|_| on.is_some());
        let loss = judge::loss(probed);
        let is_blind = check.is_some_and(|check| on == Some(true) && judge::shows_nothing(check, probed));
        let is_doubtful = loss.is_some() || judge::is_unsent(probed) || is_blind;
        let is_broken = check.is_some_and(|check| self.broken.contains(&check.target));
        let is_spoilt = !probed.complete || is_doubtful && !is_broken;
        self.tries += 1;
        if is_spoilt && self.tries < TRIES {
            self.earlier = self.earlier.take().or(loss.filter(|_| probed.complete));
            return true;
        }
        self.tries = 0;
        false
    }

    /// The probe of a whole path that decides, when there is one. Where something was lost only two tries without a loss clear the path:
    /// one packet in a thousand may be spared once.
    fn settled(&mut self, probed: Box<Probed>) -> Option<Box<Probed>> {
        let is_clean = probed.complete && !judge::is_broken(&probed) && !judge::is_unsent(&probed);
        self.clean += u32::from(is_clean);
        let is_unsure = is_clean && self.lossy.is_some() && self.clean < 2;
        if is_unsure && self.tries + 1 < TRIES {
            self.tries += 1;
            return None;
        }
        if !is_unsure && self.again(&probed, None) {
            self.lossy =
                self.lossy.take().or_else(|| probed.complete.then_some(probed).filter(|it| judge::loss(it).is_some()));
            return None;
        }
        (self.tries, self.clean) = (0, 0);
        let lossy = self.lossy.take();
        Some(lossy.filter(|_| is_unsure).unwrap_or(probed))
    }

    /// What was lost at a try and not at the last is told, and decides nothing: a busy machine loses packets of its own.
    fn note_earlier(&mut self, last: &Probed, row: &mut OffloadCheck) {
        if let Some(earlier) = self.earlier.take().filter(|_| !judge::is_broken(last)) {
            row.evidence += &format!("; at an earlier try, and not again: {earlier}");
        }
    }

    fn text(&self) -> &str {
        self.texts.last().map_or("", String::as_str)
    }

    fn refused(&mut self, why: &str) {
        if self.phase == Phase::Off
            && let Some(check) = self.checks.front_mut()
            && !check.tied.is_empty()
        {
            // Once more, with what some drivers have tied to it.
            check.features.append(&mut check.tied);
            return;
        }
        if let Some(check) = self.checks.front() {
            let row = judge::refused(check, self.text(), self.phase == Phase::On, why);
            self.rows.push(row);
        }
        self.phase = Phase::PutBack;
    }

    fn conclude(&mut self, on: &Probed) {
        // Where one of both shows for certain what is wrong, and the other only that something was lost, that may have been chance:
        // the fault would be charged to nobody.
        let is_loss = |probed: &Probed| judge::loss(probed).is_some();
        let is_uneven = self
            .off
            .as_ref()
            .is_some_and(|off| judge::is_broken(off) && judge::is_broken(on) && is_loss(off) != is_loss(on));
        self.rounds += 1;
        if is_uneven && self.rounds < TRIES {
            self.phase = Phase::Off;
            return;
        }
        if let (Some(check), Some(off)) = (self.checks.front(), &self.off) {
            let mut row = judge::feature(check, self.text(), off, on);
            // What is wrong or does nothing has nothing to save.
            let is_worth = check.group.cpu.is_some() && row.verdict == OffloadVerdict::Pass;
            self.note_earlier(on, &mut row);
            self.rows.push(row);
            if is_worth {
                self.phase = Phase::Still(0);
                return;
            }
        }
        self.phase = Phase::PutBack;
    }

    /// What was saved, or why it cannot be said.
    fn economy(&mut self, outcome: Result<(), &str>) {
        if let Some(check) = self.checks.front() {
            let [off, on] = &self.costs;
            let row = judge::economy(check, self.text(), outcome.map(|()| (off.as_slice(), on.as_slice())));
            self.rows.push(row);
        }
        self.phase = Phase::PutBack;
    }

    fn left(&mut self, why: &str) {
        if let (Some(check), false) = (self.checks.front(), self.verdict_is_in) {
            let row = judge::not_put_back(check, self.text(), why);
            self.rows.push(row);
            self.verdict_is_in = true;
        }
    }

    fn set(&mut self, at: &LinkRef, asked: &BTreeMap<String, bool>) -> Action {
        let known = self.before.get(at);
        let previous = |name: &String| known.and_then(|known| known.get(name)).copied();
        let before = asked.keys().filter_map(|name| Some((name.clone(), previous(name)?))).collect();
        let step = (at.clone(), before);
        if self.changed.last() != Some(&step) {
            self.changed.push(step);
        }
        Action::Set(at.clone(), asked.clone())
    }

    fn action(&mut self) -> Action {
        loop {
            if self.stopping && self.phase != Phase::Finished {
                self.phase = Phase::PutBack;
            }
            match self.phase {
                Phase::Whole => match self.whole.front() {
                    Some((order, _)) => return Action::Probe(*order),
                    None => self.begin_check(),
                },
                Phase::Quiet(at) | Phase::Still(at) => {
                    let is_quiet = matches!(self.phase, Phase::Quiet(_));
                    let steps = |check: &Check| {
                        let list = if is_quiet { &check.quiet } else { &check.still };
                        list.get(at).cloned()
                    };
                    match self.checks.front().and_then(steps) {
                        Some((device, asked)) => return self.set(&device, &asked),
                        None => self.phase = if is_quiet { Phase::Off } else { Phase::Turn(0) },
                    }
                }
                Phase::Off | Phase::On | Phase::Turn(_) => {
                    let Some(check) = self.checks.front().cloned() else { return self.finish() };
                    let on = match self.phase {
                        Phase::Turn(turn) => is_on(turn),
                        phase => phase == Phase::On,
                    };
                    return self.set(&check.at, &check.features.keys().map(|name| (name.clone(), on)).collect());
                }
                Phase::ProbeOff | Phase::ProbeOn | Phase::Measure(_) => {
                    let Some(check) = self.checks.front() else { return self.finish() };
                    let order = Order {
                        target: check.target,
                        reversed: check.reversed,
                        suite: check.group.suite,
                        between: Some((check.hand, check.wire)),
                        family: check.group.family,
                    };
                    return if let Phase::Measure(_) = self.phase {
                        Action::Measure(order)
                    } else {
                        Action::Probe(order)
                    };
                }
                Phase::PutBack => match self.changed.pop() {
                    Some((at, before)) => return Action::PutBack(at, before),
                    None if self.stopping => return self.finish(),
                    None => {
                        self.checks.pop_front();
                        self.texts.pop();
                        self.begin_check();
                    }
                },
                Phase::Finished => return Action::Finish,
            }
        }
    }

    /// The next check that can be tried; those that cannot are said.
    fn begin_check(&mut self) {
        (self.off, self.earlier, self.tries, self.rounds, self.verdict_is_in) = (None, None, 0, 0, false);
        self.costs = [Vec::new(), Vec::new()];
        while let Some(check) = self.checks.front() {
            let Some(why) = &check.skip else {
                self.phase = Phase::Quiet(0);
                return;
            };
            let row = judge::skipped(check, self.text(), why);
            self.rows.push(row);
            self.checks.pop_front();
            self.texts.pop();
        }
        self.phase = Phase::Finished;
    }

    fn finish(&mut self) -> Action {
        self.phase = Phase::Finished;
        Action::Finish
    }
}

#[cfg(test)]
mod tests;
