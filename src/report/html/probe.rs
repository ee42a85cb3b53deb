//! The page of an MTU probe: each direction with its interfaces, its findings and what they rest on.

use super::{
    markup::Html,
    network::{self, Place},
};
use crate::record::{
    kept::Document,
    mtu::{MtuDirection, MtuMeans, MtuReport},
};

/// The page.
pub fn body(html: &mut Html, report: &MtuReport) {
    let verdict = if report.ok { "nothing is wrong with the path" } else { "the path does not carry what it should" };
    let text = format!("{}: {verdict}", report.headline());
    super::answer(html, (report.ok, &text), (&[], false), |h| {
        let rows: Vec<Vec<String>> = report.directions.iter().map(row).collect();
        let header = ["direction", "largest that passes", "declared", "known by", "finding"];
        h.table("Largest IP packet of each direction, bytes", &header, &rows);
    });
    super::sections(html);
    html.section("topology", "Path");
    report.directions.iter().for_each(|direction| one(html, direction));
}

fn title(direction: &MtuDirection) -> String {
    format!("{} → {}", direction.from, direction.to)
}

fn row(direction: &MtuDirection) -> Vec<String> {
    let known = match direction.means {
        MtuMeans::Receiver => "arrival at the receiver",
        MtuMeans::Echo => "echo, both ways at once",
        MtuMeans::ClosedPort => "answer of a closed port",
    };
    vec![
        title(direction),
        direction.largest.map_or_else(|| "nothing".to_owned(), |mtu| mtu.to_string()),
        direction.declared.map_or_else(|| "–".to_owned(), |mtu| mtu.to_string()),
        known.to_owned(),
        direction.findings.first().map_or_else(|| "–".to_owned(), |finding| finding.verdict.word().to_owned()),
    ]
}

fn one(html: &mut Html, direction: &MtuDirection) {
    html.leaf("h3", &[], &title(direction));
    let least = direction.declared.unwrap_or(0);
    let blamed = |at: &str| direction.findings.iter().any(|finding| finding.fault && finding.at.as_deref() == Some(at));
    let place = |hop: &crate::record::mtu::MtuHop| Place {
        at: hop.at.clone(),
        direction: hop.direction.clone(),
        mtu: Some(hop.mtu),
        wrong: hop.mtu < least || blamed(&hop.at),
    };
    let places: Vec<Place> = direction.hops.iter().map(place).collect();
    if !places.is_empty() {
        network::chain(html, &format!("Path {}", title(direction)), &places);
    }
    for finding in &direction.findings {
        let class = if finding.fault { "bad" } else { "good" };
        html.leaf("p", &[("class", class)], &format!("{}: {}", finding.verdict.word(), finding.text));
        finding.fix.iter().for_each(|fix| html.leaf("p", &[], &format!("Fix: {fix}")));
    }
    html.within("details", &[("class", "evidence")], |h| {
        h.leaf("summary", &[], &format!("Evidence of {}, {} packets", title(direction), direction.packets));
        h.within("ul", &[], |h| {
            for text in direction.findings.iter().flat_map(|finding| &finding.evidence) {
                h.leaf("li", &[], text);
            }
            if let Some(tcp) = &direction.tcp {
                let text = format!(
                    "TCP: MSS {} at a path MTU of {}, announced {}, {} of {} KiB arrived",
                    tcp.snd_mss,
                    tcp.pmtu,
                    tcp.announced,
                    tcp.carried / 1024,
                    tcp.sent / 1024
                );
                h.leaf("li", &[], &text);
            }
        });
        let rows: Vec<Vec<String>> = direction
            .hops
            .iter()
            .map(|hop| {
                let figures = [u64::from(hop.mtu), u64::from(hop.overhead), hop.counted, hop.dropped];
                let name = format!("{} {}", hop.at, hop.direction);
                std::iter::once(name).chain(figures.iter().map(u64::to_string)).collect()
            })
            .collect();
        if !rows.is_empty() {
            let header = ["interface", "MTU", "bytes of encapsulation", "packets that were too large", "dropped"];
            h.table(&format!("Interfaces of {}", title(direction)), &header, &rows);
        }
    });
}
