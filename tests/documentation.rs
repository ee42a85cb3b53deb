//! The documentation is true: every command that it shows runs here, in the order in which it stands, one lab a page.
//!
//! A `console` block holds commands (`$ …`) and what they print. A command must end with exit code 0, or with the one that
//! its comment names (`# exit code 2`). What is shown must be printed, in this order; the rest of the output is free.
//! `…` stands for anything. Times in milliseconds are not compared; what `run` prints is compared without its numbers and
//! units, which are of the machine that was measured. A `toml` block that names a topology must be one, without a mistake.

mod lab;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use lab::{Done, Lab};
use netbench::topology::{self, source::Source};

/// Commands that are shown and not run here, with the reason.
const NOT_RUN: &[(&str, &str)] = &[("scripts/test", "it is what runs this test")];

struct Block {
    language: String,
    line: usize,
    text: String,
}

/// A command with what is shown below it.
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CHANGELOG.md")];
    let docs = fs::read_dir(root().join("docs")).expect("docs is there").flatten().map(|entry| entry.path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    pages.sort();
    pages
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                blocks.push(Block { language: language.trim().to_owned(), line: at + 1, text: String::new() });
            }
            None if inside => {
                let block = blocks.last_mut().expect("a block was opened");
                block.text += line;
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

fn commands(block: &Block) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (at, line) in block.text.lines().enumerate() {
        match (line.strip_prefix("$ "), shown.last_mut()) {
            (Some(command), _) => {
                shown.push(Shown { line: block.line + 1 + at, command: command.to_owned(), output: Vec::new() });
            }
            (None, Some(last)) => last.output.push(line.to_owned()),
            (None, None) => panic!("line {}: a console block begins with a command", block.line + 1 + at),
        }
    }
    shown
}

/// Runs every command of a page in one lab.
fn run(lab: &Lab, page: &Path) {
    let text = fs::read_to_string(page).expect("a page is text");
    let work = "/mnt/work";
    lab.sh(&format!("mkdir {work} && ln -s '{}/topologies' {work}/topologies", root().display()));
    let all = blocks(&text);
    for shown in all.iter().filter(|block| block.language == "console").flat_map(commands) {
        if NOT_RUN.iter().any(|(command, _)| *command == shown.command) {
            continue;
        }
        let place = format!("{}:{}", page.file_name().unwrap_or_default().display(), shown.line);
        let script = shown.command.replace("cargo run --release -- ", "netbench ");
        let done = lab.try_sh(&format!("cd {work}; PATH=/mnt:$PATH; exec 2>&1; {script}"));
        let code =
            shown.command.split_once("# exit code ").map_or(0, |(_, code)| code.trim().parse().expect("a number"));
        assert_eq!(done.code, Some(code), "{place}\n{done}");
        let measured = script.starts_with("netbench run") || script.starts_with("netbench stream");
        if let Some(missing) = first_missing(&shown.output, &done, measured) {
            panic!("{place}: this is shown and was not printed:\n{missing}\n{done}");
        }
    }
    assert!(lab.namespaces().is_empty(), "{}: what it makes it removes", page.display());
}

/// The first shown line that the output does not have where it should.
fn first_missing(shown: &[String], done: &Done, measured: bool) -> Option<String> {
    let printed = words(&done.stdout, measured);
    let mut rest = &printed[..];
    for line in shown {
        for piece in line.split('…') {
            let piece = words(piece, measured);
            // The machine is another one.
            if piece.is_empty() || (measured && piece.contains("· Linux ")) {
                continue;
            }
            match rest.find(&piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return Some(line.clone()),
            }
        }
    }
    None
}

/// The text with one blank between words, and without what differs from machine to machine.
fn words(text: &str, measured: bool) -> String {
    const UNITS: [&str; 8] = ["ns", "µs", "ms", "s", "kbit/s", "Mbit/s", "Gbit/s", "trans/s"];
    const CONGESTION: [&str; 3] = ["bbr", "cubic", "reno"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let number = core.starts_with(|c: char| c.is_ascii_digit());
        let after_number = words.last().is_some_and(|last| last.contains('#'));
        if core == "ms" && !measured {
            words.pop();
            words.push("#".to_owned());
        }
        words.push(match core {
            _ if measured && number => word.replace(core, "#"),
            _ if measured && after_number && UNITS.contains(&core) => word.replace(core, "unit"),
            _ if measured && CONGESTION.contains(&core) => word.replace(core, "congestion"),
            _ => word.to_owned(),
        });
    }
    words.join(" ")
}

#[test]
fn every_command_of_the_readme() {
    let Some(lab) = Lab::new("readme") else { return };
    run(&lab, &root().join("README.md"));
}

/// "With or without root", says the first page.
#[test]
fn the_start_works_without_root() {
    let Some(lab) = Lab::new("start") else { return };
    let before = lab.settled();
    let text = fs::read_to_string(root().join("topologies/bridge.toml")).expect("it is shipped");
    let file = lab.file("bridge.toml", &text);
    let Some(done) = lab.netbench_as_user(&["run", &file]) else { return };
    let done = done.ok().says("rootless").says("MTU 9000").says("TCP_STREAM").says("TCP_RR");
    assert_eq!(done.stdout.matches("path proved").count(), 2, "{done}");
    assert!(!done.stdout.contains("NOT VALID"), "{done}");
    lab.assert_as_before(&before, "the start without root");
}

#[test]
fn every_command_of_the_other_pages() {
    for page in pages().iter().filter(|page| !page.ends_with("README.md")) {
        let Some(lab) = Lab::new("pages") else { return };
        run(&lab, page);
    }
}

#[test]
fn only_known_kinds_of_blocks_are_used() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page is text");
        for block in blocks(&text) {
            let known = ["console", "toml", "text"].contains(&block.language.as_str());
            assert!(known, "{}:{}: `{}` is not run by any test", page.display(), block.line, block.language);
        }
    }
}

#[test]
fn every_topology_shown_is_sound() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page is text");
        for block in blocks(&text).into_iter().filter(|block| block.language == "toml") {
            if !block.text.contains("name = ") {
                continue;
            }
            checked += 1;
            let place = format!("{}:{}", page.display(), block.line);
            if let Err(report) = topology::check(Source::new(place.clone(), block.text)) {
                panic!("{place}\n{}", report.render(false));
            }
        }
    }
    assert!(checked >= 2, "{checked} topologies were found");
}

#[test]
fn what_is_not_run_is_still_shown() {
    let shown: BTreeSet<String> = pages()
        .iter()
        .flat_map(|page| blocks(&fs::read_to_string(page).expect("a page is text")))
        .filter(|block| block.language == "console")
        .flat_map(|block| commands(&block))
        .map(|shown| shown.command)
        .collect();
    for (command, reason) in NOT_RUN {
        assert!(shown.contains(*command), "`{command}` ({reason}) is no longer shown: strike it from the list");
    }
}

/// Links between the pages, and from them into the tree, lead somewhere.
#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page is text");
        let folder = page.parent().expect("a page is in a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains("://") && !folder.join(file).exists() {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_comparison_forgets_measured_values_only() {
    assert_eq!(
        words("  TCP_RR  76084 trans/s   p50 6.35 µs (min 2.00 ms)", true),
        "TCP_RR # unit p50 # unit (min # unit)"
    );
    assert_eq!(words("20 steps in 12 ms; verified", false), "20 steps in # ms; verified");
    assert_eq!(words("MTU 8950 proved a ⇄ b", false), "MTU 8950 proved a ⇄ b");
}
