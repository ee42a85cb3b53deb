//! The topology language: TOML in, a resolved [`model::Topology`] out, with every mistake found on the way.

pub mod ast;
mod code;
pub mod diagnostic;
pub mod graph;
pub mod model;
pub mod parse;
pub mod resolve;
pub mod schema;
pub mod shipped;
pub mod source;
mod suggest;
pub mod variant;

use std::path::Path;

pub use code::reference;
use diagnostic::{Code, Diagnostic, Report};
use model::Topology;
use source::Source;

/// A topology that was read without a mistake.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The resolved topology.
    pub topology: Topology,
    /// Its text, with warnings (and nothing else) about it.
    pub report: Report,
}

/// Reads a topology from a path or by the name of a shipped one.
///
/// What exists as a file, contains `/` or ends in `.toml` is a path; anything else names a shipped topology.
///
/// # Errors
/// All mistakes of the file in one report.
pub fn load(argument: &str) -> Result<Loaded, Box<Report>> {
    read(argument)
        .map_err(|diagnostic| Box::new(Report::new(Source::new(argument, ""), vec![*diagnostic])))
        .and_then(check)
}

/// Finds and reads the text, without looking into it.
///
/// # Errors
/// NB001 to NB003.
pub fn read(argument: &str) -> Result<Source, Box<Diagnostic>> {
    let path = Path::new(argument);
    if argument.contains('/') || argument.ends_with(".toml") || path.is_file() {
        return Source::read(path);
    }
    if let Some(shipped) = shipped::find(argument) {
        return Ok(Source::new(format!("{argument} (shipped)"), shipped.text));
    }
    Err(Box::new(unknown_topology(argument)))
}

fn unknown_topology(name: &str) -> Diagnostic {
    let names: Vec<&str> = shipped::all().iter().map(|shipped| shipped.name).collect();
    let message = format!("no file and no shipped topology is called `{}`", name.escape_debug());
    let mut diagnostic = Diagnostic::without_place(Code::UnknownTopology, message);
    if let Some(near) = suggest::nearest(name, names.iter().copied()) {
        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
    }
    diagnostic.help(format!("shipped: {}", names.join(", ")))
}

/// Why there is no shipped topology of this name, with the ones there are.
pub fn unknown(name: &str) -> Report {
    Report::new(Source::new(name, ""), vec![unknown_topology(name)])
}

/// Parses and resolves a text.
///
/// # Errors
/// All mistakes of the text in one report.
pub fn check(source: Source) -> Result<Loaded, Box<Report>> {
    let parsed = parse::parse(&source);
    let mut diagnostics = parsed.diagnostics;
    let mut topology = None;
    if let Some(file) = &parsed.file {
        let (resolved, found) = resolve::resolve(file, diagnostics.is_empty());
        topology = resolved;
        diagnostics.extend(found);
    }
    let report = Report::new(source, diagnostics);
    match topology {
        Some(topology) if !report.has_errors() => Ok(Loaded { topology, report }),
        _ => Err(Box::new(report)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_topology_is_sound_and_says_what_it_shows() {
        for shipped in shipped::all() {
            let loaded = load(shipped.name).unwrap_or_else(|report| panic!("{}: {report}", shipped.name));
            assert_eq!(loaded.topology.name, shipped.name);
            // The one that goes past a bridge's limit warns of what 1,100 ports meet.
            let expected: &[Code] = if shipped.name == "ovs-scale" { &[Code::ManyPorts] } else { &[] };
            let codes: Vec<Code> = loaded.report.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
            assert_eq!(codes, expected, "{}", loaded.report);
            assert!(!loaded.topology.flows.is_empty(), "{}", shipped.name);
            assert!(shipped.text.starts_with("# "), "{}", shipped.name);
        }
    }

    #[test]
    fn the_overlay_mtu_is_derived() {
        let topology = load("vxlan-kernel").unwrap().topology;
        assert_eq!(topology.tunnels[0].ends[0].mtu, 8950);
        assert_eq!(topology.flows[0].mtu, 8950);
        assert_eq!(topology.links[0].ends[0].settings.mtu, 9000);
        assert_eq!(topology.switches[0].mtu, 8950);
        assert_eq!(topology.switches[1].ports[0].settings.mtu, 8950);
    }
}
