//! The map of ARCHITECTURE.md, enforced: reads the sources and fails on an arrow that runs back, on printing outside
//! `ui`, on `unsafe` outside the two folders that may have it, on product code that starts the kernel's own tools.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each module of the crate may use of the others, in the order in which data flows. A row that grants more than
/// the sources use is not an error: the table is the design, the sources are held to it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("packet", &[]),
    ("facts", &["units"]),
    ("topology", &["units"]),
    ("plan", &["units", "facts", "topology"]),
    ("kernel", &["units", "packet", "facts", "topology", "plan"]),
    ("ovs", &["units", "facts", "topology", "plan"]),
    ("apply", &["units", "facts", "topology", "plan", "kernel", "ovs"]),
    ("stats", &["units"]),
    ("measured", &["units", "facts", "stats"]),
    ("record", &["units", "packet", "facts", "topology", "plan", "stats", "measured"]),
    ("report", &["units", "facts", "topology", "plan", "stats", "measured", "record"]),
    ("store", &["units", "stats", "measured", "record"]),
    ("traffic", &["units", "facts", "stats", "measured"]),
    ("agent", &["units", "facts", "plan", "kernel", "stats", "measured", "record", "traffic"]),
    ("iperf", &["units", "facts", "stats", "measured", "report", "traffic"]),
    ("remote", &["units", "facts", "kernel", "measured", "traffic", "agent"]),
    (
        "experiment",
        &[
            "units", "packet", "facts", "topology", "plan", "kernel", "ovs", "apply", "stats", "measured", "record",
            "traffic", "agent", "remote",
        ],
    ),
    ("doctor", &["units", "facts", "topology", "plan", "kernel", "ovs"]),
    // The printer renders what an experiment says of itself while it runs.
    ("ui", &["units", "stats", "measured", "record", "experiment"]),
    (
        "cli",
        &[
            "units",
            "packet",
            "facts",
            "topology",
            "plan",
            "kernel",
            "ovs",
            "apply",
            "stats",
            "measured",
            "record",
            "report",
            "store",
            "traffic",
            "agent",
            "iperf",
            "remote",
            "experiment",
            "doctor",
            "ui",
        ],
    ),
];

/// Pure modules: no sockets, files, clocks, threads or processes.
const PURE: &[&str] = &["units", "packet", "facts", "topology", "plan", "stats", "measured", "report"];

/// What a pure module does not name.
const IMPURE: &[&str] = &[
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "netlink_sys",
    "netlink_packet_route",
    "socket2",
    "rustix",
    "libc::",
];

/// Programs that are the tests' oracles and never the product's hands.
const ORACLES: &[&str] = &["ip", "tc", "bridge", "ethtool", "iperf", "iperf3", "netperf", "bash", "sh", "sysctl"];

const LINES_AT_MOST: usize = 600;

/// A source file without its comments, string contents and `#[cfg(test)]` modules.
struct Source {
    path: String,
    module: String,
    /// Code with string contents and comments blanked; line numbers are kept.
    code: String,
    /// The same with the string contents left.
    strings: String,
    lines: usize,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    let sources: Vec<Source> = files.iter().map(|file| read(file)).collect();
    assert!(sources.len() > 5, "the sources were found");
    sources
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> Source {
    let text = fs::read_to_string(file).expect("sources are UTF-8");
    let path = file.strip_prefix(root().join("src")).expect("below src").display().to_string();
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let test_file = path.ends_with("/tests.rs") || path.contains("/tests/");
    let keep = |text: String| if test_file { "\n".repeat(text.lines().count()) } else { text };
    let blanked = blank(&text, true);
    let cut = test_lines(&blanked);
    let (code, strings) = (without(&blanked, &cut), without(&blank(&text, false), &cut));
    Source { path, module, code: keep(code), strings: keep(strings), lines: text.lines().count() }
}

/// The text with these lines emptied.
fn without(text: &str, cut: &BTreeSet<usize>) -> String {
    let kept = |(at, line): (usize, &str)| if cut.contains(&at) { "\n".to_owned() } else { format!("{line}\n") };
    text.lines().enumerate().map(kept).collect()
}

/// Lines of the items that `#[cfg(test)]` stands on, by counting braces.
fn test_lines(code: &str) -> BTreeSet<usize> {
    let mut cut = BTreeSet::new();
    let lines: Vec<&str> = code.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].contains("#[cfg(test)]") && !lines[at].contains("#[cfg(all(test") {
            at += 1;
            continue;
        }
        let (mut depth, mut opened) = (0_i32, false);
        while at < lines.len() {
            cut.insert(at);
            for c in lines[at].chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                opened |= c == '{';
            }
            let item_ended = !opened && lines[at].trim_end().ends_with(';');
            at += 1;
            if item_ended || (opened && depth <= 0) {
                break;
            }
        }
    }
    cut
}

/// Blanks comments, and string and character contents where asked; keeps the lines.
fn blank(text: &str, strings_too: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep = |c: char, hide: bool| if hide && c != '\n' { ' ' } else { c };
    while at < chars.len() {
        let rest = &chars[at..];
        let end = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"', ..] | ['r', '#', ..] if !preceded_by_word(&chars, at) => raw_string(rest),
            ['"', ..] => string(rest),
            ['\'', '\\', ..] => rest.iter().skip(3).position(|&c| c == '\'').map_or(1, |end| end + 4),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if end == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let comment = rest[0] == '/';
        out.extend(rest[..end].iter().map(|&c| keep(c, comment || strings_too)));
        at += end;
    }
    out
}

fn preceded_by_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a raw string, or 0 where `r` opens none.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = 2 + hashes;
    let end = rest[body..].windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| body + end + closing.len())
}

/// Modules of the crate that this code names: `crate::x` and `use crate::{x, y::z}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` of a macro names the same modules; `other_crate::` names none of ours.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => used.extend(first_level(list)),
            None => used.extend(first_word(rest)),
        }
    }
    used
}

/// First words of a brace list's own entries.
fn first_level(list: &str) -> Vec<String> {
    let (mut depth, mut words, mut entry) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.extend(first_word(&std::mem::take(&mut entry))),
            c if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    words.extend(first_word(&entry));
    words
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

fn places(source: &Source, text: &str, needle: &str) -> Vec<String> {
    let found = text.lines().enumerate().filter(|(_, line)| has_word(line, needle));
    found.map(|(at, _)| format!("src/{}:{}: {needle}", source.path, at + 1)).collect()
}

fn calls(source: &Source, call: &str) -> Vec<String> {
    let found = source.code.lines().enumerate().filter(|(_, line)| line.contains(call));
    found.map(|(at, _)| format!("src/{}:{}", source.path, at + 1)).collect()
}

/// Contains `needle` where it does not go on to the left as part of a longer word.
fn has_word(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[track_caller]
fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn modules_use_only_what_stands_to_their_left() {
    let sources = sources();
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let mut wrong = Vec::new();
    for source in &sources {
        if matches!(source.module.as_str(), "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == source.module) else {
            wrong.push(format!("src/{}: the module `{}` has no row in the table", source.path, source.module));
            continue;
        };
        for used in used_modules(&source.code) {
            let ours = modules.contains(used.as_str());
            if ours && used != source.module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("src/{}: `{}` uses `{used}`", source.path, source.module));
            }
        }
    }
    none(wrong, "an arrow of the module map runs back");
}

#[test]
fn the_table_itself_runs_one_way() {
    for (at, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let left = MAY_USE[..at].iter().any(|(other, _)| other == used);
            assert!(left, "`{module}` may use `{used}`, which does not stand before it");
        }
    }
}

/// First cells of the rows of ARCHITECTURE.md's table with this header.
fn first_cells(header: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is checked in");
    let (_, table) = text.split_once(header).unwrap_or_else(|| panic!("no table `{header}` in ARCHITECTURE.md"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split(','));
    cells.map(|name| name.trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn the_map_is_of_the_modules_that_there_are() {
    let modules: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    let modules: BTreeSet<String> = modules.into_iter().filter(|module| module != "main" && module != "lib").collect();
    assert_eq!(first_cells("| module | its one job | touches the system? |"), modules);
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is checked in");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let names = |table: &str| manifest[table].as_table().expect("a table").keys().cloned().collect::<Vec<_>>();
    let all: BTreeSet<String> = [names("dependencies"), names("dev-dependencies")].concat().into_iter().collect();
    assert_eq!(first_cells("| crate | what for |"), all);
}

#[test]
fn only_the_ui_and_the_commands_print() {
    let held = |source: &&Source| !matches!(source.module.as_str(), "ui" | "cli" | "main");
    let found = sources();
    let found = found.iter().filter(held).flat_map(|source| {
        let macros = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
        macros.iter().flat_map(|name| places(source, &source.code, name)).collect::<Vec<_>>()
    });
    none(found.collect(), "printing outside ui and cli");
}

#[test]
fn unsafe_code_stands_in_two_places() {
    let may = |path: &str| path.starts_with("traffic/sys") || path.starts_with("kernel/netlink");
    let found = sources();
    let found = found.iter().filter(|source| !may(&source.path)).flat_map(|source| {
        let forms = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        forms.iter().flat_map(|form| places(source, &source.code, form)).collect::<Vec<_>>()
    });
    none(found.collect(), "unsafe outside traffic/sys and kernel/netlink");
}

/// Data threads take no lock and share no counter that two of them write: each publishes its own by plain stores. Who starts, ends and
/// nudges them may count who is left, and they wait for each other once, before they begin.
#[test]
fn data_threads_share_nothing_that_is_locked_or_counted_together() {
    const SHARED: &[&str] = &["Mutex", "RwLock", "Condvar", "mpsc", "fetch_add", "fetch_sub", "compare_exchange"];
    let apart = ["traffic/job.rs", "traffic/job/gate.rs", "traffic/nudge.rs", "traffic/guest.rs"];
    let found = sources();
    let held = || found.iter().filter(|source| source.module == "traffic" && !apart.contains(&source.path.as_str()));
    assert!(held().any(|source| source.path == "traffic/tcp_stream.rs"), "the rule holds for the loops");
    let wrong = held()
        .flat_map(|source| SHARED.iter().flat_map(|name| places(source, &source.code, name)).collect::<Vec<_>>())
        .collect();
    none(wrong, "a lock, a channel or a shared counter among the loops of the data threads");
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for source in sources() {
        let text = fs::read_to_string(root().join("src").join(&source.path)).expect("read before");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in source.code.lines().enumerate() {
            if !has_word(line, "unsafe {") && !has_word(line, "unsafe impl") {
                continue;
            }
            let near = &lines[at.saturating_sub(8)..=at];
            if !near.iter().any(|line| line.contains("SAFETY")) {
                wrong.push(format!("src/{}:{}", source.path, at + 1));
            }
        }
    }
    none(wrong, "unsafe without a SAFETY comment in the eight lines before it");
}

#[test]
fn the_product_never_starts_the_oracles() {
    let mut found = Vec::new();
    for source in sources() {
        for (at, line) in source.strings.lines().enumerate() {
            let Some((_, after)) = line.split_once("Command::new(\"") else { continue };
            let program = after.split('"').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            if ORACLES.contains(&program) || program.starts_with("ovs-") {
                found.push(format!("src/{}:{}: {program}", source.path, at + 1));
            }
        }
    }
    none(found, "product code that starts other programs for what the kernel offers by itself");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let found: Vec<String> = sources().iter().flat_map(|source| calls(source, ".unwrap()")).collect();
    none(found, ".unwrap() outside tests: return an error, or say why it cannot fail in expect(\"…\")");
}

#[test]
fn pure_modules_touch_no_system() {
    let found = sources();
    let found = found
        .iter()
        .filter(|source| PURE.contains(&source.module.as_str()))
        .flat_map(|source| IMPURE.iter().flat_map(|name| places(source, &source.code, name)).collect::<Vec<_>>());
    none(found.collect(), "a pure module names what touches the system");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = sources();
    let long = long.iter().filter(|source| source.lines > LINES_AT_MOST);
    none(long.map(|source| format!("src/{}: {} lines", source.path, source.lines)).collect(), "too long");
}

#[test]
fn the_reader_knows_code_from_text() {
    let text = "use crate::{units::A, plan::{B, C}};\n// crate::cli\nlet s = \"crate::ui {\"; let c = '{';\n\
                #[cfg(test)]\nmod tests {\n    use crate::agent;\n    x.unwrap()\n}\nfn f() { crate::kernel::g() }\n\
                let r = r#\"unsafe { \" }\"#; let life: &'static str = s;\n";
    let blanked = blank(text, true);
    let code = without(&blanked, &test_lines(&blanked));
    let used: Vec<String> = used_modules(&code).into_iter().collect();
    assert_eq!(used, ["kernel", "plan", "units"]);
    assert!(!code.contains("unwrap") && !code.contains("unsafe") && code.contains("&'static str"));
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(has_word("    print!(x)", "print!") && !has_word("    eprint!(x)", "print!"));
}
