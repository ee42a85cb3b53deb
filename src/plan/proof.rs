//! From what arrived to a verdict: does a NIC or a switch do what it was told?
//!
//! A verdict that something is held needs both sides: frames that must not arrive did not, and a control, the same way,
//! did. Without the control nothing is proved.

use serde::{Deserialize, Serialize};

/// Does the setting act?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// Traffic says so.
    Enforced,
    /// It was accepted, and traffic says otherwise.
    NotEnforced,
    /// It cannot be tested here; the text says why.
    NotTested,
}

/// A declared setting, tried with traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SettingProof {
    /// Where it acts: `namespace/interface`.
    pub at: String,
    /// What holds it: a virtual function of a NIC, a port of a switch.
    pub by: String,
    /// The setting in ip-link(8)'s words: `vlan 7`, `spoofchk on`, `max_tx_rate 100`.
    pub setting: String,
    /// The verdict.
    pub outcome: Enforcement,
    /// What it rests on, in a sentence.
    pub evidence: String,
    /// What was sent, and what arrived.
    pub probes: Vec<ProbeSeen>,
}

impl SettingProof {
    /// Was it accepted without being enforced?
    pub fn is_finding(&self) -> bool {
        self.outcome == Enforcement::NotEnforced
    }

    /// In a line.
    pub fn text(&self) -> String {
        let verdict = match self.outcome {
            Enforcement::Enforced => "enforced",
            Enforcement::NotEnforced => "accepted, NOT enforced",
            Enforcement::NotTested => "not tested",
        };
        format!("{}: {} {verdict}: {} ({})", self.at, self.setting, self.evidence, self.by)
    }
}

/// One kind of frame that was sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeSeen {
    /// What was sent, by whom.
    pub what: String,
    /// Frames that the sender's interface took.
    pub sent: u32,
    /// Why it took no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What arrived.
    pub arrived: Vec<ArrivedAt>,
    /// Rate of arrival in bit/s, of a burst at full speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<f64>,
}

/// Frames of a kind that arrived alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ArrivedAt {
    /// `namespace/interface`
    pub at: String,
    /// How many.
    pub frames: u32,
    /// VLAN of the tag that they carried; absent without a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Priority of the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Was it in the sender's VLAN there: an end in the same VLAN, or a trunk with the right tag?
    pub within: bool,
}

impl ProbeSeen {
    /// Frames that arrived within the VLAN.
    fn within(&self) -> u32 {
        self.arrived.iter().filter(|arrived| arrived.within).map(|arrived| arrived.frames).max().unwrap_or(0)
    }

    fn all(&self) -> u32 {
        self.arrived.iter().map(|arrived| arrived.frames).max().unwrap_or(0)
    }

    fn where_all(&self) -> String {
        let one = |arrived: &ArrivedAt| {
            let tag = arrived.vlan.map_or("without a tag".to_owned(), |vlan| format!("with tag {vlan}"));
            format!("{} at {} {tag}", arrived.frames, arrived.at)
        };
        self.arrived.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A verdict with its reason.
pub type Verdict = (Enforcement, String);

fn not_tested(why: impl Into<String>) -> Verdict {
    (Enforcement::NotTested, why.into())
}

fn broken(why: impl Into<String>) -> Verdict {
    (Enforcement::NotEnforced, why.into())
}

/// Is an end in its VLAN and in no other? `out` are its own frames, heard also by `outsiders` ends that are not in the VLAN
/// or see its tag; `inside` frames to it in its VLAN, `outside` others. `priority` is what its tag must carry.
pub fn isolated(
    priority: Option<u8>,
    out: &ProbeSeen,
    outsiders: usize,
    inside: Option<&ProbeSeen>,
    outside: &[&ProbeSeen],
    at: &str,
) -> Verdict {
    let leaked: Vec<String> = out
        .arrived
        .iter()
        .filter(|arrived| !arrived.within)
        .map(|arrived| match arrived.vlan {
            Some(vlan) => format!("{} of {} arrived at {} with tag {vlan}", arrived.frames, out.sent, arrived.at),
            None => format!("{} of {} arrived at {} without a tag", arrived.frames, out.sent, arrived.at),
        })
        .collect();
    if !leaked.is_empty() {
        return broken(format!("its frames leave the VLAN: {}", leaked.join(", ")));
    }
    let wrong = out.arrived.iter().find(|arrived| arrived.vlan.is_some() && arrived.priority != priority);
    if let (Some(priority), Some(wrong)) = (priority, wrong) {
        let got = wrong.priority.unwrap_or(0);
        return broken(format!("the tag at {} has priority {got}, not {priority}", wrong.at));
    }
    let came = |probe: &ProbeSeen| probe.arrived.iter().find(|arrived| arrived.at == at).cloned();
    for probe in outside {
        if let Some(arrived) = came(probe) {
            return broken(format!("{} of {} frames arrived: {}", arrived.frames, probe.sent, probe.what));
        }
    }
    let control_in = inside.and_then(came);
    if let (Some(arrived), Some(probe)) = (&control_in, inside)
        && let Some(vlan) = arrived.vlan
    {
        return broken(format!("{} of {} frames arrived with tag {vlan} still on", arrived.frames, probe.sent));
    }
    let mut said = Vec::new();
    if out.within() > 0 {
        said.push(format!("its frames stay in the VLAN ({} of {}: {})", out.within(), out.sent, out.where_all()));
    }
    let others: u32 = outside.iter().map(|probe| probe.sent).sum();
    match (&control_in, inside) {
        (Some(arrived), Some(probe)) if others > 0 => said.push(format!(
            "{} of {} of its VLAN arrive, without a tag, and 0 of {others} of others",
            arrived.frames, probe.sent
        )),
        // What could not arrive at all says nothing of isolation.
        _ if said.is_empty() => {
            return not_tested("no frame of its VLAN arrived anywhere: there is no peer in it, or no link");
        }
        _ => {}
    }
    if others == 0 && outsiders == 0 {
        return not_tested("there is no port outside its VLAN to see whether frames get there");
    }
    (Enforcement::Enforced, said.join("; "))
}

/// A forged source MAC: does it pass, and should it?
pub fn spoof_checked(on: bool, own: &ProbeSeen, forged: &ProbeSeen) -> Verdict {
    let (control, got) = (own.all(), forged.all());
    if control == 0 {
        return not_tested("also frames with its own source MAC arrived nowhere");
    }
    let said = format!(
        "{got} of {} frames with a forged source MAC arrived{}, {control} of {} with its own",
        forged.sent,
        if got > 0 { format!(" ({})", forged.where_all()) } else { String::new() },
        own.sent
    );
    match (on, got > 0) {
        (true, true) | (false, false) => broken(said),
        (true, false) | (false, true) => (Enforcement::Enforced, said),
    }
}

/// What a function asked its NIC to let in: its name, what came before it asked, and after.
#[derive(Debug, Clone, Copy)]
pub struct Privilege<'a> {
    /// `promiscuous mode`, …
    pub name: &'a str,
    /// Before it asked: filtered.
    pub before: &'a ProbeSeen,
    /// While it asked.
    pub while_asked: &'a ProbeSeen,
    /// Does a NIC go on granting it once it has?
    pub lasting: bool,
}

/// What a function may: with trust at least one of its wishes is granted, without trust none.
pub fn trusted(on: bool, control: Option<&ProbeSeen>, privileges: &[Privilege<'_>], at: &str) -> Verdict {
    let came = |probe: &ProbeSeen| probe.arrived.iter().filter(|a| a.at == at).map(|a| a.frames).sum::<u32>();
    if control.is_none_or(|control| came(control) == 0) {
        return not_tested("no frame to it arrived at all: there is no peer in its VLAN, or no link");
    }
    let (mut allowed, mut refused, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for privilege in privileges {
        let (before, after) = (came(privilege.before), came(privilege.while_asked));
        let said = format!("{} ({after} of {} frames)", privilege.name, privilege.while_asked.sent);
        let earlier = privilege.lasting && before > 0 && privileges.iter().any(|other| came(other.before) == 0);
        if earlier {
            allowed.push(format!("{said}, since an earlier proof asked for it"));
        } else if before > 0 {
            open.push(format!("{} ({before} of {} frames)", privilege.name, privilege.before.sent));
        } else if after > 0 {
            allowed.push(said);
        } else {
            refused.push(said);
        }
    }
    let mut said = Vec::new();
    let mut say = |what: &str, list: &[String]| {
        if !list.is_empty() {
            said.push(format!("{what}: {}", list.join(", ")));
        }
    };
    say("allowed", &allowed);
    say("refused", &refused);
    say("arrives without being asked for", &open);
    let text = said.join("; ");
    match on {
        _ if allowed.is_empty() && refused.is_empty() => not_tested(format!("the NIC filters nothing: {text}")),
        true if allowed.is_empty() && !open.is_empty() => not_tested(text),
        true if allowed.is_empty() => broken(text),
        false if !allowed.is_empty() => broken(text),
        _ => (Enforcement::Enforced, text),
    }
}

/// How much more than the limit may be counted in a short burst.
const ABOVE: f64 = 1.15;
/// How much faster somebody without the limit must be, for the limit to be what held.
const FASTER: f64 = 1.3;
/// Below this part of it something else than the limit holds.
const BELOW: f64 = 0.5;

/// Rates of several bursts in Mbit/s: the limit, what arrived from its bearer, and from somebody without it, in turn. A limit
/// bounds every burst, a busy machine some of them: bursts that disagree prove nothing.
pub fn limited(limit: f64, arrived: &[f64], unlimited: &[f64]) -> Verdict {
    let sorted = |rates: &[f64]| {
        let mut rates: Vec<f64> = rates.iter().copied().filter(|&rate| rate > 0.0).collect();
        rates.sort_by(f64::total_cmp);
        rates
    };
    let (arrived, unlimited) = (sorted(arrived), sorted(unlimited));
    let (Some(&most), Some(&middle)) = (arrived.last(), arrived.get(arrived.len() / 2)) else {
        return not_tested("nothing of a burst arrived anywhere");
    };
    let one = |rate: &f64| if *rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    let shown = |rates: &[f64]| rates.iter().map(one).collect::<Vec<_>>().join(", ");
    let mut said = format!("bursts of {} Mbit/s arrived", shown(&arrived));
    if !unlimited.is_empty() {
        said += &format!(", of {} from a sender without a limit", shown(&unlimited));
    }
    match unlimited.first() {
        _ if middle > limit * ABOVE => broken(said),
        _ if most > limit * ABOVE => not_tested(format!("{said}: they disagree, this machine is busy")),
        _ if middle < limit * BELOW => not_tested(format!("{said}: something else holds it far below the limit")),
        Some(&least) if least >= most * FASTER && least > limit * ABOVE => (Enforcement::Enforced, said),
        Some(_) => not_tested(format!("{said}: this machine does not go beyond the limit")),
        None => not_tested(format!("{said}, and there is nobody to compare with")),
    }
}

/// A link that is cut: no carrier, and nothing passes either way, while it does between others.
pub fn cut(carrier: bool, out: &ProbeSeen, to_it: Option<&ProbeSeen>, others_talk: bool, at: &str) -> Verdict {
    let came = to_it.map_or(0, |probe| probe.arrived.iter().filter(|a| a.at == at).map(|a| a.frames).sum());
    let sent_to = to_it.map_or(0, |probe| probe.sent);
    let link = if carrier { "its link is up" } else { "its link is down" };
    let said = format!("{link}; {} of {} frames left it, {came} of {sent_to} arrived at it", out.all(), out.sent);
    match others_talk {
        _ if carrier || out.all() > 0 || came > 0 => broken(said),
        true => (Enforcement::Enforced, said),
        false => not_tested(format!("{said}; but nothing passes between the others either")),
    }
}

#[cfg(test)]
mod tests;
