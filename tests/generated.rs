//! What is generated and checked in is current.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn netbench(args: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_netbench")).args(args).output().expect("the program starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn checked_in(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((name, fs::read_to_string(&path).expect("generated files are text")))
    };
    entries.flatten().filter_map(|entry| read(entry.path())).collect()
}

#[test]
fn completions_are_current() {
    for (shell, file) in [("bash", "netbench.bash"), ("zsh", "_netbench"), ("fish", "netbench.fish")] {
        let generated = String::from_utf8(netbench(&["gen", "completions", shell])).expect("completions are UTF-8");
        let stored = fs::read_to_string(checked_in("completions").join(file)).expect("completions are checked in");
        assert!(generated == stored, "completions/{file} is not current: run scripts/generate");
        assert!(!generated.contains("gen completions"), "hidden commands are not completed");
    }
}

#[test]
fn bash_reads_its_completions() {
    let status = Command::new("bash").arg("-n").arg(checked_in("completions/netbench.bash")).status();
    assert!(status.expect("bash is here").success());
}

/// What `gen` writes into a folder is what is checked in, file by file.
fn folder_is_current(what: &str, folder: &str) {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(what);
    fs::remove_dir_all(&fresh).ok();
    netbench(&["gen", what, fresh.to_str().expect("the target folder is UTF-8")]);
    let (generated, stored) = (files(&fresh), files(&checked_in(folder)));
    let names = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&generated), names(&stored), "run scripts/generate");
    for (name, text) in &generated {
        assert!(stored[name] == *text, "{folder}/{name} is not current: run scripts/generate");
    }
}

#[test]
fn man_pages_are_current() {
    folder_is_current("man", "man");
}

#[test]
fn json_schemas_are_current() {
    folder_is_current("schemas", "docs/json");
}

#[test]
fn pages_that_are_printed_are_current() {
    for (args, file) in
        [(["explain", "--markdown"], "docs/errors.md"), (["topo", "schema"], "topologies/netbench.schema.json")]
    {
        let stored = fs::read_to_string(checked_in(file)).expect("it is checked in");
        assert!(netbench(&args) == stored.as_bytes(), "{file} is not current: run scripts/generate");
    }
}
