//! The paths as drawings with the MTU of every hop, and the devices and offloads behind them.

use super::{
    markup::Html,
    svg::{WIDTH, drawing, line, n, words},
};
use crate::{
    record::{
        FlowRecord, PathVerdict, RunRecord,
        manifest::{HopFacts, Manifest},
        sweep::SweepReport,
    },
    report::{drivers, quantity::cut},
};

/// Hops in a row of the drawing.
const PER_ROW: usize = 6;

/// A hop that does not carry what its path must.
fn is_wrong(hop: &HopFacts, flow: &FlowRecord) -> bool {
    hop.mtu > 0 && (hop.mtu_wanted > 0 && hop.mtu != hop.mtu_wanted || hop.mtu < flow.mtu)
}

/// An interface in a drawing of a path.
pub struct Place {
    /// `namespace/interface`
    pub at: String,
    /// `tx`, `rx`, or nothing.
    pub direction: String,
    /// Bytes, where it is known.
    pub mtu: Option<u32>,
    /// Does it not carry what it should?
    pub wrong: bool,
}

/// Interfaces one after another, each with its MTU; what is wrong is red, and has a mark besides the color.
pub fn chain(html: &mut Html, name: &str, places: &[Place]) {
    let rows = places.len().div_ceil(PER_ROW).max(1);
    let (wide, height) = ((WIDTH - 10.0) / PER_ROW as f64, 74.0 * rows as f64);
    let say = |place: &Place| match (place.mtu, place.wrong) {
        (None, _) => "MTU not known".to_owned(),
        (Some(mtu), false) => format!("MTU {mtu}"),
        (Some(mtu), true) => format!("≠ MTU {mtu}"),
    };
    let names: Vec<String> = places.iter().map(|place| format!("{} with {}", place.at, say(place))).collect();
    drawing(html, name, &names.join(", then "), height, |h| {
        for (i, place) in places.iter().enumerate() {
            let (x, y) = (5.0 + wide * (i % PER_ROW) as f64, 4.0 + 74.0 * (i / PER_ROW) as f64);
            let class = if place.wrong { "hop wrong" } else { "hop" };
            let (x_of, y_of, width) = (n(x), n(y), n(wide - 22.0));
            let at = [("class", class), ("x", &*x_of), ("y", &y_of), ("width", &width), ("height", "60"), ("rx", "5")];
            h.within("rect", &at, |h| h.leaf("title", &[], &format!("{}, {}", place.at, say(place))));
            let middle = x + (wide - 22.0) / 2.0;
            let (ns, name) = place.at.split_once('/').unwrap_or(("", &place.at));
            words(h, "", "middle", (middle, y + 17.0), &cut(ns, 17));
            words(h, "dim", "middle", (middle, y + 34.0), &cut(format!("{name} {}", place.direction).trim_end(), 18));
            words(h, if place.wrong { "wrong" } else { "" }, "middle", (middle, y + 51.0), &say(place));
            if (i + 1) % PER_ROW != 0 && i + 1 < places.len() {
                line(h, "whisker", (x + wide - 22.0, y + 30.0), (x + wide, y + 30.0));
            }
        }
    });
}

/// The interfaces of each variant; the first is open.
pub fn variants(html: &mut Html, sweep: &SweepReport) {
    html.section("topology", "Topology");
    let with = sweep.variants.iter().filter_map(|variant| Some((variant, variant.manifest.as_ref()?)));
    for (i, (variant, manifest)) in with.filter(|(_, manifest)| !manifest.hops.is_empty()).enumerate() {
        let open: &[(&'static str, &str)] = if i == 0 { &[("open", "")] } else { &[] };
        html.within("details", open, |h| {
            h.leaf("summary", &[], &format!("Interfaces of {}", variant.label));
            let place = |hop: &HopFacts| Place {
                at: hop.at.clone(),
                direction: String::new(),
                mtu: Some(hop.mtu),
                wrong: hop.mtu_wanted > 0 && hop.mtu != hop.mtu_wanted,
            };
            let places: Vec<Place> = manifest.hops.iter().map(place).collect();
            chain(h, &format!("Path of {}", variant.label), &places);
            for hop in manifest.hops.iter().filter(|hop| hop.mtu_wanted > 0 && hop.mtu != hop.mtu_wanted) {
                let text = format!("MTU mismatch: {} has {}, asked for {}", hop.at, hop.mtu, hop.mtu_wanted);
                h.leaf("p", &[("class", "bad")], &text);
            }
        });
    }
}

/// Every path, hop by hop; a mismatch in red and in words.
pub fn paths(html: &mut Html, record: &RunRecord) {
    html.section("topology", "Topology");
    let facts = |at: &str| record.manifest.iter().flat_map(|m| &m.hops).find(|hop| hop.at == at);
    for flow in &record.flows {
        let Some(path) = flow.tests.iter().find_map(|test| Some(&test.rounds.last()?.path)) else { continue };
        let mtu = if flow.mtu > 0 { format!(", MTU {}", flow.mtu) } else { String::new() };
        html.leaf("h3", &[], &format!("{} → {}{mtu}", flow.from, flow.to));
        let proof = record.proofs.iter().find(|proof| (&proof.from, &proof.to) == (&flow.from, &flow.to));
        if let Some(proof) = proof {
            html.leaf("p", &[("class", if proof.holds { "good" } else { "bad" })], &proof.text);
        }
        let place = |hop: &'_ crate::record::HopEvidence| {
            let known = facts(&hop.at);
            Place {
                at: hop.at.clone(),
                direction: hop.direction.clone(),
                mtu: known.map(|known| known.mtu),
                wrong: known.is_some_and(|known| is_wrong(known, flow)),
            }
        };
        let places: Vec<Place> = path.hops.iter().map(place).collect();
        chain(html, &format!("Path from {} to {}", flow.from, flow.to), &places);
        let wrong = places.iter().filter(|place| place.wrong).filter_map(|place| facts(&place.at));
        for hop in wrong {
            let asked = if hop.mtu_wanted > 0 { format!(", asked for {}", hop.mtu_wanted) } else { String::new() };
            let text = format!("MTU mismatch: {} has {}{asked}, the path needs {}", hop.at, hop.mtu, flow.mtu);
            html.leaf("p", &[("class", "bad")], &text);
        }
        evidence(html, flow);
    }
}

/// What every hop counted in the last round of each test.
fn evidence(html: &mut Html, flow: &FlowRecord) {
    for test in &flow.tests {
        let Some(round) = test.rounds.last() else { continue };
        let verdict = match &round.path.verdict {
            PathVerdict::Proved => "path proved".to_owned(),
            PathVerdict::NotProved { reason } => format!("path NOT proved: {reason}"),
            PathVerdict::NoHops => "no hop declared, nothing to prove".to_owned(),
            PathVerdict::NoTopology => "measured without a topology, nothing to prove".to_owned(),
        };
        html.within("details", &[("class", "evidence")], |h| {
            h.leaf("summary", &[], &format!("{}: {verdict}; evidence of round {}", test.test, round.round));
            let rows = round.path.hops.iter().map(|hop| {
                vec![
                    format!("{} {}", hop.at, hop.direction),
                    hop.bytes.to_string(),
                    format!("{} – {}", hop.expected_bytes.0, hop.expected_bytes.1),
                    hop.packets.to_string(),
                    hop.reverse_bytes.to_string(),
                    (hop.dropped + hop.qdisc_dropped).to_string(),
                    if hop.ok { "as expected".to_owned() } else { "NOT as expected".to_owned() },
                ]
            });
            let header = ["hop", "bytes", "expected", "packets", "bytes back", "dropped", "verdict"];
            h.table("Counters of every hop", &header, &rows.collect::<Vec<_>>());
            for told in drivers::of_path(&round.path) {
                h.leaf("p", &[("class", "warn")], &told);
            }
            for stray in &round.path.strays {
                h.leaf(
                    "p",
                    &[("class", "warn")],
                    &format!(
                        "off the path: {} received {} and sent {} bytes",
                        stray.at, stray.rx_bytes, stray.tx_bytes
                    ),
                );
            }
        });
    }
}

/// Words for groups of features, and how their kernel names begin.
const GROUPS: &[(&str, &[&str])] = &[
    ("tx checksum", &["tx-checksum"]),
    ("rx checksum", &["rx-checksum"]),
    ("TSO", &["tx-tcp-segmentation", "tx-tcp6-segmentation"]),
    ("USO", &["tx-udp-segmentation"]),
    ("GSO", &["tx-generic-segmentation"]),
    ("GRO", &["rx-gro"]),
    ("LRO", &["rx-lro"]),
    ("tunnel TSO", &["tx-udp_tnl"]),
    ("VLAN", &["tx-vlan-hw", "rx-vlan-hw"]),
    ("RSS", &["rx-hashing"]),
];

/// Devices against offloads: what is in force, what was asked for in vain.
pub fn offloads(html: &mut Html, name: &str, manifest: &Manifest) {
    if manifest.hops.is_empty() {
        return;
    }
    match name.is_empty() {
        true => html.section("offloads", "Devices and offloads"),
        false => html.leaf("h3", &[], &format!("Devices and offloads of {name}")),
    }
    let mut header = vec!["interface", "device", "MTU", "qdisc"];
    header.extend(GROUPS.iter().map(|(word, _)| *word));
    let rows = manifest.hops.iter().map(|hop| {
        let mut row = vec![
            hop.at.clone(),
            hop.device(),
            hop.mtu.to_string(),
            hop.qdisc.clone().unwrap_or_else(|| "default".to_owned()),
        ];
        row.extend(GROUPS.iter().map(|(_, names)| {
            let has = |list: &[String]| list.iter().any(|name| names.iter().any(|start| name.starts_with(start)));
            match () {
                () if has(&hop.wanted_inactive) => "wanted, not active",
                () if has(&hop.active) => "on",
                () if has(&hop.off) => "off",
                () => "–",
            }
            .to_owned()
        }));
        row
    });
    html.table("Offloads of every interface on a path, before the measurement", &header, &rows.collect::<Vec<_>>());
    for hop in &manifest.hops {
        html.within("details", &[("class", "evidence")], |h| {
            h.leaf("summary", &[], &format!("Features of {}", hop.at));
            for (word, names) in
                [("active", &hop.active), ("wanted and not active", &hop.wanted_inactive), ("off", &hop.off)]
            {
                let list = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
                h.leaf("p", &[], &format!("{word}: {list}"));
            }
            h.leaf("p", &[], &format!("gso_max_size: {}", hop.gso_max_size));
        });
    }
}
