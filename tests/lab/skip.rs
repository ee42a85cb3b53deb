//! What every test does that cannot run on this machine.

use std::io::Write;

/// Says that a test cannot run here, and why; counts it for `scripts/test`; fails it under `NETBENCH_STRICT=1`.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("SKIP {test}: {why}");
    if let Ok(path) = std::env::var("NETBENCH_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        writeln!(file, "{test}: {why}").ok();
    }
    assert!(std::env::var("NETBENCH_STRICT").as_deref() != Ok("1"), "NETBENCH_STRICT=1: {why}");
}

/// The same for a test that `scripts/vmlab test` runs. Where `scripts/test` says that it will (`NETBENCH_LAB_SKIPS`, a file
/// of names), the name goes there instead: it counts as skipped unless the lab reports it as passed.
#[allow(dead_code, reason = "each test binary uses a part of the harness")]
pub fn skip_to_lab(why: &str) {
    if also_in_lab() {
        eprintln!("SKIP {}: {why}; it runs in the lab", std::thread::current().name().unwrap_or("test"));
    } else {
        skip(&format!("{why}; `scripts/vmlab test` runs it"));
    }
}

/// Has the lab run this test as well: what this kernel lacks was asserted to be named, and the lab's kernel has it.
/// False where no lab follows.
#[allow(dead_code, reason = "each test binary uses a part of the harness")]
pub fn also_in_lab() -> bool {
    let Ok(path) = std::env::var("NETBENCH_LAB_SKIPS") else { return false };
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(|path| path.file_stem()?.to_str()).unwrap_or_default();
    let binary = name.rsplit_once('-').map_or(name, |(binary, _)| binary);
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{binary} {test}")).is_ok()
}
