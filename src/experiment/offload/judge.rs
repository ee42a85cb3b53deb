//! From what was seen to a verdict, its evidence and what to do. Pure.

use std::collections::BTreeMap;

use super::checks::{Check, Evidence, GSO_PARTIAL};
use crate::{
    experiment::drivers::Drivers,
    packet::{Comparison, Finding, Findings, Kind},
    plan::desired::LinkRef,
    record::{OffloadCheck, OffloadVerdict},
};

/// How a TCP stream went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// 4 or 6.
    pub family: u8,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that arrived and were right.
    pub right: u64,
    /// First wrong byte.
    pub wrong_at: Option<u64>,
    /// Why it ended early.
    pub failed: Option<String>,
}

/// How datagrams went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Datagrams {
    /// 4 or 6.
    pub family: u8,
    /// By `UDP_SEGMENT`?
    pub segmented: bool,
    /// Sent.
    pub sent: u64,
    /// Arrived, each counted once.
    pub right: u64,
    /// Arrived with other bytes or another length.
    pub wrong: u64,
    /// Arrived again.
    pub again: u64,
    /// Arrived and found no room in the receiver's buffer: no fault of the path.
    pub unread: u64,
    /// Why none could be sent.
    pub failed: Option<String>,
}

impl Datagrams {
    /// Those that were sent and did not arrive.
    pub fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.right + self.wrong + self.unread)
    }
}

/// How it went with packets that may or may not be merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merges {
    /// What was merged and must not be, or wrongly: which rule.
    pub merged: Vec<String>,
    /// Rules by which they may be merged, and those by which some were.
    pub mergeable: (u64, u64),
    /// Rules by which they must not be merged, and were not.
    pub kept_apart: u64,
}

/// How crafted frames went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Crafted {
    /// Datagrams with a right checksum that were sent, and arrived.
    pub good: (u64, u64),
    /// Datagrams with a wrong one that were sent, and that a socket got.
    pub bad: (u64, u64),
    /// Wrong ones that were seen at the receiving device.
    pub bad_seen: u64,
    /// Wrong ones that carried the word "verified" (of a tunnel's packets it is said of the outer checksum, and what is
    /// taken out of the tunnel keeps it: there it counts for nothing).
    pub bad_verified: u64,
    /// Tagged frames that were handed over; 0 where they do not get that far.
    pub tagged: u64,
    /// Kinds of them, and what is known of them besides.
    pub tag_kinds: Vec<&'static str>,
    /// What was found of the tagged ones.
    pub tags: Findings,
    /// What became of segments of TCP that may or may not be merged.
    pub segments: Merges,
    /// The same of datagrams.
    pub datagrams: Merges,
    /// The receiving device waited for more, so that what may be merged is merged by whoever merges at all.
    pub waited: bool,
    /// Drops and errors that drivers told of meanwhile.
    pub drivers: Drivers,
    /// Why nothing was sent.
    pub failed: Option<String>,
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    /// Both captures have everything.
    pub complete: bool,
    /// What was handed over against what came.
    pub comparison: Comparison,
    /// Where the first fault shows: between these interfaces.
    pub place: Option<(LinkRef, LinkRef)>,
    /// There an Open vSwitch in user space passes packets on.
    pub place_is_ovs: bool,
    /// TCP streams.
    pub streams: Vec<Stream>,
    /// Datagrams.
    pub datagrams: Vec<Datagrams>,
    /// Crafted frames.
    pub crafted: Option<Crafted>,
    /// How much the counters of the devices before and behind rose, of those that count such things.
    pub counted: BTreeMap<LinkRef, BTreeMap<&'static str, u64>>,
    /// Drops and errors that drivers told of meanwhile (`ethtool -S`), those by crafted frames left out.
    pub drivers: Drivers,
    /// How much the receiver's `InCsumErrors` (TCP and UDP) rose, those by crafted frames left out.
    pub checksum_errors: u64,
}

/// A fault with its verdict.
struct Fault {
    verdict: OffloadVerdict,
    text: String,
}

/// The worst that is wrong, and all that was found.
pub fn worst(probed: &Probed) -> Option<(OffloadVerdict, String, Vec<Finding>)> {
    faults(probed).into_iter().next().map(|fault| (fault.verdict, fault.text, findings(probed)))
}

/// Is anything wrong?
pub fn is_broken(probed: &Probed) -> bool {
    !faults(probed).is_empty()
}

/// The verdict that a finding means.
fn verdict_of(finding: &Finding, probed: &Probed) -> OffloadVerdict {
    match finding.kind {
        // A card that cuts wrongly does so each time; here and there a segment is lost on any wire that loses frames.
        Kind::MissingSegment if finding.count * 10 < probed.comparison.supers => OffloadVerdict::Drop,
        Kind::PartialChecksum | Kind::Oversize | Kind::Fragmented => OffloadVerdict::Leak,
        Kind::Lost => OffloadVerdict::Drop,
        _ => OffloadVerdict::Corrupt,
    }
}

/// All that is wrong, on the wire and at the ends, the worst first.
fn faults(probed: &Probed) -> Vec<Fault> {
    let seen = &probed.comparison.findings;
    let mut faults: Vec<Fault> =
        seen.iter().map(|finding| Fault { verdict: verdict_of(finding, probed), text: finding.to_string() }).collect();
    if let Some(at) = seen.iter().position(|finding| finding.kind == Kind::Fragmented)
        && seen.worst().is_some_and(|worst| !of_the_frame(worst.kind))
    {
        // What did not come came in fragments.
        faults[..=at].rotate_right(1);
    }
    let mut add = |verdict, text| faults.push(Fault { verdict, text });
    for stream in &probed.streams {
        let family = stream.family;
        if let Some(at) = stream.wrong_at {
            add(OffloadVerdict::Corrupt, format!("TCP over IPv{family} delivered a wrong byte at {at}"));
        } else if let Some(why) = &stream.failed {
            let (sent, right) = (stream.sent, stream.right);
            add(OffloadVerdict::Drop, format!("TCP over IPv{family}: {right} of {sent} bytes arrived ({why})"));
        }
    }
    for sent in probed.datagrams.iter().filter(|sent| sent.failed.is_none()) {
        let kind = if sent.segmented { "segmented datagrams" } else { "datagrams" };
        let family = sent.family;
        if sent.wrong > 0 {
            add(OffloadVerdict::Corrupt, format!("{} {kind} over IPv{family} were delivered changed", sent.wrong));
        }
        if sent.again > 0 {
            add(OffloadVerdict::Corrupt, format!("{} {kind} over IPv{family} were delivered twice", sent.again));
        }
        let missing = sent.missing();
        if missing > 0 {
            add(OffloadVerdict::Drop, format!("{missing} of {} {kind} over IPv{family} did not arrive", sent.sent));
        }
    }
    if let Some(crafted) = &probed.crafted {
        if crafted.bad.1 > 0 || crafted.bad_verified > 0 {
            let text = format!(
                "{}: of {} frames with a wrong checksum {} carried the word \"verified\", {} reached a socket",
                Kind::ValidOnCorrupt.text(),
                crafted.bad.0,
                crafted.bad_verified,
                crafted.bad.1
            );
            add(OffloadVerdict::Corrupt, text);
        }
        let refused = crafted.good.0.saturating_sub(crafted.good.1);
        // Where crafted frames get through at all.
        if refused > 0 && (crafted.good.1 > 0 || crafted.bad_seen > 0) {
            let text = format!("{refused} of {} frames with a right checksum did not reach the socket", crafted.good.0);
            add(OffloadVerdict::Drop, text);
        }
        for finding in crafted.tags.iter().filter(|finding| finding.kind.is_of_tag()) {
            add(OffloadVerdict::Corrupt, finding.to_string());
        }
        if let Some(lost) = crafted.tags.iter().find(|finding| finding.kind == Kind::Lost) {
            add(OffloadVerdict::Drop, format!("of {} tagged frames {} did not come", crafted.tagged, lost.count));
        }
        for Merges { merged, .. } in
            [&crafted.segments, &crafted.datagrams].into_iter().filter(|of| !of.merged.is_empty())
        {
            let text = format!("{}: {}", Kind::OverMerged.text(), merged.join(", "));
            add(OffloadVerdict::Corrupt, text);
        }
    }
    if probed.checksum_errors > 0 {
        let text = format!("the receiver counted {} checksum errors", probed.checksum_errors);
        add(OffloadVerdict::Corrupt, text);
    }
    faults
}

/// Everything that was found on the wire, crafted frames included.
fn findings(probed: &Probed) -> Vec<Finding> {
    let mut all = probed.comparison.findings.clone();
    if let Some(crafted) = &probed.crafted {
        all.merge(&crafted.tags);
        for rule in crafted.segments.merged.iter().chain(&crafted.datagrams.merged) {
            all.add(Kind::OverMerged, || rule.clone());
        }
        if crafted.bad_verified + crafted.bad.1 > 0 {
            all.add(Kind::ValidOnCorrupt, || "a crafted datagram with a wrong checksum".to_owned());
        }
    }
    all.iter().cloned().collect()
}

fn works(probed: &Probed) -> String {
    let mut parts = Vec::new();
    let bytes: u64 = probed.streams.iter().map(|stream| stream.right).sum();
    let datagrams: u64 = probed.datagrams.iter().map(|sent| sent.right).sum();
    if bytes > 0 {
        parts.push(format!("{bytes} bytes of TCP right"));
    }
    if datagrams > 0 {
        parts.push(format!("{datagrams} datagrams right"));
    }
    let seen = &probed.comparison;
    if seen.handed > 0 {
        parts.push(format!("{} of {} packets compared on the wire", seen.came.min(seen.handed), seen.handed));
    }
    for around in &seen.around {
        let sums = if around.sums { "with" } else { "without" };
        let port = if around.port == 4789 { String::new() } else { format!(", UDP port {}", around.port) };
        parts.push(format!("in a tunnel over IPv{} {sums} outer checksums{port}", around.family));
    }
    if let Some(crafted) = &probed.crafted {
        if crafted.bad.0 > 0 {
            parts.push(format!("{} wrong checksums refused", crafted.bad.0 - crafted.bad.1.min(crafted.bad.0)));
        }
        if crafted.tagged > 0 {
            parts.push(format!("{} tagged frames right", crafted.tagged));
        }
    }
    if parts.is_empty() { "nothing was sent".to_owned() } else { parts.join(", ") }
}

fn row(check: &Check, path: &str, verdict: OffloadVerdict, evidence: String) -> OffloadCheck {
    OffloadCheck {
        device: Some(check.at.to_string()),
        features: check.features.keys().cloned().collect(),
        ..OffloadCheck::new(path, check.group.name, verdict, evidence)
    }
}

/// A check that was not tried.
pub fn skipped(check: &Check, path: &str, why: &str) -> OffloadCheck {
    row(check, path, OffloadVerdict::Skip, why.to_owned())
}

/// The device, or one beside it, did not do what was asked.
pub fn refused(check: &Check, path: &str, on: bool, why: &str) -> OffloadCheck {
    let asked = if on { "on" } else { "off" };
    row(check, path, OffloadVerdict::NotActive, format!("asked for {asked}: {why}"))
}

/// A feature could not be put back.
pub fn not_put_back(check: &Check, path: &str, why: &str) -> OffloadCheck {
    row(check, path, OffloadVerdict::NotActive, format!("not put back: {why}"))
}

/// A feature, by what was seen with it off and with it on.
pub fn feature(check: &Check, path: &str, off: &Probed, on: &Probed) -> OffloadCheck {
    let (off, on) = &(ids::held(check, off, false), ids::held(check, on, true));
    let (with, without) = (faults(on), faults(off));
    let at = &check.at;
    let mut row = row(check, path, OffloadVerdict::Pass, works(on));
    if !on.complete || !off.complete {
        row.verdict = OffloadVerdict::Inconclusive;
        row.evidence = "the capture lost frames: other programs keep the CPUs busy".to_owned();
    }
    // What was seen in a capture with gaps was seen all the same.
    match (with.first(), without.first()) {
        (Some(fault), None) => {
            (row.verdict, row.evidence) = (fault.verdict, format!("only with it on: {}", fault.text));
            row.findings = findings(on);
            row.cure = Some(format!("{}{}", switch(at, &check.features, false), place_text(on)));
            socket::ahead_of_those_held(check, on, &mut row);
        }
        (None, Some(fault)) => {
            (row.verdict, row.evidence) = (fault.verdict, format!("only with it off: {}", fault.text));
            row.findings = findings(off);
            row.cure = Some(format!("{}{}", switch(at, &check.features, true), place_text(off)));
        }
        (Some(fault), Some(other)) => {
            row.verdict = OffloadVerdict::Inconclusive;
            row.evidence = format!("the path is as broken with it off: {}", fault.text);
            if other.text != fault.text {
                row.evidence += &format!(" (with it off: {})", other.text);
            }
            either_way(check, off, on, &mut row);
        }
        (None, None) if row.verdict == OffloadVerdict::Pass => effect(check, off, on, &mut row),
        (None, None) => {}
    }
    row.evidence += &counted::by_devices(at, off, on);
    row.evidence += &counted::by_drivers(off, on);
    row
}

/// What a frame shows by itself, whatever else keeps the path from working.
fn of_the_frame(kind: Kind) -> bool {
    !matches!(kind, Kind::Lost | Kind::MissingSegment | Kind::Reordered | Kind::Duplicated)
}

/// The path is broken with the feature off as well, as it is where both ends are: what the wire shows in one case and not
/// in the other is the feature's all the same, where frames came in both.
fn either_way(check: &Check, off: &Probed, on: &Probed, row: &mut OffloadCheck) {
    if off.comparison.came == 0 || on.comparison.came == 0 {
        return;
    }
    let only = |these: &Probed, others: &Probed| {
        let (these, others) = (findings(these), findings(others));
        let new =
            |finding: &Finding| of_the_frame(finding.kind) && others.iter().all(|other| other.kind != finding.kind);
        these.into_iter().filter(new).collect::<Vec<_>>()
    };
    let (with, without) = (only(on, off), only(off, on));
    let (new, probed, is_on) = match (with.first(), without.first()) {
        (Some(_), _) => (with, on, true),
        (None, Some(_)) => (without, off, false),
        (None, None) => return,
    };
    row.verdict = verdict_of(&new[0], probed);
    let state = if is_on { "on" } else { "off" };
    row.evidence = format!("only with it {state}: {}; the path does not work either way", new[0]);
    row.cure = Some(format!("{}{}", switch(&check.at, &check.features, !is_on), place_text(probed)));
    row.findings = new;
}

/// Right either way: does it do anything?
fn effect(check: &Check, off: &Probed, on: &Probed, row: &mut OffloadCheck) {
    let sent_nothing = on.streams.iter().all(|stream| stream.right == 0)
        && on.datagrams.iter().all(|sent| sent.right == 0)
        && on.crafted.as_ref().is_none_or(|crafted| crafted.good.1 == 0);
    if sent_nothing {
        row.verdict = OffloadVerdict::Inconclusive;
        let why = on.datagrams.iter().find_map(|sent| sent.failed.clone());
        row.evidence = why.unwrap_or_else(|| "nothing could be sent".to_owned());
        return;
    }
    if check.group.name.starts_with("vlan") {
        let tagged = |probed: &Probed| probed.crafted.as_ref().map_or(0, |crafted| crafted.tagged);
        let is_on = match (tagged(on), tagged(off)) {
            (0, 0) => {
                row.verdict = OffloadVerdict::Skip;
                row.evidence = "tagged frames do not get to this device".to_owned();
                return;
            }
            (with, without) if with == without => None,
            (with, without) => Some(with < without),
        };
        if let Some(is_on) = is_on {
            let (state, none) = (if is_on { "on" } else { "off" }, tagged(on).abs_diff(tagged(off)));
            row.verdict = OffloadVerdict::Drop;
            row.evidence = format!("only with it {state}: none of {none} tagged frames came");
            row.cure = Some(switch(&check.at, &check.features, !is_on));
            return;
        }
    }
    let (Some((with, what)), Some((without, _))) = (evidence(check, on), evidence(check, off)) else { return };
    row.evidence = format!("{with} {what} with it on, {without} with it off; {}", row.evidence);
    let crafted = on.crafted.as_ref().filter(|crafted| crafted.segments.mergeable.0 > 0);
    let merging = check.group.evidence == Evidence::Merged;
    if let Some(crafted) = crafted.filter(|_| merging) {
        let datagrams = match crafted.datagrams.mergeable.1 {
            0 => String::new(),
            _ => format!("; of datagrams {}", by_the_rules(&crafted.datagrams)),
        };
        row.evidence = format!("{}{datagrams}; {}", by_the_rules(&crafted.segments), row.evidence);
        if crafted.segments.mergeable.1 > 0 {
            return; // The positive control: it does merge, and only what it may.
        }
        if with == 0 && crafted.waited && check.features.values().any(|wanted| *wanted) {
            row.verdict = OffloadVerdict::Ineffective;
            return;
        }
    }
    if with == 0 && !check.features.values().any(|wanted| *wanted) {
        // It is off as found: that it does nothing when on harms nobody.
        row.verdict = OffloadVerdict::Inconclusive;
    } else if with == 0 {
        row.verdict = if merging { OffloadVerdict::Inconclusive } else { OffloadVerdict::Ineffective };
    } else if without >= with && check.group.name == GSO_PARTIAL {
        row.verdict = OffloadVerdict::Ineffective;
        row.evidence = format!("packets of this tunnel are cut without it as well: {}", row.evidence);
    } else if without >= with && check.group.evidence == Evidence::Supers {
        row.verdict = OffloadVerdict::NotActive;
        row.evidence = format!("switching it off changes nothing: {}", row.evidence);
    }
}

/// Whole paths: the bytes, the checksums that the receiver accepts, tags, what may be merged.
pub fn whole(path: &str, probed: &Probed) -> Vec<OffloadCheck> {
    let base = |check: &str, verdict, evidence| OffloadCheck::new(path, check, verdict, evidence);
    let mut rows = Vec::new();
    let wire = Probed { crafted: None, ..probed.clone() };
    let mut integrity = base("integrity", OffloadVerdict::Pass, works(&wire));
    if let Some(fault) = faults(&wire).first() {
        (integrity.verdict, integrity.evidence) = (fault.verdict, fault.text.clone());
        integrity.findings = findings(&wire);
        integrity.cure = Some(whole_cure(&wire));
    } else if wire.streams.iter().all(|stream| stream.right == 0) {
        (integrity.verdict, integrity.evidence) = (OffloadVerdict::Inconclusive, "nothing was sent".to_owned());
    } else if !probed.complete {
        integrity.evidence += "; the capture has gaps";
    }
    integrity.evidence += &counted::of_path(&wire.drivers);
    if let Some((from, to)) = &wire.place {
        integrity.evidence += &format!("; first seen between {from} and {to}");
    }
    if let Some(senders) = wire.place.as_ref().filter(|_| undone(&wire)).map(|(from, _)| from) {
        integrity.cure = Some(format!(
            "have the kernel do the checksums, at both ends of that wire: in {}: `ethtool -K {} tx off`",
            senders.ns, senders.name
        ));
    }
    rows.push(integrity);
    rows.extend(tunnels::headers(path, probed));
    let Some(crafted) = &probed.crafted else { return rows };
    if let Some(why) = &crafted.failed {
        rows.push(base("rx-verification", OffloadVerdict::Skip, why.clone()));
        return rows;
    }
    let alone = |crafted: Crafted| Probed { crafted: Some(crafted), ..Probed::default() };
    let (bad, good) = (crafted.bad, crafted.good);
    let parts = [
        (
            "rx-verification",
            alone(Crafted {
                bad,
                good,
                bad_seen: crafted.bad_seen,
                bad_verified: crafted.bad_verified,
                ..Default::default()
            }),
            format!(
                "{} of {} wrong checksums refused, {} of {} right ones accepted",
                bad.0 - bad.1.min(bad.0),
                bad.0,
                good.1,
                good.0
            ),
            "have the receiving device's rx-checksum switched off: `ethtool -K DEVICE rx off`",
        ),
        (
            "vlan",
            alone(Crafted { tagged: crafted.tagged, tags: crafted.tags.clone(), ..Default::default() }),
            format!("{} tagged frames came with their tags ({})", crafted.tagged, crafted.tag_kinds.join(", ")),
            "switch VLAN acceleration off: `ethtool -K DEVICE rxvlan off txvlan off`",
        ),
        (
            "merge-rules",
            alone(Crafted { segments: crafted.segments.clone(), ..Default::default() }),
            by_the_rules(&crafted.segments),
            MERGING_OFF,
        ),
        (
            "merge-rules-udp",
            alone(Crafted { datagrams: crafted.datagrams.clone(), ..Default::default() }),
            by_the_rules(&crafted.datagrams),
            MERGING_OFF,
        ),
    ];
    for (name, part, evidence, cure) in parts {
        let merges = match name {
            "merge-rules" => Some((&crafted.segments, "segments")),
            "merge-rules-udp" => Some((&crafted.datagrams, "datagrams")),
            _ => None,
        };
        let mut row = base(name, OffloadVerdict::Pass, evidence);
        let told = if name == "rx-verification" { counted::of_path(&crafted.drivers) } else { String::new() };
        if let Some(fault) = faults(&part).first() {
            (row.verdict, row.evidence) = (fault.verdict, fault.text.clone());
            row.findings = findings(&part);
            row.cure = Some(cure.to_owned());
        } else if name == "vlan" && crafted.tagged == 0 {
            (row.verdict, row.evidence) = (OffloadVerdict::Skip, "tagged frames do not pass this path".to_owned());
        } else if let Some((_, what)) = merges.filter(|(of, _)| of.kept_apart + of.mergeable.0 == 0) {
            (row.verdict, row.evidence) =
                (OffloadVerdict::Inconclusive, format!("crafted {what} do not pass this path"));
        } else if merges.is_some_and(|(of, _)| of.mergeable.1 == 0) {
            // Where nothing is merged at all, nothing is merged that must not be: no proof of anything.
            row.verdict = OffloadVerdict::Skip;
            row.evidence = format!("nothing is merged on this path as it is: {}", row.evidence);
        } else if name == "rx-verification" && good.0 > 0 && good.1 == 0 && crafted.bad_seen == 0 {
            (row.verdict, row.evidence) =
                (OffloadVerdict::Inconclusive, "crafted frames do not pass this path".to_owned());
        }
        row.evidence += &told;
        rows.push(row);
    }
    rows
}

const MERGING_OFF: &str =
    "switch merging off at the receiving device: `ethtool -K DEVICE lro off rx-gro-hw off gro off`";

fn by_the_rules(Merges { kept_apart, mergeable, .. }: &Merges) -> String {
    format!(
        "{kept_apart} rules kept by which packets stay apart; merged by {} of {} by which they may",
        mergeable.1, mergeable.0
    )
}

/// Checksums were left to a device that is no switch, and not done.
fn undone(probed: &Probed) -> bool {
    let seen = &probed.comparison.findings;
    !probed.place_is_ovs && seen.worst().is_some_and(|worst| worst.kind == Kind::PartialChecksum)
}

fn whole_cure(probed: &Probed) -> String {
    if probed.place_is_ovs && probed.comparison.findings.has(Kind::PartialChecksum) {
        return "an Open vSwitch in user space passes packets on without doing the checksum that the sender left to its \
                device: set `other_config:userspace-tso-enable=true` (in the file: `tso = true`) and restart \
                ovs-vswitchd, or `ethtool -K DEVICE tx off` at the senders"
            .to_owned();
    }
    format!("`netbench offload bisect` finds the feature that causes it{}", place_text(probed))
}

fn place_text(probed: &Probed) -> String {
    match &probed.place {
        Some((_, to)) if probed.place_is_ovs && probed.comparison.findings.has(Kind::PartialChecksum) => {
            format!("; seen at {to}, behind an Open vSwitch in user space (its cure: userspace-tso-enable=true)")
        }
        _ => String::new(),
    }
}

/// The `ethtool` line that sets features of a device.
pub fn switch(at: &LinkRef, features: &BTreeMap<String, bool>, on: bool) -> String {
    let word = if on { "on" } else { "off" };
    let list: Vec<String> = features.keys().map(|name| format!("{name} {word}")).collect();
    format!("in {}: `ethtool -K {} {}`", at.ns, at.name, list.join(" "))
}

mod counted;
mod doubt;
mod economy;
mod ids;
mod socket;
#[cfg(test)]
mod tests;
mod tunnels;

use doubt::evidence;
pub use doubt::{is_unsent, loss, shows_nothing};
pub use economy::economy;
