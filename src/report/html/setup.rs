//! In what it was measured, and how to do it again.

use super::{markup::Html, network};
use crate::record::{
    kept::Kept,
    manifest::{Fingerprint, Manifest},
};

/// What must be equal to compare it with another.
pub fn head(html: &mut Html, fingerprint: &Fingerprint, more: Vec<Vec<String>>) {
    html.section("setup", "Setup");
    let mut rows: Vec<Vec<String>> =
        fingerprint.0.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    rows.extend(more);
    html.within("details", &[], |h| {
        h.leaf(
            "summary",
            &[],
            &format!("Fingerprint {}: what must be equal to compare this with another", fingerprint.hash()),
        );
        h.table("Parts of the fingerprint", &["part", "value"], &rows);
    });
}

/// Devices, paths and surroundings of all that it was measured in, a variant each.
pub fn all(html: &mut Html, kept: &Kept) {
    let manifests = kept.manifests();
    if let [(name, only)] = manifests.as_slice() {
        network::offloads(html, name, only);
    }
    head(html, &kept.document().fingerprint(), Vec::new());
    match manifests.as_slice() {
        [] => {
            html.leaf("h3", &[], "Do it again");
            html.leaf("pre", &[], &kept.origin().2.join(" "));
        }
        [(_, only)] => manifest(html, "", only),
        many => {
            html.leaf("h3", &[], "Do it again");
            html.leaf("pre", &[], &many[0].1.rerun);
            for (name, one) in many {
                html.within("details", &[], |h| {
                    h.leaf("summary", &[], &format!("Devices, sysctls and file of {name}"));
                    network::offloads(h, name, one);
                    surroundings(h, name, one);
                });
            }
        }
    }
}

/// The command, and what the machine was set to.
pub fn manifest(html: &mut Html, name: &str, manifest: &Manifest) {
    html.leaf("h3", &[], "Do it again");
    html.leaf("pre", &[], &manifest.rerun);
    surroundings(html, name, manifest);
}

fn surroundings(html: &mut Html, name: &str, manifest: &Manifest) {
    let of = if name.is_empty() { String::new() } else { format!(" of {name}") };
    if !manifest.placement.is_empty() {
        let rows: Vec<Vec<String>> =
            manifest.placement.iter().map(|(node, cpus)| vec![node.clone(), cpus.to_string()]).collect();
        html.table(&format!("CPUs of the nodes' threads{of}"), &["node", "CPUs"], &rows);
    }
    html.within("details", &[], |h| {
        h.leaf("summary", &[], &format!("sysctls{of}"));
        let all = manifest
            .sysctls
            .iter()
            .flat_map(|(ns, keys)| keys.iter().map(move |(key, value)| vec![ns.clone(), key.clone(), value.clone()]));
        h.table(&format!("sysctls in force{of}"), &["namespace", "key", "value"], &all.take(500).collect::<Vec<_>>());
    });
    html.within("details", &[], |h| {
        h.leaf("summary", &[], &format!("Topology file{of}"));
        h.leaf("pre", &[], &manifest.topology);
    });
    for missing in &manifest.missing {
        html.leaf("p", &[("class", "warn")], &format!("not read: {missing}"));
    }
}
